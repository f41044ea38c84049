//! The measuring passes as one type: each with what it needs beside the program and the backend.

use std::io::Write;

use super::clock::Clock;
use super::error::ReplayError;
use super::footprint::{Footprint, ProgramPace, footprint};
use super::latency::{LatencyResult, latency};
use super::memory::ResidentMemory;
use super::ticks::Isolated;
use super::time::{TimeResult, cold_time, time, touch_time};
use super::traversal::{TraversalResult, traversal};
use crate::backends::Backend;
use crate::cpython::CollectorRecord;
use crate::program::{AllocationSites, Feed};

/// A pass, with what it needs beside the program and the backend.
pub enum PassJob<'a> {
    /// Processor time of the loop.
    Time,
    /// Processor time of the loop with the program's first and last access to each block.
    Touch,
    /// The same with other code between two calls.
    Cold,
    /// What walking the blocks costs.
    Traversal {
        /// What the recorded program's collector visited, if that is known.
        collector: Option<CollectorRecord>,
    },
    /// Service times of single calls.
    Latency {
        /// The clock of single calls.
        clock: &'a Clock,
        /// The spans whose calls are isolated.
        isolated: Isolated,
        /// Gets a byte for each call: its [`bucket`](super::bucket) if it was isolated, else 0.
        buckets: &'a mut dyn Write,
    },
    /// Memory.
    Footprint {
        /// The allocation sites of the requests, or empty.
        sites: &'a AllocationSites,
        /// The program's own pace, if the replay is to follow it.
        pace: Option<&'a ProgramPace>,
        /// Resident private memory from before the backend was opened, if what the backend took
        /// since then counts.
        before: Option<ResidentMemory>,
    },
}

/// The result of a pass.
pub enum PassResult {
    /// Of a time pass.
    Time(TimeResult),
    /// Of a touch pass.
    Touch(TimeResult),
    /// Of a cold pass.
    Cold(TimeResult),
    /// Of a traversal pass; `None` where the backend backs no memory.
    Traversal(Option<TraversalResult>),
    /// Of a latency pass.
    Latency(Box<LatencyResult>),
    /// Of a footprint pass.
    Footprint(Box<Footprint>),
}

impl PassJob<'_> {
    /// Replays the program of `feed` once on `backend`. A timed pass calls `await_time_slice`
    /// before each time slice.
    ///
    /// # Errors
    /// As [`time`], [`latency`] and [`footprint`].
    pub fn run(
        self,
        feed: Feed<'_>,
        backend: &mut dyn Backend,
        await_time_slice: impl FnMut() -> Result<(), ReplayError>,
    ) -> Result<PassResult, ReplayError> {
        Ok(match self {
            PassJob::Time => PassResult::Time(time(feed, backend, await_time_slice)?),
            PassJob::Touch => PassResult::Touch(touch_time(feed, backend, await_time_slice)?),
            PassJob::Cold => PassResult::Cold(cold_time(feed, backend, await_time_slice)?),
            PassJob::Traversal { collector } => {
                PassResult::Traversal(traversal(feed, backend, collector, await_time_slice)?)
            }
            PassJob::Latency { clock, isolated, buckets } => {
                let found = latency(feed, backend, clock, isolated, buckets, await_time_slice)?;
                PassResult::Latency(Box::new(found))
            }
            PassJob::Footprint { sites, pace, before } => {
                let found = footprint(feed, sites, backend, pace, before)?;
                PassResult::Footprint(Box::new(found))
            }
        })
    }
}
