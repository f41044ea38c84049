//! The trials of one experiment: summarised, and as a row of a table.

use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::bench::{Experiment, InjectedEffect, TrialSeries};
use crate::check::{Finding, Rate, Rates, TrialSummary, verdict_counts};

/// The trials of one experiment, as the file has them.
#[derive(Serialize)]
pub struct SeriesSummary {
    name: String,
    /// The measured effects of the injections.
    truth: Vec<InjectedEffect>,
    /// How many trials ended with each verdict.
    verdicts: Vec<(String, u64)>,
    trials: Vec<TrialSummary>,
}

impl SeriesSummary {
    /// Trials whose injection was not measured apart from them.
    pub fn named(name: String, trials: Vec<TrialSummary>) -> SeriesSummary {
        SeriesSummary { name, truth: Vec::new(), verdicts: verdict_counts(&trials), trials }
    }

    /// Summarises the trials.
    pub fn of(series: TrialSeries<Finding>) -> SeriesSummary {
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
pub fn row(series: &SeriesSummary) -> Vec<String> {
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

/// The table of all series.
pub fn table(all: &[SeriesSummary]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(HEADER);
    table.add_rows(all.iter().map(row));
    format!("{table}\n")
}
