//! The heap, its pools, and the paths that every call takes.
//!
//! The rules are those of CPython's Objects/obmalloc.c: the same requests get the same pool of the
//! same arena at the same offset as in the interpreter.
#![expect(
    unsafe_code,
    reason = "an allocator: blocks, pools and arenas are linked by raw pointers inside them"
)]

use std::cell::{Cell, UnsafeCell};
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

use super::constants::{Constants, POOL_HEADER_BYTES};
use super::headers::{Arena, ArenaTable, FreeBlock, ListHead, PoolHeader};
use super::layout::{HeapTable, Layout};
use super::owner::Owner;
use crate::backends::allocator::Allocator;
use crate::backends::arenas::ArenaSource;
use crate::backends::pages;

/// A block as callers receive and return it.
type RawBlock = *mut c_void;

/// CPython's pool allocator.
///
/// Memory is divided three times. The source returns *arenas*. An arena is divided into *pools*
/// that begin at multiples of their size. A pool has *blocks* of one size class after a header of
/// 48 bytes. These invariants hold between any two calls, and [`Heap::check`] checks all of them:
///
/// 1. **A pool is used, full or free.** *Used*: at least one live and one free block; it is in the
///    list of its class. *Full*: no free block; it is in no list. When one of its blocks is freed,
///    rounding the block's address down finds it. *Free*: no live block; it is in its arena's list
///    of free pools, or was never used and lies at or above the arena's `next_pool`.
/// 2. **A class list is a ring through its head.** The heads are an array of pairs of links. A
///    pointer to a head is moved back by the 16 bytes that precede the links in a header. So it
///    reads like a pool, and linking needs no special case. Only the links may be read through it.
///    Only the first pool of a list serves requests.
/// 3. **A pool's free list is last in, first out, and begins with null exactly when the pool is
///    full.** A block that was never used is in the list only when all freed blocks are allocated
///    again: then exactly one is added. So `live` + length of the list + blocks from `next_offset`
///    on = blocks of the class in a pool.
/// 4. **A free pool still has its class and its free list.** When the same class takes it again, it
///    continues as it was; another class sets it up anew. A pool that was never used has no class.
/// 5. **An arena's `free_count` is the number of its free pools**: those in its list and those from
///    `next_pool` to its end.
/// 6. **The usable list has exactly the arenas with `free_count` above 0**, in ascending order of
///    it. Of several with the same number, the latest is first. `last_with[n]` is the last of those
///    with `n`, or null.
/// 7. **The owner test accepts every address of a mapped arena**, and no other. An unmapped arena
///    has address 0, and its slot is in the list of unused slots.
/// 8. **Wholly free arenas**: none (3.8 and before), or at most one, the last of the usable list
///    (3.9 on).
///
/// The context of the tables is the heap's address. The heap is only ever shared, and all of its
/// mutable state is in cells. It never moves, because rings point at the heads.
#[repr(C)]
pub struct Heap<L: Layout> {
    /// The layer below. It is before the heads, so that a head's address less 16 still lies inside
    /// the heap.
    pub(super) below: Allocator,
    pub(super) source: ArenaSource,
    layout: L,
    /// A [`ListHead`] for each class.
    used: UnsafeCell<L::Heads>,
    pub(super) arenas: ArenaTable,
    pub(super) owner: L::Owner,
    /// An arena or null for each number of free pools; empty for a layout that walks along the
    /// list.
    last_with: UnsafeCell<L::LastWith>,
}

/// Bytes of a header before its links.
const LINKS_AT: usize = std::mem::offset_of!(PoolHeader, next);

impl<L: Layout> Heap<L> {
    const FITS: () = assert!(
        size_of::<PoolHeader>() == POOL_HEADER_BYTES
            && size_of::<Arena>() == 48
            && size_of::<ListHead>() == 2 * size_of::<usize>()
    );

    /// The constants, which the compiler knows for the layout of a version.
    #[inline(always)]
    pub(super) fn constants(&self) -> Constants {
        self.layout.constants()
    }

