//! What is known of a program before its first call.

use crate::trace::{AllocatorEvent, Kind, PresentBytes};

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

/// A thread of a program with several threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramThread {
    /// The trace's number of the thread.
    pub number: u32,
    /// The call before which it begins; `None` where the trace does not say.
    pub birth: Option<u64>,
    /// The call before which it ends; `None` where the trace does not say, or where it outlives the
    /// trace.
    pub death: Option<u64>,
    /// Its first call.
    pub first_call: u64,
    /// Its last call.
    pub last_call: u64,
    /// The number of its calls; 0 for a thread that only begins and ends.
    pub calls: u64,
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
    /// Its threads, in the order in which the rows name them; empty where one thread makes all calls.
    pub threads: Vec<ProgramThread>,
    /// What the program requested of its allocator besides memory, in the order of the calls.
    pub requests: Vec<AllocatorEvent>,
    /// Large blocks of which the program touched only a part, by the call that begins them, in
    /// order. It touched all of every other block.
    pub present: Vec<PresentBytes>,
}
