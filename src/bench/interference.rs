//! How much calls on the other processors slow a timed child down. It is measured in the run
//! itself, on the machine as it is then, and decides how many batches run side by side.
//!
//! One child replays a trace in time slices of about a millisecond. Two time slices over the same
//! calls are a pair. In one of them, drawn at random, children on the other processors replay the
//! trace too; in the other they wait. So both meet the same drift of the machine.

use super::failure::ChildFailure;
use super::files::JobFiles;
use super::job::{Job, Task};
use super::pairs::cut;
use super::protocol::Answer;
use super::settings::Settings;
use super::side::Side;
use super::time_slices::stay_on;
use super::worker::{ChildLimits, Worker};
use super::workload::{Workload, Workloads};
use crate::replay::{IterationTimes, Iterations};
use crate::stats::{self, Random};

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Disturbance {
    /// The trace that was replayed.
    pub trace: String,
    /// Processors that had work beside the timed one.
    pub busy_processors: usize,
    /// Pairs of time slices over the same calls.
    pub pairs: usize,
    /// How many times as long a time slice took beside them: the median.
    pub ratio: f64,
    /// The quartiles of the ratio.
    pub quartiles: (f64, f64),
}

/// A disturbance beyond this is not accepted: fewer batches then run side by side. All backends of
/// a batch meet it alike, so their ratios hold; the nanoseconds would not.
const MOST: f64 = 1.10;

/// The allocator that is replayed on all processors.
const BACKEND: &str = "malloc";
/// A trace of so many calls is long enough.
const CALLS: usize = 20_000;
/// Nanoseconds a call by which time slices are cut.
const CALL_NS: f64 = 30.0;
/// Pairs of time slices at least.
const PAIRS: usize = 60;
/// How many times as long as a timed time slice those on the other processors are, so that they
/// cover it.
const LONGER: usize = 3;

/// How many batches shall run side by side on `processors`: as many as the settings allow. Unless
/// the user fixed that number, it is halved until the disturbance is no more than [`MOST`]. With it
/// comes the last measurement; `None` where no two batches would run.
///
/// # Errors
/// Why it could not be measured.
pub fn side_by_side(
    workloads: &Workloads,
    settings: &Settings,
    processors: &[usize],
    seed: u64,
) -> Result<(usize, Option<Disturbance>), ChildFailure> {
    let mut jobs = settings.jobs.max(1);
    if settings.are_jobs_fixed {
        let most = jobs.min(processors.len());
        return Ok((jobs, disturbance(workloads, settings, &processors[..most], seed)?));
    }
    jobs = jobs.min(processors.len().max(1));
    loop {
        let found = disturbance(workloads, settings, &processors[..jobs], seed)?;
        let is_too_much = found.as_ref().is_some_and(|found| found.ratio > MOST);
        if !is_too_much || jobs == 1 {
            return Ok((jobs, found));
        }
        jobs /= 2;
        if jobs == 1 {
            return Ok((1, found));
        }
    }
}

/// Measures the first of `processors` beside the others; `None` when there are no others, or no
/// trace.
fn disturbance(
    workloads: &Workloads,
    settings: &Settings,
    processors: &[usize],
    seed: u64,
) -> Result<Option<Disturbance>, ChildFailure> {
    let ([own, others @ ..], Some(workload)) = (processors, shortest(workloads)) else {
        return Ok(None);
    };
    if others.is_empty() {
        return Ok(None);
    }
    let plan = rounds(calls_of(workload));
    let start = |processor: usize, iterations: Iterations| -> std::io::Result<Worker> {
        let mut files = JobFiles::default();
        let program = workload.share(&mut files)?;
        let task = Task::Iterations { backend: BACKEND.to_owned(), program, iterations };
        let limits = ChildLimits {
            time: settings.time_limit(calls_of(workload)),
            memory_bytes: settings.memory_bytes,
        };
        Worker::start(&Side::of(BACKEND), &Job::timed(task, Some(processor)), files, limits)
    };
    let failed = || ChildFailure::not_started("a child".as_ref());
    let subject = start(*own, plan.iterations).map_err(failed())?;
    let busy: std::io::Result<Vec<Worker>> =
        others.iter().map(|processor| start(*processor, plan.busy)).collect();
    let beside = plan.draw(seed);
    let times = run_pairs(subject, busy.map_err(failed())?, *own, &beside)?;
    let ratios = plan.ratios(&beside, &times.processor_ns);
    let quartile = |share| stats::quantile(&ratios, share);
    let (Some(low), Some(ratio), Some(high)) = (quartile(0.25), quartile(0.5), quartile(0.75))
    else {
        return Err(ChildFailure::WrongAnswer("it has no times".to_owned()));
    };
    Ok(Some(Disturbance {
        trace: workload.name().to_owned(),
        busy_processors: others.len(),
        pairs: ratios.len(),
        ratio,
        quartiles: (low, high),
    }))
}

/// Calls that can be replayed in iterations; a program in parts has none.
fn calls_of(workload: &Workload) -> usize {
    workload.program.instructions().len()
}

