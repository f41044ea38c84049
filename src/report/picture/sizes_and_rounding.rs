//! Picture of the sizes of the heap, and what each allocator loses on them by rounding up.

use super::canvas::{Anchor, Canvas, Stroke, WIDTH, shorten, text_width};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, frame};
use super::panel::Panel;
use super::size_numbers::{name_highest, size_numbers};
use crate::report::chart::{RoundingStrip, Scale, SizeClassStep, SizesAndRoundingChart, tick_text};
use crate::report::palette::{AXIS, INK, LIVE, ROUNDING, SOFT};
use crate::units::{SMALL_SIZE_CLASSES, bytes, figure3, percent};

/// Draws the chart.
pub fn draw(chart: &SizesAndRoundingChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let names = chart.strips.iter().map(|strip| text_width(&strip.backend.name, STRONG));
    let names = names.fold(92.0, f64::max).min(190.0);
    let (left, right) = (LEFT + names + 24.0, RIGHT - 200.0);
    let across = Scale::Linear { from: 0.0, to: chart.up_to_bytes.len() as f64 };
    let middle = top + (bottom - top) * if chart.strips.len() > 5 { 0.34 } else { 0.42 };
    let upper = Panel {
        left,
        top: top + 34.0,
        right,
        bottom: middle - 28.0,
        across,
        up: chart.size_axis.scale,
    };
    size_bars(&mut canvas, chart, &upper);
    let (first, last) = (middle + 34.0, bottom - 10.0);
    let step = (last - first) / chart.strips.len() as f64;
    let kind = HEADING.in_colour(ROUNDING.mix(INK, 0.35));
    let loss = &chart.loss_axis;
    canvas.text(left, first - 10.0, &loss.label, kind, Anchor::Left);
    let text = format!("a strip is {} {} deep", figure3(loss.end()), loss.unit);
    canvas.text(left + 166.0, first - 10.0, &text, SMALL, Anchor::Left);
    for (at, strip) in chart.strips.iter().enumerate() {
        let y = first + step * at as f64;
        let panel = Panel { left, top: y, right, bottom: y + step * 0.86, across, up: loss.scale };
        hanging(&mut canvas, chart, strip, &panel);
    }
    canvas
}

fn size_bars(canvas: &mut Canvas, chart: &SizesAndRoundingChart, panel: &Panel) {
    let bars = chart.bars_bytes();
    let total: f64 = bars.iter().sum();
    let of_all = chart.has_allocated();
    let live = bytes(chart.live_total());
    let (head, text) = if of_all {
        ("allocated", format!("{} in all (pale); live at the peak {live} (blue)", bytes(total)))
    } else {
        ("live", format!("{live} in all, by size of the request"))
    };
    canvas.text(panel.left, panel.top - 14.0, head, HEADING.in_colour(LIVE), Anchor::Left);
    let beside = panel.left + text_width(head, HEADING) + 12.0;
    canvas.text(beside, panel.top - 14.0, &text, SMALL, Anchor::Left);
    let ticks = panel.up.ticks(4);
    panel.rows(canvas, &ticks, Some(&|tick| tick_text(tick, &ticks)));
    let axis = &chart.size_axis;
    for (at, (all, live)) in bars.iter().zip(&chart.live_bytes).enumerate() {
        let (from, to) = (panel.x(at as f64) + 1.5, panel.x(at as f64 + 1.0) - 1.5);
        if of_all {
            let top = panel.y(axis.in_unit(*all));
            canvas.rectangle(from, top, to, panel.bottom, LIVE.pale(0.6));
        }
        canvas.rectangle(from, panel.y(axis.in_unit(*live)), to, panel.bottom, LIVE);
    }
    let heights: Vec<f64> = bars.iter().map(|bytes| axis.in_unit(*bytes)).collect();
    name_highest(canvas, panel, &heights, &|at| bars[at] > total * 0.03);
    let border = panel.x(SMALL_SIZE_CLASSES as f64);
    canvas
        .line(&[(border, panel.top), (border, panel.bottom)], Stroke::dashed(1.4, AXIS, 5.0, 4.0));
    panel.axes(canvas);
    // The axis' name is at the right.
    size_numbers(canvas, panel, &chart.up_to_bytes, RIGHT - 126.0);
    let middle = (panel.top + panel.bottom) / 2.0;
    canvas.text_upwards(panel.left - 62.0, middle, &axis.label, SMALL.sized(15.0));
    canvas.text(RIGHT - 6.0, panel.bottom + 21.0, "x: request, bytes", SMALL, Anchor::Right);
}

