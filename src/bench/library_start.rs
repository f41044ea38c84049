//! What a preloaded library takes by itself, before the first call of a replay. The library is there
//! when a child's `main` begins, so no reading of that child is without it. A second process without the
//! library, at the same place of the same code, is.

use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use super::failure::Failure;
use crate::environment::LD_PRELOAD;
use crate::replay::{ReplayError, Resident, ResidentMemory};

/// The option of the hidden verb that prints what its process has, and ends it.
const OWN_MEMORY: &str = "--own-memory";

/// What this process had when it began, bytes.
static AT_START: OnceLock<u64> = OnceLock::new();

/// Resident private memory of this process.
pub(super) fn resident_memory() -> Result<ResidentMemory, Failure> {
    let opened = Resident::open();
    let resident = opened.map_err(|error| ReplayError::Instrument(error.to_string()))?;
    Ok(resident.now())
}

/// Reads what this process has, if a library was preloaded into it. To be called as the first thing.
pub(super) fn note() {
    if std::env::var_os(LD_PRELOAD).is_some() {
        AT_START.get_or_init(|| resident_memory().map_or(0, |found| found.private_bytes));
    }
}

/// Prints what this process has, bytes.
pub fn print_own_memory() -> ExitCode {
    match resident_memory() {
        Ok(found) => {
            anstream::println!("{}", found.private_bytes);
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::from(2),
    }
}

/// What the preloaded library took by itself when this process began, bytes.
///
/// # Errors
/// The process without the library cannot be run.
pub(super) fn library_start_bytes() -> Result<u64, Failure> {
    let failed = |why: String| {
        let reason = format!("reading a process without the preloaded library: {why}");
        Failure::from(ReplayError::Instrument(reason))
    };
    let mut plain = Command::new("/proc/self/exe");
    let plain = plain.args(["worker", OWN_MEMORY]).env_remove(LD_PRELOAD);
    let printed = plain.output().map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&printed.stdout);
    let without: u64 = text.trim().parse().map_err(|_| failed(printed.status.to_string()))?;
    Ok(AT_START.get().copied().unwrap_or(0).saturating_sub(without))
}
