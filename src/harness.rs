//! The façade for authors of allocators: [`Harness`] replays recorded programs on their allocator
//! beside a baseline, prints the table, draws the pictures and judges the difference.

use std::alloc::GlobalAlloc;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::backends::{Embedded, register};
use crate::cli::{self, Exit};

/// Installs what keeps the harness out of its own measurements, at the top level of a program that
/// serves as heaplay's child: a global allocator outside the C library's heap and outside private
/// memory, and a `clock_gettime` that pauses while a child waits for its time slice.
///
/// Once in a program; a program that has a global allocator of its own cannot have it.
#[macro_export]
macro_rules! isolate_measurement {
    () => {
        #[global_allocator]
        static HEAPLAY_MEMORY: $crate::isolation::SharedHeap = $crate::isolation::SharedHeap::new();

        /// The C library's function, less the time that this process waited for its time slices.
        ///
        /// # Safety
        /// `time` points to a writable `timespec`.
        #[allow(unsafe_code, reason = "takes precedence over a function of the C library")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn clock_gettime(
            clock: $crate::isolation::ClockId,
            time: *mut $crate::isolation::Timespec,
        ) -> ::std::ffi::c_int {
            // SAFETY: the caller's own arguments.
            unsafe { $crate::isolation::paused_clock_gettime(clock, time) }
        }
    };
}

/// What the code of [`crate::isolate_measurement!`] names. It is not for direct use.
pub mod isolation {
    pub use crate::replay::{ClockId, SharedHeap, Timespec, paused_clock_gettime};
}

/// The program `heaplay`: parses the arguments and runs the verb.
pub fn command_line() -> ExitCode {
    cli::parse(std::env::args_os()).unwrap_or_else(|error| error.exit()).main()
}

/// Compares allocators with a baseline on recorded programs. This is a whole benchmark
/// (`benches/heaplay.rs`, with `harness = false` in `Cargo.toml`):
///
/// ```no_run
/// use std::alloc::System;
/// use std::process::ExitCode;
///
/// static MINE: System = System; // your allocator
///
/// fn main() -> ExitCode {
///     heaplay::Harness::new()
///         .allocator("mine", env!("CARGO_PKG_VERSION"), &MINE)
///         .baseline("malloc")
///         .traces([heaplay::Harness::standard_traces()])
///         .main()
/// }
/// ```
///
/// `cargo bench` then leaves a run folder with its pictures in `target/heaplay` and ends with the exit
/// status of `heaplay check`: 0 nothing is worse, 1 something is, 2 it could not be judged, 3
/// inconclusive. Arguments after `--` choose traces by a part of their name. Without `--bench`, as
/// under `cargo test`, the shortest trace is replayed once, and nothing is judged.
///
/// # Memory
/// A footprint is the child's resident private memory, so the harness must not use any. Put
/// [`crate::isolate_measurement!`] at the top level of the benchmark: it installs a global allocator
/// for the benchmark itself, outside private memory, and a clock that pauses while a child waits.
/// The allocator that you measure need not be the global one. A benchmark that has a global
/// allocator of its own goes without the macro: times are measured as before, and each footprint
/// pass ends as an error row that names this reason.
#[must_use = "a harness does nothing before `main`"]
pub struct Harness {
    allocators: Vec<Embedded>,
    candidates: Vec<String>,
    baseline: String,
    traces: Vec<PathBuf>,
    out: PathBuf,
    repetitions: u32,
    time_limit_seconds: u64,
    policy: Option<PathBuf>,
}

impl Default for Harness {
    fn default() -> Harness {
        Harness::new()
    }
}

impl Harness {
    /// A harness without candidates, with the C library's `malloc` as baseline.
    pub fn new() -> Harness {
        Harness {
            allocators: Vec::new(),
            candidates: Vec::new(),
            baseline: "malloc".to_owned(),
            traces: Vec::new(),
            out: Path::new("target").join("heaplay"),
            repetitions: 5,
            time_limit_seconds: 300,
            policy: None,
        }
    }

    /// Adds an allocator of this program as a candidate. `name` stands in tables and pictures: lower
    /// case letters, digits and `_`. `version` is shown beside it.
    pub fn allocator(
        mut self,
        name: &'static str,
        version: &'static str,
        allocator: &'static (dyn GlobalAlloc + Sync),
    ) -> Harness {
        self.allocators.push(Embedded { name, version, allocator });
        self.candidates.push(name.to_owned());
        self
    }

    /// Adds any other backend as a candidate, by its spec: `so:./libmine.so`, `mimalloc` …
    pub fn backend(mut self, spec: impl Into<String>) -> Harness {
        self.candidates.push(spec.into());
        self
    }

    /// The backend to compare with, by its spec. The default is `malloc`.
    pub fn baseline(mut self, spec: impl Into<String>) -> Harness {
        self.baseline = spec.into();
        self
    }

    /// Adds traces, or folders of traces.
    pub fn traces(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Harness {
        self.traces.extend(paths);
        self
    }

    /// The folder of the traces that come with heaplay: six recorded Python programs.
    pub fn standard_traces() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("traces")
    }

    /// The run folder. The default is `target/heaplay`.
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Harness {
        self.out = folder.into();
        self
    }

    /// Repetitions of each timed pass, from 1 to 255. The default is 5.
    pub fn repetitions(mut self, repetitions: u32) -> Harness {
        self.repetitions = repetitions;
        self
    }

    /// Seconds for all judged cells together. The default is 300.
    pub fn time_limit_seconds(mut self, seconds: u64) -> Harness {
        self.time_limit_seconds = seconds;
        self
    }

