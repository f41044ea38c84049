//! Which frames of a site are of the program's own code, and which of a library: the standard library,
//! an installed package, a shared library. A person can change the former.

use crate::units::without_native;

/// Folders of installed packages.
const PACKAGE_FOLDERS: [&str; 2] = ["site-packages", "dist-packages"];
/// Where headers and the sources of other languages' standard libraries and packages lie.
const SOURCE_FOLDERS: [&str; 3] = ["/usr/include/", "/rustc/", "/.cargo/registry/"];

/// Whether a frame, `file:line`, `module!function` or `module+0x1234`, is of a library.
/// Any other file is the program's.
pub fn is_library_code(frame: &str) -> bool {
    let place = without_native(frame);
    // Frozen modules of the interpreter, and code that a library made of a string.
    if place.starts_with('<') {
        return true;
    }
    let native = place.split_once('!').or_else(|| place.split_once("+0x"));
    if let Some((module, _)) = native {
        return module.contains(".so") || module.starts_with("python");
    }
    let folders: Vec<&str> = place.split('/').collect();
    folders.iter().any(|folder| PACKAGE_FOLDERS.contains(folder))
        || folders.windows(2).any(|pair| pair[0].starts_with("lib") && is_interpreter(pair[1]))
        || SOURCE_FOLDERS.iter().any(|folder| place.contains(folder))
}

/// Whether a folder is that of an interpreter's standard library: `python3.11`, `pypy3.9`.
fn is_interpreter(folder: &str) -> bool {
    let version = ["python", "pypy"].iter().find_map(|name| folder.strip_prefix(name));
    version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_of_a_library_by_its_folders() {
        for library in [
            "/usr/lib/python3.11/json/decoder.py:353",
            "/home/me/app/.venv/lib/python3.13t/site-packages/flask/app.py:7",
            "/usr/lib/python3/dist-packages/apt/cache.py:12",
            "<frozen importlib._bootstrap>:241",
            "<string>:1",
            "/usr/lib/python3.11/json/decoder.py:353 via libc.so.6!malloc",
            "libpython3.11.so.1.0!PyThread_allocate_lock",
            "libc.so.6+0x39221",
            "/usr/include/c++/12/bits/new_allocator.h:137",
        ] {
            assert!(is_library_code(library), "{library}");
        }
        for own in [
            "/home/me/app/main.py:3",
            "service.py:9",
            "/srv/lib/tickets/python_report.py:12",
            "/home/me/app/main.py:3 via numpy.so!take",
            "server!main",
            "server+0x1f30",
            "file3:12",
        ] {
            assert!(!is_library_code(own), "{own}");
        }
    }
}
