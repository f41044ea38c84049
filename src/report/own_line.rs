//! Which of the program's own lines calls a line of a library that an answer names.

use super::figures::{CHAIN_SEPARATOR, TraceReport};
use super::text::{list, short_line};
use crate::results::LibraryLineEntry;

/// The sentences on those of `lines` that are of a library: who calls each, and of those without a known
/// caller how a recording gets one. None for lines of the program itself.
pub fn own_line_notes(trace_report: &TraceReport, lines: &[String]) -> Vec<String> {
    let known = &trace_report.trace.library_lines;
    let libraries: Vec<(&String, &LibraryLineEntry)> =
        lines.iter().filter_map(|line| Some((line, known.get(line)?))).collect();
    let mut sentences: Vec<String> =
        libraries.iter().filter_map(|(line, entry)| called_by(line, entry)).collect();
    for is_with_callers in [false, true] {
        let is_open = |entry: &LibraryLineEntry| {
            entry.callers == 0 && entry.is_with_callers == is_with_callers
        };
        let open = libraries.iter().filter(|(_, entry)| is_open(entry));
        let names: Vec<String> = open.map(|(line, _)| short_line(line)).collect();
        let are = if names.len() == 1 { "is" } else { "are" };
        let step = match is_with_callers {
            false => "`heaplay record --sites=8` records which of your lines calls it",
            true => "a larger N of `heaplay record --sites=N` may reach a line of yours",
        };
        if !names.is_empty() {
            sentences.push(format!("{} {are} library code: {step}.", list(&names)));
        }
    }
    sentences
}

/// The program's own line that calls `line`, in a sentence; `None` where that is not known.
pub fn own_line_note(trace_report: &TraceReport, line: &str) -> Option<String> {
    called_by(line, trace_report.trace.library_lines.get(line)?)
}

fn called_by(line: &str, entry: &LibraryLineEntry) -> Option<String> {
    // A site with its callers is long, and its first frame says which line it is.
    let first = line.split(CHAIN_SEPARATOR).next().unwrap_or(line);
    let (line, caller) = (short_line(first), short_line(&entry.caller));
    match (entry.callers, entry.caller.is_empty()) {
        (0, _) => None,
        (1, _) => Some(format!("{line} is library code, called from your line {caller}.")),
        (callers, true) => {
            Some(format!("{line} is library code, called from {callers} lines of yours."))
        }
        (callers, false) => Some(format!(
            "{line} is library code, called from {callers} lines of yours, most often from {caller}."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_line_has_the_line_that_calls_it() {
        let entry = |caller: &str, callers| LibraryLineEntry {
            caller: caller.into(),
            callers,
            is_with_callers: true,
        };
        let words = |entry| called_by("/usr/lib/python3.11/json/decoder.py:353", &entry);
        assert_eq!(
            words(entry("/srv/load.py:3", 1)).unwrap(),
            "decoder.py:353 is library code, called from your line load.py:3."
        );
        assert_eq!(
            words(entry("/srv/load.py:3", 4)).unwrap(),
            "decoder.py:353 is library code, called from 4 lines of yours, most often from load.py:3."
        );
        assert_eq!(
            words(entry("", 4)).unwrap(),
            "decoder.py:353 is library code, called from 4 lines of yours."
        );
        assert_eq!(words(entry("", 0)), None);
    }
}
