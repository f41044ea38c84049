//! What the walks of a program's garbage collector take under each allocator, where the recording knows
//! how many objects it visited.

use crate::report::figures::{BackendFigures, TraceReport};
use crate::report::text::all_or_ends;
use crate::results::{Metric, Scope};
use crate::stats;
use crate::units::{count, nanoseconds};

/// A smaller share of the time of all calls is no matter for a choice.
const SMALL_SHARE: f64 = 0.1;

/// The predicted processor time of the walks, in a sentence; `None` where the recording does not say what
/// the collector visited, no step was measured, or the walks are short beside the calls of every
/// allocator.
pub fn collector_time(trace_report: &TraceReport) -> Option<String> {
    let trace = trace_report.trace;
    let record = trace.process.as_ref()?.collector?;
    let walks_ns = |backend: &BackendFigures| {
        let step_ns = backend.values(Scope::All, Metric::CollectorStepNanoseconds);
        Some(record.walks_ns(stats::median(step_ns)?))
    };
    let is_long = |backend: &BackendFigures| {
        let calls_ns = backend.cost.map_or(0.0, |cost| cost.middle_ns * trace.calls as f64);
        walks_ns(backend).is_some_and(|walks_ns| walks_ns >= SMALL_SHARE * calls_ns)
    };
    let backends = trace_report.choosable();
    if !backends.iter().any(|backend| is_long(backend)) {
        return None;
    }
    let time = |backend: &BackendFigures| {
        let walks_ns = walks_ns(backend)?;
        Some((walks_ns, format!("{} under {}", nanoseconds(walks_ns), backend.name())))
    };
    let times: Vec<(f64, String)> = backends.into_iter().filter_map(time).collect();
    Some(format!(
        "The garbage collector visited {} older objects in {} collections: its walks take {} (predicted), \
         beside the calls.",
        count(record.objects()),
        count(record.middle.collections + record.oldest.collections),
        all_or_ends(times, ", ")
    ))
}
