//! The memory of arenas: the pair of functions that map and unmap them.
#![expect(unsafe_code, reason = "implements the functions of an arena allocator")]

use std::ffi::c_void;
use std::io;
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
    /// Plain `mmap`, as in CPython: at any multiple of a page. With `HUGE`, each arena requests huge
    /// pages (`MADV_HUGEPAGE`), as in CPython 3.15.
    pub fn kernel<const HUGE: bool>() -> ArenaSource {
        unsafe extern "C" fn alloc<const HUGE: bool>(
            _ctx: *mut c_void,
            bytes: usize,
        ) -> *mut c_void {
            as_arena::<HUGE>(pages::map(bytes), bytes)
        }
        ArenaSource { ctx: ptr::null_mut(), alloc: alloc::<HUGE>, free }
    }

    /// Pages of the kernel, each arena at a multiple of a pool; `HUGE` as in [`ArenaSource::kernel`].
    ///
    /// CPython uses any address that `mmap` returns, a multiple of 4 KiB. From 3.10 on, an arena
    /// that is not aligned to 16 KiB by chance loses one of its 64 pools. Here every arena is
    /// aligned, so that the same trace gives the same figures every time. Another source can return
    /// any address.
    pub fn pages<const HUGE: bool>(pool_bytes: usize) -> ArenaSource {
        unsafe extern "C" fn alloc<const HUGE: bool>(
            ctx: *mut c_void,
            bytes: usize,
        ) -> *mut c_void {
            as_arena::<HUGE>(pages::map_aligned(bytes, ctx.addr()), bytes)
        }
        ArenaSource { ctx: ptr::without_provenance_mut(pool_bytes), alloc: alloc::<HUGE>, free }
    }
}

/// A fresh mapping as an arena; null where there is none.
fn as_arena<const HUGE: bool>(mapped: io::Result<NonNull<u8>>, bytes: usize) -> *mut c_void {
    let Ok(start) = mapped else { return ptr::null_mut() };
    if HUGE {
        // SAFETY: the mapping is fresh and has this size.
        unsafe { pages::request_huge(start, bytes) };
    }
    start.as_ptr().cast()
}

unsafe extern "C" fn free(_ctx: *mut c_void, arena: *mut c_void, bytes: usize) {
    if let Some(start) = NonNull::new(arena.cast()) {
        // SAFETY: the heap returns what `alloc` returned, with the same size. A refusal leaves the
        // arena mapped; CPython ignores it, too.
        let _ = unsafe { pages::unmap(start, bytes) };
    }
}
