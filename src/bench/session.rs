//! Runs a plan: rayon maps over its batches, whose children leave cells, and what they leave is
//! folded into the run's tables.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use rayon::iter::{ParallelBridge, ParallelIterator};

use super::batch::{Place, measure_batch};
use super::error::{BenchError, io_error};
use super::finish::finish;
use super::interference;
use super::machine::processors;
use super::plan::{batches, order};
use super::settings::Settings;
use super::worker::cancelled;
use super::workload::Loaded;
use crate::results::{CellKey, Outcome, Pass, Run};

/// Told as a run goes on.
pub trait Progress: Sync {
    /// A cell is done; `weight` is its share of the work, in calls.
    fn done(&self, outcome: &Outcome, weight: u64);
    /// Something that a person would want to know.
    fn note(&self, _words: String) {}
}

/// Runs every cell of the run in `folder` that is not done, then folds what there is into its
/// tables. Cells of a run that was cut off stay where they are, for another call.
///
/// # Errors
/// When the folder cannot be written. What was measured before stays.
pub fn run(
    folder: &Path,
    programs: &HashMap<String, Loaded>,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Run, BenchError> {
    let run = Run::load(folder)?;
    let done: HashSet<CellKey> = run.outcomes.iter().map(Outcome::cell).collect();
    let queue = order(&run.manifest, &done);
    let planned = run.manifest.planned();
    let numbers: HashMap<&CellKey, usize> =
        planned.iter().enumerate().map(|(number, cell)| (cell, number)).collect();
    let cells = folder.join("cells");
    fs::create_dir_all(&cells).map_err(io_error(cells.display().to_string()))?;
    let processors = processors();
    let failure: Mutex<Option<BenchError>> = Mutex::new(None);
    let stopped = Mutex::default();
    // The queue's order is kept: whichever thread is free takes the next batch. Exact cells first,
    // all of them, so that no timed cell has one for a neighbour.
    for exact in [true, false] {
        let stage: Vec<CellKey> =
            queue.iter().filter(|cell| (cell.pass == Pass::Footprint) == exact).cloned().collect();
        let timed = !exact && !stage.is_empty() && !cancelled();
        let jobs = if timed {
            beside(folder, programs, settings, &processors, progress)?
        } else {
            settings.jobs
        };
        threads(jobs)?.install(|| {
            let calls =
                |trace: &str| programs.get(trace).map_or(0, |l| l.program.instructions().len());
            batches(&stage, calls).into_iter().par_bridge().for_each(|batch| {
                let failed = failure.lock().is_ok_and(|failure| failure.is_some());
                let Some(loaded) = programs.get(&batch[0].trace) else { return };
                if cancelled() || failed {
                    return;
                }
                let thread = rayon::current_thread_index().unwrap_or(0);
                let processor = processors.get(thread).copied();
                let place =
                    Place { cells: &cells, numbers: &numbers, processor, stopped: &stopped };
                match measure_batch(&batch, loaded, &place, settings) {
                    Ok(outcomes) => {
                        let weight = loaded.program.calls() as u64;
                        outcomes.iter().for_each(|outcome| progress.done(outcome, weight));
                    }
                    Err(error) => {
                        if let Ok(mut failure) = failure.lock() {
                            failure.get_or_insert(error);
                        }
                    }
                }
            });
        });
    }
    if let Some(error) = failure.into_inner().ok().flatten() {
        return Err(error);
    }
    threads(settings.jobs)?.install(|| finish(folder, &cells, programs, &numbers, settings))
}

/// So many threads, each of which looks after a child, or a batch of them.
fn threads(jobs: usize) -> Result<rayon::ThreadPool, BenchError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.max(1)).build();
    pool.map_err(|error| BenchError::Io {
        what: "threads".into(),
        source: std::io::Error::other(error),
    })
}

/// How many batches run side by side; what was measured for it goes into the manifest, and is told.
fn beside(
    folder: &Path,
    programs: &HashMap<String, Loaded>,
    settings: &Settings,
    processors: &[usize],
    progress: &dyn Progress,
) -> Result<usize, BenchError> {
    let mut manifest = Run::load(folder)?.manifest;
    let (jobs, found) =
        match interference::side_by_side(programs, settings, processors, manifest.seed) {
            Ok(found) => found,
            Err(reason) => {
                progress
                    .note(format!("how much neighbours disturb could not be measured: {reason}"));
                (settings.jobs, None)
            }
        };
    let mut facts = vec![("batches_at_once", jobs.to_string())];
    if let Some(found) = found {
        let (low, high) = found.quartiles;
        let others = if found.neighbours == 1 {
            "a busy neighbouring processor makes"
        } else {
            "busy neighbouring processors make"
        };
        progress.note(format!(
            "{others} a replay of {} take {:.2} times as long (quartiles {low:.2} to {high:.2}); {jobs} batch{} at once{}",
            found.trace,
            found.ratio,
            if jobs == 1 { "" } else { "s" },
            if settings.jobs_told { ", as --jobs says" } else { "" },
        ));
        facts.push(("neighbours", found.neighbours.to_string()));
        facts.push((
            "neighbours_ratio",
            format!("{:.3} ({low:.3} to {high:.3}, {} pairs)", found.ratio, found.pairs),
        ));
    }
    manifest.settings.extend(facts.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Run::new(manifest).save_manifest(folder)?;
    Ok(jobs)
}
