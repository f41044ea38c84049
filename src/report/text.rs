//! Sentences and lists that charts, page and terminal share. Numbers are formatted by
//! [`crate::units`].

use std::collections::BTreeMap;

use crate::results::{EndKind, EndPoint, TraceEntry};
pub use crate::units::short_line;
use crate::units::{count, percent};

/// What every picture and table of a trace says that was not recorded: that it was synthesised, and
/// for which share of its bytes it vouches. `facts` are those of the trace. `None` for a recorded
/// trace.
pub fn synthesised(facts: &BTreeMap<String, String>) -> Option<String> {
    let how = facts.get("synthesised")?;
    let share = facts.get("vouched_bytes_share").and_then(|share| share.parse::<f64>().ok());
    Some(match share {
        Some(share) => {
            format!("synthesised from snapshots: vouches for {} of its bytes", percent(share))
        }
        None => format!("synthesised ({})", how.split([':', ';']).next().unwrap_or_default()),
    })
}

/// Characters of a mark's name that a heading shows.
const MARK_CHARS: usize = 14;

/// The moment that counts as the end, in a heading. `None` is the last call.
pub fn end_name(end: Option<&EndPoint>) -> String {
    match end.map(|end| &end.kind) {
        None | Some(EndKind::Finalisation | EndKind::Exit) => "at the end".to_owned(),
        Some(EndKind::Peak) => "at the peak".to_owned(),
        Some(EndKind::Plateau { .. }) => "on the plateau".to_owned(),
        Some(EndKind::Mark { name }) if name.chars().count() <= MARK_CHARS => format!("at {name}"),
        Some(EndKind::Mark { name }) => {
            format!("at {}…", name.chars().take(MARK_CHARS - 1).collect::<String>())
        }
    }
}

/// The moment that counts as the end, as a part of a sentence about the end. `None` is the last call.
pub fn end_moment(end: Option<&EndPoint>) -> String {
    match end.map(|end| &end.kind) {
        None => "after the last call".to_owned(),
        Some(EndKind::Finalisation) => "before the interpreter finalises itself".to_owned(),
        Some(EndKind::Exit) => "before the process exits".to_owned(),
        Some(EndKind::Peak) => "at the live peak".to_owned(),
        Some(EndKind::Plateau { from_event }) => {
            format!("at the end of the plateau (from call {})", count(*from_event))
        }
        Some(EndKind::Mark { name }) => format!("at the mark `{name}`"),
    }
}

/// The moment that counts as the end, in a sentence. `None` is the last call.
pub fn end_sentence(end: Option<&EndPoint>) -> String {
    match end.map(|end| &end.kind) {
        None => "at the end (after the last call)".to_owned(),
        Some(EndKind::Finalisation) => "at the end (before finalisation)".to_owned(),
        Some(EndKind::Exit) => "at the end (before exit)".to_owned(),
        Some(EndKind::Peak) => "at the live peak".to_owned(),
        Some(EndKind::Plateau { from_event }) => {
            format!("at the end of the plateau (from call {})", count(*from_event))
        }
        Some(EndKind::Mark { name }) => format!("at the mark `{name}`"),
    }
}

/// What resident memory of a replay includes, beside its figures.
pub fn pages_written(trace: &TraceEntry) -> &'static str {
    // A recording that read the process's memory also looked at large blocks when they ended.
    if trace.process.is_some() {
        "The replay writes every page of every block, but of large blocks only those that the \
         program touched"
    } else {
        "The replay writes every page of every block, also pages that the program may never have \
         touched"
    }
}

/// What every picture and table of a trace says about it first: that it was synthesised, or which
/// memory of the process is not in the recording. `facts` are those of the trace. `None` for a
/// recording that explains its process.
pub fn caveat(facts: &BTreeMap<String, String>) -> Option<String> {
    synthesised(facts).or_else(|| facts.get("unexplained").cloned())
}

/// What the floor is, beside its name.
pub const HARNESS: &str = "the harness itself";

/// `a`, `a and b`, `a, b and c`.
pub fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Like [`list`], but at most three of them by name.
pub fn some(names: &[String]) -> String {
    if names.len() <= 3 {
        return list(names);
    }
    format!("{}, {} and {} others", names[0], names[1], names.len() - 2)
}

/// Figures as text, each with the number that it is ranked by. Up to seven are all listed, in their
/// order. Of more, only the two with the least and the two with the most are listed.
pub fn all_or_ends(mut figures: Vec<(f64, String)>, separator: &str) -> String {
    const LISTED_MAX: usize = 7;
    let join = |some: &[(f64, String)]| {
        some.iter().map(|figure| figure.1.clone()).collect::<Vec<_>>().join(separator)
    };
    if figures.len() <= LISTED_MAX {
        return join(&figures);
    }
    figures.sort_by(|a, b| a.0.total_cmp(&b.0));
    format!("{} … {}", join(&figures[..2]), join(&figures[figures.len() - 2..]))
}

/// The text with its first letter as a capital.
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_end_with_and() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(list(&names[..3]), "a, b and c");
        assert_eq!(some(&names), "a, b and 2 others");
        assert_eq!(capitalised("élan"), "Élan");
        let figures = (0..9).rev().map(|k| (f64::from(k), k.to_string())).collect();
        assert_eq!(all_or_ends(figures, ", "), "0, 1 … 7, 8");
    }
}
