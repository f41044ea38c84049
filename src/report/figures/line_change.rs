//! What a change of a line returns at the end: by a replay in which the line's blocks were elsewhere, or
//! else as predicted. Which line comes first is decided here, for page, terminal, table and picture.

use super::backend::BackendFigures;
use super::trace_report::TraceReport;
use crate::report::text::short_line;
use crate::results::{
    Attribution, LineContents, Moment, OTHER_SITES, RETURNABLE_LEAST_BYTES, RetentionAtEnd,
};
use crate::units::{bytes, count};

/// A line that holds this many times as much at the end as at half of the calls grows.
const GROWTH: f64 = 1.3;

/// A line that holds so many times what it returns elsewhere gives back more where its blocks are fewer.
const LARGE_HOLD: f64 = 2.0;

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

    /// The replay that answers what fewer of its blocks return, where it holds more than it returns
    /// elsewhere.
    fn drop_advice(&self, trace_report: &TraceReport) -> String {
        let held_bytes = line_at_end(trace_report, self.line).map_or(0, |row| row.live_bytes);
        match held_bytes as f64 > LARGE_HOLD * self.returned_bytes() {
            true => format!(
                " (without them: `heaplay whatif TRACE --drop-site {}`)",
                short_line(self.line)
            ),
            false => String::new(),
        }
    }

    /// What the line holds and what its change returns.
    pub fn sentence(&self, trace_report: &TraceReport) -> String {
        let line = short_line(self.line);
        let held = held_text(trace_report, self.line).unwrap_or_else(|| "blocks".to_owned());
        let returned = bytes(self.returned_bytes());
        let returned = match self.resident_bytes {
            Some([before, _]) => format!(
                "a replay in which it allocates them last returns {returned} of {}{}",
                bytes(before),
                self.drop_advice(trace_report)
            ),
            None => format!("if it allocated them last, {returned} would be returned (predicted)"),
        };
        format!("{line} holds {held}; {returned}")
    }
}

/// What the live blocks of a line hold at the end; `None` where no backend has it.
pub fn held_text(trace_report: &TraceReport, line: &str) -> Option<String> {
    let row = line_at_end(trace_report, line)?;
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

/// A line's row at the end; `None` where no backend has it.
pub fn line_at_end<'a>(trace_report: &TraceReport<'a>, line: &str) -> Option<&'a Attribution> {
    let mut rows = trace_report.backends.iter().flat_map(|backend| &backend.rows.attributions);
    rows.find(|row| row.moment == Moment::End && row.site == line).copied()
}

/// What the lines of a backend retain at the end.
pub fn retention_at_end<'a>(backend: &BackendFigures<'a>) -> Option<RetentionAtEnd<'a>> {
    RetentionAtEnd::of(backend.rows.unit_retention.iter().copied())
}

/// The lines of a backend whose change was replayed, or is predicted to return memory.
fn changes<'a>(backend: &BackendFigures<'a>) -> Vec<LineChange<'a>> {
    let predicted = retention_at_end(backend).map_or(vec![], |retention| retention.by_line());
    let is_predicted = |line: &str| predicted.iter().any(|(known, _)| *known == line);
    let replayed = backend.rows.what_ifs.iter().map(|row| (row.site.as_str(), 0));
    let replayed = replayed.filter(|(line, _)| !is_predicted(line));
    let lines = predicted.iter().copied().chain(replayed);
    let change = |(line, predicted): (&'a str, u64)| LineChange {
        line,
        predicted_bytes: predicted as f64,
        resident_bytes: replayed_bytes(backend, line),
    };
    let is_line = |(line, _): &(&str, u64)| !line.is_empty() && *line != OTHER_SITES;
    lines.filter(is_line).map(change).collect()
}

/// Whether a change of any line was replayed or is predicted to return memory, however little.
pub fn has_line_changes(backend: &BackendFigures) -> bool {
    !changes(backend).is_empty()
}

/// The changes of lines under a backend that are worth naming: the program's own lines first, and those
/// whose blocks are of the start-up last; of each kind, the one that returns most first.
pub fn line_changes<'a>(
    trace_report: &TraceReport<'a>,
    backend: &BackendFigures<'a>,
) -> Vec<LineChange<'a>> {
    let mut lines: Vec<LineChange> =
        changes(backend).into_iter().filter(LineChange::is_worth_naming).collect();
    lines.sort_by(|a, b| {
        let is_changeable = |change: &LineChange| trace_report.trace.is_changeable(change.line);
        let order = is_changeable(b).cmp(&is_changeable(a));
        order.then(b.returned_bytes().total_cmp(&a.returned_bytes()))
    });
    lines
}

/// Resident memory at the end as it is, and in a replay with the line's survivors allocated last, in
/// bytes; `None` where none was made.
pub fn replayed_bytes(backend: &BackendFigures, line: &str) -> Option<[f64; 2]> {
    backend.rows.what_if(line)?.resident_bytes()
}
