//! Records real Python programs, on every CPython that the machine has, and holds the traces
//! against what the programs did: counts by an independent counter, order, processes, signals,
//! refusals. Also holds `traces/` to its catalogue.

use heaplay::results::{Metric, Operation, Scope};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use heaplay::trace::{self, ArenaEvent, Call, Header, Op, RawLog, Row, Sequence};
use tempfile::TempDir;

use crate::support::interpreters;

/// A trace, read whole and proved to be one: every end names a live block.
#[derive(Default)]
struct Trace {
    rows: Vec<Row>,
    sites: Vec<String>,
    facts: BTreeMap<String, String>,
    frees: u64,
    calls: u64,
    live_peak: u64,
}

fn read(path: &Path) -> Trace {
    let mut reader = trace::open(path).unwrap();
    let mut sequence = Sequence::new();
    let mut trace = Trace { facts: reader.header().facts.clone(), ..Trace::default() };
    let (mut live, mut frees, mut peak) = (0u64, 0, 0);
    let mut count = |call: Call<'_>| {
        match call {
            Call::Request { row, resized } => {
                live = live + row.size - resized.map_or(0, |old| old.size)
            }
            Call::Free { block, .. } => {
                live -= block.size;
                frees += 1;
            }
        }
        peak = peak.max(live);
    };
    while let Some(row) = reader.next_row().unwrap() {
        sequence.accept(&row, &mut count).unwrap();
        trace.sites.push(reader.sites().name(row.site).to_owned());
        trace.rows.push(row);
    }
    trace.calls = sequence.finish(&mut count).unwrap();
    (trace.frees, trace.live_peak) = (frees, peak);
    trace
}

