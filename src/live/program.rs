//! Runs a program once with the observer loaded, and measures it from outside.
//!
//! Processor time and page faults are the kernel's, read when the program has ended. Resident memory
//! is read every 2 ms from outside; the observer reads it inside at each mark and at the end. The
//! kernel's own high-water mark bounds a peak between two samples from below.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::NamedTempFile;

use super::deployment::{Deployment, sets_allocator};
use super::observation::{MarkReading, Observation, PageReading};
use super::outputs::last_line;
use super::page::{PAGE_LENGTH, VARIABLE};
use crate::environment::{GLIBC_TUNABLES, LD_PRELOAD};

/// The interval between two samples.
pub(super) const INTERVAL: Duration = Duration::from_millis(2);
/// How long a program that heaplay ends has for its own end, before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Until when a run lasts.
#[derive(Clone, Debug, PartialEq)]
pub enum Until {
    /// Until the program ends.
    End,
    /// Until the program sets the mark of this name. Then heaplay ends it.
    Mark(String),
    /// For so long. Then heaplay ends the program.
    Duration(Duration),
}

/// A program to run.
#[derive(Debug)]
pub struct LiveProgram {
    /// The program's name for itself (`argv[0]`).
    pub name: OsString,
    /// Its file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The library that observes it.
    pub observer: PathBuf,
    /// The file that it reads as standard input, from its start in each run; `None` for an empty one.
    pub input: Option<PathBuf>,
    /// Until when a run lasts.
    pub until: Until,
    /// Whether it is a script or a launcher, which starts the program that matters.
    pub is_launcher: bool,
}

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A system call or a file failed.
    #[error("{what}")]
    Io {
        /// What was to be done.
        what: String,
        /// Its reason.
        source: io::Error,
    },
    /// The run is to end.
    #[error("interrupted")]
    Cancelled,
    /// The program took much longer than before.
    #[error(
        "did not end within {} s and was stopped; --for SECONDS or --until-mark NAME measure a program \
         that does not end",
        limit.as_secs()
    )]
    Timeout {
        /// The time that it had.
        limit: Duration,
    },
    /// A signal ended the program, and heaplay did not send it.
    #[error("was ended by a signal that heaplay did not send ({status}); {end}{}", memory_hint(*status))]
    Killed {
        /// How it ended.
        status: ExitStatus,
        /// What it printed last.
        end: String,
    },
    /// The program ended before the moment until which it was to run.
    #[error("ended before {moment} ({status}){}", marks.as_deref().map_or_else(String::new, marks_hint))]
    EndedEarly {
        /// The mark or the time.
        moment: String,
        /// How it ended.
        status: ExitStatus,
        /// The marks that it set, where one was to come.
        marks: Option<Vec<String>>,
    },
}

/// The marks that a program did set, each once.
fn marks_hint(marks: &[String]) -> String {
    let mut known: Vec<&str> = Vec::new();
    for mark in marks {
        if !known.contains(&mark.as_str()) {
            known.push(mark);
        }
    }
    match known.is_empty() {
        true => "; it set no mark: heaplay.mark(NAME) sets one".to_owned(),
        false => format!("; the marks that it set are {}", known.join(", ")),
    }
}

/// The next step after a signal that the kernel sends where memory runs out.
fn memory_hint(status: ExitStatus) -> &'static str {
    match status.signal() {
        Some(libc::SIGKILL) => "; if memory ran out, `dmesg` has a line of it",
        _ => "",
    }
}

impl LiveError {
    /// The error with its cause, in a line.
    pub(super) fn with_source(&self) -> String {
        match self {
            LiveError::Io { what, source } => format!("{what}: {source}"),
            other => other.to_string(),
        }
    }
}

pub(super) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> LiveError {
    let what = what.into();
    move |source| LiveError::Io { what, source }
}

