//! Retention by the unit in which the allocator can return memory: an arena, a span, the top of a
//! heap. Which line holds how much of it?
//!
//! *An arena or a span* is returned when no block lives in it. Its resident pages without a live byte
//! are retained by its blocks, in equal shares. If all of its blocks are of one line, a change of that
//! line returns it whole.
//!
//! *A heap that is returned from its top* retains all free pages below its topmost live block, and the
//! line of this block is charged with them. A change of that line returns what lies above the topmost
//! block of any other line.
//!
//! Both figures count resident pages of 4 KiB. Returnable memory includes the free space on the pages of
//! the line's own blocks, but not the usable bytes of these blocks.

use std::collections::BTreeMap;

use super::page::PAGE_BYTES;
use super::page_retention::LiveBlock;
use crate::backends::{ReturnKind, ReturnUnit};

/// The memory that the blocks of one allocation site retain by units of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteUnits {
    /// The allocation site.
    pub site: u32,
    /// The kind of unit.
    pub kind: ReturnKind,
    /// Units that hold a block of the site; heaps on which it has the topmost block.
    pub units: u64,
    /// Resident bytes without a live byte that the site retains, by its share.
    pub retained_bytes: u64,
    /// Bytes that could be returned if only the site's blocks were elsewhere.
    pub returnable_bytes: u64,
}

/// The blocks of one unit, in order of address.
struct UnitBlocks {
    unit: ReturnUnit,
    blocks: Vec<LiveBlock>,
}

/// Retention by unit, by kind and site. It sorts `blocks` by address. `unit_of` gives the unit of the
/// block at an address, and `is_resident` looks at the page of a number.
pub(super) fn unit_retention(
    blocks: &mut [LiveBlock],
    unit_of: impl Fn(usize) -> Option<ReturnUnit>,
    is_resident: impl Fn(usize) -> bool,
) -> Vec<SiteUnits> {
    blocks.sort_unstable_by_key(|block| block.address);
    let mut units: BTreeMap<usize, UnitBlocks> = BTreeMap::new();
    for block in blocks.iter() {
        if let Some(unit) = unit_of(block.address) {
            let unit = units.entry(unit.range.start).or_insert(UnitBlocks { unit, blocks: vec![] });
            unit.blocks.push(*block);
        }
    }
    let mut sums: BTreeMap<(ReturnKind, u32), SiteUnits> = BTreeMap::new();
    for unit in units.values() {
        let sites = match unit.unit.kind {
            ReturnKind::Top => unit.below_top(&is_resident),
            _ => unit.as_whole(&is_resident),
        };
        for found in sites {
            let zero = SiteUnits { units: 0, retained_bytes: 0, returnable_bytes: 0, ..found };
            let sum = sums.entry((found.kind, found.site)).or_insert(zero);
            sum.units += found.units;
            sum.retained_bytes += found.retained_bytes;
            sum.returnable_bytes += found.returnable_bytes;
        }
    }
    sums.into_values().collect()
}

impl UnitBlocks {
    /// The shares of the sites in a unit that is returned as a whole.
    fn as_whole(&self, is_resident: &impl Fn(usize) -> bool) -> Vec<SiteUnits> {
        let range = &self.unit.range;
        let resident_bytes = resident_bytes(range.start, range.end, is_resident);
        let free_bytes = resident_bytes.saturating_sub(pages_in_use_bytes(&self.blocks));
        let mut by_site: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for block in &self.blocks {
            let (blocks, usable_bytes) = by_site.entry(block.site).or_default();
            *blocks += 1;
            *usable_bytes += block.usable;
        }
        let is_of_one_site = by_site.len() == 1;
        let mut left_bytes = free_bytes;
        let mut left_blocks = self.blocks.len() as u64;
        let site = |(site, (blocks, usable_bytes)): (u32, (u64, u64))| {
            // A share of what is left: so the last site has the remainder of the division.
            let retained_bytes = (u128::from(left_bytes) * u128::from(blocks)
                / u128::from(left_blocks.max(1))) as u64;
            left_bytes -= retained_bytes;
            left_blocks -= blocks;
            let returnable_bytes =
                if is_of_one_site { resident_bytes.saturating_sub(usable_bytes) } else { 0 };
            SiteUnits { site, kind: self.unit.kind, units: 1, retained_bytes, returnable_bytes }
        };
        by_site.into_iter().map(site).collect()
    }