impl Trace {
    fn count(&self, op: Op) -> u64 {
        self.rows.iter().filter(|row| row.op == op).count() as u64
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    /// Preloaded, the recorder sees everything from the first block on.
    fn assert_whole(&self) {
        for fact in ["lost_events", "unseen_frees", "unseen_ends"] {
            assert_eq!(self.fact(fact), "0", "{fact}");
        }
        assert_eq!(self.fact("disturbed"), "");
    }

    /// The arenas of the recorded CPython 3.`minor`: each proved to be born once and to die at most
    /// once, in order.
    fn arenas(&self, minor: u32) -> Vec<ArenaEvent> {
        let arenas = Header { facts: self.facts.clone(), ..Header::default() }.arenas();
        let mut live = BTreeSet::new();
        for arena in &arenas {
            let fits =
                if arena.is_birth { live.insert(arena.base) } else { live.remove(&arena.base) };
            assert!(fits, "3.{minor}: {arena:?}");
            assert_eq!(arena.size, if minor < 10 { 256 << 10 } else { 1 << 20 }, "3.{minor}");
            assert!(arena.base % 4096 == 0 && arena.event <= self.calls);
        }
        assert!(arenas.is_sorted_by_key(|arena| arena.event));
        assert_eq!(self.fact("frame_chunks").is_empty(), minor < 11, "3.{minor}");
        arenas
    }

    fn has_size(&self, size: u64) -> bool {
        self.rows.iter().any(|row| row.size == size)
    }
}

/// A directory with a place for the trace, and a command that records into it.
struct Bench {
    folder: TempDir,
    python: PathBuf,
}

impl Bench {
    fn new(python: &Path) -> Bench {
        Bench { folder: TempDir::new().unwrap(), python: python.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `heaplay record OPTIONS -o app.trace --`, in the directory.
    fn heaplay(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heaplay"));
        command.arg("record").args(options).arg("-o").arg(self.path("app.trace")).arg("--");
        command.current_dir(self.folder.path()).env("PYTHONHASHSEED", "0");
        for name in ["PYTHONMALLOC", "PYTHONDEVMODE", "PYTHONTRACEMALLOC", "LD_PRELOAD"] {
            command.env_remove(name);
        }
        command
    }

    fn record(&self, options: &[&str], script: &str) -> Output {
        let script = self.file("app.py", script);
        self.heaplay(options).arg(&self.python).arg(script).output().unwrap()
    }

    fn trace(&self) -> Trace {
        read(&self.path("app.trace"))
    }

    /// The traces of other processes.
    fn others(&self) -> Vec<Trace> {
        let names = self.folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
        let is_other = |path: &PathBuf| {
            path.extension().is_some_and(|e| e == "trace")
                && path.file_name().is_some_and(|n| n != "app.trace")
        };
        names.filter(is_other).map(|path| read(&path)).collect()
    }

    /// Nothing is left besides traces and scripts.
    fn assert_clean(&self) {
        for entry in self.folder.path().read_dir().unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                !name.contains("raw") && !name.ends_with(".part") && !name.contains("heaplay-"),
                "{name}"
            );
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Counts outermost calls by hooks of its own, below the recorder's, and writes them down at the
/// end.
const COUNTER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
typedef struct { void *ctx; void *(*malloc)(void *, size_t); void *(*calloc)(void *, size_t, size_t);
  void *(*realloc)(void *, void *, size_t); void (*free)(void *, void *); } Allocator;
static Allocator real[3]; static __thread int depth;
static unsigned long long mallocs, callocs, reallocs, frees, bytes;
#define ADD(what, n) __atomic_add_fetch(&what, n, __ATOMIC_RELAXED)
static void *c_malloc(void *c, size_t n) { Allocator *a = c; int outer = depth++ == 0; void *p = a->malloc(a->ctx, n); depth--;
  if (outer && p) { ADD(mallocs, 1); ADD(bytes, n); } return p; }
static void *c_calloc(void *c, size_t k, size_t n) { Allocator *a = c; int outer = depth++ == 0; void *p = a->calloc(a->ctx, k, n); depth--;
  if (outer && p) { ADD(callocs, 1); ADD(bytes, k * n); } return p; }
static void *c_realloc(void *c, void *o, size_t n) { Allocator *a = c; int outer = depth++ == 0; void *p = a->realloc(a->ctx, o, n); depth--;
  if (outer && p) { if (o) ADD(reallocs, 1); else ADD(mallocs, 1); ADD(bytes, n); } return p; }
static void c_free(void *c, void *p) { Allocator *a = c; if (depth++ == 0 && p) ADD(frees, 1); a->free(a->ctx, p); depth--; }
typedef struct { void *ctx; void *(*alloc)(void *, size_t); void (*free)(void *, void *, size_t); } ArenaAllocator;
static ArenaAllocator arenas; static unsigned long long arena_births, arena_deaths;
static void *c_arena(void *c, size_t n) { void *p = arenas.alloc(arenas.ctx, n); if (p && n >= 1 << 18) arena_births++; return p; }
static void c_arena_free(void *c, void *p, size_t n) { if (n >= 1 << 18) arena_deaths++; arenas.free(arenas.ctx, p, n); }
__attribute__((constructor)) static void start(void) {
  void (*get_a)(ArenaAllocator *) = dlsym(RTLD_DEFAULT, "PyObject_GetArenaAllocator"), (*set_a)(ArenaAllocator *) = dlsym(RTLD_DEFAULT, "PyObject_SetArenaAllocator");
  void (*get)(int, Allocator *) = dlsym(RTLD_DEFAULT, "PyMem_GetAllocator"), (*set)(int, Allocator *) = dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
  if (!get || !set) return;
  get_a(&arenas); ArenaAllocator hook_a = { 0, c_arena, c_arena_free }; set_a(&hook_a);
  for (int d = 0; d < 3; d++) { get(d, &real[d]); Allocator hook = { &real[d], c_malloc, c_calloc, c_realloc, c_free }; set(d, &hook); } }
__attribute__((destructor)) static void stop(void) { FILE *f = real[0].malloc ? fopen(getenv("COUNTS"), "w") : 0;
  if (f) { fprintf(f, "%llu %llu %llu %llu %llu %llu %llu", mallocs, callocs, reallocs, frees, bytes, arena_births, arena_deaths); fclose(f); } }
"#;

/// The counter as a library; `None`, told, without a C compiler.
fn counter(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("counter.c"), folder.join("counter.so"));
    std::fs::write(&source, COUNTER).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    if status.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    println!("skipped: no C compiler (cc) for the independent counter");
    None
}

const WORK: &str = r#"
import json, re, sys, threading
def work():
    for n in range(30):
        data = json.loads(json.dumps([{"n": n, "text": "x" * n} for n in range(n)]))
        data.sort(key=lambda entry: -entry["n"])
        re.sub("x+", "y", str(data))
        grow = []
        for i in range(1000):
            grow.append(i)
threads = [threading.Thread(target=work) for _ in range(THREADS)]
for thread in threads: thread.start()
for thread in threads: thread.join()
work()
print("done")
"#;

/// With one thread and with four, with and without sites: as many calls and bytes as the counter
/// below counts, and the user's own LD_PRELOAD stays in force.
#[test]
fn counts_are_exact() {
    for (minor, python) in interpreters::find() {
        for (threads, options) in [(0, &[][..]), (4, &[][..]), (4, &["--sites"][..])] {
            let bench = Bench::new(&python);
            let Some(counter) = counter(bench.folder.path()) else { return };
            let script = bench.file("app.py", &WORK.replace("THREADS", &threads.to_string()));
            let output = bench
                .heaplay(options)
                .args([&python, &script])
                .env("LD_PRELOAD", counter)
                .env("COUNTS", bench.path("counts"))
                .output()
                .unwrap();
            assert!(output.status.success(), "3.{minor}: {}", stderr(&output));
            assert_eq!(output.stdout, b"done\n");
            let trace = bench.trace();
            trace.assert_whole();
            let counts = std::fs::read_to_string(bench.path("counts")).unwrap();
            let counted: Vec<u64> =
                counts.split(' ').map(|number| number.parse().unwrap()).collect();
            let (counted, arenas_counted) = counted.split_at(5);
            let arenas = trace.arenas(minor);
            let births = arenas.iter().filter(|arena| arena.is_birth).count() as u64;
            assert_eq!([births, arenas.len() as u64 - births], arenas_counted, "3.{minor}: arenas");
            let bytes = trace.rows.iter().map(|row| row.size).sum();
            let recorded = [
                trace.count(Op::Malloc),
                trace.count(Op::Calloc),
                trace.count(Op::Realloc),
                trace.frees,
                bytes,
            ];
            assert_eq!(
                recorded, counted,
                "3.{minor}, {threads} threads: mallocs callocs reallocs frees bytes"
            );
            let seen = trace.rows.iter().map(|row| row.thread).max().unwrap();
            assert_eq!(seen, threads + 1, "3.{minor}: threads");
            if threads == 0 {
                replays_are_of_the_same_work(&bench, counted);
            }
        }
    }
}

/// Replays the recording on every backend and finds what the counter counted in the program.
fn replays_are_of_the_same_work(bench: &Bench, counted: &[u64]) {
    let run = bench.path("run");
    let status = Command::new(env!("CARGO_BIN_EXE_heaplay"))
        .arg("run")
        .arg(bench.path("app.trace"))
        .args([
            "--backends",
            "malloc,pymalloc,bump",
            "--passes",
            "footprint,latency",
            "-r",
            "1",
            "--out",
        ])
        .arg(&run)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let run = heaplay::results::Run::load(&run).unwrap();
    for backend in ["malloc", "pymalloc", "bump", "null"] {
        for (op, expected) in ["malloc", "calloc", "realloc", "free"].into_iter().zip(counted) {
            let told =
                run.values("app", backend, Scope::Op(Operation::find(op).unwrap()), Metric::Calls);
            assert_eq!(told, [*expected as f64; 2], "{op} on {backend}, in both passes");
        }
        let bytes = run.values("app", backend, Scope::All, Metric::RequestedBytes);
        assert_eq!(bytes, [counted[4] as f64], "bytes on {backend}");
    }
}

/// Each line that allocates a block of a size found nowhere else is the block's site, also in
/// generators, in classes and after a code object's address came back as another's.
#[test]
fn sites_are_the_lines_that_allocate() {
    let script = r#"import gc
def plain():
    return bytearray(70100)
def generator():
    yield bytearray(70200)
class Holder:
    kept = bytearray(70300)
async def coroutine():
    return bytearray(70400)
keep = [
    plain(),
    next(generator()),
    (lambda:
        bytearray(70500))(),
]
try:
    coroutine().send(None)
except StopIteration:
    pass
for n in range(50):
    code = compile("\n" * n + f"x = bytearray({80000 + 10 * n})", f"made{n}.py", "exec")
    exec(code)
    del code
    gc.collect()
"#;
    for (minor, python) in interpreters::find() {
        let bench = Bench::new(&python);
        let output = bench.record(&["--sites"], script);
        assert!(output.status.success(), "3.{minor}: {}", stderr(&output));
        let trace = bench.trace();
        let site_of = |size: u64| {
            let at = trace.rows.iter().position(|row| row.size == size || row.size == size + 1);
            at.map_or("not recorded", |at| trace.sites[at].as_str())
        };
        for (size, line) in [(70100, 3), (70200, 5), (70300, 7), (70400, 9), (70500, 14)] {
            assert_eq!(site_of(size), format!("app.py:{line}"), "3.{minor}");
        }
        for n in 0..50 {
            assert_eq!(site_of(80000 + 10 * n), format!("made{n}.py:{}", n + 1), "3.{minor}");
        }
    }
}

#[test]
fn the_program_is_given_through_untouched() {
    let Some(python) = interpreters::any() else { return };
    let bench = Bench::new(&python);
    let script = bench.file(
        "app.py",
        "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read()[::-1] + repr(sys.argv[1:]).encode())\n\
         sys.stdout.flush()\nsys.stderr.write('said\\n')\nsys.exit(41)",
    );
    let mut child = bench
        .heaplay(&[])
        .args([&python, &script])
        .args(["-o", "--sites", "", "a b", "--", "ö"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    let mut expected: Vec<u8> = input.into_iter().rev().collect();
    expected.extend("['-o', '--sites', '', 'a b', '--', 'ö']".bytes());
    assert_eq!(output.stdout, expected);
    assert_eq!(output.status.code(), Some(41));
    let said = stderr(&output);
    assert!(said.starts_with("said\nheaplay: recorded ") && said.lines().count() == 2, "{said}");
    bench.trace().assert_whole();
    bench.assert_clean();
}

/// Whatever ends the process, what it did up to there is in the trace.
#[test]
fn sudden_ends_lose_nothing() {
    let Some(python) = interpreters::any() else { return };
    for (ending, code) in [
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("os.abort()", 134),
    ] {
        let bench = Bench::new(&python);
        let script = format!(
            "import os, signal\nkept = [list(range(n)) for n in range(2000)]\nlast = bytearray(76543)\n{ending}\n"
        );
        let output = bench.record(&[], &script);
        assert_eq!(output.status.code(), Some(code), "{ending}: {}", stderr(&output));
        let trace = bench.trace();
        trace.assert_whole();
        assert_eq!(trace.fact("ending"), "abrupt");
        assert!(trace.has_size(76544), "{ending}");
    }
}

#[test]
fn signals_reach_the_program() {
    let Some(python) = interpreters::any() else { return };
    for signal in ["TERM", "INT", "HUP", "USR1", "QUIT"] {
        let bench = Bench::new(&python);
        let script = bench.file(
            "app.py",
            &format!(
                "import signal, sys, time\ndef handle(number, frame):\n    print('caught'); sys.exit(9)\n\
                 signal.signal(signal.SIG{signal}, handle)\nprint('ready', flush=True)\ntime.sleep(60)\n"
            ),
        );
        let mut child = bench
            .heaplay(&[])
            .args([&python, &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let kill =
            Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"caught\n", "{signal}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(9));
        assert_eq!(output.status.signal(), None);
        bench.trace().assert_whole();
    }
}

/// fork, a pool of processes, an exec'd Python: a trace for each, with its parent.
#[test]
fn each_process_has_its_own_trace() {
    let script = r#"
import multiprocessing, os, subprocess, sys
def work(n):
    return len([str(i) for i in range(n)])
if __name__ == "__main__":
    child = os.fork()
    if child == 0:
        kept = bytearray(81234)
        os._exit(0)
    os.waitpid(child, 0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, [1000, 2000, 3000]) == [1000, 2000, 3000]
    subprocess.run([sys.executable, "-c", "kept = bytearray(82345)"], check=True)
    subprocess.run(["sh", "-c", "exit 0"], check=True)
    os.spawnv(os.P_WAIT, "/bin/true", ["true"])
"#;
    for (minor, python) in interpreters::find() {
        let bench = Bench::new(&python);
        let output = bench.record(&[], script);
        assert!(output.status.success(), "3.{minor}: {}", stderr(&output));
        let main = bench.trace();
        main.assert_whole();
        let others = bench.others();
        assert!(others.len() >= 4, "3.{minor}: {} traces: {}", others.len(), stderr(&output));
        for other in &others {
            assert_eq!(other.fact("parent_pid"), main.fact("pid"), "3.{minor}");
            assert_eq!(other.fact("lost_events"), "0");
        }
        let forked = others.iter().find(|trace| trace.has_size(81235)).expect("the forked child");
        assert_eq!(forked.fact("forked"), "yes");
        assert!(!main.has_size(81235));
        others
            .iter()
            .find(|trace| trace.has_size(82346))
            .expect("the exec'd Python")
            .assert_whole();
        bench.assert_clean();
    }
}

/// Closed descriptors, another directory, another user's idea of the environment: the recording
/// goes on.
#[test]
fn rude_programs_are_recorded() {
    let Some(python) = interpreters::any() else { return };
    let bench = Bench::new(&python);
    let script = "import os\nos.chdir('/')\nos.closerange(3, 1000)\nos.environ.clear()\n\
                  first = os.open('/dev/null', os.O_RDONLY)\n\
                  for n in range(300_000):\n    kept = str(n)\nlast = bytearray(76543)\n\
                  assert os.open('/dev/null', os.O_RDONLY) == first + 1\n";
    let output = bench.record(&[], script);
    assert!(output.status.success(), "{}", stderr(&output));
    let trace = bench.trace();
    trace.assert_whole();
    assert!(trace.has_size(76544) && trace.calls > 600_000);
}

/// Neither a log that cannot grow nor one that vanished does the program any harm.
#[test]
fn no_room_ends_the_recording_only() {
    let Some(python) = interpreters::any() else { return };
    let work = "kept = [str(n) for n in range(100_000)]\nprint('done')\n";
    let bench = Bench::new(&python);
    let script = bench.file("app.py", work);
    let limited = "ulimit -f 1000; exec \"$@\"";
    let output = bench
        .heaplay(&[])
        .args(["sh", "-c", limited, "sh"])
        .args([&python, &script])
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"done\n"[..]),
        "{}",
        stderr(&output)
    );
    let trace = bench.trace();
    assert_eq!(trace.fact("ending"), "no space");
    assert!(trace.fact("lost_events").parse::<u64>().unwrap() > 10_000);
    assert!(stderr(&output).contains("calls were made and not recorded"));

    let output = bench.record(
        &[],
        &format!("import glob, os\n[os.remove(p) for p in glob.glob('*.raw-*')]\n{work}"),
    );
    assert_eq!(output.stdout, b"done\n", "{}", stderr(&output));
}

#[test]
fn what_cannot_be_recorded_is_refused_before_it_starts() {
    let Some(python) = interpreters::any() else { return };
    let bench = Bench::new(&python);
    let script = bench.file("app.py", "open('started', 'w')\n");
    let python_name = python.as_os_str().to_owned();
    let run = |arguments: &[OsString], variable: Option<(&str, &str)>| {
        let mut command = bench.heaplay(&[]);
        command.args(arguments).envs(variable);
        let output = command.output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {variable:?}: {said}");
        assert!(
            !bench.path("started").exists() && !bench.path("app.trace").exists(),
            "{arguments:?}: {said}"
        );
        bench.assert_clean();
        said
    };
    let script = script.into_os_string();
    let with = |options: &[&str]| {
        let options = options.iter().map(OsString::from);
        std::iter::once(python_name.clone())
            .chain(options)
            .chain([script.clone()])
            .collect::<Vec<_>>()
    };
    for options in [&["-X", "dev"][..], &["-Xdev"], &["-BX", "dev"], &["-X", "tracemalloc=5"]] {
        assert!(run(&with(options), None).contains("-X "));
    }
    for (name, value) in [
        ("PYTHONMALLOC", "default"),
        ("PYTHONMALLOC", "malloc"),
        ("PYTHONDEVMODE", "1"),
        ("PYTHONTRACEMALLOC", "1"),
    ] {
        assert!(run(&with(&[]), Some((name, value))).contains(name));
    }
    assert!(run(std::slice::from_ref(&script), None).contains("not executable"));
    assert!(run(&["./missing".into()], None).contains("check the path"));
    assert!(run(&["no-such-python".into()], None).contains("not found in PATH"));
    assert!(run(&["cat".into(), script.clone()], None).contains("is no Python"));
    assert!(run(&[bench.folder.path().into()], None).contains("is a directory"));

    // With -E the interpreter does not look at the variable, and all is well.
    let output =
        bench.heaplay(&[]).args(with(&["-E"])).env("PYTHONMALLOC", "malloc").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    bench.trace().assert_whole();
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_the_start() {
    let Some(python) = interpreters::any() else { return };
    let bench = Bench::new(&python);
    for place in ["missing/app.trace", "app.txt", "."] {
        let output = Command::new(env!("CARGO_BIN_EXE_heaplay"))
            .current_dir(bench.folder.path())
            .args(["record", "-o", place, "--"])
            .arg(&python)
            .args(["-c", "open('started', 'w')"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{place}: {}", stderr(&output));
        assert!(!bench.path("started").exists());
        bench.assert_clean();
    }
}

/// A script whose first line finds the interpreter, a shell that execs it, a shell that starts it.
#[test]
fn launchers_are_followed() {
    let Some(python) = interpreters::any() else { return };
    let shown = python.display();
    for text in [
        format!("#!/usr/bin/env -S {shown} -B\nkept = bytearray(76543)\n"),
        format!("#!/bin/sh\nexec {shown} -c 'kept = bytearray(76543)'\n"),
        format!("#!/bin/sh\n{shown} -c 'kept = bytearray(76543)'\nexit 0\n"),
    ] {
        let bench = Bench::new(&python);
        let script = bench.file("start", &text);
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = bench.heaplay(&[]).arg(&script).output().unwrap();
        assert!(output.status.success(), "{text}: {}", stderr(&output));
        let trace = bench.trace();
        trace.assert_whole();
        assert!(trace.has_size(76544), "{text}");
    }
}

/// tracemalloc that is started by the program cannot be refused: the trace says so.
#[test]
fn a_hook_above_is_told() {
    let Some(python) = interpreters::any() else { return };
    let bench = Bench::new(&python);
    let output = bench.record(
        &[],
        "import tracemalloc\ntracemalloc.start()\nkept = [str(n) for n in range(60_000)]\n",
    );
    assert!(stderr(&output).contains("tracemalloc"), "{}", stderr(&output));
    assert!(!bench.trace().fact("disturbed").is_empty());
}

/// A raw log that was cut off anywhere gives the rows up to the cut.
#[test]
fn a_log_that_was_cut_off_is_read_up_to_the_cut() {
    let Some(python) = interpreters::any() else { return };
    let bench = Bench::new(&python);
    let output =
        bench.record(&["--sites", "--keep-raw"], "kept = [str(n) for n in range(50_000)]\n");
    assert!(output.status.success(), "{}", stderr(&output));
    let whole = bench.trace();
    let raw = bench.folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let raw = raw.into_iter().find(|path| path.to_string_lossy().contains(".raw-")).unwrap();
    let bytes = std::fs::read(&raw).unwrap();
    let head = 4096 + (128 << 10);
    for cut in [head, head + 1, head + 4096, head + 99_999, bytes.len() - 1, bytes.len()] {
        let (short, out) = (bench.path("short"), bench.path("short.trace"));
        std::fs::write(&short, &bytes[..cut]).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_heaplay"))
            .args(["record", "--recover"])
            .arg(&short)
            .arg("-o")
            .arg(&out)
            .output()
            .unwrap();
        assert!(output.status.success(), "cut at {cut}: {}", stderr(&output));
        let part = read(&out);
        assert!(part.rows.len() <= whole.rows.len());
        for (row, before) in part.rows.iter().zip(&whole.rows) {
            assert_eq!((row.event, row.op, row.size), (before.event, before.op, before.size));
        }
        if cut == bytes.len() {
            assert_eq!(part.rows, whole.rows);
        }
    }
    for cut in [0, 7, 4095] {
        std::fs::write(bench.path("short"), &bytes[..cut]).unwrap();
        assert!(RawLog::open(&bench.path("short")).is_err());
    }
}

/// The catalogue in `traces/` tells the truth about the files beside it.
#[test]
fn the_catalogue_is_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let table = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let (mut traces, mut bytes, mut with_sites) = (0, 0, 0);
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let path = folder.join(cells[1]).with_extension("trace");
        let content = std::fs::read(&path).unwrap();
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&content);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, cells[7], "{}: run scripts/rerecord", cells[1]);
        let trace = read(&path);
        trace.assert_whole();
        assert_eq!(trace.calls.to_string(), cells[5], "{}: calls", cells[1]);
        assert_eq!(trace.live_peak.to_string(), cells[6], "{}: live peak", cells[1]);
        assert!(trace.fact("python").starts_with(cells[4]) && folder.join(cells[3]).is_file());
        traces += 1;
        bytes += content.len();
        with_sites += u32::from(trace.sites.iter().any(|site| !site.is_empty()));
    }
    assert!(traces >= 5 && with_sites >= 2 && bytes <= 4 << 20, "{traces} traces, {bytes} bytes");
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let on_disk =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "trace")).count();
    assert_eq!(on_disk, traces, "every trace has its line");
    let csv = read(&folder.join("hello.csv"));
    assert_eq!(csv.rows, read(&folder.join("hello.trace")).rows);
}

/// Marks come into the trace with their place, in a thread and in a forked child too; unrecorded
/// they do nothing.
#[test]
fn marks_name_phases() {
    let script = r#"
import os, threading, heaplay
heaplay.mark("load")
data = bytearray(77777)
heaplay.mark("serve \u00e4" + "x" * 100)
thread = threading.Thread(target=heaplay.mark, args=("thread",))
thread.start(); thread.join()
child = os.fork()
if not child:
    heaplay.mark("child")
    os._exit(0)
os.waitpid(child, 0)
print("done")
"#;
    for (minor, python) in interpreters::find() {
        let bench = Bench::new(&python);
        with_helper(&bench);
        let output = bench.record(&["--sites"], script);
        assert_eq!(output.stdout, b"done\n", "3.{minor}: {}", stderr(&output));
        let trace = bench.trace();
        trace.assert_whole();
        let marks: Vec<(u64, String)> = serde_json::from_str(trace.fact("marks")).unwrap();
        let names: Vec<&str> = marks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["load", &format!("serve ä{}", "x".repeat(56)), "thread"], "3.{minor}");
        let big =
            trace.rows.iter().find(|row| row.size == 77778 || row.size == 77777).unwrap().event;
        assert!(
            marks[0].0 <= big
                && big < marks[1].0
                && marks[1].0 < marks[2].0
                && marks[2].0 < trace.calls
        );
        let others = bench.others();
        assert!(others.len() == 1 && others[0].fact("marks").contains("child"));
        let plain = Command::new(&python).arg(bench.path("app.py")).output().unwrap();
        assert_eq!(plain.stdout, b"done\n");
    }
}

/// The figure that CPython prints of its arenas after these words.
fn printed(text: &str, words: &str) -> usize {
    let line = text.lines().find(|line| line.trim_start_matches("# ").starts_with(words));
    let figure = line.and_then(|line| line.rsplit('=').next()).unwrap_or_default();
    figure.trim().replace(',', "").parse().unwrap_or_else(|_| panic!("no `{words}` in {text}"))
}

/// Puts `heaplay.py` beside the program.
fn with_helper(bench: &Bench) {
    let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/heaplay.py");
    std::fs::copy(helper, bench.path("heaplay.py")).unwrap();
}

/// As many arenas as the interpreter itself counts. It counts only where no hook stands over its
/// pymalloc: so the recording ends at a mark, which also shows that the hooks are gone after it,
/// and what comes later is unseen.
#[test]
fn arenas_are_those_the_interpreter_counts() {
    let script = r#"
import sys, heaplay
kept = []
for n in range(3):
    waste = [str(i) * 3 for i in range(40_000)]
    kept.append(waste[::2000])
    del waste
heaplay.mark("end")
sys._debugmallocstats()
sys.stderr.flush()
more = bytearray(76543)
"#;
    for (minor, python) in interpreters::find() {
        let bench = Bench::new(&python);
        with_helper(&bench);
        let output = bench.record(&["--stop-at-mark", "end"], script);
        let said = stderr(&output);
        assert!(output.status.success(), "3.{minor}: {said}");
        let trace = bench.trace();
        trace.assert_whole();
        assert_eq!(trace.fact("ending"), "limit");
        assert!(
            trace.fact("limit").starts_with("--stop-at-mark, reached after "),
            "{}",
            trace.fact("limit")
        );
        assert!(!trace.has_size(76544));
        let arenas = trace.arenas(minor);
        let births = arenas.iter().filter(|arena| arena.is_birth).count();
        let deaths = arenas.len() - births;
        let most = arenas
            .iter()
            .scan(0, |live, arena| {
                *live = if arena.is_birth { *live + 1 } else { *live - 1 };
                Some(*live)
            })
            .max();
        assert_eq!(births, printed(&said, "arenas allocated total"), "3.{minor}");
        assert_eq!(deaths, printed(&said, "arenas reclaimed"), "3.{minor}");
        assert_eq!(most, Some(printed(&said, "arenas highwater mark")), "3.{minor}");
        assert_eq!(births - deaths, printed(&said, "arenas allocated current"), "3.{minor}");
    }
}

/// Each limit ends or starts the recording, the trace says which and where, and the program notices
/// nothing.
#[test]
fn limits_end_the_recording_and_not_the_program() {
    let Some(python) = interpreters::any() else { return };
    let script = "import heaplay, time\nbefore = [str(n) for n in range(50_000)]\nheaplay.mark('middle')\n\
                  first = bytearray(70100)\nfor n in range(50):\n    del before[:1000]\n    time.sleep(0.01)\n\
                  kept = [str(n) for n in range(50_000)]\nlast = bytearray(70200)\nheaplay.mark('end')\nprint('done')\n";
    let run = |options: &[&str]| {
        let bench = Bench::new(&python);
        with_helper(&bench);
        let output = bench.record(options, script);
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(0), &b"done\n"[..]),
            "{}",
            stderr(&output)
        );
        bench.assert_clean();
        (bench.trace(), stderr(&output))
    };
    for (most, options) in [(1, &[][..]), (100, &[][..]), (12_345, &["--sites=2"][..])] {
        let (trace, said) = run(&[&["--max-events", &most.to_string()], options].concat());
        trace.assert_whole();
        assert_eq!((trace.calls, trace.fact("ending")), (most, "limit"));
        assert!(
            trace
                .fact("limit")
                .starts_with(&format!("--max-events {most}, reached after {most} calls"))
        );
        assert!(said.contains("the program went on unrecorded"), "{said}");
    }
    let (trace, _) = run(&["--max-bytes", "1M"]);
    trace.assert_whole();
    // 31 words of 32 are calls or say how they are made.
    assert!(trace.calls < (1 << 20) / 8 && trace.calls > (1 << 20) / 8 * 3 / 4, "{}", trace.calls);
    assert!(
        trace.fact("limit").starts_with("--max-bytes 1048576, reached") && !trace.has_size(70201)
    );
    let (trace, _) = run(&["--duration", "0.2"]);
    trace.assert_whole();
    assert!(trace.fact("limit").starts_with("--duration 0.2, reached") && !trace.has_size(70201));
    assert!(trace.rows.iter().all(|row| row.time_ns < 200_000_000));

    // What began before is never seen: its frees are counted, and none is a row's end.
    for options in [&["--start-at-mark", "middle"][..], &["--start-after", "0.2", "--sites=2"]] {
        let (trace, said) = run(options);
        let unseen: u64 = trace.fact("unseen_frees").parse().unwrap();
        assert!((1000..90_000).contains(&unseen), "{options:?}: {unseen}");
        assert!(
            trace.fact("started").starts_with(options[0]) && trace.fact("ending") == "clean",
            "{said}"
        );
        assert!(trace.has_size(70201) && trace.fact("lost_events") == "0");
        assert!(said.contains("frees were of blocks from before the recording"), "{said}");
        assert_eq!(trace.has_size(70101), options[0] == "--start-at-mark", "{options:?}");
    }
    let (trace, _) =
        run(&["--start-at-mark", "middle", "--stop-at-mark", "end", "--max-events", "1000000"]);
    assert!(
        trace.fact("limit").starts_with("--stop-at-mark")
            && trace.has_size(70101)
            && trace.has_size(70201)
    );

    let bench = Bench::new(&python);
    let output = bench.record(&["--start-at-mark", "never"], "kept = bytearray(70300)\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("ended before the start of the recording"),
        "{}",
        stderr(&output)
    );
    bench.assert_clean();
    for options in
        [&["--max-events", "0"][..], &["--duration", "-1"], &["--max-bytes", "7"], &["--sites=0"]]
    {
        let output = bench.record(options, "open('started', 'w')\n");
        assert!(output.status.code() == Some(2) && !bench.path("started").exists(), "{options:?}");
    }
}

