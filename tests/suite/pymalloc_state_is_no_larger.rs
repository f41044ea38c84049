//! The bytes of state that a heap has outside its arenas, compared with CPython's. The state is the
//! class lists, the lists and counts of arenas, the root of the radix tree, and two tables of
//! functions. `pymalloc_matches_cpython` compares the memory that both request from the layer
//! below.
//!
//! CPython's figures come from each interpreter of this machine. Until 3.11 they are the symbols of
//! its library, as `nm` prints them. From 3.12 on they are fields of the interpreter's state, so a
//! C compiler reads them from the interpreter's headers.

use std::path::Path;
use std::process::Command;

use heaplay::backends::pymalloc::{
    Cpython36, Cpython37, Cpython38, Cpython39, Cpython310, Cpython311, Custom, Heap, Layout,
};

use crate::support::process::{finish, printed};
use crate::support::skip::skip;
use crate::support::{compiler, libraries};

/// The state of the pools in obmalloc.c, and its tables of functions.
const SYMBOLS: [&str; 14] = [
    "usedpools",
    "arenas",
    "maxarenas",
    "unused_arena_objects",
    "usable_arenas",
    "nfp2lasta",
    "narenas_currently_allocated",
    "ntimes_arena_allocated",
    "narenas_highwater",
    "raw_allocated_blocks",
    "arena_map_root",
    "arena_map_mid_count",
    "_PyMem_Raw",
    "_PyObject_Arena",
];

/// Why CPython's bytes are unknown: the need that is missing, and the reason.
type Unknown = (&'static str, String);

/// Bytes of each symbol that the library has, in whole machine words.
fn by_symbols(library: &Path) -> Result<Vec<(String, usize)>, Unknown> {
    let output = Command::new("nm").arg("-S").arg(library).output();
    let output = output.map_err(|error| ("nm", format!("nm does not start: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, bytes, _, name] = fields[..] else { return None };
        let bytes = usize::from_str_radix(bytes, 16).ok()?;
        SYMBOLS.contains(&name).then(|| (name.to_owned(), bytes.next_multiple_of(8)))
    });
    let found: Vec<(String, usize)> = found.collect();
    match found.iter().any(|(name, _)| name == "usedpools") {
        true => Ok(found),
        false => {
            Err(("libpython-symbols", format!("{}: its symbols are stripped", library.display())))
        }
    }
}

/// The same from the headers beside the library.
fn by_headers(library: &Path, minor: u32) -> Result<usize, Unknown> {
    let home = library.parent().and_then(Path::parent).expect("a library lies in a folder");
    let include = home.join(format!("include/python3.{minor}"));
    if !include.join("internal/pycore_obmalloc.h").is_file() {
        let reason = format!("no internal/pycore_obmalloc.h in {}", include.display());
        return Err(("python-headers", reason));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = "#define Py_BUILD_CORE 1\n#include <Python.h>\n#include <stdbool.h>\n\
                  #include <stdio.h>\n#include <internal/pycore_obmalloc.h>\n\
                  int main(void) { printf(\"%zu\", sizeof(struct _obmalloc_state) + \
                  sizeof(PyMemAllocatorEx) + sizeof(PyObjectArenaAllocator)); }\n";
    let include = format!("-I{}", include.display());
    let Some(program) = compiler::program(folder.path(), "state", source, &[&include]) else {
        return Err(("cc", "no C compiler `cc` on the PATH".to_owned()));
    };
    let output = printed(&finish(&mut Command::new(program)));
    Ok(output.trim().parse().expect("the program prints a number"))
}

/// CPython's bytes, and whether its blocks are multiples of 16, as in patched builds of 3.6.
fn theirs(library: &Path, minor: u32) -> Result<(usize, bool), Unknown> {
    if minor >= 12 {
        return Ok((by_headers(library, minor)?, true));
    }
    let found = by_symbols(library)?;
    let lists = found.iter().find(|(name, _)| name == "usedpools").map(|(_, bytes)| *bytes);
    Ok((found.iter().map(|(_, bytes)| bytes).sum(), lists == Some(32 * 16)))
}

fn ours(minor: u32, is_of_16: bool) -> usize {
    fn bytes<L: Layout>() -> usize {
        size_of::<Heap<L>>()
    }
    match (minor, is_of_16) {
        (6 | 7, false) => bytes::<Cpython36>(),
        (6 | 7, true) => bytes::<Cpython37>(),
        (8, _) => bytes::<Cpython38>(),
        (9, _) => bytes::<Cpython39>(),
        (10, _) => bytes::<Cpython310>(),
        _ => bytes::<Cpython311>(),
    }
}

#[test]
fn state_is_no_larger_than_cpythons() {
    for minor in 6..=14 {
        for path in libraries::libpythons(minor) {
            match theirs(&path, minor) {
                Err((needed, reason)) => skip(needed, &reason),
                Ok((theirs, is_of_16)) => {
                    let ours = ours(minor, is_of_16);
                    assert!(ours <= theirs, "{}: {theirs} bytes, ours {ours}", path.display());
                }
            }
        }
    }
}

/// The sizes that follow from the constants in CPython's headers.
#[test]
fn tables_are_as_long_as_the_layout_needs() {
    // Tables of functions take 5 and 3 words, arenas 7 words, and a class 2 links. There is an
    // entry for each number of free pools, from 0 to 64.
    let state = |classes: usize, table: bool, root: usize| {
        8 * (5 + 3 + 7) + 16 * classes + if table { 8 * 65 } else { 0 } + root
    };
    assert_eq!(size_of::<Heap<Cpython36>>(), state(64, false, 0));
    assert_eq!(size_of::<Heap<Cpython37>>(), state(32, false, 0));
    assert_eq!(size_of::<Heap<Cpython38>>(), state(32, true, 0));
    assert_eq!(size_of::<Heap<Cpython39>>(), state(32, true, 0));
    assert_eq!(size_of::<Heap<Cpython310>>(), state(32, true, 8192));
    assert_eq!(size_of::<Heap<Cpython311>>(), state(32, true, 262_144));
    // A custom layout has tables for the largest constants, and makes the tree's root on demand.
    assert!(size_of::<Heap<Custom>>() < 16 << 10);
}
