//! Room `cli`, verb `generate`: a synthetic trace from a seed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;

use super::note;
use crate::trace::{self, Distribution, Generator, SIZE_LIMIT_BYTES};

/// Generate a trace with sizes and lifetimes of a given distribution, the same for a seed on every machine
#[derive(clap::Args)]
pub struct GenerateArgs {
    /// The trace to write: NAME.csv or NAME.trace
    out: PathBuf,
    /// Calls, frees included
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    calls: u64,
    /// Decides everything else
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sizes in bytes as low-high:weight,… [default: as CPython programs ask]
    #[arg(long)]
    sizes: Option<String>,
    /// Lifetimes in calls as low-high:weight,… [default: most die young, some live for a burst]
    #[arg(long)]
    lifetimes: Option<String>,
}

impl GenerateArgs {
    /// Generates.
    ///
    /// # Errors
    /// A distribution that cannot be read, or a file that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let parse = |option: &str, text: Option<&String>, limit, default: fn() -> Distribution| match text {
            Some(text) => Distribution::parse(text, limit).map_err(|reason| anyhow!("--{option}: {reason}")),
            None => Ok(default()),
        };
        let sizes = parse("sizes", self.sizes.as_ref(), SIZE_LIMIT_BYTES, Distribution::python_sizes)?;
        let lifetimes = parse("lifetimes", self.lifetimes.as_ref(), 1 << 40, Distribution::python_lifetimes)?;
        let mut generator = Generator::new(self.seed, self.calls, sizes, lifetimes);
        let rows = trace::copy(&mut generator, &self.out)?;
        note(format!("{}: {} calls, {rows} of them rows", self.out.display(), self.calls));
        Ok(ExitCode::SUCCESS)
    }
}
