//! The rules of the codebase, computed from its text: which module imports which, one file for one
//! type name, no metric's name outside its table, the project's words, widths, and the length of
//! sentences. Each way of counting has tests on small made-up sources.

mod definitions;
mod dependency_rule;
mod imports;
mod lexer;
mod literals;
mod paths;
mod retired_words;
mod sentences;
mod source;

use std::fs;

use heaplay::results::Metric;

use definitions::{files_by_type, logic};
use imports::Imports;
use retired_words::RetiredWords;
use sentences::{mean_and_long_share, sentences};
use source::{assert_at_most, root, rust_files, text_files};

/// What is written by hand.
const WRITTEN: [&str; 25] = [
    "src",
    "tests",
    "benches",
    "fuzz",
    "examples",
    "recorder",
    "scripts",
    "python",
    "docs",
    "traces/README.md",
    "reports/README.md",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CITATION.cff",
    "Cargo.toml",
    "pyproject.toml",
    "action.yml",
    "Dockerfile",
    "deny.toml",
    "clippy.toml",
    "build.rs",
    ".ci",
    ".github",
];

/// Columns of a line at most.
const WIDEST: usize = 110;

/// A part of a count, in whole numbers: at most so many per cent of it.
fn per_cent(share: usize, of: usize) -> usize {
    of * share / 100
}

#[test]
fn imports_follow_the_dependency_rule() {
    let rule = dependency_rule::rule(
        &fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there"),
    );
    assert!(rule.len() >= 10, "the table in ARCHITECTURE.md was not found: {rule:?}");
    let files = rust_files();
    let broken = dependency_rule::broken(&rule, &Imports::of(&files));
    assert_at_most(0, "dependency rule: imports that ARCHITECTURE.md does not allow", &broken);
    let modules: std::collections::BTreeSet<&str> = files
        .iter()
        .map(|file| dependency_rule::module(&file.path))
        .filter(|module| !dependency_rule::APART.contains(module))
        .collect();
    let listed = rule.keys().map(String::as_str).collect();
    assert_eq!(modules, listed, "modules of the source and those of the table");
}

#[test]
fn files_seldom_import_each_other() {
    let files = rust_files();
    let imports = Imports::of(&files);
    let in_cycles: Vec<String> = imports
        .cycles()
        .into_iter()
        .flat_map(|cycle| {
            let within = |file: &String| {
                let own = imports.edges[file].iter().filter(|other| cycle.contains(other));
                format!("{file}: {}", own.map(String::as_str).collect::<Vec<_>>().join(" "))
            };
            cycle.iter().map(within).collect::<Vec<_>>()
        })
        .collect();
    assert_at_most(per_cent(5, files.len()), "import cycles: files in one", &in_cycles);
}

#[test]
fn a_type_name_is_defined_in_one_file() {
    let files = rust_files();
    let by_type = files_by_type(&files);
    let shared: Vec<String> = by_type
        .iter()
        .filter(|(_, files)| files.len() > 1)
        .map(|(name, files)| format!("{name}: {}", files.join(" ")))
        .collect();
    assert_at_most(per_cent(4, by_type.len()), "type names: defined in several files", &shared);
}

#[test]
fn mod_files_have_no_logic() {
    let offenders: Vec<String> = rust_files()
        .iter()
        .filter(|file| file.path.ends_with("/mod.rs"))
        .flat_map(|file| logic(file).into_iter().map(|line| format!("{}:{line}", file.path)))
        .collect();
    assert_at_most(0, "mod files: items in a mod.rs that are no declaration", &offenders);
}

#[test]
fn metrics_are_named_in_their_table_only() {
    let found: Vec<String> = rust_files()
        .iter()
        .filter(|file| file.path != "src/results/metric.rs")
        .flat_map(|file| literals::metric_names(file, |name| Metric::find(name).is_some()))
        .collect();
    assert_at_most(0, "metric names: literals, use Metric", &found);
}

#[test]
fn errors_are_not_recognised_by_their_text() {
    let found: Vec<String> = rust_files().iter().flat_map(literals::errors_by_text).collect();
    assert_at_most(0, "errors by text: match on a type", &found);
}

#[test]
fn no_retired_word_is_used() {
    let table = "scripts/retired-words.txt";
    let text = fs::read_to_string(root().join(table)).expect("it is there");
    let words = RetiredWords::parse(&text).unwrap_or_else(|why| panic!("{table}: {why}"));
    let found: Vec<String> = text_files(&WRITTEN)
        .iter()
        .filter(|(path, _)| path != table)
        .flat_map(|(path, text)| words.find(path, text))
        .collect();
    assert_at_most(0, &format!("retired words: {table} has the words to use"), &found);
    let unused = words.unused_exceptions(|path| fs::read_to_string(root().join(path)).ok());
    assert_at_most(0, "retired words without use: exceptions to delete", &unused);
}

#[test]
fn lines_are_narrow() {
    let code = ["rs", "py", "toml", "yml", "sh", "md", "js", "css"];
    let is_code = |path: &str| {
        path.rsplit_once('.').is_none_or(|(_, end)| code.contains(&end) || end.contains('/'))
    };
    let mut wide = Vec::new();
    for (path, text) in text_files(&WRITTEN).iter().filter(|(path, _)| is_code(path)) {
        // Tables and addresses in Markdown cannot be broken; generated pages have the help's lines.
        let is_whole = |line: &str| {
            path.starts_with("docs/reference/")
                || path.ends_with(".md")
                    && (line.trim_start().starts_with('|') || line.contains("]("))
        };
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !is_whole(line)) {
            let columns = line.chars().count();
            if columns > WIDEST {
                wide.push(format!("{path}:{}: {columns} columns", index + 1));
            }
        }
    }
    assert_at_most(0, &format!("wide lines: {WIDEST} columns at most"), &wide);
}

#[test]
fn sentences_of_documents_are_short() {
    let documents = [text_files(&["README.md"]), text_files(&["docs/method"])];
    for document in documents {
        let mut long = Vec::new();
        let mut lengths = Vec::new();
        for (path, text) in &document {
            let found = sentences(text);
            let own: Vec<usize> = found.iter().map(|(_, words)| *words).collect();
            let (mean, share) = mean_and_long_share(&own);
            println!("{path}: {} sentences, mean {mean:.1} words, {share:.1} % long", own.len());
            long.extend(
                found
                    .iter()
                    .filter(|(_, words)| *words > 35)
                    .map(|(line, words)| format!("{path}:{line}: {words} words")),
            );
            lengths.extend(own);
        }
        assert!(lengths.len() > 20, "the documents were not found");
        let (mean, _) = mean_and_long_share(&lengths);
        assert!(mean <= 18.0, "a sentence has {mean:.1} words on average, 18 are allowed");
        assert_at_most(per_cent(5, lengths.len()), "sentences: more than 35 words", &long);
    }
}

#[test]
fn paths_that_texts_name_exist() {
    let missing: Vec<String> = text_files(&WRITTEN)
        .iter()
        .filter(|(path, _)| !path.starts_with("tests/suite/code_holds_its_rules"))
        .flat_map(|(path, text)| paths::missing(path, text, |name| root().join(name).exists()))
        .collect();
    assert_at_most(0, "paths: named and not there", &missing);
}

#[test]
fn each_file_opens_with_what_it_is_for() {
    let without: Vec<String> = text_files(&["src", "tests", "benches"])
        .into_iter()
        .filter(|(path, text)| path.ends_with(".rs") && !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert_at_most(0, "opening lines: files without `//!`", &without);
}
