//! An unfinished run goes on: the same traces, the same versions, the same machine. Cells that are
//! missing or failed are measured again.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use super::begin::PACE;
use super::error::BenchError;
use super::identity::sha256_of_file;
use super::machine::fingerprint;
use super::versions::{NO_VERSION, ask_versions};
use crate::results::{BackendEntry, CellKey, Outcome, Pass, RecordError, Run, RunDir};

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// A trace cannot be read.
    #[error(
        "the run's trace is gone; resume from the directory in which the run was begun: {source}"
    )]
    TraceGone {
        /// The reason, with the path.
        #[source]
        source: BenchError,
    },
    /// A trace has other contents.
    #[error("{}: is not the file that the run began with; begin a new run", path.display())]
    TraceChanged {
        /// The trace.
        path: PathBuf,
    },
    /// A backend has another version.
    #[error("backend `{backend}` is {now} now and was {before}; begin a new run")]
    OtherVersion {
        /// The backend.
        backend: String,
        /// The version of today.
        now: String,
        /// The version of the run.
        before: String,
    },
    /// The run is another machine's.
    #[error(
        "{}: was begun on another machine or kernel; begin a new run here, and `merge` cannot join \
         them",
        folder.display()
    )]
    OtherMachine {
        /// The run folder.
        folder: PathBuf,
    },
    /// The run folder cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The pace at which a run was begun.
pub fn pace_of_run(dir: &RunDir) -> Option<f64> {
    dir.manifest().settings.get(PACE)?.parse().ok()
}

/// Prepares an unfinished run to go on, and drops the cells that are to be measured again. `report`
/// gets the reason for each backend that is absent; its cells stay as they are.
///
/// # Errors
/// As [`ResumeError`].
pub fn reopen(
    dir: &mut RunDir,
    timeout: Option<Duration>,
    report: &dyn Fn(String),
) -> Result<(), ResumeError> {
    let mut run = dir.load()?;
    validate_traces(&run)?;
    let names: Vec<String> = run.manifest.backends.iter().map(|b| b.name.clone()).collect();
    let (now, absent) = ask_versions(names, timeout, report);
    for (backend, now) in run.manifest.backends.iter_mut().zip(now) {
        update_version(backend, now)?;
    }
    if fingerprint() != run.manifest.machine {
        return Err(ResumeError::OtherMachine { folder: dir.folder().to_owned() });
    }
    dir.update_manifest(|manifest| manifest.backends.clone_from(&run.manifest.backends))?;
    let absent: HashSet<&str> = absent.iter().map(|backend| backend.name.as_str()).collect();
    let again = cells_of_run_to_repeat(&run, &absent);
    dir.forget(&mut run, &again)?;
    Ok(())
}

fn validate_traces(run: &Run) -> Result<(), ResumeError> {
    for trace in &run.manifest.traces {
        let path = PathBuf::from(&trace.path);
        let hash = sha256_of_file(&path).map_err(|source| ResumeError::TraceGone { source })?;
        if hash != trace.sha256 {
            return Err(ResumeError::TraceChanged { path });
        }
    }
    Ok(())
}

/// A backend that was absent may be there now. One that is absent now keeps its version.
fn update_version(backend: &mut BackendEntry, now: BackendEntry) -> Result<(), ResumeError> {
    if backend.version == NO_VERSION {
        backend.version = now.version;
    } else if now.version != NO_VERSION && now.version != backend.version {
        return Err(ResumeError::OtherVersion {
            backend: backend.name.clone(),
            now: now.version,
            before: backend.version.clone(),
        });
    }
    Ok(())
}

fn cells_of_run_to_repeat(run: &Run, absent: &HashSet<&str>) -> HashSet<CellKey> {
    let failed: HashSet<CellKey> = run.failed().into_iter().map(Outcome::cell).collect();
    let tried: HashSet<CellKey> = run.outcomes.iter().map(Outcome::cell).collect();
    cells_to_repeat(&run.manifest.planned(), &tried, &failed, absent)
}

/// The cells to measure again:
///
/// - a cell that failed, unless its backend is absent;
/// - all cells of an interleaved batch of which one is to do: a batch is timed together or not at
///   all;
/// - all repetitions of a latency pass of which one failed: they are confirmed together.
fn cells_to_repeat(
    planned: &[CellKey],
    tried: &HashSet<CellKey>,
    failed: &HashSet<CellKey>,
    absent: &HashSet<&str>,
) -> HashSet<CellKey> {
    let failed: HashSet<&CellKey> =
        failed.iter().filter(|cell| !absent.contains(cell.backend.as_str())).collect();
    let is_done = |cell: &CellKey| tried.contains(cell) && !failed.contains(cell);
    let is_repeated = |cell: &&CellKey| match cell.pass {
        _ if failed.contains(*cell) => true,
        Pass::Time | Pass::Touch | Pass::Cold | Pass::Traversal => planned.iter().any(|other| {
            other.pass == cell.pass
                && (&other.trace, other.repetition) == (&cell.trace, cell.repetition)
                && !is_done(other)
        }),
        Pass::Latency => failed.iter().any(|other| {
            other.pass == Pass::Latency
                && (&other.trace, &other.backend) == (&cell.trace, &cell.backend)
        }),
        Pass::Footprint | Pass::Free => false,
    };
    planned.iter().filter(is_repeated).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(backend: &str, pass: Pass, repetition: u32) -> CellKey {
        CellKey { trace: "t".into(), backend: backend.into(), pass, repetition }
    }

    #[test]
    fn a_failed_cell_takes_its_batch_and_its_repetitions_with_it() {
        let planned: Vec<CellKey> = ["a", "b"]
            .into_iter()
            .flat_map(|backend| {
                let timed = [Pass::Time, Pass::Latency].into_iter();
                let timed = timed.flat_map(move |pass| (0..2).map(move |r| cell(backend, pass, r)));
                timed.chain([cell(backend, Pass::Footprint, 0)])
            })
            .collect();
        let all: HashSet<CellKey> = planned.iter().cloned().collect();
        let repeat = |missing: &[CellKey], failed: &[CellKey], absent: &[&str]| {
            let tried = all.iter().filter(|cell| !missing.contains(cell)).cloned().collect();
            let failed = failed.iter().cloned().collect();
            let absent = absent.iter().copied().collect();
            cells_to_repeat(&planned, &tried, &failed, &absent)
        };
        let set = |cells: &[CellKey]| cells.iter().cloned().collect::<HashSet<CellKey>>();
        assert_eq!(repeat(&[], &[], &[]), set(&[]));
        // One time cell of a batch, missing or failed.
        let batch = set(&[cell("a", Pass::Time, 1), cell("b", Pass::Time, 1)]);
        assert_eq!(repeat(&[], &[cell("a", Pass::Time, 1)], &[]), batch);
        assert_eq!(repeat(&[cell("a", Pass::Time, 1)], &[], &[]), batch);
        // A failed latency cell takes all repetitions of its backend; a missing one none.
        let latencies = set(&[cell("a", Pass::Latency, 0), cell("a", Pass::Latency, 1)]);
        assert_eq!(repeat(&[], &[cell("a", Pass::Latency, 0)], &[]), latencies);
        assert_eq!(repeat(&[cell("a", Pass::Latency, 0)], &[], &[]), set(&[]));
        let footprint = cell("b", Pass::Footprint, 0);
        assert_eq!(
            repeat(&[], std::slice::from_ref(&footprint), &[]),
            set(std::slice::from_ref(&footprint))
        );
        assert_eq!(repeat(&[], &[footprint], &["b"]), set(&[]));
    }
}
