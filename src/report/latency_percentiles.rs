//! Room `report`, chart: service time by percentile, one panel an op.

use super::axis::{Panel, Scale};
use super::canvas::{Anchor, Canvas, Colour, Stroke, shorten, text_width, wrap};
use super::chart::{
    AXIS, Chart, EndLabel, GRID, HEADING, LEFT, NOTE, Picture, RIGHT, SMALL, SOFT, STRONG, TINY,
    backend_stroke, end_labels, frame,
};
use super::figures::{Backend, Distribution, OPS, TraceReport};
use super::tail::{seen_words, slow_calls};
use super::words::{self, nanoseconds};

/// How bad is the tail, and is it the allocator's?
pub const CHART: Chart = Chart {
    name: "latency-percentiles",
    question: "How bad is the tail, and is it the allocator's or the machine's?",
    reading: "Follow a curve to the right to see how rare its slow calls are: each step right is ten times rarer. Bold \
              is the median over identical replays, call by call, which removes what only the machine did; dotted is one \
              raw replay. Where a curve is thin, fewer than ten calls lie beyond it.",
    draw,
};

/// Where a curve is in the plot: decades of rarity across, logarithm of nanoseconds upwards.
type Points = Vec<(f64, f64)>;

/// Width of the slowest call's own step, in decades: one call in n has no right end.
const LAST_STEP: f64 = 0.2;

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let ops: Vec<usize> = (0..OPS.len())
        .filter(|op| trace_report.allocators().any(|backend| backend.latency(*op).0.calls > 0))
        .collect();
    if ops.is_empty() {
        return None;
    }
    let mut canvas = Canvas::new();
    let title = verdict(trace_report);
    let (top, bottom) = frame(&mut canvas, &title, &plotted(trace_report), &hint(trace_report));
    let up = vertical(trace_report, &ops);
    let first = LEFT + 42.0;
    let (gap, labels) = (26.0, label_room(trace_report));
    let count = ops.len() as f64;
    let width = ((RIGHT - first) - (gap + labels) * count + gap) / count;
    for (at, op) in ops.iter().enumerate() {
        let left = first + (width + gap + labels) * at as f64;
        let most = trace_report.allocators().map(|b| b.latency(*op).0.calls).max().unwrap_or(1);
        // A little room beyond the rarest, so that the slowest call itself is a step that can be
        // seen.
        let decades = (most.max(10) as f64).log10().max(1.0) + LAST_STEP;
        let panel = Panel {
            left,
            top: top + 50.0,
            right: left + width,
            bottom: bottom - 62.0,
            across: Scale::Linear { from: 0.0, to: decades },
            up,
        };
        draw_panel(&mut canvas, trace_report, &panel, *op, at == 0, labels - 16.0);
    }
    let words = "x: the slowest one call in 10, 100, 1000 …   y: service time of a call, clock pair included";
    canvas.text(RIGHT, bottom - 14.0, words, SMALL, Anchor::Right);
    Some(Picture { title, canvas })
}

/// The same scale for all panels: from the clock's step to above the slowest call.
fn vertical(trace_report: &TraceReport, ops: &[usize]) -> Scale {
    let mut low = f64::INFINITY;
    let mut high: f64 = 0.0;
    for backend in trace_report.allocators() {
        for op in ops {
            for distribution in [&backend.confirmed[*op], &backend.raw[*op]] {
                if let (Some(first), Some(max)) = (distribution.steps.first(), distribution.max()) {
                    low = low.min(first.0.max(1.0));
                    high = high.max(max);
                }
            }
        }
    }
    let low = low.min(trace_report.clock_step.unwrap_or(f64::INFINITY)).max(1.0);
    Scale::log(low / 1.5, high * 2.0)
}

