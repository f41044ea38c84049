//! The heap's own statistics, those of `sys._debugmallocstats`, and the walk that checks its whole
//! state against the invariants at [`Heap`]. Slow; never called while time is measured.
#![expect(unsafe_code, reason = "walks pools and arenas behind raw pointers")]

use std::collections::HashSet;

use super::constants::{Constants, POOL_HEADER_BYTES};
use super::headers::{Arena, FreeBlock, PoolHeader, UNINITIALISED};
use super::heap::Heap;
use super::layout::Layout;
use super::owner::Owner;
use crate::backends::arenas::{ArenaStatistics, ClassStatistics};

impl<L: Layout> Heap<L> {
    /// Pools of an arena that have a header, in order of address.
    ///
    /// # Safety
    /// The arena is mapped.
    unsafe fn pools(&self, arena: *mut Arena) -> impl Iterator<Item = *mut PoolHeader> + use<L> {
        let pool = self.constants().pool();
        // SAFETY: invariant 5: headers lie from the first multiple of a pool to `next_pool`.
        unsafe {
            let next = (*arena).next_pool;
            let start = (*arena).address.next_multiple_of(pool);
            let count = (next.addr() - start) / pool;
            (1..=count).rev().map(move |back| next.byte_sub(back * pool).cast())
        }
    }

    /// Counts every pool of every arena.
    pub fn statistics(&self) -> ArenaStatistics {
        let table = &self.arenas;
        let mut statistics = ArenaStatistics {
            arenas_end: table.current.get(),
            arenas_peak: table.peak.get(),
            arenas_total: table.total.get(),
            classes: (0..self.constants().classes()).map(|class| self.no_pools(class)).collect(),
            ..ArenaStatistics::default()
        };
        // SAFETY: mapped arenas and the headers in them are readable.
        unsafe {
            for arena in table.iter().filter(|arena| (**arena).address != 0) {
                statistics.unused_pool_bytes +=
                    u64::from((*arena).free_count) * self.constants().pool() as u64;
                if !(*arena).address.is_multiple_of(self.constants().pool()) {
                    statistics.arena_alignment_bytes += self.constants().pool() as u64;
                }
                for pool in self.pools(arena).filter(|pool| (**pool).live > 0) {
                    let class = (*pool).class as usize;
                    let entry = &mut statistics.classes[class];
                    entry.pools += 1;
                    entry.live += u64::from((*pool).live);
                    entry.free += self.constants().blocks(class) as u64 - u64::from((*pool).live);
                }
            }
        }
        sum_up(&mut statistics, &self.constants());
        statistics
    }

    fn no_pools(&self, class: usize) -> ClassStatistics {
        ClassStatistics {
            size: self.constants().class_bytes(class) as u64,
            ..ClassStatistics::default()
        }
    }
}

