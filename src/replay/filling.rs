//! The bytes that verification writes into blocks.

/// The byte at `at` in a block that the call at `event` made.
pub(super) fn filling(event: usize, at: usize) -> u8 {
    (event.wrapping_mul(0x9E37_79B9).wrapping_add(at.wrapping_mul(31)) >> 3) as u8 | 1
}
