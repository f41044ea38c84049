//! The logarithmic scale of service times, of one byte a call.

/// Buckets an octave: a byte spans 1 ns to over 4 s (2^32 ns) in steps of 9 %.
const BUCKETS_AN_OCTAVE: f64 = 8.0;

/// The bucket of a time on a logarithmic scale of 8 buckets an octave, from 1 ns up. It is never 0,
/// which stands for no time.
pub fn bucket(nanoseconds: f64) -> u8 {
    (nanoseconds.max(1.0).log2() * BUCKETS_AN_OCTAVE).round().clamp(1.0, 255.0) as u8
}

/// The time in the middle of a [`bucket`], in ns.
pub fn bucket_nanoseconds(bucket: u8) -> f64 {
    bucket_position_nanoseconds(f64::from(bucket))
}

/// The time at a position between buckets, in ns: half a bucket below `b` is where `b` begins.
pub fn bucket_position_nanoseconds(position: f64) -> f64 {
    (position / BUCKETS_AN_OCTAVE).exp2()
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

    #[test]
    fn eight_buckets_are_an_octave() {
        for octave in 0..=31_u8 {
            assert_eq!(bucket_nanoseconds(octave * 8), f64::from(octave).exp2());
        }
    }
}
