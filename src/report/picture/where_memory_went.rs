//! Picture of resident memory by cause: a stacked area for each backend, and a bar of its end.

use super::canvas::{Anchor, Canvas, Stroke, Type, fitted, shorten, text_width};
use super::frame::{HEADING, LEFT, NOTE, RIGHT, SMALL, STRONG, TINY, fits, frame, legend};
use super::panel::Panel;
use super::phases;
use crate::report::chart::{HeapColumn, HeapPanel, Scale, WhereMemoryWentChart, tick_text};
use crate::report::figures::{ProgramPhase, ResidentFigure};
use crate::report::palette::{INK, LIVE, SOFT, WHITE};
use crate::report::text::capitalised;
use crate::units::{bytes, figure, figure3, ratio};

/// Draws the chart.
pub fn draw(chart: &WhereMemoryWentChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let parts = chart.parts.iter().map(|part| (part.colour, part.name));
    let top = legend(&mut canvas, LEFT, top + 14.0, parts);
    let rows = if chart.panels.len() > 5 { 2 } else { 1 };
    let across = chart.panels.len().div_ceil(rows);
    let height = (bottom - top) / rows as f64;
    for (row, panels) in chart.panels.chunks(across).enumerate() {
        let y = top + height * row as f64;
        draw_row(&mut canvas, chart, panels, across, (y, y + height), row + 1 == rows);
    }
    canvas
}

/// The scale of the bars below the panels: that of memory, across.
fn bar_scale(chart: &WhereMemoryWentChart) -> Scale {
    Scale::Linear { from: 0.0, to: chart.memory_axis.end() }
}

fn draw_row(
    canvas: &mut Canvas,
    chart: &WhereMemoryWentChart,
    panels: &[HeapPanel],
    across: usize,
    (top, bottom): (f64, f64),
    last: bool,
) {
    let single = bottom - top > 400.0;
    let slots = if across == 2 && single && panels.len() == 2 { 3 } else { across };
    let gap = 36.0;
    let first = LEFT + 26.0;
    let width = (RIGHT - first - gap * (slots as f64 - 1.0)) / slots as f64;
    let head = if single { 72.0 } else { 62.0 };
    let foot = if single { 142.0 } else { 108.0 };
    // One that runs off has that text where the live peak would be named.
    let named = panels.iter().position(|described| !is_off(described, chart));
    for (at, described) in panels.iter().enumerate() {
        let left = first + (width + gap) * at as f64;
        let panel = Panel {
            left,
            top: top + head,
            right: left + width,
            bottom: bottom - foot,
            across: chart.clock_axis.scale,
            up: chart.memory_axis.scale,
        };
        heading(canvas, &panel, described, chart);
        plot(canvas, &panel, described, chart, (at == 0, Some(at) == named));
        let bar = if single { bottom - 52.0 } else { bottom - 48.0 };
        end_bar(canvas, &panel, described, chart, bar, single);
        if at == 0 && single {
            let text = format!("{}, {}", capitalised(&chart.end_name), chart.memory_axis.unit);
            canvas.text(LEFT, bar - 30.0, &text, SMALL.in_colour(SOFT).sized(15.0), Anchor::Left);
        }
        if at + 1 == panels.len() && (single || last) {
            let label = format!("x: {}", chart.clock_axis.label);
            let (below, size) = if single { (42.0, 14.0) } else { (38.0, 13.0) };
            let y = panel.bottom + below;
            canvas.text(panel.right, y, &label, SMALL.sized(size), Anchor::Right);
        }
    }
    let middle = (top + head + bottom - foot) / 2.0;
    canvas.text_upwards(LEFT - 12.0, middle, &chart.memory_axis.label, SMALL.sized(15.0));
    if let ([a, b], 3) = (panels, slots) {
        let left = first + (width + gap) * 2.0;
        let place = (left + 40.0, top + head, left + width, bottom - foot);
        difference(canvas, chart, [a, b], place);
    }
}

