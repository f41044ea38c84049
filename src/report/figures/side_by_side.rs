//! Two recordings or two runs side by side: how each measure moved, and which lines, size classes,
//! domains, types and causes make up the movement.
//!
//! All figures are whole numbers. The rows of each breakdown add up to the measure on both sides, so
//! their differences add up to its difference.

use std::collections::{BTreeMap, HashMap};

use serde::{Serialize, Serializer};

use super::line_matching::{LineFigures, LineMatching, file_of};
use crate::units::{CALLED_FROM, bytes, count, frames, without_native};

/// The row of what no row accounts for.
pub const NOT_ATTRIBUTED: &str = "(not attributed)";
/// The row of blocks without a line.
pub const NO_LINE: &str = "(no line)";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ComparedKind {
    /// Two recordings.
    Recordings,
    /// Two runs.
    Runs,
}

/// What a measure is broken down by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BrokenDownBy {
    /// The parts of resident memory.
    Cause,
    /// The line that allocated.
    Line,
    /// Its file.
    File,
    /// The line with its callers.
    CallChain,
    /// The size of the request.
    SizeClass,
    /// The type of the object.
    Type,
    /// The family of allocation functions.
    Domain,
}

impl BrokenDownBy {
    /// All of them, in the order of tables.
    pub const ALL: [BrokenDownBy; 7] = [
        BrokenDownBy::Cause,
        BrokenDownBy::Line,
        BrokenDownBy::File,
        BrokenDownBy::CallChain,
        BrokenDownBy::SizeClass,
        BrokenDownBy::Type,
        BrokenDownBy::Domain,
    ];

    /// Its name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            BrokenDownBy::Cause => "cause",
            BrokenDownBy::Line => "line",
            BrokenDownBy::File => "file",
            BrokenDownBy::CallChain => "call chain",
            BrokenDownBy::SizeClass => "size class",
            BrokenDownBy::Type => "type",
            BrokenDownBy::Domain => "domain",
        }
    }

    /// Its name where several are counted.
    pub fn plural(self) -> &'static str {
        match self {
            BrokenDownBy::Cause => "causes",
            BrokenDownBy::Line => "lines",
            BrokenDownBy::File => "files",
            BrokenDownBy::CallChain => "call chains",
            BrokenDownBy::SizeClass => "size classes",
            BrokenDownBy::Type => "types",
            BrokenDownBy::Domain => "domains",
        }
    }
}

impl Serialize for BrokenDownBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The unit of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MovedUnit {
    /// Bytes.
    Bytes,
    /// A number of requests.
    Requests,
}

impl MovedUnit {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            MovedUnit::Bytes => "bytes",
            MovedUnit::Requests => "requests",
        }
    }

    /// A value as text.
    pub fn text(self, value: i64) -> String {
        match self {
            MovedUnit::Bytes => bytes(value as f64),
            MovedUnit::Requests => {
                let sign = if value < 0 { "−" } else { "" };
                format!("{sign}{}", count(value.unsigned_abs()))
            }
        }
    }

    /// A difference as text, with its sign: `+13 MiB`, `−2 KiB`, `±0`.
    pub fn signed(self, difference: i64) -> String {
        match difference {
            0 => "±0".to_owned(),
            1.. => format!("+{}", self.text(difference)),
            _ => self.text(difference),
        }
    }
}

/// A measure of one side.
#[derive(Clone, Debug)]
pub struct SideMeasure {
    /// Its name, the same on both sides.
    pub name: String,
    /// Its unit.
    pub unit: MovedUnit,
    /// All of it.
    pub total: i64,
    /// Its rows by label, for each breakdown that this side knows. Lines are `file:line`, files are
    /// derived from them.
    pub rows: BTreeMap<BrokenDownBy, BTreeMap<String, i64>>,
}

impl SideMeasure {
    /// A measure without rows.
    pub fn new(name: impl Into<String>, unit: MovedUnit, total: i64) -> SideMeasure {
        SideMeasure { name: name.into(), unit, total, rows: BTreeMap::new() }
    }
}

