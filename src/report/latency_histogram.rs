//! Room `report`, chart: histogram of service times: a column an op, a row a backend, one time
//! axis.

use super::axis::{Panel, Scale};
use super::canvas::{Anchor, Canvas, Stroke, shorten};
use super::chart::{
    AXIS, Chart, GRID, HEADING, INK, LEFT, NOTE, Picture, RIGHT, SMALL, STRONG, TINY, frame,
};
use super::figures::{Backend, Distribution, OPS, TraceReport};
use super::words::{self, nanosecond_tick, nanoseconds};

/// What does a call usually cost, and which paths does an allocator have?
pub const CHART: Chart = Chart {
    name: "latency-histogram",
    question: "What does a call usually cost, and which slower paths are there?",
    reading: "Each hump is a path through the allocator: the fast one at the left, then refills of a list or pool, then \
              memory fresh from the kernel. The height is the share of calls on a logarithmic scale, so that a hump of \
              one call in a million is still seen. The marks on the base line are the median and the slowest call.",
    draw,
};

/// A backend's name with a figure of it.
type Named = (String, f64);

/// The smallest share of calls that has a height.
const LEAST: f64 = 1e-7;

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let shown: Vec<&Backend> = trace_report
        .allocators()
        .filter(|backend| (0..OPS.len()).any(|op| backend.latency(op).0.calls > 0))
        .collect();
    let ops: Vec<usize> =
        (0..OPS.len()).filter(|op| shown.iter().any(|b| b.latency(*op).0.calls > 0)).collect();
    if ops.is_empty() {
        return None;
    }
    let mut canvas = Canvas::new();
    let title = verdict(trace_report, &shown, &ops);
    let (top, bottom) = frame(&mut canvas, &title, &plotted(trace_report), hint());
    let across = horizontal(trace_report, &shown, &ops);
    let edges = edges(across, trace_report.clock_step.unwrap_or(1.0));
    let first = LEFT + 186.0;
    let gap = 34.0;
    let width = (RIGHT - first - gap * (ops.len() as f64 - 1.0)) / ops.len() as f64;
    let top = top + 48.0;
    let height = (bottom - 58.0 - top) / shown.len() as f64;
    for (column, op) in ops.iter().enumerate() {
        let left = first + (width + gap) * column as f64;
        canvas.text(left, top - 20.0, OPS[*op].0, HEADING, Anchor::Left);
        let calls = shown.iter().map(|b| b.latency(*op).0.calls).max().unwrap_or(0);
        let calls = format!("{} calls", words::count(calls));
        canvas.text(left + width, top - 20.0, &calls, NOTE, Anchor::Right);
        for (row, backend) in shown.iter().enumerate() {
            let up = Scale::Log { from: LEAST, to: 2.0 };
            let y = top + height * row as f64;
            let panel = Panel {
                left,
                top: y + 6.0,
                right: left + width,
                bottom: y + height - if height > 90.0 { 16.0 } else { 6.0 },
                across,
                up,
            };
            ridge(&mut canvas, trace_report, &panel, backend, *op, &edges);
            if column == 0 {
                row_name(&mut canvas, &panel, backend);
            }
            if row + 1 == shown.len() {
                let ticks = across.ticks(8);
                panel.numbers(&mut canvas, &ticks, &nanosecond_tick);
            }
        }
    }
    let words = "x: service time of a call, clock pair included   y: share of calls, logarithmic";
    canvas.text(RIGHT, bottom - 12.0, words, SMALL, Anchor::Right);
    Some(Picture { title, canvas })
}

fn horizontal(trace_report: &TraceReport, shown: &[&Backend], ops: &[usize]) -> Scale {
    let mut low = trace_report.clock_step.unwrap_or(f64::INFINITY);
    let mut high: f64 = 0.0;
    for distribution in shown.iter().flat_map(|b| ops.iter().map(|op| b.latency(*op).0)) {
        if let (Some(first), Some(max)) = (distribution.steps.first(), distribution.max()) {
            low = low.min(first.0.max(1.0));
            high = high.max(max);
        }
    }
    Scale::log(low.max(1.0) / 1.6, high * 1.6)
}

