//! The arenas of a pool allocator at two moments. This module does not know how arenas are read:
//! the caller fills these in.

use serde::Serialize;

use crate::units::group;

/// A pool of an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PoolCell {
    /// Bytes of its blocks.
    pub block: u64,
    /// Live blocks; 0 for a free pool.
    pub live: u64,
    /// Blocks in all.
    pub capacity: u64,
}

/// An arena.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ArenaStrip {
    /// Arenas born before it.
    pub birth: u64,
    /// In order of address.
    pub pools: Vec<PoolCell>,
}

impl ArenaStrip {
    /// Live blocks.
    pub fn live_blocks(&self) -> u64 {
        self.pools.iter().map(|pool| pool.live).sum()
    }

    /// Live blocks by their class size, in bytes.
    pub fn live_bytes(&self) -> u64 {
        self.pools.iter().map(|pool| pool.live * pool.block).sum()
    }

    /// Pools with a live block.
    pub fn used_pools(&self) -> u64 {
        self.pools.iter().filter(|pool| pool.live > 0).count() as u64
    }

    /// Why it cannot be returned now.
    pub fn reason(&self) -> String {
        let (blocks, pools) = (self.live_blocks(), self.used_pools());
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        match blocks {
            0 => "free, retained as the last".to_owned(),
            _ => format!(
                "{} block{} in {pools} pool{}",
                group(&blocks.to_string()),
                plural(blocks),
                plural(pools)
            ),
        }
    }
}

/// All arenas at two moments. The pools of `end` are where they were at `peak`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ArenaMap {
    /// The trace.
    pub name: String,
    /// A note about a trace that was not recorded: [`crate::report::text::synthesised`].
    pub synthesised: Option<String>,
    /// The backend.
    pub backend: String,
    /// Bytes of an arena.
    pub arena: u64,
    /// Bytes of a pool.
    pub pool: u64,
    /// At the live peak, by birth.
    pub peak: Vec<ArenaStrip>,
    /// After the last call, by birth.
    pub end: Vec<ArenaStrip>,
}
