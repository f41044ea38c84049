//! Whether a program really had the backend under which it was run.

use std::path::{Path, PathBuf};

use super::deployment::Deployment;
use super::observation::LoadedAllocator;

/// Why a run does not count for its backend, in a sentence with the next step; `None` where the
/// program had the backend.
pub(super) fn fault(deployment: &Deployment, loaded: Option<&LoadedAllocator>) -> Option<String> {
    let Some(loaded) = loaded else {
        return Some(
            "the observer was not loaded into the program, so nothing is known of its allocator. A \
             launcher that clears LD_PRELOAD, or that runs the program as a child, does that: put the \
             program itself after --"
                .to_owned(),
        );
    };
    let file = loaded.file.display();
    match &deployment.preload {
        Some(wanted) if !is_library(wanted, &loaded.file) => {
            return Some(format!(
                "the program did not load {wanted}: {file} served its malloc. Install the library, or \
                 name its file with so:PATH"
            ));
        }
        None if !loaded.version.starts_with("glibc") && !loaded.version.is_empty() => {
            return Some(format!(
                "{file} ({}) served the program's malloc, and not the C library",
                loaded.version
            ));
        }
        _ => {}
    }
    if let (Some(wanted), Some((major, minor))) = (&deployment.python, loaded.python)
        && *wanted != format!("{major}.{minor}")
    {
        return Some(format!(
            "the program runs CPython {major}.{minor}, whose pymalloc is another one; run it with \
             CPython {wanted}"
        ));
    }
    match (deployment.has_pymalloc, loaded.python, loaded.has_pymalloc) {
        (true, None, _) => Some(
            "the program is no Python, so it has no pymalloc. A launcher such as sh starts it as a \
             child: put the Python itself after --, or choose other --backends"
                .to_owned(),
        ),
        (true, _, Some(false)) => Some("the program's object domain had malloc".to_owned()),
        (false, _, Some(true)) => Some(
            "the program's object domain had its own allocator: PYTHONMALLOC=malloc did not take \
             (python -E and -I leave it out)"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Whether the file that served the program is the wanted library: a path, or a name.
fn is_library(wanted: &str, file: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if wanted.contains('/') {
        return real(Path::new(wanted)) == real(file);
    }
    let names = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let starts = |name: Option<String>| name.is_some_and(|name| name.starts_with(wanted));
    starts(names(file.to_owned())) || starts(names(real(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(file: &str, version: &str, has_pymalloc: Option<bool>) -> LoadedAllocator {
        LoadedAllocator {
            file: file.into(),
            version: version.into(),
            python: has_pymalloc.map(|_| (3, 11)),
            has_pymalloc,
        }
    }

    fn fault_of(spec: &str, loaded: &LoadedAllocator) -> Option<String> {
        fault(&Deployment::of(&spec.parse().unwrap()).unwrap(), Some(loaded))
    }

    #[test]
    fn what_did_not_take_is_reported() {
        let glibc = |has| loaded("/lib/libc.so.6", "glibc 2.36", has);
        assert_eq!(fault_of("pymalloc", &glibc(Some(true))), None);
        assert_eq!(fault_of("pymalloc@3.11", &glibc(Some(true))), None);
        assert_eq!(fault_of("malloc", &glibc(Some(false))), None);
        assert_eq!(fault_of("malloc", &glibc(None)), None);
        let jemalloc = loaded("/usr/lib/libjemalloc.so.2", "jemalloc 5.3.0", Some(false));
        assert_eq!(fault_of("jemalloc", &jemalloc), None);
        assert_eq!(fault_of("so:/usr/lib/libjemalloc.so.2", &jemalloc), None);
        let text = |spec: &str, loaded: &LoadedAllocator| fault_of(spec, loaded).unwrap();
        assert!(text("pymalloc@3.9", &glibc(Some(true))).contains("runs CPython 3.11"));
        assert!(text("pymalloc", &glibc(None)).contains("is no Python"));
        assert!(text("pymalloc", &glibc(Some(false))).contains("had malloc"));
        assert!(text("malloc", &glibc(Some(true))).contains("did not take"));
        assert!(text("malloc", &jemalloc).contains("not the C library"));
        assert!(text("jemalloc", &glibc(Some(false))).contains("did not load libjemalloc.so.2"));
        assert!(fault(&Deployment::default(), None).unwrap().contains("observer"));
    }
}
