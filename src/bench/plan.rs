//! What is to be done. A [`Job`] is one cell; a worker is this program with a plan of
//! one job.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::replay::{Clock, ClockSource, Isolated, Iterations};
use crate::results::{CellKey, Manifest, Pass};

/// A clock in words, so that every child reads time at the rate that the parent measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockRate {
    /// Whether the processor's counter is read, else `CLOCK_MONOTONIC`.
    pub counter: bool,
    /// Ticks in a second.
    pub ticks_per_second: f64,
}

impl ClockRate {
    /// The rate of a calibrated clock.
    pub fn of(clock: &Clock) -> ClockRate {
        ClockRate {
            counter: clock.source() == ClockSource::Counter,
            ticks_per_second: clock.ticks_per_second(),
        }
    }

    /// What the clock reads, as notes and the manifest name it.
    pub fn source_name(self) -> &'static str {
        if self.counter { "time-stamp counter, fenced" } else { "CLOCK_MONOTONIC" }
    }

    /// A clock of this rate.
    pub fn clock(self) -> Clock {
        let source = if self.counter { ClockSource::Counter } else { ClockSource::Monotonic };
        Clock::with_rate(source, self.ticks_per_second)
    }
}

/// How fast a footprint pass goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// The program's times ([`crate::program::Times`]).
    pub times: PathBuf,
    /// Seconds for a second of the program.
    pub factor: f64,
}

/// What a child is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// The backend's version, on standard output; refused for one that breaks a rule of allocators
    /// when it is asked.
    Version {
        /// The backend as written.
        backend: String,
    },
    /// Prove the backend; what was found (see [`Verified`]), on standard output.
    Verify {
        /// The backend as written.
        backend: String,
        /// The compiled program, or `None` for the calls that programs seldom make.
        program: Option<PathBuf>,
    },
    /// Write down where every block lies (see [`crate::replay::address_trace`]); what it ended with, on
    /// standard output.
    AddressTrace {
        /// The backend as written; a pool allocator.
        backend: String,
        /// The compiled program.
        program: PathBuf,
        /// How many of its calls.
        calls: usize,
        /// The file for the places; exists.
        out: PathBuf,
    },
    /// Replay in iterations, taking turns with the other side (see [`super::pairs`]); the times, on
    /// standard output.
    Iterations {
        /// The backend as written.
        backend: String,
        /// The compiled program.
        program: PathBuf,
        /// How the iterations are cut.
        iterations: Iterations,
    },
    /// Time each call over some iterations, taking turns with the other side.
    Tail {
        /// The backend as written.
        backend: String,
        /// The compiled program.
        program: PathBuf,
        /// Segments of an iteration.
        segments: usize,
        /// The clock.
        clock: ClockRate,
        /// Exists and is written to: each call's own time, as 32-bit floats.
        times: Option<PathBuf>,
        /// Else the calls of which the mean goes to standard output, as 32-bit numbers.
        chosen: Option<PathBuf>,
    },
    /// Make some calls and end: whoever runs it counts its instructions (see
    /// [`super::instructions`]).
    Calls {
        /// The backend as written.
        backend: String,
        /// The compiled program.
        program: PathBuf,
        /// How many of its calls.
        calls: usize,
    },
    /// Measure a cell and leave its tables in a folder.
    Measure {
        /// Which.
        cell: CellKey,
        /// In a latency pass, which of its two halves.
        alone: Option<Isolated>,
        /// The compiled program.
        program: PathBuf,
        /// Who asked for each block; read in a footprint pass alone.
        births: Option<PathBuf>,
        /// The program's own times to wait for; in a footprint pass alone.
        pace: Option<Pace>,
        /// Where the tables go; exists.
        folder: PathBuf,
        /// The clock.
        clock: ClockRate,
    },
}

impl Task {
    /// The backend that it is about.
    pub fn backend(&self) -> &str {
        match self {
            Task::Version { backend }
            | Task::Verify { backend, .. }
            | Task::AddressTrace { backend, .. }
            | Task::Iterations { backend, .. }
            | Task::Tail { backend, .. }
            | Task::Calls { backend, .. } => backend,
            Task::Measure { cell, .. } => &cell.backend,
        }
    }
}

/// What proving a backend found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verified {
    /// It kept every rule, in so many calls.
    Proved(u64),
    /// It broke one: which, and where.
    Broken(String),
}

/// A child's work and its bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What to do.
    pub task: Task,
    /// The processor to stay on.
    pub processor: Option<usize>,
    /// Whether the child waits for its turns (see [`super::batch`]); only what is timed does.
    pub time_slices: bool,
}

/// Cells that are measured together: all backends of one trace and repetition for a timed pass,
/// else one cell.
pub type Batch = Vec<CellKey>;

/// Calls up to which latency passes are measured together: each holds 3 bytes a call.
const LATENCY_TOGETHER: usize = 1 << 25;

/// Puts cells that follow each other into batches. `calls` tells how long a trace is.
pub fn batches(cells: &[CellKey], calls: impl Fn(&str) -> usize) -> Vec<Batch> {
    let together = |a: &CellKey, b: &CellKey| {
        let timed = match a.pass {
            Pass::Time => true,
            Pass::Latency => calls(&a.trace) <= LATENCY_TOGETHER,
            Pass::Footprint => false,
        };
        timed && a.pass == b.pass && a.trace == b.trace && a.repetition == b.repetition
    };
    cells.chunk_by(together).map(<[CellKey]>::to_vec).collect()
}

/// The cells of `manifest` that are not `done`, in the order in which they are to run.
///
/// Exact cells first: they run in parallel and disturb nobody. Then the timed ones in rounds, so
/// that each backend and each pass meets the same drift of the machine; within a round the traces
/// and, for each, its backends come in an order drawn from the manifest's seed.
pub fn order(manifest: &Manifest, done: &HashSet<CellKey>) -> Vec<CellKey> {
    let mut cells: Vec<CellKey> =
        manifest.planned().into_iter().filter(|cell| !done.contains(cell)).collect();
    cells.sort_by_key(|cell| {
        let timed = cell.pass != Pass::Footprint;
        let draw = |words: &[&str]| draw(manifest.seed, cell, words);
        (
            timed,
            cell.repetition,
            cell.pass,
            if timed { draw(&[&cell.trace]) } else { 0 },
            cell.trace.clone(),
            if timed { draw(&[&cell.trace, &cell.backend]) } else { 0 },
            cell.backend.clone(),
        )
    });
    cells
}

/// A number that depends on the seed, the round and the words: FNV-1a, finished by a multiply.
fn draw(seed: u64, cell: &CellKey, words: &[&str]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325 ^ seed;
    let round = [cell.repetition as u8, cell.pass as u8];
    for byte in words.iter().flat_map(|word| word.bytes()).chain(round) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    (hash ^ hash >> 29).wrapping_mul(0x94D0_49BB_1331_11EB) >> 32
}
