//! Replays a program against a backend, in one process, and measures.
//!
//! `calls.rs` is the hot loop; `probe.rs` is the contract of what observes it. The passes are
//! `time.rs` (with `first_touch.rs` and `other_code.rs`), `latency.rs` (with `ticks.rs` and
//! `histogram.rs`), `footprint/` and `traversal.rs`; `pass.rs` selects one. `touched.rs` says which
//! bytes of a block the program touched. `iterations.rs` replays a program several times for the
//! regression check. `verify.rs` and `contract.rs` check the rules of allocators; `address_trace.rs`
//! writes where every block lies.
//!
//! `threads/` makes each call on the thread that made it: one call at a time in recorded order, or all
//! threads at once in free order. `filling.rs` has the bytes that verification writes.
//!
//! `memory.rs` separates the harness's memory from the memory that is measured. `clock.rs` reads
//! time and measures the cost of reading it; `usage.rs` reads the kernel's figures.
//! `paused_clock.rs` stops the clock of allocators between time slices (`time_slice.rs`).

mod address_trace;
mod calls;
mod clock;
mod contract;
mod error;
mod filling;
mod first_touch;
mod footprint;
mod histogram;
mod iterations;
mod latency;
mod memory;
mod other_code;
mod pass;
mod paused_clock;
mod probe;
mod threads;
mod ticks;
mod time;
mod time_slice;
mod touched;
mod traversal;
mod usage;
mod verify;

pub use address_trace::{AddressEntry, FinalState, address_trace_of};
#[cfg(feature = "internals")]
pub use calls::free_all;
pub use calls::{Owners, Slots, Tables, replay};
pub use clock::{Clock, ClockSource, Floor};
pub use contract::contract_test;
pub use error::ReplayError;
pub use footprint::{
    ClassRounding, EMPTY, EndOfLife, EndedBlocks, FULLNESS_BINS, Footprint, GRAINS, HeapContents,
    HeapMap, HeapSample, HeapSamples, Level, LiveBlock, MapRow, NOWHERE, PaceMethod, PageView,
    PageViews, PassCost, PieceContents, ProgramPace, RequestSizes, SampleSite, SiteContents,
    SiteRetention, SiteUnits, ThreadAccount, ThreadColumn, ThreadHistory, ThreadRemains,
    WARM_UP_CALLS, footprint, page_view, thread_history,
};
pub use histogram::empty_histogram;
pub use iterations::{
    IterationTimes, Iterations, call_times, calls_of_an_iteration, iterations, tail,
};
pub use latency::{LatencyResult, latency};
pub use libc::{clockid_t as ClockId, timespec as Timespec};
pub use memory::{Resident, ResidentMemory, SharedHeap, self_test};
pub use pass::{PassJob, PassResult};
pub use paused_clock::{paused_clock_gettime, waiting};
pub use probe::{Done, Nothing, Probe};
pub use threads::{
    FreeOrderMeasure, FreeOrderResult, LaneResult, Lanes, ThreadCounts, ThreadLife, Waits,
    free_order,
};
pub use ticks::{Isolated, Ticks};
pub use time::{TimeResult, time};
pub use traversal::TraversalResult;
pub use verify::verify;
