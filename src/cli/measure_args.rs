//! The measures of a check as options name them.

use crate::results::TimedMeasure;

/// What is measured of two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MeasureArg {
    /// Memory, arenas, pools: no noise
    Exact,
    /// Processor time of the replay
    Time,
    /// Mean time of the slowest 1 % of the calls
    Tail,
    /// Instructions, counted by valgrind
    Instructions,
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TimedArg {
    /// The whole replay
    Time,
    /// The slowest calls
    Tail,
}

impl From<TimedArg> for TimedMeasure {
    fn from(argument: TimedArg) -> TimedMeasure {
        match argument {
            TimedArg::Time => TimedMeasure::Time,
            TimedArg::Tail => TimedMeasure::Tail,
        }
    }
}
