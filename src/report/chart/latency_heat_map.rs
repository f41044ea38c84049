//! Chart: service times over the replay, a row for each backend, below the live heap.
//!
//! The record has counts in fixed bins and the slowest calls by themselves. So the chart costs the
//! same for ten thousand calls and for a billion, and no extreme is lost to binning.

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::scale::Scale;
use crate::report::figures::{
    BackendFigures, BackendLabel, MARKS_MAX, TraceReport, after_end, partly_slow_calls,
    rows_without_bounds, slow_calls,
};
use crate::results::{LatencyRow, ProgramMark, Sample, SlowCall};
use crate::units::{count, nanoseconds};

/// When do stalls happen?
pub const ABOUT: About = About {
    name: "latency-heat-map",
    question: "When do stalls happen, and what was the program doing?",
    reading: "Left to right is the replay, upwards the service time of a call. The darker, the \
              more calls. Horizontal bands are paths through the allocator. A dot is one call of \
              over 100 µs by the median over the replays. Grey ticks at the upper edge are calls \
              that were slow in a part of the replays only, which is machine noise. Above is the \
              live heap: see whether stalls come when it grows or when it falls.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyHeatMapChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across: calls replayed.
    pub calls_axis: Axis,
    /// Calls of the trace.
    pub calls: u64,
    /// Upwards, the same in all rows.
    pub time_axis: Axis,
    /// The live heap above the rows: event and live bytes, where it was sampled.
    pub live: Vec<(u64, u64)>,
    /// The marks of the program.
    pub marks: Vec<ProgramMark>,
    /// By allocator.
    pub rows: Vec<LatencyHeatMapRow>,
    /// The largest number of calls in one cell.
    pub most_calls: u64,
}

/// The service times of one backend over the replay.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyHeatMapRow {
    /// The backend.
    pub backend: BackendLabel,
    /// Columns of time.
    pub columns: usize,
    /// Counts by service time.
    pub bands: Vec<LatencyBand>,
    /// Slow calls, the slowest first: event and nanoseconds.
    pub slow_calls: Vec<(u64, u64)>,
    /// Events that were slow in a part of the replays only.
    pub partly_slow_events: Vec<u64>,
    /// Nanoseconds of all calls by the time pass, which reads no clock at a call; `None` without such
    /// a pass.
    pub total_ns: Option<f64>,
    /// Calls over 1 ms.
    pub over_1ms: usize,
    /// Calls over 100 µs.
    pub over_100us: usize,
}

/// The calls between two service times.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyBand {
    /// More than this many nanoseconds.
    pub from_ns: f64,
    /// At most this many.
    pub to_ns: f64,
    /// Column and calls, for the columns that have calls.
    pub counts: Vec<(usize, u64)>,
}

/// Rows at most: more would be too low to read.
const ROWS_MAX: usize = 12;

/// The trajectory of one backend: its rows of the record.
struct Trajectory<'a> {
    backend: &'a BackendFigures<'a>,
    rows: Vec<&'a LatencyRow>,
    slow: Vec<&'a SlowCall>,
}

impl<'a> Trajectory<'a> {
    fn of(backend: &'a BackendFigures<'a>) -> Option<Trajectory<'a>> {
        let is_good = |row: &&LatencyRow| {
            row.columns > 0
                && row.from_nanoseconds.is_finite()
                && row.to_nanoseconds > row.from_nanoseconds.max(0.0)
        };
        let rows: Vec<&LatencyRow> =
            backend.rows.latency_map.iter().copied().filter(is_good).collect();
        (!rows.is_empty()).then(|| Trajectory { backend, rows, slow: slow_calls(backend) })
    }

    fn over(&self, nanoseconds: f64) -> usize {
        self.slow.iter().filter(|call| call.nanoseconds as f64 > nanoseconds).count()
    }

    fn columns(&self) -> usize {
        self.rows.iter().map(|row| row.columns as usize).max().unwrap_or(0)
    }

    fn described(&self, calls: u64) -> LatencyHeatMapRow {
        let band = |row: &&LatencyRow| LatencyBand {
            from_ns: row.from_nanoseconds,
            to_ns: row.to_nanoseconds,
            counts: row.counts(),
        };
        let partly = partly_slow_calls(self.backend);
        LatencyHeatMapRow {
            backend: self.backend.label.clone(),
            columns: self.columns(),
            bands: self.rows.iter().map(band).collect(),
            slow_calls: self.slow.iter().map(|call| (call.event, call.nanoseconds)).collect(),
            partly_slow_events: partly.iter().map(|call| call.event).collect(),
            total_ns: self.backend.total_ns(calls),
            over_1ms: self.over(1e6),
            over_100us: self.over(1e5),
        }
    }
}

/// Describes the chart; `None` without a map of latencies.
pub fn describe(trace_report: &TraceReport) -> Option<LatencyHeatMapChart> {
    let mut all: Vec<Trajectory> = trace_report.allocators().filter_map(Trajectory::of).collect();
    if all.is_empty() {
        return None;
    }
    let leading = rows_without_bounds(&all, |own| own.backend.is_bound());
    let title = verdict(trace_report, &leading);
    let left_out = all.len().saturating_sub(ROWS_MAX);
    all.truncate(ROWS_MAX);
    let sampled = trace_report.backends.iter().find(|backend| backend.samples.len() > 1);
    let live = |sample: &&Sample| (sample.event, sample.live_bytes);
    let rows: Vec<LatencyHeatMapRow> =
        all.iter().map(|own| own.described(trace_report.trace.calls)).collect();
    let cells = rows.iter().flat_map(|row| &row.bands).flat_map(|band| &band.counts);
    Some(LatencyHeatMapChart {
        caption: Caption::new(title, plotted(trace_report, &all, left_out), &READING),
        calls_axis: Axis::calls("calls replayed", trace_report.trace.calls as f64),
        calls: trace_report.trace.calls.max(1),
        time_axis: Axis::service_time(time_scale(trace_report, &all)),
        live: sampled.map_or(vec![], |backend| backend.samples.iter().map(live).collect()),
        marks: trace_report.trace.marks.iter().take(MARKS_MAX).cloned().collect(),
        most_calls: cells.map(|cell| cell.1).max().unwrap_or(1),
        rows,
    })
}

