//! Reports the findings of a check: as a table, as files for other programs, and as pictures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use super::table;
use crate::bench::{fingerprint, load};
use crate::check::{self, Conclusion, Finding, Frame, Policy, Verdict};
use crate::cli::exit::Exit;
use crate::cli::output_file;
use crate::cli::terminal::{note, print};
use crate::environment::GITHUB_ACTIONS;
use crate::report;
use crate::results::PairRatio;

/// Where the findings go.
#[derive(clap::Args)]
pub struct OutputArgs {
    /// Print every measure, not only what changed
    #[arg(long)]
    all: bool,
    /// Write all findings as JSON: the figures of every pair, the seed, the rule
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
    /// Count an inconclusive check as a pass or as a failure [default: exit status 3]
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

/// The frame of findings of this moment and machine.
pub fn frame(seed: u64) -> Frame {
    Frame {
        heaplay: env!("CARGO_PKG_VERSION").to_owned(),
        seed,
        load: load(),
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
    pub fn report(
        &self,
        mut frame: Frame,
        mut findings: Vec<Finding>,
        policy: &Policy,
    ) -> anyhow::Result<ExitCode> {
        frame.notes.extend(policy.accept(&mut findings, now().as_secs()));
        check::sort(&mut findings);
        print(&table::table(&findings, self.all))?;
        print(&format!("{}\n", check::all_counts(&findings)))?;
        findings.iter().filter(|f| f.verdict <= Verdict::Warn).try_for_each(print_finding)?;
        frame.notes.iter().for_each(note);
        let is_github = std::env::var_os(GITHUB_ACTIONS).is_some_and(|value| value == "true");
        if self.github || is_github {
            print(&check::annotations(&findings))?;
        }
        self.write_files(&frame, &findings)?;
        Ok(self.exit(&findings).into())
    }

    fn write_files(&self, frame: &Frame, findings: &[Finding]) -> anyhow::Result<()> {
        let write = |option: &str, path: &Path, text: &str| {
            output_file::written(fs::write(path, text), option, path)
        };
        if let Some(path) = &self.json {
            write("--json", path, &check::json(frame, findings))?;
        }
        if let Some(path) = &self.junit {
            write("--junit", path, &check::junit(frame, findings))?;
        }
        if let Some(path) = &self.markdown {
            // A step summary may contain text of other steps.
            let before = fs::read_to_string(path).unwrap_or_default();
            write("--markdown", path, &(before + &check::markdown(frame, findings)))?;
        }
        if let Some(folder) = &self.pictures {
            for file in report::render_effects(&effects(findings), folder)? {
                note(format!("picture: {}", file.display()));
            }
        }
        Ok(())
    }

    fn exit(&self, findings: &[Finding]) -> Exit {
        match (Conclusion::of(findings), self.inconclusive) {
            (Conclusion::Worse, _) => Exit::Worse,
            (Conclusion::NotJudged, _) => Exit::Failed,
            (Conclusion::Inconclusive, None) => Exit::Inconclusive,
            (Conclusion::Inconclusive, Some(Inconclusive::Fail)) => Exit::Worse,
            (Conclusion::Inconclusive, Some(Inconclusive::Pass)) => Exit::Fine,
            (Conclusion::NotWorse, _) => Exit::Fine,
        }
    }
}

/// Prints a finding in a sentence, with the command that measures it again.
fn print_finding(finding: &Finding) -> anyhow::Result<()> {
    let backend = if finding.backend.is_empty() { "the trace" } else { &finding.backend };
    let verdict = finding.verdict.name();
    let mut text = format!("{verdict} {} {backend}: {}\n", finding.trace, finding.sentence());
    if !finding.reproduce.is_empty() {
        text.push_str(&format!("    again: {}\n", finding.reproduce));
    }
    print(&text)
}

/// The pictures.
fn effects(findings: &[Finding]) -> Vec<report::Effect> {
    let shown = findings.iter().filter(|finding| finding.verdict <= Verdict::Warn);
    shown
        .filter_map(|finding| {
            let evidence = finding.evidence.as_ref()?;
            let logs =
                |pairs: &[PairRatio]| pairs.iter().map(|pair| pair.processor.exp_m1()).collect();
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