    /// An empty heap in pages of its own, as CPython has its state in zeroed static memory. Parts
    /// that are never touched cost nothing.
    ///
    /// # Errors
    /// When the kernel returns no pages.
    pub(super) fn new(
        below: Allocator,
        source: ArenaSource,
        layout: L,
    ) -> io::Result<NonNull<Heap<L>>> {
        let () = Self::FITS;
        let constants = layout.constants();
        assert!(constants.broken().is_none(), "{constants:?}");
        let last_with = if constants.finds_by_table { constants.pools() + 1 } else { 0 };
        assert!(
            2 * constants.classes() <= L::Heads::WORDS && last_with <= L::LastWith::WORDS,
            "{constants:?}"
        );
        let heap = pages::map(size_of::<Heap<L>>())?.cast::<Heap<L>>();
        let place = heap.as_ptr();
        // SAFETY: fresh pages, large and aligned enough. Zeros are valid for the owner (its
        // promise) and for the numbers and pointers of `last_with`; every other field is written
        // here.
        unsafe {
            (&raw mut (*place).below).write(below);
            (&raw mut (*place).source).write(source);
            (&raw mut (*place).layout).write(layout);
            (&raw mut (*place).arenas).write(ArenaTable::empty());
            for class in 0..constants.classes() {
                let head = (*place).head(class);
                (*head).next = head;
                (*head).previous = head;
            }
        }
        Ok(heap)
    }

    /// Frees everything, the heap itself included.
    ///
    /// # Safety
    /// `heap` came from [`Heap::new`], none of its pool blocks is used any more, and it is not
    /// called again.
    pub(super) unsafe fn delete(heap: NonNull<Heap<L>>) {
        // SAFETY: the caller's promise. A refusal to unmap leaves the pages, which is harmless.
        unsafe {
            heap.as_ref().release_all();
            let _ = pages::unmap(heap.cast(), size_of::<Heap<L>>());
        }
    }

    /// The head of a class list, read as a pool (invariant 2).
    #[inline(always)]
    pub(super) fn head(&self, class: usize) -> *mut PoolHeader {
        let first = self.used.get().cast::<ListHead>();
        debug_assert!(class < self.constants().classes());
        // SAFETY: there is a head for each class (`new` asserts it), and the 16 bytes before it are
        // still in the heap's first field.
        unsafe { first.add(class).byte_sub(LINKS_AT).cast() }
    }

    /// The table's entry for a number of free pools; only for a layout that has the table.
    #[inline(always)]
    pub(super) fn last_with(&self, free_pools: usize) -> &Cell<*mut Arena> {
        assert!(free_pools < L::LastWith::WORDS, "{free_pools} free pools");
        // SAFETY: the entry is inside the table, and all use of it is through cells.
        unsafe { &*self.last_with.get().cast::<Cell<*mut Arena>>().add(free_pools) }
    }

    #[inline(always)]
    pub(super) fn pool_of(&self, block: RawBlock) -> *mut PoolHeader {
        block.map_addr(|address| address & !(self.constants().pool() - 1)).cast()
    }

    #[inline(always)]
    pub(super) fn owns(&self, block: RawBlock) -> bool {
        // SAFETY: callers pass blocks of this heap or of the layer below, which is what the owner
        // asks for.
        unsafe { self.owner.owns(&self.constants(), block.addr(), &self.arenas) }
    }

    /// A block from the pools for a size from 1 to the threshold; the result of `without` when the
    /// class has no pool.
    ///
    /// That call is the only one, at the very end and to a function that cannot unwind. So the
    /// short path needs no frame of its own. A growing program often takes blocks that were never
    /// used, so this path handles them.
    ///
    /// # Safety
    /// The heap's invariants hold.
    #[inline(always)]
    unsafe fn take_block(
        &self,
        size: usize,
        without: unsafe extern "C" fn(&Self, usize) -> RawBlock,
    ) -> RawBlock {
        let class = (size - 1) >> self.constants().align_shift;
        let head = self.head(class);
        // SAFETY: invariants 1 to 3: the first pool of a ring is the head itself or has a free
        // block.
        unsafe {
            let pool = (*head).next;
            if pool == head {
                return without(self, size);
            }
            (*pool).live += 1;
            let block = (*pool).free;
            let rest = (*block).next;
            (*pool).free = rest;
            if rest.is_null() {
                self.extend(pool, class);
            }
            block.cast()
        }
    }

    /// The only block of the pool's free list was taken: adds one that was never used, or removes
    /// the full pool from its class list.
    ///
    /// # Safety
    /// The pool is the first of its class list, and its free list is empty.
    #[inline(always)]
    unsafe fn extend(&self, pool: *mut PoolHeader, class: usize) {
        // SAFETY: a block fits at `next_offset` up to `next_offset_most`.
        unsafe {
            let offset = (*pool).next_offset;
            if offset <= (*pool).next_offset_most {
                let ahead = pool.byte_add(offset as usize).cast::<FreeBlock>();
                (*pool).free = ahead;
                (*pool).next_offset = offset + self.constants().class_bytes(class) as u32;
                (*ahead).next = ptr::null_mut();
            } else {
                Self::unlink(pool);
            }
        }
    }

