//! One trace as data.

use serde::Serialize;

use super::heap_curve::HeapCurve;
use super::heap_map_model::{HeapMapModel, heap_maps};
use super::latency_model::{LatencyMapModel, OperationTimes, latency_maps, percentiles};
use super::line_model::{LinesModel, lines};
use super::site_table::SiteTable;
use crate::report::figures::{ProgramPhase, TraceReport};

/// One trace.
#[derive(Debug, Serialize)]
pub struct TraceModel {
    name: String,
    /// Calls, frees included.
    calls: u64,
    /// Calls up to the moment that counts as the end.
    observed_calls: u64,
    /// The moment that counts as the end, as headings name it.
    end_name: String,
    /// The marks of the program.
    marks: Vec<ProgramPhase>,
    /// The recorded process itself: calls done, bytes requested, resident bytes.
    process: Vec<(u64, f64, f64)>,
    /// By backend that has memory.
    heaps: Vec<HeapCurve>,
    percentiles: Vec<OperationTimes>,
    latency_maps: Vec<LatencyMapModel>,
    heap_maps: Vec<HeapMapModel>,
    /// By moment.
    lines: Vec<LinesModel>,
    /// The names of lines, by number.
    sites: Vec<String>,
}

impl TraceModel {
    /// The model of a trace on a page with so many pairs of a trace and a backend.
    pub fn of(trace_report: &TraceReport, pairs: usize) -> TraceModel {
        let mut sites = SiteTable::default();
        let backends = trace_report.backends.iter().enumerate();
        let heaps = backends.filter(|(_, backend)| backend.has_memory());
        TraceModel {
            name: trace_report.trace.name.clone(),
            calls: trace_report.trace.calls,
            observed_calls: trace_report.observed_calls(),
            end_name: trace_report.end_name(),
            marks: trace_report.phases.clone(),
            process: process(trace_report),
            heaps: heaps
                .map(|(number, backend)| {
                    let (samples, memory) = (&backend.samples, backend.memory);
                    HeapCurve::of(number, samples, memory, pairs, &mut sites)
                })
                .collect(),
            percentiles: percentiles(trace_report),
            latency_maps: latency_maps(trace_report, &mut sites),
            heap_maps: heap_maps(trace_report, &mut sites),
            lines: lines(trace_report, &mut sites),
            sites: sites.into_names(),
        }
    }
}

/// The curve of the recorded process.
fn process(trace_report: &TraceReport) -> Vec<(u64, f64, f64)> {
    let (Some(found), Some(entry)) = (&trace_report.process, &trace_report.trace.process) else {
        return vec![];
    };
    let points = entry.memory.iter().zip(&found.curve);
    points.map(|(point, (clock, bytes))| (point.event, clock.round(), *bytes)).collect()
}
