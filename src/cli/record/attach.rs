//! `heaplay record --attach`: records a CPython that runs already, from 3.14 on.
//!
//! An interpreter of the same version lets the process run a script (`sys.remote_exec`, PEP 768).
//! The script loads the recorder by `ctypes` and begins the recording, so the process needs no
//! package. A second script ends it. Both scripts answer by a file. The process runs a script when
//! its main thread next runs Python code, so a thread that waits in a system call delays it.
//!
//! A library that is loaded late is not called in the place of the C library's functions. So the
//! trace has CPython's domains. Blocks from before the start are counted, and have no rows.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::limits::LimitArgs;
use super::program;
use crate::bench::CANCELLED;
use crate::cli::interrupt;
use crate::cli::preload::RECORDER;
use crate::environment::PATH;
use crate::trace::{RawLog, RecordingEnding};

/// The script, without the call at its end.
const SCRIPT: &str = include_str!("attach.py");
/// The first minor version of CPython 3 that runs a script on request.
const FIRST_MINOR: u32 = 14;
/// The longest path of a script, in bytes: `MAX_SCRIPT_PATH_SIZE` with its closing zero.
const SCRIPT_PATH_BYTES: usize = 511;
/// The exit status of an interpreter that may not write into the process.
const NO_PERMISSION: i32 = 77;
/// The interval between two looks at the process.
const INTERVAL: Duration = Duration::from_millis(50);
/// The time after which a process that has not answered is reported.
const PATIENCE: Duration = Duration::from_secs(3);
/// The time that a process gets to end the recording.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// The ways that work where attaching does not.
const OTHER_WAYS: &str = "start it with `heaplay record`, or in a container with the variables that \
                          `heaplay recorder DIR` prints, or record a part of it from inside, by \
                          `with heaplay.record(…)` of the Python module";

/// A recording of a running process.
pub struct Attachment {
    pid: u32,
    /// The interpreter that passes scripts on to the process.
    python: PathBuf,
    /// The recorder, the scripts and their answers.
    folder: TempDir,
    /// What is recorded.
    limits: LimitArgs,
    /// The path of the raw logs, without the process id.
    base: PathBuf,
}

/// How the recording ended.
pub struct AttachedEnd {
    /// Blocks that were live before the recording.
    pub live_before: u64,
    /// Whether the process still writes to its log.
    pub still_records: bool,
}

impl Attachment {
    /// Checks that the process can be recorded. Writes the recorder beside `output`.
    ///
    /// # Errors
    /// Why it cannot be recorded, and the ways that work instead.
    pub fn prepare(
        pid: u32,
        output: &Path,
        limits: LimitArgs,
        base: PathBuf,
    ) -> anyhow::Result<Attachment> {
        let python = interpreter_for(pid)?;
        let output = std::path::absolute(output).with_context(|| output.display().to_string())?;
        let parent = output.parent().unwrap_or(Path::new("/"));
        let folder = tempfile::Builder::new()
            .prefix(".heaplay-attach-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(parent)
            .with_context(|| format!("{}: cannot be written", parent.display()))?;
        let metadata = fs::metadata(format!("/proc/{pid}")).context("the process has ended")?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            // The process itself writes its log and its answers.
            std::os::unix::fs::chown(folder.path(), Some(metadata.uid()), None)?;
        }
        RECORDER.write(&folder.path().join(RECORDER.name))?;
        let attachment = Attachment { pid, python, folder, limits, base };
        let script = attachment.file("begin.py");
        if script.as_os_str().len() > SCRIPT_PATH_BYTES {
            bail!("{}: the path is too long for the process; use a shorter one", script.display());
        }
        Ok(attachment)
    }

