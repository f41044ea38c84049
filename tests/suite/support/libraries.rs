//! The shared libraries of this machine: those of CPython, and installed allocators.

use std::path::{Path, PathBuf};
use std::process::Command;

use heaplay::backends::BACKENDS;

use super::skip::skip;

/// Every libpython of that minor version, from pyenv and from the dynamic linker's list. None is a
/// skip.
#[track_caller]
pub fn libpythons(minor: u32) -> Vec<PathBuf> {
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
    let linked = linked().into_iter().filter(|(name, _)| names.contains(name));
    found.extend(linked.map(|(_, path)| path));
    found.sort();
    found.dedup();
    if found.is_empty() {
        let reason = format!(
            "no {} in pyenv's versions or in `ldconfig -p`; \
             `PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.{minor}` provides it",
            names[0]
        );
        skip(&format!("libpython3.{minor}"), &reason);
    }
    found
}

/// One libpython of that minor version; `None`, with a skip, where there is none.
#[track_caller]
pub fn libpython(minor: u32) -> Option<PathBuf> {
    libpythons(minor).into_iter().next()
}

/// The path of an installed library; `None`, with a skip, where it is not installed.
#[track_caller]
pub fn installed(name: &str) -> Option<String> {
    let found = linked().into_iter().find(|(known, _)| known == name);
    if found.is_none() {
        skip(name, "it is not in `ldconfig -p`");
    }
    found.map(|(_, path)| path.display().to_string())
}

/// Name and path of each library in the dynamic linker's list.
fn linked() -> Vec<(String, PathBuf)> {
    let Ok(output) = Command::new("ldconfig").arg("-p").output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pairs = text.lines().filter_map(|line| line.split_once(" => "));
    pairs
        .filter_map(|(name, path)| Some((name.split_whitespace().next()?.to_owned(), path.into())))
        .collect()
}

/// Whether this build has the backend. A skip says so where it has not.
#[track_caller]
pub fn has_backend(name: &str) -> bool {
    let has = BACKENDS.iter().any(|member| member.name == name);
    if !has {
        let reason = format!("this build has no `{name}`: it is a feature of Cargo");
        skip(&format!("backend-{name}"), &reason);
    }
    has
}
