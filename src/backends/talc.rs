//! `talc`: a small best-fit allocator for systems without an operating system (crate `talc`).
//!
//! The crate's free needs a block's layout. So 16 bytes before each block hold its size and count
//! as its overhead. Chunks are multiples of 32 bytes. It manages a range of its own and returns no
//! memory.
#![expect(unsafe_code, reason = "hands out memory behind raw pointers")]

use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr;

use talc::DefaultBinning;
use talc::base::{CHUNK_UNIT, Talc};
use talc::source::Manual;

use super::backend::Backend;
use super::calls::{HEADER_BYTES, Headed, LayoutedHeap};
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::region::{RESERVE, manage};
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "talc",
    summary: "binned best fit for embedded systems, in Rust; 16 more bytes a block hold its size",
    below: None,
    settings: &[RESERVE],
    settings_read_from: None,
    environment: no_environment,
    details,
    open,
};

const VERSION: &str = concat!("talc ", env!("VERSION_OF_TALC"));

type TalcHeap = Talc<Manual, DefaultBinning>;

impl LayoutedHeap for TalcHeap {
    fn allocate_layout(&mut self, layout: Layout) -> *mut u8 {
        // Larger sizes overflow in the crate when it rounds them up.
        if layout.size() > 1 << 46 {
            return ptr::null_mut();
        }
        // SAFETY: a layout of at least the header.
        unsafe { self.allocate(layout) }.map_or(ptr::null_mut(), std::ptr::NonNull::as_ptr)
    }

    unsafe fn free_layout(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller passes a block of this heap with its layout.
        unsafe { self.deallocate(block, layout) };
    }

    unsafe fn resize_in_place(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> bool {
        // SAFETY: as above; the new size holds at least the header.
        new_size <= 1 << 46 && unsafe { self.try_realloc_in_place(block, layout, new_size) }
    }
}

unsafe fn usable_size(_block: *mut c_void, requested: usize) -> usize {
    // A chunk is a multiple of its unit and ends in a word of its own.
    let chunk = (HEADER_BYTES + requested.max(1) + size_of::<usize>()).next_multiple_of(CHUNK_UNIT);
    chunk - size_of::<usize>() - HEADER_BYTES
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "talc: crate {VERSION}, default bins, chunks of {CHUNK_UNIT}-byte multiples\n  \
         {HEADER_BYTES} bytes before each block hold its size, which its free needs: \
         they count as overhead\n  \
         usable size: by its rule of rounding; no call returns memory\n"
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    manage(spec, VERSION, usable_size, |region| {
        let mut heap = TalcHeap::new(Manual);
        // SAFETY: only the heap uses the range, which outlives it.
        unsafe { heap.claim(region.start.as_ptr(), region.bytes) }.map(|_| Headed(heap))
    })
}
