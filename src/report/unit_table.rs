//! Which line retains memory by arenas, by spans and by the top of heaps, and what its change returns, as
//! a table.

use super::figures::{BackendFigures, TraceReport, line_at_end, replayed_bytes, retention_at_end};
use super::text::short_line;
use super::text_table::{Cell, TextTable, UNKNOWN};
use crate::results::{RetentionAtEnd, ReturnedUnit, UnitRetention};
use crate::units::bytes;

/// What the columns mean.
pub const UNITS_NOTE: &str = "An arena or a span is returned when no block lives in it; glibc's heap \
     shrinks only from its top. Holds: what the line's live blocks hold. A change returns: by how much \
     resident memory fell in a replay in which the line's blocks were elsewhere; ≈ where no replay was \
     made: what only these blocks retain (`heaplay whatif` replays the change, which can return many times \
     as much). All lines are in unit_retention.csv";

/// Rows of a backend, at most.
const ROWS_MAX: usize = 5;

/// The unit as tables name it.
fn unit_name(unit: ReturnedUnit) -> &'static str {
    match unit {
        ReturnedUnit::Arena => "arena",
        ReturnedUnit::Span => "span",
        ReturnedUnit::Top => "top of the heap",
    }
}

/// What a change returned or is predicted to return, as a cell; a dash where neither is known.
fn returned_cell(predicted_bytes: u64, resident_bytes: Option<[f64; 2]>) -> Cell {
    match resident_bytes {
        None if predicted_bytes == 0 => Cell::bytes(None),
        None => Cell::of(Some(predicted_bytes as f64), |value| format!("≈ {}", bytes(value))),
        Some([before, after]) if after > before => {
            format!("nothing: {} more is resident", bytes(after - before)).into()
        }
        Some([before, after]) if after == before => Cell::of(Some(0.0), |_| "nothing".to_owned()),
        Some([before, after]) => Cell::bytes(Some(before - after)),
    }
}

/// A line in the table of a backend.
struct LineUnits<'a> {
    line: &'a str,
    /// The units that its blocks retain; `None` for a line that only a replay knows.
    units: Option<&'a UnitRetention>,
    /// Resident memory before and after, in a replay of its change, in bytes.
    resident_bytes: Option<[f64; 2]>,
}

impl<'a> LineUnits<'a> {
    fn of(
        backend: &BackendFigures<'a>,
        line: &'a str,
        units: Option<&'a UnitRetention>,
    ) -> LineUnits<'a> {
        LineUnits { line, units, resident_bytes: replayed_bytes(backend, line) }
    }

    fn predicted_bytes(&self) -> u64 {
        self.units.map_or(0, |units| units.returnable_bytes)
    }

    /// What a change returns by a replay, or else by the prediction, in bytes.
    fn returned_bytes(&self) -> f64 {
        self.resident_bytes.map_or(self.predicted_bytes() as f64, |[before, after]| before - after)
    }

    fn cells(&self, trace_report: &TraceReport, backend: &BackendFigures) -> Vec<Cell> {
        let held = line_at_end(trace_report, self.line).map(|row| row.live_bytes as f64);
        vec![
            backend.name().into(),
            short_line(self.line).into(),
            self.units.map_or(UNKNOWN, |units| unit_name(units.unit)).into(),
            self.units.map_or(UNKNOWN.into(), |units| Cell::count(units.units)),
            Cell::bytes(held),
            returned_cell(self.predicted_bytes(), self.resident_bytes),
        ]
    }
}

/// The lines of each backend with most returnable memory; `None` where no backend has such units.
pub fn unit_table(trace_report: &TraceReport) -> Option<TextTable> {
    let mut table = Vec::new();
    for backend in trace_report.allocators() {
        let units: Vec<&UnitRetention> =
            retention_at_end(backend).iter().flat_map(RetentionAtEnd::rows).collect();
        if units.is_empty() {
            continue;
        }
        // A line whose change was replayed may have no unit by itself.
        let others = backend.rows.what_ifs.iter().map(|row| (row.site.as_str(), None));
        let others = others.filter(|(line, _)| units.iter().all(|row| row.site != *line));
        let units = units.iter().map(|row| (row.site.as_str(), Some(*row)));
        let mut rows: Vec<LineUnits> =
            units.chain(others).map(|(line, units)| LineUnits::of(backend, line, units)).collect();
        rows.sort_by(|a, b| {
            let retained = |row: &LineUnits| row.units.map_or(0, |units| units.retained_bytes);
            let order = b.returned_bytes().total_cmp(&a.returned_bytes());
            order.then(retained(b).cmp(&retained(a))).then_with(|| a.line.cmp(b.line))
        });
        table.extend(rows.iter().take(ROWS_MAX).map(|row| row.cells(trace_report, backend)));
    }
    let header = ["backend", "line", "returned by", "units", "holds", "a change returns"];
    TextTable::of(header, table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_returns_nothing_has_words_and_no_sign() {
        let cell = |predicted, resident: Option<[f64; 2]>| {
            returned_cell(predicted, resident).text().replace('\u{a0}', " ")
        };
        assert_eq!(cell(0, None), "–");
        assert_eq!(cell(4096, None), "≈ 4.0 KiB");
        assert_eq!(cell(4096, Some([9000.0, 807.999])), "8.0 KiB");
        assert_eq!(cell(4096, Some([4096.0, 4096.0])), "nothing");
        assert_eq!(cell(4096, Some([4096.0, 12_288.0])), "nothing: 8.0 KiB more is resident");
    }
}
