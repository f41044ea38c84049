//! Room `report`, chart: what sizes the live heap is made of, and what each allocator loses on them
//! by rounding up.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Stroke, shorten, text_width};
use super::chart::{
    AXIS, Chart, HEADING, INK, LEFT, LIVE, Picture, RIGHT, ROUNDING, SMALL, SOFT, STRONG, TINY,
    frame,
};
use super::figures::{Backend, TraceReport};
use super::series::shown_peak;
use super::words::{self, ByteUnit, byte_unit, figure, figure3};
use crate::results::{Moment, SizeClass};

/// Where does internal fragmentation come from?
pub const CHART: Chart = Chart {
    name: "sizes-and-rounding",
    question: "Which sizes make up the heap, and on which of them does each allocator lose memory by rounding up?",
    reading: "Above: all bytes that were ever allocated, by size of the request (pale), and of those what is live at the live \
              peak (blue). Below, hanging down, one strip for each allocator: what it adds to the live blocks by rounding up. The thin line is what a single block of that size \
              loses: each tooth is a size class. Long bars under long teeth are sizes that do not fit the classes.",
    draw,
};

/// The largest size that is drawn byte by byte: beyond it a class is an octave.
const SMALL_LIMIT: u64 = 512;
/// Classes up to it.
const SMALL_CLASSES: usize = 32;

/// One backend's strip: bytes lost by class, and its size classes.
struct Strip<'a> {
    backend: &'a Backend<'a>,
    lost: Vec<f64>,
    /// Lost by rounding on all blocks that were ever allocated, and their requested bytes.
    ever: Option<(f64, f64)>,
    steps: Vec<&'a SizeClass>,
}

impl Strip<'_> {
    fn total(&self) -> f64 {
        self.lost.iter().sum()
    }
}

struct SizesAndRoundingLayout<'a> {
    /// The largest request of each class.
    classes: Vec<u64>,
    live: Vec<f64>,
    /// All bytes that were ever allocated; nothing where the record does not say.
    allocated: Vec<f64>,
    strips: Vec<Strip<'a>>,
}

impl SizesAndRoundingLayout<'_> {
    fn live_total(&self) -> f64 {
        self.live.iter().sum()
    }

    fn allocated_total(&self) -> f64 {
        self.allocated.iter().sum()
    }

    /// How high each bar is in all: what was ever allocated, or what is live where the record has
    /// no more.
    fn tall(&self) -> &[f64] {
        if self.allocated_total() > 0.0 { &self.allocated } else { &self.live }
    }
}

/// The place of a class on the x axis: steps of 16 to 512, then octaves.
fn place(up_to: u64) -> usize {
    if up_to <= SMALL_LIMIT {
        (up_to.div_ceil(16) as usize).saturating_sub(1)
    } else {
        // 1024 is the first octave.
        let octave = up_to.checked_next_power_of_two().unwrap_or(1 << 63);
        SMALL_CLASSES + (octave.trailing_zeros() as usize).saturating_sub(10)
    }
}

/// The largest request of the class at a place.
fn limit(place: usize) -> u64 {
    if place < SMALL_CLASSES {
        (place as u64 + 1) * 16
    } else {
        1 << (place - SMALL_CLASSES + 10).min(63)
    }
}

