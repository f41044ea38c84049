//! The footprint pass. Every page of every block is touched, pointers are accounted,
//! and the kernel's figure for resident private memory is sampled.
//!
//! From pointers alone: L, the bytes requested and live; U, their usable bytes; P, the 4 KiB pages
//! that hold a byte of a live block. With R, what is resident: R = L + (U − L) + (P − U) + (R − P),
//! that is live + rounding + stranded + kept. U of a block is capped at the end of the last page
//! that its request touches, so that U ≤ P.

use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::copy::given_back;
use super::heap_map::{self, HeapMap, MAP_COLUMNS, Mapper, PIECE_SHIFT};
use super::page_retention::{ClassRounding, Classes, LiveBlock, PageView, page_view};
use super::time::processor_ns;
use super::{Done, Owners, Probe, ReplayError, Resident, Slots, Tables, memory, replay, trimmed};
use crate::backends::{Backend, Counter, Trim};
use crate::program::{Action, AllocationSites, Feed, Times};

/// The pages that are pinned are counted in this unit, whatever the kernel's page is.
pub const PAGE_BYTES: usize = 4096;
const PAGE_SHIFT: u32 = PAGE_BYTES.trailing_zeros();

/// Requests up to so many bytes have their usable bytes written down, size by size.
pub const SMALL_BYTES: usize = 512;

/// The heap at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapSample {
    /// Calls done.
    pub event: u64,
    /// Bytes requested so far.
    pub clock_bytes: u64,
    /// L.
    pub live_bytes: u64,
    /// U.
    pub usable_bytes: u64,
    /// P.
    pub pages_in_use_bytes: u64,
    /// R, the baseline taken off.
    pub resident_bytes: u64,
}

/// What a footprint pass found.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    /// The heap over the trace, at the start, at least every 1/320 of it, at new peaks, at the live
    /// peak, at the end.
    pub samples: Vec<HeapSample>,
    /// The one at the live peak.
    pub at_live_peak: HeapSample,
    /// The one after the last call.
    pub end: HeapSample,
    /// The pages at the live peak; empty for a backend that backs no memory.
    pub pages_at_live_peak: PageView,
    /// The pages after the last call.
    pub pages_end: PageView,
    /// The usable bytes that blocks of each size up to [`SMALL_BYTES`] mostly had, by size: the
    /// allocator's size classes as far as the program asked for them. 0 for a size that it did not.
    pub usable_by_size: Vec<u32>,
    /// All blocks that were ever asked for, by size of the request, ascending.
    pub asked: Vec<ClassRounding>,
    /// The pages at each mark of the program, in their order.
    pub pages_at_marks: Vec<PageView>,
    /// Residency and fullness over the replay; empty for a backend that backs no memory.
    pub map: HeapMap,
    /// Processor time of taking that map, in ns.
    pub mapping_ns: u64,
    /// R after the backend's own trim call; `None` when it has none.
    pub resident_trimmed_bytes: Option<u64>,
    /// R after another trim, had the thread's cache been emptied before: tried in a copy of the
    /// process. `None` where the backend keeps no such cache, or empties it when it trims.
    pub resident_flushed_bytes: Option<u64>,
    /// What pointers alone say that a trim leaves; `None` where the backend does not say how it
    /// gives back.
    pub trim_predicted_bytes: Option<u64>,
    /// How long the trim took, in ns.
    pub trim_ns: u64,
    /// R after every block was freed and trimmed.
    pub resident_freed_bytes: u64,
    /// The backend's own figures after the last call.
    pub counters: Vec<Counter>,
    /// Largest P − R over the samples: above a few pages the instrument is wrong.
    pub pages_in_use_over_resident_bytes: u64,
    /// Page faults of the pass.
    pub minor_faults: u64,
    /// Processor time of the replay with all its accounting, in ns.
    pub pass_ns: u64,
    /// Of that, reading the kernel's figure for the samples, in ns: their number times the median
    /// of one.
    pub sampling_ns: u64,
    /// Calls made, by action.
    pub calls: [u64; 4],
}

