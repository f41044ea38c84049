//! The command line of `run`.

use std::path::PathBuf;
use std::time::Duration;

use crate::bench::HugePages;
use crate::cli::children::ChildArgs;
use crate::cli::end_choice::EndArgs;
use crate::cli::numbers::{seed, whole};
use crate::cli::report::PrivateArgs;
use crate::cli::shard::{ShardChoice, parse_shard};
use crate::results::{ComparedBackends, Pass, TimeBudget};

/// Repetitions of each timed pass, where the user gives no number.
const FIRST_REPETITIONS: u32 = 5;

/// Replay traces against backends, in parallel, and report what each costs in time and in memory
#[derive(clap::Args, Default)]
pub struct RunArgs {
    /// Traces (.trace or .csv), or folders of traces
    #[arg(required_unless_present = "resume")]
    pub traces: Vec<PathBuf>,
    /// Backends, separated by commas; `heaplay backends` lists them
    #[arg(short, long, visible_alias = "backend", default_value = "malloc,pymalloc,bump")]
    pub backends: Vec<String>,
    /// Passes, separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "footprint,time,touch,traversal,latency",
        value_parser = parse_pass
    )]
    pub passes: Vec<Pass>,
    /// Repetitions of each timed pass (from 3 on, latencies are confirmed call by call) [default: 5,
    /// and of the time pass as many as needed, until each allocator is separable from the reference
    /// and from the fastest, or is equal within 2 %, or the budget is spent]
    #[arg(short, long, value_name = "N", value_parser = whole::<u32>("a number of repetitions", 1..=255, 5))]
    pub repetitions: Option<u32>,
    /// Seconds for the repetitions of the time pass beyond the first 5, such as 60 or 60s. Those 5, all
    /// other passes and the report take their own time, beside the budget
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "60",
        value_parser = parse_seconds,
        conflicts_with = "repetitions"
    )]
    pub budget: Duration,
    /// The run folder [default: reports/DATE-TIME]
    #[arg(short, long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Finish the run in this folder: missing and failed cells
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["traces", "out", "backends", "passes", "repetitions", "budget"]
    )]
    pub resume: Option<PathBuf>,
    /// Wait for the program's times in the footprint pass of allocators that return memory after a
    /// delay: 1 for a second a second, 0.1 for ten times as fast. Without it they read the recorded
    /// times, nothing waits, and their figures have a range, from memory returned immediately to
    /// never. A thread that an allocator has of its own needs a replay that waits
    #[arg(
        long,
        value_name = "FACTOR",
        value_parser = parse_pace,
        allow_negative_numbers = true,
        conflicts_with = "resume"
    )]
    pub pace: Option<f64>,
    /// Attribute page retention and slow calls to a line with its callers, where the trace has them
    /// (`record --sites=N`), instead of the line by itself
    #[arg(long, conflicts_with = "resume")]
    pub callers: bool,
    #[command(flatten)]
    pub end: EndArgs,
    /// The order in which the threads of a trace make their calls. Free order lets them run at once,
    /// and gives resident memory as a range over the repetitions. `both` has it beside the passes in
    /// recorded order; `free` has nothing else
    #[arg(long, value_enum, default_value_t = RunOrder::Recorded, conflicts_with = "resume")]
    pub order: RunOrder,
    /// Which memory may lie on transparent huge pages: `never` for the children of this run; `always`
    /// and `madvise` are modes of the kernel for all processes, and are refused where it has another
    #[arg(long, value_name = "WHICH", value_parser = parse_huge_pages)]
    pub huge_pages: Option<HugePages>,
    /// Count instructions too, with valgrind: the same on every machine, and some 30 times as slow
    /// as a timed pass
    #[arg(long)]
    pub count_instructions: bool,
    /// Leave out `null`. It measures the harness itself, and every other run has it
    #[arg(long)]
    pub no_floor: bool,
    /// Measure a part of the cells: K/N, such as 2/8, or `auto` for the task of a Slurm array, an
    /// indexed Job, GitLab's `parallel`, or HEAPLAY_SHARD. `heaplay merge` joins the parts. Cells that
    /// are timed together stay together
    #[arg(long, value_name = "K/N", value_parser = parse_shard, conflicts_with = "resume")]
    pub shard: Option<ShardChoice>,
    /// The seed of the order of the timed cells [default: the time of day]
    #[arg(long, value_name = "NUMBER", value_parser = seed)]
    pub seed: Option<u64>,
    /// Which pairs of backends the run compares; of no option.
    #[arg(skip)]
    pub compared: ComparedBackends,
    #[command(flatten)]
    pub private: PrivateArgs,
    #[command(flatten)]
    pub children: ChildArgs,
}

impl RunArgs {
    /// Repetitions of each timed pass, and how long the time pass goes on beyond them.
    pub(super) fn repetitions_and_budget(&self) -> (u32, Option<TimeBudget>) {
        let (seconds, compared) = (self.budget.as_secs_f64(), self.compared);
        match self.repetitions {
            Some(repetitions) => (repetitions, None),
            None => (FIRST_REPETITIONS, Some(TimeBudget { seconds, compared })),
        }
    }
}

/// The orders of the calls of several threads that a run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RunOrder {
    /// One call at a time, as recorded.
    #[default]
    Recorded,
    /// All threads at once: resident memory only.
    Free,
    /// All passes in recorded order, and resident memory in free order.
    Both,
}

fn parse_pass(text: &str) -> Result<Pass, String> {
    let known = Pass::RECORDED.into_iter().find(|pass| pass.name() == text);
    known.ok_or_else(|| format!("expected {}", Pass::RECORDED.map(Pass::name).join(", ")))
}

fn parse_huge_pages(text: &str) -> Result<HugePages, String> {
    let known = HugePages::ALL.into_iter().find(|which| which.name() == text);
    known.ok_or_else(|| format!("expected {}", HugePages::ALL.map(HugePages::name).join(", ")))
}

fn parse_pace(text: &str) -> Result<f64, String> {
    let pace = text.parse::<f64>().ok().filter(|pace| (0.001..=100.0).contains(pace));
    pace.ok_or_else(|| "expected a factor from 0.001 to 100, such as 1.0".to_owned())
}

/// Reads a time in seconds, with or without the unit.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).trim_end();
    let seconds = number.parse::<f64>().ok().filter(|seconds| (0.0..=604_800.0).contains(seconds));
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "expected seconds up to 604800, such as 60 or 60s".to_owned())
}

/// Reads a time of at least a second, as [`parse_seconds`] does.
pub fn parse_time_limit(text: &str) -> Result<Duration, String> {
    let limit = parse_seconds(text).ok().filter(|limit| *limit >= Duration::from_secs(1));
    limit.ok_or_else(|| "expected seconds from 1 to 604800, such as 60 or 60s".to_owned())
}
