//! Room `cli`, verb `run`: the main job. Compiles traces, measures every backend on them, leaves a
//! run folder with its pictures.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use super::children::ChildArgs;
use super::load::{find_traces, load_within, sha256};
use super::terminal::note;
use super::{interrupt, specs};
use crate::bench::{self, Progress, Settings};
use crate::results::{
    BackendEntry, CellKey, FORMAT, Manifest, Measurement, Metric, Outcome, Pass, RecordError, Run,
    Scope, Status, civil_date,
};

/// Replay traces against backends, in parallel, and report what each costs in time and in memory
#[derive(clap::Args, Default)]
pub struct RunArgs {
    /// Traces (.trace or .csv), or folders of traces
    #[arg(required_unless_present = "resume")]
    pub(super) traces: Vec<PathBuf>,
    /// Backends, separated by commas; `heaplay backends` lists them
    #[arg(short, long, default_value = "malloc,pymalloc,bump")]
    pub(super) backends: Vec<String>,
    /// Passes, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "footprint,time,latency", value_parser = parse_pass)]
    pub(super) passes: Vec<Pass>,
    /// Repetitions of each timed pass (from 3 on, latencies are confirmed call by call)
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(super) repetitions: u32,
    /// The run folder [default: reports/DATE-TIME]
    #[arg(short, long)]
    pub(super) out: Option<PathBuf>,
    /// Finish the run in this folder: missing and failed cells
    #[arg(long, value_name = "RUN", conflicts_with_all = ["traces", "out", "backends", "passes", "repetitions"])]
    pub(super) resume: Option<PathBuf>,
    /// Let allocators that give memory back by the clock have their time: replay their footprint
    /// pass at the program's own pace, 1 for a second a second, 0.1 for ten times as fast. Without
    /// it they get a band, from giving back at once to never
    #[arg(long, value_name = "FACTOR", value_parser = parse_pace, allow_negative_numbers = true, conflicts_with = "resume")]
    pub(super) pace: Option<f64>,
    /// Count instructions too, with valgrind: the same on every machine, and some 30 times as slow
    /// as a timed pass
    #[arg(long)]
    pub(super) count_instructions: bool,
    /// Leave out `null`, which measures the harness itself and is otherwise always there
    #[arg(long)]
    pub(super) no_floor: bool,
    /// Decides the order of the timed cells [default: the time of day]
    #[arg(long)]
    pub(super) seed: Option<u64>,
    #[command(flatten)]
    pub(super) children: ChildArgs,
}

pub(super) fn parse_pass(text: &str) -> Result<Pass, String> {
    Pass::ALL
        .into_iter()
        .find(|pass| pass.name() == text)
        .ok_or_else(|| format!("expected {}", Pass::ALL.map(Pass::name).join(", ")))
}

fn parse_pace(text: &str) -> Result<f64, String> {
    let pace = text.parse::<f64>().ok().filter(|pace| (0.001..=100.0).contains(pace));
    pace.ok_or_else(|| "expected a factor from 0.001 to 100, such as 1.0".to_owned())
}

/// Name of the backend that does nothing.
const FLOOR: &str = "null";

