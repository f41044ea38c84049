//! The sizes of all requests, and the size classes of the allocator that follow from them.

use super::rounding::{ClassRounding, RoundingByClass};
use crate::units::SMALL_SIZE_BYTES;

/// The largest request, in bytes, whose usable bytes are recorded size by size.
const SMALL_BYTES: usize = SMALL_SIZE_BYTES as usize;

/// All requests of a trace by size; empty for a backend that backs no memory.
#[derive(Clone, Debug, Default)]
pub struct RequestSizes {
    /// The usable bytes of most blocks of each size, indexed by the size in bytes, up to 512. These
    /// are the allocator's size classes as far as the program requested them; 0 for other sizes.
    pub usable_by_size: Vec<u32>,
    /// The blocks of the whole trace by size class of the request, ascending.
    pub rounding: Vec<ClassRounding>,
}

/// Observes the size of each request.
pub(super) struct SizeObserver {
    usable_by_size: Vec<Majority>,
    rounding: RoundingByClass,
}

impl SizeObserver {
    /// An observer for a backend that backs memory or does not.
    pub(super) fn new(backs_memory: bool) -> SizeObserver {
        let sizes = if backs_memory { SMALL_BYTES + 1 } else { 0 };
        SizeObserver {
            usable_by_size: vec![Majority::default(); sizes],
            rounding: RoundingByClass::default(),
        }
    }

    /// A fresh block of `size` bytes has so many usable bytes.
    pub(super) fn fresh_block(&mut self, size: usize, usable: usize) {
        if let Some(majority) = self.usable_by_size.get_mut(size) {
            majority.vote(usable as u32);
        }
    }

    /// Counts a request of `size` bytes. `usable` ends with the last page that the request touches.
    pub(super) fn request(&mut self, size: u64, usable: u64) {
        self.rounding.add(size, usable);
    }

    /// The result.
    pub(super) fn finish(self) -> RequestSizes {
        RequestSizes {
            usable_by_size: self.usable_by_size.iter().map(|majority| majority.value).collect(),
            rounding: self.rounding.into_vec(),
        }
    }
}

/// The majority of a sequence of figures, if more than half of them are equal; after Boyer and
/// Moore's majority vote.
#[derive(Clone, Copy, Default)]
struct Majority {
    value: u32,
    lead: u32,
}

impl Majority {
    fn vote(&mut self, value: u32) {
        if self.lead == 0 {
            *self = Majority { value, lead: 1 };
        } else if self.value == value {
            self.lead = self.lead.saturating_add(1);
        } else {
            self.lead -= 1;
        }
    }
}