    /// What the site of the topmost block retains of a heap.
    fn below_top(&self, is_resident: &impl Fn(usize) -> bool) -> Vec<SiteUnits> {
        let Some(top) = self.blocks.last() else { return vec![] };
        let (start, end) = (self.unit.range.start, end_of_last_page(top));
        let resident = resident_bytes(start, end, is_resident);
        let other = self.blocks.iter().rposition(|block| block.site != top.site);
        let above = other.map_or(start, |at| end_of_last_page(&self.blocks[at]));
        let own = &self.blocks[other.map_or(0, |at| at + 1)..];
        let usable_bytes: u64 = own.iter().map(|block| block.usable).sum();
        vec![SiteUnits {
            site: top.site,
            kind: self.unit.kind,
            units: 1,
            retained_bytes: resident.saturating_sub(pages_in_use_bytes(&self.blocks)),
            returnable_bytes: resident_bytes(above, end, is_resident).saturating_sub(usable_bytes),
        }]
    }
}

/// Bytes of the resident pages on which `start..end` lies.
fn resident_bytes(start: usize, end: usize, is_resident: &impl Fn(usize) -> bool) -> u64 {
    let pages = start / PAGE_BYTES..end.div_ceil(PAGE_BYTES);
    (pages.filter(|page| is_resident(*page)).count() * PAGE_BYTES) as u64
}

/// Bytes of the pages that hold a byte of `blocks`, which are in order of address.
fn pages_in_use_bytes(blocks: &[LiveBlock]) -> u64 {
    let (mut pages, mut counted_up_to) = (0, 0);
    for block in blocks {
        let first = (block.address / PAGE_BYTES).max(counted_up_to);
        counted_up_to = counted_up_to.max(end_of_last_page(block) / PAGE_BYTES);
        pages += counted_up_to.saturating_sub(first);
    }
    (pages * PAGE_BYTES) as u64
}

