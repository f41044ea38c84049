//! The scorecard as a table.
//!
//! As CSV it has a row for each trace and backend, and one for each geometric mean. As Markdown,
//! which a terminal shows as well, it has the means only: each trace has a table of its own.

use super::figures::{
    BackendFigures, GEOMETRIC_MEAN, MemoryUnit, ScorecardGroup, ScorecardRow, TraceReport,
    geometric, group, groups_of_means, mean_time_ratio,
};
use super::markdown::markdown;
use super::text::list;
use crate::results::Metric;
use crate::units::{figure, nanoseconds, ratio};

/// The columns of the CSV. Those of memory are bytes in rows of a trace. In all rows they are
/// multiples of the live bytes; at the end, of the live peak.
fn columns() -> [&'static str; 16] {
    [
        "trace",
        "backend",
        "version",
        "time_nanoseconds_a_call",
        "time_low_nanoseconds",
        "time_high_nanoseconds",
        "time_ratio",
        "first_touch_nanoseconds_a_call",
        "slow_1_in_1000_nanoseconds",
        "slowest_call_nanoseconds",
        Metric::ResidentPeakBytes.name(),
        Metric::ResidentMeanBytes.name(),
        Metric::ResidentEndBytes.name(),
        "resident_peak_by_live_peak",
        "resident_mean_by_live_mean",
        "resident_end_by_live_peak",
    ]
}

/// The traces that were measured, each with its figures in multiples of the live bytes.
fn measured<'a>(trace_reports: &'a [TraceReport]) -> Vec<(&'a TraceReport<'a>, ScorecardGroup)> {
    trace_reports
        .iter()
        .filter(|trace_report| trace_report.backends.iter().any(BackendFigures::has_figures))
        .map(|trace_report| (trace_report, group(trace_report, MemoryUnit::Live)))
        .collect()
}

/// The scorecard as CSV.
///
/// # Errors
/// When the encoder refuses.
pub fn csv(trace_reports: &[TraceReport]) -> Result<Vec<u8>, csv::Error> {
    let measured = measured(trace_reports);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns())?;
    for (trace_report, group) in &measured {
        let reference = trace_report.reference().map_or("", |backend| backend.spec);
        for row in &group.rows {
            let name = &row.backend.name;
            let backend = trace_report.backends.iter().find(|backend| backend.name() == name);
            let bytes = backend.map_or([None; 3], |backend| {
                let memory = &backend.memory;
                [memory.peak_bytes, memory.mean_bytes, memory.end_bytes]
            });
            let ratio = mean_time_ratio([*trace_report], reference, &row.spec);
            writer.write_record(record(&group.name, row, ratio, bytes))?;
        }
    }
    let reference = trace_reports.first().and_then(TraceReport::reference);
    if let (true, Some(reference)) = (measured.len() > 1, reference) {
        let groups: Vec<ScorecardGroup> = measured.into_iter().map(|trace| trace.1).collect();
        let groups = groups_of_means(&groups);
        let averaged = in_groups(trace_reports, &groups);
        for row in geometric(&groups).rows {
            let ratio = mean_time_ratio(averaged.iter().copied(), reference.spec, &row.spec);
            writer.write_record(record(GEOMETRIC_MEAN, &row, ratio, [None; 3]))?;
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn record(
    trace: &str,
    row: &ScorecardRow,
    ratio: Option<f64>,
    bytes: [Option<f64>; 3],
) -> Vec<String> {
    let mut cells = vec![trace.to_owned(), row.backend.name.clone(), row.note.clone()];
    let cost = row.cost;
    let mut figures = vec![
        cost.map(|cost| cost.middle_ns),
        cost.map(|cost| cost.low_ns),
        cost.map(|cost| cost.high_ns),
        ratio.filter(|_| !row.backend.is_floor),
        row.first_touch_ns,
        row.one_in_1000_ns,
        row.slowest_ns,
    ];
    figures.extend(bytes);
    figures.extend(row.memory);
    cells.extend(figures.into_iter().map(decimals));
    cells
}

/// A figure with more decimals than were measured, so that a computation with it loses nothing;
/// empty where it is no number.
fn decimals(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or(String::new(), |value| {
        let text = format!("{value:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    })
}

/// The traces that have a group.
fn in_groups<'a, 'r>(
    trace_reports: &'a [TraceReport<'r>],
    groups: &[ScorecardGroup],
) -> Vec<&'a TraceReport<'r>> {
    let is_in = |one: &&TraceReport| groups.iter().any(|group| group.name == one.trace.name);
    trace_reports.iter().filter(is_in).collect()
}

/// The geometric means over the traces as a Markdown table, with a line above; `None` for a single
/// trace.
pub fn means(trace_reports: &[TraceReport]) -> Option<String> {
    let all: Vec<ScorecardGroup> =
        measured(trace_reports).into_iter().map(|trace| trace.1).collect();
    if all.len() < 2 {
        return None;
    }
    let groups = groups_of_means(&all);
    let left_out = all.iter().filter_map(|group| {
        let is_left_out = !groups.iter().any(|other| other.name == group.name);
        group.part_of_life.filter(|_| is_left_out).map(|why| format!("{} ({why})", group.name))
    });
    let left_out: Vec<String> = left_out.collect();
    let without = match left_out.is_empty() {
        true => String::new(),
        false => format!(", without {}", list(&left_out)),
    };
    let reference = trace_reports.first().and_then(TraceReport::reference)?.spec;
    let none = || "–".to_owned();
    let averaged = in_groups(trace_reports, &groups);
    let row = |row: ScorecardRow| {
        let time = mean_time_ratio(averaged.iter().copied(), reference, &row.spec);
        let [peak, mean, end] = row.memory.map(|value| value.map_or(none(), ratio));
        vec![
            row.backend.name,
            row.cost.map_or(none(), |cost| figure(cost.middle_ns)),
            time.filter(|_| !row.backend.is_floor).map_or(none(), ratio),
            row.one_in_1000_ns.map_or(none(), nanoseconds),
            row.slowest_ns.map_or(none(), nanoseconds),
            peak,
            mean,
            end,
        ]
    };
    let header = [
        "backend",
        "ns a call",
        "ratio",
        "1 in 1000",
        "slowest call",
        "peak",
        "average",
        "at the end",
    ];
    let table = markdown(&header, geometric(&groups).rows.into_iter().map(row).collect());
    Some(format!(
        "{GEOMETRIC_MEAN} over {} traces{without}; ratio to {reference}; memory in multiples of what was \
         live (at the end: of its peak)\n{table}\n",
        groups.len()
    ))
}
