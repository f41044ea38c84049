//! Single calls: percentiles to one call in ten million, by operation and size class; which calls
//! were slow, and in how many repetitions; the worst windows of the program's own time.

use std::collections::BTreeMap;

use crate::results::{Metric, Operation, Pass, Scope, SlowCall};
use crate::units::bytes;

use super::backend::BackendFigures;
use super::distribution::LatencyDistribution;
use super::trace_report::TraceReport;

/// Percentiles, as the share of the calls beyond them, and their names.
pub const PERCENTILES: [(f64, &str); 8] = [
    (0.5, "p50"),
    (1e-1, "p90"),
    (1e-2, "p99"),
    (1e-3, "p99.9"),
    (1e-4, "1 in 10⁴"),
    (1e-5, "1 in 10⁵"),
    (1e-6, "1 in 10⁶"),
    (1e-7, "1 in 10⁷"),
];

/// The percentiles in nanoseconds that are facts: at least ten calls are slower.
pub fn percentiles(distribution: &LatencyDistribution) -> [Option<f64>; 8] {
    PERCENTILES.map(|(beyond, _)| distribution.fact(1.0 - beyond))
}

/// Service times by size class: the largest size of the class in bytes, rising, and the times.
pub type ClassTimes = Vec<(u64, LatencyDistribution)>;

/// The service times of a backend for some operations by size class: the confirmed ones, or those
/// of a raw repetition.
pub fn by_class(backend: &BackendFigures, ops: &[Operation], confirmed: bool) -> ClassTimes {
    let own = backend
        .rows
        .service_times
        .iter()
        .filter(|row| row.repetition.is_none() == confirmed && ops.contains(&row.op));
    let mut classes: BTreeMap<u64, Vec<(f64, u64)>> = BTreeMap::new();
    for row in own {
        classes.entry(row.up_to_bytes).or_default().extend(row.pairs());
    }
    let times = |(class, counts)| (class, LatencyDistribution::of_counts(counts));
    classes.into_iter().map(times).collect()
}

/// Like [`by_class`]: confirmed where there are such, else raw.
pub fn best_by_class(backend: &BackendFigures, ops: &[Operation]) -> ClassTimes {
    let confirmed = by_class(backend, ops, true);
    if confirmed.is_empty() { by_class(backend, ops, false) } else { confirmed }
}

/// Calls of a backend that are slow by their own time, the slowest first.
pub fn slow_calls<'a>(backend: &BackendFigures<'a>) -> Vec<&'a SlowCall> {
    let all = backend.rows.slow_calls.iter().copied();
    let mut slow: Vec<&SlowCall> = all.filter(|call| call.is_own()).collect();
    slow.sort_by_key(|call| (std::cmp::Reverse(call.nanoseconds), call.event));
    slow
}

/// Calls that were slow in a part of the repetitions only, in the order of the trace: machine
/// noise.
pub fn partly_slow_calls<'a>(backend: &BackendFigures<'a>) -> Vec<&'a SlowCall> {
    backend.rows.slow_calls.iter().copied().filter(|call| !call.is_own()).collect()
}

/// The lengths of windows as text.
pub const WINDOWS: [&str; 3] = ["1 ms", "10 ms", "100 ms"];

/// What the columns of windows have, in plain terms.
pub const WINDOWS_NOTE: &str = "the share of its time that the program spent in calls of the allocator, \
     in the 1, 10 or 100 ms where that was most";

/// The worst window of the program's own time, by the lengths of [`WINDOWS`]: the share of it
/// (0 to 1) that the allocator took, and the call with which it begins. `None` where the trace has
/// no times, or is shorter.
pub fn worst_windows(backend: &BackendFigures) -> [Option<(f64, f64)>; 3] {
    let windows = [
        (Metric::Window1msNanoseconds, Metric::Window1msEvent, 1e6),
        (Metric::Window10msNanoseconds, Metric::Window10msEvent, 1e7),
        (Metric::Window100msNanoseconds, Metric::Window100msEvent, 1e8),
    ];
    windows.map(|(nanoseconds, event, length)| {
        let figure = |metric: Metric| {
            let values = backend.values(Scope::All, metric);
            values.iter().copied().find(|value| value.is_finite())
        };
        Some(((figure(nanoseconds)? / length).clamp(0.0, 1.0), figure(event)?))
    })
}

/// How often the kernel took the processor away during the latency passes, all repetitions
/// together.
pub fn preemptions(backend: &BackendFigures) -> Option<f64> {
    let own = backend.rows.measurements.iter().filter(|row| {
        row.pass == Pass::Latency && row.metric == Metric::Preemptions && row.value.is_finite()
    });
    let counts: Vec<f64> = own.map(|row| row.value).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

/// `realloc of 386 KiB`, and whether it is one of the calls after the end, when the interpreter takes itself
/// apart: a service never makes those.
pub fn call_text(trace_report: &TraceReport, call: &SlowCall) -> String {
    let text = format!("{} of {}", call.op, bytes(call.size_bytes as f64));
    text + after_end(trace_report, call)
}

/// ` (after the end)` for a call after the moment that counts as the end; empty for others.
pub fn after_end(trace_report: &TraceReport, call: &SlowCall) -> &'static str {
    let end = trace_report.trace.end.as_ref();
    if end.is_some_and(|end| call.event >= end.event) { " (after the end)" } else { "" }
}

/// `7 of 7`: in how many repetitions the call was slow.
pub fn seen_text(call: &SlowCall) -> String {
    format!("{} of {}", call.seen, call.repetitions)
}
