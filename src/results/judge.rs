//! The contract between measuring and judging. `bench` carries out an experiment and gives its
//! figures to a [`Judge`]. `check` implements it. So neither module imports the other.

use std::path::Path;

use serde::Serialize;

use super::run::Run;

/// What a cell of a check is called in its findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellLabel<'a> {
    /// The trace.
    pub trace: &'a str,
    /// The backend; both of them where the two sides differ.
    pub backend: &'a str,
}

/// A measure that is timed in pairs of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedMeasure {
    /// Processor time of the whole replay.
    Time,
    /// Mean time of the slowest calls.
    Tail,
}

impl TimedMeasure {
    /// The measure's name in findings and policies.
    pub fn name(self) -> &'static str {
        match self {
            TimedMeasure::Time => "time",
            TimedMeasure::Tail => "tail",
        }
    }
}

/// The figures of one pair of processes, as natural logarithms of candidate over baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairRatio {
    /// Of processor time; of the slow calls' mean time, for the tail.
    pub processor: f64,
    /// Of wall time; none for the tail.
    pub wall: Option<f64>,
}

/// All pairs of one timed measure of one cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairRecord {
    /// Every pair of the first stage, in order.
    pub pairs: Vec<PairRatio>,
    /// Every pair of the confirmation; empty where there was none.
    pub confirmation: Vec<PairRatio>,
    /// The baseline against itself, beside each pair of the confirmation.
    pub control: Vec<PairRatio>,
    /// Wall time spent on all of them, in seconds.
    pub seconds: f64,
    /// The system's load average over one minute when they ended.
    pub load: Option<f64>,
    /// The seed of the orders of time slices.
    pub seed: u64,
}

/// How one trial of a power study went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialRun {
    /// The trace.
    pub trace: String,
    /// Wall time to the verdict, in seconds.
    pub seconds: f64,
    /// The system's load average over one minute, at the end.
    pub load: Option<f64>,
    /// The seed of the trial's orders.
    pub seed: u64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<E> {
    /// Bring pairs until there are so many.
    More(usize),
    /// Confirm with fresh pairs what the first stage found.
    Confirm,
    /// There is a verdict.
    Ended(E),
}

/// Judges the pairs of one timed measure while they come in. A value is the logarithm of candidate
/// over baseline of one pair.
pub trait PairJudge {
    /// How the measure ends.
    type Ending: Clone;

    /// Judges the pairs of the first stage. There are as many as the last step wanted.
    fn look(&self, values: &[f64]) -> Step<Self::Ending>;

    /// Judges the pairs of the confirmation beside the baseline against itself.
    fn confirm(&self, values: &[f64], control: &[f64]) -> Step<Self::Ending>;

    /// The ending when no more pairs come in the first stage. `when` completes a sentence.
    fn give_up(&self, values: &[f64], when: &str) -> Self::Ending;

    /// The ending when no more pairs come in the confirmation.
    fn give_up_confirmation(&self, when: &str) -> Self::Ending;
}

/// The exact measures of one side: the tables of one process each.
pub struct RepeatedRuns<'a> {
    /// The backend's name in the tables.
    pub backend: &'a str,
    /// One for each time that it was measured; at least two.
    pub runs: &'a [Run],
    /// The build of heaplay that measured it.
    pub build: &'a Path,
}

/// Judges what a suite measures of its cells.
pub trait Judge: Sync {
    /// What is found of one measure of one cell.
    type Finding: Send;
    /// The judge of one timed measure.
    type Pairs: PairJudge<Ending: Send> + Send;

    /// The judge of a timed measure in a suite of so many cells and so many timed measures.
    fn pair_judge(&self, measure: TimedMeasure, cells: usize, measures: usize) -> Self::Pairs;

    /// The finding of a timed measure. Without an `ending` the measure was not carried to its end.
    fn judge_pairs(
        &self,
        cell: CellLabel<'_>,
        measure: TimedMeasure,
        judge: &Self::Pairs,
        ending: Option<<Self::Pairs as PairJudge>::Ending>,
        record: PairRecord,
    ) -> Self::Finding;

    /// The findings of the exact measures: baseline and candidate.
    fn judge_exact(&self, cell: CellLabel<'_>, sides: [RepeatedRuns<'_>; 2]) -> Vec<Self::Finding>;

    /// Whether the exact measures have to be measured once more before these findings count.
    fn is_third_run_needed(&self, findings: &[Self::Finding]) -> bool;

    /// Whether instructions have to be counted again: baseline and candidate, counted once each.
    fn is_second_count_needed(&self, counts: [f64; 2]) -> bool;

    /// The finding of the instructions: all counts of the baseline, and of the candidate.
    fn judge_instructions(&self, cell: CellLabel<'_>, counts: &[Vec<f64>; 2]) -> Self::Finding;

    /// The finding of a measure that could not be measured.
    fn missing(&self, cell: CellLabel<'_>, measure: &str, reason: String) -> Self::Finding;

    /// The finding of a measure that this machine does not have the means for.
    fn skipped(&self, cell: CellLabel<'_>, measure: &str, reason: String) -> Self::Finding;
}
