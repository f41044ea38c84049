//! Size classes of requests: 16-byte classes up to 512 bytes, then powers of two.

/// The number of the size class of a request, from 0.
pub fn size_class(size_bytes: u64) -> usize {
    match size_bytes {
        0 => 0,
        1..=512 => (size_bytes as usize - 1) / 16,
        _ => 32 + ((size_bytes - 1).ilog2() as usize - 9),
    }
}

/// The largest size of a class, in bytes. The smallest is one byte more than the limit of the class
/// before.
pub fn size_class_limit(class: usize) -> u64 {
    if class < 32 { (class as u64 + 1) * 16 } else { 1 << (class - 32 + 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_meet_without_gap_or_overlap() {
        assert_eq!(
            [0, 1, 16, 17, 512, 513, 1024, 1025].map(size_class),
            [0, 0, 0, 1, 31, 32, 32, 33]
        );
        for size in 1..10_000 {
            let class = size_class(size);
            assert!(size <= size_class_limit(class));
            assert!(class == 0 || size > size_class_limit(class - 1));
        }
    }
}
