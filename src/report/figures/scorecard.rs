//! Figures of the scorecard: one row for each backend on each trace, and the geometric means over
//! the traces.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::backend::{BackendFigures, BackendLabel, rows_without_bounds};
use super::cost::CallCost;
use super::distribution::OPS;
use super::memory::{ByteRange, ResidentFigure};
use super::trace_report::TraceReport;
use crate::report::text::HARNESS;
use crate::results::{BackendTimes, TimeEvidence, compare_over_traces};
use crate::stats::{self, TimeComparison};

/// The columns of memory.
const MEMORY: [ResidentFigure; 3] =
    [ResidentFigure::Peak, ResidentFigure::Mean, ResidentFigure::End];

/// One backend on one trace.
#[derive(Clone, Debug, Serialize)]
pub struct ScorecardRow {
    /// The backend.
    pub backend: BackendLabel,
    /// Its spec, as in the run.
    pub spec: String,
    /// Its version, or what it is; empty in rows of the mean.
    pub note: String,
    /// Time a call.
    pub cost: Option<CallCost>,
    /// Whether it is the fastest allocator of the group, or not separable from it and within 10 %.
    pub is_fastest: bool,
    /// Time a call with the first write to each new block, ns.
    pub first_touch_ns: Option<f64>,
    /// The 99.9th percentile over all operations, where there are enough calls.
    pub one_in_1000_ns: Option<f64>,
    /// The slowest call.
    pub slowest_ns: Option<f64>,
    /// Resident at the peak, on average and at the end, in the unit of the group.
    pub memory: [Option<f64>; 3],
    /// The ranges of the same.
    pub memory_ranges: [Option<ByteRange>; 3],
}

/// The rows of a trace, or of the mean over the traces.
#[derive(Clone, Debug, Serialize)]
pub struct ScorecardGroup {
    /// The trace.
    pub name: String,
    /// By backend, in the run's order.
    pub rows: Vec<ScorecardRow>,
    /// Live bytes at the peak, on average and at the end, in the unit of the group.
    pub live: [f64; 3],
    /// Why the trace is left out of means: it is a part of a program's life only.
    #[serde(skip)]
    pub part_of_life: Option<&'static str>,
    /// The time passes on the trace; `None` for the means.
    #[serde(skip)]
    evidence: Option<Arc<TimeEvidence>>,
}

/// The groups that have a part in means: those of whole lives, or all where there is none. A forked
/// process or a late recording lacks the blocks from before it, and its small heap would weigh as
/// much as that of a whole program.
pub fn groups_of_means(groups: &[ScorecardGroup]) -> Vec<ScorecardGroup> {
    let whole = groups.iter().filter(|group| group.part_of_life.is_none());
    let whole: Vec<ScorecardGroup> = whole.cloned().collect();
    if whole.is_empty() { groups.to_vec() } else { whole }
}

/// Why a trace is a part of a program's life only, by its facts.
fn part_of_life(facts: &BTreeMap<String, String>) -> Option<&'static str> {
    let is_forked = facts.contains_key("forked");
    let is_late = facts.contains_key("started");
    is_forked.then_some("a forked process").or_else(|| is_late.then_some("a late recording"))
}

/// The name of the group of means.
pub const GEOMETRIC_MEAN: &str = "geometric mean";

/// In which unit a group has its memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MemoryUnit {
    /// So many bytes.
    Bytes(f64),
    /// Multiples of the live bytes.
    Live,
}

impl MemoryUnit {
    /// Bytes of a unit where the program had so many bytes live.
    fn bytes(self, live: f64) -> f64 {
        match self {
            MemoryUnit::Bytes(bytes) => bytes,
            MemoryUnit::Live => live,
        }
    }
}

/// The figures of one trace.
pub fn group(trace_report: &TraceReport, unit: MemoryUnit) -> ScorecardGroup {
    let (peak, mean) = (trace_report.live_peak_bytes, trace_report.live_mean_bytes);
    let live = [peak, mean, trace_report.live_end_bytes];
    // The end is divided by the live peak, too: most programs have next to nothing live at their
    // end.
    let base = [peak, mean, peak];
    let scaled = |bytes: Option<f64>, live: f64| {
        let scale = unit.bytes(live);
        bytes.filter(|_| scale > 0.0).map(|bytes| bytes / scale)
    };
    // A bound is no choice, so it is not the best, either.
    let choosable = trace_report.choosable();
    let timed = choosable.iter().filter_map(|backend| Some((*backend, backend.cost?.middle_ns)));
    let fastest = timed.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(backend, _)| backend);
    let row = |backend: &BackendFigures| {
        let is_floor = backend.is_floor();
        let note = if is_floor { HARNESS } else { &backend.label.version };
        let slowest = backend.worst_call().map(|worst| worst.0);
        ScorecardRow {
            backend: backend.label.clone(),
            spec: backend.spec.to_owned(),
            note: note.to_owned(),
            cost: backend.cost,
            is_fastest: fastest.is_some_and(|fastest| {
                choosable.iter().any(|own| own.spec == backend.spec)
                    && is_near(backend.cost, fastest.cost)
                    && !trace_report.is_time_apart(fastest, backend)
            }),
            first_touch_ns: backend.first_touch.map(|cost| cost.middle_ns),
            one_in_1000_ns: if is_floor { None } else { one_in_1000(backend) },
            slowest_ns: slowest.filter(|_| !is_floor),
            memory: std::array::from_fn(|k| scaled(backend.memory.resident(MEMORY[k]), base[k])),
            memory_ranges: std::array::from_fn(|k| {
                let (low, high) = backend.memory.range(MEMORY[k])?;
                Some((scaled(Some(low), base[k])?, scaled(Some(high), base[k])?))
            }),
        }
    };
    let measured = trace_report.backends.iter().filter(|backend| backend.has_figures());
    ScorecardGroup {
        name: trace_report.trace.name.clone(),
        rows: measured.map(row).collect(),
        live: std::array::from_fn(|k| live[k] / unit.bytes(base[k]).max(1e-9)),
        part_of_life: part_of_life(&trace_report.trace.facts),
        evidence: Some(Arc::clone(&trace_report.evidence)),
    }
}

