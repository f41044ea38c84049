//! The threads of a trace in a footprint pass: who allocates, who frees and when, and what each
//! thread leaves resident at the end.
//!
//! A block belongs to the thread that allocated it. At the end of the trace the blocks of a thread
//! still live, and free space on their pages is charged to them as in `page_retention.rs`. A
//! resident page without a live block is charged to the thread whose block lay there last. So it is
//! known what a thread that has ended left behind, of any allocator.
//!
//! A trace of one thread has no such observer.

use std::collections::{BTreeMap, HashMap};
use std::ptr;

use super::blocks::BlockAccounts;
use super::heap_map::used_ranges;
use super::page::{PAGE_BYTES, PAGE_SHIFT, kernel_page_bytes};
use super::page_retention::page_view;
use super::resident_pages::resident_in;
use crate::program::{Action, Outline, Program, ThreadRun};
use crate::replay::probe::Done;
use crate::replay::threads::{ThreadLife, thread_lives};

/// Columns of time; a trace of fewer calls has one for each call.
const COLUMNS: u64 = 240;

/// A thread in one column of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadColumn {
    /// Calls that it made.
    pub calls: u64,
    /// The most requested bytes live of blocks that it allocated.
    pub live_bytes: u64,
}

/// What a thread leaves at the end of the trace, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadRemains {
    /// Live blocks that it allocated.
    pub live_blocks: u64,
    /// Their requested bytes.
    pub live_bytes: u64,
    /// Their usable bytes.
    pub usable_bytes: u64,
    /// Free space that is charged to them, on pages in use.
    pub external_fragmentation_bytes: u64,
    /// Resident pages without a live block on which its block was the last.
    pub retained_bytes: u64,
}

/// A thread of the trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadAccount {
    /// The trace's number of it.
    pub number: u32,
    /// When it lived.
    pub life: ThreadLife,
    /// Its calls.
    pub calls: u64,
    /// Bytes that it requested.
    pub requested_bytes: u64,
    /// By column.
    pub columns: Vec<ThreadColumn>,
    /// At the end of the trace.
    pub remains: ThreadRemains,
}

/// Blocks that one thread allocated and one thread ended, by free or realloc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedBlocks {
    /// Blocks.
    pub blocks: u64,
    /// Their requested bytes.
    pub bytes: u64,
}

/// The threads of a trace; empty for a trace of one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadHistory {
    /// By index in the outline.
    pub threads: Vec<ThreadAccount>,
    /// By the indices of the allocating and the ending thread.
    pub ended: BTreeMap<(u32, u32), EndedBlocks>,
}

/// A column of a thread in which something happened.
struct ActiveColumn {
    column: u32,
    seen: ThreadColumn,
    /// Live bytes at its end.
    last_bytes: u64,
}

/// A thread while it is observed.
struct ObservedThread {
    requested_bytes: u64,
    calls: u64,
    live_bytes: u64,
    columns: Vec<ActiveColumn>,
    own_ends: EndedBlocks,
}

impl ObservedThread {
    /// The present column.
    fn column(&mut self, column: u32) -> &mut ActiveColumn {
        if self.columns.last().is_none_or(|last| last.column != column) {
            let seen = ThreadColumn { calls: 0, live_bytes: self.live_bytes };
            self.columns.push(ActiveColumn { column, seen, last_bytes: self.live_bytes });
        }
        let at = self.columns.len() - 1;
        &mut self.columns[at]
    }

    fn set_live_bytes(&mut self, column: u32, live_bytes: u64) {
        self.live_bytes = live_bytes;
        let present = self.column(column);
        present.seen.live_bytes = present.seen.live_bytes.max(live_bytes);
        present.last_bytes = live_bytes;
    }

    /// All columns, those without an event, too.
    fn all_columns(&self, columns: u64) -> Vec<ThreadColumn> {
        let mut all = Vec::with_capacity(columns as usize);
        let mut live_bytes = 0;
        for active in &self.columns {
            all.resize(active.column as usize, ThreadColumn { calls: 0, live_bytes });
            all.push(active.seen);
            live_bytes = active.last_bytes;
        }
        all.resize(columns as usize, ThreadColumn { calls: 0, live_bytes });
        all
    }
}

/// The owner of the block in a slot.
#[derive(Clone, Copy, Default)]
struct OwnedBlock {
    thread: u32,
    size: u64,
}

