//! The live heap at one moment, page by page: how full its pages are, how much stays
//! pinned when memory could be given back only in larger pieces, what each size class loses to
//! rounding, and who pins the pages.
//!
//! *Who pins.* The free space of a page, 4096 less the usable bytes of the live blocks on it, is
//! charged in equal shares to those blocks; what does not divide goes byte by byte to the blocks at
//! the lower addresses. A block pays on each page that it touches. So the charges of all blocks add
//! up to P − U, what is stranded, to the byte.

use std::collections::BTreeMap;

use super::footprint::PAGE_BYTES;

/// The sizes of a piece of memory that could be given back, in bytes: the x of the
/// pinned-granularity curve.
pub const GRAINS: [u64; 6] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20];
/// Bins of the page-fullness histogram: the first is pages up to 1/16 full.
pub const FULLNESS_BINS: usize = 16;

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveBlock {
    /// Where it begins.
    pub address: usize,
    /// Requested bytes.
    pub size: u64,
    /// Usable bytes, capped at the end of the last page that the request touches.
    pub usable: u64,
    /// Who asked for it; 0 where that is not known.
    pub site: u32,
}

/// What one line of the program holds and pins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The line.
    pub site: u32,
    /// Requested bytes of its live blocks.
    pub live_bytes: u64,
    /// Those blocks.
    pub live_blocks: u64,
    /// Its share of the free space on pages that they touch.
    pub external_fragmentation_bytes: u64,
}

/// What the live blocks of one size class hold, or all that were ever asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassRounding {
    /// The largest request in the class: steps of 16 to 512, then powers of two.
    pub up_to: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// Their requested bytes.
    pub live_bytes: u64,
    /// Their usable bytes.
    pub usable_bytes: u64,
}

/// Blocks sorted by size of the request.
#[derive(Default)]
pub(super) struct Classes(BTreeMap<u64, ClassRounding>);

impl Classes {
    /// One more block.
    pub(super) fn add(&mut self, size: u64, usable: u64) {
        let up_to = class_of(size);
        let class = self.0.entry(up_to).or_insert(ClassRounding { up_to, ..Default::default() });
        class.live_blocks += 1;
        class.live_bytes = class.live_bytes.saturating_add(size);
        class.usable_bytes = class.usable_bytes.saturating_add(usable);
    }

    /// By size, ascending.
    pub(super) fn into_vec(self) -> Vec<ClassRounding> {
        self.0.into_values().collect()
    }
}

/// The live heap at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageView {
    /// P_G in bytes for each of [`GRAINS`].
    pub pages_in_use_bytes: [u64; GRAINS.len()],
    /// Pinned pages by requested bytes on them.
    pub fullness: [u64; FULLNESS_BINS],
    /// By size of the request, ascending.
    pub classes: Vec<ClassRounding>,
    /// By site, ascending.
    pub attributions: Vec<Attribution>,
}

/// The class of a request of `size` bytes.
pub fn class_of(size: u64) -> u64 {
    if size <= 512 { size.max(1).next_multiple_of(16) } else { size.next_power_of_two() }
}

/// Looks at the live blocks, which are put in order of address.
pub fn page_view(blocks: &mut [LiveBlock]) -> PageView {
    blocks.sort_unstable_by_key(|block| block.address);
    let mut sweep = Sweep::default();
    let mut classes = Classes::default();
    for block in blocks.iter() {
        classes.add(block.size, block.usable);
        let attribution = sweep
            .attributions
            .entry(block.site)
            .or_insert(Attribution { site: block.site, ..Default::default() });
        attribution.live_bytes += block.size;
        attribution.live_blocks += 1;
        sweep.block(block);
    }
    sweep.close();
    let mut view = sweep.view;
    view.classes = classes.into_vec();
    view.attributions = sweep.attributions.into_values().collect();
    view
}

/// Goes over the pages in order; holds the blocks on the present one.
#[derive(Default)]
struct Sweep {
    view: PageView,
    attributions: BTreeMap<u32, Attribution>,
    page: usize,
    /// Sites of the blocks on it.
    here: Vec<u32>,
    used: u64,
    live: u64,
    /// The piece of each grain that was counted last, plus one.
    counted: [usize; GRAINS.len()],
}

impl Sweep {
    fn block(&mut self, block: &LiveBlock) {
        let requested_end = block.address + block.size as usize;
        let usable_end = block.address + block.usable as usize;
        let first = block.address / PAGE_BYTES;
        let last = (block.address + (block.size as usize).max(1) - 1) / PAGE_BYTES;
        for page in first..=last {
            if page != self.page {
                self.close();
                self.page = page;
            }
            let on_page = |end: usize| {
                let from = block.address.max(page * PAGE_BYTES);
                end.min((page + 1) * PAGE_BYTES).saturating_sub(from) as u64
            };
            self.used += on_page(usable_end);
            self.live += on_page(requested_end);
            self.here.push(block.site);
        }
    }

