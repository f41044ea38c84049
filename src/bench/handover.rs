//! How a child gets a program that is larger than the memory for it: through a pipe of its own,
//! which a thread of the parent fills while it decodes the trace.
//!
//! The thread leaves the processor on which the child is timed. It is about one part (8 MiB of
//! instructions) ahead, so that the memory of a child and its thread does not grow with the trace.
//! Once the child has the pipe's reader, it is the only one: a child that ends, ends the thread.

use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::machine::processors;
use crate::program::{Outline, ProgramError, write_parts};
use crate::trace;

/// The thread that decodes a trace for one reader; none for a program that needs no decoding.
#[must_use]
pub struct Decoder(Option<JoinHandle<Result<(), Undecoded>>>);

/// Why a trace was not decoded to its end.
#[derive(Debug, thiserror::Error)]
enum Undecoded {
    /// Nobody reads the parts any more.
    #[error("the reader has ended")]
    NoReader,
    /// The trace, or the pipe.
    #[error("{0}")]
    Broken(String),
}

impl Undecoded {
    fn of(error: ProgramError, trace: &Path) -> Undecoded {
        match error {
            ProgramError::Handing(error) if error.kind() == ErrorKind::BrokenPipe => {
                Undecoded::NoReader
            }
            error => Undecoded::Broken(format!("{}: {error}", trace.display())),
        }
    }
}

impl Decoder {
    /// A program that needs no decoding.
    pub(super) fn none() -> Decoder {
        Decoder(None)
    }

    /// Decodes the trace at `trace` for a reader that is timed on `processor`, with the sites of the
    /// requests where `site_of` has those of the trace. Whoever gets the reader's end of the pipe
    /// drops it when the reading is over.
    ///
    /// # Errors
    /// When there is no pipe or no thread to be had.
    pub(super) fn start(
        trace: &Path,
        outline: &Arc<Outline>,
        site_of: Option<Arc<[u32]>>,
        processor: Option<usize>,
    ) -> io::Result<(PipeReader, Decoder)> {
        let (reader, writer) = io::pipe()?;
        let (trace, outline) = (trace.to_owned(), Arc::clone(outline));
        let work = move || {
            leave(processor);
            let decoded = decode(&trace, &outline, site_of.as_deref(), writer);
            decoded.map_err(|error| Undecoded::of(error, &trace))
        };
        let thread = std::thread::Builder::new().name("decoder".to_owned()).spawn(work)?;
        Ok((reader, Decoder(Some(thread))))
    }

    /// Waits for the thread, whose reader has ended: why the trace could not be decoded, if that is
    /// what ended the reader.
    pub fn end(self, ended_well: bool) -> Option<String> {
        let decoded = self.0?.join();
        let panicked = || Err(Undecoded::Broken("the decoder panicked".to_owned()));
        match decoded.unwrap_or_else(|_| panicked()) {
            Err(Undecoded::Broken(reason)) if !ended_well => Some(reason),
            _ => None,
        }
    }
}

fn decode(
    trace: &Path,
    outline: &Arc<Outline>,
    site_of: Option<&[u32]>,
    mut out: PipeWriter,
) -> Result<(), ProgramError> {
    let mut reader = trace::open(trace)?;
    reader.skip_validation(); // compiling proved the trace, and the child proves it again
    write_parts(reader.as_mut(), outline, site_of, &mut out)
}

/// Lets this thread run on any processor but that one, where there is another.
fn leave(processor: Option<usize>) {
    let mut others = rustix::thread::CpuSet::new();
    processors()
        .into_iter()
        .filter(|other| Some(*other) != processor)
        .for_each(|other| others.set(other));
    if others.count() > 0 {
        let _ = rustix::thread::sched_setaffinity(None, &others);
    }
}
