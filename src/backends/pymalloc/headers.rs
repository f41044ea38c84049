//! The records that the heap writes into memory: headers of pools, links of free blocks, the table
//! of arenas. Their sizes are CPython's.
#![expect(unsafe_code, reason = "steps through the table of arenas by a raw pointer")]

use std::cell::Cell;
use std::ptr;

/// The class in the header of a pool that was never used: no class of any layout.
pub(super) const UNINITIALISED: u32 = 0xffff;

/// A free block begins with the address of the next free block of its pool.
pub(super) struct FreeBlock {
    pub next: *mut FreeBlock,
}

/// The first 48 bytes of every pool: CPython's `struct pool_header`.
///
/// Its two links have the form of a class list's head ([`ListHead`]).
#[repr(C)]
pub(super) struct PoolHeader {
    /// Live blocks.
    pub live: u32,
    pub padding: u32,
    /// The free block that is allocated next; null exactly when the pool is full.
    pub free: *mut FreeBlock,
    /// In a used pool: the next of its class list. In a free one: the next of its arena's free
    /// pools.
    pub next: *mut PoolHeader,
    /// In a used pool: the previous of its class list.
    pub previous: *mut PoolHeader,
    /// The arena's slot.
    pub arena_index: u32,
    /// The class of its blocks; it stays while the pool is free.
    pub class: u32,
    /// Offset in bytes, from the pool's start, of the next block that was never used.
    pub next_offset: u32,
    /// The largest `next_offset` at which a whole block fits.
    pub next_offset_most: u32,
}

/// A class list's head: the links of a header, without the rest.
#[repr(C)]
pub(super) struct ListHead {
    pub next: Cell<*mut PoolHeader>,
    pub previous: Cell<*mut PoolHeader>,
}

/// One arena, or an unused slot when `address` is 0: CPython's `struct arena_object`, 48 bytes.
#[repr(C)]
pub(super) struct Arena {
    /// The start of its memory, as the source returned it.
    pub address: usize,
    /// The next pool that was never used; pools below this address have a header.
    pub next_pool: *mut u8,
    /// Pools that hold no block: those in `free_pools` and those never used.
    pub free_count: u32,
    /// All pools: one fewer than fit when the start is not a multiple of a pool.
    pub pool_count: u32,
    /// Pools that were used and have no block now, the latest first.
    pub free_pools: *mut PoolHeader,
    /// The next in the usable list, or in the list of unused slots.
    pub next: *mut Arena,
    /// The previous in the usable list.
    pub previous: *mut Arena,
}

/// The arenas and the lists through them.
pub struct ArenaTable {
    /// The slots, an array.
    pub(super) first: Cell<*mut Arena>,
    /// Number of slots.
    pub(super) slots: Cell<usize>,
    /// The list of unused slots.
    pub(super) unused: Cell<*mut Arena>,
    /// The list of arenas with free pools.
    pub(super) usable: Cell<*mut Arena>,
    /// Arenas that are mapped.
    pub(super) current: Cell<u64>,
    /// Arenas that were ever mapped.
    pub(super) total: Cell<u64>,
    /// Most arenas mapped at once.
    pub(super) peak: Cell<u64>,
}

impl ArenaTable {
    pub(super) fn empty() -> ArenaTable {
        ArenaTable {
            first: Cell::new(ptr::null_mut()),
            slots: Cell::new(0),
            unused: Cell::new(ptr::null_mut()),
            usable: Cell::new(ptr::null_mut()),
            current: Cell::new(0),
            total: Cell::new(0),
            peak: Cell::new(0),
        }
    }

    /// Every slot, used or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = *mut Arena> + '_ {
        // SAFETY: the index is inside the table.
        (0..self.slots.get()).map(|index| unsafe { self.first.get().add(index) })
    }

    pub(super) fn count_birth(&self) {
        self.current.set(self.current.get() + 1);
        self.total.set(self.total.get() + 1);
        self.peak.set(self.peak.get().max(self.current.get()));
    }
}
