//! The page of two sides: the answer, all measures, and each measure by line, file, size class, domain
//! or cause. Without its script all measures stand below one another.

use super::document::document;
use super::drawn::{DrawnPicture, figure};
use super::markup::{escape, table, table_of_cells};
use super::model::model_without_traces;
use super::script::sides_script;
use crate::report::chart::{SIDES_QUESTION, SIDES_READING};
use crate::report::figures::{
    BrokenDownBy, ComparedKind, MovedBreakdown, MovedMeasure, MovedPart, MovedRow, SideBySide,
    signed_percent,
};
use crate::report::files::SIDES_CSV;
use crate::report::text::capitalised;
use crate::units::count;

/// Rows of a table; the others are summed in one.
const ROWS_MAX: usize = 400;

/// The page of two sides, whose pictures are `drawn`, part by part.
pub fn sides_html(sides: &SideBySide, drawn: &[Vec<DrawnPicture>]) -> String {
    let title = format!("{} → {}", sides.sides[0].name, sides.sides[1].name);
    let what = match sides.kind {
        ComparedKind::Recordings => "two recordings",
        ComparedKind::Runs => "two runs",
    };
    let mut header = format!(
        "<h1>{}</h1>\n<p class=\"soft\">heaplay {}, {what} side by side. All rows as a table: \
         <a href=\"{SIDES_CSV}\">CSV</a>, a file beside this page.</p>\n",
        escape(&title),
        env!("CARGO_PKG_VERSION")
    );
    if !sides.notes.is_empty() {
        header += "<ul class=\"verdicts\">\n";
        for note in &sides.notes {
            header += &format!("<li>{}</li>\n", escape(note));
        }
        header += "</ul>\n";
    }
    let mut main = String::new();
    for (number, part) in sides.parts.iter().enumerate() {
        let own = drawn.get(number).map_or(&[][..], Vec::as_slice);
        main += &part_section(sides.kind, number, part, own);
    }
    main += &facts(sides);
    document(&title, &sides_script(), &header, &main, &model_without_traces())
}

fn part_section(
    kind: ComparedKind,
    number: usize,
    part: &MovedPart,
    drawn: &[DrawnPicture],
) -> String {
    let name = escape(&part.name);
    let mut text = format!("<section class=\"part\" data-name=\"{name}\">\n");
    if !part.name.is_empty() {
        text += &format!("<h2>{name}</h2>\n");
    }
    for answer in part.answers(kind) {
        text += &format!("<p class=\"verdict\">{}</p>\n", escape(&answer));
    }
    for sentence in &part.sentences {
        text += &format!("<p>{}</p>\n", escape(sentence));
    }
    text += &format!("<div class=\"summary\">{}</div>\n", summary(number, part));
    for (at, measure) in part.measures.iter().enumerate() {
        text += &measure_section(number, at, measure);
    }
    if !drawn.is_empty() {
        text += "<details class=\"pictures\" open><summary>Pictures</summary>\n";
        for picture in drawn {
            text += &figure(drawn, &picture.file, SIDES_QUESTION, SIDES_READING);
        }
        text += "</details>\n";
    }
    text + "</section>\n"
}

/// All measures of a part.
fn summary(number: usize, part: &MovedPart) -> String {
    let row = |measure: &MovedMeasure| {
        let share = measure.share().filter(|share| *share != 0.0).map(signed_percent);
        let cells = [Some(measure.before), Some(measure.after)];
        format!(
            "<td>{}</td>{}<td>{}</td>",
            escape(&measure.name),
            value_cells(measure, cells, measure.difference, 0),
            share.unwrap_or_else(|| "–".to_owned())
        )
    };
    let rows: Vec<String> = part.measures.iter().map(row).collect();
    let header = ["measure", "before", "after", "difference", "share of before"];
    table_of_cells(&format!("measures-{}", number + 1), "All measures", &header, &rows, "")
}

