//! The answer to "which line retains pages", for page and terminal. It begins with the allocator that the
//! program has today and the program's own lines. Each line has two figures: what its blocks hold, and
//! what its change returns.

use super::chart::first_line;
use super::figures::{
    BackendFigures, LineChange, TraceReport, has_line_changes, held_text, line_changes,
};
use super::free_list_note::{collection_note, free_list_note, reused_note};
use super::own_line::own_line_notes;
use super::peak_survival::little_left;
use super::text::{capitalised, list, short_line};
use crate::results::{Attribution, Moment};

/// Lines of today's allocator, at most.
const LINES_MAX: usize = 2;
/// Lines of other allocators, at most.
const OTHERS_MAX: usize = 2;

/// What a line says of its blocks, and what not.
pub const HOLDERS_NOTE: &str =
    "A line is where blocks were allocated: look for what still holds them.";

/// The answer, in sentences.
pub struct LineAnswer {
    /// Which lines, and what their change returns.
    pub lines: Vec<String>,
    /// What these figures do not say; empty where no line is worth a change.
    pub notes: Vec<String>,
}

/// The answer. `otherwise` stands where no line is worth a change under any allocator.
pub fn line_answer(trace_report: &TraceReport, otherwise: Option<&str>) -> LineAnswer {
    let mut sentences: Vec<String> = little_left(trace_report).into_iter().collect();
    let at_end = trace_report.end_name();
    let own = trace_report.own_backend();
    let first = trace_report.answered_backend();
    let mut named: Vec<String> = Vec::new();
    let retaining = first_line(trace_report);
    let has_lines = retaining.is_some() || first.is_some_and(has_line_changes);
    let holder = first.filter(|_| has_lines).and_then(|backend| held_most(trace_report, backend));
    let at_first_change = sentences.len();
    let mut most_returned_bytes = 0.0;
    if let Some(backend) = first.filter(|_| has_lines) {
        let today = match own {
            Some(_) => format!("{}, which the program has today", backend.name()),
            None => backend.name().to_owned(),
        };
        let lines = line_changes(trace_report, backend);
        most_returned_bytes = lines.first().map_or(0.0, LineChange::returned_bytes);
        for (at, change) in lines.iter().take(LINES_MAX).enumerate() {
            let opening = match at {
                0 => format!("{} under {today}, ", capitalised(&at_end)),
                _ => "Next, ".to_owned(),
            };
            sentences.push(format!("{opening}{}.", change.sentence(trace_report)));
            named.push(change.line.to_owned());
        }
        if lines.is_empty() {
            let at_end = capitalised(&at_end);
            sentences.push(match &holder {
                // Its blocks lie side by side: elsewhere they would take as much.
                Some((most, held)) => format!(
                    "{at_end} under {today}, {} holds most, {held}. Allocated elsewhere, no line's blocks \
                     are known to return memory: only fewer of them would.",
                    short_line(&most.site)
                ),
                None => format!("{at_end} under {today}, no line's change is known to return memory."),
            });
        }
    }
    let specs = first.map(|backend| backend.spec);
    let others = trace_report.choosable().into_iter().filter(|backend| Some(backend.spec) != specs);
    let mut by_line: Vec<(LineChange, Vec<String>)> = Vec::new();
    for backend in others {
        // Of another allocator only what a person could change is worth a sentence.
        let change = line_changes(trace_report, backend).into_iter().next();
        let change = change.filter(|change| trace_report.trace.is_changeable(change.line));
        let Some(change) = change else { continue };
        match by_line.iter_mut().find(|(known, _)| known.line == change.line) {
            Some((_, names)) => names.push(backend.name().to_owned()),
            None => by_line.push((change, vec![backend.name().to_owned()])),
        }
    }
    by_line.retain(|(change, _)| !named.iter().any(|line| line == change.line));
    for (change, names) in by_line.into_iter().take(OTHERS_MAX) {
        sentences.push(format!("Under {}, {}.", list(&names), change.sentence(trace_report)));
        named.push(change.line.to_owned());
    }
    let has_change = !named.is_empty();
    // What holds most may return little when it lies elsewhere, and is a leak all the same.
    if has_change
        && let Some((most, held)) = &holder
        && !named.contains(&most.site)
    {
        let line = short_line(&most.site);
        let holds =
            format!("holds most of what is live, {held}: only fewer of its blocks return memory.");
        // The larger of the two comes first: what a line holds, or what another's change returns.
        if most.live_bytes as f64 > most_returned_bytes {
            let sentence = format!("{} {line} {holds}", capitalised(&at_end));
            sentences.insert(at_first_change, sentence);
        } else {
            sentences.push(format!("{line} {holds}"));
        }
    }
    if !has_change {
        sentences.extend(otherwise.map(str::to_owned));
        named.extend(retaining);
    }
    let holding = holder.map(|(most, _)| most.site.clone());
    let holding = holding.filter(|site| !named.contains(site));
    let noted: Vec<String> = named.iter().cloned().chain(holding).collect();
    sentences.extend(own_line_notes(trace_report, &noted, Moment::End));
    sentences.extend(named.iter().filter_map(|line| free_list_note(trace_report, line)));
    let notes = [Some(HOLDERS_NOTE), reused_note(trace_report), collection_note(trace_report)];
    let notes = notes.into_iter().flatten().filter(|_| has_change).map(str::to_owned);
    LineAnswer { lines: sentences, notes: notes.collect() }
}

/// The line that a person can change that holds most at the end, and what it holds; `None` where no line
/// holds a notable amount.
fn held_most<'a>(
    trace_report: &TraceReport,
    backend: &BackendFigures<'a>,
) -> Option<(&'a Attribution, String)> {
    let rows = backend.rows.attributions.iter().filter(|row| trace_report.trace.is_holder(row));
    let most = rows.max_by_key(|row| row.live_bytes)?;
    Some((most, held_text(trace_report, &most.site)?))
}
