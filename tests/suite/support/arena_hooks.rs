//! Hooks below an allocator's pools, for an interpreter's and for ours: arenas at chosen places,
//! and a log of what reached the layer below.
#![expect(unsafe_code, reason = "implements allocator hooks")]

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr;

use heaplay::backends::pymalloc::ArenaSource;
use heaplay::backends::{Allocator, Backend, Domains};

/// Something that happened below the pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    ArenaBorn(usize),
    ArenaDied(usize),
    Malloc(usize),
    Calloc(usize, usize),
    Realloc(usize),
    Free,
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Null,
    Arena { birth: usize, offset: usize },
    Below,
}

/// How the bases of arenas are chosen: bytes past a multiple of 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bases {
    Aligned,
    PageOff,
    Mixed,
}

impl Bases {
    pub const ALL: [Bases; 3] = [Bases::Aligned, Bases::PageOff, Bases::Mixed];

    pub fn name(self) -> &'static str {
        match self {
            Bases::Aligned => "aligned",
            Bases::PageOff => "4 KiB off",
            Bases::Mixed => "mixed",
        }
    }

    pub fn offset(self, birth: usize) -> usize {
        match self {
            Bases::Aligned => 0,
            Bases::PageOff => 4096,
            Bases::Mixed => birth * 7919 % 256 * 4096,
        }
    }
}

/// One side: its arenas' range, and what happened below since the last look.
pub struct Watch {
    range: usize,
    bases: Bases,
    pub births: Cell<usize>,
    pub log: RefCell<Vec<Below>>,
}

const STRIDE: usize = 2 << 20;
/// Larger than a leaf of the 3.11 radix tree covers, so that both sides' ranges begin at a leaf's
/// start.
const RANGE: usize = 16 << 30;
const DATA_STACK_CHUNK: usize = 16 << 10;

impl Watch {
    pub fn new(bases: Bases) -> &'static Watch {
        // SAFETY: an anonymous mapping at a place of the kernel's choice.
        let start = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            libc::mmap(ptr::null_mut(), 2 * RANGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        assert_ne!(start, libc::MAP_FAILED, "no address space for arenas");
        let range = start.expose_provenance().next_multiple_of(RANGE);
        Box::leak(Box::new(Watch { range, bases, births: Cell::new(0), log: RefCell::default() }))
    }

    /// As new: for the next heap, when the one before is gone.
    pub fn reset(&self) {
        self.births.set(0);
        self.log.borrow_mut().clear();
    }

    pub fn note(&self, what: Below) {
        self.log.borrow_mut().push(what);
    }

    pub fn place(&self, block: *mut c_void) -> Place {
        if block.is_null() {
            return Place::Null;
        }
        let from = block.addr().wrapping_sub(self.range);
        if from >= RANGE {
            return Place::Below;
        }
        let birth = from / STRIDE;
        Place::Arena { birth, offset: from % STRIDE - self.bases.offset(birth) }
    }

    pub fn ctx(&'static self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    pub fn raw(&'static self) -> Allocator {
        Allocator {
            ctx: self.ctx(),
            malloc: raw_malloc,
            calloc: raw_calloc,
            realloc: raw_realloc,
            free: raw_free,
        }
    }

    pub fn arenas(&'static self) -> ArenaSource {
        ArenaSource { ctx: self.ctx(), alloc: arena_alloc, free: arena_free }
    }
}

unsafe fn watch<'a>(ctx: *mut c_void) -> &'a Watch {
    // SAFETY: every context in this file is a leaked watch.
    unsafe { &*ctx.cast::<Watch>() }
}

unsafe extern "C" fn arena_alloc(ctx: *mut c_void, bytes: usize) -> *mut c_void {
    // SAFETY: see watch.
    let watch = unsafe { watch(ctx) };
    if bytes == DATA_STACK_CHUNK {
        // The frame stack of a 3.11+ interpreter, which shares this source.
        // SAFETY: plain malloc.
        return unsafe { libc::malloc(bytes) };
    }
    let birth = watch.births.get();
    assert!((birth + 1) * STRIDE <= RANGE, "the trace needs more arenas than the range holds");
    watch.births.set(birth + 1);
    watch.note(Below::ArenaBorn(birth));
    ptr::with_exposed_provenance_mut(watch.range + birth * STRIDE + watch.bases.offset(birth))
}

unsafe extern "C" fn arena_free(ctx: *mut c_void, arena: *mut c_void, bytes: usize) {
    // SAFETY: see watch.
    let watch = unsafe { watch(ctx) };
    if bytes == DATA_STACK_CHUNK {
        // SAFETY: came from malloc above.
        return unsafe { libc::free(arena) };
    }
    watch.note(Below::ArenaDied((arena.addr() - watch.range) / STRIDE));
    // SAFETY: the arena lies in the watch's own mapping, and its owner gave it back.
    unsafe { libc::madvise(arena, bytes, libc::MADV_DONTNEED) };
}

unsafe extern "C" fn raw_malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: see watch; malloc takes any size.
    unsafe {
        watch(ctx).note(Below::Malloc(size));
        libc::malloc(size.max(1))
    }
}

unsafe extern "C" fn raw_calloc(ctx: *mut c_void, elements: usize, size: usize) -> *mut c_void {
    // SAFETY: as above.
    unsafe {
        watch(ctx).note(Below::Calloc(elements, size));
        libc::calloc(elements.max(1), size.max(1))
    }
}

unsafe extern "C" fn raw_realloc(ctx: *mut c_void, block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: as above; the block came from these hooks, or from libc before they were set.
    unsafe {
        watch(ctx).note(Below::Realloc(size));
        libc::realloc(block, size.max(1))
    }
}

unsafe extern "C" fn raw_free(ctx: *mut c_void, block: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        watch(ctx).note(Below::Free);
        libc::free(block);
    }
}

/// The layer below of our side.
pub struct Hooked(pub &'static Watch);

impl Backend for Hooked {
    fn domains(&self) -> Domains {
        Domains::same(self.0.raw())
    }

    fn version(&self) -> String {
        "hooks".to_owned()
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: a live block of libc.
        unsafe { libc::malloc_usable_size(block) }
    }
}
