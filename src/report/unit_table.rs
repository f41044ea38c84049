//! Which line retains memory by arenas, by spans and by the top of heaps: a sentence and a table, for
//! terminal and page.

use super::figures::{BackendFigures, TraceReport};
use super::text::{all_or_ends, capitalised, short_line};
use super::thread_table::TextTable;
use crate::results::{Moment, RetentionAtEnd, ReturnableLine, ReturnedUnit, UnitRetention};
use crate::units::{bytes, count};

/// What the columns mean.
pub const UNITS_NOTE: &str = "An arena or a span is returned when no block lives in it; glibc's heap \
     shrinks only from its top. Retained: resident pages without a live byte, by the line's share of \
     the blocks. Returnable: what could be returned if only this line's blocks were elsewhere. By replay: \
     what a replay returned in which they were. All lines are in unit_retention.csv";

/// A saving within this factor of the prediction confirms it.
const CONFIRMED: f64 = 1.5;
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

/// The line that keeps most memory of a backend from being returned at the end, and its check.
struct CheckedLine<'a> {
    predicted: ReturnableLine<'a>,
    /// Resident memory before and after, in a replay of the change, in bytes; `None` where none was made.
    resident_bytes: Option<[f64; 2]>,
}

impl CheckedLine<'_> {
    /// Whether a replay of the change returned next to nothing of what was predicted. Blocks of other
    /// lines then take the place, or free blocks in a thread's cache.
    fn is_refuted(&self) -> bool {
        self.saved_bytes().is_some_and(|saved| saved * CONFIRMED < self.predicted.bytes as f64)
    }

    /// What the replay returned.
    fn saved_bytes(&self) -> Option<f64> {
        self.resident_bytes.map(|[before, after]| before - after)
    }

    /// What its change returns under a backend: of how much, as far as a replay or a prediction knows.
    /// All else is in the table.
    fn returned_text(&self, backend: &BackendFigures) -> String {
        let (name, predicted) = (backend.name(), bytes(self.predicted.bytes as f64));
        match self.resident_bytes {
            None => format!("{predicted} under {name} (predicted)"),
            Some([before, after]) => {
                format!("{} of {} under {name}", bytes(before - after), bytes(before))
            }
        }
    }

    /// What a replay did not confirm.
    fn refuted_text(&self, backend: &BackendFigures) -> String {
        let (line, name) = (short_line(self.predicted.line), backend.name());
        let [saved, predicted] =
            [self.saved_bytes().unwrap_or(0.0).max(0.0), self.predicted.bytes as f64].map(bytes);
        format!("{line} {saved} instead of {predicted} ({name})")
    }
}

/// What the live blocks of a line hold at the end; `None` where no backend has it.
fn held_text(trace_report: &TraceReport, line: &str) -> Option<String> {
    let mut rows = trace_report.backends.iter().flat_map(|backend| &backend.rows.attributions);
    let row = rows.find(|row| row.moment == Moment::End && row.site == line)?;
    let plural = if row.live_blocks == 1 { "" } else { "s" };
    let (held, blocks) = (bytes(row.live_bytes as f64), count(row.live_blocks));
    Some(format!("{held} in {blocks} block{plural}"))
}

/// What the lines of a backend retain at the end.
fn retention<'a>(backend: &BackendFigures<'a>) -> Option<RetentionAtEnd<'a>> {
    RetentionAtEnd::of(backend.rows.unit_retention.iter().copied())
}

/// The line of a backend with most returnable memory; `None` where no line has enough to be named.
fn returnable_line<'a>(backend: &BackendFigures<'a>) -> Option<CheckedLine<'a>> {
    let predicted = retention(backend)?.most()?;
    let resident_bytes = resident_bytes(backend, predicted.line);
    Some(CheckedLine { predicted, resident_bytes })
}

/// Resident memory at the end as it is, and in a replay with the line's survivors allocated last, in
/// bytes; `None` where none was made.
fn resident_bytes(backend: &BackendFigures, line: &str) -> Option<[f64; 2]> {
    let row = backend.rows.what_if(line)?;
    Some([row.resident_before_bytes? as f64, row.resident_after_bytes? as f64])
}

/// The lines that [`returnable_sentence`] names, each once.
pub fn returnable_lines(trace_report: &TraceReport) -> Vec<String> {
    let lines = trace_report.allocators().filter_map(returnable_line);
    let mut lines: Vec<String> =
        lines.map(|returnable| returnable.predicted.line.to_owned()).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// The line with most returnable memory under each backend: what it holds, and what a replay of its
/// change returned; `None` where no line has any.
pub fn returnable_sentence(trace_report: &TraceReport) -> Option<String> {
    let lines = trace_report
        .allocators()
        .filter_map(|backend| returnable_line(backend).map(|returnable| (backend, returnable)));
    let (refuted, standing): (Vec<_>, Vec<_>) =
        lines.partition(|(_, returnable)| returnable.is_refuted());
    let (at_end, mut sentences) = (trace_report.end_name(), Vec::new());
    let mut named: Vec<&str> = Vec::new();
    for (_, returnable) in &standing {
        let line = returnable.predicted.line;
        if named.contains(&line) {
            continue;
        }
        named.push(line);
        let own = standing.iter().filter(|(_, other)| other.predicted.line == line);
        let returned = own.map(|(backend, returnable)| {
            let shown = returnable.saved_bytes().unwrap_or(returnable.predicted.bytes as f64);
            (shown, returnable.returned_text(backend))
        });
        let returned = all_or_ends(returned.collect(), ", ");
        let held = held_text(trace_report, line).map_or("blocks".to_owned(), |held| held);
        sentences.push(format!(
            "{} {} holds {held}; a change of this line returns {returned}.",
            capitalised(&at_end),
            short_line(line)
        ));
    }
    if !refuted.is_empty() {
        let figure = |(backend, returnable): &(&BackendFigures, CheckedLine)| {
            (returnable.predicted.bytes as f64, returnable.refuted_text(backend))
        };
        let figures = all_or_ends(refuted.iter().map(figure).collect(), "; ");
        sentences.push(format!(
            "The line that could return most {at_end} returns less in a replay, as other blocks then \
             hold the memory, or free ones in a thread's cache: {figures}."
        ));
    }
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

/// The lines of each backend with most returnable memory; `None` where no backend has such units.
pub fn unit_table(trace_report: &TraceReport) -> Option<TextTable> {
    let mut table = Vec::new();
    for backend in trace_report.allocators() {
        let mut rows: Vec<&UnitRetention> =
            retention(backend).iter().flat_map(RetentionAtEnd::rows).collect();
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
                resident_bytes(backend, &row.site)
                    .map_or("–".to_owned(), |[before, after]| bytes(before - after)),
            ]
        }));
    }
    let header = ["backend", "line", "returned by", "units", "retained", "returnable", "by replay"];
    let header = header.map(str::to_owned).into();
    (!table.is_empty()).then_some((header, table))
}
