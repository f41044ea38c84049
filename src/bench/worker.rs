//! A job in a child process of its own, watched from outside.
//!
//! The child is this program again (`/proc/self/exe worker`), with the job on its standard input.
//! It gets an empty environment but for what allocators read, no address randomisation where
//! figures must be exact, a process group of its own (so that Ctrl-C reaches the parent alone) and
//! it dies with its parent. One that crashes, hangs or takes too much memory costs its own cell.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::environment::environment;
use super::plan::Job;

/// How often a child is held against its limits.
const LOOK: Duration = Duration::from_millis(50);

/// What a child may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Wall time in which it is waited for.
    pub time: Duration,
    /// Resident private memory, looked at every 50 ms.
    pub memory_bytes: u64,
}

/// How a child ended.
#[derive(Debug)]
pub enum Ended {
    /// Well; what it wrote to standard output.
    Well(String),
    /// By itself, with a reason.
    Badly(String),
    /// By a signal: it crashed, or gave up.
    Killed(String),
    /// At one of its limits.
    Stopped(String),
    /// The run was interrupted.
    Cancelled,
}

impl Ended {
    /// What it wrote, or why there is nothing.
    ///
    /// # Errors
    /// Every end but a good one.
    pub fn well(self) -> Result<String, String> {
        match self {
            Ended::Well(text) => Ok(text),
            Ended::Badly(reason) | Ended::Killed(reason) | Ended::Stopped(reason) => Err(reason),
            Ended::Cancelled => Err("interrupted".to_owned()),
        }
    }
}

/// Set when the run is to end: children are killed, nothing new begins.
pub static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Whether the run is to end.
pub fn cancelled() -> bool {
    CANCELLED.load(Ordering::Relaxed)
}

/// A child at work.
pub struct Worker {
    child: Child,
    limits: Limits,
    began: Instant,
    /// What it writes to standard error: a file without a name, so that nothing is left behind.
    errors: File,
    output: Vec<u8>,
    /// How long it was waited for.
    spent: Duration,
    /// When it was last held against its limits.
    looked: Instant,
    /// Why it was killed, if it was.
    stopped: Option<String>,
}

/// What a [`Worker`] was waited for.
enum Woke {
    /// It wrote something.
    Wrote,
    /// Its output is closed, or it was stopped: it has ended, or is about to.
    Closed,
}

