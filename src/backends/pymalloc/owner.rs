//! The owner test: whether a block lies in the pools or in the layer below.
//!
//! `free` and `realloc` get an address only. Until 3.9 the header of the address's page names an
//! arena, whose range is compared ([`ArenaIndex`]). Since 3.10 a radix tree over the address bits
//! has an entry for every arena ([`RadixTree`]). [`AnyOwner`] is either of them, for constants that
//! were set one by one.
#![expect(
    unsafe_code,
    reason = "reads tables behind raw pointers, and headers of pages that may be foreign"
)]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::constants::{Constants, OwnerTest};
use super::headers::{ArenaTable, PoolHeader};
use crate::backends::allocator::Allocator;

/// Decides whether an address lies in an arena.
///
/// # Safety
/// `owns` has to be true for exactly the addresses inside arenas that were entered and have not
/// left. All zero bytes have to be a valid empty owner.
pub unsafe trait Owner {
    /// Whether `address` lies in an arena.
    ///
    /// # Safety
    /// `address` is a block of the heap that `arenas` belongs to, or of the layer below it;
    /// `constants` are the heap's, here and in every other call.
    unsafe fn owns(&self, constants: &Constants, address: usize, arenas: &ArenaTable) -> bool;

    /// Enters the arena that begins at `base`. Returns false, and changes nothing, when the layer
    /// below has no memory.
    ///
    /// # Safety
    /// `below` is a live table, the same in every call, and the arena overlaps none that is
    /// entered.
    unsafe fn enter(&self, constants: &Constants, base: usize, below: &Allocator) -> bool;

    /// Removes the arena at `base`.
    ///
    /// # Safety
    /// It was entered.
    unsafe fn leave(&self, constants: &Constants, base: usize);

    /// Frees the owner's memory; no call of it may follow.
    ///
    /// # Safety
    /// `below` is the table that `enter` was given.
    unsafe fn release(&self, constants: &Constants, below: &Allocator);
}

/// Until 3.9: the header of the address's page names an arena, and the address lies inside it or
/// not.
///
/// A foreign page may have any bytes in the place of a header. The index is then beyond the table,
/// or it names an arena that the address does not lie in. Pools must not be larger than the
/// kernel's pages, so that the header's place is mapped.
pub struct ArenaIndex;

// SAFETY: only the range check at the end decides, so no foreign bytes can make it true. It has no
// state.
unsafe impl Owner for ArenaIndex {
    #[inline(always)]
    unsafe fn owns(&self, constants: &Constants, address: usize, arenas: &ArenaTable) -> bool {
        let pool = ptr::with_exposed_provenance::<PoolHeader>(address & !(constants.pool() - 1));
        // SAFETY: the address lies in a mapped page, and a pool is no larger than a page. The read
        // is volatile because bytes of a foreign page may be anything and change at any time.
        let index = unsafe { (&raw const (*pool).arena_index).read_volatile() } as usize;
        if index >= arenas.slots.get() {
            return false;
        }
        // SAFETY: the index is inside the table.
        let base = unsafe { (*arenas.first.get().add(index)).address };
        base != 0 && address.wrapping_sub(base) < constants.arena()
    }

    unsafe fn enter(&self, _constants: &Constants, _base: usize, _below: &Allocator) -> bool {
        true
    }

    unsafe fn leave(&self, _constants: &Constants, _base: usize) {}

    unsafe fn release(&self, _constants: &Constants, _below: &Allocator) {}
}

/// From 3.10 on: a tree of three levels over the address bits above the arena's own.
///
/// `INTERIOR` is the number of children of the root and of a middle node, `LEAF` the number of
/// entries of a leaf: one for each arena-sized, arena-aligned span of addresses. An arena is rarely
/// aligned to its own size. It then covers the end of one span and the start of the next, and both
/// entries have the limit.
///
/// 3.10 has nodes of 8,192, 8,192 and 2,048 bytes (48 address bits), 3.11 and later 262,144, 262,144
/// and 131,072 (64 bits). Nodes come from the `calloc` of the layer below, and exist as long as the
/// heap.
pub struct RadixTree<const INTERIOR: usize, const LEAF: usize> {
    root: [Cell<*mut Middle<INTERIOR, LEAF>>; INTERIOR],
}

struct Middle<const INTERIOR: usize, const LEAF: usize>([Cell<*mut Leaf<LEAF>>; INTERIOR]);

struct Leaf<const LEAF: usize>([AddressSpan; LEAF]);

/// The part of one arena-sized span of addresses that lies in arenas: from offset `from` to its
/// end, and from its start to offset `until`. A `from` of -1 means all of it; 0 means that no arena
/// begins here.
struct AddressSpan {
    from: Cell<i32>,
    until: Cell<i32>,
}

impl AddressSpan {
    /// Whether the byte at `offset` lies in an arena.
    #[inline(always)]
    fn covers(&self, offset: i32) -> bool {
        let (from, until) = (self.from.get(), self.until.get());
        offset < until || (offset >= from && from != 0)
    }

