//! A measurement: the time of a call in `pymalloc` and in CPython's own allocator. Both replay the
//! same calls in one process, in interleaved passes.
//!
//!     cargo test --release --test suite -- --ignored --nocapture nanoseconds_a_call
//!
//! It prints how each interpreter was built: an interpreter without PGO and LTO is far slower and
//! proves nothing. It covers 3.10 and 3.11, whose allocators work without an interpreter. Both
//! sides have the system's malloc below, and arenas by mmap.
#![expect(unsafe_code, reason = "calls into libpython")]

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::process::Command;
use std::ptr;
use std::time::Instant;

use heaplay::backends::{self, Allocator};
use heaplay::trace::Domain;

use crate::support::waves::{Event, Waves};
use crate::support::{child, libraries};

/// Calls of one pass.
const CALLS: usize = 1_000_000;
/// Passes of each side.
const PASSES: usize = 21;

/// A call with its slot, so that a pass does nothing but call. Every block is freed at the end.
enum Call {
    Malloc(u32, usize),
    Calloc(u32, usize, usize),
    Realloc(u32, usize),
    Free(u32),
}

fn calls(seed: u64) -> (Vec<Call>, usize) {
    let (mut waves, mut calls) = (Waves::new(seed), Vec::new());
    let (mut live, mut spare, mut slots): (Vec<u32>, Vec<u32>, u32) = Default::default();
    while calls.len() < CALLS {
        let mut begin = |live: &mut Vec<u32>| {
            let slot = spare.pop().unwrap_or_else(|| {
                slots += 1;
                slots - 1
            });
            live.push(slot);
            slot
        };
        match waves.next(live.len()) {
            Event::Malloc(size) | Event::ReallocNull(size) => {
                calls.push(Call::Malloc(begin(&mut live), size))
            }
            Event::Calloc(n, size) => calls.push(Call::Calloc(begin(&mut live), n, size)),
            Event::Realloc(at, size) => calls.push(Call::Realloc(live[at], size)),
            Event::Free(at) => {
                let slot = live.swap_remove(at);
                spare.push(slot);
                calls.push(Call::Free(slot));
            }
            Event::FreeNull => {}
        }
    }
    calls.extend(live.into_iter().map(Call::Free));
    (calls, slots as usize)
}

/// The time of one pass, in nanoseconds a call.
fn pass(table: &Allocator, calls: &[Call], slots: &mut [*mut c_void]) -> f64 {
    let start = Instant::now();
    for call in calls {
        // SAFETY: the table's own context; slots hold live blocks of this table.
        unsafe {
            match *call {
                Call::Malloc(slot, size) => slots[slot as usize] = (table.malloc)(table.ctx, size),
                Call::Calloc(slot, n, size) => {
                    slots[slot as usize] = (table.calloc)(table.ctx, n, size)
                }
                Call::Realloc(slot, size) => {
                    slots[slot as usize] = (table.realloc)(table.ctx, slots[slot as usize], size);
                }
                Call::Free(slot) => (table.free)(table.ctx, slots[slot as usize]),
            }
        }
    }
    start.elapsed().as_nanos() as f64 / calls.len() as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Run by the measurement below in a process of its own.
#[test]
#[ignore = "the child of `nanoseconds_a_call`"]
fn child() {
    let Some(path) = std::env::var_os("HEAPLAY_SPEED_LIBRARY") else { return };
    // SAFETY: CPython's documented function.
    let real = unsafe {
        let library = Box::leak(Box::new(libloading::Library::new(path).unwrap()));
        let get = library
            .get::<unsafe extern "C" fn(c_int, *mut Allocator)>(b"PyMem_GetAllocator")
            .unwrap();
        let mut table = open("null");
        get(2, &mut table);
        table
    };
    let version = std::env::var("HEAPLAY_SPEED_VERSION").unwrap();
    let sides = [real, open(&format!("pymalloc@{version}")), open("malloc"), open("null")];
    for seed in [1, 2, 3] {
        let (calls, slots) = calls(seed);
        let mut slots = vec![ptr::null_mut(); slots];
        let mut times = vec![Vec::new(); sides.len()];
        for round in 0..PASSES {
            for place in 0..sides.len() {
                let side = (place + round) % sides.len();
                times[side].push(pass(&sides[side], &calls, &mut slots));
            }
        }
        let [real, ours, malloc, null] = [0, 1, 2, 3].map(|side| median(&mut times[side]));
        println!(
            "== trace {seed}: CPython {real:.2} ns, ours {ours:.2} ns, ratio {:.3} \
             ({:.3} without the loop's {null:.2} ns); malloc {malloc:.2} ns",
            ours / real,
            (ours - null) / (real - null)
        );
    }
}

fn open(spec: &str) -> Allocator {
    let backend = Box::leak(backends::open(&backends::parse(spec).unwrap()).unwrap());
    *backend.domains().get(Domain::Obj)
}

/// How the interpreter beside the library was built.
fn build_of(library: &Path, minor: u32) -> String {
    let beside = library
        .parent()
        .and_then(Path::parent)
        .map(|home| home.join(format!("bin/python3.{minor}")));
    let python = beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| format!("/usr/bin/python3.{minor}").into());
    let script = "import sysconfig; print(sysconfig.get_config_var('CONFIG_ARGS'))";
    let output = Command::new(python).args(["-c", script]).output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let flags = ["--enable-optimizations", "--with-lto"];
    let [pgo, lto] = flags.map(|flag| if text.contains(flag) { "with" } else { "without" });
    format!("{pgo} PGO, {lto} LTO")
}

#[test]
#[ignore = "a measurement"]
fn nanoseconds_a_call() {
    for minor in [10, 11] {
        for library in libraries::libpythons(minor) {
            println!("{} ({})", library.display(), build_of(&library, minor));
            let mut child = child::of(module_path!(), "child");
            child.arg("--ignored");
            child
                .env("HEAPLAY_SPEED_LIBRARY", &library)
                .env("HEAPLAY_SPEED_VERSION", format!("3.{minor}"));
            let ended = child.output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            let text = String::from_utf8_lossy(&ended.stdout).into_owned();
            text.lines()
                .filter_map(|line| line.strip_prefix("== "))
                .for_each(|line| println!("  {line}"));
        }
    }
}
