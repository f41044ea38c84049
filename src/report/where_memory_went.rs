//! Room `report`, chart: where the memory went: resident memory by cause over the allocation clock.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Stroke, text_width};
use super::chart::{
    Chart, EXTERNAL_FRAGMENTATION, HEADING, INK, KEPT, LEFT, LIVE, NOTE, Picture, RIGHT, ROUNDING,
    SMALL, SOFT, STRONG, TINY, fits, frame, hint_of, legend,
};
use super::figures::{Backend, TraceReport};
use super::phases::{self, Phase};
use super::series::{self, Column, columns, parts, shown_peak};
use super::words::{self, ByteUnit, byte_unit, figure3};

/// Why is resident memory so much larger than the heap?
pub const CHART: Chart = Chart {
    name: "where-memory-went",
    question: "Why is resident memory so much larger than the heap, and what would a trim give back?",
    reading: "Each panel is one allocator, left to right the program's life. Blue is what the program asked for; \
              everything above it is overhead: sky blue was rounded up, orange is free space in pages that a live block \
              attributions, grey is pages that nobody uses and that were not given back. The bar below each panel is the end of \
              the trace, and the black mark on it what was left after the allocator's own trim.",
    draw,
};

const COLOURS: [super::canvas::Colour; 4] = [LIVE, ROUNDING, EXTERNAL_FRAGMENTATION, KEPT];

/// What all panels share.
struct WhereMemoryWentLayout<'a> {
    phases: &'a [Phase],
    clock_end: f64,
    clock_unit: ByteUnit,
    up: Scale,
    unit: ByteUnit,
    live_peak: f64,
}

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let mut shown: Vec<&Backend> =
        trace_report.backends.iter().filter(|backend| backend.has_memory()).collect();
    if shown.is_empty() {
        return None;
    }
    if shown.len() > 5 {
        // So many are read as a ranking: the one that holds most at the end first.
        shown.sort_by(|a, b| b.memory.end.unwrap_or(0.0).total_cmp(&a.memory.end.unwrap_or(0.0)));
    }
    let peaks: Vec<f64> = shown.iter().map(|backend| peak(backend)).collect();
    let most = shown_peak(&peaks).max(trace_report.live_peak) * 1.06;
    let clock_end = shown
        .iter()
        .filter_map(|backend| backend.samples.last())
        .map(|sample| sample.clock_bytes as f64)
        .fold(0.0, f64::max);
    let unit = byte_unit(most);
    let up = match Scale::from_zero(most / unit.bytes) {
        Scale::Linear { .. } => Scale::Linear { from: 0.0, to: most / unit.bytes },
        other => other,
    };
    let (clock_unit, live_peak) = (byte_unit(clock_end), trace_report.live_peak);
    let layout = WhereMemoryWentLayout {
        phases: &trace_report.phases,
        clock_end,
        clock_unit,
        up,
        unit,
        live_peak,
    };

    let mut canvas = Canvas::new();
    let title = verdict(trace_report, &shown);
    let (top, bottom) = frame(&mut canvas, &title, &plotted(trace_report, &shown), &hint(&shown));
    let entries = [
        (LIVE, "live: requested bytes"),
        (ROUNDING, "rounding: usable − requested"),
        (EXTERNAL_FRAGMENTATION, "stranded: free space in pages that a live block pins"),
        (KEPT, "kept: resident pages without a live byte (a trim could return them)"),
    ];
    let top = legend(&mut canvas, LEFT, top + 14.0, &entries);
    let rows = if shown.len() > 5 { 2 } else { 1 };
    let across = shown.len().div_ceil(rows);
    let height = (bottom - top) / rows as f64;
    for (row, backends) in shown.chunks(across).enumerate() {
        let y = top + height * row as f64;
        draw_row(&mut canvas, &layout, backends, across, (y, y + height), row + 1 == rows);
    }
    Some(Picture { title, canvas })
}

fn peak(backend: &Backend) -> f64 {
    let sampled =
        backend.samples.iter().map(|sample| series::heights(sample)[3]).fold(0.0, f64::max);
    sampled.max(backend.memory.peak.unwrap_or(0.0))
}

