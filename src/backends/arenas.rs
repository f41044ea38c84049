//! Room `backends`, beside `pages.rs`: what pool allocators of CPython's kind have in common, ours
//! and the real one: where their arenas come from, what lies in them, and where the bytes are.
//! Sizes and offsets are in bytes.
//!
//! Both take the same hook for arenas, so both can be given arenas at the same places: then every
//! block of the two must lie at the same offset of the arena of the same birth, and `heaplay verify
//! --against` holds them to it.
#![expect(unsafe_code, reason = "implements an arena hook, and reads the headers of pools")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use serde::{Deserialize, Serialize};

use super::allocator::BackendError;
use super::pages;
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::units::parse_bytes;

/// Where arenas come from. Layout and signatures are those of CPython's `PyObjectArenaAllocator`,
/// so one pair of hooks can serve an interpreter and our own.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ArenaSource {
    /// Handed to each call as its first argument.
    pub ctx: *mut c_void,
    /// `alloc(ctx, bytes)`: memory at any address that is a multiple of 4 KiB; null when there is
    /// none.
    pub alloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    /// `free(ctx, arena, bytes)`.
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void, usize),
}

impl ArenaSource {
    /// Plain `mmap`, as CPython has it: at any multiple of a page.
    pub fn kernel() -> ArenaSource {
        unsafe extern "C" fn alloc(_ctx: *mut c_void, bytes: usize) -> *mut c_void {
            pages::map(bytes).map_or(ptr::null_mut(), |start| start.as_ptr().cast())
        }
        unsafe extern "C" fn free(_ctx: *mut c_void, arena: *mut c_void, bytes: usize) {
            if let Some(start) = NonNull::new(arena.cast()) {
                // SAFETY: what `alloc` gave comes back, with the same size. CPython ignores a
                // refusal too.
                let _ = unsafe { pages::unmap(start, bytes) };
            }
        }
        ArenaSource { ctx: ptr::null_mut(), alloc, free }
    }
}

/// How the bases of arenas are chosen. From 3.10 on an arena whose base is no multiple of a pool
/// loses one of its 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bases {
    /// Wherever the kernel's `mmap` puts them, as in a running interpreter.
    Kernel,
    /// Each at a multiple of its size.
    Aligned,
    /// Each at a page that depends on its birth alone; three in four are no multiple of a pool of
    /// 16 KiB, as `mmap` gives them in life.
    Misaligned,
    /// All at so many bytes past a multiple of their size: a multiple of 4 KiB.
    Off(usize),
    /// As in the recorded process, birth by birth, by [`Arenas::place_as`]; later ones at multiples
    /// of their size.
    Recorded,
}

impl Bases {
    /// Those without a number.
    pub const NAMED: [Bases; 4] =
        [Bases::Kernel, Bases::Aligned, Bases::Misaligned, Bases::Recorded];

    /// The value of the setting `bases`.
    pub fn name(self) -> String {
        match self {
            Bases::Kernel => "kernel".to_owned(),
            Bases::Aligned => "aligned".to_owned(),
            Bases::Misaligned => "misaligned".to_owned(),
            Bases::Off(bytes) => bytes.to_string(),
            Bases::Recorded => "recorded".to_owned(),
        }
    }

    /// The bases of that name, or that many bytes off (`4096`, `4KiB`).
    pub fn from_name(name: &str) -> Option<Bases> {
        let off = || parse_bytes(name).ok().and_then(|bytes| usize::try_from(bytes).ok());
        let page = |bytes: &usize| bytes.is_multiple_of(PAGE_BYTES) && *bytes <= MOST_OFF;
        let named = Bases::NAMED.into_iter().find(|bases| bases.name() == name);
        named.or_else(|| off().filter(page).map(Bases::Off))
    }

    /// The setting in words, for `heaplay backends`.
    pub const SETTING: &str = "bases=kernel|aligned|misaligned|recorded, or bytes off such as 4KiB (a multiple of that): where arenas are put";

    /// What the setting does.
    pub fn words(self) -> &'static str {
        match self {
            Bases::Kernel => "mmap, wherever the kernel puts them",
            Bases::Aligned => "mmap, each at a multiple of its size",
            Bases::Misaligned => {
                "mmap, each at a page told by its birth, three in four off a pool of 16 KiB"
            }
            Bases::Off(_) => "mmap, each so many bytes past a multiple of its size",
            Bases::Recorded => {
                "mmap, each as far past a multiple of its size as in the recorded process"
            }
        }
    }

    /// The setting `bases` of a backend, when it has one.
    ///
    /// # Errors
    /// [`BackendError::Refused`] for a word that names none.
    pub fn of(spec: &BackendSpec) -> Result<Option<Bases>, BackendError> {
        let Some(word) = spec.setting("bases") else { return Ok(None) };
        let refused =
            || spec.refused(format!("has no bases `{word}`: expected {}", Bases::SETTING));
        Bases::from_name(word).map(Some).ok_or_else(refused)
    }
}

