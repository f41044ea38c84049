//! Room `report`, picture of a trace: what sizes the program asks for.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Colour, Stroke};
use super::chart::{AXIS, HEADING, LEFT, LIVE, Picture, RIGHT, SMALL, SOFT, STRONG, frame};
use super::trace_shape::{SizeBar, TraceShape};
use super::words::{self, byte_unit, bytes, figure, percent};

/// The largest size that CPython's own pools serve, where the classes change their width.
const SMALL_LIMIT: u64 = 512;

/// Draws it; `None` for a trace without requests.
pub fn draw(shape: &TraceShape) -> Option<Picture> {
    let requests: u64 = shape.sizes.iter().map(|bar| bar.requests).sum();
    let total: u64 = shape.sizes.iter().map(|bar| bar.bytes).sum();
    if requests == 0 {
        return None;
    }
    let mut canvas = Canvas::new();
    let title = verdict(shape, requests, total);
    let plotted = format!(
        "Requests of `{}` by size ({} malloc, calloc and realloc calls, {} in all).  16-byte classes up to 512 bytes, then \
         powers of two.",
        shape.name,
        words::count(requests),
        bytes(total as f64)
    );
    let hint = "Up: how often a size is asked for.  Down: how many bytes that is.  A bar that is high above and low below is \
                many small blocks, which cost an allocator time; the other way round it is few large ones, which cost \
                memory.  A small-block allocator such as pymalloc serves what lies left of the line.";
    let (top, bottom) = frame(&mut canvas, &title, &plotted, hint);
    let left = LEFT + 50.0;
    let count = shape.sizes.len().max(33) as f64;
    let middle = (top + bottom) / 2.0 + 6.0;
    let across = Scale::Linear { from: 0.0, to: count };
    let share = |bar: &SizeBar| bar.requests as f64 / requests as f64 * 100.0;
    let unit = byte_unit(shape.sizes.iter().map(|bar| bar.bytes).max().unwrap_or(0) as f64);
    let volume = |bar: &SizeBar| bar.bytes as f64 / unit.bytes;
    let most = |of: &dyn Fn(&SizeBar) -> f64| Scale::Linear {
        from: 0.0,
        to: (shape.sizes.iter().map(of).fold(0.0, f64::max) * 1.14).max(1e-9),
    };
    let panel = |top: f64, bottom: f64, up: Scale| Panel {
        left,
        top,
        right: RIGHT - 6.0,
        bottom,
        across,
        up,
    };
    let upper = panel(top + 46.0, middle - 30.0, most(&share));
    let lower = panel(middle + 46.0, bottom - 50.0, most(&volume));
    bars(&mut canvas, &upper, shape, &share, "requests, %", LIVE.pale(0.25), total);
    bars(
        &mut canvas,
        &lower,
        shape,
        &volume,
        &format!("bytes asked for, {}", unit.name),
        LIVE,
        total,
    );
    canvas.text(RIGHT - 6.0, bottom - 6.0, "x: request size, bytes", SMALL, Anchor::Right);
    Some(Picture { title, canvas })
}

