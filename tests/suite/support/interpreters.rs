//! The interpreters of this machine, found at run time: those of PATH and of pyenv.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::skip::skip;

/// The minor versions of CPython 3 that the recorder knows.
pub const RECORDABLE: RangeInclusive<u32> = 7..=15;
/// The minor versions of CPython 3 that any test knows.
const KNOWN: RangeInclusive<u32> = 6..=15;

/// Every interpreter found that can be recorded: minor version and file. A version that is missing
/// is a skip.
#[track_caller]
pub fn find() -> Vec<(u32, PathBuf)> {
    find_of(RECORDABLE)
}

/// Every interpreter found of these minor versions. A version that is missing is a skip.
#[track_caller]
pub fn find_of(minors: RangeInclusive<u32>) -> Vec<(u32, PathBuf)> {
    let of_range = found().iter().filter(|(minor, _)| minors.contains(minor));
    let found: Vec<_> = of_range.cloned().collect();
    for minor in minors {
        if !found.iter().any(|(version, _)| *version == minor) {
            let reason = format!("no CPython 3.{minor} with a GIL on the PATH or in pyenv");
            skip(&format!("python3.{minor}"), &reason);
        }
    }
    found
}

/// The newest that can be recorded; `None`, with a skip, where there is none.
#[track_caller]
pub fn any() -> Option<PathBuf> {
    let newest = found().iter().rfind(|(minor, _)| RECORDABLE.contains(minor));
    if newest.is_none() {
        skip("python3", "no CPython that can be recorded on the PATH or in pyenv");
    }
    newest.map(|(_, path)| path.clone())
}

/// The variable that names a free-threaded CPython 3.13, where it is not on the PATH.
const FREE_THREADED: &str = "HEAPLAY_TEST_PYTHON_3_13T";

/// A free-threaded CPython 3.13; `None`, with a skip, where there is none.
#[track_caller]
pub fn free_threaded() -> Option<PathBuf> {
    let named = std::env::var_os(FREE_THREADED).map(PathBuf::from);
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&folders).map(|folder| folder.join("python3.13t"));
    let found = named.into_iter().chain(on_path).find(|python| {
        let code = "import sys; print(sys.version_info[:2] == (3, 13), sys._is_gil_enabled())";
        let output = Command::new(python).args(["-I", "-S", "-c", code]).output();
        output.is_ok_and(|output| output.stdout == b"True False\n")
    });
    if found.is_none() {
        let reason = format!("no python3.13t on the PATH; {FREE_THREADED} may name one");
        skip("python3.13t", &reason);
    }
    found
}

/// All of them, looked for once: each file once, by minor version.
fn found() -> &'static [(u32, PathBuf)] {
    static FOUND: OnceLock<Vec<(u32, PathBuf)>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut found = BTreeMap::new();
        for candidate in candidates() {
            let Some((version, file)) = version_and_file(&candidate) else { continue };
            found.entry((version, file)).or_insert(candidate);
        }
        found.into_iter().map(|((minor, _), candidate)| (minor, candidate)).collect()
    })
}

fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        for minor in KNOWN {
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
fn version_and_file(python: &Path) -> Option<(u32, PathBuf)> {
    let script = "import sys, sysconfig\n\
                  has_no_gil = sysconfig.get_config_var('Py_GIL_DISABLED') or 0\n\
                  print(sys.version_info[1], has_no_gil, sys.executable, sep='\\n')";
    let output = Command::new(python).args(["-I", "-S", "-c", script]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines();
    let minor = lines.next()?.parse().ok().filter(|minor| KNOWN.contains(minor))?;
    let has_gil = lines.next()? == "0";
    let file = std::fs::canonicalize(lines.next()?).ok()?;
    has_gil.then_some((minor, file))
}
