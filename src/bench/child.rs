//! The child's side of a job: reads it, does it, answers.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::measure::perform;
use super::plan::{Job, Task};
use crate::replay::{ReplayError, waiting};
use crate::results::Pass;

/// How a child begins that does not understand what it is to do. Other builds look for it.
pub(super) const NOT_A_JOB: &str = "worker: not a job";

/// The child's side: reads a job from standard input, does it, prints its result.
///
/// # Errors
/// The reason, in one line.
pub fn serve() -> Result<String, String> {
    let mut text = String::new();
    let read = match std::env::var_os(ONCE) {
        Some(path) => File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
        None => std::io::stdin().read_line(&mut text),
    };
    read.map_err(|error| format!("worker: no job: {error}"))?;
    let job: Job = serde_json::from_str(&text)
        .map_err(|error| format!("{NOT_A_JOB}: {error}; this verb is for heaplay itself"))?;
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if let Some(processor) = job.processor {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        let _ = rustix::thread::sched_setaffinity(None, &set); // told in the manifest, not vital
    }
    let exact = matches!(&job.task, Task::Measure { cell, .. } if cell.pass == Pass::Footprint)
        || std::env::var_os(LAYOUT).is_some();
    if exact && randomised() {
        return Err(without_randomisation(&text));
    }
    perform(&job, || if job.time_slices { await_time_slice() } else { Ok(()) })
        .map_err(|error| error.to_string())
}

/// Says that this child is ready for its next turn, and waits for it. The end of input is no turn:
/// the parent is gone.
fn await_time_slice() -> Result<(), ReplayError> {
    let asked = rustix::io::write(rustix::stdio::stdout(), b"r");
    let mut token = [0];
    // What an allocator does by the clock it does by its own time, not by that of the others.
    match (asked, waiting(|| rustix::io::read(rustix::stdio::stdin(), &mut token))) {
        (Ok(1), Ok(1)) => Ok(()),
        _ => Err(ReplayError::NoTimeSlice),
    }
}

/// Whether this process's addresses were drawn at random.
fn randomised() -> bool {
    let personality = fs::read_to_string("/proc/self/personality").unwrap_or_default();
    let bits = u64::from_str_radix(personality.trim(), 16).unwrap_or(0);
    bits & libc::ADDR_NO_RANDOMIZE as u64 == 0 && std::env::var_os(ONCE).is_none()
}

/// In the environment of a child whose addresses shall depend on this variable's length alone.
pub(super) const LAYOUT: &str = "HEAPLAY_LAYOUT";

/// In the environment of a child that began again: the file with its job. Its standard input stays
/// that of the first.
const ONCE: &str = "HEAPLAY_WORKER_ONCE";

/// Begins this program again with addresses that are the same every time. Returns only when that
/// fails.
fn without_randomisation(job: &str) -> String {
    #[expect(unsafe_code, reason = "personality has no safe wrapper")]
    // SAFETY: sets a flag of this process that takes effect at the next exec.
    unsafe {
        libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
    }
    let result = (|| {
        // Stays open in the program that begins.
        let mut file =
            File::from(rustix::fs::memfd_create("heaplay-job", rustix::fs::MemfdFlags::empty())?);
        file.write_all(job.as_bytes())?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Err::<(), _>(Command::new("/proc/self/exe").arg("worker").env(ONCE, path).exec())
    })();
    match result {
        Err(error) => format!("worker: cannot begin again without address randomisation: {error}"),
        Ok(()) => String::new(),
    }
}
