//! Room `cli`, verb `record`: runs a Python program with the recorder loaded, and turns what it left into traces.
//!
//! The program is given through untouched: its arguments, stdin, stdout, stderr, signals and exit code are its own.
//! All checks that can be made come before it starts. `record/program.rs` tells whether it is a Python,
//! `record/child.rs` runs it, `record/library.rs` hands out the recorder that the build embedded.

mod child;
mod library;
mod program;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use self::library::Library;
use crate::trace::{Ending, RawLog, Survey};

/// Says a line on stderr. A reader of it that went away must not cost the recording.
macro_rules! say {
    ($($text:tt)*) => { drop(writeln!(std::io::stderr(), $($text)*)) };
}

/// Records every allocation of a Python program (CPython 3.7 to 3.13), from before its interpreter starts.
#[derive(clap::Args)]
pub struct RecordArgs {
    /// The trace to write: `.trace` (compact) or `.csv`. Other Python processes that the program starts or forks
    /// get their own beside it, with the process id in the name
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Record also the Python line (`file:line`) that made each call; costs more time
    #[arg(long)]
    sites: bool,
    /// Keep the raw logs that the traces are made of
    #[arg(long)]
    keep_raw: bool,
    /// Start PROGRAM even if it is neither a Python nor a launcher that is known
    #[arg(long)]
    any_program: bool,
    /// Run nothing: make a trace of a raw log that an interrupted recording left
    #[arg(long, value_name = "RAW", conflicts_with_all = ["program", "sites", "keep_raw", "any_program"])]
    recover: Option<PathBuf>,
    /// The program and its arguments, best after `--`: python app.py …, or a script that ends in a Python
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
        if let Some(raw) = &self.recover {
            let log = RawLog::open(raw)?;
            tell(&log, &self.output, &log.convert(&self.output)?);
            return Ok(ExitCode::SUCCESS);
        }
        let Some((name, arguments)) = self.program.split_first() else { bail!("no program was given") };
        let path = program::resolve(name, self.any_program)?;
        let library = Library::write(&self.output)?;
        let logs = Logs::beside(&self.output)?;
        let code = child::run(child::Job {
            name,
            path: &path,
            arguments,
            preload: library.preload(std::env::var_os("LD_PRELOAD").as_deref()),
            order: logs.order(self.sites),
        })?;
        drop(library);
        self.collect(&logs, &code)?;
        Ok(code.exit_code())
    }

    /// Makes the traces.
    fn collect(&self, logs: &Logs, code: &child::Code) -> anyhow::Result<()> {
        let (refused, recorded): (Vec<_>, Vec<_>) =
            logs.read()?.into_iter().partition(|(_, log)| matches!(log.ending, Ending::Refused(_)));
        for (path, log) in &refused {
            let Ending::Refused(reason) = &log.ending else { continue };
            drop(fs::remove_file(path));
            if log.pid == u64::from(code.pid) {
                bail!("{}: CPython {} cannot be recorded: {reason}", log.program.join(" "), log.python);
            }
            say!("heaplay: process {} ({}) was not recorded: {reason}", log.pid, log.program.join(" "));
        }
        if recorded.is_empty() {
            let nothing =
                "no Python was seen to start, so nothing was recorded; put the interpreter itself after --";
            if code.is_success() {
                bail!("{nothing}");
            }
            say!("heaplay: {nothing}");
        }
        let main = recorded.iter().position(|(_, log)| log.pid == u64::from(code.pid)).unwrap_or(0);
        for (index, (path, log)) in recorded.iter().enumerate() {
            let output = if index == main { self.output.clone() } else { name_of(&self.output, path) };
            let survey = log.convert(&output).with_context(|| {
                format!(
                    "the program has run, its raw log is kept: `heaplay record --recover {} -o OUT` tries again",
                    path.display()
                )
            })?;
            tell(log, &output, &survey);
            if self.keep_raw {
                say!("heaplay: raw log kept: {}", path.display());
            } else {
                fs::remove_file(path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }
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

/// `app.trace` and `….raw-1.4711` as `app.4711.trace`: one trace a process.
fn name_of(output: &Path, raw: &Path) -> PathBuf {
    let raw = raw.to_string_lossy();
    let number = raw.rsplit_once(".raw-").and_then(|(_, numbers)| numbers.split_once('.'));
    let mut name = output.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{}.", number.map_or("other", |(_, number)| number)));
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
        // Process ids come back; a log that a killed recording left must not be taken for one of ours.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        prefix.push(format!(".raw-{:x}-{}", now.as_millis(), std::process::id()));
        let directory = output.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Logs { directory, prefix })
    }

    /// The recorder's variable; its form is told in `recorder/lib.rs`.
    fn order(&self, sites: bool) -> OsString {
        let options = if sites { "s" } else { "" };
        let mut order = OsString::from(format!("1:{}:{options}:", std::process::id()));
        order.push(self.directory.join(&self.prefix));
        order
    }

    /// All logs, in the order in which their processes started.
    fn read(&self) -> anyhow::Result<Vec<(PathBuf, RawLog)>> {
        let context = || self.directory.display().to_string();
        let prefix = self.prefix.as_encoded_bytes();
        let mut logs = Vec::new();
        for entry in fs::read_dir(&self.directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let rest = entry.file_name();
            let is_ours = rest.as_encoded_bytes().strip_prefix(prefix).is_some_and(|r| r.starts_with(b"."));
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
    if let Ending::NoRoom(reason) = &log.ending {
        say!("heaplay: the recording ended early, the program went on: {reason}");
    }
    if log.lost_events > 0 {
        say!("heaplay: {} calls were made and not recorded", grouped(log.lost_events));
    }
    if survey.unseen_frees > 0 && !log.is_forked() {
        say!("heaplay: {} frees were of blocks never seen", grouped(survey.unseen_frees));
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
        let name = |output: &str, raw: &str| name_of(Path::new(output), Path::new(raw));
        assert_eq!(name("a/app.trace", "a/app.trace.raw-1.4711"), Path::new("a/app.4711.trace"));
        assert_eq!(name("app.v1.csv", "app.v1.csv.raw-1.4711.2"), Path::new("app.v1.4711.2.csv"));
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