fn heading(
    canvas: &mut Canvas,
    panel: &Panel,
    described: &HeapPanel,
    chart: &WhereMemoryWentChart,
) {
    let (backend, memory) = (&described.backend, &described.memory);
    let y = panel.top - 40.0;
    let space = panel.right - panel.left;
    let (name, kind) = fitted(&backend.name, HEADING, 12.0, space);
    let used = canvas.text(panel.left, y, &name, kind, Anchor::Left);
    if fits(&backend.version, SMALL, space - used - 10.0) && backend.version != backend.name {
        canvas.text(panel.left + used + 10.0, y, &backend.version, SMALL, Anchor::Left);
    }
    let times = |bytes: Option<f64>, live: f64| match bytes {
        Some(bytes) if live > 0.0 => ratio(bytes / live),
        _ => "–".to_owned(),
    };
    let live_end = described.live_end_bytes;
    let about = memory.about();
    let mut text = format!(
        "peak {about}{}   end {about}{}",
        times(memory.peak_bytes, chart.live_peak_bytes),
        times(memory.end_bytes, live_end)
    );
    match memory.range(ResidentFigure::End) {
        // In a narrow panel the bracket over the bar shows it.
        _ if space < 200.0 => {}
        Some((low, high)) if live_end > 0.0 => {
            text += &format!(" ({}–{})", figure(low / live_end), figure(high / live_end));
        }
        _ if memory.is_for_one_pace => text += " at this pace",
        _ => {}
    }
    // A figure that is cut off could be any other.
    let end = format!("end {about}{}", times(memory.end_bytes, live_end));
    let is_whole = fits(&text, NOTE.sized(11.0), space);
    let (text, kind) = fitted(if is_whole { &text } else { &end }, NOTE, 11.0, space);
    canvas.text(panel.left, y + 23.0, &text, kind, Anchor::Left);
}

/// The first of a row has the numbers of all, and one of it names the live peak.
fn plot(
    canvas: &mut Canvas,
    panel: &Panel,
    described: &HeapPanel,
    chart: &WhereMemoryWentChart,
    (first, names_live): (bool, bool),
) {
    let axis = &chart.memory_axis;
    let ticks = panel.up.ticks(if panel.bottom - panel.top > 250.0 { 8 } else { 4 });
    let numbers = |tick: f64| tick_text(tick, &ticks);
    panel.rows(canvas, &ticks, if first { Some(&numbers) } else { None });
    // Three columns a pixel: the canvas is three times as fine as the picture.
    let count = ((panel.right - panel.left) * 3.0).round().max(1.0) as usize;
    let columns = described.heap.columns(chart.clock_end, count);
    let y = |bytes: f64| panel.y(axis.in_unit(bytes));
    for (at, column) in columns.iter().enumerate() {
        for part in (0..4).rev() {
            let colour = chart.parts[part].colour;
            canvas.sliver(panel.left, at, y(column.most[part]), panel.bottom, colour);
        }
    }
    for (at, column) in columns.iter().enumerate() {
        if column.resident.0 < axis.end() * axis.unit_size {
            outline(canvas, column, panel.left + at as f64 / 3.0, &y);
        }
    }
    panel.axes(canvas);
    let place = |phase: &ProgramPhase| chart.clock_axis.in_unit(chart.clock.of_phase(phase));
    phases::draw(canvas, panel, &chart.phases, place, panel.right - panel.left > 180.0);
    let across = panel.across.ticks(5);
    panel.numbers(canvas, &across, &|tick| tick_text(tick, &across));
    let live = y(chart.live_peak_bytes);
    canvas.line(&[(panel.left, live), (panel.right, live)], Stroke::dashed(1.6, LIVE, 6.0, 3.5));
    runs_off(canvas, panel, described, chart);
    if names_live {
        let text = format!("live peak {}", figure3(axis.in_unit(chart.live_peak_bytes)));
        let kind = Type { bold: true, ..TINY.in_colour(LIVE) };
        // Near the top are the names of phases.
        let y =
            if live < panel.top + phases::NAMES_PIXELS + 22.0 { live + 16.0 } else { live - 6.0 };
        label_on_white(canvas, panel.left + 6.0, y, &text, kind);
    }
}

/// The thin line around resident memory: from the least to the most of each column.
fn outline(canvas: &mut Canvas, column: &HeapColumn, left: f64, y: &dyn Fn(f64) -> f64) {
    let (low, high) = column.resident;
    let middle = left + 1.0 / 6.0;
    canvas.rectangle(middle - 0.6, y(high) - 0.5, middle + 0.6, y(low) + 0.5, INK.pale(0.25));
}

