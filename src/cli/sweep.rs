//! Verb `sweep`: a grid of settings, measured as any run. At its end it says which settings pay.
//! `sweep/advice.rs` writes the sentences, and `sweep/grids.rs` says what a grid may vary.
//!
//! `jemalloc:dirty_decay_ms={0,1000}` is two backends. Each allocator without settings is measured
//! beside its variants, and `pymalloc` and `malloc` always, as baselines.

mod advice;
mod grids;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

pub use grids::grid_advice;

use super::children::ChildArgs;
use super::end_choice::EndArgs;
use super::numbers::whole;
use super::run::{RunArgs, parse_seconds};
use super::terminal::print;
use crate::bench::expand_grid;
use crate::results::{ComparedBackends, Metric, Pass};

/// Run a grid of settings and say which of them pay, with the line for a Dockerfile
#[derive(clap::Args)]
pub struct SweepArgs {
    /// Traces (.trace or .csv), or folders of traces
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// A backend, or several with commas; braces make a grid:
    /// 'jemalloc:dirty_decay_ms={0,1000},narenas={1,4}'. May be given again
    #[arg(
        short,
        long = "backend",
        visible_alias = "backends",
        value_name = "BACKEND",
        required = true
    )]
    backends: Vec<String>,
    /// The memory that counts: at the end, at its peak, or averaged over the bytes requested
    #[arg(long, value_enum, default_value_t = MemoryArg::End)]
    memory: MemoryArg,
    #[command(flatten)]
    end: EndArgs,
    /// Repetitions of the time pass [default: as many as needed, until each variant is separable from
    /// its allocator, or is equal within 2 %, or the budget is spent]
    #[arg(short, long, value_name = "N", value_parser = whole::<u32>("a number of repetitions", 5..=255, 10))]
    repetitions: Option<u32>,
    /// Seconds for the repetitions of the time pass beyond the first 5, such as 60 or 60s. Those 5, all
    /// other passes and the report take their own time, beside the budget
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "60",
        value_parser = parse_seconds,
        conflicts_with = "repetitions"
    )]
    budget: Duration,
    /// The run folder [default: reports/DATE-TIME]
    #[arg(short, long, value_name = "RUN")]
    out: Option<PathBuf>,
    #[command(flatten)]
    children: ChildArgs,
}

/// The memory that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum MemoryArg {
    /// Resident at the end; --at says which moment that is
    #[value(alias = "exit")]
    End,
    /// The most that was resident
    Peak,
    /// Resident, averaged over the bytes requested
    #[value(aliases = ["averaged", "average"])]
    Mean,
}

impl SweepArgs {
    /// The option of the backends, with the next step where it has no grid.
    fn option(&self) -> &'static str {
        match self.backends.iter().any(|text| text.contains('{')) {
            true => "--backend",
            false => {
                "--backend (values of a setting stand in braces: -b 'malloc:MALLOC_ARENA_MAX={1,4}')"
            }
        }
    }

    /// Expands the grid, runs it, and prints what pays.
    ///
    /// # Errors
    /// A faulty grid, or what `run` could not do.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let grid = expand_grid(&advice::BASELINES, &self.backends).context(self.option())?;
        if grid.iter().all(|spec| spec.settings().is_empty()) {
            bail!("--backend {}: varies no setting; {}", self.backends.join(" "), grid_advice());
        }
        let metric = match self.memory {
            MemoryArg::End => Metric::ResidentEndBytes,
            MemoryArg::Peak => Metric::ResidentPeakBytes,
            MemoryArg::Mean => Metric::ResidentMeanBytes,
        };
        let args = RunArgs {
            traces: self.traces,
            backends: grid.into_iter().map(String::from).collect(),
            passes: vec![Pass::Footprint, Pass::Time],
            repetitions: self.repetitions,
            budget: self.budget,
            compared: ComparedBackends::Settings,
            out: self.out,
            end: self.end,
            children: self.children,
            ..RunArgs::default()
        };
        let (run, folder, unread) = args.measure()?;
        unread.announce()?;
        let code = super::run::conclude(&run, &folder, args.private)?;
        if run.missing().is_empty() {
            print(&advice::advice(&run, metric))?;
        }
        unread.conclude(code)
    }
}
