//! A batch of cells that are measured together: their children, one for each cell or two for a
//! latency cell, and what becomes of what they leave.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::error::{BenchError, io_error};
use super::failure::ChildFailure;
use super::files::JobFiles;
use super::halves;
use super::handover::Decoder;
use super::job::{CellTask, ChildAddresses, Job, Task};
use super::settings::Settings;
use super::side::Side;
use super::time_slices::{memory_of, run_time_slices};
use super::validate::validate;
use super::worker::{ChildLimits, Worker, cancelled};
use super::workload::Workload;
use crate::replay::Isolated;
use crate::results::{CellDir, CellKey, Outcome, Pass, RunDir};

/// Where a batch runs, and where its cells go.
pub(super) struct BatchContext<'a> {
    pub dir: &'a RunDir,
    pub settings: &'a Settings,
    /// The processor of timed children.
    pub processor: Option<usize>,
    /// The cells that were stopped at a limit so far.
    pub given_up: &'a GivenUp,
}

/// Trace and backend of cells that were stopped at a limit, with the reason. A backend that did not
/// finish a trace once is not tried on it again.
#[derive(Default)]
pub(super) struct GivenUp(Mutex<HashMap<(String, String), String>>);

impl GivenUp {
    /// Why a cell is not worth trying.
    fn reason(&self, cell: &CellKey) -> Option<String> {
        let known = self.0.lock().ok()?;
        let reason = known.get(&(cell.trace.clone(), cell.backend.clone()))?;
        Some(format!("not tried again: a {reason}"))
    }

    /// Takes note of how a child of a cell ended.
    fn note(&self, cell: &CellKey, result: &Result<(), ChildFailure>) {
        if let (Err(failure), Ok(mut known)) = (result, self.0.lock())
            && failure.is_over_limit()
        {
            let reason = format!("{} pass of it was {failure}", cell.pass.name());
            known.entry((cell.trace.clone(), cell.backend.clone())).or_insert(reason);
        }
    }
}

/// What a child of a batch is for: a cell, or one half of a latency cell.
#[derive(Clone, Copy)]
struct CellPart<'a> {
    cell: &'a CellKey,
    isolated: Option<Isolated>,
}

impl CellPart<'_> {
    fn all_of(cell: &CellKey) -> Vec<CellPart<'_>> {
        match cell.pass {
            Pass::Latency => {
                Isolated::BOTH.map(|half| CellPart { cell, isolated: Some(half) }).to_vec()
            }
            Pass::Time
            | Pass::Footprint
            | Pass::Free
            | Pass::Touch
            | Pass::Cold
            | Pass::Traversal => {
                vec![CellPart { cell, isolated: None }]
            }
        }
    }

    fn is_second_half(&self) -> bool {
        self.isolated == Some(Isolated::Odd)
    }
}

/// What a child of a batch left.
struct MeasuredPart<'a> {
    cell: &'a CellKey,
    dir: CellDir,
    seconds: f64,
    result: Result<(), ChildFailure>,
}

/// Measures the cells of a batch, each in a child of its own, and commits them. Empty when the run
/// was cancelled meanwhile: a batch is whole or is done again.
pub(super) fn measure_batch(
    batch: &[CellKey],
    workload: &Workload,
    context: &BatchContext<'_>,
) -> Result<Vec<Outcome>, BenchError> {
    let mut outcomes = Vec::new();
    let mut parts = Vec::new();
    for cell in batch {
        let reason = context.given_up.reason(cell).or_else(|| needs_more(cell, workload, context));
        match reason {
            Some(reason) => {
                let outcome = Outcome::of(cell, 0.0, Err(reason));
                context.dir.commit(context.dir.begin_cell(cell)?, &outcome)?;
                outcomes.push(outcome);
            }
            None => parts.extend(CellPart::all_of(cell)),
        }
    }
    let Some(measured) = measure_halves(parts, workload, context)? else { return Ok(vec![]) };
    let mut measured = measured.into_iter().peekable();
    while let Some(mut part) = measured.next() {
        if let Some(second) = measured.next_if(|second| second.cell == part.cell) {
            part = joined(part, second, workload)?;
        }
        outcomes.push(commit(part, workload, context.dir)?);
    }
    Ok(outcomes)
}

/// Why a cell that touches its blocks needs more memory than its child may take.
fn needs_more(cell: &CellKey, workload: &Workload, context: &BatchContext<'_>) -> Option<String> {
    let (profile, limit_bytes) = (workload.profile(cell.pass), context.settings.memory_bytes);
    let fits = ChildFailure::of_footprint(profile, &cell.backend, limit_bytes);
    let touches = !matches!(cell.pass, Pass::Time | Pass::Latency);
    fits.err().filter(|_| touches).map(|failure| failure.to_string())
}

/// Runs the children of all parts; in the order of the plan what they left. `None` when the run was
/// cancelled.
fn measure_halves<'a>(
    parts: Vec<CellPart<'a>>,
    workload: &Workload,
    context: &BatchContext<'_>,
) -> Result<Option<Vec<MeasuredPart<'a>>>, BenchError> {
    // The halves are alive one after the other: as many children as in the time pass leave as much
    // of the caches to each.
    let (first, second): (Vec<CellPart>, Vec<CellPart>) =
        parts.into_iter().partition(|part| !part.is_second_half());
    let mut measured: Vec<MeasuredPart> = Vec::new();
    for mut together in [first, second] {
        // After a first half that failed, no second half is begun.
        together.retain(|part| {
            measured.iter().all(|other| other.cell != part.cell || other.result.is_ok())
        });
        if !together.is_empty() {
            measured.extend(run_children(&together, workload, context)?);
        }
        if cancelled() {
            return Ok(None);
        }
    }
    for part in &measured {
        context.given_up.note(part.cell, &part.result);
    }
    measured.sort_by_key(|part| context.dir.number(part.cell)); // first halves stay first
    Ok(Some(measured))
}