impl RunArgs {
    /// Runs, or finishes a run, and draws the report.
    ///
    /// # Errors
    /// What could not be done. What was measured before stays in the folder.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (run, folder) = self.measure()?;
        conclude(&run, &folder)
    }

    /// Runs, or finishes a run, and leaves the record.
    ///
    /// # Errors
    /// As [`RunArgs::run`].
    pub(super) fn measure(&self) -> anyhow::Result<(Run, PathBuf)> {
        interrupt::install()?;
        let mut settings = Settings { pace: self.pace, ..self.children.settings() };
        // Held until the run is over: two runs in one folder would take each other's cells for
        // their own.
        let (folder, _held) = match &self.resume {
            Some(folder) => {
                Run::load(folder)?; // a better word than a lock's for what is no run
                (folder.clone(), hold(folder)?)
            }
            None => self.new_folder()?,
        };
        let programs = match &self.resume {
            Some(_) => {
                // At the pace at which it was begun.
                settings.pace = Run::load(&folder)?
                    .manifest
                    .settings
                    .get(PACE)
                    .and_then(|pace| pace.parse().ok());
                prepare_resume(&folder, &settings)?
            }
            None => {
                self.prepare(&settings, &folder).inspect_err(|_| drop(fs::remove_dir(&folder)))?
            }
        };
        let run = Run::load(&folder)?;
        let bar = Bar::new(&run, &programs);
        let mut run = bench::run(&folder, &programs, &settings, &bar)
            .with_context(|| {
                let folder = folder.display();
                format!("{folder}: the run stopped; what was measured is kept, and `heaplay run --resume {folder}` goes on")
            })?;
        bar.bar.finish_and_clear();
        if self.count_instructions && run.missing().is_empty() && !bench::cancelled() {
            count_instructions(&mut run, &programs, &settings);
            run.save(&folder)?;
        }
        Ok((run, folder))
    }

    /// Makes the folder, empty, and holds it.
    fn new_folder(&self) -> anyhow::Result<(PathBuf, File)> {
        const PLACE: &str = "the run folder could not be made; choose a place with --out";
        let Some(folder) = &self.out else {
            let folder = dated_folder(Path::new("reports")).context(PLACE)?;
            let held = hold(&folder)?;
            return Ok((folder, held));
        };
        fs::create_dir_all(folder).with_context(|| format!("{}: {PLACE}", folder.display()))?;
        let held = hold(folder)?;
        if folder.join("manifest.json").exists() {
            bail!(
                "{0}: holds a run already; give another --out, or `--resume {0}` to finish it",
                folder.display()
            );
        }
        if fs::read_dir(folder).is_ok_and(|mut inside| inside.next().is_some()) {
            bail!("{}: is not empty, and no run; give a new folder with --out", folder.display());
        }
        Ok((folder.clone(), held))
    }

    /// Compiles the traces, asks each backend for its version, and writes the manifest.
    fn prepare(
        &self,
        settings: &Settings,
        folder: &Path,
    ) -> anyhow::Result<std::collections::HashMap<String, bench::Loaded>> {
        let mut words: Vec<String> =
            specs::read_list(&self.backends)?.into_iter().map(String::from).collect();
        if !self.no_floor && !words.iter().any(|word| word == FLOOR) {
            words.push(FLOOR.to_owned());
        }
        let paths = find_traces(&self.traces)?;
        let (mut traces, programs) = load_within(&paths, calls_within(settings))?;
        for trace in &mut traces {
            trace.facts.remove("arenas"); // a row for each arena, which no report reads
        }
        let (backends, absent) = ask_versions(words, settings);
        tell_limit(settings, &programs);
        if let Some((name, _)) =
            programs.iter().find(|(_, loaded)| self.pace.is_some() && loaded.times.is_empty())
        {
            bail!(
                "{name}: has no times, so it has no pace; leave --pace out, or record it with `heaplay record`"
            );
        }
        let mut passes = self.passes.clone();
        passes.sort();
        passes.dedup();
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let manifest = Manifest {
            format: FORMAT,
            heaplay: env!("CARGO_PKG_VERSION").to_owned(),
            created_unix_seconds: created.as_secs(),
            traces,
            backends,
            passes,
            repetitions: self.repetitions,
            seed: self.seed.unwrap_or(created.as_nanos() as u64),
            settings: [
                ("jobs".to_owned(), settings.jobs.to_string()),
                ("memory_limit_bytes".to_owned(), settings.memory_bytes.to_string()),
            ]
            .into_iter()
            .chain(settings.pace.map(|pace| (PACE.to_owned(), pace.to_string())))
            .collect(),
            machine: bench::fingerprint(),
            clock: clock_facts(settings),
        };
        let run = Run::new(manifest);
        run.save(folder)
            .and_then(|()| leave_absent_cells(&run.manifest, &absent, folder))
            .context("the run folder could not be made; choose a place with --out")?;
        Ok(programs)
    }
}

