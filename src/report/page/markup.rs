//! Markup of the page: escaped text and tables.

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

/// A table; empty without rows. Caption and header are markup, cells are text. Links that restore a
/// view know the table by its `name`.
pub fn table(name: &str, caption: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "<div class=\"scroll\"><table data-name=\"{name}\">\n<caption>{caption}</caption>\n\
         <thead><tr>"
    );
    for column in header {
        text += &format!("<th scope=\"col\">{column}</th>");
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in rows {
        text += "<tr>";
        for cell in row {
            text += &format!("<td>{}</td>", escape(cell));
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table></div>\n"
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
    value.unwrap_or_else(|| "–".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_record_stays_text() {
        assert_eq!(escape("<a href='x'>&"), "&lt;a href=&#39;x&#39;&gt;&amp;");
    }
}
