//! Room `backends`, member `pymalloc`: CPython's pool allocator, event for event.
//!
//! What CPython calls its object allocator serves requests of up to 512 bytes of the mem and obj domains from pools;
//! size 0, larger requests and the raw domain go to the layer below. `layout.rs` has the constants of each version,
//! `heap.rs` blocks and pools and the paths of every call, `arena.rs` arenas and the lists of them, `owner.rs` the
//! test of whose a block is, `check.rs` the statistics and the walk over the invariants.
#![expect(unsafe_code, reason = "owns a heap behind a raw pointer")]

mod arena;
mod check;
mod heap;
mod layout;
mod owner;

use std::ffi::c_void;
use std::fmt::Write as _;
use std::ptr::NonNull;

pub use arena::ArenaTable;
pub use heap::Heap;
pub use layout::{
    Constants, Cpython36, Cpython38, Cpython39, Cpython310, Cpython311, Layout, POOL_HEADER_BYTES,
};
pub use owner::{ArenaIndex, Owner, RadixTree};

use super::allocator::{
    Allocator, Backend, BackendError, Counter, Domains, Member, Opened, Spec, Trim, no_environment,
};
pub use super::arenas::{ArenaSource, ClassStatistics, Statistics};
use super::arenas::{Arenas, Bases, Geometry, Pools};
use crate::trace::Domain;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "pymalloc",
    summary: "CPython's pool allocator, event for event; @3.6 to @3.14, the newest when none is named",
    below: Some("malloc"),
    settings: &[],
    environment: no_environment,
    details,
    open,
};

/// One set of rules and the versions that it holds for.
struct Rules {
    /// From this version (minor, patch) of CPython 3 on.
    from: (u32, u32),
    constants: Constants,
    open: fn(Box<dyn Backend>, &'static str, Option<Bases>) -> Opened,
    /// The versions in words.
    versions: &'static str,
}

/// The oldest and newest CPython 3 whose rules are here.
const OLDEST: u32 = 6;
const NEWEST: u32 = 14;

const fn rules<L: Layout>(from: (u32, u32), versions: &'static str) -> Rules {
    Rules { from, constants: Constants::of::<L>(), open: open_layout::<L>, versions }
}

/// Every set of rules, the oldest first.
const RULES: &[Rules] = &[
    rules::<Cpython36>((OLDEST, 0), "3.6 to 3.7.3"),
    rules::<Cpython38>((7, 4), "3.7.4 to 3.8"),
    rules::<Cpython39>((9, 0), "3.9"),
    rules::<Cpython310>((10, 0), "3.10"),
    rules::<Cpython311>((11, 0), "3.11 to 3.14"),
];

/// The pool allocator with one version's rules, on a layer below.
pub struct Pymalloc<L: Layout> {
    heap: NonNull<Heap<L>>,
    below: Box<dyn Backend>,
    versions: &'static str,
    /// The hook that gives arenas, when one was asked for.
    arenas: Option<&'static Arenas>,
}

impl<L: Layout> Pymalloc<L> {
    /// A heap on `below`, whose raw domain serves what the pools do not, with arenas from `source`.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] when the kernel gives no pages, or has pages smaller than the pools need.
    ///
    /// # Safety
    /// `source` gives memory that nothing else uses, of the size asked for, and may be called while this lives.
    pub unsafe fn new(below: Box<dyn Backend>, source: ArenaSource) -> Result<Pymalloc<L>, BackendError> {
        let table = *below.domains().get(Domain::Raw);
        let heap = Heap::new(table, source).map_err(|error| BackendError::Unavailable {
            backend: "pymalloc".to_owned(),
            reason: format!("no pages for its own state ({error}); free some memory"),
        })?;
        Ok(Pymalloc { heap, below, versions: "of this layout", arenas: None })
    }

    fn heap(&self) -> &Heap<L> {
        // SAFETY: the heap lives as long as this and is only ever shared.
        unsafe { self.heap.as_ref() }
    }

    /// Where the bytes of the arenas are now.
    pub fn statistics(&self) -> Statistics {
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
        Domains::new(*self.below.domains().get(Domain::Raw), pools, pools)
    }

    fn version(&self) -> String {
        format!("rules of CPython {}, on {}", self.versions, self.below.version())
    }

    unsafe fn usable_size(&self, block: *mut c_void, requested: usize) -> usize {
        match self.heap().usable_in_pool(block) {
            Some(bytes) => bytes,
            // SAFETY: not a block of the pools, so a live one of the layer below, which was asked for at least 1 byte.
            None => unsafe { self.below.usable_size(block, requested) },
        }
    }

    fn alignment(&self) -> usize {
        L::ALIGN
    }

    fn trim(&mut self) -> Trim {
        // CPython has no such call for its pools; what the layer below gives back counts.
        self.below.trim()
    }

    fn counters(&self) -> Vec<Counter> {
        let told = self.statistics();
        let pairs = [
            ("arenas_peak", told.arenas_peak),
            ("arenas_end", told.arenas_end),
            ("arenas_total", told.arenas_total),
            ("pools_end", told.pools_end),
            ("pool_header_bytes", told.pool_header_bytes),
            ("quantization_bytes", told.quantization_bytes),
            ("available_bytes", told.available_bytes),
            ("unused_pool_bytes", told.unused_pool_bytes),
            ("allocated_bytes", told.allocated_bytes),
            ("arena_alignment_bytes", told.arena_alignment_bytes),
        ];
        pairs.into_iter().map(|(metric, value)| Counter { metric, value }).collect()
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
        geometry::<L>()
    }

