//! The versions of a run's backends, and the backends that cannot be had.

use std::time::Duration;

use super::failure::{ChildFailure, Failure};
use super::preflight::version;
use crate::results::BackendEntry;

/// The version of a backend that cannot be had. A resumed run asks again.
pub(super) const NO_VERSION: &str = "not available";

/// A backend that cannot be had on this machine. It costs only its own cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentBackend {
    /// Its spec.
    pub name: String,
    /// The reason.
    pub reason: String,
    /// Whether no machine has it: a typo in its name or its settings.
    pub is_typo: bool,
}

/// Asks each backend for its version, in a child. `report` gets the reason for each that is absent.
pub fn ask_versions(
    names: impl IntoIterator<Item = String>,
    timeout: Option<Duration>,
    report: &dyn Fn(String),
) -> (Vec<BackendEntry>, Vec<AbsentBackend>) {
    let mut absent = Vec::new();
    let mut entries = Vec::new();
    for name in names {
        match version(&name, timeout) {
            Ok(version) => entries.push(BackendEntry { name, version }),
            Err(failure) => {
                report(failure.about(&name));
                let is_typo = matches!(failure, ChildFailure::Reported(Failure::UnknownBackend(_)));
                let reason = failure.to_string();
                absent.push(AbsentBackend { name: name.clone(), reason, is_typo });
                entries.push(BackendEntry { name, version: NO_VERSION.to_owned() });
            }
        }
    }
    (entries, absent)
}
