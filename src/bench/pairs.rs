//! Room `bench`: two sides timed as a pair of processes, alive together on one processor, which take turns of about a
//! millisecond in random order.
//!
//! The pair is the unit of evidence: its two processes drew their addresses once, and met the same weather. Its figure is
//! one number, the logarithm of how much longer the second side took; how many pairs there are and what they say is for
//! `check` to judge.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::heat::take_turns;
use super::plan::{ClockRate, Job, Task};
use super::worker::{Ended, LAYOUT, Limits, Worker, cancelled};
use super::{Loaded, memory_file, path_of};
use crate::replay::{LapTimes, Laps};
use crate::stats;

/// One of the two that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The backend as written.
    pub backend: String,
    /// Another build of heaplay that is to run it.
    pub binary: Option<PathBuf>,
    /// Addresses that are not drawn at random but follow from this number, for `heaplay calibrate`.
    pub layout: Option<usize>,
}

impl Side {
    /// A backend of this build.
    pub fn of(backend: &str) -> Side {
        Side { backend: backend.to_owned(), binary: None, layout: None }
    }

    pub(super) fn executable(&self) -> PathBuf {
        self.binary.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.executable());
        command.arg("worker").env_clear();
        if let Some(layout) = self.layout {
            // The environment lies above the stack: its length moves every frame.
            command.env(LAYOUT, "x".repeat(1 + layout * 48));
        }
        command
    }
}

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PairError {
    /// The run is to end.
    #[error("interrupted")]
    Cancelled,
    /// A child did not do its job.
    #[error("{backend}: {reason}")]
    Child {
        /// Its backend.
        backend: String,
        /// Its reason.
        reason: String,
    },
}

/// Where and how pairs of one trace run.
pub struct Course<'a> {
    /// The trace.
    pub loaded: &'a Loaded,
    /// The processor of both.
    pub processor: Option<usize>,
    /// The bounds of a child.
    pub limits: Limits,
    /// The clock of calls.
    pub clock: ClockRate,
}

/// How much longer the second of two took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Natural logarithm of the ratio of processor times.
    pub processor: f64,
    /// The same of wall times.
    pub wall: f64,
}

/// Turns shorter than this cost cold caches; longer ones let the weather change.
const SEGMENT_NS: f64 = 1.2e6;
/// Segments that each side of a pair is timed for, at the least.
const LEAST_SEGMENTS: f64 = 24.0;
/// Laps that each side is timed for, at the least: the median over them is what one disturbance does not move.
const LEAST_LAPS: usize = 4;

/// Cuts laps so that a segment takes about [`SEGMENT_NS`], when a lap of the slower side takes `lap_ns`.
pub fn cut(lap_ns: f64) -> Laps {
    let segments = (lap_ns / SEGMENT_NS).round().max(1.0);
    if segments >= 2.0 {
        let laps = (LEAST_SEGMENTS / segments).ceil() as usize;
        return Laps { laps: laps.max(LEAST_LAPS), segments: segments as usize, laps_in_segment: 1 };
    }
    let together = (SEGMENT_NS / lap_ns.max(1000.0)).round().max(1.0) as usize;
    Laps { laps: together * LEAST_SEGMENTS as usize, segments: 1, laps_in_segment: together }
}

/// The share of calls that are the tail.
pub const TAIL_SHARE: f64 = 0.01;

