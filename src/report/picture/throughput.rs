//! Picture of time per call: a dot and a bar for each backend, and lines along the trace.

use super::canvas::{Anchor, Canvas, Stroke, fitted, short_version, shorten, text_width};
use super::end_labels::{EndLabel, end_labels};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, backend_stroke, frame};
use super::panel::Panel;
use crate::report::chart::{AlongTrace, Scale, ThroughputChart, ThroughputRow, tick_text};
use crate::report::palette::{AXIS, GRID, INK, WHITE};
use crate::stats;
use crate::units::figure3;

/// Height of a row in pixels below which names and numbers go beside the marks.
const LOW_ROW: f64 = 40.0;
/// Pixels between two marks of lines that are cut.
const CUT_MARK_DISTANCE: f64 = 14.0;
/// Backends whose cut lines are named.
const CUT_NAMED_MAX: usize = 2;
/// Pixels of such a name, at most.
const CUT_NAME_PIXELS: f64 = 100.0;

/// Draws the chart.
pub fn draw(chart: &ThroughputChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let first = LEFT + 190.0;
    let right =
        if chart.along_trace.is_some() { first + (RIGHT - first) * 0.46 } else { RIGHT - 60.0 };
    let panel = Panel {
        left: first,
        top: top + 56.0,
        right,
        bottom: bottom - 56.0,
        across: chart.time_axis.scale,
        up: Scale::Linear { from: 0.0, to: 1.0 },
    };
    dots(&mut canvas, chart, &panel);
    if let Some(along) = &chart.along_trace {
        let names = chart.rows.iter().map(|row| text_width(&row.backend.name, STRONG));
        let space = (names.fold(0.0, f64::max) + 20.0).clamp(60.0, 170.0);
        let panel = Panel {
            left: right + 80.0,
            right: RIGHT - space,
            across: along.calls_axis.scale,
            up: along.time_axis.scale,
            ..panel
        };
        along_trace(&mut canvas, &panel, &chart.rows, along);
    }
    canvas
}

fn dots(canvas: &mut Canvas, chart: &ThroughputChart, panel: &Panel) {
    canvas.text(panel.left, panel.top - 30.0, "time per call", HEADING, Anchor::Left);
    let aside = "ns, processor and memory together";
    canvas.text(panel.left, panel.top - 9.0, aside, SMALL, Anchor::Left);
    let ticks = panel.across.ticks(6);
    panel.columns(canvas, &ticks);
    canvas
        .line(&[(panel.left, panel.bottom), (panel.right, panel.bottom)], Stroke::solid(1.2, AXIS));
    panel.numbers(canvas, &ticks, &|tick| tick_text(tick, &ticks));
    let label = format!("x: {}", chart.time_axis.label);
    canvas.text(panel.right, panel.bottom + 42.0, &label, SMALL, Anchor::Right);
    if let Some(floor) = chart.floor_ns {
        let x = panel.x(floor);
        canvas.line(&[(x, panel.top), (x, panel.bottom)], Stroke::dashed(1.6, AXIS, 6.0, 4.0));
    }
    let step = ((panel.bottom - panel.top) / chart.rows.len() as f64).min(150.0);
    for (at, row) in chart.rows.iter().enumerate() {
        let y = panel.top + step * (at as f64 + 0.55);
        dot(canvas, panel, row, y, step);
    }
}

fn dot(canvas: &mut Canvas, panel: &Panel, row: &ThroughputRow, y: f64, step: f64) {
    let (cost, backend) = (&row.cost, &row.backend);
    let end = panel.across.end();
    let [low, high] = [cost.low_ns, cost.high_ns].map(|ns| panel.x(ns.min(end)));
    canvas.line(&[(panel.left, y), (low, y)], Stroke::solid(1.0, GRID));
    canvas.bar(low, high, y, 7.0, backend.colour.pale(0.68));
    row_name(canvas, panel.left - 16.0, y, row, step);
    let kind = if row.is_leader { STRONG } else { SMALL.in_colour(INK) };
    let kind = kind.sized(15.0);
    let text = figure3(cost.middle_ns);
    if cost.middle_ns > end {
        canvas.polygon(
            &[(panel.right - 14.0, y - 8.0), (panel.right, y), (panel.right - 14.0, y + 8.0)],
            backend.colour,
        );
        canvas.text(panel.right - 20.0, y + 5.0, &text, kind, Anchor::Right);
        return;
    }
    if cost.high_ns > end {
        let text = format!("{} ▶", figure3(cost.high_ns));
        canvas.text(panel.right, y + 20.0, &text, TINY, Anchor::Right);
    }
    let x = panel.x(cost.middle_ns);
    if backend.variant == 0 {
        canvas.disc(x, y, 8.0, backend.colour);
    } else {
        canvas.ring(x, y, 8.0, 2.6, backend.colour);
    }
    let half = text_width(&text, kind) / 2.0 + 2.0;
    // In low rows, the number of one would be between the marks of the row above.
    if step < LOW_ROW {
        let right = high.max(x + 8.0) + 6.0;
        canvas.rectangle(right - 2.0, y - 8.0, right + 2.0 * half, y + 8.0, WHITE);
        canvas.text(right, y + 5.0, &text, kind, Anchor::Left);
    } else {
        canvas.rectangle(x - half, y - 28.0, x + half, y - 12.0, WHITE);
        canvas.text(x, y - 15.0, &text, kind, Anchor::Middle);
    }
}

