//! Room `backends`, `pymalloc`: the owner test, which tells a block of the pools from one of the layer below.
//!
//! `free` and `realloc` get an address and nothing else. Until 3.9 the page's own header named an arena that was then
//! asked ([`ArenaIndex`]); since 3.10 a radix tree over the address bits knows every arena ([`RadixTree`]).
#![expect(unsafe_code, reason = "reads tables behind raw pointers, and headers of pages that may be foreign")]

use std::cell::Cell;
use std::ptr;

use super::arena::ArenaTable;
use super::heap::PoolHeader;
use crate::backends::allocator::Allocator;

/// Tells whether an address lies in an arena.
///
/// # Safety
/// `owns` has to be true for exactly the addresses inside arenas that were entered and have not left, and all zero
/// bytes have to be a valid empty owner.
pub unsafe trait Owner {
    /// The test in words.
    const NAME: &'static str;

    /// Whether `address` lies in an arena.
    ///
    /// # Safety
    /// `address` is a block of the heap that `arenas` belongs to, or of the layer below it.
    unsafe fn owns(&self, address: usize, arenas: &ArenaTable) -> bool;

    /// Enters the arena that begins at `base`; false, and nothing changed, when the layer below has no memory.
    ///
    /// # Safety
    /// `below` is a live table, the same in every call, and the arena overlaps none that is entered.
    unsafe fn enter(&self, base: usize, below: &Allocator) -> bool;

    /// Takes the arena at `base` out.
    ///
    /// # Safety
    /// It was entered.
    unsafe fn leave(&self, base: usize);

    /// Frees what the owner holds; nothing may be asked of it afterwards.
    ///
    /// # Safety
    /// `below` is the table that `enter` was given.
    unsafe fn release(&self, below: &Allocator);
}

/// Until 3.9: the header of the page that holds the address names an arena, and the address lies inside it or not.
///
/// The header of a foreign page is whatever bytes are there: any index is then either beyond the table or names an
/// arena that the address does not lie in. That is why pools must not be larger than the kernel's pages.
pub struct ArenaIndex<const POOL_BITS: u32, const ARENA_BITS: u32>;

// SAFETY: the range check at the end alone decides, so no foreign bytes can make it true; it has no state.
unsafe impl<const POOL_BITS: u32, const ARENA_BITS: u32> Owner for ArenaIndex<POOL_BITS, ARENA_BITS> {
    const NAME: &'static str = "arena index in the pool's header";

    #[inline(always)]
    unsafe fn owns(&self, address: usize, arenas: &ArenaTable) -> bool {
        let pool = ptr::with_exposed_provenance::<PoolHeader>(address & !((1 << POOL_BITS) - 1));
        // SAFETY: the address lies in a mapped page, and a pool is no larger than a page. The read is volatile because
        // bytes of a foreign page may be anything and change at any time.
        let index = unsafe { (&raw const (*pool).arena_index).read_volatile() } as usize;
        if index >= arenas.slots.get() {
            return false;
        }
        // SAFETY: the index is inside the table.
        let base = unsafe { (*arenas.first.get().add(index)).address };
        base != 0 && address.wrapping_sub(base) < 1 << ARENA_BITS
    }

    unsafe fn enter(&self, _base: usize, _below: &Allocator) -> bool {
        true
    }

    unsafe fn leave(&self, _base: usize) {}

    unsafe fn release(&self, _below: &Allocator) {}
}

/// From 3.10 on: a tree of three levels over the address bits above the arena's own.
///
/// `INTERIOR` is the number of children of the root and of a middle node, `LEAF` the entries of a leaf: one entry for
/// each arena-sized, arena-aligned stretch of addresses. An arena is rarely aligned to its own size, so it covers the
/// end of one stretch and the start of the next, and both entries say up to where. 3.10 has nodes of 8,192, 8,192 and
/// 2,048 bytes (48 address bits), 3.11 and later 262,144, 262,144 and 131,072 (64 bits). Nodes come from the layer
/// below's `calloc` and stay until the heap goes.
pub struct RadixTree<const ARENA_BITS: u32, const INTERIOR: usize, const LEAF: usize> {
    root: [Cell<*mut Middle<INTERIOR, LEAF>>; INTERIOR],
}

struct Middle<const INTERIOR: usize, const LEAF: usize>([Cell<*mut Leaf<LEAF>>; INTERIOR]);

struct Leaf<const LEAF: usize>([Stretch; LEAF]);

/// What of one arena-sized stretch of addresses lies in arenas: from `from` to its end, and from its start to `until`.
/// A `from` of -1 means all of it; 0 means that no arena begins here.
struct Stretch {
    from: Cell<i32>,
    until: Cell<i32>,
}

