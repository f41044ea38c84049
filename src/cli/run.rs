//! Verb `run`: the main job. Compiles traces, measures every backend on them, and leaves a run
//! folder with its pictures. `run/folder.rs` makes the folder, `run/progress.rs` shows how far the
//! run is, `run/conclusion.rs` says how it ended.

mod conclusion;
mod folder;
mod progress;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

pub use conclusion::conclude;

use self::progress::ProgressLine;
use super::children::ChildArgs;
use super::load::{FoundTraces, UnreadTraces, load_found, load_within};
use super::terminal::note;
use super::{interrupt, specs};
use crate::bench::{self, RunPlan, Settings, Workloads};
use crate::results::{NewRunDir, Pass, Run, RunDir};
use crate::spec::{BackendSpec, FLOOR};

/// Replay traces against backends, in parallel, and report what each costs in time and in memory
#[derive(clap::Args, Default)]
pub struct RunArgs {
    /// Traces (.trace or .csv), or folders of traces
    #[arg(required_unless_present = "resume")]
    pub traces: Vec<PathBuf>,
    /// Backends, separated by commas; `heaplay backends` lists them
    #[arg(short, long, default_value = "malloc,pymalloc,bump")]
    pub backends: Vec<String>,
    /// Passes, separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "footprint,time,latency",
        value_parser = parse_pass
    )]
    pub passes: Vec<Pass>,
    /// Repetitions of each timed pass (from 3 on, latencies are confirmed call by call)
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=255)
    )]
    pub repetitions: u32,
    /// The run folder [default: reports/DATE-TIME]
    #[arg(short, long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Finish the run in this folder: missing and failed cells
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["traces", "out", "backends", "passes", "repetitions"]
    )]
    pub resume: Option<PathBuf>,
    /// Replay the footprint pass of allocators that return memory after a delay at the program's own
    /// pace: 1 for a second a second, 0.1 for ten times as fast. Without it their figures are a
    /// range, from memory returned immediately to never
    #[arg(
        long,
        value_name = "FACTOR",
        value_parser = parse_pace,
        allow_negative_numbers = true,
        conflicts_with = "resume"
    )]
    pub pace: Option<f64>,
    /// Count instructions too, with valgrind: the same on every machine, and some 30 times as slow
    /// as a timed pass
    #[arg(long)]
    pub count_instructions: bool,
    /// Leave out `null`. It measures the harness itself, and every other run has it
    #[arg(long)]
    pub no_floor: bool,
    /// The seed of the order of the timed cells [default: the time of day]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub children: ChildArgs,
}

fn parse_pass(text: &str) -> Result<Pass, String> {
    let known = Pass::ALL.into_iter().find(|pass| pass.name() == text);
    known.ok_or_else(|| format!("expected {}", Pass::ALL.map(Pass::name).join(", ")))
}

fn parse_pace(text: &str) -> Result<f64, String> {
    let pace = text.parse::<f64>().ok().filter(|pace| (0.001..=100.0).contains(pace));
    pace.ok_or_else(|| "expected a factor from 0.001 to 100, such as 1.0".to_owned())
}

