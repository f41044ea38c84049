//! Which line retains memory by arenas, by spans and by the top of heaps, and what its change returns: as
//! a part of a sentence, and as a table.

use super::figures::{BackendFigures, TraceReport};
use super::text::short_line;
use super::thread_table::TextTable;
use crate::results::{
    Attribution, LineContents, Moment, OTHER_SITES, RETURNABLE_LEAST_BYTES, RetentionAtEnd,
    ReturnedUnit, UnitRetention,
};
use crate::units::{bytes, count};

/// What the columns mean.
pub const UNITS_NOTE: &str = "An arena or a span is returned when no block lives in it; glibc's heap \
     shrinks only from its top. Holds: what the line's live blocks hold. A change returns: by how much \
     resident memory fell in a replay in which the line's blocks were elsewhere; ≈ where no replay was \
     made: what only these blocks retain (`heaplay whatif` replays the change, which can return many times \
     as much). All lines are in unit_retention.csv";

/// A line that holds this many times as much at the end as at half of the calls grows.
const GROWTH: f64 = 1.3;
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

/// What a change of a line returns under a backend at the end.
pub struct LineChange<'a> {
    /// The line.
    pub line: &'a str,
    /// What it is predicted to return, in bytes; 0 where nothing is predicted.
    predicted_bytes: f64,
    /// Resident memory before and after, in a replay of the change, in bytes; `None` where none was made.
    resident_bytes: Option<[f64; 2]>,
}

impl LineChange<'_> {
    /// What it returns by a replay, or else by the prediction.
    pub fn returned_bytes(&self) -> f64 {
        self.resident_bytes.map_or(self.predicted_bytes, |[before, after]| before - after)
    }

    /// Whether it returns enough to be named.
    pub fn is_worth_naming(&self) -> bool {
        self.returned_bytes() >= RETURNABLE_LEAST_BYTES as f64
    }

    /// What the line holds and what its change returns.
    pub fn sentence(&self, trace_report: &TraceReport) -> String {
        let line = short_line(self.line);
        let held = held_text(trace_report, self.line).unwrap_or_else(|| "blocks".to_owned());
        let returned = bytes(self.returned_bytes());
        let returned = match self.resident_bytes {
            Some([before, _]) => format!(
                "a replay in which it allocates them last returns {returned} of {}",
                bytes(before)
            ),
            None => format!("if it allocated them last, {returned} would be returned (predicted)"),
        };
        format!("{line} holds {held}; {returned}")
    }
}

/// What a change returned or is predicted to return, as a cell; `None` where neither is known.
fn returned_cell(predicted_bytes: u64, resident_bytes: Option<[f64; 2]>) -> String {
    match resident_bytes {
        None if predicted_bytes == 0 => "–".to_owned(),
        None => format!("≈ {}", bytes(predicted_bytes as f64)),
        Some([before, after]) if after > before => {
            format!("nothing: {} more is resident", bytes(after - before))
        }
        Some([before, after]) if after == before => "nothing".to_owned(),
        Some([before, after]) => bytes(before - after),
    }
}

/// What the live blocks of a line hold at the end; `None` where no backend has it.
pub fn held_text(trace_report: &TraceReport, line: &str) -> Option<String> {
    let row = held(trace_report, line)?;
    let plural = if row.live_blocks == 1 { "" } else { "s" };
    let (held, blocks) = (bytes(row.live_bytes as f64), count(row.live_blocks));
    let grown = held_at_half(trace_report, line)
        .filter(|before| row.live_bytes as f64 >= GROWTH * *before as f64)
        .map_or(String::new(), |before| {
            format!(" (it grows: {} at half of the calls)", bytes(before as f64))
        });
    Some(format!("{held} in {blocks} block{plural}{grown}"))
}

/// What a line held at half of the calls, in bytes; `None` where it was none of the largest then.
fn held_at_half(trace_report: &TraceReport, line: &str) -> Option<u64> {
    let half = trace_report.observed_calls() / 2;
    let samples = &trace_report.backends.iter().find(|one| !one.samples.is_empty())?.samples;
    let sample = samples.iter().min_by_key(|sample| sample.event.abs_diff(half))?;
    let lines = LineContents::decode(&sample.lines);
    lines.into_iter().find(|known| known.0 == line).map(|known| known.2)
}