    /// Records until the limits, Ctrl-C, or the end of the process.
    ///
    /// # Errors
    /// When the recording cannot begin.
    pub fn run(&self) -> anyhow::Result<AttachedEnd> {
        interrupt::install()?;
        let live_before = self.begin()?;
        let started = Instant::now();
        let duration = self.limits.duration();
        print_note!(
            "heaplay: records process {}; {} blocks were live before; Ctrl-C ends the recording",
            self.pid,
            crate::units::with_commas(live_before)
        );
        let mut still_records = false;
        loop {
            if !super::process_runs(self.pid.into()) || self.has_ended() {
                break;
            }
            let is_over = duration.is_some_and(|duration| started.elapsed() >= duration);
            if is_over || CANCELLED.load(Ordering::Relaxed) {
                still_records = !self.end();
                break;
            }
            std::thread::sleep(INTERVAL);
        }
        Ok(AttachedEnd { live_before, still_records })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins the recording. Returns the number of blocks that are live.
    fn begin(&self) -> anyhow::Result<u64> {
        let numbers = self.limits.late();
        let call = format!(
            "_heaplay({}, {}, {}, {}, {numbers:?})\ndel _heaplay\n",
            literal(&self.file("began")),
            literal(&self.file(RECORDER.name)),
            literal(&self.base),
            self.limits.sites.unwrap_or(0),
        );
        self.send("begin.py", &call)?;
        let sent = Instant::now();
        let mut is_reported = false;
        loop {
            if let Some(answer) = self.answer("began") {
                let Some(live) = answer.strip_prefix("began ") else {
                    bail!("process {} cannot be recorded: {answer}", self.pid)
                };
                return Ok(live.parse().unwrap_or(0));
            }
            if !super::process_runs(self.pid.into()) {
                bail!("process {} ended before it began to record", self.pid);
            }
            if CANCELLED.load(Ordering::Relaxed) {
                // The script may still run: without its file, it cannot begin anything.
                drop(fs::remove_file(self.file("begin.py")));
                bail!("process {} had not begun to record: nothing was recorded", self.pid);
            }
            if !is_reported && sent.elapsed() > PATIENCE {
                is_reported = true;
                print_note!(
                    "heaplay: process {} begins to record when its main thread next runs Python code",
                    self.pid
                );
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Ends the recording; `false` where the process did not answer in time.
    fn end(&self) -> bool {
        let none = literal(Path::new(""));
        let call = format!(
            "_heaplay({}, {none}, {none}, 0, ())\ndel _heaplay\n",
            literal(&self.file("ended"))
        );
        if self.send("end.py", &call).is_err() {
            return false;
        }
        let sent = Instant::now();
        while sent.elapsed() < END_PATIENCE {
            if self.answer("ended").is_some() || !super::process_runs(self.pid.into()) {
                return true;
            }
            std::thread::sleep(INTERVAL);
        }
        false
    }

    /// Whether a limit has ended the recording.
    fn has_ended(&self) -> bool {
        let mut path = self.base.clone().into_os_string();
        path.push(format!(".{}", self.pid));
        RawLog::open(Path::new(&path)).is_ok_and(|log| {
            matches!(log.ending, RecordingEnding::Limit(_) | RecordingEnding::NoSpace(_))
        })
    }

    /// What a script answered.
    fn answer(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.file(name)).ok().map(|text| text.trim().to_owned())
    }

    /// Lets the process run the script with a call at its end.
    fn send(&self, name: &str, call: &str) -> anyhow::Result<()> {
        let script = self.file(name);
        fs::write(&script, format!("{SCRIPT}{call}"))
            .with_context(|| script.display().to_string())?;
        let code = format!(
            "import sys\ntry: sys.remote_exec(int(sys.argv[1]), sys.argv[2])\n\
             except PermissionError as error: print(error, file=sys.stderr); \
             sys.exit({NO_PERMISSION})"
        );
        let output = Command::new(&self.python)
            .args(["-I", "-S", "-c", &code])
            .arg(self.pid.to_string())
            .arg(&script)
            .output()
            .with_context(|| self.python.display().to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let reason = errors.trim().lines().last().unwrap_or_default().to_owned();
        if output.status.code() == Some(NO_PERMISSION) {
            bail!(
                "process {}: attaching writes into its memory, which needs root, CAP_SYS_PTRACE, or \
                 a kernel that allows ptrace: {reason}",
                self.pid
            );
        }
        bail!("process {} cannot be attached to ({reason}); {OTHER_WAYS}", self.pid)
    }
}

/// A path as a Python literal of bytes.
fn literal(path: &Path) -> String {
    let bytes: Vec<String> = path.as_os_str().as_bytes().iter().map(u8::to_string).collect();
    format!("bytes([{}])", bytes.join(", "))
}

/// An interpreter of the same version as that of the process.
///
/// # Errors
/// Why the process cannot be attached to.
fn interpreter_for(pid: u32) -> anyhow::Result<PathBuf> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let Ok(executable) = fs::read_link(proc.join("exe")) else {
        if proc.is_dir() {
            bail!("process {pid}: belongs to another user; attach as root, or as that user");
        }
        bail!("process {pid}: does not exist; expected the id of a running CPython");
    };
    let root = |of: &Path| fs::metadata(of.join("root")).ok().map(|root| (root.dev(), root.ino()));
    let Some(minor) = minor_of(&proc, &executable) else {
        bail!(
            "process {pid} ({}): is no CPython 3, and only such a process can be attached to; start \
             it with `heaplay record -- PROGRAM`",
            executable.display()
        );
    };
    if minor < FIRST_MINOR {
        bail!(
            "process {pid}: runs CPython 3.{minor}, and 3.{FIRST_MINOR} is the first that can be \
             attached to (`sys.remote_exec`); {OTHER_WAYS}"
        );
    }
    if root(&proc) != root(Path::new("/proc/self")) {
        bail!(
            "process {pid}: runs in another root directory, as in a container; run heaplay inside of \
             it, or {OTHER_WAYS}"
        );
    }
    check_switches(&proc, pid)?;
    let name = format!("python3.{minor}");
    let own = executable
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b"python"))
        .then_some(executable);
    let paths = std::env::var_os(PATH).unwrap_or_default();
    let on_path = std::env::split_paths(&paths).map(|folder| folder.join(&name));
    own.into_iter().chain(on_path).find(|python| version_of(python) == Some(minor)).with_context(
        || {
            format!(
                "process {pid}: runs CPython 3.{minor}, and only an interpreter of that version can \
                 pass a script on; put {name} on the PATH"
            )
        },
    )
}

/// Checks that the process has not turned remote debugging off.
fn check_switches(proc: &Path, pid: u32) -> anyhow::Result<()> {
    let read = |name: &str| fs::read(proc.join(name)).unwrap_or_default();
    let variables = read("environ");
    let is_set = |part: &[u8]| {
        part.strip_prefix(b"PYTHON_DISABLE_REMOTE_DEBUG=").is_some_and(|value| !value.is_empty())
    };
    if variables.split(|&byte| byte == 0).any(is_set) {
        bail!(
            "process {pid}: was started with PYTHON_DISABLE_REMOTE_DEBUG, which forbids to attach; \
             unset it, or {OTHER_WAYS}"
        );
    }
    let arguments = read("cmdline");
    if arguments
        .split(|&byte| byte == 0)
        .any(|part| part == b"disable-remote-debug" || part == b"-Xdisable-remote-debug")
    {
        bail!(
            "process {pid}: was started with -X disable-remote-debug, which forbids to attach; leave \
             it out, or {OTHER_WAYS}"
        );
    }
    Ok(())
}

/// The minor version of the CPython 3 in a process; `None` where there is none.
fn minor_of(proc: &Path, executable: &Path) -> Option<u32> {
    let maps = fs::read_to_string(proc.join("maps")).unwrap_or_default();
    let digits = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    if let Some(minor) = maps.lines().find_map(|line| digits(line.split_once("/libpython3.")?.1)) {
        return Some(minor);
    }
    let file = fs::read(proc.join("exe")).ok()?;
    if !program::is_python(&file) {
        return None;
    }
    let name = executable.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.strip_prefix("python3.").and_then(digits).or_else(|| version_of(executable))
}

/// The minor version that an interpreter of CPython 3 reports.
fn version_of(python: &Path) -> Option<u32> {
    let code = "import sys; print(sys.version_info[1] if sys.version_info[0] == 3 else '')";
    let output = Command::new(python).args(["-I", "-S", "-c", code]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
