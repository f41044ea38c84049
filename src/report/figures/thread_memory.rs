//! Memory of a backend on a trace of several threads: in both orders, by the allocator's own report
//! of its arenas, and what threads that had ended left.

use serde::Serialize;

use super::backend::BackendFigures;
use super::memory::ByteRange;
use crate::results::{ArenaRow, Metric, Scope};

/// What threads that had ended left resident at the end of the trace, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LeftByEnded {
    /// Threads that had ended.
    pub threads: f64,
    /// Requested bytes of their blocks that still live.
    pub live_bytes: f64,
    /// Usable bytes of these blocks and the free space on pages in use that is charged to them.
    pub in_use_bytes: f64,
    /// Resident pages without a live block on which their block was the last.
    pub retained_bytes: f64,
}

/// The sum of the arenas and caches that an allocator reports, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReportedArenas {
    /// How many.
    pub arenas: usize,
    /// What they hold from the system.
    pub held_bytes: u64,
    /// What of it is in blocks.
    pub allocated_bytes: u64,
}

/// Memory of a backend by thread and by order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ThreadMemory {
    /// Threads that made the calls in recorded order.
    pub threads: f64,
    /// Times that the calls went on on another thread in recorded order.
    pub hand_overs: Option<f64>,
    /// The largest resident memory in free order, from the least to the most over repetitions.
    pub free_peak_bytes: Option<ByteRange>,
    /// Resident memory at the end in free order, likewise.
    pub free_end_bytes: Option<ByteRange>,
    /// What ended threads left.
    pub left: Option<LeftByEnded>,
    /// The allocator's own report; `None` where it reports nothing.
    pub arenas: Option<ReportedArenas>,
}

impl ThreadMemory {
    /// The figures of a backend; `None` for a trace of one thread.
    pub fn of(backend: &BackendFigures) -> Option<ThreadMemory> {
        let first = |metric: Metric| backend.rows.first_value(metric);
        let range = |metric: Metric| {
            let values = backend.values(Scope::All, metric).iter().copied();
            let finite = values.filter(|value| value.is_finite() && *value >= 0.0);
            finite.fold(None, |range: Option<ByteRange>, value| {
                let (least, most) = range.unwrap_or((value, value));
                Some((least.min(value), most.max(value)))
            })
        };
        let left = || {
            Some(LeftByEnded {
                threads: first(Metric::EndedThreads)?,
                live_bytes: first(Metric::EndedThreadsLiveBytes)?,
                in_use_bytes: first(Metric::EndedThreadsInUseBytes)?,
                retained_bytes: first(Metric::EndedThreadsRetainedBytes)?,
            })
        };
        let free_peak_bytes = range(Metric::FreeOrderResidentPeakBytes);
        let threads = match (first(Metric::Threads), free_peak_bytes) {
            (Some(threads), _) => threads,
            (None, Some(_)) => f64::NAN,
            (None, None) => return None,
        };
        Some(ThreadMemory {
            threads,
            hand_overs: first(Metric::HandOvers),
            free_peak_bytes,
            free_end_bytes: range(Metric::FreeOrderResidentEndBytes),
            left: left(),
            arenas: reported(&backend.rows.arenas),
        })
    }
}

fn reported(rows: &[&ArenaRow]) -> Option<ReportedArenas> {
    let sum = |of: fn(&ArenaRow) -> Option<u64>| {
        rows.iter().filter_map(|row| of(row)).fold(0, u64::saturating_add)
    };
    // gperftools reports its whole heap, and caches that are parts of it.
    if let Some(whole) = rows.iter().find(|row| row.arena == "whole heap") {
        return Some(ReportedArenas {
            arenas: 1,
            held_bytes: whole.held_bytes.unwrap_or(0),
            allocated_bytes: whole.allocated_bytes.unwrap_or(0),
        });
    }
    (!rows.is_empty()).then(|| ReportedArenas {
        arenas: rows.iter().filter(|row| row.arena.starts_with("arena ")).count(),
        held_bytes: sum(|row| row.held_bytes),
        allocated_bytes: sum(|row| row.allocated_bytes),
    })
}
