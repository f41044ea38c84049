//! Picture of service time by percentile: a panel for each operation.

use super::canvas::{Anchor, Canvas, Stroke, shorten, text_width, wrap};
use super::end_labels::{EndLabel, end_labels};
use super::frame::{HEADING, LEFT, NOTE, RIGHT, SMALL, STRONG, TINY, backend_stroke, frame};
use super::panel::Panel;
use crate::report::chart::{ClockFloor, LatencyPercentilesChart, PercentileCurve, PercentilePanel};
use crate::report::palette::{AXIS, GRID, SOFT};
use crate::units::{count, nanosecond_tick, nanoseconds, power_of_ten};

/// Draws the chart.
pub fn draw(chart: &LatencyPercentilesChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let first = LEFT + 42.0;
    let names = chart.panels.iter().flat_map(|panel| &panel.curves);
    let (gap, labels) = (26.0, label_space(names.map(|curve| curve.backend.name.as_str())));
    let panels = chart.panels.len() as f64;
    let width = ((RIGHT - first) - (gap + labels) * panels + gap) / panels;
    for (at, described) in chart.panels.iter().enumerate() {
        let left = first + (width + gap + labels) * at as f64;
        let panel = Panel {
            left,
            top: top + 50.0,
            right: left + width,
            bottom: bottom - 62.0,
            across: described.rarity_axis.scale,
            up: chart.time_axis.scale,
        };
        draw_panel(&mut canvas, chart, &panel, described, at == 0, labels - 16.0);
    }
    let across = &chart.panels[0].rarity_axis.label;
    let label = format!("x: {across}   y: {}", chart.time_axis.label);
    canvas.text(RIGHT, bottom - 14.0, &label, SMALL, Anchor::Right);
    canvas
}

/// Pixels for the widest label beside a panel of latencies.
pub(super) fn label_space<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    let widths = names.map(|name| text_width(name, STRONG));
    (widths.fold(0.0, f64::max) + 76.0).clamp(100.0, 190.0)
}

/// The grey band of times that are the clock's, and not the allocator's.
pub(super) fn clock_band(canvas: &mut Canvas, clock: Option<&ClockFloor>, panel: &Panel) {
    let Some(clock) = clock else { return };
    let top = panel.y(clock.floor_ns);
    canvas.rectangle(panel.left, top, panel.right, panel.bottom, GRID.pale(0.45));
}

/// The name of the operation and its calls, above a panel.
pub(super) fn panel_heading(canvas: &mut Canvas, panel: &Panel, operation: &str, calls: u64) {
    canvas.text(panel.left, panel.top - 18.0, operation, HEADING, Anchor::Left);
    let calls = format!("{} calls", count(calls));
    canvas.text(panel.right, panel.top - 18.0, &calls, NOTE, Anchor::Right);
}

fn draw_panel(
    canvas: &mut Canvas,
    chart: &LatencyPercentilesChart,
    panel: &Panel,
    described: &PercentilePanel,
    first: bool,
    space: f64,
) {
    panel_heading(canvas, panel, described.operation, described.calls);
    clock_band(canvas, chart.clock.as_ref(), panel);
    let ticks = panel.up.ticks(12);
    panel.rows(canvas, &ticks, if first { Some(&nanosecond_tick) } else { None });
    let across: Vec<f64> = (0..=panel.across.end().floor() as i32).map(f64::from).collect();
    panel.columns(canvas, &across);
    panel.axes(canvas);
    if first {
        clock_text(canvas, chart.clock.as_ref(), panel);
        raw_text(canvas, panel, described);
    }
    let wide = (panel.right - panel.left) / panel.across.end() > 62.0;
    panel.numbers(canvas, &across, &|decade| rarity(decade, wide));
    for curve in described.curves.iter().filter(|curve| curve.is_emphasised) {
        let colour = curve.backend.colour.pale(0.25);
        let stroke = Stroke { dash: Some((1.6, 2.6)), ..Stroke::solid(1.3, colour) };
        canvas.line(&pixels(panel, &curve.raw_points), stroke);
    }
    // The quiet ones first. The first backend is the reference: it is drawn last, on top.
    let mut order: Vec<&PercentileCurve> = described.curves.iter().rev().collect();
    order.sort_by_key(|curve| curve.is_emphasised);
    let mut labels = Vec::new();
    for curve in order {
        let Some(slowest) = curve.slowest_ns else { continue };
        draw_curve(canvas, panel, curve);
        let kind = if curve.is_emphasised {
            STRONG.in_colour(curve.backend.colour)
        } else {
            SMALL.sized(13.0)
        };
        let value = nanoseconds(slowest);
        let name = shorten(&curve.backend.name, kind, space - text_width(&value, kind) - 6.0);
        labels.push(EndLabel { y: panel.y(slowest), text: format!("{name} {value}"), kind });
    }
    labels.reverse();
    end_labels(
        canvas,
        (panel.right + 2.0, panel.right + 14.0),
        (panel.top, panel.bottom),
        labels,
        space,
    );
}

