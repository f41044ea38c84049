//! `linked_list`: one list of free blocks, of which the first that fits is taken (crate
//! `linked_list_allocator`).
//!
//! Textbooks begin with it, and small systems use it. Every call walks the list from the lowest
//! address, so its cost grows with the number of holes. A long trace may reach the time limit,
//! which ends its cells with an error. The crate's free needs a block's layout. So 16 bytes before
//! each block hold its size and count as its overhead. It manages a range of its own and returns no
//! memory.
#![expect(unsafe_code, reason = "hands out memory behind raw pointers")]

use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use linked_list_allocator::Heap as Holes;

use super::backend::Backend;
use super::calls::{HEADER_BYTES, Headed, LayoutedHeap};
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::region::{RESERVE, manage};
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "linked_list",
    summary: "first fit along one list of holes, as in textbooks; 16 more bytes a block",
    below: None,
    settings: &[RESERVE],
    settings_read_from: None,
    environment: no_environment,
    details,
    open,
};

const VERSION: &str = concat!("linked_list_allocator ", env!("VERSION_OF_LINKED_LIST_ALLOCATOR"));

/// Sizes are rounded up to this many bytes: a hole's header begins at a multiple of its alignment.
const GRANULE_BYTES: usize = align_of::<usize>();

impl LayoutedHeap for Holes {
    fn allocate_layout(&mut self, layout: Layout) -> *mut u8 {
        // Larger sizes overflow in the crate when it rounds them up.
        if layout.size() > 1 << 46 {
            return ptr::null_mut();
        }
        self.allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn free_layout(&mut self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller passes a block of this heap with its layout.
            unsafe { self.deallocate(block, layout) };
        }
    }

    unsafe fn resize_in_place(&mut self, _block: *mut u8, layout: Layout, new_size: usize) -> bool {
        // The crate has no such call.
        layout.size() == new_size
    }
}

unsafe fn usable_size(_block: *mut c_void, requested: usize) -> usize {
    (HEADER_BYTES + requested.max(1)).next_multiple_of(GRANULE_BYTES) - HEADER_BYTES
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "linked_list: crate {VERSION}, first fit by address\n  \
         {HEADER_BYTES} bytes before each block hold its size, which its free needs: \
         they count as overhead\n  \
         usable size: by its rule of rounding; no call returns memory; realloc always moves\n  \
         slow: every call walks the list of holes; `--timeout` limits each of its cells\n"
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    manage(spec, VERSION, usable_size, |region| {
        let mut heap = Holes::empty();
        // SAFETY: only the heap uses the range, which outlives it.
        unsafe { heap.init(region.start.as_ptr(), region.bytes) };
        Some(Headed(heap))
    })
}
