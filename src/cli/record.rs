//! Room `cli`, verb `record`: runs a Python program with the recorder loaded, and turns what it
//! left into traces.
//!
//! The program is given through untouched: its arguments, stdin, stdout, stderr, signals and exit
//! code are its own. All checks that can be made come before it starts. `record/program.rs` tells
//! whether it is a Python, `record/child.rs` runs it, `record/library.rs` hands out the recorder
//! that the build embedded, `record/limits.rs` says what is asked of it. `recorder.rs` is the verb
//! for processes that heaplay does not start.

mod child;
mod library;
mod limits;
#[path = "../recorder/order.rs"]
mod order;
mod program;
mod recorder;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use self::library::Library;
use self::limits::Limits;
pub use self::recorder::RecorderArgs;
use crate::trace::{Ending, RawLog, Survey};

/// Says a line on stderr. A reader of it that went away must not cost the recording.
macro_rules! say {
    ($($text:tt)*) => { drop(writeln!(std::io::stderr(), $($text)*)) };
}

/// Records every allocation of a Python program (CPython 3.7 and later), from before its
/// interpreter starts.
#[derive(clap::Args)]
pub struct RecordArgs {
    /// The trace to write: `.trace` (compact) or `.csv`. Other Python processes that the program
    /// starts or forks get their own beside it, with the process id in the name
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    limits: Limits,
    /// Keep the raw logs that the traces are made of
    #[arg(long)]
    keep_raw: bool,
    /// Start PROGRAM even if it is neither a Python nor a launcher that is known
    #[arg(long)]
    any_program: bool,
    /// Run nothing: make traces of raw logs, such as an interrupted recording leaves, or a process
    /// that was recorded without heaplay as its parent (see `heaplay recorder`). The logs are kept
    #[arg(long, value_name = "RAW", num_args = 1.., conflicts_with_all = ["program", "Limits", "keep_raw", "any_program"])]
    recover: Vec<PathBuf>,
    /// The program and its arguments, best after `--`: python app.py …, or a script that ends in a
    /// Python
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "recover"
    )]
    program: Vec<OsString>,
}

impl RecordArgs {
    /// Records. The exit code is the program's own; 128 + n if signal n ended it.
    ///
    /// # Errors
    /// When the recording cannot be made: before the program starts wherever that can be known.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        check_output(&self.output)?;
        if !self.recover.is_empty() {
            let mut logs = Vec::new();
            for raw in &self.recover {
                logs.push((raw.clone(), RawLog::open(raw)?));
            }
            logs.sort_by_key(|(_, log)| log.start_ns);
            let collection =
                Collection { output: &self.output, keeps_raw: true, root: None, stop_at: None };
            let traces = collection.make(logs)?;
            return Ok(if traces == 0 { ExitCode::from(2) } else { ExitCode::SUCCESS });
        }
        let Some((name, arguments)) = self.program.split_first() else {
            bail!("no program was given")
        };
        let path = program::resolve(name, self.any_program)?;
        let library = Library::beside(&self.output)?;
        let logs = Logs::beside(&self.output)?;
        let code = child::run(child::Job {
            name,
            path: &path,
            arguments,
            preload: library.preload(std::env::var_os("LD_PRELOAD").as_deref()),
            order: self.limits.order(std::process::id(), logs.base().as_os_str()),
        })?;
        drop(library);
        let root = Some(u64::from(code.pid));
        let stop_at = self.limits.stop_at_mark();
        let collection =
            Collection { output: &self.output, keeps_raw: self.keep_raw, root, stop_at };
        let made = logs.read().and_then(|logs| collection.make(logs));
        let made = match made {
            // The program's own failure is what its caller has to know.
            Err(error) if !code.is_success() => {
                say!("heaplay: {error:#}");
                return Ok(code.exit_code());
            }
            made => made?,
        };
        if made == 0 {
            let nothing = "no trace was made; see above, or put the interpreter itself after --";
            if code.is_success() {
                bail!("{nothing}");
            }
            say!("heaplay: {nothing}");
        }
        Ok(code.exit_code())
    }
}

