//! Picture of service times over the replay: a heat map for each backend, below the live heap.

use super::canvas::{Anchor, Canvas, Stroke, fitted, text_width};
use super::frame::{LEFT, RIGHT, SMALL, STRONG, TINY, frame};
use super::panel::Panel;
use super::phases::{NAMES_ABOVE_PIXELS, mark_line, names_above};
use crate::report::chart::{LatencyHeatMapChart, LatencyHeatMapRow, Scale, tick_text};
use crate::report::palette::{AXIS, Colour, LIVE, WHITE, WORSE};
use crate::results::ProgramMark;
use crate::units::{byte_unit, count, figure, nanosecond_tick, nanoseconds};

/// Calls over this are dots of their own.
const DOT_NANOSECONDS: u64 = 100_000;
/// Cells from few calls to many.
const FEW: Colour = Colour(0xDC, 0xEA, 0xF7);
const SOME: Colour = Colour(0x5B, 0xA3, 0xD0);
const MANY: Colour = Colour(0x08, 0x30, 0x6B);
/// The number at the slowest call.
const SLOWEST: Colour = Colour(0xA8, 0x48, 0x00);
/// Height of the live heap in pixels.
const LIVE_HEIGHT: f64 = 52.0;

/// Draws the chart.
pub fn draw(chart: &LatencyHeatMapChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let panel = |top: f64, bottom: f64, up: Scale| Panel {
        left: LEFT + 186.0,
        top,
        right: RIGHT - 18.0,
        bottom,
        across: chart.calls_axis.scale,
        up,
    };
    // The names of the phases first, then the live heap.
    let mut y = top + 4.0;
    if !chart.marks.is_empty() {
        y += NAMES_ABOVE_PIXELS;
    }
    if !chart.live.is_empty() {
        y += 6.0;
        let strip = panel(y, y + LIVE_HEIGHT, Scale::Linear { from: 0.0, to: 1.0 });
        live(&mut canvas, &strip, chart);
        names(&mut canvas, &strip, chart);
        y += LIVE_HEIGHT;
    } else {
        names(&mut canvas, &panel(y + 6.0, y + 6.0, Scale::Linear { from: 0.0, to: 1.0 }), chart);
    }
    let foot = bottom - 44.0;
    let height = (foot - y) / chart.rows.len() as f64;
    for (at, described) in chart.rows.iter().enumerate() {
        let gap = if height > 60.0 { 14.0 } else { 8.0 };
        let (upper, lower) = (y + height * at as f64 + gap, y + height * (at + 1) as f64);
        let panel = panel(upper, lower, chart.time_axis.scale);
        row(&mut canvas, chart, &panel, described);
        for ProgramMark { event, .. } in &chart.marks {
            let x = panel.x(chart.calls_axis.in_unit(*event as f64));
            mark_line(&mut canvas, x, panel.top, panel.bottom);
        }
        dots(&mut canvas, chart, &panel, described);
        label(&mut canvas, &panel, described);
        if at + 1 == chart.rows.len() {
            let ticks = panel.across.ticks(8);
            panel.numbers(&mut canvas, &ticks, &|tick| tick_text(tick, &ticks));
        }
    }
    let label = format!("x: {}", chart.calls_axis.label);
    canvas.text(RIGHT - 18.0, bottom - 2.0, &label, SMALL, Anchor::Right);
    canvas
}

/// The live heap, as an area of every sample.
fn live(canvas: &mut Canvas, panel: &Panel, chart: &LatencyHeatMapChart) {
    let most = chart.live.iter().map(|sample| sample.1).max().unwrap_or(0).max(1) as f64;
    let panel = Panel { up: Scale::Linear { from: 0.0, to: most }, ..*panel };
    let place = |&(event, live): &(u64, u64)| {
        (panel.x(chart.calls_axis.in_unit(event as f64)), panel.y(live as f64))
    };
    let mut points = vec![(panel.left, panel.bottom)];
    points.extend(chart.live.iter().map(place));
    for pair in points.windows(2) {
        let [(from, y), (to, end)] = [pair[0], pair[1]];
        canvas.polygon(
            &[(from, y), (to, end), (to, panel.bottom), (from, panel.bottom)],
            LIVE.pale(0.15),
        );
    }
    canvas
        .line(&[(panel.left, panel.bottom), (panel.right, panel.bottom)], Stroke::solid(1.0, AXIS));
    let kind = STRONG.in_colour(LIVE);
    canvas.text(LEFT + 124.0, panel.bottom - 20.0, "live heap", kind, Anchor::Right);
    let unit = byte_unit(most);
    let peak = format!("{} {}", figure(most / unit.bytes), unit.name);
    canvas.text(panel.left - 9.0, panel.top + 9.0, &peak, TINY, Anchor::Right);
    canvas.text(panel.left - 9.0, panel.bottom + 1.0, "0", TINY, Anchor::Right);
}

