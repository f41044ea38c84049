//! Chart: service time by percentile, a panel for each operation.

use serde::Serialize;

use super::axis::Axis;
use super::clock_floor::{ClockFloor, emphasised};
use super::contract::{About, Caption};
use super::scale::Scale;
use crate::report::figures::{
    BackendFigures, BackendLabel, LatencyDistribution, OPS, TraceReport, after_end, seen_text,
    slow_calls,
};
use crate::report::text::all_or_ends;
use crate::units::{nanoseconds, times};

/// How bad is the tail, and is it the allocator's?
pub const ABOUT: About = About {
    name: "latency-percentiles",
    question: "How bad is the tail, and is it the allocator's or the machine's?",
    reading: "Follow a curve to the right to see how rare its slow calls are: each step to the \
              right is ten times rarer. Bold is the median over identical replays, call by call, \
              which removes machine noise. Dotted is one raw replay. Where a curve is thin, \
              fewer than ten calls are slower.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyPercentilesChart {
    /// Its sentences.
    pub caption: Caption,
    /// Upwards, the same in all panels.
    pub time_axis: Axis,
    /// The clock, where it is known.
    pub clock: Option<ClockFloor>,
    /// By operation.
    pub panels: Vec<PercentilePanel>,
}

/// The service times of one operation.
#[derive(Clone, Debug, Serialize)]
pub struct PercentilePanel {
    /// The operation.
    pub operation: &'static str,
    /// Calls.
    pub calls: u64,
    /// Across: decimal logarithm of the rarity. 3 is the slowest one call in 1000.
    pub rarity_axis: Axis,
    /// By allocator, in the run's order; one without calls has no points.
    pub curves: Vec<PercentileCurve>,
    /// From one call in 10 to this power on, a raw replay is several times slower than the median
    /// over the replays: it shows the machine.
    pub machine_from_decade: Option<i32>,
}

/// The service times of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct PercentileCurve {
    /// The backend.
    pub backend: BackendLabel,
    /// Whether it is in colour.
    pub is_emphasised: bool,
    /// Whether the points are the median over the replays, call by call.
    pub is_confirmed: bool,
    /// Steps: decades of rarity, nanoseconds.
    pub points: Vec<(f64, f64)>,
    /// Up to this decade at least ten calls are slower: further right the curve is no fact.
    pub fact_decades: f64,
    /// Nanoseconds of the slowest call.
    pub slowest_ns: Option<f64>,
    /// The steps of one raw replay, beside a confirmed curve.
    pub raw_points: Vec<(f64, f64)>,
}

/// Width of the step of the slowest call, in decades: one call in n has no right end.
const LAST_STEP: f64 = 0.2;

/// Describes the chart; `None` without service times.
pub fn describe(trace_report: &TraceReport) -> Option<LatencyPercentilesChart> {
    let ops: Vec<usize> = (0..OPS.len())
        .filter(|op| trace_report.allocators().any(|backend| backend.latency(*op).0.calls > 0))
        .collect();
    if ops.is_empty() {
        return None;
    }
    Some(LatencyPercentilesChart {
        caption: caption(trace_report),
        time_axis: Axis::service_time(time_scale(trace_report, &ops)),
        clock: ClockFloor::of(trace_report),
        panels: ops.iter().map(|op| panel(trace_report, *op)).collect(),
    })
}

/// From the clock's step to above the slowest call.
fn time_scale(trace_report: &TraceReport, ops: &[usize]) -> Scale {
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
    let low = low.min(trace_report.clock_step_ns.unwrap_or(f64::INFINITY)).max(1.0);
    Scale::log(low / 1.5, high * 2.0)
}

