//! The hook that chooses the addresses of arenas, and reads the pools in them.
//!
//! CPython's real pymalloc and this crate's take the same hook for arenas, so both can have arenas
//! at the same addresses. Then every block of the two must lie at the same offset of the arena of
//! the same birth; `heaplay verify --against` compares them. Sizes and offsets are in bytes.
#![expect(unsafe_code, reason = "implements an arena hook, and reads the headers of pools")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::{self, NonNull};

use serde::{Deserialize, Serialize};

use super::bases::{Bases, PAGE_BYTES};
use super::source::ArenaSource;
use super::statistics::Geometry;
use crate::backends::pages;

/// Bytes of a pool's header in every version on 64-bit machines, and the offsets of its fields.
const HEADER_BYTES: usize = 48;
const FREE_AT: usize = 8;
const CLASS_AT: usize = 36;
const NEXT_OFFSET_AT: usize = 40;

/// The place of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// The arena, by the number of arenas born before it.
    pub birth: usize,
    /// Bytes from the arena's base.
    pub offset: usize,
}

/// An arena was mapped or unmapped; both have its birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArenaChange {
    /// It was mapped.
    Born(usize),
    /// It was unmapped.
    Died(usize),
}

/// A pool, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolState {
    /// From the arena's base.
    pub offset: usize,
    /// Bytes of each block; without meaning while no block is live.
    pub block: usize,
    /// Live blocks; 0 for a free pool, and for one never used.
    pub live: usize,
    /// All blocks.
    pub capacity: usize,
    /// Offset in the pool of the block that is allocated next; 0 when there is none.
    pub next: usize,
    /// Offset in the pool of the next block that was never used.
    pub virgin: usize,
}

/// An arena and its pools, without those lost to alignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArenaState {
    /// Arenas born before it.
    pub birth: usize,
    /// In order of address.
    pub pools: Vec<PoolState>,
}

/// A hook for arenas that chooses their bases and records which are mapped.
///
/// Requests of another size than an arena's go to the source behind the hook: an interpreter from
/// 3.11 on allocates chunks of its frame stack through the same hook.
pub struct Arenas {
    bases: Bases,
    geometry: Geometry,
    passed_on: ArenaSource,
    /// Whether arenas that the hook maps itself request huge pages.
    requests_huge_pages: Cell<bool>,
    /// Bases in the recorded process, by birth.
    recorded: RefCell<Vec<u64>>,
    /// Base → birth.
    mapped: RefCell<BTreeMap<usize, usize>>,
    changes: RefCell<Vec<ArenaChange>>,
    births: Cell<usize>,
    peak: Cell<usize>,
}