fn time_scale(trace_report: &TraceReport, all: &[Trajectory]) -> Scale {
    let rows = || all.iter().flat_map(|own| own.rows.iter());
    let low = rows().map(|row| row.from_nanoseconds).fold(f64::INFINITY, f64::min);
    let slow = all.iter().filter_map(|own| own.slow.first()).map(|call| call.nanoseconds as f64);
    let high = rows().map(|row| row.to_nanoseconds).chain(slow).fold(0.0, f64::max);
    Scale::log(
        low.min(trace_report.clock_step_ns.unwrap_or(f64::INFINITY)).max(1.0),
        (high * 1.6).min(1e14),
    )
}

fn plotted(trace_report: &TraceReport, all: &[Trajectory], left_out: usize) -> String {
    let columns = all.iter().map(Trajectory::columns).max().unwrap_or(1).max(1) as u64;
    let calls = trace_report.trace.calls.div_ceil(columns);
    let repetitions = trace_report.repetitions();
    let mut text = format!(
        "Service times over the replay, all calls of `{}`, {}.  A column is {} {}; every call over \
         100 µs is also a dot, so no extreme is lost to binning.",
        trace_report.trace.name,
        if repetitions < 3 {
            "raw, not confirmed".to_owned()
        } else {
            format!("each by its median over {repetitions} replays")
        },
        count(calls),
        if calls == 1 { "call" } else { "calls" },
    );
    if left_out > 0 {
        text += &format!("  {left_out} more backends are not shown.");
    }
    text
}

const READING: [&str; 5] = [
    "Darker: more calls at that service time in that segment (log scale).",
    "Dots: single calls over 100 µs.",
    "Grey ticks at a row's upper edge: calls slow in a part of the replays only, machine noise.",
    "Horizontal bands are paths: the fast one (the clock's own steps), a refill, a page from the \
     kernel (µs), a purge or merge (over 100 µs).",
    "The time of all calls is of replays without a clock at each call.",
];

/// Which allocator stalls, how often, how long, and when.
fn verdict(trace_report: &TraceReport, all: &[&Trajectory]) -> String {
    for (limit_ns, limit) in [(1e6, "1 ms"), (1e5, "100 µs"), (1e4, "10 µs")] {
        let mut counts: Vec<(&Trajectory, usize)> =
            all.iter().map(|own| (*own, own.over(limit_ns))).collect();
        counts.sort_by_key(|(own, count)| {
            let slowest = own.slow.first().map(|call| call.nanoseconds);
            (std::cmp::Reverse(*count), std::cmp::Reverse(slowest))
        });
        let Some(&(first, most)) = counts.first().filter(|(_, count)| *count > 0) else { continue };
        let mut text = stalls(trace_report, first, most, limit);
        if let Some(phase) = in_phase(trace_report, first, limit_ns) {
            text += &format!("  {phase}.");
        }
        if let Some((other, next)) = counts.get(1) {
            text += &match next {
                0 => "  No other allocator has one.".to_owned(),
                _ if *next == most => format!("  {} has as many.", other.backend.name()),
                _ => format!("  No other allocator has more than {}.", count(*next as u64)),
            };
        }
        return text;
    }
    "No allocator has a call over 10 µs of its own.".to_owned()
}

/// The stalls of the allocator with the most.
fn stalls(trace_report: &TraceReport, first: &Trajectory, most: usize, limit: &str) -> String {
    let repetitions = trace_report.repetitions();
    let how = if repetitions as usize >= 3 {
        format!("each by its median over {repetitions} replays")
    } else {
        "in so few replays that it may be the machine".to_owned()
    };
    let slowest = first.slow.first();
    // A median over few replays does not rule machine noise out; the number of replays with the
    // call says more.
    let seen = slowest.filter(|call| repetitions >= 3 && call.seen < call.repetitions);
    let seen = seen.map(|call| format!(" (in {} of {})", call.seen, call.repetitions));
    format!(
        "{} has {} {} over {limit}, up to {}{}{}, {how}.",
        first.backend.name(),
        count(most as u64),
        if most == 1 { "call" } else { "calls" },
        nanoseconds(slowest.map_or(0.0, |call| call.nanoseconds as f64)),
        slowest.map_or("", |call| after_end(trace_report, call)),
        seen.unwrap_or_default()
    )
}

/// The phase of the program with more than half of the stalls, where there are several of both.
fn in_phase(trace_report: &TraceReport, own: &Trajectory, limit_ns: f64) -> Option<String> {
    let marks = &trace_report.trace.marks;
    let stalls: Vec<u64> = own
        .slow
        .iter()
        .filter(|call| call.nanoseconds as f64 > limit_ns)
        .map(|call| call.event)
        .collect();
    if marks.len() < 2 || stalls.len() < 4 {
        return None;
    }
    let phase = |event: &u64| marks.partition_point(|mark| mark.event <= *event);
    let mut counts = vec![0; marks.len() + 1];
    stalls.iter().for_each(|event| counts[phase(event)] += 1);
    let (at, count) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    let name = &marks.get(at.checked_sub(1)?)?.name;
    (count * 2 > stalls.len()).then(|| format!("{count} of them come in the phase {name}"))
}