/// A child that was started, and the decoder of its program.
struct Started<'a> {
    cell: &'a CellKey,
    dir: CellDir,
    decoder: Decoder,
}

/// Runs the children of these parts together, in time slices where they are timed.
fn run_children<'a>(
    parts: &[CellPart<'a>],
    workload: &Workload,
    context: &BatchContext<'_>,
) -> Result<Vec<MeasuredPart<'a>>, BenchError> {
    let mut started = Vec::new();
    let mut workers = Vec::new();
    for part in parts {
        let (worker, child) = start(part, workload, context)?;
        workers.push(worker);
        started.push(child);
    }
    if parts[0].cell.pass.is_timed() {
        let limit = context.settings.memory_bytes;
        let memory = memory_of(workload.program.profile(), workers.len(), limit);
        let seed = context.dir.number(parts[0].cell) as u64;
        run_time_slices(&mut workers, context.processor, seed, memory);
    }
    // Every child is waited for before anything is validated, so that none is left behind.
    Ok(started.into_iter().zip(workers).map(|(child, worker)| end(child, worker)).collect())
}

/// Starts the child of one part.
fn start<'a>(
    part: &CellPart<'a>,
    workload: &Workload,
    context: &BatchContext<'_>,
) -> Result<(Worker, Started<'a>), BenchError> {
    let BatchContext { dir, settings, .. } = context;
    let (cell, is_timed) = (part.cell, part.cell.pass.is_timed());
    let dir =
        if part.is_second_half() { dir.begin_second_half(cell) } else { dir.begin_cell(cell) }?;
    let failed = || io_error(format!("a child for {}", dir.path().display()));
    let processor = context.processor.filter(|_| is_timed);
    let mut files = JobFiles::default();
    let (program, decoder) =
        workload.hand_over(&mut files, processor, cell.pass).map_err(failed())?;
    let (sites, pace) = match is_timed {
        true => (None, None),
        false => (
            workload.share_sites(&mut files).map_err(failed())?,
            workload.share_pace(&mut files, settings.pace_method()).map_err(failed())?,
        ),
    };
    let task = Task::Measure(CellTask {
        cell: cell.clone(),
        isolated: part.isolated,
        program,
        sites,
        pace,
        collector: workload.collector().filter(|_| cell.pass == Pass::Traversal),
        addresses: ChildAddresses::Fixed,
        folder: dir.path().to_owned(),
        clock: settings.clock,
    });
    let job = match is_timed {
        true => Job::timed(task, processor),
        false => Job::untimed(task),
    };
    let worker = Worker::start(&Side::of(&cell.backend), &job, files, limits(workload, settings));
    Ok((worker.map_err(failed())?, Started { cell, dir, decoder }))
}

fn limits(workload: &Workload, settings: &Settings) -> ChildLimits {
    let waiting: Duration = settings.waiting(workload);
    ChildLimits {
        time: settings.time_limit(workload.calls()) + waiting,
        memory_bytes: settings.memory_bytes,
    }
}

/// Waits for a child and for the decoder of its program.
fn end(child: Started<'_>, worker: Worker) -> MeasuredPart<'_> {
    let Started { cell, dir, decoder } = child;
    let began = worker.began();
    let mut result = worker.end().map(drop);
    // Of a trace that cannot be decoded the child knows only that no more of it came.
    if let Some(reason) = decoder.end(result.is_ok()) {
        result = Err(ChildFailure::Undecodable(reason));
    }
    MeasuredPart { cell, dir, seconds: began.elapsed().as_secs_f64(), result }
}

/// Makes one of the two halves of a latency cell.
fn joined<'a>(
    first: MeasuredPart<'a>,
    second: MeasuredPart<'a>,
    workload: &Workload,
) -> Result<MeasuredPart<'a>, BenchError> {
    let mut result = first.result.and(second.result);
    for half in [&first.dir, &second.dir] {
        if result.is_ok() {
            result = validate(first.cell, workload, &half.load()?);
        }
    }
    if result.is_ok() {
        result = halves::join(first.cell, [&first.dir, &second.dir])
            .map_err(|error| ChildFailure::Void(error.to_string()));
    }
    second.dir.remove();
    Ok(MeasuredPart { result, seconds: first.seconds + second.seconds, ..first })
}

/// Validates what a child left, and commits its cell.
fn commit(
    part: MeasuredPart<'_>,
    workload: &Workload,
    dir: &RunDir,
) -> Result<Outcome, BenchError> {
    let MeasuredPart { cell, dir: measured, seconds, result } = part;
    let result = match result {
        Ok(()) => validate(cell, workload, &measured.load()?),
        failed => failed,
    };
    let outcome = Outcome::of(cell, seconds, result.map_err(|failure| failure.to_string()));
    dir.commit(measured, &outcome)?;
    Ok(outcome)
}
