//! Picture of how long blocks live: survival curves, and a map of weights by size and age.

use super::canvas::{Anchor, Canvas, Stroke, text_width};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, frame};
use super::panel::Panel;
use crate::report::chart::{Scale, TraceLifetimesChart, tick_text};
use crate::report::palette::{AXIS, GRID, INK, LIVE, WHITE};
use crate::units::{bytes, figure};

/// Draws the chart.
pub fn draw(chart: &TraceLifetimesChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let middle = top + (bottom - top) * 0.58;
    let panel = Panel {
        left: LEFT + 72.0,
        top: top + 42.0,
        right: RIGHT - 40.0,
        bottom: middle - 20.0,
        across: chart.age_axis.scale,
        up: chart.live_axis.scale,
    };
    curves(&mut canvas, &panel, chart);
    weights(&mut canvas, &Panel { top: middle + 32.0, bottom: bottom - 48.0, ..panel }, chart);
    let label = format!("x: {}", chart.age_axis.label);
    canvas.text(panel.right, bottom - 6.0, &label, SMALL, Anchor::Right);
    canvas
}

fn curves(canvas: &mut Canvas, panel: &Panel, chart: &TraceLifetimesChart) {
    canvas.text(panel.left, panel.top - 16.0, "still live", HEADING, Anchor::Left);
    let aside = &chart.live_axis.label;
    canvas.text(panel.left + 92.0, panel.top - 16.0, aside, SMALL, Anchor::Left);
    let ticks = panel.up.ticks(5);
    panel.rows(canvas, &ticks, Some(&|tick| tick_text(tick, &ticks)));
    panel.columns(canvas, &powers_of_16(panel));
    panel.axes(canvas);
    let width = |at: usize| if at == 0 { 2.8 } else { 1.8 };
    let mut x = panel.left + 360.0;
    // The curves meet at both ends: names in a row above say which is which.
    for (at, curve) in chart.curves.iter().enumerate() {
        let kind = STRONG.in_colour(curve.colour);
        let y = panel.top - 21.0;
        canvas.line(&[(x, y), (x + 26.0, y)], Stroke::solid(width(at), curve.colour));
        x +=
            32.0 + canvas.text(x + 32.0, panel.top - 16.0, &curve.label, kind, Anchor::Left) + 28.0;
    }
    for (at, curve) in chart.curves.iter().enumerate().rev() {
        let place = |&(age, share): &(f64, f64)| (panel.x(age), panel.y(share * 100.0));
        let start = (panel.left, panel.y(100.0));
        let points: Vec<(f64, f64)> =
            std::iter::once(start).chain(curve.steps.iter().map(place)).collect();
        canvas.line(&points, Stroke::solid(width(at), curve.colour));
        for (x, y) in curve.censored.iter().map(place) {
            canvas.line(&[(x, y - 4.0), (x, y)], Stroke::solid(1.0, curve.colour.pale(0.35)));
        }
    }
}

/// Ticks at powers of 16: they are whole in bytes, KiB, MiB and GiB.
fn powers_of_16(panel: &Panel) -> Vec<f64> {
    let Scale::Log { from, to } = panel.across else { return vec![] };
    (1..16).map(|k| 16_f64.powi(k)).filter(|age| *age >= from * 0.99 && *age <= to).collect()
}

fn weights(canvas: &mut Canvas, panel: &Panel, chart: &TraceLifetimesChart) {
    canvas.text(panel.left, panel.top - 14.0, "where the weight is", HEADING, Anchor::Left);
    let aside = "bytes × age, % of the whole: size of the block upwards, its age across";
    canvas.text(panel.left + 190.0, panel.top - 14.0, aside, SMALL, Anchor::Left);
    let sum: f64 = chart.weights.iter().flatten().sum();
    let most = chart.weights.iter().flatten().copied().fold(0.0, f64::max);
    let rows = chart.weights.len().max(4);
    let high = (panel.bottom - panel.top) / rows as f64;
    for (size, row) in chart.weights.iter().enumerate() {
        let y = panel.bottom - high * (size as f64 + 1.0);
        for (age, weight) in row.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            let (from, to) = (panel.x(2_f64.powi(age as i32)), panel.x(2_f64.powi(age as i32 + 1)));
            // The square root lets the small be seen beside the large.
            let depth = (weight / most).sqrt();
            let colour = LIVE.pale(1.0 - (0.06 + 0.94 * depth));
            canvas.rectangle(from, y, to - 0.7, y + high - 0.7, colour);
            let share = weight / sum * 100.0;
            let text = figure(share);
            if share >= 3.0 && high > 13.0 && text_width(&text, TINY) + 4.0 < to - from {
                let ink = if depth > 0.55 { WHITE } else { INK };
                let base = y + high / 2.0 + 4.0;
                canvas.text((from + to) / 2.0, base, &text, TINY.in_colour(ink), Anchor::Middle);
            }
        }
    }
    canvas
        .line(&[(panel.left, panel.bottom), (panel.right, panel.bottom)], Stroke::solid(1.2, AXIS));
    canvas.line(&[(panel.left, panel.top), (panel.left, panel.bottom)], Stroke::solid(1.0, GRID));
    let every = (16.0 / high).ceil().max(1.0) as usize * 2;
    for size in (0..=rows).step_by(every.max(2)) {
        let y = panel.bottom - high * size as f64;
        canvas.line(&[(panel.left - 5.0, y), (panel.left, y)], Stroke::solid(1.0, AXIS));
        let text = whole(2_f64.powi(size as i32));
        canvas.text(panel.left - 9.0, y + 5.0, &text, SMALL, Anchor::Right);
    }
    panel.numbers(canvas, &powers_of_16(panel), &whole);
}

/// A power of two as bytes, without a point.
fn whole(value: f64) -> String {
    bytes(value).replacen(".0\u{a0}", "\u{a0}", 1)
}
