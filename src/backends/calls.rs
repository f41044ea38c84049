//! The four calls of the contract, made of the calls that an allocator offers.
//!
//! - [`c_table`] is for C libraries with `malloc`, `calloc`, `realloc` and `free`.
//! - [`SimpleHeap`] and [`table`] are for allocators in Rust.
//! - [`Headed`] is for allocators whose free needs a block's size, which the contract does not
//!   pass. It stores the size in 16 bytes before the block, and those bytes count as the
//!   allocator's overhead.
//!
//! Every request returns a distinct block, as in CPython's raw domain: a size of 0 becomes 1, and
//! `calloc` of nothing one element of one byte.
#![expect(unsafe_code, reason = "hands out memory behind raw pointers")]

use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr;

use super::allocator::Allocator;

/// The alignment of every block of a Rust allocator, in bytes.
pub const ALIGN_BYTES: usize = 16;

/// The table over four C functions, given by path.
macro_rules! c_table {
    ($malloc:path, $calloc:path, $realloc:path, $free:path) => {{
        use std::ffi::c_void;
        unsafe extern "C" fn malloc(_ctx: *mut c_void, size: usize) -> *mut c_void {
            // SAFETY: malloc takes any size.
            unsafe { $malloc(size.max(1)) }
        }
        unsafe extern "C" fn calloc(
            _ctx: *mut c_void,
            elements: usize,
            element_size: usize,
        ) -> *mut c_void {
            if elements == 0 || element_size == 0 {
                // SAFETY: calloc takes any sizes.
                return unsafe { $calloc(1, 1) };
            }
            // SAFETY: as above; calloc refuses a product that overflows.
            unsafe { $calloc(elements, element_size) }
        }
        unsafe extern "C" fn realloc(
            _ctx: *mut c_void,
            block: *mut c_void,
            new_size: usize,
        ) -> *mut c_void {
            // SAFETY: the caller's block came from these functions or is null.
            unsafe { $realloc(block, new_size.max(1)) }
        }
        unsafe extern "C" fn free(_ctx: *mut c_void, block: *mut c_void) {
            // SAFETY: the caller's block came from these functions or is null.
            unsafe { $free(block) }
        }
        Allocator { ctx: std::ptr::null_mut(), malloc, calloc, realloc, free }
    }};
}
#[allow(unused_imports, reason = "a build without C allocators has no use for it")]
pub(super) use c_table;

/// The function for requests with an alignment over a C function `(alignment, size)`, given by path.
macro_rules! c_aligned {
    ($aligned:path) => {{
        unsafe extern "C" fn call_with_alignment(
            _ctx: *mut std::ffi::c_void,
            alignment: usize,
            size: usize,
        ) -> *mut std::ffi::c_void {
            // Some take whole machine words only. SAFETY: any such alignment and size may be passed.
            unsafe { $aligned(alignment.max(size_of::<usize>()), size.max(1)).cast() }
        }
        call_with_alignment
    }};
}
#[allow(unused_imports, reason = "a build without C allocators has no use for it")]
pub(super) use c_aligned;

/// An allocator in Rust that needs no size at free. Sizes are at least 1; blocks begin at multiples
/// of [`ALIGN_BYTES`].
pub trait SimpleHeap {
    /// A block of `size` bytes, or null.
    fn allocate(&mut self, size: usize) -> *mut u8;

    /// A block of `size` bytes, all zero, or null.
    fn zeroed(&mut self, size: usize) -> *mut u8 {
        let block = self.allocate(size);
        if !block.is_null() {
            // SAFETY: the block was just allocated and has `size` bytes.
            unsafe { block.write_bytes(0, size) };
        }
        block
    }

    /// The block with another size; null, and the block unchanged, when there is no memory.
    ///
    /// # Safety
    /// `block` is a live block of this heap.
    unsafe fn resize(&mut self, block: *mut u8, new_size: usize) -> *mut u8;

    /// Takes the block back.
    ///
    /// # Safety
    /// As for `resize`; the block is not live any more.
    unsafe fn release(&mut self, block: *mut u8);
}

/// The table over a heap. From now on the heap must stay in its place and be used only through the
/// table.
pub fn table<H: SimpleHeap>(heap: *mut H) -> Allocator {
    Allocator {
        ctx: heap.cast(),
        malloc: malloc::<H>,
        calloc: calloc::<H>,
        realloc: realloc::<H>,
        free: free::<H>,
    }
}

