//! Size classes of requests: 16-byte classes up to 512 bytes, then powers of two.

/// The largest size, in bytes, in a class of 16 bytes. Above it a class is an octave.
pub const SMALL_SIZE_BYTES: u64 = 512;
/// The number of classes of 16 bytes.
pub const SMALL_SIZE_CLASSES: usize = (SMALL_SIZE_BYTES / STEP_BYTES) as usize;
/// The width of a small class.
const STEP_BYTES: u64 = 16;

/// The number of the size class of a request, from 0.
pub fn size_class(size_bytes: u64) -> usize {
    match size_bytes {
        0 => 0,
        1..=SMALL_SIZE_BYTES => ((size_bytes - 1) / STEP_BYTES) as usize,
        _ => SMALL_SIZE_CLASSES + ((size_bytes - 1) / SMALL_SIZE_BYTES).ilog2() as usize,
    }
}

/// The largest size of a class, in bytes. The smallest is one byte more than the limit of the class
/// before.
pub fn size_class_limit(class: usize) -> u64 {
    match class.checked_sub(SMALL_SIZE_CLASSES) {
        None => (class as u64 + 1) * STEP_BYTES,
        Some(octave) if octave < 54 => SMALL_SIZE_BYTES << (octave + 1),
        Some(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_meet_without_gap_or_overlap() {
        assert_eq!(
            [0, 1, 16, 17, 512, 513, 1024, 1025, u64::MAX].map(size_class),
            [0, 0, 0, 1, 31, 32, 32, 33, 86]
        );
        for size in 1..10_000 {
            let class = size_class(size);
            assert!(size <= size_class_limit(class));
            assert!(class == 0 || size > size_class_limit(class - 1));
        }
        for class in 0..=size_class(u64::MAX) {
            assert_eq!(size_class(size_class_limit(class)), class);
        }
    }
}
