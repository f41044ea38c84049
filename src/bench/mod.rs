//! Room `bench`: runs a plan. rayon maps over its cells, each in a child process of its own (`worker.rs`), and what they
//! leave is reduced by merging.
//!
//! `plan.rs` says what is to be done and in which order, `heat.rs` lets the timed children of a trace take turns,
//! `measure.rs` does one job in the child, `confirm.rs` takes the
//! median of each call over repetitions, `machine.rs` writes down where it ran.

mod confirm;
mod heat;
mod machine;
mod measure;
mod plan;
mod worker;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rayon::iter::{ParallelBridge, ParallelIterator};

pub use confirm::LEAST_REPETITIONS;
pub use machine::{available_bytes, fingerprint, processors};
pub use plan::{ClockRate, Heat, Job, Task, heats, order};
pub use worker::{CANCELLED, Ended, Limits, Worker, cancelled, serve};

use crate::program::Program;
use crate::results::{Cell, Outcome, Pass, RecordError, Run, Status};

/// A compiled program in a memory file that children open by path.
pub struct Loaded {
    /// The program.
    pub program: Program,
    file: File,
}

impl Loaded {
    /// Puts `program` into a memory file.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(program: Program) -> std::io::Result<Loaded> {
        let file = File::from(rustix::fs::memfd_create("heaplay-program", rustix::fs::MemfdFlags::CLOEXEC)?);
        let mut writer = BufWriter::new(&file);
        program.write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        Ok(Loaded { program, file })
    }

    /// A path under which this process's children find it, while this lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }
}

/// How a run is carried out.
pub struct Settings {
    /// Children at once.
    pub jobs: usize,
    /// The bounds of a child; the time grows with the trace by [`Settings::time_limit`].
    pub memory_bytes: u64,
    /// Wall time for a child, `None` for a minute and 20 µs a call.
    pub timeout: Option<Duration>,
    /// The clock.
    pub clock: ClockRate,
}

impl Settings {
    /// The time a child gets for a program of so many calls.
    pub fn time_limit(&self, calls: usize) -> Duration {
        self.timeout.unwrap_or(
            Duration::from_secs(60) + Duration::from_micros(20) * calls.try_into().unwrap_or(u32::MAX),
        )
    }
}