impl RunArgs {
    /// Runs, or finishes a run, and draws the report.
    ///
    /// # Errors
    /// What could not be done. The cells measured before stay in the folder.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (run, folder, unread) = self.measure()?;
        unread.conclude(conclude(&run, &folder)?)
    }

    /// Runs, or finishes a run, and leaves the record. Returns it with its folder, and the files that
    /// were not measured.
    ///
    /// # Errors
    /// As [`RunArgs::run`].
    pub fn measure(&self) -> anyhow::Result<(Run, PathBuf, UnreadTraces)> {
        interrupt::install()?;
        let mut settings = self.children.settings();
        // Locked until the run is over: two runs in one folder would mix their cells.
        let (mut dir, workloads, unread) = match &self.resume {
            Some(folder) => {
                let mut dir = RunDir::open(folder)?;
                dir.lock()?;
                settings.pace = bench::pace_of_run(&dir);
                let workloads = resume(&mut dir, &settings)?;
                (dir, workloads, UnreadTraces::default())
            }
            None => {
                settings.pace = self.pace;
                self.begin(&settings, folder::claim(self.out.as_deref())?)?
            }
        };
        let folder = dir.folder().to_owned();
        let progress = ProgressLine::new(&dir.missing()?, &workloads);
        let run = bench::run(&mut dir, &workloads, &settings, &progress);
        let mut run = run.with_context(|| {
            let folder = folder.display();
            format!(
                "{folder}: the run stopped; the cells measured before are in the folder, and \
                 `heaplay run --resume {folder}` goes on"
            )
        })?;
        progress.clear();
        if self.count_instructions && run.missing().is_empty() && !bench::cancelled() {
            bench::add_instructions(&mut run, &workloads, &settings, &|text| note(text));
            dir.save(&run)?;
        }
        Ok((run, folder, unread))
    }

    /// Compiles the traces, asks each backend for its version, and writes the manifest.
    fn begin(
        &self,
        settings: &Settings,
        claimed: NewRunDir,
    ) -> anyhow::Result<(RunDir, Workloads, UnreadTraces)> {
        let mut specs = specs::read_list(&self.backends)?;
        if !self.no_floor && !specs.iter().any(BackendSpec::is_floor) {
            specs.push(FLOOR.parse()?);
        }
        let FoundTraces { workloads, unread } = load_found(&self.traces, calls_within(settings))?;
        let names = specs.into_iter().map(String::from);
        let (backends, absent) = bench::ask_versions(names, settings.timeout, &|text| note(text));
        note_time_limit(settings, &workloads);
        let no_times = workloads.iter().find(|workload| workload.times.is_empty());
        if let (Some(workload), Some(_)) = (no_times, self.pace) {
            let name = workload.name();
            bail!(
                "{name}: has no times, so it has no pace; leave --pace out, or record it with \
                 `heaplay record`"
            );
        }
        let (traces, passes) = (workloads.traces(), self.passes.clone());
        let repetitions = self.repetitions;
        let plan = RunPlan { traces, backends, absent, passes, repetitions, seed: self.seed };
        let dir = bench::begin_run(claimed, plan, settings).context(folder::NO_FOLDER)?;
        note_clock(settings);
        Ok((dir, workloads, unread))
    }
}

/// Opens a run again, and compiles its traces under the names of its manifest.
fn resume(dir: &mut RunDir, settings: &Settings) -> anyhow::Result<Workloads> {
    bench::reopen(dir, settings.timeout, &|text| note(text))?;
    note(format!("{}: {} cells to do", dir.folder().display(), dir.missing()?.len()));
    let traces = &dir.manifest().traces;
    let paths: Vec<PathBuf> = traces.iter().map(|trace| PathBuf::from(&trace.path)).collect();
    Ok(load_within(&paths, calls_within(settings))?.named_as(traces))
}

/// The calls whose instructions, of 8 bytes, fit the memory of a child. A trace with more calls is
/// replayed in parts.
fn calls_within(settings: &Settings) -> u64 {
    settings.memory_bytes / 8
}

/// A note on the time after which a pass is stopped.
fn note_time_limit(settings: &Settings, workloads: &Workloads) {
    let limits = workloads.iter().map(|workload| settings.time_limit(workload.calls()));
    if let Some(longest) = limits.max() {
        let seconds = longest.as_secs();
        note(format!(
            "a pass that takes over {seconds} s is stopped and not tried again (--timeout sets \
             another limit)"
        ));
    }
}

fn note_clock(settings: &Settings) {
    let floor = settings.clock.clock().floor();
    note(format!(
        "the clock ({}) steps by {:.1} ns; an empty pair reads {:.1} ns and costs {:.1} ns",
        settings.clock.source_name(),
        floor.step_ns,
        floor.pair_ns,
        floor.cost_ns
    ));
}
