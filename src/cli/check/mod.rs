//! Room `cli`, verb `check`: the regression check in its three uses. `sides.rs` measures two sides
//! in one run (`suite.rs` shares out the time, `race.rs` carries one timed measure to its verdict),
//! `traces.rs` compares two recordings of one program, `stored.rs` two run folders; `output.rs`
//! tells what was found, `init.rs` writes a CI file.

mod init;
mod output;
pub mod race;
mod sides;
mod stored;
pub mod suite;
mod traces;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::{ContentArrangement, Table};

use super::children::ChildArgs;
use super::terminal::print;
use crate::backends;
use crate::check::Policy;
use crate::results::{Exactness, Metric};

/// Fail when an allocator, a setting or a program's own allocation behaviour got worse
#[derive(clap::Args)]
#[command(
    override_usage = "heaplay check TRACE… --baseline BACKEND --candidate BACKEND [OPTIONS]\n       heaplay check OLD.trace NEW.trace --backend BACKEND [OPTIONS]\n       heaplay check --baseline RUN RUN [OPTIONS]\n       heaplay check --init [github|gitlab]",
    after_help = "Two backends are timed side by side in one run; two recordings and two run folders are compared by exact \
                  measures alone.\n\nExit status: 0 nothing is worse; 1 something is; 2 it could not be judged; 3 inconclusive."
)]
pub struct CheckArgs {
    /// Traces or folders of traces; or two recordings; or the run folder to judge
    paths: Vec<PathBuf>,
    /// The backend, or the run folder, to hold against; several, each with its own candidate
    #[arg(long, value_name = "BACKEND|RUN")]
    baseline: Vec<String>,
    /// The backend to judge
    #[arg(long, value_name = "BACKEND")]
    candidate: Vec<String>,
    /// Another build of heaplay that runs the baseline
    #[arg(long, value_name = "PATH")]
    baseline_binary: Option<PathBuf>,
    /// Another build of heaplay that runs the candidate
    #[arg(long, value_name = "PATH")]
    candidate_binary: Option<PathBuf>,
    /// What another build is taken for that does not understand this one's jobs, as after a change
    /// of heaplay itself
    #[arg(long, value_enum, default_value_t = Incompatible::Fail)]
    incompatible: Incompatible,
    /// The backend on which two recordings are compared
    #[arg(long, value_name = "BACKEND", default_value = "pymalloc")]
    backend: String,
    /// What is measured of two backends
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["exact", "time", "tail"])]
    measures: Vec<suite::Measure>,
    /// Count instructions as well, by valgrind
    #[arg(long)]
    count_instructions: bool,
    /// Seconds for all cells together; those that are clear end early and leave theirs to the
    /// others
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    time_limit: u64,
    /// From which the orders of turns are drawn [default: the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Margins by measure, and increases that are accepted (TOML)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How much an exact measure may grow between two recordings of a program, in percent [default:
    /// 1]
    #[arg(long, value_name = "PERCENT")]
    recording_tolerance: Option<f64>,
    /// Measure even what is the same on both sides
    #[arg(long)]
    even_identical: bool,
    #[command(flatten)]
    output: output::OutputArgs,
    /// List the measures, and which of them are exact
    #[arg(long)]
    list: bool,
    /// Write a CI file that works as it is
    #[arg(long, value_name = "CI", num_args = 0..=1, default_missing_value = "github", value_enum)]
    init: Option<init::Ci>,
    #[command(flatten)]
    children: ChildArgs,
}

/// What a build with other jobs is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Incompatible {
    /// It could not be judged: exit status 2
    Fail,
    /// Named, skipped, and no failure
    Skip,
}

impl CheckArgs {
    /// Judges, prints and writes what was found.
    ///
    /// # Errors
    /// What could not be read, had or written; a mixture of uses.
    pub fn run(mut self) -> anyhow::Result<ExitCode> {
        if self.list {
            print(&list())?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(ci) = self.init {
            return init::write(ci);
        }
        if self.count_instructions && !self.measures.contains(&suite::Measure::Instructions) {
            self.measures.push(suite::Measure::Instructions);
        }
        let policy = self.read_policy()?;
        let two_sides = !self.candidate.is_empty() || self.candidate_binary.is_some();
        match (two_sides, self.baseline.as_slice(), self.paths.as_slice()) {
            (true, _, _) => sides::run(&self, &policy),
            (false, [baseline], [candidate]) => {
                stored::run(&self, baseline.as_ref(), candidate, &policy)
            }
            (false, [], [old, new]) => traces::run(&self, old, new, &policy),
            (false, [baseline, ..], _) if backends::parse(baseline).is_ok() => {
                bail!(
                    "--baseline {baseline} is a backend: name the other side, too, with --candidate"
                )
            }
            (false, [_, ..], _) => bail!("--baseline RUN takes one other run folder to judge"),
            (false, [], _) => bail!(
                "what is to be compared? TRACE… --baseline A --candidate B, or OLD.trace NEW.trace, or --baseline RUN RUN"
            ),
        }
    }

    fn read_policy(&self) -> anyhow::Result<Policy> {
        if self.recording_tolerance.is_some_and(|percent| !(percent.is_finite() && percent >= 0.0))
        {
            bail!("--recording-tolerance: expected a percentage of 0 or more");
        }
        let policy = match &self.policy {
            None => Policy::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("the policy {}", path.display()))?;
                Policy::read(&text)
                    .map_err(|error| anyhow::anyhow!("the policy {}, {error}", path.display()))?
            }
        };
        Ok(policy.with_recording_tolerance(self.recording_tolerance))
    }
}

/// The measures by how repeatable they are.
fn list() -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["measure", "unit", "judged", "what it is"]);
    for (name, unit, judged, meaning) in [
        ("time", "%", "timed side by side, in pairs", "processor time of the replay"),
        ("tail", "%", "timed side by side, in pairs", "mean time of the slowest 1 % of the calls"),
        (
            "instructions",
            "instructions",
            "exact to 0.1 %",
            "instructions of all calls, by valgrind",
        ),
        (
            "fragmentation",
            "ratio",
            "derived from exact ones",
            "resident over live bytes at the live peak",
        ),
    ] {
        table.add_row([name, unit, judged, meaning]);
    }
    let mut metrics: Vec<_> = Metric::ALL.to_vec();
    metrics.sort_by_key(|metric| match metric.exactness() {
        Exactness::Trace => 0,
        Exactness::Policy => 1,
        Exactness::Machine => 2,
        Exactness::Layout => 3,
        Exactness::Timed => 4,
        Exactness::Reported => 5,
    });
    for metric in metrics {
        table.add_row([
            metric.name(),
            metric.unit(),
            metric.exactness().describe(),
            metric.meaning(),
        ]);
    }
    format!("{table}\n")
}