impl Course<'_> {
    /// Runs the sides together; gives what each printed.
    fn race(
        &self,
        sides: &[&Side],
        seed: u64,
        task: impl Fn(usize, &Side) -> Task,
    ) -> Result<Vec<String>, PairError> {
        let child = |side: &Side, reason: String| PairError::Child { backend: side.backend.clone(), reason };
        let mut workers = Vec::new();
        for (at, side) in sides.iter().enumerate() {
            let job = Job { task: task(at, side), processor: self.processor, turns: true };
            let worker = Worker::start_by(side.command(), &job, self.limits);
            workers.push(
                worker.map_err(|error| child(side, format!("{}: {error}", side.executable().display())))?,
            );
        }
        take_turns(&mut workers, self.processor, seed);
        let ended: Vec<_> = workers.into_iter().map(Worker::end).collect();
        if cancelled() {
            return Err(PairError::Cancelled);
        }
        let told = |(side, ended): (&&Side, std::io::Result<Ended>)| match ended {
            Ok(Ended::Cancelled) => Err(PairError::Cancelled),
            Ok(ended) => {
                let text = ended.well().map_err(|reason| child(side, reason))?;
                Ok(text.trim_start_matches('r').to_owned())
            }
            Err(error) => Err(child(side, error.to_string())),
        };
        sides.iter().zip(ended).map(told).collect()
    }

    /// Times the sides against each other.
    ///
    /// # Errors
    /// A child that ended badly, or said what is no answer.
    pub fn time(&self, sides: &[&Side], laps: Laps, seed: u64) -> Result<Vec<LapTimes>, PairError> {
        let told = self.race(sides, seed, |_, side| Task::Laps {
            backend: side.backend.clone(),
            program: self.loaded.path(),
            laps,
        })?;
        let segments = laps.laps * laps.segments / laps.laps_in_segment.max(1);
        let read = |(side, text): (&&Side, String)| {
            let times: Option<LapTimes> = serde_json::from_str(&text).ok();
            times.filter(|t| t.processor_ns.len() == segments && t.wall_ns.len() == segments).ok_or_else(
                || PairError::Child { backend: side.backend.clone(), reason: unexpected(side, &text) },
            )
        };
        sides.iter().zip(told).map(read).collect()
    }

    /// A first pair, to find out how long a lap takes and cut it so.
    ///
    /// # Errors
    /// As [`Course::time`].
    pub fn pilot(&self, sides: &[&Side], seed: u64) -> Result<Laps, PairError> {
        let whole = Laps { laps: 2, segments: 1, laps_in_segment: 1 };
        let times = self.time(sides, whole, seed)?;
        let slowest = times.iter().filter_map(|times| times.processor_ns.iter().min()).max();
        Ok(cut(slowest.copied().unwrap_or(0) as f64))
    }

    /// The calls that are slowest on both sides together, from a pair of their own: a file with their numbers, rising.
    ///
    /// # Errors
    /// As [`Course::time`], and where there is no memory.
    pub fn slowest(&self, sides: [&Side; 2], segments: usize, seed: u64) -> Result<Chosen, PairError> {
        let broken = |error: std::io::Error| PairError::Child {
            backend: sides[0].backend.clone(),
            reason: format!("the times of its calls: {error}"),
        };
        let files: Vec<File> = (0..2)
            .map(|_| memory_file("heaplay-times", |_| Ok(())))
            .collect::<Result<_, _>>()
            .map_err(broken)?;
        self.race(&sides, seed, |at, side| Task::Tail {
            backend: side.backend.clone(),
            program: self.loaded.path(),
            segments,
            clock: self.clock,
            times: Some(path_of(&files[at])),
            chosen: None,
        })?;
        let mut sums = vec![0.0_f32; self.loaded.program.instructions().len()];
        for file in &files {
            let bytes = fs::read(path_of(file)).map_err(broken)?;
            for (sum, bytes) in sums.iter_mut().zip(bytes.chunks_exact(4)) {
                *sum += f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        let mut order: Vec<u32> = (0..sums.len() as u32).collect();
        let wanted = ((sums.len() as f64 * TAIL_SHARE).ceil() as usize).clamp(1, sums.len().max(1));
        order.sort_by(|a, b| sums[*b as usize].total_cmp(&sums[*a as usize]));
        order.truncate(wanted);
        order.sort_unstable();
        Chosen::new(&order).map_err(broken)
    }

    /// The mean time of the chosen calls, of each side, in ns.
    ///
    /// # Errors
    /// As [`Course::time`].
    pub fn tail(
        &self,
        sides: &[&Side],
        segments: usize,
        chosen: &Chosen,
        seed: u64,
    ) -> Result<Vec<f64>, PairError> {
        let told = self.race(sides, seed, |_, side| Task::Tail {
            backend: side.backend.clone(),
            program: self.loaded.path(),
            segments,
            clock: self.clock,
            times: None,
            chosen: Some(chosen.path()),
        })?;
        let read = |(side, text): (&&Side, String)| match text.trim().parse::<f64>() {
            Ok(mean) if mean.is_finite() && mean > 0.0 => Ok(mean),
            _ => Err(PairError::Child { backend: side.backend.clone(), reason: unexpected(side, &text) }),
        };
        sides.iter().zip(told).map(read).collect()
    }
}

fn unexpected(side: &Side, text: &str) -> String {
    let text: String = text.chars().take(60).collect();
    match &side.binary {
        Some(binary) => format!(
            "{} answered `{text}`, which this heaplay does not understand; both builds must be of the same version",
            binary.display()
        ),
        None => format!("the child answered `{text}`"),
    }
}

/// Numbers of calls, in a memory file that children open by path.
pub struct Chosen {
    file: File,
    /// The numbers, rising.
    pub calls: Vec<u32>,
}

impl Chosen {
    /// Writes the numbers into a file.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new(calls: &[u32]) -> std::io::Result<Chosen> {
        use std::io::Write;
        let file = memory_file("heaplay-calls", |out| {
            calls.iter().try_for_each(|call| out.write_all(&call.to_le_bytes()))
        })?;
        Ok(Chosen { file, calls: calls.to_vec() })
    }

    /// Where children of this process find it, while this lives.
    pub fn path(&self) -> PathBuf {
        path_of(&self.file)
    }
}