    /// No pool of the class has a free block: takes a free pool. Null when there is no memory for
    /// one.
    #[cold]
    #[inline(never)]
    unsafe extern "C" fn take_block_of_new_pool(&self, size: usize) -> RawBlock {
        let class = (size - 1) >> self.constants().align_shift;
        // SAFETY: the invariants hold, the list of the class is empty, and a taken pool is in no
        // list.
        unsafe {
            let pool = self.take_pool();
            if pool.is_null() {
                return ptr::null_mut();
            }
            self.link_first(pool, class);
            (*pool).live = 1;
            if (*pool).class == class as u32 {
                let block = (*pool).free;
                (*pool).free = (*block).next;
                return block.cast();
            }
            let class_bytes = self.constants().class_bytes(class);
            let block = pool.byte_add(POOL_HEADER_BYTES);
            let second = block.byte_add(class_bytes).cast::<FreeBlock>();
            (*second).next = ptr::null_mut();
            (*pool).class = class as u32;
            (*pool).free = second;
            (*pool).next_offset = (POOL_HEADER_BYTES + 2 * class_bytes) as u32;
            (*pool).next_offset_most = (self.constants().pool() - class_bytes) as u32;
            block.cast()
        }
    }

    /// As [`Heap::take_block_of_new_pool`], but the layer below serves when there is no memory for
    /// a pool.
    #[cold]
    #[inline(never)]
    unsafe extern "C" fn malloc_of_new_pool(&self, size: usize) -> RawBlock {
        // SAFETY: the invariants hold; `below` lives as long as the heap.
        unsafe {
            let block = self.take_block_of_new_pool(size);
            if block.is_null() {
                return (self.below.malloc)(self.below.ctx, size);
            }
            block
        }
    }

    /// Returns a block to its pool.
    ///
    /// # Safety
    /// The heap's invariants hold and the block is a live one of this pool of this heap.
    #[inline(always)]
    unsafe fn give_block(&self, pool: *mut PoolHeader, block: RawBlock) {
        let block = block.cast::<FreeBlock>();
        // SAFETY: the caller's promise; invariants 1 to 3.
        unsafe {
            let rest = (*pool).free;
            (*block).next = rest;
            (*pool).free = block;
            (*pool).live -= 1;
            if rest.is_null() {
                // It was full, and so in no list. A full pool has more than one block, so it is not
                // empty now.
                return self.link_first(pool, (*pool).class as usize);
            }
            if (*pool).live == 0 {
                self.empty(pool);
            }
        }
    }

    /// The pool's last live block was freed.
    #[cold]
    #[inline(never)]
    unsafe extern "C" fn empty(&self, pool: *mut PoolHeader) {
        // SAFETY: the pool is in its class list and holds no live block.
        unsafe {
            Self::unlink(pool);
            self.give_pool(pool);
        }
    }

    unsafe fn link_first(&self, pool: *mut PoolHeader, class: usize) {
        let head = self.head(class);
        // SAFETY: the ring through the head is right on both sides and the pool is not in it.
        unsafe {
            let first = (*head).next;
            (*pool).next = first;
            (*pool).previous = head;
            (*first).previous = pool;
            (*head).next = pool;
        }
    }

    unsafe fn unlink(pool: *mut PoolHeader) {
        // SAFETY: the pool is in a ring that is right on both sides.
        unsafe {
            let (next, previous) = ((*pool).next, (*pool).previous);
            (*next).previous = previous;
            (*previous).next = next;
        }
    }

    /// Whether pools serve a size in bytes. Size 0 wraps around, so that one comparison sends both
    /// it and too large sizes to the layer below.
    #[inline(always)]
    fn serves(&self, size: usize) -> bool {
        size.wrapping_sub(1) < self.constants().threshold
    }

    /// `malloc`: from the pools, else from the layer below.
    ///
    /// # Safety
    /// The heap's invariants hold.
    #[inline(always)]
    unsafe fn malloc(&self, size: usize) -> RawBlock {
        // SAFETY: the caller's promise; `below` lives as long as the heap.
        unsafe {
            if self.serves(size) {
                self.take_block(size, Self::malloc_of_new_pool)
            } else {
                (self.below.malloc)(self.below.ctx, size)
            }
        }
    }

