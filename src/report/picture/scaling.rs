//! Picture of scaling: panels with a line for each backend over the number of threads.

use super::canvas::{Anchor, Canvas, Stroke, shorten, text_width};
use super::end_labels::{EndLabel, end_labels};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, backend_stroke, frame};
use super::panel::Panel;
use crate::report::chart::{ScalingChart, ScalingPanel, ScalingPanelLine, tick_text};
use crate::report::palette::{AXIS, WHITE};

/// Panels beside each other, where each has a trace of its own.
const COLUMNS: usize = 3;

/// Pixels between a panel's labels and the next panel, with the numbers of its axis.
const GAP: f64 = 70.0;

/// Draws the chart.
pub fn draw(chart: &ScalingChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    if chart.is_of_one_trace {
        let names = label_width(&chart.panels[..1], true).clamp(80.0, 300.0);
        let numbers = label_width(&chart.panels[1..], false).clamp(40.0, 130.0);
        let panels = chart.panels.len() as f64;
        let labels = names + numbers * (panels - 1.0);
        let first = LEFT + 44.0;
        let space = RIGHT - first - labels - GAP * (panels - 1.0) - 14.0 * panels;
        // The first panel is the one that the others explain.
        let share = space / (panels + 0.4);
        let mut left = first;
        for (at, described) in chart.panels.iter().enumerate() {
            let (width, labels) = if at == 0 { (share * 1.4, names) } else { (share, numbers) };
            let place = (left, top + 56.0, left + width, bottom - 60.0);
            draw_panel(&mut canvas, place, described, (at == 0, labels));
            left += width + 14.0 + labels + GAP;
        }
        return canvas;
    }
    let columns = chart.panels.len().min(COLUMNS);
    let rows = chart.panels.len().div_ceil(columns);
    let labels =
        label_width(&chart.panels, true).clamp(80.0, if columns < 3 { 270.0 } else { 150.0 });
    let first = LEFT + 44.0;
    let width = (RIGHT - first - GAP * (columns as f64 - 1.0)) / columns as f64 - labels - 14.0;
    let height = (bottom - top) / rows as f64;
    for (at, described) in chart.panels.iter().enumerate() {
        let left = first + (width + labels + 14.0 + GAP) * (at % columns) as f64;
        let upper = top + height * (at / columns) as f64;
        let place = (left, upper + 56.0, left + width, upper + height - 60.0);
        draw_panel(&mut canvas, place, described, (true, labels));
    }
    canvas
}

/// The text at the end of a line.
fn end_text(line: &ScalingPanelLine, has_names: bool) -> String {
    match has_names {
        true if line.end_text.is_empty() => line.backend.name.clone(),
        true => format!("{} {}", line.end_text, line.backend.name),
        false => line.end_text.clone(),
    }
}

/// The width that the texts at the ends of all lines take.
fn label_width(panels: &[ScalingPanel], has_names: bool) -> f64 {
    let lines = panels.iter().flat_map(|panel| &panel.lines);
    lines.map(|line| text_width(&end_text(line, has_names), STRONG)).fold(0.0, f64::max) + 4.0
}

fn draw_panel(
    canvas: &mut Canvas,
    (left, top, right, bottom): (f64, f64, f64, f64),
    described: &ScalingPanel,
    (has_names, label_space): (bool, f64),
) {
    let panel = Panel {
        left,
        top,
        right,
        bottom,
        across: described.step_axis.scale,
        up: described.value_axis.scale,
    };
    let heading = shorten(&described.heading, HEADING, right - left + label_space);
    canvas.text(left, top - 30.0, &heading, HEADING, Anchor::Left);
    canvas.text(left, top - 10.0, &described.aside, SMALL, Anchor::Left);
    let ticks = panel.up.ticks(if bottom - top > 300.0 { 8 } else { 4 });
    panel.rows(canvas, &ticks, Some(&|tick| tick_text(tick, &ticks)));
    let mut labels = Vec::new();
    let lines = described.lines.len();
    for (at, line) in described.lines.iter().enumerate() {
        // Bars of several backends stand beside each other.
        let step = ((right - left) / described.steps.len().max(1) as f64 * 0.5
            / lines.max(1) as f64)
            .min(11.0);
        let aside = (at as f64 - (lines as f64 - 1.0) / 2.0) * step;
        let Some(y) = draw_line(canvas, &panel, described, line, aside) else { continue };
        let kind = STRONG.in_colour(line.backend.colour);
        let text = shorten(&end_text(line, has_names), kind, label_space);
        labels.push(EndLabel { y, text, kind });
    }
    let (from, to) = (panel.right + 2.0, panel.right + 14.0);
    end_labels(canvas, (from, to), (panel.top, panel.bottom), labels, label_space);
    panel.axes(canvas);
    let mut free = f64::NEG_INFINITY;
    for (step, name) in described.steps.iter().enumerate() {
        let x = panel.x(step as f64);
        canvas.line(&[(x, panel.bottom), (x, panel.bottom + 5.0)], Stroke::solid(1.0, AXIS));
        let half = text_width(name, SMALL) / 2.0;
        if x - half > free {
            canvas.text(x, panel.bottom + 21.0, name, SMALL, Anchor::Middle);
            free = x + half + 6.0;
        }
    }
    let label = format!("x: {}", described.step_axis.label);
    canvas.text(panel.right, panel.bottom + 42.0, &label, TINY, Anchor::Right);
}

/// Draws the line of a backend; gives the y of its last point.
fn draw_line(
    canvas: &mut Canvas,
    panel: &Panel,
    described: &ScalingPanel,
    line: &ScalingPanelLine,
    aside: f64,
) -> Option<f64> {
    let colour = line.backend.colour;
    let x = |step: usize| panel.x(step as f64) + aside;
    let y = |value: f64| panel.y(described.value_axis.in_unit(value));
    if !line.backend.is_floor {
        let ideal: Vec<(f64, f64)> =
            line.ideal.iter().map(|&(step, value)| (x(step), y(value))).collect();
        canvas.line(&ideal, Stroke::dashed(1.3, colour.pale(0.35), 4.0, 4.0));
    }
    for point in &line.points {
        let (low, high) = (y(point.value.least), y(point.value.most));
        let x = x(point.step);
        canvas.rectangle(x - 3.5, high, x + 3.5, low.max(high + 1.0), colour.pale(0.62));
        if described.value_axis.in_unit(point.value.most) > described.value_axis.end() {
            let corners = [(x, high - 9.0), (x - 6.0, high), (x + 6.0, high)];
            canvas.polygon(&corners, colour.pale(0.3));
        }
    }
    let points: Vec<(f64, f64)> =
        line.points.iter().map(|point| (x(point.step), y(point.value.median))).collect();
    canvas.line(&points, backend_stroke(colour, line.backend.variant, 2.2));
    for (point, &(x, y)) in line.points.iter().zip(&points) {
        canvas.disc(x, y, 6.2, WHITE);
        if point.is_mostly_waiting {
            canvas.ring(x, y, 5.2, 2.0, colour);
        } else {
            canvas.disc(x, y, 5.2, colour);
        }
    }
    points.last().map(|point| point.1)
}
