//! What a trace knows of the recorded process besides its requests: threads, memory over time, and
//! what the program requested of its allocator besides memory.
//!
//! None of this is a call, so none has an index of its own. Each entry has the index of the next
//! call: `event` 7 stands between the calls 6 and 7.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::cpython::CollectorRecord;

/// A thread of the recorded process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadRecord {
    /// The thread's own id in the log: a kernel's or a library's. 0 where the log has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: u64,
    /// The thread's name; empty where the log has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The index of the next call when the thread began; `None` where the log does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth: Option<u64>,
    /// The index of the next call when the thread ended; `None` for a thread that outlives the
    /// trace, or where the log does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<u64>,
}

/// The memory of the recorded process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySample {
    /// The index of the next call.
    pub event: u64,
    /// Nanoseconds since the recording started.
    pub time_ns: u64,
    /// Resident anonymous memory of the process, bytes (`RssAnon` of `/proc/self/status`).
    pub anonymous_bytes: u64,
    /// The parts of it that are known; `None` before they were first read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<MemoryParts>,
}

/// What the resident anonymous memory of a process consists of, as far as that is known, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryParts {
    /// Live blocks of the recording, each with what the C library's malloc adds to it, without those
    /// in arenas.
    pub blocks: u64,
    /// Arenas of pymalloc and chunks of the interpreter's frame stacks.
    pub arenas: u64,
    /// Free memory in the C library's malloc, when it was last read; 0 where another allocator served
    /// the process.
    pub free: u64,
    /// Mappings that the program made by itself, when they were last looked at.
    pub own_mappings: u64,
    /// Data of loaded files, and the main stack, when they were last looked at.
    pub images: u64,
}

impl MemoryParts {
    /// The parts that the recording explains, bytes. A replay makes no mappings of the program, so
    /// these are not counted.
    pub fn explained(&self) -> u64 {
        let parts = [self.blocks, self.arenas, self.free, self.images];
        parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }
}

/// What a program asks of its allocator, besides memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllocatorRequest {
    /// `malloc_trim(pad_bytes)`: return unused memory.
    Trim {
        /// Bytes to leave at the top of the heap.
        pad_bytes: u64,
    },
    /// `mallopt(parameter, value)`: change a setting of the C library's malloc.
    Option {
        /// The parameter, as `<malloc.h>` numbers it.
        parameter: i64,
        /// The value.
        value: i64,
    },
}

/// One such request of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatorEvent {
    /// The index of the next call.
    pub event: u64,
    /// The thread that made it, by the trace's number.
    #[serde(default)]
    pub thread: u32,
    /// The request.
    pub request: AllocatorRequest,
}

/// How a process begins to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// The interpreter finalises itself: the callbacks of `atexit` have run, and modules are cleared
    /// next.
    Finalisation,
    /// `main` has returned, or the program has called `exit`.
    Exit,
}

/// The moment at which a process begins to end: what it holds then is its own, and the calls after it
/// take the process apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndMoment {
    /// The index of the next call.
    pub event: u64,
    /// How the process begins to end.
    pub cause: EndCause,
}

/// A large block that the program did not touch wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentBytes {
    /// The event of the block's row.
    pub event: u64,
    /// Bytes of it that were resident when the block ended, or when the recording did.
    pub bytes: u64,
}

/// What is known of the recorded process besides its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Threads, by the trace's number: the first has number 1. Empty where the trace names no
    /// threads besides those of its rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<ThreadRecord>,
    /// Memory over time, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemorySample>,
    /// What the program requested of its allocator besides memory, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<AllocatorEvent>,
    /// Large blocks and how much of them was touched, in the order of their rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub present: Vec<PresentBytes>,
    /// Where the process begins to end; `None` where it ended in another way (`_exit`, a signal, a
    /// limit of the recording), or the trace does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<EndMoment>,
    /// What the garbage collector visited; `None` where the trace does not say, as for a process without
    /// a collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collector: Option<CollectorRecord>,
    /// The function that a line is part of, by `file:line`. Empty where the trace does not say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, String>,
}

/// The record of a trace that knows nothing.
pub(super) static NOTHING_KNOWN: ProcessRecord = ProcessRecord::NONE;

