//! Blocks of a trace at chosen moments, counted by line, type, size class and domain.
//!
//! The statistics of a trace ([`super::statistics`]) say when the live peak is. This pass then counts
//! what is live there, and anywhere else. It reads rows only, so it holds no block.

use super::event::{Domain, Row, SiteId, Sites, TraceError, TraceReader};
use crate::units::size_class;

/// Blocks, and their requested bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCount {
    /// Blocks.
    pub blocks: u64,
    /// Requested bytes.
    pub bytes: u64,
}

impl BlockCount {
    fn add(&mut self, bytes: u64) {
        self.blocks += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Which blocks are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedBlocks {
    /// Those that are live after so many calls.
    LiveAfter(u64),
    /// All that the trace requests.
    Requested,
}

impl CountedBlocks {
    fn has(self, row: &Row) -> bool {
        match self {
            CountedBlocks::Requested => true,
            // The call that ends a block has the index `event + lifetime`.
            CountedBlocks::LiveAfter(calls) => {
                row.event < calls
                    && row.lifetime.is_none_or(|lifetime| row.event + lifetime.get() >= calls)
            }
        }
    }
}

/// The counts of one choice of blocks. Each list adds up to `total`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockCounts {
    /// All of them.
    pub total: BlockCount,
    /// By number of the site ([`SiteId`]).
    pub sites: Vec<BlockCount>,
    /// By number of the type.
    pub types: Vec<BlockCount>,
    /// By number of the size class ([`size_class`]).
    pub size_classes: Vec<BlockCount>,
    /// By domain, in the order of [`Domain::ALL`].
    pub domains: [BlockCount; Domain::ALL.len()],
}

impl BlockCounts {
    fn add(&mut self, row: &Row) {
        let SiteId(site) = row.site;
        self.total.add(row.size);
        entry(&mut self.sites, site as usize).add(row.size);
        entry(&mut self.types, row.type_id.0 as usize).add(row.size);
        entry(&mut self.size_classes, size_class(row.size)).add(row.size);
        if let Some(at) = Domain::ALL.iter().position(|known| *known == row.domain) {
            self.domains[at].add(row.size);
        }
    }

    /// The sites that have blocks, with their names.
    pub fn named_sites<'a>(
        &'a self,
        names: &'a Sites,
    ) -> impl Iterator<Item = (&'a str, BlockCount)> {
        let counts = (0..).zip(self.sites.iter().copied());
        counts
            .filter(|(_, count)| count.blocks > 0)
            .map(|(site, count)| (names.name(SiteId(site)), count))
    }
}

/// The entry of a number, which may be beyond the end of the list.
fn entry(counts: &mut Vec<BlockCount>, at: usize) -> &mut BlockCount {
    if counts.len() <= at {
        counts.resize(at + 1, BlockCount::default());
    }
    &mut counts[at]
}

/// Reads all rows and counts each choice of blocks. `seen` gets each row.
///
/// # Errors
/// The reader's fault.
pub fn count_blocks(
    reader: &mut dyn TraceReader,
    choices: &[CountedBlocks],
    mut seen: impl FnMut(&Row),
) -> Result<Vec<BlockCounts>, TraceError> {
    let mut counts = vec![BlockCounts::default(); choices.len()];
    while let Some(row) = reader.next_row()? {
        for (choice, own) in choices.iter().zip(&mut counts) {
            if choice.has(&row) {
                own.add(&row);
            }
        }
        seen(&row);
    }
    Ok(counts)
}