fn layout<'a>(trace_report: &'a TraceReport) -> Option<SizesAndRoundingLayout<'a>> {
    let of = |moment| {
        trace_report
            .run
            .rounding
            .iter()
            .filter(move |r| r.trace == trace_report.trace.name && r.moment == moment)
    };
    let (rows, ever) = (|| of(Moment::Peak), || of(Moment::Whole));
    let count =
        rows().chain(ever()).map(|row| place(row.up_to_bytes) + 1).max()?.max(SMALL_CLASSES + 2);
    let mut live = vec![0.0; count];
    let mut allocated = vec![0.0; count];
    let mut strips = Vec::new();
    for backend in trace_report.allocators() {
        let mut lost = vec![0.0; count];
        let mut own = vec![0.0; count];
        let mut seen = false;
        for row in rows().filter(|row| row.backend == backend.name) {
            let at = place(row.up_to_bytes);
            lost[at] += row.usable_bytes.saturating_sub(row.live_bytes) as f64;
            own[at] += row.live_bytes as f64;
            seen = true;
        }
        if !seen {
            continue;
        }
        // Live bytes are the same for all; a backend that was cut short has none.
        for (all, own) in live.iter_mut().zip(own) {
            *all = f64::max(*all, own);
        }
        let mut sums: Option<(f64, f64)> = None;
        for row in ever().filter(|row| row.backend == backend.name) {
            let all = &mut allocated[place(row.up_to_bytes)];
            *all = f64::max(*all, row.live_bytes as f64);
            let (lost, requested) = sums.unwrap_or_default();
            let own = row.usable_bytes.saturating_sub(row.live_bytes) as f64;
            sums = Some((lost + own, requested + row.live_bytes as f64));
        }
        let mut steps: Vec<&SizeClass> = trace_report
            .run
            .size_classes
            .iter()
            .filter(|row| row.trace == trace_report.trace.name && row.backend == backend.name)
            .collect();
        let first = steps.iter().map(|row| row.repetition).min();
        steps.retain(|row| Some(row.repetition) == first && u64::from(row.to_bytes) <= SMALL_LIMIT);
        strips.push(Strip { backend, lost, ever: sums, steps });
    }
    let some = !strips.is_empty() && live.iter().sum::<f64>() > 0.0;
    some.then(|| SizesAndRoundingLayout {
        classes: (0..count).map(limit).collect(),
        live,
        allocated,
        strips,
    })
}

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let layout = layout(trace_report)?;
    let mut canvas = Canvas::new();
    let title = verdict(&layout);
    let all = if layout.allocated_total() > 0.0 { " all blocks, and of" } else { "" };
    let plotted = format!(
        "`{}`.  Up: requested bytes of{all} those live at the peak, by size of the request, in steps of 16 to 512, then in \
         octaves.  Down: usable less requested bytes of those live at the peak.",
        trace_report.trace.name
    );
    let hint = "Down, sky blue: lost to rounding in that class, the same scale in every strip.  Thin line: what one block of that \
                size loses, read downwards; a tooth is a size class, as far as the program asked for such sizes.  On the right: \
                all that is lost, its share of what is live, and the share lost of all that was ever allocated.";
    let (top, bottom) = frame(&mut canvas, &title, &plotted, hint);
    let names = layout
        .strips
        .iter()
        .map(|s| text_width(s.backend.name, STRONG))
        .fold(92.0, f64::max)
        .min(190.0);
    let (left, right) = (LEFT + names + 24.0, RIGHT - 200.0);
    let across = Scale::Linear { from: 0.0, to: layout.classes.len() as f64 };
    let middle = top + (bottom - top) * if layout.strips.len() > 5 { 0.34 } else { 0.42 };
    let most = layout.tall().iter().copied().fold(0.0, f64::max);
    let unit = byte_unit(most);
    let upper = Panel {
        left,
        top: top + 34.0,
        right,
        bottom: middle - 28.0,
        across,
        up: Scale::Linear { from: 0.0, to: most / unit.bytes * 1.14 },
    };
    live_bars(&mut canvas, &layout, &upper, unit);
    let tallest: Vec<f64> =
        layout.strips.iter().map(|strip| strip.lost.iter().copied().fold(0.0, f64::max)).collect();
    let most = shown_peak(&tallest).max(1.0);
    let (first, last) = (middle + 34.0, bottom - 10.0);
    let step = (last - first) / layout.strips.len() as f64;
    canvas.text(
        left,
        first - 10.0,
        "lost to rounding",
        HEADING.in_colour(ROUNDING.mix(INK, 0.35)),
        Anchor::Left,
    );
    let unit = byte_unit(most);
    let words = format!("a strip is {} {} deep", figure3(most * 1.06 / unit.bytes), unit.name);
    canvas.text(left + 166.0, first - 10.0, &words, SMALL, Anchor::Left);
    for (at, strip) in layout.strips.iter().enumerate() {
        let y = first + step * at as f64;
        let panel = Panel {
            left,
            top: y,
            right,
            bottom: y + step * 0.86,
            across,
            up: Scale::Linear { from: 0.0, to: most * 1.06 },
        };
        hanging(&mut canvas, &layout, strip, &panel);
    }
    Some(Picture { title, canvas })
}

