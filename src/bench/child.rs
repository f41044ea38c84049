//! The child's side of a job: receives it, does it, sends the answer.

use std::process::ExitCode;

use super::failure::Failure;
use super::files::ReceivedFiles;
use super::job::Job;
use super::library_start;
use super::perform::perform;
use super::protocol::{Answer, ChildEnd, FromChild};
use crate::replay::{ReplayError, waiting};

/// Does the job that comes over standard input, which is a socket of the parent's, and answers
/// there. Whoever else starts this verb reads why it does nothing.
pub fn serve() -> ExitCode {
    library_start::note();
    match answer() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            anstream::eprintln!("worker: not a job: {error}; this verb is for heaplay itself");
            ExitCode::from(2)
        }
    }
}

/// Answers the parent; whether the job was done.
fn answer() -> std::io::Result<bool> {
    let parent = ChildEnd::from_stdin()?;
    let result = parent.receive_job().and_then(|(job, files)| do_job(&parent, &job, files));
    let is_done = result.is_ok();
    parent.send(&FromChild::Done(result))?;
    Ok(is_done)
}

fn do_job(parent: &ChildEnd, job: &Job, files: ReceivedFiles) -> Result<Answer, Failure> {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if let Some(processor) = job.processor {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        let _ = rustix::thread::sched_setaffinity(None, &set); // the manifest names it; not vital
    }
    perform(job, files, || if job.has_time_slices { await_time_slice(parent) } else { Ok(()) })
}

/// Waits for this child's next time slice. Without a parent there is none.
fn await_time_slice(parent: &ChildEnd) -> Result<(), ReplayError> {
    let reported = parent.send(&FromChild::Ready);
    // What an allocator does after a delay it does by its own time, not by that of the others.
    match (reported, waiting(|| parent.receive_time_slice())) {
        (Ok(()), true) => Ok(()),
        _ => Err(ReplayError::NoTimeSlice),
    }
}