impl Arenas {
    /// A hook without arenas. It is leaked, because an allocator may call its hook until the
    /// process ends; a process has few.
    pub fn new(bases: Bases, geometry: Geometry, passed_on: ArenaSource) -> &'static Arenas {
        Box::leak(Box::new(Arenas {
            bases,
            geometry,
            passed_on,
            requests_huge_pages: Cell::new(false),
            recorded: RefCell::default(),
            mapped: RefCell::default(),
            changes: RefCell::default(),
            births: Cell::new(0),
            peak: Cell::new(0),
        }))
    }

    /// The hook.
    pub fn source(&'static self) -> ArenaSource {
        ArenaSource { ctx: ptr::from_ref(self).cast_mut().cast(), alloc, free }
    }

    /// Whether it needs [`Arenas::place_as`].
    pub fn wants_recorded(&self) -> bool {
        self.bases == Bases::Recorded
    }

    /// Lets arenas that the hook maps itself request huge pages. Those of the source behind the hook
    /// are that source's matter.
    pub fn request_huge_pages(&self) {
        self.requests_huge_pages.set(true);
    }

    /// Sets the bases of the recorded process, by birth. Those here have the same offset from a
    /// multiple of an arena's size.
    pub fn place_as(&self, recorded: &[u64]) {
        self.recorded.replace(recorded.to_vec());
    }

    /// Offset in bytes from a multiple of the arena's size, for the arena of that birth.
    fn offset(&self, birth: usize) -> usize {
        let arena = self.geometry.arena;
        match self.bases {
            Bases::Kernel | Bases::Aligned => 0,
            Bases::Misaligned => (birth * 7919 + 1) % 256 * PAGE_BYTES % arena,
            Bases::Off(bytes) => bytes % arena,
            Bases::Recorded => {
                let base = self.recorded.borrow().get(birth).copied().unwrap_or(0);
                base as usize % arena / PAGE_BYTES * PAGE_BYTES
            }
        }
    }

    /// Arenas mapped now.
    pub fn current(&self) -> usize {
        self.mapped.borrow().len()
    }

    /// Most arenas mapped at once.
    pub fn peak(&self) -> usize {
        self.peak.get()
    }

    /// Arenas ever mapped.
    pub fn births(&self) -> usize {
        self.births.get()
    }

    /// The changes since the last call of this.
    pub fn take_changes(&self) -> Vec<ArenaChange> {
        self.changes.take()
    }

    /// The place of a block; `None` outside the arenas.
    pub fn place(&self, block: *const c_void) -> Option<BlockPlace> {
        let address = block.addr();
        let mapped = self.mapped.borrow();
        let (base, birth) = mapped.range(..=address).next_back()?;
        let offset = address - base;
        (offset < self.geometry.arena).then_some(BlockPlace { birth: *birth, offset })
    }

    /// The addresses of the arena of a block; `None` outside the arenas.
    pub fn range_of(&self, block: *const c_void) -> Option<Range<usize>> {
        let base = block.addr() - self.place(block)?.offset;
        Some(base..base + self.geometry.arena)
    }

    /// Bytes of the block's class; `None` outside the arenas.
    ///
    /// # Safety
    /// A block in an arena is a live one.
    pub unsafe fn block_bytes(&self, block: *const c_void) -> Option<usize> {
        self.place(block)?;
        let pool = block.map_addr(|address| address & !(self.geometry.pool - 1)).cast::<u8>();
        // SAFETY: a live block's pool has a header at its start.
        let class = unsafe { pool.add(CLASS_AT).cast::<u32>().read() };
        Some((class as usize + 1) * self.geometry.align)
    }

    /// Every mapped arena, by birth, with its pools by their headers.
    pub fn states(&self) -> Vec<ArenaState> {
        let mapped = self.mapped.borrow();
        let mut all: Vec<ArenaState> =
            mapped.iter().map(|(&base, &birth)| self.state(base, birth)).collect();
        all.sort_by_key(|arena| arena.birth);
        all
    }

    fn state(&self, base: usize, birth: usize) -> ArenaState {
        let Geometry { align, pool, arena, .. } = self.geometry;
        let first = base.next_multiple_of(pool) - base;
        let pools = (first..=arena - pool).step_by(pool).map(|offset| {
            let start = base + offset;
            // SAFETY: a mapped arena; memory that was never used reads as zeros.
            let word = |at: usize| unsafe { ptr::with_exposed_provenance::<u32>(start + at).read() }
                as usize;
            // SAFETY: as above.
            let next = unsafe { ptr::with_exposed_provenance::<usize>(start + FREE_AT).read() };
            let (live, block) = (word(0), (word(CLASS_AT) + 1) * align);
            PoolState {
                offset,
                block,
                live,
                capacity: (pool - HEADER_BYTES) / block,
                next: next.saturating_sub(start),
                virgin: word(NEXT_OFFSET_AT),
            }
        });
        ArenaState { birth, pools: pools.collect() }
    }

    fn map(&self, birth: usize) -> Option<NonNull<u8>> {
        let bytes = self.geometry.arena;
        let offset = self.offset(birth);
        if self.bases == Bases::Kernel {
            // SAFETY: the source from `new`, with its own context.
            return NonNull::new(
                unsafe { (self.passed_on.alloc)(self.passed_on.ctx, bytes) }.cast(),
            );
        }
        let base = self.map_at(offset)?;
        if self.requests_huge_pages.get() {
            // SAFETY: fresh pages of this size.
            unsafe { pages::request_huge(base, bytes) };
        }
        Some(base)
    }

    /// Maps an arena at an offset, in bytes, from a multiple of its size.
    fn map_at(&self, offset: usize) -> Option<NonNull<u8>> {
        let bytes = self.geometry.arena;
        if offset == 0 {
            return pages::map_aligned(bytes, bytes).ok();
        }
        let start = pages::map_aligned(2 * bytes, bytes).ok()?;
        // SAFETY: fresh pages that nothing uses. `bytes` from the offset stay mapped. Ends that
        // could not be unmapped cost only address space.
        unsafe {
            let base = start.add(offset);
            let _ = pages::unmap(start, offset);
            let _ = pages::unmap(base.add(bytes), bytes - offset);
            Some(base)
        }
    }
}