fn draw_row(
    canvas: &mut Canvas,
    layout: &WhereMemoryWentLayout,
    backends: &[&Backend],
    across: usize,
    (top, bottom): (f64, f64),
    last: bool,
) {
    let single = bottom - top > 400.0;
    let slots = if across == 2 && single && backends.len() == 2 { 3 } else { across };
    let gap = 36.0;
    let first = LEFT + 26.0;
    let width = (RIGHT - first - gap * (slots as f64 - 1.0)) / slots as f64;
    let head = if single { 72.0 } else { 62.0 };
    let foot = if single { 142.0 } else { 108.0 };
    // One that runs off says so where the live peak would be named.
    let named = backends.iter().position(|backend| !is_off(backend, layout));
    for (at, backend) in backends.iter().enumerate() {
        let left = first + (width + gap) * at as f64;
        let panel = Panel {
            left,
            top: top + head,
            right: left + width,
            bottom: bottom - foot,
            across: Scale::Linear { from: 0.0, to: layout.clock_end / layout.clock_unit.bytes },
            up: layout.up,
        };
        heading(canvas, &panel, backend, layout);
        plot(canvas, &panel, backend, layout, (at == 0, Some(at) == named));
        let bar = if single { bottom - 52.0 } else { bottom - 48.0 };
        end_bar(canvas, &panel, backend, layout, bar, single);
        if at == 0 && single {
            let words = format!("At exit, {}", layout.unit.name);
            canvas.text(LEFT, bar - 30.0, &words, SMALL.in_colour(SOFT).sized(15.0), Anchor::Left);
        }
        if at + 1 == backends.len() && (single || last) {
            let words = format!("x: allocation clock, {} allocated so far", layout.clock_unit.name);
            canvas.text(
                panel.right,
                panel.bottom + if single { 42.0 } else { 38.0 },
                &words,
                SMALL.sized(if single { 14.0 } else { 13.0 }),
                Anchor::Right,
            );
        }
    }
    let middle = (top + head + bottom - foot) / 2.0;
    canvas.text_upwards(
        LEFT - 12.0,
        middle,
        &format!("{} resident", layout.unit.name),
        SMALL.sized(15.0),
    );
    if slots == 3 && backends.len() == 2 {
        let left = first + (width + gap) * 2.0;
        difference(
            canvas,
            layout,
            backends,
            (left + 40.0, top + head, left + width, bottom - foot),
        );
    }
}

fn heading(canvas: &mut Canvas, panel: &Panel, backend: &Backend, layout: &WhereMemoryWentLayout) {
    let y = panel.top - 40.0;
    let room = panel.right - panel.left;
    let (name, kind) = super::canvas::fitted(backend.name, HEADING, 12.0, room);
    let used = canvas.text(panel.left, y, &name, kind, Anchor::Left);
    if fits(backend.version, SMALL, room - used - 10.0) && backend.version != backend.name {
        canvas.text(panel.left + used + 10.0, y, backend.version, SMALL, Anchor::Left);
    }
    let times = |bytes: Option<f64>, live: f64| match bytes {
        Some(bytes) if live > 0.0 => words::ratio(bytes / live),
        _ => "–".to_owned(),
    };
    let last = backend.samples.last().map_or(0.0, |sample| sample.live_bytes as f64);
    let about = backend.memory.about();
    let mut text = format!(
        "peak {about}{}   end {about}{}",
        times(backend.memory.peak, layout.live_peak),
        times(backend.memory.end, last)
    );
    match backend.memory.bands[2] {
        // In a narrow panel the bracket over the bar says it.
        _ if room < 200.0 => {}
        Some((low, high)) if last > 0.0 => {
            text += &format!(" ({}–{})", words::figure(low / last), words::figure(high / last));
        }
        _ if backend.memory.one_pace => text += " at this pace",
        _ => {}
    }
    let (text, kind) = super::canvas::fitted(&text, NOTE, 11.0, room);
    canvas.text(panel.left, y + 23.0, &text, kind, Anchor::Left);
}

