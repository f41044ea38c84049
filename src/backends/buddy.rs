//! `buddy`: the binary buddy system (crate `buddy_system_allocator`).
//!
//! Blocks are powers of two. Freeing one searches for its buddy along a list, so its cost grows
//! with the number of free blocks of that size. The crate's free needs a block's layout. So 16
//! bytes before each block hold its size and count as its overhead: 48 bytes become 64, and 64
//! become 128. It manages a range of its own and returns no memory.
#![expect(unsafe_code, reason = "hands out memory behind raw pointers")]

use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr;

use buddy_system_allocator::Heap as Buddies;

use super::backend::Backend;
use super::calls::{HEADER_BYTES, Headed, LayoutedHeap};
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::region::{RESERVE, manage};
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "buddy",
    summary: "blocks are powers of two, halved and joined; 16 more bytes a block hold its size",
    below: None,
    settings: &[RESERVE],
    settings_read_from: None,
    environment: no_environment,
    details,
    open,
};

const VERSION: &str = concat!("buddy_system_allocator ", env!("VERSION_OF_BUDDY_SYSTEM_ALLOCATOR"));

/// Blocks up to 2 to the 36th bytes.
type BuddyHeap = Buddies<37>;

impl LayoutedHeap for BuddyHeap {
    fn allocate_layout(&mut self, layout: Layout) -> *mut u8 {
        // Larger sizes overflow in the crate when it rounds them up.
        if layout.size() > 1 << 46 {
            return ptr::null_mut();
        }
        self.alloc(layout).map_or(ptr::null_mut(), std::ptr::NonNull::as_ptr)
    }

    unsafe fn free_layout(&mut self, block: *mut u8, layout: Layout) {
        if let Some(block) = std::ptr::NonNull::new(block) {
            // SAFETY: the caller passes a block of this heap with its layout.
            unsafe { self.dealloc(block, layout) };
        }
    }

    unsafe fn resize_in_place(&mut self, _block: *mut u8, layout: Layout, new_size: usize) -> bool {
        // The crate has no such call: its `realloc` is allocate, copy, free.
        layout.size() == new_size
    }
}

unsafe fn usable_size(_block: *mut c_void, requested: usize) -> usize {
    (HEADER_BYTES + requested.max(1)).next_power_of_two() - HEADER_BYTES
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "buddy: crate {VERSION}, powers of two\n  \
         {HEADER_BYTES} bytes before each block hold its size, which its free needs: \
         they count as overhead\n  \
         usable size: by its rule of rounding; no call returns memory; realloc always moves\n"
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    manage(spec, VERSION, usable_size, |region| {
        let mut heap = BuddyHeap::empty();
        let start = region.start.as_ptr().addr();
        // SAFETY: only the heap uses the range, which outlives it.
        unsafe { heap.add_to_heap(start, start + region.bytes) };
        Some(Headed(heap))
    })
}
