//! The traversal pass: what a program pays for walking its objects where an allocator placed them.
//!
//! At even moments of the trace, live blocks of one kind are chained in the order of their births,
//! by pointers inside the blocks, and the chain is walked. A kind is a type where the trace names
//! types, else a size. So a garbage collector walks its list of objects, and a program a list of
//! records. The walk depends on each load, as theirs does.
//!
//! CPython's collector walks objects of all kinds in one list. So blocks that may be its objects are chained
//! once more, whatever their kind: where an allocator places what was born together side by side, that walk
//! is much cheaper than one along a single kind. The chain is as long as the lists that the recorded
//! collector walked, and is walked as often in a row: a list that fits a cache is walked there.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Range;

use super::calls::{Slots, Tables, replay};
use super::error::ReplayError;
use super::probe::{Done, Probe};
use super::threads::{RecordedOrder, ThreadCounts};
use super::usage::{processor_ns, processor_pair_ns};
use crate::backends::Backend;
use crate::cpython::{CollectorList, CollectorRecord};
use crate::program::{Action, Feed, Program};
use crate::trace::Domain;

/// Moments at which blocks are walked; the last is the end of the trace.
const MOMENTS: u64 = 24;
/// Walks of a chain at a moment, in each direction.
const WALKS: usize = 3;
/// Kinds that are walked at a moment, those with the most live blocks.
const KINDS: usize = 8;
/// A kind with fewer live blocks fits the nearest cache with any allocator.
const LEAST_BLOCKS: usize = 256;
/// A block holds the pointer to the next.
const LEAST_BYTES: usize = size_of::<*mut c_void>();
/// A block's first cache line, page and huge page, as shifts of its address.
const SHIFTS: [u32; 3] = [6, 12, 21];

/// What walking cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TraversalResult {
    /// Calls made.
    pub calls: u64,
    /// Objects in all chains.
    pub objects: u64,
    /// Visits in each direction: objects times walks.
    pub visits: u64,
    /// Processor time of the walks, ns: first births first, and last births first.
    pub walks_ns: [u64; 2],
    /// Distinct cache lines, pages of 4 KiB and huge pages of 2 MiB that the objects of a chain begin
    /// on, added up over the chains.
    pub distinct: [u64; 3],
    /// Steps to the next object by distance: to the same or an adjacent cache line, within the page,
    /// within the huge page, farther.
    pub steps: [u64; 4],
    /// Processor time of a step of CPython's collector to the next object of its list, ns; `None` where
    /// the recording does not say what it visited.
    pub collector_step_ns: Option<f64>,
    /// The threads that made the calls.
    pub threads: ThreadCounts,
}

/// Walks along chains of blocks that may be objects of CPython's collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CollectorWalk {
    /// Steps to the next object.
    steps: u64,
    /// Processor time of the walks, ns, first births first.
    walks_ns: u64,
}

impl CollectorWalk {
    /// Of a step, ns; `None` without a step.
    fn step_ns(self) -> Option<f64> {
        (self.steps > 0).then(|| self.walks_ns as f64 / self.steps as f64)
    }
}

/// A live block.
#[derive(Clone, Copy, Default)]
struct Place {
    address: usize,
    birth: u64,
    /// The number of its type and 2^40, or its size; 0 for none that is walked.
    kind: u64,
    /// Whether CPython's collector may have it in its list.
    may_be_collected: bool,
}

/// Whether a block may be an object of CPython's collector, with the collector's header: it is of the
/// domain obj, a multiple of a pointer, and small enough for a pool. That takes the tables of dictionaries,
/// which the collector reads, too, and one in eight strings.
fn may_be_collected(domain: Domain, size: usize) -> bool {
    /// Bytes of the smallest object that refers to another: the header, a count, a type, a reference.
    const LEAST_OBJECT_BYTES: usize = 40;
    /// The most that comes from a pool.
    const POOLED_LIMIT_BYTES: usize = 512;
    let is_sized = (LEAST_OBJECT_BYTES..=POOLED_LIMIT_BYTES).contains(&size);
    domain == Domain::Obj && is_sized && size.is_multiple_of(LEAST_BYTES)
}

