//! The scales of service times: a logarithmic scale of one byte a call, and the histogram.

use hdrhistogram::Histogram;

/// Buckets an octave: a byte spans 1 ns to over 4 s (2^32 ns) in steps of 9 %.
const BUCKETS_AN_OCTAVE: f64 = 8.0;

/// The bucket of a time on a logarithmic scale of 8 buckets an octave, from 1 ns up. It is never 0,
/// which stands for no time.
pub fn bucket(nanoseconds: f64) -> u8 {
    (nanoseconds.max(1.0).log2() * BUCKETS_AN_OCTAVE).round().clamp(1.0, 255.0) as u8
}

/// The time in the middle of a [`bucket`], in ns.
pub fn bucket_nanoseconds(bucket: u8) -> f64 {
    (f64::from(bucket) / BUCKETS_AN_OCTAVE).exp2()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_within_five_percent() {
        for nanoseconds in [1.1, 10.0, 26.0, 999.0, 1e6, 1e9] {
            let back = bucket_nanoseconds(bucket(nanoseconds));
            assert!((back / nanoseconds - 1.0).abs() < 0.05, "{nanoseconds} {back}");
        }
    }
}
