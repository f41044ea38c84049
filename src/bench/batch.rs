//! A batch of cells that are measured together: their children, one for each cell or two for a
//! latency cell, and what becomes of what they leave.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::commit::commit;
use super::error::{BenchError, io_error};
use super::halves;
use super::plan::{Job, Task};
use super::settings::Settings;
use super::time_slices::{memory_of, take_time_slices};
use super::validate::validate;
use super::worker::{Ended, Limits, Worker, cancelled};
use super::workload::Loaded;
use crate::replay::Isolated;
use crate::results::{CellKey, Outcome, Pass};

/// Where a batch runs and where its cells go.
pub(super) struct Place<'a> {
    pub(super) cells: &'a Path,
    pub(super) numbers: &'a HashMap<&'a CellKey, usize>,
    pub(super) processor: Option<usize>,
    /// Trace and backend of cells that were ended at a limit, with the reason: what did not finish
    /// once is not tried again.
    pub(super) stopped: &'a Mutex<HashMap<(String, String), String>>,
}

impl Place<'_> {
    /// Why a cell is not worth trying.
    fn given_up(&self, cell: &CellKey) -> Option<String> {
        let stopped = self.stopped.lock().ok()?;
        let reason = stopped.get(&(cell.trace.clone(), cell.backend.clone()))?;
        Some(format!("not tried again: a {reason}"))
    }

    /// Takes note of how a cell ended.
    fn ended(&self, cell: &CellKey, ended: &Ended) {
        if let (Ended::Stopped(reason), Ok(mut stopped)) = (ended, self.stopped.lock()) {
            let reason = format!("{} pass of it was {reason}", cell.pass.name());
            stopped.entry((cell.trace.clone(), cell.backend.clone())).or_insert(reason);
        }
    }

    /// A fresh folder for what the child of an entry leaves.
    fn fresh_part(&self, entry: &Entry) -> Result<PathBuf, BenchError> {
        let part = self.part(entry);
        let _ = fs::remove_dir_all(&part);
        let _ = fs::remove_dir_all(self.folder(entry.cell));
        fs::create_dir_all(&part).map_err(io_error(part.display().to_string()))?;
        Ok(part)
    }

    /// Where that is.
    fn part(&self, entry: &Entry) -> PathBuf {
        let suffix = if entry.alone == Some(Isolated::Odd) { "part2" } else { "part" };
        self.folder(entry.cell).with_extension(suffix)
    }

    fn folder(&self, cell: &CellKey) -> PathBuf {
        self.cells.join(format!("{:05}", self.numbers[cell]))
    }
}

/// What a child of a batch is for: a cell, or one of the two passes of a latency cell.
#[derive(Clone, Copy)]
struct Entry<'a> {
    cell: &'a CellKey,
    alone: Option<Isolated>,
}

impl Entry<'_> {
    /// The entries of a cell; the halves of a latency cell.
    fn of(cell: &CellKey) -> Vec<Entry<'_>> {
        match cell.pass {
            Pass::Latency => {
                Isolated::BOTH.map(|alone| Entry { cell, alone: Some(alone) }).to_vec()
            }
            Pass::Time | Pass::Footprint => vec![Entry { cell, alone: None }],
        }
    }
}