/// The program's own pace, for allocators that go by the clock.
#[derive(Clone, Debug)]
pub struct Pace {
    /// When the calls were made.
    pub times: Times,
    /// Seconds for a second of the program.
    pub factor: f64,
}

/// Waits where the program waited.
struct Waiting<'a> {
    began: Instant,
    marks: std::iter::Peekable<std::slice::Iter<'a, (u64, u64)>>,
    factor: f64,
}

impl Waiting<'_> {
    fn on(pace: &Pace) -> Waiting<'_> {
        Waiting {
            began: Instant::now(),
            marks: pace.times.marks().iter().peekable(),
            factor: pace.factor,
        }
    }

    /// Sleeps until `calls` are due, to a millisecond: allocators that go by the clock notice
    /// nothing finer.
    fn until(&mut self, calls: u64) {
        while let Some((_, time_ns)) = self.marks.next_if(|mark| mark.0 <= calls) {
            let due = Duration::try_from_secs_f64(*time_ns as f64 / 1e9 * self.factor)
                .unwrap_or_default();
            let early = due.saturating_sub(self.began.elapsed());
            if early >= Duration::from_millis(1) {
                std::thread::sleep(early);
            }
        }
    }
}

/// How many live blocks have a byte in each page, and how many live bytes each piece of the heap
/// map holds. Two levels: a table for each GiB of address space in use.
#[derive(Default)]
pub(super) struct Pages {
    tables: HashMap<usize, Table>,
    pinned: u64,
    /// Pages that were resident before the first call and that no block of the program has touched
    /// yet.
    before: HashSet<usize>,
    /// Those of them that a block has touched since: they are the program's now.
    adopted: HashSet<usize>,
}

struct Table {
    blocks: Box<[u32]>,
    pieces: Box<[Piece]>,
}

/// Requested bytes live in a piece, and whether any ever were.
#[derive(Clone, Copy, Default)]
struct Piece {
    live_bytes: u64,
    used: bool,
}

const TABLE_PAGES: usize = 1 << (30 - PAGE_SHIFT);
const TABLE_PIECES: usize = 1 << (30 - PIECE_SHIFT);

impl Pages {
    fn change(&mut self, block: usize, size: usize, add: bool) {
        let first = block >> PAGE_SHIFT;
        let last = (block + size.max(1) - 1) >> PAGE_SHIFT;
        let mut page = first;
        while page <= last {
            let table = self.tables.entry(page / TABLE_PAGES).or_insert_with(|| Table {
                blocks: vec![0; TABLE_PAGES].into_boxed_slice(),
                pieces: vec![Piece::default(); TABLE_PIECES].into_boxed_slice(),
            });
            let end = last.min(page | (TABLE_PAGES - 1));
            for (at, count) in
                (page..).zip(&mut table.blocks[page % TABLE_PAGES..=end % TABLE_PAGES])
            {
                if add {
                    if *count == 0 {
                        self.pinned += 1;
                        if self.before.remove(&at) {
                            self.adopted.insert(at);
                        }
                    }
                    *count += 1;
                } else {
                    *count -= 1;
                    self.pinned -= u64::from(*count == 0);
                }
            }
            table.bytes(
                block.max(page << PAGE_SHIFT),
                (block + size).min((end + 1) << PAGE_SHIFT),
                add,
            );
            page = end + 1;
        }
    }

    /// Requested bytes live in a piece of the heap map.
    pub(super) fn live_bytes_in(&self, piece: usize) -> u64 {
        self.tables
            .get(&(piece / TABLE_PIECES))
            .map_or(0, |table| table.pieces[piece % TABLE_PIECES].live_bytes)
    }