/// Adds the instructions of each trace on each backend, where they are not there yet; what cannot
/// be counted is told.
fn count_instructions(
    run: &mut Run,
    programs: &std::collections::HashMap<String, bench::Loaded>,
    settings: &Settings,
) {
    if bench::valgrind().is_none() {
        note(
            "instructions: skipped, valgrind is not on the PATH (Debian: apt-get install valgrind)",
        );
        return;
    }
    let cells: Vec<(&str, &str, &bench::Loaded)> = run
        .manifest
        .traces
        .iter()
        .filter_map(|trace| Some((trace.name.as_str(), programs.get(&trace.name)?)))
        .flat_map(|(trace, loaded)| {
            run.manifest.backends.iter().map(move |backend| (trace, backend.name.as_str(), loaded))
        })
        .filter(|(trace, backend, _)| {
            let works = run.outcomes.iter().any(|outcome| {
                (outcome.trace.as_str(), outcome.backend.as_str()) == (trace, backend)
                    && outcome.status == Status::Ok
            });
            works && run.values(trace, backend, Scope::All, INSTRUCTIONS).is_empty()
        })
        .collect();
    let count = |(trace, backend, loaded): (&str, &str, &bench::Loaded)| {
        if !loaded.program.is_whole() {
            note(format!("instructions: {trace} skipped, it is replayed in parts"));
            return None;
        }
        let limits = bench::Limits {
            time: settings.time_limit(loaded.program.calls()) * 20,
            memory_bytes: settings.memory_bytes,
        };
        match bench::instructions(&bench::pairs::Side::of(backend), loaded, limits, 1) {
            Ok(counts) => {
                let (trace, backend) = (trace.to_owned(), backend.to_owned());
                let cell = CellKey { trace, backend, pass: Pass::Time, repetition: 0 };
                Some(cell.measurement(Scope::All, INSTRUCTIONS, counts[0] as f64))
            }
            Err(reason) => {
                note(format!("instructions: {backend} on {trace} skipped: {reason}"));
                None
            }
        }
    };
    // As many at once as the run has children.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(settings.jobs.max(1)).build();
    let counted: Vec<Measurement> = match pool {
        Ok(pool) => pool.install(|| cells.into_par_iter().filter_map(count).collect()),
        Err(_) => cells.into_iter().filter_map(count).collect(),
    };
    run.measurements.extend(counted);
}

/// The metric of [`count_instructions`].
const INSTRUCTIONS: Metric = Metric::Instructions;

/// Calls whose instructions, of 8 bytes, fit the memory that a child may take: longer traces are
/// replayed in parts.
fn calls_within(settings: &Settings) -> u64 {
    settings.memory_bytes / 8
}

/// Says beforehand how long a cell may take: a backend so slow that it would not finish is stopped
/// there.
fn tell_limit(settings: &Settings, programs: &std::collections::HashMap<String, bench::Loaded>) {
    let limits = programs.values().map(|loaded| settings.time_limit(loaded.program.calls()));
    if let Some(longest) = limits.max() {
        let seconds = longest.as_secs();
        note(format!(
            "a pass that takes over {seconds} s is stopped and not tried again (--timeout sets another limit)"
        ));
    }
}

/// The manifest's setting that holds the pace of the footprint passes.
const PACE: &str = "pace";

/// The version of a backend that cannot be had. `--resume` asks again.
const NO_VERSION: &str = "not available";

/// Asks each backend for its version. One that cannot be had is told, with the reason, and costs
/// its own cells only.
fn ask_versions(
    words: Vec<String>,
    settings: &Settings,
) -> (Vec<BackendEntry>, Vec<(String, String)>) {
    let mut absent = Vec::new();
    let entries = words
        .into_iter()
        .map(|name| match bench::version(&name, settings.timeout) {
            Ok(version) => BackendEntry { name, version },
            Err(reason) => {
                note(format!("{name}: {reason}"));
                absent.push((name.clone(), reason));
                BackendEntry { name, version: NO_VERSION.to_owned() }
            }
        })
        .collect();
    (entries, absent)
}

/// Leaves error rows for the cells of backends that cannot be had: nothing is started for them.
fn leave_absent_cells(
    manifest: &Manifest,
    absent: &[(String, String)],
    folder: &Path,
) -> Result<(), RecordError> {
    for (number, cell) in manifest.planned().into_iter().enumerate() {
        let Some((_, reason)) = absent.iter().find(|(name, _)| *name == cell.backend) else {
            continue;
        };
        let place = folder.join("cells").join(format!("{number:05}"));
        fs::create_dir_all(&place)
            .map_err(|source| RecordError::Io { path: place.clone(), source })?;
        let mut row = Run::new(Manifest::default());
        row.outcomes.push(Outcome {
            trace: cell.trace,
            backend: cell.backend,
            pass: cell.pass,
            repetition: cell.repetition,
            status: Status::Error,
            seconds: 0.0,
            reason: reason.clone(),
        });
        row.save_outcomes(&place)?;
    }
    Ok(())
}

