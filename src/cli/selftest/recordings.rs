//! Trials of the check on recordings. Each recording is measured once. A trial draws two sides of the
//! recordings, without one in both, and judges them as `check` does.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

use super::SelftestArgs;
use super::series::{self, SeriesSummary};
use super::study_file::{self, StudyFacts};
use crate::bench::{cancelled, load};
use crate::check::{Policy, Recording, TrialSummary, compare_recordings};
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::recording_series::{program_name, recordings};
use crate::cli::recording_side::RecordingReader;
use crate::cli::terminal::{note, print};
use crate::results::TrialRun;
use crate::stats::Random;

impl SelftestArgs {
    /// Measures the recordings, draws the trials, and prints the rates.
    ///
    /// # Errors
    /// A recording that cannot be measured, or too few of them.
    pub(super) fn of_recordings(self) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let files = |paths: &[PathBuf]| -> Vec<PathBuf> {
            paths.iter().flat_map(|path| recordings(path)).collect()
        };
        let (unchanged, changed) = (files(&self.recordings), files(&self.changed));
        let least = self.sides.iter().copied().max().unwrap_or(1) as usize;
        let needed = if changed.is_empty() { 2 * least } else { least };
        if unchanged.len() < needed || (!changed.is_empty() && changed.len() < least) {
            bail!(
                "sides of {least} need {needed} recordings, and there are {} and {}; record more, or \
                 name smaller --sides",
                unchanged.len(),
                changed.len()
            );
        }
        interrupt::install()?;
        let name = program_name(&unchanged).context("no recording")?;
        let reader = RecordingReader::new(&self.backend, &name, self.children.settings())?;
        note(format!("measures {} recordings", unchanged.len() + changed.len()));
        let unchanged = reader.measure(&unchanged)?.recordings;
        let changed = reader.measure(&changed)?.recordings;
        let mut all = Vec::new();
        for &side in &self.sides {
            let draw = Draw { side: side as usize, trace: &name, seed: self.seed };
            let trials = draw.trials(self.trials, &unchanged, &changed)?;
            let what = if changed.is_empty() { "A/A" } else { "changed" };
            all.push(SeriesSummary::named(format!("recordings {what}, {side} a side"), trials));
            if cancelled() {
                break;
            }
        }
        if let Some(path) = &self.json {
            let facts = StudyFacts {
                seed: self.seed,
                backend: &self.backend,
                cells: 1,
                trial_limit_seconds: self.trial_limit,
                seconds: began.elapsed().as_secs_f64(),
            };
            study_file::write(path, &facts, &all)?;
        }
        print(&series::table(&all))?;
        Ok(if cancelled() { Exit::Interrupted.into() } else { Exit::Fine.into() })
    }
}

/// How trials are drawn.
struct Draw<'a> {
    /// Recordings a side.
    side: usize,
    trace: &'a str,
    seed: u64,
}

impl Draw<'_> {
    /// The trials. Without changed recordings both sides are of the unchanged ones.
    fn trials(
        &self,
        count: u64,
        unchanged: &[Recording],
        changed: &[Recording],
    ) -> anyhow::Result<Vec<TrialSummary>> {
        let mut random = Random(self.seed);
        let mut trials = Vec::new();
        for _ in 0..count {
            if cancelled() {
                break;
            }
            let seed = random.bits() >> 16;
            let mut order = Random(seed);
            let mut drawn = shuffled(unchanged.len(), &mut order);
            let candidate = if changed.is_empty() {
                pick(unchanged, &drawn.split_off(self.side)[..self.side])
            } else {
                pick(changed, &shuffled(changed.len(), &mut order)[..self.side])
            };
            let baseline = pick(unchanged, &drawn[..self.side]);
            let began = Instant::now();
            let found = compare_recordings(&baseline, &candidate, &Policy::default())?;
            let seconds = began.elapsed().as_secs_f64();
            let run = TrialRun { trace: self.trace.to_owned(), seconds, load: load(), seed };
            trials.push(TrialSummary::of_exact(run, &found.findings));
        }
        Ok(trials)
    }
}

fn shuffled(count: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    random.shuffle(&mut order);
    order
}

fn pick(recordings: &[Recording], chosen: &[usize]) -> Vec<Recording> {
    chosen.iter().filter_map(|&at| recordings.get(at).cloned()).collect()
}
