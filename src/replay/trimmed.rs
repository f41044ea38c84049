//! What pointers alone say that a trim leaves resident, to hold against what the
//! kernel says afterwards.
//!
//! It is P, the pages that hold a byte of a live block, and besides: the pages that only hold a
//! block's header or the head of a free piece behind it, as far as the allocator has said how it
//! gives back ([`Backend::trim_leaves`]); and pages that were there before the first call and that
//! the program has used since, which are the allocator's own.

use std::collections::HashSet;

use super::footprint::PAGE_BYTES;
use super::page_retention::LiveBlock;
use crate::backends::Backend;

/// Bytes of the pages that a trim leaves; `None` where the backend does not say how it gives back.
/// The blocks' usable bytes are asked anew: those in a [`LiveBlock`] are capped.
pub(super) fn predicted(
    backend: &dyn Backend,
    blocks: &[LiveBlock],
    adopted: &HashSet<usize>,
    usable: impl Fn(&LiveBlock) -> usize,
) -> Option<u64> {
    backend.trim_leaves(0)?;
    let mut pages = adopted.clone();
    for block in blocks {
        let usable = usable(block);
        let [before, behind] = backend.trim_leaves(usable)?;
        let held =
            block.address.saturating_sub(before)..block.address + (block.size as usize).max(1);
        let end = block.address + usable;
        let head = end.saturating_sub(1)..end + behind;
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

    /// Leaves 16 bytes before a block and 40 behind it.
    struct Leaves;

    impl Backend for Leaves {
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
    fn headers_and_heads_are_pages_too() {
        let at = |address, size| LiveBlock { address, size, usable: size, site: 0 };
        let pages = |blocks: &[LiveBlock], adopted: &[usize]| {
            let adopted = adopted.iter().copied().collect();
            predicted(&Leaves, blocks, &adopted, |block| block.size as usize)
                .map(|bytes| bytes / 4096)
        };
        assert_eq!(pages(&[], &[]), Some(0));
        assert_eq!(pages(&[], &[5, 9]), Some(2), "what was there before");
        assert_eq!(pages(&[at(0x5010, 24)], &[5]), Some(1), "all on one page");
        assert_eq!(pages(&[at(0x5000, 24)], &[]), Some(2), "its header lies on the page before");
        assert_eq!(pages(&[at(0x5FC0, 24)], &[]), Some(1), "40 bytes behind it the page ends");
        assert_eq!(pages(&[at(0x5FC8, 24)], &[]), Some(2), "8 bytes more, and the head crosses");
        assert_eq!(pages(&[at(0x5FC8, 24), at(0x6100, 9000)], &[]), Some(4), "a page counts once");
    }
}
