//! The lists that a spec asks for, and the lists as text.

use std::fmt::Write as _;

use super::classes::{CLASSES, ListLimits, STEP_BYTES, limits};
use crate::backends::error::BackendError;
use crate::backends::setting::{Setting, setting};
use crate::backends::spec_checks::SpecChecks;
use crate::cpython::{ListRule, Listed, listed};
use crate::spec::BackendSpec;

/// The oldest and newest CPython 3 whose lists are here.
const OLDEST: u32 = 6;
const NEWEST: u32 = 14;

pub(super) const SETTINGS: [Setting; 1] = [setting(
    "limit",
    "number of blocks",
    "that of the version",
    "most free blocks of every class",
)];

/// The version of CPython of a spec, minor and patch; the newest when it names none.
///
/// # Errors
/// [`BackendError::Refused`] for an unknown one.
pub fn version_of(spec: &BackendSpec) -> Result<(u32, u32), BackendError> {
    match spec.version() {
        None => Ok((NEWEST, u32::MAX)),
        Some(text) => {
            spec.cpython(OLDEST, NEWEST).ok_or_else(|| spec.has_no_version(text, OLDEST, NEWEST))
        }
    }
}

/// What a spec asks for.
pub(super) struct FreelistSettings {
    version: (u32, u32),
    /// For every class, when set by hand.
    limit: Option<u32>,
}

impl FreelistSettings {
    pub(super) fn of(spec: &BackendSpec) -> Result<FreelistSettings, BackendError> {
        spec.takes_only(&SETTINGS)?;
        let version = version_of(spec)?;
        let number = |text: &str| {
            text.parse().map_err(|_| {
                spec.refused(format!("has no limit `{text}`: expected a number of blocks"))
            })
        };
        Ok(FreelistSettings { version, limit: spec.setting("limit").map(number).transpose()? })
    }

    pub(super) fn limits(&self) -> ListLimits {
        self.limit.map_or_else(|| limits(self.version), |limit| [limit; CLASSES])
    }

    pub(super) fn types(&self) -> Vec<Listed> {
        if self.limit.is_some() { vec![] } else { listed(self.version) }
    }
}

/// The lists as text.
pub(super) fn details(spec: &BackendSpec) -> Result<String, BackendError> {
    let wanted = FreelistSettings::of(spec)?;
    let minor = wanted.version.0;
    let mut text = format!(
        "freelist: the free lists of CPython 3.{minor}; versions 3.{OLDEST} to 3.{NEWEST}\n\
         layer 3, free lists, last in first out; \
         a block whose list is full goes to the layer below, and a trim clears all\n"
    );
    // Writing to a string cannot fail.
    if wanted.limit.is_none() {
        text.push_str("  for a trace with a `type` column, by type:\n");
        text.push_str("     type                                bytes  limit\n");
        for list in wanted.types() {
            let bytes = match (list.bytes_least, list.bytes_most) {
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least}-{most}"),
            };
            let rule = if list.rule == ListRule::Hoarded { "  never reused" } else { "" };
            let _ = writeln!(text, "     {:<30}  {bytes:>9}  {:>5}{rule}", list.text(), list.most);
        }
        text.push_str("  for a trace without, by size class, in the obj domain:\n");
    } else {
        text.push_str("  by size class, whether the trace has types or not, in the obj domain:\n");
    }
    text.push_str("     class  requests      limit  common types\n");
    let types = listed(wanted.version);
    for (class, limit) in wanted.limits().iter().enumerate().filter(|(_, limit)| **limit > 0) {
        let (from, to) = (class * STEP_BYTES + 1, (class + 1) * STEP_BYTES);
        let is_here = |list: &&Listed| list.is_common && (from..=to).contains(&list.bytes_least);
        let names: Vec<String> = types.iter().filter(is_here).map(Listed::text).collect();
        let _ = writeln!(
            text,
            "     {class:>5}  {from:>3} - {to:<3}  {limit:>9}  {}",
            names.join(", ")
        );
    }
    Ok(text)
}