/// The first of a row has the numbers of all, and one of it names the live peak.
fn plot(
    canvas: &mut Canvas,
    panel: &Panel,
    backend: &Backend,
    layout: &WhereMemoryWentLayout,
    (first, names_live): (bool, bool),
) {
    let ticks = layout.up.ticks(if panel.bottom - panel.top > 250.0 { 8 } else { 4 });
    let words = |tick: f64| tick_words(tick, &ticks);
    panel.rows(canvas, &ticks, if first { Some(&words) } else { None });
    // Three columns a pixel: the paper is drawn three times as fine as it is shown.
    let count = ((panel.right - panel.left) * 3.0).round().max(1.0) as usize;
    let reduced = columns(&backend.samples, layout.clock_end, count);
    let y = |bytes: f64| panel.y(bytes / layout.unit.bytes);
    for (at, column) in reduced.iter().enumerate() {
        for part in (0..4).rev() {
            canvas.sliver(panel.left, at, y(column.most[part]), panel.bottom, COLOURS[part]);
        }
    }
    for (at, column) in reduced.iter().enumerate() {
        if column.resident.0 < layout.up.end() * layout.unit.bytes {
            outline(canvas, column, panel.left + at as f64 / 3.0, &y);
        }
    }
    panel.axes(canvas);
    let place = |phase: &Phase| phase.clock_bytes / layout.clock_unit.bytes;
    phases::draw(canvas, panel, layout.phases, place, panel.right - panel.left > 180.0);
    let across = panel.across.ticks(5);
    panel.numbers(canvas, &across, &|tick| tick_words(tick, &across));
    let live = y(layout.live_peak);
    canvas.line(&[(panel.left, live), (panel.right, live)], Stroke::dashed(1.6, LIVE, 6.0, 3.5));
    runs_off(canvas, panel, backend, layout);
    if names_live {
        let text = format!("live peak {}", figure3(layout.live_peak / layout.unit.bytes));
        let kind = TINY.in_colour(LIVE);
        let kind = super::canvas::Type { bold: true, ..kind };
        // Near the top stand the names of phases.
        let y = if live < panel.top + 38.0 { live + 16.0 } else { live - 6.0 };
        label_on_white(canvas, panel.left + 6.0, y, &text, kind);
    }
}

/// The hairline around resident memory: from the least to the most of each column.
fn outline(canvas: &mut Canvas, column: &Column, left: f64, y: &dyn Fn(f64) -> f64) {
    let (low, high) = column.resident;
    let middle = left + 1.0 / 6.0;
    canvas.rectangle(middle - 0.6, y(high) - 0.5, middle + 0.6, y(low) + 0.5, INK.pale(0.25));
}

fn label_on_white(canvas: &mut Canvas, x: f64, y: f64, text: &str, kind: super::canvas::Type) {
    let width = text_width(text, kind);
    canvas.rectangle(x - 3.0, y - kind.size * 0.85, x + width + 3.0, y + 3.0, super::chart::WHITE);
    canvas.text(x, y, text, kind, Anchor::Left);
}

/// Says how high it goes where the plot ends below the peak.
fn is_off(backend: &Backend, layout: &WhereMemoryWentLayout) -> bool {
    peak(backend) / layout.unit.bytes > layout.up.end()
}

fn runs_off(canvas: &mut Canvas, panel: &Panel, backend: &Backend, layout: &WhereMemoryWentLayout) {
    if !is_off(backend, layout) {
        return;
    }
    let most = peak(backend);
    let text = format!("▲ runs off to {}", words::bytes(most));
    let width = text_width(&text, STRONG);
    // Below the names of phases.
    label_on_white(canvas, panel.right - width - 6.0, panel.top + 38.0, &text, STRONG);
}