fn draw_panel(
    canvas: &mut Canvas,
    trace_report: &TraceReport,
    panel: &Panel,
    op: usize,
    first: bool,
    room: f64,
) {
    let calls =
        trace_report.allocators().map(|backend| backend.latency(op).0.calls).max().unwrap_or(0);
    canvas.text(panel.left, panel.top - 18.0, OPS[op].0, HEADING, Anchor::Left);
    let count = format!("{} calls", words::count(calls));
    canvas.text(panel.right, panel.top - 18.0, &count, NOTE, Anchor::Right);
    clock_band(canvas, trace_report, panel);
    let ticks = panel.up.ticks(12);
    panel.rows(canvas, &ticks, if first { Some(&words::nanosecond_tick) } else { None });
    let across: Vec<f64> = (0..=panel.across.end().floor() as i32).map(f64::from).collect();
    panel.columns(canvas, &across);
    panel.axes(canvas);
    if first {
        clock_words(canvas, trace_report, panel);
        raw_words(canvas, trace_report, panel, op);
    }
    let wide = (panel.right - panel.left) / panel.across.end() > 62.0;
    panel.numbers(canvas, &across, &|decade| rarity(decade, wide));
    let mut labels = Vec::new();
    let loud = emphasised(trace_report);
    for backend in trace_report.allocators().filter(|backend| loud.contains(&backend.name)) {
        let raw = &backend.raw[op];
        if backend.confirmed[op].calls > 0 && raw.calls > 0 {
            let stroke =
                Stroke { dash: Some((1.6, 2.6)), ..Stroke::solid(1.3, backend.colour.pale(0.25)) };
            canvas.line(&pixels(panel, &curve(raw)), stroke);
        }
    }
    // The first backend is the one that others are compared with: it is drawn last, on top; the
    // quiet ones first.
    let mut order: Vec<&Backend> =
        trace_report.backends.iter().rev().filter(|b| !b.is_floor()).collect();
    order.sort_by_key(|backend| loud.contains(&backend.name));
    for backend in order {
        let (distribution, confirmed) = backend.latency(op);
        let Some(max) = distribution.max() else { continue };
        let shown = loud.contains(&backend.name);
        let (colour, kind) = if shown {
            (backend.colour, STRONG.in_colour(backend.colour))
        } else {
            (AXIS, SMALL.sized(13.0))
        };
        draw_curve(canvas, panel, (colour, backend.variant), distribution, confirmed && shown);
        let value = nanoseconds(max);
        let name = shorten(backend.name, kind, room - text_width(&value, kind) - 6.0);
        labels.push(EndLabel { y: panel.y(max), text: format!("{name} {value}"), kind });
    }
    labels.reverse();
    end_labels(
        canvas,
        (panel.right + 2.0, panel.right + 14.0),
        (panel.top, panel.bottom),
        labels,
        room,
    );
}

/// Up to six backends are all in colour. Of more, four are: the first, pymalloc, and those with the
/// worst and the best slowest call; the others stay grey and keep their labels.
pub(super) fn emphasised<'a>(trace_report: &'a TraceReport) -> Vec<&'a str> {
    let all: Vec<(&str, f64)> = trace_report
        .allocators()
        .filter_map(|backend| Some((backend.name, backend.worst_call()?.0)))
        .collect();
    if all.len() <= 6 {
        return all.into_iter().map(|(name, _)| name).collect();
    }
    let best = all.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let worst = all.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let pymalloc = all.iter().find(|(name, _)| *name == "pymalloc");
    [all.first(), pymalloc, best, worst].into_iter().flatten().map(|(name, _)| *name).collect()
}

/// Room for the widest label beside a panel.
pub(super) fn label_room(trace_report: &TraceReport) -> f64 {
    let names = trace_report.allocators().map(|backend| text_width(backend.name, STRONG));
    (names.fold(0.0, f64::max) + 76.0).clamp(100.0, 190.0)
}

fn draw_curve(
    canvas: &mut Canvas,
    panel: &Panel,
    (colour, variant): (Colour, usize),
    distribution: &Distribution,
    confirmed: bool,
) {
    let points = curve(distribution);
    // Ten calls beyond: up to one in a tenth of the calls the curve is a fact.
    let fact = (distribution.calls as f64 / 10.0).max(1.0).log10();
    let (sure, thin) = split(&points, fact);
    let width = if confirmed { 2.6 } else { 1.6 };
    canvas.line(&pixels(panel, &thin), backend_stroke(colour, variant, 1.1));
    canvas.line(&pixels(panel, &sure), backend_stroke(colour, variant, width));
}

/// The steps of a distribution: across the decimal logarithm of "one call in N is slower", upwards
/// nanoseconds.
fn curve(distribution: &Distribution) -> Points {
    let calls = distribution.calls as f64;
    let mut points = Points::new();
    let mut x = 0.0;
    for &(value, up_to) in &distribution.steps {
        let beyond = calls - up_to as f64;
        let end = if beyond >= 1.0 { (calls / beyond).log10() } else { calls.log10() + LAST_STEP };
        // Steps narrower than a tenth of a pixel are folded into the next one.
        if end - x < 0.002 && beyond >= 1.0 && !points.is_empty() {
            continue;
        }
        points.push((x, value));
        points.push((end, value));
        x = end;
    }
    points
}

