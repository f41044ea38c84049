//! Two sides timed as a pair of processes, which are alive together on one processor and run in
//! time slices of about a millisecond, in random order.
//!
//! The pair is the unit of evidence: its two processes drew their addresses once, and met the same
//! drift of the machine. Its figure is one number, the logarithm of how much longer the second side
//! took (`ratios.rs`). How many pairs there are and what they mean is for `check` to judge.

use std::fs::{self, File};
use std::io::{self, Read, Write};

use super::failure::ChildFailure;
use super::files::{JobFiles, SharedReader, memory_file};
use super::job::{ClockRate, Job, Task};
use super::protocol::Answer;
use super::side::Side;
use super::time_slices::run_time_slices;
use super::worker::{ChildLimits, Worker, cancelled};
use super::workload::Workload;
use crate::replay::{IterationTimes, Iterations};

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PairError {
    /// The run is to end.
    #[error("interrupted")]
    Cancelled,
    /// A child did not do its job.
    #[error("{}", failure.about(backend))]
    Child {
        /// Its backend.
        backend: String,
        /// Its reason.
        failure: ChildFailure,
    },
    /// A trace that is too short to be timed.
    #[error("{backend}: its segments took no time at all; the trace is too short to be timed")]
    NoTime {
        /// The backend.
        backend: String,
    },
}

impl PairError {
    fn child(side: &Side) -> impl FnOnce(ChildFailure) -> PairError {
        let backend = side.backend.clone();
        move |failure| match failure {
            ChildFailure::Cancelled => PairError::Cancelled,
            failure => PairError::Child { backend, failure },
        }
    }
}

/// Where and how pairs of one trace run.
pub struct PairContext<'a> {
    /// The trace.
    pub workload: &'a Workload,
    /// The processor of both.
    pub processor: Option<usize>,
    /// The limits of a child.
    pub limits: ChildLimits,
    /// The clock of calls.
    pub clock: ClockRate,
}

/// Time slices shorter than this have cold caches. In longer ones the machine drifts, and there are
/// fewer to trim.
const SEGMENT_NS: f64 = 0.6e6;
/// How long each side of a pair is timed, at the least. The spread of pairs falls with this time up
/// to here and little beyond, and more pairs are better than longer ones.
const TIMED_NS: f64 = 36e6;

/// Cuts iterations so that a segment takes about [`SEGMENT_NS`], when an iteration of the slower
/// side takes `iteration_ns`.
pub fn cut(iteration_ns: f64) -> Iterations {
    let segments = (iteration_ns / SEGMENT_NS).round().max(1.0);
    if segments >= 2.0 {
        let iterations = (TIMED_NS / iteration_ns).ceil() as usize;
        return Iterations { iterations, segments: segments as usize, iterations_in_segment: 1 };
    }
    let together = (SEGMENT_NS / iteration_ns.max(1000.0)).round().max(1.0) as usize;
    let segments = (TIMED_NS / SEGMENT_NS) as usize;
    Iterations { iterations: together * segments, segments: 1, iterations_in_segment: together }
}

/// The share of calls that are the tail.
pub const TAIL_SHARE: f64 = 0.01;

