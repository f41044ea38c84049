//! Verb `record`: runs a program with the recorder loaded, and makes traces of its raw logs.
//!
//! The program runs unchanged: it has its own arguments, stdin, stdout, stderr, signals and exit
//! code. Errors that can be found before its start are found then. `record/program.rs` finds the
//! program, `record/child.rs` runs it, and `record/newest.rs` limits its log to the newest part.
//! `preload.rs` writes the embedded recorder, and `record/limits.rs` has the options of the
//! recording. `record/recorder.rs` is the verb for processes that heaplay does not start.
//! `record/repeat.rs` records a program several times.

#[macro_use]
mod notes;
mod attach;
mod child;
pub(super) mod limits;
mod newest;
pub(super) mod program;
mod recorder;
mod repeat;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};

use self::attach::Attachment;
use self::limits::LimitArgs;
use self::newest::{NewestPart, RetainedPart};
use self::program::{CannotStart, ProgramFile, ProgramKind};
pub use self::recorder::RecorderArgs;
use super::end_choice::no_mark;
use super::numbers::whole;
use super::preload::{Library, RECORDER};
use super::python_file::{self, InterpreterArgs};
use crate::environment::LD_PRELOAD;
use crate::trace::{Creation, Fold, Header, RawLog, RecordingEnding, Survey};
use crate::units::{plain_bytes, with_commas};

/// Stands for an output that the program names: `app.trace` for `app.py`.
const NAMED_FOR_PROGRAM: &str = "PROGRAM.trace";

/// Records every allocation of a program, from its start: any dynamically linked program, and of a
/// Python (CPython 3.7 and later) also its allocation domains.
#[derive(clap::Args)]
pub struct RecordArgs {
    /// The trace to write: `.trace` (compact) or `.csv`. Each further process that the program starts
    /// or forks gets a trace beside it, with the process id in the name; of a Python, only further
    /// Pythons and forks
    #[arg(short, long, value_name = "FILE", default_value = NAMED_FOR_PROGRAM)]
    output: PathBuf,
    #[command(flatten)]
    limits: LimitArgs,
    /// Run and record the program N times, one run after the other. The traces are numbered:
    /// app.1.trace, app.2.trace and so on. `check app.trace …` takes them all. Each run has the
    /// same standard input, which the first run may read to its end
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["recover", "attach"],
        value_parser = whole::<u32>("a number of recordings", 1..=10_000, 5)
    )]
    repeat: Option<u32>,
    /// Leave the raw logs in place after the traces are made
    #[arg(long)]
    keep_raw: bool,
    /// With --domains python, start PROGRAM even if it is neither a Python nor a known launcher
    #[arg(long)]
    any_program: bool,
    /// Which part of a raw log stays when it grows past --max-bytes. `newest` records to the end. The
    /// trace then begins with the blocks that were live before its newest calls
    #[arg(long, value_enum, value_name = "PART", default_value_t, requires = "max_bytes")]
    keep: RetainedPart,
    /// Run nothing: make traces of raw logs. Such logs come from an interrupted recording, or from a
    /// process whose parent is not heaplay (see `heaplay recorder`). The logs stay in place
    #[arg(
        long,
        value_name = "RAW",
        num_args = 1..,
        conflicts_with_all = ["program", "LimitArgs", "keep_raw", "any_program"]
    )]
    recover: Vec<PathBuf>,
    /// Record a CPython 3.14 or later that runs already, by its process id, until Ctrl-C, a limit, or
    /// its end. The trace has CPython's domains; blocks from before are counted, and have no rows
    #[arg(
        long,
        value_name = "PID",
        value_parser = whole::<u32>("the number of a process", 1..=u64::from(u32::MAX), 4711),
        conflicts_with_all = ["program", "recover", "any_program"]
    )]
    attach: Option<u32>,
    #[command(flatten)]
    interpreter: InterpreterArgs,
    /// The program and its arguments, best after `--`: python app.py …, or ./server …
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present_any = ["recover", "attach"]
    )]
    program: Vec<OsString>,
}

