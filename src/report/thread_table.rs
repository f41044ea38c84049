//! The tables about threads, for terminal and page: memory in both orders, what ended threads left,
//! and the arenas that allocators report.

use super::figures::{BackendFigures, ByteRange, ResidentFigure, ThreadMemory, TraceReport};
use super::text_table::{Cell, TextTable, UNKNOWN};
use crate::units::{byte_unit, bytes, count, figure3};

/// What the columns mean.
pub const THREADS_NOTE: &str = "Recorded order makes one call at a time, each on its thread, so no \
     time has contention for locks. In free order the threads run at once, so memory is a range over \
     repetitions. Left by ended threads: their blocks and the free space charged to these, \
     and free pages that they used last. Arenas: as the allocator reports them.";

/// What the replay's time lacks of a program whose threads call an allocator at once; `None` for one
/// thread, and where the interpreter's lock has them call one at a time.
pub fn contention_note(trace_report: &TraceReport) -> Option<&'static str> {
    let threads = trace_report.allocators().filter_map(ThreadMemory::of).map(|of| of.threads);
    (!trace_report.trace.has_interpreter_lock() && threads.fold(0.0, f64::max) > 1.0).then_some(
        "Several threads make the calls, and the replay makes one at a time: its times have no \
         contention for locks, of the allocator or the program. `heaplay live` measures the program.",
    )
}

/// Memory by thread and order; `None` for a trace of one thread.
pub fn thread_table(trace_report: &TraceReport) -> Option<TextTable> {
    let all: Vec<(&BackendFigures, ThreadMemory)> = trace_report
        .allocators()
        .filter_map(|backend| Some((backend, ThreadMemory::of(backend)?)))
        .collect();
    if all.is_empty() {
        return None;
    }
    let has_free = all.iter().any(|(_, memory)| memory.free_peak_bytes.is_some());
    let mut header = vec!["backend", "threads", "hand-overs", "peak, recorded order"];
    header.extend(has_free.then_some("peak, free order"));
    let at_end = format!("{}, recorded order", trace_report.end_name());
    header.push(&at_end);
    // In free order nothing is followed but the end of all threads.
    let is_last_call = trace_report.trace.end.is_none();
    let free_end = if is_last_call { "at the end" } else { "after the last call" };
    let free_end = format!("{free_end}, free order");
    header.extend(has_free.then_some(free_end.as_str()));
    header.extend(["left by ended threads", "arenas", "held by arenas", "in blocks"]);
    let row = |(backend, memory): &(&BackendFigures, ThreadMemory)| {
        let resident = |which| {
            let text = backend.memory.text(which).unwrap_or_default();
            Cell::of(backend.memory.resident(which), |_| text.clone())
        };
        // The lower end of a range is the number with which its text begins.
        let free = |range: Option<ByteRange>| {
            let cell = || {
                Cell::of(range.map(|range| range.0), |_| range.map_or(String::new(), range_text))
            };
            has_free.then(cell)
        };
        let whole = |value: Option<f64>| Cell::of(value, |value| count(value as u64));
        let mut row =
            vec![backend.name().into(), whole(Some(memory.threads)), whole(memory.hand_overs)];
        row.push(resident(ResidentFigure::Peak));
        row.extend(free(memory.free_peak_bytes));
        row.push(resident(ResidentFigure::End));
        row.extend(free(memory.free_end_bytes));
        row.push(Cell::of(memory.left.map(|left| left.in_use_bytes), |in_use_bytes| {
            let free_bytes = memory.left.map_or(0.0, |left| left.retained_bytes);
            format!("{} + {} free", bytes(in_use_bytes), bytes(free_bytes))
        }));
        match memory.arenas {
            Some(arenas) => row.extend([
                Cell::count(arenas.arenas as u64),
                Cell::bytes(Some(arenas.held_bytes as f64)),
                Cell::bytes(Some(arenas.allocated_bytes as f64)),
            ]),
            None => row.extend(["not reported", UNKNOWN, UNKNOWN].map(Cell::from)),
        }
        row
    };
    TextTable::of(header, all.iter().map(row).collect())
}

/// `13–17 MiB`.
fn range_text((least, most): ByteRange) -> String {
    let unit = byte_unit(most);
    let [low, high] = [least, most].map(|value| figure3(value / unit.bytes));
    if low == high { bytes(most) } else { format!("{low}–{high} {}", unit.name) }
}

/// The arenas of all backends, as they report them; `None` where none does.
pub fn arena_table(trace_report: &TraceReport) -> Option<TextTable> {
    let size = |value: Option<u64>| Cell::bytes(value.map(|value| value as f64));
    let mut rows = Vec::new();
    for backend in trace_report.allocators() {
        rows.extend(backend.rows.arenas.iter().map(|row| {
            vec![
                backend.name().into(),
                row.arena.clone().into(),
                row.threads.map_or(UNKNOWN.into(), Cell::count),
                size(row.held_bytes),
                size(row.allocated_bytes),
                size(row.cached_bytes),
            ]
        }));
    }
    let header = ["backend", "arena", "threads", "held", "in blocks", "in thread caches"];
    TextTable::of(header, rows)
}

/// What each thread left at the end, those that left most first; `None` for a trace of one thread.
pub fn left_table(trace_report: &TraceReport) -> Option<TextTable> {
    const THREADS_MAX: usize = 12;
    let mut rows = Vec::new();
    for backend in trace_report.allocators().filter(|backend| backend.has_memory()) {
        let mut threads = backend.rows.threads.clone();
        let left = |row: &&crate::results::ThreadRow| {
            let parts = [
                row.usable_end_bytes,
                row.external_fragmentation_end_bytes,
                row.retained_end_bytes,
            ];
            parts.into_iter().flatten().fold(0, u64::saturating_add)
        };
        threads.sort_by_key(|row| (std::cmp::Reverse(left(row)), row.thread));
        let size = |value: Option<u64>| Cell::bytes(value.map(|value| value as f64));
        rows.extend(threads.into_iter().take(THREADS_MAX).map(|row| {
            vec![
                backend.name().into(),
                row.thread.to_string().into(),
                row.end_event.map_or("lives".into(), |event| format!("ends at {event}").into()),
                Cell::count(row.calls),
                Cell::bytes(Some(row.live_end_bytes as f64)),
                size(row.usable_end_bytes),
                size(row.external_fragmentation_end_bytes),
                size(row.retained_end_bytes),
            ]
        }));
    }
    let at_end = trace_report.end_name();
    let header = [
        "backend",
        "thread",
        &at_end,
        "calls",
        "live",
        "usable",
        "free space on its pages",
        "free pages used last by it",
    ];
    TextTable::of(header, rows)
}
