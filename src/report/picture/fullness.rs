//! The scale of colours of how full memory is.

use super::canvas::{Anchor, Canvas};
use super::frame::TINY;
use crate::report::palette::{RETAINED, fullness_colour};

/// The scale, with numbers; its left end is at `x`. `empty` adds memory without a live byte.
pub fn fullness_legend(canvas: &mut Canvas, x: f64, y: f64, empty: bool) {
    let mut x = x;
    if empty {
        canvas.rectangle(x, y - 13.0, x + 34.0, y, RETAINED);
        canvas.text(x + 17.0, y + 15.0, "empty", TINY, Anchor::Middle);
        x += 46.0;
    }
    for at in 0..210 {
        let colour = fullness_colour(((at / 13) as f64 + 0.5) / 16.0);
        canvas.rectangle(x + f64::from(at), y - 13.0, x + f64::from(at) + 1.0, y, colour);
    }
    for (share, text) in [(0.25, "25"), (0.5, "50"), (0.75, "75")] {
        canvas.text(x + share * 208.0, y + 15.0, text, TINY, Anchor::Middle);
    }
    canvas.text(x + 230.0, y + 15.0, "100 % live", TINY, Anchor::Right);
}