fn end_bar(
    canvas: &mut Canvas,
    panel: &Panel,
    backend: &Backend,
    layout: &WhereMemoryWentLayout,
    middle: f64,
    single: bool,
) {
    let Some(last) = backend.samples.last() else { return };
    let total = backend.memory.end.unwrap_or(last.resident_bytes as f64);
    let number = figure3(total / layout.unit.bytes);
    let room = panel.right - panel.left - text_width(&number, STRONG) - 8.0;
    let scale = Scale::Linear { from: 0.0, to: layout.up.end() };
    let x = |bytes: f64| panel.left + scale.share(bytes / layout.unit.bytes) * room;
    let half = if single { 10.0 } else { 7.0 };
    let mut below = 0.0;
    for (part, colour) in parts(last).into_iter().zip(COLOURS) {
        let (from, to) = (x(below), x(below + part));
        canvas.rectangle(from, middle - half, to, middle + half, colour);
        let text = figure3(part / layout.unit.bytes);
        let ink = if colour.lightness() > 0.5 { INK } else { super::chart::WHITE };
        let mark = backend.memory.trimmed.map_or(f64::NAN, x);
        let kind = super::canvas::Type { bold: true, ..TINY.in_colour(ink) };
        // The black mark must not strike through the number: it goes to the longer side.
        let (left, right) = if mark > from && mark < to {
            if mark - from > to - mark { (from, mark) } else { (mark, to) }
        } else {
            (from, to)
        };
        if single && fits(&text, kind, right - left) {
            canvas.text((left + right) / 2.0, middle + 4.5, &text, kind, Anchor::Middle);
        }
        below += part;
    }
    let right = x(below);
    if below / layout.unit.bytes > layout.up.end() {
        // Cut short: two slanted gaps, as in a broken axis.
        for k in [0.0, 9.0] {
            let at = right - 26.0 + k;
            canvas.line(
                &[(at - 3.0, middle + half + 2.0), (at + 3.0, middle - half - 2.0)],
                Stroke::solid(3.0, super::chart::WHITE),
            );
        }
    }
    canvas.text(right + 6.0, middle + 5.0, &number, STRONG, Anchor::Left);
    if let Some((low, high)) = backend.memory.bands[2] {
        let (from, to, y) = (x(low), x(high), middle - half - 5.0);
        canvas
            .line(&[(from, y + 3.0), (from, y), (to, y), (to, y + 3.0)], Stroke::solid(1.6, SOFT));
    }
    trim_mark(canvas, panel, backend, layout, (x(0.0), right, middle, half), &x);
}

fn trim_mark(
    canvas: &mut Canvas,
    panel: &Panel,
    backend: &Backend,
    layout: &WhereMemoryWentLayout,
    (_, _, middle, half): (f64, f64, f64, f64),
    x: &dyn Fn(f64) -> f64,
) {
    let Some(trimmed) = backend.memory.trimmed else { return };
    let at = x(trimmed);
    canvas.line(&[(at, middle - half - 2.0), (at, middle + half + 4.0)], Stroke::solid(2.0, INK));
    let tip = middle + half + 1.0;
    canvas.polygon(&[(at, tip), (at - 5.5, tip + 9.0), (at + 5.5, tip + 9.0)], INK);
    // The second mark, open: what a trim would have left, had the thread's cache been empty.
    let emptied =
        backend.memory.cached().and(backend.memory.flushed).filter(|bytes| at - x(*bytes) > 2.0);
    if let Some(at) = emptied.map(x) {
        canvas.line(
            &[(at, middle - half - 2.0), (at, middle + half + 4.0)],
            Stroke::dashed(1.6, INK, 3.0, 2.0),
        );
        let outline = [(at, tip), (at - 5.5, tip + 9.0), (at + 5.5, tip + 9.0), (at, tip)];
        canvas.line(&outline, Stroke::solid(1.4, INK));
    }
    let mut text = format!("after trim {}", figure3(trimmed / layout.unit.bytes));
    match backend.memory.bands[3] {
        Some((low, high)) if high > low => {
            let [low, high] = [low, high].map(|bytes| figure3(bytes / layout.unit.bytes));
            text += &format!(" ({low}–{high})");
        }
        _ if backend.memory.one_pace => text = text.replace("trim ", "trim ≈"),
        _ => {}
    }
    if let Some(bytes) = emptied {
        text += &format!(", △ {}", figure3(bytes / layout.unit.bytes));
    }
    let (text, kind) = super::canvas::fitted(
        &text,
        SMALL.in_colour(INK).sized(13.0),
        10.0,
        panel.right - panel.left,
    );
    let width = text_width(&text, kind);
    let left = (at - width / 2.0).min(panel.right - width).max(panel.left);
    canvas.text(left, tip + 22.0, &text, kind, Anchor::Left);
}

