//! Holds `pymalloc` against the real one as a user would: `heaplay verify --against python@…` on
//! every committed trace and on generated ones, with arenas aligned and misaligned; and a recorded
//! program against its own process.
//!
//! The oracle is each libpython that this machine has; versions without one are named as skipped.
//! What the interpreter printed of its pools at the end of a recorded program is the oracle of the
//! replay.
//!
//! `HEAPLAY_ORACLE_EVENTS` sets the events of each generated trace (default 800,000).
#![expect(unsafe_code, reason = "gives arenas at chosen places")]

use heaplay::results::{Metric, Scope};
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use heaplay::backends::arenas::{ArenaSource, Statistics};
use heaplay::backends::pymalloc::{
    Cpython37, Cpython38, Cpython39, Cpython310, Cpython311, Layout, Pymalloc,
};
use heaplay::backends::{self, Backend, pages, read_print};
use heaplay::program::{self, Program};
use heaplay::replay::{Nothing, Slots, Tables, replay};
use heaplay::trace::{self, Columns, Creation, Domain, Header, Op, Row, Sites};

use crate::support::interpreters;
use crate::support::libpython;
use crate::support::waves::{Event, Waves};

fn heaplay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heaplay")).args(arguments).output().expect("heaplay starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

// ---------------------------------------------------------------------------------------------------------------------
// Every committed trace and generated ones

/// Writes waves as a trace: realloc, calloc, size 0, and falls deep enough to free arenas.
fn write_waves(path: &Path, seed: u64, events: u64) {
    let (mut waves, mut rows, mut live): (_, Vec<Row>, Vec<usize>) =
        (Waves::new(seed), vec![], vec![]);
    let mut event = 0;
    while event < events {
        let (op, size, ends) = match waves.next(live.len()) {
            Event::Malloc(size) | Event::ReallocNull(size) => (Some(Op::Malloc), size, None),
            Event::Calloc(elements, size) => (Some(Op::Calloc), elements * size, None),
            Event::Realloc(at, size) => (Some(Op::Realloc), size, Some(live.swap_remove(at))),
            Event::Free(at) => (None, 0, Some(live.swap_remove(at))),
            Event::FreeNull => continue,
        };
        let mut domain = if event % 3 == 0 { Domain::Mem } else { Domain::Obj };
        if let Some(ended) = ends {
            let row: &mut Row = &mut rows[ended];
            row.lifetime = (event - row.event).try_into().ok();
            domain = row.domain;
        }
        if let Some(op) = op {
            live.push(rows.len());
            let mut row = Row::new(event, op, size as u64, None);
            row.domain = domain;
            rows.push(row);
        }
        event += 1;
    }
    let header =
        Header { columns: Columns { domain: true, ..Columns::default() }, ..Header::default() };
    let mut creation = Creation::begin(path, &header).unwrap();
    rows.iter().for_each(|row| creation.write_row(row, &Sites::default()).unwrap());
    creation.finish().unwrap();
}

/// The committed traces and three generated ones, which are made once.
fn traces() -> &'static [String] {
    static TRACES: OnceLock<Vec<String>> = OnceLock::new();
    TRACES.get_or_init(|| {
        let events =
            std::env::var("HEAPLAY_ORACLE_EVENTS").map_or(800_000, |told| told.parse().unwrap());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let committed =
            std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("traces")).unwrap();
        let mut all: Vec<PathBuf> = committed.map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| path.extension().is_some_and(|extension| extension == "trace"));
        assert!(all.len() >= 6, "the committed traces are there");
        for seed in 1..=3 {
            let path = folder.join(format!("waves-{seed}.trace"));
            write_waves(&path, seed, events);
            all.push(path);
        }
        all.sort();
        all.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    })
}

fn skipped(minor: u32) {
    println!(
        "skipped: no libpython3.{minor}.so.1.0 in pyenv's versions or in `ldconfig -p`; \
         `PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.{minor}` would provide it"
    );
}

