//! Room `cli`, verb `check`: what was found, as a table for people, as files for machines, and as
//! pictures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use crate::bench::{fingerprint, pairs};
use crate::check::{self, Finding, Frame, Policy, Verdict};
use crate::cli::terminal::{note, print};
use crate::report;

/// Where the findings go.
#[derive(clap::Args)]
pub struct OutputArgs {
    /// Print every measure, not only what changed
    #[arg(long)]
    all: bool,
    /// Write everything as JSON: the figures of every pair, the seed, the rule
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Add a short summary in Markdown to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Draw a picture of each timed measure that failed, warned or is inconclusive
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// Print `::error` lines [default: where GITHUB_ACTIONS is set]
    #[arg(long)]
    github: bool,
    /// Let what is inconclusive end as a pass or as a failure [default: exit status 3]
    #[arg(long, value_enum)]
    inconclusive: Option<Inconclusive>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Inconclusive {
    /// Exit status 0
    Pass,
    /// Exit status 1
    Fail,
}

/// A frame for findings of this moment and machine.
pub fn frame(seed: u64) -> Frame {
    Frame {
        heaplay: env!("CARGO_PKG_VERSION").to_owned(),
        seed,
        load: pairs::load(),
        machine: fingerprint(),
        ..Frame::default()
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A seed from the clock, short enough to be typed.
pub fn clock_seed() -> u64 {
    now().as_micros() as u64 % 1_000_000_000
}

impl OutputArgs {
    /// Applies the policy's accepted increases, prints, writes, and gives the exit code.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn tell(
        &self,
        mut frame: Frame,
        mut findings: Vec<Finding>,
        policy: &Policy,
    ) -> anyhow::Result<ExitCode> {
        frame.notes.extend(policy.accept(&mut findings, now().as_secs()));
        check::sort(&mut findings);
        print(&table(&findings, self.all))?;
        print(&format!("{}\n", counts(&findings)))?;
        for finding in findings.iter().filter(|f| f.verdict <= Verdict::Warn) {
            let of = if finding.backend.is_empty() { "the trace" } else { &finding.backend };
            let mut text = format!(
                "{} {} {of}: {}",
                finding.verdict.name(),
                finding.trace,
                finding.sentence()
            );
            if !finding.reproduce.is_empty() {
                text.push_str(&format!("\n    again: {}", finding.reproduce));
            }
            print(&format!("{text}\n"))?;
        }
        frame.notes.iter().for_each(note);
        if self.github || std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
            print(&check::annotations(&findings))?;
        }
        let write = |path: &Path, text: &str| {
            fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))
        };
        if let Some(path) = &self.json {
            write(path, &check::json(&frame, &findings))?;
        }
        if let Some(path) = &self.junit {
            write(path, &check::junit(&frame, &findings))?;
        }
        if let Some(path) = &self.markdown {
            // A step summary may hold what other steps said.
            let before = fs::read_to_string(path).unwrap_or_default();
            write(path, &(before + &check::markdown(&frame, &findings)))?;
        }
        if let Some(folder) = &self.pictures {
            for file in report::render_effects(&effects(&findings), folder)? {
                note(format!("picture: {}", file.display()));
            }
        }
        let inconclusive = match self.inconclusive {
            None => 3,
            Some(Inconclusive::Pass) => 0,
            Some(Inconclusive::Fail) => 1,
        };
        Ok(ExitCode::from(check::exit_code(&findings, inconclusive)))
    }
}

/// How many of each verdict.
fn counts(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let words: Vec<String> = Verdict::ALL
        .iter()
        .map(|verdict| format!("{} {}", count(*verdict), verdict.name()))
        .collect();
    words.join(", ")
}

/// What is drawn.
fn effects(findings: &[Finding]) -> Vec<report::Effect> {
    let shown = findings.iter().filter(|finding| finding.verdict <= Verdict::Warn);
    shown
        .filter_map(|finding| {
            let evidence = finding.evidence.as_ref()?;
            let logs = |pairs: &[check::PairOf]| {
                pairs.iter().map(|pair| pair.processor.exp_m1()).collect()
            };
            Some(report::Effect {
                trace: finding.trace.clone(),
                backend: finding.backend.clone(),
                measure: finding.measure.clone(),
                verdict: finding.verdict.name().to_lowercase(),
                effect: evidence.effect,
                lower: evidence.lower,
                upper: evidence.upper,
                fail_margin: evidence.fail_margin,
                pass_margin: evidence.pass_margin,
                pairs: logs(&evidence.pairs),
                confirmation: logs(&evidence.confirmation),
                control: logs(&evidence.control),
                seconds: evidence.seconds,
                load: evidence.load,
            })
        })
        .collect()
}

/// Worst first; what did not change is left out unless all is asked for.
fn table(findings: &[Finding], all: bool) -> String {
    let shown: Vec<&Finding> = findings
        .iter()
        .filter(|f| {
            all || f.evidence.is_some()
                || !matches!(f.verdict, Verdict::Identical | Verdict::Pass | Verdict::Skipped)
        })
        .collect();
    if shown.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "verdict",
        "trace",
        "backend",
        "measure",
        "baseline",
        "candidate",
        "margin",
        "why",
    ]);
    for finding in shown {
        let percent = |share: f64| format!("{:+.1} %", share * 100.0);
        let candidate = match &finding.evidence {
            Some(e) => {
                format!("{} [{}, {}]", percent(e.effect), percent(e.lower), percent(e.upper))
            }
            None => figure(finding.candidate, finding.unit),
        };
        table.add_row([
            finding.verdict.name().to_owned(),
            finding.trace.clone(),
            if finding.backend.is_empty() { "(the trace)".into() } else { finding.backend.clone() },
            finding.measure.clone(),
            figure(finding.baseline, finding.unit),
            candidate,
            if finding.margin > 0.0 { percent(finding.margin) } else { "–".into() },
            finding.why.clone(),
        ]);
    }
    for column in [4, 5, 6] {
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