fn row_name(canvas: &mut Canvas, right: f64, y: f64, row: &ThroughputRow, step: f64) {
    let kind = STRONG.sized((step * 0.5).min(17.0));
    let (name, kind) = fitted(&row.backend.name, kind, 11.0, right - LEFT);
    if step < LOW_ROW {
        canvas.text(right, y + kind.size * 0.36, &name, kind, Anchor::Right);
        return;
    }
    canvas.text(right, y + 1.0, &name, kind, Anchor::Right);
    canvas.text(
        right,
        y + 20.0,
        &short_version(&row.note, TINY, right - LEFT),
        TINY,
        Anchor::Right,
    );
}

/// Time per call along the trace.
fn along_trace(canvas: &mut Canvas, panel: &Panel, rows: &[ThroughputRow], along: &AlongTrace) {
    canvas.text(panel.left, panel.top - 30.0, "along the trace", HEADING, Anchor::Left);
    canvas.text(panel.left, panel.top - 9.0, &along.time_axis.label, SMALL, Anchor::Left);
    let ticks = panel.up.ticks(8);
    panel.rows(canvas, &ticks, Some(&|tick| tick_text(tick, &ticks)));
    let mut labels = Vec::new();
    for row in rows.iter().rev() {
        let columns = thin_out(&row.chunks, ((panel.right - panel.left) / 1.5) as usize);
        let point =
            |&(call, ns): &(f64, f64)| (panel.x(along.calls_axis.in_unit(call)), panel.y(ns));
        let points: Vec<(f64, f64)> = columns.iter().map(point).collect();
        let backend = &row.backend;
        let colour = if backend.is_floor { backend.colour } else { backend.colour.pale(0.12) };
        canvas.line(&points, backend_stroke(colour, backend.variant, 1.6));
        // The end of a line is chance: its label is at the median of its last tenth.
        let last: Vec<f64> =
            points[points.len() - points.len().div_ceil(10)..].iter().map(|p| p.1).collect();
        if let Some(y) = stats::median(&last) {
            let kind = STRONG.in_colour(backend.colour);
            let text = shorten(&backend.name, kind, RIGHT - panel.right - 16.0);
            labels.push(EndLabel { y, text, kind });
        }
    }
    cut_marks(canvas, panel, rows, along);
    let space = RIGHT - panel.right - 14.0;
    end_labels(
        canvas,
        (panel.right + 2.0, panel.right + 14.0),
        (panel.top, panel.bottom),
        labels,
        space,
    );
    panel.axes(canvas);
    let across = panel.across.ticks(7);
    panel.numbers(canvas, &across, &|tick| tick_text(tick, &across));
    let label = format!("x: {}", along.calls_axis.label);
    canvas.text(panel.right, panel.bottom + 42.0, &label, SMALL, Anchor::Right);
}

/// Marks where lines leave the top of the panel, and says how far the highest go.
fn cut_marks(canvas: &mut Canvas, panel: &Panel, rows: &[ThroughputRow], along: &AlongTrace) {
    let end = panel.up.end();
    let mut highest: Vec<(f64, &ThroughputRow)> = Vec::new();
    let mut marked: Vec<f64> = Vec::new();
    for row in rows {
        for (call, ns) in row.chunks.iter().filter(|(_, ns)| *ns > end) {
            let x = panel.x(along.calls_axis.in_unit(*call));
            match highest.last_mut().filter(|known| std::ptr::eq(known.1, row)) {
                Some(known) => known.0 = known.0.max(*ns),
                None => highest.push((*ns, row)),
            }
            if marked.iter().all(|known| (known - x).abs() >= CUT_MARK_DISTANCE) {
                let y = panel.top;
                canvas
                    .polygon(&[(x - 5.0, y + 8.0), (x, y), (x + 5.0, y + 8.0)], row.backend.colour);
                marked.push(x);
            }
        }
    }
    highest.sort_by(|a, b| b.0.total_cmp(&a.0));
    let named = highest.iter().take(CUT_NAMED_MAX);
    let named = named.map(|(ns, row)| {
        let name = shorten(&row.backend.name, SMALL, CUT_NAME_PIXELS);
        format!("{name} to {} ns", figure3(*ns))
    });
    let mut named: Vec<String> = named.collect();
    if highest.len() > named.len() {
        named.push(format!("{} more", highest.len() - named.len()));
    }
    if !named.is_empty() {
        let text = format!("▲ runs off: {}", named.join(", "));
        let space = panel.right - panel.left - text_width("along the trace", HEADING) - 12.0;
        let text = shorten(&text, SMALL, space);
        canvas.text(panel.right, panel.top - 30.0, &text, SMALL, Anchor::Right);
    }
}

/// At most `most` segments, each with its fastest and slowest chunk: no extreme is averaged away.
fn thin_out(chunks: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let size = chunks.len().div_ceil(most.max(1)).max(1);
    let mut points = Vec::new();
    for group in chunks.chunks(size) {
        let mut costs = group.to_vec();
        if costs.len() > 2 {
            let low = costs.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(costs[0]);
            let high = costs.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(costs[0]);
            costs = vec![low, high];
            costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        points.extend(costs);
    }
    points
}
