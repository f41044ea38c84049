//! Chart: histogram of service times, a column for each operation, a row for each backend, and one
//! time axis.

use serde::Serialize;

use super::axis::Axis;
use super::clock_floor::ClockFloor;
use super::contract::{About, Caption};
use super::scale::Scale;
use crate::report::figures::{
    BackendFigures, BackendLabel, LatencyDistribution, OPS, TraceReport, without_bounds,
};
use crate::units::nanoseconds;

/// What does a call usually cost, and which paths does an allocator have?
pub const ABOUT: About = About {
    name: "latency-histogram",
    question: "What does a call usually cost, and which slower paths are there?",
    reading: "Each hump is a path through the allocator: the fast one at the left, then refills \
              of a list or pool, then memory fresh from the kernel. The height is the share of \
              calls on a logarithmic scale, so that a hump of one call in a million is still \
              seen. The marks on the base line are the median and the slowest call.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyHistogramChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across, the same in all cells.
    pub time_axis: Axis,
    /// Upwards: the share of the calls of a cell.
    pub share_axis: Axis,
    /// The clock, where it is known.
    pub clock: Option<ClockFloor>,
    /// The edges of the bins in nanoseconds, rising.
    pub edges_ns: Vec<f64>,
    /// By operation.
    pub columns: Vec<HistogramColumn>,
    /// The backends of the rows.
    pub backends: Vec<BackendLabel>,
}

/// One operation.
#[derive(Clone, Debug, Serialize)]
pub struct HistogramColumn {
    /// The operation.
    pub operation: &'static str,
    /// Calls.
    pub calls: u64,
    /// By backend.
    pub cells: Vec<HistogramCell>,
}

/// The service times of one operation with one backend.
#[derive(Clone, Debug, Serialize)]
pub struct HistogramCell {
    /// The share of the calls (0 to 1) in each bin.
    pub shares: Vec<f64>,
    /// Nanoseconds of the median call; `None` without calls.
    pub median_ns: Option<f64>,
    /// Nanoseconds of the 99th percentile, where at least ten calls are slower.
    pub p99_ns: Option<f64>,
    /// The same of the 99.9th percentile.
    pub p99_9_ns: Option<f64>,
    /// Nanoseconds of the slowest call.
    pub slowest_ns: Option<f64>,
}

/// The smallest share of calls that has a height.
pub const LEAST_SHARE: f64 = 1e-7;

/// Describes the chart; `None` without service times.
pub fn describe(trace_report: &TraceReport) -> Option<LatencyHistogramChart> {
    let shown: Vec<&BackendFigures> =
        trace_report.allocators().filter(|backend| backend.latency_calls() > 0).collect();
    let ops: Vec<usize> = (0..OPS.len())
        .filter(|op| shown.iter().any(|backend| backend.latency(*op).0.calls > 0))
        .collect();
    if ops.is_empty() {
        return None;
    }
    let scale = time_scale(trace_report, &shown, &ops);
    let edges_ns = edges(scale, trace_report.clock_step_ns.unwrap_or(1.0));
    let column = |op: &usize| HistogramColumn {
        operation: OPS[*op].0,
        calls: shown.iter().map(|backend| backend.latency(*op).0.calls).max().unwrap_or(0),
        cells: shown.iter().map(|backend| cell(backend.latency(*op).0, &edges_ns)).collect(),
    };
    let title = verdict(trace_report, &without_bounds(shown.iter().copied()), ops[0]);
    let shares = Scale::Log { from: LEAST_SHARE, to: 2.0 };
    Some(LatencyHistogramChart {
        caption: Caption::new(title, plotted(trace_report), &READING),
        time_axis: Axis::service_time(scale),
        share_axis: Axis::plain("share of calls, logarithmic", "share", shares),
        clock: ClockFloor::of(trace_report),
        columns: ops.iter().map(column).collect(),
        backends: shown.iter().map(|backend| backend.label.clone()).collect(),
        edges_ns,
    })
}

fn cell(distribution: &LatencyDistribution, edges_ns: &[f64]) -> HistogramCell {
    let share = |pair: &[f64]| distribution.share_between(pair[0], pair[1]);
    HistogramCell {
        shares: edges_ns.windows(2).map(share).collect(),
        median_ns: distribution.quantile(0.5),
        p99_ns: distribution.fact(0.99),
        p99_9_ns: distribution.fact(0.999),
        slowest_ns: distribution.max(),
    }
}

