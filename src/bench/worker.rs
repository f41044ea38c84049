//! A job in a child process, seen from the parent.
//!
//! The child is this program again (`/proc/self/exe worker`). It has an empty environment but for
//! what allocators read (`child_environment.rs`), the same addresses every time where figures are exact
//! (`fixed_addresses.rs`), and a process group of its own, so that Ctrl-C reaches only the parent.
//! It dies with its parent. A child that crashes, hangs or takes too much memory costs its own
//! cell.
//!
//! What the child and the libraries in it print goes to a file without a name. Its last line is
//! reported where the child gives no answer.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::child_environment::environment;
use super::failure::{ChildFailure, Failure};
use super::files::{JobFiles, memory_file};
use super::fixed_addresses::FixedAddresses;
use super::job::Job;
use super::protocol::{Answer, FromChild, ParentEnd, Received, ToChild};
use super::side::Side;

/// The interval between two looks at a child's limits.
const LOOK: Duration = Duration::from_millis(50);

/// What a child may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChildLimits {
    /// Wall time in which the parent waits for the child.
    pub time: Duration,
    /// Resident private memory, looked at every 50 ms.
    pub memory_bytes: u64,
}

/// Set when the run is to end: children are killed, nothing new begins.
pub static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Whether the run is to end.
pub fn cancelled() -> bool {
    CANCELLED.load(Ordering::Relaxed)
}

/// A child at work. A child that is dropped without [`Worker::end`] is killed.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    socket: ParentEnd,
    limits: ChildLimits,
    began: Instant,
    /// What the child prints.
    printed: File,
    /// How long the parent waited for the child.
    waited: Duration,
    /// When the child was last held against its limits.
    looked: Instant,
    /// What the child reported.
    result: Option<Result<Answer, Failure>>,
    /// Why the child was killed, if it was.
    stopped: Option<ChildFailure>,
    /// Whether the child has been waited for.
    is_over: bool,
}

/// What a [`Worker`] was waited for.
#[derive(PartialEq)]
enum Woke {
    /// The child waits for a time slice.
    Ready,
    /// The child is done, has closed its socket, or was stopped.
    Over,
}

impl Worker {
    /// Starts `job` in a child.
    ///
    /// # Errors
    /// When the child cannot be started at all.
    pub fn start(
        side: &Side,
        job: &Job,
        files: JobFiles,
        limits: ChildLimits,
    ) -> std::io::Result<Worker> {
        let is_fixed = job.task.has_fixed_addresses() || side.layout.is_some();
        let _fixed = is_fixed.then(FixedAddresses::begin);
        Worker::start_by(side.command(), job, files, limits)
    }

    /// As [`Worker::start`], by another command that ends in `heaplay worker`, such as one under
    /// valgrind. The command's environment is the caller's to clear.
    ///
    /// # Errors
    /// When the child cannot be started at all.
    pub fn start_by(
        mut command: Command,
        job: &Job,
        files: JobFiles,
        limits: ChildLimits,
    ) -> std::io::Result<Worker> {
        let (socket, child_end) = ParentEnd::pair()?;
        let printed = memory_file("heaplay-printed", |_| Ok(()))?;
        command
            .envs(environment(job.task.backend())?)
            .stdin(child_end)
            .stdout(printed.try_clone()?)
            .stderr(printed.try_clone()?)
            .process_group(0);
        let child = command.spawn()?;
        drop(command); // and with it the parent's copy of the child's end
        // A child that has died already has closed its end; waiting for it says why.
        let _ = socket.send(ToChild::Job(job, &files));
        let began = Instant::now();
        Ok(Worker {
            child,
            socket,
            limits,
            began,
            printed,
            waited: Duration::ZERO,
            looked: began,
            result: None,
            stopped: None,
            is_over: false,
        })
    }

    /// Gives a time slice to a child that waits for one, and waits for the end of it. `false` when
    /// the child wants no more.
    pub fn run_time_slice(&mut self) -> bool {
        self.give_time_slice();
        self.is_ready()
    }

    /// Gives a time slice without waiting for its end. A child that has died has closed its end;
    /// waiting for it says why.
    pub fn give_time_slice(&mut self) {
        let _ = self.socket.send(ToChild::TimeSlice);
    }

    /// Waits until the child waits for a time slice. `false` when it wants no more.
    pub fn is_ready(&mut self) -> bool {
        self.wait() == Woke::Ready
    }

    /// Waits until the child sends a message or ends, or stops it at a limit. The child's time runs
    /// only while the parent waits for it, so that one that hangs costs the others of its batch
    /// nothing.
    fn wait(&mut self) -> Woke {
        let began = Instant::now();
        let woke = self.wait_since(began);
        self.waited += began.elapsed();
        woke
    }

