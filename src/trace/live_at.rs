//! What is live at a moment of a trace, after the first so many calls, as the end of its statistics.
//!
//! `statistics.rs` counts a whole trace in one pass. The moment at which the process begins to end
//! stands behind the rows, so a second pass (`block_counts.rs`) counts what was live then.

use std::collections::HashMap;

use super::block_counts::{BlockCount, CountedBlocks, count_blocks};
use super::event::{TraceError, TraceReader, TypeId};
use super::process::EndCause;
use super::statistics::{EndStatistics, TraceStatistics};

/// What is live after the first so many calls of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveAt {
    /// The calls.
    pub event: u64,
    /// All live blocks.
    pub all: BlockCount,
    sites: HashMap<String, BlockCount>,
    types: HashMap<String, BlockCount>,
}

impl LiveAt {
    /// Reads a trace, and counts what is live before the call of index `event`.
    ///
    /// # Errors
    /// When the trace cannot be read.
    pub fn read(reader: &mut dyn TraceReader, event: u64) -> Result<LiveAt, TraceError> {
        let choices = [CountedBlocks::LiveAfter(event)];
        let counts = count_blocks(reader, &choices, |_| ())?.pop().unwrap_or_default();
        let names = reader.sites();
        let sites = counts.named_sites(names).map(|(name, count)| (name.to_owned(), count));
        let types = (0..).zip(&counts.types).filter(|(_, count)| count.blocks > 0);
        let types = types.map(|(id, count)| (names.type_name(TypeId(id)).to_owned(), *count));
        let (sites, types) = (sites.collect(), types.collect());
        Ok(LiveAt { event, all: counts.total, sites, types })
    }
}

impl TraceStatistics {
    /// Makes that moment the end: the live blocks of lines and types are those of then. The counts of
    /// calls and ages are of the whole trace.
    pub fn end_at(&mut self, live: &LiveAt, cause: Option<EndCause>) {
        for site in &mut self.sites {
            let then = live.sites.get(&site.site).copied().unwrap_or_default();
            (site.live_blocks, site.live_bytes) = (then.blocks, then.bytes);
        }
        for one in &mut self.types {
            let then = live.types.get(&one.name).copied().unwrap_or_default();
            (one.live_blocks, one.live_bytes) = (then.blocks, then.bytes);
        }
        self.end = Some(EndStatistics {
            event: live.event,
            cause,
            live_bytes: live.all.bytes,
            live_blocks: live.all.blocks,
        });
    }

    /// Blocks and bytes that are live at the end: at the moment of [`TraceStatistics::end_at`], or
    /// after the last call.
    pub fn live_at_end(&self) -> BlockCount {
        let last = BlockCount { blocks: self.survivors, bytes: self.live_end_bytes };
        let of = |end: EndStatistics| BlockCount { blocks: end.live_blocks, bytes: end.live_bytes };
        self.end.map_or(last, of)
    }
}
