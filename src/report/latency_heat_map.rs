//! Room `report`, chart: service times over the replay, a row a backend, below what the program had
//! live.
//!
//! The record holds counts in fixed bins and the slowest calls by themselves, so the picture costs
//! the same for ten thousand calls and for a billion, and no extreme is lost to binning.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Colour, Stroke, shorten, text_width};
use super::chart::{
    AXIS, Chart, LEFT, LIVE, Picture, RIGHT, SMALL, SOFT, STRONG, TINY, WHITE, frame,
};
use super::figures::{Backend, TraceReport};
use super::phases;
use super::tail::{slow_calls, strays};
use super::words::{self, byte_unit, nanosecond_tick, nanoseconds};
use crate::results::{LatencyRow, Sample, SlowCall};

/// When do stalls happen?
pub const CHART: Chart = Chart {
    name: "latency-heat-map",
    question: "When do stalls happen, and what was the program doing?",
    reading: "Left to right the replay, upwards the service time of a call, and the darker the more calls. Horizontal bands are \
              paths through the allocator. A dot is one call of over 100 µs by the median over the replays; grey ticks at \
              the upper edge are calls that only a part of the replays saw slow, which is the machine's doing. Above, what the \
              program had live: see whether stalls come when it grows or when it falls.",
    draw,
};

/// Calls over this are dots of their own.
const DOT_NANOSECONDS: u64 = 100_000;
/// More rows than this would be too low to read.
const MOST_ROWS: usize = 12;
/// Bins from few calls to many.
const FEW: Colour = Colour(0xDC, 0xEA, 0xF7);
const SOME: Colour = Colour(0x5B, 0xA3, 0xD0);
const MANY: Colour = Colour(0x08, 0x30, 0x6B);
/// Dots.
const STALL: Colour = Colour(0xD5, 0x5E, 0x00);

/// One backend's course.
struct Course<'a> {
    backend: &'a Backend<'a>,
    rows: Vec<&'a LatencyRow>,
    slow: Vec<&'a SlowCall>,
    strays: Vec<&'a SlowCall>,
}

impl Course<'_> {
    fn over(&self, nanoseconds: f64) -> usize {
        self.slow.iter().filter(|call| call.nanoseconds as f64 > nanoseconds).count()
    }

    /// Time in all calls, in ns, the clock pair taken off.
    fn total(&self, pair: f64) -> f64 {
        let times = |row: &&LatencyRow| {
            let middle = (row.from_nanoseconds.max(1e-3) * row.to_nanoseconds).sqrt();
            let calls: f64 = row.counts().iter().map(|(_, calls)| *calls as f64).sum();
            (middle - pair) * calls
        };
        self.rows.iter().map(times).sum::<f64>().max(0.0)
    }

    fn columns(&self) -> usize {
        self.rows.iter().map(|row| row.columns as usize).max().unwrap_or(0)
    }
}

