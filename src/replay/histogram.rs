//! The histogram of service times.

use hdrhistogram::Histogram;

/// A histogram for 1 ns to an hour at 3 significant digits.
///
/// # Panics
/// Never: the library accepts these constant bounds.
pub fn empty_histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, 3_600_000_000_000, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("constant bounds: {error}"),
    }
}
