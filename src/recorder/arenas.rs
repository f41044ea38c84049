//! Records where the memory of pymalloc lies. A hook over `PyObject_SetArenaAllocator` writes each
//! arena's birth and death to the stream, so a replay can put its arenas at the same addresses.
//!
//! The hook is called inside a hook of mem or obj. From 3.11 on the interpreter takes the chunks of
//! its frame stacks from the same allocator, outside of any hook. The log records the size of each
//! arena, and the size distinguishes chunks from arenas.

use core::ffi::c_void;

use crate::entry;
use crate::placement::{self, PyObjectArenaAllocator};

/// Puts the hook in place, where the interpreter has such an allocator.
///
/// # Safety
/// As [`placement::put_arena`].
pub unsafe fn install() {
    // SAFETY: as the caller guarantees.
    unsafe {
        placement::put_arena(PyObjectArenaAllocator {
            context: core::ptr::null_mut(),
            alloc,
            free,
        });
    }
}

unsafe extern "C" fn alloc(_context: *mut c_void, size: usize) -> *mut c_void {
    let real = placement::real_arena();
    // SAFETY: the caller's own call, passed on.
    let base = unsafe { entry::hidden(|| (real.alloc)(real.context, size)) };
    if !base.is_null() {
        entry::between(|stream| stream.arena(true, base as u64, size as u64));
    }
    base
}

unsafe extern "C" fn free(_context: *mut c_void, base: *mut c_void, size: usize) {
    let real = placement::real_arena();
    if !base.is_null() {
        entry::between(|stream| stream.arena(false, base as u64, size as u64));
    }
    // SAFETY: the caller's own call, passed on.
    unsafe { entry::hidden(|| (real.free)(real.context, base, size)) };
}
