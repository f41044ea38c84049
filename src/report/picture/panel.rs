//! A plot of a picture: a rectangle with two scales, which turns values into pixels and draws grid,
//! ticks and numbers.

use super::canvas::{Anchor, Canvas, Stroke, text_width};
use super::frame::SMALL;
use crate::report::chart::Scale;
use crate::report::palette::{AXIS, GRID};

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

    /// Hairlines across at the upward ticks, with numbers on the left when `text` is given.
    pub fn rows(&self, canvas: &mut Canvas, ticks: &[f64], text: Option<&dyn Fn(f64) -> String>) {
        for &tick in ticks {
            let y = self.y(tick);
            canvas.line(&[(self.left, y), (self.right, y)], Stroke::solid(1.0, GRID));
            if let Some(text) = text {
                canvas.line(&[(self.left - 5.0, y), (self.left, y)], Stroke::solid(1.0, AXIS));
                canvas.text(self.left - 9.0, y + 5.0, &text(tick), SMALL, Anchor::Right);
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
    pub fn numbers(&self, canvas: &mut Canvas, ticks: &[f64], text_of: &dyn Fn(f64) -> String) {
        let mut free = f64::NEG_INFINITY;
        for &tick in ticks {
            let x = self.x(tick);
            let text = text_of(tick);
            let half = text_width(&text, SMALL) / 2.0;
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
