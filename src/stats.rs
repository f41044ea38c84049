//! Pure functions on slices of numbers.
//!
//! `stats/sample.rs` describes a sample. `stats/robust.rs` has the trimmed mean with its interval,
//! `stats/ratios.rs` decides from ratios whether one of two is longer. `stats/beta.rs` has the
//! distributions of intervals, `stats/splits.rs` compares two groups by all their splits,
//! `stats/looks.rs` has the looks at data that is still coming in, and `stats/random.rs` the random
//! numbers.
//!
//! Values that are not finite (NaN, infinities) are left out of every computation. The result for
//! an empty sample is `None`, never 0.

mod beta;
mod looks;
mod random;
mod ratios;
mod robust;
mod sample;
mod splits;

pub use beta::{clopper_pearson, incomplete_beta, student_quantile};
pub use looks::{LOOKS, error_of_look, look_after};
pub use random::Random;
pub use ratios::longer;
pub use robust::{Estimate, TRIM};
pub use sample::{geometric_mean, median, quantile, range, sorted};
pub use splits::{GroupedValues, growth_probabilities, split_count};
