//! The end of a run, once all cells are there: latencies are confirmed, allocators that return
//! memory after a delay get their range, the predictions of the attribution are checked, and the
//! cells are folded into the tables.

use std::path::PathBuf;

use super::error::{BenchError, io_error};
use super::settings::Settings;
use super::workload::{Workload, Workloads};
use super::{bounds, confirm, what_if};
use crate::results::{CellKey, Metric, Pass, Run, RunDir, Scope};
use crate::stats;

/// Loads the run, and completes it if no cell is missing.
pub(super) fn finish(
    dir: &RunDir,
    workloads: &Workloads,
    settings: &Settings,
) -> Result<Run, BenchError> {
    let mut run = dir.load()?;
    if !run.missing().is_empty() {
        return Ok(run);
    }
    for workload in workloads {
        for backend in &run.manifest.backends.clone() {
            confirm_latencies(&mut run, dir, workload, &backend.name)?;
        }
    }
    run.what_ifs = what_if::check(&run, workloads, settings)?;
    if settings.pace.is_none() {
        let bounds = bounds::check(&run, workloads, settings)?;
        run.measurements.extend(bounds);
    }
    dir.fold(&run)?;
    Ok(run)
}

/// Confirms the latencies of one trace and backend, where repetitions of them are there.
fn confirm_latencies(
    run: &mut Run,
    dir: &RunDir,
    workload: &Workload,
    backend: &str,
) -> Result<(), BenchError> {
    let trace = workload.name();
    let call_times = |repetition: u32| -> Option<(u32, PathBuf)> {
        let (trace, backend) = (trace.to_owned(), backend.to_owned());
        let cell = CellKey { trace, backend, pass: Pass::Latency, repetition };
        let path = dir.committed_cell(&cell)?.call_times();
        path.exists().then_some((repetition, path))
    };
    let files: Vec<(u32, PathBuf)> = (0..run.manifest.repetitions).filter_map(call_times).collect();
    let pairs = run.values(trace, backend, Scope::All, Metric::ClockPairNanoseconds);
    let pair_ns = stats::median(&pairs).unwrap_or(0.0);
    let of = confirm::Confirmed { workload, backend, pair_ns };
    let confirmed = confirm::confirm(&of, &files, &dir.scratch("medians.bin"));
    if let Some(confirmed) = confirmed.map_err(io_error("confirming latencies"))? {
        run.remove_confirmed(trace, backend);
        run.absorb(confirmed);
    }
    Ok(())
}