impl RecordArgs {
    /// Records. The exit code is the program's own, or 128 + n if signal n ended the program.
    ///
    /// # Errors
    /// When the recording cannot be made.
    pub fn run(mut self) -> anyhow::Result<ExitCode> {
        self.program = self.interpreter.with_interpreter(self.program);
        // A program that is not there is reported before its trace is named.
        let program = match self.program.is_empty() {
            true => None,
            false => match self.resolve() {
                Ok(program) => Some(program),
                Err(error) => return cannot_start(error),
            },
        };
        if self.output == Path::new(NAMED_FOR_PROGRAM) {
            self.output = python_file::trace_of(&self.program)?;
        }
        if let (Some(count), Some(program)) = (self.repeat, &program) {
            return self.record_series(program, count);
        }
        check_output(&self.output)?;
        if !self.recover.is_empty() {
            let mut logs = Vec::new();
            for raw in self.recover.iter().filter(|raw| !Fold::is_name(raw)) {
                logs.push((raw.clone(), RawLog::open(raw)?));
            }
            logs.sort_by_key(|(_, log)| log.start_ns);
            let collection = Collection {
                output: &self.output,
                leaves_raw: true,
                root: None,
                stop_at: None,
                // A start command may be a script, or a launcher such as pyenv's.
                kind: ProgramKind::Launcher,
            };
            let traces = collection.make(logs)?;
            return Ok(if traces == 0 { ExitCode::from(2) } else { ExitCode::SUCCESS });
        }
        if let Some(pid) = self.attach {
            return self.attach(pid);
        }
        let program = program.context("no program was given")?;
        let recorded = self.record_once(&program, &self.output)?;
        match (recorded.fault, recorded.exit.is_success()) {
            (Some(fault), true) => return Err(fault),
            // The exit code reports the program's own failure.
            (Some(fault), false) => print_note!("heaplay: {fault:#}"),
            (None, _) => {}
        }
        if let Some(how) = recorded.exit.signal_or_status().filter(|_| !recorded.exit.is_success())
        {
            print_note!(
                "heaplay: the program ended with {how}; the exit status is the program's own"
            );
        }
        Ok(recorded.exit.exit_code())
    }

    /// Finds the program.
    ///
    /// # Errors
    /// As [`program::resolve`].
    fn resolve(&self) -> anyhow::Result<ProgramFile> {
        let name = self.program.first().context("no program was given")?;
        program::resolve(name, self.limits.domains, self.any_program)
    }

    /// Runs the program once, and makes its traces.
    ///
    /// # Errors
    /// When the program cannot be run.
    fn record_once(&self, program: &ProgramFile, output: &Path) -> anyhow::Result<RecordedRun> {
        let Some((name, arguments)) = self.program.split_first() else {
            bail!("no program was given")
        };
        let library = Library::beside(RECORDER, output)?;
        let logs = Logs::beside(output)?;
        logs.check_space(output)?;
        let mut limits = self.limits.clone();
        let watch = match self.keep {
            RetainedPart::First => None,
            RetainedPart::Newest => {
                Some(NewestPart::begin(logs.clone(), limits.take_bytes_for_newest()?)?)
            }
        };
        let exit = child::run(child::ChildCommand {
            name,
            path: &program.path,
            arguments,
            preload: library.preload(std::env::var_os(LD_PRELOAD).as_deref()),
            order: limits.order(
                std::process::id(),
                program.kind != ProgramKind::Python,
                logs.base().as_os_str(),
            ),
        })?;
        drop(library);
        if let Some(watch) = watch {
            watch.end();
        }
        let root = Some(u64::from(exit.pid));
        let stop_at = self.limits.stop_at_mark();
        let collection =
            Collection { output, leaves_raw: self.keep_raw, root, stop_at, kind: program.kind };
        let read = logs.read();
        let root_log = read.iter().flatten().find(|(_, log)| Some(log.pid) == root);
        let is_refused =
            root_log.is_none_or(|(_, log)| matches!(log.ending, RecordingEnding::Refused(_)));
        let began = !(exit.is_recorders() && is_refused);
        if !began && root_log.is_none() {
            bail!(
                "{}: was not started: the recorder cannot write beside {}, for the reason above",
                program.path.display(),
                output.display()
            );
        }
        let made = read.and_then(|mut logs| {
            for (_, log) in logs.iter_mut().filter(|(_, log)| Some(log.pid) == root) {
                log.exit = exit.signal_or_status();
            }
            collection.make(logs)
        });
        let fault = match made {
            Ok(0) => {
                Some(anyhow!("no trace was made; see above, or put the program itself after --"))
            }
            Ok(_) => None,
            Err(error) if !began => return Err(error.context("the program was not started")),
            Err(error) => Some(error),
        };
        Ok(RecordedRun { exit, fault })
    }
}

