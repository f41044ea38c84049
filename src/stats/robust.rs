//! Where a sample with outliers lies, and how sure that is.

use std::cmp::Ordering;

use super::{sorted, student_quantile};

/// The share that is left out at each end.
pub const TRIM: f64 = 0.2;

/// A trimmed mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean of what is left when [`TRIM`] of the values is taken off each end.
    pub mean: f64,
    /// Yuen's standard error of it.
    pub error: f64,
    /// Degrees of freedom: values left, less one.
    pub freedom: f64,
}

impl Estimate {
    /// The trimmed mean of `values`, with the standard error from the winsorised variance: Yuen,
    /// "The two-sample trimmed t for unequal population variances", Biometrika 61 (1974), in the
    /// form for one sample. `None` for fewer than three values left.
    pub fn of(values: &[f64]) -> Option<Estimate> {
        let values = sorted(values);
        let n = values.len();
        let cut = (TRIM * n as f64).floor() as usize;
        let kept = &values[cut..n - cut];
        let h = kept.len();
        if h < 3 {
            return None;
        }
        let mean = kept.iter().sum::<f64>() / h as f64;
        // The ends count as the nearest value that is kept.
        let winsorised: Vec<f64> =
            values.iter().map(|value| value.clamp(kept[0], kept[h - 1])).collect();
        let middle = winsorised.iter().sum::<f64>() / n as f64;
        let squares: f64 = winsorised.iter().map(|value| (value - middle).powi(2)).sum();
        // (n − 1) s² / (h (h − 1)), where s² is the winsorised variance.
        let error = (squares / (h * (h - 1)) as f64).sqrt();
        Some(Estimate { mean, error, freedom: (h - 1) as f64 })
    }

    /// The bound below which the true value lies with probability `above`.
    pub fn lower(&self, above: f64) -> f64 {
        self.mean - student_quantile(above, self.freedom) * self.error
    }

    /// The bound above which the true value lies with probability `above`.
    pub fn upper(&self, above: f64) -> f64 {
        self.mean + student_quantile(above, self.freedom) * self.error
    }
}

/// Fewer repetitions in common than this tell nothing by their agreement.
const LEAST_ROUNDS: usize = 3;
/// How often two that are the same may be called different to one side.
const ERROR: f64 = 0.001;

/// Whether one of two is longer, by the `ratios` of what took turns, a repetition each: `Greater`
/// when every ratio is over 1 + `margin` and their mean logarithm is surely above 0 (Student's t,
/// error 0.001), `Less` the same the other way round, else `Equal`: not told apart. The agreement
/// alone would not do: of five ratios of the same, all lie to one side once in sixteen. `None` for
/// fewer than three ratios.
pub fn longer(ratios: &[f64], margin: f64) -> Option<Ordering> {
    let logs: Vec<f64> =
        ratios.iter().map(|ratio| ratio.ln()).filter(|log| log.is_finite()).collect();
    let n = logs.len();
    if n < LEAST_ROUNDS {
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

/// Numbers that look random and come again with the same seed (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014): for orders of turns and for simulated
/// data, not for secrets.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// From 0 up to, not including, 1.
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts the items into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.bits() % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ratios of `count` repetitions of two sides that take turns, the second `factor` times as
    /// long: spread by some per cent, with a disturbance of up to a half in one repetition out of
    /// five.
    fn rounds(random: &mut Random, count: usize, spread: f64, factor: f64) -> Vec<f64> {
        let mut side = || {
            let bell = (0..12).map(|_| random.share()).sum::<f64>() - 6.0;
            let hit = if random.share() < 0.2 { 1.0 + 0.5 * random.share() } else { 1.0 };
            (spread * bell).exp() * hit
        };
        (0..count).map(|_| factor * side() / side()).collect()
    }

    #[test]
    fn the_same_twice_is_not_called_different() {
        let mut random = Random(5);
        for count in [3, 5, 7, 15] {
            for spread in [0.002, 0.02, 0.1] {
                let trials = 4000;
                let called = (0..trials).filter(|_| {
                    longer(&rounds(&mut random, count, spread, 1.0), 0.02) != Some(Ordering::Equal)
                });
                // Twice the error, to both sides, and what chance may add to it.
                let called = called.count();
                assert!(
                    called <= 16,
                    "{called} of {trials} with {count} repetitions that spread by {spread}"
                );
            }
        }
    }

    #[test]
    fn what_is_half_as_long_again_is_found() {
        let mut random = Random(6);
        let longer = |factor: f64, random: &mut Random| {
            let ratios: Vec<f64> = rounds(random, 5, 0.01, factor);
            longer(&ratios, 0.02)
        };
        let found = |factor: f64, random: &mut Random, expected| {
            (0..500).filter(|_| longer(factor, random) == Some(expected)).count()
        };
        // A disturbance in one of five hides it now and then.
        assert!(found(2.0, &mut random, Ordering::Greater) > 350);
        assert!(found(0.5, &mut random, Ordering::Less) > 350);
        assert_eq!(super::longer(&[1.1, 1.1], 0.02), None);
        assert_eq!(super::longer(&[1.1, f64::NAN, 1.1, 1.1], 0.02), Some(Ordering::Greater));
        assert_eq!(super::longer(&[1.01, 1.01, 1.01], 0.02), Some(Ordering::Equal));
    }
}
