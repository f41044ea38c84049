//! What a child is for before anything is measured: a backend's version, and whether the backend
//! holds the rules of allocators.

use std::time::Duration;

use super::failure::ChildFailure;
use super::files::JobFiles;
use super::job::{Job, Task, Verified};
use super::machine::available_bytes;
use super::protocol::Answer;
use super::settings::Settings;
use super::worker::{self, ChildLimits};
use super::workload::Workload;

/// How long a child may take to report a version. A library that hangs when it is loaded is found
/// out here.
const VERSION_TIME: Duration = Duration::from_secs(30);
/// The shortest that it gets, whatever a pass may take: on a busy machine a child takes a
/// second to start.
const LEAST_VERSION_TIME: Duration = Duration::from_secs(5);

/// The limits of a child that reports a version.
pub(super) fn version_limits(timeout: Option<Duration>) -> ChildLimits {
    let time = timeout.map_or(VERSION_TIME, |time| time.clamp(LEAST_VERSION_TIME, VERSION_TIME));
    ChildLimits { time, memory_bytes: available_bytes() }
}

/// A backend's version, from a child: a library that crashes or hangs when it is loaded costs only
/// that child.
///
/// # Errors
/// Why there is no version.
pub fn version(backend: &str, timeout: Option<Duration>) -> Result<String, ChildFailure> {
    let job = Job::untimed(Task::Version { backend: backend.to_owned() });
    match worker::run(&job, JobFiles::default(), version_limits(timeout))? {
        Answer::Version(version) => Ok(version),
        other => Err(ChildFailure::answered(&other)),
    }
}

/// Proves a backend in a child: on a program, or, without one, on calls that programs seldom make
/// ([`crate::replay::contract_test`]). A child that crashes has broken a rule.
///
/// # Errors
/// Why it could not be tried, or not to the end.
pub fn verify(
    backend: &str,
    workload: Option<&Workload>,
    settings: &Settings,
) -> Result<Verified, ChildFailure> {
    let mut files = JobFiles::default();
    let program = workload.map(|workload| workload.share(&mut files)).transpose();
    let program = program.map_err(ChildFailure::not_started("a child".as_ref()))?;
    let job = Job::untimed(Task::Verify { backend: backend.to_owned(), program });
    let calls = workload.map_or(0, Workload::calls);
    let limits =
        ChildLimits { time: settings.time_limit(calls) * 4, memory_bytes: settings.memory_bytes };
    match worker::run(&job, files, limits) {
        Ok(Answer::Verified(verified)) => Ok(verified),
        Ok(other) => Err(ChildFailure::answered(&other)),
        Err(killed @ ChildFailure::Killed { .. }) => Ok(Verified::Broken(killed.to_string())),
        Err(failure) => Err(failure),
    }
}
