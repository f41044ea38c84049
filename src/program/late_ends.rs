//! Ends of blocks whose places are in a segment of the program that is not there yet.

use std::collections::BTreeMap;

use crate::trace::Domain;

/// Calls in a segment: 8 MiB of instructions.
pub(super) const SEGMENT_CALLS: u64 = 1 << 20;

/// Segments whose late ends are in a list: 2^32 calls. Ends beyond wait in a map.
const NEAR_SEGMENTS: u64 = 1 << 12;

/// A block's end, with what its instruction and its error messages need.
#[derive(Clone, Copy)]
pub(super) struct LateEnd {
    /// The call that ends the block.
    pub(super) end: u64,
    /// The call that allocated it.
    pub(super) birth: u64,
    pub(super) slot: u32,
    pub(super) domain: Domain,
    /// In bytes; [`WIDE`](super::instruction::WIDE) for a request with an alignment.
    pub(super) size: u64,
    pub(super) kind: u32,
    /// Index of the ending thread.
    pub(super) thread: u32,
}

/// Ends whose places are in a segment that is not there yet.
#[derive(Default)]
pub(super) struct LateEnds {
    /// By segment, those up to [`NEAR_SEGMENTS`].
    near: Vec<Vec<LateEnd>>,
    /// By segment, those beyond.
    far: BTreeMap<u64, Vec<LateEnd>>,
    pub(super) count: u64,
}

impl LateEnds {
    /// Stores an end for the segment that will have it.
    #[cold]
    pub(super) fn store(&mut self, late: LateEnd) {
        let segment = late.end / SEGMENT_CALLS;
        self.count += 1;
        if segment >= NEAR_SEGMENTS {
            self.far.entry(segment).or_default().push(late);
            return;
        }
        let segment = segment as usize;
        if self.near.len() <= segment {
            self.near.resize_with(segment + 1, Vec::new);
        }
        self.near[segment].push(late);
    }

    /// Removes and returns those of a segment.
    pub(super) fn take(&mut self, segment: u64) -> Vec<LateEnd> {
        let near = usize::try_from(segment).ok().and_then(|segment| self.near.get_mut(segment));
        let late =
            near.map(std::mem::take).or_else(|| self.far.remove(&segment)).unwrap_or_default();
        self.count -= late.len() as u64;
        late
    }
}
