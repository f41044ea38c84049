//! The bytes of state that a heap has outside its arenas, beside CPython's own: the class lists,
//! the lists and counts of arenas, the root of the radix tree, and the two tables through which it
//! asks for memory. What both ask from the layer below (the table of arenas, the tree's nodes) is
//! compared request by request in `pymalloc_oracle.rs`.
//!
//! CPython's figures come from each interpreter at hand: until 3.11 from the symbols of its
//! library, as `nm` prints them; from 3.12 on, where they are fields of the interpreter's state,
//! from its own headers, asked by a C compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use heaplay::backends::pymalloc::{
    Cpython36, Cpython37, Cpython38, Cpython39, Cpython310, Cpython311, Custom, Heap, Layout,
};

use crate::support::libpython;

/// What in obmalloc.c is state of the pools, and the tables of the layer below and of the source of
/// arenas.
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

/// Bytes of each of the symbols that the library has; each begins at a multiple of a word, so takes
/// whole words.
fn by_symbols(library: &Path) -> Result<Vec<(String, usize)>, String> {
    let told = Command::new("nm").arg("-S").arg(library).output();
    let told = told.map_err(|error| format!("nm (of binutils) does not start: {error}"))?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let found = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, bytes, _, name] = words[..] else { return None };
        let bytes = usize::from_str_radix(bytes, 16).ok()?;
        SYMBOLS.contains(&name).then(|| (name.to_owned(), bytes.next_multiple_of(8)))
    });
    let found: Vec<(String, usize)> = found.collect();
    match found.iter().any(|(name, _)| name == "usedpools") {
        true => Ok(found),
        false => Err("its symbols are stripped".to_owned()),
    }
}

/// The same from the headers beside the library.
fn by_headers(library: &Path, minor: u32) -> Result<usize, String> {
    let home = library.parent().and_then(Path::parent).ok_or("no folder above it")?;
    let include = home.join(format!("include/python3.{minor}"));
    if !include.join("internal/pycore_obmalloc.h").is_file() {
        return Err(format!("no internal/pycore_obmalloc.h in {}", include.display()));
    }
    let [source, program] = ["c", "bin"]
        .map(|end| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("state-{minor}.{end}")));
    let text = "#define Py_BUILD_CORE 1\n#include <Python.h>\n#include <stdbool.h>\n#include <stdio.h>\n\
                #include <internal/pycore_obmalloc.h>\n\
                int main(void) { printf(\"%zu\", sizeof(struct _obmalloc_state) + sizeof(PyMemAllocatorEx) + \
                sizeof(PyObjectArenaAllocator)); }\n";
    std::fs::write(&source, text).map_err(|error| error.to_string())?;
    let compiled =
        Command::new("cc").arg("-I").arg(&include).arg("-o").arg(&program).arg(&source).output();
    let compiled = compiled.map_err(|error| format!("cc does not start: {error}"))?;
    if !compiled.status.success() {
        return Err(format!(
            "its headers do not compile: {}",
            String::from_utf8_lossy(&compiled.stderr).lines().next().unwrap_or_default()
        ));
    }
    let told = Command::new(&program).output().map_err(|error| error.to_string())?;
    String::from_utf8_lossy(&told.stdout)
        .trim()
        .parse()
        .map_err(|_| "it printed no number".to_owned())
}

/// CPython's bytes, and whether its blocks are multiples of 16 (builders of 3.6 patch it).
fn theirs(library: &Path, minor: u32) -> Result<(usize, bool), String> {
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
        let found = libpython::find(minor);
        let told: Vec<(PathBuf, Result<_, _>)> =
            found.into_iter().map(|path| (path.clone(), theirs(&path, minor))).collect();
        if told.is_empty() {
            println!("skipped: no libpython3.{minor} in pyenv's versions or in `ldconfig -p`");
        }
        for (path, told) in told {
            match told {
                Err(why) => println!("skipped: {}: {why}", path.display()),
                Ok((theirs, is_of_16)) => {
                    let ours = ours(minor, is_of_16);
                    println!("{}: {theirs} bytes, ours {ours}", path.display());
                    assert!(ours <= theirs, "{}: {theirs} bytes, ours {ours}", path.display());
                }
            }
        }
    }
}

/// Where no interpreter is at hand: the sizes that follow from the constants in CPython's own
/// headers.
#[test]
fn tables_are_as_long_as_the_layout_needs() {
    // Two tables of functions (5 and 3 words), seven words of arenas; two links a class; an entry
    // for 0 to 64 free pools.
    let state = |classes: usize, table: bool, root: usize| {
        8 * (5 + 3 + 7) + 16 * classes + if table { 8 * 65 } else { 0 } + root
    };
    assert_eq!(size_of::<Heap<Cpython36>>(), state(64, false, 0));
    assert_eq!(size_of::<Heap<Cpython37>>(), state(32, false, 0));
    assert_eq!(size_of::<Heap<Cpython38>>(), state(32, true, 0));
    assert_eq!(size_of::<Heap<Cpython39>>(), state(32, true, 0));
    assert_eq!(size_of::<Heap<Cpython310>>(), state(32, true, 8192));
    assert_eq!(size_of::<Heap<Cpython311>>(), state(32, true, 262_144));
    // Constants set one by one have room for the most that can be set, and make the tree's root
    // when it is needed.
    assert!(size_of::<Heap<Custom>>() < 16 << 10);
}