/// The end of the last page on which a requested byte of the block lies.
fn end_of_last_page(block: &LiveBlock) -> usize {
    (block.address + (block.size as usize).max(1)).next_multiple_of(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const ARENA_BYTES: usize = 64 << 10;
    /// A heap that is returned from its top lies at addresses below, arenas above.
    const ARENAS_FROM: usize = 16 << 20;

    fn unit_of(address: usize) -> Option<ReturnUnit> {
        if address < ARENAS_FROM {
            return Some(ReturnUnit { kind: ReturnKind::Top, range: 4096..ARENAS_FROM });
        }
        let start = address / ARENA_BYTES * ARENA_BYTES;
        // Every third arena belongs to no unit.
        let range = start..start + ARENA_BYTES;
        let is_of_a_unit = !(start / ARENA_BYTES).is_multiple_of(3);
        is_of_a_unit.then_some(ReturnUnit { kind: ReturnKind::Arena, range })
    }

    /// Every page on its own: whether a block touches it, and which.
    struct ReferencePages<'a>(&'a [LiveBlock], &'a HashSet<usize>);

    impl ReferencePages<'_> {
        fn blocks_on(&self, page: usize) -> Vec<&LiveBlock> {
            let touches = |block: &&LiveBlock| {
                let bytes = block.address..block.address + (block.size as usize).max(1);
                bytes.start < (page + 1) * PAGE_BYTES && bytes.end > page * PAGE_BYTES
            };
            self.0.iter().filter(touches).collect()
        }

        /// Resident bytes of `pages`, and those without a live byte.
        fn resident(&self, pages: impl Iterator<Item = usize>) -> [u64; 2] {
            let resident: Vec<usize> = pages.filter(|page| self.1.contains(page)).collect();
            let free = resident.iter().filter(|page| self.blocks_on(**page).is_empty()).count();
            [resident.len(), free].map(|pages| (pages * PAGE_BYTES) as u64)
        }

        fn arenas(&self) -> Vec<(Vec<&LiveBlock>, [u64; 2])> {
            let numbers = ARENAS_FROM / ARENA_BYTES..ARENAS_FROM / ARENA_BYTES + 64;
            let in_arena = |number: usize| {
                let inside = |block: &&LiveBlock| block.address / ARENA_BYTES == number;
                let first = number * ARENA_BYTES / PAGE_BYTES;
                let pages = first..first + ARENA_BYTES / PAGE_BYTES;
                (self.0.iter().filter(inside).collect(), self.resident(pages))
            };
            numbers.filter(|number| number % 3 > 0).map(in_arena).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn retention_by_arena_and_top_agrees_with_a_page_by_page_reference(
            on_heap in proptest::collection::vec((0_usize..60_000, 0_u64..30_000, 0_u32..3), 0..12),
            in_arenas in proptest::collection::vec((0_usize..90_000, 1_u64..900, 0_u32..3), 0..24),
            missing in proptest::collection::hash_set(0_usize..4400, 0..2000),
        ) {
            let mut blocks = Vec::new();
            for (mut at, gaps) in [(8192, on_heap), (ARENAS_FROM, in_arenas)] {
                for (gap, size, site) in gaps {
                    at += gap;
                    // A block of an arena ends in it.
                    if at >= ARENAS_FROM && at % ARENA_BYTES + size as usize > ARENA_BYTES {
                        at = at.next_multiple_of(ARENA_BYTES);
                    }
                    blocks.push(LiveBlock { address: at, size, usable: size, site });
                    at += (size as usize).max(1);
                }
            }
            // Pages of blocks are resident; of the others some are not.
            let all = 0..ARENAS_FROM / PAGE_BYTES + 600;
            let nothing = HashSet::new();
            let touched = ReferencePages(&blocks, &nothing);
            let resident: HashSet<usize> = all
                .filter(|page| !missing.contains(page) || !touched.blocks_on(*page).is_empty())
                .collect();
            let reference = ReferencePages(&blocks, &resident);
            let mut given = blocks.clone();
            given.reverse();
            let found = unit_retention(&mut given, unit_of, |page| resident.contains(&page));

            let arenas = reference.arenas();
            let of_arenas = || found.iter().filter(|row| row.kind == ReturnKind::Arena);
            let used = arenas.iter().filter(|(inside, _)| !inside.is_empty());
            let retained: u64 = used.map(|(_, [_, free])| free).sum();
            prop_assert_eq!(of_arenas().map(|row| row.retained_bytes).sum::<u64>(), retained);
            for site in 0..3 {
                let (mut units, mut returnable, mut least) = (0, 0, 0.0);
                for (inside, [resident, free]) in &arenas {
                    let own: Vec<_> = inside.iter().filter(|block| block.site == site).collect();
                    if own.is_empty() {
                        continue;
                    }
                    units += 1;
                    least += *free as f64 * own.len() as f64 / inside.len() as f64;
                    if own.len() == inside.len() {
                        returnable += resident - own.iter().map(|block| block.usable).sum::<u64>();
                    }
                }
                let row = of_arenas().find(|row| row.site == site);
                let row = row.map_or((0, 0, 0), |row| {
                    (row.units, row.returnable_bytes, row.retained_bytes)
                });
                prop_assert_eq!((row.0, row.1), (units, returnable));
                prop_assert!((row.2 as f64 - least).abs() <= 3.0 * units as f64);
            }

            let tops: Vec<_> = found.iter().filter(|row| row.kind == ReturnKind::Top).collect();
            let heap: Vec<&LiveBlock> =
                blocks.iter().filter(|block| block.address < ARENAS_FROM).collect();
            let Some(top) = heap.last() else {
                prop_assert!(tops.is_empty());
                return Ok(());
            };
            let last = (top.address + (top.size as usize).max(1) - 1) / PAGE_BYTES;
            // A page on which a block of another line lies is not returned, nor any below it.
            let holds = |page: &usize| {
                reference.blocks_on(*page).iter().any(|block| block.site != top.site)
            };
            let first = (1..=last).rev().find(holds).map_or(1, |page| page + 1);
            let other = heap.iter().rposition(|block| block.site != top.site);
            let own = heap[other.map_or(0, |at| at + 1)..].iter().map(|block| block.usable);
            let [above, _] = reference.resident(first..=last);
            let [_, free] = reference.resident(1..=last);
            prop_assert_eq!(tops.len(), 1);
            prop_assert_eq!((tops[0].site, tops[0].units), (top.site, 1));
            prop_assert_eq!(tops[0].retained_bytes, free);
            prop_assert_eq!(tops[0].returnable_bytes, above.saturating_sub(own.sum()));
        }
    }

    /// Two hundred blocks of one line in as many arenas, and one of another line in the last.
    #[test]
    fn an_arena_is_returnable_by_the_only_line_in_it() {
        let arena = |number: usize| ARENAS_FROM + 3 * number * ARENA_BYTES + ARENA_BYTES;
        let block = |address, site| LiveBlock { address, size: 70, usable: 80, site };
        let mut blocks: Vec<LiveBlock> =
            (0..200).map(|number| block(arena(number) + 4096, 1)).collect();
        blocks.push(block(arena(199) + 9000, 2));
        let unit_of = |address: usize| {
            let start = address / ARENA_BYTES * ARENA_BYTES;
            Some(ReturnUnit { kind: ReturnKind::Arena, range: start..start + ARENA_BYTES })
        };
        let found = unit_retention(&mut blocks, unit_of, |_| true);
        let row = |site, units, retained_bytes, returnable_bytes| SiteUnits {
            site,
            kind: ReturnKind::Arena,
            units,
            retained_bytes,
            returnable_bytes,
        };
        let (free, shared) = (15 * 4096, 14 * 4096);
        let first = row(1, 200, 199 * free + shared / 2, 199 * (ARENA_BYTES as u64 - 80));
        assert_eq!(found, [first, row(2, 1, shared / 2, 0)]);
    }
}
