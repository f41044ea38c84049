//! Two sides timed as a pair of processes, alive together on one processor, which
//! take turns of about a millisecond in random order.
//!
//! The pair is the unit of evidence: its two processes drew their addresses once, and met the same
//! weather. Its figure is one number, the logarithm of how much longer the second side took; how
//! many pairs there are and what they say is for `check` to judge.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::child::{LAYOUT, NOT_A_JOB};
use super::machine::available_bytes;
use super::plan::{ClockRate, Job, Task};
use super::preflight::VERSION_TIME;
use super::time_slices::take_time_slices;
use super::worker::{Ended, Limits, Worker, cancelled};
use super::workload::{Loaded, memory_file, path_of};
use crate::replay::{IterationTimes, Iterations};
use crate::results::{CellKey, Pass};
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

    /// The heaplay that measures it.
    pub fn executable(&self) -> PathBuf {
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

/// TimeSlices shorter than this cost cold caches; in longer ones the weather changes, and there are
/// fewer to leave out.
const SEGMENT_NS: f64 = 0.6e6;
/// How long each side of a pair is timed, at the least: the spread of pairs falls with it up to
/// here and little beyond, and more pairs say more than longer ones.
const TIMED_NS: f64 = 36e6;

/// Cuts iterations so that a segment takes about [`SEGMENT_NS`], when an iteration of the slower side takes
/// `iteration_ns`.
pub fn cut(iteration_ns: f64) -> Iterations {
    let segments = (iteration_ns / SEGMENT_NS).round().max(1.0);
    if segments >= 2.0 {
        let iterations = (TIMED_NS / iteration_ns).ceil() as usize;
        return Iterations { iterations, segments: segments as usize, iterations_in_segment: 1 };
    }
    let together = (SEGMENT_NS / iteration_ns.max(1000.0)).round().max(1.0) as usize;
    let turns = (TIMED_NS / SEGMENT_NS) as usize;
    Iterations { iterations: together * turns, segments: 1, iterations_in_segment: together }
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
        let child = |side: &Side, reason: String| PairError::Child {
            backend: side.backend.clone(),
            reason,
        };
        let mut workers = Vec::new();
        for (at, side) in sides.iter().enumerate() {
            let job = Job { task: task(at, side), processor: self.processor, time_slices: true };
            let worker = Worker::start_by(side.command(), &job, self.limits);
            workers.push(worker.map_err(|error| {
                child(side, format!("{}: {error}", side.executable().display()))
            })?);
        }
        take_time_slices(&mut workers, self.processor, seed, 0); // their first iteration is not timed
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
    pub fn time(
        &self,
        sides: &[&Side],
        iterations: Iterations,
        seed: u64,
    ) -> Result<Vec<IterationTimes>, PairError> {
        let told = self.race(sides, seed, |_, side| Task::Iterations {
            backend: side.backend.clone(),
            program: self.loaded.path(),
            iterations,
        })?;
        let segments =
            iterations.iterations * iterations.segments / iterations.iterations_in_segment.max(1);
        let read = |(side, text): (&&Side, String)| {
            let times: Option<IterationTimes> = serde_json::from_str(&text).ok();
            times
                .filter(|t| t.processor_ns.len() == segments && t.wall_ns.len() == segments)
                .ok_or_else(|| PairError::Child {
                    backend: side.backend.clone(),
                    reason: unexpected(side, &text),
                })
        };
        sides.iter().zip(told).map(read).collect()
    }

    /// A first pair, to find out how long an iteration takes and cut it so.
    ///
    /// # Errors
    /// As [`Course::time`].
    pub fn pilot(&self, sides: &[&Side], seed: u64) -> Result<Iterations, PairError> {
        let whole = Iterations { iterations: 2, segments: 1, iterations_in_segment: 1 };
        let times = self.time(sides, whole, seed)?;
        let slowest = times.iter().filter_map(|times| times.processor_ns.iter().min()).max();
        Ok(cut(slowest.copied().unwrap_or(0) as f64))
    }

    /// The calls that are slowest on both sides together, such a share of all, from a pair of their
    /// own: a file with their numbers, rising.
    ///
    /// # Errors
    /// As [`Course::time`], and where there is no memory.
    pub fn slowest(
        &self,
        sides: [&Side; 2],
        segments: usize,
        share: f64,
        seed: u64,
    ) -> Result<Chosen, PairError> {
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
        let wanted = ((sums.len() as f64 * share).ceil() as usize).clamp(1, sums.len().max(1));
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
            _ => Err(PairError::Child {
                backend: side.backend.clone(),
                reason: unexpected(side, &text),
            }),
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

/// How much longer the second of each two took than the first, all cut by `iterations`: one figure a
/// pair. `None` where segments take no time.
///
/// AddressTrace in the iteration differ: a longer free list slows those that search it. So what is usual at a
/// place is found first, as the median over all iterations and pairs; a pair's figure is the mean of what
/// is usual, and its own deviation from it, a trimmed mean over its segments. A disturbance makes
/// one segment of one iteration deviate, and is trimmed away; a phase that is slower in every iteration
/// deviates nowhere, and counts in full. Each place weighs as much as both sides take there (one
/// side's time alone as a weight would lean towards that side).
///
/// What is usual is shared by the pairs, and does not tie them together: were it off by some amount
/// everywhere, each pair's deviation would be off by as much the other way.
pub fn ratios(pairs: &[[&IterationTimes; 2]], iterations: Iterations) -> Option<Vec<Ratio>> {
    let by = |times: fn(&IterationTimes) -> &[u64]| {
        let pairs: Vec<[&[u64]; 2]> = pairs.iter().map(|[a, b]| [times(a), times(b)]).collect();
        log_ratios(&pairs, iterations.segments.max(1))
    };
    let (processor, wall) = (by(|times| &times.processor_ns)?, by(|times| &times.wall_ns)?);
    Some(
        processor
            .into_iter()
            .zip(wall)
            .map(|(processor, wall)| Ratio { processor, wall })
            .collect(),
    )
}

fn log_ratios(pairs: &[[&[u64]; 2]], segments: usize) -> Option<Vec<f64>> {
    let turns = |[a, b]: &[&[u64]; 2]| -> Vec<(f64, f64)> {
        let turn = |(a, b): (&u64, &u64)| ((*b as f64 / *a as f64).ln(), (a + b) as f64);
        a.iter().zip(*b).map(turn).collect()
    };
    let pairs: Vec<Vec<(f64, f64)>> = pairs.iter().map(turns).collect();
    // Of each place: what is usual there, and how much it weighs.
    let mut places = Vec::with_capacity(segments);
    for place in 0..segments {
        let here = || pairs.iter().flat_map(|turns| turns.iter().skip(place).step_by(segments));
        let logs: Vec<f64> = here().map(|turn| turn.0).collect();
        let weights: Vec<f64> = here().map(|turn| turn.1).collect();
        places.push((stats::median(&logs)?, stats::median(&weights)?));
    }
    let usual = weighted_mean(places.iter().copied())?;
    let figure = |turns: &Vec<(f64, f64)>| {
        let off = |(at, turn): (usize, &(f64, f64))| {
            (turn.0 - places[at % segments].0, places[at % segments].1)
        };
        let mut off: Vec<(f64, f64)> = turns.iter().enumerate().map(off).collect();
        off.retain(|(log, _)| log.is_finite());
        off.sort_by(|a, b| a.0.total_cmp(&b.0));
        let cut = (stats::TRIM * off.len() as f64) as usize;
        Some(usual + weighted_mean(off[cut..off.len() - cut].iter().copied())?)
    };
    pairs.iter().map(figure).collect()
}

/// The mean of values with their weights; `None` without any weight.
fn weighted_mean(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, weights) =
        values.fold((0.0, 0.0), |(sum, all), (value, weight)| (sum + value * weight, all + weight));
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

/// Why another build cannot run a side.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// It does not start, is no heaplay, or cannot have the backend.
    #[error("{0}")]
    Broken(String),
    /// It is a heaplay whose jobs are others than this one's.
    #[error("{0}")]
    OtherJobs(String),
}

/// Whether another heaplay understands this one's jobs: it is asked for a backend's version, and
/// for one job of each sort that the check gives, on no program.
///
/// # Errors
/// Why it does not, with the path.
pub fn handshake(binary: &Path, backend: &str, clock: ClockRate) -> Result<String, Unfit> {
    let side = Side { binary: Some(binary.to_owned()), ..Side::of(backend) };
    let limits = Limits { time: VERSION_TIME, memory_bytes: available_bytes() };
    let ask = |task: Task| {
        let job = Job { task, processor: None, time_slices: false };
        let ended = Worker::start_by(side.command(), &job, limits).and_then(Worker::end);
        ended.map_err(|error| error.to_string()).and_then(Ended::well)
    };
    let why = |reason: String| {
        format!(
            "{}: {reason}; expected another build of heaplay {}",
            binary.display(),
            env!("CARGO_PKG_VERSION")
        )
    };
    let (backend, program) = (backend.to_owned(), PathBuf::from("/dev/null"));
    let iterations = Iterations { iterations: 1, segments: 1, iterations_in_segment: 1 };
    let cell = CellKey {
        trace: String::new(),
        backend: backend.clone(),
        pass: Pass::Footprint,
        repetition: 0,
    };
    let version = ask(Task::Version { backend: backend.clone() });
    let jobs = [
        Task::Iterations { backend: backend.clone(), program: program.clone(), iterations },
        Task::Tail {
            backend: backend.clone(),
            program: program.clone(),
            segments: 1,
            clock,
            times: None,
            chosen: None,
        },
        Task::Calls { backend, program: program.clone(), calls: 0 },
        Task::Measure {
            cell,
            alone: None,
            program: program.clone(),
            births: None,
            pace: None,
            folder: program,
            clock,
        },
    ];
    // There is no program, so each fails; one that was not understood says so.
    for job in jobs.into_iter().filter(|_| version.is_ok()) {
        if let Err(reason) = ask(job)
            && reason.contains(NOT_A_JOB)
        {
            return Err(Unfit::OtherJobs(why(reason)));
        }
    }
    match version {
        Ok(version) if !version.trim().is_empty() => Ok(version.trim().to_owned()),
        Ok(_) => Err(Unfit::Broken(why("it answered nothing".to_owned()))),
        Err(reason) if reason.contains(NOT_A_JOB) => Err(Unfit::OtherJobs(why(reason))),
        Err(reason) => Err(Unfit::Broken(why(reason))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITERATIONS: Iterations =
        Iterations { iterations: 4, segments: 10, iterations_in_segment: 1 };

    /// Times of a side: `at` gives those of each turn, by iteration and place.
    fn side(at: impl Fn(usize, usize) -> f64) -> IterationTimes {
        let turns = (0..ITERATIONS.iterations)
            .flat_map(|iteration| (0..ITERATIONS.segments).map(move |place| (iteration, place)));
        let ns: Vec<u64> =
            turns.map(|(iteration, place)| (at(iteration, place) * 1e6) as u64).collect();
        IterationTimes { processor_ns: ns.clone(), wall_ns: ns }
    }

    fn figures(pairs: &[[IterationTimes; 2]]) -> Vec<f64> {
        let pairs: Vec<[&IterationTimes; 2]> = pairs.iter().map(|[a, b]| [a, b]).collect();
        ratios(&pairs, ITERATIONS).unwrap().into_iter().map(|ratio| ratio.processor).collect()
    }

    #[test]
    fn a_disturbance_is_left_out_and_a_slower_phase_is_not() {
        let even = || side(|_, _| 1.0);
        let slower = side(|_, _| 1.05);
        let near = |found: f64, truth: f64| assert!((found - truth.ln()).abs() < 1e-4, "{found}");
        near(figures(&[[even(), slower]])[0], 1.05);
        // One turn of forty that took twenty times as long.
        let disturbed =
            side(|iteration, place| if (iteration, place) == (1, 3) { 21.0 } else { 1.05 });
        near(figures(&[[even(), disturbed]])[0], 1.05);
        // One place of ten that takes half as long again in every iteration: ln(1.5) there, which weighs
        // 2.5 of 20.5.
        let phase = side(|_, place| if place == 3 { 1.5 } else { 1.0 });
        let found = figures(&[[even(), phase]])[0];
        assert!((found - 1.5f64.ln() * 2.5 / 20.5).abs() < 1e-4, "{found}");
    }

    #[test]
    fn each_pair_keeps_what_is_its_own() {
        let pair = |own: f64| {
            [side(|_, place| 1.0 + place as f64), side(move |_, place| own * (1.0 + place as f64))]
        };
        let found = figures(&[pair(1.00), pair(1.02), pair(1.04), pair(0.97)]);
        for (found, own) in found.iter().zip([1.00f64, 1.02, 1.04, 0.97]) {
            assert!((found - own.ln()).abs() < 1e-3, "{found} of {own}");
        }
        // Neither side is favoured.
        let turned = figures(&[[side(|_, _| 1.1), side(|_, place| 1.0 + place as f64 / 9.0)]])[0];
        let straight = figures(&[[side(|_, place| 1.0 + place as f64 / 9.0), side(|_, _| 1.1)]])[0];
        assert!((turned + straight).abs() < 1e-4, "{turned} {straight}");
    }

    #[test]
    fn iterations_are_cut_into_time_slices_of_about_a_millisecond() {
        for iteration_ns in [2e3, 3e5, 9e5, 1.3e6, 1e7, 9e7] {
            let iterations = cut(iteration_ns);
            let turn =
                iteration_ns * iterations.iterations_in_segment as f64 / iterations.segments as f64;
            assert!((3e5..1.2e6).contains(&turn), "{iteration_ns}: {iterations:?}");
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
        assert_eq!(ratios(&[[&side(|_, _| 0.0), &side(|_, _| 0.0)]], ITERATIONS), None);
    }
}