fn panel(trace_report: &TraceReport, op: usize) -> PercentilePanel {
    let calls = trace_report.allocators().map(|backend| backend.latency(op).0.calls);
    let calls = calls.max().unwrap_or(1);
    // Some space beyond the rarest, so that the slowest call itself is a step that can be seen.
    let decades = (calls.max(10) as f64).log10().max(1.0) + LAST_STEP;
    let scale = Scale::Linear { from: 0.0, to: decades };
    let loud = emphasised(trace_report);
    let curve = |backend: &BackendFigures| {
        let (distribution, is_confirmed) = backend.latency(op);
        PercentileCurve {
            backend: backend.label.clone(),
            is_emphasised: loud.contains(&backend.name()),
            is_confirmed,
            points: steps(distribution),
            fact_decades: (distribution.calls as f64 / 10.0).max(1.0).log10(),
            slowest_ns: distribution.max(),
            raw_points: if is_confirmed { steps(&backend.raw[op]) } else { vec![] },
        }
    };
    let loud_ones = trace_report.allocators().filter(|backend| loud.contains(&backend.name()));
    PercentilePanel {
        operation: OPS[op].0,
        calls,
        rarity_axis: Axis::plain("the slowest one call in 10, 100, 1000 …", "decades", scale),
        curves: trace_report.allocators().map(curve).collect(),
        machine_from_decade: loud_ones
            .filter_map(|backend| machine_from_decade(&backend.raw[op], &backend.confirmed[op]))
            .min(),
    }
}

/// The steps of a distribution: decimal logarithm of N where one call in N is slower, and
/// nanoseconds.
fn steps(distribution: &LatencyDistribution) -> Vec<(f64, f64)> {
    let calls = distribution.calls as f64;
    let mut points = Vec::new();
    let mut x = 0.0;
    for &(value, up_to) in &distribution.steps {
        let beyond = calls - up_to as f64;
        let end = if beyond >= 1.0 { (calls / beyond).log10() } else { calls.log10() + LAST_STEP };
        // A step too narrow to be seen is folded into the next one.
        if end - x < 0.002 && beyond >= 1.0 && !points.is_empty() {
            continue;
        }
        points.push((x, value));
        points.push((end, value));
        x = end;
    }
    points
}

/// The first decade at which the raw replay is three times as slow as the median over the replays.
fn machine_from_decade(raw: &LatencyDistribution, confirmed: &LatencyDistribution) -> Option<i32> {
    (1..=7).find(|decade| {
        let share = 1.0 - 10_f64.powi(-decade);
        match (raw.fact(share), confirmed.fact(share)) {
            (Some(raw), Some(confirmed)) => raw > confirmed * 3.0,
            _ => false,
        }
    })
}

fn caption(trace_report: &TraceReport) -> Caption {
    let has_confirmed =
        |backend: &BackendFigures| backend.confirmed.iter().any(|times| times.calls > 0);
    let mut reading =
        vec!["Lower is better; follow a curve right to see how rare its slow calls are."];
    let has_both = |backend: &BackendFigures| {
        (0..OPS.len()).any(|op| backend.confirmed[op].calls > 0 && backend.raw[op].calls > 0)
    };
    if trace_report.allocators().any(has_both) {
        reading.push("Dotted and bold part where the machine, not the allocator, was slow.");
    }
    reading.push("Thin end: fewer than 10 calls lie beyond, n too small.");
    reading.push("Timer cost is not subtracted.");
    let is_confirmed = trace_report.allocators().any(has_confirmed);
    Caption::new(verdict(trace_report), plotted(trace_report, is_confirmed), &reading)
        .with_reading(over_a_millisecond(trace_report))
}

/// Calls over 1 ms of each backend, in a raw replay and confirmed; empty where there are none.
fn over_a_millisecond(trace_report: &TraceReport) -> String {
    let sum =
        |all: &[LatencyDistribution; 3]| all.iter().map(|times| times.slower(1e6)).sum::<u64>();
    let over: Vec<(f64, String)> = trace_report
        .allocators()
        .filter(|backend| backend.confirmed.iter().any(|times| times.calls > 0))
        .map(|backend| {
            let own = sum(&backend.confirmed);
            (own as f64, format!("{} {} → {own}", backend.name(), sum(&backend.raw)))
        })
        .collect();
    let is_any = trace_report.allocators().any(|backend| {
        backend.raw.iter().chain(&backend.confirmed).any(|times| times.slower(1e6) > 0)
    });
    if !is_any || over.is_empty() {
        return String::new();
    }
    format!("Calls over 1 ms, one raw replay → confirmed: {}.", all_or_ends(over, "; "))
}