fn live_bars(canvas: &mut Canvas, layout: &SizesAndRoundingLayout, panel: &Panel, unit: ByteUnit) {
    let tall = layout.tall();
    let total: f64 = tall.iter().sum();
    let of_all = layout.allocated_total() > 0.0;
    let live = words::bytes(layout.live_total());
    let (head, words) = if of_all {
        (
            "allocated",
            format!("{} in all (pale); live at the peak {live} (blue)", words::bytes(total)),
        )
    } else {
        ("live", format!("{live} in all, by size of the request"))
    };
    canvas.text(panel.left, panel.top - 14.0, head, HEADING.in_colour(LIVE), Anchor::Left);
    let beside = panel.left + text_width(head, HEADING) + 12.0;
    canvas.text(beside, panel.top - 14.0, &words, SMALL, Anchor::Left);
    let ticks = panel.up.ticks(4);
    panel.rows(canvas, &ticks, Some(&|tick| tick_words(tick, &ticks)));
    for (at, (all, live)) in tall.iter().zip(&layout.live).enumerate() {
        let (from, to) = (panel.x(at as f64) + 1.5, panel.x(at as f64 + 1.0) - 1.5);
        if of_all {
            canvas.rectangle(from, panel.y(all / unit.bytes), to, panel.bottom, LIVE.pale(0.6));
        }
        canvas.rectangle(from, panel.y(live / unit.bytes), to, panel.bottom, LIVE);
    }
    // The highest say how high, where neighbours do not stand in the way.
    let mut order: Vec<usize> = (0..tall.len()).collect();
    order.sort_by(|a, b| tall[*b].total_cmp(&tall[*a]));
    let mut named: Vec<usize> = Vec::new();
    for at in order {
        let stands_out = tall[at] > total * 0.03;
        if named.len() < 6 && stands_out && named.iter().all(|other| other.abs_diff(at) > 1) {
            named.push(at);
            let value = tall[at] / unit.bytes;
            let y = panel.y(value) - 6.0;
            canvas.text(panel.x(at as f64 + 0.5), y, &figure(value), STRONG, Anchor::Middle);
        }
    }
    let border = panel.x(SMALL_CLASSES as f64);
    canvas
        .line(&[(border, panel.top), (border, panel.bottom)], Stroke::dashed(1.4, AXIS, 5.0, 4.0));
    panel.axes(canvas);
    size_numbers(canvas, layout, panel);
    let middle = (panel.top + panel.bottom) / 2.0;
    canvas.text_upwards(
        panel.left - 62.0,
        middle,
        &format!("{}{}", unit.name, if of_all { "" } else { " live" }),
        SMALL.sized(15.0),
    );
    canvas.text(RIGHT - 6.0, panel.bottom + 21.0, "x: request, bytes", SMALL, Anchor::Right);
}

/// The upper limit of a class, under its right edge, where there is room.
fn size_numbers(canvas: &mut Canvas, layout: &SizesAndRoundingLayout, panel: &Panel) {
    let mut free = f64::NEG_INFINITY;
    for (at, up_to) in layout.classes.iter().enumerate() {
        if *up_to <= SMALL_LIMIT && !up_to.is_multiple_of(64) && *up_to != 16 {
            continue;
        }
        let x = panel.x(at as f64 + 1.0);
        let text = match *up_to {
            small if small <= SMALL_LIMIT => small.to_string(),
            large => words::bytes(large as f64)
                .replace("iB", "")
                .replace(".0", "")
                .replace('\u{a0}', "\u{202f}"),
        };
        let half = text_width(&text, SMALL) / 2.0;
        // The axis' name stands at the right.
        if x - half > free && x + half < RIGHT - 126.0 {
            canvas.line(&[(x, panel.bottom), (x, panel.bottom + 5.0)], Stroke::solid(1.0, AXIS));
            canvas.text(x, panel.bottom + 21.0, &text, SMALL, Anchor::Middle);
            free = x + half + 8.0;
        }
    }
}