    fn arenas(&self) -> Option<&Arenas> {
        self.arenas
    }

    fn statistics(&self) -> Result<Statistics, String> {
        Ok(self.heap().statistics())
    }
}

fn geometry<L: Layout>() -> Geometry {
    Geometry { align: L::ALIGN, threshold: L::THRESHOLD, pool: L::POOL, arena: L::ARENA }
}

fn open_layout<L: Layout>(below: Box<dyn Backend>, versions: &'static str, bases: Option<Bases>) -> Opened {
    let arenas = bases.map(|bases| Arenas::new(bases, geometry::<L>(), ArenaSource::kernel()));
    let source = arenas.map_or_else(ArenaSource::pages::<L>, Arenas::source);
    // SAFETY: fresh pages of the kernel are used by nothing else.
    let mut backend = unsafe { Pymalloc::<L>::new(below, source)? };
    backend.versions = versions;
    backend.arenas = arenas;
    Ok(Box::new(backend))
}

/// The rules for the version of a spec: `3.N` means the last patch release of it, `3.N.P` that one.
fn rules_of(spec: &Spec) -> Result<&'static Rules, BackendError> {
    let Some(text) = &spec.version else { return Ok(&RULES[RULES.len() - 1]) };
    let unknown = || spec.has_no_version(text, OLDEST, NEWEST);
    let version = spec.cpython(OLDEST, NEWEST).ok_or_else(unknown)?;
    RULES.iter().rev().find(|rules| rules.from <= version).ok_or_else(unknown)
}

fn open(spec: &Spec, below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_settings(&["bases"])?;
    let (rules, bases) = (rules_of(spec)?, Bases::of(spec)?);
    let below = below.ok_or_else(|| spec.refused("needs a lower layer".to_owned()))?;
    (rules.open)(below, rules.versions, bases)
}

fn details(spec: &Spec) -> Result<String, BackendError> {
    spec.takes_settings(&["bases"])?;
    let (rules, bases) = (rules_of(spec)?, Bases::of(spec)?);
    let places = bases
        .map_or("mmap, each at a multiple of a pool (an interpreter leaves that to chance)", Bases::words);
    let Constants { align, threshold, pool, arena, keeps_last_empty, owner } = rules.constants;
    let empty = if keeps_last_empty { "stays while it is last in the list" } else { "goes at once" };
    let mut text = format!(
        "pymalloc: rules of CPython {}; versions 3.{OLDEST} to 3.{NEWEST}; settings: {}\n\
         layer 1, domains: raw goes past the pools; mem and obj share them; size 0 and more than {threshold} bytes go below\n\
         layer 2, pools:\n  alignment    {align} bytes\n  threshold    {threshold} bytes\n  pool         {pool} bytes, {POOL_HEADER_BYTES} of them header\n  arena        {arena} bytes, {} pools\n  owner test   {owner}\n  free arena   {empty}\n  arenas from  layer -1, pages: {places}\n  size classes ({}):\n",
        rules.versions,
        Bases::SETTING,
        arena / pool,
        threshold / align,
    );
    text.push_str("     class  requests      block  blocks/pool   tail\n");
    for class in 0..threshold / align {
        let size = (class + 1) * align;
        let room = pool - POOL_HEADER_BYTES;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "     {class:>5}  {:>3} - {size:<3}  {size:>7}  {:>11}  {:>5}",
            size - align + 1,
            room / size,
            room % size
        );
    }
    text.push_str("layer 0, for all that the pools do not serve, and for the table of arenas:\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(version: &str) -> Spec {
        Spec {
            text: format!("pymalloc@{version}"),
            name: "pymalloc".to_owned(),
            version: Some(version.to_owned()),
            settings: Vec::new(),
            below: None,
        }
    }

    #[test]
    fn versions_find_their_rules() {
        let versions = |text: &str| rules_of(&spec(text)).map(|rules| rules.versions);
        for (text, expected) in [
            ("3.6", "3.6 to 3.7.3"),
            ("3.7.3", "3.6 to 3.7.3"),
            ("3.7", "3.7.4 to 3.8"),
            ("3.8.18", "3.7.4 to 3.8"),
            ("3.9", "3.9"),
            ("3.10", "3.10"),
            ("3.11.7", "3.11 to 3.14"),
            ("3.14", "3.11 to 3.14"),
        ] {
            assert_eq!(versions(text).unwrap(), expected, "{text}");
        }
        for text in ["2.7", "3", "3.5", "3.15", "3.x", "3.11.", "3.11.1.1", ""] {
            assert!(versions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counters_are_metrics() {
        let below = super::super::open(&super::super::parse("malloc").unwrap()).unwrap();
        let backend = open(&spec("3.11"), Some(below)).unwrap();
        for counter in backend.counters() {
            assert!(crate::results::find_metric(counter.metric).is_some(), "{}", counter.metric);
        }
    }
}