/// The shortest trace that is long enough, else the longest.
fn shortest(workloads: &Workloads) -> Option<&Workload> {
    let order = |workload: &&Workload| (calls_of(workload), workload.name().to_owned());
    let is_long = |workload: &&Workload| calls_of(workload) >= CALLS;
    let shortest = workloads.iter().filter(is_long).min_by_key(order);
    let chosen = shortest.or_else(|| workloads.iter().max_by_key(order));
    chosen.filter(|workload| calls_of(workload) > 0)
}

/// Runs the time slices of the subject, and those of the busy children in which `beside` says so;
/// the times of the subject.
fn run_pairs(
    mut subject: Worker,
    mut busy: Vec<Worker>,
    processor: usize,
    beside: &[bool],
) -> Result<IterationTimes, ChildFailure> {
    let _here = stay_on(Some(processor));
    let are_ready = subject.is_ready() && busy.iter_mut().all(Worker::is_ready);
    for is_beside in beside.iter().filter(|_| are_ready) {
        if *is_beside {
            busy.iter_mut().for_each(Worker::give_time_slice);
        }
        let goes_on = subject.run_time_slice();
        if *is_beside && !busy.iter_mut().all(Worker::is_ready) || !goes_on {
            break;
        }
    }
    let answer = subject.end();
    // They wait for a time slice that does not come, and end by it.
    for worker in busy {
        let ended = worker.end();
        if !are_ready {
            ended?;
        }
    }
    match answer? {
        Answer::Iterations(times) => Ok(times),
        other => Err(ChildFailure::answered(&other)),
    }
}

/// Which time slices there are.
struct Rounds {
    iterations: Iterations,
    /// Those of the busy children.
    busy: Iterations,
    /// Time slices over the same calls are so many apart.
    apart: usize,
    time_slices: usize,
}

/// The time slices for a program of so many calls.
fn rounds(calls: usize) -> Rounds {
    let cut = cut(calls as f64 * CALL_NS);
    if cut.segments > 1 {
        let iterations = 2 * PAIRS.div_ceil(cut.segments);
        let time_slices = iterations * cut.segments;
        // A busy child needs half as many, each a longer piece of an iteration.
        let segments = (cut.segments / LONGER).max(1);
        let busy = Iterations {
            iterations: time_slices.div_ceil(2 * segments) + 1,
            segments,
            iterations_in_segment: 1,
        };
        return Rounds {
            iterations: Iterations { iterations, ..cut },
            busy,
            apart: cut.segments,
            time_slices,
        };
    }
    let together = cut.iterations_in_segment;
    let iterations = Iterations { iterations: together * 2 * PAIRS, ..cut };
    let longer = Iterations {
        iterations: together * LONGER * (PAIRS + 1),
        segments: 1,
        iterations_in_segment: together * LONGER,
    };
    Rounds { iterations, busy: longer, apart: 1, time_slices: 2 * PAIRS }
}

impl Rounds {
    /// For each time slice whether the busy children run: in one of each pair, drawn at random.
    fn draw(&self, seed: u64) -> Vec<bool> {
        let mut random = Random(seed);
        let mut beside = vec![false; self.time_slices];
        for first in (0..self.time_slices).filter(|at| (at / self.apart).is_multiple_of(2)) {
            let second = (random.bits() % 2) as usize * self.apart;
            beside[first + second] = true;
        }
        beside
    }

    /// The time beside the busy children over the isolated time, pair by pair.
    fn ratios(&self, beside: &[bool], times_ns: &[u64]) -> Vec<f64> {
        let firsts = (0..self.time_slices).filter(|at| (at / self.apart).is_multiple_of(2));
        let ratio = |first: usize| {
            let (a, b) = (*times_ns.get(first)? as f64, *times_ns.get(first + self.apart)? as f64);
            let ratio = if beside[first] { a / b } else { b / a };
            (ratio.is_finite() && ratio > 0.0).then_some(ratio)
        };
        firsts.filter_map(ratio).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_slice_beside_busy_processors_is_paired_with_one_over_the_same_calls() {
        for calls in [1, 900, 74_000, 2_000_000, 100_000_000] {
            let plan = rounds(calls);
            let beside = plan.draw(9);
            assert_eq!(
                beside.iter().filter(|with| **with).count() * 2,
                plan.time_slices,
                "{calls}"
            );
            assert!(plan.time_slices >= 2 * PAIRS);
            let iterations = plan.iterations;
            assert_eq!(
                iterations.iterations * iterations.segments / iterations.iterations_in_segment,
                plan.time_slices
            );
            let others = plan.busy;
            assert!(
                others.iterations * others.segments / others.iterations_in_segment
                    > plan.time_slices / 2,
                "{calls}"
            );
            // Each piece has its own length; beside busy processors it takes half as long again.
            let times: Vec<u64> = (0..plan.time_slices)
                .map(|at| (1000 + 10 * (at % plan.apart) as u64) * if beside[at] { 3 } else { 2 })
                .collect();
            let ratios = plan.ratios(&beside, &times);
            assert_eq!(ratios.len() * 2, plan.time_slices);
            assert!(ratios.iter().all(|ratio| (ratio - 1.5).abs() < 1e-9), "{calls}");
        }
    }
}
