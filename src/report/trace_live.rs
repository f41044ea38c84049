//! Room `report`, picture of a trace: live bytes and blocks over the program's life.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Stroke, Type, text_width};
use super::chart::{HEADING, INK, LEFT, LIVE, Picture, RIGHT, SMALL, STRONG, frame};
use super::phases::{self, Phase};
use super::trace_shape::{LiveStretch, TraceShape};
use super::words::{self, byte_unit, bytes, figure3, percent};

/// Draws it; `None` for a trace without requests.
pub fn draw(shape: &TraceShape) -> Option<Picture> {
    let end = shape.live.last()?.clock as f64;
    if end <= 0.0 {
        return None;
    }
    let mut canvas = Canvas::new();
    let title = verdict(shape, end);
    let plotted = format!(
        "Live heap of `{}` over the bytes that it allocated ({} calls, {} in all).  No allocator can hold less than this.",
        shape.name,
        words::count(shape.calls),
        bytes(shape.requested as f64)
    );
    let hint = "Dark: the least in each stretch of the trace, pale on top of it: the most; where both are one, the heap moves \
                slowly.  A sawtooth is bursts that come and go; a rising floor under it is what they leave behind.";
    let (top, bottom) = frame(&mut canvas, &title, &plotted, hint);
    let unit = byte_unit(shape.live_peak as f64);
    let clock = byte_unit(end);
    let most = shape.live_peak as f64 / unit.bytes;
    let blocks = shape.live.iter().map(|s| s.blocks.1).max().unwrap_or(1).max(1) as f64;
    let (factor, name) =
        if blocks >= 1e4 { (1e3, "live blocks, thousands") } else { (1.0, "live blocks") };
    let middle = top + (bottom - top) * 0.66;
    let across = Scale::Linear { from: 0.0, to: end / clock.bytes };
    let left = LEFT + 40.0;
    let upper = Panel {
        left,
        top: top + 44.0,
        right: RIGHT - 6.0,
        bottom: middle - 12.0,
        across,
        up: Scale::Linear { from: 0.0, to: (most * 1.1).max(1e-9) },
    };
    let up = Scale::Linear { from: 0.0, to: blocks / factor * 1.12 };
    let lower = Panel { top: middle + 44.0, bottom: bottom - 50.0, up, ..upper };
    let heading = format!("live bytes, {}", unit.name);
    area(&mut canvas, &upper, shape, (&heading, false), &|s| {
        (s.bytes.0 as f64 / unit.bytes, s.bytes.1 as f64 / unit.bytes)
    });
    area(&mut canvas, &lower, shape, (name, true), &|s| {
        (s.blocks.0 as f64 / factor, s.blocks.1 as f64 / factor)
    });
    let phase = |(clock, name): &(u64, String)| Phase {
        event: 0.0,
        clock_bytes: *clock as f64,
        name: name.clone(),
    };
    let begun: Vec<Phase> = shape.marks.iter().take(phases::MOST).map(phase).collect();
    phases::draw(&mut canvas, &upper, &begun, |phase| phase.clock_bytes / clock.bytes, true);
    phases::draw(&mut canvas, &lower, &begun, |phase| phase.clock_bytes / clock.bytes, false);
    marks(&mut canvas, &upper, shape, unit.bytes, clock.bytes);
    let words = format!("x: allocation clock, {} allocated so far", clock.name);
    canvas.text(upper.right, bottom - 6.0, &words, SMALL, Anchor::Right);
    Some(Picture { title, canvas })
}

fn area(
    canvas: &mut Canvas,
    panel: &Panel,
    shape: &TraceShape,
    (name, numbers): (&str, bool),
    of: &dyn Fn(&LiveStretch) -> (f64, f64),
) {
    canvas.text(panel.left, panel.top - 16.0, name, HEADING, Anchor::Left);
    let ticks = panel.up.ticks(6);
    panel.rows(canvas, &ticks, Some(&|tick| tick_words(tick, &ticks)));
    let end = shape.live.last().map_or(1.0, |stretch| stretch.clock as f64).max(1.0);
    let x = |clock: f64| panel.left + clock / end * (panel.right - panel.left);
    // Pale first, dark over it; each stretch is at least a third of a pixel wide, so that none
    // vanishes.
    for dark in [false, true] {
        let mut from = 0.0;
        for stretch in &shape.live {
            let (least, most) = of(stretch);
            let (left, right) = (x(from), x(stretch.clock as f64));
            let (value, colour) = if dark { (least, LIVE) } else { (most, LIVE.pale(0.55)) };
            let right = right.max(left + 0.34).min(panel.right);
            canvas.rectangle((right - 0.34).min(left), panel.y(value), right, panel.bottom, colour);
            from = stretch.clock as f64;
        }
    }
    panel.axes(canvas);
    if numbers {
        let across = panel.across.ticks(10);
        panel.numbers(canvas, &across, &|tick| tick_words(tick, &across));
    }
}

/// The peak and the end, in numbers.
fn marks(canvas: &mut Canvas, panel: &Panel, shape: &TraceShape, unit: f64, clock_unit: f64) {
    let Some(peak) = shape.live.iter().max_by_key(|stretch| stretch.bytes.1) else { return };
    let (x, y) = (panel.x(peak.clock as f64 / clock_unit), panel.y(shape.live_peak as f64 / unit));
    canvas.ring(x, y, 5.5, 2.2, INK);
    let text = format!("peak {}", figure3(shape.live_peak as f64 / unit));
    let wide = text_width(&text, STRONG);
    let left = if x + 12.0 + wide < panel.right { x + 12.0 } else { x - 12.0 - wide };
    canvas.text(left, y + 5.0, &text, STRONG, Anchor::Left);
    let y = panel.y(shape.live_end as f64 / unit);
    let kind = Type { colour: INK, ..STRONG };
    let text = format!("at exit {}", figure3(shape.live_end as f64 / unit));
    let (wide, high) = (text_width(&text, kind), y - 12.0);
    canvas.ring(panel.right - 2.0, y, 5.5, 2.2, INK);
    canvas.rectangle(
        panel.right - wide - 20.0,
        high - 14.0,
        panel.right - 10.0,
        high + 5.0,
        super::chart::WHITE,
    );
    canvas.text(panel.right - 14.0, high, &text, kind, Anchor::Right);
    canvas.line(&[(panel.left, y), (panel.right, y)], Stroke::dashed(1.2, INK.pale(0.3), 5.0, 4.0));
}

fn verdict(shape: &TraceShape, end: f64) -> String {
    let peak = shape.live.iter().max_by_key(|stretch| stretch.bytes.1);
    let place = peak.map_or(0.0, |stretch| stretch.clock as f64 / end);
    let left = shape.live_end as f64 / shape.live_peak.max(1) as f64;
    let turns = shape.requested as f64 / shape.live_peak.max(1) as f64;
    format!(
        "The heap peaks at {}, when {} of the bytes are allocated, and {} ({}) are live at exit.  The program allocates \
         {} times its peak.",
        bytes(shape.live_peak as f64),
        percent(place),
        bytes(shape.live_end as f64),
        percent(left),
        words::times(turns)
    )
}