fn hanging(canvas: &mut Canvas, layout: &SizesAndRoundingLayout, strip: &Strip, panel: &Panel) {
    let deep = panel.bottom - panel.top;
    let down = |share: f64| panel.top + deep * share.clamp(0.0, 1.0);
    for (at, bytes) in strip.lost.iter().enumerate().filter(|(_, bytes)| **bytes > 0.0) {
        let (from, to) = (panel.x(at as f64) + 1.5, panel.x(at as f64 + 1.0) - 1.5);
        canvas.rectangle(from, panel.top, to, down(panel.up.share(*bytes)), ROUNDING);
        if *bytes > panel.up.end() {
            // Cut short: its number stands in it.
            let text = words::bytes(*bytes);
            let x = (from + to) / 2.0;
            let room = text_width(&text, TINY) / 2.0;
            let x = x.clamp(panel.left + room, panel.right - room);
            canvas.text(x, panel.bottom - 4.0, &text, TINY.in_colour(INK), Anchor::Middle);
        }
    }
    let stroke = Stroke::solid(1.2, AXIS);
    canvas.line(&[(panel.left, panel.top), (panel.right, panel.top)], stroke);
    canvas.line(&[(panel.left, panel.top), (panel.left, panel.bottom)], stroke);
    let deepest = teeth(canvas, strip, panel);
    let middle = panel.top + (deep / 2.0).min(30.0);
    let two = deep > 34.0;
    let name = shorten(strip.backend.name, STRONG, panel.left - LEFT - 8.0);
    canvas.text(LEFT, middle + if two { -2.0 } else { 4.0 }, &name, STRONG, Anchor::Left);
    if two && deepest > 0 {
        let text = format!("a block: to {deepest} B");
        let text = shorten(&text, TINY, panel.left - LEFT - 8.0);
        canvas.text(LEFT, middle + 15.0, &text, TINY, Anchor::Left);
    }
    let lost = strip.total();
    let share = lost / layout.live_total();
    let x = panel.right + 10.0;
    canvas.text(
        x,
        middle + if two { -2.0 } else { 4.0 },
        &words::bytes(lost),
        STRONG,
        Anchor::Left,
    );
    if two {
        let mut text = format!("{} of live", words::percent(share));
        if let Some((lost, requested)) = strip.ever.filter(|(_, requested)| *requested > 0.0) {
            text += &format!(", {} of all", words::percent(lost / requested));
        }
        let text = shorten(&text, SMALL, crate::report::canvas::WIDTH as f64 - 14.0 - x);
        canvas.text(x, middle + 15.0, &text, SMALL.in_colour(SOFT), Anchor::Left);
    }
}

/// The size-class function: what a block of each size loses, read downwards. Gives the most bytes
/// that one does.
fn teeth(canvas: &mut Canvas, strip: &Strip, panel: &Panel) -> u32 {
    let loss = |class: &SizeClass, size: u32| class.usable_bytes.saturating_sub(size);
    let deepest = strip.steps.iter().map(|class| loss(class, class.from_bytes)).max().unwrap_or(0);
    if deepest == 0 {
        return 0;
    }
    let deep = (panel.bottom - panel.top) * 0.9;
    let point = |size: u32, lost: u32| {
        (panel.x(f64::from(size) / 16.0), panel.top + deep * f64::from(lost) / f64::from(deepest))
    };
    for class in &strip.steps {
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

fn verdict(layout: &SizesAndRoundingLayout) -> String {
    let live = layout.live_total();
    let mut totals: Vec<(f64, &Strip)> =
        layout.strips.iter().map(|strip| (strip.total(), strip)).collect();
    totals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (Some(least), Some(most)) = (totals.first(), totals.last()) else { return String::new() };
    let [low, high] = [least.0 / live, most.0 / live].map(words::percent);
    let opening = if totals.len() == 1 || low == high {
        format!("Rounding up adds {high} to what is live at the peak")
    } else {
        format!(
            "Rounding up adds {low} to what is live at the peak in {}, {high} in {}",
            least.1.backend.name, most.1.backend.name
        )
    };
    let worst = most.1.lost.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    match worst {
        Some((at, bytes)) if most.0 > 0.0 => {
            let from = if at == 0 { 0 } else { layout.classes[at - 1] + 1 };
            let to = layout.classes[at];
            let sizes = if to <= SMALL_LIMIT {
                format!("{from}–{to} bytes")
            } else {
                format!("{} to {}", words::bytes((from - 1) as f64), words::bytes(to as f64))
            };
            format!("{opening}; {} of that on requests of {sizes}.", words::percent(bytes / most.0))
        }
        _ => format!("{opening}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_lie_in_steps_of_16_and_then_in_octaves() {
        for (up_to, at) in
            [(0, 0), (16, 0), (32, 1), (512, 31), (1024, 32), (2048, 33), (u64::MAX, 85)]
        {
            assert_eq!(place(up_to), at, "{up_to}");
        }
        for at in 0..60 {
            assert_eq!(place(limit(at)), at);
        }
    }
}
