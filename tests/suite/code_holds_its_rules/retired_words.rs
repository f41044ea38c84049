//! Words that the project does not use, each with the word to use instead. The table is
//! `scripts/retired-words.txt`, which explains its form.

use super::lexer::{Token, TokenKind, lex};

/// A word, or several that follow each other, in lower case.
type Phrase = Vec<String>;

/// A line of the table.
struct Entry {
    retired: Vec<Phrase>,
    /// Retired in identifiers of Rust code only.
    retired_in_code: Vec<Phrase>,
    /// Retired as a whole identifier of Rust code, letter case included.
    retired_names: Vec<String>,
    instead: String,
    allowed: Vec<Phrase>,
}

/// A phrase that a file may use, since it has to name something old.
struct Exception {
    path: String,
    phrase: Phrase,
}

/// The table.
pub struct RetiredWords {
    entries: Vec<Entry>,
    exceptions: Vec<Exception>,
}

impl RetiredWords {
    /// Reads the table; a fault names its line.
    pub fn parse(table: &str) -> Result<RetiredWords, String> {
        let mut words = RetiredWords { entries: Vec::new(), exceptions: Vec::new() };
        for (index, line) in table.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fault = |what: &str| format!("line {}: {what}: {line}", index + 1);
            if let Some(rest) = line.strip_prefix("file ") {
                let (path, list) = rest.split_once(':').ok_or_else(|| fault("no `:`"))?;
                words.exceptions.extend(
                    phrases(list).map(|phrase| Exception { path: path.trim().to_owned(), phrase }),
                );
                continue;
            }
            let mut columns = line.split('|');
            let retired = columns.next().unwrap_or_default();
            let instead = columns.next().ok_or_else(|| fault("no word to use instead"))?;
            let retired: Vec<&str> = retired.split(',').map(str::trim).collect();
            let after = |prefix: &'static str| {
                retired.iter().filter_map(move |word| word.strip_prefix(prefix))
            };
            words.entries.push(Entry {
                retired: retired
                    .iter()
                    .filter(|word| !word.contains(':'))
                    .copied()
                    .map(parts_of)
                    .collect(),
                retired_in_code: after("code:").map(parts_of).collect(),
                retired_names: after("name:").map(str::to_owned).collect(),
                instead: instead.trim().to_owned(),
                allowed: columns.next().map_or(Vec::new(), |list| phrases(list).collect()),
            });
        }
        Ok(words)
    }

    /// `path:line: word → the word to use` for each retired word in a text.
    pub fn find(&self, path: &str, text: &str) -> Vec<String> {
        let parts = parts(text);
        let names = if path.ends_with(".rs") { identifiers(text) } else { Vec::new() };
        let code: Vec<Part> = names.iter().flat_map(parts_of_name).collect();
        let mut found: Vec<(usize, String)> = Vec::new();
        for entry in &self.entries {
            let anywhere = entry.retired.iter().map(|phrase| (phrase, &parts));
            let in_code = entry.retired_in_code.iter().map(|phrase| (phrase, &code));
            for (phrase, parts) in anywhere.chain(in_code) {
                let is_free = |at: &usize| !self.is_allowed(entry, path, parts, *at);
                found.extend(places(parts, phrase).filter(is_free).map(|at| {
                    let (word, instead) = (phrase.join(" "), &entry.instead);
                    (parts[at].line, format!("{path}:{}: {word} → {instead}", parts[at].line))
                }));
            }
        }
        for entry in &self.entries {
            let named = names.iter().filter(|name| entry.retired_names.contains(&name.text));
            found.extend(named.map(|name| {
                (name.line, format!("{path}:{}: {} → {}", name.line, name.text, entry.instead))
            }));
        }
        found.sort();
        found.dedup();
        found.into_iter().map(|(_, text)| text).collect()
    }

    /// Whether the part lies within a phrase that is allowed.
    fn is_allowed(&self, entry: &Entry, path: &str, parts: &[Part], at: usize) -> bool {
        let own = self.exceptions.iter().filter(|exception| exception.path == path);
        let mut allowed = entry.allowed.iter().chain(own.map(|exception| &exception.phrase));
        allowed.any(|phrase| {
            let first = at.saturating_sub(phrase.len() - 1);
            (first..=at).any(|begin| stands_at(parts, phrase, begin))
        })
    }

    /// Exceptions that no text makes use of, given which phrases each path has.
    pub fn unused_exceptions(&self, text_of: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let unused = self.exceptions.iter().filter(|exception| {
            let text = text_of(&exception.path);
            text.is_none_or(|text| places(&parts(&text), &exception.phrase).next().is_none())
        });
        unused.map(|one| format!("{}: {}", one.path, one.phrase.join(" "))).collect()
    }
}