fn hanging(
    canvas: &mut Canvas,
    chart: &SizesAndRoundingChart,
    strip: &RoundingStrip,
    panel: &Panel,
) {
    loss_bars(canvas, chart, strip, panel);
    let stroke = Stroke::solid(1.2, AXIS);
    canvas.line(&[(panel.left, panel.top), (panel.right, panel.top)], stroke);
    canvas.line(&[(panel.left, panel.top), (panel.left, panel.bottom)], stroke);
    let deepest = teeth(canvas, &strip.size_classes, panel);
    let deep = panel.bottom - panel.top;
    let middle = panel.top + (deep / 2.0).min(30.0);
    let two = deep > 34.0;
    let first = middle + if two { -2.0 } else { 4.0 };
    let names = panel.left - LEFT - 8.0;
    let name = shorten(&strip.backend.name, STRONG, names);
    canvas.text(LEFT, first, &name, STRONG, Anchor::Left);
    if two && deepest > 0 {
        let text = shorten(&format!("a block: to {deepest} B"), TINY, names);
        canvas.text(LEFT, middle + 15.0, &text, TINY, Anchor::Left);
    }
    let lost = strip.total_bytes();
    let x = panel.right + 10.0;
    canvas.text(x, first, &bytes(lost), STRONG, Anchor::Left);
    if two {
        let mut text = format!("{} of live", percent(lost / chart.live_total()));
        if let Some((lost, requested)) = strip.of_all_bytes.filter(|sums| sums.1 > 0.0) {
            text += &format!(", {} of all", percent(lost / requested));
        }
        let text = shorten(&text, SMALL, f64::from(WIDTH) - 14.0 - x);
        canvas.text(x, middle + 15.0, &text, SMALL.in_colour(SOFT), Anchor::Left);
    }
}

/// The bytes lost in each class, downwards.
fn loss_bars(
    canvas: &mut Canvas,
    chart: &SizesAndRoundingChart,
    strip: &RoundingStrip,
    panel: &Panel,
) {
    let axis = &chart.loss_axis;
    let deep = panel.bottom - panel.top;
    for (at, lost) in strip.lost_bytes.iter().enumerate().filter(|(_, lost)| **lost > 0.0) {
        let (from, to) = (panel.x(at as f64) + 1.5, panel.x(at as f64 + 1.0) - 1.5);
        let lower = panel.top + deep * panel.up.share(axis.in_unit(*lost)).clamp(0.0, 1.0);
        canvas.rectangle(from, panel.top, to, lower, ROUNDING);
        if axis.in_unit(*lost) > axis.end() {
            // Cut short: its number is in it.
            let text = bytes(*lost);
            let half = text_width(&text, TINY) / 2.0;
            let x = ((from + to) / 2.0).clamp(panel.left + half, panel.right - half);
            canvas.text(x, panel.bottom - 4.0, &text, TINY.in_colour(INK), Anchor::Middle);
        }
    }
}

/// The size classes: what a block of each size loses, read downwards. Gives the most bytes that one
/// loses.
fn teeth(canvas: &mut Canvas, classes: &[SizeClassStep], panel: &Panel) -> u32 {
    let loss = |class: &SizeClassStep, size: u32| class.usable_bytes.saturating_sub(size);
    let deepest = classes.iter().map(|class| loss(class, class.from_bytes)).max().unwrap_or(0);
    if deepest == 0 {
        return 0;
    }
    let deep = (panel.bottom - panel.top) * 0.9;
    let point = |size: u32, lost: u32| {
        (panel.x(f64::from(size) / 16.0), panel.top + deep * f64::from(lost) / f64::from(deepest))
    };
    for class in classes {
        let from = class.from_bytes;
        let points = [
            point(from, 0),
            point(from, loss(class, from)),
            point(class.to_bytes, loss(class, class.to_bytes)),
        ];
        canvas.line(&points, Stroke::solid(0.9, INK.pale(0.45)));
    }
    deepest
}