fn held<'a>(trace_report: &TraceReport<'a>, line: &str) -> Option<&'a Attribution> {
    let mut rows = trace_report.backends.iter().flat_map(|backend| &backend.rows.attributions);
    rows.find(|row| row.moment == Moment::End && row.site == line).copied()
}

/// What the lines of a backend retain at the end.
fn retention<'a>(backend: &BackendFigures<'a>) -> Option<RetentionAtEnd<'a>> {
    RetentionAtEnd::of(backend.rows.unit_retention.iter().copied())
}

/// The lines of a backend whose change was replayed, or is predicted to return memory.
pub fn changes<'a>(backend: &BackendFigures<'a>) -> Vec<LineChange<'a>> {
    let predicted = retention(backend).map_or(vec![], |retention| retention.by_line());
    let is_predicted = |line: &str| predicted.iter().any(|(known, _)| *known == line);
    let replayed = backend.rows.what_ifs.iter().map(|row| (row.site.as_str(), 0));
    let replayed = replayed.filter(|(line, _)| !is_predicted(line));
    let lines = predicted.iter().copied().chain(replayed);
    let change = |(line, predicted): (&'a str, u64)| LineChange {
        line,
        predicted_bytes: predicted as f64,
        resident_bytes: resident_bytes(backend, line),
    };
    let is_line = |(line, _): &(&str, u64)| !line.is_empty() && *line != OTHER_SITES;
    lines.filter(is_line).map(change).collect()
}

/// Resident memory at the end as it is, and in a replay with the line's survivors allocated last, in
/// bytes; `None` where none was made.
fn resident_bytes(backend: &BackendFigures, line: &str) -> Option<[f64; 2]> {
    backend.rows.what_if(line)?.resident_bytes()
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
        LineUnits { line, units, resident_bytes: resident_bytes(backend, line) }
    }

    fn predicted_bytes(&self) -> u64 {
        self.units.map_or(0, |units| units.returnable_bytes)
    }

    /// What a change returns by a replay, or else by the prediction, in bytes.
    fn returned_bytes(&self) -> f64 {
        self.resident_bytes.map_or(self.predicted_bytes() as f64, |[before, after]| before - after)
    }

    fn cells(&self, trace_report: &TraceReport, backend: &BackendFigures) -> Vec<String> {
        let none = || "–".to_owned();
        vec![
            backend.name().to_owned(),
            short_line(self.line),
            self.units.map_or_else(none, |units| unit_name(units.unit).to_owned()),
            self.units.map_or_else(none, |units| count(units.units)),
            held(trace_report, self.line).map_or_else(none, |row| bytes(row.live_bytes as f64)),
            returned_cell(self.predicted_bytes(), self.resident_bytes),
        ]
    }
}

/// The lines of each backend with most returnable memory; `None` where no backend has such units.
pub fn unit_table(trace_report: &TraceReport) -> Option<TextTable> {
    let mut table = Vec::new();
    for backend in trace_report.allocators() {
        let units: Vec<&UnitRetention> =
            retention(backend).iter().flat_map(RetentionAtEnd::rows).collect();
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
    let header = header.map(str::to_owned).into();
    (!table.is_empty()).then_some((header, table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_returns_nothing_has_words_and_no_sign() {
        let cell = |predicted, resident: Option<[f64; 2]>| {
            returned_cell(predicted, resident).replace('\u{a0}', " ")
        };
        assert_eq!(cell(0, None), "–");
        assert_eq!(cell(4096, None), "≈ 4.0 KiB");
        assert_eq!(cell(4096, Some([9000.0, 807.999])), "8.0 KiB");
        assert_eq!(cell(4096, Some([4096.0, 4096.0])), "nothing");
        assert_eq!(cell(4096, Some([4096.0, 12_288.0])), "nothing: 8.0 KiB more is resident");
    }
}
