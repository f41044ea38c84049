//! Which of two is longer, by the ratios of interleaved repetitions.

use std::cmp::Ordering;

use super::beta::student_quantile;

/// The fewest repetitions whose agreement means anything.
const LEAST_REPETITIONS: usize = 3;
/// The probability, to one side, that two equal durations are reported as different.
const ERROR: f64 = 0.001;

/// Whether one of two is longer, by the `ratios` of interleaved repetitions.
///
/// `Greater` if two things hold: every ratio is over 1 + `margin`, and the mean logarithm of the
/// ratios is above 0 with confidence (Student's t, error 0.001). `Less` is the reverse. `Equal`
/// means that the data does not distinguish the two. Agreement of the ratios does not suffice: five
/// ratios of equal durations all lie to one side in one of sixteen cases. `None` for fewer than
/// three ratios.
pub fn longer(ratios: &[f64], margin: f64) -> Option<Ordering> {
    let logs: Vec<f64> =
        ratios.iter().map(|ratio| ratio.ln()).filter(|log| log.is_finite()).collect();
    let n = logs.len();
    if n < LEAST_REPETITIONS {
        return None;
    }
    let mean = logs.iter().sum::<f64>() / n as f64;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let unsure = student_quantile(ERROR, (n - 1) as f64) * (variance / n as f64).sqrt();
    let margin = margin.ln_1p();
    Some(if mean > unsure && logs.iter().all(|log| *log > margin) {
        Ordering::Greater
    } else if mean < -unsure && logs.iter().all(|log| *log < -margin) {
        Ordering::Less
    } else {
        Ordering::Equal
    })
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    /// Ratios of `count` repetitions of two interleaved sides, the second `factor` times as long.
    /// They spread by some per cent; one repetition of five has a disturbance of up to a half.
    fn simulated(random: &mut Random, count: usize, spread: f64, factor: f64) -> Vec<f64> {
        let mut side = || {
            let bell = (0..12).map(|_| random.share()).sum::<f64>() - 6.0;
            let hit = if random.share() < 0.2 { 1.0 + 0.5 * random.share() } else { 1.0 };
            (spread * bell).exp() * hit
        };
        (0..count).map(|_| factor * side() / side()).collect()
    }

    #[test]
    fn equal_durations_are_not_reported_as_different() {
        let mut random = Random(5);
        for count in [3, 5, 7, 15] {
            for spread in [0.002, 0.02, 0.1] {
                let trials = 4000;
                let reported = (0..trials).filter(|_| {
                    longer(&simulated(&mut random, count, spread, 1.0), 0.02)
                        != Some(Ordering::Equal)
                });
                // Twice the error, for both sides, and what chance may add to it.
                let reported = reported.count();
                assert!(
                    reported <= 16,
                    "{reported} of {trials} with {count} repetitions that spread by {spread}"
                );
            }
        }
    }

    #[test]
    fn a_duration_of_twice_or_half_is_found() {
        let mut random = Random(6);
        let found = |factor: f64, random: &mut Random, expected| {
            (0..500)
                .filter(|_| longer(&simulated(random, 5, 0.01, factor), 0.02) == Some(expected))
                .count()
        };
        // A disturbance in one of five hides it now and then.
        assert!(found(2.0, &mut random, Ordering::Greater) > 350);
        assert!(found(0.5, &mut random, Ordering::Less) > 350);
        assert_eq!(longer(&[1.1, 1.1], 0.02), None);
        assert_eq!(longer(&[1.1, f64::NAN, 1.1, 1.1], 0.02), Some(Ordering::Greater));
        assert_eq!(longer(&[1.01, 1.01, 1.01], 0.02), Some(Ordering::Equal));
    }
}
