//! What a test does where something that it needs is missing: it reports a skip.
//!
//! All skips are printed after the last test, each with its reason. `HEAPLAY_TEST_REQUIRE` lists
//! what has to be there, with commas between: without it a skip is a failure. The list of `NEEDS`
//! has the names.
#![expect(unsafe_code, reason = "registers a function that runs when the program ends")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::child::{self, IS_CHILD};
use super::process::{both, finish};

/// What tests may need, by the name that `HEAPLAY_TEST_REQUIRE` has for it. A name that ends with
/// `3.` stands for one name a minor version of Python.
pub const NEEDS: [&str; 35] = [
    "python3",           // any CPython 3.7 or later that can be recorded
    "python3.",          // an interpreter of that version
    "python3.13t",       // a free-threaded one
    "libpython3.",       // its shared library
    "libpython-symbols", // a library up to 3.11 whose symbols are not stripped
    "python-headers",    // the internal headers of each installed 3.12 or later
    "ctypes",            // the module, in each interpreter
    "cc",                // a C compiler
    "c++",               // a C++ compiler
    "rustc",             // the Rust compiler, by that name in PATH
    "nm",                // of binutils
    "gzip",              // the program
    "curl",              // the program
    "groff",             // the program
    "slurm",             // slurm-wlm and munge, and the right to start them
    "valgrind",          // the program
    "go",                // the toolchain, with `go tool pprof`
    "profiler-cli",      // the Firefox profiler's own reader, of npm
    "chromium",          // Chromium or Chrome, by any of its names
    "libc_malloc_debug", // glibc's library with mtrace
    "mount",             // the right to mount a small file system
    "ordinary-user",     // a user whom the permissions of files bind
    "dev-full",          // the device /dev/full
    "huge-pages",        // a kernel that gives huge pages on request
    "processors",        // two processors or more
    "backend-jemalloc",  // backends that are features of the build
    "backend-mimalloc",
    "backend-rpmalloc",
    "backend-scudo",
    "backend-tcmalloc",
    "libjemalloc.so.2", // installed libraries, as the dynamic linker knows them
    "libmimalloc.so.2",
    "libtcmalloc_minimal.so.4",
    "libtbbmalloc.so.2",
    "libtbbmalloc_proxy.so.2",
];

/// What was skipped: what was needed and the reason, and the tests that needed it.
static SKIPS: Mutex<BTreeMap<(String, String), Vec<String>>> = Mutex::new(BTreeMap::new());

/// Reports that the test that calls this leaves something out, since `needed` is missing. Fails
/// the test where `needed` is required.
#[track_caller]
pub fn skip(needed: &str, reason: &str) {
    assert!(is_known(needed), "`{needed}` is not in the list of needs");
    let required = std::env::var("HEAPLAY_TEST_REQUIRE").unwrap_or_default();
    if let Some(unknown) = names(&required).find(|name| !is_known(name)) {
        panic!("HEAPLAY_TEST_REQUIRE: `{unknown}` is nothing that a test needs: {NEEDS:?}");
    }
    if names(&required).any(|name| name == needed) {
        panic!("HEAPLAY_TEST_REQUIRE has `{needed}`, and it is missing: {reason}");
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let mut skips = SKIPS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if skips.is_empty() {
        // SAFETY: the function is `extern "C"`, takes nothing, and does not unwind: see there.
        let refused = unsafe { libc::atexit(print_all) };
        assert_eq!(refused, 0, "the list of skips cannot be printed at the end");
    }
    let tests = skips.entry((needed.to_owned(), reason.to_owned())).or_default();
    if !tests.contains(&test) {
        tests.push(test);
    }
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn is_known(name: &str) -> bool {
    NEEDS.iter().any(|known| match name.strip_prefix(known) {
        Some("") => !known.ends_with('.'),
        Some(minor) => known.ends_with("3.") && minor.parse::<u32>().is_ok(),
        None => false,
    })
}

/// The file that holds the list of the last run, for `scripts/check`.
fn list_path() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("skips.txt")
}

/// Prints the skips, and writes them to a file. A failure to write is no reason to panic here.
extern "C" fn print_all() {
    let skips = SKIPS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let text = listed(&skips);
    let _ = writeln!(std::io::stdout(), "{text}");
    if std::env::var_os(IS_CHILD).is_none() {
        let _ = std::fs::write(list_path(), text);
    }
}

fn listed(skips: &BTreeMap<(String, String), Vec<String>>) -> String {
    let mut text = format!("skipped for want of {}:\n", count(skips.len(), "thing"));
    for ((needed, reason), tests) in skips {
        let _ = writeln!(text, "  {needed}: {reason}");
        for test in tests {
            let _ = writeln!(text, "      {test}");
        }
    }
    text
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[test]
fn names_of_needs_are_exact() {
    for known in ["cc", "python3", "python3.11", "libpython3.6", "libjemalloc.so.2"] {
        assert!(is_known(known), "{known}");
    }
    for unknown in ["", "c", "ccc", "python3.", "python3.x", "python2.7", "cc.1"] {
        assert!(!is_known(unknown), "{unknown}");
    }
    assert_eq!(names(" cc, valgrind ,,").collect::<Vec<_>>(), ["cc", "valgrind"]);
}

#[test]
fn every_name_that_is_required_is_known() {
    let required = std::env::var("HEAPLAY_TEST_REQUIRE").unwrap_or_default();
    let unknown: Vec<&str> = names(&required).filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "HEAPLAY_TEST_REQUIRE: {unknown:?}; known: {NEEDS:?}");
}

#[test]
fn skips_are_listed_by_what_is_missing() {
    let skips = BTreeMap::from([
        (("cc".to_owned(), "not on the PATH".to_owned()), vec!["a".to_owned(), "b".to_owned()]),
        (("nm".to_owned(), "not on the PATH".to_owned()), vec!["c".to_owned()]),
    ]);
    assert_eq!(
        listed(&skips),
        "skipped for want of 2 things:\n  cc: not on the PATH\n      a\n      b\n  \
         nm: not on the PATH\n      c\n"
    );
}

/// The whole way: a test of this program in a process of its own, with and without the variable.
#[test]
fn a_skip_is_printed_at_the_end_or_fails() {
    let run = |required: &str| {
        let mut child = child::of(module_path!(), "skips_for_the_test_above");
        let output = finish(child.arg("--ignored").env("HEAPLAY_TEST_REQUIRE", required));
        (output.status.success(), both(&output))
    };
    let (is_ok, text) = run("valgrind");
    assert!(is_ok, "{text}");
    let end = text.rsplit("test result: ok").next().unwrap_or_default();
    assert!(
        end.contains("\n  cc: made up\n") && end.contains("skips_for_the_test_above"),
        "{text}"
    );
    let (is_ok, text) = run("valgrind, cc");
    assert!(!is_ok && text.contains("it is missing: made up"), "{text}");
    let (is_ok, text) = run("vlagrind");
    assert!(!is_ok && text.contains("vlagrind"), "{text}");
}

#[test]
#[ignore = "the child of `a_skip_is_printed_at_the_end_or_fails`"]
fn skips_for_the_test_above() {
    skip("cc", "made up");
}