fn courses<'a>(trace_report: &'a TraceReport) -> Vec<Course<'a>> {
    let of = |backend: &'a Backend<'a>| {
        let (run, trace) = (trace_report.run, &trace_report.trace.name);
        let good = |row: &&LatencyRow| {
            row.trace == *trace
                && row.backend == backend.name
                && row.columns > 0
                && row.from_nanoseconds.is_finite()
                && row.to_nanoseconds > row.from_nanoseconds.max(0.0)
        };
        let rows: Vec<&LatencyRow> = run.latency_map.iter().filter(good).collect();
        (!rows.is_empty()).then(|| Course {
            backend,
            rows,
            slow: slow_calls(run, trace, backend.name),
            strays: strays(run, trace, backend.name),
        })
    };
    trace_report.allocators().filter_map(of).collect()
}

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let mut courses = courses(trace_report);
    if courses.is_empty() {
        return None;
    }
    let title = verdict(trace_report, &courses);
    let left_out = courses.len().saturating_sub(MOST_ROWS);
    courses.truncate(MOST_ROWS);
    let mut canvas = Canvas::new();
    let (top, bottom) =
        frame(&mut canvas, &title, &plotted(trace_report, &courses, left_out), HINT);
    let calls = trace_report.trace.calls.max(1) as f64;
    let (divisor, unit) = match calls {
        calls if calls >= 2e9 => (1e9, "billions"),
        calls if calls >= 2e6 => (1e6, "millions"),
        calls if calls >= 2e4 => (1e3, "thousands"),
        _ => (1.0, ""),
    };
    let across = Scale::Linear { from: 0.0, to: calls / divisor };
    let left = LEFT + 186.0;
    let marks = phases::marks(trace_report.trace);
    let panel = |top: f64, bottom: f64, up: Scale| Panel {
        left,
        top,
        right: RIGHT - 18.0,
        bottom,
        across,
        up,
    };
    // The live heap first, the names of the phases above it.
    let mut y = top + 4.0;
    if let Some(backend) = trace_report.backends.iter().find(|backend| backend.samples.len() > 1) {
        y += if marks.is_empty() { 6.0 } else { 20.0 };
        let strip = panel(y, y + 52.0, Scale::Linear { from: 0.0, to: 1.0 });
        live(&mut canvas, &strip, &backend.samples, divisor);
        names(&mut canvas, &strip, &marks, divisor);
        y += 52.0;
    }
    let foot = bottom - 44.0;
    let height = (foot - y) / courses.len() as f64;
    let up = vertical(trace_report, &courses);
    let most = courses
        .iter()
        .flat_map(|course| &course.rows)
        .flat_map(|row| row.counts())
        .map(|c| c.1)
        .max();
    for (at, course) in courses.iter().enumerate() {
        let gap = if height > 60.0 { 14.0 } else { 8.0 };
        let panel = panel(y + height * at as f64 + gap, y + height * (at + 1) as f64, up);
        row(&mut canvas, trace_report, &panel, course, (most.unwrap_or(1), divisor));
        for (event, _) in marks.iter().take(phases::MOST) {
            let x = panel.x(*event as f64 / divisor);
            canvas.line(&[(x, panel.top), (x, panel.bottom)], Stroke::dashed(1.0, AXIS, 2.0, 3.0));
        }
        dots(&mut canvas, &panel, course, divisor);
        label(&mut canvas, trace_report, &panel, course);
        if at + 1 == courses.len() {
            let ticks = panel.across.ticks(8);
            panel.numbers(&mut canvas, &ticks, &|tick| tick_words(tick, &ticks));
        }
    }
    let unit = if unit.is_empty() {
        "x: calls replayed".to_owned()
    } else {
        format!("x: calls replayed, {unit}")
    };
    canvas.text(RIGHT - 18.0, bottom - 2.0, &unit, SMALL, Anchor::Right);
    Some(Picture { title, canvas })
}

/// One scale of time for all rows.
fn vertical(trace_report: &TraceReport, courses: &[Course]) -> Scale {
    let rows = || courses.iter().flat_map(|course| course.rows.iter());
    let low = rows().map(|row| row.from_nanoseconds).fold(f64::INFINITY, f64::min);
    let slow =
        courses.iter().flat_map(|course| course.slow.first()).map(|call| call.nanoseconds as f64);
    let high = rows().map(|row| row.to_nanoseconds).chain(slow).fold(0.0, f64::max);
    Scale::log(
        low.min(trace_report.clock_step.unwrap_or(f64::INFINITY)).max(1.0),
        (high * 1.6).min(1e14),
    )
}

/// What the program had live, as an area of every sample.
fn live(canvas: &mut Canvas, panel: &Panel, samples: &[&Sample], divisor: f64) {
    let most = samples.iter().map(|sample| sample.live_bytes).max().unwrap_or(0).max(1) as f64;
    let panel = Panel { up: Scale::Linear { from: 0.0, to: most }, ..*panel };
    let mut points = vec![(panel.left, panel.bottom)];
    points.extend(
        samples.iter().map(|s| (panel.x(s.event as f64 / divisor), panel.y(s.live_bytes as f64))),
    );
    for pair in points.windows(2) {
        let [(from, y), (to, end)] = [pair[0], pair[1]];
        canvas.polygon(
            &[(from, y), (to, end), (to, panel.bottom), (from, panel.bottom)],
            LIVE.pale(0.15),
        );
    }
    canvas
        .line(&[(panel.left, panel.bottom), (panel.right, panel.bottom)], Stroke::solid(1.0, AXIS));
    canvas.text(
        LEFT + 124.0,
        panel.bottom - 20.0,
        "live heap",
        STRONG.in_colour(LIVE),
        Anchor::Right,
    );
    let unit = byte_unit(most);
    let peak = format!("{} {}", words::figure(most / unit.bytes), unit.name);
    canvas.text(panel.left - 9.0, panel.top + 9.0, &peak, TINY, Anchor::Right);
    canvas.text(panel.left - 9.0, panel.bottom + 1.0, "0", TINY, Anchor::Right);
}

