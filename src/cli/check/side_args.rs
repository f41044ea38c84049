//! The sides that options name: read, and opened once before anything is measured.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::options::{CheckArgs, Incompatible};
use crate::bench::{self, ClockRate, Side, Unfit, handshake};
use crate::cli::specs;
use crate::cli::terminal::note;

/// Baseline and candidate.
pub type Sides = [Side; 2];

/// The pairs of sides that the options name.
pub fn sides(args: &CheckArgs) -> anyhow::Result<Vec<Sides>> {
    if args.baseline.is_empty() {
        bail!("--candidate needs a --baseline to be compared with");
    }
    let candidates = match (args.candidate.as_slice(), &args.candidate_binary) {
        ([], Some(_)) => args.baseline.as_slice(),
        (candidates, _) => candidates,
    };
    if candidates.len() != args.baseline.len() {
        bail!(
            "there are {} --baseline and {} --candidate; each candidate needs a baseline of its own, \
             in the same order",
            args.baseline.len(),
            candidates.len()
        );
    }
    let binary = |path: &Option<PathBuf>| -> anyhow::Result<Option<PathBuf>> {
        let full =
            |path| fs::canonicalize(path).with_context(|| Path::new(path).display().to_string());
        path.as_ref().map(full).transpose()
    };
    let binaries = [binary(&args.baseline_binary)?, binary(&args.candidate_binary)?];
    let pairs = args.baseline.iter().zip(candidates);
    pairs
        .map(|(baseline, candidate)| {
            Ok([side(baseline, &binaries[0])?, side(candidate, &binaries[1])?])
        })
        .collect()
}

fn side(text: &str, binary: &Option<PathBuf>) -> anyhow::Result<Side> {
    if Path::new(text).join("manifest.json").exists() {
        bail!(
            "{text} is a run folder, and the other side is a backend: a stored run is compared with \
             another run folder (`heaplay check --baseline {text} RUN`), and two backends with each \
             other"
        );
    }
    Ok(Side { binary: binary.clone(), ..Side::of(specs::read(text)?.as_str()) })
}

/// Opens each side once before anything is measured: a library may lack the symbols, or crash when
/// it is loaded. Returns why another build has to be skipped.
pub fn validate_sides(
    args: &CheckArgs,
    pairs: &[Sides],
    clock: ClockRate,
) -> anyhow::Result<Option<String>> {
    let mut other_jobs = None;
    for side in pairs.iter().flatten() {
        let answer = match &side.binary {
            None => bench::version(&side.backend, None).map_err(|failure| {
                let failure = failure.about(&side.backend);
                format!("{failure}; `heaplay backends` lists what can be had")
            }),
            Some(binary) => match handshake(binary, &side.backend, clock) {
                Err(Unfit::OtherJobs(why)) if args.incompatible == Incompatible::Skip => {
                    note(format!("skipped: {why}"));
                    other_jobs = Some(why);
                    continue;
                }
                answer => answer.map_err(|unfit| unfit.to_string()),
            },
        };
        answer.map_err(|reason| anyhow!("{reason}"))?;
    }
    Ok(other_jobs)
}
