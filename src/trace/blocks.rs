//! Follows blocks by address or id from birth to end, and numbers the calls. The recorder's log
//! (`raw.rs`) and the logs of other recorders (`foreign_log.rs`) share it.
//!
//! A log has addresses; a row has a lifetime. So a log is read twice. The first reading notes each
//! block's lifetime: 4 bytes a row, and one entry for each live block. The second reading writes the
//! rows with their lifetimes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU64;

use super::event::{Domain, Op, Row};

/// One entry of a log. Threads have the log's own numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    /// A malloc, a calloc, or the end of a realloc.
    Birth {
        op: Op,
        domain: Domain,
        size: u64,
        /// Requested alignment in bytes; 0 for none.
        alignment: u64,
        address: u64,
        thread: u32,
        time_ns: u64,
    },
    /// A free.
    Free { address: u64, thread: u32 },
    /// The begin of a realloc, with its old block.
    GiveUp { address: u64, thread: u32 },
    /// The end of a realloc that failed.
    Failed { thread: u32 },
}

/// Lifetime and ending thread of each row, by its index.
#[derive(Clone, Debug, Default)]
pub(super) struct Lifetimes {
    /// By row. 0 means that the block never ended, `u32::MAX` that its lifetime is in `long`.
    short: Vec<u32>,
    long: HashMap<usize, u64>,
    /// The ending thread, for blocks that another thread allocated.
    threads: HashMap<usize, u32>,
}

/// The end of a block.
pub(super) struct BlockEnd {
    row: usize,
    lifetime: u64,
    /// The ending thread, where another thread allocated the block.
    other_thread: Option<u32>,
    /// The block's domain.
    pub domain: Domain,
    /// Requested bytes.
    pub size: u64,
}

impl Lifetimes {
    /// Adds a row whose block lives.
    pub fn begin(&mut self) {
        self.short.push(0);
    }

    /// Notes the end of a row's block.
    pub fn note(&mut self, end: &BlockEnd) {
        let Some(slot) = self.short.get_mut(end.row) else { return };
        *slot = u32::try_from(end.lifetime).unwrap_or(u32::MAX);
        if *slot == u32::MAX {
            self.long.insert(end.row, end.lifetime);
        }
        if let Some(thread) = end.other_thread {
            self.threads.insert(end.row, thread);
        }
    }

    /// Lifetime and ending thread of a row, as in [`Row`].
    pub fn get(&self, row: usize) -> (Option<NonZeroU64>, Option<u32>) {
        let lifetime = match self.short.get(row) {
            Some(&u32::MAX) => self.long.get(&row).copied().unwrap_or(0),
            Some(&short) => u64::from(short),
            None => 0,
        };
        (NonZeroU64::new(lifetime), self.threads.get(&row).copied())
    }
}

/// A block that lives.
#[derive(Clone, Copy, Debug)]
struct TrackedBlock {
    row: usize,
    event: u64,
    thread: u32,
    domain: Domain,
    size: u64,
}

/// Follows the blocks by their addresses and numbers the calls. Both readings use it, so both number
/// the calls alike.
#[derive(Default)]
pub(super) struct Tracker {
    live: HashMap<u64, TrackedBlock, BuildHasherDefault<AddressHasher>>,
    /// The address and old block of each thread's unfinished realloc; `None` for a block without a
    /// birth.
    given_up: HashMap<u32, (u64, Option<TrackedBlock>)>,
    /// The log's thread numbers in the order of appearance. The trace numbers them from 1.
    threads: Vec<u32>,
    /// The trace's number of each thread.
    numbers: HashMap<u32, u32>,
    /// The thread of the last call, by both numbers.
    last_thread: (u32, u32),
    /// Calls so far.
    pub events: u64,
    /// Rows so far.
    pub rows: u64,
    /// Frees and reallocs of blocks without a birth.
    pub unseen_frees: u64,
    /// The reallocs of them.
    pub unseen_resizes: u64,
    /// Blocks without an end whose address came back.
    pub unseen_ends: u64,
}

