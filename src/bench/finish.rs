//! The end of a run, once all cells are there: latencies are confirmed, allocators that return memory
//! after a delay get their range, the tables are written.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::{BenchError, io_error};
use super::settings::Settings;
use super::workload::Loaded;
use super::{bounds, confirm, measure, what_if};
use crate::results::{CellKey, Metric, Pass, Run, Scope};

/// Confirms latencies, writes the tables, and removes the cells once all of them are in.
pub(super) fn finish(
    folder: &Path,
    cells: &Path,
    programs: &HashMap<String, Loaded>,
    numbers: &HashMap<&CellKey, usize>,
    settings: &Settings,
) -> Result<Run, BenchError> {
    let mut run = Run::load(folder)?;
    if !run.missing().is_empty() {
        return Ok(run);
    }
    for trace in &run.manifest.traces.clone() {
        let Some(loaded) = programs.get(&trace.name) else { continue };
        for backend in &run.manifest.backends.clone() {
            let files: Vec<(u32, PathBuf)> = (0..run.manifest.repetitions)
                .filter_map(|repetition| {
                    let cell = CellKey {
                        trace: trace.name.clone(),
                        backend: backend.name.clone(),
                        pass: Pass::Latency,
                        repetition,
                    };
                    let number = numbers.get(&cell)?;
                    let path = cells.join(format!("{number:05}")).join(measure::BUCKETS);
                    path.exists().then_some((repetition, path))
                })
                .collect();
            let pairs =
                run.values(&trace.name, &backend.name, Scope::All, Metric::ClockPairNanoseconds);
            let pair_ns = crate::stats::median(&pairs).unwrap_or(0.0);
            let of = confirm::Of { trace: &trace.name, backend: &backend.name, loaded, pair_ns };
            let confirmed = confirm::confirm(&of, &files, &cells.join("medians.bin"));
            if let Some(confirmed) = confirmed.map_err(io_error("confirming latencies"))? {
                run.remove_confirmed(&trace.name, &backend.name);
                run.absorb(confirmed);
            }
        }
    }
    run.what_ifs = what_if::check(&run, programs, settings)?;
    if settings.pace.is_none() {
        let bounds = bounds::check(&run, programs, settings)?;
        run.measurements.extend(bounds);
    }
    run.save(folder)?;
    fs::remove_dir_all(cells).map_err(io_error(cells.display().to_string()))?;
    Ok(run)
}
