//! Picture of live bytes and blocks over the program's life.

use super::canvas::{Anchor, Canvas, Stroke, Type, text_width};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, frame};
use super::panel::Panel;
use super::phases;
use crate::report::chart::{Axis, TraceClock, TraceLiveChart, tick_text};
use crate::report::figures::{LiveSegment, ProgramPhase};
use crate::report::palette::{INK, LIVE, WHITE};
use crate::units::figure3;

/// Draws the chart.
pub fn draw(chart: &TraceLiveChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let middle = top + (bottom - top) * 0.66;
    let upper = Panel {
        left: LEFT + 40.0,
        top: top + 44.0,
        right: RIGHT - 6.0,
        bottom: middle - 12.0,
        across: chart.clock_axis.scale,
        up: chart.bytes_axis.scale,
    };
    let up = chart.blocks_axis.scale;
    let lower = Panel { top: middle + 44.0, bottom: bottom - 50.0, up, ..upper };
    area(&mut canvas, &upper, chart, (&chart.bytes_axis, false), &|segment| segment.bytes);
    area(&mut canvas, &lower, chart, (&chart.blocks_axis, true), &|segment| segment.blocks);
    let place = |phase: &ProgramPhase| chart.clock_axis.in_unit(chart.clock.of_phase(phase));
    phases::draw(&mut canvas, &upper, &chart.phases, place, true);
    phases::draw(&mut canvas, &lower, &chart.phases, place, false);
    marks(&mut canvas, &upper, chart);
    let label = format!("x: {}", chart.clock_axis.label);
    canvas.text(upper.right, bottom - 6.0, &label, SMALL, Anchor::Right);
    canvas
}

fn area(
    canvas: &mut Canvas,
    panel: &Panel,
    chart: &TraceLiveChart,
    (axis, numbered): (&Axis, bool),
    of: &dyn Fn(&LiveSegment) -> (u64, u64),
) {
    canvas.text(panel.left, panel.top - 16.0, &axis.label, HEADING, Anchor::Left);
    let ticks = panel.up.ticks(6);
    panel.rows(canvas, &ticks, Some(&|tick| tick_text(tick, &ticks)));
    let place = |segment: &LiveSegment| match chart.clock {
        TraceClock::Bytes => segment.clock as f64,
        TraceClock::Calls => segment.event as f64,
    };
    let end = chart.segments.last().map_or(1.0, place).max(1.0);
    let x = |position: f64| panel.left + position / end * (panel.right - panel.left);
    // Pale first, dark over it. Each segment is at least a third of a pixel wide, so that none
    // vanishes.
    for dark in [false, true] {
        let mut from = 0.0;
        for segment in &chart.segments {
            let (least, most) = of(segment);
            let (left, right) = (x(from), x(place(segment)));
            let (value, colour) = if dark { (least, LIVE) } else { (most, LIVE.pale(0.55)) };
            let top = panel.y(axis.in_unit(value as f64));
            let right = right.max(left + 0.34).min(panel.right);
            canvas.rectangle((right - 0.34).min(left), top, right, panel.bottom, colour);
            from = place(segment);
        }
    }
    panel.axes(canvas);
    if numbered {
        let across = panel.across.ticks(10);
        panel.numbers(canvas, &across, &|tick| tick_text(tick, &across));
    }
}

/// The peak and the end, in numbers.
fn marks(canvas: &mut Canvas, panel: &Panel, chart: &TraceLiveChart) {
    let (position, peak) = (chart.peak.0 as f64, chart.bytes_axis.in_unit(chart.peak.1 as f64));
    let (x, y) = (panel.x(chart.clock_axis.in_unit(position)), panel.y(peak));
    canvas.ring(x, y, 5.5, 2.2, INK);
    let text = format!("peak {}", figure3(peak));
    let wide = text_width(&text, STRONG);
    let left = if x + 12.0 + wide < panel.right { x + 12.0 } else { x - 12.0 - wide };
    canvas.text(left, y + 5.0, &text, STRONG, Anchor::Left);
    let end = chart.bytes_axis.in_unit(chart.live_end_bytes as f64);
    let y = panel.y(end);
    let kind = Type { colour: INK, ..STRONG };
    let text = format!("{} {}", chart.end_name, figure3(end));
    let (wide, high) = (text_width(&text, kind), y - 12.0);
    let x = panel.x(chart.clock_axis.in_unit(chart.end as f64)).max(panel.left + wide + 20.0);
    canvas.ring(x - 2.0, y, 5.5, 2.2, INK);
    canvas.rectangle(x - wide - 20.0, high - 14.0, x - 10.0, high + 5.0, WHITE);
    canvas.text(x - 14.0, high, &text, kind, Anchor::Right);
    canvas.line(&[(panel.left, y), (panel.right, y)], Stroke::dashed(1.2, INK.pale(0.3), 5.0, 4.0));
}
