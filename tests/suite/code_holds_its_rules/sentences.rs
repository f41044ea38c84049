//! How long the sentences of a document are. A sentence is counted in paragraphs and items of
//! lists; headings, tables, code blocks and pictures have none.

/// The sentences of a Markdown text: the line on which each begins, and its words. A span of code
/// is one word.
pub fn sentences(markdown: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (line, block) in blocks(markdown) {
        let mut begin = None;
        let mut words = 0;
        for (at_line, text) in (line..).zip(block.split_inclusive('\n')) {
            for word in plain(text).split_whitespace() {
                if word.chars().any(char::is_alphanumeric) {
                    begin.get_or_insert(at_line);
                    words += 1;
                }
                if ends_sentence(word) && words > 0 {
                    found.push((begin.take().unwrap_or(at_line), words));
                    words = 0;
                }
            }
        }
        if words > 0 {
            found.push((begin.unwrap_or(line), words));
        }
    }
    found
}

/// Words that end with a full stop and no sentence.
const ABBREVIATIONS: [&str; 4] = ["e.g.", "i.e.", "cf.", "vs."];

fn ends_sentence(word: &str) -> bool {
    let bare = word.trim_end_matches(['"', ')', '*', '_', '”', '’', ']']);
    bare.ends_with(['.', '!', '?', '…']) && !ABBREVIATIONS.contains(&bare)
}

/// Paragraphs and items of lists, each with its first line. Spans of code become one word each.
fn blocks(markdown: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let (mut is_fenced, mut is_open, mut is_list) = (false, false, false);
    for (index, line) in markdown.lines().enumerate() {
        let text = line.trim();
        if text.starts_with("```") {
            is_fenced = !is_fenced;
            is_open = false;
            continue;
        }
        is_list &= text.is_empty() || is_open || line.starts_with(' ');
        let is_code = is_fenced || line.starts_with("    ") && !is_open && !is_list;
        let is_none = text.is_empty() || ["#", "|", "![", "<"].iter().any(|s| text.starts_with(s));
        if is_code || is_none {
            is_open = false;
            continue;
        }
        let item = item(text);
        is_list |= item.is_some();
        match blocks.last_mut().filter(|_| is_open && item.is_none()) {
            Some((_, block)) => block.push_str(text),
            None => blocks.push((index + 1, item.unwrap_or(text).to_owned())),
        }
        if let Some((_, block)) = blocks.last_mut() {
            block.push('\n');
        }
        is_open = true;
    }
    blocks.into_iter().map(|(line, text)| (line, code_in_one_piece(&text))).collect()
}

/// The text of an item of a list.
fn item(text: &str) -> Option<&str> {
    let rest = ["- ", "* ", "+ "].iter().find_map(|mark| text.strip_prefix(mark));
    rest.or_else(|| {
        let (number, rest) = text.split_once(". ")?;
        (!number.is_empty() && number.chars().all(|c| c.is_ascii_digit())).then_some(rest)
    })
}

/// Replaces each span of code by a single word. A line break in it stays.
fn code_in_one_piece(block: &str) -> String {
    let mut parts = block.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let (Some(code), Some(rest)) = (parts.next(), parts.next()) {
        text.push_str("code");
        text.extend(code.chars().filter(|c| *c == '\n'));
        text.push_str(rest);
    }
    text
}

/// A line without the addresses of links.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text + rest
}

/// The mean length of sentences in words, and the share of those above 35, in per cent.
pub fn mean_and_long_share(lengths: &[usize]) -> (f64, f64) {
    let count = lengths.len().max(1) as f64;
    let mean = lengths.iter().sum::<usize>() as f64 / count;
    let long = lengths.iter().filter(|words| **words > 35).count() as f64;
    (mean, 100.0 * long / count)
}

#[cfg(test)]
mod counting {
    use super::*;

    #[test]
    fn sentences_are_those_of_paragraphs_and_items() {
        let text = "# A heading of five words.\n\n\
            One two three. Four `five and. six` [seven\neight](https://a.b/c.d).\n\n\
            - An item\n  of four.\n- Another one\n\nA clone:\n\n    code is. none\n\n\
            | a. | table. |\n\n1. First!\n2. (See 2.5 MiB.)\n\n\
            ```\nfenced. code.\n```\nLast 2 % — of e.g. them: all?\n";
        assert_eq!(
            sentences(text),
            [(3, 3), (3, 4), (6, 4), (8, 2), (10, 2), (16, 1), (17, 3), (22, 6)]
        );
    }

    #[test]
    fn code_after_a_paragraph_is_no_sentence() {
        assert_eq!(
            sentences("From a clone:\n\n    cargo run. --release\n\nIt runs.\n"),
            [(1, 3), (5, 2)]
        );
    }

    #[test]
    fn means_and_shares() {
        assert_eq!(mean_and_long_share(&[10, 20, 36, 34]), (25.0, 25.0));
        assert_eq!(mean_and_long_share(&[]), (0.0, 0.0));
    }
}