/// The lines of the marks over a panel, and their names above it.
fn names(canvas: &mut Canvas, panel: &Panel, chart: &LatencyHeatMapChart) {
    let x = |mark: &ProgramMark| panel.x(chart.calls_axis.in_unit(mark.event as f64));
    for mark in &chart.marks {
        mark_line(canvas, x(mark), panel.top - 4.0, panel.bottom);
    }
    let marks = chart.marks.iter().map(|mark| (mark.name.as_str(), x(mark)));
    names_above(canvas, panel, panel.top - 7.0, marks);
}

fn row(canvas: &mut Canvas, chart: &LatencyHeatMapChart, panel: &Panel, row: &LatencyHeatMapRow) {
    let high = panel.bottom - panel.top;
    let ticks = panel.up.ticks(((high / 22.0) as usize).clamp(2, 9));
    panel.rows(canvas, &ticks, Some(&nanosecond_tick));
    let end = panel.x(chart.calls_axis.in_unit(chart.calls as f64));
    let width = (end - panel.left) / row.columns as f64;
    for band in &row.bands {
        // Thick enough to be seen: an extreme is one call.
        let (mut upper, lower) = (panel.y(band.to_ns), panel.y(band.from_ns));
        upper = upper.min(lower - 1.2);
        for run in band.counts.chunk_by(|a, b| a.0 + 1 == b.0 && a.1 == b.1) {
            let (first, last) = (run[0].0 as f64, run[run.len() - 1].0 as f64);
            let (from, to) = (panel.left + width * first, panel.left + width * (last + 1.0));
            canvas.rectangle(from, upper, to, lower, shade(run[0].1, chart.most_calls));
        }
    }
    panel.axes(canvas);
}

/// From one call to the most, on a logarithmic scale.
fn shade(calls: u64, most: u64) -> Colour {
    let share = (calls.max(1) as f64).ln() / (most.max(2) as f64).ln();
    if share < 0.6 {
        FEW.mix(SOME, share / 0.6)
    } else {
        SOME.mix(MANY, ((share - 0.6) / 0.4).min(1.0))
    }
}

fn dots(canvas: &mut Canvas, chart: &LatencyHeatMapChart, panel: &Panel, row: &LatencyHeatMapRow) {
    let x = |event: u64| panel.x(chart.calls_axis.in_unit(event as f64));
    for event in &row.partly_slow_events {
        let x = x(*event);
        canvas.line(&[(x, panel.top - 3.0), (x, panel.top + 3.0)], Stroke::solid(1.0, AXIS));
    }
    // The slowest is a dot in any case; it comes last, on top.
    let stalls = row.slow_calls.iter().enumerate();
    let stalls = stalls.filter(|(rank, call)| *rank == 0 || call.1 > DOT_NANOSECONDS);
    for (_, &(event, nanoseconds)) in stalls.collect::<Vec<_>>().into_iter().rev() {
        let (x, y) = (x(event), panel.y(nanoseconds as f64));
        canvas.disc(x, y, 4.4, WHITE);
        canvas.disc(x, y, 3.3, WORSE);
    }
    let Some(&(event, worst)) = row.slow_calls.first() else { return };
    let (x, y) = (x(event), panel.y(worst as f64));
    let text = format!("max {}", nanoseconds(worst as f64));
    let kind = STRONG.sized(13.0).in_colour(SLOWEST);
    let width = text_width(&text, kind);
    let base = (y + 4.5).clamp(panel.top + 11.0, panel.bottom - 2.0);
    let left = if x + 14.0 + width < panel.right { x + 9.0 } else { x - 9.0 - width };
    canvas.rectangle(left - 2.0, base - 11.0, left + width + 2.0, base + 2.0, WHITE);
    canvas.text(left, base, &text, kind, Anchor::Left);
}

/// The backend's name and its figures, as many lines as there is space for.
fn label(canvas: &mut Canvas, panel: &Panel, row: &LatencyHeatMapRow) {
    /// Pixels between the left edge and the numbers of the axis.
    const SPACE: f64 = 124.0;
    let high = panel.bottom - panel.top;
    let kind = STRONG.sized(if high > 44.0 { 16.0 } else { 13.0 });
    let total = row.total_ns.map(|total| format!("{} in all calls", nanoseconds(total)));
    let mut lines: Vec<String> = total.into_iter().collect();
    lines.push(format!("{} over 1 ms", count(row.over_1ms as u64)));
    lines.push(format!("{} over 100 µs", count(row.over_100us as u64)));
    lines.truncate(((high - 18.0) / 18.0).max(0.0) as usize);
    let mut y = (panel.top + panel.bottom) / 2.0 - 9.0 * lines.len() as f64 + 5.0;
    let right = LEFT + SPACE;
    let (name, kind) = fitted(&row.backend.name, kind, 12.0, SPACE);
    canvas.text(right, y, &name, kind, Anchor::Right);
    for line in lines {
        y += 18.0;
        canvas.text(right, y, &line, TINY, Anchor::Right);
    }
}
