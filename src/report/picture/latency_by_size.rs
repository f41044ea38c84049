//! Picture of service times by size class: a panel for each operation.

use super::canvas::{Anchor, Canvas, Stroke, shorten, text_width};
use super::end_labels::{EndLabel, end_labels};
use super::frame::{LEFT, RIGHT, SMALL, STRONG, TINY, backend_stroke, frame};
use super::latency_percentiles::{clock_band, label_space, panel_heading};
use super::panel::Panel;
use crate::report::chart::{ClassLine, ClassPanel, LatencyBySizeChart, size_place};
use crate::report::palette::{AXIS, RETAINED, WHITE};
use crate::units::nanosecond_tick;

/// Draws the chart.
pub fn draw(chart: &LatencyBySizeChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let names = chart.panels.iter().flat_map(|panel| &panel.lines);
    let space = label_space(names.map(|line| line.backend.name.as_str()));
    let (first, labels) = (LEFT + 42.0, space - 40.0);
    let panels = chart.panels.len() as f64;
    let gap = 26.0;
    let width = ((RIGHT - first) - (gap + labels) * panels + gap) / panels;
    for (at, described) in chart.panels.iter().enumerate() {
        let left = first + (width + gap + labels) * at as f64;
        let panel = Panel {
            left,
            top: top + 50.0,
            right: left + width,
            bottom: bottom - 116.0,
            across: described.size_axis.scale,
            up: chart.time_axis.scale,
        };
        draw_panel(&mut canvas, chart, &panel, described, (at == 0, space - 56.0));
        bars(&mut canvas, &panel, &described.classes);
    }
    let across = &chart.panels[0].size_axis.label;
    let label = format!("x: {across}   y: {}", chart.time_axis.label);
    canvas.text(RIGHT, bottom - 6.0, &label, SMALL, Anchor::Right);
    canvas
}

fn draw_panel(
    canvas: &mut Canvas,
    chart: &LatencyBySizeChart,
    panel: &Panel,
    described: &ClassPanel,
    (first, space): (bool, f64),
) {
    panel_heading(canvas, panel, described.operation, described.calls);
    clock_band(canvas, chart.clock.as_ref(), panel);
    let ticks = panel.up.ticks(12);
    panel.rows(canvas, &ticks, if first { Some(&nanosecond_tick) } else { None });
    panel.axes(canvas);
    let mut order: Vec<&ClassLine> = described.lines.iter().rev().collect();
    order.sort_by_key(|line| line.is_emphasised);
    let mut labels = Vec::new();
    for line in order {
        let Some(y) = draw_line(canvas, panel, line) else { continue };
        let kind = if line.is_emphasised {
            STRONG.in_colour(line.backend.colour)
        } else {
            SMALL.sized(13.0)
        };
        labels.push(EndLabel { y, text: shorten(&line.backend.name, kind, space), kind });
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

/// Draws the line of a backend; gives the y of its end, where it has one.
fn draw_line(canvas: &mut Canvas, panel: &Panel, line: &ClassLine) -> Option<f64> {
    let colour = if line.is_emphasised { line.backend.colour } else { AXIS };
    let x = |up_to: u64| panel.x(size_place(up_to));
    if line.is_emphasised {
        for point in &line.points {
            let Some(slowest) = point.slowest_ns else { continue };
            let (x, y) = (x(point.up_to_bytes), panel.y(slowest));
            let corners = [(x, y - 3.6), (x - 3.6, y + 2.8), (x + 3.6, y + 2.8)];
            canvas.polygon(&corners, colour.pale(0.4));
        }
    }
    let points: Vec<(f64, f64)> = line
        .points
        .iter()
        .filter_map(|point| Some((x(point.up_to_bytes), panel.y(point.percentile_ns?))))
        .collect();
    let width = if line.is_emphasised { 2.4 } else { 1.2 };
    canvas.line(&points, backend_stroke(colour, line.backend.variant, width));
    for &(x, y) in points.iter().filter(|_| line.is_emphasised) {
        canvas.disc(x, y, 4.2, WHITE);
        canvas.disc(x, y, 3.2, colour);
    }
    let slowest = || Some(panel.y(line.points.last()?.slowest_ns?));
    points.last().map(|point| point.1).or_else(slowest)
}

/// The calls of each class, below the panel, and the names of the classes.
fn bars(canvas: &mut Canvas, panel: &Panel, classes: &[(u64, u64)]) {
    let most = classes.iter().map(|class| class.1).max().unwrap_or(0).max(1) as f64;
    let (foot, high) = (panel.bottom + 48.0, 36.0);
    let half = (panel.x(5.0) - panel.x(4.0)).abs() / 2.0 - 1.5;
    let mut free_from = f64::NEG_INFINITY;
    for &(class, calls) in classes {
        let x = panel.x((class as f64).log2());
        if calls > 0 {
            let share = ((calls as f64).ln_1p() / most.ln_1p()).max(0.04);
            canvas.rectangle(x - half, foot - high * share, x + half, foot, RETAINED);
        }
        let name = class_text(class);
        let width = text_width(&name, TINY);
        if x - width / 2.0 > free_from {
            canvas.text(x, foot + 16.0, &name, TINY, Anchor::Middle);
            free_from = x + width / 2.0 + 5.0;
        }
    }
    canvas.line(&[(panel.left, foot), (panel.right, foot)], Stroke::solid(1.0, AXIS));
}

/// `16`, `4K`, `1M`: short enough for an axis.
fn class_text(class: u64) -> String {
    match class {
        0..1024 => class.to_string(),
        1024..1_048_576 => format!("{}K", class >> 10),
        1_048_576..1_073_741_824 => format!("{}M", class >> 20),
        _ => format!("{}G", class >> 30),
    }
}
