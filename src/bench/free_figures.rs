//! What a child measures and finds in free order (`free_order.rs`).

use serde::{Deserialize, Serialize};

/// What a child measures in free order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreePass {
    /// Time.
    Time,
    /// The time of each call.
    Latency,
    /// Resident memory.
    Footprint,
    /// The rules of allocators.
    Verify,
}

/// What one thread of a child did. See [`crate::replay::LaneResult`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FreeThread {
    /// The trace's number of the thread; counted from 1 where the replay has threads of its own.
    pub number: u32,
    /// Its calls.
    pub calls: u64,
    /// Its processor time, in ns.
    pub processor_ns: u64,
    /// From its first call to its last, in ns.
    pub wall_ns: u64,
    /// Ends of blocks of other threads.
    pub remote_ends: u64,
    /// Of them, those that had to wait for the block.
    pub waits: u64,
    /// Of the waits, those that slept.
    pub sleeps: u64,
    /// The time of all waits, in ns.
    pub waited_ns: u64,
    /// The longest wait, in ns.
    pub longest_wait_ns: u64,
    /// Context switches by its own wish.
    pub voluntary_switches: u64,
    /// Context switches against its wish.
    pub involuntary_switches: u64,
    /// Percentiles of its calls, in ns with the clock pair: 50, 99, 99.9, 100; only of a latency
    /// pass.
    pub latency_ns: Option<[u64; 4]>,
}

/// What a child found in free order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FreeFigures {
    /// By thread.
    pub threads: Vec<FreeThread>,
    /// From the begin to the last thread's last call, in ns.
    pub wall_ns: u64,
    /// Largest resident private memory that was read, in bytes; 0 but for a footprint pass.
    pub resident_peak_bytes: u64,
    /// Resident private memory at the end, in bytes; 0 but for a footprint pass.
    pub resident_end_bytes: u64,
    /// Calls whose blocks were checked; 0 but for [`FreePass::Verify`].
    pub checked: u64,
    /// The rule of allocators that the backend broke, and where.
    pub broken: Option<String>,
}

impl FreeFigures {
    /// Calls of all threads.
    pub fn calls(&self) -> u64 {
        self.threads.iter().map(|thread| thread.calls).sum()
    }

    /// Calls a second, of all threads together.
    pub fn calls_per_second(&self) -> f64 {
        self.calls() as f64 * 1e9 / self.wall_ns.max(1) as f64
    }

    /// Processor time of a call, in ns, without the waits for blocks of other threads as far as they
    /// were spent spinning.
    pub fn processor_ns_per_call(&self) -> f64 {
        let all: u64 = self.threads.iter().map(|thread| thread.processor_ns).sum();
        all as f64 / self.calls().max(1) as f64
    }

    /// The sum of a figure of all threads.
    pub fn sum(&self, figure: impl Fn(&FreeThread) -> u64) -> u64 {
        self.threads.iter().map(figure).sum()
    }
}