impl ProcessRecord {
    /// Nothing is known.
    pub const NONE: ProcessRecord = ProcessRecord {
        threads: Vec::new(),
        memory: Vec::new(),
        requests: Vec::new(),
        present: Vec::new(),
        end: None,
        collector: None,
        functions: BTreeMap::new(),
    };

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == ProcessRecord::NONE
    }

    /// The thread of that number, as the trace numbers them from 1.
    pub fn thread(&self, number: u32) -> Option<&ThreadRecord> {
        self.threads.get((number as usize).checked_sub(1)?)
    }
}

/// Numbers the threads of a log: 1 for the first that appears, and so on. The log's own ids may be
/// of 64 bits and far apart.
#[derive(Clone, Debug, Default)]
pub struct ThreadNumbers {
    numbers: HashMap<u64, u32>,
    records: Vec<ThreadRecord>,
    /// Whether the ids are no more than numbers of this log, which has threads' own ids beside them.
    has_own_ids: bool,
}

impl ThreadNumbers {
    /// For a log that gives threads' own ids by [`ThreadNumbers::identify`].
    pub fn with_own_ids() -> ThreadNumbers {
        ThreadNumbers { has_own_ids: true, ..ThreadNumbers::default() }
    }

    /// The number of the thread with that id. A new id is entered.
    pub fn number(&mut self, id: u64) -> u32 {
        if let Some(&number) = self.numbers.get(&id) {
            return number;
        }
        self.begin(id)
    }

    /// Enters a new thread of that id, also where an earlier thread had the same id.
    fn begin(&mut self, id: u64) -> u32 {
        let own_id = if self.has_own_ids { 0 } else { id };
        self.records.push(ThreadRecord { id: own_id, ..ThreadRecord::default() });
        let number = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        self.numbers.insert(id, number);
        number
    }

    /// Notes that a thread begins before the call of index `event`. Returns its number. An id that
    /// an ended thread had gets a new number.
    pub fn birth(&mut self, id: u64, event: u64) -> u32 {
        let known = self.numbers.get(&id).copied();
        let number = match known {
            Some(number) if !self.has_begun(number) => number,
            _ => self.begin(id),
        };
        if let Some(record) = self.record(number) {
            record.birth = Some(event);
        }
        number
    }

    /// Notes that a thread ends before the call of index `event`. A later thread of the same id gets
    /// a new number.
    pub fn death(&mut self, id: u64, event: u64) {
        let number = self.number(id);
        if let Some(record) = self.record(number) {
            record.death = Some(event);
        }
        self.numbers.remove(&id);
    }

    /// Names a thread.
    pub fn name(&mut self, id: u64, name: &str) {
        let number = self.number(id);
        if let Some(record) = self.record(number) {
            name.clone_into(&mut record.name);
        }
    }

    /// Notes the log's own id of a thread that is known by another.
    pub fn identify(&mut self, id: u64, own_id: u64) {
        let number = self.number(id);
        if let Some(record) = self.record(number) {
            record.id = own_id;
        }
    }

    fn has_begun(&mut self, number: u32) -> bool {
        self.record(number).is_some_and(|record| record.birth.is_some())
    }

    fn record(&mut self, number: u32) -> Option<&mut ThreadRecord> {
        self.records.get_mut((number as usize).checked_sub(1)?)
    }

    /// The threads, by number.
    pub fn records(&self) -> &[ThreadRecord] {
        &self.records
    }
}

/// For serde, which passes a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_numbered_as_they_appear() {
        let mut threads = ThreadNumbers::default();
        assert_eq!(threads.number(140_135_846_332_224), 1);
        assert_eq!((threads.birth(7, 3), threads.number(7)), (2, 2));
        threads.death(7, 9);
        // A new thread that has the id of a dead one is another thread.
        assert_eq!(threads.number(7), 3);
        assert_eq!((threads.birth(8, 10), threads.birth(8, 11)), (4, 5));
        threads.name(8, "worker");
        let records = threads.records();
        assert_eq!((records[1].birth, records[1].death), (Some(3), Some(9)));
        assert_eq!((records[4].name.as_str(), records[4].birth), ("worker", Some(11)));
        assert_eq!(records.len(), 5);
    }
}
