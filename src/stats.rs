//! Pure functions on slices of numbers.
//!
//! `stats/sample.rs` describes a sample. `stats/robust.rs` has the trimmed mean with its interval.
//! `stats/segment_ratios.rs` and `stats/repetition_ratios.rs` compare the segments of two sides, for the
//! check and for a run, and `stats/comparison.rs` decides from such ratios which of the two takes
//! longer. `stats/splits.rs` compares two groups by all their splits, and `stats/steady_counts.rs`
//! chooses the counts for it that repeat. `stats/beta.rs` has the distributions of intervals,
//! `stats/looks.rs` the looks at data that is still coming in, and `stats/random.rs` the random
//! numbers.
//!
//! Values that are not finite (NaN, infinities) are left out of every computation. The result for
//! an empty sample is `None`, never 0.

mod beta;
mod comparison;
mod looks;
mod random;
mod repetition_ratios;
mod robust;
mod sample;
mod segment_ratios;
mod splits;
mod steady_counts;

pub use beta::{clopper_pearson, incomplete_beta, student_quantile};
pub use comparison::{
    ComparisonRule, Decision, EQUAL, LEAST_PAIRS, LookPlan, TimeComparison, estimate_of_pairs,
    has_further_look, is_look,
};
pub use looks::{LOOKS, error_of_look, look_after};
pub use random::Random;
pub use repetition_ratios::repetition_ratios;
pub use robust::{Estimate, TRIM};
pub use sample::{geometric_mean, mean, median, quantile, range, sorted};
pub use segment_ratios::segment_ratios;
pub use splits::{GroupedMeasure, GroupedValues, growth_probabilities, split_count};
pub use steady_counts::{KeyedCounts, SteadyKeys};