/// Four threads run on while the hooks are taken away, and while they are put in place.
#[test]
fn threads_cross_the_start_and_the_end() {
    // They outlast the recording's end by far, on a slow machine too.
    let lasting = "import time\nEND = time.time() + 1\ndef lasting():\n    while time.time() < END: work()\nthreads =";
    let work = WORK
        .replace("threads =", lasting)
        .replace("target=work", "target=lasting")
        .replace("THREADS", "4");
    let found = interpreters::find();
    for (minor, python) in found.first().into_iter().chain(found.last()) {
        for options in [
            &["--max-events", "50000"][..],
            &["--start-after", "0.05", "--duration", "0.1", "--sites"],
        ] {
            let bench = Bench::new(python);
            let output = bench.record(options, &work);
            assert_eq!(output.stdout, b"done\n", "3.{minor}: {}", stderr(&output));
            let trace = bench.trace();
            assert!(
                trace.calls > 0
                    && trace.fact("lost_events") == "0"
                    && trace.fact("disturbed").is_empty()
            );
        }
    }
}

/// A disk that fills up ends the recording: the trace is what fitted, and the program notices
/// nothing.
#[test]
fn a_full_disk_ends_the_recording_only() {
    let Some(python) = interpreters::any() else { return };
    let bench = Bench::new(&python);
    let disk = bench.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&disk).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("skipped: no small disk could be mounted (needs root)");
        return;
    }
    let script = bench.file("app.py", "kept = [str(n) for n in range(200_000)]\nprint('done')\n");
    let output = Command::new(env!("CARGO_BIN_EXE_heaplay"))
        .args(["record", "-o"])
        .arg(disk.join("app.trace"))
        .arg("--")
        .args([&python, &script])
        .output();
    let raw = disk
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("raw"));
    let recovered = raw.map(|raw| {
        let out = bench.path("app.trace");
        let status = Command::new(env!("CARGO_BIN_EXE_heaplay"))
            .args(["record", "--recover"])
            .arg(raw)
            .arg("-o")
            .arg(&out)
            .output();
        assert!(status.unwrap().status.success());
    });
    let trace = if recovered.is_some() { bench.trace() } else { read(&disk.join("app.trace")) };
    assert!(Command::new("umount").arg("-l").arg(&disk).status().unwrap().success());
    let output = output.unwrap();
    assert_eq!(output.stdout, b"done\n", "{}", stderr(&output));
    assert_eq!(trace.fact("ending"), "no space", "{}", stderr(&output));
    assert!(trace.calls > 50_000 && trace.fact("lost_events").parse::<u64>().unwrap() > 100_000);
}

