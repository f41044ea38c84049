//! Runs a program against a backend, in one process, and counts.
//!
//! `probe.rs` is the contract of what watches; each probe is a file; `calls.rs` is the hot loop.
//! `memory.rs` keeps the harness out of what is measured, `clock.rs` tells time and what telling it
//! costs.

mod address_trace;
mod calls;
mod clock;
mod contract;
mod copy;
mod footprint;
mod heap_map;
mod iterations;
mod latency;
mod memory;
mod page_retention;
mod paused_clock;
mod probe;
mod time;
mod trimmed;
mod verify;

pub use address_trace::{Ending, Word, address_trace_of};
pub use calls::{Owners, Slots, Tables, free_all, replay};
pub use clock::{Clock, Floor, Source};
pub use contract::contract_test;
pub use footprint::{Footprint, HeapSample, Pace, WARM_UP_CALLS, footprint};
pub use heap_map::{EMPTY, HeapMap, Level, MapRow, NOWHERE};
pub use iterations::{
    IterationTimes, Iterations, call_times, calls_of_an_iteration, iterations, tail,
};
pub use latency::{
    Isolated, LatencyResult, Ticks, bucket, bucket_nanoseconds, empty_histogram, latency,
};
pub use memory::{Resident, SharedHeap, self_test};
pub use page_retention::{
    Attribution, ClassRounding, FULLNESS_BINS, GRAINS, LiveBlock, PageView, class_of, page_view,
};
pub use paused_clock::waiting;
pub use probe::{Done, Nothing, Probe};
pub use time::{TimeResult, time};
pub use verify::verify;

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The backend gave no memory.
    #[error("event {event}: {op} of {size} bytes was refused: the backend is out of memory")]
    Refused {
        /// The call.
        event: usize,
        /// What was asked.
        op: &'static str,
        /// Bytes.
        size: usize,
    },
    /// The backend broke a rule of allocators.
    #[error("event {event}: {op} of {size} bytes: {fault}")]
    Rule {
        /// The call.
        event: usize,
        /// What was asked.
        op: &'static str,
        /// Bytes.
        size: usize,
        /// The rule, and how it was broken.
        fault: String,
    },
    /// The backend broke a rule of allocators in a call that no trace made.
    #[error("domain {domain}: {call}: {fault}")]
    BreaksContract {
        /// Which domain was asked.
        domain: &'static str,
        /// The call, as in C.
        call: String,
        /// The rule, and how it was broken.
        fault: String,
    },
    /// The backend gave no memory for a modest request that no trace made.
    #[error("{call} was refused: the backend is out of memory")]
    Withheld {
        /// The call, as in C.
        call: String,
    },
    /// The rest of the program did not come, or was not sound.
    #[error("the program could not be read on: {0}")]
    Feed(#[from] std::io::Error),
    /// What was measured could not be kept.
    #[error("the times of calls could not be kept: {0}")]
    Keep(#[source] std::io::Error),
    /// Whoever hands out the turns is gone.
    #[error("no further turn was given: the run was interrupted")]
    NoTimeSlice,
    /// The instrument cannot be trusted here.
    #[error("the harness cannot measure here: {0}")]
    Instrument(String),
}
