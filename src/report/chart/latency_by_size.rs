//! Chart: service times by size class, a panel for each operation.

use serde::Serialize;

use super::axis::Axis;
use super::clock_floor::{ClockFloor, emphasised};
use super::contract::{About, Caption};
use super::scale::Scale;
use crate::report::figures::{
    BackendLabel, ClassTimes, LatencyDistribution, OPS, TraceReport, best_by_class,
    rows_without_bounds,
};
use crate::units::{bytes, count, nanoseconds};

/// Which sizes are slow?
pub const ABOUT: About = About {
    name: "latency-by-size",
    question: "Which sizes of blocks are slow?",
    reading: "Left to right is the size class of the block, upwards the service time. The line \
              is the slowest call in a hundred of that size, or in ten where most sizes have too \
              few calls for that. The small triangles are the slowest of all. A step is where an \
              allocator changes its way: from pools to the layer below, from bins to mapped \
              memory. The grey bars at the foot show the number of calls.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyBySizeChart {
    /// Its sentences.
    pub caption: Caption,
    /// Upwards, the same in all panels.
    pub time_axis: Axis,
    /// The clock, where it is known.
    pub clock: Option<ClockFloor>,
    /// Which call of a class the lines show.
    pub percentile: ClassPercentile,
    /// By operation.
    pub panels: Vec<ClassPanel>,
}

/// A percentile of a size class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassPercentile {
    /// The share of the calls (0 to 1) that are not slower.
    pub share: f64,
    /// The call that it is.
    pub name: &'static str,
}

/// The size classes of one operation.
#[derive(Clone, Debug, Serialize)]
pub struct ClassPanel {
    /// The operation.
    pub operation: &'static str,
    /// Calls.
    pub calls: u64,
    /// Across: binary logarithm of the largest size of a class.
    pub size_axis: Axis,
    /// The classes below the panel: largest size in bytes, and calls.
    pub classes: Vec<(u64, u64)>,
    /// By allocator, in the run's order; one without calls has no points.
    pub lines: Vec<ClassLine>,
}

/// The size classes of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct ClassLine {
    /// The backend.
    pub backend: BackendLabel,
    /// Whether it is in colour.
    pub is_emphasised: bool,
    /// By size, rising.
    pub points: Vec<ClassPoint>,
}

/// One size class.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClassPoint {
    /// The largest size of the class.
    pub up_to_bytes: u64,
    /// Nanoseconds of the percentile, where at least ten calls are slower.
    pub percentile_ns: Option<f64>,
    /// Nanoseconds of the slowest call.
    pub slowest_ns: Option<f64>,
}

/// From the rarest to the commonest.
const PERCENTILES: [ClassPercentile; 3] = [
    ClassPercentile { share: 0.99, name: "slowest call in a hundred" },
    ClassPercentile { share: 0.9, name: "slowest call in ten" },
    ClassPercentile { share: 0.5, name: "median call" },
];

/// The times of one operation, by allocator in the run's order.
struct OperationTimes {
    op: usize,
    by_allocator: Vec<ClassTimes>,
}

impl OperationTimes {
    fn all(trace_report: &TraceReport) -> Vec<OperationTimes> {
        let of = |op: usize| OperationTimes {
            op,
            by_allocator: trace_report
                .allocators()
                .map(|backend| best_by_class(backend, OPS[op].1))
                .collect(),
        };
        (0..OPS.len()).map(of).filter(|times| times.classes().next().is_some()).collect()
    }

    fn classes(&self) -> impl Iterator<Item = &(u64, LatencyDistribution)> {
        self.by_allocator.iter().flatten()
    }
}

/// Describes the chart; `None` without service times by size.
pub fn describe(trace_report: &TraceReport) -> Option<LatencyBySizeChart> {
    let all = OperationTimes::all(trace_report);
    if all.is_empty() {
        return None;
    }
    let percentile = rarest_known(&all);
    let title = verdict(trace_report, &all, percentile);
    Some(LatencyBySizeChart {
        caption: caption(title, trace_report, percentile),
        time_axis: Axis::service_time(time_scale(trace_report, &all)),
        clock: ClockFloor::of(trace_report),
        percentile,
        panels: all.iter().map(|times| panel(trace_report, times, percentile)).collect(),
    })
}

/// The rarest percentile that is a fact in most classes.
fn rarest_known(all: &[OperationTimes]) -> ClassPercentile {
    let classes: Vec<&LatencyDistribution> =
        all.iter().flat_map(OperationTimes::classes).map(|class| &class.1).collect();
    let is_known = |percentile: &&ClassPercentile| {
        let facts = classes.iter().filter(|times| times.fact(percentile.share).is_some()).count();
        facts * 5 >= classes.len() * 3
    };
    *PERCENTILES.iter().find(is_known).unwrap_or(&PERCENTILES[2])
}

