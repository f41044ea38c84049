//! Finds the libpythons of this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Libraries of CPython by version, from pyenv and from the dynamic linker's list.
pub fn find(minor: u32) -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root =
        root.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")));
    let versions =
        root.into_iter().filter_map(|root| std::fs::read_dir(root.join("versions")).ok());
    let folders =
        versions.flatten().filter_map(Result::ok).map(|version| version.path().join("lib"));
    let names = [format!("libpython3.{minor}.so.1.0"), format!("libpython3.{minor}m.so.1.0")];
    let mut found: Vec<PathBuf> = folders
        .flat_map(|lib| names.clone().map(|name| lib.join(name)))
        .filter(|path| path.is_file())
        .collect();
    if let Ok(told) = Command::new("ldconfig").arg("-p").output() {
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let paths = text.lines().filter_map(|line| line.split(" => ").nth(1));
        found.extend(
            paths.filter(|path| names.iter().any(|name| path.ends_with(name))).map(PathBuf::from),
        );
    }
    found.sort();
    found.dedup();
    found
}
