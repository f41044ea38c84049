//! The file of a study: every trial, with the machine and the seed.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;

use super::series::SeriesSummary;
use crate::bench::fingerprint;
use crate::results::{Machine, civil_date};

/// What all trials share.
pub struct StudyFacts<'a> {
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// The backend that is compared with itself.
    pub backend: &'a str,
    /// Cells of the suite that each trial stands for.
    pub cells: u64,
    /// Seconds that a trial may take.
    pub trial_limit_seconds: u64,
    /// Wall time of the study so far, in seconds.
    pub seconds: f64,
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

/// Writes the file as JSON, a line for each trial.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, facts: &StudyFacts<'_>, kinds: &[SeriesSummary]) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil_date(now.as_secs());
    let file = StudyFile {
        format: 1,
        heaplay: env!("CARGO_PKG_VERSION"),
        date: format!("{year}-{month:02}-{day:02}"),
        seed: facts.seed,
        backend: facts.backend,
        cells: facts.cells,
        trial_limit_seconds: facts.trial_limit_seconds,
        seconds: facts.seconds,
        machine: fingerprint(),
        kinds,
    };
    let text = serde_json::to_string(&file).context("the trials as JSON")?;
    std::fs::write(path, text.replace("{\"trace\"", "\n{\"trace\"") + "\n")
        .with_context(|| path.display().to_string())
}
