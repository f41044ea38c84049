//! Two backends, two settings, two libraries or two builds, measured in one run.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;

use super::options::CheckArgs;
use super::output::{clock_seed, frame};
use super::side_args::{Sides, sides, validate_sides};
use crate::bench::{CheckCell, Side, Suite, are_identical, cancelled};
use crate::check::{Finding, Frame, Policy, Verdict};
use crate::cli::end_choice::EndChoice;
use crate::cli::exit::Exit;
use crate::cli::load::{FoundTraces, LineGroups, load_found};
use crate::cli::measure_args::MeasureArg;
use crate::cli::terminal::note;
use crate::cli::{interrupt, shell};
use crate::results::{Judge, TimedMeasure};
use crate::spec::BackendSpec;

/// Measures and judges.
///
/// # Errors
/// A trace or a side that cannot be had.
pub fn run(args: &CheckArgs, policy: &Policy) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let pairs = sides(args)?;
    if args.paths.is_empty() {
        bail!("give the traces to replay on both sides, such as `traces/*.trace`");
    }
    let settings = args.children.settings();
    let FoundTraces { workloads, unread } =
        load_found(&args.paths, &EndChoice::default(), LineGroups::Lines, u64::MAX)?;
    let other_jobs = validate_sides(args, &pairs, settings.clock)?;
    interrupt::install()?;
    let seed = args.seed.unwrap_or_else(clock_seed);
    let mut findings = Vec::new();
    let mut cells = Vec::new();
    for (workload, sides) in workloads.iter().flat_map(|w| pairs.iter().map(move |s| (w, s))) {
        let name = cell_name(sides);
        let without =
            |verdict, why: &str| Finding::bare(workload.name(), &name, "all", verdict, why);
        if let Some(why) = &other_jobs {
            findings.push(without(Verdict::Skipped, why));
        } else if !args.even_identical && are_identical(sides)? {
            let why = "both sides are the same, so nothing was measured; --even-identical does";
            findings.push(without(Verdict::Identical, why));
        } else {
            cells.push(CheckCell { workload, sides: sides.clone(), name });
        }
    }
    let suite = Suite {
        judge: policy,
        settings: &settings,
        has_exact: args.has(MeasureArg::Exact),
        has_instructions: args.has(MeasureArg::Instructions),
        timed: timed_measures(args),
        time_limit: args.time_limit,
        seed,
    };
    let mut measured = suite.run(&cells, &note_timed);
    if cancelled() {
        return Ok(Exit::Interrupted.into());
    }
    for finding in &mut measured {
        let of_finding = |cell: &&CheckCell| {
            (cell.workload.name(), &cell.name) == (&finding.trace, &finding.backend)
        };
        if let Some(cell) = cells.iter().find(of_finding) {
            finding.reproduce = reproduce(cell, finding, seed);
        }
    }
    findings.extend(measured);
    let gate = suite
        .timed
        .first()
        .map(|&measure| policy.pair_judge(measure, cells.len(), suite.timed.len()).rule());
    let frame = Frame {
        baseline: side_names(&pairs, 0),
        candidate: side_names(&pairs, 1),
        rule: gate.unwrap_or_default(),
        seconds: began.elapsed().as_secs_f64(),
        ..frame(seed)
    };
    let exit = args.output.report(frame, findings, policy)?;
    // With --incompatible=skip a skipped build is no failure, though nothing was judged.
    Ok(unread.exit(if other_jobs.is_some() { Exit::Fine.into() } else { exit }))
}

fn timed_measures(args: &CheckArgs) -> Vec<TimedMeasure> {
    let timed = [(MeasureArg::Time, TimedMeasure::Time), (MeasureArg::Tail, TimedMeasure::Tail)];
    timed.into_iter().filter(|(measure, _)| args.has(*measure)).map(|(_, timed)| timed).collect()
}

/// A note on a timed finding, while others are still measured.
fn note_timed(finding: &Finding) {
    if finding.evidence.is_some() {
        let verdict = finding.verdict.name();
        note(format!("{} {}: {verdict} {}", finding.trace, finding.backend, finding.sentence()));
    }
}

/// What a cell is called in the findings.
fn cell_name([baseline, candidate]: &Sides) -> String {
    let label = |side: &Side| match side.backend.parse::<BackendSpec>() {
        Ok(spec) => spec.file_label(),
        Err(_) => side.backend.clone(),
    };
    match baseline.backend == candidate.backend {
        true => candidate.backend.clone(),
        false => format!("{} → {}", label(baseline), label(candidate)),
    }
}

/// The baselines or the candidates, each once.
fn side_names(pairs: &[Sides], at: usize) -> String {
    let name = |side: &Side| match &side.binary {
        Some(binary) => format!("{} by {}", side.backend, binary.display()),
        None => side.backend.clone(),
    };
    let mut names: Vec<String> = pairs.iter().map(|sides| name(&sides[at])).collect();
    names.dedup();
    names.join(", ")
}

/// The command that measures a finding again; empty for what could not be measured.
fn reproduce(cell: &CheckCell, finding: &Finding, seed: u64) -> String {
    if finding.verdict == Verdict::Missing {
        return String::new();
    }
    let path = cell.workload.trace.path.clone();
    let mut words = vec!["heaplay".to_owned(), "check".to_owned(), path];
    for (side, sort) in cell.sides.iter().zip(["baseline", "candidate"]) {
        words.extend([format!("--{sort}"), side.backend.clone()]);
        if let Some(binary) = &side.binary {
            words.extend([format!("--{sort}-binary"), binary.display().to_string()]);
        }
    }
    let measure = match finding.measure.as_str() {
        measure @ ("time" | "tail" | "instructions") => measure,
        _ => "exact",
    };
    words.extend(["--measures".to_owned(), measure.to_owned()]);
    words.extend(["--seed".to_owned(), seed.to_string()]);
    shell::line(words.iter().map(String::as_str))
}
