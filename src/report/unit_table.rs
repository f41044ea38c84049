//! Which line retains memory by arenas, by spans and by the top of heaps: a sentence and a table, for
//! terminal and page.

use std::collections::BTreeMap;

use super::figures::{BackendFigures, TraceReport};
use super::text::{all_or_ends, short_line};
use super::thread_table::TextTable;
use crate::results::{Moment, OTHER_SITES, ReturnedUnit, UnitRetention};
use crate::units::{bytes, count};

/// What the columns mean.
pub const UNITS_NOTE: &str = "An arena or a span is returned when no block lives in it; glibc's heap \
     shrinks only from its top. Retained: resident pages without a live byte, by the line's share of \
     the blocks. Returnable: what could be returned if only this line's blocks were elsewhere. \
     All lines are in unit_retention.csv";

/// Rows of a backend, at most.
const ROWS_MAX: usize = 5;
/// A line with less is not named, in bytes.
const LEAST_BYTES: u64 = 64 << 10;

/// The unit as tables name it.
fn unit_name(unit: ReturnedUnit) -> &'static str {
    match unit {
        ReturnedUnit::Arena => "arena",
        ReturnedUnit::Span => "span",
        ReturnedUnit::Top => "top of the heap",
    }
}

/// The rows of a backend at the end that are of a line.
fn at_end<'a>(backend: &'a BackendFigures) -> impl Iterator<Item = &'a UnitRetention> {
    let rows = backend.rows.unit_retention.iter().copied();
    let rows = rows.filter(|row| row.moment == Moment::End && row.site != OTHER_SITES);
    // Repetitions of a footprint pass agree.
    let first = backend.rows.unit_retention.iter().map(|row| row.repetition).min();
    rows.filter(move |row| Some(row.repetition) == first && !row.site.is_empty())
}

/// The line with most returnable memory under each backend; `None` where no line has any.
pub fn returnable_sentence(trace_report: &TraceReport) -> Option<String> {
    let most = |backend: &BackendFigures| {
        let mut lines: BTreeMap<&str, (u64, Vec<&str>)> = BTreeMap::new();
        for row in at_end(backend).filter(|row| row.returnable_bytes > 0) {
            let (sum, units) = lines.entry(&row.site).or_default();
            *sum = sum.saturating_add(row.returnable_bytes);
            units.push(unit_name(row.unit));
        }
        let (line, (sum, units)) = lines.into_iter().max_by_key(|(_, (sum, _))| *sum)?;
        let (line, units) = (short_line(line), units.join(" and "));
        let text = format!("{line} {} ({}, by {units})", bytes(sum as f64), backend.name());
        (sum >= LEAST_BYTES).then_some((sum as f64, text))
    };
    let figures: Vec<(f64, String)> = trace_report.allocators().filter_map(most).collect();
    let figures = (!figures.is_empty()).then(|| all_or_ends(figures, "; "))?;
    let at_end = trace_report.end_name();
    Some(format!("Most memory that a change of one line could return {at_end}: {figures}."))
}

/// The lines of each backend with most returnable memory; `None` where no backend has such units.
pub fn unit_table(trace_report: &TraceReport) -> Option<TextTable> {
    let mut table = Vec::new();
    for backend in trace_report.allocators() {
        let mut rows: Vec<&UnitRetention> = at_end(backend).collect();
        rows.sort_by(|a, b| {
            let figures = |row: &UnitRetention| (row.returnable_bytes, row.retained_bytes);
            figures(b).cmp(&figures(a)).then_with(|| a.site.cmp(&b.site))
        });
        table.extend(rows.into_iter().take(ROWS_MAX).map(|row| {
            vec![
                backend.name().to_owned(),
                short_line(&row.site),
                unit_name(row.unit).to_owned(),
                count(row.units),
                bytes(row.retained_bytes as f64),
                bytes(row.returnable_bytes as f64),
            ]
        }));
    }
    let header = ["backend", "line", "returned by", "units", "retained", "returnable"];
    let header = header.map(str::to_owned).into();
    (!table.is_empty()).then_some((header, table))
}
