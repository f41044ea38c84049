//! A stored run folder as the baseline of another, by exact measures only.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

use super::options::CheckArgs;
use super::output::frame;
use crate::backends;
use crate::check::{Finding, Frame, Policy, Verdict, compare};
use crate::cli::shell;
use crate::cli::terminal::note;
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
            "--baseline {}: there is no such run folder; to compare two backends, name the other \
             with --candidate",
            baseline.display()
        );
    }
    let before = Run::load(baseline).context("the baseline")?;
    let after = Run::load(candidate).context("the candidate")?;
    let mut stored = compare(&before, &after, policy)?;
    stored.findings.extend(unfinished(&before, baseline));
    stored.findings.extend(unfinished(&after, candidate));
    let frame = Frame {
        baseline: baseline.display().to_string(),
        candidate: candidate.display().to_string(),
        seconds: began.elapsed().as_secs_f64(),
        notes: stored.notes,
        ..frame(args.seed.unwrap_or(0))
    };
    let pair = shell::line(["heaplay", "diff", &frame.baseline, &frame.candidate]);
    note(format!("`{pair}` shows what moved by cause, line and size class"));
    let again = shell::line(["heaplay", "check", "--baseline", &frame.baseline, &frame.candidate]);
    for finding in &mut stored.findings {
        finding.reproduce.clone_from(&again);
    }
    args.output.report(frame, stored.findings, policy)
}

/// The finding for a run that has cells to do.
fn unfinished(run: &Run, path: &Path) -> Option<Finding> {
    let missing = run.missing().len();
    let again = shell::line(["heaplay", "run", "--resume", &path.display().to_string()]);
    (missing > 0).then(|| {
        let why = format!("{missing} cells are missing; `{again}` finishes it");
        Finding::bare(path.display().to_string(), "", "run", Verdict::Missing, why)
    })
}
