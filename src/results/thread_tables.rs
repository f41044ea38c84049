//! The rows of the tables about threads. A trace of one thread has none of them.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::key::CellKey;

/// A row of `threads.csv`: a thread of the trace, and what it left at the end of a footprint pass.
/// The figures of memory are empty for a backend without memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadRow {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// The trace's number of the thread.
    pub thread: u32,
    /// The call before which it begins; 0 for the first thread.
    pub begin_event: u64,
    /// The call before which it ends; empty where it outlives the trace.
    pub end_event: Option<u64>,
    /// Calls that it makes.
    pub calls: u64,
    /// Bytes that it requests.
    pub requested_bytes: u64,
    /// Blocks that it allocated and that live at the end of the trace.
    pub live_end_blocks: u64,
    /// Their requested bytes.
    pub live_end_bytes: u64,
    /// Their usable bytes.
    pub usable_end_bytes: Option<u64>,
    /// Free space on pages in use that is charged to them, as in `attribution.csv`.
    pub external_fragmentation_end_bytes: Option<u64>,
    /// Resident pages without a live block on which a block of the thread was the last.
    pub retained_end_bytes: Option<u64>,
}

/// A row of `thread_activity.csv`: a thread over the calls of the trace. The threads with most calls
/// have a row each, all others one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadActivity {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// The trace's number of the thread; empty for all others.
    pub thread: Option<u32>,
    /// Threads in the row.
    pub threads: u32,
    /// Calls by column; the columns have equally many calls of the trace. See [`encode_numbers`].
    pub calls: String,
    /// The most requested bytes live in each column of blocks that the thread allocated; of several
    /// threads, the sum.
    pub live_bytes: String,
}

/// A row of `thread_frees.csv`: blocks by the thread that allocated them and the thread that ended
/// them, by free or realloc. The threads are those of `thread_activity.csv`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadFrees {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// The thread that allocated the blocks; empty for all others.
    pub allocated_by: Option<u32>,
    /// The thread that ended them; empty for all others.
    pub ended_by: Option<u32>,
    /// Blocks.
    pub blocks: u64,
    /// Of them, those that were ended by another thread than allocated them. Threads that share a
    /// row may end blocks of each other.
    pub remote_blocks: u64,
    /// Their requested bytes.
    pub bytes: u64,
}

/// A row of `arenas.csv`: memory of an arena or cache at the end of the trace, as the allocator
/// itself reports it. A backend that reports nothing has no row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ArenaRow {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// The allocator's name of it.
    pub arena: String,
    /// Threads that allocate from it then; empty where that is not reported.
    pub threads: Option<u64>,
    /// Bytes that it has from the system; jemalloc reports those that are resident.
    pub held_bytes: Option<u64>,
    /// Bytes of blocks that it has given out, those in thread caches included.
    pub allocated_bytes: Option<u64>,
    /// Bytes of free blocks in the caches of its threads.
    pub cached_bytes: Option<u64>,
}

/// Writes numbers as text, with spaces between them. A run of equal ones has its length before it:
/// `3*0 7` is 0, 0, 0, 7.
pub fn encode_numbers(numbers: &[u64]) -> String {
    let runs = numbers.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1 => run[0].to_string(),
        length => format!("{length}*{}", run[0]),
    });
    runs.collect::<Vec<_>>().join(" ")
}

/// Reads what [`encode_numbers`] wrote, up to `most` numbers; what is no number is left out.
pub fn decode_numbers(text: &str, most: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for word in text.split(' ') {
        let (length, number) = word.split_once('*').unwrap_or(("1", word));
        if let (Ok(length), Ok(number)) = (length.parse::<usize>(), number.parse()) {
            numbers.resize((numbers.len().saturating_add(length)).min(most), number);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_runs() {
        let numbers = [0, 0, 0, 7, u64::MAX, u64::MAX, 1];
        let text = encode_numbers(&numbers);
        assert_eq!(text, format!("3*0 7 2*{} 1", u64::MAX));
        assert_eq!(decode_numbers(&text, 100), numbers);
        assert_eq!(decode_numbers(&text, 4), numbers[..4]);
        assert_eq!(decode_numbers("x 9999999999999999999999*3 2*z 99*5", 3), [5, 5, 5]);
        assert!(decode_numbers("", 3).is_empty());
    }
}
