//! Holds the source against ARCHITECTURE.md: who may import whom, and that each file says what room
//! it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The table under "Who may import whom".
fn law() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text.split("## Who may import whom").nth(1).expect("the section is there");
    section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let may = cells[2]
                .split(',')
                .map(str::trim)
                .filter(|room| !room.is_empty())
                .map(str::to_owned)
                .collect();
            (cells[1].to_owned(), may)
        })
        .collect()
}

/// The room of a file: the first folder or file name under `src`.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .trim_end_matches(".rs")
        .to_owned()
}

#[test]
fn imports_keep_the_law() {
    let law = law();
    assert!(law.len() >= 10, "the table was not found: {law:?}");
    let mut broken = Vec::new();
    let mut rooms = BTreeSet::new();
    for path in sources(&root().join("src")) {
        let own = room(&path);
        if ["lib", "main", "recorder"].contains(&own.as_str()) {
            continue;
        }
        let may = law.get(&own).unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for `{own}`"));
        rooms.insert(own.clone());
        let text = fs::read_to_string(&path).unwrap();
        // What tests inside a file import is their own affair.
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (number, line) in
            text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for rest in line.split("crate::").skip(1) {
                let other: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if law.contains_key(&other) && other != own && !may.contains(&other) {
                    broken.push(format!(
                        "{}:{}: `{own}` imports `{other}`",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert_eq!(rooms, law.keys().cloned().collect(), "rooms in the source and in the table");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_file_says_what_room_it_is() {
    for folder in ["src", "tests"] {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//!"), "{} does not open with what it is", path.display());
        }
    }
}