/// Measures the cells of a batch, each in a child of its own, and leaves their folders. Empty when
/// the run was cancelled meanwhile: a batch is whole or is done again.
pub(super) fn measure_batch(
    batch: &[CellKey],
    loaded: &Loaded,
    place: &Place<'_>,
    settings: &Settings,
) -> Result<Vec<Outcome>, BenchError> {
    let mut outcomes = Vec::new();
    let mut entries = Vec::new();
    for cell in batch {
        let all = Entry::of(cell);
        match place.given_up(cell) {
            Some(reason) => outcomes.push(commit(
                cell,
                loaded,
                &place.fresh_part(&all[0])?,
                0.0,
                Ended::Badly(reason),
            )?),
            None => entries.extend(all),
        }
    }
    // The halves are alive one after the other: as many children as in the time pass leave as much
    // of the caches to each.
    let (first, second): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.alone != Some(Isolated::Odd));
    let mut ended: Vec<(Entry, f64, Ended)> = Vec::new();
    for mut race in [first, second] {
        // What did not end well the first time is not begun a second.
        race.retain(|entry| {
            let mut known = ended.iter().filter(|(other, ..)| other.cell == entry.cell);
            known.all(|(_, _, end)| matches!(end, Ended::Well(_)))
        });
        if !race.is_empty() {
            ended.extend(run_race(&race, loaded, place, settings)?);
        }
        if cancelled() {
            return Ok(vec![]);
        }
    }
    ended.sort_by_key(|(entry, ..)| place.numbers[entry.cell]);
    let mut ended = ended.into_iter().peekable();
    while let Some((entry, mut seconds, mut end)) = ended.next() {
        let part = place.part(&entry);
        place.ended(entry.cell, &end);
        if let Some((half, more, other)) = ended.next_if(|(half, ..)| half.cell == entry.cell) {
            place.ended(half.cell, &other);
            seconds += more;
            let second = place.part(&half);
            end = match (end, other) {
                (Ended::Well(_), Ended::Well(text)) => {
                    match joined(half.cell, loaded, [&part, &second])? {
                        None => Ended::Well(text),
                        Some(reason) => Ended::Badly(reason),
                    }
                }
                (Ended::Well(_), bad) | (bad, _) => bad,
            };
            let _ = fs::remove_dir_all(second);
        }
        outcomes.push(commit(entry.cell, loaded, &part, seconds, end)?);
    }
    Ok(outcomes)
}

/// Makes one of what two children left; why that cannot be, if so.
fn joined(
    cell: &CellKey,
    loaded: &Loaded,
    halves: [&Path; 2],
) -> Result<Option<String>, BenchError> {
    for half in halves {
        if let Some(reason) = validate(cell, loaded, half)? {
            return Ok(Some(reason));
        }
    }
    Ok(halves::join(cell, halves).err().map(|error| error.to_string()))
}

/// Runs the children of these entries together, in turns where they are timed; how each ended, and
/// after how many seconds.
fn run_race<'a>(
    entries: &[Entry<'a>],
    loaded: &Loaded,
    place: &Place<'_>,
    settings: &Settings,
) -> Result<Vec<(Entry<'a>, f64, Ended)>, BenchError> {
    let timed = entries[0].cell.pass != Pass::Footprint;
    let mut workers = Vec::new();
    let mut handovers = Vec::new();
    for entry in entries {
        let part = place.fresh_part(entry)?;
        let processor = place.processor.filter(|_| timed);
        let handover = loaded.hand(processor).map_err(io_error("a pipe for the program"))?;
        let job = Job {
            task: Task::Measure {
                cell: entry.cell.clone(),
                alone: entry.alone,
                program: handover.path(),
                births: loaded.sites_path().filter(|_| !timed),
                pace: loaded.pace(settings.pace).filter(|_| !timed),
                folder: part.clone(),
                clock: settings.clock,
            },
            processor,
            time_slices: timed,
        };
        let calls = loaded.program.calls();
        let limits = Limits {
            time: settings.time_limit(calls) + settings.waiting(loaded),
            memory_bytes: settings.memory_bytes,
        };
        let worker = Worker::start(&job, limits)
            .map_err(io_error(format!("a child for {}", part.display())))?;
        workers.push(worker);
        handovers.push(handover);
    }
    if timed {
        let memory = memory_of(loaded.program.profile(), workers.len(), settings.memory_bytes);
        take_time_slices(
            &mut workers,
            place.processor,
            place.numbers[entries[0].cell] as u64,
            memory,
        );
    }
    // Every child is waited for before anything is believed, so that none is left behind.
    let mut ended = Vec::new();
    for (&entry, (worker, handover)) in entries.iter().zip(workers.into_iter().zip(handovers)) {
        let began = worker.began();
        let mut end = worker.end();
        let well = matches!(end, Ok(Ended::Well(_)));
        if let (Some(reason), Ok(end)) = (handover.end(well), &mut end) {
            *end = Ended::Badly(reason); // the child knows only that no more came
        }
        ended.push((entry, began.elapsed().as_secs_f64(), end));
    }
    let failed = |entry: &Entry| format!("a child for {}", place.part(entry).display());
    ended
        .into_iter()
        .map(|(entry, seconds, end)| Ok((entry, seconds, end.map_err(io_error(failed(&entry)))?)))
        .collect()
}
