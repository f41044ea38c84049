//! The interpreters of this machine that can be recorded, found at run time: those of PATH and of
//! pyenv.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;

/// The minor versions of CPython 3 that the recorder knows.
pub const MINORS: RangeInclusive<u32> = 7..=13;

/// Every interpreter found that can be recorded: minor version and file. Tells which versions are
/// missing.
pub fn find() -> Vec<(u32, PathBuf)> {
    find_of(MINORS)
}

/// Every interpreter found of these minor versions.
pub fn find_of(minors: RangeInclusive<u32>) -> Vec<(u32, PathBuf)> {
    let mut found = BTreeMap::new();
    for candidate in candidates(&minors) {
        let Some((version, file)) = ask(&candidate, &minors) else { continue };
        found.entry((version, file.clone())).or_insert(candidate);
    }
    let found: Vec<_> =
        found.into_iter().map(|((minor, _), candidate)| (minor, candidate)).collect();
    for minor in minors {
        if !found.iter().any(|(version, _)| *version == minor) {
            println!("skipped: no CPython 3.{minor} was found");
        }
    }
    found
}

/// Any one of them, the newest; `None`, told, where there is none.
pub fn any() -> Option<PathBuf> {
    let last = find().pop();
    if last.is_none() {
        println!("skipped: no CPython was found");
    }
    last.map(|(_, path)| path)
}

fn candidates(minors: &RangeInclusive<u32>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        for minor in minors.clone() {
            found.push(directory.join(format!("python3.{minor}")));
        }
        found.push(directory.join("python3"));
    }
    let root = Command::new("pyenv").arg("root").output();
    let root = root.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let versions = root.map(|root| PathBuf::from(root).join("versions"));
    for version in versions.and_then(|path| path.read_dir().ok()).into_iter().flatten().flatten() {
        found.push(version.path().join("bin/python3"));
    }
    found.retain(|path| path.is_file());
    found
}

/// Minor version and true file of an interpreter that runs, has a GIL, and is known.
fn ask(python: &PathBuf, minors: &RangeInclusive<u32>) -> Option<(u32, PathBuf)> {
    let script = "import sys, sysconfig; print(sys.version_info[1], sysconfig.get_config_var('Py_GIL_DISABLED') or 0, \
                  sys.executable, sep='\\n')";
    let output = Command::new(python).args(["-I", "-S", "-c", script]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines();
    let minor = lines.next()?.parse().ok().filter(|minor| minors.contains(minor))?;
    let has_gil = lines.next()? == "0";
    let file = std::fs::canonicalize(lines.next()?).ok()?;
    has_gil.then_some((minor, file))
}
