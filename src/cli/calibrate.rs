//! The verb `calibrate`: prints the margin below which a difference in time means nothing, from
//! builds of the same source.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table};

use super::children::ChildArgs;
use super::exit::Exit;
use super::load::{find_traces, load_traces};
use super::numbers::{seed, whole};
use super::terminal::{note, print};
use super::{interrupt, specs};
use crate::bench::calibrate::{Calibration, Rebuild, margin_percent, spread_percent};
use crate::bench::{self, Side, cancelled};
use crate::stats::Random;

/// Find the margin below which a difference in time means nothing, from builds of the same source
#[derive(clap::Args)]
#[command(after_help = "With --build given twice or more, these builds are compared. \
    With --rebuild, the command runs several times, each time with another alignment of functions \
    in CFLAGS, CXXFLAGS and RUSTFLAGS; it makes --library. \
    With a single --build, the same file runs at several fixed layouts of its addresses. This \
    moves data and stack, but not the code within its file, so it finds less than rebuilds do.")]
pub struct CalibrateArgs {
    /// Traces, or folders of traces
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// A backend; several for builds of the same source, such as so:a.so and so:b.so
    #[arg(long, value_name = "BACKEND")]
    build: Vec<String>,
    /// A shell command that builds the library again
    #[arg(long, value_name = "COMMAND", requires = "library", conflicts_with = "build")]
    rebuild: Option<String>,
    /// The library that --rebuild makes
    #[arg(long, value_name = "PATH", requires = "rebuild")]
    library: Option<PathBuf>,
    /// The prefix of its functions, such as mi_
    #[arg(long, value_name = "PREFIX", requires = "rebuild")]
    prefix: Option<String>,
    /// Number of rebuilds or layouts
    #[arg(
        long,
        default_value_t = 6,
        value_parser = whole::<u16>("a number of rebuilds or layouts", 2..=100, 6)
    )]
    times: u16,
    /// Pairs of processes for each
    #[arg(long, default_value_t = 30, value_parser = whole::<u16>("a number of pairs", 5..=10_000, 30))]
    pairs: u16,
    /// Seed of all random orders
    #[arg(long, default_value_t = 1, value_parser = seed)]
    seed: u64,
    #[command(flatten)]
    children: ChildArgs,
}

impl CalibrateArgs {
    /// Compares the builds, and prints a table and the lines for a policy.
    ///
    /// # Errors
    /// A build fails, or a trace or a backend is not available.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let builds = self.builds(folder.path())?;
        for build in &builds {
            bench::version(&build.backend, None)
                .map_err(|reason| anyhow::anyhow!("{}: {reason}", build.backend))?;
        }
        let workloads = load_traces(&find_traces(&self.traces)?)?;
        interrupt::install()?;
        let settings = self.children.settings();
        let random = Random(self.seed);
        let mut calibration =
            Calibration { builds: &builds, pairs: self.pairs, settings: &settings, random };
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["trace", "build", "over the first, %", "± standard error"]);
        let mut widest_percent: f64 = 0.0;
        for workload in &workloads {
            let found = calibration.measure(workload);
            if cancelled() {
                return Ok(Exit::Interrupted.into());
            }
            let estimates = found.with_context(|| workload.name().to_owned())?;
            for ((number, build), estimate) in (2..).zip(&builds[1..]).zip(&estimates) {
                table.add_row([
                    workload.name().to_owned(),
                    format!("{number} {}", label(build)),
                    format!("{:+.2}", estimate.mean.exp_m1() * 100.0),
                    format!("{:.2}", estimate.error * 100.0),
                ]);
            }
            widest_percent = widest_percent.max(spread_percent(&estimates));
        }
        let margin = margin_percent(widest_percent);
        print(&format!(
            "{table}\nThe same source spreads over {widest_percent:.2} %. A policy for \
             `heaplay check --policy FILE`:\n\n[margins.time]\nfail = {margin:.1}\npass = {:.1}\n",
            margin * 2.0
        ))?;
        Ok(Exit::Fine.into())
    }

    /// The builds that are compared, the reference first. New libraries go to `folder`.
    fn builds(&self, folder: &Path) -> anyhow::Result<Vec<Side>> {
        if let (Some(command), Some(library)) = (self.rebuild.clone(), self.library.clone()) {
            let rebuild = Rebuild { command, library, prefix: self.prefix.clone() };
            let build = |number| {
                let align = Rebuild::alignment(number);
                let (nth, all) = (number + 1, self.times);
                note(format!("build {nth} of {all}, functions at multiples of {align}"));
                Ok(rebuild.build(number, folder)?)
            };
            return (0..usize::from(self.times)).map(build).collect();
        }
        match self.build.as_slice() {
            [] => bail!(
                "give --build BACKEND (several for builds of one source), or --rebuild COMMAND \
                 --library PATH"
            ),
            [one] => {
                let one = specs::read(one)?;
                let layout =
                    |number: u16| Side { layout: Some(number.into()), ..Side::of(one.as_str()) };
                Ok((0..self.times).map(layout).collect())
            }
            several => {
                several.iter().map(|spec| Ok(Side::of(specs::read(spec)?.as_str()))).collect()
            }
        }
    }
}

/// The name of a build in the table.
fn label(build: &Side) -> String {
    match build.layout {
        Some(layout) => format!("layout {layout}"),
        None => build.backend.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}