fn measure_section(part: usize, number: usize, measure: &MovedMeasure) -> String {
    let name = escape(&measure.name);
    let mut text = format!("<section class=\"measure\" data-name=\"{name}\">\n");
    text += &format!("<h3>{}</h3>\n", capitalised(&name));
    text += &format!("<p>{}</p>\n", escape(&measure.answer()));
    if measure.breakdowns.is_empty() {
        text += "<p class=\"soft\">The record has no rows for this measure.</p>\n";
    }
    for breakdown in &measure.breakdowns {
        text += &breakdown_table(&format!("{}-{}", part + 1, number + 1), measure, breakdown);
    }
    text + "</section>\n"
}

fn breakdown_table(number: &str, measure: &MovedMeasure, breakdown: &MovedBreakdown) -> String {
    let by = breakdown.by;
    let rows = &breakdown.rows;
    let shown = if rows.len() > ROWS_MAX { ROWS_MAX - 1 } else { rows.len() };
    let widest = rows.iter().map(|row| row.difference.unsigned_abs()).max().unwrap_or(0);
    let mut cells: Vec<String> = rows[..shown]
        .iter()
        .map(|row| {
            let values = [row.before, row.after];
            format!(
                "<td class=\"label\">{}</td>{}",
                label(row, by),
                value_cells(measure, values, row.difference, widest)
            )
        })
        .collect();
    let rest = &rows[shown..];
    if !rest.is_empty() {
        let sum = |of: fn(&MovedRow) -> Option<i64>| rest.iter().filter_map(of).sum::<i64>();
        let (before, after) = (sum(|row| row.before), sum(|row| row.after));
        let values = [Some(before), Some(after)];
        cells.push(format!(
            "<td class=\"label\">({} other {})</td>{}",
            count(rest.len() as u64),
            by.plural(),
            value_cells(measure, values, after - before, widest)
        ));
    }
    let total = format!(
        "<td>total</td>{}",
        value_cells(measure, [Some(measure.before), Some(measure.after)], measure.difference, 0)
    );
    let caption = escape(&capitalised(&format!("{} by {}", measure.name, by.name())));
    let name = format!("{}-{number}", by.name().replace(' ', "-"));
    let header = [by.name(), "before", "after", "difference"];
    table_of_cells(&name, &caption, &header, &cells, &total)
}

fn label(row: &MovedRow, by: BrokenDownBy) -> String {
    let name = escape(&row.label);
    match &row.was {
        Some(was) => format!("{name} <span class=\"soft\">was {}</span>", escape(was)),
        None if by == BrokenDownBy::Line && row.label.is_empty() => "(no line)".to_owned(),
        None => name,
    }
}

/// Cells of before, after and the difference, with their exact values; the difference has a bar that
/// is as long as its share of `widest`.
fn value_cells(
    measure: &MovedMeasure,
    values: [Option<i64>; 2],
    difference: i64,
    widest: u64,
) -> String {
    let unit = measure.unit;
    let mut text = String::new();
    for value in values {
        text += &match value {
            Some(value) => format!("<td data-value=\"{value}\">{}</td>", escape(&unit.text(value))),
            None => "<td>–</td>".to_owned(),
        };
    }
    let bar = match (widest, difference) {
        (0, _) | (_, 0) => String::new(),
        _ => format!(
            "<i class=\"{}\" style=\"width:{:.1}%\"></i>",
            if difference > 0 { "more" } else { "less" },
            difference.unsigned_abs() as f64 / widest as f64 * 100.0
        ),
    };
    let signed = escape(&unit.signed(difference));
    text + &format!("<td class=\"moved\" data-value=\"{difference}\">{signed}{bar}</td>")
}

/// What is known of both sides.
fn facts(sides: &SideBySide) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in sides.sides.iter().flat_map(|side| &side.facts) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let value = |side: usize, name: &str| {
        let facts = &sides.sides[side].facts;
        let found = facts.iter().find(|(own, _)| own == name);
        found.map_or("–".to_owned(), |(_, value)| value.clone())
    };
    let rows: Vec<Vec<String>> = names
        .into_iter()
        .map(|name| vec![name.to_owned(), value(0, name), value(1, name)])
        .collect();
    table("facts", "The two sides", &["fact", "before", "after"], &rows)
}
