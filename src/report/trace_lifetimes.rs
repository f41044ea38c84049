//! Room `report`, picture of a trace: how long blocks live, and where size and age put the weight.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Colour, Stroke, text_width};
use super::chart::{
    AXIS, GRID, HEADING, INK, LEFT, LIVE, Picture, RIGHT, SMALL, STRONG, TINY, frame,
};
use super::trace_shape::{AgeBar, AgeCurve, TraceShape, survival};
use super::words::{self, bytes, figure, percent};

/// Colours of the curves: all, then by size from the smallest. They name sizes here, no backends.
const CURVES: [Colour; 5] = [
    INK,
    Colour(0x00, 0x72, 0xB2),
    Colour(0x00, 0x9E, 0x73),
    Colour(0xD5, 0x5E, 0x00),
    Colour(0xCC, 0x79, 0xA7),
];

/// Draws it; `None` for a trace without blocks.
pub fn draw(shape: &TraceShape) -> Option<Picture> {
    let all = shape.ages.first().filter(|curve| total(&curve.bars) > 0)?;
    let mut canvas = Canvas::new();
    let title = verdict(all);
    let survivors: u64 = all.bars.iter().map(|bar| bar.survived).sum();
    let plotted = format!(
        "Ages of the {} blocks of `{}` in bytes that the program allocated meanwhile.  {} blocks outlive the trace: they \
         count up to the age that they reached (ticks).",
        words::count(total(&all.bars)),
        shape.name,
        words::count(survivors)
    );
    let hint = "A curve that falls at the left: blocks that die young.  A shelf: blocks that stay for a burst, a request or \
                for good.  Below, the darker a field, the more bytes × age it holds: fields right of the fall are what an \
                allocator must keep while it serves all the rest.";
    let (top, bottom) = frame(&mut canvas, &title, &plotted, hint);
    let most =
        shape.ages.iter().flat_map(|curve| &curve.bars).map(|bar| bar.from).max().unwrap_or(1);
    let across = Scale::log(16.0, (most as f64 * 2.0).max(4096.0));
    let middle = top + (bottom - top) * 0.58;
    let panel = Panel {
        left: LEFT + 72.0,
        top: top + 42.0,
        right: RIGHT - 40.0,
        bottom: middle - 20.0,
        across,
        up: Scale::Linear { from: 0.0, to: 100.0 },
    };
    curves(&mut canvas, &panel, shape);
    batch(&mut canvas, &Panel { top: middle + 32.0, bottom: bottom - 48.0, ..panel }, shape);
    let words = "x: age, bytes allocated since the block's own request";
    canvas.text(panel.right, bottom - 6.0, words, SMALL, Anchor::Right);
    Some(Picture { title, canvas })
}

fn total(bars: &[AgeBar]) -> u64 {
    bars.iter().map(|bar| bar.ended + bar.survived).sum()
}

fn curves(canvas: &mut Canvas, panel: &Panel, shape: &TraceShape) {
    canvas.text(panel.left, panel.top - 16.0, "still live", HEADING, Anchor::Left);
    let aside = "% of blocks, by size of the block";
    canvas.text(panel.left + 92.0, panel.top - 16.0, aside, SMALL, Anchor::Left);
    let ticks = panel.up.ticks(5);
    panel.rows(canvas, &ticks, Some(&|tick| tick_words(tick, &ticks)));
    panel.columns(canvas, &octaves(panel));
    panel.axes(canvas);
    let mut x = panel.left + 360.0;
    // The curves meet at both ends: names in a row above say which is which.
    for (at, curve) in shape.ages.iter().enumerate() {
        let kind = STRONG.in_colour(CURVES[at % CURVES.len()]);
        let stroke = Stroke::solid(if at == 0 { 2.8 } else { 1.8 }, kind.colour);
        canvas.line(&[(x, panel.top - 21.0), (x + 26.0, panel.top - 21.0)], stroke);
        x +=
            32.0 + canvas.text(x + 32.0, panel.top - 16.0, &curve.label, kind, Anchor::Left) + 28.0;
    }
    for (at, curve) in shape.ages.iter().enumerate().rev() {
        let colour = CURVES[at % CURVES.len()];
        let (steps, censored) = survival(&curve.bars);
        let points: Vec<(f64, f64)> = std::iter::once((panel.left, panel.y(100.0)))
            .chain(steps.iter().map(|&(age, share)| (panel.x(age), panel.y(share * 100.0))))
            .collect();
        let stroke = if at == 0 { Stroke::solid(2.8, colour) } else { Stroke::solid(1.8, colour) };
        canvas.line(&points, stroke);
        for age in censored {
            // The share at that age is the last step's that is not later.
            let share = steps.iter().rev().find(|step| step.0 <= age).map_or(1.0, |step| step.1);
            let (x, y) = (panel.x(age), panel.y(share * 100.0));
            canvas.line(&[(x, y - 4.0), (x, y)], Stroke::solid(1.0, colour.pale(0.35)));
        }
    }
}