/// The part of a step curve up to `at`, and the rest.
fn split(points: &Points, at: f64) -> (Points, Points) {
    let cut = points.partition_point(|point| point.0 <= at);
    let mut sure = points[..cut].to_vec();
    let mut thin = points[cut..].to_vec();
    if let (Some(last), Some(next)) = (sure.last().copied(), thin.first().copied()) {
        if last.1 == next.1 {
            sure.push((at, last.1));
            thin.insert(0, (at, last.1));
        } else {
            thin.insert(0, last);
        }
    }
    (sure, thin)
}

fn pixels(panel: &Panel, points: &Points) -> Vec<(f64, f64)> {
    points.iter().map(|&(x, y)| (panel.x(x), panel.y(y))).collect()
}

/// `all`, `p90`, `p99`, `p99.9`, then one in a power of ten.
fn rarity(decade: f64, wide: bool) -> String {
    match decade.round() as i32 {
        0 => "all".to_owned(),
        1 => "p90".to_owned(),
        2 => "p99".to_owned(),
        3 => "p99.9".to_owned(),
        4 if wide => format!("1 in {}", words::power_of_ten(4)),
        other => words::power_of_ten(other),
    }
}

/// What the clock cannot tell apart: everything up to one step is the clock, not the allocator.
fn clock_band(canvas: &mut Canvas, trace_report: &TraceReport, panel: &Panel) {
    let Some(step) = trace_report.clock_step else { return };
    let floor = trace_report.clock_pair.unwrap_or(step).max(step);
    canvas.rectangle(panel.left, panel.y(floor), panel.right, panel.bottom, GRID.pale(0.45));
}

/// Says what the grey band is; set after grid and axes, which would strike it through.
fn clock_words(canvas: &mut Canvas, trace_report: &TraceReport, panel: &Panel) {
    let text = match (trace_report.clock_pair, trace_report.clock_step) {
        (Some(pair), _) => format!("an empty clock pair: {}", nanoseconds(pair)),
        (None, Some(step)) => format!("the clock's step: {}", nanoseconds(step)),
        (None, None) => return,
    };
    let kind = TINY.in_colour(SOFT);
    let (right, y) = (panel.right - 6.0, panel.bottom - 7.0);
    canvas.rectangle(
        right - text_width(&text, kind) - 3.0,
        y - 11.0,
        right + 3.0,
        y + 3.0,
        GRID.pale(0.45),
    );
    canvas.text(right, y, &text, kind, Anchor::Right);
}

/// Says, in the empty upper left, from which rarity on a raw replay tells of the scheduler instead.
fn raw_words(canvas: &mut Canvas, trace_report: &TraceReport, panel: &Panel, op: usize) {
    let parts = |backend: &Backend| {
        let (raw, own) = (&backend.raw[op], &backend.confirmed[op]);
        (1..=7).find(|decade| {
            let beyond = 10_f64.powi(-decade);
            matches!((raw.fact(1.0 - beyond), own.fact(1.0 - beyond)), (Some(raw), Some(own)) if raw > own * 3.0)
        })
    };
    let loud = emphasised(trace_report);
    let first =
        trace_report.allocators().filter(|b| loud.contains(&b.name)).filter_map(parts).min();
    let Some(decade) = first else { return };
    let rarity = words::power_of_ten(decade);
    let text = format!(
        "dotted, a raw replay: from 1 in {rarity} on it shows the machine, not the allocator"
    );
    let kind = SMALL.sized(13.5);
    let lines = wrap(&text, kind, (panel.right - panel.left) * 0.46);
    let (left, foot) = (panel.left + 12.0, panel.top + 20.0 + 17.0 * lines.len() as f64);
    // Curves rise to the right: where the words end none may be as high.
    let end = panel.across.end() * 0.5;
    let highest = |distribution: &Distribution| {
        curve(distribution)
            .iter()
            .filter(|point| point.0 <= end)
            .map(|point| panel.y(point.1))
            .fold(f64::MAX, f64::min)
    };
    let tops =
        trace_report.allocators().flat_map(|b| [highest(&b.raw[op]), highest(&b.confirmed[op])]);
    if tops.fold(f64::MAX, f64::min) > foot + 6.0 {
        for (at, line) in lines.iter().enumerate() {
            canvas.text(left, panel.top + 22.0 + 17.0 * at as f64, line, kind, Anchor::Left);
        }
    }
}

fn plotted(trace_report: &TraceReport) -> String {
    let confirmed = trace_report.allocators().any(|b| b.confirmed.iter().any(|d| d.calls > 0));
    let trace = &trace_report.trace.name;
    if confirmed && trace_report.run.manifest.repetitions > 1 {
        format!(
            "Service time by percentile, per call of `{trace}`.  Bold: median of {} identical replays, call by call, which \
             removes the scheduler's noise.  Dotted: one raw replay, as other tools would plot it.",
            trace_report.run.manifest.repetitions
        )
    } else {
        format!(
            "Service time by percentile, per call of `{trace}`.  One raw replay: what is slow here may be the machine and \
             not the allocator."
        )
    }
}

