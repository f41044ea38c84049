//! Whether the end is the moment to look at: a program whose cache was a local of `main` has lost it there.

use crate::report::figures::TraceReport;
use crate::results::EndKind;
use crate::units::{bytes, percent};

/// What of the program's peak is live at the end, and the command for a moment that holds it: a sentence
/// or two where that is little; else `None`. A moment that a person chose is the right one.
pub fn little_left(trace_report: &TraceReport) -> Option<String> {
    let trace = trace_report.trace;
    let is_own = matches!(
        trace.end.as_ref().map(|end| &end.kind),
        None | Some(EndKind::Finalisation | EndKind::Exit)
    );
    let found = trace.peak_survival.as_ref().filter(|found| is_own && found.is_little())?;
    let [left, held] = [found.end_bytes, found.peak_bytes].map(|amount| amount as f64);
    let without = if found.is_without_startup { ", without the start-up" } else { "" };
    // A word with a NUL cannot be quoted; none comes from a command line.
    let quoted = |word: &str| shlex::try_quote(word).unwrap_or_default().into_owned();
    let path = if trace.path.is_empty() { "TRACE".to_owned() } else { quoted(&trace.path) };
    let moment = if found.held_at.is_empty() { "peak".to_owned() } else { quoted(&found.held_at) };
    Some(format!(
        "At the end only {} of what the program held at its peak is live ({} of {}{without}), so lines at \
         the end say little of it. `heaplay run {path} --at {moment}` reports a moment that holds it.",
        percent(left / held),
        bytes(left),
        bytes(held)
    ))
}
