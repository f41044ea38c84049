//! Free lists as a backend on any layer below.
#![expect(unsafe_code, reason = "owns lists behind a raw pointer")]

use std::cell::RefCell;
use std::ffi::c_void;
use std::os::fd::RawFd;
use std::ptr::NonNull;

use super::classes::ListLimits;
use super::front::table;
use super::lists::{FreeList, FreeLists, KindFront};
use super::settings::{FreelistSettings, SETTINGS, details};
use crate::backends::allocator::{Allocator, Domains};
use crate::backends::arena_report::ArenaMemory;
use crate::backends::arenas::Pools;
use crate::backends::backend::{Backend, Counter, ThreadUse, Trim};
use crate::backends::member::{Member, Opened, no_environment};
use crate::backends::return_unit::{ReturnKind, UnitOfBlock};
use crate::backends::spec_checks::SpecChecks;
use crate::cpython::Listed;
use crate::spec::BackendSpec;
use crate::trace::{AllocatorRequest, Domain, Kind};

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "freelist",
    summary: "CPython's free lists in front of any backend, by a trace's types or by size class; \
              @3.6 to @3.14, or limit=N",
    below: Some("pymalloc"),
    settings: &SETTINGS,
    settings_read_from: None,
    environment: no_environment,
    details,
    open,
};

/// Free lists on a layer below.
pub struct Freelist(NonNull<FreeLists>);

impl Freelist {
    /// Empty lists on `backend`: by class with those limits, and by the types of `types`.
    pub fn new(backend: Box<dyn Backend>, limits: ListLimits, types: Vec<Listed>) -> Freelist {
        let below = *backend.domains().get(Domain::Obj);
        let by_type =
            types.into_iter().map(|list| (list.clone(), FreeList::new(list.most))).collect();
        let by_class = limits.map(FreeList::new);
        let lists = FreeLists { below, backend, by_class, by_type, kinds: RefCell::default() };
        Freelist(NonNull::from(Box::leak(Box::new(lists))))
    }

    fn lists(&self) -> &FreeLists {
        // SAFETY: it lives as long as this and is only ever shared.
        unsafe { self.0.as_ref() }
    }

    /// The table for blocks of a kind that has a list.
    fn kind_table(&self, list: usize, kind: &Kind) -> Allocator {
        let context = Box::new(KindFront { lists: self.0, list, bytes: kind.bytes as usize });
        let table = table(&raw const *context);
        self.lists().kinds.borrow_mut().push(context);
        table
    }
}

impl Drop for Freelist {
    fn drop(&mut self) {
        self.lists().clear();
        // SAFETY: it came from a box and is not used again.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Backend for Freelist {
    fn domains(&self) -> Domains {
        let below = self.lists().backend.domains();
        below.with(Domain::Obj, table(self.0.as_ptr()))
    }

    fn by_kind(&self, kinds: &[Kind]) -> Option<Vec<Domains>> {
        let lists = self.lists();
        if lists.by_type.is_empty() {
            return None; // limits set by hand are by class, with types or without
        }
        let below = lists.backend.domains();
        let of_kind = |kind: &Kind| {
            let list = lists
                .by_type
                .iter()
                .position(|(list, _)| list.takes(&kind.type_name, kind.bytes))?;
            let table = self.kind_table(list, kind);
            Some(below.with(Domain::Mem, table).with(Domain::Obj, table))
        };
        let listed = kinds.iter().map(|kind| of_kind(kind).unwrap_or(below));
        Some([below].into_iter().chain(listed).collect())
    }

    fn thread_use(&self) -> ThreadUse {
        self.lists().backend.thread_use().min(ThreadUse::OneAtATime)
    }

    fn thread_begins(&self) {
        self.lists().backend.thread_begins();
    }

    fn thread_ends(&self) {
        self.lists().backend.thread_ends();
    }

    fn calls_resumed(&self) {
        self.lists().backend.calls_resumed();
    }

    fn calls_paused(&self) {
        self.lists().backend.calls_paused();
    }

    fn request(&self, request: AllocatorRequest) {
        self.lists().backend.request(request);
    }

    fn version(&self) -> String {
        format!("free lists, on {}", self.lists().backend.version())
    }

    unsafe fn usable_size(&self, block: *mut c_void, requested: usize) -> usize {
        // SAFETY: blocks are those of the layer below.
        unsafe { self.lists().backend.usable_size(block, requested) }
    }

    fn alignment(&self) -> usize {
        self.lists().backend.alignment()
    }

    fn trim(&self) -> Trim {
        self.lists().clear();
        self.lists().backend.trim()
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        self.lists().backend.returns_by()
    }

    fn unit_of_block(&self) -> Option<UnitOfBlock<'_>> {
        self.lists().backend.unit_of_block()
    }

    fn write_arenas(&self, out: RawFd) -> bool {
        self.lists().backend.write_arenas(out)
    }

    fn read_arenas(&self, text: &str) -> Vec<ArenaMemory> {
        self.lists().backend.read_arenas(text)
    }

    fn flush_thread_cache(&self) -> Trim {
        self.lists().backend.flush_thread_cache()
    }

    fn counters(&self) -> Vec<Counter> {
        self.lists().backend.counters()
    }

    fn pools(&self) -> Option<&dyn Pools> {
        self.lists().backend.pools()
    }

    fn check(&self) -> Result<(), String> {
        let lists = self.lists();
        for (class, list) in lists.by_class.iter().enumerate() {
            list.check(&format!("class {class}"))?;
        }
        for (listed, list) in &lists.by_type {
            list.check(&listed.text())?;
        }
        lists.backend.check()
    }
}

fn open(spec: &BackendSpec, below: Option<Box<dyn Backend>>) -> Opened {
    let wanted = FreelistSettings::of(spec)?;
    let below = below.ok_or_else(|| spec.refused("needs a lower layer".to_owned()))?;
    Ok(Box::new(Freelist::new(below, wanted.limits(), wanted.types())))
}