    /// Where in `start..end` blocks ever were: from the first piece to the end of the last.
    pub(super) fn extent(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let used = |number: &usize| {
            let pieces = self
                .tables
                .get(number)
                .into_iter()
                .flat_map(|table| table.pieces.iter().enumerate());
            let first = number * TABLE_PIECES;
            pieces.filter(|(_, piece)| piece.used).map(move |(at, _)| (first + at) << PIECE_SHIFT)
        };
        let inside = self
            .tables
            .keys()
            .flat_map(used)
            .filter(|&at| at + (1 << PIECE_SHIFT) > start && at < end);
        let (mut first, mut last) = (usize::MAX, 0);
        for at in inside {
            (first, last) = (first.min(at), last.max(at + (1 << PIECE_SHIFT)));
        }
        (last > 0).then_some((first, last))
    }
}

impl Table {
    /// Counts the bytes `from..to` of a block, which lie in this table.
    fn bytes(&mut self, from: usize, to: usize, add: bool) {
        let mut at = from;
        while at < to {
            let end = to.min(((at >> PIECE_SHIFT) + 1) << PIECE_SHIFT);
            let piece = &mut self.pieces[(at >> PIECE_SHIFT) % TABLE_PIECES];
            piece.used = true;
            if add {
                piece.live_bytes += (end - at) as u64;
            } else {
                piece.live_bytes -= (end - at) as u64;
            }
            at = end;
        }
    }
}

/// What most of a sequence of figures are, where more than half of them are alike; after Boyer and
/// Moore's vote.
#[derive(Clone, Copy, Default)]
struct Majority {
    value: u32,
    lead: u32,
}

impl Majority {
    fn vote(&mut self, value: u32) {
        if self.lead == 0 {
            *self = Majority { value, lead: 1 };
        } else if self.value == value {
            self.lead = self.lead.saturating_add(1);
        } else {
            self.lead -= 1;
        }
    }
}

/// A live block as it was accounted.
#[derive(Clone, Copy, Default)]
struct Account {
    address: usize,
    size: u64,
    usable: u64,
    site: u32,
    live: bool,
}

struct Watch<'a> {
    backend: &'a dyn Backend,
    backs_memory: bool,
    accounts: Vec<Account>,
    pages: Pages,
    now: HeapSample,
    resident: &'a Resident,
    baseline: u64,
    samples: Vec<HeapSample>,
    every: u64,
    next_sample: u64,
    /// Bytes by which a new live peak has to exceed the last sampled one to be sampled: a share of
    /// the highest, which is known, so that the many peaks of a heap's first growth do not cost
    /// more than all the rest.
    rise: u64,
    sampled_peak: u64,
    live_peak_event: u64,
    at_live_peak: HeapSample,
    pages_at_live_peak: PageView,
    usable_by_size: Vec<Majority>,
    asked: Classes,
    /// Those that are still to come.
    marks: &'a [u64],
    pages_at_marks: Vec<PageView>,
    over: u64,
    calls: [u64; 4],
    births: &'a AllocationSites,
    requests: usize,
    sampling_times: Vec<u64>,
    total: u64,
    mapper: Mapper,
    mapping_ns: u64,
    columns: u64,
    next_column: u64,
    waiting: Option<Waiting<'a>>,
}

