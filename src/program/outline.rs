//! What is known of a program before its first call.

use crate::trace::Kind;

/// What a trace requests, whichever allocator serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Calls by [`Action`](super::Action).
    pub calls: [u64; 4],
    /// Bytes requested by each action that requests; the last is 0.
    pub requested_bytes: [u64; 4],
    /// Largest sum of requested bytes live at once.
    pub live_peak_bytes: u64,
    /// First call after which it was reached.
    pub live_peak_event: u64,
    /// Requested bytes live at the end.
    pub live_end_bytes: u64,
    /// Blocks live at the end.
    pub live_end_blocks: u64,
    /// Most blocks live at once.
    pub live_peak_blocks: u64,
}

impl Profile {
    /// All calls.
    pub fn total_calls(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// The allocation clock at the end: all bytes requested.
    pub fn total_requested_bytes(&self) -> u64 {
        self.requested_bytes.iter().sum()
    }
}

/// What is known of a program before its first call; the same for all its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Number of calls.
    pub calls: u64,
    /// Number of slots.
    pub slots: usize,
    /// The kinds of its blocks; none where the trace names no types.
    pub kinds: Vec<Kind>,
    /// Addresses of the recorded process's arenas, in the order of their births; empty where the
    /// trace has none.
    pub arena_bases: Vec<u64>,
    /// What it requests.
    pub profile: Profile,
}
