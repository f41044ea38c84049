//! Requests as values, and a reference model of what every allocator promises. Blocks are aligned
//! and do not overlap; contents stay, and survive realloc; calloc gives zeros.
//!
//! The property tests and a fuzz target share it.
#![expect(unsafe_code, reason = "calls backends and touches their blocks")]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;

use heaplay::backends::{Allocator, Backend};
use heaplay::trace::Domain;

/// A request. `at` picks a live block, modulo their number. Without a live block nothing happens.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Malloc {
        domain: Domain,
        size: usize,
    },
    Calloc {
        domain: Domain,
        elements: usize,
        size: usize,
    },
    Realloc {
        at: usize,
        size: usize,
    },
    Free {
        at: usize,
    },
    FreeNull,
    /// `count` blocks of one size.
    Burst {
        size: usize,
        count: usize,
    },
    /// Frees `count` blocks: the one at `at`, and then each `step`-th.
    FreeMany {
        at: usize,
        step: usize,
        count: usize,
    },
}

struct LiveBlock {
    block: *mut u8,
    size: usize,
    domain: Domain,
    mark: u8,
}

/// A backend, and the live blocks that it owes.
pub struct ReferenceHeap<'a> {
    backend: &'a dyn Backend,
    align: usize,
    small_align: usize,
    live: Vec<LiveBlock>,
    ranges: BTreeMap<usize, usize>,
    made: usize,
}

impl<'a> ReferenceHeap<'a> {
    /// `align` is what every block's address has to be a multiple of.
    pub fn new(backend: &'a dyn Backend, align: usize) -> ReferenceHeap<'a> {
        assert!(backend.backs_memory());
        ReferenceHeap {
            backend,
            align,
            small_align: align,
            live: Vec::new(),
            ranges: BTreeMap::new(),
            made: 0,
        }
    }

    /// Blocks below 16 bytes need only this alignment: size classes of 8 bytes are within C's
    /// rules.
    pub fn small_blocks(mut self, align: usize) -> ReferenceHeap<'a> {
        self.small_align = align;
        self
    }

    fn table(&self, domain: Domain) -> Allocator {
        *self.backend.domains().get(domain)
    }

    /// Does one action and checks what it gave.
    pub fn act(&mut self, action: Action) {
        // SAFETY: the table's own context throughout; blocks are live and used within their sizes.
        unsafe {
            match action {
                Action::Malloc { domain, size } => self.malloc(domain, size),
                Action::Burst { size, count } => {
                    (0..count).for_each(|_| self.malloc(Domain::Obj, size))
                }
                Action::Calloc { domain, elements, size } => {
                    let table = self.table(domain);
                    let block = (table.calloc)(table.ctx, elements, size).cast::<u8>();
                    let size = elements * size;
                    assert!((0..size).all(|at| block.add(at).read() == 0), "calloc left something");
                    self.begin(domain, block, size);
                }
                Action::Realloc { at, size } => self.realloc(at, size),
                Action::Free { at } => self.free(at),
                Action::FreeMany { at, step, count } => {
                    (0..count).for_each(|index| self.free(at + index * step));
                }
                Action::FreeNull => {
                    let table = self.table(Domain::Obj);
                    (table.free)(table.ctx, ptr::null_mut());
                }
            }
        }
    }

    unsafe fn malloc(&mut self, domain: Domain, size: usize) {
        let table = self.table(domain);
        // SAFETY: as in act.
        let block = unsafe { (table.malloc)(table.ctx, size) };
        self.begin(domain, block.cast(), size);
    }

    unsafe fn realloc(&mut self, at: usize, size: usize) {
        // SAFETY: as in act.
        unsafe {
            let Some(old) = self.end(at) else {
                let table = self.table(Domain::Obj);
                let block = (table.realloc)(table.ctx, ptr::null_mut(), size);
                return self.begin(Domain::Obj, block.cast(), size);
            };
            let table = self.table(old.domain);
            let block = (table.realloc)(table.ctx, old.block.cast(), size).cast::<u8>();
            let copied = size.min(old.size);
            assert!(
                (0..copied).all(|at| block.add(at).read() == old.mark),
                "realloc lost contents"
            );
            self.begin(old.domain, block, size);
        }
    }

    unsafe fn free(&mut self, at: usize) {
        if let Some(old) = self.end(at) {
            let table = self.table(old.domain);
            // SAFETY: as in act.
            unsafe { (table.free)(table.ctx, old.block.cast()) };
        }
    }

    fn begin(&mut self, domain: Domain, block: *mut u8, size: usize) {
        assert!(!block.is_null(), "no memory for {size} bytes");
        let (start, end) = (block.addr(), block.addr() + size.max(1));
        let align = if size < 16 { self.small_align } else { self.align };
        assert!(
            start.is_multiple_of(align),
            "{start:#x} of {size} bytes is not a multiple of {align}"
        );
        let before = self.ranges.range(..end).next_back();
        assert!(
            before.is_none_or(|(_, &other_end)| other_end <= start),
            "{start:#x} overlaps {before:x?}"
        );
        self.made += 1;
        let mark = (self.made % 255) as u8 + 1;
        // SAFETY: the block is live and has `size` bytes; usable_size says at least as many.
        unsafe {
            let usable = self.backend.usable_size(block.cast::<c_void>(), size);
            assert!(usable >= size, "{usable} usable of {size}");
            block.write_bytes(mark, size);
        }
        self.ranges.insert(start, end);
        self.live.push(LiveBlock { block, size, domain, mark });
    }

    fn end(&mut self, at: usize) -> Option<LiveBlock> {
        if self.live.is_empty() {
            return None;
        }
        let old = self.live.swap_remove(at % self.live.len());
        // SAFETY: the block is live and has these bytes.
        let whole = unsafe { (0..old.size).all(|at| old.block.add(at).read() == old.mark) };
        assert!(whole, "a block of {} bytes changed under its owner", old.size);
        self.ranges.remove(&old.block.addr());
        Some(old)
    }

    /// Frees every block, from the latest on.
    pub fn free_all(&mut self) {
        while !self.live.is_empty() {
            // SAFETY: as in act.
            unsafe { self.free(self.live.len() - 1) };
        }
    }
}