unsafe extern "C" fn malloc<H: SimpleHeap>(ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the loop passes the table's own context, from one thread at a time.
    unsafe { &mut *ctx.cast::<H>() }.allocate(size.max(1)).cast()
}

unsafe extern "C" fn calloc<H: SimpleHeap>(
    ctx: *mut c_void,
    elements: usize,
    element_size: usize,
) -> *mut c_void {
    match elements.checked_mul(element_size) {
        // SAFETY: as in malloc.
        Some(size) => unsafe { &mut *ctx.cast::<H>() }.zeroed(size.max(1)).cast(),
        None => ptr::null_mut(),
    }
}

unsafe extern "C" fn realloc<H: SimpleHeap>(
    ctx: *mut c_void,
    block: *mut c_void,
    new_size: usize,
) -> *mut c_void {
    // SAFETY: as in malloc; the block is null or live.
    unsafe {
        let heap = &mut *ctx.cast::<H>();
        if block.is_null() {
            return heap.allocate(new_size.max(1)).cast();
        }
        heap.resize(block.cast(), new_size.max(1)).cast()
    }
}

unsafe extern "C" fn free<H: SimpleHeap>(ctx: *mut c_void, block: *mut c_void) {
    if !block.is_null() {
        // SAFETY: as in realloc.
        unsafe { (*ctx.cast::<H>()).release(block.cast()) };
    }
}

/// An allocator whose free needs a block's layout, as Rust's own do.
pub trait LayoutedHeap {
    /// A block of this layout, or null.
    fn allocate_layout(&mut self, layout: Layout) -> *mut u8;

    /// Takes a block back.
    ///
    /// # Safety
    /// `block` was allocated with `layout` and is not live any more.
    unsafe fn free_layout(&mut self, block: *mut u8, layout: Layout);

    /// Resizes the block to `new_size` bytes in its place; whether that was possible.
    ///
    /// # Safety
    /// `block` was allocated with `layout`; on success it has the new size.
    unsafe fn resize_in_place(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> bool;
}

/// Bytes before each block of a [`Headed`] heap: the requested size, padded to the alignment.
pub const HEADER_BYTES: usize = ALIGN_BYTES;

/// Puts the size before each block.
pub struct Headed<L>(pub L);

impl<L: LayoutedHeap> Headed<L> {
    /// The layout for a block of so many bytes, header included.
    fn layout(size: usize) -> Option<Layout> {
        Layout::from_size_align(size.checked_add(HEADER_BYTES)?, ALIGN_BYTES).ok()
    }

    /// Requested bytes of `block`.
    ///
    /// # Safety
    /// `block` is a live block of a headed heap.
    pub unsafe fn size(block: *mut u8) -> usize {
        // SAFETY: the header of a live block holds its size.
        unsafe { block.sub(HEADER_BYTES).cast::<usize>().read() }
    }
}

impl<L: LayoutedHeap> SimpleHeap for Headed<L> {
    fn allocate(&mut self, size: usize) -> *mut u8 {
        let Some(layout) = Self::layout(size) else { return ptr::null_mut() };
        let start = self.0.allocate_layout(layout);
        if start.is_null() {
            return start;
        }
        // SAFETY: the block was just allocated, and begins with the header.
        unsafe {
            start.cast::<usize>().write(size);
            start.add(HEADER_BYTES)
        }
    }

    unsafe fn resize(&mut self, block: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: a live block has its header before it, and its layout is that of its size.
        unsafe {
            let old_size = Self::size(block);
            let start = block.sub(HEADER_BYTES);
            let (Some(old), Some(new)) = (Self::layout(old_size), Self::layout(new_size)) else {
                return ptr::null_mut();
            };
            if self.0.resize_in_place(start, old, new.size()) {
                start.cast::<usize>().write(new_size);
                return block;
            }
            let moved = self.allocate(new_size);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, old_size.min(new_size));
                self.0.free_layout(start, old);
            }
            moved
        }
    }

    unsafe fn release(&mut self, block: *mut u8) {
        // SAFETY: as in resize.
        unsafe {
            if let Some(layout) = Self::layout(Self::size(block)) {
                self.0.free_layout(block.sub(HEADER_BYTES), layout);
            }
        }
    }
}
