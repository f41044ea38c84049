//! Room `backends`, `pymalloc`: the heap, its pools, and the paths that every call takes.
//!
//! The rules are those of CPython's Objects/obmalloc.c: the same requests give the same pool of the
//! same arena at the same offset as in the interpreter.
#![expect(
    unsafe_code,
    reason = "an allocator: blocks, pools and arenas are linked by raw pointers inside them"
)]

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

use super::arena::{Arena, ArenaTable};
use super::layout::{Constants, Layout, POOL_HEADER_BYTES, Room};
use super::owner::Owner;
use crate::backends::allocator::Allocator;
use crate::backends::arenas::ArenaSource;
use crate::backends::pages;

/// The remembered class of a pool that was never used: no class of any layout.
pub(super) const UNINITIALISED: u32 = 0xffff;

/// A free block begins with the address of the next free block of its pool.
pub(super) struct FreeBlock {
    pub next: *mut FreeBlock,
}

/// What callers get and give.
type Block = *mut c_void;

/// The first 48 bytes of every pool; the layout is CPython's `struct pool_header`.
///
/// The first two links are also what a class list's head looks like (see [`Heap`]).
#[repr(C)]
pub(super) struct PoolHeader {
    /// Live blocks.
    pub live: u32,
    pub padding: u32,
    /// The free block that goes out next; null exactly when the pool is full.
    pub free: *mut FreeBlock,
    /// In a used pool: the next of its class list. In a free one: the next of its arena's free
    /// pools.
    pub next: *mut PoolHeader,
    /// In a used pool: the one before in its class list.
    pub previous: *mut PoolHeader,
    /// The arena's slot.
    pub arena_index: u32,
    /// The class of its blocks, remembered while it is free.
    pub class: u32,
    /// Where the next block that was never used begins, in bytes from the pool's start.
    pub virgin: u32,
    /// The largest `virgin` at which a whole block fits.
    pub virgin_most: u32,
}

/// A class list's head: where a header has its links.
#[repr(C)]
struct ListHead {
    next: Cell<*mut PoolHeader>,
    previous: Cell<*mut PoolHeader>,
}

/// CPython's pool allocator.
///
/// Memory is divided thrice. The source gives *arenas*; an arena is cut into *pools* that begin at
/// multiples of their size; a pool holds *blocks* of one size class behind a header of 48 bytes.
/// What follows holds between any two calls, and [`Heap::check`] walks all of it:
///
/// 1. **A pool is used, full or free.** *Used*: at least one live and one free block; it is in the
///    list of its class. *Full*: no free block; it is in no list, and is found again when one of
///    its blocks is freed, by rounding the block's address down. *Free*: no live block; it is in
///    its arena's list of free pools, or was never used and lies at or above the arena's
///    `next_pool`.
/// 2. **A class list is a ring through its head.** The heads are an array of pairs of links. A
///    pointer to a head is moved back by the 16 bytes that precede the links in a header, so that
///    it reads like a pool and linking needs no special case. Nothing but the links may be read
///    through it. Only the first pool of a list serves requests.
/// 3. **A pool's free list is last in, first out, and begins with null exactly when the pool is
///    full.** A block that was never used is in the list only when all that were freed have gone
///    out again: then exactly one is cut ahead. So `live` + length of the list + blocks from
///    `virgin` on = blocks of the class in a pool.
/// 4. **A free pool remembers its class and its free list.** Taken for the same class again it
///    continues where it was; taken for another it is laid out anew. A pool that was never used
///    remembers no class.
/// 5. **An arena's `free_count` is its free pools**, those in its list and those from `next_pool`
///    to its end.
/// 6. **The usable list holds exactly the arenas with `free_count` above 0**, ascending by it;
///    among equals the one that came to the number last stands first. `last_with[n]` is the last of
///    those with `n`, or null.
/// 7. **A mapped arena is known to the owner test** over its whole length, and nothing else is. An
///    unmapped one has address 0 and its slot is in the list of unused slots.
/// 8. **Wholly free arenas**: none (3.8 and before), or at most one, the last of the usable list
///    (3.9 on).
///
/// The context of the tables is the address of this. It is only ever shared, and all of it that
/// changes is in cells; it never moves, because rings point at the heads.
#[repr(C)]
pub struct Heap<L: Layout> {
    /// The layer below. It stands before the heads, so that a head's address less 16 still lies
    /// inside the heap.
    pub(super) below: Allocator,
    pub(super) source: ArenaSource,
    layout: L,
    /// A [`ListHead`] for each class.
    used: UnsafeCell<L::Heads>,
    pub(super) arenas: ArenaTable,
    pub(super) owner: L::Owner,
    /// An arena or null for each number of free pools; empty where the layout has the arenas' list
    /// walked.
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

