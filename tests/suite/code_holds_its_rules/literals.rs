//! Texts in code that a type should stand for: names of metrics, and the words of an error.

use super::lexer::TokenKind;
use super::source::RustFile;

/// `path:line: "name"` of each literal that is the name of a metric. Names of one word mean other
/// things, too, and are left out.
pub fn metric_names(file: &RustFile, is_metric: impl Fn(&str) -> bool) -> Vec<String> {
    let names = file.tokens.iter().filter(|token| {
        token.kind == TokenKind::Text && token.text.contains('_') && is_metric(&token.text)
    });
    names.map(|token| format!("{}:{}: \"{}\"", file.path, token.line, token.text)).collect()
}

/// Methods that look for a part of a text.
const LOOKS: [&str; 4] = ["contains", "starts_with", "ends_with", "find"];
/// What errors are called.
const ERRORS: [&str; 6] = ["error", "err", "reason", "message", "why", "cause"];

/// `path:line: what` of each place that looks into the text of an error.
pub fn errors_by_text(file: &RustFile) -> Vec<String> {
    let tokens = &file.tokens;
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let before = |at: usize, back: usize| at.checked_sub(back).map_or("", text);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let method = text(at + 1);
        if !token.is(".") || !LOOKS.contains(&method) || text(at + 2) != "(" {
            continue;
        }
        let closes = (before(at, 2), before(at, 1)) == ("(", ")");
        let looked_at = if closes { before(at, 3) } else { before(at, 1) };
        if ERRORS.contains(&looked_at) || closes && looked_at == "to_string" {
            found.push(format!("{}:{}: {looked_at}.{method}(…)", file.path, token.line));
        }
    }
    found
}

#[cfg(test)]
mod counting {
    use super::*;

    #[test]
    fn names_of_metrics_are_found_as_whole_literals() {
        let source = "f(\"live_bytes\");\ng(\"the live_bytes of\", r\"live_bytes\", \"calls\", live_bytes);\n\
                      #[cfg(test)] mod tests { const A: &str = \"live_bytes\"; }";
        let file = RustFile::new("src/a.rs", source);
        let found = metric_names(&file, |name| ["live_bytes", "calls"].contains(&name));
        assert_eq!(found, ["src/a.rs:1: \"live_bytes\"", "src/a.rs:2: \"live_bytes\""]);
    }

    #[test]
    fn texts_of_errors_are_found_where_code_looks_into_them() {
        let source = "if outcome.reason.contains(\"limit\") {}\nif e.to_string().starts_with(\"x\") {}\n\
                      name.contains(\"x\"); errors.contains(\"y\"); error.contains;";
        let found = errors_by_text(&RustFile::new("src/a.rs", source));
        assert_eq!(
            found,
            ["src/a.rs:1: reason.contains(…)", "src/a.rs:2: to_string.starts_with(…)"]
        );
    }
}