/// A run of the program, as it was recorded.
struct RecordedRun {
    /// How the program ended.
    exit: child::ChildExit,
    /// Why there is no trace.
    fault: Option<anyhow::Error>,
}

impl RecordArgs {
    /// Records a process that runs already.
    fn attach(self, pid: u32) -> anyhow::Result<ExitCode> {
        if self.keep == RetainedPart::Newest {
            bail!("--attach records the first part; leave out --keep newest");
        }
        if self.limits.has_start_or_mark() {
            bail!(
                "--attach begins at once and knows no marks; leave out --start-… and --stop-at-mark"
            );
        }
        let logs = Logs::beside(&self.output)?;
        let attachment = Attachment::prepare(pid, &self.output, self.limits, logs.base())?;
        let end = attachment.run()?;
        let mut read = logs.read()?;
        for (_, log) in read.iter_mut().filter(|(_, log)| log.pid == u64::from(pid)) {
            log.live_before = Some(end.live_before);
        }
        if end.still_records {
            print_note!(
                "heaplay: process {pid} did not answer, and records on until its end; the trace has \
                 what was recorded so far, and the raw log stays"
            );
        }
        let collection = Collection {
            output: &self.output,
            leaves_raw: self.keep_raw || end.still_records,
            root: Some(pid.into()),
            stop_at: None,
            kind: ProgramKind::Python,
        };
        let traces = collection.make(read)?;
        Ok(if traces == 0 { ExitCode::from(2) } else { ExitCode::SUCCESS })
    }
}

/// How to make traces of raw logs.
struct Collection<'a> {
    /// The trace of the main process. The traces of others have their process id in the name.
    output: &'a Path,
    leaves_raw: bool,
    /// The process that heaplay started; `None` when recovering.
    root: Option<u64>,
    /// The mark at which its recording shall end.
    stop_at: Option<&'a str>,
    /// What the program is that heaplay started.
    kind: ProgramKind,
}

impl Collection<'_> {
    /// Makes a trace of each log that holds a recording, and reports the reason for each log that does
    /// not. Returns the number of traces.
    fn make(&self, logs: Vec<(PathBuf, RawLog)>) -> anyhow::Result<usize> {
        if logs.is_empty() {
            print_note!("heaplay: no process was seen to start that could be recorded");
        }
        let (empty, recorded): (Vec<_>, Vec<_>) =
            logs.into_iter().partition(|(_, log)| self.reason_for_nothing(log).is_some());
        for (path, log) in &empty {
            let Some(reason) = self.reason_for_nothing(log) else { continue };
            if !self.leaves_raw {
                drop(remove_log(path));
            }
            let program = log.program.join(" ");
            if self.root == Some(log.pid) && matches!(log.ending, RecordingEnding::Refused(_)) {
                bail!("{program}: CPython {} cannot be recorded: {reason}", log.python);
            }
            print_note!("heaplay: process {} ({program}) was not recorded: {reason}", log.pid);
        }
        let recorded = self.without_launchers(recorded);
        let main = self.main(&recorded);
        let mut taken = Vec::new();
        for (index, (path, log)) in recorded.iter().enumerate() {
            let output = if index == main {
                self.output.to_owned()
            } else {
                name_of(self.output, log.pid, &mut taken)
            };
            let survey = log.convert(&output).with_context(|| {
                let lost = match log.lost_events {
                    0 => String::new(),
                    lost => format!(" without the last {} calls", with_commas(lost)),
                };
                format!(
                    "the program has run, its raw log is still there{lost}: `heaplay record --recover {} \
                     -o OUT` tries again",
                    path.display()
                )
            })?;
            report(log, &output, &survey);
            if let Some(mark) = self
                .stop_at
                .filter(|_| index == main && !matches!(log.ending, RecordingEnding::Limit(_)))
            {
                print_note!("heaplay: {}; all was recorded", no_mark(mark, &survey.marks));
            }
            // A process that outlives the program still writes its log.
            let runs_on = self.root.is_some_and(|root| root != log.pid) && process_runs(log.pid);
            if runs_on {
                print_note!(
                    "heaplay: process {} still runs: {} lacks its calls from now on; once it has ended, \
                     `heaplay record --recover {} -o OUT` has all",
                    log.pid,
                    output.display(),
                    path.display()
                );
            } else if !self.leaves_raw {
                remove_log(path).with_context(|| path.display().to_string())?;
            } else if self.root.is_some() {
                print_note!("heaplay: raw log: {}", path.display());
            }
        }
        Ok(recorded.len())
    }

    /// The logs without those of launchers, if one may have been started and others were recorded.
    /// If one of those is a Python, only Pythons are left.
    fn without_launchers(&self, logs: Vec<(PathBuf, RawLog)>) -> Vec<(PathBuf, RawLog)> {
        let is_launcher = |log: &RawLog| program::is_launcher(Path::new(&log.executable));
        let has_python = logs.iter().any(|(_, log)| !log.python.is_empty());
        let has_other = logs.iter().any(|(_, log)| !is_launcher(log));
        if self.kind != ProgramKind::Launcher || !has_other {
            return logs;
        }
        let (wanted, others): (Vec<_>, Vec<_>) = logs.into_iter().partition(|(_, log)| {
            if has_python { !log.python.is_empty() } else { !is_launcher(log) }
        });
        if !self.leaves_raw {
            for (path, _) in &others {
                drop(remove_log(path));
            }
        }
        wanted
    }

    /// The index of the log whose trace gets the name of the output: that of the program itself, or
    /// of a launcher's largest.
    fn main(&self, logs: &[(PathBuf, RawLog)]) -> usize {
        if let Some(root) = logs.iter().position(|(_, log)| Some(log.pid) == self.root) {
            return root;
        }
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let is_python = |log: &RawLog| !log.python.is_empty();
        if logs.iter().any(|(_, log)| is_python(log)) {
            return 0;
        }
        let largest = logs.iter().enumerate().max_by_key(|(_, (path, _))| size(path));
        largest.map_or(0, |(index, _)| index)
    }

    /// Why a log holds no recording; `None` where it does.
    fn reason_for_nothing(&self, log: &RawLog) -> Option<String> {
        match &log.ending {
            RecordingEnding::Refused(reason) => Some(reason.clone()),
            RecordingEnding::Waiting => Some("it ended before the start of the recording".into()),
            _ => None,
        }
    }
}