/// The third panel beside two: how much more one keeps resident than the other.
fn difference(
    canvas: &mut Canvas,
    layout: &WhereMemoryWentLayout,
    pair: &[&Backend],
    place: (f64, f64, f64, f64),
) {
    let (left, top, right, bottom) = place;
    let count = ((right - left) * 3.0).round().max(1.0) as usize;
    let [a, b] = [0, 1].map(|k| columns(&pair[k].samples, layout.clock_end, count));
    let gap: Vec<(f64, f64)> = a
        .iter()
        .zip(&b)
        .map(|(a, b)| {
            let unit = layout.unit.bytes;
            ((b.resident.0 - a.resident.1) / unit, (b.resident.1 - a.resident.0) / unit)
        })
        .collect();
    let cap = layout.up.end();
    let low = gap.iter().map(|g| g.0).fold(0.0, f64::min).max(-cap);
    let high = gap.iter().map(|g| g.1).fold(0.0, f64::max).min(cap);
    let pad = ((high - low) * 0.06).max(1e-9);
    let panel = Panel {
        left,
        top,
        right,
        bottom,
        across: Scale::Linear { from: 0.0, to: layout.clock_end / layout.clock_unit.bytes },
        up: Scale::Linear { from: low - pad, to: high + pad },
    };
    canvas.text(left, top - 40.0, "difference", HEADING, Anchor::Left);
    let words = format!("resident, {} − {}, {}", pair[1].name, pair[0].name, layout.unit.name);
    let words = super::canvas::shorten(&words, NOTE, right - left);
    canvas.text(left, top - 17.0, &words, NOTE, Anchor::Left);
    let ticks = panel.up.ticks(8);
    panel.rows(canvas, &ticks, Some(&|tick| tick_words(tick, &ticks).replace('-', "−")));
    for (at, (low, high)) in gap.iter().enumerate() {
        for (value, colour) in [(high.max(0.0), pair[1].colour), (low.min(0.0), pair[0].colour)] {
            canvas.sliver(left, at, panel.y(value), panel.y(0.0), colour.pale(0.55));
        }
    }
    canvas.line(&[(left, panel.y(0.0)), (right, panel.y(0.0))], Stroke::solid(1.2, INK));
    panel.axes(canvas);
    let across = panel.across.ticks(5);
    panel.numbers(canvas, &across, &|tick| tick_words(tick, &across));
}

fn plotted(trace_report: &TraceReport, shown: &[&Backend]) -> String {
    let mut text = format!(
        "Resident anonymous memory split by cause while `{}` is replayed ({} calls, {} allocated in total).  From pointers \
         and resident size alone, so for any allocator.",
        trace_report.trace.name,
        words::count(trace_report.trace.calls),
        words::bytes(trace_report.requested)
    );
    let absent = |floor: bool| -> Vec<String> {
        let mine =
            trace_report.backends.iter().filter(|b| !b.has_memory() && b.is_floor() == floor);
        mine.map(|b| b.name.to_owned()).collect()
    };
    if !absent(true).is_empty() {
        text += "  null backs no memory.";
    }
    if !absent(false).is_empty() && !shown.is_empty() {
        text += &format!("  Not measured: {}.", words::list(&absent(false)));
    }
    text
}

fn hint(shown: &[&Backend]) -> String {
    let opening = "Black line: resident.  ▲ on a bar: measured after the allocator's own trim call; left of it is what stays, \
                   right of it what came back.";
    let told =
        |before: &str, of: &dyn Fn(&Backend) -> Option<f64>, tell: &dyn Fn(f64) -> String| {
            let figures = shown.iter().filter_map(|backend| {
                let value = of(backend)?;
                Some((value, format!("{} {}", backend.name, tell(value))))
            });
            let figures = words::all_or_ends(figures.collect(), ", ");
            if figures.is_empty() { String::new() } else { format!("{before}: {figures}.") }
        };
    let share = |backend: &Backend| {
        let (end, trimmed) = (backend.memory.end?, backend.memory.trimmed?);
        let kept = end - backend.memory.pages_in_use_end?;
        (kept > end * 0.02).then(|| ((end - trimmed) / kept * 100.0).clamp(0.0, 100.0))
    };
    let band = if shown.iter().any(|backend| backend.memory.bands[2].is_some()) {
        "≈, and the bracket over a bar: memory goes back by the clock; had it gone back at once, and never."
    } else {
        ""
    };
    hint_of(
        opening,
        &[
            band.to_owned(),
            told(
                "△: had the thread's cache of free blocks been emptied first, which a trim does not touch \
                 (glibc.malloc.tcache_count=0 has none)",
                &|backend| backend.memory.cached(),
                &words::bytes,
            ),
            told(
                "Pointers alone say that a trim leaves",
                &|backend| backend.memory.trim_predicted,
                &words::bytes,
            ),
            told("Part of the grey that a trim gave back", &share, &|share| {
                format!("{share:.0}\u{a0}%")
            }),
            told(
                "Still resident when every block is freed",
                &|backend| backend.memory.freed,
                &words::bytes,
            ),
        ],
    )
}