    /// `calloc`: exactly the requested bytes are cleared.
    ///
    /// # Safety
    /// The heap's invariants hold.
    #[inline(always)]
    unsafe fn calloc(&self, elements: usize, element_size: usize) -> RawBlock {
        let Some(size) = elements.checked_mul(element_size) else { return ptr::null_mut() };
        // SAFETY: as in malloc; the block has at least `size` bytes.
        unsafe {
            if self.serves(size) {
                let block = self.take_block(size, Self::take_block_of_new_pool);
                if !block.is_null() {
                    block.cast::<u8>().write_bytes(0, size);
                    return block;
                }
            }
            (self.below.calloc)(self.below.ctx, elements, element_size)
        }
    }

    /// `free`.
    ///
    /// # Safety
    /// The heap's invariants hold; the block is null, or a live one of this heap or of the layer
    /// below.
    #[inline(always)]
    unsafe fn free(&self, block: RawBlock) {
        if block.is_null() {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe {
            if self.owns(block) {
                self.give_block(self.pool_of(block), block);
            } else {
                (self.below.free)(self.below.ctx, block);
            }
        }
    }

    /// `realloc`: a block of the layer below always stays there. A block of the pools stays in its
    /// place when it is large enough and the new size is more than three quarters of it. Otherwise
    /// a new block is taken *before* the old one is freed.
    ///
    /// # Safety
    /// As for `free`.
    unsafe fn realloc(&self, block: RawBlock, new_size: usize) -> RawBlock {
        // SAFETY: the caller's promise; both blocks have at least the bytes that are copied.
        unsafe {
            if block.is_null() {
                return self.malloc(new_size);
            }
            if !self.owns(block) {
                return (self.below.realloc)(self.below.ctx, block, new_size);
            }
            let class_bytes = self.constants().class_bytes((*self.pool_of(block)).class as usize);
            if new_size <= class_bytes && 4 * new_size > 3 * class_bytes {
                return block;
            }
            let new = self.malloc(new_size);
            if !new.is_null() {
                ptr::copy_nonoverlapping(
                    block.cast::<u8>(),
                    new.cast::<u8>(),
                    new_size.min(class_bytes),
                );
                self.give_block(self.pool_of(block), block);
            }
            new
        }
    }

    /// The class size in bytes of a pool's block; `None` for a block of the layer below.
    pub(super) fn usable_in_pool(&self, block: RawBlock) -> Option<usize> {
        // SAFETY: an owned block lies in a pool with a header.
        self.owns(block)
            .then(|| self.constants().class_bytes(unsafe { (*self.pool_of(block)).class } as usize))
    }

    /// The addresses at which mapped arenas begin.
    pub(super) fn arena_bases(&self) -> BTreeSet<usize> {
        let first = self.arenas.first.get();
        // SAFETY: the slots of the table; an unused one has the address 0.
        let bases = (0..self.arenas.slots.get()).map(|slot| unsafe { (*first.add(slot)).address });
        bases.filter(|base| *base != 0).collect()
    }

    /// The table of the mem and obj domains, which share one heap.
    pub(super) fn table(heap: NonNull<Heap<L>>) -> Allocator {
        Allocator {
            ctx: heap.as_ptr().cast(),
            malloc: entry_malloc::<L>,
            calloc: entry_calloc::<L>,
            realloc: entry_realloc::<L>,
            free: entry_free::<L>,
        }
    }
}

unsafe extern "C" fn entry_malloc<L: Layout>(ctx: *mut c_void, size: usize) -> RawBlock {
    // SAFETY: the table's context is a heap that lives, whose invariants hold between calls.
    unsafe { (*ctx.cast::<Heap<L>>()).malloc(size) }
}

unsafe extern "C" fn entry_calloc<L: Layout>(
    ctx: *mut c_void,
    elements: usize,
    element_size: usize,
) -> RawBlock {
    // SAFETY: as in entry_malloc.
    unsafe { (*ctx.cast::<Heap<L>>()).calloc(elements, element_size) }
}

unsafe extern "C" fn entry_realloc<L: Layout>(
    ctx: *mut c_void,
    block: RawBlock,
    new_size: usize,
) -> RawBlock {
    // SAFETY: as in entry_malloc; the caller's block is null or live.
    unsafe { (*ctx.cast::<Heap<L>>()).realloc(block, new_size) }
}

unsafe extern "C" fn entry_free<L: Layout>(ctx: *mut c_void, block: RawBlock) {
    // SAFETY: as in entry_realloc.
    unsafe { (*ctx.cast::<Heap<L>>()).free(block) }
}