    /// Counts the present page and charges its free space.
    fn close(&mut self) {
        if self.here.is_empty() {
            return;
        }
        for (at, grain) in GRAINS.iter().enumerate() {
            let piece = self.page * PAGE_BYTES / *grain as usize + 1;
            if self.counted[at] != piece {
                self.counted[at] = piece;
                self.view.pages_in_use_bytes[at] += grain;
            }
        }
        let bin = (self.live.max(1) - 1) as usize * FULLNESS_BINS / PAGE_BYTES;
        self.view.fullness[bin.min(FULLNESS_BINS - 1)] += 1;
        let free = (PAGE_BYTES as u64).saturating_sub(self.used);
        let members = self.here.len() as u64;
        let (share, rest) = (free / members, free % members);
        for (at, site) in self.here.drain(..).enumerate() {
            if let Some(attribution) = self.attributions.get_mut(&site) {
                attribution.external_fragmentation_bytes += share + u64::from((at as u64) < rest);
            }
        }
        (self.used, self.live) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    /// The second way: a map of every byte of every page, and shares as fractions.
    fn naive(blocks: &[LiveBlock]) -> (HashMap<u32, f64>, [u64; GRAINS.len()], u64) {
        let mut usable: HashMap<usize, u64> = HashMap::new();
        let mut on: HashMap<usize, Vec<usize>> = HashMap::new();
        for (at, block) in blocks.iter().enumerate() {
            for byte in 0..block.usable.max(1) as usize {
                let page = (block.address + byte) >> 12;
                if (byte as u64) < block.usable {
                    *usable.entry(page).or_default() += 1;
                }
                let members = on.entry(page).or_default();
                if members.last() != Some(&at) {
                    members.push(at);
                }
            }
        }
        let mut charges: HashMap<u32, f64> = HashMap::new();
        let mut stranded = 0;
        for (page, members) in &on {
            let free = 4096 - usable.get(page).copied().unwrap_or(0);
            stranded += free;
            for &at in members {
                *charges.entry(blocks[at].site).or_default() += free as f64 / members.len() as f64;
            }
        }
        let grains = GRAINS.map(|grain| {
            on.keys().map(|page| page * 4096 / grain as usize).collect::<HashSet<_>>().len() as u64
                * grain
        });
        (charges, grains, stranded)
    }

    fn heap(seed: u64) -> Vec<LiveBlock> {
        let mut state = seed * 2 + 1;
        let mut dice = |most: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % most
        };
        let mut at = 0x7000_0000_0000_usize;
        let mut blocks = Vec::new();
        for _ in 0..400 {
            let size = [dice(40), dice(700), dice(20_000)][dice(3) as usize];
            let room = size.max(1).next_multiple_of(16) as usize;
            let page_end = (at + size.max(1) as usize).next_multiple_of(PAGE_BYTES);
            let usable = (room as u64).min((page_end - at) as u64).max(size);
            blocks.push(LiveBlock { address: at, size, usable, site: dice(7) as u32 });
            at += room + [0, 16, 4096, 300_000, 3 << 20][dice(5) as usize];
        }
        blocks.reverse();
        blocks
    }

    #[test]
    fn charges_add_up_to_what_is_stranded_and_agree_with_a_plain_count() {
        for seed in 0..20 {
            let mut blocks = heap(seed);
            let (charges, grains, stranded) = naive(&blocks);
            let view = page_view(&mut blocks);
            let usable: u64 = blocks.iter().map(|block| block.usable).sum();
            assert_eq!(view.pages_in_use_bytes, grains, "seed {seed}");
            assert!(view.pages_in_use_bytes.is_sorted(), "a larger grain holds no less");
            assert_eq!(
                view.attributions
                    .iter()
                    .map(|attribution| attribution.external_fragmentation_bytes)
                    .sum::<u64>(),
                stranded
            );
            assert_eq!(stranded, view.pages_in_use_bytes[0] - usable, "P − U");
            assert_eq!(view.fullness.iter().sum::<u64>() * 4096, view.pages_in_use_bytes[0]);
            assert_eq!(view.classes.iter().map(|class| class.usable_bytes).sum::<u64>(), usable);
            for attribution in &view.attributions {
                let apart = (attribution.external_fragmentation_bytes as f64
                    - charges[&attribution.site])
                    .abs();
                assert!(
                    apart <= 6.0 * attribution.live_blocks as f64,
                    "{attribution:?}: {}",
                    charges[&attribution.site]
                );
            }
        }
        assert_eq!(page_view(&mut []), PageView::default());
    }

    #[test]
    fn a_page_is_shared_in_equal_parts() {
        let block = |address, size, site| LiveBlock { address, size, usable: size, site };
        // One block of 96 bytes and two of 1000 on one page; a block of 4096 that straddles two
        // others.
        let mut blocks = [
            block(0x1000, 96, 1),
            block(0x1400, 1000, 2),
            block(0x1800, 1000, 2),
            block(0x3800, 4096, 3),
        ];
        let view = page_view(&mut blocks);
        let stranded: Vec<(u32, u64)> = view
            .attributions
            .iter()
            .map(|attribution| (attribution.site, attribution.external_fragmentation_bytes))
            .collect();
        assert_eq!(stranded, [(1, 667), (2, 1333), (3, 4096)]);
        assert_eq!(view.pages_in_use_bytes[..2], [3 * 4096, 2 * 16384]);
        assert_eq!(
            (view.fullness[7], view.fullness[8]),
            (2, 1),
            "2096 of 4096 is in the ninth part"
        );
        assert_eq!((class_of(0), class_of(16), class_of(17), class_of(513)), (16, 16, 32, 1024));
    }
}
