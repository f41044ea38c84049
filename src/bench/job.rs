//! What a child is requested to do: a [`Job`], which goes to the child as JSON with its files
//! beside it (`files.rs`).

use serde::{Deserialize, Serialize};

use super::files::FileNumber;
use super::free_figures::FreePass;
use crate::cpython::CollectorRecord;
use crate::replay::{Clock, ClockSource, Isolated, Iterations, Lanes, PaceMethod};
use crate::results::{CellKey, Pass};

/// The rate of a clock. Every child reads time at the rate that the parent measured.
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

/// The program of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramInput {
    /// A file that holds the whole program; all children share it.
    Whole(FileNumber),
    /// A pipe of the child's own, through which the program comes in parts.
    Parts(FileNumber),
}

/// The times by which a footprint pass goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PacedBy {
    /// The program's times ([`crate::program::Times`]).
    pub times: FileNumber,
    /// How the pass goes by them.
    pub method: PaceMethod,
}

/// The addresses of a child that makes a footprint pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChildAddresses {
    /// The same every time, so that exact figures are the same.
    #[default]
    Fixed,
    /// Drawn at random, as those of a program. An allocator that seeds its random numbers by an
    /// address then makes other decisions each time.
    Random,
}

/// One measurement of a cell. The child leaves its tables in a folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellTask {
    /// Which cell.
    pub cell: CellKey,
    /// In a latency pass, which of its two halves.
    pub isolated: Option<Isolated>,
    /// The compiled program.
    pub program: ProgramInput,
    /// The site of each request; only for a footprint pass.
    pub sites: Option<FileNumber>,
    /// The program's own times; only for a footprint pass.
    pub pace: Option<PacedBy>,
    /// What the recorded program's collector visited; only for a traversal pass.
    pub collector: Option<CollectorRecord>,
    /// The child's addresses; those of a timed pass are always random.
    pub addresses: ChildAddresses,
    /// The folder for the tables; exists.
    pub folder: std::path::PathBuf,
    /// The clock.
    pub clock: ClockRate,
}

/// What a child does. Its answer is the variant of that name of [`super::protocol::Answer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Report the backend's version; fails for a backend that breaks the contract of allocators.
    Version {
        /// The backend's spec.
        backend: String,
    },
    /// Prove the backend.
    Verify {
        /// The backend's spec.
        backend: String,
        /// The compiled program, or `None` for the calls that programs seldom make.
        program: Option<FileNumber>,
    },
    /// Write down where every block lies ([`crate::replay::address_trace_of`]).
    AddressTrace {
        /// The backend's spec; a pool allocator.
        backend: String,
        /// The compiled program.
        program: FileNumber,
        /// How many of its calls.
        calls: usize,
        /// The file for the addresses.
        out: FileNumber,
    },
    /// Replay in iterations, in time slices interleaved with another child's ([`super::pairs`]).
    Iterations {
        /// The backend's spec.
        backend: String,
        /// The compiled program.
        program: FileNumber,
        /// How the iterations are cut.
        iterations: Iterations,
    },
    /// Time each call over some iterations, interleaved likewise.
    CallTimes {
        /// The backend's spec.
        backend: String,
        /// The compiled program.
        program: FileNumber,
        /// Segments of an iteration.
        segments: usize,
        /// The clock.
        clock: ClockRate,
        /// The file for each call's own time, as 32-bit floats.
        times: FileNumber,
    },
    /// The mean time of some calls over some iterations, interleaved likewise.
    Tail {
        /// The backend's spec.
        backend: String,
        /// The compiled program.
        program: FileNumber,
        /// Segments of an iteration.
        segments: usize,
        /// The clock.
        clock: ClockRate,
        /// The calls, as rising 32-bit numbers.
        chosen: FileNumber,
    },
    /// Make some calls and end, for a count of instructions ([`super::instructions()`]).
    Calls {
        /// The backend's spec.
        backend: String,
        /// The compiled program.
        program: FileNumber,
        /// How many of its calls.
        calls: usize,
    },
    /// Replay with the program's threads at once ([`super::free_order`]).
    FreeOrder {
        /// The backend's spec.
        backend: String,
        /// The compiled program.
        program: FileNumber,
        /// How its calls are shared out over threads.
        lanes: Lanes,
        /// What is measured.
        pass: FreePass,
        /// The clock of single calls.
        clock: ClockRate,
    },
    /// Measure a cell.
    Measure(CellTask),
}

impl Task {
    /// The spec of the backend that the task is about.
    pub fn backend(&self) -> &str {
        match self {
            Task::Version { backend }
            | Task::Verify { backend, .. }
            | Task::AddressTrace { backend, .. }
            | Task::Iterations { backend, .. }
            | Task::CallTimes { backend, .. }
            | Task::Tail { backend, .. }
            | Task::Calls { backend, .. }
            | Task::FreeOrder { backend, .. } => backend,
            Task::Measure(task) => &task.cell.backend,
        }
    }

    /// Whether addresses must be the same every time, since the figures are exact.
    pub(super) fn has_fixed_addresses(&self) -> bool {
        matches!(self, Task::Measure(task) if task.cell.pass == Pass::Footprint
            && task.addresses == ChildAddresses::Fixed)
    }
}

/// A child's work and how it is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What to do.
    pub task: Task,
    /// The processor to stay on.
    pub processor: Option<usize>,
    /// Whether the child waits for its time slices (see [`super::time_slices`]). Only timed
    /// children do.
    pub has_time_slices: bool,
}

impl Job {
    /// A job that is not timed: on any processor, without pauses.
    pub fn untimed(task: Task) -> Job {
        Job { task, processor: None, has_time_slices: false }
    }

    /// A job in time slices on one processor.
    pub fn timed(task: Task, processor: Option<usize>) -> Job {
        Job { task, processor, has_time_slices: true }
    }
}

/// What proving a backend found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verified {
    /// The backend held every rule in so many calls.
    Proved(u64),
    /// The backend broke a rule: which, and where.
    Broken(String),
}