fn time_scale(trace_report: &TraceReport, all: &[OperationTimes]) -> Scale {
    let times = || all.iter().flat_map(OperationTimes::classes).map(|class| &class.1);
    let high = times().filter_map(LatencyDistribution::max).fold(0.0, f64::max);
    let first = times().filter_map(|times| times.steps.first()).map(|step| step.0.max(1.0));
    let low = first.fold(trace_report.clock_step_ns.unwrap_or(f64::INFINITY), f64::min).max(1.0);
    Scale::log(low / 1.5, high * 2.0)
}

/// The place of a size class on the axis.
pub fn size_place(up_to_bytes: u64) -> f64 {
    (up_to_bytes.max(1) as f64).log2()
}

fn panel(
    trace_report: &TraceReport,
    times: &OperationTimes,
    percentile: ClassPercentile,
) -> ClassPanel {
    let sizes = || times.classes().map(|class| class.0);
    let (low, high) = (sizes().min().unwrap_or(16), sizes().max().unwrap_or(16));
    let calls_of = |classes: &ClassTimes| {
        classes.iter().fold(0_u64, |sum, class| sum.saturating_add(class.1.calls))
    };
    let calls_in = |size: u64| {
        let of = |classes: &ClassTimes| {
            classes.iter().find(|class| class.0 == size).map_or(0, |class| class.1.calls)
        };
        times.by_allocator.iter().map(of).max().unwrap_or(0)
    };
    let loud = emphasised(trace_report);
    let line =
        |(backend, classes): (&crate::report::figures::BackendFigures, &ClassTimes)| ClassLine {
            backend: backend.label.clone(),
            is_emphasised: loud.contains(&backend.name()),
            points: classes.iter().map(|class| point(class, percentile)).collect(),
        };
    let scale = Scale::Linear { from: size_place(low) - 0.5, to: size_place(high) + 0.5 };
    ClassPanel {
        operation: OPS[times.op].0,
        calls: times.by_allocator.iter().map(calls_of).max().unwrap_or(0),
        size_axis: Axis::plain("size of the block, up to", "log2 bytes", scale),
        classes: (4..64)
            .map(|power| 1 << power)
            .filter(|size| (low..=high).contains(size))
            .map(|size| (size, calls_in(size)))
            .collect(),
        lines: trace_report.allocators().zip(&times.by_allocator).map(line).collect(),
    }
}

fn point(class: &(u64, LatencyDistribution), percentile: ClassPercentile) -> ClassPoint {
    ClassPoint {
        up_to_bytes: class.0,
        percentile_ns: class.1.fact(percentile.share),
        slowest_ns: class.1.max(),
    }
}

fn caption(title: String, trace_report: &TraceReport, percentile: ClassPercentile) -> Caption {
    let needed = count((10.0 / (1.0 - percentile.share)).round() as u64);
    let line = format!(
        "Line: the {} of that size; a class with too few calls for that ({needed}) has none.",
        percentile.name
    );
    let reading = [
        line.as_str(),
        "Triangle: the slowest of all.",
        "A step is where an allocator changes its way, from pools to the layer below or to mapped \
         memory.",
        "Grey band: the clock itself.",
    ];
    Caption::new(title, plotted(trace_report), &reading)
}

fn plotted(trace_report: &TraceReport) -> String {
    let repetitions = trace_report.repetitions();
    let how = if trace_report.has_confirmed_classes() {
        format!("Each call by its median over {repetitions} replays.")
    } else {
        "One raw replay: what is slow here may be the machine and not the allocator.".to_owned()
    };
    format!(
        "Service time by size of the block, calls of `{}`; for realloc the new size.  {how}  Bars: \
         calls of the class, log scale.",
        trace_report.trace.name
    )
}

/// Where one size is much slower than the next smaller one.
fn verdict(
    trace_report: &TraceReport,
    all: &[OperationTimes],
    percentile: ClassPercentile,
) -> String {
    let mut best: Option<(f64, String)> = None;
    for times in all {
        let rows = trace_report.allocators().zip(&times.by_allocator);
        for (backend, classes) in rows_without_bounds(rows, |row| row.0.is_bound()) {
            let facts: Vec<(u64, f64)> = classes
                .iter()
                .filter_map(|class| Some((class.0, class.1.fact(percentile.share)?)))
                .collect();
            for pair in facts.windows(2) {
                let ratio = pair[1].1 / pair[0].1.max(1.0);
                if ratio.is_finite() && best.as_ref().is_none_or(|(most, _)| ratio > *most) {
                    let text = format!(
                        "{}'s {} changes above {}: the {} goes from {} to {}.",
                        backend.name(),
                        OPS[times.op].0,
                        bytes(pair[0].0 as f64),
                        percentile.name,
                        nanoseconds(pair[0].1),
                        nanoseconds(pair[1].1)
                    );
                    best = Some((ratio, text));
                }
            }
        }
    }
    match best {
        Some((ratio, text)) if ratio >= 2.0 => text,
        Some(_) => {
            format!(
                "No size is much slower than the next smaller one: within a factor of 2, by the \
                 {}.",
                percentile.name
            )
        }
        None => "Service times by size of the block".to_owned(),
    }
}