fn verdict(trace_report: &TraceReport, shown: &[&Backend]) -> String {
    let ends: Vec<f64> = shown.iter().filter_map(|backend| backend.memory.end).collect();
    let usual = shown_peak(&ends);
    let near: Vec<f64> = ends.iter().copied().filter(|end| *end <= usual).collect();
    let Some((low, high)) = crate::stats::range(&near) else {
        return "Resident memory by cause".to_owned();
    };
    let held = format!("{}{}", span(low, high), other_paces(shown, usual, (low, high)));
    let giants: Vec<String> = shown
        .iter()
        .filter_map(|b| b.memory.end.filter(|end| *end > usual).map(|end| (b.name, end)))
        .map(|(name, end)| format!("{} in {name}", words::bytes(end)))
        .collect();
    let giants =
        if giants.is_empty() { String::new() } else { format!(" ({})", words::list(&giants)) };
    let live = words::bytes(trace_report.live_end);
    let opening = if trace_report.live_end * 20.0 < low {
        format!("At exit hardly anything is live ({live}), yet {held} stay resident{giants}.")
    } else {
        format!("At exit, {live} of live objects hold {held} resident{giants}.")
    };
    format!("{opening}  {}", largest_parts(shown)).trim_end().to_owned()
}

/// `(40–90 at any pace)` where memory goes back by the clock and might be other than `held`; `(at
/// this pace)` where that is not known.
fn other_paces(shown: &[&Backend], usual: f64, held: (f64, f64)) -> String {
    let near = || shown.iter().filter(|backend| backend.memory.end.is_some_and(|end| end <= usual));
    let bands = near().filter_map(|backend| backend.memory.bands[2]);
    let (low, high) = bands.fold(held, |all, band| (all.0.min(band.0), all.1.max(band.1)));
    let all = span(low, high);
    if all != span(held.0, held.1) {
        format!(" ({all} at any pace)")
    } else if near().any(|backend| backend.memory.one_pace) {
        " (at this pace)".to_owned()
    } else {
        String::new()
    }
}

/// `43–75 MiB`, or one number where both ends read the same.
fn span(low: f64, high: f64) -> String {
    let unit = byte_unit(high);
    let [from, to] = [low, high].map(|bytes| words::figure(bytes / unit.bytes));
    if from == to {
        format!("{to}\u{a0}{}", unit.name)
    } else {
        format!("{from}–{to}\u{a0}{}", unit.name)
    }
}

/// Which part is the largest, by backend.
fn largest_parts(shown: &[&Backend]) -> String {
    let causes = [
        "the live objects themselves (blue)",
        "rounding (sky blue)",
        "space stranded beside live blocks (orange)",
        "free pages never returned (grey)",
    ];
    let mut groups: [Vec<String>; 4] = Default::default();
    for backend in shown {
        let Some(last) = backend.samples.last() else { continue };
        let parts = parts(last);
        let most = (0..4).max_by(|a, b| parts[*a].total_cmp(&parts[*b])).unwrap_or(0);
        groups[most].push(backend.name.to_owned());
    }
    let clauses: Vec<String> = groups
        .iter()
        .zip(causes)
        .rev()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, cause)| format!("{cause} in {}", words::some(names)))
        .collect();
    if clauses.is_empty() {
        String::new()
    } else {
        format!("The largest part is {}.", clauses.join("; "))
    }
}
