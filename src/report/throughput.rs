//! Room `report`, chart: time per call by backend with its range over repetitions, and where in the
//! trace it goes.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Stroke, fitted, shorten, text_width};
use super::chart::{
    AXIS, Chart, EndLabel, GRID, HEADING, INK, LEFT, Picture, RIGHT, SMALL, STRONG, TINY, WHITE,
    backend_stroke, end_labels, frame,
};
use super::figures::{Backend, ChunkCost, Cost, TraceReport, chunk_profile};
use super::series::shown_peak;
use super::words::{self, figure3};

/// How fast is each allocator?
pub const CHART: Chart = Chart {
    name: "throughput",
    question: "How fast is each allocator, and is the difference more than noise?",
    reading: "The dot is the time of an average call; the pale bar reaches from what the fastest stretches add up to, to \
              the slowest whole repetition. All take turns of a millisecond, so they drift together: a difference counts when every repetition shows it, and surely. The grey dashes are the harness's own \
              cost, which is in every number and not subtracted. At the right, the same time along the trace.",
    draw,
};

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let shown: Vec<(&Backend, Cost)> =
        trace_report.backends.iter().filter_map(|backend| Some((backend, backend.cost?))).collect();
    if shown.is_empty() {
        return None;
    }
    let profiles: Vec<Vec<ChunkCost>> = shown
        .iter()
        .map(|(backend, _)| chunk_profile(trace_report.run, &trace_report.trace.name, backend.name))
        .collect();
    let mut canvas = Canvas::new();
    let title = verdict(&shown);
    let (top, bottom) = frame(&mut canvas, &title, &plotted(trace_report, &shown), hint());
    let along = profiles.iter().any(|profile| profile.len() > 2);
    let first = LEFT + 190.0;
    let right = if along { first + (RIGHT - first) * 0.46 } else { RIGHT - 60.0 };
    // One disturbed repetition, or one allocator of another order, must not press all dots to the
    // left: it runs off.
    let middles: Vec<f64> = shown.iter().map(|(_, cost)| cost.middle).collect();
    let middle = shown_peak(&middles);
    let most = shown.iter().map(|(_, cost)| cost.high).fold(0.0, f64::max).min(middle * 2.5);
    let panel = Panel {
        left: first,
        top: top + 56.0,
        right,
        bottom: bottom - 56.0,
        across: Scale::Linear { from: 0.0, to: most * 1.08 + 1e-9 },
        up: Scale::Linear { from: 0.0, to: 1.0 },
    };
    dots(&mut canvas, trace_report, &panel, &shown);
    if along {
        let names = shown.iter().map(|(backend, _)| text_width(backend.name, STRONG));
        let room = (names.fold(0.0, f64::max) + 20.0).clamp(60.0, 170.0);
        let panel = Panel { left: right + 80.0, right: RIGHT - room, ..panel };
        course(&mut canvas, &panel, &shown, &profiles);
    }
    Some(Picture { title, canvas })
}

fn dots(
    canvas: &mut Canvas,
    trace_report: &TraceReport,
    panel: &Panel,
    shown: &[(&Backend, Cost)],
) {
    canvas.text(panel.left, panel.top - 30.0, "time per call", HEADING, Anchor::Left);
    canvas.text(
        panel.left,
        panel.top - 9.0,
        "ns, processor and memory together",
        SMALL,
        Anchor::Left,
    );
    let ticks = panel.across.ticks(6);
    panel.columns(canvas, &ticks);
    canvas
        .line(&[(panel.left, panel.bottom), (panel.right, panel.bottom)], Stroke::solid(1.2, AXIS));
    panel.numbers(canvas, &ticks, &|tick| tick_words(tick, &ticks));
    canvas.text(panel.right, panel.bottom + 42.0, "x: ns per call, from 0", SMALL, Anchor::Right);
    if let Some(floor) = trace_report.floor() {
        let x = panel.x(floor.middle);
        canvas.line(&[(x, panel.top), (x, panel.bottom)], Stroke::dashed(1.6, AXIS, 6.0, 4.0));
    }
    let step = ((panel.bottom - panel.top) / shown.len() as f64).min(150.0);
    let reference = trace_report.reference();
    let best = leaders(shown);
    for (row, (backend, cost)) in shown.iter().enumerate() {
        let y = panel.top + step * (row as f64 + 0.55);
        canvas.line(
            &[(panel.left, y), (panel.x(cost.low.min(panel.across.end())), y)],
            Stroke::solid(1.0, GRID),
        );
        let end = panel.across.end();
        canvas.bar(
            panel.x(cost.low.min(end)),
            panel.x(cost.high.min(end)),
            y,
            7.0,
            backend.colour.pale(0.68),
        );
        row_name(canvas, panel.left - 16.0, y, backend, reference, *cost, step);
        let kind = if best.contains(&backend.name) { STRONG } else { SMALL.in_colour(INK) };
        let kind = kind.sized(15.0);
        let end = panel.across.end();
        if cost.middle > end {
            canvas.polygon(
                &[(panel.right - 14.0, y - 8.0), (panel.right, y), (panel.right - 14.0, y + 8.0)],
                backend.colour,
            );
            canvas.text(panel.right - 20.0, y + 5.0, &figure3(cost.middle), kind, Anchor::Right);
            continue;
        }
        if cost.high > end {
            let text = format!("{} ▶", figure3(cost.high));
            canvas.text(panel.right, y + 20.0, &text, TINY, Anchor::Right);
        }
        let x = panel.x(cost.middle);
        if backend.variant == 0 {
            canvas.disc(x, y, 8.0, backend.colour);
        } else {
            canvas.ring(x, y, 8.0, 2.6, backend.colour);
        }
        let text = figure3(cost.middle);
        let half = text_width(&text, kind) / 2.0 + 2.0;
        // Where rows are low, the number of one would stand among the marks of the row above.
        if step < 40.0 {
            let right = panel.x(cost.high.min(end)).max(x + 8.0) + 6.0;
            canvas.rectangle(right - 2.0, y - 8.0, right + 2.0 * half, y + 8.0, WHITE);
            canvas.text(right, y + 5.0, &text, kind, Anchor::Left);
        } else {
            canvas.rectangle(x - half, y - 28.0, x + half, y - 12.0, WHITE);
            canvas.text(x, y - 15.0, &text, kind, Anchor::Middle);
        }
    }
}

