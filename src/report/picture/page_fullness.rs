//! Picture of how full the pages in use are: bars by fullness, and curves by the size of a piece.

use super::canvas::{Anchor, Canvas, Stroke, shorten, text_width};
use super::end_labels::{EndLabel, end_labels};
use super::frame::{HEADING, LEFT, NOTE, RIGHT, SMALL, STRONG, TINY, backend_stroke, frame};
use super::fullness::fullness_legend;
use super::panel::Panel;
use crate::report::chart::{
    Axis, FullnessBins, FullnessRow, PIECES, PageFullnessChart, Scale, sparse, tick_text,
};
use crate::report::palette::{INK, LIVE, fullness_colour};
use crate::units::{byte_unit, bytes, figure3, percent, ratio};

/// Draws the chart.
pub fn draw(chart: &PageFullnessChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let split = 880.0;
    bars(&mut canvas, chart, (top, bottom), split);
    curves(&mut canvas, chart, (split + 92.0, top + 62.0, bottom - 52.0));
    canvas
}

fn bars(canvas: &mut Canvas, chart: &PageFullnessChart, (top, bottom): (f64, f64), split: f64) {
    canvas.text(LEFT, top + 26.0, "pages in use by fullness", HEADING, Anchor::Left);
    fullness_legend(canvas, split - 300.0, top + 26.0, false);
    let names = chart.rows.iter().map(|row| text_width(&row.backend.name, HEADING));
    let names = names.fold(60.0, f64::max).min(210.0) + 66.0;
    let panel = Panel {
        left: LEFT + names,
        top: top + 62.0,
        right: split - 150.0,
        bottom: bottom - 52.0,
        across: chart.bar_axis.scale,
        up: Scale::Linear { from: 0.0, to: 1.0 },
    };
    let ticks = panel.across.ticks(6);
    panel.columns(canvas, &ticks);
    let step = (panel.bottom - panel.top) / chart.rows.len() as f64;
    let half = (step * 0.17).min(24.0);
    for (at, row) in chart.rows.iter().enumerate() {
        let middle = panel.top + step * (at as f64 + 0.5);
        let name = shorten(&row.backend.name, HEADING, names - 62.0);
        canvas.text(LEFT, middle + 6.0, &name, HEADING, Anchor::Left);
        let end = chart.end_name.replacen("at the ", "", 1).replacen("at ", "", 1);
        for (bins, side, moment) in [(&row.peak_bytes, -1.0, "peak"), (&row.end_bytes, 1.0, &end)] {
            let y = middle + side * (half + 2.0);
            canvas.text(panel.left - 8.0, y + 5.0, moment, SMALL, Anchor::Right);
            stack(canvas, &panel, &chart.bar_axis, bins, (y, half));
        }
    }
    panel.axes(canvas);
    panel.numbers(canvas, &ticks, &|tick| tick_text(tick, &ticks));
    let label = format!("x: {}", chart.bar_axis.label);
    canvas.text(panel.right, panel.bottom + 42.0, &label, SMALL, Anchor::Right);
}

fn stack(
    canvas: &mut Canvas,
    panel: &Panel,
    axis: &Axis,
    bins: &FullnessBins,
    (y, half): (f64, f64),
) {
    let mut below = 0.0;
    for (bin, bytes) in bins.iter().enumerate() {
        let from = panel.x(axis.in_unit(below));
        let to = panel.x(axis.in_unit(below + bytes));
        canvas.rectangle(from, y - half, to, y + half, fullness_colour((bin as f64 + 0.5) / 16.0));
        below += bytes;
    }
    let end = panel.x(axis.in_unit(below));
    let off = axis.in_unit(below) > axis.end();
    let total = if off { format!("▶ {}", bytes(below)) } else { figure3(axis.in_unit(below)) };
    let kind = if half > 9.0 { STRONG } else { TINY.in_colour(INK) };
    let used = canvas.text(end + 6.0, y + 5.0, &total, kind, Anchor::Left);
    if below > 0.0 {
        let text = format!("{} under ¼", percent(sparse(bins) / below));
        let kind = if half > 9.0 { SMALL } else { TINY };
        canvas.text(end + 14.0 + used, y + 5.0, &text, kind, Anchor::Left);
    }
}

