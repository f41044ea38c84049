//! What is live at a moment of a trace: after the first so many calls.
//!
//! `statistics.rs` counts a whole trace in one pass. The moment at which the process begins to end
//! stands behind the rows, so a second pass counts what was live then.

use std::collections::HashMap;

use super::event::{Row, TraceError, TraceReader};
use super::process::EndCause;
use super::statistics::{EndStatistics, LiveBlocks, TraceStatistics};

/// What is live after the first so many calls of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveAt {
    /// The calls.
    pub event: u64,
    /// All live blocks.
    pub all: LiveBlocks,
    sites: HashMap<String, LiveBlocks>,
    types: HashMap<String, LiveBlocks>,
}

/// Whether the block of a row is live after the first `event` calls.
fn is_live(row: &Row, event: u64) -> bool {
    // The call of index `end` ends the block.
    let end = row.lifetime.map(|lifetime| row.event.saturating_add(lifetime.get()));
    row.event < event && end.is_none_or(|end| end >= event)
}

impl LiveAt {
    /// Reads a trace up to the call of index `event`.
    ///
    /// # Errors
    /// When the trace cannot be read.
    pub fn read(reader: &mut dyn TraceReader, event: u64) -> Result<LiveAt, TraceError> {
        let mut found = LiveAt { event, ..LiveAt::default() };
        let (mut sites, mut types) = (HashMap::new(), HashMap::new());
        while let Some(row) = reader.next_row()?.filter(|row| row.event < event) {
            if is_live(&row, event) {
                found.all.add(row.size);
                sites.entry(row.site).or_insert_with(LiveBlocks::default).add(row.size);
                types.entry(row.type_id).or_insert_with(LiveBlocks::default).add(row.size);
            }
        }
        let names = reader.sites();
        let of_sites = sites.into_iter().map(|(site, live)| (names.name(site).to_owned(), live));
        found.sites = of_sites.collect();
        let of_types = types.into_iter().map(|(id, live)| (names.type_name(id).to_owned(), live));
        found.types = of_types.collect();
        Ok(found)
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
    pub fn live_at_end(&self) -> LiveBlocks {
        let last = LiveBlocks { blocks: self.survivors, bytes: self.live_end_bytes };
        let of = |end: EndStatistics| LiveBlocks { blocks: end.live_blocks, bytes: end.live_bytes };
        self.end.map_or(last, of)
    }
}
