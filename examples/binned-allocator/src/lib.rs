//! An allocator of one page of code: blocks up to 1 KiB come from bins of one size each, larger ones
//! from the system. It stands for an allocator that somebody writes, and shows how to measure it:
//! see `benches/heaplay.rs`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sizes of the bins are multiples of this.
const STEP_BYTES: usize = 16;
/// Larger blocks go to the system.
const LARGEST_BYTES: usize = 1024;
const BINS: usize = LARGEST_BYTES / STEP_BYTES;
/// Bytes that a bin takes from the system at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// A free block holds the address of the next free block of its bin.
type FreeBlock = *mut u8;

/// Bins of free blocks behind one lock. Memory of small blocks never goes back to the system.
pub struct BinnedAllocator {
    is_locked: AtomicBool,
    bins: UnsafeCell<[FreeBlock; BINS]>,
}

// SAFETY: the bins are only touched under the lock.
unsafe impl Sync for BinnedAllocator {}

impl BinnedAllocator {
    /// An allocator with empty bins, for a `static`.
    pub const fn new() -> BinnedAllocator {
        let bins = UnsafeCell::new([ptr::null_mut(); BINS]);
        BinnedAllocator { is_locked: AtomicBool::new(false), bins }
    }

    /// Runs `call` on the bin of a layout; `None` for a layout that the system serves.
    fn with_bin<T>(
        &self,
        layout: Layout,
        call: impl FnOnce(&mut FreeBlock, usize) -> T,
    ) -> Option<T> {
        if layout.size() > LARGEST_BYTES || layout.align() > STEP_BYTES {
            return None;
        }
        let bin = layout.size().div_ceil(STEP_BYTES).max(1) - 1;
        while self.is_locked.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: the lock is held, and `bin` is below `BINS`.
        let result = call(unsafe { &mut (*self.bins.get())[bin] }, (bin + 1) * STEP_BYTES);
        self.is_locked.store(false, Ordering::Release);
        Some(result)
    }
}

impl Default for BinnedAllocator {
    fn default() -> BinnedAllocator {
        BinnedAllocator::new()
    }
}

/// Cuts a fresh chunk into free blocks.
fn refill(bin: &mut FreeBlock, block_bytes: usize) {
    let Ok(layout) = Layout::from_size_align(CHUNK_BYTES, STEP_BYTES) else { return };
    // SAFETY: the layout is not empty.
    let chunk = unsafe { System.alloc(layout) };
    if chunk.is_null() {
        return;
    }
    for at in (0..=CHUNK_BYTES - block_bytes).step_by(block_bytes) {
        // SAFETY: the block lies in the chunk and has space for an address.
        unsafe {
            let block = chunk.add(at);
            block.cast::<FreeBlock>().write(*bin);
            *bin = block;
        }
    }
}

// SAFETY: a block is in one bin or in use, never both; blocks of a bin have its size and are aligned
// to 16 bytes.
unsafe impl GlobalAlloc for BinnedAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let from_bin = self.with_bin(layout, |bin, block_bytes| {
            if bin.is_null() {
                refill(bin, block_bytes);
            }
            let block = *bin;
            if !block.is_null() {
                // SAFETY: a free block holds the address of the next.
                *bin = unsafe { block.cast::<FreeBlock>().read() };
            }
            block
        });
        // SAFETY: the caller's layout.
        from_bin.unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let to_bin = self.with_bin(layout, |bin, _| {
            // SAFETY: the block is of this bin and not in use any more.
            unsafe { block.cast::<FreeBlock>().write(*bin) };
            *bin = block;
        });
        if to_bin.is_none() {
            // SAFETY: blocks of such layouts come from the system.
            unsafe { System.dealloc(block, layout) };
        }
    }
}