impl Watch<'_> {
    /// What was resident before the first call, less the pages of it that the program's blocks have
    /// come to lie on since: P counts those, so R has to.
    fn baseline(&self) -> u64 {
        self.baseline.saturating_sub((self.pages.adopted.len() * PAGE_BYTES) as u64)
    }

    fn sample(&mut self) -> HeapSample {
        if self.backs_memory {
            let began = Instant::now();
            self.now.resident_bytes = self.resident.private_bytes().saturating_sub(self.baseline());
            self.sampling_times.push(began.elapsed().as_nanos() as u64);
            self.over =
                self.over.max(self.now.pages_in_use_bytes.saturating_sub(self.now.resident_bytes));
        }
        if self.samples.last().is_none_or(|last| last.event != self.now.event) {
            self.samples.push(self.now);
        }
        self.now
    }

    fn begin(&mut self, slot: usize, block: *mut c_void, size: usize, untouched_from: usize) {
        let mut account = Account {
            address: block as usize,
            size: size as u64,
            usable: size as u64,
            site: self.births.site(self.requests),
            live: true,
        };
        self.requests += 1;
        if self.backs_memory {
            touch(block, untouched_from, size);
            #[expect(unsafe_code, reason = "asks the backend about a block of its own")]
            // SAFETY: the backend has just returned this block.
            let usable = unsafe { self.backend.usable_size(block, size) };
            // A block that was resized in place may keep more than its size asks for.
            if untouched_from == 0
                && let Some(most) = self.usable_by_size.get_mut(size)
            {
                most.vote(usable.max(size) as u32);
            }
            let address = block as usize;
            let page_end = (address + size.max(1)).next_multiple_of(PAGE_BYTES);
            account.usable = (usable.max(size).min(page_end - address)) as u64;
            self.asked.add(account.size, account.usable);
            self.pages.change(address, size, true);
        }
        self.accounts[slot] = account;
        self.now.live_bytes += account.size;
        self.now.usable_bytes += account.usable;
        self.now.clock_bytes += account.size;
    }

    fn end(&mut self, slot: usize, block: *mut c_void) -> Account {
        let account = std::mem::take(&mut self.accounts[slot]);
        if self.backs_memory {
            self.pages.change(block as usize, account.size as usize, false);
        }
        self.now.live_bytes -= account.size;
        self.now.usable_bytes -= account.usable;
        account
    }

    /// Takes a column of the heap map. The k-th of n is taken when k/n of the calls are done.
    fn column(&mut self) {
        let began = processor_ns();
        if self.backs_memory {
            self.mapper.column(&self.pages);
        }
        self.columns += 1;
        let all = MAP_COLUMNS.min(self.total);
        self.next_column = ((self.columns + 1) * self.total).div_ceil(all);
        self.mapping_ns += processor_ns() - began;
    }

    /// Samples the heap and looks at its pages for each mark that stands here.
    fn look_at_marks(&mut self) {
        while let Some(rest) = self.marks.split_first().filter(|(mark, _)| **mark <= self.now.event)
        {
            self.marks = rest.1;
            self.sample();
            self.pages_at_marks.push(self.page_view());
        }
    }

    /// Looks at every page that is pinned now.
    fn page_view(&self) -> PageView {
        if !self.backs_memory {
            return PageView::default();
        }
        page_view(&mut self.live_blocks())
    }

    fn live_blocks(&self) -> Vec<LiveBlock> {
        let live = self.accounts.iter().filter(|account| account.live);
        live.map(|&Account { address, size, usable, site, .. }| LiveBlock {
            address,
            size,
            usable,
            site,
        })
        .collect()
    }

    /// What pointers alone say that a trim leaves now.
    fn trim_predicted(&self) -> Option<u64> {
        trimmed::predicted(self.backend, &self.live_blocks(), &self.pages.adopted, |block| {
            #[expect(unsafe_code, reason = "asks the backend about a block of its own")]
            // SAFETY: the block is live.
            let usable = unsafe {
                self.backend.usable_size(block.address as *mut c_void, block.size as usize)
            };
            usable.max(block.size as usize)
        })
    }
}

/// Writes a byte into every page of the block from `from` on, as a program that uses its memory
/// would.
fn touch(block: *mut c_void, from: usize, size: usize) {
    let (start, end) = (block as usize + from, block as usize + size);
    let mut at = start;
    while at < end {
        #[expect(unsafe_code, reason = "a footprint is only true for memory that is used")]
        // SAFETY: `at` lies in a live block that the backend has just returned with at least `size`
        // bytes.
        unsafe {
            std::ptr::write_volatile(at as *mut u8, 1);
        }
        at = (at + 1).next_multiple_of(PAGE_BYTES);
    }
}

