//! How many instructions the calls of a program take, counted by valgrind's cachegrind.
//!
//! Two children are counted, one that makes every call and one that makes none; the difference is
//! the loop's. The count is exact to a few parts in a million on any machine, as no clock is
//! involved (docs/method/instructions.md).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::failure::ChildFailure;
use super::files::JobFiles;
use super::job::{Job, Task};
use super::side::Side;
use super::worker::{ChildLimits, Worker};
use super::workload::Workload;
use crate::environment::PATH;

/// Where valgrind is, if it is on the PATH.
pub fn valgrind() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os(PATH)?)
        .map(|folder| folder.join("valgrind"))
        .find(|path| path.is_file())
}

/// Why instructions could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// There is no valgrind.
    #[error("valgrind is not on the PATH; install it (Debian: apt-get install valgrind)")]
    NoValgrind,
    /// The child failed.
    #[error("under valgrind: {0}")]
    Child(#[from] ChildFailure),
    /// valgrind printed no count.
    #[error("valgrind printed no count: {0}")]
    NoCount(String),
    /// The calls took no instructions.
    #[error("{with} instructions with, {without} without the calls")]
    NoDifference {
        /// Instructions of a child with its calls.
        with: u64,
        /// The same without them.
        without: u64,
    },
    /// A file for valgrind's log, or the program that it runs.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Counts the instructions of all calls of one side's program, as often as wanted.
pub struct InstructionCounter<'a> {
    valgrind: PathBuf,
    side: &'a Side,
    workload: &'a Workload,
    limits: ChildLimits,
    /// Instructions of a child that makes no call.
    without: u64,
}

impl<'a> InstructionCounter<'a> {
    /// Counts what a child takes without its calls.
    ///
    /// # Errors
    /// Why it could not be counted.
    pub fn new(
        side: &'a Side,
        workload: &'a Workload,
        limits: ChildLimits,
    ) -> Result<InstructionCounter<'a>, CountError> {
        let valgrind = valgrind().ok_or(CountError::NoValgrind)?;
        let mut counter = InstructionCounter { valgrind, side, workload, limits, without: 0 };
        counter.without = counter.run(0)?;
        Ok(counter)
    }

    /// Instructions of all calls, counted once more.
    ///
    /// # Errors
    /// As [`InstructionCounter::new`].
    pub fn count(&self) -> Result<u64, CountError> {
        let (with, without) = (self.run(self.workload.program.instructions().len())?, self.without);
        with.checked_sub(without)
            .filter(|count| *count > 0)
            .ok_or(CountError::NoDifference { with, without })
    }

    /// Instructions of a child that makes so many calls.
    fn run(&self, calls: usize) -> Result<u64, CountError> {
        let log = tempfile::Builder::new().prefix("heaplay-").tempfile()?;
        let mut files = JobFiles::default();
        let program = self.workload.share(&mut files)?;
        let task = Task::Calls { backend: self.side.backend.clone(), program, calls };
        let started =
            Worker::start_by(self.command(log.path())?, &Job::untimed(task), files, self.limits);
        started.map_err(ChildFailure::not_started(&self.valgrind))?.end()?;
        let text = fs::read_to_string(log.path())?;
        instructions_in(&text)
            .ok_or_else(|| CountError::NoCount(text.lines().last().unwrap_or_default().to_owned()))
    }

    fn command(&self, log: &Path) -> io::Result<Command> {
        let mut command = Command::new(&self.valgrind);
        command
            .env_clear()
            .args(counting_arguments(log))
            .arg(fs::canonicalize(self.side.executable())?)
            .arg("worker");
        Ok(command)
    }
}

/// The arguments with which valgrind counts instructions, and writes the count to a log.
pub fn counting_arguments(log: &Path) -> [OsString; 5] {
    let mut log_file = OsString::from("--log-file=");
    log_file.push(log);
    // Nobody debugs the child: without the debugger's gate a start is shorter and leaves no pipes
    // behind.
    let fixed = ["--tool=cachegrind", "--vgdb=no", "--cache-sim=no"].map(OsString::from);
    let [tool, gate, caches] = fixed;
    [tool, gate, caches, OsString::from("--cachegrind-out-file=/dev/null"), log_file]
}

/// The count in valgrind's log: the number behind `I refs:`.
pub fn instructions_in(log: &str) -> Option<u64> {
    let count = |line: &str| {
        let (head, tail) = line.split_once("refs:")?;
        let digits: String = tail.chars().filter(char::is_ascii_digit).collect();
        head.contains(" I ").then_some(digits)
    };
    log.lines().find_map(count)?.parse().ok()
}

/// Instructions of all calls of the program, counted so many times.
///
/// # Errors
/// As [`InstructionCounter::new`].
pub fn instructions(
    side: &Side,
    workload: &Workload,
    limits: ChildLimits,
    times: usize,
) -> Result<Vec<u64>, CountError> {
    let counter = InstructionCounter::new(side, workload, limits)?;
    (0..times).map(|_| counter.count()).collect()
}

#[cfg(test)]
mod tests {
    use super::instructions_in;

    #[test]
    fn the_count_is_read_from_the_log() {
        let log = "==7== Cachegrind\n==7== \n==7== I refs:        1,234,567\n==7== D refs: 5\n";
        assert_eq!(instructions_in(log), Some(1_234_567));
        assert_eq!(instructions_in("==7== Killed\n"), None);
    }
}