/// Raw logs on their way to be traces.
struct Collection<'a> {
    /// The first process's trace; the others have their process id in the name.
    output: &'a Path,
    keeps_raw: bool,
    /// The process that had to be recorded.
    root: Option<u64>,
    /// The mark at which its recording was to end.
    stop_at: Option<&'a str>,
}

impl Collection<'_> {
    /// Makes a trace of each log that holds a recording, and says why of each that does not.
    /// Returns how many.
    fn make(&self, logs: Vec<(PathBuf, RawLog)>) -> anyhow::Result<usize> {
        if logs.is_empty() {
            say!("heaplay: no Python was seen to start, so nothing was recorded");
        }
        let (empty, recorded): (Vec<_>, Vec<_>) =
            logs.into_iter().partition(|(_, log)| self.reason_for_nothing(log).is_some());
        for (path, log) in &empty {
            let Some(reason) = self.reason_for_nothing(log) else { continue };
            if !self.keeps_raw {
                drop(fs::remove_file(path));
            }
            let program = log.program.join(" ");
            if self.root == Some(log.pid) && matches!(log.ending, Ending::Refused(_)) {
                bail!("{program}: CPython {} cannot be recorded: {reason}", log.python);
            }
            say!("heaplay: process {} ({program}) was not recorded: {reason}", log.pid);
        }
        let main = recorded.iter().position(|(_, log)| Some(log.pid) == self.root).unwrap_or(0);
        let mut taken = Vec::new();
        for (index, (path, log)) in recorded.iter().enumerate() {
            let output = if index == main {
                self.output.to_owned()
            } else {
                name_of(self.output, log.pid, &mut taken)
            };
            let survey = log.convert(&output).with_context(|| {
                format!(
                    "the program has run, its raw log is kept: `heaplay record --recover {} -o OUT` tries again",
                    path.display()
                )
            })?;
            tell(log, &output, &survey);
            if let Some(mark) =
                self.stop_at.filter(|_| index == main && !matches!(log.ending, Ending::Limit(_)))
            {
                say!("heaplay: the mark `{mark}` never came, so all was recorded");
            }
            // What outlives the program goes on writing its log.
            let runs_on = self.root.is_some_and(|root| root != log.pid) && process_runs(log.pid);
            if runs_on {
                say!(
                    "heaplay: process {} still runs: what it does from now on is not in {}; once it has ended, `heaplay record \
                     --recover {} -o OUT` has all",
                    log.pid,
                    output.display(),
                    path.display()
                );
            } else if !self.keeps_raw {
                fs::remove_file(path).with_context(|| path.display().to_string())?;
            } else if self.root.is_some() {
                say!("heaplay: raw log kept: {}", path.display());
            }
        }
        Ok(recorded.len())
    }

    /// Why there is no recording in a log; `None` where there is one.
    fn reason_for_nothing(&self, log: &RawLog) -> Option<String> {
        match &log.ending {
            Ending::Refused(reason) => Some(reason.clone()),
            Ending::Waiting => Some("it ended before the recording was to start".into()),
            _ => None,
        }
    }
}

