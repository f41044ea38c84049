//! The memory of arenas: the pair of functions that map and unmap them.
#![expect(unsafe_code, reason = "implements the functions of an arena allocator")]

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use crate::backends::pages;

/// The functions that map and unmap arenas. Layout and signatures are those of CPython's
/// `PyObjectArenaAllocator`, so one pair of functions can serve an interpreter and this crate's
/// pymalloc.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ArenaSource {
    /// The first argument of each call.
    pub ctx: *mut c_void,
    /// `alloc(ctx, bytes)`: memory at any address that is a multiple of 4 KiB; null when there is
    /// none.
    pub alloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    /// `free(ctx, arena, bytes)`.
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void, usize),
}

impl ArenaSource {
    /// Plain `mmap`, as in CPython: at any multiple of a page.
    pub fn kernel() -> ArenaSource {
        unsafe extern "C" fn alloc(_ctx: *mut c_void, bytes: usize) -> *mut c_void {
            pages::map(bytes).map_or(ptr::null_mut(), |start| start.as_ptr().cast())
        }
        unsafe extern "C" fn free(_ctx: *mut c_void, arena: *mut c_void, bytes: usize) {
            if let Some(start) = NonNull::new(arena.cast()) {
                // SAFETY: what `alloc` returned, with the same size. CPython ignores a refusal,
                // too.
                let _ = unsafe { pages::unmap(start, bytes) };
            }
        }
        ArenaSource { ctx: ptr::null_mut(), alloc, free }
    }

    /// Pages of the kernel, each arena at a multiple of a pool.
    ///
    /// CPython uses any address that `mmap` returns, a multiple of 4 KiB. From 3.10 on, an arena
    /// that is not aligned to 16 KiB by chance loses one of its 64 pools. Here every arena is
    /// aligned, so that the same trace gives the same figures every time. Another source can return
    /// any address.
    pub fn pages(pool_bytes: usize) -> ArenaSource {
        unsafe extern "C" fn alloc(ctx: *mut c_void, bytes: usize) -> *mut c_void {
            pages::map_aligned(bytes, ctx.addr())
                .map_or(ptr::null_mut(), |start| start.as_ptr().cast())
        }
        unsafe extern "C" fn free(_ctx: *mut c_void, arena: *mut c_void, bytes: usize) {
            if let Some(start) = NonNull::new(arena.cast()) {
                // SAFETY: the heap returns what `alloc` returned, with the same size. A refusal
                // leaves the arena mapped; CPython ignores it, too.
                let _ = unsafe { pages::unmap(start, bytes) };
            }
        }
        ArenaSource { ctx: ptr::without_provenance_mut(pool_bytes), alloc, free }
    }
}
