//! Finds the program to record, and checks before its start that it can be recorded.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use object::{Architecture, Object};

use super::limits::RecordedDomains;
use crate::cli::near_path::did_you_mean;
use crate::environment::PATH;
use crate::spec;

/// Programs that start other programs. What they start is recorded; their own calls are of interest
/// only where nothing else was started.
const LAUNCHERS: &[&str] = &[
    "bash",
    "busybox",
    "chrt",
    "conda",
    "dash",
    "env",
    "fish",
    "hatch",
    "ionice",
    "ksh",
    "make",
    "mamba",
    "micromamba",
    "nice",
    "nohup",
    "numactl",
    "pdm",
    "poetry",
    "rye",
    "setsid",
    "sh",
    "stdbuf",
    "taskset",
    "time",
    "timeout",
    "uv",
    "uvx",
    "xargs",
    "xvfb-run",
    "zsh",
];

/// What a program is, as far as its file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// A CPython.
    Python,
    /// A script, or a known launcher of other programs.
    Launcher,
    /// Any other program.
    Other,
}

/// A program to record.
#[derive(Clone, Debug)]
pub struct ProgramFile {
    /// Its file.
    pub path: PathBuf,
    /// What it is.
    pub kind: ProgramKind,
}

/// Why a program cannot be started. The exit statuses are those of a shell.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// There is no such file.
    #[error("{0}")]
    NotFound(String),
    /// The file cannot be executed.
    #[error("{0}")]
    NotExecutable(String),
}

/// Finds the program `name`, as `execvp` finds it, and checks that it can be recorded with those
/// `domains`. `any_program` allows a program of an unknown kind to start a Python.
///
/// # Errors
/// When the file is missing or cannot be executed ([`CannotStart`]), or cannot be recorded.
pub fn resolve(
    name: &OsStr,
    domains: RecordedDomains,
    any_program: bool,
) -> anyhow::Result<ProgramFile> {
    let path = find(name)?;
    let shown = path.display();
    let mut start = [0; 4];
    let mut file = File::open(&path).with_context(|| format!("{shown}: cannot be read"))?;
    let length = file.read(&mut start).with_context(|| format!("{shown}: cannot be read"))?;
    let start = start.get(..length).unwrap_or_default();
    if start.starts_with(b"#!") {
        return Ok(ProgramFile { path, kind: ProgramKind::Launcher });
    }
    if start != b"\x7fELF" {
        let next = if path.extension().is_some_and(|extension| extension == "py") {
            "python3 "
        } else {
            "PYTHON "
        };
        bail!(
            "{shown}: is no program (neither a binary nor a script that begins `#!`); try \
             `-- {next}{shown}`"
        );
    }
    let bytes = fs::read(&path).with_context(|| format!("{shown}: cannot be read"))?;
    check_loader(&path, &bytes)?;
    let kind = if is_python(&bytes) {
        ProgramKind::Python
    } else if is_launcher(&path) {
        ProgramKind::Launcher
    } else {
        ProgramKind::Other
    };
    if kind == ProgramKind::Other && domains == RecordedDomains::Python && !any_program {
        bail!(
            "{shown}: is no Python, and no launcher that heaplay knows; --domains python records a \
             CPython 3.7 or later, or a script that starts one; put the interpreter after --, add \
             --any-program if this one starts it in the end, or record the program itself with \
             --domains all"
        );
    }
    Ok(ProgramFile { path, kind })
}

/// Checks that the dynamic linker will load the recorder into the program.
fn check_loader(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let shown = path.display();
    let elf = object::File::parse(bytes)
        .with_context(|| format!("{shown}: is no ELF program that this machine runs"))?;
    if let Some(expected) = processor().filter(|expected| elf.architecture() != *expected) {
        bail!(
            "{shown}: is for another processor ({:?}, and this heaplay is for {expected:?}), so the \
             recorder cannot be loaded into it; record the program of this machine, or use the \
             heaplay of that processor",
            elf.architecture()
        );
    }
    let is_dynamic = elf.section_by_name(".interp").is_some() || contains_interpreter(bytes);
    if !is_dynamic {
        bail!(
            "{shown}: is statically linked, so no library can be loaded into it and nothing can be \
             recorded; link it dynamically (for Rust and C without -static or a musl target, for Go \
             with cgo), or record a program that it starts"
        );
    }
    if cfg!(target_env = "gnu") && first_page_contains(bytes, b"/ld-musl") {
        bail!(
            "{shown}: is linked to musl, and the recorder of this heaplay to glibc, so it cannot be \
             loaded; record the program as built for glibc: the trace is the same for other machines"
        );
    }
    let metadata = fs::metadata(path).with_context(|| shown.to_string())?;
    let user = rustix::process::geteuid();
    let group = rustix::process::getegid();
    let changes_user = metadata.mode() & 0o4000 != 0 && metadata.uid() != user.as_raw();
    let changes_group = metadata.mode() & 0o2000 != 0 && metadata.gid() != group.as_raw();
    if changes_user || changes_group {
        bail!(
            "{shown}: is set-uid or set-gid, so the dynamic linker ignores LD_PRELOAD and nothing can \
             be recorded; record a copy without that bit, or as its owner"
        );
    }
    Ok(())
}

