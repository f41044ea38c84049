//! `dlmalloc`: Doug Lea's malloc, the ancestor of glibc's, in its Rust form (crate `dlmalloc`).
//!
//! The harness's own global allocator is the same crate on shared pages. This backend is an
//! instance of its own on private pages of `pages.rs`, 64 KiB at a time.
#![expect(unsafe_code, reason = "hands out memory behind raw pointers, and reads chunk headers")]

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use dlmalloc::Dlmalloc;

use super::allocator::Domains;
use super::backend::{Backend, Trim};
use super::calls::{SimpleHeap, table};
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::pages;
use super::return_unit::ReturnKind;
use super::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "dlmalloc",
    summary: "Doug Lea's, the ancestor of glibc's, in Rust: best fit, boundary tags",
    below: None,
    settings: &[],
    settings_read_from: None,
    environment: no_environment,
    details,
    open,
};

/// Private pages.
struct PrivatePages;

// SAFETY: `alloc` returns fresh zeroed mappings of at least the requested size, `free` and
// `free_part` unmap exactly the named range, and nothing else is promised.
unsafe impl dlmalloc::Allocator for PrivatePages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        match pages::map(size) {
            Ok(start) => (start.as_ptr(), size, 0),
            Err(_) => (ptr::null_mut(), 0, 0),
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, at: *mut u8, old: usize, new: usize) -> bool {
        // SAFETY: the tail of a mapping from `alloc`, which the caller no longer uses.
        NonNull::new(at.wrapping_add(new))
            .is_some_and(|tail| unsafe { pages::unmap(tail, old - new) }.is_ok())
    }

    fn free(&self, at: *mut u8, size: usize) -> bool {
        // SAFETY: a mapping from `alloc`, which the caller no longer uses.
        NonNull::new(at).is_some_and(|start| unsafe { pages::unmap(start, size) }.is_ok())
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        pages::page_bytes()
    }
}

impl SimpleHeap for Dlmalloc<PrivatePages> {
    fn allocate(&mut self, size: usize) -> *mut u8 {
        // SAFETY: any size is allowed; the natural alignment is 16.
        unsafe { self.c_malloc(size) }
    }

    fn zeroed(&mut self, size: usize) -> *mut u8 {
        // SAFETY: as above; the crate knows which memory is fresh.
        unsafe { self.calloc(size, 16) }
    }

    unsafe fn resize(&mut self, block: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: the caller passes a live block.
        unsafe { self.c_realloc(block, new_size) }
    }

    unsafe fn release(&mut self, block: *mut u8) {
        // SAFETY: the caller passes a live block.
        unsafe { self.c_free(block) };
    }
}

struct OwnDlmalloc(*mut Dlmalloc<PrivatePages>);

impl Backend for OwnDlmalloc {
    fn domains(&self) -> Domains {
        Domains::same(table(self.0))
    }

    fn version(&self) -> String {
        concat!("dlmalloc 2.8.6 of crate dlmalloc ", env!("VERSION_OF_DLMALLOC")).to_owned()
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // The machine word before a block is its chunk's size, with three flags. A chunk that is
        // neither in use nor after one in use has a mapping of its own, and two words of overhead.
        // SAFETY: the caller's promise: the block is live.
        let head = unsafe { block.cast::<usize>().sub(1).read() };
        let words = if head & 3 == 0 { 2 } else { 1 };
        (head & !7) - words * size_of::<usize>()
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        vec![ReturnKind::Top]
    }

    fn trim(&self) -> Trim {
        // SAFETY: returns free memory; no live block is touched.
        unsafe { (*self.0).trim(0) };
        Trim::Done
    }
}

impl Drop for OwnDlmalloc {
    fn drop(&mut self) {
        // SAFETY: made by `open`, dropped once. Its mappings stay: the crate has no call that
        // unmaps them all.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok("dlmalloc: an instance of its own on private pages, 64 KiB at a time\n  \
        usable size: the chunk's header; trim: dlmalloc_trim(0); no settings\n"
        .to_owned())
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_settings(&[])?;
    Ok(Box::new(OwnDlmalloc(Box::into_raw(Box::new(Dlmalloc::new_with_allocator(PrivatePages))))))
}
