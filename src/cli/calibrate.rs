//! Room `cli`, verb `calibrate`: how far apart builds of the same source are in time. A gate that
//! is finer than that fails on changes that change nothing.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{ContentArrangement, Table};

use super::children::ChildArgs;
use super::interrupt;
use super::load::{find_traces, load_traces};
use super::terminal::{note, print};
use crate::backends;
use crate::bench::pairs::{Course, PairError, Side, ratios};
use crate::bench::{self, Limits, cancelled, processors};
use crate::stats::{Estimate, Random};

/// Find the margin below which a difference in time says nothing: how far apart builds of the same
/// source are
#[derive(clap::Args)]
#[command(
    after_help = "With --build twice or more, these builds are compared. With --rebuild, the command is run several times \
                  with another alignment of functions in CFLAGS, CXXFLAGS and RUSTFLAGS, and --library is what it makes. \
                  With one --build alone, the same file is run at several fixed layouts of its addresses; that moves data \
                  and stack and not the code in its file, so it finds less than rebuilds do."
)]
pub struct CalibrateArgs {
    /// Traces, or folders of traces
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// A backend; several for builds of the same source, such as so:a.so and so:b.so
    #[arg(long, value_name = "BACKEND")]
    build: Vec<String>,
    /// A shell command that builds the library anew
    #[arg(long, value_name = "COMMAND", requires = "library", conflicts_with = "build")]
    rebuild: Option<String>,
    /// The library that --rebuild makes
    #[arg(long, value_name = "PATH", requires = "rebuild")]
    library: Option<PathBuf>,
    /// The prefix of its functions, such as mi_
    #[arg(long, value_name = "PREFIX", requires = "rebuild")]
    prefix: Option<String>,
    /// How many rebuilds or layouts
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..=100))]
    times: u16,
    /// Pairs of processes for each
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=10_000))]
    pairs: u16,
    /// From which all orders are drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    children: ChildArgs,
}

/// A margin is never set below this: what builds of one allocator differed by.
const LEAST_PERCENT: f64 = 2.0;

impl CalibrateArgs {
    /// Measures, prints the table and the lines for a policy.
    ///
    /// # Errors
    /// A build that fails, a trace or a backend that cannot be had.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let folder = std::env::temp_dir().join(format!("heaplay-{}-calibrate", std::process::id()));
        let told = self.measure(&folder);
        let _ = fs::remove_dir_all(&folder);
        told
    }

    fn measure(&self, folder: &PathBuf) -> anyhow::Result<ExitCode> {
        let sides = self.sides(folder)?;
        for side in &sides {
            backends::parse(&side.backend)?;
            bench::version(&side.backend, None)
                .map_err(|r| anyhow::anyhow!("{}: {r}", side.backend))?;
        }
        let (entries, programs) = load_traces(&find_traces(&self.traces)?)?;
        interrupt::install()?;
        let settings = self.children.settings();
        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["trace", "build", "over the first, %", "± standard error"]);
        let mut widest: f64 = 0.0;
        let mut random = Random(self.seed);
        for entry in &entries {
            let loaded = &programs[&entry.name];
            let time = settings.time_limit(loaded.program.instructions().len()) * 8;
            let limits = Limits {
                time: time.max(Duration::from_secs(60)),
                memory_bytes: settings.memory_bytes,
            };
            let course = Course {
                loaded,
                processor: processors().first().copied(),
                limits,
                clock: settings.clock,
            };
            let mut means = vec![0.0];
            for (number, side) in sides.iter().enumerate().skip(1) {
                let both = [&sides[0], side];
                let found = (|| -> Result<Vec<f64>, PairError> {
                    let iterations = course.pilot(&both, random.bits())?;
                    let times: Result<Vec<_>, _> = (0..self.pairs)
                        .map(|_| course.time(&both, iterations, random.bits()))
                        .collect();
                    let times = times?;
                    let pairs: Vec<_> = times.iter().map(|times| [&times[0], &times[1]]).collect();
                    let found = ratios(&pairs, iterations).unwrap_or_default();
                    Ok(found.into_iter().map(|ratio| ratio.processor).collect())
                })();
                if cancelled() {
                    return Ok(ExitCode::from(130));
                }
                let logs = found.with_context(|| entry.name.clone())?;
                let estimate = Estimate::of(&logs).context("no pair could be compared")?;
                means.push(estimate.mean);
                let name = match side.layout {
                    Some(layout) => format!("layout {layout}"),
                    None => side.backend.rsplit('/').next().unwrap_or_default().to_owned(),
                };
                table.add_row([
                    entry.name.clone(),
                    format!("{} {name}", number + 1),
                    format!("{:+.2}", estimate.mean.exp_m1() * 100.0),
                    format!("{:.2}", estimate.error * 100.0),
                ]);
            }
            let most = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let least = means.iter().copied().fold(f64::INFINITY, f64::min);
            widest = widest.max(((most - least).exp_m1()) * 100.0);
        }
        print(&format!("{table}\n"))?;
        let margin = LEAST_PERCENT.max((widest * 2.0).ceil() / 2.0);
        print(&format!(
            "The same source spreads over {widest:.2} %. A policy for `heaplay check --policy FILE`:\n\n[margins.time]\nfail = {margin:.1}\npass = {:.1}\n",
            margin * 2.0
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    /// What is compared: the first with each other.
    fn sides(&self, folder: &PathBuf) -> anyhow::Result<Vec<Side>> {
        if let (Some(command), Some(library)) = (&self.rebuild, &self.library) {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            return (0..usize::from(self.times))
                .map(|number| self.build_one(command, library, folder, number))
                .collect();
        }
        match self.build.as_slice() {
            [] => bail!(
                "give --build BACKEND (several for builds of one source), or --rebuild COMMAND --library PATH"
            ),
            [one] => {
                let layout = |number: u16| Side { layout: Some(number.into()), ..Side::of(one) };
                Ok((0..self.times).map(layout).collect())
            }
            several => Ok(several.iter().map(|word| Side::of(word)).collect()),
        }
    }

    fn build_one(
        &self,
        command: &str,
        library: &PathBuf,
        folder: &std::path::Path,
        number: usize,
    ) -> anyhow::Result<Side> {
        // Alignments that compilers take; each moves every function after the first.
        let align = [16, 32, 64, 128, 8, 256][number % 6];
        note(format!("build {} of {}, functions at multiples of {align}", number + 1, self.times));
        let with = |name: &str, flag: String| match std::env::var(name) {
            Ok(before) => format!("{before} {flag}"),
            Err(_) => flag,
        };
        let flag = format!("-falign-functions={align}");
        let status = Command::new("/bin/sh")
            .args(["-c", command])
            .env("CFLAGS", with("CFLAGS", flag.clone()))
            .env("CXXFLAGS", with("CXXFLAGS", flag))
            .env(
                "RUSTFLAGS",
                with(
                    "RUSTFLAGS",
                    format!("-Cllvm-args=-align-all-functions={}", u32::ilog2(align)),
                ),
            )
            .env("HEAPLAY_LAYOUT", number.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .context("/bin/sh")?;
        if !status.success() {
            bail!(
                "`{command}` ended with {status}; it has to build the library again each time it is run"
            );
        }
        let kept = folder.join(format!("build-{}.so", number + 1));
        fs::copy(library, &kept)
            .with_context(|| format!("{}: the build did not make it", library.display()))?;
        let prefix = self.prefix.as_ref().map_or(String::new(), |prefix| format!(":{prefix}"));
        Ok(Side::of(&format!("so:{}{prefix}", kept.display())))
    }
}
