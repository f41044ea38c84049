//! What charts of latency share: the clock's own cost, and the backends in colour.

use serde::Serialize;

use crate::report::figures::TraceReport;

/// The clock's own figures in nanoseconds. A service time up to `floor_ns` is the clock's, and not
/// the allocator's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClockFloor {
    /// The smallest step of the clock.
    pub step_ns: f64,
    /// An empty clock pair, where it is known.
    pub pair_ns: Option<f64>,
    /// The larger of the two.
    pub floor_ns: f64,
}

impl ClockFloor {
    /// The clock of a run; `None` where its step is not known.
    pub fn of(trace_report: &TraceReport) -> Option<ClockFloor> {
        Some(ClockFloor {
            step_ns: trace_report.clock_step_ns?,
            pair_ns: trace_report.clock_pair_ns,
            floor_ns: trace_report.clock_floor_ns()?,
        })
    }
}

/// The names of the backends in colour. Up to six are all in colour. Of more, up to four are: the
/// first, pymalloc, and those with the worst and the best slowest call. The others are grey, with
/// labels.
pub fn emphasised<'a>(trace_report: &'a TraceReport) -> Vec<&'a str> {
    let all: Vec<(&str, f64)> = trace_report
        .allocators()
        .filter_map(|backend| Some((backend.name(), backend.worst_call()?.0)))
        .collect();
    if all.len() <= 6 {
        return all.into_iter().map(|(name, _)| name).collect();
    }
    let best = all.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let worst = all.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let pymalloc = all.iter().find(|(name, _)| *name == "pymalloc");
    [all.first(), pymalloc, best, worst].into_iter().flatten().map(|(name, _)| *name).collect()
}