/// Edges of the bins: ten a decade, but none narrower than the clock's step, whose multiples lie in
/// the middle of a bin: a finer bin would show the clock's comb.
fn edges(across: Scale, step: f64) -> Vec<f64> {
    let Scale::Log { from, to } = across else { return vec![] };
    let step = step.max(1.0);
    let mut edges = vec![from.min(step / 2.0)];
    while let Some(&last) = edges.last() {
        if last >= to || edges.len() > 400 {
            break;
        }
        let next = last * 10_f64.powf(0.1);
        // The next odd multiple of half a step.
        let whole = ((next / step + 0.5).floor() - 0.5).max((last / step).round() + 0.5) * step;
        edges.push(if last < step * 30.0 { whole.max(last + step * 0.5) } else { next });
    }
    edges
}

fn ridge(
    canvas: &mut Canvas,
    trace_report: &TraceReport,
    panel: &Panel,
    backend: &Backend,
    op: usize,
    edges: &[f64],
) {
    if let Some(step) = trace_report.clock_step {
        let floor = trace_report.clock_pair.unwrap_or(step).max(step);
        canvas.rectangle(panel.left, panel.top, panel.x(floor), panel.bottom, GRID.pale(0.45));
    }
    panel.columns(canvas, &panel.across.ticks(8));
    let marks = [1.0, 1e-3, 1e-6];
    for mark in marks {
        let y = panel.y(mark);
        canvas.line(&[(panel.left, y), (panel.right, y)], Stroke::solid(1.0, GRID));
    }
    let (distribution, _) = backend.latency(op);
    let mut outline = vec![(panel.left, panel.bottom)];
    for pair in edges.windows(2) {
        let share = share_between(distribution, pair[0], pair[1]);
        let y = if share > 0.0 { panel.y(share.max(LEAST * 1.6)) } else { panel.bottom };
        let (from, to) = (panel.x(pair[0]), panel.x(pair[1]));
        canvas.rectangle(from, y, to, panel.bottom, backend.colour.pale(0.72));
        outline.push((from, y));
        outline.push((to, y));
    }
    outline.push((panel.right, panel.bottom));
    canvas.line(&outline, Stroke::solid(1.6, backend.colour));
    canvas
        .line(&[(panel.left, panel.bottom), (panel.right, panel.bottom)], Stroke::solid(1.2, AXIS));
    figures(canvas, panel, backend, distribution);
}

fn share_between(distribution: &Distribution, from: f64, to: f64) -> f64 {
    if distribution.calls == 0 {
        return 0.0;
    }
    (distribution.slower(from) - distribution.slower(to)) as f64 / distribution.calls as f64
}

/// The numbers that a person would ask for, in the empty upper right, and marks on the base line.
fn figures(canvas: &mut Canvas, panel: &Panel, backend: &Backend, distribution: &Distribution) {
    let (Some(median), Some(max)) = (distribution.quantile(0.5), distribution.max()) else {
        canvas.text(panel.right - 4.0, panel.top + 14.0, "no calls", TINY, Anchor::Right);
        return;
    };
    for value in [median, max] {
        let x = panel.x(value);
        canvas.polygon(
            &[
                (x, panel.bottom - 7.0),
                (x - 5.0, panel.bottom + 3.0),
                (x + 5.0, panel.bottom + 3.0),
            ],
            backend.colour,
        );
    }
    let fact = |share: f64| distribution.fact(share).map_or("n too small".to_owned(), nanoseconds);
    let text = format!("p50 {}   p99 {}   p99.9 {}", nanoseconds(median), fact(0.99), fact(0.999));
    let high = panel.bottom - panel.top;
    canvas.text(panel.right - 4.0, panel.top + 12.0, &text, TINY.in_colour(INK), Anchor::Right);
    if high > 46.0 {
        let text = format!("slowest {}", nanoseconds(max));
        canvas.text(panel.right - 4.0, panel.top + 29.0, &text, TINY, Anchor::Right);
    }
}

