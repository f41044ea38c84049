//! `heaplay verify --against python@…` agrees for `pymalloc` and each libpython of this machine, on
//! every committed trace and on generated ones, with arenas aligned and misaligned. A recorded
//! program leaves the pools that its own process printed at its end.
//!
//! `HEAPLAY_ORACLE_EVENTS` sets the events of each generated trace (default 800,000).
#![expect(unsafe_code, reason = "gives arenas at chosen places")]

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use heaplay::backends::arenas::{ArenaSource, ArenaStatistics as Statistics};
use heaplay::backends::pymalloc::{
    Cpython37, Cpython38, Cpython39, Cpython310, Cpython311, Layout, Pymalloc,
};
use heaplay::backends::{self, Backend, pages, read_print};
use heaplay::program::{self, Program};
use heaplay::replay::{Nothing, Slots, Tables, replay};
use heaplay::results::{Metric, Run, Scope};
use heaplay::trace::{self, Columns, Creation, Domain, Header, Op, Row, Sites};

use crate::support::process::{
    both, errors, expect, finish, heaplay, printed, repository, scratch,
};
use crate::support::skip::skip;
use crate::support::waves::{Event, Waves};
use crate::support::{interpreters, libraries, traces};

/// Writes waves as a trace. It has realloc, calloc and size 0, and falls that free arenas.
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

/// The committed traces, and three generated ones that are made once.
fn all_traces() -> &'static [String] {
    static TRACES: OnceLock<Vec<String>> = OnceLock::new();
    TRACES.get_or_init(|| {
        let events = std::env::var("HEAPLAY_ORACLE_EVENTS");
        let events = events.map_or(800_000, |events| events.parse().unwrap());
        let committed = std::fs::read_dir(repository("traces")).unwrap();
        let mut all: Vec<PathBuf> = committed.map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| path.extension().is_some_and(|extension| extension == "trace"));
        assert!(all.len() >= 6, "the committed traces are there");
        for seed in 1..=3 {
            let path = scratch(&format!("waves-{seed}.trace"));
            write_waves(&path, seed, events);
            all.push(path);
        }
        all.sort();
        all.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    })
}