fn draw_curve(canvas: &mut Canvas, panel: &Panel, curve: &PercentileCurve) {
    let colour = if curve.is_emphasised { curve.backend.colour } else { AXIS };
    let variant = curve.backend.variant;
    let (sure, thin) = split(&curve.points, curve.fact_decades);
    let width = if curve.is_confirmed && curve.is_emphasised { 2.6 } else { 1.6 };
    canvas.line(&pixels(panel, &thin), backend_stroke(colour, variant, 1.1));
    canvas.line(&pixels(panel, &sure), backend_stroke(colour, variant, width));
}

/// Points of a curve.
type Points = Vec<(f64, f64)>;

/// The part of a step curve up to `at`, and the rest.
fn split(points: &[(f64, f64)], at: f64) -> (Points, Points) {
    let cut = points.partition_point(|point| point.0 <= at);
    let mut sure = points[..cut].to_vec();
    let mut thin = points[cut..].to_vec();
    if let (Some(last), Some(next)) = (sure.last().copied(), thin.first().copied()) {
        if last.1 == next.1 {
            sure.push((at, last.1));
            thin.insert(0, (at, last.1));
        } else {
            thin.insert(0, last);
        }
    }
    (sure, thin)
}

fn pixels(panel: &Panel, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().map(|&(x, y)| (panel.x(x), panel.y(y))).collect()
}

/// `all`, `p90`, `p99`, `p99.9`, then one in a power of ten.
fn rarity(decade: f64, wide: bool) -> String {
    match decade.round() as i32 {
        0 => "all".to_owned(),
        1 => "p90".to_owned(),
        2 => "p99".to_owned(),
        3 => "p99.9".to_owned(),
        4 if wide => format!("1 in {}", power_of_ten(4)),
        other => power_of_ten(other),
    }
}

/// What the grey band is; set after grid and axes, which would strike it through.
fn clock_text(canvas: &mut Canvas, clock: Option<&ClockFloor>, panel: &Panel) {
    let Some(clock) = clock else { return };
    let text = match clock.pair_ns {
        Some(pair) => format!("an empty clock pair: {}", nanoseconds(pair)),
        None => format!("the clock's step: {}", nanoseconds(clock.step_ns)),
    };
    let kind = TINY.in_colour(SOFT);
    let (right, y) = (panel.right - 6.0, panel.bottom - 7.0);
    let left = right - text_width(&text, kind) - 3.0;
    canvas.rectangle(left, y - 11.0, right + 3.0, y + 3.0, GRID.pale(0.45));
    canvas.text(right, y, &text, kind, Anchor::Right);
}

/// From which rarity on a raw replay shows the machine; in the upper left, where that is empty.
fn raw_text(canvas: &mut Canvas, panel: &Panel, described: &PercentilePanel) {
    let Some(decade) = described.machine_from_decade else { return };
    let rarity = power_of_ten(decade);
    let text = format!(
        "dotted, a raw replay: from 1 in {rarity} on it shows the machine, not the allocator"
    );
    let kind = SMALL.sized(13.5);
    let lines = wrap(&text, kind, (panel.right - panel.left) * 0.46);
    let (left, foot) = (panel.left + 12.0, panel.top + 20.0 + 17.0 * lines.len() as f64);
    // Curves rise to the right: at the end of the text none may be as high.
    let end = panel.across.end() * 0.5;
    let curves =
        described.curves.iter().flat_map(|curve| curve.points.iter().chain(&curve.raw_points));
    let tops = curves.filter(|point| point.0 <= end).map(|point| panel.y(point.1));
    if tops.fold(f64::MAX, f64::min) > foot + 6.0 {
        for (at, line) in lines.iter().enumerate() {
            canvas.text(left, panel.top + 22.0 + 17.0 * at as f64, line, kind, Anchor::Left);
        }
    }
}
