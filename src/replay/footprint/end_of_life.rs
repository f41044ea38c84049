//! The end of a heap's life: what stays resident after a trim, after a flush of the thread cache,
//! and after every block is freed.

use std::time::Instant;

use super::process_copy::{bytes_returned_by, text_of};
use crate::backends::{ArenaMemory, Backend, Counter, Trim};

/// What stays resident at the end of a heap's life.
#[derive(Clone, Debug, Default)]
pub struct EndOfLife {
    /// The backend's own figures after the last call.
    pub counters: Vec<Counter>,
    /// Memory by arena or cache after the last call, as the allocator reports it. `None` where it does
    /// not, and for a trace of one thread.
    pub arenas: Option<Vec<ArenaMemory>>,
    /// The memory that a trim leaves, as pointers predict; `None` where the backend does not
    /// describe its trim.
    pub trim_predicted_bytes: Option<u64>,
    /// R after the backend's own trim call; `None` if it has none.
    pub resident_trimmed_bytes: Option<u64>,
    /// R after the thread cache is flushed and the backend trims again, tried in a copy of the
    /// process. `None` where the backend has no such cache, or flushes it in its trim.
    pub resident_flushed_bytes: Option<u64>,
    /// Wall time of the trim, in ns.
    pub trim_ns: u64,
    /// R after every block is freed and the backend trims again.
    pub resident_freed_bytes: u64,
}

impl EndOfLife {
    /// Reads the allocator's arenas where the trace has threads, trims, tries a flush, frees every
    /// block by `free_all`, trims again. `resident_bytes` reads R.
    pub(super) fn measure(
        backend: &dyn Backend,
        has_threads: bool,
        resident_bytes: impl Fn() -> u64,
        free_all: impl FnOnce(),
    ) -> EndOfLife {
        let mut found = EndOfLife { counters: backend.counters(), ..EndOfLife::default() };
        if has_threads {
            // An allocator's report may allocate, so a copy of the process writes it.
            let report = text_of(|out| backend.write_arenas(out));
            found.arenas = report.map(|text| backend.read_arenas(&text));
        }
        let began = Instant::now();
        if backend.trim() == Trim::Done {
            found.trim_ns = began.elapsed().as_nanos() as u64;
            let left = resident_bytes();
            found.resident_trimmed_bytes = Some(left);
            let flush_and_trim =
                || backend.flush_thread_cache() == Trim::Done && backend.trim() == Trim::Done;
            let returned = bytes_returned_by(flush_and_trim);
            found.resident_flushed_bytes = returned.map(|bytes| left.saturating_add_signed(-bytes));
        }
        free_all();
        backend.trim();
        found.resident_freed_bytes = resident_bytes();
        found
    }
}