/// Removes a raw log, and its fold where it has one.
fn remove_log(path: &Path) -> std::io::Result<()> {
    drop(fs::remove_file(Fold::path_of(path)));
    fs::remove_file(path)
}

/// Whether a process runs, and is no zombie.
fn process_runs(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Checks that the output can be written, before the program starts.
fn check_output(output: &Path) -> anyhow::Result<()> {
    if output.is_dir() {
        bail!("{}: is a directory; give a file that ends in .trace or .csv", output.display());
    }
    let probe = Creation::begin(output, &Header::default());
    // The cause names the path.
    drop(probe.context("--output: the trace cannot be written")?);
    let mut part = output.as_os_str().to_owned();
    part.push(".part");
    fs::remove_file(part).with_context(|| output.display().to_string())
}

/// The path of a further process's trace: `app.4711.trace` beside `app.trace`. A program that replaced
/// another by `exec` has the same process id, and gets `app.4711.2.trace`.
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

/// The raw logs of this run, beside the output on the same disk.
#[derive(Clone)]
struct Logs {
    directory: PathBuf,
    prefix: OsString,
}

impl Logs {
    fn beside(output: &Path) -> anyhow::Result<Logs> {
        let output = std::path::absolute(output).with_context(|| output.display().to_string())?;
        let mut prefix = output.file_name().unwrap_or_default().to_owned();
        // Process ids come back. A log of an earlier, killed recording must not count as one of this
        // run.
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        prefix.push(format!(".raw-{:x}-{}", now.as_millis(), std::process::id()));
        let directory = output.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Logs { directory, prefix })
    }

    /// Checks that the disk has space for the beginning of a log.
    ///
    /// # Errors
    /// When it has not.
    fn check_space(&self, output: &Path) -> anyhow::Result<()> {
        let largest = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        if largest.is_some_and(|bytes| bytes < RawLog::LEAST_BYTES) {
            bail!(
                "{}: the program was not started: its raw log needs {} at least, and no file may be so \
                 large; raise the limit (`ulimit -f`)",
                output.display(),
                plain_bytes(RawLog::LEAST_BYTES)
            );
        }
        let mut probe = self.base().into_os_string();
        probe.push(".probe");
        let reserved = RawLog::reserve(Path::new(&probe));
        drop(fs::remove_file(&probe));
        reserved.with_context(|| {
            format!(
                "{}: the program was not started: its raw log needs {} at least in {}; free some, or \
                 give -o a path on another disk",
                output.display(),
                plain_bytes(RawLog::LEAST_BYTES),
                self.directory.display()
            )
        })
    }

    /// The path of the logs, without the process id.
    fn base(&self) -> PathBuf {
        self.directory.join(&self.prefix)
    }

    /// The paths of all logs.
    fn paths(&self) -> std::io::Result<Vec<PathBuf>> {
        let prefix = self.prefix.as_encoded_bytes();
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let rest = entry.file_name();
            let is_ours =
                rest.as_encoded_bytes().strip_prefix(prefix).is_some_and(|r| r.starts_with(b"."));
            if is_ours && !Fold::is_name(&entry.path()) {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    }

    /// All logs, in the order in which their processes started.
    fn read(&self) -> anyhow::Result<Vec<(PathBuf, RawLog)>> {
        let context = || self.directory.display().to_string();
        let mut logs = Vec::new();
        for path in self.paths().with_context(context)? {
            match RawLog::open(&path) {
                Ok(log) => logs.push((path, log)),
                Err(error) => print_note!("heaplay: left out: {error}"),
            }
        }
        logs.sort_by_key(|(_, log)| log.start_ns);
        Ok(logs)
    }
}

/// Prints the error of a program that cannot be started. Returns the exit code that a shell has for
/// it.
///
/// # Errors
/// The error itself, where it is another one.
pub(super) fn cannot_start(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    let code = match error.downcast_ref::<CannotStart>() {
        Some(CannotStart::NotFound(_)) => 127,
        Some(CannotStart::NotExecutable(_)) => 126,
        None => return Err(error),
    };
    print_note!("heaplay: {error:#}");
    Ok(ExitCode::from(code))
}

/// What ran in a recorded process, for a person.
fn program_name(log: &RawLog) -> String {
    if !log.python.is_empty() {
        return format!("CPython {}", log.python);
    }
    let file = Path::new(&log.executable).file_name().unwrap_or_default();
    file.to_string_lossy().into_owned()
}

/// Prints a line for each trace, and one for each thing that the recorder could not see.
fn report(log: &RawLog, output: &Path, survey: &Survey) {
    let size = fs::metadata(output).map_or(0, |metadata| metadata.len());
    print_note!(
        "heaplay: recorded {} calls requesting {} of process {} ({}): {} ({})",
        with_commas(survey.events),
        plain_bytes(survey.bytes),
        log.pid,
        program_name(log),
        output.display(),
        plain_bytes(size),
    );
    if survey.events == 0 {
        print_note!(
            "heaplay: no call was recorded: the program allocated nothing, or not by functions that \
             are recorded (`--domains all` has those of the C library)"
        );
    }
    match &log.ending {
        RecordingEnding::NoSpace(reason) => {
            print_note!(
                "heaplay: the recording ended early, the program went on unrecorded: {reason}"
            );
        }
        RecordingEnding::Limit(limit) => {
            print_note!("heaplay: {limit} ended the recording; the program went on unrecorded");
        }
        _ => {}
    }
    if log.lost_events > 0 {
        print_note!("heaplay: {} calls were made and not recorded", with_commas(log.lost_events));
    }
    if survey.unseen_frees > 0 && !log.is_forked() {
        let from = if log.is_late() { "from before the recording" } else { "never seen" };
        print_note!("heaplay: {} frees were of blocks {from}", with_commas(survey.unseen_frees));
    }
    if !survey.interpreters.is_empty() {
        let interpreters: std::collections::BTreeSet<u32> =
            survey.interpreters.iter().map(|pair| pair.1).collect();
        print_note!(
            "heaplay: {} sub-interpreters had heaps of their own; a replay puts all into one",
            interpreters.len()
        );
    }
    let facts = log.header(survey).facts;
    if let Some(text) = facts.get("newest") {
        print_note!("heaplay: {text}");
    }
    if let Some(text) = facts.get("explained") {
        print_note!("heaplay: {text}");
    }
    if let Some(warning) = facts.get("unexplained") {
        print_note!("heaplay: warning: {warning}");
    }
    if log.has_replaced_hooks() && log.variables.iter().all(|v| !v.starts_with("PYTHONMALLOC=")) {
        print_note!(
            "heaplay: the program replaced the recorder's hooks; they were placed again, and calls in \
             between may be missing"
        );
    }
    if log.is_disturbed() {
        print_note!(
            "heaplay: tracemalloc or another hook stood above the recorder's at some time: sizes and \
             counts include its own"
        );
    }
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
}