fn row_name(
    canvas: &mut Canvas,
    right: f64,
    y: f64,
    backend: &Backend,
    reference: Option<&Backend>,
    cost: Cost,
    step: f64,
) {
    let (name, kind) = fitted(backend.name, STRONG.sized((step * 0.5).min(17.0)), 11.0, 206.0);
    if step < 40.0 {
        canvas.text(right, y + kind.size * 0.36, &name, kind, Anchor::Right);
        return;
    }
    canvas.text(right, y + 1.0, &name, kind, Anchor::Right);
    let words = match reference.and_then(|first| Some((first.name, first.cost?))) {
        _ if backend.is_floor() => "the harness alone".to_owned(),
        Some((name, first)) if name != backend.name => {
            let ratio = words::ratio(cost.middle / first.middle);
            let level = if cost.apart(&first) { "" } else { ", not separable" };
            format!("{ratio} of {name}{level}")
        }
        _ => backend.version.to_owned(),
    };
    canvas.text(right, y + 20.0, &shorten(&words, TINY, 210.0), TINY, Anchor::Right);
}

/// The fastest allocator and those that cannot be told apart from it.
fn leaders<'a>(shown: &[(&'a Backend, Cost)]) -> Vec<&'a str> {
    let mut real: Vec<&(&Backend, Cost)> =
        shown.iter().filter(|(backend, _)| !backend.is_floor()).collect();
    real.sort_by(|a, b| a.1.middle.total_cmp(&b.1.middle));
    let Some(best) = real.first().map(|(_, cost)| *cost) else { return vec![] };
    real.iter().filter(|(_, cost)| !cost.apart(&best)).map(|(backend, _)| backend.name).collect()
}