impl Probe for Watch<'_> {
    type Mark = ();

    fn before(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.until(self.now.event);
        }
    }

    fn after(&mut self, (): (), done: Done) {
        self.calls[done.action as usize] += 1;
        match done.action {
            Action::Malloc | Action::Calloc => self.begin(done.slot, done.new, done.size, 0),
            Action::Realloc => {
                let old = self.end(done.slot, done.old);
                // A block that moved had its kept part copied, which touched it.
                self.begin(done.slot, done.new, done.size, (old.size as usize).min(done.size));
            }
            Action::Free => {
                self.end(done.slot, done.old);
            }
        }
        self.now.event = done.index as u64 + 1;
        self.now.pages_in_use_bytes = self.pages.pinned * PAGE_BYTES as u64;
        let peak = self.now.live_bytes > self.sampled_peak + self.rise;
        if self.now.event >= self.next_sample || peak {
            self.sampled_peak = self.sampled_peak.max(self.now.live_bytes);
            self.next_sample = self.now.event + self.every;
            self.sample();
        }
        if self.now.event == self.next_column {
            self.column();
        }
        if self.marks.first().is_some_and(|mark| *mark <= self.now.event) {
            self.look_at_marks();
        }
        if done.index as u64 == self.live_peak_event {
            self.at_live_peak = self.sample();
            self.pages_at_live_peak = self.page_view();
        }
    }
}

/// Replays a program once and accounts for its memory; afterwards trims, frees everything and trims
/// again. `births` say who asked for each block; they may be empty. With a `pace`, the calls are
/// made when the program made them.
///
/// # Errors
/// When the backend gives no memory, a part of the program does not come, when the accounts are not
/// zero after all is freed, or when this kernel's figures cannot be trusted.
pub fn footprint<'a>(
    feed: impl Into<Feed<'a>>,
    births: &AllocationSites,
    backend: &mut dyn Backend,
    pace: Option<&Pace>,
) -> Result<Footprint, ReplayError> {
    let resident = Resident::open().map_err(|error| ReplayError::Instrument(error.to_string()))?;
    memory::self_test(&resident).map_err(ReplayError::Instrument)?;
    let mut feed = feed.into();
    let outline = Arc::clone(feed.outline());
    let tables = Tables::of(&outline, backend);
    let (mut slots, mut owners) = (Slots::of(&outline), Owners::new(&outline));
    let calls = outline.calls;
    let backs_memory = backend.backs_memory();
    warm_up(&backend.domains());
    let mut watch = Watch {
        backend: &*backend,
        backs_memory,
        accounts: vec![Account::default(); outline.slots],
        pages: Pages { before: heap_map::resident_pages(), ..Pages::default() },
        now: HeapSample::default(),
        resident: &resident,
        baseline: 0,
        samples: Vec::with_capacity(4096),
        every: (calls / 320).max(2048),
        rise: outline.profile.live_peak_bytes / 128,
        next_sample: 0,
        sampled_peak: 0,
        live_peak_event: outline.profile.live_peak_event,
        at_live_peak: HeapSample::default(),
        pages_at_live_peak: PageView::default(),
        usable_by_size: vec![Majority::default(); if backs_memory { SMALL_BYTES + 1 } else { 0 }],
        asked: Classes::default(),
        marks: births.marks(),
        pages_at_marks: Vec::new(),
        over: 0,
        calls: [0; 4],
        births,
        requests: 0,
        sampling_times: Vec::with_capacity(4096),
        total: calls,
        mapper: Mapper::begin(),
        mapping_ns: 0,
        columns: 0,
        next_column: calls.div_ceil(MAP_COLUMNS.min(calls).max(1)),
        waiting: pace.map(Waiting::on),
    };
    // Only now: what getting ready touches (a page of the stack) is not the backend's.
    watch.baseline = resident.private_bytes();
    watch.look_at_marks();
    let (mut pass_ns, mut faults) = (0, 0); // of the calls alone: reading a part is neither
    while let Some(part) = feed.next_part()? {
        let (began, before) = (processor_ns(), minor_faults());
        replay(part, &tables, &mut slots, 0..part.instructions().len(), &mut watch)?;
        pass_ns += processor_ns() - began;
        faults += minor_faults() - before;
        owners.see(part);
    }
    let end = watch.sample();
    // A mark after the last call.
    watch.look_at_marks();
    let mut found = Footprint {
        pass_ns,
        sampling_ns: sampling_ns(&mut watch.sampling_times),
        mapping_ns: watch.mapping_ns,
        map: std::mem::take(&mut watch.mapper).finish(),
        pages_end: watch.page_view(),
        trim_predicted_bytes: watch.trim_predicted(),
        at_live_peak: watch.at_live_peak,
        pages_at_live_peak: std::mem::take(&mut watch.pages_at_live_peak),
        pages_at_marks: std::mem::take(&mut watch.pages_at_marks),
        usable_by_size: watch.usable_by_size.iter().map(|most| most.value).collect(),
        asked: std::mem::take(&mut watch.asked).into_vec(),
        end,
        pages_in_use_over_resident_bytes: watch.over,
        calls: watch.calls,
        minor_faults: faults,
        ..Footprint::default()
    };
    for (slot, block) in slots.live() {
        watch.end(slot, block);
    }
    if (watch.now.live_bytes, watch.now.usable_bytes, watch.pages.pinned) != (0, 0, 0) {
        return Err(ReplayError::Instrument(
            "the accounts do not come to zero when all is freed".into(),
        ));
    }
    let baseline = watch.baseline();
    found.samples = watch.samples;
    found.counters = backend.counters();
    let began = Instant::now();
    if backend.trim() == Trim::Done {
        found.trim_ns = began.elapsed().as_nanos() as u64;
        let left = resident.private_bytes().saturating_sub(baseline);
        found.resident_trimmed_bytes = Some(left);
        let given = given_back(|| {
            backend.flush_thread_cache() == Trim::Done && backend.trim() == Trim::Done
        });
        found.resident_flushed_bytes = given.map(|bytes| left.saturating_add_signed(-bytes));
    }
    owners.free_all(&tables, &mut slots);
    backend.trim();
    found.resident_freed_bytes = resident.private_bytes().saturating_sub(baseline);
    Ok(found)
}