/// Observes the threads of a replay.
pub(super) struct ThreadObserver {
    lives: Vec<ThreadLife>,
    numbers: Vec<u32>,
    threads: Vec<ObservedThread>,
    ended: HashMap<(u32, u32), EndedBlocks>,
    /// By slot.
    owners: Vec<OwnedBlock>,
    users: PageUsers,
    backs_memory: bool,
    /// The runs of the present part, the index of its first call, and the present run.
    runs: Vec<ThreadRun>,
    first: usize,
    run: usize,
    calls: u64,
    columns: u64,
    column: u32,
    /// Calls before the end of the present column.
    column_end: u64,
}

impl ThreadObserver {
    /// An observer of the program of `outline`; `None` where one thread makes all calls.
    pub(super) fn new(outline: &Outline, backs_memory: bool) -> Option<ThreadObserver> {
        let new = || ObservedThread {
            requested_bytes: 0,
            calls: 0,
            live_bytes: 0,
            columns: Vec::new(),
            own_ends: EndedBlocks::default(),
        };
        let columns = COLUMNS.min(outline.calls).max(1);
        (outline.threads.len() > 1).then(|| ThreadObserver {
            lives: thread_lives(outline),
            numbers: outline.threads.iter().map(|thread| thread.number).collect(),
            threads: outline.threads.iter().map(|_| new()).collect(),
            ended: HashMap::new(),
            owners: vec![OwnedBlock::default(); outline.slots],
            users: PageUsers::default(),
            backs_memory,
            runs: vec![],
            first: 0,
            run: 0,
            calls: outline.calls,
            columns,
            column: 0,
            column_end: outline.calls.div_ceil(columns),
        })
    }

    /// The next calls are those of this part.
    pub(super) fn begin_part(&mut self, part: &Program) {
        self.runs = part.thread_runs().to_vec();
        (self.first, self.run) = (part.first() as usize, 0);
    }

    /// The thread of a call.
    fn thread_of(&mut self, index: usize) -> u32 {
        let local = index - self.first;
        while self.runs.get(self.run).is_some_and(|run| run.until <= local) {
            self.run += 1;
        }
        self.runs.get(self.run).map_or(0, |run| run.thread)
    }

    /// Accounts for a call.
    pub(super) fn observe(&mut self, done: &Done) {
        while done.index as u64 >= self.column_end {
            self.column += 1;
            self.column_end = (u64::from(self.column + 1) * self.calls).div_ceil(self.columns);
        }
        let (thread, column) = (self.thread_of(done.index), self.column);
        if matches!(done.action, Action::Realloc | Action::Free) {
            let OwnedBlock { thread: owner, size } = self.owners[done.slot];
            let of = &mut self.threads[owner as usize];
            of.set_live_bytes(column, of.live_bytes - size);
            let ends = match owner == thread {
                true => &mut of.own_ends,
                false => self.ended.entry((owner, thread)).or_default(),
            };
            ends.blocks += 1;
            ends.bytes += size;
        }
        let own = &mut self.threads[thread as usize];
        own.calls += 1;
        own.column(column).seen.calls += 1;
        if done.action != Action::Free {
            let size = done.size as u64;
            self.owners[done.slot] = OwnedBlock { thread, size };
            own.requested_bytes += size;
            own.set_live_bytes(column, own.live_bytes + size);
            if self.backs_memory {
                self.users.mark(done.new as usize, done.size, thread);
            }
        }
    }

    /// The history, at the end of the trace while the blocks still live.
    pub(super) fn finish(self, blocks: &BlockAccounts) -> ThreadHistory {
        let remains = self.remains(blocks);
        self.history(remains)
    }

    /// What each thread leaves.
    fn remains(&self, blocks: &BlockAccounts) -> Vec<ThreadRemains> {
        let mut remains = vec![ThreadRemains::default(); self.threads.len()];
        // The site of a block is its thread here.
        let mut live = blocks.live_blocks_by(|slot| self.owners[slot].thread);
        for block in &live {
            remains[block.site as usize].usable_bytes += block.usable;
            remains[block.site as usize].live_blocks += 1;
            remains[block.site as usize].live_bytes += block.size;
        }
        if self.backs_memory {
            for retention in page_view(&mut live).sites {
                remains[retention.site as usize].external_fragmentation_bytes =
                    retention.external_fragmentation_bytes;
            }
            let parts = kernel_page_bytes() / PAGE_BYTES;
            for (start, end) in used_ranges(blocks.pages()) {
                for address in resident_in(start, end) {
                    for page in (0..parts).map(|part| (address >> PAGE_SHIFT) + part) {
                        let user = self.users.last(page);
                        if let (Some(user), false) = (user, blocks.pages().is_in_use(page)) {
                            remains[user as usize].retained_bytes += PAGE_BYTES as u64;
                        }
                    }
                }
            }
        }
        remains
    }

