//! The free lists: blocks of the layer below, linked through their first bytes.
#![expect(
    unsafe_code,
    reason = "links free blocks through their first bytes, and calls the layer below"
)]

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::classes::{CLASSES, STEP_BYTES};
use super::front::FreelistFront;
use crate::backends::allocator::Allocator;
use crate::backends::backend::Backend;
use crate::cpython::{ListRule, Listed};

/// A free block begins with the address of the one that was freed before it.
struct FreeNode {
    next: *mut FreeNode,
}

/// One list; the latest freed block is first.
pub(super) struct FreeList {
    first: Cell<*mut FreeNode>,
    /// Blocks in it.
    count: Cell<u32>,
    /// Most blocks in it.
    most: u32,
}

impl FreeList {
    pub(super) fn new(most: u32) -> FreeList {
        FreeList { first: Cell::new(ptr::null_mut()), count: Cell::new(0), most }
    }

    /// The latest freed block; null when there is none.
    pub(super) fn pop(&self) -> *mut c_void {
        let node = self.first.get();
        if !node.is_null() {
            // SAFETY: a listed block is the list's own and begins with its link.
            self.first.set(unsafe { (*node).next });
            self.count.set(self.count.get() - 1);
        }
        node.cast()
    }

    /// Lists a block, unless the list is full; whether it did.
    ///
    /// # Safety
    /// A live block of at least 8 bytes of the layer below that nothing uses any more.
    unsafe fn push(&self, block: *mut c_void) -> bool {
        let count = self.count.get();
        if count >= self.most {
            return false;
        }
        // SAFETY: the block is the list's from now on.
        unsafe { block.cast::<FreeNode>().write(FreeNode { next: self.first.get() }) };
        self.first.set(block.cast());
        self.count.set(count + 1);
        true
    }

    pub(super) fn check(&self, of: &str) -> Result<(), String> {
        let (mut found, mut node) = (0, self.first.get());
        while !node.is_null() && found <= self.most {
            found += 1;
            // SAFETY: a listed block begins with its link.
            node = unsafe { (*node).next };
        }
        let (counted, most) = (self.count.get(), self.most);
        if found == counted && found <= most {
            return Ok(());
        }
        Err(format!(
            "the free list of {of} has {found} blocks, {counted} are counted, {most} allowed"
        ))
    }
}

/// The context of the table for the blocks of one kind. Several kinds may have one list (frames of
/// all sizes).
pub(super) struct KindFront {
    pub lists: NonNull<FreeLists>,
    /// Index in [`FreeLists::by_type`].
    pub list: usize,
    /// Size of the kind's blocks.
    pub bytes: usize,
}

/// All free lists of a backend: the context of the table for blocks without a kind.
pub(super) struct FreeLists {
    pub below: Allocator,
    pub backend: Box<dyn Backend>,
    pub by_class: [FreeList; CLASSES],
    /// The lists by type, with their rules; empty where the limits were set by hand.
    pub by_type: Vec<(Listed, FreeList)>,
    /// The contexts of tables. They stay in their places as long as this lives.
    #[expect(clippy::vec_box, reason = "their addresses are in tables")]
    pub kinds: RefCell<Vec<Box<KindFront>>>,
}

impl FreelistFront for FreeLists {
    fn below(&self) -> &Allocator {
        &self.below
    }

    /// From the list of the smallest class that serves `size` bytes.
    fn take(&self, size: usize) -> *mut c_void {
        let class = size.wrapping_sub(1) / STEP_BYTES;
        self.by_class.get(class).map_or(ptr::null_mut(), FreeList::pop)
    }

    unsafe fn list(&self, block: *mut c_void) -> bool {
        // The contract passes no size, so the layer below reports it; CPython knows it from the
        // type. SAFETY: the block is live.
        let bytes = unsafe { self.backend.usable_size(block, 1) };
        let Some(class) = (bytes / STEP_BYTES).checked_sub(1).filter(|&class| class < CLASSES)
        else {
            return false;
        };
        // SAFETY: it has at least 16 bytes.
        unsafe { self.by_class[class].push(block) }
    }
}

impl FreeLists {
    fn all(&self) -> impl Iterator<Item = &FreeList> {
        self.by_class.iter().chain(self.by_type.iter().map(|(_, list)| list))
    }

    /// Frees all listed blocks, as a full collection does.
    pub(super) fn clear(&self) {
        for list in self.all() {
            while let Some(block) = NonNull::new(list.pop()) {
                // SAFETY: a live block of the layer below that only the list referred to.
                unsafe { (self.below.free)(self.below.ctx, block.as_ptr()) };
            }
        }
    }
}

impl KindFront {
    fn lists(&self) -> &FreeLists {
        // SAFETY: the context lives in the lists that it points to.
        unsafe { self.lists.as_ref() }
    }
}

impl FreelistFront for KindFront {
    fn below(&self) -> &Allocator {
        &self.lists().below
    }

    fn take(&self, size: usize) -> *mut c_void {
        let lists = self.lists();
        let (listed, list) = &lists.by_type[self.list];
        if size != self.bytes || listed.rule == ListRule::Hoarded {
            return ptr::null_mut();
        }
        let block = list.pop();
        if block.is_null() || listed.rule == ListRule::OneSize {
            return block;
        }
        // SAFETY: a listed block is a live one of the layer below. When it cannot be enlarged it is
        // freed, and the layer below serves a new one.
        unsafe {
            if lists.backend.usable_size(block, listed.bytes_least) >= size {
                return block;
            }
            let larger = (lists.below.realloc)(lists.below.ctx, block, size);
            if larger.is_null() {
                (lists.below.free)(lists.below.ctx, block);
            }
            larger
        }
    }

    unsafe fn list(&self, block: *mut c_void) -> bool {
        // SAFETY: it has the size of its kind, which is at least 8 bytes.
        unsafe { self.lists().by_type[self.list].1.push(block) }
    }
}