/// The median times the number. A clock of the processor's time would cost more than what it
/// measures here, and the sum of wall times would hold what others did on the machine meanwhile.
fn sampling_ns(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0, |median| median * times.len() as u64)
}

/// Calls that a footprint pass makes before the first of the program: see [`warm_up`].
pub const WARM_UP_CALLS: u64 = 2 * crate::trace::Domain::ALL.len() as u64;

/// One malloc and one free in each domain, so that what a backend sets up once is not taken for the
/// program's.
#[expect(unsafe_code, reason = "calls the backend through its C function pointers")]
fn warm_up(domains: &crate::backends::Domains) {
    for domain in crate::trace::Domain::ALL {
        let table = domains.get(domain);
        // SAFETY: the block goes back to where it came from, at once.
        unsafe {
            let block = (table.malloc)(table.ctx, 16);
            if !block.is_null() {
                (table.free)(table.ctx, block);
            }
        }
    }
}

/// Page faults of this process that needed no disk, from `/proc/self/stat`, field 10.
fn minor_faults() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_pinned_by_their_blocks() {
        let mut pages = Pages::default();
        pages.change(0x1FF8, 16, true); // straddles two pages
        assert_eq!(pages.pinned, 2);
        pages.change(0x1000, 0, true); // an empty block still has an address
        assert_eq!(pages.pinned, 2);
        pages.change(0x1FF8, 16, false);
        assert_eq!(pages.pinned, 1);
        pages.change((1 << 30) - 1, (1 << 30) + 2, true); // over the edge of two tables
        assert_eq!(pages.pinned, 1 + (1 << 18) + 2);
        pages.change((1 << 30) - 1, (1 << 30) + 2, false);
        pages.change(0x1000, 0, false);
        assert_eq!(pages.pinned, 0);
        // A page that was there before is the program's from its first block on, once.
        let mut pages = Pages { before: [3, 9].into(), ..Pages::default() };
        for _ in 0..2 {
            pages.change(0x2000, 0x2000, true);
            pages.change(0x2000, 0x2000, false);
        }
        assert_eq!((pages.adopted.len(), pages.before.len()), (1, 1));
    }
}
