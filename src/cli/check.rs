//! Room `cli`, verb `check`: the regression check over two run folders.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::{note, print};
use crate::check::{Finding, Policy, Verdict, compare};
use crate::results::{Exactness, METRICS, Run};

/// Fail when a run is worse than a baseline: exact measures without tolerance, times as ratios
#[derive(clap::Args)]
#[command(after_help = "Exit status: 0 nothing is worse; 1 something is; 2 it could not be judged.")]
pub struct CheckArgs {
    /// The run folder to hold against
    #[arg(long, required_unless_present = "list")]
    baseline: Option<PathBuf>,
    /// The run folder to judge
    #[arg(required_unless_present = "list")]
    candidate: Option<PathBuf>,
    /// The backend to whose time the others' are held
    #[arg(long, default_value = "malloc")]
    reference: String,
    /// How much a time's ratio may grow, in percent (two runs of the same on a busy machine differ by up to 20)
    #[arg(long, default_value_t = 25.0)]
    threshold: f64,
    /// Print every measure, not only what changed
    #[arg(long)]
    all: bool,
    /// List the measures, and which of them are exact
    #[arg(long)]
    list: bool,
}

impl CheckArgs {
    /// Judges and prints the table.
    ///
    /// # Errors
    /// Folders that are no runs, or that have nothing in common.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.list {
            print(&list())?;
            return Ok(ExitCode::SUCCESS);
        }
        let (Some(baseline), Some(candidate)) = (&self.baseline, &self.candidate) else {
            bail!("give --baseline RUN and the RUN to judge");
        };
        if !(self.threshold.is_finite() && self.threshold >= 0.0) {
            bail!("--threshold {}: expected a percentage of 0 or more", self.threshold);
        }
        let before = Run::load(baseline).context("the baseline")?;
        let after = Run::load(candidate).context("the candidate")?;
        let unfinished = after.missing().len();
        let policy = Policy { reference: self.reference.clone(), threshold: self.threshold / 100.0 };
        let findings = compare(&before, &after, &policy)?;
        print(&table(&findings, self.all))?;
        let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
        print(&format!(
            "{} worse, {} missing, {} unclear, {} skipped, {} better, {} same\n",
            count(Verdict::Worse),
            count(Verdict::Missing),
            count(Verdict::Unclear),
            count(Verdict::Skipped),
            count(Verdict::Better),
            count(Verdict::Same)
        ))?;
        if unfinished > 0 {
            note(format!(
                "{}: {unfinished} cells are missing; `heaplay run --resume {}` finishes it",
                candidate.display(),
                candidate.display()
            ));
        }
        let judged = count(Verdict::Same) + count(Verdict::Better) + count(Verdict::Unclear);
        Ok(if count(Verdict::Worse) > 0 {
            ExitCode::from(1)
        } else if count(Verdict::Missing) + unfinished > 0 || judged == 0 {
            ExitCode::from(2)
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// Worst first; what did not change is left out unless all is asked for.
fn table(findings: &[Finding], all: bool) -> String {
    let shown: Vec<&Finding> =
        findings.iter().filter(|f| all || !matches!(f.verdict, Verdict::Same | Verdict::Skipped)).collect();
    if shown.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["verdict", "trace", "backend", "measure", "baseline", "candidate", "why"]);
    for finding in shown {
        table.add_row([
            finding.verdict.name().to_owned(),
            finding.trace.clone(),
            if finding.backend.is_empty() { "(the trace)".into() } else { finding.backend.clone() },
            finding.measure.clone(),
            figure(finding.baseline, finding.unit),
            figure(finding.candidate, finding.unit),
            finding.why.clone(),
        ]);
    }
    for column in [4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{table}\n")
}

fn figure(value: Option<f64>, unit: &str) -> String {
    match value {
        None => "–".into(),
        Some(value) if unit == "ratio" => format!("{value:.3}"),
        Some(value) => format!("{value} {unit}"),
    }
}

/// The measures by how repeatable they are.
fn list() -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["measure", "unit", "judged", "what it is"]);
    let mut metrics: Vec<_> = METRICS.iter().collect();
    metrics.sort_by_key(|metric| match metric.exactness {
        Exactness::Trace => 0,
        Exactness::Policy => 1,
        Exactness::Machine => 2,
        Exactness::Timed => 3,
        Exactness::Told => 4,
    });
    for metric in metrics {
        table.add_row([metric.name, metric.unit, metric.exactness.describe(), metric.meaning]);
    }
    format!("{table}\n")
}