    fn wait_since(&mut self, began: Instant) -> Woke {
        let mut received = self.socket.next();
        loop {
            match received {
                Received::Message(FromChild::Ready) => return Woke::Ready,
                Received::Message(FromChild::Done(result)) => {
                    self.result = Some(result);
                    return Woke::Over;
                }
                Received::End => return Woke::Over,
                Received::Malformed(reason) => {
                    self.stop(ChildFailure::WrongAnswer(reason));
                    return Woke::Over;
                }
                Received::Part => {}
            }
            if self.is_stopped_at_a_limit(began) {
                return Woke::Over;
            }
            received =
                if is_readable(&self.socket) { self.socket.receive() } else { Received::Part };
        }
    }

    /// Waits until the process has ended, or stops it at a limit.
    fn wait_for_exit(&mut self) -> std::io::Result<ExitStatus> {
        let began = Instant::now();
        // A kernel without such descriptors waits without limits.
        if let Some(process) = descriptor_of(&self.child) {
            while !is_readable(&process) && !self.is_stopped_at_a_limit(began) {}
        }
        let status = self.child.wait()?;
        self.is_over = true;
        Ok(status)
    }

    /// Looks at the limits if the last look is long ago, and stops the child beyond one. `began` is
    /// when this wait began.
    fn is_stopped_at_a_limit(&mut self, began: Instant) -> bool {
        // Also of a child that keeps the parent from waiting: one with time slices.
        if self.looked.elapsed() < LOOK {
            return false;
        }
        self.looked = Instant::now();
        let Some(failure) = self.beyond_a_limit(self.waited + began.elapsed()) else {
            return false;
        };
        self.stop(failure);
        true
    }

    /// Why the child must not go on after so long, if so.
    fn beyond_a_limit(&self, waited: Duration) -> Option<ChildFailure> {
        let ChildLimits { time, memory_bytes } = self.limits;
        if cancelled() {
            return Some(ChildFailure::Cancelled);
        }
        if waited > time {
            return Some(ChildFailure::OverTime { seconds: time.as_secs() });
        }
        (private_bytes(self.child.id()) > memory_bytes)
            .then_some(ChildFailure::OverMemory { bytes: memory_bytes })
    }

    fn stop(&mut self, failure: ChildFailure) {
        let _ = self.child.kill();
        self.stopped.get_or_insert(failure);
    }

    /// Waits for the child's end; no further time slice comes.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn end(mut self) -> Result<Answer, ChildFailure> {
        self.socket.close();
        while self.result.is_none() && self.wait() == Woke::Ready {}
        let status = self.wait_for_exit();
        if cancelled() {
            return Err(ChildFailure::Cancelled);
        }
        if let Some(failure) = self.stopped.take() {
            return Err(failure);
        }
        let status = status.map_err(ChildFailure::not_started("the child".as_ref()))?;
        if let Some(signal) = status.signal() {
            return Err(ChildFailure::Killed { signal, last_line: last_line(&mut self.printed) });
        }
        match self.result.take() {
            Some(Err(failure)) => Err(ChildFailure::Reported(failure)),
            Some(Ok(answer)) if status.success() => Ok(answer),
            _ => Err(ChildFailure::NoAnswer {
                status: status.to_string(),
                last_line: last_line(&mut self.printed),
            }),
        }
    }

    /// When the child was started.
    pub fn began(&self) -> Instant {
        self.began
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs `job` in a child of this build and waits for its end.
///
/// # Errors
/// Why there is no answer.
pub fn run(job: &Job, files: JobFiles, limits: ChildLimits) -> Result<Answer, ChildFailure> {
    run_side(&Side::of(job.task.backend()), job, files, limits)
}

/// Runs `job` in a child of a side and waits for its end.
///
/// # Errors
/// Why there is no answer.
pub fn run_side(
    side: &Side,
    job: &Job,
    files: JobFiles,
    limits: ChildLimits,
) -> Result<Answer, ChildFailure> {
    Worker::start(side, job, files, limits)
        .map_err(ChildFailure::not_started(&side.executable()))?
        .end()
}

/// Whether something can be read within [`LOOK`].
fn is_readable(file: &impl AsFd) -> bool {
    let pause = Timespec { tv_sec: 0, tv_nsec: LOOK.as_nanos() as i64 };
    poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&pause)).is_ok_and(|ready| ready > 0)
}

/// A descriptor that can be read once the process has ended.
fn descriptor_of(child: &Child) -> Option<OwnedFd> {
    pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()
}

fn private_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut fields = text.split(' ').skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

/// The last line of what a child printed, which may be very much.
fn last_line(printed: &mut File) -> String {
    let mut text = Vec::new();
    let length = printed.seek(SeekFrom::End(0)).unwrap_or(0);
    let _ = printed.seek(SeekFrom::Start(length.saturating_sub(64 << 10)));
    let _ = printed.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    text.trim().lines().next_back().unwrap_or_default().trim().to_owned()
}