fn phrases(list: &str) -> impl Iterator<Item = Phrase> {
    list.split(',').map(parts_of).filter(|phrase| !phrase.is_empty())
}

fn parts_of(text: &str) -> Phrase {
    parts(text).into_iter().map(|part| part.word).collect()
}

/// A word of a text in lower case; `HeatMap`, `heat_map` and `heat map` are two words each.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    word: String,
    line: usize,
    /// Whether it belongs to the word before: nothing but blanks, quotes and joints lie between.
    follows: bool,
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let (mut line, mut follows, mut is_open) = (1, false, false);
    let mut before = ' ';
    let chars: Vec<char> = text.chars().collect();
    for (at, &c) in chars.iter().enumerate() {
        // The letter of an escape in a text, as in `\n`, belongs to no word.
        let is_escape = before == '\\' && "nrt".contains(c);
        if c.is_alphanumeric() && !is_escape {
            let next = chars.get(at + 1).copied().unwrap_or(' ');
            let is_hump = c.is_uppercase() && (before.is_lowercase() || next.is_lowercase());
            let is_number = c.is_numeric() != before.is_numeric();
            if !is_open || is_hump && before.is_alphabetic() || is_number {
                parts.push(Part { word: String::new(), line, follows: is_open || follows });
            }
            if let Some(part) = parts.last_mut() {
                part.word.extend(c.to_lowercase());
            }
            (is_open, follows) = (true, true);
        } else {
            is_open = false;
            follows &= c.is_whitespace() || is_escape || "_-/!#*`'\"\\".contains(c);
            line += usize::from(c == '\n');
        }
        before = c;
    }
    parts
}

/// The identifiers in code, outside comments and texts.
fn identifiers(source: &str) -> Vec<Token> {
    let tokens = lex(source).into_iter();
    tokens.filter(|token| token.kind == TokenKind::Identifier).collect()
}

fn parts_of_name(name: &Token) -> Vec<Part> {
    let line = name.line;
    parts(&name.text).into_iter().map(|part| Part { line, ..part }).collect()
}

fn stands_at(parts: &[Part], phrase: &Phrase, begin: usize) -> bool {
    let Some(here) = parts.get(begin..begin + phrase.len()) else { return false };
    here.iter().zip(phrase).all(|(part, word)| part.word == *word)
        && here.iter().skip(1).all(|part| part.follows)
}

fn places<'a>(parts: &'a [Part], phrase: &'a Phrase) -> impl Iterator<Item = usize> + 'a {
    (0..parts.len()).filter(move |&begin| stands_at(parts, phrase, begin))
}

#[cfg(test)]
mod counting {
    use super::*;

    const TABLE: &str = "# comment\n\nfrob, frobs | widget | frob map\n\
                         by flaps, code:flap, name:Glorps | slice |\nfile src/old.rs: frobs\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        RetiredWords::parse(TABLE).unwrap().find(path, text)
    }

    #[test]
    fn words_are_found_in_prose_and_in_identifiers() {
        assert_eq!(
            found("a.md", "A frob.\nfrob_count, FrobCount; the FROBS and frobnicate"),
            ["a.md:1: frob → widget", "a.md:2: frob → widget", "a.md:2: frobs → widget"]
        );
    }

    #[test]
    fn phrases_may_cross_a_line_and_not_a_sentence() {
        assert_eq!(found("a.md", "they run by\n/// flaps"), ["a.md:1: by flaps → slice"]);
        assert!(found("a.md", "they come by. Flaps are over").is_empty());
        assert!(found("a.md", "it flaps, by a flap").is_empty());
    }

    #[test]
    fn allowed_phrases_protect_only_themselves() {
        assert_eq!(
            found("a.md", "a frob map, FrobMap, frob-map, a map of a frob"),
            ["a.md:1: frob → widget"]
        );
        assert!(found("src/old.rs", "frobs").is_empty());
        assert_eq!(found("src/new.rs", "frobs").len(), 1);
    }

    #[test]
    fn words_of_code_are_found_in_identifiers_of_rust_only() {
        let source =
            "let flap_calls = 1; // it may flap\nf(\"flap\");\nstruct AFlap; Glorps glorps";
        assert_eq!(
            found("src/a.rs", source),
            ["src/a.rs:1: flap → slice", "src/a.rs:3: Glorps → slice", "src/a.rs:3: flap → slice"]
        );
        assert!(found("a.py", "flap = 1").is_empty());
    }

    #[test]
    fn faults_of_the_table_and_exceptions_without_use_are_named() {
        assert!(RetiredWords::parse("frob widget").err().unwrap().contains("line 1"));
        let words = RetiredWords::parse(TABLE).unwrap();
        assert_eq!(words.unused_exceptions(|_| None), ["src/old.rs: frobs"]);
        assert!(words.unused_exceptions(|_| Some("Frobs".into())).is_empty());
    }
}
