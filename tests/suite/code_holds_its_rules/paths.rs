//! Paths of the repository that comments and documents name.

/// The folders whose paths are recognised.
const FOLDERS: [&str; 8] =
    ["src/", "tests/", "scripts/", "docs/", "benches/", "fuzz/", "recorder/", "examples/"];

/// Paths in other repositories: of somebody's allocator, and of tcmalloc.
const ELSEWHERE: [&str; 2] = ["benches/heaplay.rs", "docs/rseq.md"];

/// `path:line: name` of each path that a text names and that does not exist.
pub fn missing(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let names = line.split(|c: char| !c.is_alphanumeric() && !"_./-".contains(c));
        for name in names.map(|name| name.trim_end_matches(['.', '/', '-'])) {
            let is_path = FOLDERS.iter().any(|folder| name.starts_with(folder));
            if is_path && !ELSEWHERE.contains(&name) && !exists(name) {
                found.push(format!("{path}:{}: {name}", index + 1));
            }
        }
    }
    found
}

#[test]
fn a_path_is_missing_when_nothing_has_its_name() {
    let text = "`src/a.rs`, src/b.rs.\nsee (docs/c/) and target/src/d.rs; http://e/src/f.rs, src/";
    let found = missing("x.md", text, |name| ["src/a.rs", "docs/c"].contains(&name));
    assert_eq!(found, ["x.md:1: src/b.rs"]);
}
