//! What each site holds while the program runs, so that any sample can name the largest.

/// Sites of a sample, at most.
pub(super) const LARGEST_SITES: usize = 3;

/// What a site holds at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleSite {
    /// Its number; 0 for blocks without one.
    pub site: u32,
    /// Live blocks.
    pub live_blocks: u64,
    /// Requested bytes that are live, and that the program touches.
    pub live_bytes: u64,
}

/// The sums by site; empty for a trace without sites.
pub(super) struct SiteSums {
    /// By the number of the site: blocks and bytes.
    sums: Vec<(u64, u64)>,
}

impl SiteSums {
    /// For so many sites; 0 for a trace without any.
    pub(super) fn new(sites: usize) -> SiteSums {
        SiteSums { sums: if sites == 0 { vec![] } else { vec![(0, 0); sites + 1] } }
    }

    /// A block of a site begins.
    #[inline]
    pub(super) fn add(&mut self, site: u32, bytes: u64) {
        if let Some((blocks, sum)) = self.sums.get_mut(site as usize) {
            (*blocks, *sum) = (*blocks + 1, *sum + bytes);
        }
    }

    /// A block of a site ends.
    #[inline]
    pub(super) fn remove(&mut self, site: u32, bytes: u64) {
        if let Some((blocks, sum)) = self.sums.get_mut(site as usize) {
            (*blocks, *sum) = (*blocks - 1, *sum - bytes);
        }
    }

    /// The sites with most live bytes, the largest first. One without a block is all zero.
    pub(super) fn largest(&self) -> [SampleSite; LARGEST_SITES] {
        let mut largest = [SampleSite::default(); LARGEST_SITES];
        for (site, (live_blocks, live_bytes)) in self.sums.iter().enumerate() {
            let place = largest.partition_point(|known| known.live_bytes >= *live_bytes);
            if *live_blocks > 0 && place < LARGEST_SITES {
                largest[place..].rotate_right(1);
                largest[place] = SampleSite {
                    site: site as u32,
                    live_blocks: *live_blocks,
                    live_bytes: *live_bytes,
                };
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_sites_are_those_of_the_live_blocks() {
        let mut sums = SiteSums::new(5);
        for (site, bytes) in [(1, 10), (2, 500), (3, 40), (4, 30), (2, 500), (0, 7), (5, 900)] {
            sums.add(site, bytes);
        }
        let of = |site, live_blocks, live_bytes| SampleSite { site, live_blocks, live_bytes };
        assert_eq!(sums.largest(), [of(2, 2, 1000), of(5, 1, 900), of(3, 1, 40)]);
        sums.remove(2, 500);
        sums.remove(2, 500);
        assert_eq!(sums.largest(), [of(5, 1, 900), of(3, 1, 40), of(4, 1, 30)]);
        assert_eq!(SiteSums::new(0).largest(), [SampleSite::default(); LARGEST_SITES]);
    }
}