/// The names of the phases above the strip; one that would touch the one before is left out.
fn names(canvas: &mut Canvas, panel: &Panel, marks: &[(u64, String)], divisor: f64) {
    let mut free_from = panel.left;
    for (event, name) in marks.iter().take(phases::MOST) {
        let x = panel.x(*event as f64 / divisor);
        canvas
            .line(&[(x, panel.top - 4.0), (x, panel.bottom)], Stroke::dashed(1.0, AXIS, 2.0, 3.0));
        let kind = TINY.in_colour(SOFT);
        let name = shorten(name, kind, 150.0);
        let width = text_width(&name, kind);
        if x >= free_from && x + width < panel.right {
            canvas.text(x, panel.top - 7.0, &name, kind, Anchor::Left);
            free_from = x + width + 10.0;
        }
    }
}

fn row(
    canvas: &mut Canvas,
    trace_report: &TraceReport,
    panel: &Panel,
    course: &Course,
    (most, divisor): (u64, f64),
) {
    let high = panel.bottom - panel.top;
    let ticks = panel.up.ticks(((high / 22.0) as usize).clamp(2, 9));
    panel.rows(canvas, &ticks, Some(&nanosecond_tick));
    let columns = course.columns() as f64;
    let end = panel.x(trace_report.trace.calls.max(1) as f64 / divisor);
    let width = (end - panel.left) / columns;
    for row in &course.rows {
        // Not thinner than a line that can be seen: an extreme is one call.
        let (mut upper, lower) = (panel.y(row.to_nanoseconds), panel.y(row.from_nanoseconds));
        upper = upper.min(lower - 1.2);
        let counts = row.counts();
        for run in counts.chunk_by(|a, b| a.0 + 1 == b.0 && a.1 == b.1) {
            let (first, last) = (run[0].0 as f64, run[run.len() - 1].0 as f64);
            let (from, to) = (panel.left + width * first, panel.left + width * (last + 1.0));
            canvas.rectangle(from, upper, to, lower, shade(run[0].1, most));
        }
    }
    panel.axes(canvas);
}

/// From one call to the most, on a logarithmic scale.
fn shade(calls: u64, most: u64) -> Colour {
    let share = (calls.max(1) as f64).ln() / (most.max(2) as f64).ln();
    if share < 0.6 {
        FEW.mix(SOME, share / 0.6)
    } else {
        SOME.mix(MANY, ((share - 0.6) / 0.4).min(1.0))
    }
}

fn dots(canvas: &mut Canvas, panel: &Panel, course: &Course, divisor: f64) {
    for call in &course.strays {
        let x = panel.x(call.event as f64 / divisor);
        canvas.line(&[(x, panel.top - 3.0), (x, panel.top + 3.0)], Stroke::solid(1.0, AXIS));
    }
    // The slowest is one in any case; it comes last, on top.
    let stalls = course.slow.iter().enumerate();
    let stalls = stalls.filter(|(rank, call)| *rank == 0 || call.nanoseconds > DOT_NANOSECONDS);
    for (_, call) in stalls.collect::<Vec<_>>().into_iter().rev() {
        let (x, y) = (panel.x(call.event as f64 / divisor), panel.y(call.nanoseconds as f64));
        canvas.disc(x, y, 4.4, WHITE);
        canvas.disc(x, y, 3.3, STALL);
    }
    let Some(worst) = course.slow.first() else { return };
    let (x, y) = (panel.x(worst.event as f64 / divisor), panel.y(worst.nanoseconds as f64));
    let text = format!("max {}", nanoseconds(worst.nanoseconds as f64));
    let kind = STRONG.sized(13.0).in_colour(Colour(0xA8, 0x48, 0x00));
    let width = text_width(&text, kind);
    let (base, anchor) =
        ((y + 4.5).clamp(panel.top + 11.0, panel.bottom - 2.0), x + 14.0 + width < panel.right);
    let left = if anchor { x + 9.0 } else { x - 9.0 - width };
    canvas.rectangle(left - 2.0, base - 11.0, left + width + 2.0, base + 2.0, WHITE);
    canvas.text(left, base, &text, kind, Anchor::Left);
}

/// The backend's name and its figures, as many lines as there is room for.
fn label(canvas: &mut Canvas, trace_report: &TraceReport, panel: &Panel, course: &Course) {
    let high = panel.bottom - panel.top;
    let kind = STRONG.sized(if high > 44.0 { 16.0 } else { 13.0 });
    let pair = trace_report.clock_pair.unwrap_or(0.0);
    let mut lines = vec![format!("{} in calls", nanoseconds(course.total(pair)))];
    lines.push(format!("{} over 1 ms", words::count(course.over(1e6) as u64)));
    lines.push(format!("{} over 100 µs", words::count(course.over(1e5) as u64)));
    lines.truncate(((high - 18.0) / 18.0).max(0.0) as usize);
    let mut y = (panel.top + panel.bottom) / 2.0 - 9.0 * lines.len() as f64 + 5.0;
    let right = LEFT + 124.0;
    canvas.text(right, y, &shorten(course.backend.name, kind, 140.0), kind, Anchor::Right);
    for line in lines {
        y += 18.0;
        canvas.text(right, y, &line, TINY, Anchor::Right);
    }
}