/// Follows where the blocks are.
struct Places<'a> {
    program: &'a Program,
    by_slot: &'a mut [Place],
}

impl Probe for Places<'_> {
    type Mark = ();

    fn before(&mut self) {}

    fn after(&mut self, (): (), done: Done) {
        let Some(place) = self.by_slot.get_mut(done.slot) else { return };
        *place = Place::default();
        if done.action == Action::Free || done.size < LEAST_BYTES {
            return;
        }
        let at = done.index - self.program.first() as usize;
        let kind = match self.program.kind(at) as u64 {
            0 => done.size as u64,
            kind => kind + (1 << 40),
        };
        let domain = self.program.instructions()[at].domain();
        *place = Place {
            address: done.new as usize,
            birth: done.index as u64,
            kind,
            may_be_collected: may_be_collected(domain, done.size),
        };
    }
}

/// Replays a program once, and walks its blocks at even moments. `None` for a backend that backs no
/// memory. `collector` is what the recorded program's collector visited. `await_time_slice` is called
/// before each walk and each part of the replay.
///
/// # Errors
/// The backend gives no memory, a part does not arrive, or no further time slice will come.
pub fn traversal<'a>(
    feed: impl Into<Feed<'a>>,
    backend: &dyn Backend,
    collector: Option<CollectorRecord>,
    mut await_time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<Option<TraversalResult>, ReplayError> {
    let mut feed = feed.into();
    if !backend.backs_memory() {
        return Ok(None);
    }
    let calls = feed.calls() as u64;
    let tables = Tables::of(feed.outline(), backend);
    let mut slots = Slots::of(feed.outline());
    let mut order = RecordedOrder::new(feed.outline(), backend);
    let mut by_slot = vec![Place::default(); feed.outline().slots];
    let lists = collector.map(|record| record.lists());
    let mut walker = Walker { pair_ns: processor_pair_ns(), lists, ..Walker::default() };
    let mut moment = 1;
    while let Some(part) = feed.next_part()? {
        let first = part.first();
        let mut made = 0;
        while made < part.instructions().len() {
            let next = calls * moment / MOMENTS;
            let end = (next.saturating_sub(first) as usize).clamp(made, part.instructions().len());
            await_time_slice()?;
            let range: Range<usize> = made..end;
            order.run(part, range, |segment| {
                let mut places = Places { program: part, by_slot: &mut by_slot };
                replay(part, &tables, &mut slots, segment, &mut places)
            })?;
            made = end;
            if first + made as u64 >= next {
                walker.walk(&by_slot, &mut await_time_slice)?;
                moment += 1;
            }
        }
    }
    let mut found = walker.found;
    found.collector_step_ns = walker.collector_step_ns();
    found.calls = calls;
    found.threads = order.counts();
    Ok(Some(found))
}

#[derive(Default)]
struct Walker {
    found: TraversalResult,
    /// The reading of an empty clock pair.
    pair_ns: u64,
    /// The lists of the recorded collector.
    lists: Option<[CollectorList; 2]>,
    /// The walks along chains like these lists.
    walked: [CollectorWalk; 2],
}

impl Walker {
    /// Chains and walks the kinds with the most blocks, and what the collector visits.
    fn walk(
        &mut self,
        by_slot: &[Place],
        mut await_time_slice: impl FnMut() -> Result<(), ReplayError>,
    ) -> Result<(), ReplayError> {
        for mut chain in chains(by_slot) {
            self.look_at(&chain);
            for direction in 0..2 {
                await_time_slice()?;
                self.found.walks_ns[direction] += self.time(&chain, WALKS);
                chain.reverse();
            }
        }
        let Some(lists) = self.lists else { return Ok(()) };
        for (at, chain) in collected(by_slot, &lists).iter().enumerate() {
            if chain.is_empty() {
                continue;
            }
            await_time_slice()?;
            let walks = lists[at].walks as usize;
            self.walked[at].steps += (chain.len() * walks) as u64;
            self.walked[at].walks_ns += self.time(chain, walks);
        }
        Ok(())
    }