fn same_places(minor: u32) {
    for library in libraries::libpythons(minor) {
        let (ours, theirs) =
            (format!("pymalloc@3.{minor}"), format!("python@{}", library.display()));
        let mut arguments = vec!["verify", "--backend", &ours, "--against", &theirs, "--jobs", "2"];
        arguments.extend(all_traces().iter().map(String::as_str));
        let ended = finish(heaplay().args(&arguments));
        assert_eq!(ended.status.code(), Some(0), "{}: {}", library.display(), both(&ended));
        let report = printed(&ended);
        // A line for each trace and both bases: `… : N calls, N of their blocks in pools, N arenas
        // born and N dead`.
        let figures = |line: &str| -> Vec<u64> {
            let fields = line.rsplit(": ").next().unwrap().split_whitespace();
            fields.filter_map(|field| field.parse().ok()).collect()
        };
        let lines: Vec<Vec<u64>> = report.lines().map(figures).collect();
        assert_eq!(lines.len(), 2 * all_traces().len(), "{report}");
        let sum = |at: usize| lines.iter().map(|line| line[at]).sum::<u64>();
        assert!(sum(0) > 8_000_000 && sum(1) > 3_000_000 && sum(3) > 10, "{report}");
        // scripts/pymalloc-proof prints this line.
        println!(
            "{}: {} calls on {} traces, arenas aligned and misaligned; {} blocks in pools, \
             {} arenas born and {} dead: 0 differ",
            library.display(),
            sum(0),
            all_traces().len(),
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

/// A difference is reported with the call, both states, and the arena.
#[test]
fn a_difference_is_reported() {
    let Some(library) = libraries::libpython(9) else { return };
    let theirs = format!("python@{}", library.display());
    let mut command = heaplay();
    command.arg("verify").arg(traces::committed("churn.trace"));
    let report = expect(1, command.args(["--backend", "pymalloc@3.8", "--against", &theirs]));
    assert_eq!(report.matches("DIFFERENT churn").count(), 2, "{report}");
    for part in [
        ": free in ",
        " dies, the block is at arena #",
        ", 1 of ",
        " live, next out at 0x",
        "63 of 64 pools free",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
}

/// Some builds of 3.6 are patched to 16-byte blocks. The report names the setting with those sizes,
/// and with that setting every address agrees.
#[test]
fn an_interpreter_with_patched_sizes_is_recognised() {
    let hello = traces::committed("hello.trace");
    for library in libraries::libpythons(6) {
        let theirs = format!("python@{}", library.display());
        let verify = |ours: &str| {
            let mut command = heaplay();
            command.arg("verify").arg(&hello).args(["--backend", ours, "--against", &theirs]);
            let ended = finish(&mut command);
            (ended.status.code(), printed(&ended))
        };
        let (code, report) = verify("pymalloc@3.6");
        if code == Some(0) {
            continue; // it has the 8-byte blocks of its source
        }
        let setting = "`pymalloc@3.6:align=16` has the sizes";
        assert!(
            code == Some(1) && report.contains("align 8 and 16") && report.contains(setting),
            "{report}"
        );
        let (code, report) = verify("pymalloc@3.6:align=16");
        assert!(code == Some(0), "{report}");
    }
}

#[test]
fn backends_that_cannot_be_compared_are_refused() {
    let hello = traces::committed("hello.trace");
    for (ours, theirs, reason) in [
        ("pymalloc", "malloc", "expected a pool allocator, such as pymalloc"),
        ("pymalloc", "python@3.99", "--enable-shared"),
        ("pymalloc:bases=aligned", "pymalloc", "use --bases"),
        ("pymalloc", "python@/bin/true", "no CPython 3"),
    ] {
        let mut command = heaplay();
        command.arg("verify").arg(&hello).args(["--backend", ours, "--against", theirs]);
        let report = expect(2, &mut command);
        assert!(report.contains(reason), "{report}");
    }
}

/// CPython's allocator has rows like any other backend, and as many arenas as ours.
#[test]
fn cpythons_allocator_is_measured_like_any_other() {
    for minor in [8, 11, 12] {
        let Some(library) = libraries::libpython(minor) else { continue };
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let names = [format!("pymalloc@3.{minor}"), format!("python@{}", library.display())];
        let mut command = heaplay();
        command.arg("run").arg(traces::committed("hello.trace"));
        command.args(["--backends", &names.join(","), "--passes", "footprint,latency"]);
        expect(0, command.args(["--repetitions", "1", "--out"]).arg(&out));
        let run = Run::load(&out).unwrap();
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

/// The number of next arenas whose base is a multiple of a pool.
static ALIGNED: AtomicUsize = AtomicUsize::new(0);
/// The number of arenas after them whose base is not. Pools are larger than a page from 3.10 on.
static MISALIGNED: AtomicUsize = AtomicUsize::new(0);

/// Takes one from a count that is not 0.
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

/// The statistics after the first `calls` calls of the program on pools of `L`. Arenas are aligned,
/// and then misaligned, in these numbers.
fn statistics_after<L: Layout + Default>(
    program: &Program,
    calls: usize,
    [aligned, misaligned]: [usize; 2],
) -> Statistics {
    ALIGNED.store(aligned, Ordering::Relaxed);
    MISALIGNED.store(misaligned, Ordering::Relaxed);
    let below = backends::open(&backends::parse("malloc").unwrap()).unwrap();
    let source = ArenaSource { ctx: NonNull::dangling().as_ptr(), alloc: arena, free: no_arena };
    // SAFETY: each arena is a mapping of its own; none is returned before the process ends.
    let heap = unsafe { Pymalloc::new(below, source, L::default()).unwrap() };
    replay(program, &Tables::new(program, &heap), &mut Slots::new(program), 0..calls, &mut Nothing)
        .unwrap();
    heap.check().unwrap();
    heap.statistics()
}

/// The call that requests so many bytes, and a few more for the header of a `bytes` object.
fn call_of(program: &Program, bytes: usize) -> usize {
    let calls = 0..program.instructions().len();
    let found: Vec<usize> =
        calls.filter(|&call| (bytes..bytes + 64).contains(&program.size(call))).collect();
    assert_eq!(found.len(), 1, "the request of {bytes} bytes is in the trace");
    found[0]
}

#[test]
fn a_recorded_program_ends_as_its_own_process_did() {
    let folder = tempfile::tempdir().unwrap();
    let script = repository("tests/oracle/own_pools.py");
    for (minor, python) in interpreters::find() {
        let offsets = printed(&finish(Command::new(&python).arg(&script).arg("offsets")));
        let python = python.display().to_string();
        let path = folder.path().join(format!("own-pools-3.{minor}.trace"));
        let mut command = heaplay();
        command.args(["record", "-o"]).arg(&path).args(["--", &python]).arg(&script);
        let ended = finish(command.args(offsets.split_whitespace()));
        assert!(ended.status.success(), "{python}: {}", errors(&ended));
        let Ok(print) = read_print(&errors(&ended)) else {
            let reason = format!("{python} printed nothing of its pools: {}", errors(&ended));
            skip("ctypes", &reason);
            continue;
        };
        // With arenas at the recorded bases, each is born and dies at the recorded call.
        let ours = format!("pymalloc@3.{minor}");
        let mut command = heaplay();
        command.arg("verify").arg(&path).args(["--backend", &ours, "--against", "recording"]);
        let report = expect(0, &mut command);
        assert!(report.starts_with("same"), "{report}");
        let program = program::compile(trace::open(&path).unwrap().as_mut()).unwrap();
        assert!(
            report.contains(&format!(" {} arenas born", program.arena_bases().len())),
            "{report}"
        );
        let (before, after) = (call_of(&program, 12_345_677), call_of(&program, 23_456_777));
        assert_eq!(after, before + 1, "{python}: the print made requests");
        let theirs = print.statistics;
        // Once more without the recorded bases. The print has the number of misaligned arenas, but
        // not which they are. Their order decides whether the last arena is needed, and nothing
        // else that is compared. So the misaligned arenas are tried first, and then last.
        let misaligned = theirs.arena_alignment_bytes as usize / print.geometry.pool;
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
        theirs.check_identity(print.geometry.arena as u64).unwrap();
        println!(
            "{python} (3.{minor}): after {after} calls {} pools and {} arenas of {} ever, \
             {misaligned} of them misaligned: as the process printed",
            ours.pools_end, ours.arenas_end, ours.arenas_total
        );
    }
}

/// CPython's own mimalloc keeps the allocator contract, and reports what it is.
#[test]
fn cpythons_own_mimalloc_is_a_backend() {
    let mut specs = Vec::new();
    for minor in 13..=15 {
        let libraries = libraries::libpythons(minor).into_iter();
        specs.extend(libraries.map(|path| format!("python@{}:allocator=mimalloc", path.display())));
    }
    if let Some(python) = interpreters::free_threaded() {
        let python = python.display();
        let mut command = heaplay();
        command.args(["verify", "--backend", &format!("python@{python}:allocator=pymalloc")]);
        assert!(errors(&finish(&mut command)).contains("has only mimalloc"));
        specs.push(format!("python@{python}"));
    }
    let trace = repository("traces/hello.trace");
    for spec in specs {
        let mut command = heaplay();
        let report = expect(0, command.arg("verify").arg(&trace).args(["--backend", &spec]));
        let checked = format!("{} calls checked", traces::catalogued_calls("hello"));
        assert!(report.contains(&checked), "{spec}: {report}");
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut command = heaplay();
        command.arg("run").arg(&trace).args(["--backends", &spec, "--passes", "footprint"]);
        expect(0, command.args(["-r", "1", "--out"]).arg(&run));
        let summary = std::fs::read_to_string(run.join("summary.csv")).unwrap();
        assert!(summary.contains("mimalloc of CPython 3.1"), "{spec}: {summary}");
    }
    let mut command = heaplay();
    command.args(["verify", "--backend", "python@3.13:allocator=mimalloc,bases=aligned"]);
    let refused = both(&finish(&mut command));
    assert!(refused.contains("cannot have bases") || refused.contains("no shared"), "{refused}");
}
