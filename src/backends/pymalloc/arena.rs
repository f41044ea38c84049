//! The arenas that pools come from: the slow paths, which at most one call in a hundred takes.
//!
//! [`ArenaTable`](super::ArenaTable) has one slot for each arena that is or was mapped. Arenas with
//! free pools are in a list, sorted by the number of their free pools, fewest first. So pools are
//! taken from the arena that is least likely to become empty soon.
#![expect(unsafe_code, reason = "links arenas and pools by raw pointers")]

use std::ptr;

use super::headers::{Arena, PoolHeader, UNINITIALISED};
use super::heap::Heap;
use super::layout::Layout;
use super::owner::Owner;

/// Slots of the table at first; it doubles from there.
const FIRST_SLOTS: usize = 16;

impl<L: Layout> Heap<L> {
    /// A pool without blocks, from the fullest arena that has one; null when there is no memory.
    ///
    /// Its class is [`UNINITIALISED`] if it was never used. The arena leaves the usable list with
    /// its last free pool.
    ///
    /// # Safety
    /// The heap's invariants hold.
    pub(super) unsafe fn take_pool(&self) -> *mut PoolHeader {
        // SAFETY: arenas in the usable list are live slots of the table; invariants 5 to 8.
        unsafe {
            let mut arena = self.arenas.usable.get();
            if arena.is_null() {
                arena = self.new_arena();
                if arena.is_null() {
                    return ptr::null_mut();
                }
            }
            self.count_free_pool_taken(arena);
            let mut pool = (*arena).free_pools;
            if pool.is_null() {
                pool = self.carve_pool(arena);
            } else {
                (*arena).free_pools = (*pool).next;
            }
            if (*arena).free_count == 0 {
                self.arenas.usable.set((*arena).next);
                if !(*arena).next.is_null() {
                    (*(*arena).next).previous = ptr::null_mut();
                }
            }
            pool
        }
    }

    /// The head of the usable list has one free pool less. It still has the fewest of all, so it is
    /// the last (and only) arena with its new number.
    unsafe fn count_free_pool_taken(&self, arena: *mut Arena) {
        // SAFETY: the arena is the head of the usable list, so it has at least one free pool and at
        // most all.
        unsafe {
            let free = (*arena).free_count as usize;
            if self.constants().finds_by_table {
                if self.last_with(free).get() == arena {
                    self.last_with(free).set(ptr::null_mut());
                }
                if free > 1 {
                    self.last_with(free - 1).set(arena);
                }
            }
            (*arena).free_count -= 1;
        }
    }

    /// The arena has a new number of free pools: it is the last with that number if there was none.
    unsafe fn enter_table(&self, arena: *mut Arena) {
        if !self.constants().finds_by_table {
            return;
        }
        // SAFETY: a slot of the table, with at least one free pool and at most all.
        let place = self.last_with(unsafe { (*arena).free_count } as usize);
        if place.get().is_null() {
            place.set(arena);
        }
    }

    /// The last arena with as many free pools as this one of the usable list. The table, where
    /// there is one, drops this one, whose number is about to change.
    unsafe fn last_with_the_same(&self, arena: *mut Arena) -> *mut Arena {
        // SAFETY: the arena is in the usable list, whose links are right on both sides.
        unsafe {
            let same =
                |other: *mut Arena| !other.is_null() && (*other).free_count == (*arena).free_count;
            if !self.constants().finds_by_table {
                let mut last = arena;
                while same((*last).next) {
                    last = (*last).next;
                }
                return last;
            }
            let place = self.last_with((*arena).free_count as usize);
            let last = place.get();
            if last == arena {
                let previous = (*arena).previous;
                place.set(if same(previous) { previous } else { ptr::null_mut() });
            }
            last
        }
    }

    /// The arena's next pool that was never used.
    unsafe fn carve_pool(&self, arena: *mut Arena) -> *mut PoolHeader {
        // SAFETY: an arena with free pools but none in its list has one at `next_pool`.
        unsafe {
            let pool = (*arena).next_pool.cast::<PoolHeader>();
            (*pool).arena_index = arena.offset_from_unsigned(self.arenas.first.get()) as u32;
            (*pool).class = UNINITIALISED;
            (*arena).next_pool = (*arena).next_pool.add(self.constants().pool());
            pool
        }
    }

    /// A new arena as the only one in the usable list; null when there is no memory.
    unsafe fn new_arena(&self) -> *mut Arena {
        // SAFETY: called only when no arena is usable, so nothing points into the table and it may
        // move.
        unsafe {
            if self.arenas.unused.get().is_null() && !self.grow_table() {
                return ptr::null_mut();
            }
            let base = (self.source.alloc)(self.source.ctx, self.constants().arena());
            if base.is_null() {
                return ptr::null_mut();
            }
            // The owner test makes pointers from addresses.
            let address = base.expose_provenance();
            if !self.owner.enter(&self.constants(), address, &self.below) {
                (self.source.free)(self.source.ctx, base, self.constants().arena());
                return ptr::null_mut();
            }
            let arena = self.arenas.unused.get();
            self.arenas.unused.set((*arena).next);
            self.lay_out(arena, base.cast());
            self.arenas.count_birth();
            self.arenas.usable.set(arena);
            self.enter_table(arena);
            arena
        }
    }

