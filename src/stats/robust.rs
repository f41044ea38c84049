//! A robust estimate of the location of a sample with outliers.

use super::beta::student_quantile;
use super::sample::sorted;

/// The share of the values that is left out at each end.
pub const TRIM: f64 = 0.2;

/// Fewer values than this are not trimmed where so few are compared: too few degrees of freedom would be
/// left. A disturbance widens the interval instead.
pub(super) const TRIMMED_FROM: usize = 10;

/// How many of so many values are left out at each end.
fn cut(values: usize) -> usize {
    (TRIM * values as f64).floor() as usize
}

/// A trimmed mean, and what each value adds to its error.
pub(super) struct Trimmed {
    /// The mean of the values without [`TRIM`] of them at each end.
    pub mean: f64,
    /// How many values are in the mean.
    pub count: usize,
    /// Each value's deviation from the mean of all, where the values that were left out count as the
    /// nearest value in the trimmed mean.
    pub deviations: Vec<f64>,
}

impl Trimmed {
    /// Of finite values. `None` without a value.
    pub(super) fn of(values: &[f64]) -> Option<Trimmed> {
        Trimmed::without(cut(values.len()), values)
    }

    /// The same, but of fewer than [`TRIMMED_FROM`] values none is left out.
    pub(super) fn of_many(values: &[f64]) -> Option<Trimmed> {
        let is_many = values.len() >= TRIMMED_FROM;
        Trimmed::without(if is_many { cut(values.len()) } else { 0 }, values)
    }

    /// Without so many values at each end.
    fn without(cut: usize, values: &[f64]) -> Option<Trimmed> {
        let ordered = sorted(values);
        let n = ordered.len();
        let inner = &ordered[cut..n - cut];
        let (&low, &high) = (inner.first()?, inner.last()?);
        let winsorised: Vec<f64> = values.iter().map(|value| value.clamp(low, high)).collect();
        let middle = winsorised.iter().sum::<f64>() / n as f64;
        Some(Trimmed {
            mean: inner.iter().sum::<f64>() / inner.len() as f64,
            count: inner.len(),
            deviations: winsorised.iter().map(|value| value - middle).collect(),
        })
    }
}

/// A trimmed mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean of the values without [`TRIM`] of them at each end.
    pub mean: f64,
    /// Yuen's standard error of the mean.
    pub error: f64,
    /// Degrees of freedom: one less than the values in the mean.
    pub freedom: f64,
}

impl Estimate {
    /// The trimmed mean of `values`, with the standard error from the winsorised variance. Source:
    /// Yuen, "The two-sample trimmed t for unequal population variances", Biometrika 61 (1974), in
    /// the form for one sample. `None` if fewer than three values are left.
    pub fn of(values: &[f64]) -> Option<Estimate> {
        let Trimmed { mean, count: h, deviations } = Trimmed::of(&sorted(values))?;
        if h < 3 {
            return None;
        }
        let squares: f64 = deviations.iter().map(|deviation| deviation.powi(2)).sum();
        // (n − 1) s² / (h (h − 1)), where s² is the winsorised variance.
        let error = (squares / (h * (h - 1)) as f64).sqrt();
        Some(Estimate { mean, error, freedom: (h - 1) as f64 })
    }

    /// The mean of all values, with its standard error: for so few values that trimming would leave no
    /// degrees of freedom. A disturbance widens the interval. `None` for fewer than three values.
    pub fn untrimmed(values: &[f64]) -> Option<Estimate> {
        let values = sorted(values);
        let n = values.len() as f64;
        if values.len() < 3 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Estimate { mean, error: (squares / (n * (n - 1.0))).sqrt(), freedom: n - 1.0 })
    }

    /// The mean of figures that have the influences of their pairs on means that are trimmed as
    /// [`Trimmed::of_many`] trims, with Yuen's standard error and degrees of freedom: one less than the
    /// values that are left. With those of all values, equal ones were called different three times too
    /// often. `None` for fewer than three values.
    pub fn of_influences(figures: &[f64]) -> Option<Estimate> {
        let found = Estimate::untrimmed(figures)?;
        let n = figures.len() as f64;
        let left =
            if figures.len() >= TRIMMED_FROM { n - 2.0 * cut(figures.len()) as f64 } else { n };
        // An influence is a deviation times n / h. Yuen divides the deviations by h(h − 1), and n(n − 1)
        // is the divisor here.
        let error = found.error * (left * (n - 1.0) / (n * (left - 1.0))).sqrt();
        Some(Estimate { error, freedom: left - 1.0, ..found })
    }

    /// The mean of independent estimates, with Welch and Satterthwaite's degrees of freedom. `None`
    /// without an estimate.
    pub fn mean_of(estimates: &[Estimate]) -> Option<Estimate> {
        let count = estimates.len() as f64;
        let variance: f64 = estimates.iter().map(|one| one.error.powi(2)).sum();
        let spread: f64 = estimates.iter().map(|one| one.error.powi(4) / one.freedom).sum();
        (!estimates.is_empty()).then(|| Estimate {
            mean: estimates.iter().map(|one| one.mean).sum::<f64>() / count,
            error: variance.sqrt() / count,
            freedom: if spread > 0.0 { variance.powi(2) / spread } else { 1.0 },
        })
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
