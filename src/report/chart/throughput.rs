//! Chart: time per call by backend with its range over repetitions, and along the trace.

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::heap_series::shown_peak;
use super::scale::Scale;
use crate::report::figures::{
    BackendFigures, BackendLabel, CallCost, ChunkCost, TraceReport, rows_without_bounds,
};
use crate::report::text::{HARNESS, some};
use crate::stats;
use crate::units::{count, figure3, ratio, times};

/// How fast is each allocator?
pub const ABOUT: About = About {
    name: "throughput",
    question: "How fast is each allocator, and is the difference more than noise?",
    reading: "The dot is the time of an average call. The pale bar reaches from the sum of the \
              fastest segments to the slowest whole repetition. All backends are interleaved in \
              time slices of a millisecond, so that machine noise is the same for all. A \
              difference counts when it is over 2 % and more than chance (1 in 1,000). The grey \
              dashes are the harness's own cost, which is in every number and not subtracted. At \
              the right is the same time along the trace.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct ThroughputChart {
    /// Its sentences.
    pub caption: Caption,
    /// Time per call, from 0.
    pub time_axis: Axis,
    /// Nanoseconds that the harness costs in every call, where they are known.
    pub floor_ns: Option<f64>,
    /// By backend.
    pub rows: Vec<ThroughputRow>,
    /// Time along the trace, where there are enough chunks.
    pub along_trace: Option<AlongTrace>,
}

/// The time of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct ThroughputRow {
    /// The backend.
    pub backend: BackendLabel,
    /// Its time per call.
    pub cost: CallCost,
    /// Whether it is the fastest allocator, or not separable from it.
    pub is_leader: bool,
    /// How it compares with the reference, or its version.
    pub note: String,
    /// The trace chunk by chunk: the call in the middle of the chunk, and nanoseconds per call.
    pub chunks: Vec<(f64, f64)>,
}

/// The axes of the panel along the trace.
#[derive(Clone, Debug, Serialize)]
pub struct AlongTrace {
    /// Calls replayed.
    pub calls_axis: Axis,
    /// Time per call. The highest chunks are above it.
    pub time_axis: Axis,
}

/// A backend with its cost.
type Timed<'a> = (&'a BackendFigures<'a>, CallCost);

/// Describes the chart; `None` when nothing was timed.
pub fn describe(trace_report: &TraceReport) -> Option<ThroughputChart> {
    let timed: Vec<Timed> =
        trace_report.backends.iter().filter_map(|backend| Some((backend, backend.cost?))).collect();
    if timed.is_empty() {
        return None;
    }
    // One disturbed repetition, or one allocator that is far slower, must not press all dots to the
    // left: it runs off.
    // The harness itself makes no scale where there are allocators.
    let allocators = timed.iter().filter(|(backend, _)| !backend.is_floor());
    let mut middles: Vec<f64> = allocators.map(|(_, cost)| cost.middle_ns).collect();
    if middles.is_empty() {
        middles.extend(timed.iter().map(|(_, cost)| cost.middle_ns));
    }
    let usual = shown_peak(&middles);
    let most = timed.iter().map(|(_, cost)| cost.high_ns).fold(0.0, f64::max).min(usual * 2.5);
    let scale = Scale::Linear { from: 0.0, to: most * 1.08 + 1e-9 };
    let leaders = leaders(trace_report, &timed);
    let row = |&(backend, cost): &Timed| ThroughputRow {
        backend: backend.label.clone(),
        cost,
        is_leader: leaders.contains(&backend.name()),
        note: note(trace_report, backend, &cost),
        chunks: backend.chunks.iter().map(point).collect(),
    };
    Some(ThroughputChart {
        caption: Caption::new(
            verdict(trace_report, &timed),
            plotted(trace_report, &timed),
            &READING,
        ),
        time_axis: Axis::plain("ns per call, from 0", "ns", scale),
        floor_ns: trace_report.floor().map(|floor| floor.middle_ns),
        rows: timed.iter().map(row).collect(),
        along_trace: along_trace(&timed, usual),
    })
}

fn point(chunk: &ChunkCost) -> (f64, f64) {
    (chunk.first_call + chunk.calls / 2.0, chunk.middle_ns / chunk.calls)
}

/// The axes along the trace; `None` where no backend has three chunks.
fn along_trace(timed: &[Timed], usual: f64) -> Option<AlongTrace> {
    if timed.iter().all(|(backend, _)| backend.chunks.len() <= 2) {
        return None;
    }
    let chunks = timed.iter().flat_map(|(backend, _)| &backend.chunks);
    let calls = chunks.map(|chunk| chunk.first_call + chunk.calls).fold(1.0, f64::max);
    let (divisor, label) =
        if calls >= 2e6 { (1e6, "calls replayed, millions") } else { (1.0, "calls replayed") };
    // The highest hundredth of the chunks would flatten the rest, and so would an allocator that is
    // far slower: they run off the top.
    let all: Vec<f64> = timed
        .iter()
        .filter(|(_, cost)| cost.middle_ns <= usual)
        .flat_map(|(backend, _)| backend.chunks.iter().map(|chunk| point(chunk).1))
        .collect();
    let highest = stats::quantile(&all, 0.99).unwrap_or(1.0) * 1.15;
    let label_of_time = "ns per call, chunk by chunk, median over repetitions";
    Some(AlongTrace {
        calls_axis: Axis {
            label: label.to_owned(),
            unit: "calls".to_owned(),
            unit_size: divisor,
            scale: Scale::Linear { from: 0.0, to: calls / divisor },
        },
        time_axis: Axis::plain(
            label_of_time,
            "ns",
            Scale::Linear { from: 0.0, to: highest.max(1e-9) },
        ),
    })
}

