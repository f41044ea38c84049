//! Room `report`, chart: resident memory of all backends in one plot, and how it cools down after
//! the end.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Stroke, shorten, text_width};
use super::chart::{
    Chart, EndLabel, GRID, HEADING, LEFT, LIVE, NOTE, Picture, RIGHT, SMALL, STRONG, TINY,
    backend_stroke, end_labels, frame,
};
use super::figures::{Backend, TraceReport};
use super::phases;
use super::series::{columns, shown_peak};
use super::words::{self, ByteUnit, byte_unit, figure3};

/// Does it come down again?
pub const CHART: Chart = Chart {
    name: "footprint-overlay",
    question: "How much does each allocator hold over the program's life, and does it come down again?",
    reading: "Lines are what each allocator keeps resident, the blue area is what the program has live: the nearer a line \
              keeps to the area, the better. The strip at the right is what happens after the end: a trim, then \
              everything freed and trimmed again. What is left then is the allocator's own.",
    draw,
};

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let shown: Vec<&Backend> =
        trace_report.backends.iter().filter(|backend| backend.has_memory()).collect();
    let clock_end = shown
        .iter()
        .filter_map(|b| b.samples.last())
        .map(|s| s.clock_bytes as f64)
        .fold(0.0, f64::max);
    if shown.is_empty() {
        return None;
    }
    let peaks: Vec<f64> = shown.iter().filter_map(|backend| backend.memory.peak).collect();
    let most = shown_peak(&peaks).max(trace_report.live_peak) * 1.06;
    let unit = byte_unit(most);
    let clock_unit = byte_unit(clock_end);
    let mut canvas = Canvas::new();
    let title = verdict(trace_report, &shown);
    let (top, bottom) = frame(&mut canvas, &title, &plotted(trace_report), hint());
    let room = label_room(&shown, unit);
    let strip = 300.0;
    let panel = Panel {
        left: LEFT + 34.0,
        top: top + 44.0,
        right: RIGHT - room - strip - 30.0,
        bottom: bottom - 52.0,
        across: Scale::Linear { from: 0.0, to: clock_end.max(1.0) / clock_unit.bytes },
        up: Scale::Linear { from: 0.0, to: most.max(1.0) / unit.bytes },
    };
    let ticks = panel.up.ticks(9);
    panel.rows(&mut canvas, &ticks, Some(&|tick| tick_words(tick, &ticks)));
    area_and_lines(&mut canvas, &panel, &shown, clock_end, unit);
    panel.axes(&mut canvas);
    phases::draw(
        &mut canvas,
        &panel,
        &trace_report.phases,
        |phase| phase.clock_bytes / clock_unit.bytes,
        true,
    );
    let across = panel.across.ticks(10);
    panel.numbers(&mut canvas, &across, &|tick| tick_words(tick, &across));
    let words = format!("x: allocation clock, {} allocated so far", clock_unit.name);
    canvas.text(panel.right, panel.bottom + 42.0, &words, SMALL, Anchor::Right);
    let words = format!("{} resident", unit.name);
    canvas.text_upwards(LEFT - 12.0, (panel.top + panel.bottom) / 2.0, &words, SMALL.sized(15.0));
    live_label(&mut canvas, trace_report, &panel, unit);
    cool_down(&mut canvas, &panel, &shown, unit, (panel.right + 30.0, strip, room));
    Some(Picture { title, canvas })
}

fn label_room(shown: &[&Backend], unit: ByteUnit) -> f64 {
    let widest = shown.iter().map(|b| text_width(&label(b, unit), STRONG)).fold(0.0, f64::max);
    (widest + 22.0).clamp(90.0, 260.0)
}

fn label(backend: &Backend, unit: ByteUnit) -> String {
    let last = backend.memory.freed.or(backend.memory.trimmed).or(backend.memory.end);
    // What lies far above the others would be a long number in their unit.
    let value = last.map_or("–".to_owned(), |bytes| match bytes / unit.bytes {
        small if small < 1000.0 => figure3(small),
        _ => words::bytes(bytes),
    });
    format!("{value}  {}", backend.name)
}

