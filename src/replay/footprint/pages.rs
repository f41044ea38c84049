//! Pages in use: how many live blocks have a byte in each page, and how many live bytes each piece
//! of the heap map holds.

use std::collections::{HashMap, HashSet};

use super::page::{PAGE_BYTES, PAGE_SHIFT, PIECE_BYTES, PIECE_SHIFT};

/// Counts the live blocks of each page and the live bytes of each piece. It has two levels: a table
/// for each GiB of address space in use.
#[derive(Default)]
pub(super) struct PagesInUse {
    tables: HashMap<usize, GibTable>,
    in_use: u64,
    /// How often a page came into use.
    came_into_use: u64,
    /// Pages that were resident before the first call and that no block of the program has used.
    resident_before: HashSet<usize>,
    /// Pages that were resident before the first call and that a block has used since. They count
    /// as the program's.
    adopted: HashSet<usize>,
}

/// The counts for a GiB of address space.
struct GibTable {
    blocks: Box<[u32]>,
    pieces: Box<[PieceUse]>,
}

/// Requested bytes live in a piece, and whether a block ever lay there.
#[derive(Clone, Copy, Default)]
struct PieceUse {
    live_bytes: u64,
    was_used: bool,
}

const TABLE_PAGES: usize = 1 << (30 - PAGE_SHIFT);
const TABLE_PIECES: usize = 1 << (30 - PIECE_SHIFT);

impl PagesInUse {
    /// No page is in use. `resident_before` are the numbers of the pages that are resident.
    pub(super) fn new(resident_before: HashSet<usize>) -> PagesInUse {
        PagesInUse { resident_before, ..PagesInUse::default() }
    }

    /// A block of `size` requested bytes begins at `address`.
    pub(super) fn add(&mut self, address: usize, size: usize) {
        self.change(address, size, true);
    }

    /// A block of `size` requested bytes at `address` ends.
    pub(super) fn remove(&mut self, address: usize, size: usize) {
        self.change(address, size, false);
    }

    /// P: bytes of the pages in use.
    pub(super) fn bytes(&self) -> u64 {
        self.in_use * PAGE_BYTES as u64
    }

    /// Bytes of the pages that came into use so far, each as often as it did.
    pub(super) fn came_into_use_bytes(&self) -> u64 {
        self.came_into_use * PAGE_BYTES as u64
    }

    /// Whether a live block has a byte on the page of that number.
    pub(super) fn is_in_use(&self, page: usize) -> bool {
        self.tables
            .get(&(page / TABLE_PAGES))
            .is_some_and(|table| table.blocks[page % TABLE_PAGES] > 0)
    }

    /// The numbers of the pages that were resident before the first call and that a block has used
    /// since.
    pub(super) fn adopted(&self) -> &HashSet<usize> {
        &self.adopted
    }

    /// Bytes of these pages. P counts them, so the baseline of R must not.
    pub(super) fn adopted_bytes(&self) -> u64 {
        (self.adopted.len() * PAGE_BYTES) as u64
    }

    fn change(&mut self, address: usize, size: usize, add: bool) {
        let first = address >> PAGE_SHIFT;
        let last = (address + size.max(1) - 1) >> PAGE_SHIFT;
        let mut page = first;
        while page <= last {
            let table = self.tables.entry(page / TABLE_PAGES).or_insert_with(GibTable::new);
            let end = last.min(page | (TABLE_PAGES - 1));
            for (at, count) in
                (page..).zip(&mut table.blocks[page % TABLE_PAGES..=end % TABLE_PAGES])
            {
                if add {
                    if *count == 0 {
                        self.in_use += 1;
                        self.came_into_use += 1;
                        if self.resident_before.remove(&at) {
                            self.adopted.insert(at);
                        }
                    }
                    *count += 1;
                } else {
                    *count -= 1;
                    self.in_use -= u64::from(*count == 0);
                }
            }
            table.change_live_bytes(
                address.max(page << PAGE_SHIFT),
                (address + size).min((end + 1) << PAGE_SHIFT),
                add,
            );
            page = end + 1;
        }
    }

    /// Requested bytes live in a piece, by its number.
    pub(super) fn live_bytes_in(&self, piece: usize) -> u64 {
        self.tables
            .get(&(piece / TABLE_PIECES))
            .map_or(0, |table| table.pieces[piece % TABLE_PIECES].live_bytes)
    }

    /// The addresses in `start..end` where blocks ever lay: from the first piece to the end of the
    /// last.
    pub(super) fn extent(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let used = |number: &usize| {
            let pieces = self
                .tables
                .get(number)
                .into_iter()
                .flat_map(|table| table.pieces.iter().enumerate());
            let first = number * TABLE_PIECES;
            pieces
                .filter(|(_, piece)| piece.was_used)
                .map(move |(at, _)| (first + at) << PIECE_SHIFT)
        };
        let inside =
            self.tables.keys().flat_map(used).filter(|&at| at + PIECE_BYTES > start && at < end);
        let (mut first, mut last) = (usize::MAX, 0);
        for at in inside {
            (first, last) = (first.min(at), last.max(at + PIECE_BYTES));
        }
        (last > 0).then_some((first, last))
    }
}

impl GibTable {
    fn new() -> GibTable {
        GibTable {
            blocks: vec![0; TABLE_PAGES].into_boxed_slice(),
            pieces: vec![PieceUse::default(); TABLE_PIECES].into_boxed_slice(),
        }
    }

    /// Counts the bytes `from..to` of a block, which lie in this table.
    fn change_live_bytes(&mut self, from: usize, to: usize, add: bool) {
        let mut at = from;
        while at < to {
            let end = to.min(((at >> PIECE_SHIFT) + 1) << PIECE_SHIFT);
            let piece = &mut self.pieces[(at >> PIECE_SHIFT) % TABLE_PIECES];
            piece.was_used = true;
            if add {
                piece.live_bytes += (end - at) as u64;
            } else {
                piece.live_bytes -= (end - at) as u64;
            }
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_in_use_while_a_block_has_a_byte_there() {
        let mut pages = PagesInUse::default();
        pages.add(0x1FF8, 16); // straddles two pages
        assert_eq!(pages.in_use, 2);
        pages.add(0x1000, 0); // an empty block still has an address
        assert_eq!(pages.in_use, 2);
        pages.remove(0x1FF8, 16);
        assert_eq!((pages.in_use, pages.came_into_use), (1, 2));
        pages.add(0x1FF8, 16); // the first of its pages is in use
        assert_eq!((pages.in_use, pages.came_into_use_bytes()), (2, 3 << PAGE_SHIFT));
        pages.remove(0x1FF8, 16);
        pages.add((1 << 30) - 1, (1 << 30) + 2); // over the edge of two tables
        assert_eq!(pages.in_use, 1 + (1 << 18) + 2);
        pages.remove((1 << 30) - 1, (1 << 30) + 2);
        pages.remove(0x1000, 0);
        assert_eq!(pages.in_use, 0);
        // A page that was resident before is the program's from its first block on, once.
        let mut pages = PagesInUse::new([3, 9].into());
        for _ in 0..2 {
            pages.add(0x2000, 0x2000);
            pages.remove(0x2000, 0x2000);
        }
        assert_eq!((pages.adopted.len(), pages.resident_before.len()), (1, 1));
    }
}