/// Told as a run goes on.
pub trait Progress: Sync {
    /// A cell is done; `weight` is its share of the work, in calls.
    fn done(&self, outcome: &Outcome, weight: u64);
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

/// How long a child may take to tell its version: a library that hangs when it is loaded is found out here.
const VERSION_TIME: Duration = Duration::from_secs(30);

/// Asks a child for a backend's version, so that a library that crashes on load, or hangs, costs only that.
///
/// # Errors
/// The child's reason.
pub fn version(backend: &str, timeout: Option<Duration>) -> Result<String, String> {
    let job = Job { task: Task::Version { backend: backend.to_owned() }, processor: None, turns: false };
    let time = timeout.map_or(VERSION_TIME, |timeout| timeout.min(VERSION_TIME));
    let limits = Limits { time, memory_bytes: available_bytes() };
    let errors = std::env::temp_dir().join(format!("heaplay-{}-version", std::process::id()));
    let ended = worker::run(&job, limits, &errors);
    let _ = fs::remove_file(&errors);
    match ended.map_err(|error| error.to_string())? {
        Ended::Well(version) => Ok(version.trim().to_owned()),
        Ended::Badly(reason) => Err(reason),
        Ended::Cancelled => Err("interrupted".into()),
    }
}

/// Proves a backend on a program, in a child. Returns how many calls were checked.
///
/// # Errors
/// The rule that it broke, or why it could not be tried.
pub fn verify(backend: &str, loaded: &Loaded, settings: &Settings) -> Result<u64, String> {
    let job = Job {
        task: Task::Verify { backend: backend.to_owned(), program: loaded.path() },
        processor: None,
        turns: false,
    };
    let calls = loaded.program.instructions().len();
    let limits = Limits { time: settings.time_limit(calls) * 4, memory_bytes: settings.memory_bytes };
    let errors = std::env::temp_dir().join(format!("heaplay-{}-verify", std::process::id()));
    let ended = worker::run(&job, limits, &errors);
    let _ = fs::remove_file(&errors);
    match ended.map_err(|error| error.to_string())? {
        Ended::Well(calls) => calls.trim().parse().map_err(|_| "the child said nothing".to_owned()),
        Ended::Badly(reason) => Err(reason),
        Ended::Cancelled => Err("interrupted".into()),
    }
}

/// Runs every cell of the run in `folder` that is not done, then folds what there is into its tables. Cells of a run
/// that was cut off stay where they are, for another call.
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
    let done: HashSet<Cell> = run.outcomes.iter().map(Outcome::cell).collect();
    let queue = order(&run.manifest, &done);
    let planned = run.manifest.planned();
    let numbers: HashMap<&Cell, usize> =
        planned.iter().enumerate().map(|(number, cell)| (cell, number)).collect();
    let cells = folder.join("cells");
    fs::create_dir_all(&cells).map_err(io_error(cells.display().to_string()))?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.jobs.max(1))
        .build()
        .map_err(|error| BenchError::Io { what: "threads".into(), source: std::io::Error::other(error) })?;
    let processors = processors();
    let failure: Mutex<Option<BenchError>> = Mutex::new(None);
    // The queue's order is kept: whichever thread is free takes the next heat. Exact cells first, all of them, so that
    // no timed cell has one for a neighbour.
    for exact in [true, false] {
        let stage: Vec<Cell> =
            queue.iter().filter(|cell| (cell.pass == Pass::Footprint) == exact).cloned().collect();
        pool.install(|| {
            heats(&stage).into_iter().par_bridge().for_each(|heat| {
                let stopped = failure.lock().is_ok_and(|failure| failure.is_some());
                let Some(loaded) = programs.get(&heat[0].trace) else { return };
                if cancelled() || stopped {
                    return;
                }
                let thread = rayon::current_thread_index().unwrap_or(0);
                let place =
                    Place { cells: &cells, numbers: &numbers, processor: processors.get(thread).copied() };
                match measure_heat(&heat, loaded, &place, settings) {
                    Ok(outcomes) => {
                        let weight = loaded.program.instructions().len() as u64;
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
    finish(folder, &cells, programs, &numbers)
}

/// Where a heat runs and where its cells go.
struct Place<'a> {
    cells: &'a Path,
    numbers: &'a HashMap<&'a Cell, usize>,
    processor: Option<usize>,
}

impl Place<'_> {
    fn folder(&self, cell: &Cell) -> PathBuf {
        self.cells.join(format!("{:05}", self.numbers[cell]))
    }
}

/// Measures the cells of a heat, each in a child of its own, and leaves their folders. Empty when the run was cancelled
/// meanwhile: a heat is whole or is done again.
fn measure_heat(
    heat: &[Cell],
    loaded: &Loaded,
    place: &Place<'_>,
    settings: &Settings,
) -> Result<Vec<Outcome>, BenchError> {
    let mut workers = Vec::new();
    for cell in heat {
        let folder = place.folder(cell);
        let part = folder.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&part).map_err(io_error(part.display().to_string()))?;
        let job = Job {
            task: Task::Measure {
                cell: cell.clone(),
                program: loaded.path(),
                folder: part.clone(),
                clock: settings.clock,
            },
            processor: place.processor.filter(|_| cell.pass != Pass::Footprint),
            turns: cell.pass == Pass::Time,
        };
        let calls = loaded.program.instructions().len();
        let limits = Limits {
            time: settings.time_limit(calls) * heat.len() as u32,
            memory_bytes: settings.memory_bytes,
        };
        let worker = Worker::start(&job, limits, &part.join("errors.txt"))
            .map_err(io_error(format!("a child for {}", part.display())))?;
        workers.push(worker);
    }
    if heat[0].pass == Pass::Time {
        heat::take_turns(&mut workers, place.processor, place.numbers[&heat[0]] as u64);
    }
    // Every child is waited for before anything is believed, so that none is left behind.
    let mut ended = Vec::new();
    for (cell, worker) in heat.iter().zip(workers) {
        let seconds = worker.age().as_secs_f64();
        ended.push((cell, seconds, worker.end()));
    }
    if cancelled() {
        return Ok(vec![]);
    }
    ended
        .into_iter()
        .map(|(cell, seconds, ended)| {
            let part = place.folder(cell).with_extension("part");
            let ended = ended.map_err(io_error(format!("a child for {}", part.display())))?;
            keep(cell, loaded, &part, seconds, ended)
        })
        .collect()
}

/// Holds what a child left against the program, marks the cell's folder as whole and gives it its name.
fn keep(
    cell: &Cell,
    loaded: &Loaded,
    part: &Path,
    seconds: f64,
    ended: Ended,
) -> Result<Outcome, BenchError> {
    let _ = fs::remove_file(part.join("errors.txt"));
    let reason = match ended {
        Ended::Cancelled => "interrupted".to_owned(),
        Ended::Badly(reason) => reason,
        Ended::Well(_) => doubt(cell, loaded, part)?.unwrap_or_default(),
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

/// Holds what a child reports against what the parent knows of the program: as many calls of each kind, as many bytes.
fn doubt(cell: &Cell, loaded: &Loaded, folder: &Path) -> Result<Option<String>, BenchError> {
    let tables = Run::load_tables(folder)?;
    let profile = loaded.program.profile();
    let reported =
        |op: &str, metric: &str| tables.values(&cell.trace, &cell.backend, op, metric).first().copied();
    let mut expected: Vec<(&str, &str, u64)> = Vec::new();
    if cell.pass == Pass::Time {
        expected.push(("all", "calls", profile.total_calls()));
    } else {
        for action in crate::program::Action::ALL {
            expected.push((action.name(), "calls", profile.calls[action as usize]));
        }
    }
    if cell.pass == Pass::Footprint {
        expected.push(("all", "live_peak_bytes", profile.live_peak_bytes));
        expected.push(("all", "live_end_bytes", profile.live_end_bytes));
    }
    Ok(expected.into_iter().find(|(op, metric, value)| reported(op, metric) != Some(*value as f64)).map(
        |(op, metric, value)| {
            format!(
                "the child reports {:?} for {metric} of {op}, and the trace has {value}: the measurement is void",
                reported(op, metric)
            )
        },
    ))
}

/// Confirms latencies, writes the tables, and removes the cells once all of them are in.
fn finish(
    folder: &Path,
    cells: &Path,
    programs: &HashMap<String, Loaded>,
    numbers: &HashMap<&Cell, usize>,
) -> Result<Run, BenchError> {
    let mut run = Run::load(folder)?;
    if !run.missing().is_empty() {
        return Ok(run);
    }
    for trace in &run.manifest.traces.clone() {
        let Some(loaded) = programs.get(&trace.name) else { continue };
        for backend in &run.manifest.backends.clone() {
            let files: Vec<PathBuf> = (0..run.manifest.repetitions)
                .filter_map(|repetition| {
                    let cell = Cell {
                        trace: trace.name.clone(),
                        backend: backend.name.clone(),
                        pass: Pass::Latency,
                        repetition,
                    };
                    let number = numbers.get(&cell)?;
                    let path = cells.join(format!("{number:05}")).join(measure::BUCKETS);
                    path.exists().then_some(path)
                })
                .collect();
            if let Some(confirmed) = confirm::confirm(&trace.name, &backend.name, &loaded.program, &files) {
                run.latencies
                    .retain(|l| l.repetition.is_some() || l.trace != trace.name || l.backend != backend.name);
                run.latencies.extend(confirmed);
            }
        }
    }
    run.save(folder)?;
    fs::remove_dir_all(cells).map_err(io_error(cells.display().to_string()))?;
    Ok(run)
}