    /// A step of the collector in the mean over all that it made, ns.
    fn collector_step_ns(&self) -> Option<f64> {
        let lists = self.lists?;
        let known = lists.iter().zip(self.walked);
        let known = known.filter_map(|(list, walk)| Some((list.steps as f64, walk.step_ns()?)));
        let (mut steps, mut all_ns) = (0.0, 0.0);
        for (list_steps, step_ns) in known {
            steps += list_steps;
            all_ns += list_steps * step_ns;
        }
        (steps > 0.0).then(|| all_ns / steps)
    }

    /// Walks a chain so often. Returns the processor time of all walks, ns.
    fn time(&self, chain: &[usize], walks: usize) -> u64 {
        let head = link(chain);
        let began = processor_ns();
        for _ in 0..walks {
            std::hint::black_box(visit(head));
        }
        (processor_ns() - began).saturating_sub(self.pair_ns)
    }

    /// Counts where the objects of a chain lie.
    fn look_at(&mut self, chain: &[usize]) {
        self.found.objects += chain.len() as u64;
        self.found.visits += (chain.len() * WALKS) as u64;
        for (count, shift) in self.found.distinct.iter_mut().zip(SHIFTS) {
            let mut units: Vec<usize> = chain.iter().map(|address| address >> shift).collect();
            units.sort_unstable();
            units.dedup();
            *count += units.len() as u64;
        }
        for step in chain.windows(2) {
            let [from, to] = [step[0], step[1]];
            let class = if (from >> 6).abs_diff(to >> 6) <= 1 {
                0
            } else if from >> 12 == to >> 12 {
                1
            } else if from >> 21 == to >> 21 {
                2
            } else {
                3
            };
            self.found.steps[class] += 1;
        }
    }
}

/// The addresses of the blocks of each kind that is walked, in the order of their births.
fn chains(by_slot: &[Place]) -> Vec<Vec<usize>> {
    let mut kinds: HashMap<u64, Vec<(u64, usize)>> = HashMap::new();
    for place in by_slot.iter().filter(|place| place.kind > 0) {
        kinds.entry(place.kind).or_default().push((place.birth, place.address));
    }
    let mut kinds: Vec<(u64, Vec<(u64, usize)>)> =
        kinds.into_iter().filter(|(_, blocks)| blocks.len() >= LEAST_BLOCKS).collect();
    // The same kinds for each backend, whatever the map's order is.
    kinds.sort_by_key(|(kind, blocks)| (std::cmp::Reverse(blocks.len()), *kind));
    kinds.truncate(KINDS);
    let in_order = |(_, mut blocks): (u64, Vec<(u64, usize)>)| {
        blocks.sort_unstable();
        blocks.into_iter().map(|(_, address)| address).collect()
    };
    kinds.into_iter().map(in_order).collect()
}

/// Chains like the lists of the collector, in the order of births: the youngest objects for the middle
/// generation, and all. More blocks may be its objects than are. Which ones is not known, so the blocks of
/// a chain are even draws, as many as a list has.
fn collected(by_slot: &[Place], lists: &[CollectorList; 2]) -> [Vec<usize>; 2] {
    let objects = by_slot.iter().filter(|place| place.may_be_collected);
    let mut objects: Vec<(u64, usize)> =
        objects.map(|place| (place.birth, place.address)).collect();
    objects.sort_unstable();
    let addresses: Vec<usize> = objects.into_iter().map(|(_, address)| address).collect();
    let [middle, oldest] = lists.map(|list| list.length as usize);
    let all = evenly(&addresses, oldest);
    // As many blocks for each object as in the list of all.
    let young = match all.len() {
        0 => middle,
        length => middle.saturating_mul(addresses.len()) / length,
    };
    let youngest = &addresses[addresses.len().saturating_sub(young)..];
    [evenly(youngest, middle), all]
}

