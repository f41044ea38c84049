//! The four calls: [`Allocator`] is CPython's `PyMemAllocatorEx`, [`Domains`] one for each domain.
//!
//! Every backend is called through the same four function pointers, with the context first, as
//! CPython itself calls (Include/cpython/pymem.h). No backend is inlined into the loop, none gets a
//! block's size when it is freed, and each domain has a table of its own. So backends can be
//! compared with each other and with an interpreter.

use std::ffi::c_void;
use std::ptr;

use crate::trace::Domain;

/// The four calls of one domain. Layout and signatures are those of CPython's `PyMemAllocatorEx`,
/// so a table taken from an interpreter is used as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// The first argument of each call.
    pub ctx: *mut c_void,
    /// `malloc(ctx, size)`, size in bytes; null when there is no memory. A size of 0 returns a
    /// distinct, non-null block.
    pub malloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    /// `calloc(ctx, elements, element_size)`: as malloc, all zero.
    pub calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    /// `realloc(ctx, block, new_size)`: preserves min(old, new) bytes; on null the old block is
    /// untouched.
    pub realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    /// `free(ctx, block)`; null is allowed.
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void),
}

impl Allocator {
    /// A table that refuses every request: a place for another to be written to.
    pub fn refusing() -> Allocator {
        extern "C" fn malloc(_: *mut c_void, _: usize) -> *mut c_void {
            ptr::null_mut()
        }
        extern "C" fn calloc(_: *mut c_void, _: usize, _: usize) -> *mut c_void {
            ptr::null_mut()
        }
        extern "C" fn realloc(_: *mut c_void, _: *mut c_void, _: usize) -> *mut c_void {
            ptr::null_mut()
        }
        extern "C" fn free(_: *mut c_void, _: *mut c_void) {}
        Allocator { ctx: ptr::null_mut(), malloc, calloc, realloc, free }
    }
}

/// The tables of the three domains, indexed by [`Domain`].
#[derive(Clone, Copy, Debug)]
pub struct Domains([Allocator; 3]);

impl Domains {
    /// One table for each domain.
    pub fn new(raw: Allocator, mem: Allocator, obj: Allocator) -> Domains {
        Domains([raw, mem, obj])
    }

    /// The same table for all three: an allocator without domains.
    pub fn same(allocator: Allocator) -> Domains {
        Domains([allocator; 3])
    }

    /// The table of one domain.
    pub fn get(&self, domain: Domain) -> &Allocator {
        &self.0[domain as usize]
    }
}