/// A row of a breakdown on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MovedRow {
    /// Its label on the side after; that on the side before, where the other lacks it.
    pub label: String,
    /// Its label on the side before, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Its value before; `None` where that side lacks the row.
    pub before: Option<i64>,
    /// Its value after.
    pub after: Option<i64>,
    /// After less before.
    pub difference: i64,
}

/// The rows of a measure by one of its breakdowns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MovedBreakdown {
    /// By what.
    pub by: BrokenDownBy,
    /// The largest difference first. They add up to the measure.
    pub rows: Vec<MovedRow>,
}

/// A measure on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MovedMeasure {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: MovedUnit,
    /// Its value before.
    pub before: i64,
    /// Its value after.
    pub after: i64,
    /// After less before.
    pub difference: i64,
    /// Its breakdowns that both sides know.
    pub breakdowns: Vec<MovedBreakdown>,
}

impl MovedMeasure {
    /// A breakdown, where both sides know it.
    pub fn breakdown(&self, by: BrokenDownBy) -> Option<&MovedBreakdown> {
        self.breakdowns.iter().find(|breakdown| breakdown.by == by)
    }

    /// Whether the measure and all of its rows are the same on both sides.
    pub fn is_unmoved(&self) -> bool {
        let mut rows = self.breakdowns.iter().flat_map(|breakdown| &breakdown.rows);
        self.difference == 0 && rows.all(|row| row.difference == 0)
    }
}

/// One trace, or one trace on one backend.
#[derive(Clone, Debug, Serialize)]
pub struct MovedPart {
    /// Its name; empty where there is nothing to tell apart.
    pub name: String,
    /// What else there is to know, a sentence each.
    pub sentences: Vec<String>,
    /// Its measures.
    pub measures: Vec<MovedMeasure>,
}

impl MovedPart {
    /// Compares the measures that both sides have, in the order of the side before.
    pub fn between(name: String, before: &[SideMeasure], after: &[SideMeasure]) -> MovedPart {
        let pairs: Vec<[&SideMeasure; 2]> = before
            .iter()
            .filter_map(|own| Some([own, after.iter().find(|other| other.name == own.name)?]))
            .collect();
        let figures = |side: usize| line_figures(pairs.iter().map(|pair| pair[side]));
        let matching = LineMatching::of(&figures(0), &figures(1));
        let measures = pairs.iter().map(|pair| moved_measure(*pair, &matching)).collect();
        let renamed = matching.renamed_files().map(|(old, new)| {
            format!("The file {old} of the first side is taken for {new} of the second.")
        });
        MovedPart { name, sentences: renamed.collect(), measures }
    }
}

/// One of the two sides.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedSide {
    /// As the person named it.
    pub name: String,
    /// What is known of it, by name.
    pub facts: Vec<(String, String)>,
}

/// Two sides, and how everything moved between them.
#[derive(Clone, Debug, Serialize)]
pub struct SideBySide {
    /// What is compared.
    pub kind: ComparedKind,
    /// Before and after.
    pub sides: [ComparedSide; 2],
    /// What limits the comparison, a sentence each.
    pub notes: Vec<String>,
    /// Its parts.
    pub parts: Vec<MovedPart>,
}

impl SideBySide {
    /// The same without source lines, files, types and the names of both sides. A line has the same
    /// number everywhere.
    #[must_use]
    pub fn without_private(mut self) -> SideBySide {
        let mut numbers: BTreeMap<BrokenDownBy, HashMap<String, usize>> = BTreeMap::new();
        for (side, name) in self.sides.iter_mut().zip(["before", "after"]) {
            name.clone_into(&mut side.name);
            side.facts.clear();
        }
        for part in &mut self.parts {
            part.sentences.retain(|sentence| !sentence.starts_with("The file "));
            for breakdown in part.measures.iter_mut().flat_map(|own| &mut own.breakdowns) {
                let by = breakdown.by;
                let is_private = matches!(
                    by,
                    BrokenDownBy::Line
                        | BrokenDownBy::File
                        | BrokenDownBy::CallChain
                        | BrokenDownBy::Type
                );
                if !is_private {
                    continue;
                }
                for row in &mut breakdown.rows {
                    // Of a line that moved both labels have one number.
                    row.was = None;
                    if row.label.starts_with('(') {
                        continue;
                    }
                    let known = numbers.entry(by).or_default();
                    let next = known.len() + 1;
                    let number = *known.entry(std::mem::take(&mut row.label)).or_insert(next);
                    row.label = format!("{} {number}", by.name());
                }
            }
        }
        self
    }
}

