//! Units of address space.

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