fn label_on_white(canvas: &mut Canvas, x: f64, y: f64, text: &str, kind: Type) {
    let width = text_width(text, kind);
    canvas.rectangle(x - 3.0, y - kind.size * 0.85, x + width + 3.0, y + 3.0, WHITE);
    canvas.text(x, y, text, kind, Anchor::Left);
}

/// Whether the plot ends below the peak of a backend.
fn is_off(described: &HeapPanel, chart: &WhereMemoryWentChart) -> bool {
    chart.memory_axis.in_unit(described.highest_bytes) > chart.memory_axis.end()
}

/// The height of a peak that the plot does not show.
fn runs_off(
    canvas: &mut Canvas,
    panel: &Panel,
    described: &HeapPanel,
    chart: &WhereMemoryWentChart,
) {
    if !is_off(described, chart) {
        return;
    }
    let text = format!("▲ runs off to {}", bytes(described.highest_bytes));
    let width = text_width(&text, STRONG);
    // Below the names of phases.
    let y = panel.top + phases::NAMES_PIXELS + 16.0;
    label_on_white(canvas, panel.right - width - 6.0, y, &text, STRONG);
}

/// Where the bar of a backend's end is.
#[derive(Clone, Copy)]
struct BarPlace {
    middle: f64,
    half: f64,
    left: f64,
    width: f64,
    scale: Scale,
    unit_size: f64,
}

impl BarPlace {
    fn x(&self, bytes: f64) -> f64 {
        self.left + self.scale.share(bytes / self.unit_size) * self.width
    }
}

fn end_bar(
    canvas: &mut Canvas,
    panel: &Panel,
    described: &HeapPanel,
    chart: &WhereMemoryWentChart,
    middle: f64,
    single: bool,
) {
    let (axis, memory) = (&chart.memory_axis, &described.memory);
    let resident = described.heap.resident_bytes.last().map_or(0.0, |bytes| *bytes as f64);
    let total = memory.end_bytes.unwrap_or(resident);
    let number = figure3(axis.in_unit(total));
    let half = if single { 10.0 } else { 7.0 };
    let bar = BarPlace {
        middle,
        half,
        left: panel.left,
        width: panel.right - panel.left - text_width(&number, STRONG) - 8.0,
        scale: bar_scale(chart),
        unit_size: axis.unit_size,
    };
    let mut below = 0.0;
    for (part, bytes) in chart.parts.iter().zip(described.end_parts_bytes) {
        let (from, to) = (bar.x(below), bar.x(below + bytes));
        canvas.rectangle(from, middle - half, to, middle + half, part.colour);
        let text = figure3(axis.in_unit(bytes));
        let ink = if part.colour.lightness() > 0.5 { INK } else { WHITE };
        let mark = memory.trimmed_bytes.map_or(f64::NAN, |bytes| bar.x(bytes));
        let kind = Type { bold: true, ..TINY.in_colour(ink) };
        // The black mark must not strike through the number, which goes to the longer side.
        let (left, right) = if mark > from && mark < to {
            if mark - from > to - mark { (from, mark) } else { (mark, to) }
        } else {
            (from, to)
        };
        if single && fits(&text, kind, right - left) {
            canvas.text((left + right) / 2.0, middle + 4.5, &text, kind, Anchor::Middle);
        }
        below += bytes;
    }
    let right = bar.x(below);
    if axis.in_unit(below) > axis.end() {
        // Cut short: two slanted gaps, as in a broken axis.
        for k in [0.0, 9.0] {
            let at = right - 26.0 + k;
            canvas.line(
                &[(at - 3.0, middle + half + 2.0), (at + 3.0, middle - half - 2.0)],
                Stroke::solid(3.0, WHITE),
            );
        }
    }
    canvas.text(right + 6.0, middle + 5.0, &number, STRONG, Anchor::Left);
    if let Some((low, high)) = memory.range(ResidentFigure::End) {
        let (from, to, y) = (bar.x(low), bar.x(high), middle - half - 5.0);
        canvas
            .line(&[(from, y + 3.0), (from, y), (to, y), (to, y + 3.0)], Stroke::solid(1.6, SOFT));
    }
    trim_mark(canvas, panel, described, &bar);
}