/// Whether there is such a process, and not only what is left of it until its parent asks.
fn process_runs(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Proves that the output can be written, before anything runs.
fn check_output(output: &Path) -> anyhow::Result<()> {
    if output.is_dir() {
        bail!("{}: is a directory; give a file that ends in .trace or .csv", output.display());
    }
    let probe = crate::trace::Creation::begin(output, &crate::trace::Header::default());
    drop(probe.with_context(|| format!("{} cannot be written", output.display()))?);
    let mut part = output.as_os_str().to_owned();
    part.push(".part");
    fs::remove_file(part).with_context(|| output.display().to_string())
}

/// `app.trace` as `app.4711.trace`: one trace a process; `app.4711.2.trace` where a program of the
/// same process id (it was replaced by `exec`) has one already.
fn name_of(output: &Path, pid: u64, taken: &mut Vec<u64>) -> PathBuf {
    taken.push(pid);
    let mut name = output.file_stem().unwrap_or_default().to_owned();
    name.push(match taken.iter().filter(|&&other| other == pid).count() {
        1 => format!(".{pid}."),
        count => format!(".{pid}.{count}."),
    });
    name.push(output.extension().unwrap_or_default());
    output.with_file_name(name)
}

/// Where the raw logs of this run go: beside the output, on the same disk.
struct Logs {
    directory: PathBuf,
    prefix: OsString,
}

impl Logs {
    fn beside(output: &Path) -> anyhow::Result<Logs> {
        let output = std::path::absolute(output).with_context(|| output.display().to_string())?;
        let mut prefix = output.file_name().unwrap_or_default().to_owned();
        // Process ids come back; a log that a killed recording left must not be taken for one of
        // ours.
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        prefix.push(format!(".raw-{:x}-{}", now.as_millis(), std::process::id()));
        let directory = output.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Logs { directory, prefix })
    }

    /// What the names of the logs begin with.
    fn base(&self) -> PathBuf {
        self.directory.join(&self.prefix)
    }

    /// All logs, in the order in which their processes started.
    fn read(&self) -> anyhow::Result<Vec<(PathBuf, RawLog)>> {
        let context = || self.directory.display().to_string();
        let prefix = self.prefix.as_encoded_bytes();
        let mut logs = Vec::new();
        for entry in fs::read_dir(&self.directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let rest = entry.file_name();
            let is_ours =
                rest.as_encoded_bytes().strip_prefix(prefix).is_some_and(|r| r.starts_with(b"."));
            if !is_ours {
                continue;
            }
            match RawLog::open(&entry.path()) {
                Ok(log) => logs.push((entry.path(), log)),
                Err(error) => say!("heaplay: left out: {error}"),
            }
        }
        logs.sort_by_key(|(_, log)| log.start_ns);
        Ok(logs)
    }
}

/// One line for each trace, and one for each thing it could not see.
fn tell(log: &RawLog, output: &Path, survey: &Survey) {
    let size = fs::metadata(output).map_or(0, |metadata| metadata.len());
    say!(
        "heaplay: recorded {} calls asking for {} of process {} (CPython {}): {} ({})",
        grouped(survey.events),
        bytes(survey.bytes),
        log.pid,
        log.python,
        output.display(),
        bytes(size),
    );
    match &log.ending {
        Ending::NoRoom(reason) => {
            say!("heaplay: the recording ended early, the program went on unrecorded: {reason}");
        }
        Ending::Limit(limit) => {
            say!("heaplay: {limit} ended the recording; the program went on unrecorded");
        }
        _ => {}
    }
    if log.lost_events > 0 {
        say!("heaplay: {} calls were made and not recorded", grouped(log.lost_events));
    }
    if survey.unseen_frees > 0 && !log.is_forked() {
        let from = if log.is_late() { "from before the recording" } else { "never seen" };
        say!("heaplay: {} frees were of blocks {from}", grouped(survey.unseen_frees));
    }
    if !survey.interpreters.is_empty() {
        let interpreters: std::collections::BTreeSet<u32> =
            survey.interpreters.iter().map(|pair| pair.1).collect();
        say!(
            "heaplay: {} sub-interpreters had heaps of their own; a replay puts all into one",
            interpreters.len()
        );
    }
    if log.is_disturbed() {
        say!(
            "heaplay: tracemalloc or another hook stood above the recorder's at some time: sizes and counts include its own"
        );
    }
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a binary unit, three figures.
fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_processes_keep_the_extension() {
        let mut taken = Vec::new();
        assert_eq!(
            name_of(Path::new("a/app.trace"), 4711, &mut taken),
            Path::new("a/app.4711.trace")
        );
        assert_eq!(
            name_of(Path::new("app.v1.csv"), 4711, &mut taken),
            Path::new("app.v1.4711.2.csv")
        );
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(3 << 20), "3.0 MiB");
    }
}
