//! Room `backends`, member `linked_list`: one list of free blocks, the first that fits is taken
//! (crate `linked_list_allocator`).
//!
//! What textbooks begin with and small systems use. Every call walks the list from the lowest
//! address, so its cost grows with the number of holes: a long trace may meet the time limit, which
//! ends its cells and says so. It is told a block's layout when the block ends; here 16 bytes
//! before each block hold its size and count as its overhead. It manages a range of its own and
//! gives nothing back.
#![expect(unsafe_code, reason = "hands out memory behind raw pointers")]

use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use linked_list_allocator::Heap as Holes;

use super::allocator::{Backend, BackendError, Member, Opened, no_environment};
use super::calls::{HEADER_BYTES, Headed, Layouted};
use super::region::{RESERVE, manage};
use crate::spec::BackendSpec;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "linked_list",
    summary: "first fit along one list of holes, as in textbooks: every call walks it; 16 bytes more a block",
    below: None,
    settings: &[RESERVE],
    environment: no_environment,
    details,
    open,
};

const VERSION: &str = concat!("linked_list_allocator ", env!("VERSION_OF_LINKED_LIST_ALLOCATOR"));

/// What sizes are rounded up to: a hole's header begins at a multiple of its alignment.
const GRANULE_BYTES: usize = align_of::<usize>();

impl Layouted for Holes {
    fn give(&mut self, layout: Layout) -> *mut u8 {
        // Sizes that overflow inside when they are rounded up.
        if layout.size() > 1 << 46 {
            return ptr::null_mut();
        }
        self.allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn take(&mut self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller gives a block of this heap with its layout.
            unsafe { self.deallocate(block, layout) };
        }
    }

    unsafe fn in_place(&mut self, _block: *mut u8, layout: Layout, new_size: usize) -> bool {
        // The crate has no such call.
        layout.size() == new_size
    }
}

unsafe fn usable_size(_block: *mut c_void, requested: usize) -> usize {
    (HEADER_BYTES + requested.max(1)).next_multiple_of(GRANULE_BYTES) - HEADER_BYTES
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "linked_list: crate {VERSION}, first fit by address\n  {HEADER_BYTES} bytes before each block hold its size, which its free must be told: they count as overhead\n  usable size: by its rule of rounding; no call gives memory back; realloc always moves\n  slow: every call walks the list of holes; `--timeout` limits each of its cells\n"
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    manage(spec, VERSION, usable_size, |region| {
        let mut heap = Holes::empty();
        // SAFETY: the range is the heap's alone and outlives it.
        unsafe { heap.init(region.start.as_ptr(), region.bytes) };
        Some(Headed(heap))
    })
}
