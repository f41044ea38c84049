//! The command line of `check`.

use std::path::PathBuf;
use std::time::Duration;

use super::init::Ci;
use super::output::OutputArgs;
use crate::cli::children::ChildArgs;
use crate::cli::measure_args::MeasureArg;
use crate::cli::numbers::seed;
use crate::cli::run::parse_time_limit;

/// Fail when an allocator, a setting or a program's own allocation behaviour got worse
#[derive(clap::Args)]
#[command(
    override_usage = concat!(
        "heaplay check TRACE… --baseline BACKEND --candidate BACKEND [OPTIONS]\n",
        "       heaplay check OLD.trace NEW.trace --backend BACKEND [OPTIONS]\n",
        "       heaplay check --old FILE… --new FILE… --backend BACKEND [OPTIONS]\n",
        "       heaplay check --baseline RUN RUN [OPTIONS]\n",
        "       heaplay check --init [github|gitlab]"
    ),
    after_help = concat!(
        "Two backends are timed in interleaved pairs of one run. Recordings and run folders are ",
        "compared by exact measures only.\n\n",
        "OLD.trace may be a series of `record --repeat`: OLD.1.trace, OLD.2.trace and so on. With 5 ",
        "recordings a side, an unchanged program fails in at most 1 of 100 checks.\n\n",
        "Exit status: 0 nothing is worse; 1 a measure is worse; 2 it could not be judged; ",
        "3 inconclusive."
    )
)]
pub struct CheckArgs {
    /// Traces or folders of traces; or two recordings or series; or the run folder to judge
    pub paths: Vec<PathBuf>,
    /// The backend or the run folder to compare with; several backends, each with its own candidate
    #[arg(long, value_name = "BACKEND|RUN")]
    pub baseline: Vec<String>,
    /// The backend to judge
    #[arg(long, value_name = "BACKEND")]
    pub candidate: Vec<String>,
    /// Another build of heaplay that runs the baseline
    #[arg(long, value_name = "PATH")]
    pub baseline_binary: Option<PathBuf>,
    /// Another build of heaplay that runs the candidate
    #[arg(long, value_name = "PATH")]
    pub candidate_binary: Option<PathBuf>,
    /// The result for another build that does not understand this build's jobs, as after a change
    /// of heaplay itself
    #[arg(long, value_enum, default_value_t = Incompatible::Fail)]
    pub incompatible: Incompatible,
    /// Recordings or series of the program as it was
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "new", conflicts_with = "candidate")]
    pub old: Vec<PathBuf>,
    /// Recordings or series of the program as it is
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "old")]
    pub new: Vec<PathBuf>,
    /// The backend on which recordings are compared
    #[arg(
        short,
        long,
        visible_alias = "backends",
        value_name = "BACKEND",
        default_value = "pymalloc"
    )]
    pub backend: String,
    /// The measures of two backends
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["exact", "time", "tail"])]
    pub measures: Vec<MeasureArg>,
    /// Count instructions as well, with valgrind
    #[arg(long)]
    pub count_instructions: bool,
    /// Seconds for all cells together; clear cells end early and leave their time to the others
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "300",
        value_parser = parse_time_limit
    )]
    pub time_limit: Duration,
    /// The seed of the orders of time slices [default: the clock]
    #[arg(long, value_name = "NUMBER", value_parser = seed)]
    pub seed: Option<u64>,
    /// Margins by measure, and accepted increases (TOML)
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The growth that is allowed between recordings of a program, in percent of a measure, or of
    /// the live peak where that is larger [default: 0.5]
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    pub recording_tolerance: Option<f64>,
    /// Measure a cell even if both sides are the same
    #[arg(long)]
    pub even_identical: bool,
    #[command(flatten)]
    pub output: OutputArgs,
    /// List the measures, and which of them are exact
    #[arg(long)]
    pub list: bool,
    /// Write a CI file that works as it is
    #[arg(
        long,
        value_name = "CI",
        num_args = 0..=1,
        default_missing_value = "github",
        value_enum
    )]
    pub init: Option<Ci>,
    #[command(flatten)]
    pub children: ChildArgs,
}

/// The result for a build with other jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Incompatible {
    /// It could not be judged: exit status 2
    Fail,
    /// Its cells are reported as skipped: exit status 0
    Skip,
}

fn percentage(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
    percent.ok_or_else(|| "expected a percentage of 0 or more, such as 0.5".to_owned())
}

impl CheckArgs {
    /// Whether a measure is requested.
    pub fn has(&self, measure: MeasureArg) -> bool {
        self.measures.contains(&measure)
            || (measure == MeasureArg::Instructions && self.count_instructions)
    }

    /// Whether two sides are measured, instead of two recordings or run folders.
    pub fn has_two_sides(&self) -> bool {
        !self.candidate.is_empty() || self.candidate_binary.is_some()
    }
}