/// The processor of this heaplay; `None` for one whose programs are not checked.
const fn processor() -> Option<Architecture> {
    if cfg!(target_arch = "x86_64") {
        Some(Architecture::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Architecture::Aarch64)
    } else {
        None
    }
}

/// Whether the program headers name a dynamic linker. A stripped program has no sections.
fn contains_interpreter(bytes: &[u8]) -> bool {
    let linkers: [&[u8]; 3] = [b"/ld-linux", b"/ld-musl", b"/ld64.so"];
    linkers.into_iter().any(|linker| first_page_contains(bytes, linker))
}

/// Whether the first page of a file contains a text. The name of the dynamic linker is there.
fn first_page_contains(bytes: &[u8], text: &[u8]) -> bool {
    contains(&bytes[..bytes.len().min(4096)], text)
}

fn find(name: &OsStr) -> anyhow::Result<PathBuf> {
    let shown = name.to_string_lossy();
    if shown.is_empty() {
        bail!("the name of the program is empty; expected a program or a script after `--`");
    }
    if shown.contains('/') {
        let path = PathBuf::from(name);
        let metadata = fs::metadata(&path).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => CannotStart::NotExecutable(format!(
                "{shown}: a folder of its path, or of what it links to, may not be searched: {error}"
            )),
            _ => CannotStart::NotFound(format!(
                "{shown}: not found; expected a program or a script; check the path{}",
                did_you_mean(&path)
            )),
        })?;
        if metadata.is_dir() {
            let text = format!("{shown}: is a directory; expected a program or a script");
            bail!(CannotStart::NotExecutable(text));
        }
        if !is_executable(&path) {
            bail!(CannotStart::NotExecutable(format!(
                "{shown}: is not executable; try `-- python3 {shown}`, or `chmod +x {shown}`"
            )));
        }
        return Ok(path);
    }
    let paths = std::env::var_os(PATH).unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .map(|directory| directory.join(name))
        .find(|p| is_executable(p));
    match found {
        Some(path) => Ok(path),
        None if shown.starts_with('-') => {
            bail!("no such option: {shown}; --help lists them, and the program stands after `--`")
        }
        None if Path::new(name).is_file() => {
            bail!(CannotStart::NotFound(format!(
                "{shown}: not in PATH, but a file here; try `-- ./{shown}` or `-- python3 {shown}`"
            )))
        }
        None => {
            bail!(CannotStart::NotFound(format!(
                "{shown}: not found in PATH; expected a program or a script; check the name{}",
                near_program(&shown, &paths)
            )))
        }
    }
}

/// The program on PATH with a near name.
fn near_program(name: &str, paths: &OsStr) -> String {
    let folders = std::env::split_paths(paths).filter_map(|folder| fs::read_dir(folder).ok());
    let files = folders.flatten().flatten().filter(|file| is_executable(&file.path()));
    let names: Vec<String> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
    spec::did_you_mean(name, names.iter().map(String::as_str))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
        && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
        && fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Whether the file is a known launcher of other programs.
pub fn is_launcher(path: &Path) -> bool {
    let is_known = |path: &Path| {
        path.file_name().is_some_and(|name| LAUNCHERS.iter().any(|known| name == *known))
    };
    is_known(path) || fs::canonicalize(path).is_ok_and(|path| is_known(&path))
}

/// Whether a binary exports CPython's allocator, or is linked to libpython.
pub fn is_python(bytes: &[u8]) -> bool {
    contains(bytes, b"PyMem_SetAllocator") || contains(bytes, b"libpython")
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
