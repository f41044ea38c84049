//! How messages show text that comes from a file: escaped, and cut where it is long. Of a long line
//! with a faulty field, the part around the field is shown.

/// Characters of quoted text, at most.
const QUOTED_CHARS: usize = 80;

/// Text of a file in backticks: escaped, and at most 80 characters of it.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", beginning(text.trim(), QUOTED_CHARS))
}

/// Bytes of a file in backticks: text as [`quoted`] shows it, and each other byte as `\xff`.
pub(super) fn quoted_bytes(bytes: &[u8]) -> String {
    let bytes = bytes.trim_ascii();
    let mut shown = String::new();
    // Each byte is one character or more: this many suffice.
    for chunk in bytes[..bytes.len().min(4 * QUOTED_CHARS)].utf8_chunks() {
        shown.extend(chunk.valid().chars().flat_map(escaped));
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    if let Some((cut, _)) = shown.char_indices().nth(QUOTED_CHARS) {
        shown.truncate(cut);
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Characters of a line before its faulty field that are shown, at most.
const BEFORE_CHARS: usize = 30;

/// The faulty `field` of `line`, which is a part of it, with its column (from 1) and the part of the
/// line around it: "`x1` at column 12 of `7 malloc(x1)=0x10`". A field that is the whole line, or no
/// part of it, has no column.
pub(super) fn quoted_field(line: &str, field: &str) -> String {
    let field = field.trim();
    let at = field
        .as_ptr()
        .addr()
        .checked_sub(line.as_ptr().addr())
        .filter(|at| at + field.len() <= line.len());
    let Some((at, before)) = at.and_then(|at| Some((at, line.get(..at)?))) else {
        return quoted(line);
    };
    if field == line.trim() {
        return quoted(line);
    }
    let is_short = line.trim().chars().nth(QUOTED_CHARS).is_none();
    let part = if is_short { quoted(line) } else { around(before, &line[at..]) };
    let column = before.chars().count() + 1;
    match field {
        "" => format!("nothing at column {column} of {part}"),
        field => format!("`{}` at column {column} of {part}", beginning(field, BEFORE_CHARS)),
    }
}

/// The part of a line around the place between `before` and `after`: as much of `before` as is shown,
/// and then of `after` what makes up the length of a quotation.
fn around(before: &str, after: &str) -> String {
    let mut shown = 0;
    let fits = |letter: &char| {
        shown += escaped(*letter).count();
        shown <= BEFORE_CHARS
    };
    let taken = before.chars().rev().take_while(fits).map(char::len_utf8).sum::<usize>();
    let from = before.len() - taken;
    let start: String = before[from..].chars().flat_map(escaped).collect();
    let cut = if from > 0 { "…" } else { "" };
    let end = beginning(after.trim_end(), QUOTED_CHARS - start.chars().count());
    format!("`{cut}{start}{end}`")
}

/// At most so many characters of a text, escaped, with `…` where it goes on.
fn beginning(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().take(most).flat_map(escaped).take(most).collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// A character without control characters. Quotation marks stay as they are; what replaced bytes that
/// are no text is escaped, too.
fn escaped(letter: char) -> impl Iterator<Item = char> {
    let is_mark = matches!(letter, '"' | '\'');
    let is_replacement = letter == char::REPLACEMENT_CHARACTER;
    let debug = (!is_mark && !is_replacement).then(|| letter.escape_debug());
    let unicode = is_replacement.then(|| letter.escape_unicode());
    let rest = debug.into_iter().flatten().chain(unicode.into_iter().flatten());
    is_mark.then_some(letter).into_iter().chain(rest)
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
        assert_eq!(quoted("it's \\ \n"), "`it's \\\\`");
        assert_eq!(printable("fine, `a` \u{9b}31m\r\n"), "fine, `a` \\u{9b}31m\\r\\n");
        assert_eq!(printable(&"é".repeat(500)).chars().count(), 401);
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(quoted_bytes(b" caf\xc3\xa9 \xe9\x00\x1b\n"), "`café \\xe9\\0\\u{1b}`");
        assert_eq!(quoted_bytes(&[0xff; 300]).chars().count(), 80 + 3);
        assert_eq!(quoted("a\u{fffd}"), "`a\\u{fffd}`");
    }

    #[test]
    fn a_faulty_field_is_shown_with_its_column_wherever_it_is() {
        let line = "7 malloc(x1)=0x10";
        let short = "`x1` at column 10 of `7 malloc(x1)=0x10`";
        assert_eq!(quoted_field(line, &line[9..11]), short);
        assert_eq!(quoted_field(line, line), "`7 malloc(x1)=0x10`");
        assert_eq!(quoted_field(line, "of another text"), "`7 malloc(x1)=0x10`");
        assert_eq!(quoted_field(line, &line[17..]), "nothing at column 18 of `7 malloc(x1)=0x10`");
        let long = format!("{}field{}", "é".repeat(1000), "y".repeat(1000));
        let found = quoted_field(&long, &long[2000..2005]);
        let around = format!("`…{}field{}…`", "é".repeat(30), "y".repeat(45));
        assert_eq!(found, format!("`field` at column 1001 of {around}"));
        // Escapes are longer than what they stand for, and the field is shown all the same.
        let long = format!("{}field\x07{}", "\x1b".repeat(200), "\x1b".repeat(200));
        let found = quoted_field(&long, &long[200..205]);
        assert!(found.contains("\\u{1b}field\\u{7}\\u{1b}"), "{found}");
        assert!(found.chars().count() < 150, "{found}");
        let long = "z".repeat(900_000);
        let found = quoted_field(&long, &long[4..899_000]);
        assert!(found.chars().count() < 160, "{found}");
    }
}
