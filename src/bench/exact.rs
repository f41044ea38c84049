//! One footprint pass of one backend outside a run's cells, in a child of its own. Its addresses are the
//! same every time unless they are to be random. It serves a check that compares two sides, a changed
//! trace, and the range of an allocator that returns memory after a delay.

use super::error::{BenchError, MeasureError, io_error};
use super::failure::ChildFailure;
use super::files::JobFiles;
use super::job::{CellTask, ChildAddresses, Job, Task};
use super::settings::Settings;
use super::side::Side;
use super::validate::validate;
use super::worker::{ChildLimits, run_side};
use super::workload::Workload;
use crate::replay::PaceMethod;
use crate::results::{CellDir, CellKey, Pass, Run};

/// The tables of a footprint pass of `side` on a workload: the same every time.
///
/// # Errors
/// Why the child gave no result, or why its result is void.
pub fn exact(side: &Side, workload: &Workload, settings: &Settings) -> Result<Run, MeasureError> {
    one_pass(ChildAddresses::Fixed, side, workload, settings)
}

fn one_pass(
    addresses: ChildAddresses,
    side: &Side,
    workload: &Workload,
    settings: &Settings,
) -> Result<Run, MeasureError> {
    let profile = workload.profile(Pass::Footprint);
    ChildFailure::of_footprint(profile, &side.backend, settings.memory_bytes)?;
    let folder = tempfile::Builder::new().prefix("heaplay-").tempdir();
    let folder = folder.map_err(io_error("a folder for the tables of a child"))?;
    let dir = CellDir::at(folder.path());
    let cell = CellKey {
        trace: workload.name().to_owned(),
        backend: side.backend.clone(),
        pass: Pass::Footprint,
        repetition: 0,
    };
    let failed = || io_error("a child for a footprint pass");
    let mut files = JobFiles::default();
    let (program, decoder) =
        workload.hand_over(&mut files, None, Pass::Footprint).map_err(failed())?;
    let task = Task::Measure(CellTask {
        cell: cell.clone(),
        isolated: None,
        program,
        sites: workload.share_sites(&mut files).map_err(failed())?,
        pace: workload.share_pace(&mut files, PaceMethod::ShowTimes).map_err(failed())?,
        collector: None,
        addresses,
        folder: dir.path().to_owned(),
        clock: settings.clock,
    });
    let limits = ChildLimits {
        time: settings.time_limit(workload.calls()),
        memory_bytes: settings.memory_bytes,
    };
    let answer = run_side(side, &Job::untimed(task), files, limits);
    if let Some(reason) = decoder.end(answer.is_ok()) {
        return Err(ChildFailure::Undecodable(reason).into());
    }
    answer?;
    let tables = dir.load()?;
    validate(&cell, workload, &tables)?;
    Ok(tables)
}

/// The same, where a file that cannot be written ends the run, and a backend that fails does not.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn footprint(
    backend: &str,
    workload: &Workload,
    settings: &Settings,
) -> Result<Result<Run, ChildFailure>, BenchError> {
    footprint_at(ChildAddresses::Fixed, backend, workload, settings)
}

/// The same, at such addresses.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn footprint_at(
    addresses: ChildAddresses,
    backend: &str,
    workload: &Workload,
    settings: &Settings,
) -> Result<Result<Run, ChildFailure>, BenchError> {
    match one_pass(addresses, &Side::of(backend), workload, settings) {
        Ok(tables) => Ok(Ok(tables)),
        Err(MeasureError::Child(failure)) => Ok(Err(failure)),
        Err(MeasureError::Bench(error)) => Err(error),
    }
}
