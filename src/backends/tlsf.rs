//! `tlsf`: two-level segregated fit, constant time in the worst case (crate `rlsf`).
//!
//! Free blocks are in 32 × 32 lists by size. Granules have 32 bytes, a block's header 16. It
//! manages a range of its own and returns no memory.
#![expect(unsafe_code, reason = "hands out memory behind raw pointers")]

use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use rlsf::Tlsf;

use super::backend::Backend;
use super::calls::{ALIGN_BYTES, SimpleHeap};
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::region::{RESERVE, manage};
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "tlsf",
    summary: "two-level segregated fit (rlsf): every call in constant time, for real-time systems",
    below: None,
    settings: &[RESERVE],
    settings_read_from: None,
    environment: no_environment,
    details,
    open,
};

const VERSION: &str = concat!("rlsf ", env!("VERSION_OF_RLSF"));

/// 32 first levels of 32 lists each: blocks up to 128 GiB.
type TlsfHeap = Tlsf<'static, u32, u32, 32, 32>;

impl SimpleHeap for TlsfHeap {
    fn allocate(&mut self, size: usize) -> *mut u8 {
        let layout = Layout::from_size_align(size, ALIGN_BYTES);
        layout
            .ok()
            .and_then(|layout| Tlsf::allocate(self, layout))
            .map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn resize(&mut self, block: *mut u8, new_size: usize) -> *mut u8 {
        let (Some(block), Ok(layout)) =
            (NonNull::new(block), Layout::from_size_align(new_size, ALIGN_BYTES))
        else {
            return ptr::null_mut();
        };
        // SAFETY: a live block of this heap, with the same alignment.
        unsafe { self.reallocate(block, layout) }.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn release(&mut self, block: *mut u8) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: a live block of this heap, with its alignment.
            unsafe { self.deallocate(block, ALIGN_BYTES) };
        }
    }
}

unsafe fn usable_size(block: *mut c_void, requested: usize) -> usize {
    // SAFETY: the caller's promise: the block is live.
    NonNull::new(block.cast())
        .map_or(requested, |block| unsafe { TlsfHeap::allocation_usable_size(block) })
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "tlsf: crate {VERSION}, 32 x 32 lists, granules of 32 bytes, headers of 16\n  \
         usable size: the block's header; no call returns memory\n"
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    manage(spec, VERSION, usable_size, |region| {
        let mut heap = TlsfHeap::new();
        // SAFETY: only the heap uses the range, which outlives it.
        let taken = unsafe {
            heap.insert_free_block_ptr(NonNull::slice_from_raw_parts(region.start, region.bytes))
        };
        taken.map(|_| heap)
    })
}
