//! The size classes of a trace without types, and the most free blocks of each.

use crate::backends::pymalloc::NEWEST;
use crate::cpython::listed;

/// Number of size classes: those of the newest pymalloc, multiples of 16 bytes up to 512.
pub const CLASSES: usize = NEWEST.classes();
/// Bytes between two size classes.
pub(super) const STEP_BYTES: usize = NEWEST.align();

/// Most blocks in the list of each class.
pub type ListLimits = [u32; CLASSES];

/// The limits of CPython 3.`minor`.`patch` by class: the sums over its common types.
pub fn limits(version: (u32, u32)) -> ListLimits {
    let mut limits = [0; CLASSES];
    for list in listed(version).iter().filter(|list| list.is_common) {
        limits[(list.bytes_least - 1) / STEP_BYTES] += list.most;
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_classes_are_sums_over_types() {
        let limits = |minor| limits((minor, u32::MAX));
        let old = limits(10);
        assert_eq!(old[1], 100); // float
        assert_eq!(old[2], 2000); // tuple of 1
        assert_eq!(old[3], 2 * 2000 + 80 + 80); // tuples of 2 and 3, list, dict
        assert_eq!(old[10], 2 * 2000 + 80); // tuples of 16 and 17, keys of 168 bytes
        // A tuple takes 40 bytes and 8 for each item: 18 and 19 items are of one class, 20 (from
        // 3.11 on) of the next.
        assert_eq!((old[11], old[12], limits(11)[12]), (2 * 2000, 0, 2000));
        assert_eq!((limits(13)[1], limits(14)[1]), (100, 200)); // ints
        assert_eq!(old[31], 0);
    }
}
