//! Markup of the page: escaped text and tables.

use crate::report::text_table::{Cell, UNKNOWN};

/// Text that is not taken for markup.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

fn markup(cell: &Cell) -> String {
    let value = cell.value().map_or(String::new(), |value| format!(" data-value=\"{value}\""));
    format!("<td{value}>{}</td>", escape(cell.text()))
}

/// A table; empty without rows. Caption and header are markup, cells are text. Links that restore a
/// view know the table by its `name`.
pub fn table<C: Clone + Into<Cell>>(
    name: &str,
    caption: &str,
    header: &[&str],
    rows: &[Vec<C>],
) -> String {
    let cells =
        |row: &Vec<C>| row.iter().map(|cell| markup(&cell.clone().into())).collect::<String>();
    let rows: Vec<String> = rows.iter().map(cells).collect();
    table_of_cells(name, caption, header, &rows, "")
}

/// Rows from which a table with a footer scrolls by itself.
const TALL_ROWS: usize = 16;

/// A table whose rows are markup: the cells of each; `footer` is the row below them, or empty. A long
/// table with a footer scrolls by itself, so that the tables below it stay near.
pub fn table_of_cells(
    name: &str,
    caption: &str,
    header: &[&str],
    rows: &[String],
    footer: &str,
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let is_tall = !footer.is_empty() && rows.len() >= TALL_ROWS;
    let tall = if is_tall { " tall" } else { "" };
    let mut text = format!(
        "<div class=\"scroll{tall}\"><table data-name=\"{name}\">\n<caption>{caption}</caption>\n\
         <thead><tr>"
    );
    for column in header {
        text += &format!("<th scope=\"col\">{column}</th>");
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in rows {
        text += &format!("<tr>{row}</tr>\n");
    }
    text += "</tbody>\n";
    if !footer.is_empty() {
        text += &format!("<tfoot><tr>{footer}</tr></tfoot>\n");
    }
    text + "</table></div>\n"
}

/// A table that is folded, as it is long or seldom needed; empty without rows.
pub fn folded(summary: &str, table: String) -> String {
    match table.is_empty() {
        true => table,
        false => format!("<details><summary>{summary}</summary>\n{table}</details>\n"),
    }
}

/// The text, or a dash for what is not known.
pub fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| UNKNOWN.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_record_stays_text() {
        assert_eq!(escape("<a href='x'>&"), "&lt;a href=&#39;x&#39;&gt;&amp;");
        assert_eq!(markup(&Cell::from("<b>")), "<td>&lt;b&gt;</td>");
    }

    #[test]
    fn a_cell_has_the_exact_value_of_its_number() {
        let cell = |value| markup(&Cell::of(value, |value| format!("{value:.0} ns")));
        assert_eq!(cell(Some(20.865)), "<td data-value=\"20.865\">21 ns</td>");
        assert_eq!([cell(None), cell(Some(f64::NAN))], ["<td>–</td>", "<td>–</td>"]);
    }
}
