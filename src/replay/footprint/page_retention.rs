//! Page retention: the live heap at one moment, page by page.
//!
//! It answers four questions. How full are the pages in use? How much memory stays in use if memory
//! can only be returned in larger grains? What does each size class lose to rounding? Which lines
//! of the program retain the pages?
//!
//! *Attribution.* The free space of a page is 4096 bytes less the usable bytes of the live blocks
//! on it. It is charged in equal shares to these blocks; the remainder goes byte by byte to the
//! blocks at the lower addresses. A block is charged on each page that it touches. So the charges
//! of all blocks add up to P − U, the external fragmentation, to the byte.

use std::collections::BTreeMap;

use super::page::PAGE_BYTES;
use super::rounding::{ClassRounding, RoundingByClass};

/// The grains in which memory could be returned, in bytes: the x axis of the curve of memory in use
/// by grain.
pub const GRAINS: [u64; 6] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20];
/// Bins of the page-fullness histogram. The first has the pages up to 1/16 full.
pub const FULLNESS_BINS: usize = 16;

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveBlock {
    /// Its address.
    pub address: usize,
    /// Requested bytes.
    pub size: u64,
    /// Usable bytes, up to the end of the last page that the request touches.
    pub usable: u64,
    /// Its allocation site; 0 if the site is not known.
    pub site: u32,
}

/// The live blocks of one allocation site, and the free space that is charged to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteRetention {
    /// The allocation site.
    pub site: u32,
    /// Requested bytes of its live blocks.
    pub live_bytes: u64,
    /// The number of its live blocks.
    pub live_blocks: u64,
    /// Their share of the free space on pages that they touch.
    pub external_fragmentation_bytes: u64,
}

/// The live heap at one moment, page by page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageView {
    /// Bytes in use for each of [`GRAINS`]: the grains that hold a byte of a live block.
    pub pages_in_use_bytes: [u64; GRAINS.len()],
    /// Pages in use by requested bytes on them.
    pub fullness: [u64; FULLNESS_BINS],
    /// The live blocks by size class of the request, ascending.
    pub classes: Vec<ClassRounding>,
    /// The allocation sites, ascending.
    pub sites: Vec<SiteRetention>,
}

/// Views the pages of the live blocks. It sorts `blocks` by address.
pub fn page_view(blocks: &mut [LiveBlock]) -> PageView {
    blocks.sort_unstable_by_key(|block| block.address);
    let mut sweep = PageSweep::default();
    let mut classes = RoundingByClass::default();
    for block in blocks.iter() {
        classes.add(block.size, block.usable);
        let new = SiteRetention { site: block.site, ..Default::default() };
        let site = sweep.sites.entry(block.site).or_insert(new);
        site.live_bytes += block.size;
        site.live_blocks += 1;
        sweep.block(block);
    }
    sweep.close();
    let mut view = sweep.view;
    view.classes = classes.into_vec();
    view.sites = sweep.sites.into_values().collect();
    view
}

/// Visits the pages in order of address.
#[derive(Default)]
struct PageSweep {
    view: PageView,
    sites: BTreeMap<u32, SiteRetention>,
    /// The number of the present page, the sites of the blocks on it, and their usable and
    /// requested bytes there.
    page: usize,
    sites_here: Vec<u32>,
    usable_here: u64,
    live_here: u64,
    /// For each grain size, the number of the last grain that was counted, plus one.
    counted: [usize; GRAINS.len()],
}

impl PageSweep {
    /// Adds a block to the pages that it touches.
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
            self.usable_here += on_page(usable_end);
            self.live_here += on_page(requested_end);
            self.sites_here.push(block.site);
        }
    }

    /// Counts the present page, and charges its free space to the blocks on it.
    fn close(&mut self) {
        if self.sites_here.is_empty() {
            return;
        }
        for (at, grain) in GRAINS.iter().enumerate() {
            let number = self.page * PAGE_BYTES / *grain as usize + 1;
            if self.counted[at] != number {
                self.counted[at] = number;
                self.view.pages_in_use_bytes[at] += grain;
            }
        }
        let bin = (self.live_here.max(1) - 1) as usize * FULLNESS_BINS / PAGE_BYTES;
        self.view.fullness[bin.min(FULLNESS_BINS - 1)] += 1;
        let free = (PAGE_BYTES as u64).saturating_sub(self.usable_here);
        let members = self.sites_here.len() as u64;
        let (share, rest) = (free / members, free % members);
        for (at, site) in self.sites_here.drain(..).enumerate() {
            if let Some(site) = self.sites.get_mut(&site) {
                site.external_fragmentation_bytes += share + u64::from((at as u64) < rest);
            }
        }
        (self.usable_here, self.live_here) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    /// The reference model: a map of every byte of every page, and shares as fractions.
    fn reference(blocks: &[LiveBlock]) -> (HashMap<u32, f64>, [u64; GRAINS.len()], u64) {
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
        let mut free_bytes = 0;
        for (page, members) in &on {
            let free = 4096 - usable.get(page).copied().unwrap_or(0);
            free_bytes += free;
            for &at in members {
                *charges.entry(blocks[at].site).or_default() += free as f64 / members.len() as f64;
            }
        }
        let grains = GRAINS.map(|grain| {
            on.keys().map(|page| page * 4096 / grain as usize).collect::<HashSet<_>>().len() as u64
                * grain
        });
        (charges, grains, free_bytes)
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
            let slot_bytes = size.max(1).next_multiple_of(16) as usize;
            let page_end = (at + size.max(1) as usize).next_multiple_of(PAGE_BYTES);
            let usable = (slot_bytes as u64).min((page_end - at) as u64).max(size);
            blocks.push(LiveBlock { address: at, size, usable, site: dice(7) as u32 });
            at += slot_bytes + [0, 16, 4096, 300_000, 3 << 20][dice(5) as usize];
        }
        blocks.reverse();
        blocks
    }

    #[test]
    fn charges_add_up_to_external_fragmentation_and_agree_with_the_reference() {
        for seed in 0..20 {
            let mut blocks = heap(seed);
            let (charges, grains, free_bytes) = reference(&blocks);
            let view = page_view(&mut blocks);
            let usable: u64 = blocks.iter().map(|block| block.usable).sum();
            assert_eq!(view.pages_in_use_bytes, grains, "seed {seed}");
            assert!(view.pages_in_use_bytes.is_sorted(), "a larger grain holds no less");
            let charged = view.sites.iter().map(|site| site.external_fragmentation_bytes);
            assert_eq!(charged.sum::<u64>(), free_bytes);
            assert_eq!(free_bytes, view.pages_in_use_bytes[0] - usable, "P − U");
            assert_eq!(view.fullness.iter().sum::<u64>() * 4096, view.pages_in_use_bytes[0]);
            assert_eq!(view.classes.iter().map(|class| class.usable_bytes).sum::<u64>(), usable);
            for site in &view.sites {
                let expected = charges[&site.site];
                let apart = (site.external_fragmentation_bytes as f64 - expected).abs();
                assert!(apart <= 6.0 * site.live_blocks as f64, "{site:?}: {expected}");
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
        let charges: Vec<(u32, u64)> =
            view.sites.iter().map(|site| (site.site, site.external_fragmentation_bytes)).collect();
        assert_eq!(charges, [(1, 667), (2, 1333), (3, 4096)]);
        assert_eq!(view.pages_in_use_bytes[..2], [3 * 4096, 2 * 16384]);
        assert_eq!(
            (view.fullness[7], view.fullness[8]),
            (2, 1),
            "2096 of 4096 is in the ninth part"
        );
    }
}
