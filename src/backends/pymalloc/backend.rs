//! CPython's pool allocator as a backend: the heap on a layer below.
#![expect(unsafe_code, reason = "owns a heap behind a raw pointer")]

use std::ffi::c_void;
use std::ptr::NonNull;

use super::constants::Constants;
use super::heap::Heap;
use super::layout::{
    Cpython36, Cpython37, Cpython38, Cpython39, Cpython310, Cpython311, Custom, Layout,
};
use super::settings::{self, PymallocSettings};
use crate::backends::allocator::{Allocator, Domains};
use crate::backends::arenas::{ArenaSource, ArenaStatistics, Arenas, Bases, Geometry, Pools};
use crate::backends::backend::{Backend, Counter, PoolFigure, ThreadUse, Trim};
use crate::backends::error::BackendError;
use crate::backends::member::{Member, Opened, no_environment};
use crate::backends::return_unit::{ReturnKind, ReturnUnit, UnitOfBlock};
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::trace::{AllocatorRequest, Domain};

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "pymalloc",
    summary: "CPython's pool allocator, event for event; @3.6 to @3.15 (default: 3.14); \
              every constant is a setting",
    below: Some("malloc"),
    settings: &settings::SETTINGS,
    settings_read_from: None,
    environment: no_environment,
    details: settings::details,
    open,
};

/// The pool allocator with one version's rules, on a layer below.
pub struct Pymalloc<L: Layout> {
    heap: NonNull<Heap<L>>,
    below: Box<dyn Backend>,
    rules: String,
    /// The hook that places arenas, where the spec has one.
    arenas: Option<&'static Arenas>,
}

impl<L: Layout> Pymalloc<L> {
    /// A heap with arenas from `source`, on `below`, whose raw domain serves what the pools do not.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] when the kernel returns no pages.
    ///
    /// # Safety
    /// `source` returns memory that nothing else uses, of the requested size, and may be called
    /// while this lives.
    pub unsafe fn new(
        below: Box<dyn Backend>,
        source: ArenaSource,
        layout: L,
    ) -> Result<Pymalloc<L>, BackendError> {
        let table = *below.domains().get(Domain::Raw);
        let heap = Heap::new(table, source, layout).map_err(|error| BackendError::Unavailable {
            backend: "pymalloc".to_owned(),
            reason: format!("no pages for its own state ({error}); free some memory"),
        })?;
        Ok(Pymalloc { heap, below, rules: "of this layout".to_owned(), arenas: None })
    }

    fn heap(&self) -> &Heap<L> {
        // SAFETY: the heap lives as long as this and is only ever shared.
        unsafe { self.heap.as_ref() }
    }

    /// The use of the arenas' bytes now.
    pub fn statistics(&self) -> ArenaStatistics {
        self.heap().statistics()
    }
}

impl<L: Layout> Drop for Pymalloc<L> {
    fn drop(&mut self) {
        // SAFETY: the heap came from `Heap::new`; the tables are valid no longer than this.
        unsafe { Heap::delete(self.heap) };
    }
}

impl<L: Layout> Backend for Pymalloc<L> {
    fn domains(&self) -> Domains {
        let pools: Allocator = Heap::table(self.heap);
        self.below.domains().with(Domain::Mem, pools).with(Domain::Obj, pools)
    }

    fn thread_use(&self) -> ThreadUse {
        self.below.thread_use().min(ThreadUse::OneAtATime)
    }

    fn thread_begins(&self) {
        self.below.thread_begins();
    }

    fn thread_ends(&self) {
        self.below.thread_ends();
    }

    fn calls_resumed(&self) {
        self.below.calls_resumed();
    }

    fn calls_paused(&self) {
        self.below.calls_paused();
    }

    fn request(&self, request: AllocatorRequest) {
        self.below.request(request);
    }

    fn version(&self) -> String {
        format!("rules of CPython {}, on {}", self.rules, self.below.version())
    }

    unsafe fn usable_size(&self, block: *mut c_void, requested: usize) -> usize {
        match self.heap().usable_in_pool(block) {
            Some(bytes) => bytes,
            // SAFETY: not a block of the pools, so a live one of the layer below, requested with at
            // least 1 byte.
            None => unsafe { self.below.usable_size(block, requested) },
        }
    }

    fn alignment(&self) -> usize {
        self.heap().constants().align()
    }

    fn trim(&self) -> Trim {
        // CPython has no such call for its pools; only the layer below returns memory.
        self.below.trim()
    }

