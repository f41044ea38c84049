//! How many instructions the calls of a program take, counted by valgrind's
//! cachegrind.
//!
//! Two children are counted, one that makes every call and one that makes none; the difference is
//! the loop's. What is counted is exact to a few parts in a million on any machine, as no clock is
//! involved (docs/method/instructions.md).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::pairs::Side;
use super::plan::{Job, Task};
use super::worker::{Limits, Worker};
use super::workload::Loaded;

/// Where valgrind is, if it is on the PATH.
pub fn valgrind() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("valgrind"))
        .find(|p| p.is_file())
}

/// Counts the instructions of all calls of one side's program, as often as it is asked.
pub struct InstructionCounter<'a> {
    valgrind: PathBuf,
    side: &'a Side,
    loaded: &'a Loaded,
    limits: Limits,
    /// Instructions of a child that makes no call.
    none: u64,
}

impl<'a> InstructionCounter<'a> {
    /// Counts what a child takes without its calls.
    ///
    /// # Errors
    /// Why it could not be counted: the child's reason, or what valgrind said.
    pub fn new(
        side: &'a Side,
        loaded: &'a Loaded,
        limits: Limits,
    ) -> Result<InstructionCounter<'a>, String> {
        let valgrind = valgrind()
            .ok_or("valgrind is not on the PATH; install it (Debian: apt-get install valgrind)")?;
        let none = count(&valgrind, side, loaded, limits, 0)?;
        Ok(InstructionCounter { valgrind, side, loaded, limits, none })
    }

    /// Instructions of all calls, counted once more.
    ///
    /// # Errors
    /// As [`InstructionCounter::new`].
    pub fn count(&self) -> Result<u64, String> {
        let calls = self.loaded.program.instructions().len();
        let all = count(&self.valgrind, self.side, self.loaded, self.limits, calls)?;
        all.checked_sub(self.none)
            .filter(|count| *count > 0)
            .ok_or_else(|| format!("{all} instructions with, {} without the calls", self.none))
    }
}

/// Instructions of all calls of the program, counted so many times.
///
/// # Errors
/// As [`InstructionCounter::new`].
pub fn instructions(
    side: &Side,
    loaded: &Loaded,
    limits: Limits,
    times: usize,
) -> Result<Vec<u64>, String> {
    let counter = InstructionCounter::new(side, loaded, limits)?;
    (0..times).map(|_| counter.count()).collect()
}

fn count(
    valgrind: &Path,
    side: &Side,
    loaded: &Loaded,
    limits: Limits,
    calls: usize,
) -> Result<u64, String> {
    let place = |name: &str| {
        let thread = std::thread::current().id();
        std::env::temp_dir()
            .join(format!("heaplay-{}-{thread:?}-{calls}-{name}", std::process::id()))
    };
    let log = place("log");
    let mut command = Command::new(valgrind);
    command
        .env_clear()
        // Nobody debugs it: without the debugger's gate a start is shorter and leaves no pipes
        // behind.
        .args([
            "--tool=cachegrind",
            "--vgdb=no",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(format!("--log-file={}", log.display()))
        .arg(fs::canonicalize(side.executable()).map_err(|error| error.to_string())?)
        .arg("worker");
    let task = Task::Calls { backend: side.backend.clone(), program: loaded.path(), calls };
    let job = Job { task, processor: None, time_slices: false };
    let ended = Worker::start_by(command, &job, limits).and_then(Worker::end);
    let said = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    let ended = ended.map_err(|error| format!("{}: {error}", valgrind.display()))?;
    ended.well().map_err(|reason| format!("under valgrind: {reason}"))?;
    let line = said
        .lines()
        .find_map(|line| line.split_once("refs:").filter(|(head, _)| head.contains(" I ")));
    let digits: String = line
        .map(|(_, tail)| tail.chars().filter(char::is_ascii_digit).collect())
        .unwrap_or_default();
    digits
        .parse()
        .map_err(|_| format!("valgrind told no count: {}", said.lines().last().unwrap_or_default()))
}