/// How much longer `b` took than `a`, both cut by `laps`: for each place in the lap the median over the laps of the
/// logarithm of the ratio, then their mean, each weighing as much as both took there (one side's time alone as a weight
/// would lean towards that side). `None` where a time is 0.
pub fn ratio(a: &LapTimes, b: &LapTimes, laps: Laps) -> Option<Ratio> {
    Some(Ratio {
        processor: log_ratio(&a.processor_ns, &b.processor_ns, laps.segments)?,
        wall: log_ratio(&a.wall_ns, &b.wall_ns, laps.segments)?,
    })
}

fn log_ratio(a: &[u64], b: &[u64], segments: usize) -> Option<f64> {
    let segments = segments.max(1);
    let (mut sum, mut weights) = (0.0, 0.0);
    for place in 0..segments {
        let at = |times: &[u64]| -> Vec<f64> {
            times.iter().skip(place).step_by(segments).map(|time| *time as f64).collect()
        };
        let (a, b) = (at(a), at(b));
        let logs: Vec<f64> = a.iter().zip(&b).map(|(a, b)| (b / a).ln()).collect();
        let both: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let weight = stats::median(&both)?;
        sum += weight * stats::median(&logs)?;
        weights += weight;
    }
    (weights > 0.0).then_some(sum / weights)
}

/// The system's load over the last minute, as the kernel tells it.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Seconds since `began`, for the cost of a figure.
pub fn seconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}

/// Whether another heaplay understands this one's jobs: it is asked for a backend's version.
///
/// # Errors
/// Why it does not, with the path.
pub fn handshake(binary: &Path, backend: &str) -> Result<String, String> {
    let side = Side { binary: Some(binary.to_owned()), ..Side::of(backend) };
    let task = Task::Version { backend: backend.to_owned() };
    let limits = Limits { time: super::VERSION_TIME, memory_bytes: super::available_bytes() };
    let job = Job { task, processor: None, turns: false };
    let ended = Worker::start_by(side.command(), &job, limits).and_then(Worker::end);
    let why = |reason: String| {
        format!(
            "{}: {reason}; expected another build of heaplay {}",
            binary.display(),
            env!("CARGO_PKG_VERSION")
        )
    };
    let version = ended.map_err(|error| why(error.to_string()))?.well().map_err(&why)?;
    match version.trim() {
        "" => Err(why("it answered nothing".to_owned())),
        version => Ok(version.to_owned()),
    }
}
