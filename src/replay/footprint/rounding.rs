//! Rounding by size class of the request: requested against usable bytes.

use std::collections::BTreeMap;

use crate::units::{size_class, size_class_limit};

/// The blocks of one size class of requests: the live ones, or all of the trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassRounding {
    /// The largest request of the class, in bytes: steps of 16 to 512, then powers of two.
    pub up_to: u64,
    /// The number of blocks.
    pub live_blocks: u64,
    /// Their requested bytes.
    pub live_bytes: u64,
    /// Their usable bytes.
    pub usable_bytes: u64,
}

/// Counts blocks by size class of the request.
#[derive(Default)]
pub(super) struct RoundingByClass(BTreeMap<u64, ClassRounding>);

impl RoundingByClass {
    /// Counts a block of `size` requested bytes.
    pub(super) fn add(&mut self, size: u64, usable: u64) {
        let up_to = size_class_limit(size_class(size));
        let class = self.0.entry(up_to).or_insert(ClassRounding { up_to, ..Default::default() });
        class.live_blocks += 1;
        class.live_bytes = class.live_bytes.saturating_add(size);
        class.usable_bytes = class.usable_bytes.saturating_add(usable);
    }

    /// The classes by size, ascending.
    pub(super) fn into_vec(self) -> Vec<ClassRounding> {
        self.0.into_values().collect()
    }
}