    /// Marks the arena at `base` in the spans that `grow` makes: in one when it is aligned to its
    /// size, else in the end of one and the start of the next. Returns false, and marks nothing,
    /// when a span could not be made.
    fn enter<'a>(
        constants: &Constants,
        base: usize,
        grow: impl Fn(usize) -> Option<&'a AddressSpan>,
    ) -> bool {
        let offset = offset(constants, base) as i32;
        let Some(first) = grow(base) else { return false };
        if offset == 0 {
            first.from.set(-1);
            return true;
        }
        let Some(second) = grow(base + constants.arena()) else { return false };
        first.from.set(offset);
        second.until.set(offset);
        true
    }

    /// Removes the marks of the arena at `base`.
    fn leave<'a>(
        constants: &Constants,
        base: usize,
        find: impl Fn(usize) -> Option<&'a AddressSpan>,
    ) {
        if let Some(first) = find(base) {
            first.from.set(0);
        }
        if offset(constants, base) != 0
            && let Some(second) = find(base + constants.arena())
        {
            second.until.set(0);
        }
    }
}

/// Offset of an address in its span, in bytes.
#[inline(always)]
fn offset(constants: &Constants, address: usize) -> usize {
    address & (constants.arena() - 1)
}

impl<const INTERIOR: usize, const LEAF: usize> RadixTree<INTERIOR, LEAF> {
    #[inline(always)]
    const fn middle_shift(constants: &Constants) -> u32 {
        constants.arena_bits + LEAF.ilog2()
    }

    #[inline(always)]
    const fn root_shift(constants: &Constants) -> u32 {
        Self::middle_shift(constants) + INTERIOR.ilog2()
    }

    /// The span of the address, if its leaf exists.
    #[inline(always)]
    fn find(&self, constants: &Constants, address: usize) -> Option<&AddressSpan> {
        let middle = self.root[(address >> Self::root_shift(constants)) & (INTERIOR - 1)].get();
        // SAFETY: a non-null child was made by `grow` and lives as long as the tree.
        let middle = unsafe { middle.as_ref()? };
        let leaf = middle.0[(address >> Self::middle_shift(constants)) & (INTERIOR - 1)].get();
        // SAFETY: as above.
        let leaf = unsafe { leaf.as_ref()? };
        Some(&leaf.0[(address >> constants.arena_bits) & (LEAF - 1)])
    }

    /// The span of the address; makes the missing nodes.
    ///
    /// # Safety
    /// `below` is a live table.
    unsafe fn grow(
        &self,
        constants: &Constants,
        address: usize,
        below: &Allocator,
    ) -> Option<&AddressSpan> {
        let root = &self.root[(address >> Self::root_shift(constants)) & (INTERIOR - 1)];
        // SAFETY: `below` is live; all zero bytes are a node without children.
        let middle = unsafe { child(root, below)? };
        let middle = &middle.0[(address >> Self::middle_shift(constants)) & (INTERIOR - 1)];
        // SAFETY: as above; a leaf of zeros has no arena.
        unsafe { child(middle, below)? };
        self.find(constants, address)
    }
}

/// The node behind `place`, made of zeros when there is none yet.
///
/// # Safety
/// `below` is a live table, all zero bytes are a valid `T`, and `place` is null or points to a `T`.
unsafe fn child<'a, T>(place: &Cell<*mut T>, below: &Allocator) -> Option<&'a T> {
    if place.get().is_null() {
        // SAFETY: `below` is live.
        place.set(unsafe { (below.calloc)(below.ctx, 1, size_of::<T>()) }.cast());
    }
    // SAFETY: the caller's promise, or zeros that were just made.
    unsafe { place.get().as_ref() }
}

// SAFETY: `enter` and `leave` mark exactly the spans that an arena touches; zeros are an empty
// root.
unsafe impl<const INTERIOR: usize, const LEAF: usize> Owner for RadixTree<INTERIOR, LEAF> {
    #[inline(always)]
    unsafe fn owns(&self, constants: &Constants, address: usize, _arenas: &ArenaTable) -> bool {
        self.find(constants, address)
            .is_some_and(|span| span.covers(offset(constants, address) as i32))
    }

    unsafe fn enter(&self, constants: &Constants, base: usize, below: &Allocator) -> bool {
        // SAFETY: the caller's table.
        AddressSpan::enter(constants, base, |address| unsafe {
            self.grow(constants, address, below)
        })
    }

    unsafe fn leave(&self, constants: &Constants, base: usize) {
        AddressSpan::leave(constants, base, |address| self.find(constants, address));
    }

    unsafe fn release(&self, _constants: &Constants, below: &Allocator) {
        for middle in self.root.iter().map(Cell::get).filter(|middle| !middle.is_null()) {
            // SAFETY: every non-null child was made by `child` from this table and is referred to
            // by nothing else.
            unsafe {
                for leaf in (*middle).0.iter().map(Cell::get) {
                    (below.free)(below.ctx, leaf.cast());
                }
                (below.free)(below.ctx, middle.cast());
            }
        }
    }
}

/// The arena index or the radix tree, as the constants say. A node is an array of machine words.
/// The root is one, too, and is made with the first arena.
pub struct AnyOwner {
    root: TreeNode,
}

