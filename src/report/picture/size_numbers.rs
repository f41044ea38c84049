//! Bars by size of the request: the numbers below them and at the highest of them.

use super::canvas::{Anchor, Canvas, Stroke, text_width};
use super::frame::{SMALL, STRONG};
use super::panel::Panel;
use crate::report::palette::AXIS;
use crate::units::{SMALL_SIZE_BYTES, bytes, figure};

/// Bars with a number at most.
const NAMED_MAX: usize = 6;

/// The largest size of a class, below its right edge, where there is space up to `right` pixels.
pub fn size_numbers(canvas: &mut Canvas, panel: &Panel, up_to_bytes: &[u64], right: f64) {
    let mut free = f64::NEG_INFINITY;
    for (at, up_to) in up_to_bytes.iter().enumerate() {
        if *up_to <= SMALL_SIZE_BYTES && !up_to.is_multiple_of(64) && *up_to != 16 {
            continue;
        }
        let x = panel.x(at as f64 + 1.0);
        let text = match *up_to {
            small if small <= SMALL_SIZE_BYTES => small.to_string(),
            large => bytes(large as f64)
                .replace("iB", "")
                .replace(".0", "")
                .replace('\u{a0}', "\u{202f}"),
        };
        let half = text_width(&text, SMALL) / 2.0;
        if x - half > free && x + half < right {
            canvas.line(&[(x, panel.bottom), (x, panel.bottom + 5.0)], Stroke::solid(1.0, AXIS));
            canvas.text(x, panel.bottom + 21.0, &text, SMALL, Anchor::Middle);
            free = x + half + 8.0;
        }
    }
}

/// The values of the highest bars that stand out, above them. Of adjacent bars only one has its
/// number.
pub fn name_highest(
    canvas: &mut Canvas,
    panel: &Panel,
    heights: &[f64],
    stands_out: &dyn Fn(usize) -> bool,
) {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by(|a, b| heights[*b].total_cmp(&heights[*a]));
    let mut named: Vec<usize> = Vec::new();
    for at in order {
        let is_free = named.iter().all(|other| other.abs_diff(at) > 1);
        if named.len() < NAMED_MAX && stands_out(at) && is_free {
            named.push(at);
            let (x, y) = (panel.x(at as f64 + 0.5), panel.y(heights[at]) - 6.0);
            canvas.text(x, y, &figure(heights[at]), STRONG, Anchor::Middle);
        }
    }
}
