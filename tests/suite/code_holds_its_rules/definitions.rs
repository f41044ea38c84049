//! What a file defines: names of types, and whether there is more than declarations in it.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer::TokenKind;
use super::source::RustFile;

/// The names of types that a file defines. Associated types are none.
pub fn types(file: &RustFile) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // For each open brace, whether it opened an inline module.
    let mut open: Vec<bool> = Vec::new();
    for (at, token) in file.tokens.iter().enumerate() {
        let next = |ahead: usize| file.tokens.get(at + ahead);
        let named = next(1).filter(|token| token.kind == TokenKind::Identifier);
        match token.text.as_str() {
            _ if token.kind == TokenKind::Text => {}
            "{" => open.push(at >= 2 && file.tokens[at - 2].is("mod")),
            "}" => drop(open.pop()),
            "type" if open.contains(&false) => {}
            "struct" | "enum" | "trait" | "type" => {
                found.extend(named.map(|token| token.text.clone()));
            }
            // A name that is a keyword only here.
            "union" if next(2).is_some_and(|token| token.is("{") || token.is("<")) => {
                found.extend(named.map(|token| token.text.clone()));
            }
            _ => {}
        }
    }
    found
}

/// For each name of a type, the files that define it.
pub fn files_by_type(files: &[RustFile]) -> BTreeMap<String, Vec<&str>> {
    let mut by_type = BTreeMap::<String, Vec<&str>>::new();
    for file in files {
        for name in types(file) {
            by_type.entry(name).or_default().push(&file.path);
        }
    }
    by_type
}

/// Keywords of items that are more than a declaration of modules and what they make known.
const LOGIC: [&str; 9] =
    ["fn", "struct", "enum", "trait", "impl", "static", "const", "type", "macro_rules"];

/// The lines of a file that begin an item with logic.
pub fn logic(file: &RustFile) -> Vec<usize> {
    let is_logic = |text: &str| LOGIC.contains(&text);
    let items = file
        .tokens
        .iter()
        .filter(|token| token.kind == TokenKind::Identifier && is_logic(&token.text));
    items.map(|token| token.line).collect()
}

#[cfg(test)]
mod counting {
    use super::*;

    #[test]
    fn types_are_counted_by_name_and_associated_ones_are_not() {
        let source = "pub struct One; pub(crate) enum Two {} trait Three { type Item; } \
                      impl Three for One { type Item = u8; } type Four = u8; \
                      mod inside { type Five = u8; struct Six { union: u8 } } \
                      fn f() { struct Seven; a.union(b); \"struct Eight\"; } // struct Nine";
        let file = RustFile::new("src/a.rs", source);
        let found: Vec<String> = types(&file).into_iter().collect();
        assert_eq!(found, ["Five", "Four", "One", "Seven", "Six", "Three", "Two"]);
        let files = [file, RustFile::new("src/b.rs", "struct One; struct Own;")];
        let by_type = files_by_type(&files);
        assert_eq!(by_type["One"], ["src/a.rs", "src/b.rs"]);
        assert_eq!(by_type["Own"], ["src/b.rs"]);
    }

    #[test]
    fn modules_and_exports_are_no_logic() {
        let file = RustFile::new("src/a/mod.rs", "//! fn\nmod b;\npub use b::B;\n");
        assert!(logic(&file).is_empty());
        let file = RustFile::new("src/a/mod.rs", "mod b;\n\npub const C: u8 = 1;\nfn f() {}\n");
        assert_eq!(logic(&file), [3, 4]);
    }
}
