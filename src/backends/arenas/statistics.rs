//! Sizes of a pool allocator, and the use of its arenas' bytes. All sizes are in bytes.

use serde::{Deserialize, Serialize};

/// Sizes of a pool allocator, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// Of the smallest block, and the step between classes.
    pub align: usize,
    /// Of the largest block.
    pub threshold: usize,
    /// Of a pool, its header included.
    pub pool: usize,
    /// Of an arena.
    pub arena: usize,
}

/// One size class at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassStatistics {
    /// Bytes of a block.
    pub size: u64,
    /// Pools that are used or full.
    pub pools: u64,
    /// Live blocks.
    pub live: u64,
    /// Free blocks in those pools.
    pub free: u64,
}

/// The use of the mapped arenas' bytes: what `sys._debugmallocstats` prints, in its terms.
///
/// `arenas_end` × arena size = allocated + available + unused pools + headers + quantization +
/// alignment, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArenaStatistics {
    /// Arenas mapped now.
    pub arenas_end: u64,
    /// Most arenas mapped at once.
    pub arenas_peak: u64,
    /// Arenas ever mapped.
    pub arenas_total: u64,
    /// Pools that are used or full.
    pub pools_end: u64,
    /// Live blocks by their class size.
    pub allocated_bytes: u64,
    /// Free blocks in used pools.
    pub available_bytes: u64,
    /// Wholly free pools.
    pub unused_pool_bytes: u64,
    /// Headers of the used and full pools.
    pub pool_header_bytes: u64,
    /// Ends of used pools that are too small for a block.
    pub quantization_bytes: u64,
    /// Lost in arenas that do not begin at a multiple of a pool: a whole pool each.
    pub arena_alignment_bytes: u64,
    /// By size class, the smallest first.
    pub classes: Vec<ClassStatistics>,
}

impl ArenaStatistics {
    /// The parts of the arenas' bytes, with their names: they sum to all of it.
    pub fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("allocated blocks", self.allocated_bytes),
            ("available blocks", self.available_bytes),
            ("unused pools", self.unused_pool_bytes),
            ("pool headers", self.pool_header_bytes),
            ("quantization", self.quantization_bytes),
            ("arena alignment", self.arena_alignment_bytes),
        ]
    }

    /// Checks that the parts sum to the arenas' bytes, for arenas of that size.
    ///
    /// # Errors
    /// Both sides, when they differ.
    pub fn check_identity(&self, arena_bytes: u64) -> Result<(), String> {
        let mapped = self.arenas_end * arena_bytes;
        let sum: u64 = self.parts().iter().map(|(_, bytes)| bytes).sum();
        if mapped == sum {
            return Ok(());
        }
        Err(format!("{mapped} bytes of arenas, but {sum} in their parts: {self:?}"))
    }
}
