//! The four calls of free lists in front of a layer below.
#![expect(unsafe_code, reason = "calls the layer below through C function pointers")]

use std::ffi::c_void;

use crate::backends::allocator::Allocator;

/// Free lists in front of a layer: the context of a table.
pub(super) trait FreelistFront {
    /// The layer below.
    fn below(&self) -> &Allocator;

    /// A listed block that serves `size` bytes; null when there is none.
    fn take(&self, size: usize) -> *mut c_void;

    /// Lists a block, unless the list is full; whether it did.
    ///
    /// # Safety
    /// A live block of the layer below that nothing uses any more. Through a kind's table, the block
    /// was requested with the kind's size, or resized to it. So it is large enough for the next of
    /// its kind.
    unsafe fn list(&self, block: *mut c_void) -> bool;
}

/// The table of a context, which must stay in its place.
pub(super) fn table<F: FreelistFront>(context: *const F) -> Allocator {
    Allocator {
        ctx: context.cast_mut().cast(),
        malloc: malloc::<F>,
        calloc: calloc::<F>,
        realloc: realloc::<F>,
        free: free::<F>,
    }
}

unsafe extern "C" fn malloc<F: FreelistFront>(ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the context is a front of a live backend.
    let front = unsafe { &*ctx.cast::<F>() };
    let block = front.take(size);
    let below = front.below();
    // SAFETY: the layer below's own table.
    if block.is_null() { unsafe { (below.malloc)(below.ctx, size) } } else { block }
}

unsafe extern "C" fn calloc<F: FreelistFront>(
    ctx: *mut c_void,
    elements: usize,
    element_size: usize,
) -> *mut c_void {
    // SAFETY: as in malloc.
    let front = unsafe { &*ctx.cast::<F>() };
    let size = elements.saturating_mul(element_size);
    let block = front.take(size);
    if block.is_null() {
        let below = front.below();
        // SAFETY: as in malloc.
        return unsafe { (below.calloc)(below.ctx, elements, element_size) };
    }
    // SAFETY: a listed block that serves `size` has as many bytes.
    unsafe { block.cast::<u8>().write_bytes(0, size) };
    block
}

unsafe extern "C" fn realloc<F: FreelistFront>(
    ctx: *mut c_void,
    block: *mut c_void,
    size: usize,
) -> *mut c_void {
    if block.is_null() {
        // SAFETY: the same context.
        return unsafe { malloc::<F>(ctx, size) };
    }
    // SAFETY: as in malloc; the block is a live one of the layer below.
    unsafe {
        let below = (*ctx.cast::<F>()).below();
        (below.realloc)(below.ctx, block, size)
    }
}

unsafe extern "C" fn free<F: FreelistFront>(ctx: *mut c_void, block: *mut c_void) {
    // SAFETY: as in malloc.
    let front = unsafe { &*ctx.cast::<F>() };
    // SAFETY: the caller frees a live block of the layer below.
    if !block.is_null() && !unsafe { front.list(block) } {
        let below = front.below();
        // SAFETY: as above.
        unsafe { (below.free)(below.ctx, block) };
    }
}
