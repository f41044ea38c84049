//! The file or folder that a mistyped path may mean: one of a near name in the same folder.
//!
//! Every path of the command line that is not there gets its suggestion here. `error_chain.rs` adds
//! it to the errors of the modules below, which name the path and know no others.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::backends::BackendError;
use crate::results::RecordError;
use crate::spec::nearest;
use crate::trace::TraceError;

/// ` (did you mean …?)`, or nothing where the path is there or no name is near.
pub fn did_you_mean(path: &Path) -> String {
    match near_path(path) {
        Some(near) => format!(" (did you mean `{}`?)", near.display()),
        None => String::new(),
    }
}

/// The suggestion for an error about a path that is not there.
pub(super) fn suggestion(error: &anyhow::Error) -> String {
    let path = error.chain().find_map(|cause| -> Option<&Path> {
        if let Some(TraceError::Io { path, .. }) = cause.downcast_ref() {
            return Some(path);
        }
        if let Some(BackendError::Path { path, exists: false }) = cause.downcast_ref() {
            return Some(Path::new(path));
        }
        match cause.downcast_ref() {
            Some(RecordError::Io { path, .. } | RecordError::Missing { path }) => Some(path),
            _ => None,
        }
    });
    path.map(did_you_mean).unwrap_or_default()
}

/// The path with its first missing part replaced by a near name that is there.
fn near_path(path: &Path) -> Option<PathBuf> {
    if path.exists() {
        return None;
    }
    let is_missing = |part: &&Path| !part.as_os_str().is_empty() && !part.exists();
    let missing = path.ancestors().take_while(is_missing).last()?;
    let folder = missing.parent()?;
    let name = missing.file_name()?.to_str()?;
    let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries =
        fs::read_dir(place).ok()?.flatten().filter_map(|e| e.file_name().into_string().ok());
    let known: Vec<String> = entries.collect();
    let near = folder.join(near_name(name, &known)?).join(path.strip_prefix(missing).ok()?);
    // Joining an empty rest leaves a `/` at the end.
    let near: PathBuf = near.components().collect();
    near.exists().then_some(near)
}

/// The near name: of one with the same ending if there is any, since alike endings make names alike.
fn near_name<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let parts = |name: &'a str| {
        let path = Path::new(name);
        (path.file_stem().and_then(OsStr::to_str).unwrap_or(name), path.extension())
    };
    let own = Path::new(name);
    let stem = own.file_stem().and_then(OsStr::to_str).unwrap_or(name);
    let alike = known.iter().filter(|known| parts(known).1 == own.extension());
    let stems: Vec<(&str, &str)> = alike.map(|known| (parts(known).0, known.as_str())).collect();
    let near = nearest(stem, stems.iter().map(|(stem, _)| *stem));
    let of_stem = near.and_then(|near| stems.iter().find(|(stem, _)| *stem == near));
    // The ending may be what is wrong, or what was left out.
    let same_stem = || {
        let known = known.iter().map(String::as_str).filter(|known| parts(known).0 == stem);
        let all: Vec<&str> = known.collect();
        nearest(name, all.iter().copied()).or_else(|| all.first().copied())
    };
    of_stem.map(|(_, known)| *known).or_else(same_stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_has_the_same_ending_or_the_same_stem() {
        let known = ["hello.csv", "hello.trace", "json-work", "notes.txt"].map(str::to_owned);
        for (name, near) in [
            ("helo.trace", Some("hello.trace")),
            ("hello.trac", Some("hello.trace")),
            ("hello.t", Some("hello.trace")),
            ("json-wrok", Some("json-work")),
            ("missing.trace", None),
            ("zzz", None),
        ] {
            assert_eq!(near_name(name, &known), near, "{name}");
        }
    }

    #[test]
    fn the_missing_part_of_a_path_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("reports")).unwrap();
        fs::write(folder.path().join("reports/app.trace"), "").unwrap();
        let near = |path: &str| near_path(&folder.path().join(path));
        assert_eq!(near("report/app.trace"), Some(folder.path().join("reports/app.trace")));
        assert_eq!(near("reports/ap.trace"), Some(folder.path().join("reports/app.trace")));
        assert_eq!(near("reprots/"), Some(folder.path().join("reports")));
        assert_eq!(near("reports"), None);
        assert_eq!(near("other/app.trace"), None);
    }
}
