//! The order of snapshots on the command line, and snapshots that stand there twice.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::cli::convert::is_same_file;
use crate::cli::terminal::note;

/// The snapshots in their order. A shell sorts `app-10` before `app-2`; such a list is read by its
/// numbers, with a note.
///
/// # Errors
/// A snapshot that is given twice.
pub(super) fn in_order(files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    for (at, file) in files.iter().enumerate() {
        if files[..at].iter().any(|earlier| is_same_file(earlier, file)) {
            bail!("{}: given twice; give each snapshot of a series once", file.display());
        }
    }
    let mut by_number = files.to_vec();
    by_number.sort_by(|a, b| by_numbers(a, b));
    if by_number == files {
        return Ok(by_number);
    }
    let shown: Vec<String> = by_number.iter().take(4).map(|f| f.display().to_string()).collect();
    let more = if files.len() > shown.len() { " …" } else { "" };
    if files.is_sorted() {
        note(format!(
            "the snapshots are in the order of a shell; they are read by their numbers: {}{more}",
            shown.join(", ")
        ));
        return Ok(by_number);
    }
    note(format!(
        "the snapshots are read in the order of the command line; by their numbers it would be: {}{more}",
        shown.join(", ")
    ));
    Ok(files.to_vec())
}

/// Compares names with their numbers as numbers.
fn by_numbers(a: &Path, b: &Path) -> Ordering {
    let (a, b) = (a.to_string_lossy(), b.to_string_lossy());
    pieces(&a).cmp(pieces(&b)).then_with(|| a.cmp(&b))
}

/// A piece of a name: a number without leading zeros by length and digits, or other text.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum NamePiece<'a> {
    Number(usize, &'a str),
    Text(&'a str),
}

fn pieces(name: &str) -> impl Iterator<Item = NamePiece<'_>> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let is_number = rest.chars().next()?.is_ascii_digit();
        let end = rest
            .char_indices()
            .find(|(_, letter)| letter.is_ascii_digit() != is_number)
            .map_or(rest.len(), |(at, _)| at);
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        if !is_number {
            return Some(NamePiece::Text(piece));
        }
        let digits = piece.trim_start_matches('0');
        Some(NamePiece::Number(digits.len(), digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        let mut names =
            ["app-10", "app-2", "app-1", "app-02", "b", "app", "app-2.5"].map(Path::new);
        names.sort_by(|a, b| by_numbers(a, b));
        let sorted = ["app", "app-1", "app-02", "app-2", "app-2.5", "app-10", "b"].map(Path::new);
        assert_eq!(names, sorted);
    }
}