fn bars(
    canvas: &mut Canvas,
    panel: &Panel,
    shape: &TraceShape,
    of: &dyn Fn(&SizeBar) -> f64,
    name: &str,
    colour: Colour,
    total: u64,
) {
    canvas.text(panel.left, panel.top - 16.0, name, HEADING, Anchor::Left);
    let ticks = panel.up.ticks(5);
    panel.rows(canvas, &ticks, Some(&|tick| tick_words(tick, &ticks)));
    for (at, bar) in shape.sizes.iter().enumerate() {
        let (from, to) = (panel.x(at as f64), panel.x(at as f64 + 1.0));
        canvas.rectangle(from + 1.5, panel.y(of(bar)), to - 1.5, panel.bottom, colour);
    }
    // The highest say how high; neighbours would stand on each other's numbers.
    let mut order: Vec<usize> = (0..shape.sizes.len()).collect();
    order.sort_by(|a, b| of(&shape.sizes[*b]).total_cmp(&of(&shape.sizes[*a])));
    let highest = order.first().map_or(0.0, |at| of(&shape.sizes[*at]));
    let mut named: Vec<usize> = Vec::new();
    for at in order {
        let tall = of(&shape.sizes[at]) > highest * 0.05;
        if named.len() < 6 && tall && named.iter().all(|other| other.abs_diff(at) > 1) {
            named.push(at);
            let value = of(&shape.sizes[at]);
            let x = panel.x(at as f64 + 0.5);
            canvas.text(x, panel.y(value) - 6.0, &figure(value), STRONG, Anchor::Middle);
        }
    }
    let border =
        shape.sizes.iter().position(|bar| bar.up_to > SMALL_LIMIT).unwrap_or(shape.sizes.len());
    let x = panel.x(border as f64);
    canvas.line(&[(x, panel.top - 8.0), (x, panel.bottom)], Stroke::dashed(1.4, AXIS, 5.0, 4.0));
    let small: u64 = shape
        .sizes
        .iter()
        .filter(|b| b.up_to <= SMALL_LIMIT)
        .map(|b| if name.starts_with('r') { b.requests } else { b.bytes })
        .sum();
    let all: u64 =
        if name.starts_with('r') { shape.sizes.iter().map(|b| b.requests).sum() } else { total };
    let part = small as f64 / all.max(1) as f64;
    let kind = SMALL.in_colour(SOFT);
    canvas.text(
        x - 8.0,
        panel.top - 16.0,
        &format!("{} up to 512 bytes", percent(part)),
        kind,
        Anchor::Right,
    );
    let words = format!("{} larger", percent(1.0 - part));
    canvas.text(x + 8.0, panel.top - 16.0, &words, kind, Anchor::Left);
    panel.axes(canvas);
    size_numbers(canvas, panel, shape);
}

/// The upper limit of a class, under its right edge, where there is room.
fn size_numbers(canvas: &mut Canvas, panel: &Panel, shape: &TraceShape) {
    let mut free = f64::NEG_INFINITY;
    for (at, bar) in shape.sizes.iter().enumerate() {
        let wanted = bar.up_to > SMALL_LIMIT || bar.up_to.is_multiple_of(64) || bar.up_to == 16;
        let x = panel.x(at as f64 + 1.0);
        if !wanted {
            continue;
        }
        let text = match bar.up_to {
            small if small <= SMALL_LIMIT => small.to_string(),
            large => bytes(large as f64)
                .replace("iB", "")
                .replace(".0", "")
                .replace('\u{a0}', "\u{202f}"),
        };
        let half = super::canvas::text_width(&text, SMALL) / 2.0;
        if x - half > free && x + half < RIGHT + 10.0 {
            canvas.line(&[(x, panel.bottom), (x, panel.bottom + 5.0)], Stroke::solid(1.0, AXIS));
            canvas.text(x, panel.bottom + 21.0, &text, SMALL, Anchor::Middle);
            free = x + half + 8.0;
        }
    }
}

fn verdict(shape: &TraceShape, requests: u64, total: u64) -> String {
    let small = |of: fn(&SizeBar) -> u64| -> f64 {
        shape.sizes.iter().filter(|bar| bar.up_to <= SMALL_LIMIT).map(of).sum::<u64>() as f64
    };
    let often = small(|bar| bar.requests) / requests as f64;
    let volume = 1.0 - small(|bar| bar.bytes) / total.max(1) as f64;
    let mut title = format!("{} of the requests are for 512 bytes or less", percent(often));
    title += &if total == 0 {
        ".".to_owned()
    } else if volume >= 0.2 && often > 0.5 {
        format!(", but {} of the bytes are asked for in larger ones.", percent(volume))
    } else {
        format!(", and larger ones ask for {} of the bytes.", percent(volume))
    };
    if let Some((at, bar)) = shape.sizes.iter().enumerate().max_by_key(|(_, bar)| bar.requests) {
        let from = if at == 0 { 0 } else { shape.sizes[at - 1].up_to + 1 };
        title += &format!(
            "  The commonest size is {from}–{} bytes: {} of the requests.",
            bar.up_to,
            percent(bar.requests as f64 / requests as f64)
        );
    }
    title
}
