//! Room `cli`, verb `check`: a stored run folder as the baseline of another. Exact measures only.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

use super::CheckArgs;
use crate::backends;
use crate::check::{Finding, Frame, Policy, Verdict, compare};
use crate::results::Run;

/// Judges one run folder by another.
///
/// # Errors
/// Folders that are no runs, or that have nothing in common.
pub fn run(
    args: &CheckArgs,
    baseline: &Path,
    candidate: &Path,
    policy: &Policy,
) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    if !baseline.exists() && backends::parse(&baseline.to_string_lossy()).is_ok() {
        bail!(
            "--baseline {}: there is no such run folder; to compare two backends, name the other with --candidate",
            baseline.display()
        );
    }
    let before = Run::load(baseline).context("the baseline")?;
    let after = Run::load(candidate).context("the candidate")?;
    let mut stored = compare(&before, &after, policy)?;
    for (run, path) in [(&before, baseline), (&after, candidate)] {
        let unfinished = run.missing().len();
        if unfinished > 0 {
            let why = format!(
                "{unfinished} cells are missing; `heaplay run --resume {}` finishes it",
                path.display()
            );
            stored.findings.push(Finding::bare(
                path.display().to_string(),
                "",
                "run",
                Verdict::Missing,
                why,
            ));
        }
    }
    let frame = Frame {
        baseline: baseline.display().to_string(),
        candidate: candidate.display().to_string(),
        seconds: began.elapsed().as_secs_f64(),
        notes: stored.notes,
        ..super::output::frame(args.seed.unwrap_or(0))
    };
    let again = format!("heaplay check --baseline {} {}", baseline.display(), candidate.display());
    for finding in &mut stored.findings {
        finding.reproduce.clone_from(&again);
    }
    args.output.tell(frame, stored.findings, policy)
}