/// A part of a program, recorded from inside it, on 3.6 too: what is made in the block and nothing
/// else, with lines, and what ends in it of before is counted. Twice in a process, and once more
/// with a hook left above.
#[test]
fn a_part_of_a_program_is_recorded_from_inside() {
    let script = r#"
import sys, threading, tracemalloc, heaplay
before = [str(i) for i in range(1000)]
grown = bytearray(70000)
with heaplay.record("app.trace", sites=2):
    heaplay.mark("inside")
    first = bytearray(70100)
    del before
    grown.extend(bytes(100_000))
    thread = threading.Thread(target=bytearray, args=(70150,)); thread.start(); thread.join()
between = bytearray(70200)
with heaplay.record("second.trace", max_events=100):
    second = bytearray(70300)
    many = [str(i) for i in range(10_000)]
tracemalloc.start()
try:
    with heaplay.record("third.trace"): pass
except RuntimeError as error:
    print(error)
tracemalloc.stop()
try:
    with heaplay.record("outer.trace"):
        with heaplay.record("inner.trace"): pass
except RuntimeError as error:
    print(error)
after = bytearray(70400)
"#;
    for (minor, python) in interpreters::find_of(6..=13) {
        let bench = Bench::new(&python);
        let written = Command::new(env!("CARGO_BIN_EXE_heaplay"))
            .arg("recorder")
            .arg(bench.folder.path())
            .output();
        assert!(written.unwrap().status.success());
        let script = bench.file("app.py", script);
        let mut command = Command::new(&python);
        command
            .arg(&script)
            .current_dir(bench.folder.path())
            .env("HEAPLAY", env!("CARGO_BIN_EXE_heaplay"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "3.{minor}: {}", stderr(&output));
        assert!(
            said.contains("tracemalloc would") && said.contains("being recorded already"),
            "3.{minor}: {said}"
        );
        let trace = bench.trace();
        assert_eq!(
            (trace.fact("started"), trace.fact("ending")),
            ("by the program, while it ran", "stopped by the program")
        );
        assert_eq!((trace.fact("disturbed"), trace.fact("lost_events")), ("", "0"));
        // 1000 numbers and their list, and what the bytearray grew out of.
        let unseen: u64 = trace.fact("unseen_frees").parse().unwrap();
        assert!((990..1100).contains(&unseen), "3.{minor}: {unseen}");
        for (size, there) in
            [(70100, true), (70150, true), (70000, false), (70200, false), (70300, false)]
        {
            let is_there = trace.has_size(size) || trace.has_size(size + 1);
            assert_eq!(is_there, there, "3.{minor}: {size}");
        }
        let at = trace.rows.iter().position(|row| row.size == 70100 || row.size == 70101).unwrap();
        assert_eq!(trace.sites[at], "app.py:7", "3.{minor}");
        assert!(trace.fact("marks").contains("inside"));
        let second = read(&bench.path("second.trace"));
        assert!(second.calls <= 100 && second.has_size(70301) != second.has_size(70300));
        assert_eq!(second.fact("ending"), "limit", "3.{minor}");
        assert!(!bench.path("third.trace").exists() && !bench.path("inner.trace").exists());
        assert!(bench.path("outer.trace").exists());
    }
}

/// A whole program, loaded late; without heaplay in reach the raw log stays, and is told of.
#[test]
fn a_whole_program_is_recorded_late() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let without_heaplay =
        std::env::split_paths(&path).filter(|folder| !folder.join("heaplay").exists());
    let without_heaplay = std::env::join_paths(without_heaplay).unwrap();
    for (minor, python) in interpreters::find_of(6..=13) {
        let bench = Bench::new(&python);
        let written = Command::new(env!("CARGO_BIN_EXE_heaplay"))
            .arg("recorder")
            .arg(bench.folder.path())
            .output();
        assert!(written.unwrap().status.success());
        bench.file(
            "app.py",
            "import sys\nkept = bytearray(70100)\nprint(sys.argv[1:], __name__)\nsys.exit(3)\n",
        );
        let output = Command::new(&python)
            .args(["heaplay.py", "-o", "app.trace", "--sites", "1", "app.py", "--an", "argument"])
            .current_dir(bench.folder.path())
            .env("HEAPLAY", env!("CARGO_BIN_EXE_heaplay"))
            .output()
            .unwrap();
        assert_eq!(
            output.stdout,
            b"['--an', 'argument'] __main__\n",
            "3.{minor}: {}",
            stderr(&output)
        );
        assert_eq!(output.status.code(), Some(3));
        let trace = bench.trace();
        let at = trace.rows.iter().position(|row| row.size == 70100 || row.size == 70101).unwrap();
        assert_eq!(trace.sites[at], "app.py:2", "3.{minor}");

        let output = Command::new(&python)
            .args(["heaplay.py", "-o", "other.trace", "-m", "app"])
            .current_dir(bench.folder.path())
            .env_remove("HEAPLAY")
            .env("PATH", &without_heaplay)
            .output()
            .unwrap();
        assert!(
            stderr(&output).contains("is a raw log; `heaplay record --recover "),
            "{}",
            stderr(&output)
        );
    }
}