impl LiveProgram {
    /// Runs the program once under a backend. It is stopped after `limit`, and when `is_cancelled`.
    ///
    /// # Errors
    /// When the program cannot be started, or does not end as it should.
    pub fn run(
        &self,
        deployment: &Deployment,
        limit: Duration,
        is_cancelled: fn() -> bool,
    ) -> Result<Observation, LiveError> {
        let page = self.page().map_err(io_error("a file for the observer"))?;
        let output = || tempfile::tempfile().map_err(io_error("a file for the program's output"));
        let outputs = [output()?, output()?];
        let extent = match &self.until {
            Until::Mark(name) => format!("until={name};"),
            Until::End | Until::Duration(_) => String::new(),
        };
        let mut command = self.command(deployment, page.path(), &extent);
        let handles = outputs.each_ref().map(File::try_clone);
        let [stdout, stderr] = handles;
        let failed = || io_error("a file for the program's output");
        command.stdout(stdout.map_err(failed())?).stderr(stderr.map_err(failed())?);
        let started_ns = monotonic_ns();
        let started = Instant::now();
        let child = command
            .spawn()
            .map_err(io_error(format!("{}: cannot be started", self.path.display())))?;
        let mut run = Running {
            process: Pid::from_child(&child),
            ended: wait_for(child.id()),
            started,
            page: page.path(),
            peak_bytes: 0,
            last_bytes: 0,
        };
        let stopped = run.follow(&self.until, limit, is_cancelled);
        let status = match &stopped {
            Ok(Stopped::Ended(ended)) => Some(ended.status),
            _ => {
                end_group(run.process, &run.ended);
                None
            }
        };
        let page = PageReading::of(fs::read(page.path()).map_err(io_error("the observer's file"))?);
        let mut peak_bytes = run.peak_bytes.max(page.end_bytes().unwrap_or(0));
        let (usage, end_bytes) = match stopped? {
            Stopped::Ended(ended) => {
                if self.until != Until::End {
                    let marks = page.marks().into_iter().map(|mark| mark.name);
                    return Err(LiveError::EndedEarly {
                        moment: self.until.to_string(),
                        status: ended.status,
                        marks: matches!(self.until, Until::Mark(_)).then(|| marks.collect()),
                    });
                }
                if ended.status.signal().is_some() {
                    let end = last_line(&outputs);
                    let end = end.unwrap_or_else(|| "it printed nothing before".to_owned());
                    return Err(LiveError::Killed { status: ended.status, end });
                }
                peak_bytes = peak_bytes.max(page.peak_bytes_at_least());
                (ended.usage, page.end_bytes().unwrap_or(run.last_bytes))
            }
            Stopped::AtMark(mark) => {
                peak_bytes = peak_bytes.max(mark.anonymous_bytes);
                let usage = Usage {
                    user_ns: mark.user_ns,
                    system_ns: mark.system_ns,
                    wall_ns: mark.time_ns.saturating_sub(started_ns),
                    faults: mark.faults,
                };
                (usage, mark.anonymous_bytes)
            }
            Stopped::AfterTime(usage) => (usage, run.last_bytes),
        };
        Ok(Observation {
            status,
            user_ns: usage.user_ns,
            system_ns: usage.system_ns,
            own_ns: page.own_processor_ns(),
            wall_ns: usage.wall_ns,
            faults: usage.faults,
            peak_bytes,
            end_bytes,
            marks: page.marks(),
            allocator: page.allocator(),
            outputs,
        })
    }

    /// An empty page.
    pub(super) fn page(&self) -> io::Result<NamedTempFile> {
        let folder = self.observer.parent().unwrap_or(Path::new("/tmp"));
        let page = tempfile::Builder::new().prefix("page-").tempfile_in(folder)?;
        page.as_file().set_len(PAGE_LENGTH as u64)?;
        Ok(page)
    }

    /// The command of a run. `extent` is the part of the observer's order that ends the run early.
    pub(super) fn command(&self, deployment: &Deployment, page: &Path, extent: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments);
        self.prepared(command, deployment, page, extent)
    }

    /// A command with the environment of a run.
    pub(super) fn prepared(
        &self,
        mut command: Command,
        deployment: &Deployment,
        page: &Path,
        extent: &str,
    ) -> Command {
        // A group of its own, so that its processes can be ended together.
        command.process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(sets_allocator) {
                command.env_remove(name);
            }
        }
        command.envs(deployment.variables.iter().map(|(name, value)| (name, value)));
        let present = std::env::var(GLIBC_TUNABLES).unwrap_or_default();
        match deployment.tunables(&present) {
            none if none.is_empty() => command.env_remove(GLIBC_TUNABLES),
            tunables => command.env(GLIBC_TUNABLES, tunables),
        };
        let before = std::env::var_os(LD_PRELOAD).unwrap_or_default();
        let libraries = [
            Some(self.observer.as_os_str()),
            deployment.preload.as_deref().map(OsStr::new),
            Some(before.as_os_str()),
        ];
        let libraries: Vec<&OsStr> =
            libraries.into_iter().flatten().filter(|library| !library.is_empty()).collect();
        command.env(LD_PRELOAD, libraries.join(OsStr::new(":")));
        let mut order = OsString::from(format!("root={};{extent}", std::process::id()));
        order.push(page);
        command.env(VARIABLE, order);
        let input = self.input.as_deref().and_then(|input| File::open(input).ok());
        command.stdin(input.map_or_else(Stdio::null, Stdio::from));
        command
    }
}

impl std::fmt::Display for Until {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Until::End => write!(formatter, "the end"),
            Until::Mark(name) => write!(formatter, "the mark `{name}`"),
            Until::Duration(duration) => {
                write!(formatter, "{} s had passed", duration.as_secs_f64())
            }
        }
    }
}