fn note(trace_report: &TraceReport, backend: &BackendFigures, cost: &CallCost) -> String {
    if backend.is_floor() {
        return HARNESS.to_owned();
    }
    match trace_report.reference().and_then(|first| Some((first, first.cost?))) {
        Some((first, first_cost)) if first.spec != backend.spec => {
            let medians = cost.middle_ns / first_cost.middle_ns;
            let ratio = ratio(trace_report.time_ratio(first, backend).unwrap_or(medians));
            let is_apart = trace_report.is_time_apart(first, backend);
            let level = if is_apart { "" } else { ", not separable" };
            format!("{ratio} of {}{level}", first.name())
        }
        _ => backend.label.version.clone(),
    }
}

/// The allocators of title and bold type with their costs, the fastest first. A bound makes neither.
fn by_time<'a>(timed: &[Timed<'a>]) -> Vec<Timed<'a>> {
    let allocators = timed.iter().copied().filter(|(backend, _)| !backend.is_floor());
    let mut allocators: Vec<Timed> = rows_without_bounds(allocators, |row| row.0.is_bound());
    allocators.sort_by(|a, b| a.1.middle_ns.total_cmp(&b.1.middle_ns));
    allocators
}

/// The fastest allocator and those that are not separable from it.
fn leaders<'a>(trace_report: &TraceReport, timed: &[Timed<'a>]) -> Vec<&'a str> {
    let allocators = by_time(timed);
    let Some((best, _)) = allocators.first() else { return vec![] };
    let level = allocators.iter().filter(|(backend, _)| !trace_report.is_time_apart(best, backend));
    level.map(|(backend, _)| backend.name()).collect()
}

fn plotted(trace_report: &TraceReport, timed: &[Timed]) -> String {
    let repetitions = timed.iter().map(|(_, cost)| cost.repetitions).max().unwrap_or(0);
    let floor = match trace_report.floor() {
        Some(floor) => format!(
            "  Grey dashes: {} ns of every call are the harness itself (null); nothing is \
             subtracted.",
            figure3(floor.middle_ns)
        ),
        None => "  The harness's own cost is in every number; nothing is subtracted.".to_owned(),
    };
    format!(
        "Time per call over the whole of `{}` ({} calls), {repetitions} repetitions in fresh \
         processes.{floor}",
        trace_report.trace.name,
        count(trace_report.trace.calls)
    )
}

const READING: [&str; 5] = [
    "Dot: sum over chunks of the median over repetitions.",
    "Pale bar: from the sum of each chunk's fastest to the slowest whole repetition.",
    "A difference counts when it is over 2 % and more than chance.",
    "Bold: fastest, or not separable from it.",
    "▶: off the scale.",
];

fn verdict(trace_report: &TraceReport, timed: &[Timed]) -> String {
    let allocators = by_time(timed);
    let Some(&(fastest, best)) = allocators.first() else {
        return format!("The harness itself costs {} ns a call.", figure3(timed[0].1.middle_ns));
    };
    let name = fastest.name();
    if allocators.len() == 1 {
        return format!("{name} takes {} ns a call.", figure3(best.middle_ns));
    }
    let level: Vec<String> = allocators[1..]
        .iter()
        .filter(|(backend, _)| !trace_report.is_time_apart(fastest, backend))
        .map(|(backend, _)| backend.name().to_owned())
        .collect();
    let (_, slow) = allocators[allocators.len() - 1];
    let mut title = if level.is_empty() {
        format!("{name} is the fastest: {} ns a call.", figure3(best.middle_ns))
    } else if level.len() + 1 == allocators.len() {
        return format!(
            "No difference in time is separable: {} to {} ns a call.",
            figure3(best.middle_ns),
            figure3(slow.middle_ns)
        );
    } else {
        format!(
            "{name} leads with {} ns a call, not separable from {}.",
            figure3(best.middle_ns),
            some(&level)
        )
    };
    // One that varies much may be level with the fastest and have the largest median.
    let slowest =
        allocators.iter().rfind(|(backend, _)| trace_report.is_time_apart(fastest, backend));
    if let Some((slowest, slow)) = slowest {
        let medians = slow.middle_ns / best.middle_ns;
        let factor = trace_report.time_ratio(fastest, slowest).unwrap_or(medians);
        // The two times beside it have another ratio: the sentence names what has this one.
        let is_other = times(factor) != times(medians);
        let within = if is_other { " in the same repetition" } else { "" };
        title += &format!(
            "  {} takes {} ns, {} times as long{within}.",
            slowest.name(),
            figure3(slow.middle_ns),
            times(factor)
        );
    }
    title
}
