//! What `diff` prints: the measures, the rows that moved most, and the answer at the end.

use super::options::kind_name;
use crate::cli::tables::table;
use crate::report::{
    BrokenDownBy, ComparedKind, MovedMeasure, MovedPart, MovedRow, SideBySide, short_row,
    signed_percent,
};
use crate::units::count;

/// Parts whose answers are printed, at most.
const ANSWERS_MAX: usize = 12;

/// Both sides as text; each table has so many `rows`.
pub(super) fn text(sides: &SideBySide, rows: usize) -> String {
    let [before, after] = &sides.sides;
    let mut text = format!("two {}: {} → {}\n\n", kind_name(sides.kind), before.name, after.name);
    match sides.parts.as_slice() {
        [one] => text += &one_part(one, rows),
        parts => text += &all_parts(parts),
    }
    for note in &sides.notes {
        text += &format!("{note}\n");
    }
    if !sides.notes.is_empty() {
        text += "\n";
    }
    text + &answers(sides)
}

/// The measures of a part, and the rows of the first one that has some.
fn one_part(part: &MovedPart, rows: usize) -> String {
    let mut text = String::new();
    if !part.name.is_empty() {
        text += &format!("{}\n\n", part.name);
    }
    text += &measures(part);
    for by in [BrokenDownBy::Cause, BrokenDownBy::Line, BrokenDownBy::SizeClass] {
        let moved = part.measures.iter().find(|measure| {
            let breakdown = measure.breakdown(by);
            breakdown.is_some_and(|own| own.rows.iter().any(|row| row.difference != 0))
        });
        if let Some(measure) = moved {
            text += &breakdown(measure, by, rows);
        }
    }
    for sentence in &part.sentences {
        text += &format!("{sentence}\n");
    }
    if !part.sentences.is_empty() {
        text += "\n";
    }
    text
}

fn measures(part: &MovedPart) -> String {
    let row = |measure: &MovedMeasure| {
        let unit = measure.unit;
        let share = measure.share().filter(|share| *share != 0.0).map(signed_percent);
        vec![
            measure.name.clone(),
            unit.text(measure.before),
            unit.text(measure.after),
            unit.signed(measure.difference),
            share.unwrap_or_else(|| "–".to_owned()),
        ]
    };
    let rows = part.measures.iter().map(row).collect();
    table(&["measure", "before", "after", "difference", "share of before"], rows)
}

/// The rows that moved most; all others are summed.
fn breakdown(measure: &MovedMeasure, by: BrokenDownBy, most: usize) -> String {
    let Some(breakdown) = measure.breakdown(by) else { return String::new() };
    let unit = measure.unit;
    let all = &breakdown.rows;
    let shown = if all.len() > most.max(1) { most.max(2) - 1 } else { all.len() };
    let cells = |name: String, before: i64, after: i64| {
        vec![name, unit.text(before), unit.text(after), unit.signed(after - before)]
    };
    let values = |row: &MovedRow| (row.before.unwrap_or(0), row.after.unwrap_or(0));
    let mut rows: Vec<Vec<String>> = all[..shown]
        .iter()
        .map(|row| {
            let (before, after) = values(row);
            cells(row_name(row, by), before, after)
        })
        .collect();
    let rest = &all[shown..];
    if !rest.is_empty() {
        let sum = rest.iter().map(values).fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
        let name = format!("({} other {})", count(rest.len() as u64), by.plural());
        rows.push(cells(name, sum.0, sum.1));
    }
    rows.push(cells("total".to_owned(), measure.before, measure.after));
    let title = format!("{} by {}", measure.name, by.name());
    table(&[&title, "before", "after", "difference"], rows)
}

fn row_name(row: &MovedRow, by: BrokenDownBy) -> String {
    let name = short_row(&row.label, by);
    match row.was.as_deref().map(|was| short_row(was, by)) {
        Some(was) if was != name => format!("{name} (was {was})"),
        _ => name,
    }
}

/// A row for each part: its first measure.
fn all_parts(parts: &[MovedPart]) -> String {
    let row = |part: &MovedPart| {
        let measure = part.measures.first()?;
        let unit = measure.unit;
        Some(vec![
            part.name.clone(),
            measure.name.clone(),
            unit.text(measure.before),
            unit.text(measure.after),
            unit.signed(measure.difference),
        ])
    };
    let rows = parts.iter().filter_map(row).collect();
    let mut text = table(&["compared", "measure", "before", "after", "difference"], rows);
    let mut printed: Vec<&str> = Vec::new();
    for part in parts {
        for sentence in &part.sentences {
            let is_in_all = parts.iter().all(|other| other.sentences.contains(sentence));
            if !is_in_all {
                text += &format!("{}: {sentence}\n", part.name);
            } else if !printed.contains(&sentence.as_str()) {
                printed.push(sentence);
                text += &format!("{sentence}\n");
            }
        }
    }
    text + "\n"
}

/// The answer to each part that moved.
fn answers(sides: &SideBySide) -> String {
    let moved: Vec<&MovedPart> = sides
        .parts
        .iter()
        .filter(|part| !part.measures.iter().all(MovedMeasure::is_unmoved))
        .collect();
    if moved.is_empty() {
        let what = match sides.kind {
            ComparedKind::Recordings => "both recordings request the same",
            ComparedKind::Runs => "all memory is the same in both runs",
        };
        return format!("Nothing moved: {what}, row by row.\n");
    }
    let mut text = String::new();
    for part in moved.iter().take(ANSWERS_MAX) {
        let opening =
            if sides.parts.len() > 1 { format!("{}: ", part.name) } else { String::new() };
        text += &format!("{opening}{}\n", part.answers(sides.kind).join(" "));
    }
    if moved.len() > ANSWERS_MAX {
        text += &format!("{} more moved; the page has all.\n", moved.len() - ANSWERS_MAX);
    }
    text
}