impl Tracker {
    /// Takes one item. Returns a birth as a row without its lifetime. Calls `on_end` for each block
    /// that ends.
    pub fn follow(&mut self, item: &Item, on_end: &mut dyn FnMut(&BlockEnd)) -> Option<Row> {
        match *item {
            Item::Free { address, thread } => {
                let thread = self.thread(thread);
                match self.live.remove(&address) {
                    Some(block) => self.end(block, thread, on_end),
                    None => self.unseen_frees += 1,
                }
                None
            }
            Item::GiveUp { address, thread } => {
                let block = self.live.remove(&address);
                self.given_up.insert(thread, (address, block));
                None
            }
            Item::Failed { thread } => {
                if let Some((address, Some(block))) = self.given_up.remove(&thread) {
                    self.live.insert(address, block);
                }
                None
            }
            Item::Birth { op, domain, size, alignment, address, thread, time_ns } => {
                let given_up = if op == Op::Realloc { self.given_up.remove(&thread) } else { None };
                let thread = self.thread(thread);
                if let Some(block) = self.live.remove(&address) {
                    self.unseen_ends += 1;
                    self.end(block, thread, on_end);
                }
                let (op, event) =
                    self.resize(op, domain, given_up.and_then(|(_, block)| block), thread, on_end);
                self.events = event + 1;
                let row = usize::try_from(self.rows).unwrap_or(usize::MAX);
                self.rows += 1;
                self.live.insert(address, TrackedBlock { row, event, thread, domain, size });
                let mut row = Row::new(event, op, size, None);
                (row.thread, row.domain, row.time_ns) = (thread, domain, time_ns);
                // A realloc keeps no alignment.
                row.alignment = if op == Op::Malloc { alignment } else { 0 };
                Some(row)
            }
        }
    }

    /// The op and the event of a request in the trace. A realloc ends its old block at its own
    /// event. A realloc of a block without a birth becomes a malloc. A trace cannot hold a realloc
    /// across domains; it becomes a free and a malloc.
    fn resize(
        &mut self,
        op: Op,
        domain: Domain,
        old: Option<TrackedBlock>,
        thread: u32,
        on_end: &mut dyn FnMut(&BlockEnd),
    ) -> (Op, u64) {
        let event = self.events;
        match (op, old) {
            (Op::Realloc, Some(block)) => {
                let is_whole = block.domain.shares_blocks_with(domain);
                self.end(block, thread, on_end);
                if is_whole { (Op::Realloc, event) } else { (Op::Malloc, self.events) }
            }
            (Op::Realloc, None) => {
                self.unseen_frees += 1;
                self.unseen_resizes += 1;
                (Op::Malloc, event)
            }
            (op, _) => (op, event),
        }
    }

    fn end(&mut self, block: TrackedBlock, thread: u32, on_end: &mut dyn FnMut(&BlockEnd)) {
        let other_thread = (block.thread != thread).then_some(thread);
        on_end(&BlockEnd {
            row: block.row,
            lifetime: self.events - block.event,
            other_thread,
            domain: block.domain,
            size: block.size,
        });
        self.events += 1;
    }

    /// The log's thread numbers, in the order of the trace's numbers, which run from 1.
    pub fn threads(&self) -> &[u32] {
        &self.threads
    }

    /// The event of the live block at `address`.
    pub fn event_of(&self, address: u64) -> Option<u64> {
        self.live.get(&address).map(|block| block.event)
    }

    /// The trace's number of a thread.
    fn thread(&mut self, number: u32) -> u32 {
        if self.last_thread.0 == number && self.last_thread.1 > 0 {
            return self.last_thread.1;
        }
        let threads = &mut self.threads;
        let known = *self.numbers.entry(number).or_insert_with(|| {
            threads.push(number);
            threads.len() as u32
        });
        self.last_thread = (number, known);
        known
    }
}

/// Hashes addresses by one multiplication. Addresses are many, and no adversary chooses them.
#[derive(Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }
}
