//! Finds the program to record, and checks before its start that it may start a Python.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Programs that are no Python but start other programs. The recorder does nothing in a launcher and
/// records the Python that it starts.
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

/// The file of the program `name`, found as `execvp` finds it.
///
/// # Errors
/// When the file is missing, cannot be executed, or is neither a Python nor a launcher of one.
pub fn resolve(name: &OsStr, any_program: bool) -> anyhow::Result<PathBuf> {
    let path = find(name)?;
    let shown = path.display();
    let mut start = [0; 4];
    let mut file = File::open(&path).with_context(|| format!("{shown}: cannot be read"))?;
    let length = file.read(&mut start).with_context(|| format!("{shown}: cannot be read"))?;
    let start = start.get(..length).unwrap_or_default();
    if start.starts_with(b"#!") || any_program {
        return Ok(path);
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
    if is_launcher(&path) || is_python(&path)? {
        return Ok(path);
    }
    bail!(
        "{shown}: is no Python, and no launcher that heaplay knows; expected a CPython 3.7 to 3.13, \
         or a script that starts one; put the interpreter after --, or add --any-program if this one \
         starts it in the end"
    )
}

fn find(name: &OsStr) -> anyhow::Result<PathBuf> {
    let shown = name.to_string_lossy();
    if shown.contains('/') {
        let path = PathBuf::from(name);
        let metadata = fs::metadata(&path).with_context(|| {
            format!("{shown}: not found; expected a Python interpreter or a script; check the path")
        })?;
        if metadata.is_dir() {
            bail!("{shown}: is a directory; expected a Python interpreter or a script");
        }
        if !is_executable(&path) {
            bail!("{shown}: is not executable; try `-- python3 {shown}`, or `chmod +x {shown}`");
        }
        return Ok(path);
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .map(|directory| directory.join(name))
        .find(|p| is_executable(p));
    match found {
        Some(path) => Ok(path),
        None if Path::new(name).is_file() => {
            bail!("{shown}: not in PATH, but a file here; try `-- python3 {shown}`")
        }
        None => {
            bail!(
                "{shown}: not found in PATH; expected a Python interpreter or a script; check the name"
            )
        }
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
        && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
        && fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

fn is_launcher(path: &Path) -> bool {
    let is_known = |path: &Path| {
        path.file_name().is_some_and(|name| LAUNCHERS.iter().any(|known| name == *known))
    };
    is_known(path) || fs::canonicalize(path).is_ok_and(|path| is_known(&path))
}

/// Whether a binary exports CPython's allocator, or is linked to libpython.
fn is_python(path: &Path) -> anyhow::Result<bool> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Ok(contains(&bytes, b"PyMem_SetAllocator") || contains(&bytes, b"libpython"))
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
