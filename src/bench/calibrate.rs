//! How much longer builds of the same source take than each other. A margin that is finer fails on
//! changes that change nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::machine::processors;
use super::pairs::{Course, PairError, Side, ratios};
use super::settings::Settings;
use super::worker::Limits;
use super::workload::Loaded;
use crate::stats::{Estimate, Random};

/// The finest margin, in per cent: builds of one allocator have differed by so much.
const LEAST_MARGIN_PERCENT: f64 = 2.0;

/// A command that builds a library again, each time with its functions elsewhere.
#[derive(Clone, Debug)]
pub struct Rebuild {
    /// A command of the shell.
    pub command: String,
    /// The library that it makes.
    pub library: PathBuf,
    /// The prefix of the library's functions, such as `mi_`.
    pub prefix: Option<String>,
}

/// Why a build could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no shell.
    #[error("/bin/sh: {0}")]
    Shell(#[source] std::io::Error),
    /// The command failed.
    #[error("`{command}` ended with {status}; it has to build the library again each time it runs")]
    Failed {
        /// The command.
        command: String,
        /// Its status.
        status: ExitStatus,
    },
    /// The command made no library.
    #[error("{}: the build did not make it: {source}", library.display())]
    NoLibrary {
        /// The library.
        library: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

impl Rebuild {
    /// The alignment of functions in the build with this number, in bytes. Each moves every
    /// function after the first.
    pub fn alignment(number: usize) -> u32 {
        [16, 32, 64, 128, 8, 256][number % 6]
    }

    /// Runs the command with other alignments in the compilers' flags, and copies the library into
    /// `folder`.
    ///
    /// # Errors
    /// The command fails, or it makes no library.
    pub fn build(&self, number: usize, folder: &Path) -> Result<Side, RebuildError> {
        let align = Rebuild::alignment(number);
        let appended = |name: &str, flag: &str| match std::env::var(name) {
            Ok(before) => format!("{before} {flag}"),
            Err(_) => flag.to_owned(),
        };
        let c = format!("-falign-functions={align}");
        let rust = format!("-Cllvm-args=-align-all-functions={}", align.ilog2());
        let status = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .env("CFLAGS", appended("CFLAGS", &c))
            .env("CXXFLAGS", appended("CXXFLAGS", &c))
            .env("RUSTFLAGS", appended("RUSTFLAGS", &rust))
            .env("HEAPLAY_LAYOUT", number.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(RebuildError::Shell)?;
        if !status.success() {
            return Err(RebuildError::Failed { command: self.command.clone(), status });
        }
        let copy = folder.join(format!("build-{}.so", number + 1));
        let library = self.library.clone();
        fs::copy(&library, &copy).map_err(|source| RebuildError::NoLibrary { library, source })?;
        let prefix = self.prefix.as_ref().map_or(String::new(), |prefix| format!(":{prefix}"));
        Ok(Side::of(&format!("so:{}{prefix}", copy.display())))
    }
}

/// Why builds could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// A pair gave no figure.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// No pair gave a ratio.
    #[error("no pair could be compared")]
    NoRatio,
}

/// A comparison of builds of one source with the first of them.
pub struct Calibration<'a> {
    /// The builds.
    pub builds: &'a [Side],
    /// Pairs of processes for each build but the first.
    pub pairs: u16,
    /// Bounds of the children, and their clock.
    pub settings: &'a Settings,
    /// The source of all orders.
    pub random: Random,
}

impl Calibration<'_> {
    /// Times each build but the first against the first, on one trace. Each estimate is of the
    /// logarithm of the ratio of processor times.
    ///
    /// # Errors
    /// A child fails, or no pair gives a ratio.
    pub fn measure(&mut self, loaded: &Loaded) -> Result<Vec<Estimate>, CalibrateError> {
        let time = self.settings.time_limit(loaded.program.instructions().len()) * 8;
        let limits = Limits {
            time: time.max(Duration::from_secs(60)),
            memory_bytes: self.settings.memory_bytes,
        };
        let context = Course {
            loaded,
            processor: processors().first().copied(),
            limits,
            clock: self.settings.clock,
        };
        let Some((first, others)) = self.builds.split_first() else { return Ok(Vec::new()) };
        others.iter().map(|build| self.compare([first, build], &context)).collect()
    }

    fn compare(&mut self, both: [&Side; 2], context: &Course) -> Result<Estimate, CalibrateError> {
        let iterations = context.pilot(&both, self.random.bits())?;
        let times: Vec<_> = (0..self.pairs)
            .map(|_| context.time(&both, iterations, self.random.bits()))
            .collect::<Result<_, _>>()?;
        let pairs: Vec<_> = times.iter().map(|times| [&times[0], &times[1]]).collect();
        let found = ratios(&pairs, iterations).unwrap_or_default();
        let logs: Vec<f64> = found.into_iter().map(|ratio| ratio.processor).collect();
        Estimate::of(&logs).ok_or(CalibrateError::NoRatio)
    }
}

/// By how much the slowest of some builds takes longer than the quickest, in per cent. `estimates`
/// compare each build with the first.
pub fn spread_percent(estimates: &[Estimate]) -> f64 {
    let means = || estimates.iter().map(|estimate| estimate.mean).chain([0.0]);
    let most = means().fold(f64::NEG_INFINITY, f64::max);
    let least = means().fold(f64::INFINITY, f64::min);
    (most - least).exp_m1() * 100.0
}

/// The margin for builds with such a spread, in per cent: the spread rounded up to halves.
pub fn margin_percent(spread_percent: f64) -> f64 {
    LEAST_MARGIN_PERCENT.max((spread_percent * 2.0).ceil() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_the_spread_of_all_builds() {
        let estimate = |mean: f64| Estimate { mean, error: 0.001, freedom: 5.0 };
        let spread = spread_percent(&[estimate(-0.01), estimate(0.02)]);
        assert!((spread - 0.03_f64.exp_m1() * 100.0).abs() < 1e-9, "{spread}");
        let spread = spread_percent(&[estimate(0.01), estimate(0.02)]);
        assert!((spread - 0.02_f64.exp_m1() * 100.0).abs() < 1e-9, "the first build counts too");
        assert_eq!((margin_percent(1.2), margin_percent(3.1)), (2.0, 3.5));
    }
}
