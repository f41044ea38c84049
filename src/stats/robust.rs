//! Room `stats`: where a sample with outliers lies, and how sure that is.

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
    /// The trimmed mean of `values`, with the standard error from the winsorised variance: Yuen, "The two-sample trimmed t
    /// for unequal population variances", Biometrika 61 (1974), in the form for one sample. `None` for fewer than three
    /// values left.
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
        let winsorised: Vec<f64> = values.iter().map(|value| value.clamp(kept[0], kept[h - 1])).collect();
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

/// Numbers that look random and come again with the same seed (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014): for orders of turns and for simulated data, not for secrets.
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