fn plotted(trace_report: &TraceReport, courses: &[Course], left_out: usize) -> String {
    let columns = courses.iter().map(Course::columns).max().unwrap_or(1).max(1) as u64;
    let calls = trace_report.trace.calls.div_ceil(columns);
    let repetitions = trace_report.run.manifest.repetitions;
    let mut text = format!(
        "Service times over the replay, all calls of `{}`, {}.  A column is {} {}; every call over 100 µs is also a dot, so no \
         extreme is lost to binning.",
        trace_report.trace.name,
        if repetitions < 3 {
            "raw, not confirmed".to_owned()
        } else {
            format!("each by its median over {repetitions} replays")
        },
        words::count(calls),
        if calls == 1 { "call" } else { "calls" },
    );
    if left_out > 0 {
        text += &format!("  {left_out} more backends have no room here.");
    }
    text
}

const HINT: &str = "Darker: more calls at that service time in that stretch (log scale).  Dots: single calls over 100 µs.  Grey ticks \
                    at a row's upper edge: calls slow in a part of the replays only, the machine's doing.  Horizontal bands are \
                    paths: the fast one (the clock's own steps), a refill, a page from the kernel (µs), a purge or merge (over \
                    100 µs).";

/// Who stalls, how often, how long, and when.
fn verdict(trace_report: &TraceReport, courses: &[Course]) -> String {
    let repetitions = trace_report.run.manifest.repetitions;
    let how = if repetitions as usize >= 3 {
        format!("each by its median over {repetitions} replays")
    } else {
        "in so few replays that it may be the machine".to_owned()
    };
    for (limit, words) in [(1e6, "1 ms"), (1e5, "100 µs"), (1e4, "10 µs")] {
        let mut counts: Vec<(&Course, usize)> =
            courses.iter().map(|course| (course, course.over(limit))).collect();
        counts.sort_by_key(|(course, count)| {
            (
                std::cmp::Reverse(*count),
                std::cmp::Reverse(course.slow.first().map(|call| call.nanoseconds)),
            )
        });
        let Some(&(first, most)) = counts.first().filter(|(_, count)| *count > 0) else { continue };
        let worst = first.slow.first().map_or(0.0, |call| call.nanoseconds as f64);
        // A median over few replays does not rule the machine out; how many of them saw the call
        // tells more.
        let seen =
            first.slow.first().filter(|call| repetitions >= 3 && call.seen < call.repetitions);
        let seen = seen.map(|call| format!(" (in {} of {})", call.seen, call.repetitions));
        let mut text = format!(
            "{} has {} {} over {words}, up to {}{}, {how}.",
            first.backend.name,
            words::count(most as u64),
            if most == 1 { "call" } else { "calls" },
            nanoseconds(worst),
            seen.unwrap_or_default()
        );
        if let Some(when) = in_phase(trace_report, first, limit) {
            text += &format!("  {when}.");
        }
        if let Some((_, next)) = counts.get(1) {
            text += &match next {
                0 => "  No other allocator has one.".to_owned(),
                _ if *next == most => format!("  {} has as many.", counts[1].0.backend.name),
                _ => format!("  No other allocator has more than {}.", words::count(*next as u64)),
            };
        }
        return text;
    }
    "No allocator has a call over 10 µs of its own.".to_owned()
}

/// The phase of the program in which more than half of the stalls lie, where there are several of
/// both.
fn in_phase(trace_report: &TraceReport, course: &Course, limit: f64) -> Option<String> {
    let marks = phases::marks(trace_report.trace);
    let stalls: Vec<u64> = course
        .slow
        .iter()
        .filter(|call| call.nanoseconds as f64 > limit)
        .map(|call| call.event)
        .collect();
    if marks.len() < 2 || stalls.len() < 4 {
        return None;
    }
    let phase = |event: &u64| marks.partition_point(|mark| mark.0 <= *event);
    let mut counts = vec![0; marks.len() + 1];
    stalls.iter().for_each(|event| counts[phase(event)] += 1);
    let (at, count) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    let name = &marks.get(at.checked_sub(1)?)?.1;
    (count * 2 > stalls.len()).then(|| format!("{count} of them come in the phase {name}"))
}