impl<const ARENA_BITS: u32, const INTERIOR: usize, const LEAF: usize> RadixTree<ARENA_BITS, INTERIOR, LEAF> {
    const MIDDLE_SHIFT: u32 = ARENA_BITS + LEAF.ilog2();
    const ROOT_SHIFT: u32 = Self::MIDDLE_SHIFT + INTERIOR.ilog2();
    const OFFSET_MASK: usize = (1 << ARENA_BITS) - 1;

    /// The stretch that holds the address, if its leaf exists.
    #[inline(always)]
    fn find(&self, address: usize) -> Option<&Stretch> {
        let middle = self.root[(address >> Self::ROOT_SHIFT) & (INTERIOR - 1)].get();
        // SAFETY: a non-null child was made by `grow` and lives as long as the tree.
        let middle = unsafe { middle.as_ref()? };
        let leaf = middle.0[(address >> Self::MIDDLE_SHIFT) & (INTERIOR - 1)].get();
        // SAFETY: as above.
        let leaf = unsafe { leaf.as_ref()? };
        Some(&leaf.0[(address >> ARENA_BITS) & (LEAF - 1)])
    }

    /// The stretch that holds the address; makes the nodes that are missing.
    ///
    /// # Safety
    /// `below` is a live table.
    unsafe fn grow(&self, address: usize, below: &Allocator) -> Option<&Stretch> {
        let root = &self.root[(address >> Self::ROOT_SHIFT) & (INTERIOR - 1)];
        // SAFETY: `below` is live; all zero bytes are a node without children.
        let middle = unsafe { child(root, below)? };
        // SAFETY: as above; a leaf of zeros has no arena.
        unsafe { child(&middle.0[(address >> Self::MIDDLE_SHIFT) & (INTERIOR - 1)], below)? };
        self.find(address)
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

// SAFETY: `enter` and `leave` mark exactly the two stretches that an arena touches; zeros are an empty root.
unsafe impl<const ARENA_BITS: u32, const INTERIOR: usize, const LEAF: usize> Owner
    for RadixTree<ARENA_BITS, INTERIOR, LEAF>
{
    const NAME: &'static str = match INTERIOR {
        1024 => "radix tree over 48 address bits (nodes of 8192, 8192 and 2048 bytes)",
        _ => "radix tree over 64 address bits (nodes of 262144, 262144 and 131072 bytes)",
    };

    #[inline(always)]
    unsafe fn owns(&self, address: usize, _arenas: &ArenaTable) -> bool {
        let Some(stretch) = self.find(address) else { return false };
        let (from, until) = (stretch.from.get(), stretch.until.get());
        let offset = (address & Self::OFFSET_MASK) as i32;
        offset < until || (offset >= from && from != 0)
    }

    unsafe fn enter(&self, base: usize, below: &Allocator) -> bool {
        // SAFETY: the caller's table.
        let Some(first) = (unsafe { self.grow(base, below) }) else { return false };
        let offset = (base & Self::OFFSET_MASK) as i32;
        if offset == 0 {
            first.from.set(-1);
            return true;
        }
        // SAFETY: as above.
        let Some(second) = (unsafe { self.grow(base + (1 << ARENA_BITS), below) }) else { return false };
        first.from.set(offset);
        second.until.set(offset);
        true
    }

    unsafe fn leave(&self, base: usize) {
        if let Some(first) = self.find(base) {
            first.from.set(0);
        }
        if base & Self::OFFSET_MASK != 0
            && let Some(second) = self.find(base + (1 << ARENA_BITS))
        {
            second.until.set(0);
        }
    }

    unsafe fn release(&self, below: &Allocator) {
        for middle in self.root.iter().map(Cell::get).filter(|middle| !middle.is_null()) {
            // SAFETY: every non-null child was made by `child` from this table and is referred to by nothing else.
            unsafe {
                for leaf in (*middle).0.iter().map(Cell::get) {
                    (below.free)(below.ctx, leaf.cast());
                }
                (below.free)(below.ctx, middle.cast());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_cpythons_sizes() {
        assert_eq!(size_of::<RadixTree<20, 1024, 256>>(), 8192);
        assert_eq!(size_of::<Middle<1024, 256>>(), 8192);
        assert_eq!(size_of::<Leaf<256>>(), 2048);
        assert_eq!(size_of::<RadixTree<20, 32768, 16384>>(), 262_144);
        assert_eq!(size_of::<Middle<32768, 16384>>(), 262_144);
        assert_eq!(size_of::<Leaf<16384>>(), 131_072);
        assert_eq!(RadixTree::<20, 1024, 256>::ROOT_SHIFT, 38);
        assert_eq!(RadixTree::<20, 32768, 16384>::ROOT_SHIFT, 49);
    }
}
