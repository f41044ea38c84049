//! The binary trace of glibc's tracing malloc (the branch `dj/malloc`, `mtrace.so` of glibc's malloc
//! trace utilities): an array of records of 64 bytes, little-endian.
//!
//! ```text
//! i32 thread     u8 type    u24 flags    u64 ptr1    u64 ptr2    u64 size    u64 size2    24 bytes
//!
//! type 0    no record: skipped
//! type 1    ptr2 = malloc(size)              type 5    ptr2 = memalign(size2, size)
//! type 2    ptr2 = calloc(size in all)       type 6    ptr2 = valloc(size)
//! type 3    free(ptr1)                       type 7    ptr2 = pvalloc(size)
//! type 4    ptr2 = realloc(ptr1, size)       type 8    posix_memalign: ptr1 is its result
//! type 255  the first record: ptr1 is 0x1234, size is 8
//! ```
//!
//! A flag (bit 6) of a realloc says that it called malloc and free, whose records follow and are
//! skipped. A thread takes its place in the array when its call begins. So the malloc that gets a
//! block may stand before the free of another thread that returned it. Such a malloc waits for the
//! free. A thread begins with its first call; the trace does not say when it ends.

use std::collections::{HashMap, HashSet};

use super::byte_input::ByteInput;
use super::event::Op;
use super::foreign::{ByteFault, ByteParser, Foreign, Log, LogParser, LogStart};

pub(super) const MEMBER: Foreign = Foreign {
    name: "glibc",
    description: "a binary trace of glibc's malloc",
    sniff,
    parser: || LogParser::Bytes(Box::new(GlibcRecords::default())),
};

const RECORD_BYTES: usize = 64;
/// Type, first pointer and size of the first record.
const MAGIC_TYPE: u8 = 255;
const MAGIC_POINTER: u64 = 0x1234;
const MAGIC_SIZE: u64 = 8;
/// Of the flags: a realloc became a malloc and a free.
const NESTED: u8 = 1 << 6;

/// One record.
#[derive(Clone, Copy, Debug)]
struct GlibcRecord {
    thread: u64,
    kind: u8,
    flags: u8,
    first: u64,
    second: u64,
    size: u64,
    size2: u64,
}

impl GlibcRecord {
    fn read(bytes: &[u8; RECORD_BYTES]) -> GlibcRecord {
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 8).unwrap_or_default();
            bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        GlibcRecord {
            thread: number(0) & 0xFFFF_FFFF,
            kind: bytes[4],
            flags: bytes[5],
            first: number(8),
            second: number(16),
            size: number(24),
            size2: number(32),
        }
    }

    fn is_first(&self) -> bool {
        self.kind == MAGIC_TYPE && self.first == MAGIC_POINTER && self.size == MAGIC_SIZE
    }
}

fn sniff(start: &LogStart<'_>) -> bool {
    start.bytes.first_chunk().is_some_and(|bytes| GlibcRecord::read(bytes).is_first())
}

#[derive(Default)]
struct GlibcRecords {
    has_begun: bool,
    live: HashSet<u64>,
    /// Mallocs of a live address, which wait for its free.
    waiting: HashMap<u64, GlibcRecord>,
    /// By thread: new and old address of a realloc whose malloc and free follow.
    nested: HashMap<u64, (Option<u64>, Option<u64>)>,
}

impl ByteParser for GlibcRecords {
    fn record(&mut self, input: &mut ByteInput, log: &mut Log) -> Result<bool, ByteFault> {
        if input.is_at_end()? {
            let mut waiting: Vec<GlibcRecord> =
                std::mem::take(&mut self.waiting).into_values().collect();
            waiting.sort_unstable_by_key(|record| record.second);
            waiting.iter().for_each(|record| begin(record, log));
            return Ok(false);
        }
        let record = GlibcRecord::read(&input.bytes()?);
        if !self.has_begun {
            self.has_begun = true;
            return if record.is_first() {
                Ok(true)
            } else {
                let found = format!("a first record of type {}", record.kind);
                Err(ByteFault::Wrong(found, "the magic record of a malloc trace"))
            };
        }
        match record.kind {
            0 => return Ok(true),
            MAGIC_TYPE => {
                return Err(ByteFault::Wrong(
                    "a second magic record".into(),
                    "one trace; give each trace a file of its own",
                ));
            }
            1..=8 => {}
            kind => {
                return Err(ByteFault::Wrong(format!("a record of type {kind}"), "a type up to 8"));
            }
        }
        log.set_thread(record.thread);
        if !self.is_nested(&record) {
            self.call(&record, log);
        }
        Ok(true)
    }
}

impl GlibcRecords {
    /// Whether a record is the malloc or free of a realloc.
    fn is_nested(&mut self, record: &GlibcRecord) -> bool {
        let Some((new, old)) = self.nested.get_mut(&record.thread) else { return false };
        let is_awaited = match record.kind {
            1 => new.take_if(|new| *new == record.second).is_some(),
            3 => old.take_if(|old| *old == record.first).is_some(),
            _ => false,
        };
        if !is_awaited || (*new, *old) == (None, None) {
            self.nested.remove(&record.thread);
        }
        is_awaited
    }

    fn call(&mut self, record: &GlibcRecord, log: &mut Log) {
        let (old, new) = (record.first, record.second);
        match record.kind {
            3 => {
                self.live.remove(&old);
                log.free(old);
                if let Some(waiting) = self.waiting.remove(&old) {
                    self.live.insert(old);
                    let thread = record.thread;
                    log.set_thread(waiting.thread);
                    begin(&waiting, log);
                    log.set_thread(thread);
                }
            }
            4 => {
                if record.flags & NESTED != 0 {
                    self.nested.insert(record.thread, (Some(new), Some(old)));
                }
                if new != 0 || record.size == 0 {
                    self.live.remove(&old);
                }
                self.live.insert(new);
                log.realloc(old, record.size, new);
            }
            8 if old != 0 => log.failed_call(), // the result of posix_memalign
            _ if new != 0 && self.live.contains(&new) => {
                if let Some(other) = self.waiting.insert(new, *record) {
                    begin(&other, log);
                }
            }
            _ => {
                self.live.insert(new);
                begin(record, log);
            }
        }
    }
}

/// Adds the block of a record.
fn begin(record: &GlibcRecord, log: &mut Log) {
    log.set_thread(record.thread);
    match record.kind {
        2 => log.birth(Op::Calloc, record.size, record.second),
        5 | 8 => log.aligned_birth(record.size2, record.size, record.second),
        _ => log.birth(Op::Malloc, record.size, record.second),
    }
}