    /// The constants; known to the compiler for the layout of a version.
    #[inline(always)]
    pub(super) fn constants(&self) -> Constants {
        self.layout.constants()
    }

    /// An empty heap in pages of its own, as CPython has its state in zeroed static memory: what is
    /// never touched costs nothing.
    ///
    /// # Errors
    /// When the kernel gives no pages.
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

    /// Gives everything back, the heap itself included.
    ///
    /// # Safety
    /// `heap` came from [`Heap::new`], none of its pool blocks is used any more, and it is not
    /// called again.
    pub(super) unsafe fn delete(heap: NonNull<Heap<L>>) {
        // SAFETY: the caller's promise. A refusal to unmap leaves the pages, which harms nobody.
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
        // SAFETY: there is a head for each class (`new` asserts it), and 16 bytes before it still
        // lies the heap's first field.
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
    pub(super) fn pool_of(&self, block: Block) -> *mut PoolHeader {
        block.map_addr(|address| address & !(self.constants().pool() - 1)).cast()
    }

    #[inline(always)]
    pub(super) fn owns(&self, block: Block) -> bool {
        // SAFETY: callers pass blocks of this heap or of the layer below, which is what the owner
        // asks for.
        unsafe { self.owner.owns(&self.constants(), block.addr(), &self.arenas) }
    }

    /// A block from the pools for a size from 1 to the threshold; what `without` gives when the
    /// class has no pool.
    ///
    /// That call is the only way out, at the very end and to a function that cannot unwind: so the
    /// short path needs no frame of its own. Cutting a block that was never used is no rare thing
    /// while a program grows, so it is done here.
    ///
    /// # Safety
    /// The heap's invariants hold.
    #[inline(always)]
    unsafe fn take_block(
        &self,
        size: usize,
        without: unsafe extern "C" fn(&Self, usize) -> Block,
    ) -> Block {
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

    /// The only block of the pool's free list was taken: cuts one that was never used, or takes the
    /// full pool out of its class list.
    ///
    /// # Safety
    /// The pool is the first of its class list, and its free list is empty.
    #[inline(always)]
    unsafe fn extend(&self, pool: *mut PoolHeader, class: usize) {
        // SAFETY: a block fits at `virgin` up to `virgin_most`.
        unsafe {
            let virgin = (*pool).virgin;
            if virgin <= (*pool).virgin_most {
                let ahead = pool.byte_add(virgin as usize).cast::<FreeBlock>();
                (*pool).free = ahead;
                (*pool).virgin = virgin + self.constants().class_bytes(class) as u32;
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
    unsafe extern "C" fn take_block_of_new_pool(&self, size: usize) -> Block {
        let class = (size - 1) >> self.constants().align_shift;
        // SAFETY: the invariants hold, the list of the class is empty, and a pool that is taken is
        // in no list.
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
            (*pool).virgin = (POOL_HEADER_BYTES + 2 * class_bytes) as u32;
            (*pool).virgin_most = (self.constants().pool() - class_bytes) as u32;
            block.cast()
        }
    }

    /// As [`Heap::take_block_of_new_pool`], but the layer below serves when there is no memory for
    /// a pool.
    #[cold]
    #[inline(never)]
    unsafe extern "C" fn malloc_of_new_pool(&self, size: usize) -> Block {
        // SAFETY: the invariants hold; `below` lives as long as the heap.
        unsafe {
            let block = self.take_block_of_new_pool(size);
            if block.is_null() {
                return (self.below.malloc)(self.below.ctx, size);
            }
            block
        }
    }

    /// Gives a block back to its pool.
    ///
    /// # Safety
    /// The heap's invariants hold and the block is a live one of this pool of this heap.
    #[inline(always)]
    unsafe fn give_block(&self, pool: *mut PoolHeader, block: Block) {
        let block = block.cast::<FreeBlock>();
        // SAFETY: the caller's promise; invariants 1 to 3.
        unsafe {
            let rest = (*pool).free;
            (*block).next = rest;
            (*pool).free = block;
            (*pool).live -= 1;
            if rest.is_null() {
                // It was full, and so in no list. A full pool holds more than one block, so it is
                // not empty now.
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

    /// Whether pools serve a size. Size 0 wraps around, so that one comparison sends it, and what
    /// is too large, below.
    #[inline(always)]
    fn serves(&self, size: usize) -> bool {
        size.wrapping_sub(1) < self.constants().threshold
    }

    /// `malloc`: from the pools, else from the layer below.
    ///
    /// # Safety
    /// The heap's invariants hold.
    #[inline(always)]
    unsafe fn malloc(&self, size: usize) -> Block {
        // SAFETY: the caller's promise; `below` lives as long as the heap.
        unsafe {
            if self.serves(size) {
                self.take_block(size, Self::malloc_of_new_pool)
            } else {
                (self.below.malloc)(self.below.ctx, size)
            }
        }
    }

    /// `calloc`: exactly the bytes that were asked for are cleared.
    ///
    /// # Safety
    /// The heap's invariants hold.
    #[inline(always)]
    unsafe fn calloc(&self, elements: usize, element_size: usize) -> Block {
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
    unsafe fn free(&self, block: Block) {
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

    /// `realloc`: a block of the layer below stays there for ever. A block of the pools stays where
    /// it is when it is large enough and more than three quarters of it are wanted; otherwise a new
    /// one is taken *before* the old goes.
    ///
    /// # Safety
    /// As for `free`.
    unsafe fn realloc(&self, block: Block, new_size: usize) -> Block {
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

    /// The class size of a pool's block; `None` for one of the layer below.
    pub(super) fn usable_in_pool(&self, block: Block) -> Option<usize> {
        // SAFETY: an owned block lies in a pool with a header.
        self.owns(block)
            .then(|| self.constants().class_bytes(unsafe { (*self.pool_of(block)).class } as usize))
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

unsafe extern "C" fn entry_malloc<L: Layout>(ctx: *mut c_void, size: usize) -> Block {
    // SAFETY: the table's context is a heap that lives, whose invariants hold between calls.
    unsafe { (*ctx.cast::<Heap<L>>()).malloc(size) }
}

unsafe extern "C" fn entry_calloc<L: Layout>(
    ctx: *mut c_void,
    elements: usize,
    element_size: usize,
) -> Block {
    // SAFETY: as in entry_malloc.
    unsafe { (*ctx.cast::<Heap<L>>()).calloc(elements, element_size) }
}

unsafe extern "C" fn entry_realloc<L: Layout>(
    ctx: *mut c_void,
    block: Block,
    new_size: usize,
) -> Block {
    // SAFETY: as in entry_malloc; the caller's block is null or live.
    unsafe { (*ctx.cast::<Heap<L>>()).realloc(block, new_size) }
}

unsafe extern "C" fn entry_free<L: Layout>(ctx: *mut c_void, block: Block) {
    // SAFETY: as in entry_realloc.
    unsafe { (*ctx.cast::<Heap<L>>()).free(block) }
}
