//! Runs a plan. rayon maps over its cells, each in a child process of its own
//! (`worker.rs`), and what they leave is reduced by merging.
//!
//! `plan.rs` says what is to be done and in which order, `batch.rs` lets the timed children of a
//! trace take turns, `interference.rs` says how many batches go side by side, `measure.rs` does one job
//! in the child (`page_rows.rs` has the rows of a heap seen page by page), `halves.rs` makes the
//! two passes of a latency repetition one, `compare.rs` holds two pool allocators against each
//! other, `confirm.rs` takes the median of each call over repetitions (`slow_calls.rs`,
//! `latency_map.rs` and `windows.rs` say what the tables keep of them), `what_if.rs` replays a
//! changed trace, `pairs.rs` times two sides against each other, `exact.rs` measures their memory,
//! `instructions.rs` counts theirs, `bounds.rs` an allocator that gives back at once and never,
//! `machine.rs` writes down where it ran.

mod batch;
mod bounds;
mod check_cell;
mod compare;
mod confirm;
mod demand;
mod exact;
mod grid;
mod halves;
mod handover;
mod identity;
mod injection;
mod instructions;
mod interference;
mod lanes;
mod latency_map;
mod machine;
mod measure;
mod operations;
mod page_rows;
pub mod pairs;
mod plan;
mod power_study;
mod race;
mod slow_calls;
mod suite;
mod what_if;
mod windows;
mod worker;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rayon::iter::{ParallelBridge, ParallelIterator};
use serde::{Deserialize, Serialize};

pub use check_cell::CheckCell;
pub use compare::{Comparison, arenas_at, compare, compare_recording};
pub use confirm::LEAST_REPETITIONS;
pub use demand::{Demand, DemandChange, DemandChanges};
pub use exact::exact;
pub use grid::{GridError, expand_grid};
pub use handover::Handover;
pub use identity::{are_identical, sha256_of_file};
pub use injection::{ExactInjection, InjectedEffect};
pub use instructions::{InstructionCounter, instructions, valgrind};
pub use machine::{available_bytes, fingerprint, processors, variables};
pub use plan::{Batch, ClockRate, Job, Pace, Task, batches, order};
pub use power_study::{Experiment, PowerStudy, Trial, TrialSeries};
pub use suite::Suite;
pub use what_if::{Saved, Saving, savings};
pub use worker::{CANCELLED, Ended, Limits, Worker, cancelled, serve};

use crate::program::{AllocationSites, Feed, Parts, Program, Times};
use crate::replay::Isolated;
use crate::results::{
    CellKey, Metric, Moment, Outcome, Pass, RecordError, Run, Sample, Scope, Status,
};

/// A compiled program in a memory file that children open by path; or the outline of one that is
/// too large for it, which is decoded for each child.
pub struct Loaded {
    /// The program, or its outline alone.
    pub program: Program,
    /// Who asked for each block; empty where the trace does not say.
    pub births: AllocationSites,
    /// When its calls were made; empty where the trace does not say.
    pub times: Times,
    program_file: ProgramFile,
    sites_file: Option<File>,
    times_file: Option<File>,
}

/// Where a program is.
enum ProgramFile {
    Compiled(File),
    /// The trace itself.
    Trace(PathBuf),
}

/// A memory file that `write` has filled.
fn memory_file(
    name: &str,
    write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> std::io::Result<File> {
    let file = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?);
    let mut writer = BufWriter::new(&file);
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    Ok(file)
}

/// Under which children of this process find `file`, while it is open.
fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}

impl Loaded {
    /// Puts `program`, its sites and its times, where it has any, into memory files.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new(program: Program, births: AllocationSites, times: Times) -> std::io::Result<Loaded> {
        let file = memory_file("heaplay-program", |out| program.write(out))?;
        let sites_file = match births.is_empty() {
            true => None,
            false => Some(memory_file("heaplay-births", |out| births.write(out))?),
        };
        let times_file = match times.is_empty() {
            true => None,
            false => Some(memory_file("heaplay-times", |out| times.write(out))?),
        };
        Ok(Loaded {
            program,
            births,
            times,
            program_file: ProgramFile::Compiled(file),
            sites_file,
            times_file,
        })
    }

    /// The trace at `path`, of which `program` is the outline: children get it in parts.
    ///
    /// # Errors
    /// When there is no memory for the times.
    pub fn in_parts(program: Program, times: Times, path: &Path) -> std::io::Result<Loaded> {
        let times_file = match times.is_empty() {
            true => None,
            false => Some(memory_file("heaplay-times", |out| times.write(out))?),
        };
        let program_file = ProgramFile::Trace(path.to_owned());
        Ok(Loaded {
            program,
            births: AllocationSites::default(),
            times,
            program_file,
            sites_file: None,
            times_file,
        })
    }

    /// A path under which this process's children find the program, while this lives. A program in
    /// parts has none: only [`Loaded::hand`] gives it out.
    pub fn path(&self) -> PathBuf {
        match &self.program_file {
            ProgramFile::Compiled(file) => path_of(file),
            ProgramFile::Trace(_) => PathBuf::new(),
        }
    }

    /// The program for a child that measures on `processor`.
    ///
    /// # Errors
    /// When there is no pipe or thread for a program in parts.
    pub fn hand(&self, processor: Option<usize>) -> std::io::Result<Handover> {
        match &self.program_file {
            ProgramFile::Compiled(file) => Ok(Handover::by_file(path_of(file))),
            ProgramFile::Trace(path) => Handover::by_pipe(path, self.program.outline(), processor),
        }
    }

    /// The program as this process walks it itself; `handover` brings the parts.
    ///
    /// # Errors
    /// When they do not begin.
    fn feed(&self, handover: &Handover) -> std::io::Result<Feed<'_>> {
        if self.program.is_whole() {
            return Ok((&self.program).into());
        }
        let input: Box<dyn Read> =
            Box::new(BufReader::with_capacity(1 << 16, File::open(handover.path())?));
        Ok(Parts::begin(input)?.into())
    }

    /// What a footprint pass at `pace` waits by.
    fn pace(&self, pace: Option<f64>) -> Option<Pace> {
        Some(Pace { times: path_of(self.times_file.as_ref()?), factor: pace? })
    }

    /// The same for the sites.
    pub fn sites_path(&self) -> Option<PathBuf> {
        self.sites_file.as_ref().map(path_of)
    }
}