/// Whether a time is less than 10 % above the best.
fn is_near(cost: Option<CallCost>, best: Option<CallCost>) -> bool {
    matches!((cost, best), (Some(cost), Some(best)) if cost.middle_ns <= best.middle_ns * 1.1)
}

/// Nanoseconds of the 99.9th percentile of all calls of all operations together.
fn one_in_1000(backend: &BackendFigures) -> Option<f64> {
    let limit = backend.latency_calls() / 1000;
    if limit < 10 {
        return None;
    }
    let mut values: Vec<f64> = (0..OPS.len())
        .flat_map(|op| backend.latency(op).0.steps.iter().map(|step| step.0))
        .collect();
    values.sort_by(f64::total_cmp);
    // The smallest value that no more than one call in a thousand exceeds.
    let at = values.partition_point(|value| backend.slower_calls(*value) > limit);
    values.get(at).copied()
}

/// Geometric means over the traces, backend by backend. A figure that some trace lacks has no mean:
/// one over fewer traces could not be compared.
pub fn geometric(groups: &[ScorecardGroup]) -> ScorecardGroup {
    let mut names: Vec<&str> = Vec::new();
    for row in groups.iter().flat_map(|group| &group.rows) {
        if !names.contains(&row.backend.name.as_str()) {
            names.push(&row.backend.name);
        }
    }
    let ends: Vec<f64> = groups.iter().map(|group| group.live[2]).collect();
    let mut rows: Vec<ScorecardRow> =
        names.iter().filter_map(|name| mean_row(groups, name)).collect();
    mark_fastest(groups, &mut rows);
    ScorecardGroup {
        name: GEOMETRIC_MEAN.to_owned(),
        rows,
        live: [1.0, 1.0, stats::geometric_mean(&ends).unwrap_or(0.0)],
        part_of_life: None,
        evidence: None,
    }
}

/// Marks the rows of means of which none is separably slower than the fastest.
fn mark_fastest(groups: &[ScorecardGroup], rows: &mut [ScorecardRow]) {
    let allocators = rows.iter_mut().filter(|row| !row.backend.is_floor);
    let mut choosable = rows_without_bounds(allocators, |row| row.backend.is_bound);
    let timed = choosable.iter().filter_map(|row| Some((row.spec.clone(), row.cost?)));
    let fastest = timed.min_by(|a, b| a.1.middle_ns.total_cmp(&b.1.middle_ns));
    let Some((fastest, best)) = fastest else { return };
    for row in &mut choosable {
        let Some(cost) = row.cost else { continue };
        let comparison = compare_means(groups, &fastest, &row.spec);
        let is_apart = comparison
            .map_or_else(|| cost.is_out_of_range_of(&best), |comparison| comparison.is_apart());
        row.is_fastest = is_near(row.cost, Some(best)) && !is_apart;
    }
}

/// Compares two backends over all traces; `None` where a trace does not tell.
fn compare_means(groups: &[ScorecardGroup], base: &str, own: &str) -> Option<TimeComparison> {
    let times = |group: &ScorecardGroup, spec: &str| group.evidence.as_ref()?.times(spec).cloned();
    let both = |group: &ScorecardGroup| Some([times(group, base)?, times(group, own)?]);
    let pairs = groups.iter().map(both).collect::<Option<Vec<[BackendTimes; 2]>>>()?;
    let pairs: Vec<[&BackendTimes; 2]> = pairs.iter().map(|[base, own]| [base, own]).collect();
    compare_over_traces(&pairs, groups.first()?.evidence.as_ref()?.looks())
}

fn mean_row(groups: &[ScorecardGroup], name: &str) -> Option<ScorecardRow> {
    let own: Vec<&ScorecardRow> = groups
        .iter()
        .filter_map(|group| group.rows.iter().find(|row| row.backend.name == name))
        .collect();
    let first = *own.first()?;
    let mean = |of: &dyn Fn(&ScorecardRow) -> Option<f64>| {
        let values: Vec<f64> = own.iter().filter_map(|row| of(row)).collect();
        if values.len() == groups.len() { stats::geometric_mean(&values) } else { None }
    };
    let middle_ns = mean(&|row| row.cost.map(|cost| cost.middle_ns));
    let cost = middle_ns.and_then(|middle_ns| {
        Some(CallCost {
            middle_ns,
            low_ns: mean(&|row| row.cost.map(|cost| cost.low_ns)).unwrap_or(middle_ns),
            high_ns: mean(&|row| row.cost.map(|cost| cost.high_ns)).unwrap_or(middle_ns),
            repetitions: first.cost?.repetitions,
        })
    });
    Some(ScorecardRow {
        backend: first.backend.clone(),
        spec: first.spec.clone(),
        note: String::new(),
        cost,
        is_fastest: false,
        first_touch_ns: mean(&|row| row.first_touch_ns),
        one_in_1000_ns: mean(&|row| row.one_in_1000_ns),
        slowest_ns: mean(&|row| row.slowest_ns),
        memory: std::array::from_fn(|k| mean(&|row| row.memory[k])),
        memory_ranges: std::array::from_fn(|k| {
            let end = |of: &dyn Fn(ByteRange) -> f64| mean(&|row| row.memory_ranges[k].map(of));
            Some((end(&|range| range.0)?, end(&|range| range.1)?))
        }),
    })
}