fn area_and_lines(
    canvas: &mut Canvas,
    panel: &Panel,
    shown: &[&Backend],
    clock_end: f64,
    unit: ByteUnit,
) {
    let count = ((panel.right - panel.left) * 3.0).round().max(1.0) as usize;
    let y = |bytes: f64| panel.y(bytes / unit.bytes);
    for (at, column) in columns(&shown[0].samples, clock_end, count).iter().enumerate() {
        canvas.sliver(panel.left, at, y(column.most[0]), panel.bottom, LIVE.pale(0.62));
    }
    for backend in shown.iter().rev() {
        // Dash by columns: variants of a family share a colour.
        let (ink, gap) = match backend_stroke(backend.colour, backend.variant, 1.0).dash {
            Some((ink, gap)) => (ink * 3.0, gap * 3.0),
            None => (1.0, 0.0),
        };
        for (at, column) in columns(&backend.samples, clock_end, count).iter().enumerate() {
            let (low, high) = column.resident;
            let off = low / unit.bytes > panel.up.end() || (at as f64).rem_euclid(ink + gap) >= ink;
            if off {
                continue;
            }
            let middle = panel.left + (at as f64 + 0.5) / 3.0;
            canvas.rectangle(
                middle - 1.0,
                y(high) - 1.0,
                middle + 1.0,
                y(low) + 1.0,
                backend.colour,
            );
        }
    }
    for backend in shown {
        let Some(peak) = backend.memory.peak.filter(|peak| peak / unit.bytes > panel.up.end())
        else {
            continue;
        };
        let reduced = columns(&backend.samples, clock_end, count);
        let out =
            reduced.iter().position(|c| c.resident.1 / unit.bytes > panel.up.end()).unwrap_or(0);
        let text = format!("▲ {} runs off to {}", backend.name, words::bytes(peak));
        let kind = STRONG.in_colour(backend.colour);
        let left =
            (panel.left + out as f64 / 3.0 + 8.0).min(panel.right - text_width(&text, kind) - 4.0);
        canvas.text(left.max(panel.left + 4.0), panel.top - 8.0, &text, kind, Anchor::Left);
    }
}

fn live_label(canvas: &mut Canvas, trace_report: &TraceReport, panel: &Panel, unit: ByteUnit) {
    let y = panel.y(trace_report.live_peak / unit.bytes);
    canvas.line(&[(panel.left, y), (panel.right, y)], Stroke::dashed(1.6, LIVE, 6.0, 3.5));
    let text = format!("live peak {}", figure3(trace_report.live_peak / unit.bytes));
    let kind = super::canvas::Type { bold: true, ..TINY.in_colour(LIVE) };
    canvas.text(panel.right - 6.0, y + 16.0, &text, kind, Anchor::Right);
}

