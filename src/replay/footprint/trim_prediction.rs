//! A prediction of the memory that a trim leaves resident, from pointers only. The kernel's figure
//! after the trim validates it.
//!
//! The prediction is P, the pages in use, and two other kinds of pages. Some pages hold only the
//! header of a block or the head of a free piece after it; the allocator describes them by
//! [`Backend::trim_leaves`]. Other pages were resident before the first call and the program has
//! used them since; they belong to the allocator.

use std::collections::HashSet;

use super::page::PAGE_BYTES;
use super::page_retention::LiveBlock;
use crate::backends::Backend;

/// Bytes of the pages that a trim leaves; `None` where the backend does not describe its trim.
/// `usable` returns the usable bytes of a block without the cap of a [`LiveBlock`].
pub(super) fn predicted_bytes(
    backend: &dyn Backend,
    blocks: &[LiveBlock],
    adopted: &HashSet<usize>,
    usable: impl Fn(&LiveBlock) -> usize,
) -> Option<u64> {
    backend.trim_leaves(0)?;
    let mut pages = adopted.clone();
    for block in blocks {
        let usable = usable(block);
        let [before, after] = backend.trim_leaves(usable)?;
        let held =
            block.address.saturating_sub(before)..block.address + (block.size as usize).max(1);
        let end = block.address + usable;
        let head = end.saturating_sub(1)..end + after;
        for bytes in [held, head] {
            pages.extend(bytes.start / PAGE_BYTES..=bytes.end.saturating_sub(1) / PAGE_BYTES);
        }
    }
    Some((pages.len() * PAGE_BYTES) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::Domains;

    /// Leaves 16 bytes before a block and 40 after it.
    struct HeadersAndHeads;

    impl Backend for HeadersAndHeads {
        fn domains(&self) -> Domains {
            unreachable!("no call is made")
        }

        fn version(&self) -> String {
            String::new()
        }

        #[expect(unsafe_code, reason = "the contract's")]
        unsafe fn usable_size(&self, _block: *mut std::ffi::c_void, requested: usize) -> usize {
            requested
        }

        fn trim_leaves(&self, _usable: usize) -> Option<[usize; 2]> {
            Some([16, 40])
        }
    }

    #[test]
    fn pages_of_headers_and_heads_count_too() {
        let at = |address, size| LiveBlock { address, size, usable: size, site: 0 };
        let pages = |blocks: &[LiveBlock], adopted: &[usize]| {
            let adopted = adopted.iter().copied().collect();
            predicted_bytes(&HeadersAndHeads, blocks, &adopted, |block| block.size as usize)
                .map(|bytes| bytes / 4096)
        };
        assert_eq!(pages(&[], &[]), Some(0));
        assert_eq!(pages(&[], &[5, 9]), Some(2), "pages that were resident before");
        assert_eq!(pages(&[at(0x5010, 24)], &[5]), Some(1), "all on one page");
        assert_eq!(pages(&[at(0x5000, 24)], &[]), Some(2), "its header lies on the page before");
        assert_eq!(pages(&[at(0x5FC0, 24)], &[]), Some(1), "40 bytes after it the page ends");
        assert_eq!(pages(&[at(0x5FC8, 24)], &[]), Some(2), "8 bytes more, and the head crosses");
        assert_eq!(pages(&[at(0x5FC8, 24), at(0x6100, 9000)], &[]), Some(4), "a page counts once");
    }
}
