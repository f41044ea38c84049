//! One footprint pass of one backend, in a child of its own without address
//! randomisation, outside a run's cells: for a check that compares two sides, for a changed trace,
//! for an allocator's bounds. Asked for more than once, it tells the same each time.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{BenchError, io_error};
use super::pairs::Side;
use super::plan::{Job, Task};
use super::settings::Settings;
use super::validate::validate;
use super::worker::{Limits, Worker};
use super::workload::Loaded;
use crate::results::{CellKey, Pass, Run};

/// The tables of a footprint pass of `side` on the trace of that name.
///
/// # Errors
/// The child's reason, or why what it told is not believed.
pub fn exact(
    side: &Side,
    trace: &str,
    loaded: &Loaded,
    settings: &Settings,
) -> Result<Run, String> {
    footprint(side, trace, loaded, settings).map_err(|error| error.to_string())?
}

/// The same, where a file that cannot be written is another thing than a backend that fails.
///
/// # Errors
/// When a file cannot be written or the child not be started.
pub(super) fn footprint(
    side: &Side,
    trace: &str,
    loaded: &Loaded,
    settings: &Settings,
) -> Result<Result<Run, String>, BenchError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder =
        std::env::temp_dir().join(format!("heaplay-{}-exact-{number}", std::process::id()));
    fs::create_dir_all(&folder).map_err(io_error(folder.display().to_string()))?;
    let found = footprint_in(&folder, side, trace, loaded, settings);
    let _ = fs::remove_dir_all(&folder);
    found
}

fn footprint_in(
    folder: &Path,
    side: &Side,
    trace: &str,
    loaded: &Loaded,
    settings: &Settings,
) -> Result<Result<Run, String>, BenchError> {
    let cell = CellKey {
        trace: trace.to_owned(),
        backend: side.backend.clone(),
        pass: Pass::Footprint,
        repetition: 0,
    };
    let handover = loaded.hand(None).map_err(io_error("a pipe for the program"))?;
    let job = Job {
        task: Task::Measure {
            cell: cell.clone(),
            alone: None,
            program: handover.path(),
            births: loaded.sites_path(),
            pace: None,
            folder: folder.to_owned(),
            clock: settings.clock,
        },
        processor: None,
        time_slices: false,
    };
    let calls = loaded.program.calls();
    let limits = Limits { time: settings.time_limit(calls), memory_bytes: settings.memory_bytes };
    let ended = Worker::start_by(side.command(), &job, limits)
        .and_then(Worker::end)
        .map_err(io_error(side.executable().display().to_string()))?;
    let ended = ended.well();
    let decoded = handover.end(ended.is_ok());
    if let Err(reason) = ended.map_err(|reason| decoded.unwrap_or(reason)) {
        return Ok(Err(reason));
    }
    Ok(match validate(&cell, loaded, folder)? {
        Some(reason) => Err(reason),
        None => Ok(Run::load_tables(folder)?),
    })
}