/// A child of a node, or null. A leaf's children are its [`AddressSpan`]s, which have the same
/// size.
type TreeNode = Cell<*mut c_void>;

impl AnyOwner {
    /// The span of the address. `next` finds or makes a child from its place and its size in bytes.
    #[inline(always)]
    fn walk(
        &self,
        constants: &Constants,
        address: usize,
        next: impl Fn(&TreeNode, usize) -> Option<NonNull<c_void>>,
    ) -> Option<&AddressSpan> {
        let (interior, leaf) = constants.owner.node_bits(constants.arena_bits);
        let bits = |shift: u32, count: u32| (address >> shift) & ((1 << count) - 1);
        let leaf_at = constants.arena_bits;
        // SAFETY: a root is a node. Each child that `next` returns has as many entries as the bits
        // that index them, and lives as long as the tree. A word is as large as a span, and zeros
        // are both.
        unsafe {
            let root = next(&self.root, 8 << interior)?.cast::<TreeNode>();
            let middle = root.add(bits(leaf_at + leaf + interior, interior)).as_ref();
            let middle = next(middle, 8 << interior)?.cast::<TreeNode>();
            let last = middle.add(bits(leaf_at + leaf, interior)).as_ref();
            let last = next(last, 8 << leaf)?.cast::<AddressSpan>();
            Some(last.add(bits(leaf_at, leaf)).as_ref())
        }
    }

    #[inline(always)]
    fn find(&self, constants: &Constants, address: usize) -> Option<&AddressSpan> {
        self.walk(constants, address, |place, _| NonNull::new(place.get()))
    }

    /// # Safety
    /// `below` is a live table.
    unsafe fn grow(
        &self,
        constants: &Constants,
        address: usize,
        below: &Allocator,
    ) -> Option<&AddressSpan> {
        self.walk(constants, address, |place, bytes| {
            if place.get().is_null() {
                // SAFETY: the caller's table.
                place.set(unsafe { (below.calloc)(below.ctx, 1, bytes) });
            }
            NonNull::new(place.get())
        })
    }
}

// SAFETY: the promises of the two owners that it can be.
unsafe impl Owner for AnyOwner {
    #[inline(always)]
    unsafe fn owns(&self, constants: &Constants, address: usize, arenas: &ArenaTable) -> bool {
        match constants.owner {
            // SAFETY: the caller's promise.
            OwnerTest::ArenaIndex => unsafe { ArenaIndex.owns(constants, address, arenas) },
            OwnerTest::RadixTree { .. } => self
                .find(constants, address)
                .is_some_and(|span| span.covers(offset(constants, address) as i32)),
        }
    }

    unsafe fn enter(&self, constants: &Constants, base: usize, below: &Allocator) -> bool {
        if constants.owner == OwnerTest::ArenaIndex {
            return true;
        }
        // SAFETY: the caller's table.
        AddressSpan::enter(constants, base, |address| unsafe {
            self.grow(constants, address, below)
        })
    }

    unsafe fn leave(&self, constants: &Constants, base: usize) {
        if constants.owner == OwnerTest::ArenaIndex {
            return;
        }
        AddressSpan::leave(constants, base, |address| self.find(constants, address));
    }

    unsafe fn release(&self, constants: &Constants, below: &Allocator) {
        let Some(root) = NonNull::new(self.root.get()) else { return };
        let (interior, _) = constants.owner.node_bits(constants.arena_bits);
        // SAFETY: nodes have `1 << interior` children; every non-null one was made by `grow` from
        // this table and is referred to by nothing else.
        unsafe {
            let children = |node: NonNull<c_void>| {
                (0..1usize << interior).filter_map(move |at| {
                    NonNull::new(node.cast::<TreeNode>().add(at).as_ref().get())
                })
            };
            for middle in children(root) {
                children(middle).for_each(|leaf| (below.free)(below.ctx, leaf.as_ptr()));
                (below.free)(below.ctx, middle.as_ptr());
            }
            (below.free)(below.ctx, root.as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Cpython310, Cpython311, Layout};
    use super::*;

    #[test]
    fn nodes_have_cpythons_sizes() {
        assert_eq!(size_of::<RadixTree<1024, 256>>(), 8192);
        assert_eq!(size_of::<Middle<1024, 256>>(), 8192);
        assert_eq!(size_of::<Leaf<256>>(), 2048);
        assert_eq!(size_of::<RadixTree<32768, 16384>>(), 262_144);
        assert_eq!(size_of::<Middle<32768, 16384>>(), 262_144);
        assert_eq!(size_of::<Leaf<16384>>(), 131_072);
        assert_eq!(size_of::<AddressSpan>(), size_of::<TreeNode>());
        let [old, new] = [Cpython310.constants(), Cpython311.constants()];
        assert_eq!(
            (RadixTree::<1024, 256>::root_shift(&old), RadixTree::<32768, 16384>::root_shift(&new)),
            (38, 49)
        );
        assert_eq!((old.owner.node_bits(20), new.owner.node_bits(20)), ((10, 8), (15, 14)));
    }
}
