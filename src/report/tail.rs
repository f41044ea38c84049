//! What is said of single calls: percentiles to one call in ten million, by op and
//! size class; which calls were slow, and in how many repetitions; the worst stretch of the
//! program's own time. Charts, page and terminal read it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::figures::{Distribution, OPS, TraceReport};
use crate::results::{Metric, Operation, Pass, Run, Scope, SlowCall};

/// Percentiles, as the share of the calls beyond them, and what they are called.
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

/// The percentiles that are facts: at least ten calls lie beyond.
pub fn percentiles(distribution: &Distribution) -> [Option<f64>; 8] {
    PERCENTILES.map(|(beyond, _)| distribution.fact(1.0 - beyond))
}

/// The service times of one backend and some ops by size class, rising; confirmed where there are
/// such, else raw.
pub fn by_class(
    run: &Run,
    trace: &str,
    backend: &str,
    ops: &[Operation],
    confirmed: bool,
) -> Vec<(u64, Distribution)> {
    let mine = run.service_times.iter().filter(|row| {
        row.trace == trace
            && row.backend == backend
            && row.repetition.is_none() == confirmed
            && ops.contains(&row.op)
    });
    let mut classes: BTreeMap<u64, Vec<(f64, u64)>> = BTreeMap::new();
    for row in mine {
        classes.entry(row.up_to_bytes).or_default().extend(row.pairs());
    }
    classes.into_iter().map(|(class, counts)| (class, Distribution::of_counts(counts))).collect()
}

/// Calls of a backend that are slow by their own time, the slowest first.
pub fn slow_calls<'a>(run: &'a Run, trace: &str, backend: &str) -> Vec<&'a SlowCall> {
    let mut slow: Vec<&SlowCall> = all(run, trace, backend).filter(|call| call.is_own()).collect();
    slow.sort_by_key(|call| (std::cmp::Reverse(call.nanoseconds), call.event));
    slow
}

/// Calls that only a part of the repetitions saw slow, in the order of the trace: the machine's.
pub fn strays<'a>(run: &'a Run, trace: &str, backend: &str) -> Vec<&'a SlowCall> {
    all(run, trace, backend).filter(|call| !call.is_own()).collect()
}

fn all<'a>(run: &'a Run, trace: &str, backend: &str) -> impl Iterator<Item = &'a SlowCall> {
    run.slow_calls.iter().filter(move |call| call.trace == trace && call.backend == backend)
}

/// Lengths of the windows that are looked at, in words.
pub const WINDOWS: [&str; 3] = ["1 ms", "10 ms", "100 ms"];

/// The worst stretch of the program's own time: the share of it (0 to 1) that went into the
/// allocator, and the call with which it begins. `None` where the trace has no times, or is
/// shorter.
pub fn worst_windows(run: &Run, trace: &str, backend: &str) -> [Option<(f64, f64)>; 3] {
    let windows = [
        (Metric::Window1msNanoseconds, Metric::Window1msEvent, 1e6),
        (Metric::Window10msNanoseconds, Metric::Window10msEvent, 1e7),
        (Metric::Window100msNanoseconds, Metric::Window100msEvent, 1e8),
    ];
    windows.map(|(nanoseconds, event, length)| {
        let figure = |metric: Metric| {
            let values = run.values(trace, backend, Scope::All, metric);
            values.into_iter().find(|value| value.is_finite())
        };
        Some(((figure(nanoseconds)? / length).clamp(0.0, 1.0), figure(event)?))
    })
}

/// How often the kernel took the processor away during the latency passes, all repetitions
/// together.
pub fn preemptions(run: &Run, trace: &str, backend: &str) -> Option<f64> {
    let mine = run.measurements.iter().filter(|row| {
        row.trace == trace
            && row.backend == backend
            && row.pass == Pass::Latency
            && row.metric == Metric::Preemptions
    });
    let counts: Vec<f64> = mine.map(|row| row.value).filter(|value| value.is_finite()).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

/// The end of a line's path that tells it apart for a person: `json/decoder.py:353`.
pub fn short_site(site: &str) -> &str {
    let mut slashes = site.rmatch_indices('/').map(|(at, _)| at);
    match (slashes.next(), slashes.next()) {
        (Some(_), Some(second)) => &site[second + 1..],
        _ => site,
    }
}

/// `realloc of 386 KiB`.
pub fn call_words(call: &SlowCall) -> String {
    format!("{} of {}", call.op, super::words::bytes(call.size_bytes as f64))
}

/// `7 of 7`.
pub fn seen_words(call: &SlowCall) -> String {
    format!("{} of {}", call.seen, call.repetitions)
}

/// Every percentile of a run as CSV: raw and confirmed, by op and size class (empty for all sizes),
/// in ns with the clock pair included; empty where fewer than ten calls lie beyond.
pub fn percentiles_csv(run: &Run, trace_reports: &[TraceReport]) -> String {
    let mut text = String::from("trace,backend,kind,op,up_to_bytes,calls");
    for name in ["p50", "p90", "p99", "p99_9", "p99_99", "p99_999", "p99_9999", "p99_99999", "max"]
    {
        let _ = write!(text, ",{name}_nanoseconds");
    }
    text.push('\n');
    for trace_report in trace_reports {
        for backend in &trace_report.backends {
            for (op, (name, ops)) in OPS.iter().enumerate() {
                for (kind, whole) in
                    [("raw", &backend.raw[op]), ("confirmed", &backend.confirmed[op])]
                {
                    let classes = by_class(
                        run,
                        &trace_report.trace.name,
                        backend.name,
                        ops,
                        kind == "confirmed",
                    );
                    let classes = classes.iter().map(|(class, times)| (class.to_string(), times));
                    for (class, times) in std::iter::once((String::new(), whole)).chain(classes) {
                        if times.calls == 0 {
                            continue;
                        }
                        let words = [
                            &trace_report.trace.name,
                            backend.name,
                            kind,
                            &name.replace(" / ", "+"),
                            &class,
                        ];
                        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                        let _ = write!(text, "{},{}", words.join(","), times.calls);
                        for figure in percentiles(times).into_iter().chain([times.max()]) {
                            let _ = write!(
                                text,
                                ",{}",
                                figure.map_or(String::new(), |ns| format!("{ns:.0}"))
                            );
                        }
                        text.push('\n');
                    }
                }
            }
        }
    }
    text
}

/// A field of a CSV: RFC 4180.
fn quoted(word: &str) -> String {
    if word.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", word.replace('"', "\"\""))
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_file_and_folder() {
        assert_eq!(short_site("/usr/lib/python3.11/json/decoder.py:353"), "json/decoder.py:353");
        assert_eq!(short_site("/a.py:1"), "/a.py:1");
        assert_eq!(short_site("a.py:1"), "a.py:1");
        assert_eq!(short_site(""), "");
    }

    #[test]
    fn a_field_with_a_comma_stays_one() {
        assert_eq!(quoted("jemalloc:a=0,b=1"), "\"jemalloc:a=0,b=1\"");
        assert_eq!(quoted("malloc"), "malloc");
    }
}
