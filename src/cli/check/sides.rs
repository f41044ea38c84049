//! Room `cli`, verb `check`: two backends, two settings, two libraries or two builds, measured in
//! one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::race::Cell;
use super::suite::{self, Rules};
use super::{CheckArgs, Incompatible};
use crate::backends;
use crate::bench::pairs::{Side, Unfit, handshake};
use crate::bench::{self, cancelled};
use crate::check::{Finding, Frame, Policy, Verdict};
use crate::cli::interrupt;
use crate::cli::load::{find_traces, load_traces, sha256};
use crate::cli::terminal::note;
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
    let (entries, programs) = load_traces(&find_traces(&args.paths)?)?;
    let mut other_jobs = None;
    for side in pairs.iter().flatten() {
        // Told before anything is measured: a library without the symbols, or one that crashes when
        // it is loaded.
        let told = match &side.binary {
            Some(binary) => match handshake(binary, &side.backend, settings.clock) {
                Err(Unfit::OtherJobs(why)) if args.incompatible == Incompatible::Skip => {
                    note(format!("skipped: {why}"));
                    other_jobs = Some(why);
                    continue;
                }
                told => told.map_err(|unfit| unfit.to_string()),
            },
            None => bench::version(&side.backend, None),
        };
        told.map_err(|reason| match reason.contains(&side.backend) {
            true => anyhow::anyhow!("{reason}"),
            false => anyhow::anyhow!(
                "{}: {reason}; `heaplay backends` lists what can be had",
                side.backend
            ),
        })?;
    }
    interrupt::install()?;
    let seed = args.seed.unwrap_or_else(super::output::clock_seed);
    let mut findings = Vec::new();
    let mut cells = Vec::new();
    for entry in &entries {
        for sides in &pairs {
            let name = match sides[0].backend == sides[1].backend {
                true => sides[1].backend.clone(),
                false => format!("{} → {}", short(&sides[0].backend), short(&sides[1].backend)),
            };
            if let Some(why) = &other_jobs {
                findings.push(Finding::bare(&entry.name, &name, "all", Verdict::Skipped, why));
                continue;
            }
            if identity(&sides[0])? == identity(&sides[1])? && !args.even_identical {
                let why = "both sides are the same, so nothing was measured; --even-identical does";
                findings.push(Finding::bare(&entry.name, &name, "all", Verdict::Identical, why));
                continue;
            }
            let loaded = &programs[&entry.name];
            cells.push(Cell { trace: &entry.name, loaded, sides: sides.clone(), name });
        }
    }
    let reproduce = |cell: &Cell, measure: &str| {
        let path =
            entries.iter().find(|entry| entry.name == cell.trace).map_or("", |entry| &entry.path);
        let mut command = format!("heaplay check {}", quoted(path));
        for (side, sort) in cell.sides.iter().zip(["baseline", "candidate"]) {
            command.push_str(&format!(" --{sort} {}", quoted(&side.backend)));
            if let Some(binary) = &side.binary {
                command.push_str(&format!(
                    " --{sort}-binary {}",
                    quoted(&binary.display().to_string())
                ));
            }
        }
        format!("{command} --measures {measure} --seed {seed}")
    };
    let rules = Rules {
        measures: &args.measures,
        policy,
        settings: &settings,
        time_limit: Duration::from_secs(args.time_limit),
        seed,
        reproduce: &reproduce,
    };
    let told = |finding: &Finding| {
        if finding.evidence.is_some() {
            note(format!(
                "{} {}: {} {}",
                finding.trace,
                finding.backend,
                finding.verdict.name(),
                finding.sentence()
            ));
        }
    };
    findings.extend(suite::run(&cells, &rules, &told));
    if cancelled() {
        return Ok(ExitCode::from(130));
    }
    let words = |at: usize| -> String {
        let mut words: Vec<String> = pairs.iter().map(|sides| side_words(&sides[at])).collect();
        words.dedup();
        words.join(", ")
    };
    let timed = rules.timed();
    let rule = timed.first().map(|timed| {
        let gate = rules.gate(*timed, cells.len());
        format!(
            "20 % trimmed mean over pairs of processes of ln(candidate/baseline), Yuen's error, Student's t; looks at {:?} \
             pairs; fails when the lower bound is over the margin and that of fresh pairs too, beside an A/A control; error \
             {} over cells ({}) and measures ({}): at most {:.2e} over the looks of each of the two stages, the first of \
             which have the larger shares; passes when the upper bound at {} % is below",
            crate::stats::LOOKS,
            gate.budget.fail,
            gate.cells,
            gate.measures,
            gate.error_of_a_stage(),
            (1.0 - gate.budget.pass) * 100.0,
        )
    });
    let frame = Frame {
        baseline: words(0),
        candidate: words(1),
        rule: rule.unwrap_or_default(),
        seconds: began.elapsed().as_secs_f64(),
        ..super::output::frame(seed)
    };
    let told = args.output.tell(frame, findings, policy)?;
    // What was asked to be skipped is no failure, though nothing was judged.
    Ok(if other_jobs.is_some() { ExitCode::SUCCESS } else { told })
}

