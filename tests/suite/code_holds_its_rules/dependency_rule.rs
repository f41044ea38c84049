//! Which module may import which: the table in ARCHITECTURE.md, and what the source does.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::Imports;

/// For each module, those that it may import.
pub type Rule = BTreeMap<String, BTreeSet<String>>;

/// Reads the table of a document: the one whose second column is `may import`.
pub fn rule(document: &str) -> Rule {
    let is_head = |line: &&str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells.len() == 4 && cells[2] == "may import"
    };
    let rows = document.lines().skip_while(|line| !is_head(line)).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(|cell| cell.trim()).collect();
            let names = |cell: &str| -> BTreeSet<String> {
                let names = cell.split(',').map(|name| name.trim().trim_matches('`'));
                names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
            };
            (cells[1].trim_matches('`').to_owned(), names(cells[2]))
        })
        .collect()
}

/// The module of a file: the first folder or file name below `src`.
pub fn module(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// Files that are in no module: they may import all, or are compiled by themselves.
pub const APART: [&str; 4] = ["lib", "main", "observer", "recorder"];

/// `path: imports …` for each import that the rule does not allow.
pub fn broken(rule: &Rule, imports: &Imports) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, imported) in &imports.edges {
        let own = module(path);
        for other in imported {
            let is_allowed = rule.get(own).is_some_and(|may| may.contains(module(other)));
            if !APART.contains(&own) && module(other) != own && !is_allowed {
                broken.push(format!("{path}: imports {other}"));
            }
        }
    }
    broken
}

#[cfg(test)]
mod counting {
    use super::*;
    use crate::code_holds_its_rules::source::RustFile;

    #[test]
    fn an_import_that_is_not_in_the_table_breaks_the_rule() {
        let rule = rule(
            "# A\n\n| module | may import |\n|---|---|\n| a | |\n| `b` | a, `c` |\n| c | |\n\nend",
        );
        assert_eq!(rule.len(), 3);
        let files = [
            RustFile::new("src/lib.rs", "pub mod a; use a::A;"),
            RustFile::new("src/a.rs", "use crate::b::B;"),
            RustFile::new("src/b.rs", "use crate::a::A; use crate::c::C;"),
            RustFile::new("src/c/mod.rs", "pub use one::C;"),
            RustFile::new("src/c/one.rs", "pub struct C;"),
        ];
        assert_eq!(broken(&rule, &Imports::of(&files)), ["src/a.rs: imports src/b.rs"]);
    }
}
