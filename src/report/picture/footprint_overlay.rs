//! Picture of resident memory of all backends in one plot, with a strip of what is left after the
//! end.

use super::canvas::{Anchor, Canvas, Stroke, Type, shorten, text_width};
use super::end_labels::{EndLabel, end_labels};
use super::frame::{HEADING, LEFT, NOTE, RIGHT, SMALL, STRONG, TINY, backend_stroke, frame};
use super::panel::Panel;
use super::phases;
use crate::report::chart::{Axis, FootprintLine, FootprintOverlayChart, tick_text};
use crate::report::figures::ProgramPhase;
use crate::report::palette::{GRID, LIVE, SOFT, WHITE};
use crate::units::{bytes, figure3};

/// Width of the strip in pixels.
const STRIP: f64 = 300.0;

/// Draws the chart.
pub fn draw(chart: &FootprintOverlayChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let space = label_space(chart);
    let panel = Panel {
        left: LEFT + 34.0,
        top: top + 44.0,
        right: RIGHT - space - STRIP - 30.0,
        bottom: bottom - 52.0,
        across: chart.clock_axis.scale,
        up: chart.memory_axis.scale,
    };
    let ticks = panel.up.ticks(9);
    panel.rows(&mut canvas, &ticks, Some(&|tick| tick_text(tick, &ticks)));
    area_and_lines(&mut canvas, &panel, chart);
    panel.axes(&mut canvas);
    let place = |phase: &ProgramPhase| chart.clock_axis.in_unit(chart.clock.of_phase(phase));
    phases::draw(&mut canvas, &panel, &chart.phases, place, true);
    let across = panel.across.ticks(10);
    panel.numbers(&mut canvas, &across, &|tick| tick_text(tick, &across));
    let label = format!("x: {}", chart.clock_axis.label);
    canvas.text(panel.right, panel.bottom + 42.0, &label, SMALL, Anchor::Right);
    let middle = (panel.top + panel.bottom) / 2.0;
    canvas.text_upwards(LEFT - 12.0, middle, &chart.memory_axis.label, SMALL.sized(15.0));
    live_label(&mut canvas, &panel, chart);
    after_the_end(&mut canvas, &panel, chart, (panel.right + 30.0, space));
    canvas
}

/// Pixels for the widest label at the right.
fn label_space(chart: &FootprintOverlayChart) -> f64 {
    let labels = chart.lines.iter().map(|line| label(line, &chart.memory_axis));
    let widest = labels.map(|label| text_width(&label, STRONG)).fold(0.0, f64::max);
    (widest + 22.0).clamp(90.0, 260.0)
}

/// What is left in the end, and the backend.
fn label(line: &FootprintLine, axis: &Axis) -> String {
    let memory = &line.memory;
    let last = memory.freed_bytes.or(memory.trimmed_bytes).or(memory.end_bytes);
    // Far more than the others would be a long number in their unit.
    let value = last.map_or("–".to_owned(), |left| match axis.in_unit(left) {
        small if small < 1000.0 => figure3(small),
        _ => bytes(left),
    });
    format!("{value}  {}", line.backend.name)
}

fn area_and_lines(canvas: &mut Canvas, panel: &Panel, chart: &FootprintOverlayChart) {
    let count = ((panel.right - panel.left) * 3.0).round().max(1.0) as usize;
    let axis = &chart.memory_axis;
    let y = |bytes: f64| panel.y(axis.in_unit(bytes));
    let live = chart.lines[0].heap.columns(chart.clock_end, count);
    for (at, column) in live.iter().enumerate() {
        canvas.sliver(panel.left, at, y(column.most[0]), panel.bottom, LIVE.pale(0.62));
    }
    for line in chart.lines.iter().rev() {
        let backend = &line.backend;
        // Dashes by columns: variants of a family have the same colour.
        let (ink, gap) = match backend_stroke(backend.colour, backend.variant, 1.0).dash {
            Some((ink, gap)) => (ink * 3.0, gap * 3.0),
            None => (1.0, 0.0),
        };
        let columns = line.heap.columns(chart.clock_end, count);
        for (at, column) in columns.iter().enumerate() {
            let (low, high) = column.resident;
            if axis.in_unit(low) > axis.end() || (at as f64).rem_euclid(ink + gap) >= ink {
                continue;
            }
            let middle = panel.left + (at as f64 + 0.5) / 3.0;
            let (upper, lower) = (y(high) - 1.0, y(low) + 1.0);
            canvas.rectangle(middle - 1.0, upper, middle + 1.0, lower, backend.colour);
        }
    }
    let place =
        |&(position, bytes): &(f64, f64)| (panel.x(chart.clock_axis.in_unit(position)), y(bytes));
    let points: Vec<(f64, f64)> = chart.process.iter().map(place).collect();
    canvas.line(&points, Stroke::dashed(2.6, SOFT, 9.0, 5.0));
    for line in &chart.lines {
        runs_off(canvas, panel, chart, line, count);
    }
}

