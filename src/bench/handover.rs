//! How a child comes by its program: a memory file that all children share, or, for a
//! trace that is larger than the memory for it, a pipe of its own, which a thread of the parent
//! fills while it decodes the trace.
//!
//! The thread keeps off the processor on which the child is timed. It is about one part (8 MiB of
//! instructions) ahead: what a child and its thread need together does not grow with the trace.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::machine::processors;
use crate::program::{Outline, write_parts};
use crate::trace;

/// A program on its way to one child. Held until the child has ended.
pub struct Handover {
    path: PathBuf,
    pipe: Option<Pipe>,
}

/// The pipe and who fills it.
struct Pipe {
    /// Held so that the child can open it by its path.
    _reader: PipeReader,
    is_over: Arc<AtomicBool>,
    decoder: JoinHandle<Result<(), String>>,
}

impl Handover {
    /// By a file.
    pub(super) fn by_file(path: PathBuf) -> Handover {
        Handover { path, pipe: None }
    }

    /// By a pipe, from the trace at `trace`, for a child that runs on `processor`.
    ///
    /// # Errors
    /// When there is no pipe or no thread to be had.
    pub(super) fn by_pipe(
        trace: &Path,
        outline: &Arc<Outline>,
        processor: Option<usize>,
    ) -> io::Result<Handover> {
        let (reader, writer) = io::pipe()?;
        // The child opens the pipe anew, by its path; only this end must not block.
        rustix::io::ioctl_fionbio(&writer, true)?;
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), reader.as_raw_fd()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (trace, outline) = (trace.to_owned(), Arc::clone(outline));
        let mut out = Patient { writer, is_over: Arc::clone(&is_over) };
        let decoder = std::thread::Builder::new().name("decoder".to_owned()).spawn(move || {
            keep_off(processor);
            let decoded = trace::open(&trace).map_err(Into::into).and_then(|mut reader| {
                reader.skip_validation(); // compiling proves it, and the child does so again
                write_parts(reader.as_mut(), &outline, &mut out)
            });
            decoded.map_err(|error| format!("{}: {error}", trace.display()))
        })?;
        Ok(Handover { path, pipe: Some(Pipe { _reader: reader, is_over, decoder }) })
    }

    /// Where the child finds it.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The child has ended, well or not: why the trace could not be decoded to its end, if that was
    /// not for want of a reader.
    pub fn end(self, ended_well: bool) -> Option<String> {
        let pipe = self.pipe?;
        pipe.is_over.store(true, Ordering::Relaxed);
        let decoded =
            pipe.decoder.join().unwrap_or_else(|_| Err("the decoder panicked".to_owned()));
        decoded.err().filter(|reason| !ended_well && !reason.contains(NO_READER))
    }
}

/// Lets this thread run anywhere but there, where there is another place.
fn keep_off(processor: Option<usize>) {
    let mut others = rustix::thread::CpuSet::new();
    processors()
        .into_iter()
        .filter(|other| Some(*other) != processor)
        .for_each(|other| others.set(other));
    if others.count() > 0 {
        let _ = rustix::thread::sched_setaffinity(None, &others);
    }
}

/// In the error of a write that nobody waits for any more.
const NO_READER: &str = "the child has ended";

/// Writes to the pipe for as long as the child lives.
struct Patient {
    writer: PipeWriter,
    is_over: Arc<AtomicBool>,
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.writer.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
            if self.is_over.load(Ordering::Relaxed) {
                return Err(io::Error::other(NO_READER));
            }
            let mut fds = [PollFd::from_borrowed_fd(self.writer.as_fd(), PollFlags::OUT)];
            let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let _ = poll(&mut fds, Some(&pause));
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
