//! Finds the shared library of an installed interpreter: on PATH, under pyenv, in the dynamic
//! linker's list. Nothing is loaded here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backends::loader;
use crate::environment::{HOME, PATH, PYENV_ROOT};

/// A program for an interpreter: it prints its library's folder, its file name, whether there is
/// one.
const QUERY: &str = "import sysconfig as s; v = s.get_config_var; \
                   print(v('LIBDIR'), v('INSTSONAME'), v('Py_ENABLE_SHARED'), sep='\\n')";

/// The oldest minor version whose allocators are measured.
const OLDEST: u32 = 6;

/// The library of a version: `3.N`, `3.N.P`, a program on PATH (`python3.11`), a path of an interpreter
/// or of a library, a library's name, or nothing for any.
///
/// # Errors
/// What was searched for and what would provide it.
pub fn find(wanted: Option<&str>) -> Result<PathBuf, String> {
    match wanted {
        Some(path) if path.contains('/') => {
            let path = Path::new(path);
            if is_library(path) { present(path.to_owned()) } else { query(path) }
        }
        // A table names an interpreter so whose path the spec has.
        Some(name) if name.starts_with("python") => on_path(name).ok_or_else(|| {
            format!("no `{name}` with a shared library is on PATH; give its path{}", found_here())
        }),
        Some(name) if name.starts_with("libpython") => all()
            .into_iter()
            .find(|path| {
                path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
            })
            .ok_or_else(|| {
                let here = found_here();
                format!("no {name} lies under pyenv's versions or in `ldconfig -p`{here}")
            }),
        Some(version) => by_version(version),
        None => on_path("python3").into_iter().chain(all()).next().ok_or_else(|| nothing("3.11")),
    }
}

/// Every library of CPython 3 under pyenv and in the dynamic linker's list, the newest version
/// first.
pub fn all() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = pyenv_libraries().into_iter().chain(linker_libraries()).collect();
    found.sort_by_key(|path| std::cmp::Reverse(minor_of(path)));
    found.dedup();
    found
}

fn by_version(version: &str) -> Result<PathBuf, String> {
    let (number, is_free) = match version.strip_suffix('t') {
        Some(number) => (number, true),
        None => (version, false),
    };
    let mut parts = number.split('.');
    let minor = match (parts.next(), parts.next().map(str::parse::<u32>)) {
        (Some("3"), Some(Ok(minor))) => minor,
        _ => {
            return Err(format!(
                "`{version}` is neither a version (3.11, 3.11.2, 3.13t) nor a path nor libpython…{}",
                found_here()
            ));
        }
    };
    if minor < OLDEST {
        let here = found_here();
        return Err(format!("CPython {version} is too old: it takes 3.{OLDEST} and later{here}"));
    }
    let has_patch = parts.next().is_some();
    let named: Vec<PathBuf> = pyenv_libraries()
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str().to_str() == Some(version)))
        .collect();
    // Only pyenv's folders name a patch release; the first interpreter on PATH has a minor version.
    let program = format!("python3.{minor}{}", if is_free { "t" } else { "" });
    let first = if has_patch { named } else { on_path(&program).into_iter().collect() };
    let rest = all()
        .into_iter()
        .filter(|path| minor_of(path) == Some(minor) && is_free_threaded(path) == is_free);
    first.into_iter().chain(rest).next().ok_or_else(|| nothing(version))
}

fn nothing(version: &str) -> String {
    format!(
        "no shared library of CPython {version} was found on PATH, under pyenv or in `ldconfig -p`; \
         `PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install {version}` makes one, \
         Debian's package libpython{version} has one, \
         or name one: python@/path/to/libpython{version}.so.1.0{}",
        found_here()
    )
}

/// The versions that are installed, as specs; empty where there are none.
fn found_here() -> String {
    let mut specs: Vec<String> = Vec::new();
    for path in all() {
        let Some(minor) = minor_of(&path) else { continue };
        let spec = format!("python@3.{minor}{}", if is_free_threaded(&path) { "t" } else { "" });
        if !specs.contains(&spec) {
            specs.push(spec);
        }
    }
    match specs.as_slice() {
        [] => String::new(),
        specs => format!("; found here: {}", specs.join(", ")),
    }
}

fn present(path: PathBuf) -> Result<PathBuf, String> {
    match path.is_file() {
        true => fs::canonicalize(&path).map_err(|error| format!("{}: {error}", path.display())),
        false => Err(format!(
            "{}: no such file; expected a shared library; check the path{}",
            path.display(),
            found_here()
        )),
    }
}

fn is_library(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"))
}

/// `libpython3.11.so.1.0`, `libpython3.7m.so.1.0` → 11, 7.
fn minor_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_prefix("libpython3.")?;
    rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

