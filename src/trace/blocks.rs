//! Follows blocks by address or id from birth to end, and numbers the calls. What the
//! recorder's log (`raw.rs`) and the logs of others (`foreign.rs`) have in common.
//!
//! A log has addresses; a row has a lifetime. So a log is read twice: the first time each block's
//! lifetime is noted by its row (4 bytes a row, and what is live at a time), and the second time
//! the rows are written with it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU64;

use super::{Domain, Op, Row};

/// One thing that the log says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Birth { op: Op, domain: Domain, size: u64, address: u64, thread: u32, time_ns: u64 },
    Free { address: u64, thread: u32 },
    GiveUp { address: u64, thread: u32 },
    Failed { thread: u32 },
}

/// Lifetime and ending thread of each row, by its index.
#[derive(Clone, Debug, Default)]
pub(super) struct Lifetimes {
    /// 0: never ended. `u32::MAX`: see `long`.
    short: Vec<u32>,
    long: HashMap<usize, u64>,
    /// Threads that ended blocks of another one.
    threads: HashMap<usize, u32>,
}

/// A block that ended.
pub(super) struct Ended {
    row: usize,
    lifetime: u64,
    /// The thread that ended it, where it was another than the one that got it.
    by_other: Option<u32>,
}

impl Lifetimes {
    pub fn begin(&mut self) {
        self.short.push(0);
    }

    pub fn note(&mut self, ended: &Ended) {
        let Some(slot) = self.short.get_mut(ended.row) else { return };
        *slot = u32::try_from(ended.lifetime).unwrap_or(u32::MAX);
        if *slot == u32::MAX {
            self.long.insert(ended.row, ended.lifetime);
        }
        if let Some(thread) = ended.by_other {
            self.threads.insert(ended.row, thread);
        }
    }

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
struct Block {
    row: usize,
    event: u64,
    thread: u32,
    domain: Domain,
}

/// Follows the blocks by their addresses and numbers the calls. Both readings run it, so both
/// number alike.
#[derive(Default)]
pub(super) struct Tracker {
    live: HashMap<u64, Block, BuildHasherDefault<AddressHasher>>,
    /// What each thread's realloc in flight has given up; `None` for a block never seen.
    given_up: HashMap<u32, (u64, Option<Block>)>,
    /// The recorder's thread numbers in the order in which they came, from 1.
    threads: Vec<u32>,
    pub events: u64,
    pub rows: u64,
    pub unseen_frees: u64,
    pub unseen_ends: u64,
}

impl Tracker {
    /// Takes one item; a birth comes back as a row without its lifetime. `ended` hears of each
    /// block that ends.
    pub fn follow(&mut self, item: &Item, ended: &mut dyn FnMut(&Ended)) -> Option<Row> {
        match *item {
            Item::Free { address, thread } => {
                let thread = self.thread(thread);
                match self.live.remove(&address) {
                    Some(block) => self.end(block, thread, ended),
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
            Item::Birth { op, domain, size, address, thread, time_ns } => {
                let given_up = if op == Op::Realloc { self.given_up.remove(&thread) } else { None };
                let thread = self.thread(thread);
                if let Some(block) = self.live.remove(&address) {
                    self.unseen_ends += 1;
                    self.end(block, thread, ended);
                }
                let (op, event) =
                    self.resize(op, domain, given_up.and_then(|(_, block)| block), thread, ended);
                self.events = event + 1;
                let row = usize::try_from(self.rows).unwrap_or(usize::MAX);
                self.rows += 1;
                self.live.insert(address, Block { row, event, thread, domain });
                let mut row = Row::new(event, op, size, None);
                (row.thread, row.domain, row.time_ns) = (thread, domain, time_ns);
                Some(row)
            }
        }
    }

    /// What a request is in the trace, and its event. A realloc ends the block that it gave up at
    /// its own event; one of a block never seen is a malloc, and one across domains, which a trace
    /// cannot hold, a free and a malloc.
    fn resize(
        &mut self,
        op: Op,
        domain: Domain,
        old: Option<Block>,
        thread: u32,
        ended: &mut dyn FnMut(&Ended),
    ) -> (Op, u64) {
        let event = self.events;
        match (op, old) {
            (Op::Realloc, Some(block)) => {
                let is_whole = block.domain.shares_blocks_with(domain);
                self.end(block, thread, ended);
                if is_whole { (Op::Realloc, event) } else { (Op::Malloc, self.events) }
            }
            (Op::Realloc, None) => {
                self.unseen_frees += 1;
                (Op::Malloc, event)
            }
            (op, _) => (op, event),
        }
    }

    fn end(&mut self, block: Block, thread: u32, ended: &mut dyn FnMut(&Ended)) {
        let by_other = (block.thread != thread).then_some(thread);
        ended(&Ended { row: block.row, lifetime: self.events - block.event, by_other });
        self.events += 1;
    }

    /// The log's numbers of the threads, in the order of the trace's, which run from 1.
    pub fn threads(&self) -> &[u32] {
        &self.threads
    }

    fn thread(&mut self, number: u32) -> u32 {
        let index = self.threads.iter().position(|&known| known == number).unwrap_or_else(|| {
            self.threads.push(number);
            self.threads.len() - 1
        });
        index as u32 + 1
    }
}

/// Spreads addresses by one multiplication: they are many, and no adversary chose them.
#[derive(Default)]
struct AddressHasher(u64);

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