/// By an environment variable alone, as in a container's start command: the lines that `heaplay
/// recorder` prints.
#[test]
fn an_environment_variable_records_without_a_parent() {
    for (minor, python) in interpreters::find() {
        let bench = Bench::new(&python);
        let logs = bench.path("log");
        let output = Command::new(env!("CARGO_BIN_EXE_heaplay"))
            .args([
                "recorder",
                "--sites=2",
                "--max-events",
                "1000000",
                "--stop-at-mark",
                "a, b: 100%",
                "--logs",
            ])
            .arg(&logs)
            .arg(bench.path("place"))
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let variables = told
            .lines()
            .find_map(|line| line.strip_prefix("ENV "))
            .expect("a line for a Dockerfile");
        let script = bench.file(
            "app.py",
            "import os, sys, ctypes\nkept = bytearray(70100)\nif not os.fork():\n    kept = bytearray(70200)\n    \
             os._exit(0)\nos.wait()\nctypes.PyDLL(None).heaplay_mark(b'a, b: 100%')\nlast = bytearray(70300)\nsys.exit(5)\n",
        );
        let line = format!("{variables} {} {}; exit $?", python.display(), script.display());
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(5), String::new()), "3.{minor}");
        let raws = bench.folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
        let raws = raws.filter(|path| path.to_string_lossy().contains("/log."));
        let mut recover = Command::new(env!("CARGO_BIN_EXE_heaplay"));
        let output = recover
            .args(["record", "--recover"])
            .args(raws)
            .arg("-o")
            .arg(bench.path("app.trace"))
            .output();
        assert!(output.unwrap().status.success());
        let trace = bench.trace();
        trace.assert_whole();
        assert!(trace.has_size(70101) && !trace.has_size(70301), "3.{minor}");
        assert!(trace.fact("limit").starts_with("--stop-at-mark"));
        assert!(bench.others().len() == 1 && bench.others()[0].has_size(70201));
    }
    let Some(python) = interpreters::any() else { return };
    let bench = Bench::new(&python);
    let broken = Command::new(env!("CARGO_BIN_EXE_heaplay"))
        .arg("recorder")
        .arg(bench.path("p"))
        .output()
        .unwrap();
    assert!(broken.status.success());
    let output = Command::new(&python)
        .args(["-c", "print('done')"])
        .env("LD_PRELOAD", bench.path("p/heaplay-recorder.so"))
        .env("HEAPLAY_RECORD", "2:0:sites=many:/tmp/x")
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"done\n");
    assert!(stderr(&output).contains("HEAPLAY_RECORD is not understood"), "{}", stderr(&output));
}