/// The height of a peak that the plot does not show, where it leaves the plot.
fn runs_off(
    canvas: &mut Canvas,
    panel: &Panel,
    chart: &FootprintOverlayChart,
    line: &FootprintLine,
    count: usize,
) {
    let axis = &chart.memory_axis;
    let is_off = |bytes: f64| axis.in_unit(bytes) > axis.end();
    let Some(peak) = line.memory.peak_bytes.filter(|peak| is_off(*peak)) else { return };
    let columns = line.heap.columns(chart.clock_end, count);
    let out = columns.iter().position(|column| is_off(column.resident.1)).unwrap_or(0);
    let text = format!("▲ {} runs off to {}", line.backend.name, bytes(peak));
    let kind = STRONG.in_colour(line.backend.colour);
    let left =
        (panel.left + out as f64 / 3.0 + 8.0).min(panel.right - text_width(&text, kind) - 4.0);
    canvas.text(left.max(panel.left + 4.0), panel.top - 8.0, &text, kind, Anchor::Left);
}

fn live_label(canvas: &mut Canvas, panel: &Panel, chart: &FootprintOverlayChart) {
    let live = chart.memory_axis.in_unit(chart.live_peak_bytes);
    let y = panel.y(live);
    canvas.line(&[(panel.left, y), (panel.right, y)], Stroke::dashed(1.6, LIVE, 6.0, 3.5));
    let text = format!("live peak {}", figure3(live));
    let kind = Type { bold: true, ..TINY.in_colour(LIVE) };
    // Curves rise to the right: at the left edge they leave most space, but not above the label.
    let wide = text_width(&text, kind);
    canvas.rectangle(panel.left + 4.0, y - 18.0, panel.left + wide + 10.0, y - 3.0, WHITE);
    canvas.text(panel.left + 7.0, y - 6.0, &text, kind, Anchor::Left);
}

/// The strip: at the end, after a trim, all freed; joined by lines.
fn after_the_end(
    canvas: &mut Canvas,
    panel: &Panel,
    chart: &FootprintOverlayChart,
    (left, space): (f64, f64),
) {
    let stops = [0.08, 0.5, 0.92].map(|share| left + STRIP * share);
    canvas.text(left + STRIP / 2.0, panel.top - 15.0, "cool-down", HEADING, Anchor::Middle);
    for (x, name) in stops.iter().zip([&chart.end_name, "after trim", "all freed"]) {
        canvas.line(&[(*x, panel.top), (*x, panel.bottom)], Stroke::solid(1.0, GRID));
        canvas.text(*x, panel.bottom + 21.0, name, SMALL, Anchor::Middle);
    }
    for tick in panel.up.ticks(9) {
        let y = panel.y(tick);
        canvas.line(&[(left, y), (left + STRIP, y)], Stroke::solid(1.0, GRID));
    }
    let mut labels = Vec::new();
    let mut brackets = 0.0;
    for line in chart.lines.iter().rev() {
        if line.memory.ranges_bytes[2].or(line.memory.ranges_bytes[3]).is_some() {
            brackets += 1.0;
        }
        let end = after_the_end_of(canvas, panel, &chart.memory_axis, line, (&stops, brackets));
        if let Some(y) = end {
            let kind = STRONG.in_colour(line.backend.colour);
            let text = shorten(&label(line, &chart.memory_axis), kind, space - 22.0);
            labels.push(EndLabel { y, text, kind });
        }
    }
    labels.reverse();
    let from = left + STRIP * 0.92 + 8.0;
    let beside = (from, left + STRIP + 12.0);
    end_labels(canvas, beside, (panel.top, panel.bottom), labels, space - 14.0);
    let text = format!("right: {} left when all is freed", chart.memory_axis.unit);
    canvas.text(RIGHT, panel.bottom + 42.0, &text, NOTE.sized(14.0), Anchor::Right);
}

/// One backend in the strip; `brackets` is the number of its range. Gives the y of its last point.
fn after_the_end_of(
    canvas: &mut Canvas,
    panel: &Panel,
    axis: &Axis,
    line: &FootprintLine,
    (stops, brackets): (&[f64; 3], f64),
) -> Option<f64> {
    let (backend, memory) = (&line.backend, &line.memory);
    let points: Vec<(f64, f64)> = stops
        .iter()
        .zip([memory.end_bytes, memory.trimmed_bytes, memory.freed_bytes])
        .filter_map(|(x, bytes)| Some((*x, panel.y(axis.in_unit(bytes?)))))
        .collect();
    canvas.line(&points, backend_stroke(backend.colour, backend.variant, 2.2));
    for (stop, range) in stops.iter().zip(&memory.ranges_bytes[2..]) {
        let Some((low, high)) = *range else { continue };
        // Beside its dot, so that several are distinct: at once below, never above.
        let x = stop - 4.0 - 4.0 * brackets;
        let [low, high] = [low, high].map(|bytes| panel.y(axis.in_unit(bytes).min(axis.end())));
        let stroke = Stroke::solid(2.0, backend.colour.pale(0.35));
        canvas.line(&[(x + 4.0, low), (x, low), (x, high), (x + 4.0, high)], stroke);
    }
    for &(x, y) in &points {
        if y <= panel.top {
            let corners = [(x, y - 6.0), (x - 6.0, y + 6.0), (x + 6.0, y + 6.0)];
            canvas.polygon(&corners, backend.colour);
        } else if backend.variant == 0 {
            canvas.disc(x, y, 5.0, backend.colour);
        } else {
            canvas.ring(x, y, 5.0, 2.0, backend.colour);
        }
    }
    points.last().map(|point| point.1)
}