/// The strip: end, after trim, all freed; a step each, joined by lines.
fn cool_down(
    canvas: &mut Canvas,
    panel: &Panel,
    shown: &[&Backend],
    unit: ByteUnit,
    (left, width, room): (f64, f64, f64),
) {
    let stops = [0.08, 0.5, 0.92].map(|share| left + width * share);
    canvas.text(left + width / 2.0, panel.top - 15.0, "cool-down", HEADING, Anchor::Middle);
    for (x, name) in stops.iter().zip(["at exit", "after trim", "all freed"]) {
        canvas.line(&[(*x, panel.top), (*x, panel.bottom)], Stroke::solid(1.0, GRID));
        canvas.text(*x, panel.bottom + 21.0, name, SMALL, Anchor::Middle);
    }
    let ticks = panel.up.ticks(9);
    for tick in ticks {
        let y = panel.y(tick);
        canvas.line(&[(left, y), (left + width, y)], Stroke::solid(1.0, GRID));
    }
    let mut labels = Vec::new();
    let mut brackets = 0.0;
    for backend in shown.iter().rev() {
        let memory = &backend.memory;
        let points: Vec<(f64, f64)> = stops
            .iter()
            .zip([memory.end, memory.trimmed, memory.freed])
            .filter_map(|(x, bytes)| Some((*x, panel.y(bytes? / unit.bytes))))
            .collect();
        canvas.line(&points, backend_stroke(backend.colour, backend.variant, 2.2));
        if memory.bands[2].or(memory.bands[3]).is_some() {
            brackets += 1.0;
        }
        for (stop, band) in stops.iter().zip(&memory.bands[2..]) {
            let Some((low, high)) = *band else { continue };
            // Beside its dot, so that several can be told apart: at once below, never above.
            let x = stop - 4.0 - 4.0 * brackets;
            let [low, high] =
                [low, high].map(|bytes| panel.y((bytes / unit.bytes).min(panel.up.end())));
            let stroke = Stroke::solid(2.0, backend.colour.pale(0.35));
            canvas.line(&[(x + 4.0, low), (x, low), (x, high), (x + 4.0, high)], stroke);
        }
        for &(x, y) in &points {
            if y <= panel.top {
                canvas.polygon(
                    &[(x, y - 6.0), (x - 6.0, y + 6.0), (x + 6.0, y + 6.0)],
                    backend.colour,
                );
            } else if backend.variant == 0 {
                canvas.disc(x, y, 5.0, backend.colour);
            } else {
                canvas.ring(x, y, 5.0, 2.0, backend.colour);
            }
        }
        if let Some(&(_, y)) = points.last() {
            let kind = STRONG.in_colour(backend.colour);
            let text = shorten(&label(backend, unit), kind, room - 22.0);
            labels.push(EndLabel { y, text, kind });
        }
    }
    labels.reverse();
    let from = left + width * 0.92 + 8.0;
    end_labels(canvas, (from, left + width + 12.0), (panel.top, panel.bottom), labels, room - 14.0);
    let words = format!("right: {} left when all is freed", unit.name);
    canvas.text(RIGHT, panel.bottom + 42.0, &words, NOTE.sized(14.0), Anchor::Right);
}

fn plotted(trace_report: &TraceReport) -> String {
    let mut text = format!(
        "Resident anonymous memory while `{}` is replayed, one line an allocator; filled: live requested bytes.  Right: \
         after the last call, after the allocator's own trim, and after every block is freed and trimmed.",
        trace_report.trace.name
    );
    if trace_report.backends.iter().any(|backend| backend.memory.bands[2].is_some()) {
        text += "  Brackets at exit: memory goes back by the clock; had it gone back at once, and never.";
    } else {
        text += &trace_report.pace_note();
    }
    text
}

fn hint() -> &'static str {
    "A line that falls after a burst gives memory back; a flat one keeps it for later.  The strip tells whether a trim \
     would help, and what is never returned.  Every column keeps its least and most: no peak is lost."
}

fn verdict(trace_report: &TraceReport, shown: &[&Backend]) -> String {
    let span: Vec<(&str, f64, f64)> =
        shown.iter().filter_map(|b| Some((b.name, b.memory.peak?, b.memory.end?))).collect();
    let peak = |name: &str| {
        let backend = shown.iter().find(|backend| backend.name == name);
        backend.and_then(|backend| backend.memory.words(0)).unwrap_or_default()
    };
    let Some(high) = span.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return "Resident memory over the allocation clock".to_owned();
    };
    let least = span.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(high);
    let live = words::bytes(trace_report.live_peak);
    let mut title = if span.len() == 1 {
        format!("{} peaks at {} for a heap of {live}.", high.0, peak(high.0))
    } else {
        format!(
            "For a heap of {live}, peaks reach from {} ({}) to {} ({}).",
            peak(least.0),
            least.0,
            peak(high.0),
            high.0
        )
    };
    let returned: Vec<String> = span
        .iter()
        .filter(|(_, peak, end)| {
            peak - trace_report.live_end > 0.0
                && (peak - end) / (peak - trace_report.live_end) > 0.5
        })
        .map(|(name, ..)| (*name).to_owned())
        .collect();
    title += &match returned.len() {
        0 if span.len() == 1 => {
            "  It gives back less than half of what it no longer needs.".to_owned()
        }
        0 => "  None gives back half of what it no longer needs by itself.".to_owned(),
        all if all == span.len() && all == 1 => "  It gives most of it back by itself.".to_owned(),
        all if all == span.len() => "  All give most of it back by themselves.".to_owned(),
        1 => format!("  Only {} gives most of it back.", returned[0]),
        _ => format!("  Only {} give most of it back.", words::some(&returned)),
    };
    title
}