    /// Divides an arena's memory into pools. The first begins at a multiple of a pool. The bytes
    /// before it are lost, and with them the last pool.
    unsafe fn lay_out(&self, arena: *mut Arena, base: *mut u8) {
        let excess = base.addr() & (self.constants().pool() - 1);
        let pools = (self.constants().arena() / self.constants().pool()) as u32;
        let (skip, pools) =
            if excess == 0 { (0, pools) } else { (self.constants().pool() - excess, pools - 1) };
        // SAFETY: the slot is one of the table's; the skipped bytes lie in the arena.
        unsafe {
            *arena = Arena {
                address: base.addr(),
                next_pool: base.add(skip),
                free_count: pools,
                pool_count: pools,
                free_pools: ptr::null_mut(),
                next: ptr::null_mut(),
                previous: ptr::null_mut(),
            };
        }
    }

    /// Doubles the table; false when there is no memory. The new slots are unused, the lowest
    /// first.
    unsafe fn grow_table(&self) -> bool {
        let table = &self.arenas;
        let old = table.slots.get();
        let slots = if old == 0 { FIRST_SLOTS } else { old * 2 };
        // SAFETY: the table came from this same call, or is null. No pointer into it is stored (see
        // new_arena).
        unsafe {
            let bytes = slots * size_of::<Arena>();
            let first = (self.below.realloc)(self.below.ctx, table.first.get().cast(), bytes)
                .cast::<Arena>();
            if first.is_null() {
                return false;
            }
            for index in old..slots {
                let next = if index + 1 < slots { first.add(index + 1) } else { ptr::null_mut() };
                first.add(index).write(Arena {
                    address: 0,
                    next_pool: ptr::null_mut(),
                    free_count: 0,
                    pool_count: 0,
                    free_pools: ptr::null_mut(),
                    next,
                    previous: ptr::null_mut(),
                });
            }
            table.first.set(first);
            table.slots.set(slots);
            table.unused.set(first.add(old));
        }
        true
    }

    /// Takes back a pool whose last block was freed, and unmaps the arena when all its pools are
    /// free and the version's rule requires it.
    ///
    /// # Safety
    /// The pool is in no class list and has no block. The heap's invariants hold, except that the
    /// pool is not in its arena's free list.
    pub(super) unsafe fn give_pool(&self, pool: *mut PoolHeader) {
        // SAFETY: a pool's index names its arena's slot; invariants 5 to 8.
        unsafe {
            let arena = self.arenas.first.get().add((*pool).arena_index as usize);
            (*pool).next = (*arena).free_pools;
            (*arena).free_pools = pool;

            let was_full = (*arena).free_count == 0;
            let last_before =
                if was_full { ptr::null_mut() } else { self.last_with_the_same(arena) };
            (*arena).free_count += 1;

            let all_free = (*arena).free_count == (*arena).pool_count;
            if all_free && (!self.constants().keeps_last_empty || !(*arena).next.is_null()) {
                self.unlink_usable(arena);
                self.release_arena(arena);
            } else if was_full {
                self.link_first_usable(arena);
            } else {
                self.sort_usable(arena, last_before);
            }
        }
    }

    unsafe fn unlink_usable(&self, arena: *mut Arena) {
        // SAFETY: the arena is in the usable list, whose links are right on both sides.
        unsafe {
            match (*arena).previous.as_mut() {
                Some(previous) => previous.next = (*arena).next,
                None => self.arenas.usable.set((*arena).next),
            }
            if let Some(next) = (*arena).next.as_mut() {
                next.previous = (*arena).previous;
            }
        }
    }

    /// An arena that had no free pool has its first: nothing can have fewer.
    unsafe fn link_first_usable(&self, arena: *mut Arena) {
        // SAFETY: as in unlink_usable; the arena is not in the list yet.
        unsafe {
            (*arena).previous = ptr::null_mut();
            (*arena).next = self.arenas.usable.get();
            if let Some(next) = (*arena).next.as_mut() {
                next.previous = arena;
            }
            self.arenas.usable.set(arena);
            self.enter_table(arena);
        }
    }

    /// Moves an arena whose number of free pools grew by one behind all arenas with its old number.
    unsafe fn sort_usable(&self, arena: *mut Arena, last_before: *mut Arena) {
        // SAFETY: `last_before` was the last arena with the old number, so it is this one or comes
        // after it.
        unsafe {
            self.enter_table(arena);
            if last_before == arena {
                return;
            }
            self.unlink_usable(arena);
            (*arena).previous = last_before;
            (*arena).next = (*last_before).next;
            if let Some(next) = (*arena).next.as_mut() {
                next.previous = arena;
            }
            (*last_before).next = arena;
        }
    }

    /// Unmaps an arena, and puts its slot first in the list of unused ones.
    unsafe fn release_arena(&self, arena: *mut Arena) {
        // SAFETY: no block of the arena is live and it is in no list.
        unsafe {
            let base = (*arena).address;
            (*arena).next = self.arenas.unused.get();
            self.arenas.unused.set(arena);
            self.owner.leave(&self.constants(), base);
            (self.source.free)(
                self.source.ctx,
                ptr::with_exposed_provenance_mut(base),
                self.constants().arena(),
            );
            (*arena).address = 0;
        }
        self.arenas.current.set(self.arenas.current.get() - 1);
    }

    /// Frees everything: arenas, owner and table.
    ///
    /// # Safety
    /// No block of the pools is used any more, and the heap is not called again.
    pub(super) unsafe fn release_all(&self) {
        // SAFETY: the caller's promise; the table and the owner's nodes came from `below`.
        unsafe {
            for arena in self.arenas.iter().filter(|arena| (**arena).address != 0) {
                let base = ptr::with_exposed_provenance_mut((*arena).address);
                (self.source.free)(self.source.ctx, base, self.constants().arena());
            }
            self.owner.release(&self.constants(), &self.below);
            (self.below.free)(self.below.ctx, self.arenas.first.get().cast());
        }
    }
}
