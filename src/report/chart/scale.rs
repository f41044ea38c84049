//! Scales: a scale turns a value into a share of an axis, and has round values for ticks.

use serde::Serialize;

use crate::units::group;

/// The range of an axis, and how values are placed in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Scale {
    /// Equal steps are equal lengths.
    Linear {
        /// Value at the start.
        from: f64,
        /// Value at the end.
        to: f64,
    },
    /// Equal factors are equal lengths; both ends are above 0.
    Log {
        /// Value at the start.
        from: f64,
        /// Value at the end.
        to: f64,
    },
}

impl Scale {
    /// A logarithmic scale around `from..=to`, at least one decade long.
    pub fn log(from: f64, to: f64) -> Scale {
        let from = if from.is_finite() && from > 0.0 { from } else { 1.0 };
        let to = if to.is_finite() && to >= from * 10.0 { to } else { from * 10.0 };
        Scale::Log { from, to }
    }

    /// Where `value` lies: 0 at the start, 1 at the end, never outside. What is no number lies at
    /// the start.
    pub fn share(&self, value: f64) -> f64 {
        let share = match *self {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Log { from, to } => (value.max(from * 1e-9) / from).ln() / (to / from).ln(),
        };
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// The last value.
    pub fn end(&self) -> f64 {
        match *self {
            Scale::Linear { to, .. } | Scale::Log { to, .. } => to,
        }
    }

    /// Values for ticks: about `wanted` of them on a linear axis, one a decade (or every few) on a
    /// logarithmic one.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        match *self {
            Scale::Linear { from, to } => {
                let step = step(to - from, wanted);
                let first = (from / step - 1e-9).ceil() as i64;
                let last = (to / step + 1e-9).floor() as i64;
                (first..=last.min(first + 100)).map(|at| at as f64 * step).collect()
            }
            Scale::Log { from, to } => {
                let first = (from.log10() - 1e-9).ceil() as i32;
                let last = (to.log10() + 1e-9).floor() as i32;
                let every = ((last - first) as usize / wanted.max(1) + 1) as i32;
                (first..=last)
                    .filter(|at| (at - first) % every == 0)
                    .map(|at| 10_f64.powi(at))
                    .collect()
            }
        }
    }
}

/// A step of 1, 2 or 5 times a power of ten that divides `length` into about `wanted` parts.
fn step(length: f64, wanted: usize) -> f64 {
    let raw = length / wanted.max(1) as f64;
    if !(raw.is_finite() && raw > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| raw <= factor * power * 1.0001)
        .unwrap_or(10.0);
    factor * power
}

/// The number at a linear tick, with as few digits as distinguish the ticks.
pub fn tick_text(value: f64, ticks: &[f64]) -> String {
    let step = if ticks.len() > 1 { ticks[1] - ticks[0] } else { value.abs().max(1.0) };
    let digits = (-(step.abs().log10() + 1e-9).floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    if value.abs() < 1e-12 {
        return "0".to_owned();
    }
    if digits == 0 { group(&text) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_survive_what_a_record_may_hold() {
        for most in [0.0, -3.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
            let scale = Scale::Linear { from: 0.0, to: most };
            assert!(scale.share(most).is_finite());
            assert!(scale.ticks(5).len() <= 101);
        }
        for (from, to) in [(0.0, 0.0), (f64::NAN, 5.0), (10.0, 1.0), (1.0, f64::INFINITY)] {
            let scale = Scale::log(from, to);
            assert!((0.0..=1.0).contains(&scale.share(0.0)));
            assert!(scale.ticks(5).len() < 400);
        }
    }

    #[test]
    fn ticks_are_round() {
        let scale = Scale::Linear { from: 0.0, to: 104.0 };
        assert_eq!(scale.ticks(5), [0.0, 50.0, 100.0]);
        assert_eq!(tick_text(0.5, &[0.0, 0.5]), "0.5");
        assert_eq!(Scale::log(10.0, 1e4).ticks(9), [10.0, 100.0, 1e3, 1e4]);
        // The rounding of `ln` differs between machines.
        assert!((Scale::log(10.0, 1e4).share(100.0) - 1.0 / 3.0).abs() < 1e-12);
    }
}