fn clock_facts(settings: &Settings) -> std::collections::BTreeMap<String, String> {
    let clock = settings.clock.clock();
    let floor = clock.floor();
    let source =
        if settings.clock.counter { "time-stamp counter, fenced" } else { "CLOCK_MONOTONIC" };
    note(format!(
        "the clock ({source}) steps by {:.1} ns; an empty pair reads {:.1} ns and costs {:.1}",
        floor.step_ns, floor.pair_ns, floor.cost_ns
    ));
    [
        ("source".to_owned(), source.to_owned()),
        ("ticks_per_second".to_owned(), format!("{:.0}", settings.clock.ticks_per_second)),
        ("step_nanoseconds".to_owned(), format!("{:.2}", floor.step_ns)),
        ("pair_nanoseconds".to_owned(), format!("{:.2}", floor.pair_ns)),
        ("cost_nanoseconds".to_owned(), format!("{:.2}", floor.cost_ns)),
    ]
    .into()
}

/// Makes a folder named by the date that was not there yet.
fn dated_folder(parent: &Path) -> std::io::Result<PathBuf> {
    fs::create_dir_all(parent)?;
    let seconds =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil_date(seconds);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let name = format!("{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}{second:02}");
    let mut number = 1;
    let mut folder = parent.join(&name);
    loop {
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                number += 1;
                folder = parent.join(format!("{name}-{number}"));
            }
            made => return made.map(|()| folder),
        }
    }
}

/// Holds a folder for this process until the file is dropped.
fn hold(folder: &Path) -> anyhow::Result<File> {
    let file = File::open(folder).with_context(|| folder.display().to_string())?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => bail!(
            "{}: another heaplay is at work in this folder; wait for its end, or give another with --out",
            folder.display()
        ),
        // A file system that knows no locks is no reason not to run.
        _ => Ok(file),
    }
}

/// Opens an unfinished run: the same traces, the same versions. Failed cells are to be tried again,
/// and with a failed latency cell all of its kind, which are confirmed together.
fn prepare_resume(
    folder: &Path,
    settings: &Settings,
) -> anyhow::Result<std::collections::HashMap<String, bench::Loaded>> {
    let mut run = Run::load(folder)?;
    let paths: Vec<PathBuf> =
        run.manifest.traces.iter().map(|trace| PathBuf::from(&trace.path)).collect();
    for (trace, path) in run.manifest.traces.iter().zip(&paths) {
        let hash = sha256(path)
            .context("the run's trace is gone; resume from the directory in which it was begun")?;
        if hash != trace.sha256 {
            bail!("{}: is not the file that the run began with; begin a new run", path.display());
        }
    }
    let words = run.manifest.backends.iter().map(|backend| backend.name.clone()).collect();
    let (now, absent) = ask_versions(words, settings);
    for (backend, now) in run.manifest.backends.iter_mut().zip(now) {
        // What was not there may have come; what has gone leaves its cells as they are.
        if backend.version == NO_VERSION {
            backend.version = now.version;
        } else if now.version != NO_VERSION && now.version != backend.version {
            bail!(
                "backend `{}` is {} now and was {}; begin a new run",
                backend.name,
                now.version,
                backend.version
            );
        }
    }
    let machine = bench::fingerprint();
    if machine != run.manifest.machine {
        bail!(
            "{}: was begun on another machine or kernel; begin a new run here and `merge` cannot join them",
            folder.display()
        );
    }
    run.save_manifest(folder)?;
    let is_gone = |cell: &CellKey| absent.iter().any(|(name, _)| *name == cell.backend);
    let failed: HashSet<CellKey> =
        run.failed().into_iter().map(Outcome::cell).filter(|cell| !is_gone(cell)).collect();
    let planned = run.manifest.planned();
    let tried: HashSet<CellKey> = run.outcomes.iter().map(Outcome::cell).collect();
    let again: HashSet<CellKey> = planned
        .iter()
        .filter(|cell| {
            let done = |cell: &CellKey| tried.contains(cell) && !failed.contains(cell);
            // A batch is timed together or not at all.
            let mates = |mate: &CellKey| {
                mate.pass == Pass::Time
                    && mate.trace == cell.trace
                    && mate.repetition == cell.repetition
            };
            failed.contains(cell)
                || (cell.pass == Pass::Time
                    && planned.iter().any(|mate| mates(mate) && !done(mate)))
                || (cell.pass == Pass::Latency
                    && failed.iter().any(|f| {
                        f.pass == Pass::Latency
                            && f.trace == cell.trace
                            && f.backend == cell.backend
                    }))
        })
        .cloned()
        .collect();
    for cell in &again {
        if let Some(number) = planned.iter().position(|p| p == cell) {
            let _ = fs::remove_dir_all(folder.join("cells").join(format!("{number:05}")));
        }
    }
    let unfolded = folder.join("cells").is_dir();
    if !again.is_empty() && !unfolded {
        run.remove(&again);
        run.save(folder)?;
    }
    let missing = Run::load(folder)?.missing().len();
    note(format!("{}: {missing} cells to do", folder.display()));
    let (entries, loaded) = load_within(&paths, calls_within(settings))?;
    // The names in the tables are the manifest's.
    let names: Vec<String> = run.manifest.traces.iter().map(|trace| trace.name.clone()).collect();
    let mut loaded = loaded;
    Ok(entries
        .iter()
        .zip(names)
        .filter_map(|(entry, name)| loaded.remove(&entry.name).map(|program| (name, program)))
        .collect())
}

