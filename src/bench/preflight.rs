//! What a child is for before anything is measured: a backend's version, and whether the backend
//! keeps the rules of allocators.

use std::time::Duration;

use super::machine::available_bytes;
use super::plan::{Job, Task, Verified};
use super::settings::Settings;
use super::worker::{self, Ended, Limits};
use super::workload::Loaded;

/// How long a child may take to tell its version: a library that hangs when it is loaded is found
/// out here.
pub(super) const VERSION_TIME: Duration = Duration::from_secs(30);

/// Asks a child for a backend's version, so that a library that crashes on load, or hangs, costs
/// only that.
///
/// # Errors
/// The child's reason.
pub fn version(backend: &str, timeout: Option<Duration>) -> Result<String, String> {
    let job = Job {
        task: Task::Version { backend: backend.to_owned() },
        processor: None,
        time_slices: false,
    };
    let time = timeout.map_or(VERSION_TIME, |timeout| timeout.min(VERSION_TIME));
    let limits = Limits { time, memory_bytes: available_bytes() };
    let ended = worker::run(&job, limits).map_err(|error| error.to_string())?;
    Ok(ended.well()?.trim().to_owned())
}

/// Proves a backend in a child: on a program, or, without one, on what programs seldom do
/// ([`crate::replay::contract`]). A child that crashes has broken a rule.
///
/// # Errors
/// Why it could not be tried, or not to the end.
pub fn verify(
    backend: &str,
    loaded: Option<&Loaded>,
    settings: &Settings,
) -> Result<Verified, String> {
    let job = Job {
        task: Task::Verify { backend: backend.to_owned(), program: loaded.map(Loaded::path) },
        processor: None,
        time_slices: false,
    };
    let calls = loaded.map_or(0, |loaded| loaded.program.calls());
    let limits =
        Limits { time: settings.time_limit(calls) * 4, memory_bytes: settings.memory_bytes };
    match worker::run(&job, limits).map_err(|error| error.to_string())? {
        Ended::Killed(reason) => Ok(Verified::Broken(reason)),
        ended => serde_json::from_str(&ended.well()?)
            .map_err(|error| format!("the child's words are not its result: {error}")),
    }
}
