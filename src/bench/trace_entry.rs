//! What the run record has of a trace's sites and times, so that a report needs no trace: who calls the
//! lines of libraries, how much of the live peak is live at the end, and when calls were made.

use std::collections::BTreeMap;

use crate::cpython::{LARGE_LIST_OBJECTS, Listed, listed};
use crate::program::{
    AllocationSites, LibraryLine, LiveCallers, LiveOfSize, LiveSites, PeakSurvival, Program, Times,
    library_lines, live_bytes_after,
};
use crate::results::{
    FreeListEntry, LibraryLineEntry, LiveCallersEntry, PeakSurvivalEntry, TraceEntry,
};
use crate::units::innermost;

/// Calls with their times in the run record, at most.
const CALL_TIMES_MAX: usize = 256;
/// A moment at which the program holds this share of its peak is one to look at.
const MUCH_HELD: f64 = 0.5;

/// The entry of a trace with what the run record has of its sites and times.
pub fn with_lines_and_times(
    trace: TraceEntry,
    program: &Program,
    sites: &AllocationSites,
    times: &Times,
) -> TraceEntry {
    let is_with_callers = sites.has_callers();
    let end = trace.end.as_ref().map_or(u64::MAX, |end| end.event);
    let live = LiveSites::of(program, sites.with_callers(), end);
    let library_lines = library_lines(sites, live.as_ref()).into_iter().map(|library| {
        let LibraryLine { line, caller, callers, live } = library;
        let [at_peak, at_end] = live.map(|live| live.map(live_callers));
        let caller = caller.unwrap_or_default();
        (line, LibraryLineEntry { caller, callers, is_with_callers, at_peak, at_end })
    });
    let name = |site| sites.with_callers().name(site);
    let free_lists = live.as_ref().map(|live| free_lists(&live.end_sizes, name, &trace));
    TraceEntry {
        library_lines: library_lines.collect(),
        free_lists: free_lists.unwrap_or_default(),
        call_times: times.some_marks(CALL_TIMES_MAX),
        peak_survival: live
            .and_then(|live| live.survival)
            .map(|found| peak_survival(found, &trace, program)),
        ..trace
    }
}

/// The lines whose live blocks fill free lists of CPython: objects that the program freed, or as many that
/// it holds. A list with few objects is no cause that a person would look for.
fn free_lists<'a>(
    end_sizes: &[LiveOfSize],
    name: impl Fn(u32) -> &'a str,
    trace: &TraceEntry,
) -> BTreeMap<String, FreeListEntry> {
    let mut found: BTreeMap<String, FreeListEntry> = BTreeMap::new();
    let Some(version) = trace.gil_python() else { return found };
    let mut of_line: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    for LiveOfSize { site, size_bytes, blocks } in end_sizes {
        *of_line.entry((innermost(name(*site)), *size_bytes)).or_default() += blocks;
    }
    let lists = listed(version);
    for ((line, size_bytes), blocks) in of_line {
        let is_filled = |list: &&Listed| {
            list.most >= LARGE_LIST_OBJECTS && list.is_filled_by(blocks, size_bytes)
        };
        let Some(list) = lists.iter().find(is_filled) else { continue };
        let entry = found.entry(line.to_owned()).or_default();
        let listed_blocks = blocks.min(u64::from(list.most));
        entry.blocks += listed_blocks;
        entry.bytes += listed_blocks * size_bytes;
        entry.lists.push(list.plural());
    }
    found
}

fn live_callers(live: LiveCallers) -> LiveCallersEntry {
    LiveCallersEntry {
        caller: live.caller.unwrap_or_default(),
        caller_bytes: live.caller_bytes,
        callers: live.callers,
        blocks: live.blocks,
        startup_blocks: live.startup_blocks,
        own_bytes: live.own_bytes,
    }
}

fn peak_survival(found: PeakSurvival, trace: &TraceEntry, program: &Program) -> PeakSurvivalEntry {
    let PeakSurvival { peak_bytes, end_bytes, is_without_startup } = found;
    let entry =
        PeakSurvivalEntry { peak_bytes, end_bytes, is_without_startup, held_at: String::new() };
    if !entry.is_little() {
        return entry;
    }
    PeakSurvivalEntry { held_at: held_at(peak_bytes, trace, program), ..entry }
}

/// The moment for `--at` at which the program holds much of its peak: the mark with most, else the plateau,
/// else the peak. `peak_bytes` are its own.
fn held_at(peak_bytes: u64, trace: &TraceEntry, program: &Program) -> String {
    let mut moments: Vec<(u64, String)> = Vec::new();
    for mark in trace.marks.iter().filter(|mark| mark.event > 0 && mark.event < trace.calls) {
        // `--at` takes the first mark of a name.
        let moment = format!("mark:{}", mark.name);
        if moments.iter().all(|(_, known)| *known != moment) {
            moments.push((mark.event, moment));
        }
    }
    if let Some(plateau) = program.plateau() {
        moments.push((plateau.until_event, "plateau".to_owned()));
    }
    let peak_event = program.profile().live_peak_event + 1;
    let events: Vec<u64> = moments.iter().map(|(event, _)| *event).chain([peak_event]).collect();
    let live_bytes = live_bytes_after(program, &events);
    let at_peak = live_bytes.last().copied().unwrap_or(0);
    // What is live besides, such as an interpreter's start-up, is live at each of them.
    let besides = at_peak.saturating_sub(peak_bytes);
    let held = live_bytes.iter().map(|live| live.saturating_sub(besides) as f64);
    let much = moments.iter().zip(held).filter(|(_, held)| *held >= MUCH_HELD * peak_bytes as f64);
    let is_mark = |moment: &str| moment != "plateau";
    let best = much.max_by(|a, b| {
        let key = |one: &(&(u64, String), f64)| (is_mark(&one.0.1), one.1);
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    best.map_or_else(|| "peak".to_owned(), |((_, moment), _)| moment.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2,000 tuples of 1 and of 2 are as many as their lists hold; 2,000 blocks of another size are not.
    #[test]
    fn blocks_that_fill_free_lists_are_counted_by_line() {
        let live = |size_bytes, blocks| LiveOfSize { site: 1, size_bytes, blocks };
        let end = [live(48, 2000), live(56, 2100), live(104, 300), live(600, 2000)];
        let trace = |python: &str| {
            let facts = [("python".to_owned(), python.to_owned())].into();
            TraceEntry { facts, ..TraceEntry::default() }
        };
        let name = |_| "/srv/app.py:8 < /srv/app.py:2";
        let lists = free_lists(&end, name, &trace("3.11.2"));
        let entry = &lists["/srv/app.py:8"];
        assert_eq!((entry.blocks, entry.bytes), (4000, 2000 * 48 + 2000 * 56));
        assert_eq!(entry.lists, ["tuples of 1", "tuples of 2"]);
        assert!(free_lists(&end, name, &trace("not known")).is_empty());
    }
}