/// Fills in the sums over the classes.
fn sum_up(sums: &mut ArenaStatistics, constants: &Constants) {
    for class in &sums.classes {
        sums.pools_end += class.pools;
        sums.allocated_bytes += class.live * class.size;
        sums.available_bytes += class.free * class.size;
        sums.pool_header_bytes += class.pools * POOL_HEADER_BYTES as u64;
        sums.quantization_bytes +=
            class.pools * ((constants.pool() - POOL_HEADER_BYTES) as u64 % class.size);
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The pools and arenas that a walk over the lists found, to compare with the pools and arenas
/// themselves.
struct LinkedRecords {
    /// Pools in class lists, with the class.
    used: HashSet<(usize, usize)>,
    /// Arenas in the usable list.
    usable: HashSet<usize>,
    /// Slots in the unused list.
    unused: HashSet<usize>,
}

impl<L: Layout> Heap<L> {
    /// Walks everything and checks it against the invariants at [`Heap`].
    ///
    /// # Errors
    /// The first that does not hold, as text.
    pub fn check(&self) -> Result<(), String> {
        // SAFETY: between calls the invariants hold. A list can lead outside the heap only when the
        // heap is broken already.
        unsafe {
            let lists = LinkedRecords {
                used: self.check_class_lists()?,
                usable: self.check_usable_list()?,
                unused: self.check_unused_list()?,
            };
            for arena in self.arenas.iter() {
                self.check_arena(arena, &lists)?;
            }
            let mapped = self.arenas.iter().filter(|arena| (**arena).address != 0).count() as u64;
            ensure(mapped == self.arenas.current.get(), || {
                format!("{mapped} arenas are mapped, {} counted", self.arenas.current.get())
            })?;
        }
        self.statistics().check_identity(self.constants().arena() as u64)
    }

    unsafe fn check_class_lists(&self) -> Result<HashSet<(usize, usize)>, String> {
        let mut found = HashSet::new();
        for class in 0..self.constants().classes() {
            let head = self.head(class);
            // SAFETY: invariant 2.
            unsafe {
                let mut before = head;
                let mut pool = (*head).next;
                while pool != head {
                    let place = || format!("class {class}, pool {pool:p}");
                    ensure((*pool).previous == before, || {
                        format!("{}: broken back link", place())
                    })?;
                    ensure((*pool).class as usize == class, || {
                        format!("{}: foreign class", place())
                    })?;
                    ensure((*pool).live > 0, || {
                        format!("{}: linked without a live block", place())
                    })?;
                    ensure(!(*pool).free.is_null(), || format!("{}: linked though full", place()))?;
                    ensure(found.insert((pool.addr(), class)), || {
                        format!("{}: linked twice", place())
                    })?;
                    before = pool;
                    pool = (*pool).next;
                }
                ensure((*head).previous == before, || {
                    format!("class {class}: the ring does not close")
                })?;
            }
        }
        Ok(found)
    }

    unsafe fn check_usable_list(&self) -> Result<HashSet<usize>, String> {
        let mut found = HashSet::new();
        let mut last_with = vec![std::ptr::null_mut(); self.constants().pools() + 1];
        let (mut before, mut least, mut empty) = (std::ptr::null_mut(), 1, 0);
        let mut arena = self.arenas.usable.get();
        // SAFETY: invariant 6: the list goes through mapped slots of the table.
        unsafe {
            while !arena.is_null() {
                let free = (*arena).free_count;
                ensure((*arena).previous == before, || {
                    format!("arena {arena:p}: broken back link")
                })?;
                ensure(free >= least, || {
                    format!("arena {arena:p}: {free} free pools after {least}")
                })?;
                ensure(found.insert(arena.addr()), || format!("arena {arena:p}: linked twice"))?;
                empty += u32::from(free == (*arena).pool_count);
                last_with[free as usize] = arena;
                (before, least) = (arena, free);
                arena = (*arena).next;
            }
            let last_is_empty =
                before.as_ref().is_some_and(|last| last.free_count == last.pool_count);
            let allowed = u32::from(self.constants().keeps_last_empty && last_is_empty);
            ensure(empty <= allowed, || {
                format!("{empty} arenas are wholly free, {allowed} may be")
            })?;
        }
        let expected = if self.constants().finds_by_table { last_with.as_slice() } else { &[] };
        for (free, &last) in expected.iter().enumerate() {
            ensure(self.last_with(free).get() == last, || {
                format!("the last arena with {free} free pools")
            })?;
        }
        Ok(found)
    }

    unsafe fn check_unused_list(&self) -> Result<HashSet<usize>, String> {
        let mut found = HashSet::new();
        let mut arena = self.arenas.unused.get();
        // SAFETY: invariant 7: the list goes through slots of the table.
        unsafe {
            while !arena.is_null() {
                ensure((*arena).address == 0, || format!("slot {arena:p}: unused though mapped"))?;
                ensure(found.insert(arena.addr()), || format!("slot {arena:p}: linked twice"))?;
                arena = (*arena).next;
            }
        }
        Ok(found)
    }

    unsafe fn check_arena(&self, arena: *mut Arena, lists: &LinkedRecords) -> Result<(), String> {
        // SAFETY: a slot of the table; if mapped, its pools are readable.
        unsafe {
            let base = (*arena).address;
            if base == 0 {
                return ensure(lists.unused.contains(&arena.addr()), || {
                    format!("slot {arena:p}: lost")
                });
            }
            let place = || format!("arena at {base:#x}");
            let usable = lists.usable.contains(&arena.addr());
            ensure(usable == ((*arena).free_count > 0), || {
                format!("{}: in the wrong list", place())
            })?;
            for address in
                [base, base + self.constants().arena() / 2, base + self.constants().arena() - 1]
            {
                let owned = self.owner_knows(address, arena);
                ensure(owned, || format!("{}: the owner test misses {address:#x}", place()))?;
            }
            let lost = usize::from(!base.is_multiple_of(self.constants().pool()));
            ensure(
                (*arena).pool_count as usize
                    == self.constants().arena() / self.constants().pool() - lost,
                || format!("{}: {} pools", place(), (*arena).pool_count),
            )?;
            let free = self.check_free_pools(arena)?;
            for pool in self.pools(arena) {
                let is_free = free.contains(&pool.addr());
                self.check_pool(pool, arena, is_free, lists)
                    .map_err(|why| format!("{}: {why}", place()))?;
            }
            let carved = self.pools(arena).count();
            let total = free.len() + (*arena).pool_count as usize - carved;
            ensure(total == (*arena).free_count as usize, || {
                format!("{}: {total} pools are free, {} counted", place(), (*arena).free_count)
            })
        }
    }

    /// The owner test where it is defined: the arena index works only for addresses whose pool has
    /// a header.
    unsafe fn owner_knows(&self, address: usize, arena: *mut Arena) -> bool {
        // SAFETY: the address lies in a mapped arena.
        unsafe {
            let carved = (*arena).next_pool.addr();
            address >= carved || self.owner.owns(&self.constants(), address, &self.arenas)
        }
    }

    unsafe fn check_free_pools(&self, arena: *mut Arena) -> Result<HashSet<usize>, String> {
        let mut found = HashSet::new();
        // SAFETY: invariant 4 and 5: free pools of the list have headers in this arena.
        unsafe {
            let mut pool = (*arena).free_pools;
            while !pool.is_null() {
                let offset = pool.addr().wrapping_sub((*arena).address);
                ensure(offset < self.constants().arena(), || {
                    format!("free pool {pool:p} lies outside its arena")
                })?;
                ensure((*pool).live == 0, || format!("free pool {pool:p} has live blocks"))?;
                ensure(found.insert(pool.addr()), || {
                    format!("free pool {pool:p} is linked twice")
                })?;
                pool = (*pool).next;
            }
        }
        Ok(found)
    }

    unsafe fn check_pool(
        &self,
        pool: *mut PoolHeader,
        arena: *mut Arena,
        is_free: bool,
        lists: &LinkedRecords,
    ) -> Result<(), String> {
        // SAFETY: a pool with a header, of a mapped arena.
        unsafe {
            let index = (*pool).arena_index as usize;
            let (live, class) = ((*pool).live, (*pool).class);
            let place = || format!("pool {pool:p} of class {class}");
            ensure(self.arenas.first.get().add(index) == arena, || {
                format!("{}: foreign arena", place())
            })?;
            ensure(is_free == (live == 0), || {
                format!("{}: {live} live, free: {is_free}", place())
            })?;
            ensure(
                class != UNINITIALISED && (class as usize) < self.constants().classes(),
                || format!("{}: no class", place()),
            )?;
            let class = class as usize;
            let linked = lists.used.contains(&(pool.addr(), class));
            let full = (*pool).free.is_null();
            ensure(linked == (live > 0 && !full), || format!("{}: linked: {linked}", place()))?;
            let listed =
                self.check_blocks(pool, class).map_err(|why| format!("{}: {why}", place()))?;
            let size = self.constants().class_bytes(class);
            let unused = (self.constants().pool() - (*pool).next_offset as usize) / size;
            let sum = live as usize + listed + unused;
            ensure(sum == self.constants().blocks(class), || {
                format!("{}: {live} live + {listed} listed + {unused} never used", place())
            })?;
            ensure(!full || unused == 0, || format!("{}: full with blocks never used", place()))
        }
    }

    /// The length of a pool's free list, whose blocks lie where blocks of the class begin.
    unsafe fn check_blocks(&self, pool: *mut PoolHeader, class: usize) -> Result<usize, String> {
        let size = self.constants().class_bytes(class);
        let mut found = HashSet::new();
        // SAFETY: each block is checked to lie in the pool before it is read.
        unsafe {
            let mut block: *mut FreeBlock = (*pool).free;
            while !block.is_null() {
                let offset = block.addr().wrapping_sub(pool.addr());
                let inside = (POOL_HEADER_BYTES..(*pool).next_offset as usize).contains(&offset);
                let begins = inside && (offset - POOL_HEADER_BYTES).is_multiple_of(size);
                ensure(begins, || format!("free block at offset {offset}"))?;
                ensure(found.insert(offset), || {
                    format!("the free block at {offset} is linked twice")
                })?;
                block = (*block).next;
            }
        }
        Ok(found.len())
    }
}