/// With more frames than one, a site is the line and the lines that called it, newest first.
#[test]
fn sites_have_their_callers() {
    let script = r#"def inner(n):
    return bytearray(n)
def outer(n):
    return inner(n)
class Holder:
    kept = outer(70100)
import os
kept = [inner(70200), *map(inner, [70300])]
def deep(n):
    return deep(n - 1) if n else bytearray(70400)
deep(50)
os._exit(0)
"#;
    let expected = [
        (70100, "app.py:2 < app.py:4 < app.py:6"),
        (70200, "app.py:2 < app.py:8"),
        (70300, "app.py:2 < app.py:8"),
        (70400, "app.py:10 < app.py:10 < app.py:10"),
    ];
    for (minor, python) in interpreters::find() {
        let bench = Bench::new(&python);
        let output = bench.record(&["--sites=3"], script);
        assert!(output.status.success(), "3.{minor}: {}", stderr(&output));
        let trace = bench.trace();
        trace.assert_whole();
        for (size, site) in expected {
            let at =
                trace.rows.iter().position(|row| row.size == size || row.size == size + 1).unwrap();
            let names: Vec<&str> =
                trace.sites[at].split(" < ").take(site.split(" < ").count()).collect();
            assert_eq!(names.join(" < "), site, "3.{minor}");
            assert!(trace.sites[at].split(" < ").count() <= 3);
        }
        if minor == 13 {
            let told = Command::new(env!("CARGO_BIN_EXE_heaplay"))
                .arg("inspect")
                .arg(bench.path("app.trace"))
                .output();
            let told = String::from_utf8(told.unwrap().stdout).unwrap();
            // One row for the line, whoever called it, in each of two tables; and its callers
            // apart.
            assert_eq!(told.matches("| app.py:2  ").count(), 2, "{told}");
            assert!(told.contains("| app.py:2 < app.py:4 < app.py:6 "), "{told}");
            // A line that only called is found too.
            let told = Command::new(env!("CARGO_BIN_EXE_heaplay"))
                .args(["whatif", "--move-site", "app.py:6", "-b", "malloc"])
                .arg(bench.path("app.trace"))
                .output()
                .unwrap();
            assert!(
                told.stdout.starts_with(b"app.py:6: 2 blocks ("),
                "its bytes and their object: {told:?}"
            );
        }
    }
}