    fn history(self, remains: Vec<ThreadRemains>) -> ThreadHistory {
        let mut ended: BTreeMap<(u32, u32), EndedBlocks> = self.ended.into_iter().collect();
        let own_ends = (0..).zip(&self.threads).filter(|(_, thread)| thread.own_ends.blocks > 0);
        ended.extend(own_ends.map(|(at, thread)| ((at, at), thread.own_ends)));
        let account = |((thread, number), (life, remains)): (
            (&ObservedThread, &u32),
            (&ThreadLife, ThreadRemains),
        )| ThreadAccount {
            number: *number,
            life: *life,
            calls: thread.calls,
            requested_bytes: thread.requested_bytes,
            columns: thread.all_columns(self.columns),
            remains,
        };
        let names = self.threads.iter().zip(&self.numbers);
        let threads = names.zip(self.lives.iter().zip(remains)).map(account).collect();
        ThreadHistory { threads, ended }
    }
}

/// The threads of a whole program, without a replay: what they leave is counted in blocks and
/// requested bytes only.
pub fn thread_history(program: &Program) -> ThreadHistory {
    let outline = program.outline();
    let Some(mut observer) = ThreadObserver::new(outline, false) else {
        return ThreadHistory::default();
    };
    observer.begin_part(program);
    let mut is_live = vec![false; outline.slots];
    for (index, instruction) in program.instructions().iter().enumerate() {
        let (action, slot) = (instruction.action(), instruction.slot());
        let size = if action == Action::Free { 0 } else { program.size(index) };
        let (old, new) = (ptr::null_mut(), ptr::null_mut());
        observer.observe(&Done { index, action, slot, size, old, new });
        is_live[slot] = action != Action::Free;
    }
    let mut remains = vec![ThreadRemains::default(); outline.threads.len()];
    for (owner, _) in observer.owners.iter().zip(&is_live).filter(|(_, is_live)| **is_live) {
        let own = &mut remains[owner.thread as usize];
        own.live_blocks += 1;
        own.live_bytes += owner.size;
    }
    observer.history(remains)
}

/// The thread whose block lay on a page last, by page. A table for each GiB of address space.
#[derive(Default)]
struct PageUsers {
    tables: HashMap<usize, Box<[u32]>>,
}

const TABLE_PAGES: usize = 1 << (30 - PAGE_SHIFT);
/// No block ever lay on the page.
const NOBODY: u32 = u32::MAX;

impl PageUsers {
    /// A block of `size` requested bytes of that thread begins at `address`.
    fn mark(&mut self, address: usize, size: usize, thread: u32) {
        let last = (address + size.max(1) - 1) >> PAGE_SHIFT;
        let mut page = address >> PAGE_SHIFT;
        while page <= last {
            let table = self
                .tables
                .entry(page / TABLE_PAGES)
                .or_insert_with(|| vec![NOBODY; TABLE_PAGES].into_boxed_slice());
            let end = last.min(page | (TABLE_PAGES - 1));
            table[page % TABLE_PAGES..=end % TABLE_PAGES].fill(thread);
            page = end + 1;
        }
    }

    /// The thread whose block lay there last.
    fn last(&self, page: usize) -> Option<u32> {
        let table = self.tables.get(&(page / TABLE_PAGES))?;
        Some(table[page % TABLE_PAGES]).filter(|user| *user != NOBODY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_belongs_to_the_last_thread_that_had_a_block_there() {
        let mut users = PageUsers::default();
        users.mark(0x1FF8, 16, 3); // two pages
        users.mark(0x2100, 8, 5);
        assert_eq!([1, 2, 3].map(|page| users.last(page)), [Some(3), Some(5), None]);
        users.mark((1 << 30) - 1, 2, 7); // over the edge of two tables
        assert_eq!(users.last((1 << 18) - 1), Some(7));
        assert_eq!(users.last(1 << 18), Some(7));
    }

    #[test]
    fn columns_without_an_event_have_the_live_bytes_of_the_one_before() {
        let mut thread = ObservedThread {
            requested_bytes: 0,
            calls: 0,
            live_bytes: 0,
            columns: vec![],
            own_ends: EndedBlocks::default(),
        };
        thread.set_live_bytes(1, 30);
        thread.set_live_bytes(1, 10);
        thread.column(4).seen.calls += 2;
        let found = thread.all_columns(6);
        let live: Vec<u64> = found.iter().map(|column| column.live_bytes).collect();
        assert_eq!(live, [0, 30, 10, 10, 10, 10]);
        assert_eq!(found[4].calls, 2);
    }
}
