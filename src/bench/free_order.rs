//! Replays in free order: the threads of a trace at once, in a child. See
//! [`crate::replay::free_order()`].

use super::failure::{ChildFailure, Failure};
use super::files::JobFiles;
use super::free_figures::{FreeFigures, FreePass, FreeThread};
use super::job::{ClockRate, Job, Task, Verified};
use super::protocol::Answer;
use super::settings::Settings;
use super::worker::{self, ChildLimits};
use super::workload::Workload;
use crate::backends::Backend;
use crate::program::Program;
use crate::replay::{FreeOrderMeasure, LaneResult, Lanes, ReplayError, Waits, free_order};

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
    clock: ClockRate,
) -> Result<FreeFigures, Failure> {
    let clock = clock.clock();
    let measure = match pass {
        FreePass::Time => FreeOrderMeasure::Time,
        FreePass::Latency => FreeOrderMeasure::Latency(&clock),
        FreePass::Footprint => FreeOrderMeasure::Footprint,
        FreePass::Verify => FreeOrderMeasure::Verify,
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
    let (backend, clock) = (backend.to_owned(), settings.clock);
    let job = Job::untimed(Task::FreeOrder { backend, program, lanes, pass, clock });
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
