//! Room `bench`: one footprint pass of one side, in a child of its own without address randomisation, for a check that
//! compares two sides. It is asked for more than once, and what it tells must be the same each time.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pairs::Side;
use super::plan::{Job, Task};
use super::worker::{Ended, Limits, Worker};
use super::{Loaded, Settings, doubt};
use crate::results::{Cell, Pass, Run};

/// The tables of a footprint pass of `side` on the trace of that name.
///
/// # Errors
/// The child's reason, or why what it told is not believed.
pub fn exact(side: &Side, trace: &str, loaded: &Loaded, settings: &Settings) -> Result<Run, String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("heaplay-{}-exact-{number}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let cell =
        Cell { trace: trace.to_owned(), backend: side.backend.clone(), pass: Pass::Footprint, repetition: 0 };
    let job = Job {
        task: Task::Measure {
            cell: cell.clone(),
            program: loaded.path(),
            births: loaded.births_path(),
            pace: None,
            folder: folder.clone(),
            clock: settings.clock,
        },
        processor: None,
        turns: false,
    };
    let limits = Limits {
        time: settings.time_limit(loaded.program.instructions().len()),
        memory_bytes: settings.memory_bytes,
    };
    let ended = Worker::start_by(side.command(), &job, limits)
        .and_then(Worker::end)
        .map_err(|error| format!("{}: {error}", side.executable().display()));
    let tables = ended.and_then(Ended::well).and_then(|_| match doubt(&cell, loaded, &folder) {
        Ok(None) => Run::load_tables(&folder).map_err(|error| error.to_string()),
        Ok(Some(reason)) => Err(reason),
        Err(error) => Err(error.to_string()),
    });
    let _ = fs::remove_dir_all(&folder);
    tables
}
