//! Service times: percentiles, their map over the replay, and single slow calls.

use serde::Serialize;

use super::site_table::SiteTable;
use crate::report::chart::{LatencyPercentilesChart, PercentileCurve, latency_percentiles};
use crate::report::figures::{BackendFigures, TraceReport, partly_slow_calls, slow_calls};
use crate::results::{LatencyRow, SlowCall};

/// Slow calls of a backend, at most.
const SLOW_CALLS_MAX: usize = 300;
/// Calls that were slow in a part of the repetitions, at most.
const PARTLY_SLOW_MAX: usize = 200;

/// Columns of a map at most: a record with more is absurd.
const COLUMNS_MAX: u32 = 4096;

/// The service times of one operation.
#[derive(Debug, Serialize)]
pub struct OperationTimes {
    operation: &'static str,
    calls: u64,
    curves: Vec<TimesCurve>,
}

/// The service times of one backend as steps: where a step ends, in decades of rarity, and its
/// nanoseconds.
#[derive(Debug, Serialize)]
struct TimesCurve {
    backend: usize,
    /// Whether the steps are the median over the replays, call by call.
    is_confirmed: bool,
    steps: Vec<(f64, f64)>,
    /// Up to this decade at least ten calls are slower.
    fact_decades: f64,
    /// One raw replay, beside confirmed steps.
    raw_steps: Vec<(f64, f64)>,
}

/// The percentiles of a trace.
pub fn percentiles(trace_report: &TraceReport) -> Vec<OperationTimes> {
    let chart: Option<LatencyPercentilesChart> = latency_percentiles(trace_report);
    let panels = chart.map_or_else(Vec::new, |chart| chart.panels);
    let number = |curve: &PercentileCurve| {
        trace_report.backends.iter().position(|backend| backend.label == curve.backend)
    };
    panels
        .into_iter()
        .map(|panel| OperationTimes {
            operation: panel.operation,
            calls: panel.calls,
            curves: panel
                .curves
                .iter()
                .filter(|curve| !curve.points.is_empty())
                .filter_map(|curve| {
                    Some(TimesCurve {
                        backend: number(curve)?,
                        is_confirmed: curve.is_confirmed,
                        steps: steps(&curve.points),
                        fact_decades: rounded(curve.fact_decades, 3),
                        raw_steps: steps(&curve.raw_points),
                    })
                })
                .collect(),
        })
        .collect()
}

/// The ends of steps: the chart has both ends of each.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.chunks_exact(2).map(|step| (rounded(step[1].0, 3), rounded(step[1].1, 1))).collect()
}

fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

/// The calls of one backend by time of the replay and service time.
#[derive(Debug, Serialize)]
pub struct LatencyMapModel {
    backend: usize,
    /// Columns of equal numbers of calls.
    columns: u32,
    /// From and to nanoseconds, and the counts as [`LatencyRow::cells`] has them.
    bands: Vec<(f64, f64, String)>,
    /// Events of calls that were slow in a part of the repetitions only.
    partly_slow_events: Vec<u64>,
    slow_calls: Vec<SlowCallModel>,
}

/// A call that is slow by its own time.
#[derive(Debug, Serialize)]
struct SlowCallModel {
    event: u64,
    operation: String,
    size_bytes: u64,
    /// The number of its line.
    site: usize,
    nanoseconds: u64,
    longest_nanoseconds: u64,
    seen: u32,
    repetitions: u32,
}

/// The maps of a trace, one for each allocator that has one.
pub fn latency_maps(trace_report: &TraceReport, sites: &mut SiteTable) -> Vec<LatencyMapModel> {
    let backends = trace_report.backends.iter().enumerate();
    let allocators = backends.filter(|(_, backend)| !backend.is_floor());
    allocators.filter_map(|(number, backend)| map(number, backend, sites)).collect()
}

fn map(number: usize, backend: &BackendFigures, sites: &mut SiteTable) -> Option<LatencyMapModel> {
    let is_good = |row: &&&LatencyRow| {
        (1..=COLUMNS_MAX).contains(&row.columns)
            && row.from_nanoseconds.is_finite()
            && row.to_nanoseconds > row.from_nanoseconds.max(0.0)
    };
    let rows: Vec<&&LatencyRow> = backend.rows.latency_map.iter().filter(is_good).collect();
    let columns = rows.iter().map(|row| row.columns).max()?;
    let band = |row: &&&LatencyRow| (row.from_nanoseconds, row.to_nanoseconds, row.cells.clone());
    let slow = |call: &SlowCall| SlowCallModel {
        event: call.event,
        operation: call.op.to_string(),
        size_bytes: call.size_bytes,
        site: sites.number(&call.site),
        nanoseconds: call.nanoseconds,
        longest_nanoseconds: call.longest_nanoseconds,
        seen: call.seen,
        repetitions: call.repetitions,
    };
    let partly = partly_slow_calls(backend);
    Some(LatencyMapModel {
        backend: number,
        columns,
        bands: rows.iter().map(band).collect(),
        partly_slow_events: partly.iter().take(PARTLY_SLOW_MAX).map(|call| call.event).collect(),
        slow_calls: slow_calls(backend).into_iter().take(SLOW_CALLS_MAX).map(slow).collect(),
    })
}
