//! How messages show text that comes from a file: escaped, and cut where it is long.

/// Characters of quoted text, at most.
const QUOTED_CHARS: usize = 80;

/// Text of a file in backticks: escaped, and at most 80 characters of it.
pub(super) fn quoted(text: &str) -> String {
    let text = text.trim();
    let mut shown: String = text
        .chars()
        .take(QUOTED_CHARS)
        .flat_map(char::escape_debug)
        .take(QUOTED_CHARS)
        .collect::<String>()
        .replace("\\\"", "\"")
        .replace("\\'", "'");
    if text.chars().nth(QUOTED_CHARS).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// A sentence that may hold text of a file: without control characters, and at most 400 characters.
pub(super) fn printable(text: &str) -> String {
    const SENTENCE_CHARS: usize = 400;
    let mut shown = String::with_capacity(text.len().min(SENTENCE_CHARS));
    for (at, letter) in text.chars().enumerate() {
        if at == SENTENCE_CHARS {
            shown.push('…');
            break;
        }
        match letter {
            letter if letter.is_control() => shown.extend(letter.escape_debug()),
            letter => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_short_and_have_no_control_characters() {
        assert_eq!(quoted("\x1b]0;owned\x07 a \"b\" "), "`\\u{1b}]0;owned\\u{7} a \"b\"`");
        let long = quoted(&"x".repeat(900_000));
        assert_eq!(long.chars().count(), 80 + 3, "{long}");
        assert!(quoted(&"\x1b".repeat(900)).chars().count() <= 80 + 3);
        assert_eq!(printable("fine, `a` \u{9b}31m\r\n"), "fine, `a` \\u{9b}31m\\r\\n");
        assert_eq!(printable(&"é".repeat(500)).chars().count(), 401);
    }
}