/// A backend's name, and how much more it would have in use in the largest pieces.
fn curve_label(row: &FullnessRow) -> String {
    let (low, high) = (row.by_piece[0].1, row.by_piece[row.by_piece.len() - 1].1);
    let times = if low > 0.0 { format!("  {}", ratio(high / low)) } else { String::new() };
    format!("{}{times}", row.backend.name)
}

fn curves(canvas: &mut Canvas, chart: &PageFullnessChart, (left, top, bottom): (f64, f64, f64)) {
    let drawn: Vec<&FullnessRow> = chart.rows.iter().filter(|row| row.by_piece.len() > 1).collect();
    let axis = &chart.curve_axis;
    let heading = format!("in use {}, by size of a piece", chart.end_name);
    canvas.text(left - 36.0, top - 36.0, &heading, HEADING, Anchor::Left);
    let widths = drawn.iter().map(|row| text_width(&curve_label(row), STRONG));
    let space = widths.fold(60.0, f64::max).min(200.0) + 20.0;
    let panel = Panel {
        left,
        top,
        right: RIGHT - space - 10.0,
        bottom,
        across: chart.piece_axis.scale,
        up: axis.scale,
    };
    let ticks = panel.up.ticks(8);
    panel.rows(canvas, &ticks, Some(&|tick| tick_text(tick, &ticks)));
    panel.axes(canvas);
    panel.numbers(canvas, &PIECES.map(|piece| piece.0), &|piece| {
        let unit = byte_unit(piece);
        format!("{:.0}\u{a0}{}", piece / unit.bytes, unit.name)
    });
    let live_in_unit = axis.in_unit(chart.live_end_bytes);
    let live = panel.y(live_in_unit);
    canvas.line(&[(panel.left, live), (panel.right, live)], Stroke::dashed(1.6, LIVE, 6.0, 3.5));
    let text = format!("live {}", figure3(live_in_unit));
    let mut labels = vec![EndLabel { y: live, text, kind: STRONG.in_colour(LIVE) }];
    for row in &drawn {
        let y = curve(canvas, &panel, axis, row);
        let kind = STRONG.in_colour(row.backend.colour);
        labels.push(EndLabel { y, text: curve_label(row), kind });
    }
    end_labels(
        canvas,
        (panel.right + 5.0, panel.right + 20.0),
        (panel.top, panel.bottom),
        labels,
        space,
    );
    let label = format!("x: {}", chart.piece_axis.label);
    canvas.text(panel.right, panel.bottom + 42.0, &label, SMALL, Anchor::Right);
    canvas.text_upwards(left - 46.0, (panel.top + panel.bottom) / 2.0, &axis.label, NOTE);
}

/// Draws the curve of a backend; gives the y of its end.
fn curve(canvas: &mut Canvas, panel: &Panel, axis: &Axis, row: &FullnessRow) -> f64 {
    let inside: Vec<(f64, f64)> =
        row.by_piece.iter().copied().filter(|point| axis.in_unit(point.1) <= axis.end()).collect();
    let points: Vec<(f64, f64)> = inside
        .iter()
        .map(|&(piece, bytes)| (panel.x(piece), panel.y(axis.in_unit(bytes))))
        .collect();
    canvas.line(&points, backend_stroke(row.backend.colour, row.backend.variant, 2.4));
    for &(x, y) in &points {
        canvas.disc(x, y, 4.0, row.backend.colour);
    }
    let end = points.last().filter(|_| inside.len() == row.by_piece.len());
    end.map_or(panel.top, |point| point.1)
}