impl Worker {
    /// Starts `job` in a child.
    ///
    /// # Errors
    /// When the child cannot be started at all.
    pub fn start(job: &Job, limits: Limits) -> std::io::Result<Worker> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("worker").env_clear();
        Worker::start_by(command, job, limits)
    }

    /// The same by another command that ends in `heaplay worker`: another build, or one that is
    /// watched. Its environment is the caller's to clear.
    ///
    /// # Errors
    /// When the child cannot be started at all.
    pub fn start_by(mut command: Command, job: &Job, limits: Limits) -> std::io::Result<Worker> {
        let mut input = serde_json::to_vec(job).map_err(std::io::Error::other)?;
        input.push(b'\n');
        let errors = File::from(rustix::fs::memfd_create(
            "heaplay-errors",
            rustix::fs::MemfdFlags::CLOEXEC,
        )?);
        command
            .envs(environment(job.task.backend())?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .process_group(0);
        let child = command.spawn()?;
        let began = Instant::now();
        let mut worker = Worker {
            child,
            limits,
            began,
            errors,
            output: vec![],
            spent: Duration::ZERO,
            looked: began,
            stopped: None,
        };
        worker.write(&input);
        Ok(worker)
    }

    /// Writes to the child. One that died has closed the pipe; its end tells more.
    fn write(&mut self, bytes: &[u8]) {
        if let Some(pipe) = &mut self.child.stdin {
            let _ = pipe.write_all(bytes);
        }
    }

    /// Lets a child that waits for turns do one, and waits for the end of it. `false` when there
    /// are no more: it ended.
    pub fn turn(&mut self) -> bool {
        self.give();
        self.ready()
    }

    /// Lets it do one, without waiting.
    pub fn give(&mut self) {
        self.write(b"t");
    }

    /// Waits until a child that takes turns asks for its next. `false` when it ended instead.
    pub fn ready(&mut self) -> bool {
        matches!(self.wait(), Woke::Wrote)
    }

    /// Waits until the child writes or ends, or ends it for a reason. Only while it is waited for
    /// its time goes on: one that hangs in its turn costs the others of its batch nothing.
    fn wait(&mut self) -> Woke {
        let began = Instant::now();
        let woke = self.wait_since(began);
        self.spent += began.elapsed();
        woke
    }

    fn wait_since(&mut self, began: Instant) -> Woke {
        loop {
            // Also of a child that never lets wait: one that takes turns.
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                if let Some(reason) = self.beyond(self.spent + began.elapsed()) {
                    let _ = self.child.kill();
                    self.stopped.get_or_insert(reason);
                    return Woke::Closed;
                }
            }
            let Some(pipe) = &mut self.child.stdout else { return Woke::Closed };
            let mut fds = [PollFd::new(pipe, PollFlags::IN)];
            let pause = Timespec { tv_sec: 0, tv_nsec: LOOK.as_nanos() as i64 };
            if poll(&mut fds, Some(&pause)).is_ok_and(|ready| ready > 0) {
                let mut buffer = [0; 4096];
                return match pipe.read(&mut buffer) {
                    Ok(length) if length > 0 => {
                        self.output.extend(&buffer[..length]);
                        Woke::Wrote
                    }
                    _ => Woke::Closed,
                };
            }
        }
    }

    /// Why it must not go on after so long, if so.
    fn beyond(&self, spent: Duration) -> Option<String> {
        let limits = self.limits;
        if cancelled() {
            return Some("interrupted".to_owned());
        }
        if spent > limits.time {
            let seconds = limits.time.as_secs();
            return Some(format!(
                "stopped after {seconds} s, its time limit; --timeout sets another"
            ));
        }
        (private_bytes(self.child.id()) > limits.memory_bytes).then(|| {
            let limit = match limits.memory_bytes >> 20 {
                0 => format!("{} bytes", limits.memory_bytes),
                mib => format!("{mib} MiB"),
            };
            format!("stopped at its memory limit of {limit}; --memory-limit sets another")
        })
    }

    /// Waits for the child's end.
    ///
    /// # Errors
    /// When the kernel does not tell it.
    pub fn end(mut self) -> std::io::Result<Ended> {
        drop(self.child.stdin.take());
        while matches!(self.wait(), Woke::Wrote) {}
        let status = self.child.wait()?;
        if cancelled() {
            return Ok(Ended::Cancelled);
        }
        if let Some(reason) = self.stopped {
            return Ok(Ended::Stopped(reason));
        }
        if status.success() {
            return Ok(Ended::Well(String::from_utf8_lossy(&self.output).into_owned()));
        }
        let reason = reason(status, &mut self.errors);
        Ok(if status.signal().is_some() { Ended::Killed(reason) } else { Ended::Badly(reason) })
    }

    /// When it was started.
    pub fn began(&self) -> Instant {
        self.began
    }
}

/// Runs `job` in a child and waits for its end.
///
/// # Errors
/// When the child cannot be started at all.
pub fn run(job: &Job, limits: Limits) -> std::io::Result<Ended> {
    Worker::start(job, limits)?.end()
}

fn private_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut fields = text.split(' ').skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

/// Why a child ended badly: its own last words, or the signal that killed it.
fn reason(status: ExitStatus, errors: &mut File) -> String {
    let mut words = Vec::new();
    // The last of them tell why; a child may have said very much.
    let length = errors.seek(SeekFrom::End(0)).unwrap_or(0);
    let _ = errors.seek(SeekFrom::Start(length.saturating_sub(64 << 10)));
    let _ = errors.read_to_end(&mut words);
    let words = String::from_utf8_lossy(&words);
    let words = words.trim().lines().next_back().unwrap_or_default().trim().to_owned();
    match status.signal() {
        Some(signal) => {
            let name = signal_name(signal);
            let said =
                if words.is_empty() { String::new() } else { format!("; its last words: {words}") };
            format!("the child was killed by {name}{said}")
        }
        None if words.is_empty() => format!("the child ended with {status} and no words"),
        None => words,
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV (it touched memory that is not there)",
        libc::SIGABRT => "SIGABRT (the allocator or a check gave up)",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL (an instruction that this processor lacks)",
        libc::SIGKILL => "SIGKILL (somebody, or the kernel for lack of memory)",
        libc::SIGTERM => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