/// From 3.12 on a sub-interpreter has a heap of its own: its calls are told apart.
#[test]
fn sub_interpreters_are_recorded_apart() {
    let script = r#"
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
kept = bytearray(70100)
run = getattr(interpreters, "exec", None) or interpreters.run_string
number = interpreters.create()
run(number, "inside = [bytearray(70200) for n in range(100)]")
interpreters.destroy(number)
last = bytearray(70300)
"#;
    for (minor, python) in interpreters::find() {
        let bench = Bench::new(&python);
        if minor < 8 {
            continue;
        }
        let output = bench.record(&[], script);
        assert!(output.status.success(), "3.{minor}: {}", stderr(&output));
        let trace = bench.trace();
        trace.assert_whole();
        let header = Header { facts: trace.facts.clone(), ..Header::default() };
        let apart = header.interpreters();
        if minor < 12 {
            assert!(apart.is_empty(), "3.{minor}: one heap for all");
            continue;
        }
        let [(thread, interpreter)] = apart[..] else { panic!("3.{minor}: {apart:?}") };
        assert!(interpreter > 0);
        let threads = |size: u64| {
            let rows =
                trace.rows.iter().filter(move |row| row.size == size || row.size == size + 1);
            rows.map(|row| row.thread).collect::<Vec<_>>()
        };
        assert_eq!(
            (threads(70100), threads(70200), threads(70300)),
            (vec![1], vec![thread; 100], vec![1])
        );
        assert!(
            stderr(&output).contains("1 sub-interpreters had heaps of their own"),
            "{}",
            stderr(&output)
        );
    }
}