/// So many of the elements, evenly; all where there are no more.
fn evenly(all: &[usize], count: usize) -> Vec<usize> {
    if all.len() <= count {
        return all.to_vec();
    }
    (0..count).map(|at| all[at * all.len() / count]).collect()
}

/// Writes into each block the address of the next; the first block.
#[expect(unsafe_code, reason = "the blocks are linked in place, as a program links its objects")]
fn link(chain: &[usize]) -> *mut c_void {
    let next = chain.iter().skip(1).map(|address| *address as *mut c_void);
    for (&from, to) in chain.iter().zip(next.chain([std::ptr::null_mut()])) {
        // SAFETY: the block is live, has at least the bytes of a pointer, and is the replay's own.
        // Allocators align blocks of this size to a pointer.
        unsafe { (from as *mut *mut c_void).write_unaligned(to) };
    }
    chain.first().map_or(std::ptr::null_mut(), |address| *address as *mut c_void)
}

/// Walks a chain. Returns its length.
#[expect(unsafe_code, reason = "follows the pointers that `link` wrote")]
#[inline(never)]
fn visit(head: *mut c_void) -> usize {
    let (mut at, mut count) = (head, 0);
    while !at.is_null() {
        // SAFETY: `link` wrote a pointer into each live block of the chain, null into the last.
        at = unsafe { at.cast::<*mut c_void>().read_unaligned() };
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_each_block_once() {
        let mut blocks = vec![[0_u64; 4]; 1000];
        let addresses: Vec<usize> =
            blocks.iter_mut().map(|block| block.as_mut_ptr() as usize).rev().collect();
        assert_eq!(visit(link(&addresses)), 1000);
        assert_eq!(visit(link(&[])), 0);
    }

    #[test]
    fn kinds_with_most_blocks_are_walked_in_the_order_of_birth() {
        let place = |kind, birth| Place {
            address: birth as usize * 64,
            birth,
            kind,
            may_be_collected: kind != 9,
        };
        let mut places: Vec<Place> = (0..600).map(|at| place(1 + at % 2, 1000 - at)).collect();
        places.extend((0..100).map(|at| place(9, at)));
        places.push(Place::default());
        let found = chains(&places);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [300, 300]);
        assert!(found.iter().all(|chain| chain.is_sorted()));
        // Chains of the collector are as long as its lists, and of the same density.
        let list = |length| CollectorList { length, walks: 5, steps: 0 };
        let [middle, all] = collected(&places, &[list(50), list(300)]);
        assert_eq!((middle.len(), all.len()), (50, 300));
        assert!(middle.is_sorted() && all.is_sorted());
        assert_eq!([all[0], all[1], all[299]], [401 * 64, 403 * 64, 999 * 64]);
        assert_eq!([middle[0], middle[1], middle[49]], [901 * 64, 903 * 64, 999 * 64]);
        let [middle, all] = collected(&places, &[list(50), list(1000)]);
        assert_eq!((middle.len(), all.len()), (50, 600));
        assert_eq!(collected(&places, &[list(9), list(0)]).map(|chain| chain.len()), [9, 0]);
    }

    #[test]
    fn objects_of_the_collector_are_known_by_domain_and_size() {
        let of = |domain, size| may_be_collected(domain, size);
        // A list, a dictionary and a tuple of one, with the header.
        assert!(of(Domain::Obj, 56) && of(Domain::Obj, 64) && of(Domain::Obj, 48));
        // An integer, a float, a string of three, a block of no pool, the items of a list.
        assert!(!of(Domain::Obj, 28) && !of(Domain::Obj, 24) && !of(Domain::Obj, 52));
        assert!(!of(Domain::Obj, 520) && !of(Domain::Mem, 56) && !of(Domain::Libc, 64));
    }

    #[test]
    fn steps_and_lines_are_counted() {
        let mut walker = Walker::default();
        walker.look_at(&[0, 64, 128, 2048, 8192, 4 << 20]);
        assert_eq!(walker.found.steps, [2, 1, 1, 1]);
        assert_eq!(walker.found.distinct, [6, 3, 2]);
        assert_eq!((walker.found.objects, walker.found.visits), (6, 18));
    }
}
