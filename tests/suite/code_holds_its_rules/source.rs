//! The files of the repository that the checks read, and what they do with what they find.

use std::fs;
use std::path::{Path, PathBuf};

use super::lexer::{Token, lex, without_tests};

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Rust file: its path from the top of the repository, with `/`, and its tokens.
pub struct RustFile {
    pub path: String,
    /// Without what is compiled for tests only.
    pub tokens: Vec<Token>,
}

impl RustFile {
    pub fn new(path: &str, source: &str) -> RustFile {
        RustFile { path: path.to_owned(), tokens: without_tests(&lex(source)) }
    }
}

/// The Rust files below `src`.
pub fn rust_files() -> Vec<RustFile> {
    text_files(&["src"])
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .map(|(path, text)| RustFile::new(&path, &text))
        .collect()
}

/// Folders whose content is not written by hand.
const LEFT_OUT: [&str; 5] =
    ["target", "fuzz/corpus", "fuzz/artifacts", "tests/samples", "tests/golden"];

/// Every text file below these files and folders, with its content; sorted by path.
pub fn text_files(below: &[&str]) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    below.iter().for_each(|name| collect(&root().join(name), &mut paths));
    paths.sort();
    paths.dedup();
    let text = |path: PathBuf| {
        let text = String::from_utf8(fs::read(&path).ok()?).ok()?;
        let name = path.strip_prefix(root()).ok()?.to_str()?.to_owned();
        Some((name, text))
    };
    paths.into_iter().filter_map(text).collect()
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    let is_left_out = LEFT_OUT.iter().any(|folder| path.ends_with(folder));
    if path.is_file() {
        found.push(path.to_owned());
    } else if path.is_dir() && !is_left_out && !path.ends_with("__pycache__") {
        let entries = fs::read_dir(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        entries.flatten().for_each(|entry| collect(&entry.path(), found));
    }
}

/// Offenders that a message shows; all of them are in a file of the target folder.
const SHOWN: usize = 60;

/// Fails when there are more offenders than `most`. An offender begins with its path, up to a `:`.
#[track_caller]
pub fn assert_at_most(most: usize, rule: &str, offenders: &[String]) {
    if offenders.len() <= most {
        return;
    }
    let mut by_file = std::collections::BTreeMap::<&str, usize>::new();
    for offender in offenders {
        *by_file.entry(offender.split(':').next().unwrap_or_default()).or_default() += 1;
    }
    let mut by_file: Vec<_> = by_file.into_iter().collect();
    by_file.sort_by_key(|(path, count)| (std::cmp::Reverse(*count), *path));
    let more_files = by_file.len().saturating_sub(SHOWN);
    by_file.truncate(SHOWN);
    let counts: Vec<String> =
        by_file.iter().map(|(path, count)| format!("{count:6}  {path}")).collect();
    let list = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{}.txt", rule.split(':').next().unwrap_or_default().replace(' ', "-")));
    fs::write(&list, offenders.join("\n") + "\n").expect("the target folder can be written");
    let shown = &offenders[..offenders.len().min(SHOWN)];
    let more = offenders.len() - shown.len();
    panic!(
        "{rule}\n{} found, {most} allowed; by file:\n{}\n{}\n\
         {more} more, in {more_files} more files; all of them: {}",
        offenders.len(),
        counts.join("\n"),
        shown.join("\n"),
        list.display()
    );
}