/// Whether a library is that of a free-threaded build: `libpython3.13t.so.1.0`.
pub fn is_free_threaded(library: &Path) -> bool {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("libpython3.")
        .is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("t."))
}

/// The folder of an interpreter's standard library, below its home.
fn standard_library(library: &Path, minor: u32) -> String {
    format!("lib/python3.{minor}{}", if is_free_threaded(library) { "t" } else { "" })
}

/// Runs an interpreter to find its library.
fn query(python: &Path) -> Result<PathBuf, String> {
    if !python.is_file() {
        return Err(format!(
            "{}: no such file; expected an interpreter; check the path{}",
            python.display(),
            found_here()
        ));
    }
    let output = Command::new(python).args(["-I", "-S", "-c", QUERY]).output();
    let output = output.map_err(|error| format!("{}: {error}", python.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let [folder, name, shared] = text.lines().collect::<Vec<_>>()[..] else {
        return Err(format!(
            "{}: is no CPython 3 that reports its library{}",
            python.display(),
            found_here()
        ));
    };
    if shared != "1" {
        return Err(format!(
            "{}: has its library built in, which cannot be loaded; \
             build it with --enable-shared, or install its libpython package",
            python.display()
        ));
    }
    present(Path::new(folder).join(name))
}

/// The library of the first interpreter of that name on PATH, when it has one.
fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os(PATH)?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .filter(|path| path.is_file())
        .find_map(|path| query(&path).ok())
}

fn pyenv_libraries() -> Vec<PathBuf> {
    let root = std::env::var_os(PYENV_ROOT).map(PathBuf::from);
    let root = root.or_else(|| std::env::var_os(HOME).map(|home| Path::new(&home).join(".pyenv")));
    let versions = root.and_then(|root| fs::read_dir(root.join("versions")).ok());
    let folders =
        versions.into_iter().flatten().flatten().map(|version| version.path().join("lib"));
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    files.map(|file| file.path()).filter(|path| is_versioned(path)).collect()
}

fn linker_libraries() -> Vec<PathBuf> {
    loader::linked().into_iter().filter(|path| is_versioned(path)).collect()
}

/// `libpython3.N.so.1.0`, but not the link without the number, which names the same file.
fn is_versioned(path: &Path) -> bool {
    minor_of(path).is_some() && path.to_string_lossy().ends_with(".so.1.0")
}

/// The home folder of an interpreter of this library: the nearest above it with a standard library.
pub fn home(library: &Path, minor: u32) -> Option<PathBuf> {
    let inside = standard_library(library, minor);
    library
        .ancestors()
        .find(|above| above.join(&inside).join("os.py").is_file())
        .map(Path::to_owned)
}

/// The configuration of the library, from the file that `sysconfig` reads: with or without PGO and
/// LTO; `None` where there is no such file.
pub fn build(library: &Path, minor: u32) -> Option<String> {
    let folder = home(library, minor)?.join(standard_library(library, minor));
    let is_data = |path: &PathBuf| {
        path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("_sysconfigdata_"))
    };
    let data = fs::read_dir(folder).ok()?.flatten().map(|file| file.path()).find(is_data)?;
    let text = fs::read_to_string(data).ok()?;
    let arguments = text.split("'CONFIG_ARGS':").nth(1)?.split("\n '").next()?;
    let with = |flag: &str| if arguments.contains(flag) { "with" } else { "without" };
    Some(format!(
        "configured {0} --enable-optimizations (PGO) and {1} --with-lto",
        with("--enable-optimizations"),
        with("--with-lto")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_version() {
        assert_eq!(minor_of(Path::new("/a/libpython3.11.so.1.0")), Some(11));
        assert_eq!(minor_of(Path::new("libpython3.7m.so.1.0")), Some(7));
        assert_eq!(minor_of(Path::new("libpython2.7.so.1.0")), None);
        assert_eq!(minor_of(Path::new("libpython3.so")), None);
        assert_eq!(minor_of(Path::new("/a/libpython3.13t.so.1.0")), Some(13));
        assert!(is_free_threaded(Path::new("/a/libpython3.13t.so.1.0")));
        assert!(!is_free_threaded(Path::new("/a/libpython3.13.so.1.0")));
    }

    #[test]
    fn a_missing_library_is_an_error_with_a_next_step() {
        let message = |wanted: &str| find(Some(wanted)).unwrap_err();
        assert!(message("3.99").contains("--enable-shared pyenv install 3.99"));
        assert!(message("/no/such/python3").contains("/no/such/python3"));
        assert!(message("/no/such/libpython3.11.so").contains("no such file"));
        assert!(message("libpython3.99.so").contains("ldconfig"));
        assert!(message("2.7").contains("neither"));
        assert!(message("3.4").contains("it takes 3.6 and later"));
        assert!(message("python3.99").contains("on PATH"));
        assert!(message("/bin/true").contains("no CPython 3"));
    }
}
