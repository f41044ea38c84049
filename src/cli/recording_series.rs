//! The files of a series: recordings of one program, numbered from 1. `record --repeat` writes
//! `app.1.trace`, `app.2.trace` and so on, and `app.trace` is the name of the series.

use std::path::{Path, PathBuf};

/// The recording of that number in the series `name`.
pub fn numbered(name: &Path, number: u32) -> PathBuf {
    let mut file = name.file_stem().unwrap_or_default().to_owned();
    file.push(format!(".{number}"));
    if let Some(extension) = name.extension() {
        file.push(".");
        file.push(extension);
    }
    name.with_file_name(file)
}

/// The recordings of a series, in their order: up to the first number that has no file.
pub fn members(name: &Path) -> Vec<PathBuf> {
    (1..).map(|number| numbered(name, number)).take_while(|path| path.is_file()).collect()
}

/// The recordings that a person names: a file itself, or a series.
pub fn recordings(path: &Path) -> Vec<PathBuf> {
    let series = if path.exists() { Vec::new() } else { members(path) };
    if series.is_empty() { vec![path.to_owned()] } else { series }
}

/// The name of the program for recordings of a side: that of the file, and without the number where
/// there are several.
pub fn program_name(side: &[PathBuf]) -> Option<String> {
    let stem = side.first()?.file_stem()?.to_string_lossy().into_owned();
    let numbered = stem.rsplit_once('.').filter(|(_, end)| end.parse::<u32>().is_ok());
    match numbered {
        Some((name, _)) if side.len() > 1 => Some(name.to_owned()),
        _ => Some(stem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_ends_at_the_first_number_without_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("app.v2.trace");
        assert_eq!(recordings(&name), std::slice::from_ref(&name), "no file yet");
        // 4711 is a process id: the trace of a further process.
        for number in [1, 2, 3, 5, 4711] {
            std::fs::write(numbered(&name, number), "").unwrap();
        }
        let found: Vec<_> =
            recordings(&name).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(found, ["app.v2.1.trace", "app.v2.2.trace", "app.v2.3.trace"]);
        std::fs::write(&name, "").unwrap();
        assert_eq!(recordings(&name), [name], "a file is itself");
    }

    #[test]
    fn a_program_has_the_name_of_its_series() {
        let name =
            |files: &[&str]| program_name(&files.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(name(&["a/app.1.trace", "a/app.2.trace"]).as_deref(), Some("app"));
        assert_eq!(name(&["app.1.trace"]).as_deref(), Some("app.1"));
        assert_eq!(name(&["old.trace", "new.trace"]).as_deref(), Some("old"));
        assert_eq!(name(&[]), None);
    }
}