/// The least that the kernel aligns to, and the largest offset that can be asked for.
const PAGE_BYTES: usize = 4096;
const MOST_OFF: usize = 1 << 30;

/// Sizes of a pool allocator, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// Of the smallest block, and the step between classes.
    pub align: usize,
    /// Of the largest block.
    pub threshold: usize,
    /// Of a pool, its header included.
    pub pool: usize,
    /// Of an arena.
    pub arena: usize,
}

/// Bytes of a pool's header in every version on 64-bit machines, and where the figures stand in it.
const HEADER_BYTES: usize = 48;
const CLASS_AT: usize = 36;
const FREE_AT: usize = 8;
const VIRGIN_AT: usize = 40;

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which arena: the number of arenas born before it.
    pub birth: usize,
    /// Bytes from the arena's base.
    pub offset: usize,
}

/// An arena came or went; both carry its birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was mapped.
    Born(usize),
    /// It was given back.
    Died(usize),
}

/// A pool as its header tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolState {
    /// From the arena's base.
    pub offset: usize,
    /// Bytes of its blocks; of no meaning while no block is live.
    pub block: usize,
    /// Live blocks; 0 for a free pool, and for one never used.
    pub live: usize,
    /// Blocks in all.
    pub capacity: usize,
    /// Offset in the pool of the block that goes out next; 0 when there is none.
    pub next: usize,
    /// Offset in the pool of the next block that was never used.
    pub virgin: usize,
}

/// An arena and its pools, those lost to alignment left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArenaState {
    /// Arenas born before it.
    pub birth: usize,
    /// In order of address.
    pub pools: Vec<PoolState>,
}

/// A hook for arenas that chooses their bases and knows which are there.
///
/// Requests of another size than an arena's are passed on: an interpreter from 3.11 on takes chunks
/// of its frame stack through the same hook.
pub struct Arenas {
    bases: Bases,
    geometry: Geometry,
    passed_on: ArenaSource,
    /// Bases in the recorded process, by birth.
    recorded: RefCell<Vec<u64>>,
    /// Base → birth.
    mapped: RefCell<BTreeMap<usize, usize>>,
    changes: RefCell<Vec<Change>>,
    births: Cell<usize>,
    peak: Cell<usize>,
}

impl Arenas {
    /// None yet. Leaked, because an allocator may call its hook until the process ends; a process
    /// has few.
    pub fn new(bases: Bases, geometry: Geometry, passed_on: ArenaSource) -> &'static Arenas {
        Box::leak(Box::new(Arenas {
            bases,
            geometry,
            passed_on,
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

    /// Whether it waits for [`Arenas::place_as`].
    pub fn wants_recorded(&self) -> bool {
        self.bases == Bases::Recorded
    }

    /// The bases in the recorded process, by birth: those here are as far past a multiple of an
    /// arena's size.
    pub fn place_as(&self, recorded: &[u64]) {
        self.recorded.replace(recorded.to_vec());
    }

    /// Bytes past a multiple of the arena's size, for the arena of that birth.
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

    /// What happened since it was last asked.
    pub fn take_changes(&self) -> Vec<Change> {
        self.changes.take()
    }

    /// Where a block lies; `None` outside the arenas.
    pub fn place(&self, block: *const c_void) -> Option<Place> {
        let address = block.addr();
        let mapped = self.mapped.borrow();
        let (base, birth) = mapped.range(..=address).next_back()?;
        let offset = address - base;
        (offset < self.geometry.arena).then_some(Place { birth: *birth, offset })
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

    /// Every mapped arena, by birth, with its pools as their headers tell.
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
            // SAFETY: a mapped arena; what was never used reads as zeros.
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
                virgin: word(VIRGIN_AT),
            }
        });
        ArenaState { birth, pools: pools.collect() }
    }

    fn map(&self, birth: usize) -> Option<NonNull<u8>> {
        let bytes = self.geometry.arena;
        let offset = self.offset(birth);
        if self.bases == Bases::Kernel {
            // SAFETY: the source that was given at the start, with its own context.
            return NonNull::new(
                unsafe { (self.passed_on.alloc)(self.passed_on.ctx, bytes) }.cast(),
            );
        }
        if offset == 0 {
            return pages::map_aligned(bytes, bytes).ok();
        }
        let start = pages::map_aligned(2 * bytes, bytes).ok()?;
        // SAFETY: fresh pages that nobody uses; what stays is `bytes` from the offset. Ends that
        // could not be given back cost address space only.
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
        // SAFETY: the source that was given at the start, with its own context.
        return unsafe { (arenas.passed_on.alloc)(arenas.passed_on.ctx, bytes) };
    }
    let birth = arenas.births.get();
    let Some(base) = arenas.map(birth) else { return ptr::null_mut() };
    arenas.births.set(birth + 1);
    arenas.mapped.borrow_mut().insert(base.as_ptr().expose_provenance(), birth);
    arenas.changes.borrow_mut().push(Change::Born(birth));
    arenas.peak.set(arenas.peak.get().max(arenas.current()));
    base.as_ptr().cast()
}

