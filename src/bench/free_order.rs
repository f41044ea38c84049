//! Replays in free order: the threads of a trace at once, in a child. See
//! [`crate::replay::free_order()`].

use serde::{Deserialize, Serialize};

use super::failure::{ChildFailure, Failure};
use super::files::JobFiles;
use super::job::{ClockRate, Job, Task, Verified};
use super::protocol::Answer;
use super::settings::Settings;
use super::worker::{self, ChildLimits};
use super::workload::Workload;
use crate::backends::Backend;
use crate::program::Program;
use crate::replay::{FreeOrderMeasure, LaneResult, Lanes, ReplayError, Waits, free_order};

/// What a child measures in free order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreePass {
    /// Time.
    Time,
    /// The time of each call, by a clock of that rate.
    Latency(ClockRate),
    /// Resident memory.
    Footprint,
    /// The rules of allocators.
    Verify,
}

/// What one thread of a child did. See [`LaneResult`].
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

fn figures_of(lane: &LaneResult) -> FreeThread {
    let Waits { ends, waits, sleeps, waited_ns, longest_ns } = lane.waits;
    let percentiles = |histogram: &hdrhistogram::Histogram<u64>| {
        [0.5, 0.99, 0.999, 1.0].map(|quantile| histogram.value_at_quantile(quantile))
    };
    FreeThread {
        number: lane.number,
        calls: lane.calls,
        processor_ns: lane.processor_ns,
        wall_ns: lane.ended_ns.saturating_sub(lane.began_ns),
        remote_ends: ends,
        waits,
        sleeps,
        waited_ns,
        longest_wait_ns: longest_ns,
        voluntary_switches: lane.voluntary_switches,
        involuntary_switches: lane.involuntary_switches,
        latency_ns: lane.latencies.as_ref().map(percentiles),
    }
}

/// The child's side.
pub(super) fn perform(
    program: &Program,
    backend: &dyn Backend,
    lanes: Lanes,
    pass: FreePass,
) -> Result<FreeFigures, Failure> {
    let clock = match pass {
        FreePass::Latency(rate) => Some(rate.clock()),
        _ => None,
    };
    let measure = match (pass, &clock) {
        (FreePass::Latency(_), Some(clock)) => FreeOrderMeasure::Latency(clock),
        (FreePass::Footprint, _) => FreeOrderMeasure::Footprint,
        (FreePass::Verify, _) => FreeOrderMeasure::Verify,
        _ => FreeOrderMeasure::Time,
    };
    let found = match free_order(program, backend, lanes, measure) {
        Err(broken @ ReplayError::Rule { .. }) => {
            return Ok(FreeFigures { broken: Some(broken.to_string()), ..FreeFigures::default() });
        }
        found => found?,
    };
    Ok(FreeFigures {
        threads: found.lanes.iter().map(figures_of).collect(),
        wall_ns: found.wall_ns,
        resident_peak_bytes: found.resident_peak_bytes,
        resident_end_bytes: found.resident_end_bytes,
        checked: found.checked,
        broken: None,
    })
}

/// Replays a trace once in free order, in a child that may use all processors.
///
/// # Errors
/// Why there is no result.
pub fn replay_freely(
    workload: &Workload,
    backend: &str,
    lanes: Lanes,
    pass: FreePass,
    settings: &Settings,
) -> Result<FreeFigures, ChildFailure> {
    let mut files = JobFiles::default();
    let program =
        workload.share(&mut files).map_err(ChildFailure::not_started("a child".as_ref()))?;
    let job = Job::untimed(Task::FreeOrder { backend: backend.to_owned(), program, lanes, pass });
    let copies = if let Lanes::Copies(copies) = lanes { copies as usize } else { 1 };
    let time = settings.time_limit(workload.calls().saturating_mul(copies));
    let limits = ChildLimits { time, memory_bytes: settings.memory_bytes };
    match worker::run(&job, files, limits)? {
        Answer::FreeOrder(figures) => Ok(figures),
        other => Err(ChildFailure::answered(&other)),
    }
}

/// Proves a backend on a trace whose threads run at once. A child that crashes has broken a rule.
///
/// # Errors
/// Why it could not be tried, or not to the end.
pub fn verify_freely(
    backend: &str,
    workload: &Workload,
    settings: &Settings,
) -> Result<Verified, ChildFailure> {
    match replay_freely(workload, backend, Lanes::Recorded, FreePass::Verify, settings) {
        Ok(FreeFigures { broken: Some(rule), .. }) => Ok(Verified::Broken(rule)),
        Ok(figures) => Ok(Verified::Proved(figures.checked)),
        Err(killed @ ChildFailure::Killed { .. }) => Ok(Verified::Broken(killed.to_string())),
        Err(failure) => Err(failure),
    }
}
