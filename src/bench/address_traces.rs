//! Where the blocks of pool allocators lie: replays in children, which write it down call by call
//! into files in memory.

use std::fs::File;
use std::io::{self, BufReader, Read};

use super::failure::ChildFailure;
use super::files::{JobFiles, SharedReader, memory_file};
use super::job::{Job, Task};
use super::protocol::Answer;
use super::settings::Settings;
use super::worker::{self, ChildLimits};
use super::workload::Workload;
use crate::backends::arenas::ArenaChange;
use crate::replay::{AddressEntry, FinalState};

/// Why two could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A child gave no answer.
    #[error("{}", failure.about(backend))]
    Child {
        /// Its backend.
        backend: String,
        /// Its reason.
        failure: ChildFailure,
    },
    /// What a child wrote down ends early.
    #[error("a child's address trace is cut off: {0}")]
    CutOff(#[from] io::Error),
    /// A thread that waits for a child has died.
    #[error("a thread of the comparison died")]
    Thread,
}

/// Where and how programs are replayed for a comparison.
pub(super) struct Replayer<'a> {
    pub workload: &'a Workload,
    pub settings: &'a Settings,
}

/// Replays `workload` up to a call: what was there then.
///
/// # Errors
/// Why it could not be done.
pub fn arenas_at(
    spec: &str,
    workload: &Workload,
    settings: &Settings,
    calls: usize,
) -> Result<FinalState, CompareError> {
    Ok(Replayer { workload, settings }.address_trace(spec, calls)?.ending)
}

/// What a child wrote down.
pub(super) struct AddressTrace {
    pub file: File,
    /// What the replay ended with.
    pub ending: FinalState,
}

impl Replayer<'_> {
    /// Replays up to a call on both, at once.
    pub fn both(&self, specs: [&str; 2], calls: usize) -> Result<[AddressTrace; 2], CompareError> {
        let [left, right] = std::thread::scope(|scope| {
            specs
                .map(|spec| scope.spawn(move || self.address_trace(spec, calls)))
                .map(|thread| thread.join().unwrap_or(Err(CompareError::Thread)))
        });
        Ok([left?, right?])
    }

    /// Replays up to a call in a child.
    pub fn address_trace(&self, spec: &str, calls: usize) -> Result<AddressTrace, CompareError> {
        let Replayer { workload, settings } = self;
        let failed = |failure| CompareError::Child { backend: spec.to_owned(), failure };
        let file = memory_file("heaplay-addresses", |_| Ok(()))?;
        let mut files = JobFiles::default();
        let task = Task::AddressTrace {
            backend: spec.to_owned(),
            program: workload.share(&mut files)?,
            calls,
            out: files.share(&file)?,
        };
        let limits = ChildLimits {
            time: settings.time_limit(calls) * 4,
            memory_bytes: settings.memory_bytes,
        };
        match worker::run(&Job::untimed(task), files, limits).map_err(failed)? {
            Answer::AddressTrace(ending) => Ok(AddressTrace { file, ending }),
            other => Err(failed(ChildFailure::answered(&other))),
        }
    }
}

/// Reads an address trace call by call.
pub(super) struct AddressTraceReader(BufReader<SharedReader>);

/// What happened to arenas during a call, and where its block lies.
pub(super) type TracedCall = (Vec<ArenaChange>, AddressEntry);

impl AddressTraceReader {
    /// At the start of the file.
    pub fn of(file: File) -> AddressTraceReader {
        AddressTraceReader(BufReader::with_capacity(1 << 16, SharedReader::new(file)))
    }

    /// The next call.
    ///
    /// # Errors
    /// When the file ends.
    pub fn next(&mut self) -> Result<TracedCall, CompareError> {
        let mut changes = Vec::new();
        loop {
            let mut bytes = [0; 8];
            self.0.read_exact(&mut bytes)?;
            match AddressEntry::from_bytes(bytes) {
                AddressEntry::Change(change) => changes.push(change),
                place => return Ok((changes, place)),
            }
        }
    }
}