fn row_name(canvas: &mut Canvas, panel: &Panel, backend: &Backend) {
    let high = panel.bottom - panel.top;
    let middle = (panel.top + panel.bottom) / 2.0;
    let kind = STRONG.sized(15.0).in_colour(backend.colour);
    let name = shorten(backend.name, kind, 122.0);
    canvas.text(LEFT + 124.0, middle + 3.0, &name, kind, Anchor::Right);
    if high > 60.0 && backend.version != backend.name {
        let version = shorten(backend.version, TINY, 122.0);
        canvas.text(LEFT + 124.0, middle + 21.0, &version, TINY, Anchor::Right);
    }
    let marks: &[(f64, &str)] = if high > 60.0 {
        &[(1.0, "all"), (1e-3, "1 in 10³"), (1e-6, "1 in 10⁶")]
    } else {
        &[(1.0, "all")]
    };
    for (mark, words) in marks {
        canvas.text(panel.left - 6.0, panel.y(*mark) + 4.5, words, TINY.sized(11.5), Anchor::Right);
    }
}

fn plotted(trace_report: &TraceReport) -> String {
    format!(
        "Histogram of service times by op, all calls of `{}`.  Confirmed by the median over {} replays where there is one; \
         grey: what the clock itself costs.",
        trace_report.trace.name, trace_report.run.manifest.repetitions
    )
}

fn hint() -> &'static str {
    "Each hump is a code path: the fast path (left), a refill, a page from the kernel, a purge or merge (right).  Height is \
     the share of calls on a log scale.  ▲ median and slowest call.  No bin is narrower than the clock's step."
}

fn verdict(trace_report: &TraceReport, shown: &[&Backend], ops: &[usize]) -> String {
    let op = ops[0];
    let medians: Vec<(String, f64)> = shown
        .iter()
        .filter_map(|b| Some((b.name.to_owned(), b.latency(op).0.quantile(0.5)?)))
        .collect();
    let tails: Vec<(String, f64)> = shown
        .iter()
        .filter_map(|b| Some((b.name.to_owned(), b.latency(op).0.fact(0.999)?)))
        .collect();
    let Some((low, high)) = extremes(&medians) else {
        return "Histogram of service times".to_owned();
    };
    let name = OPS[op].0;
    let step = trace_report.clock_step.unwrap_or(1.0);
    let mut title = if medians.len() == 1 {
        format!("Half of the {name} calls of {} take {} or less.", low.0, nanoseconds(low.1))
    } else if high.1 - low.1 <= step {
        format!(
            "The usual {name} takes {} in every allocator, the clock included.",
            nanoseconds(low.1)
        )
    } else {
        format!(
            "The usual {name} takes {} in {} and {} in {}.",
            nanoseconds(low.1),
            low.0,
            nanoseconds(high.1),
            high.0
        )
    };
    if let Some((best, worst)) = extremes(&tails) {
        title += &if worst.1 > best.1 * 1.5 {
            format!(
                "  One in a thousand takes over {} in {} and over {} in {}.",
                nanoseconds(best.1),
                best.0,
                nanoseconds(worst.1),
                worst.0
            )
        } else {
            format!("  One in a thousand takes over {}.", nanoseconds(best.1))
        };
    }
    title
}

/// The smallest and the largest by value.
fn extremes(values: &[Named]) -> Option<(&Named, &Named)> {
    let low = values.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let high = values.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_rise_and_hold_one_step_each_where_the_clock_is_coarse() {
        let edges = edges(Scale::log(6.0, 1e6), 10.0);
        assert!(edges.windows(2).all(|pair| pair[0] < pair[1]), "{edges:?}");
        for step in [10.0, 20.0, 30.0] {
            assert!(
                edges.iter().all(|edge| (edge - step).abs() > 1.0),
                "{step} lies on an edge of {edges:?}"
            );
        }
        assert!(edges.last().is_some_and(|last| *last >= 1e6));
    }
}
