//! What lies in each piece of the heap map at one moment: its resident pages, its pages in use, and
//! the live blocks of each allocation site.

use std::collections::BTreeMap;

use super::page::{PAGE_BYTES, PIECE_BYTES, PIECE_SHIFT};
use super::page_retention::LiveBlock;

/// The live blocks of one allocation site in a piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteContents {
    /// Blocks that begin in the piece.
    pub live_blocks: u64,
    /// Requested bytes that lie in the piece.
    pub live_bytes: u64,
}

/// A piece of address space at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PieceContents {
    /// Bytes of its resident pages.
    pub resident_bytes: u64,
    /// Bytes of its 4 KiB pages that hold a byte of a live block.
    pub pages_in_use_bytes: u64,
    /// By allocation site.
    pub sites: BTreeMap<u32, SiteContents>,
}

impl PieceContents {
    /// Adds what lies in an adjacent piece.
    fn absorb(&mut self, other: &PieceContents) {
        self.resident_bytes += other.resident_bytes;
        self.pages_in_use_bytes += other.pages_in_use_bytes;
        for (site, contents) in &other.sites {
            let own = self.sites.entry(*site).or_default();
            own.live_blocks += contents.live_blocks;
            own.live_bytes += contents.live_bytes;
        }
    }
}

/// The heap at one moment, by the number of the piece; empty for a backend that backs no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapContents {
    pieces: BTreeMap<usize, PieceContents>,
}

impl HeapContents {
    /// What lies in so many bytes of address space from a piece on.
    pub fn of_row(&self, first_piece: usize, row_bytes: u64) -> PieceContents {
        let pieces = first_piece..first_piece + (row_bytes >> PIECE_SHIFT) as usize;
        let mut row = PieceContents::default();
        for (_, piece) in self.pieces.range(pieces) {
            row.absorb(piece);
        }
        row
    }
}

/// What lies where. It sorts `blocks` by address. `resident_bytes` are those of each piece.
pub(super) fn heap_contents(
    blocks: &mut [LiveBlock],
    resident_bytes: impl Iterator<Item = (usize, u64)>,
) -> HeapContents {
    blocks.sort_unstable_by_key(|block| block.address);
    let mut pieces: BTreeMap<usize, PieceContents> = BTreeMap::new();
    for (piece, bytes) in resident_bytes {
        pieces.entry(piece).or_default().resident_bytes = bytes;
    }
    let mut pages_counted_up_to = 0;
    for block in blocks.iter() {
        let first = block.address >> PIECE_SHIFT;
        // A block of no bytes has an address all the same.
        let end = block.address + (block.size as usize).max(1);
        for number in first..=(end - 1) >> PIECE_SHIFT {
            let (from, to) = (number << PIECE_SHIFT, (number << PIECE_SHIFT) + PIECE_BYTES);
            let (from, to) = (from.max(block.address), to.min(end));
            let piece = pieces.entry(number).or_default();
            let first_page = (from / PAGE_BYTES).max(pages_counted_up_to);
            pages_counted_up_to = pages_counted_up_to.max(to.div_ceil(PAGE_BYTES));
            let pages = pages_counted_up_to.saturating_sub(first_page);
            piece.pages_in_use_bytes += (pages * PAGE_BYTES) as u64;
            let site = piece.sites.entry(block.site).or_default();
            site.live_blocks += u64::from(number == first);
            site.live_bytes += if block.size == 0 { 0 } else { (to - from) as u64 };
        }
    }
    HeapContents { pieces }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// The reference model looks at every byte of every block.
        #[test]
        fn contents_agree_with_a_byte_by_byte_count(
            gaps in proptest::collection::vec((0_usize..90_000, 0_u64..30_000, 0_u32..4), 0..12),
        ) {
            let mut at = 5 << PIECE_SHIFT;
            let mut blocks = Vec::new();
            for (gap, size, site) in gaps {
                at += gap;
                blocks.push(LiveBlock { address: at, size, usable: size, site });
                at += (size as usize).max(1);
            }
            let mut pages: HashMap<usize, HashSet<usize>> = HashMap::new();
            let mut sites: HashMap<(usize, u32), SiteContents> = HashMap::new();
            for block in &blocks {
                let own = sites.entry((block.address >> PIECE_SHIFT, block.site)).or_default();
                own.live_blocks += 1;
                for byte in block.address..block.address + (block.size as usize).max(1) {
                    let piece = byte >> PIECE_SHIFT;
                    pages.entry(piece).or_default().insert(byte / PAGE_BYTES);
                    let own = sites.entry((piece, block.site)).or_default();
                    own.live_bytes += u64::from(block.size > 0);
                }
            }
            blocks.reverse();
            let found = heap_contents(&mut blocks, [(5, 4096), (99, 8192)].into_iter());
            prop_assert_eq!(found.of_row(99, PIECE_BYTES as u64).resident_bytes, 8192);
            for piece in 5..at >> PIECE_SHIFT {
                let row = found.of_row(piece, PIECE_BYTES as u64);
                let in_use = pages.get(&piece).map_or(0, HashSet::len) * PAGE_BYTES;
                prop_assert_eq!(row.pages_in_use_bytes, in_use as u64);
                for site in 0..4 {
                    let expected = sites.get(&(piece, site)).copied();
                    prop_assert_eq!(row.sites.get(&site).copied(), expected);
                }
            }
            // Two pieces as one row are their sum.
            let [low, high, both] =
                [(6, 1), (7, 1), (6, 2)].map(|(at, n)| found.of_row(at, n * PIECE_BYTES as u64));
            prop_assert_eq!(
                low.pages_in_use_bytes + high.pages_in_use_bytes,
                both.pages_in_use_bytes
            );
        }
    }
}
