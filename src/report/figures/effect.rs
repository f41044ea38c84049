//! The figures of one timed measure of a check. This module does not know how a verdict is reached:
//! the caller fills these in.

use serde::Serialize;

/// A timed measure. Effects are shares: 0.05 is 5 % more than the baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Effect {
    /// Which trace.
    pub trace: String,
    /// Which cell.
    pub backend: String,
    /// Which measure.
    pub measure: String,
    /// The verdict, as text.
    pub verdict: String,
    /// The estimate.
    pub effect: f64,
    /// The lower bound of the interval.
    pub lower: f64,
    /// The upper bound of the interval.
    pub upper: f64,
    /// Above this, the measure fails.
    pub fail_margin: f64,
    /// Below this, the measure passes.
    pub pass_margin: f64,
    /// Each pair of the first stage.
    pub pairs: Vec<f64>,
    /// Each pair of the confirmation.
    pub confirmation: Vec<f64>,
    /// Each pair of the baseline with itself.
    pub control: Vec<f64>,
    /// Seconds that the measure took.
    pub seconds: f64,
    /// The system's load.
    pub load: Option<f64>,
}
