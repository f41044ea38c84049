//! Which of the program's own lines calls a line of a library that an answer names.
//!
//! The caller is the one for what is live at the moment that the answer speaks of. Blocks of the start-up
//! have no caller: an answer that named one would send a person to a line that cannot help.

use super::figures::TraceReport;
use super::text::{list, short_line};
use crate::results::{LibraryLineEntry, LiveCallersEntry, Moment};
use crate::units::{bytes, count, innermost};

/// A start-up with a smaller share of a line's live blocks is not named.
const STARTUP_LEAST: f64 = 0.05;
/// A caller with a larger share of the live bytes than this has all of them, in words.
const NEARLY_ALL: f64 = 0.95;

/// The sentences on those of `lines` that are of a library: who called each for what is live at
/// `moment`, and of those without a known caller how a recording gets one. None for lines of the program
/// itself.
pub fn own_line_notes(trace_report: &TraceReport, lines: &[String], moment: Moment) -> Vec<String> {
    let known = &trace_report.trace.library_lines;
    let libraries: Vec<(&String, &LibraryLineEntry)> =
        lines.iter().filter_map(|line| Some((line, known.get(line)?))).collect();
    let is_python = trace_report.trace.is_python();
    let words = |line: &str, entry: &LibraryLineEntry| called_by(line, entry, moment, is_python);
    let mut sentences: Vec<String> =
        libraries.iter().filter_map(|(line, entry)| words(line, entry)).collect();
    for is_with_callers in [false, true] {
        let is_open = |line: &str, entry: &LibraryLineEntry| {
            words(line, entry).is_none() && entry.is_with_callers == is_with_callers
        };
        let open = libraries.iter().filter(|(line, entry)| is_open(line, entry));
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
pub fn own_line_note(trace_report: &TraceReport, line: &str, moment: Moment) -> Option<String> {
    let entry = trace_report.trace.library_lines.get(line)?;
    called_by(line, entry, moment, trace_report.trace.is_python())
}

fn called_by(
    line: &str,
    entry: &LibraryLineEntry,
    moment: Moment,
    is_python: bool,
) -> Option<String> {
    // A site with its callers is long, and its first frame says which line it is.
    let line = short_line(innermost(line));
    let live = match moment {
        Moment::Peak => entry.at_peak.as_ref(),
        Moment::End => entry.at_end.as_ref(),
        Moment::Whole | Moment::Mark(_) => None,
    };
    if let Some(live) = live {
        return live_called_by(&line, live, is_python);
    }
    let caller = short_line(&entry.caller);
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

/// The same by what is live of the line.
fn live_called_by(line: &str, live: &LiveCallersEntry, is_python: bool) -> Option<String> {
    let caller = short_line(&live.caller);
    let is_startup = live.startup_blocks as f64 >= STARTUP_LEAST * live.blocks as f64;
    if live.startup_blocks > 0 && is_startup {
        let startup = if is_python { "the interpreter's start-up" } else { "the start-up" };
        let all = count(live.blocks);
        let blocks = match live.blocks - live.startup_blocks {
            0 if live.blocks == 1 => "its block was".to_owned(),
            0 => format!("all its {all} blocks were"),
            _ => format!("{} of its {all} blocks were", count(live.startup_blocks)),
        };
        let others = match live.callers {
            0 => String::new(),
            1 => format!(" Your line {caller} called it for others."),
            callers => {
                format!(" {callers} lines of yours called it for others, first of all {caller}.")
            }
        };
        return Some(format!(
            "{line} is library code: {blocks} allocated by {startup}, before your program's first \
             line.{others}"
        ));
    }
    let is_all = live.caller_bytes as f64 >= NEARLY_ALL * live.own_bytes as f64;
    let share = match is_all {
        true => String::new(),
        false => {
            format!(" ({} of {})", bytes(live.caller_bytes as f64), bytes(live.own_bytes as f64))
        }
    };
    match live.callers {
        0 => None,
        1 => Some(format!("{line} is library code, called from your line {caller}{share}.")),
        callers => Some(format!(
            "{line} is library code, called from {callers} lines of yours, most of all from \
             {caller}{share}."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "/usr/lib/python3.11/json/decoder.py:353";

    #[test]
    fn a_library_line_has_the_line_that_calls_it() {
        let entry = |caller: &str, callers| LibraryLineEntry {
            caller: caller.into(),
            callers,
            is_with_callers: true,
            ..LibraryLineEntry::default()
        };
        let words = |entry| called_by(LINE, &entry, Moment::End, true);
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

    #[test]
    fn the_caller_is_that_of_what_is_live() {
        let live = |caller: &str, caller_bytes, callers, blocks, startup_blocks| LiveCallersEntry {
            caller: caller.into(),
            caller_bytes,
            callers,
            blocks,
            startup_blocks,
            own_bytes: 4096,
        };
        let words = |at_end: LiveCallersEntry| {
            let entry = LibraryLineEntry {
                caller: "/srv/often.py:1".into(),
                callers: 1,
                is_with_callers: true,
                at_end: Some(at_end),
                ..LibraryLineEntry::default()
            };
            let words = called_by(LINE, &entry, Moment::End, true);
            words.map(|words| {
                words.replace('\u{a0}', " ").replace("decoder.py:353 is library code", "It")
            })
        };
        let own = "/srv/keep.py:8";
        assert_eq!(
            words(live(own, 4096, 1, 9, 0)).unwrap(),
            "It, called from your line keep.py:8."
        );
        assert_eq!(
            words(live(own, 3072, 2, 9, 0)).unwrap(),
            "It, called from 2 lines of yours, most of all from keep.py:8 (3.0 KiB of 4.0 KiB)."
        );
        assert_eq!(words(live("", 0, 0, 9, 0)), None);
        assert_eq!(
            words(live("", 0, 0, 9, 9)).unwrap(),
            "It: all its 9 blocks were allocated by the interpreter's start-up, before your program's \
             first line."
        );
        assert_eq!(
            words(live(own, 4096, 1, 9, 8)).unwrap(),
            "It: 8 of its 9 blocks were allocated by the interpreter's start-up, before your program's \
             first line. Your line keep.py:8 called it for others."
        );
    }
}