/// The mark of what a trim left, filled; and open, of what it leaves after the thread cache is
/// flushed.
fn trim_mark(canvas: &mut Canvas, panel: &Panel, described: &HeapPanel, bar: &BarPlace) {
    let memory = &described.memory;
    let Some(trimmed) = memory.trimmed_bytes else { return };
    let at = bar.x(trimmed);
    let (upper, lower) = (bar.middle - bar.half - 2.0, bar.middle + bar.half + 4.0);
    canvas.line(&[(at, upper), (at, lower)], Stroke::solid(2.0, INK));
    let tip = bar.middle + bar.half + 1.0;
    canvas.polygon(&[(at, tip), (at - 5.5, tip + 9.0), (at + 5.5, tip + 9.0)], INK);
    let flushed =
        memory.cached_bytes().and(memory.flushed_bytes).filter(|bytes| at - bar.x(*bytes) > 2.0);
    if let Some(at) = flushed.map(|bytes| bar.x(bytes)) {
        canvas.line(&[(at, upper), (at, lower)], Stroke::dashed(1.6, INK, 3.0, 2.0));
        let outline = [(at, tip), (at - 5.5, tip + 9.0), (at + 5.5, tip + 9.0), (at, tip)];
        canvas.line(&outline, Stroke::solid(1.4, INK));
    }
    let in_unit = |bytes: f64| figure3(bytes / bar.unit_size);
    let mut text = format!("after trim {}", in_unit(trimmed));
    match memory.range(ResidentFigure::Trimmed) {
        Some((low, high)) if high > low => {
            text += &format!(" ({}–{})", in_unit(low), in_unit(high));
        }
        _ if memory.is_for_one_pace => text = text.replace("trim ", "trim ≈"),
        _ => {}
    }
    if let Some(bytes) = flushed {
        text += &format!(", △ {}", in_unit(bytes));
    }
    let kind = SMALL.in_colour(INK).sized(13.0);
    let (text, kind) = fitted(&text, kind, 10.0, panel.right - panel.left);
    let width = text_width(&text, kind);
    let left = (at - width / 2.0).min(panel.right - width).max(panel.left);
    canvas.text(left, tip + 22.0, &text, kind, Anchor::Left);
}

/// The third panel beside two: how much more memory one has resident than the other.
fn difference(
    canvas: &mut Canvas,
    chart: &WhereMemoryWentChart,
    pair: [&HeapPanel; 2],
    (left, top, right, bottom): (f64, f64, f64, f64),
) {
    let axis = &chart.memory_axis;
    let count = ((right - left) * 3.0).round().max(1.0) as usize;
    let [a, b] = pair.map(|described| described.heap.columns(chart.clock_end, count));
    let gap: Vec<(f64, f64)> = a
        .iter()
        .zip(&b)
        .map(|(a, b)| {
            let (low, high) = (b.resident.0 - a.resident.1, b.resident.1 - a.resident.0);
            (axis.in_unit(low), axis.in_unit(high))
        })
        .collect();
    let cap = axis.end();
    let low = gap.iter().map(|g| g.0).fold(0.0, f64::min).max(-cap);
    let high = gap.iter().map(|g| g.1).fold(0.0, f64::max).min(cap);
    let pad = ((high - low) * 0.06).max(1e-9);
    let panel = Panel {
        left,
        top,
        right,
        bottom,
        across: chart.clock_axis.scale,
        up: Scale::Linear { from: low - pad, to: high + pad },
    };
    canvas.text(left, top - 40.0, "difference", HEADING, Anchor::Left);
    let [one, other] = pair.map(|described| &described.backend);
    let text = format!("resident, {} − {}, {}", other.name, one.name, axis.unit);
    canvas.text(left, top - 17.0, &shorten(&text, NOTE, right - left), NOTE, Anchor::Left);
    let ticks = panel.up.ticks(8);
    panel.rows(canvas, &ticks, Some(&|tick| tick_text(tick, &ticks).replace('-', "−")));
    for (at, (low, high)) in gap.iter().enumerate() {
        for (value, colour) in [(high.max(0.0), other.colour), (low.min(0.0), one.colour)] {
            canvas.sliver(left, at, panel.y(value), panel.y(0.0), colour.pale(0.55));
        }
    }
    canvas.line(&[(left, panel.y(0.0)), (right, panel.y(0.0))], Stroke::solid(1.2, INK));
    panel.axes(canvas);
    let across = panel.across.ticks(5);
    panel.numbers(canvas, &across, &|tick| tick_text(tick, &across));
}
