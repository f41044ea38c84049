//! Picture of page retention at the marks of the program: bars in a panel for each backend.

use super::canvas::{Anchor, Canvas, Stroke, Type, shorten, text_width};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, fits, frame, legend};
use super::panel::Panel;
use crate::report::chart::{
    PageRetentionAtMarksChart, RetentionMoment, RetentionPanel, RetentionPart, Scale, tick_text,
};
use crate::report::palette::{AXIS, INK, WHITE};
use crate::units::{bytes, figure};

/// Pixels from the top of a panel to the gaps of a bar that leaves it: below the bar's number.
const CUT_PIXELS: f64 = 26.0;

/// Draws the chart.
pub fn draw(chart: &PageRetentionAtMarksChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let names = part_names(&chart.parts);
    let entries = chart.parts.iter().zip(&names).map(|(part, name)| (part.colour, name.as_str()));
    let below = legend(&mut canvas, LEFT, top + 14.0, entries);
    let panels = chart.panels.len() as f64;
    let (gap, first) = (26.0, LEFT + 50.0);
    let width = (RIGHT - first - gap * (panels - 1.0)) / panels;
    for (at, described) in chart.panels.iter().enumerate() {
        let left = first + (width + gap) * at as f64;
        let panel = Panel {
            left,
            top: below + 40.0,
            right: left + width,
            bottom: bottom - 96.0,
            across: Scale::Linear { from: 0.0, to: chart.moments.len() as f64 },
            up: chart.free_space_axis.scale,
        };
        let name = shorten(&described.backend.name, HEADING, width);
        let used = canvas.text(left, panel.top - 14.0, &name, HEADING, Anchor::Left);
        let highest = described.highest();
        if chart.free_space_axis.in_unit(highest) > chart.free_space_axis.end() {
            let text = format!("▲ runs off to {}", bytes(highest));
            let text = shorten(&text, SMALL, width - used - 12.0);
            canvas.text(left + used + 12.0, panel.top - 14.0, &text, SMALL, Anchor::Left);
        }
        bars(&mut canvas, &panel, chart, described, at == 0);
    }
    let middle = (below + 40.0 + bottom - 96.0) / 2.0;
    canvas.text_upwards(LEFT - 12.0, middle, &chart.free_space_axis.label, SMALL.sized(15.0));
    canvas
}

/// The names of the parts in the legend: in full where there is space for all.
fn part_names(parts: &[RetentionPart]) -> Vec<String> {
    let kind = SMALL.sized(14.5);
    let whole: f64 = parts.iter().map(|part| text_width(&part.name, kind) + 66.0).sum();
    let space =
        if whole < RIGHT - LEFT { f64::MAX } else { (RIGHT - LEFT) / parts.len() as f64 - 70.0 };
    parts.iter().map(|part| shorten(&part.name, kind, space)).collect()
}

fn bars(
    canvas: &mut Canvas,
    panel: &Panel,
    chart: &PageRetentionAtMarksChart,
    described: &RetentionPanel,
    numbered: bool,
) {
    let axis = &chart.free_space_axis;
    let ticks = panel.up.ticks(6);
    let numbers = |tick: f64| tick_text(tick, &ticks);
    panel.rows(canvas, &ticks, if numbered { Some(&numbers) } else { None });
    let step = panel.x(1.0) - panel.x(0.0);
    for (at, stack) in described.free_space_bytes.iter().enumerate() {
        let (from, to) = (panel.x(at as f64) + step * 0.14, panel.x(at as f64 + 1.0) - step * 0.14);
        let mut below = 0.0;
        for (part, bytes) in chart.parts.iter().zip(stack) {
            let low = panel.y(axis.in_unit(below));
            let high = panel.y(axis.in_unit(below + bytes));
            canvas.rectangle(from, high, to, low, part.colour);
            below += bytes;
        }
        let off = axis.in_unit(below) > axis.end();
        if off {
            cut(canvas, panel, (from, to));
        }
        let text = if off { format!("▲ {}", bytes(below)) } else { figure(axis.in_unit(below)) };
        let kind = if step > 60.0 { STRONG } else { TINY.in_colour(INK) };
        if fits(&text, kind, step) {
            let y = if off { panel.top + 14.0 } else { panel.y(axis.in_unit(below)) - 5.0 };
            canvas.text((from + to) / 2.0, y, &text, kind, Anchor::Middle);
        }
    }
    // From the last on, so that a line to a lower row never crosses a name that is drawn already.
    for (at, moment) in chart.moments.iter().enumerate().rev() {
        name_bar(canvas, panel, moment, panel.x(at as f64 + 0.5), (step, at));
    }
    panel.axes(canvas);
}

/// Two slanted gaps near the top of a bar that leaves the panel, as in a broken axis.
fn cut(canvas: &mut Canvas, panel: &Panel, (from, to): (f64, f64)) {
    for k in [0.0, 9.0] {
        let y = panel.top + CUT_PIXELS + k;
        canvas.line(&[(from - 2.0, y + 3.0), (to + 2.0, y - 3.0)], Stroke::solid(3.0, WHITE));
    }
}

/// A bar's name. Where bars are narrow, adjacent names are one below the other, each with a line to
/// its bar.
fn name_bar(
    canvas: &mut Canvas,
    panel: &Panel,
    moment: &RetentionMoment,
    x: f64,
    (step, at): (f64, usize),
) {
    const ROWS: usize = 4;
    let kind = Type { bold: !moment.is_mark, ..TINY.in_colour(INK) };
    let staggered = step < 84.0;
    let row = if staggered { at % ROWS } else { 0 };
    let space = if staggered { step * ROWS as f64 - 8.0 } else { step - 6.0 };
    let text = shorten(&moment.name, kind, space.max(10.0));
    let width = text_width(&text, kind);
    let y = panel.bottom + 19.0 + 17.0 * row as f64;
    let left = (x - width / 2.0).min(panel.right - width).max(panel.left - 4.0);
    canvas.line(&[(x, panel.bottom), (x, y - 11.0)], Stroke::solid(1.0, AXIS));
    // The lines to lower names end behind this one.
    canvas.rectangle(left - 2.0, y - 11.0, left + width + 2.0, y + 3.0, WHITE);
    canvas.text(left, y, &text, kind, Anchor::Left);
}