unsafe extern "C" fn alloc(ctx: *mut c_void, bytes: usize) -> *mut c_void {
    // SAFETY: the context of these hooks is a leaked `Arenas`.
    let arenas = unsafe { &*ctx.cast::<Arenas>() };
    if bytes != arenas.geometry.arena {
        // SAFETY: the source from `new`, with its own context.
        return unsafe { (arenas.passed_on.alloc)(arenas.passed_on.ctx, bytes) };
    }
    let birth = arenas.births.get();
    let Some(base) = arenas.map(birth) else { return ptr::null_mut() };
    arenas.births.set(birth + 1);
    arenas.mapped.borrow_mut().insert(base.as_ptr().expose_provenance(), birth);
    arenas.changes.borrow_mut().push(ArenaChange::Born(birth));
    arenas.peak.set(arenas.peak.get().max(arenas.current()));
    base.as_ptr().cast()
}

unsafe extern "C" fn free(ctx: *mut c_void, arena: *mut c_void, bytes: usize) {
    // SAFETY: as in alloc.
    let arenas = unsafe { &*ctx.cast::<Arenas>() };
    let birth = arenas.mapped.borrow_mut().remove(&arena.addr());
    if let Some(birth) = birth {
        arenas.changes.borrow_mut().push(ArenaChange::Died(birth));
    }
    if birth.is_none() || arenas.bases == Bases::Kernel {
        // SAFETY: the source that mapped it.
        return unsafe { (arenas.passed_on.free)(arenas.passed_on.ctx, arena, bytes) };
    }
    if let Some(start) = NonNull::new(arena.cast()) {
        // SAFETY: mapped by `map` with this size; its owner returns it. CPython ignores a refusal,
        // too.
        let _ = unsafe { pages::unmap(start, bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry =
        Geometry { align: 16, threshold: 512, pool: 16 << 10, arena: 1 << 20 };

    #[test]
    fn bases_are_as_set_and_places_are_found() {
        for bases in Bases::NAMED.into_iter().chain([Bases::Off(12 << 10)]) {
            assert_eq!(Bases::from_name(&bases.name()), Some(bases));
            let arenas = Arenas::new(bases, GEOMETRY, ArenaSource::kernel::<false>());
            arenas.place_as(&[0x7f12_3450_4000, 0x7f12_3470_0000, 0x7f12_34ff_f000]);
            let source = arenas.source();
            // SAFETY: the hook's own context; each arena is unmapped once.
            unsafe {
                let made: Vec<_> = (0..5).map(|_| (source.alloc)(source.ctx, 1 << 20)).collect();
                for (birth, arena) in made.iter().enumerate() {
                    if bases != Bases::Kernel {
                        assert_eq!(arena.addr() % (1 << 20), arenas.offset(birth));
                    }
                    arena.byte_add((1 << 20) - 1).cast::<u8>().write(1);
                    assert_eq!(
                        arenas.place(arena.byte_add(77)),
                        Some(BlockPlace { birth, offset: 77 })
                    );
                    (source.free)(source.ctx, *arena, 1 << 20);
                    assert_eq!(arenas.place(arena.byte_add(77)), None);
                }
                let chunk = (source.alloc)(source.ctx, 16 << 10);
                assert_eq!(arenas.place(chunk), None);
                (source.free)(source.ctx, chunk, 16 << 10);
            }
            assert_eq!((arenas.current(), arenas.peak(), arenas.births()), (0, 5, 5));
            assert_eq!(arenas.take_changes().len(), 10);
        }
    }

    #[test]
    fn three_in_four_are_misaligned() {
        let arenas = |bases| Arenas::new(bases, GEOMETRY, ArenaSource::kernel::<false>());
        let misaligned = arenas(Bases::Misaligned);
        let off =
            (0..64).filter(|&birth| !misaligned.offset(birth).is_multiple_of(16 << 10)).count();
        assert_eq!(off, 48);
        assert_eq!(arenas(Bases::Off(5 << 20 | 4096)).offset(7), 4096);
        let recorded = arenas(Bases::Recorded);
        recorded.place_as(&[0x7f12_3450_4000, 0x7f12_3470_0000]);
        assert_eq!([0, 1, 2].map(|birth| recorded.offset(birth)), [0x4000, 0, 0]);
        for wrong in ["", "x", "100", "4097", "2GiB"] {
            assert_eq!(Bases::from_name(wrong), None, "{wrong}");
        }
    }
}