/// The bar on a terminal, and lines for failed cells everywhere.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(run: &Run, programs: &std::collections::HashMap<String, bench::Loaded>) -> Bar {
        let weight = |cell: &CellKey| {
            programs.get(&cell.trace).map_or(0, |loaded| loaded.program.calls() as u64)
        };
        let total = run.missing().iter().map(weight).sum();
        let bar = ProgressBar::new(total); // draws to standard error, and only to a terminal
        if let Ok(style) = ProgressStyle::with_template(
            "{bar:30} {percent:>3} %  {elapsed} gone, {eta} left  {msg}",
        ) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Bar { bar }
    }
}

impl Progress for Bar {
    fn done(&self, outcome: &Outcome, weight: u64) {
        let what = format!(
            "{} on {}, {} {}",
            outcome.backend,
            outcome.trace,
            outcome.pass.name(),
            outcome.repetition + 1
        );
        self.bar.inc(weight);
        if outcome.status == Status::Error {
            self.bar.suspend(|| note(format!("{what}: {}", outcome.reason)));
        }
        self.bar.set_message(what);
    }

    fn note(&self, words: String) {
        self.bar.suspend(|| note(words));
    }
}

/// Says what there is and what is missing, draws it, and chooses the exit code.
pub(super) fn conclude(run: &Run, folder: &Path) -> anyhow::Result<ExitCode> {
    let (missing, failed) = (run.missing(), run.failed());
    if bench::cancelled() || !missing.is_empty() {
        note(format!(
            "{0}: {1} of {2} cells are measured, {3} are missing; `heaplay run --resume {0}` finishes it",
            folder.display(),
            run.outcomes.len() - failed.len(),
            run.outcomes.len() + missing.len(),
            missing.len() + failed.len()
        ));
        return Ok(ExitCode::from(130));
    }
    super::report::draw(run, folder)?;
    if let Some(text) = own_cost(run) {
        note(text);
    }
    if !failed.is_empty() {
        note(format!(
            "{} of {} cells failed; `heaplay run --resume {}` tries them again",
            failed.len(),
            run.outcomes.len(),
            folder.display()
        ));
    }
    // A backend of which nothing at all could be measured was asked for in vain.
    let in_vain = run.manifest.backends.iter().find(|backend| {
        run.outcomes.iter().all(|o| o.backend != backend.name || o.status == Status::Error)
    });
    if let Some(backend) = in_vain {
        note(format!("backend `{}` gave no result", backend.name));
        return Ok(ExitCode::from(2));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the footprint passes spent on looking, of the processor time of all of them.
fn own_cost(run: &Run) -> Option<String> {
    let sum = |metric: Metric| -> f64 {
        let rows =
            run.measurements.iter().filter(|row| row.metric == metric && row.backend != FLOOR);
        rows.map(|row| row.value).sum()
    };
    let whole = sum(Metric::PassNanoseconds);
    let one = |trace: &str, backend: &str, metric: Metric| {
        run.values(trace, backend, Scope::All, metric).first().copied().unwrap_or(0.0)
    };
    let passes = run
        .measurements
        .iter()
        .filter(|row| row.metric == Metric::PassNanoseconds && row.value > 0.0);
    let most = passes
        .filter(|row| row.backend != FLOOR)
        .map(|row| one(&row.trace, &row.backend, Metric::SamplingNanoseconds) / row.value * 100.0)
        .fold(0.0, f64::max);
    (whole > 0.0).then(|| {
        let share = |metric: Metric| sum(metric) / whole * 100.0;
        format!(
            "of the footprint passes' time {:.2} % went into sampling, at most {most:.2} % of one, and {:.0} % into the heap \
             map; of the timed ones', none",
            share(Metric::SamplingNanoseconds),
            share(Metric::MappingNanoseconds)
        )
    })
}