/// The pairs of sides that the options name.
fn sides(args: &CheckArgs) -> anyhow::Result<Vec<[Side; 2]>> {
    if args.baseline.is_empty() {
        bail!("--candidate needs a --baseline to be held against");
    }
    let candidates = match (args.candidate.as_slice(), &args.candidate_binary) {
        ([], Some(_)) => args.baseline.as_slice(),
        (candidates, _) => candidates,
    };
    if candidates.len() != args.baseline.len() {
        bail!(
            "there are {} --baseline and {} --candidate; each candidate needs a baseline of its own, in the same order",
            args.baseline.len(),
            candidates.len()
        );
    }
    let executable = |path: &Option<PathBuf>| -> anyhow::Result<Option<PathBuf>> {
        path.as_ref()
            .map(|path| fs::canonicalize(path).with_context(|| path.display().to_string()))
            .transpose()
    };
    let binaries = [executable(&args.baseline_binary)?, executable(&args.candidate_binary)?];
    args.baseline
        .iter()
        .zip(candidates)
        .map(|(baseline, candidate)| {
            let side = |word: &String, binary: &Option<PathBuf>| -> anyhow::Result<Side> {
                if Path::new(word).join("manifest.json").exists() {
                    bail!(
                        "{word} is a run folder, and the other side is a backend: a stored run is compared with another \
                         run folder (`heaplay check --baseline {word} RUN`), and two backends with each other"
                    );
                }
                match backends::environment(&backends::parse(word)?) {
                    Ok(_) | Err(backends::BackendError::Unavailable { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                Ok(Side { binary: binary.clone(), ..Side::of(word) })
            };
            Ok([side(baseline, &binaries[0])?, side(candidate, &binaries[1])?])
        })
        .collect()
}

fn side_words(side: &Side) -> String {
    match &side.binary {
        Some(binary) => format!("{} by {}", side.backend, binary.display()),
        None => side.backend.clone(),
    }
}

/// A backend's word without the folders of a path.
fn short(word: &str) -> String {
    let (head, path) = match word.split_once(":/") {
        Some((head, path)) => (head, path),
        None => return word.to_owned(),
    };
    format!("{head}:{}", path.rsplit('/').next().unwrap_or(path))
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@=+,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What decides whether two sides are the same: the backend with its settings, and the contents of
/// every file of it.
fn identity(side: &Side) -> anyhow::Result<String> {
    fn of(spec: &BackendSpec) -> anyhow::Result<String> {
        let mut text = format!("{}@{:?}:{:?}", spec.name(), spec.version(), spec.prefix());
        match spec.path() {
            Some(path) if path.contains('/') => text.push_str(&sha256(Path::new(path))?),
            path => text.push_str(path.unwrap_or_default()),
        }
        for (key, value) in spec.settings() {
            text.push_str(&format!(":{key}={value}"));
        }
        if let Some(below) = spec.below() {
            text.push('+');
            text.push_str(&of(below)?);
        }
        Ok(text)
    }
    let binary = side.binary.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    Ok(format!("{} by {}", of(&backends::parse(&side.backend)?)?, sha256(&binary)?))
}
