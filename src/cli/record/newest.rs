//! Limits the raw logs of a recording to their newest part, while the program runs.
//!
//! A thread of heaplay looks at the logs from time to time. Where one has grown past the limit, the
//! thread folds its oldest part (`trace/raw_fold.rs`) and gives the space back to the file system. The
//! recorded program does nothing of this.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use super::Logs;
use crate::trace::fold_oldest;

/// The time from one look at the logs to the next.
const INTERVAL: Duration = Duration::from_millis(50);

/// Which part of a raw log stays when it grows past its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RetainedPart {
    /// The first part: the recording ends at the limit
    #[default]
    First,
    /// The newest part: the recording goes on
    Newest,
}

/// The thread that folds logs.
pub struct NewestPart {
    thread: JoinHandle<()>,
    ended: Sender<()>,
}

impl NewestPart {
    /// Begins to look at logs.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn begin(logs: Logs, most_bytes: u64) -> anyhow::Result<NewestPart> {
        let (ended, receiver) = channel();
        let look = move || {
            let mut is_reported = false;
            loop {
                let is_last = receiver.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
                if let Err(error) = fold_all(&logs, most_bytes)
                    && !is_reported
                {
                    // The recording goes on, with a log that grows.
                    print_note!("heaplay: the oldest part of a raw log stays: {error:#}");
                    is_reported = true;
                }
                if is_last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("newest part".into())
            .spawn(look)
            .context("cannot start a thread")?;
        Ok(NewestPart { thread, ended })
    }

    /// Looks at the logs once more. The program has ended.
    pub fn end(self) {
        // The thread is waiting for this, unless it has panicked.
        let is_sent = self.ended.send(()).is_ok();
        if self.thread.join().is_err() || !is_sent {
            print_note!("heaplay: the oldest part of a raw log stays");
        }
    }
}

/// Folds each log that is too large.
fn fold_all(logs: &Logs, most_bytes: u64) -> anyhow::Result<()> {
    for path in logs.paths()? {
        // A log whose header is not whole has no chunks yet.
        if std::fs::metadata(&path).map_or(0, |metadata| metadata.len()) <= most_bytes {
            continue;
        }
        if let Some(fold) = fold_oldest(&path, most_bytes)? {
            release(&path, fold.released_bytes()).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Gives a range of a file back to the file system, as offset and length. A file system that cannot
/// do that leaves the bytes.
fn release(path: &Path, (offset, length): (u64, u64)) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let (offset, length) = (offset.cast_signed(), length.cast_signed());
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    #[expect(unsafe_code, reason = "the standard library has no call that releases a range")]
    // SAFETY: a system call on an open file.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) };
    let error = io::Error::last_os_error();
    if result == 0 || error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(()) } else { Err(error) }
}