unsafe extern "C" fn free(ctx: *mut c_void, arena: *mut c_void, bytes: usize) {
    // SAFETY: as in alloc.
    let arenas = unsafe { &*ctx.cast::<Arenas>() };
    let birth = arenas.mapped.borrow_mut().remove(&arena.addr());
    if let Some(birth) = birth {
        arenas.changes.borrow_mut().push(Change::Died(birth));
    }
    if birth.is_none() || arenas.bases == Bases::Kernel {
        // SAFETY: the source that gave it.
        return unsafe { (arenas.passed_on.free)(arenas.passed_on.ctx, arena, bytes) };
    }
    if let Some(start) = NonNull::new(arena.cast()) {
        // SAFETY: mapped by `map` with this size; its owner gave it back. CPython ignores a refusal
        // too.
        let _ = unsafe { pages::unmap(start, bytes) };
    }
}

/// One size class at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassStatistics {
    /// Bytes of a block.
    pub size: u64,
    /// Pools that are used or full.
    pub pools: u64,
    /// Live blocks.
    pub live: u64,
    /// Free blocks in those pools.
    pub free: u64,
}

/// Where the bytes of the mapped arenas are: what `sys._debugmallocstats` prints, in its terms.
///
/// `arenas_end` × arena size = allocated + available + unused pools + headers + quantization +
/// alignment, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Arenas mapped now.
    pub arenas_end: u64,
    /// Most arenas mapped at once.
    pub arenas_peak: u64,
    /// Arenas ever mapped.
    pub arenas_total: u64,
    /// Pools that are used or full.
    pub pools_end: u64,
    /// Live blocks by their class size.
    pub allocated_bytes: u64,
    /// Free blocks in used pools.
    pub available_bytes: u64,
    /// Wholly free pools.
    pub unused_pool_bytes: u64,
    /// Headers of the used pools.
    pub pool_header_bytes: u64,
    /// Tails of used pools too small for a block.
    pub quantization_bytes: u64,
    /// Lost where an arena does not begin at a multiple of a pool: a whole pool each.
    pub arena_alignment_bytes: u64,
    /// By size class, the smallest first.
    pub classes: Vec<ClassStatistics>,
}

impl Statistics {
    /// The parts of the arenas' bytes, with their names: they sum to all of it.
    pub fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("allocated blocks", self.allocated_bytes),
            ("available blocks", self.available_bytes),
            ("unused pools", self.unused_pool_bytes),
            ("pool headers", self.pool_header_bytes),
            ("quantization", self.quantization_bytes),
            ("arena alignment", self.arena_alignment_bytes),
        ]
    }

    /// Holds the identity of this type for arenas of that size.
    ///
    /// # Errors
    /// Both sides, when they differ.
    pub fn check_identity(&self, arena_bytes: u64) -> Result<(), String> {
        let mapped = self.arenas_end * arena_bytes;
        let sum: u64 = self.parts().iter().map(|(_, bytes)| bytes).sum();
        if mapped == sum {
            return Ok(());
        }
        Err(format!("{mapped} bytes of arenas, but {sum} in their parts: {self:?}"))
    }
}

/// What a backend with arenas and pools shows of them.
pub trait Pools {
    /// Its sizes.
    fn geometry(&self) -> Geometry;

    /// Its arenas; `None` when they were not hooked (the setting `bases` hooks them).
    fn arenas(&self) -> Option<&Arenas>;

    /// Where the bytes are now, by the allocator's own account.
    ///
    /// # Errors
    /// When it does not tell, or tells what cannot be read.
    fn statistics(&self) -> Result<Statistics, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry =
        Geometry { align: 16, threshold: 512, pool: 16 << 10, arena: 1 << 20 };

    #[test]
    fn bases_are_as_told_and_places_are_found() {
        for bases in Bases::NAMED.into_iter().chain([Bases::Off(12 << 10)]) {
            assert_eq!(Bases::from_name(&bases.name()), Some(bases));
            let arenas = Arenas::new(bases, GEOMETRY, ArenaSource::kernel());
            arenas.place_as(&[0x7f12_3450_4000, 0x7f12_3470_0000, 0x7f12_34ff_f000]);
            let source = arenas.source();
            // SAFETY: the hook's own context; arenas go back once.
            unsafe {
                let made: Vec<_> = (0..5).map(|_| (source.alloc)(source.ctx, 1 << 20)).collect();
                for (birth, arena) in made.iter().enumerate() {
                    if bases != Bases::Kernel {
                        assert_eq!(arena.addr() % (1 << 20), arenas.offset(birth));
                    }
                    arena.byte_add((1 << 20) - 1).cast::<u8>().write(1);
                    assert_eq!(arenas.place(arena.byte_add(77)), Some(Place { birth, offset: 77 }));
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
        let arenas = |bases| Arenas::new(bases, GEOMETRY, ArenaSource::kernel());
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
