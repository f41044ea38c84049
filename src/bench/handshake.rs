//! Whether another build of heaplay understands this one's jobs.

use std::path::Path;
use std::process::Command;

use super::failure::{ChildFailure, Failure};
use super::files::{FileNumber, JobFiles};
use super::job::{CellTask, ChildAddresses, ClockRate, Job, ProgramInput, Task};
use super::preflight::version_limits;
use super::protocol::Answer;
use super::side::Side;
use super::worker::run_side;
use crate::replay::Iterations;
use crate::results::{CellKey, Pass};

/// Why another build cannot measure a side.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// It does not start, is no heaplay, or cannot have the backend.
    #[error("{0}")]
    Broken(String),
    /// It is a heaplay whose jobs are others than this one's.
    #[error("{0}")]
    OtherJobs(String),
}

/// The version of a backend in another heaplay that understands this one's jobs. It gets a job for
/// the version, and one job of each sort that the check gives, without a program.
///
/// # Errors
/// Why it does not understand them, with the path.
pub fn handshake(binary: &Path, backend: &str, clock: ClockRate) -> Result<String, Unfit> {
    let side = Side { binary: Some(binary.to_owned()), ..Side::of(backend) };
    let run =
        |task| run_side(&side, &Job::untimed(task), JobFiles::default(), version_limits(None));
    let sentence = |reason: &dyn std::fmt::Display| {
        let (path, version) = (binary.display(), env!("CARGO_PKG_VERSION"));
        format!("{path}: {reason}; expected another build of heaplay {version}")
    };
    let version = match run(Task::Version { backend: backend.to_owned() }) {
        Ok(Answer::Version(version)) => version,
        Ok(other) => {
            let failure = ChildFailure::answered(&other);
            return Err(Unfit::OtherJobs(sentence(&failure)));
        }
        Err(failure) => {
            let unfit = if is_other_heaplay(binary, &failure) {
                let text = format!("this heaplay does not understand the job ({failure})");
                Unfit::OtherJobs(sentence(&text))
            } else {
                Unfit::Broken(sentence(&failure))
            };
            return Err(unfit);
        }
    };
    // There is no program, so each fails; a job that was not understood fails as such.
    for task in one_of_each(backend, clock) {
        if let Err(failure @ ChildFailure::Reported(Failure::NotAJob(_))) = run(task) {
            return Err(Unfit::OtherJobs(sentence(&failure)));
        }
    }
    Ok(version)
}

/// Whether what failed is a heaplay that has other jobs: it says so, or it has another protocol and
/// answers nothing.
fn is_other_heaplay(binary: &Path, failure: &ChildFailure) -> bool {
    match failure {
        ChildFailure::Reported(Failure::NotAJob(_)) => true,
        ChildFailure::NoAnswer { .. } | ChildFailure::WrongAnswer(_) => is_heaplay(binary),
        _ => false,
    }
}

/// Whether a program calls itself heaplay.
fn is_heaplay(binary: &Path) -> bool {
    let printed = Command::new(binary).arg("--version").output();
    printed.is_ok_and(|printed| printed.stdout.starts_with(b"heaplay "))
}

/// A job of each sort that the check gives, without a program.
fn one_of_each(backend: &str, clock: ClockRate) -> [Task; 5] {
    let (backend, program) = (backend.to_owned(), FileNumber::NONE);
    let cell = CellKey {
        trace: String::new(),
        backend: backend.clone(),
        pass: Pass::Footprint,
        repetition: 0,
    };
    let iterations = Iterations { iterations: 1, segments: 1, iterations_in_segment: 1 };
    [
        Task::Iterations { backend: backend.clone(), program, iterations },
        Task::CallTimes {
            backend: backend.clone(),
            program,
            segments: 1,
            clock,
            times: FileNumber::NONE,
        },
        Task::Tail { backend: backend.clone(), program, segments: 1, clock, chosen: program },
        Task::Calls { backend, program, calls: 0 },
        Task::Measure(CellTask {
            cell,
            isolated: None,
            program: ProgramInput::Whole(program),
            sites: None,
            pace: None,
            collector: None,
            addresses: ChildAddresses::Fixed,
            folder: std::path::PathBuf::from("/dev/null"),
            clock,
        }),
    ]
}