fn same_places(minor: u32) {
    let found = libpython::find(minor);
    if found.is_empty() {
        skipped(minor);
    }
    for library in found {
        let (ours, theirs) =
            (format!("pymalloc@3.{minor}"), format!("python@{}", library.display()));
        let mut arguments = vec!["verify", "--backend", &ours, "--against", &theirs, "--jobs", "2"];
        arguments.extend(traces().iter().map(String::as_str));
        let output = heaplay(&arguments);
        let (told, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{}: {told}{errors}", library.display());
        // `… : N calls, N of their blocks in pools, N arenas born and N dead`, for each trace and
        // both bases.
        let figures = |line: &str| -> Vec<u64> {
            let words = line.rsplit(": ").next().unwrap().split_whitespace();
            words.filter_map(|word| word.parse().ok()).collect()
        };
        let lines: Vec<Vec<u64>> = told.lines().map(figures).collect();
        assert_eq!(lines.len(), 2 * traces().len(), "{told}");
        let sum = |at: usize| lines.iter().map(|line| line[at]).sum::<u64>();
        assert!(sum(0) > 8_000_000 && sum(1) > 3_000_000 && sum(3) > 10, "{told}");
        println!(
            "{}: {} calls on {} traces, arenas aligned and misaligned; {} blocks in pools, {} arenas born and {} dead: 0 differ",
            library.display(),
            sum(0),
            traces().len(),
            sum(1),
            sum(2),
            sum(3)
        );
    }
}

macro_rules! same_places {
    ($($name:ident: $minor:expr,)*) => {
        $(#[test]
        fn $name() {
            same_places($minor);
        })*
    };
}

same_places! {
    same_places_as_3_7: 7,
    same_places_as_3_8: 8,
    same_places_as_3_9: 9,
    same_places_as_3_10: 10,
    same_places_as_3_11: 11,
    same_places_as_3_12: 12,
    same_places_as_3_13: 13,
    same_places_as_3_14: 14,
}

/// Other rules are found out, and told with the call, both states, and the arena.
#[test]
fn a_difference_is_told() {
    let Some(library) = libpython::find(9).into_iter().next() else { return skipped(9) };
    let theirs = format!("python@{}", library.display());
    let churn = concat!(env!("CARGO_MANIFEST_DIR"), "/traces/churn.trace");
    let output = heaplay(&["verify", churn, "--backend", "pymalloc@3.8", "--against", &theirs]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.matches("DIFFERENT churn").count(), 2, "{told}");
    for part in [
        ": free in ",
        " dies, the block is at arena #",
        ", 1 of ",
        " live, next out at 0x",
        "63 of 64 pools free",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// Builds of 3.6 are about that carry a patch to 16-byte blocks. The difference is told for what it
/// is, with the setting that has those sizes, and with that setting every address agrees.
#[test]
fn an_interpreter_with_other_sizes_is_told_from_its_version() {
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/traces/hello.trace");
    let found = libpython::find(6);
    if found.is_empty() {
        skipped(6);
    }
    for library in found {
        let theirs = format!("python@{}", library.display());
        let verify = |ours: &str| {
            let output = heaplay(&["verify", trace, "--backend", ours, "--against", &theirs]);
            (output.status.code(), text(&output.stdout))
        };
        let (code, told) = verify("pymalloc@3.6");
        if code == Some(0) {
            println!("{} has the 8-byte blocks of its source: same", library.display());
            continue;
        }
        let told_setting = "`pymalloc@3.6:align=16` has the sizes";
        assert!(
            code == Some(1) && told.contains("align 8 and 16") && told.contains(told_setting),
            "{told}"
        );
        let (code, told) = verify("pymalloc@3.6:align=16");
        assert!(code == Some(0), "{told}");
        println!("{} is patched to 16-byte blocks: with align=16 the same", library.display());
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/traces/hello.trace");
    for (ours, theirs, reason) in [
        ("pymalloc", "malloc", "has no setting `bases`"),
        ("pymalloc", "python@3.99", "--enable-shared"),
        ("pymalloc:bases=aligned", "pymalloc", "use --bases"),
        ("pymalloc", "python@/bin/true", "no CPython 3"),
    ] {
        let output = heaplay(&["verify", hello, "--backend", ours, "--against", theirs]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(reason), "{errors}");
    }
}

/// A footprint of the real one has rows as any other, and as many arenas and usable bytes as ours.
#[test]
fn the_real_one_is_measured_like_any_other() {
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/traces/hello.trace");
    for minor in [8, 11, 12] {
        let Some(library) = libpython::find(minor).into_iter().next() else {
            skipped(minor);
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let names = [format!("pymalloc@3.{minor}"), format!("python@{}", library.display())];
        let both = names.join(",");
        let output = heaplay(&[
            "run",
            hello,
            "--backends",
            &both,
            "--passes",
            "footprint,latency",
            "--repetitions",
            "1",
            "--out",
            out.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let run = heaplay::results::Run::load(&out).unwrap();
        for metric in [Metric::ArenasTotal, Metric::ArenasPeak, Metric::ArenasEnd] {
            let [ours, theirs] =
                names.each_ref().map(|name| run.values("hello", name, Scope::All, metric));
            assert!(
                !ours.is_empty() && ours == theirs,
                "3.{minor}: {metric}: {ours:?} and {theirs:?}"
            );
        }
        let version = &run.manifest.backends[1].version;
        assert!(version.starts_with(&format!("CPython 3.{minor}.")), "{version}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// A recorded program and its own process

/// How many of the next arenas get a base at a multiple of a pool, and how many after them do not.
/// Only 3.10+ pools are larger than a page.
static ALIGNED: AtomicUsize = AtomicUsize::new(0);
static MISALIGNED: AtomicUsize = AtomicUsize::new(0);

/// Takes one from a count that has one.
fn take(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

unsafe extern "C" fn arena(_: *mut c_void, bytes: usize) -> *mut c_void {
    let misaligned = !take(&ALIGNED) && take(&MISALIGNED);
    let start = pages::map_aligned(2 * bytes, bytes).unwrap();
    // SAFETY: it lies in the mapping, twice as large as the arena.
    unsafe { start.add(if misaligned { 4096 } else { 0 }).as_ptr().cast() }
}

unsafe extern "C" fn no_arena(_: *mut c_void, _: *mut c_void, _: usize) {}

/// The first `calls` calls of the program on pools of `L`; so many arenas are aligned, then so many
/// are not.
fn statistics_after<L: Layout + Default>(
    program: &Program,
    calls: usize,
    [aligned, misaligned]: [usize; 2],
) -> Statistics {
    ALIGNED.store(aligned, Ordering::Relaxed);
    MISALIGNED.store(misaligned, Ordering::Relaxed);
    let below = backends::open(&backends::parse("malloc").unwrap()).unwrap();
    let source = ArenaSource { ctx: NonNull::dangling().as_ptr(), alloc: arena, free: no_arena };
    // SAFETY: each arena is a mapping of its own; none is given back before the process ends.
    let heap = unsafe { Pymalloc::new(below, source, L::default()).unwrap() };
    replay(program, &Tables::new(program, &heap), &mut Slots::new(program), 0..calls, &mut Nothing)
        .unwrap();
    heap.check().unwrap();
    heap.statistics()
}

/// The call that asks for so many bytes and a little more: the header of a `bytes` object.
fn call_of(program: &Program, bytes: usize) -> usize {
    let calls = 0..program.instructions().len();
    let found: Vec<usize> =
        calls.filter(|&call| (bytes..bytes + 64).contains(&program.size(call))).collect();
    assert_eq!(found.len(), 1, "the request of {bytes} bytes is in the trace");
    found[0]
}

#[test]
fn a_recorded_program_ends_as_its_own_process_did() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/own_pools.py");
    for (minor, python) in interpreters::find() {
        let python = python.to_str().unwrap();
        let offsets = Command::new(python).args([script, "offsets"]).output().unwrap();
        let offsets = text(&offsets.stdout);
        let path = folder.join(format!("own-pools-3.{minor}.trace"));
        let mut arguments = vec!["record", "-o", path.to_str().unwrap(), "--", python, script];
        arguments.extend(offsets.split_whitespace());
        let output = heaplay(&arguments);
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{python}: {errors}");
        let Ok(printed) = read_print(&errors) else {
            println!(
                "skipped: {python} printed nothing of its pools (ctypes is missing?): {errors}"
            );
            continue;
        };
        // With its arenas where the process had them, each is born and dies at the call where it
        // was.
        let ours = format!("pymalloc@3.{minor}");
        let verify = |against: &str| {
            let arguments =
                ["verify", path.to_str().unwrap(), "--backend", &ours, "--against", against];
            let output = heaplay(&arguments);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{python}: {}{}",
                text(&output.stdout),
                text(&output.stderr)
            );
            text(&output.stdout)
        };
        let told = verify("recording");
        assert!(told.starts_with("same"), "{told}");
        let program = program::compile(trace::open(&path).unwrap().as_mut()).unwrap();
        assert!(told.contains(&format!(" {} arenas born", program.arena_bases().len())), "{told}");
        let (before, after) = (call_of(&program, 12_345_677), call_of(&program, 23_456_777));
        assert_eq!(after, before + 1, "{python}: the print itself made requests");
        let theirs = printed.statistics;
        // Once more without the recorded bases. The print says how many arenas are misaligned, but
        // not which: that decides which arena a pool is taken from and not how many pools are
        // taken. Only whether the last arena is needed can hang on it, so the misaligned ones are
        // tried first and last.
        let misaligned = theirs.arena_alignment_bytes as usize / printed.geometry.pool;
        let run = match minor {
            7 => statistics_after::<Cpython37>,
            8 => statistics_after::<Cpython38>,
            9 => statistics_after::<Cpython39>,
            10 => statistics_after::<Cpython310>,
            _ => statistics_after::<Cpython311>,
        };
        let aligned = theirs.arenas_end as usize - misaligned;
        let mut ours = run(&program, after, [0, misaligned]);
        if ours != theirs {
            ours = run(&program, after, [aligned, misaligned]);
        }
        assert_eq!(ours.classes, theirs.classes, "{python}");
        assert_eq!(ours, theirs, "{python}");
        theirs.check_identity(printed.geometry.arena as u64).unwrap();
        println!(
            "{python} (3.{minor}): after {after} calls {} pools and {} arenas of {} ever, {misaligned} of them misaligned: as the process printed",
            ours.pools_end, ours.arenas_end, ours.arenas_total
        );
    }
}
