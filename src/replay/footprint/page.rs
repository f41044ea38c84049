//! Units of address space, and a write into each page of a block.

use std::ffi::c_void;

/// Bytes of a page. Pages in use are counted in this unit, whatever the kernel's page size is.
pub(super) const PAGE_BYTES: usize = 4096;
/// The binary logarithm of [`PAGE_BYTES`].
pub(super) const PAGE_SHIFT: u32 = PAGE_BYTES.trailing_zeros();
/// The binary logarithm of [`PIECE_BYTES`].
pub(super) const PIECE_SHIFT: u32 = 18;
/// Bytes of a piece of the heap map.
pub(super) const PIECE_BYTES: usize = 1 << PIECE_SHIFT;

/// Bytes of the kernel's page.
pub(super) fn kernel_page_bytes() -> usize {
    rustix::param::page_size()
}

/// Writes a byte into every page of the block from byte `from` on, as a program that uses its
/// memory would.
pub(in crate::replay) fn touch(block: *mut c_void, from: usize, size: usize) {
    touch_each::<PAGE_BYTES>(block, from, size);
}

/// Writes a byte into every aligned unit of so many bytes on which the block lies from byte `from` on.
#[inline(always)]
pub(in crate::replay) fn touch_each<const UNIT_BYTES: usize>(
    block: *mut c_void,
    from: usize,
    size: usize,
) {
    let (mut at, end) = (block as usize + from, block as usize + size);
    while at < end {
        #[expect(unsafe_code, reason = "figures are only true for memory that is used")]
        // SAFETY: `at` lies in a live block that the backend has just returned with at least `size`
        // bytes.
        unsafe {
            std::ptr::write_volatile(at as *mut u8, 1);
        }
        at = (at + 1).next_multiple_of(UNIT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle looks at all bytes. The last page of a block counts, also where the block begins
    /// late in its first page.
    #[test]
    fn every_page_of_a_block_is_written() {
        for (start, from, size) in
            [(0, 0, 1), (0, 0, 4096), (4000, 0, 8193), (100, 0, 8192), (7, 5000, 9000)]
        {
            let mut memory = vec![0_u8; 6 * PAGE_BYTES];
            let first = memory.as_ptr().align_offset(PAGE_BYTES) + start;
            touch(memory[first..].as_mut_ptr().cast(), from, size);
            let page = |at: usize| (memory.as_ptr() as usize + at) / PAGE_BYTES;
            let block = first + from..first + size;
            let mut wanted: Vec<_> = block.clone().map(page).collect();
            wanted.dedup();
            let written: Vec<_> = (0..memory.len()).filter(|&at| memory[at] != 0).collect();
            assert!(written.iter().all(|at| block.contains(at)), "{start} {from} {size}");
            assert_eq!(written.into_iter().map(page).collect::<Vec<_>>(), wanted);
        }
    }
}