/// What the recorder needs of an interpreter, as a C program: the allocators behind the functions
/// that it finds by name.
const STUB: &str = r#"
#include <stdlib.h>
#include <stdio.h>
#define API __attribute__((visibility("default")))
typedef struct { void *ctx; void *(*malloc)(void *, size_t); void *(*calloc)(void *, size_t, size_t);
  void *(*realloc)(void *, void *, size_t); void (*free)(void *, void *); } Allocator;
static void *s_malloc(void *c, size_t n) { return malloc(n ? n : 1); }
static void *s_calloc(void *c, size_t k, size_t n) { return calloc(k, n); }
static void *s_realloc(void *c, void *p, size_t n) { return realloc(p, n); }
static void s_free(void *c, void *p) { free(p); }
static Allocator domains[3] = { { 0, s_malloc, s_calloc, s_realloc, s_free }, { 0, s_malloc, s_calloc, s_realloc, s_free }, { 0, s_malloc, s_calloc, s_realloc, s_free } };
API const char *Py_GetVersion(void) { return VERSION; }
API void PyMem_GetAllocator(int d, Allocator *a) { *a = domains[d]; }
#ifndef NO_SET
API void PyMem_SetAllocator(int d, Allocator *a) { domains[d] = *a; }
#endif
#ifdef FREE_THREADED
API void _Py_DecRefShared(void *o) {}
#endif
int main(void) {
  Allocator *o = &domains[2], *r = &domains[0];
  void *a = o->malloc(o->ctx, 100), *b = r->calloc(r->ctx, 3, 70);
  a = o->realloc(o->ctx, a, 5000); r->free(r->ctx, b); o->free(o->ctx, a);
  puts("PyMem_SetAllocator done"); return 7; }
"#;

/// A version after those that are known is recorded by the functions it exports; without one of
/// them, or free-threaded, or with sites (whose frames are not known), it is refused before it
/// starts.
#[test]
fn later_interpreters_are_recorded_if_they_can_be() {
    let bench = Bench::new(Path::new(""));
    let source = bench.file("stub.c", STUB);
    let build = |name: &str, version: &str, options: &[&str]| {
        let path = bench.path(name);
        let version = format!("-DVERSION=\"{version}\"");
        let status = Command::new("cc")
            .args(["-w", "-rdynamic", &version])
            .args(options)
            .arg("-o")
            .arg(&path)
            .arg(&source)
            .status();
        status.is_ok_and(|status| status.success()).then_some(path)
    };
    let Some(later) = build("later", "3.14.0 (stub)", &[]) else {
        println!("skipped: no C compiler (cc) for a stub of a later interpreter");
        return;
    };
    let output = bench.heaplay(&[]).arg(&later).output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(7), &b"PyMem_SetAllocator done\n"[..]),
        "{}",
        stderr(&output)
    );
    let trace = bench.trace();
    trace.assert_whole();
    let rows: Vec<_> = trace.rows.iter().map(|row| (row.op, row.size, row.end())).collect();
    let expected =
        [(Op::Malloc, 100, Some(2)), (Op::Calloc, 210, Some(3)), (Op::Realloc, 5000, Some(4))];
    assert_eq!((&rows[..], trace.fact("python")), (&expected[..], "3.14.0"));
    std::fs::remove_file(bench.path("app.trace")).unwrap();

    for (path, options, reason) in [
        (Some(later), &["--sites"][..], "--sites does not know"),
        (build("noset", "3.15.0", &["-DNO_SET"]), &[], "no PyMem_SetAllocator"),
        (
            build("text", "3.13.0 experimental free-threading build (stub)", &[]),
            &[],
            "free-threaded",
        ),
        (build("symbol", "3.14.0 (stub)", &["-DFREE_THREADED"]), &[], "free-threaded"),
        (build("old", "3.6.15 (stub)", &[]), &[], "overwrites the hooks"),
    ] {
        let output = bench.heaplay(options).arg(path.unwrap()).output().unwrap();
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(2), &b""[..]),
            "{reason}: {}",
            stderr(&output)
        );
        assert!(stderr(&output).contains(reason), "{reason}: {}", stderr(&output));
        assert!(!bench.path("app.trace").exists());
    }
}

/// Recordings of parts begin and end while four threads allocate and some fork: each log is whole
/// and reads.
#[test]
fn parts_begin_and_end_among_threads() {
    let script = r#"
import os, sys, threading, time, heaplay
sys.setswitchinterval(1e-5)
heaplay._finish = lambda raw, output: os.rename(raw, output)
stop = False
def work():
    while not stop:
        kept = [str(i) * 3 for i in range(500)]
        grown = bytearray(70000); grown.extend(bytes(9000))
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for n in range(8):
    with heaplay.record("part-%d" % n, sites=n % 4, max_events=[None, 500][n % 2]):
        heaplay.mark("inside"); time.sleep(0.002)
        if n % 5 == 0:
            child = os.fork()
            if not child:
                kept = [str(i) for i in range(1000)]; os._exit(0)
            os.waitpid(child, 0)
stop = True
for thread in threads: thread.join()
print("done")
"#;
    let found = interpreters::find_of(6..=13);
    for (minor, python) in found.first().into_iter().chain(found.last()) {
        let bench = Bench::new(python);
        let written = Command::new(env!("CARGO_BIN_EXE_heaplay"))
            .arg("recorder")
            .arg(bench.folder.path())
            .output();
        assert!(written.unwrap().status.success());
        let script = bench.file("app.py", script);
        let mut command = Command::new(python);
        let output =
            command.args(["-W", "ignore"]).arg(script).current_dir(bench.folder.path()).output();
        let output = output.unwrap();
        assert_eq!(output.stdout, b"done\n", "3.{minor}: {}", stderr(&output));
        for n in 0..8 {
            let log = RawLog::open(&bench.path(&format!("part-{n}"))).unwrap();
            let survey = log.convert(&bench.path("app.trace")).unwrap();
            let trace = bench.trace();
            assert_eq!(
                (trace.calls, trace.fact("lost_events")),
                (survey.events, "0"),
                "3.{minor}, {n}"
            );
            assert!(trace.fact("disturbed").is_empty() && (n % 2 == 0 || trace.calls <= 501));
        }
    }
}