/// Ticks at powers of 16: they are whole in bytes, KiB, MiB and GiB.
fn octaves(panel: &Panel) -> Vec<f64> {
    let Scale::Log { from, to } = panel.across else { return vec![] };
    (1..16).map(|k| 16_f64.powi(k)).filter(|age| *age >= from * 0.99 && *age <= to).collect()
}

fn batch(canvas: &mut Canvas, panel: &Panel, shape: &TraceShape) {
    canvas.text(panel.left, panel.top - 14.0, "where the weight is", HEADING, Anchor::Left);
    let aside = "bytes × age, % of the whole: size of the block upwards, its age across";
    canvas.text(panel.left + 190.0, panel.top - 14.0, aside, SMALL, Anchor::Left);
    let sum: f64 = shape.weights.iter().flatten().sum();
    let most = shape.weights.iter().flatten().copied().fold(0.0, f64::max);
    let rows = shape.weights.len().max(4);
    let high = (panel.bottom - panel.top) / rows as f64;
    for (size, row) in shape.weights.iter().enumerate() {
        let y = panel.bottom - high * (size as f64 + 1.0);
        for (age, weight) in row.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            let (from, to) = (panel.x(2_f64.powi(age as i32)), panel.x(2_f64.powi(age as i32 + 1)));
            // The square root lets the small be seen beside the large.
            let depth = (weight / most).sqrt();
            canvas.rectangle(
                from,
                y,
                to - 0.7,
                y + high - 0.7,
                LIVE.pale(1.0 - (0.06 + 0.94 * depth)),
            );
            let share = weight / sum * 100.0;
            let text = figure(share);
            if share >= 3.0 && high > 13.0 && text_width(&text, TINY) + 4.0 < to - from {
                let ink = if depth > 0.55 { super::chart::WHITE } else { INK };
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
        canvas.text(
            panel.left - 9.0,
            y + 5.0,
            &round(2_f64.powi(size as i32)),
            SMALL,
            Anchor::Right,
        );
    }
    panel.numbers(canvas, &octaves(panel), &round);
}

/// A whole power of two without a point.
fn round(value: f64) -> String {
    bytes(value).replacen(".0\u{a0}", "\u{a0}", 1)
}

fn verdict(all: &AgeCurve) -> String {
    let (steps, _) = survival(&all.bars);
    let count = total(&all.bars) as f64;
    let half = steps.iter().find(|step| step.1 <= 0.5).map(|step| step.0);
    let young: u64 = all.bars.iter().filter(|bar| bar.from < 1024).map(|bar| bar.ended).sum();
    let kept: u64 = all.bars.iter().map(|bar| bar.survived).sum();
    let mut title = match half {
        Some(age) if age < 1024.0 => {
            "Half of the blocks end before the program has asked for another KiB".to_owned()
        }
        Some(age) => format!("Half of the blocks end before another {} is allocated", bytes(age)),
        None => "More than half of the blocks outlive what the trace can tell".to_owned(),
    };
    title += &format!(
        " ({} within 1 KiB); {} are still live at the end.",
        percent(young as f64 / count),
        percent(kept as f64 / count)
    );
    title
}