    /// A file of margins and accepted increases, as `heaplay check --policy` takes it.
    pub fn policy(mut self, file: impl Into<PathBuf>) -> Harness {
        self.policy = Some(file.into());
        self
    }

    /// Serves a child when this process is one; else measures, reports and judges. Returns the exit
    /// status of the whole.
    #[must_use = "the exit status says whether something is worse"]
    pub fn main(self) -> ExitCode {
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        register(&self.allocators);
        if arguments.first().is_some_and(|first| first == "worker") {
            return verb(arguments);
        }
        match self.judge(&arguments) {
            Ok(code) => code,
            Err(reason) => {
                anstream::eprintln!("heaplay: {reason}");
                Exit::Failed.into()
            }
        }
    }

    fn judge(self, arguments: &[OsString]) -> Result<ExitCode, String> {
        if self.candidates.is_empty() {
            return Err(
                "no candidate: name one by Harness::allocator or Harness::backend".to_owned()
            );
        }
        let is_bench = arguments.iter().any(|argument| argument == "--bench");
        let wanted: Vec<String> = arguments
            .iter()
            .filter_map(|argument| argument.to_str())
            .filter(|argument| !argument.starts_with('-'))
            .map(str::to_owned)
            .collect();
        let mut traces = find_traces(&self.traces, &wanted)?;
        if !is_bench {
            traces.truncate(1);
        }
        fresh_folder(&self.out)?;
        let repetitions = if is_bench { self.repetitions } else { 1 };
        let mut run: Vec<OsString> = vec!["run".into(), "--out".into(), self.out.clone().into()];
        run.extend(["--repetitions".into(), repetitions.to_string().into()]);
        run.extend(backends_argument(std::iter::once(&self.baseline).chain(&self.candidates)));
        run.extend(traces.iter().map(|path| path.clone().into_os_string()));
        let measured = verb(run);
        if !is_bench || measured != ExitCode::SUCCESS {
            return Ok(measured); // a pass that failed must not hide behind a verdict
        }
        let mut check: Vec<OsString> = vec!["check".into()];
        check.extend(traces.into_iter().map(PathBuf::into_os_string));
        for candidate in &self.candidates {
            check.extend(["--baseline".into(), (&self.baseline).into()]);
            check.extend(["--candidate".into(), candidate.into()]);
        }
        check.extend(["--time-limit".into(), self.time_limit_seconds.to_string().into()]);
        if let Some(policy) = self.policy {
            check.extend(["--policy".into(), policy.into_os_string()]);
        }
        Ok(verb(check))
    }
}

/// Runs one verb of the command line in this process.
fn verb(arguments: Vec<OsString>) -> ExitCode {
    let name = std::iter::once(OsString::from("heaplay"));
    match cli::parse(name.chain(arguments)) {
        Ok(cli) => cli.main(),
        Err(error) => {
            let _ = error.print();
            Exit::Failed.into()
        }
    }
}

fn backends_argument<'a>(specs: impl Iterator<Item = &'a String>) -> Vec<OsString> {
    specs.flat_map(|spec| [OsString::from("--backends"), spec.into()]).collect()
}

/// The traces at `paths`, smallest first, whose file name contains one of `wanted`; all where nothing
/// is wanted.
fn find_traces(paths: &[PathBuf], wanted: &[String]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries =
                std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let files = entries.flatten().map(|entry| entry.path());
            found.extend(files.filter(|file| file.extension().is_some_and(|end| end == "trace")));
        } else {
            found.push(path.clone());
        }
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    found.retain(|path| wanted.is_empty() || wanted.iter().any(|part| name(path).contains(part)));
    found.sort_by_cached_key(|path| (path.metadata().map_or(0, |about| about.len()), name(path)));
    if found.is_empty() {
        return Err(format!(
            "no trace{} in {} place{}: name some by Harness::traces",
            if wanted.is_empty() { String::new() } else { format!(" named {}", wanted.join(", ")) },
            paths.len(),
            if paths.len() == 1 { "" } else { "s" }
        ));
    }
    Ok(found)
}

/// Removes the run folder of the last time; refuses a folder that is none.
fn fresh_folder(folder: &Path) -> Result<(), String> {
    let is_empty = |folder: &Path| folder.read_dir().is_ok_and(|mut all| all.next().is_none());
    if !folder.exists() || is_empty(folder) {
        return Ok(());
    }
    if !folder.join("manifest.json").exists() {
        return Err(format!(
            "{}: not a run folder, so it is not replaced; name another by Harness::out",
            folder.display()
        ));
    }
    std::fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_found_by_a_part_of_their_name_smallest_first() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [("large.trace", 9), ("small.trace", 1), ("notes.txt", 1)] {
            std::fs::write(folder.path().join(name), vec![0; bytes]).unwrap();
        }
        let of = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|part| (*part).to_owned()).collect();
            find_traces(&[folder.path().to_owned()], &wanted)
        };
        let names = |found: Vec<PathBuf>| -> Vec<String> {
            let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            found.iter().map(name).collect()
        };
        assert_eq!(names(of(&[]).unwrap()), ["small.trace", "large.trace"]);
        assert_eq!(names(of(&["lar"]).unwrap()), ["large.trace"]);
        assert!(of(&["other"]).unwrap_err().contains("named other"));
    }

    #[test]
    fn a_folder_that_is_no_run_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(fresh_folder(folder.path()).is_ok(), "an empty one");
        std::fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
        assert!(fresh_folder(folder.path()).unwrap_err().contains("not a run folder"));
        assert!(folder.path().join("thesis.tex").exists());
    }
}
