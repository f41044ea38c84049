//! What a backend accepts in its spec: versions and settings, refused with what it takes instead.

use super::error::BackendError;
use super::setting::{Setting, is_number};
use crate::spec::{BackendSpec, did_you_mean};

/// The checks that each backend makes of the topmost layer of its spec.
pub(crate) trait SpecChecks {
    /// A [`BackendError::Refused`] in the name of this backend.
    fn refused(&self, reason: String) -> BackendError;

    /// The version as one of CPython 3, minor and patch, when it is from 3.`oldest` to 3.`newest`:
    /// `3.N` means the last patch release, `3.N.P` that one.
    fn cpython(&self, oldest: u32, newest: u32) -> Option<(u32, u32)>;

    /// The refusal of a version that [`SpecChecks::cpython`] does not know.
    fn has_no_version(&self, text: &str, oldest: u32, newest: u32) -> BackendError {
        self.refused(format!(
            "has no version `{text}`: it takes 3.{oldest} to 3.{newest}, also with a patch number"
        ))
    }

    /// Refuses a version, for backends that have only one.
    ///
    /// # Errors
    /// [`BackendError::Refused`] when there is a version.
    fn takes_no_version(&self) -> Result<(), BackendError>;

    /// Refuses settings that are not in a table.
    ///
    /// # Errors
    /// As [`SpecChecks::takes_settings`].
    fn takes_only(&self, known: &[Setting]) -> Result<(), BackendError> {
        let names: Vec<&str> = known.iter().map(|setting| setting.name).collect();
        self.takes_settings(&names)
    }

    /// Refuses settings that are not in a table, and values that are no number where the allocator
    /// reads a number.
    ///
    /// # Errors
    /// As [`SpecChecks::takes_settings`], and for a value that is no number.
    fn takes_numbers(&self, known: &[Setting]) -> Result<(), BackendError>;

    /// Refuses settings that are not in `known`.
    ///
    /// # Errors
    /// [`BackendError::Refused`] that names the first unknown setting and the known ones.
    fn takes_settings(&self, known: &[&str]) -> Result<(), BackendError>;

    /// An error for a setting that the allocator did not take.
    fn not_taken(&self, key: &str, value: &str, found: &str) -> BackendError {
        self.refused(format!(
            "did not take {key}={value}: it reads {found} now; settings act only in a child that \
             `heaplay` starts"
        ))
    }
}

impl SpecChecks for BackendSpec {
    fn refused(&self, reason: String) -> BackendError {
        BackendError::Refused { backend: self.name().to_owned(), reason }
    }

    fn cpython(&self, oldest: u32, newest: u32) -> Option<(u32, u32)> {
        let mut parts =
            self.version()?.strip_prefix("3.")?.split('.').map(|part| part.parse::<u32>().ok());
        let minor = parts.next()??;
        let patch = match parts.next() {
            Some(patch) => patch?,
            None => u32::MAX,
        };
        (parts.next().is_none() && (oldest..=newest).contains(&minor)).then_some((minor, patch))
    }

    fn takes_no_version(&self) -> Result<(), BackendError> {
        match self.version() {
            Some(version) => Err(self.refused(format!("has no versions, so not `@{version}`"))),
            None => Ok(()),
        }
    }

    fn takes_numbers(&self, known: &[Setting]) -> Result<(), BackendError> {
        self.takes_only(known)?;
        let is_wrong = |known: &&Setting| {
            known.is_number() && self.setting(known.name).is_some_and(|value| !is_number(value))
        };
        match known.iter().find(is_wrong) {
            Some(Setting { name, values, .. }) => {
                let value = self.setting(name).unwrap_or_default();
                Err(self.refused(format!(
                    "did not take {name}={value}, which is no number (values: {values})"
                )))
            }
            None => Ok(()),
        }
    }

    fn takes_settings(&self, known: &[&str]) -> Result<(), BackendError> {
        let Some((key, _)) = self.settings().iter().find(|(key, _)| !known.contains(&key.as_str()))
        else {
            return Ok(());
        };
        let takes = if known.is_empty() {
            "it takes no settings".to_owned()
        } else {
            format!("it takes {}", known.join(", "))
        };
        let meant = did_you_mean(key, known.iter().copied());
        Err(self.refused(format!("has no setting `{key}`{meant}: {takes}")))
    }
}
