//! Picture of the sizes that a program requests: how often, and how many bytes.

use super::canvas::{Anchor, Canvas, Stroke};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, frame};
use super::panel::Panel;
use super::size_numbers::{name_highest, size_numbers};
use crate::report::chart::{Scale, SizePanel, TraceSizesChart, tick_text};
use crate::report::palette::AXIS;
use crate::units::{SMALL_SIZE_BYTES, percent};

/// Draws the chart.
pub fn draw(chart: &TraceSizesChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let count = chart.up_to_bytes.len().max(33) as f64;
    let middle = (top + bottom) / 2.0 + 6.0;
    let panel = |top: f64, bottom: f64, up: Scale| Panel {
        left: LEFT + 50.0,
        top,
        right: RIGHT - 6.0,
        bottom,
        across: Scale::Linear { from: 0.0, to: count },
        up,
    };
    let upper = panel(top + 46.0, middle - 30.0, chart.requests.axis.scale);
    let lower = panel(middle + 46.0, bottom - 50.0, chart.volume.axis.scale);
    bars(&mut canvas, &upper, &chart.requests, &chart.up_to_bytes);
    bars(&mut canvas, &lower, &chart.volume, &chart.up_to_bytes);
    canvas.text(RIGHT - 6.0, bottom - 6.0, "x: request size, bytes", SMALL, Anchor::Right);
    canvas
}

fn bars(canvas: &mut Canvas, panel: &Panel, described: &SizePanel, up_to_bytes: &[u64]) {
    canvas.text(panel.left, panel.top - 16.0, &described.axis.label, HEADING, Anchor::Left);
    let ticks = panel.up.ticks(5);
    panel.rows(canvas, &ticks, Some(&|tick| tick_text(tick, &ticks)));
    let heights: Vec<f64> =
        described.values.iter().map(|value| described.axis.in_unit(*value)).collect();
    for (at, height) in heights.iter().enumerate() {
        let (from, to) = (panel.x(at as f64), panel.x(at as f64 + 1.0));
        canvas.rectangle(from + 1.5, panel.y(*height), to - 1.5, panel.bottom, described.colour);
    }
    let highest = heights.iter().copied().fold(0.0, f64::max);
    name_highest(canvas, panel, &heights, &|at| heights[at] > highest * 0.05);
    let border =
        up_to_bytes.iter().position(|up_to| *up_to > SMALL_SIZE_BYTES).unwrap_or(up_to_bytes.len());
    let x = panel.x(border as f64);
    canvas.line(&[(x, panel.top - 8.0), (x, panel.bottom)], Stroke::dashed(1.4, AXIS, 5.0, 4.0));
    let small = described.small_share;
    let text = format!("{} up to 512 bytes", percent(small));
    canvas.text(x - 8.0, panel.top - 16.0, &text, SMALL, Anchor::Right);
    let text = format!("{} larger", percent(1.0 - small));
    canvas.text(x + 8.0, panel.top - 16.0, &text, SMALL, Anchor::Left);
    panel.axes(canvas);
    size_numbers(canvas, panel, up_to_bytes, RIGHT + 10.0);
}