/// Time per call along the trace: each chunk's median, and a pale line for its fastest repetition.
fn course(
    canvas: &mut Canvas,
    panel: &Panel,
    shown: &[(&Backend, Cost)],
    profiles: &[Vec<ChunkCost>],
) {
    let calls = profiles.iter().flatten().map(|c| c.first_call + c.calls).fold(1.0, f64::max);
    let (divisor, words) =
        if calls >= 2e6 { (1e6, "calls replayed, millions") } else { (1.0, "calls replayed") };
    // The tallest hundredth of the chunks would flatten the rest, and so would an allocator of
    // another order: they run off the top.
    let usual = shown_peak(&shown.iter().map(|(_, cost)| cost.middle).collect::<Vec<f64>>());
    let all: Vec<f64> = shown
        .iter()
        .zip(profiles)
        .filter(|((_, cost), _)| cost.middle <= usual)
        .flat_map(|(_, profile)| profile.iter().map(|c| c.middle / c.calls))
        .collect();
    let tallest = crate::stats::quantile(&all, 0.99).unwrap_or(1.0) * 1.15;
    let panel = Panel {
        across: Scale::Linear { from: 0.0, to: calls / divisor },
        up: Scale::Linear { from: 0.0, to: tallest.max(1e-9) },
        ..*panel
    };
    canvas.text(panel.left, panel.top - 30.0, "along the trace", HEADING, Anchor::Left);
    canvas.text(
        panel.left,
        panel.top - 9.0,
        "ns per call, chunk by chunk, median over repetitions",
        SMALL,
        Anchor::Left,
    );
    let ticks = panel.up.ticks(8);
    panel.rows(canvas, &ticks, Some(&|tick| tick_words(tick, &ticks)));
    let mut labels = Vec::new();
    for ((backend, _), profile) in shown.iter().zip(profiles).rev() {
        let columns = thin_out(profile, ((panel.right - panel.left) / 1.5) as usize);
        let points: Vec<(f64, f64)> =
            columns.iter().map(|(call, cost)| (panel.x(call / divisor), panel.y(*cost))).collect();
        let colour = if backend.is_floor() { backend.colour } else { backend.colour.pale(0.12) };
        canvas.line(&points, backend_stroke(colour, backend.variant, 1.6));
        // Where a line ends is chance: its label stands at the median of its last tenth.
        let last: Vec<f64> =
            points[points.len() - points.len().div_ceil(10)..].iter().map(|p| p.1).collect();
        if let Some(y) = crate::stats::median(&last) {
            let kind = STRONG.in_colour(backend.colour);
            let text = shorten(backend.name, kind, RIGHT - panel.right - 16.0);
            labels.push(EndLabel { y, text, kind });
        }
    }
    let room = RIGHT - panel.right - 14.0;
    end_labels(
        canvas,
        (panel.right + 2.0, panel.right + 14.0),
        (panel.top, panel.bottom),
        labels,
        room,
    );
    panel.axes(canvas);
    let across = panel.across.ticks(7);
    panel.numbers(canvas, &across, &|tick| tick_words(tick, &across));
    canvas.text(panel.right, panel.bottom + 42.0, &format!("x: {words}"), SMALL, Anchor::Right);
}

/// At most `most` stretches, each with its fastest and slowest chunk: no extreme is averaged away.
fn thin_out(profile: &[ChunkCost], most: usize) -> Vec<(f64, f64)> {
    let size = profile.len().div_ceil(most.max(1)).max(1);
    let mut points = Vec::new();
    for group in profile.chunks(size) {
        let mut costs: Vec<(f64, f64)> =
            group.iter().map(|c| (c.first_call + c.calls / 2.0, c.middle / c.calls)).collect();
        if costs.len() > 2 {
            let low = costs.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(costs[0]);
            let high = costs.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(costs[0]);
            costs = vec![low, high];
            costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        points.extend(costs);
    }
    points
}

fn plotted(trace_report: &TraceReport, shown: &[(&Backend, Cost)]) -> String {
    let repetitions = shown.iter().map(|(_, cost)| cost.repetitions).max().unwrap_or(0);
    let floor = match trace_report.floor() {
        Some(floor) => format!(
            "  Grey dashes: {} ns of every call are the harness itself (null); nothing is subtracted.",
            figure3(floor.middle)
        ),
        None => "  The harness's own cost is in every number; nothing is subtracted.".to_owned(),
    };
    format!(
        "Time per call over the whole of `{}` ({} calls), {repetitions} repetitions in fresh processes.{floor}",
        trace_report.trace.name,
        words::count(trace_report.trace.calls)
    )
}

fn hint() -> &'static str {
    "Dot: sum over chunks of the median over repetitions.  Pale bar: from the sum of each chunk's fastest to the slowest \
     whole repetition.  A difference counts when every repetition shows it, and surely.  Bold: fastest, or not separable from it.  \
     ▶: off the scale."
}

fn verdict(shown: &[(&Backend, Cost)]) -> String {
    let mut real: Vec<(&str, Cost)> =
        shown.iter().filter(|(b, _)| !b.is_floor()).map(|(b, cost)| (b.name, *cost)).collect();
    real.sort_by(|a, b| a.1.middle.total_cmp(&b.1.middle));
    let Some(&(name, best)) = real.first() else {
        return format!("The harness alone costs {} ns a call.", figure3(shown[0].1.middle));
    };
    if real.len() == 1 {
        return format!("{name} takes {} ns a call.", figure3(best.middle));
    }
    let near: Vec<String> = real[1..]
        .iter()
        .filter(|(_, c)| !c.apart(&best))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let (slow_name, slow) = real[real.len() - 1];
    let mut title = if near.is_empty() {
        format!("{name} is the fastest: {} ns a call.", figure3(best.middle))
    } else if near.len() + 1 == real.len() {
        return format!(
            "No difference in time can be told apart: {} to {} ns a call.",
            figure3(best.middle),
            figure3(slow.middle)
        );
    } else {
        format!(
            "{name} leads with {} ns a call, not separable from {}.",
            figure3(best.middle),
            words::some(&near)
        )
    };
    if slow.apart(&best) {
        let ratio = slow.middle / best.middle;
        title += &format!(
            "  {slow_name} takes {} ns, {} times as long.",
            figure3(slow.middle),
            words::times(ratio)
        );
    }
    title
}