fn hint(trace_report: &TraceReport) -> String {
    let both = trace_report
        .allocators()
        .any(|b| (0..OPS.len()).any(|op| b.confirmed[op].calls > 0 && b.raw[op].calls > 0));
    let mut text =
        String::from("Lower is better; follow a curve right to see how rare its slow calls are.");
    if both {
        text += "  Dotted and bold part where the machine, not the allocator, was slow.";
    }
    text +=
        "  Thin end: fewer than 10 calls lie beyond, n too small.  Timer cost is not subtracted.";
    let over: Vec<(f64, String)> = trace_report
        .allocators()
        .filter(|backend| backend.confirmed.iter().any(|d| d.calls > 0))
        .map(|backend| {
            let sum = |all: &[Distribution; 3]| all.iter().map(|d| d.slower(1e6)).sum::<u64>();
            let own = sum(&backend.confirmed);
            (own as f64, format!("{} {} → {own}", backend.name, sum(&backend.raw)))
        })
        .collect();
    let any = trace_report
        .allocators()
        .any(|b| b.raw.iter().chain(&b.confirmed).any(|d| d.slower(1e6) > 0));
    if any && !over.is_empty() {
        text += &format!(
            "  Calls over 1 ms, one raw replay → confirmed: {}.",
            words::all_or_ends(over, "; ")
        );
    }
    text
}

fn verdict(trace_report: &TraceReport) -> String {
    let worst: Vec<(&str, f64, bool, usize)> = trace_report
        .allocators()
        .filter_map(|backend| {
            let (value, confirmed) = backend.worst_call()?;
            let op =
                (0..OPS.len()).find(|op| backend.latency(*op).0.max() == Some(value)).unwrap_or(0);
            Some((backend.name, value, confirmed, op))
        })
        .collect();
    let mut title = resolution(trace_report);
    let slowest = worst.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let best = worst.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let (Some(slowest), Some(best)) = (slowest, best) else { return title };
    let op = ["malloc", "free", "realloc"][slowest.3];
    let (name, value) = (slowest.0, nanoseconds(slowest.1));
    let seen = slow_calls(trace_report.run, &trace_report.trace.name, slowest.0);
    let real = match seen.first() {
        Some(call) if slowest.2 => format!(", seen in {} replays", seen_words(call)),
        _ if slowest.2 => ", confirmed over all replays".to_owned(),
        _ => ", in one raw replay".to_owned(),
    };
    title += &if worst.len() == 1 {
        format!("  The slowest call of {name} is a {op}() of {value}{real}.")
    } else if slowest.1 > best.1 * 2.0
        && seen.first().is_some_and(|call| call.seen < call.repetitions)
    {
        // The call may be the machine's in as many replays as it took for the median.
        format!(
            "  The slowest calls cannot be told apart: {name}'s {op}() of {value} is one that only {} replays saw.",
            seen.first().map(|call| seen_words(call)).unwrap_or_default()
        )
    } else if slowest.1 > best.1 * 2.0 {
        let times = slowest.1 / best.1;
        format!(
            "  {name}'s {op}() stalls for up to {value}, {} times {}'s slowest call{real}.",
            words::times(times),
            best.0
        )
    } else {
        format!("  The slowest calls lie within a factor of 2: {} to {value}.", nanoseconds(best.1))
    };
    title.trim_start().to_owned()
}

/// How much of the work the clock cannot tell apart: the share of calls, over all allocators,
/// within one clock pair.
fn resolution(trace_report: &TraceReport) -> String {
    let Some(step) = trace_report.clock_step else { return String::new() };
    let floor = trace_report.clock_pair.unwrap_or(step).max(step);
    let shares: Vec<f64> = trace_report
        .allocators()
        .filter_map(|backend| {
            let all: u64 = (0..OPS.len()).map(|op| backend.latency(op).0.calls).sum();
            let slow: u64 = (0..OPS.len()).map(|op| backend.latency(op).0.slower(floor)).sum();
            (all > 0).then(|| 1.0 - slow as f64 / all as f64)
        })
        .collect();
    match crate::stats::range(&shares) {
        Some((low, _)) if low >= 0.5 => {
            format!(
                "At least {:.0} % of the calls cost no more than the clock can tell: the tail decides.",
                (low * 100.0).floor()
            )
        }
        _ => String::new(),
    }
}