fn time_scale(trace_report: &TraceReport, shown: &[&BackendFigures], ops: &[usize]) -> Scale {
    let mut low = trace_report.clock_step_ns.unwrap_or(f64::INFINITY);
    let mut high: f64 = 0.0;
    let all = shown.iter().flat_map(|backend| ops.iter().map(|op| backend.latency(*op).0));
    for distribution in all {
        if let (Some(first), Some(max)) = (distribution.steps.first(), distribution.max()) {
            low = low.min(first.0.max(1.0));
            high = high.max(max);
        }
    }
    Scale::log(low.max(1.0) / 1.6, high * 1.6)
}

/// Edges of the bins: ten a decade, but none narrower than the clock's step, whose multiples are in
/// the middle of a bin. Finer bins would show the steps of the clock.
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

fn plotted(trace_report: &TraceReport) -> String {
    format!(
        "Histogram of service times by op, all calls of `{}`.  Confirmed by the median over {} \
         replays where there is one; grey: what the clock itself costs.",
        trace_report.trace.name,
        trace_report.repetitions()
    )
}

const READING: [&str; 4] = [
    "Each hump is a code path: the fast path (left), a refill, a page from the kernel, a purge or \
     merge (right).",
    "Height is the share of calls on a log scale.",
    "▲ median and slowest call.",
    "No bin is narrower than the clock's step.",
];

/// A backend's name with a figure of it.
type Named<'a> = (&'a str, f64);

fn verdict(trace_report: &TraceReport, shown: &[&BackendFigures], op: usize) -> String {
    let figures = |of: fn(&LatencyDistribution) -> Option<f64>| -> Vec<Named> {
        let figure = |backend: &BackendFigures| of(backend.latency(op).0);
        shown.iter().filter_map(|backend| Some((backend.name(), figure(backend)?))).collect()
    };
    let medians = figures(|times| times.quantile(0.5));
    let tails = figures(|times| times.fact(0.999));
    let Some((low, high)) = extremes(&medians) else {
        return "Histogram of service times".to_owned();
    };
    let mut title = of_medians(OPS[op].0, (low, high), trace_report.clock_step_ns);
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

/// What the median call of an operation takes, by the backends with the smallest and the largest median.
fn of_medians(name: &str, (low, high): (Named, Named), clock_step_ns: Option<f64>) -> String {
    let [least, most] = [low.1, high.1].map(nanoseconds);
    if low.0 == high.0 {
        format!("Half of the {name} calls of {} take {least} or less.", low.0)
    } else if least == most {
        format!("The median {name} takes {least} in every allocator, the clock included.")
    } else if high.1 - low.1 <= clock_step_ns.unwrap_or(1.0) {
        format!(
            "The median {name} takes {least} to {most}, the clock included: no more apart than a step \
             of the clock."
        )
    } else {
        format!("The median {name} takes {least} in {} and {most} in {}.", low.0, high.0)
    }
}

/// The smallest and the largest by value.
fn extremes<'a>(values: &[Named<'a>]) -> Option<(Named<'a>, Named<'a>)> {
    let low = values.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let high = values.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((*low, *high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_that_differ_are_both_named() {
        let title = |low, high, step| {
            of_medians("free", (("a", low), ("b", high)), step).replace('\u{a0}', " ")
        };
        assert!(title(21.0, 21.2, Some(7.6)).starts_with("The median free takes 21 ns in every"));
        assert!(
            title(21.0, 25.0, Some(7.6)).starts_with("The median free takes 21 ns to 25 ns, the")
        );
        assert_eq!(title(21.0, 40.0, None), "The median free takes 21 ns in a and 40 ns in b.");
        let one = of_medians("free", (("a", 21.0), ("a", 21.0)), None);
        assert!(one.starts_with("Half of the free calls of a take 21"), "{one}");
    }

    #[test]
    fn bins_rise_and_have_one_step_each_where_the_clock_is_coarse() {
        let edges = edges(Scale::log(6.0, 1e6), 10.0);
        assert!(edges.windows(2).all(|pair| pair[0] < pair[1]), "{edges:?}");
        for step in [10.0, 20.0, 30.0] {
            assert!(
                edges.iter().all(|edge| (edge - step).abs() > 1.0),
                "{step} is on an edge of {edges:?}"
            );
        }
        assert!(edges.last().is_some_and(|last| *last >= 1e6));
    }
}
