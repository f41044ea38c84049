//! Rust source as tokens: enough of the language for the checks, without comments.

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Identifier,
    /// A string literal of any form; its text is what stands between the quotes.
    Text,
    /// `::`, or one character of punctuation.
    Punctuation,
    /// A number, a character or a lifetime.
    Other,
}

/// A token, with the line on which it begins, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub text: String,
    pub line: usize,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.kind != TokenKind::Text && self.text == text
    }
}

/// The tokens of a source file.
pub fn lex(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next() {
        tokens.push(token);
    }
    tokens
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn take(&mut self, count: usize) -> String {
        let end = (self.at + count).min(self.chars.len());
        let text: String = self.chars[self.at..end].iter().collect();
        self.line += text.matches('\n').count();
        self.at = end;
        text
    }

    fn next(&mut self) -> Option<Token> {
        self.skip_blanks_and_comments();
        let line = self.line;
        let first = *self.chars.get(self.at)?;
        let (kind, text) = if let Some((open, hashes)) = self.raw_string() {
            (TokenKind::Text, self.take_raw_string(open, hashes))
        } else if first == '"' || (matches!(first, 'b' | 'c') && self.peek(1) == '"') {
            self.take(if first == '"' { 1 } else { 2 });
            (TokenKind::Text, self.take_string())
        } else if first == 'b' && self.peek(1) == '\'' {
            self.take(1);
            (TokenKind::Other, self.take_quote())
        } else if first.is_alphabetic() || first == '_' {
            (TokenKind::Identifier, self.take_word())
        } else if first.is_numeric() {
            (TokenKind::Other, self.take_word())
        } else if first == '\'' {
            (TokenKind::Other, self.take_quote())
        } else if first == ':' && self.peek(1) == ':' {
            (TokenKind::Punctuation, self.take(2))
        } else {
            (TokenKind::Punctuation, self.take(1))
        };
        Some(Token { kind, text, line })
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            match (self.peek(0), self.peek(1)) {
                ('/', '/') => {
                    while !matches!(self.peek(0), '\n' | '\0') {
                        self.take(1);
                    }
                }
                ('/', '*') => self.skip_block_comment(),
                (blank, _) if blank.is_whitespace() => drop(self.take(1)),
                _ => return,
            }
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.take(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.take(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => drop(self.take(1)),
            }
        }
    }

    /// The length of what opens a raw string here, and its number of hashes.
    fn raw_string(&self) -> Option<(usize, usize)> {
        let prefix = usize::from(matches!(self.peek(0), 'b' | 'c'));
        if self.peek(prefix) != 'r' {
            return None;
        }
        let hashes = (0..).take_while(|&k| self.peek(prefix + 1 + k) == '#').count();
        (self.peek(prefix + 1 + hashes) == '"').then_some((prefix + 2 + hashes, hashes))
    }

    fn take_raw_string(&mut self, open: usize, hashes: usize) -> String {
        self.take(open);
        let ends =
            |at: usize| self.peek(at) == '"' && (0..hashes).all(|k| self.peek(at + 1 + k) == '#');
        let rest = self.chars.len() - self.at;
        let length = (0..rest).find(|&at| ends(at)).unwrap_or(rest);
        let text = self.take(length);
        self.take(1 + hashes);
        text
    }

    /// The rest of a string whose opening quote was taken.
    fn take_string(&mut self) -> String {
        let mut text = String::new();
        while self.at < self.chars.len() && self.peek(0) != '"' {
            text += &self.take(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.take(1);
        text
    }

    fn take_word(&mut self) -> String {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let length = (0..).take_while(|&k| is_part(self.peek(k))).count();
        self.take(length)
    }

    /// A character or a lifetime.
    fn take_quote(&mut self) -> String {
        if self.peek(1) == '\\' {
            let length = (3..).take_while(|&k| !matches!(self.peek(k), '\'' | '\0')).count();
            return self.take(length + 4);
        }
        if self.peek(2) == '\'' {
            return self.take(3);
        }
        self.take(1) + &self.take_word()
    }
}

/// The tokens without items that are compiled for tests only.
pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut remaining = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            at = end_of_item(tokens, at);
        } else {
            remaining.push(tokens[at].clone());
            at += 1;
        }
    }
    remaining
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    let texts = ["#", "[", "cfg", "(", "test", ")", "]"];
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.is(text))
}

/// The index after the item that begins here with an attribute: after its `;` or its last brace.
fn end_of_item(tokens: &[Token], begin: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(begin) {
        if token.kind == TokenKind::Text {
            continue;
        }
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1 + usize::from(tokens.get(at + 1).is_some_and(|t| t.is(";")));
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[test]
fn comments_texts_characters_and_lifetimes_are_no_code() {
    let source = "a /* b /* c */ \" */ // d \"\nfn f<'a>(x: &'a str) -> char { '\"' } \
                  b\"e\\\"f\" r#\"g\"h\"# '\\'' '\\u{1F}' 1_000u64 i::j";
    let tokens = lex(source);
    let texts: Vec<&str> = tokens
        .iter()
        .filter(|token| token.kind == TokenKind::Text)
        .map(|token| token.text.as_str())
        .collect();
    assert_eq!(texts, ["e\\\"f", "g\"h"]);
    let identifiers: Vec<&str> = tokens
        .iter()
        .filter(|token| token.kind == TokenKind::Identifier)
        .map(|token| token.text.as_str())
        .collect();
    assert_eq!(identifiers, ["a", "fn", "f", "x", "str", "char", "i", "j"]);
    assert_eq!(tokens[1].line, 2);
    assert!(tokens.iter().any(|token| token.is("'\\''")) && tokens.iter().any(|t| t.is("::")));
}

#[test]
fn items_for_tests_are_left_out() {
    let source = "fn a() {} #[cfg(test)] mod tests { fn b() { [1]; } } fn c() {}\n\
                  #[cfg(test)] mod far; #[cfg(test)] use d::{e, f}; fn g() {}";
    let code: String =
        without_tests(&lex(source)).iter().map(|token| token.text.as_str()).collect();
    assert_eq!(code, "fna(){}fnc(){}fng(){}");
}