/// How a run is carried out.
pub struct Settings {
    /// Children at once.
    pub jobs: usize,
    /// Whether somebody told that number. Else fewer timed ones run side by side where neighbours
    /// disturb.
    pub jobs_told: bool,
    /// The bounds of a child; the time grows with the trace by [`Settings::time_limit`].
    pub memory_bytes: u64,
    /// Wall time for a child, `None` for a minute and 20 µs a call.
    pub timeout: Option<Duration>,
    /// Seconds that a footprint pass takes for a second of the program, where it is to wait for the
    /// program's own times; only allocators that go by the clock are made to.
    pub pace: Option<f64>,
    /// The clock.
    pub clock: ClockRate,
}

impl Settings {
    /// The time a child gets for a program of so many calls.
    pub fn time_limit(&self, calls: usize) -> Duration {
        self.timeout.unwrap_or(
            Duration::from_secs(60)
                + Duration::from_micros(20) * calls.try_into().unwrap_or(u32::MAX),
        )
    }

    /// How long a pass waits for the program's own times, all in all.
    fn waiting(&self, loaded: &Loaded) -> Duration {
        let seconds = loaded.times.last_ns() as f64 / 1e9 * self.pace.unwrap_or(0.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
    }
}

/// Told as a run goes on.
pub trait Progress: Sync {
    /// A cell is done; `weight` is its share of the work, in calls.
    fn done(&self, outcome: &Outcome, weight: u64);
    /// Something that a person would want to know.
    fn note(&self, _words: String) {}
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The folder cannot be written; what was measured before stays in it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file or a child.
    #[error("{what}: {source}{}", crate::trace::advice(source))]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

fn io_error(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    let what = what.into();
    move |source| BenchError::Io { what, source }
}

/// How long a child may take to tell its version: a library that hangs when it is loaded is found
/// out here.
const VERSION_TIME: Duration = Duration::from_secs(30);

/// Asks a child for a backend's version, so that a library that crashes on load, or hangs, costs
/// only that.
///
/// # Errors
/// The child's reason.
pub fn version(backend: &str, timeout: Option<Duration>) -> Result<String, String> {
    let job = Job {
        task: Task::Version { backend: backend.to_owned() },
        processor: None,
        time_slices: false,
    };
    let time = timeout.map_or(VERSION_TIME, |timeout| timeout.min(VERSION_TIME));
    let limits = Limits { time, memory_bytes: available_bytes() };
    let ended = worker::run(&job, limits).map_err(|error| error.to_string())?;
    Ok(ended.well()?.trim().to_owned())
}

/// What proving a backend found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verified {
    /// It kept every rule, in so many calls.
    Proved(u64),
    /// It broke one: which, and where.
    Broken(String),
}

/// Proves a backend in a child: on a program, or, without one, on what programs seldom do
/// ([`crate::replay::contract`]). A child that crashes has broken a rule.
///
/// # Errors
/// Why it could not be tried, or not to the end.
pub fn verify(
    backend: &str,
    loaded: Option<&Loaded>,
    settings: &Settings,
) -> Result<Verified, String> {
    let job = Job {
        task: Task::Verify { backend: backend.to_owned(), program: loaded.map(Loaded::path) },
        processor: None,
        time_slices: false,
    };
    let calls = loaded.map_or(0, |loaded| loaded.program.calls());
    let limits =
        Limits { time: settings.time_limit(calls) * 4, memory_bytes: settings.memory_bytes };
    match worker::run(&job, limits).map_err(|error| error.to_string())? {
        Ended::Killed(reason) => Ok(Verified::Broken(reason)),
        ended => serde_json::from_str(&ended.well()?)
            .map_err(|error| format!("the child's words are not its result: {error}")),
    }
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

/// Where a batch runs and where its cells go.
struct Place<'a> {
    cells: &'a Path,
    numbers: &'a HashMap<&'a CellKey, usize>,
    processor: Option<usize>,
    /// Trace and backend of cells that were ended at a limit, with the reason: what did not finish
    /// once is not tried again.
    stopped: &'a Mutex<HashMap<(String, String), String>>,
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
fn measure_batch(
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
            Some(reason) => outcomes.push(keep(
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
        outcomes.push(keep(entry.cell, loaded, &part, seconds, end)?);
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
        let memory =
            batch::memory_of(loaded.program.profile(), workers.len(), settings.memory_bytes);
        batch::take_time_slices(
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

/// Holds what a child left against the program, marks the cell's folder as whole and gives it its
/// name.
fn keep(
    cell: &CellKey,
    loaded: &Loaded,
    part: &Path,
    seconds: f64,
    ended: Ended,
) -> Result<Outcome, BenchError> {
    let reason = match ended.well() {
        Err(reason) => reason,
        Ok(_) => validate(cell, loaded, part)?.unwrap_or_default(),
    };
    let status = if reason.is_empty() { Status::Ok } else { Status::Error };
    if status == Status::Error {
        // What a broken child left is not to be believed.
        let _ = fs::remove_dir_all(part);
        fs::create_dir_all(part).map_err(io_error(part.display().to_string()))?;
    }
    let outcome = Outcome {
        trace: cell.trace.clone(),
        backend: cell.backend.clone(),
        pass: cell.pass,
        repetition: cell.repetition,
        status,
        seconds,
        reason,
    };
    let mut tables = Run::new(Default::default());
    tables.outcomes.push(outcome.clone());
    tables.save_outcomes(part)?;
    let folder = part.with_extension("");
    fs::rename(part, &folder).map_err(io_error(folder.display().to_string()))?;
    Ok(outcome)
}

/// Holds what a child reports against what the parent knows of the program: as many calls of each
/// kind, as many bytes.
fn validate(cell: &CellKey, loaded: &Loaded, folder: &Path) -> Result<Option<String>, BenchError> {
    let tables = Run::load_tables(folder)?;
    let profile = loaded.program.profile();
    let reported = |op: Scope, metric: Metric| {
        tables.values(&cell.trace, &cell.backend, op, metric).first().copied()
    };
    let mut expected: Vec<(Scope, Metric, u64)> = Vec::new();
    if cell.pass == Pass::Time {
        expected.push((Scope::All, Metric::Calls, profile.total_calls()));
    } else {
        for action in crate::program::Action::ALL {
            expected.push((
                operations::scope_of(action),
                Metric::Calls,
                profile.calls[action as usize],
            ));
        }
    }
    if cell.pass == Pass::Footprint {
        expected.push((Scope::All, Metric::LivePeakBytes, profile.live_peak_bytes));
        expected.push((Scope::All, Metric::LiveEndBytes, profile.live_end_bytes));
    }
    if let Some(reason) = validate_attribution(cell, loaded.births.marks(), &tables) {
        return Ok(Some(reason));
    }
    Ok(expected.into_iter().find(|(op, metric, value)| reported(*op, *metric) != Some(*value as f64)).map(
        |(op, metric, value)| {
            format!(
                "the child reports {:?} for {metric} of {op}, and the trace has {value}: the measurement is void",
                reported(op, metric)
            )
        },
    ))
}

/// What is charged to the lines must be what is stranded, to the byte.
fn validate_attribution(cell: &CellKey, marks: &[u64], tables: &Run) -> Option<String> {
    let figure =
        |metric| tables.values(&cell.trace, &cell.backend, Scope::All, metric).first().copied();
    let known = [
        (
            Moment::Peak,
            figure(Metric::PagesInUseAtLivePeakBytes),
            figure(Metric::UsableAtLivePeakBytes),
        ),
        (Moment::End, figure(Metric::PagesInUseEndBytes), figure(Metric::UsableEndBytes)),
    ];
    let at_mark = |(number, mark): (u16, &u64)| {
        let sample = tables.samples.iter().find(|sample| sample.event == *mark);
        let figure = |of: fn(&Sample) -> u64| sample.map(|sample| of(sample) as f64);
        (
            Moment::Mark(number),
            figure(|sample| sample.pages_in_use_bytes),
            figure(|sample| sample.usable_bytes),
        )
    };
    for (moment, pinned, usable) in known.into_iter().chain((1..).zip(marks).map(at_mark)) {
        let (Some(pinned), Some(usable)) = (pinned, usable) else { continue };
        let mut charges = tables
            .attributions
            .iter()
            .filter(|attribution| attribution.moment == moment)
            .peekable();
        if charges.peek().is_none() {
            continue;
        }
        let charged: u64 =
            charges.map(|attribution| attribution.external_fragmentation_bytes).sum();
        if charged as f64 != pinned - usable {
            return Some(format!(
                "the child charges {charged} bytes to the program's lines, and {} are stranded: the measurement is void",
                pinned - usable
            ));
        }
    }
    None
}

/// Confirms latencies, writes the tables, and removes the cells once all of them are in.
fn finish(
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
