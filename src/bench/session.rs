//! Runs a plan. rayon maps over its batches, whose children leave cells, and what they leave is
//! folded into the run's tables.

use std::collections::HashSet;
use std::sync::Mutex;

use rayon::iter::{ParallelBridge, ParallelIterator};

use super::batch::{BatchContext, GivenUp, measure_batch};
use super::error::BenchError;
use super::finish::finish;
use super::interference::{Disturbance, side_by_side};
use super::machine::processors;
use super::plan::{batches, order};
use super::repetitions::go_on_until_decided;
use super::settings::Settings;
use super::worker::cancelled;
use super::workload::Workloads;
use crate::results::{CellKey, Outcome, Pass, Run, RunDir};

/// Hears of a run as it goes on.
pub trait Progress: Sync {
    /// A cell is done; `weight` is its share of the work, in calls.
    fn done(&self, outcome: &Outcome, weight: u64);
    /// So much further work came into the plan.
    fn more(&self, _weight: u64) {}
    /// Something that a person would want to know.
    fn note(&self, _text: String) {}
}

/// Measures every cell of the run in `dir` that is missing, then folds what there is into its
/// tables. Cells of a run that was cut off stay where they are, for another call.
///
/// # Errors
/// When the folder cannot be written. What was measured before stays.
pub fn run(
    dir: &mut RunDir,
    workloads: &Workloads,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Run, BenchError> {
    let tried: HashSet<CellKey> = dir.outcomes()?.iter().map(Outcome::cell).collect();
    let queue = order(dir.manifest(), &tried);
    let (timed, others): (Vec<CellKey>, Vec<CellKey>) =
        queue.into_iter().partition(|cell| cell.pass.is_timed());
    let (free, exact): (Vec<CellKey>, Vec<CellKey>) =
        others.into_iter().partition(|cell| cell.pass == Pass::Free);
    let given_up = GivenUp::default();
    // All exact cells come first, so that no timed cell has one beside it.
    let stage = |dir: &RunDir, cells: &[CellKey], jobs: usize| {
        measure_cells(cells, dir, workloads, (settings, jobs), &given_up, progress)
    };
    stage(dir, &exact, settings.jobs)?;
    // Threads that run at once need all processors.
    if !cancelled() {
        stage(dir, &free, 1)?;
    }
    if !timed.is_empty() && !cancelled() {
        let jobs = batches_at_once(dir, workloads, settings, progress)?;
        stage(dir, &timed, jobs)?;
        go_on_until_decided(dir, jobs, &|dir, cells| {
            let weights = cells.iter().filter_map(|cell| workloads.get(&cell.trace));
            progress.more(weights.map(|workload| workload.calls() as u64).sum());
            stage(dir, cells, jobs)
        })?;
    }
    threads(settings.jobs)?.install(|| finish(dir, workloads, settings))
}

/// Measures cells, so many batches at once. The order of the cells holds: whichever thread is free
/// takes the next batch.
fn measure_cells(
    cells: &[CellKey],
    dir: &RunDir,
    workloads: &Workloads,
    (settings, jobs): (&Settings, usize),
    given_up: &GivenUp,
    progress: &dyn Progress,
) -> Result<(), BenchError> {
    let processors = processors();
    let failure: Mutex<Option<BenchError>> = Mutex::new(None);
    let measure = |batch: Vec<CellKey>| {
        let has_failed = failure.lock().is_ok_and(|failure| failure.is_some());
        let Some(workload) = workloads.get(&batch[0].trace) else { return };
        if cancelled() || has_failed {
            return;
        }
        let thread = rayon::current_thread_index().unwrap_or(0);
        let processor = processors.get(thread).copied();
        let context = BatchContext { dir, settings, processor, given_up };
        match measure_batch(&batch, workload, &context) {
            Ok(outcomes) => {
                let weight = workload.calls() as u64;
                outcomes.iter().for_each(|outcome| progress.done(outcome, weight));
            }
            Err(error) => {
                if let Ok(mut failure) = failure.lock() {
                    failure.get_or_insert(error);
                }
            }
        }
    };
    threads(jobs)?.install(|| {
        batches(cells, |trace| workloads.demand(trace)).into_iter().par_bridge().for_each(measure)
    });
    failure.into_inner().ok().flatten().map_or(Ok(()), Err)
}

/// So many threads, each of which looks after a child, or a batch of them.
fn threads(jobs: usize) -> Result<rayon::ThreadPool, BenchError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.max(1)).build();
    pool.map_err(|error| BenchError::Io {
        what: "threads".into(),
        source: std::io::Error::other(error),
    })
}

/// How many batches run side by side. The manifest and `progress` get what was measured for it.
fn batches_at_once(
    dir: &mut RunDir,
    workloads: &Workloads,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<usize, BenchError> {
    let seed = dir.manifest().seed;
    let (jobs, found) = match side_by_side(workloads, settings, &processors(), seed) {
        Ok(found) => found,
        Err(reason) => {
            progress.note(format!("interference could not be measured: {reason}"));
            (settings.jobs, None)
        }
    };
    let mut facts = vec![("batches_at_once", jobs.to_string())];
    if let Some(found) = found {
        progress.note(sentence(&found, jobs, settings.are_jobs_fixed));
        let ((low, high), pairs) = (found.quartiles, found.pairs);
        facts.push(("busy_processors", found.busy_processors.to_string()));
        facts.push((
            "interference_ratio",
            format!("{:.3} ({low:.3} to {high:.3}, {pairs} pairs)", found.ratio),
        ));
    }
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value));
    dir.update_manifest(|manifest| manifest.settings.extend(facts))?;
    Ok(jobs)
}

fn sentence(found: &Disturbance, jobs: usize, are_jobs_fixed: bool) -> String {
    let (low, high) = found.quartiles;
    format!(
        "{} make a replay of {} take {:.2} times as long (quartiles {low:.2} to {high:.2}); {jobs} \
         batch{} at once{}",
        match found.busy_processors {
            1 => "calls on another processor",
            _ => "calls on the other processors",
        },
        found.trace,
        found.ratio,
        if jobs == 1 { "" } else { "es" },
        if are_jobs_fixed { ", as --jobs says" } else { "" },
    )
}