/// The figures of each frame, and of the line of each: the sums of all chains that have it, else of the line
/// itself.
fn line_figures<'a>(measures: impl Iterator<Item = &'a SideMeasure> + Clone) -> LineFigures {
    let mut figures = LineFigures::new();
    let wide = measures.clone().count();
    for (at, measure) in measures.enumerate() {
        let by = [BrokenDownBy::CallChain, BrokenDownBy::Line];
        let Some(rows) = by.iter().find_map(|by| measure.rows.get(by)) else { continue };
        for (label, value) in rows {
            // Rows by line have no native functions.
            let mut frames: Vec<&str> =
                frames(label).flat_map(|frame| [frame, without_native(frame)]).collect();
            frames.sort_unstable();
            frames.dedup();
            for frame in frames {
                let own = figures.entry(frame.to_owned()).or_insert_with(|| vec![0; wide]);
                own[at] = own[at].saturating_add(*value);
            }
        }
    }
    figures
}

/// A row by its label on the side after. `true` marks a row that the side after lacks, so that no line
/// that took its number is taken for it.
type RowKey = (String, bool);

fn moved_measure([before, after]: [&SideMeasure; 2], matching: &LineMatching) -> MovedMeasure {
    let mut breakdowns = Vec::new();
    for by in BrokenDownBy::ALL {
        let (Some(old), Some(new)) = (rows_by(before, by), rows_by(after, by)) else { continue };
        let mut merged: BTreeMap<RowKey, MovedRow> = BTreeMap::new();
        for (label, value) in whole(old, before.total) {
            let key = key_after(&label, by, matching);
            let row = row_of(&mut merged, key);
            row.before = Some(row.before.unwrap_or(0) + value);
            if row.label != label {
                row.was.get_or_insert(label);
            }
        }
        for (label, value) in whole(new, after.total) {
            let row = row_of(&mut merged, (label, false));
            row.after = Some(row.after.unwrap_or(0) + value);
        }
        let mut rows: Vec<MovedRow> = merged.into_values().collect();
        for row in &mut rows {
            row.difference = row.after.unwrap_or(0) - row.before.unwrap_or(0);
        }
        let most = |row: &MovedRow| row.before.max(row.after);
        rows.sort_by(|a, b| {
            (b.difference.unsigned_abs().cmp(&a.difference.unsigned_abs()))
                .then_with(|| most(b).cmp(&most(a)))
                .then_with(|| a.label.cmp(&b.label))
        });
        breakdowns.push(MovedBreakdown { by, rows });
    }
    MovedMeasure {
        name: after.name.clone(),
        unit: after.unit,
        before: before.total,
        after: after.total,
        difference: after.total - before.total,
        breakdowns,
    }
}

fn row_of(rows: &mut BTreeMap<RowKey, MovedRow>, key: RowKey) -> &mut MovedRow {
    let label = key.0.clone();
    let new = || MovedRow { label, was: None, before: None, after: None, difference: 0 };
    rows.entry(key).or_insert_with(new)
}

/// The rows of a breakdown; those of files are sums of lines.
fn rows_by(measure: &SideMeasure, by: BrokenDownBy) -> Option<BTreeMap<String, i64>> {
    if by != BrokenDownBy::File {
        return measure.rows.get(&by).cloned();
    }
    let mut files = BTreeMap::new();
    for (label, value) in measure.rows.get(&BrokenDownBy::Line)? {
        *files.entry(file_of(label).to_owned()).or_default() += value;
    }
    Some(files)
}

/// The rows with one more for what they lack of the total.
fn whole(mut rows: BTreeMap<String, i64>, total: i64) -> BTreeMap<String, i64> {
    let rest = total - rows.values().sum::<i64>();
    if rest != 0 {
        *rows.entry(NOT_ATTRIBUTED.to_owned()).or_default() += rest;
    }
    rows
}

