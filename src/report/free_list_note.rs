//! Whether a line's live blocks may be objects that the program freed and CPython stores for reuse.
//!
//! A recording is made below CPython's free lists: an object on one of them is a live block of the line
//! that allocated it. 2,000 such tuples look like a leak, and a full collection returns them.

use crate::cpython::{LARGE_LIST_OBJECTS, Listed, listed};
use crate::report::figures::TraceReport;
use crate::report::text::{list, short_line};
use crate::results::{Attribution, Moment};
use crate::units::{bytes, count, innermost};

/// The list that the blocks of a line could be on.
#[derive(Debug, PartialEq)]
struct Candidate {
    list: Listed,
    /// Whether there are about as many as the list stores. Fewer tuples may be on it as well, or live.
    is_full: bool,
}

/// A sentence on the blocks of a line at the end, where they may lie on one of CPython's free lists; else
/// `None`. The trace names the version of CPython.
pub fn free_list_note(trace_report: &TraceReport, site: &str) -> Option<String> {
    let text = trace_report.trace.facts.get("python")?;
    let version = trace_report.trace.gil_python()?;
    let rows = trace_report.backends.iter().flat_map(|backend| &backend.rows.attributions);
    let row: &Attribution =
        rows.copied().find(|row| row.moment == Moment::End && row.site == site)?;
    if let Some(entry) = trace_report.trace.free_lists.get(innermost(site)) {
        // Of many blocks a few may be on a list, and that explains nothing.
        if entry.blocks * 2 < row.live_blocks {
            return None;
        }
        let all = entry.blocks == row.live_blocks;
        let of = if all { String::new() } else { format!(" of the {}", count(row.live_blocks)) };
        return Some(format!(
            "{}{of} blocks of {} ({}) may be no leak: CPython {text} stores as many freed {} for reuse. Try \
             `gc.collect()` first: it returns these blocks.",
            count(entry.blocks),
            short_line(site),
            bytes(entry.bytes as f64),
            list(&entry.lists)
        ));
    }
    let Candidate { list: listed, is_full } = list_of(version, row.live_blocks, row.live_bytes)?;
    let (line, blocks) = (short_line(site), count(row.live_blocks));
    let most = match u64::from(listed.most) {
        most if most >= row.live_blocks => format!("The {blocks} blocks of {line}"),
        most => format!("{} of the {blocks} blocks of {line}", count(most)),
    };
    let (size, name) = (row.live_bytes / row.live_blocks, listed.plural());
    if !is_full {
        return Some(format!(
            "The {blocks} blocks of {line} have the {size} B of {name}. CPython {text} stores up to {} \
             freed ones for reuse: where nothing holds these, `gc.collect()` returns them.",
            count(u64::from(listed.most))
        ));
    }
    Some(format!(
        "{most}, of {size} B each, may be no leak: CPython {text} stores up to {} freed {name} for \
         reuse. `gc.collect()` returns them.",
        count(u64::from(listed.most))
    ))
}

/// That blocks pass from line to line by CPython's lists: a line that only takes objects from them is in no
/// table. `None` for a program that is no Python.
pub fn reused_note(trace_report: &TraceReport) -> Option<&'static str> {
    trace_report.trace.is_python().then_some(
        "CPython gives freed tuples, lists, dicts and floats to other lines without an allocation: \
         such an object counts for the line that allocated it first, so a line that holds some may \
         have fewer here, or none.",
    )
}

/// That freed objects on CPython's lists hold pages as well, and what returns them. A line's change may
/// return nothing while they lie beside its blocks. `None` where no collection empties the lists.
pub fn collection_note(trace_report: &TraceReport) -> Option<&'static str> {
    let (minor, _) = trace_report.trace.gil_python()?;
    // Tried on these versions: src/cpython/free_lists.rs.
    (8..=13).contains(&minor).then_some(
        "CPython stores freed dicts, lists and tuples for reuse, and they hold pages, too: call \
         `gc.collect()` after such a change.",
    )
}

/// The list that as many blocks of one size could be on: a full one, or a part of the tuples of a length.
fn list_of(version: (u32, u32), blocks: u64, bytes: u64) -> Option<Candidate> {
    let candidate = |list: Listed| {
        let most = u64::from(list.most);
        let is_full = list.is_filled_by(blocks, list.bytes_most as u64);
        let is_part =
            list.length.is_some() && (u64::from(LARGE_LIST_OBJECTS)..most).contains(&blocks);
        let is_of_its_size = list.bytes_least == list.bytes_most
            && blocks.checked_mul(list.bytes_most as u64) == Some(bytes);
        (list.most >= LARGE_LIST_OBJECTS && (is_full || is_part) && is_of_its_size)
            .then_some(Candidate { list, is_full })
    };
    listed(version).into_iter().find_map(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_blocks_as_a_list_holds_may_be_on_it() {
        let name = |version, blocks, bytes| {
            let found = list_of(version, blocks, bytes);
            found.filter(|found| found.is_full).map(|found| found.list.plural())
        };
        // A tuple of 3 with the collector's header has 64 bytes, and 72 from 3.14 on.
        assert_eq!(name((11, 2), 2000, 128_000), Some("tuples of 3".into()));
        assert_eq!(name((14, 0), 2000, 144_000), Some("tuples of 3".into()));
        assert_eq!(name((11, 2), 2360, 151_040), Some("tuples of 3".into()));
        assert_eq!(name((11, 2), 100, 2400), Some("floats".into()));
        assert_eq!(name((11, 2), 1000, 64_000), None, "half a list");
        assert_eq!(name((11, 2), 20_000, 1_280_000), None, "ten times as many");
        assert_eq!(name((11, 2), 2000, 128_016), None, "not of one size");
        assert_eq!(name((11, 2), 1, 56), None, "a slice");
        // Half of the tuples of a length may be on their list, or live.
        let half = list_of((11, 2), 1000, 64_000).unwrap();
        assert!(!half.is_full && half.list.plural() == "tuples of 3");
        assert_eq!(list_of((11, 2), 70, 70 * 88), None, "few");
        assert_eq!(list_of((11, 2), 60, 60 * 24), None, "floats that are not all");
    }
}
