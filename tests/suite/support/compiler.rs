//! Builds small C programs and libraries for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::errors;
use super::skip::skip;

/// A shared library from C, `NAME.so` in the folder; `None`, with a skip, without a compiler.
#[track_caller]
pub fn library(folder: &Path, name: &str, source: &str) -> Option<PathBuf> {
    build(folder, name, "so", source, &["-shared", "-fPIC", "-O1"])
}

/// A program from C, `NAME` in the folder; `None`, with a skip, without a compiler.
#[track_caller]
pub fn program(folder: &Path, name: &str, source: &str, options: &[&str]) -> Option<PathBuf> {
    build(folder, name, "", source, options)
}

#[track_caller]
fn build(folder: &Path, name: &str, end: &str, source: &str, options: &[&str]) -> Option<PathBuf> {
    let (code, built) =
        (folder.join(name).with_extension("c"), folder.join(name).with_extension(end));
    fs::write(&code, source).expect("the folder can be written");
    let output =
        Command::new("cc").arg("-w").args(options).arg("-o").arg(&built).arg(&code).output();
    let Ok(output) = output else {
        skip("cc", "no C compiler `cc` on the PATH");
        return None;
    };
    assert!(output.status.success(), "{name}.c: {}", errors(&output));
    Some(built)
}