impl PairContext<'_> {
    /// Runs the sides together; their answers.
    fn run(
        &self,
        sides: &[&Side],
        seed: u64,
        task: impl Fn(usize, &Side, &mut JobFiles) -> io::Result<Task>,
    ) -> Result<Vec<Answer>, PairError> {
        let mut workers = Vec::new();
        for (at, side) in sides.iter().enumerate() {
            let mut files = JobFiles::default();
            let started = task(at, side, &mut files).and_then(|task| {
                Worker::start(side, &Job::timed(task, self.processor), files, self.limits)
            });
            let failed = ChildFailure::not_started(&side.executable());
            workers.push(started.map_err(failed).map_err(PairError::child(side))?);
        }
        // Their first iteration is not timed, so no memory need be touched for them.
        run_time_slices(&mut workers, self.processor, seed, 0);
        let ended: Vec<_> = workers.into_iter().map(Worker::end).collect();
        if cancelled() {
            return Err(PairError::Cancelled);
        }
        sides.iter().zip(ended).map(|(side, ended)| ended.map_err(PairError::child(side))).collect()
    }

    /// Times the sides against each other.
    ///
    /// # Errors
    /// A child that gave no answer, or one to another job.
    pub fn time(
        &self,
        sides: &[&Side],
        iterations: Iterations,
        seed: u64,
    ) -> Result<Vec<IterationTimes>, PairError> {
        let answers = self.run(sides, seed, |_, side, files| {
            let program = self.workload.share(files)?;
            Ok(Task::Iterations { backend: side.backend.clone(), program, iterations })
        })?;
        let segments =
            iterations.iterations * iterations.segments / iterations.iterations_in_segment.max(1);
        let times = |(side, answer): (&&Side, Answer)| match answer {
            Answer::Iterations(times)
                if times.processor_ns.len() == segments && times.wall_ns.len() == segments =>
            {
                Ok(times)
            }
            other => Err(PairError::child(side)(ChildFailure::answered(&other))),
        };
        sides.iter().zip(answers).map(times).collect()
    }

    /// A first pair, to find out how long an iteration takes and cut it so.
    ///
    /// # Errors
    /// As [`PairContext::time`].
    pub fn pilot(&self, sides: &[&Side], seed: u64) -> Result<Iterations, PairError> {
        let whole = Iterations { iterations: 2, segments: 1, iterations_in_segment: 1 };
        let times = self.time(sides, whole, seed)?;
        let slowest = times.iter().filter_map(|times| times.processor_ns.iter().min()).max();
        Ok(cut(slowest.copied().unwrap_or(0) as f64))
    }

    /// The calls that are slowest on both sides together, such a share of all, from a pair of their
    /// own.
    ///
    /// # Errors
    /// As [`PairContext::time`], and where there is no memory.
    pub fn slowest(
        &self,
        sides: [&Side; 2],
        segments: usize,
        share: f64,
        seed: u64,
    ) -> Result<ChosenCalls, PairError> {
        let failed = |error: io::Error| {
            let failed = ChildFailure::not_started("the times of its calls".as_ref());
            PairError::child(sides[0])(failed(error))
        };
        let files: Vec<File> = (0..2)
            .map(|_| memory_file("heaplay-times", |_| Ok(())))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        self.run(&sides, seed, |at, side, job_files| {
            Ok(Task::CallTimes {
                backend: side.backend.clone(),
                program: self.workload.share(job_files)?,
                segments,
                clock: self.clock,
                times: job_files.share(&files[at])?,
            })
        })?;
        let sums = sums_of(files, self.workload.program.instructions().len()).map_err(failed)?;
        ChosenCalls::new(&largest(&sums, share)).map_err(failed)
    }

    /// The mean time of the chosen calls, of each side, in ns.
    ///
    /// # Errors
    /// As [`PairContext::time`].
    pub fn tail(
        &self,
        sides: &[&Side],
        segments: usize,
        chosen: &ChosenCalls,
        seed: u64,
    ) -> Result<Vec<f64>, PairError> {
        let answers = self.run(sides, seed, |_, side, files| {
            Ok(Task::Tail {
                backend: side.backend.clone(),
                program: self.workload.share(files)?,
                segments,
                clock: self.clock,
                chosen: files.share(&chosen.file)?,
            })
        })?;
        let mean = |(side, answer): (&&Side, Answer)| match answer {
            Answer::Tail(mean) if mean.is_finite() && mean > 0.0 => Ok(mean),
            other => Err(PairError::child(side)(ChildFailure::answered(&other))),
        };
        sides.iter().zip(answers).map(mean).collect()
    }
}

/// The times of each call, added up over the files.
fn sums_of(files: Vec<File>, calls: usize) -> io::Result<Vec<f32>> {
    let mut sums = vec![0.0_f32; calls];
    for file in files {
        let mut bytes = Vec::new();
        SharedReader::new(file).read_to_end(&mut bytes)?;
        for (sum, bytes) in sums.iter_mut().zip(bytes.chunks_exact(4)) {
            *sum += f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    Ok(sums)
}

/// The numbers of the largest, such a share of all, rising.
fn largest(sums: &[f32], share: f64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..sums.len() as u32).collect();
    let wanted = ((sums.len() as f64 * share).ceil() as usize).clamp(1, sums.len().max(1));
    order.sort_by(|a, b| sums[*b as usize].total_cmp(&sums[*a as usize]));
    order.truncate(wanted);
    order.sort_unstable();
    order
}

/// Numbers of calls, in a file in memory.
pub struct ChosenCalls {
    file: File,
    /// The numbers, rising.
    pub calls: Vec<u32>,
}

impl ChosenCalls {
    /// Writes the numbers into a file.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new(calls: &[u32]) -> io::Result<ChosenCalls> {
        let file = memory_file("heaplay-calls", |out| {
            calls.iter().try_for_each(|call| out.write_all(&call.to_le_bytes()))
        })?;
        Ok(ChosenCalls { file, calls: calls.to_vec() })
    }
}

/// The system's load over the last minute, as the kernel reports it.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterations_are_cut_into_time_slices_of_about_a_millisecond() {
        for iteration_ns in [2e3, 3e5, 9e5, 1.3e6, 1e7, 9e7] {
            let iterations = cut(iteration_ns);
            let slice_ns =
                iteration_ns * iterations.iterations_in_segment as f64 / iterations.segments as f64;
            assert!((3e5..1.2e6).contains(&slice_ns), "{iteration_ns}: {iterations:?}");
            assert!(
                iterations.iterations as f64 * iteration_ns >= 0.9 * TIMED_NS,
                "{iterations:?}"
            );
            assert_eq!(
                iterations.iterations % iterations.iterations_in_segment,
                0,
                "{iterations:?}"
            );
        }
        assert!(cut(0.0).iterations > 0);
    }
}