    fn flush_thread_cache(&self) -> Trim {
        self.below.flush_thread_cache()
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        [ReturnKind::Arena].into_iter().chain(self.below.returns_by()).collect()
    }

    fn unit_of_block(&self) -> Option<UnitOfBlock<'_>> {
        let (bytes, bases) = (self.heap().constants().arena(), self.heap().arena_bases());
        let below = self.below.unit_of_block();
        Some(Box::new(move |block| {
            let arena = bases.range(..=block.addr()).next_back();
            match arena.filter(|base| block.addr() - **base < bytes) {
                Some(&base) => {
                    Some(ReturnUnit { kind: ReturnKind::Arena, range: base..base + bytes })
                }
                None => below.as_ref().and_then(|unit_of| unit_of(block)),
            }
        }))
    }

    fn counters(&self) -> Vec<Counter> {
        let counted = self.statistics();
        let pairs = [
            (PoolFigure::ArenasPeak, counted.arenas_peak),
            (PoolFigure::ArenasEnd, counted.arenas_end),
            (PoolFigure::ArenasTotal, counted.arenas_total),
            (PoolFigure::PoolsEnd, counted.pools_end),
            (PoolFigure::PoolHeaderBytes, counted.pool_header_bytes),
            (PoolFigure::QuantizationBytes, counted.quantization_bytes),
            (PoolFigure::AvailableBytes, counted.available_bytes),
            (PoolFigure::UnusedPoolBytes, counted.unused_pool_bytes),
            (PoolFigure::AllocatedBytes, counted.allocated_bytes),
            (PoolFigure::ArenaAlignmentBytes, counted.arena_alignment_bytes),
        ];
        pairs.into_iter().map(|(figure, value)| Counter { figure, value }).collect()
    }

    fn check(&self) -> Result<(), String> {
        self.heap().check()?;
        self.below.check()
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(self)
    }
}

impl<L: Layout> Pools for Pymalloc<L> {
    fn geometry(&self) -> Geometry {
        self.heap().constants().geometry()
    }

    fn arenas(&self) -> Option<&Arenas> {
        self.arenas
    }

    fn statistics(&self) -> Result<ArenaStatistics, String> {
        Ok(self.heap().statistics())
    }
}

impl Constants {
    fn geometry(&self) -> Geometry {
        let (align, threshold) = (self.align(), self.threshold);
        Geometry { align, threshold, pool: self.pool(), arena: self.arena() }
    }
}

fn open_layout<L: Layout>(
    below: Box<dyn Backend>,
    layout: L,
    rules: String,
    (bases, is_huge): (Option<Bases>, bool),
) -> Opened {
    let constants = layout.constants();
    let (kernel, pages) = if is_huge {
        (ArenaSource::kernel::<true>(), ArenaSource::pages::<true>(constants.pool()))
    } else {
        (ArenaSource::kernel::<false>(), ArenaSource::pages::<false>(constants.pool()))
    };
    let arenas = bases.map(|bases| Arenas::new(bases, constants.geometry(), kernel));
    if let Some(arenas) = arenas.filter(|_| is_huge) {
        arenas.request_huge_pages();
    }
    let source = arenas.map_or(pages, Arenas::source);
    // SAFETY: fresh pages of the kernel are used by nothing else.
    let mut backend = unsafe { Pymalloc::new(below, source, layout)? };
    backend.rules = rules;
    backend.arenas = arenas;
    Ok(Box::new(backend))
}

fn open(spec: &BackendSpec, below: Option<Box<dyn Backend>>) -> Opened {
    let (wanted, bases) = (PymallocSettings::of(spec)?, Bases::of(spec)?);
    let below = below.ok_or_else(|| spec.refused("needs a lower layer".to_owned()))?;
    let (rules, bases) = (wanted.rules(), (bases, wanted.requests_huge_pages()));
    match wanted.constants() {
        // A version's own constants are known to the compiler, however the spec names them.
        c if c == Cpython36.constants() => open_layout(below, Cpython36, rules, bases),
        c if c == Cpython37.constants() => open_layout(below, Cpython37, rules, bases),
        c if c == Cpython38.constants() => open_layout(below, Cpython38, rules, bases),
        c if c == Cpython39.constants() => open_layout(below, Cpython39, rules, bases),
        c if c == Cpython310.constants() => open_layout(below, Cpython310, rules, bases),
        c if c == Cpython311.constants() => open_layout(below, Cpython311, rules, bases),
        other => {
            let custom = Custom::new(other)
                .map_err(|clash| spec.refused(format!("cannot be so: {clash}")))?;
            open_layout(below, custom, rules, bases)
        }
    }
}
