//! Verb `selftest`: how often the check raises a false alarm on this machine, and how often it finds
//! an injected effect.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::children::ChildArgs;
use super::exit::Exit;
use super::load::{find_traces, load_traces};
use super::measure_args::TimedArg;
use super::terminal::{note, print};
use super::{interrupt, specs};
use crate::bench::{
    self, ExactInjection, Experiment, InjectedEffect, PowerStudy, TrialSeries, cancelled,
    fingerprint,
};
use crate::check::{Finding, Policy, Rate, Rates, TrialSummary, verdict_counts};
use crate::results::{Machine, TimedMeasure, civil_date};

/// Show how often `heaplay check` raises a false alarm on this machine, and how often it finds an
/// injected slow-down, page, byte, arena, instruction or slow tail
#[derive(clap::Args)]
#[command(after_help = concat!(
    "Without --aa and --inject…, all of them. ",
    "Exit status: 0 the rates are printed; 2 it could not be done."
))]
pub struct SelftestArgs {
    /// Traces, or folders of traces; trials use them in rotation
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// The backend that is compared with itself
    #[arg(long, default_value = "malloc")]
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
    /// Inject a page, a usable byte and an arena, and nothing
    #[arg(long)]
    inject_exact: bool,
    /// Trials of each kind
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    trials: u64,
    /// Cells of the suite that each trial stands for; they share the allowed error
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    cells: u64,
    /// Seconds that a trial may take
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    trial_limit: u64,
    /// One trial at a time, with pairs on all processors that --jobs allows, instead of a trial on
    /// each processor
    #[arg(long)]
    together: bool,
    /// The seed of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write every trial as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    children: ChildArgs,
}

fn percentage(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|percent| *percent > 0.0 && *percent <= 200.0);
    percent.ok_or_else(|| "expected more than 0 and at most 200".to_owned())
}

/// The trials of one experiment, as the file has them.
#[derive(Serialize)]
struct SeriesSummary {
    name: String,
    /// The measured effects of the injections.
    truth: Vec<InjectedEffect>,
    /// How many trials ended with each verdict.
    verdicts: Vec<(String, u64)>,
    trials: Vec<TrialSummary>,
}

/// The whole file.
#[derive(Serialize)]
struct StudyFile<'a> {
    format: u32,
    heaplay: &'static str,
    date: String,
    seed: u64,
    backend: &'a str,
    cells: u64,
    trial_limit_seconds: u64,
    seconds: f64,
    machine: Machine,
    kinds: &'a [SeriesSummary],
}

impl SelftestArgs {
    /// Runs the trials, prints the rates, writes the file.
    ///
    /// # Errors
    /// A trace or a backend that cannot be had, a file that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let backend = specs::read(&self.backend)?;
        bench::version(backend.as_str(), None).map_err(|reason| anyhow!("{backend}: {reason}"))?;
        let (entries, programs) = load_traces(&find_traces(&self.traces)?)?;
        if entries.is_empty() {
            bail!("name at least one trace");
        }
        interrupt::install()?;
        let settings = self.children.settings();
        let policy = Policy::default();
        let named = |name: &String| (name.clone(), &programs[name]);
        let study = PowerStudy {
            judge: &policy,
            settings: &settings,
            programs: entries.iter().map(|entry| named(&entry.name)).collect(),
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
                    let series = summary(series);
                    note(row(&series).join(" · "));
                    all.push(series);
                }
                Err(reason) => note(reason),
            }
            // Written after each experiment, so that an interrupted study is a file, too.
            self.write_file(&all, began)?;
        }
        print(&table(&all))?;
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

    fn write_file(&self, kinds: &[SeriesSummary], began: Instant) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = civil_date(now.as_secs());
        let file = StudyFile {
            format: 1,
            heaplay: env!("CARGO_PKG_VERSION"),
            date: format!("{year}-{month:02}-{day:02}"),
            seed: self.seed,
            backend: &self.backend,
            cells: self.cells,
            trial_limit_seconds: self.trial_limit,
            seconds: began.elapsed().as_secs_f64(),
            machine: fingerprint(),
            kinds,
        };
        let text = serde_json::to_string(&file).context("the trials as JSON")?;
        std::fs::write(path, text.replace("{\"trace\"", "\n{\"trace\"") + "\n")
            .with_context(|| path.display().to_string())
    }
}

fn summary(series: TrialSeries<Finding>) -> SeriesSummary {
    let is_exact = matches!(series.experiment, Experiment::Exact(_));
    let trials = series.trials.into_iter();
    let trials: Vec<TrialSummary> = trials
        .map(|trial| match trial.findings.as_slice() {
            [finding] if !is_exact => TrialSummary::of_measure(trial.run, finding),
            findings => TrialSummary::of_exact(trial.run, findings),
        })
        .collect();
    SeriesSummary {
        name: series.experiment.name(),
        truth: series.effects,
        verdicts: verdict_counts(&trials),
        trials,
    }
}

const HEADER: [&str; 7] = [
    "injected",
    "measured, %",
    "trials",
    "failed (95 % interval)",
    "failed or warned",
    "inconclusive",
    "seconds to the verdict: 50 / 95 / 99 %",
];

/// The row of a series, under [`HEADER`].
fn row(series: &SeriesSummary) -> Vec<String> {
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    let rate = |rate: Rate| {
        let (low, high) = rate.interval;
        format!("{} ({} %, {} to {})", rate.hits, percent(rate.share), percent(low), percent(high))
    };
    let rates = Rates::of(&series.trials);
    let seconds = rates.seconds.map(|s| s.map_or("–".to_owned(), |s| format!("{s:.1}")));
    let effect = |e: &InjectedEffect| format!("{:+.2}±{:.2}", e.percent, e.error_percent);
    let effects: Vec<String> = series.truth.iter().map(effect).collect();
    vec![
        series.name.clone(),
        if effects.is_empty() { "–".into() } else { effects.join(", ") },
        rates.trials.to_string(),
        rate(rates.failed),
        rate(rates.failed_or_warned),
        rate(rates.inconclusive),
        seconds.join(" / "),
    ]
}

fn table(all: &[SeriesSummary]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(HEADER);
    table.add_rows(all.iter().map(row));
    format!("{table}\n")
}
