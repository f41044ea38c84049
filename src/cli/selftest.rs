//! Verb `selftest`: how often the check raises a false alarm on this machine, and how often it finds
//! an injected effect. `selftest/series.rs` summarises the trials, `selftest/study_file.rs` writes them.
//! `selftest/recordings.rs` draws trials from recordings of one program.

mod recordings;
mod series;
mod study_file;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

use self::series::SeriesSummary;
use self::study_file::StudyFacts;
use super::children::ChildArgs;
use super::exit::Exit;
use super::load::{find_traces, load_traces};
use super::measure_args::TimedArg;
use super::numbers::{seed, whole};
use super::terminal::{note, print};
use super::{interrupt, specs};
use crate::bench::{self, ExactInjection, Experiment, PowerStudy, cancelled};
use crate::check::{ENOUGH_RECORDINGS, Policy};
use crate::results::TimedMeasure;

/// Show how often `heaplay check` raises a false alarm on this machine, and how often it finds an
/// injected slow-down, page, byte, arena, instruction or slow tail
#[derive(clap::Args)]
#[command(after_help = concat!(
    "Without --aa and --inject…, all of them. ",
    "Exit status: 0 the rates are printed; 2 it could not be done."
))]
pub struct SelftestArgs {
    /// Traces, or folders of traces; trials use them in rotation
    #[arg(required_unless_present = "recordings")]
    traces: Vec<PathBuf>,
    /// Check recordings of one unchanged program against each other: files, or a series of
    /// `record --repeat`. A trial draws two sides of them. Each recording is measured once
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["traces", "aa", "inject", "inject_tail", "inject_instructions",
            "inject_exact", "cells", "trial_limit", "together"]
    )]
    recordings: Vec<PathBuf>,
    /// Recordings of the program with a known change: a trial's candidate is drawn of them
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "recordings")]
    changed: Vec<PathBuf>,
    /// Recordings a side, several separated by commas
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_values_t = [1, ENOUGH_RECORDINGS as u64],
        value_parser = whole::<u64>("numbers of recordings", 1..=10_000, 5),
        requires = "recordings"
    )]
    sides: Vec<u64>,
    /// The backend that is compared with itself
    #[arg(short, long, visible_alias = "backends", default_value = "malloc")]
    backend: String,
    /// The backend against itself: false alarms, of both timed measures or of those named
    #[arg(long, value_enum, value_delimiter = ',', num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "time,tail", value_name = "MEASURES")]
    aa: Vec<TimedArg>,
    /// Slow-downs to inject, in percent
    #[arg(long, value_delimiter = ',', value_name = "PERCENT", value_parser = percentage)]
    #[arg(allow_negative_numbers = true)]
    inject: Vec<f64>,
    /// Slow-downs of the tail to inject, in percent
    #[arg(long, value_delimiter = ',', value_name = "PERCENT", value_parser = percentage)]
    #[arg(allow_negative_numbers = true)]
    inject_tail: Vec<f64>,
    /// Instructions to inject, in percent
    #[arg(long, value_delimiter = ',', value_name = "PERCENT", value_parser = percentage)]
    #[arg(allow_negative_numbers = true)]
    inject_instructions: Vec<f64>,
    /// Inject a page, a usable byte, an arena, and, to compare, nothing
    #[arg(long)]
    inject_exact: bool,
    /// Trials of each kind
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        value_parser = whole::<u64>("a number of trials", 1..=1_000_000, 100)
    )]
    trials: u64,
    /// Cells of the suite that each trial stands for; they share the allowed error
    #[arg(
        long,
        value_name = "N",
        default_value_t = 12,
        value_parser = whole::<u64>("a number of cells", 1..=100_000, 12)
    )]
    cells: u64,
    /// Seconds that a trial may take
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = whole::<u64>("whole seconds", 1..=86_400, 30)
    )]
    trial_limit: u64,
    /// One trial at a time, with pairs on all processors that --jobs allows, instead of a trial on
    /// each processor
    #[arg(long)]
    together: bool,
    /// The seed of everything that is drawn
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = seed)]
    seed: u64,
    /// Write every trial as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    children: ChildArgs,
}

fn percentage(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|percent| *percent > 0.0 && *percent <= 200.0);
    percent.ok_or_else(|| "expected a percentage above 0 and up to 200, such as 2".to_owned())
}

impl SelftestArgs {
    /// Runs the trials, prints the rates, writes the file.
    ///
    /// # Errors
    /// A trace or a backend that cannot be had, a file that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if !self.recordings.is_empty() {
            return self.of_recordings();
        }
        let began = Instant::now();
        let backend = specs::read(&self.backend)?;
        bench::version(backend.as_str(), None)
            .map_err(|failure| anyhow!("{}", failure.about(backend.as_str())))?;
        let workloads = load_traces(&find_traces(&self.traces)?)?;
        if workloads.first().is_none() {
            bail!("name at least one trace");
        }
        interrupt::install()?;
        let settings = self.children.settings();
        let policy = Policy::default();
        let study = PowerStudy {
            judge: &policy,
            settings: &settings,
            workloads: &workloads,
            backend: &backend,
            trials: self.trials,
            cells: self.cells as usize,
            trial_limit: Duration::from_secs(self.trial_limit),
            is_together: self.together,
            seed: self.seed,
            report: &|text| note(text),
        };
        let mut all = Vec::new();
        for experiment in self.experiments() {
            match study.run(experiment) {
                Ok(series) => {
                    let series = SeriesSummary::of(series);
                    note(series::row(&series).join(" · "));
                    all.push(series);
                }
                Err(reason) => note(reason),
            }
            // Written after each experiment, so that an interrupted study is a file, too.
            if let Some(path) = &self.json {
                let facts = StudyFacts {
                    seed: self.seed,
                    backend: &self.backend,
                    cells: self.cells,
                    trial_limit_seconds: self.trial_limit,
                    seconds: began.elapsed().as_secs_f64(),
                };
                study_file::write(path, &facts, &all)?;
            }
        }
        print(&series::table(&all))?;
        Ok(if cancelled() { Exit::Interrupted.into() } else { Exit::Fine.into() })
    }

    /// The experiments that the options name; without any, a whole study.
    fn experiments(&self) -> Vec<Experiment> {
        let has_none = self.aa.is_empty()
            && self.inject.is_empty()
            && self.inject_tail.is_empty()
            && self.inject_instructions.is_empty()
            && !self.inject_exact;
        let exact = ExactInjection::ALL.map(Experiment::Exact);
        let time = |percent: &f64| Experiment::SlowDown(TimedMeasure::Time, *percent);
        let tail = |percent: &f64| Experiment::SlowDown(TimedMeasure::Tail, *percent);
        let instructions = |percent: &f64| Experiment::Instructions(*percent);
        let mut all = Vec::new();
        if has_none {
            all.extend([TimedMeasure::Time, TimedMeasure::Tail].map(Experiment::Nothing));
            all.extend([2.0, 5.0, 10.0].iter().map(time));
            all.push(tail(&8.0));
            all.extend(exact);
            all.push(instructions(&0.2));
            return all;
        }
        all.extend(self.aa.iter().map(|&measure| Experiment::Nothing(measure.into())));
        all.extend(self.inject.iter().map(time));
        all.extend(self.inject_tail.iter().map(tail));
        if self.inject_exact {
            all.extend(exact);
        }
        all.extend(self.inject_instructions.iter().map(instructions));
        all
    }
}