fn plotted(trace_report: &TraceReport, is_confirmed: bool) -> String {
    let trace = &trace_report.trace.name;
    let repetitions = trace_report.repetitions();
    if is_confirmed && repetitions > 1 {
        format!(
            "Service time by percentile, per call of `{trace}`.  Bold: median of {repetitions} \
             identical replays, call by call, which removes the scheduler's noise.  Dotted: one \
             raw replay, as other tools would plot it."
        )
    } else {
        format!(
            "Service time by percentile, per call of `{trace}`.  One raw replay: what is slow \
             here may be the machine and not the allocator."
        )
    }
}

/// The slowest call of one allocator.
struct SlowestCall<'a> {
    backend: &'a BackendFigures<'a>,
    ns: f64,
    is_confirmed: bool,
    op: &'static str,
}

fn slowest_call<'a>(backend: &'a BackendFigures<'a>) -> Option<SlowestCall<'a>> {
    let (ns, is_confirmed) = backend.worst_call()?;
    let op = (0..OPS.len()).find(|op| backend.latency(*op).0.max() == Some(ns)).unwrap_or(0);
    Some(SlowestCall { backend, ns, is_confirmed, op: ["malloc", "free", "realloc"][op] })
}

fn verdict(trace_report: &TraceReport) -> String {
    let choosable = trace_report.choosable().into_iter();
    let all: Vec<SlowestCall> = choosable.filter_map(slowest_call).collect();
    let mut title = resolution(trace_report);
    let slowest = all.iter().max_by(|a, b| a.ns.total_cmp(&b.ns));
    let best = all.iter().min_by(|a, b| a.ns.total_cmp(&b.ns));
    let (Some(slowest), Some(best)) = (slowest, best) else { return title };
    let (name, op, value) = (slowest.backend.name(), slowest.op, nanoseconds(slowest.ns));
    let slow = slow_calls(slowest.backend);
    let seen = slow.first();
    let real = match seen {
        Some(call) if slowest.is_confirmed => format!(", seen in {} replays", seen_text(call)),
        _ if slowest.is_confirmed => ", confirmed over all replays".to_owned(),
        _ => ", in one raw replay".to_owned(),
    };
    let late =
        seen.filter(|_| slowest.is_confirmed).map_or("", |call| after_end(trace_report, call));
    title += &if all.len() == 1 {
        format!("  The slowest call of {name} is a {op}() of {value}{late}{real}.")
    } else if slowest.ns > best.ns * 2.0 && seen.is_some_and(|call| call.seen < call.repetitions) {
        // The call may be machine noise in as many replays as the median needs.
        format!(
            "  The slowest calls are not separable: {name}'s {op}() of {value} is one that only \
             {} replays saw.",
            seen.map(|call| seen_text(call)).unwrap_or_default()
        )
    } else if slowest.ns > best.ns * 2.0 {
        format!(
            "  {name}'s {op}() stalls for up to {value}{late}, {} times {}'s slowest call, a {}(){real}.",
            times(slowest.ns / best.ns),
            best.backend.name(),
            best.op
        )
    } else {
        format!(
            "  The slowest calls lie within a factor of 2: {} to {value}.",
            nanoseconds(best.ns)
        )
    };
    title.trim_start().to_owned()
}

/// The share of calls within one clock pair, over all allocators; empty where it is under a half.
fn resolution(trace_report: &TraceReport) -> String {
    let Some(floor) = trace_report.clock_floor_ns() else { return String::new() };
    let shares: Vec<f64> = trace_report
        .allocators()
        .filter_map(|backend| {
            let all = backend.latency_calls();
            (all > 0).then(|| 1.0 - backend.slower_calls(floor) as f64 / all as f64)
        })
        .collect();
    match crate::stats::range(&shares) {
        Some((low, _)) if low >= 0.5 => {
            format!(
                "At least {:.0} % of the calls take no longer than an empty clock pair: the tail \
                 decides.",
                (low * 100.0).floor()
            )
        }
        _ => String::new(),
    }
}
