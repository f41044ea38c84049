//! Scales, ticks and panels. A scale turns a value into a share of an axis; a panel
//! turns shares into pixels and draws its grid, ticks and units.

use super::canvas::{Anchor, Canvas, Stroke};
use super::chart::{AXIS, GRID, SMALL};
use super::words;

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// From 0 to a little above `most`, ending on a tick. `most` may be 0 or no number: then the
    /// end is 1.
    pub fn from_zero(most: f64) -> Scale {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let step = step(most, 5);
        Scale::Linear { from: 0.0, to: (most / step * 1.02).ceil() * step }
    }

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

/// A number at a linear tick: no more digits than tell the ticks apart.
pub fn tick_words(value: f64, ticks: &[f64]) -> String {
    let step = if ticks.len() > 1 { ticks[1] - ticks[0] } else { value.abs().max(1.0) };
    let digits = (-(step.abs().log10() + 1e-9).floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    if value.abs() < 1e-12 {
        return "0".to_owned();
    }
    if digits == 0 { words::group(&text) } else { text }
}

/// A plot: a rectangle of the canvas with two scales.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Left edge in pixels.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge.
    pub bottom: f64,
    /// Across.
    pub across: Scale,
    /// Upwards.
    pub up: Scale,
}

impl Panel {
    /// Pixels from the left for `value`.
    pub fn x(&self, value: f64) -> f64 {
        self.left + self.across.share(value) * (self.right - self.left)
    }

    /// Pixels from the top for `value`.
    pub fn y(&self, value: f64) -> f64 {
        self.bottom - self.up.share(value) * (self.bottom - self.top)
    }

    /// Hairlines across at the upward ticks, with numbers on the left when `words` is given.
    pub fn rows(&self, canvas: &mut Canvas, ticks: &[f64], words: Option<&dyn Fn(f64) -> String>) {
        for &tick in ticks {
            let y = self.y(tick);
            canvas.line(&[(self.left, y), (self.right, y)], Stroke::solid(1.0, GRID));
            if let Some(words) = words {
                canvas.line(&[(self.left - 5.0, y), (self.left, y)], Stroke::solid(1.0, AXIS));
                canvas.text(self.left - 9.0, y + 5.0, &words(tick), SMALL, Anchor::Right);
            }
        }
    }

    /// Hairlines upwards at the across ticks.
    pub fn columns(&self, canvas: &mut Canvas, ticks: &[f64]) {
        for &tick in ticks {
            let x = self.x(tick);
            canvas.line(&[(x, self.top), (x, self.bottom)], Stroke::solid(1.0, GRID));
        }
    }

    /// Numbers below the plot. Those that would touch the one before are left out.
    pub fn numbers(&self, canvas: &mut Canvas, ticks: &[f64], words: &dyn Fn(f64) -> String) {
        let mut free = f64::NEG_INFINITY;
        for &tick in ticks {
            let x = self.x(tick);
            let text = words(tick);
            let half = super::canvas::text_width(&text, SMALL) / 2.0;
            canvas.line(&[(x, self.bottom), (x, self.bottom + 5.0)], Stroke::solid(1.0, AXIS));
            if x - half > free {
                canvas.text(x, self.bottom + 21.0, &text, SMALL, Anchor::Middle);
                free = x + half + 6.0;
            }
        }
    }

    /// The lines at the left and below.
    pub fn axes(&self, canvas: &mut Canvas) {
        let stroke = Stroke::solid(1.2, AXIS);
        canvas.line(&[(self.left, self.top), (self.left, self.bottom)], stroke);
        canvas.line(&[(self.left, self.bottom), (self.right, self.bottom)], stroke);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_survive_what_a_record_may_hold() {
        for most in [0.0, -3.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
            let scale = Scale::from_zero(most);
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
    fn ticks_are_round_and_the_end_is_one() {
        let scale = Scale::from_zero(84.0);
        assert_eq!(scale, Scale::Linear { from: 0.0, to: 100.0 });
        assert_eq!(scale.ticks(5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(tick_words(0.5, &[0.0, 0.5]), "0.5");
        assert_eq!(Scale::log(10.0, 1e4).ticks(9), [10.0, 100.0, 1e3, 1e4]);
        assert!((Scale::log(10.0, 1e4).share(100.0) - 1.0 / 3.0).abs() < 1e-12); // ln rounds as it likes
    }
}