/// The clock of the observer's marks.
fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What a process has used until a moment.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    pub(super) user_ns: u64,
    pub(super) system_ns: u64,
    wall_ns: u64,
    faults: u64,
}

/// What the kernel knows of a process that has ended.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) usage: Usage,
}

/// Why a run is over.
enum Stopped {
    Ended(Ended),
    AtMark(MarkReading),
    AfterTime(Usage),
}

/// Waits for a child on a thread of its own, so that the end is seen at once.
pub(super) fn wait_for(process: u32) -> Receiver<io::Result<Ended>> {
    let (sender, receiver) = channel();
    let started = Instant::now();
    std::thread::spawn(move || {
        let ended = wait(process as i32, started);
        // The receiver lives until the program has ended.
        drop(sender.send(ended));
    });
    receiver
}

#[expect(unsafe_code, reason = "wait4, which gives the child's usage, has no safe wrapper")]
fn wait(process: i32, started: Instant) -> io::Result<Ended> {
    let mut status = 0;
    // SAFETY: plain data, which the call fills.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both places are valid; the process is a child that nobody else waits for.
        if unsafe { libc::wait4(process, &raw mut status, 0, &raw mut usage) } == process {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let nanoseconds =
        |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
    Ok(Ended {
        status: ExitStatus::from_raw(status),
        usage: Usage {
            user_ns: nanoseconds(usage.ru_utime),
            system_ns: nanoseconds(usage.ru_stime),
            wall_ns: started.elapsed().as_nanos() as u64,
            faults: (usage.ru_minflt + usage.ru_majflt) as u64,
        },
    })
}

/// A program that runs.
struct Running<'a> {
    process: Pid,
    ended: Receiver<io::Result<Ended>>,
    started: Instant,
    page: &'a Path,
    peak_bytes: u64,
    last_bytes: u64,
}

impl Running<'_> {
    /// Samples the program's memory until the run is over.
    fn follow(
        &mut self,
        until: &Until,
        limit: Duration,
        is_cancelled: fn() -> bool,
    ) -> Result<Stopped, LiveError> {
        loop {
            match self.ended.recv_timeout(INTERVAL) {
                Ok(ended) => {
                    return ended.map(Stopped::Ended).map_err(io_error("waiting for the program"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let lost = io::Error::other("the thread that waits has ended");
                    return Err(io_error("waiting for the program")(lost));
                }
            }
            if let Some(bytes) = anonymous_bytes(self.process) {
                self.last_bytes = bytes;
                self.peak_bytes = self.peak_bytes.max(bytes);
            }
            if is_cancelled() {
                return Err(LiveError::Cancelled);
            }
            let passed = self.started.elapsed();
            match until {
                Until::Mark(_) => {
                    let page = fs::read(self.page).map_err(io_error("the observer's file"))?;
                    if let Some(mark) = PageReading::of(page).until_mark() {
                        return Ok(Stopped::AtMark(mark));
                    }
                }
                Until::Duration(duration) if passed >= *duration => {
                    let usage = usage(self.process, passed)
                        .ok_or_else(|| io::Error::other("it has ended"))
                        .map_err(io_error("the program's usage in /proc"))?;
                    return Ok(Stopped::AfterTime(usage));
                }
                Until::Duration(_) | Until::End => {}
            }
            if passed >= limit {
                return Err(LiveError::Timeout { limit });
            }
        }
    }
}

/// Ends a program's group: politely, and then for certain.
pub(super) fn end_group(process: Pid, ended: &Receiver<io::Result<Ended>>) {
    let signal = |signal| {
        // A group that has ended is what is wanted.
        let _ = rustix::process::kill_process_group(process, signal);
    };
    signal(Signal::TERM);
    if ended.recv_timeout(GRACE).is_err() {
        signal(Signal::KILL);
        drop(ended.recv_timeout(GRACE));
    }
}

/// Resident anonymous memory of a process, bytes; `None` where it has none or has ended.
fn anonymous_bytes(process: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let mut pages = text.split(' ').map(|number| number.parse::<u64>().ok());
    let (resident, shared) = (pages.nth(1)??, pages.next()??);
    let bytes = resident.saturating_sub(shared) * rustix::param::page_size() as u64;
    (bytes > 0).then_some(bytes)
}

/// What a process has used so far. The kernel counts it in steps of the clock's tick, mostly 10 ms.
fn usage(process: Pid, passed: Duration) -> Option<Usage> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold blanks.
    let fields: Vec<u64> = text
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // Fields 10, 12, 14 and 15 of proc(5); the first one here is field 3.
    let field = |number: usize| fields.get(number - 3).copied();
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    Some(Usage {
        user_ns: field(14)? * tick_ns,
        system_ns: field(15)? * tick_ns,
        wall_ns: passed.as_nanos() as u64,
        faults: field(10)? + field(12)?,
    })
}
