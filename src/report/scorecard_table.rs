//! The scorecard as a table. As CSV it has a row for each trace and backend and one
//! for each geometric mean; in Markdown, which a terminal shows as well, the means alone, since
//! each trace has a table of its own.

use crate::results::Metric;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::figures::{Cost, TraceReport};
use super::scorecard::{Group, Row, geometric, group, has_figures};
use super::words::{figure, nanoseconds, ratio};
use crate::stats;

/// The columns of the CSV; those of memory are bytes in rows of a trace, and multiples of what the
/// program had live (of the peak at the exit) in all.
fn columns() -> [&'static str; 15] {
    [
        "trace",
        "backend",
        "version",
        "time_nanoseconds_a_call",
        "time_low_nanoseconds",
        "time_high_nanoseconds",
        "time_ratio",
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

/// The trace's name in rows of the geometric mean.
const MEAN: &str = "geometric mean";

/// The figures in multiples of what was live, by trace.
fn groups(trace_reports: &[TraceReport]) -> Vec<Group> {
    let measured =
        trace_reports.iter().filter(|trace_report| trace_report.backends.iter().any(has_figures));
    measured.map(|trace_report| group(trace_report, &|live| live)).collect()
}

/// Each backend's time as a multiple of the reference's, as the geometric mean over the traces on
/// which both were measured.
fn time_ratio(groups: &[Group], reference: &str, name: &str) -> Option<f64> {
    let cost = |group: &Group, name: &str| -> Option<Cost> {
        group.rows.iter().find(|row| row.name == name)?.cost
    };
    let ratios: Vec<f64> = groups
        .iter()
        .filter_map(|group| Some(cost(group, name)?.middle / cost(group, reference)?.middle))
        .collect();
    stats::geometric_mean(&ratios)
}

/// The scorecard as CSV; ends with a line break.
pub fn csv(trace_reports: &[TraceReport]) -> String {
    let groups = groups(trace_reports);
    let mut text = columns().join(",") + "\n";
    for (group, trace_report) in groups.iter().filter_map(|group| {
        Some((
            group,
            trace_reports.iter().find(|trace_report| trace_report.trace.name == group.name)?,
        ))
    }) {
        let reference = trace_report.reference().map_or("", |backend| backend.name);
        for row in &group.rows {
            let memory = trace_report
                .backends
                .iter()
                .find(|backend| backend.name == row.name)
                .map(|b| b.memory);
            let bytes = memory.map_or([None; 3], |memory| [memory.peak, memory.mean, memory.end]);
            let alone = std::slice::from_ref(group);
            text += &line(&group.name, row, time_ratio(alone, reference, &row.name), bytes);
        }
    }
    if let (true, Some(reference)) =
        (groups.len() > 1, trace_reports.first().and_then(TraceReport::reference))
    {
        for row in geometric(&groups).rows {
            text += &line(MEAN, &row, time_ratio(&groups, reference.name, &row.name), [None; 3]);
        }
    }
    text
}

fn line(trace: &str, row: &Row, ratio: Option<f64>, bytes: [Option<f64>; 3]) -> String {
    let is_floor = row.name == "null";
    let mut cells = vec![quoted(trace), quoted(&row.name), quoted(&row.note)];
    let cost = row.cost;
    let mut figures = vec![cost.map(|c| c.middle), cost.map(|c| c.low), cost.map(|c| c.high)];
    figures.push(ratio.filter(|_| !is_floor));
    figures.extend([row.rare, row.worst.map(|worst| worst.0)]);
    figures.extend(bytes);
    figures.extend(row.memory);
    // More decimals than were measured, so that whoever computes with them loses nothing.
    cells.extend(figures.into_iter().map(|value| {
        value.filter(|value| value.is_finite()).map_or(String::new(), |value| {
            let text = format!("{value:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        })
    }));
    cells.join(",") + "\n"
}

/// A cell that may hold what CSV reserves.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The geometric means over the traces as a Markdown table, with a line above; `None` for a single
/// trace.
pub fn means(trace_reports: &[TraceReport]) -> Option<String> {
    let groups = groups(trace_reports);
    if groups.len() < 2 {
        return None;
    }
    let reference = trace_reports.first().and_then(TraceReport::reference)?.name;
    let none = || "–".to_owned();
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "backend",
        "ns a call",
        "ratio",
        "1 in 1000",
        "slowest call",
        "peak",
        "average",
        "at exit",
    ]);
    for row in geometric(&groups).rows {
        let time = time_ratio(&groups, reference, &row.name).filter(|_| row.name != "null");
        let memory = row.memory.map(|value| value.map_or(none(), ratio));
        let [peak, mean, end] = memory;
        table.add_row([
            row.name.clone(),
            row.cost.map_or(none(), |cost| figure(cost.middle)),
            time.map_or(none(), ratio),
            row.rare.map_or(none(), nanoseconds),
            row.worst.map_or(none(), |worst| nanoseconds(worst.0)),
            peak,
            mean,
            end,
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Some(format!(
        "{MEAN} over {} traces; ratio to {reference}; memory in multiples of what was live (at exit: of its peak)\n{table}\n",
        groups.len()
    ))
}