/// The key of a row of the side before.
fn key_after(label: &str, by: BrokenDownBy, matching: &LineMatching) -> RowKey {
    let matched = match by {
        BrokenDownBy::Line => matching.line(label).map(str::to_owned),
        BrokenDownBy::File => Some(matching.file(label).to_owned()),
        BrokenDownBy::CallChain => {
            let frames: Option<Vec<&str>> =
                frames(label).map(|frame| matching.line(frame)).collect();
            frames.map(|frames| frames.join(CALLED_FROM))
        }
        _ => Some(label.to_owned()),
    };
    match matched {
        Some(label) => (label, false),
        None => (label.to_owned(), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(total: i64, lines: &[(&str, i64)]) -> SideMeasure {
        let lines = lines.iter().map(|(label, value)| ((*label).to_owned(), *value)).collect();
        let mut measure = SideMeasure::new("live", MovedUnit::Bytes, total);
        measure.rows.insert(BrokenDownBy::Line, lines);
        measure
    }

    fn rows(part: &MovedPart, by: BrokenDownBy) -> Vec<(String, Option<i64>, Option<i64>)> {
        let rows = part.measures[0].breakdown(by).expect("a breakdown").rows.iter();
        rows.map(|row| (row.label.clone(), row.before, row.after)).collect()
    }

    #[test]
    fn a_line_that_took_the_number_of_another_is_not_that_line() {
        // a.py:43 is gone, and a.py:42 has its number now.
        let before = measure(9100, &[("a.py:10", 5000), ("a.py:42", 4000), ("a.py:43", 100)]);
        let after = measure(14_000, &[("a.py:11", 5000), ("a.py:43", 9000)]);
        let part = MovedPart::between(String::new(), &[before], &[after]);
        assert_eq!(
            rows(&part, BrokenDownBy::Line),
            [
                ("a.py:43".to_owned(), Some(4000), Some(9000)),
                ("a.py:43".to_owned(), Some(100), None),
                ("a.py:11".to_owned(), Some(5000), Some(5000)),
            ]
        );
        assert_eq!(part.measures[0].breakdowns[0].rows[0].was.as_deref(), Some("a.py:42"));
        assert_eq!(
            rows(&part, BrokenDownBy::File),
            [("a.py".to_owned(), Some(9100), Some(14_000))]
        );
    }

    #[test]
    fn what_no_row_accounts_for_has_a_row() {
        let (before, after) = (measure(10, &[("a.py:1", 7)]), measure(12, &[("a.py:1", 12)]));
        let part = MovedPart::between(String::new(), &[before], &[after]);
        assert_eq!(
            rows(&part, BrokenDownBy::Line),
            [("a.py:1".to_owned(), Some(7), Some(12)), (NOT_ATTRIBUTED.to_owned(), Some(3), None)]
        );
    }

    #[test]
    fn private_rows_have_numbers_and_the_same_figures() {
        let (before, after) =
            (measure(10, &[("a.py:1", 10)]), measure(12, &[("a.py:1", 8), (NO_LINE, 4)]));
        let side = |name: &str| ComparedSide { name: name.to_owned(), facts: vec![] };
        let sides = SideBySide {
            kind: ComparedKind::Recordings,
            sides: [side("/home/me/a.trace"), side("/home/me/b.trace")],
            notes: vec![],
            parts: vec![MovedPart::between(String::new(), &[before], &[after])],
        };
        let text = serde_json::to_string(&sides.without_private()).unwrap();
        assert!(!text.contains("a.py") && !text.contains("/home"), "{text}");
        assert!(text.contains("line 1") && text.contains(NO_LINE), "{text}");
    }

    #[test]
    fn differences_have_a_sign() {
        let unit = MovedUnit::Bytes;
        assert_eq!(unit.signed(13 << 20), "+13\u{a0}MiB");
        assert_eq!((unit.signed(-2048), unit.signed(0)), ("−2.0\u{a0}KiB".into(), "±0".into()));
        assert_eq!(MovedUnit::Requests.signed(-1_500_000), "−1.5 M");
    }
}
