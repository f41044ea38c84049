//! Records real Python programs on every CPython of this machine. The traces have the calls that an
//! independent counter counts, in order, for each process, through signals and sudden ends.
//! Programs that cannot be recorded are refused. The catalogue of `traces/` describes its files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use heaplay::results::{Metric, Operation, Run, Scope};
use heaplay::trace::{self, ArenaEvent, Call, Header, Op, RawLog, Row, Sequence};
use tempfile::TempDir;

use crate::support::process::{both, errors, expect, finish, heaplay, python_module, repository};
use crate::support::skip::skip;
use crate::support::{compiler, interpreters};

/// A trace, read whole and proved: every end names a live block.
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

    /// The arenas of the recorded CPython 3.`minor`. Each is proved to be born once, and to die at
    /// most once, in order.
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

    /// Whether a block of `size` bytes was requested, or from 3.15 on the `bytes` in its place.
    fn has_size(&self, size: u64) -> bool {
        self.rows.iter().any(|row| row.size == size || row.size == size + BYTES_HEADER)
    }
}

/// From 3.15 on the contents of a `bytearray` are a `bytes` object, with a header of so many bytes.
const BYTES_HEADER: u64 = 32;

/// Whether a row is the contents of a `bytearray` of `length` bytes. A closing zero may follow.
fn is_bytearray(row: &Row, length: u64) -> bool {
    [0, 1, 1 + BYTES_HEADER].iter().any(|more| row.size == length + more)
}

/// A folder for the traces of one recording, and the interpreter that is recorded.
struct Workplace {
    folder: TempDir,
    python: PathBuf,
}

impl Workplace {
    fn new(python: &Path) -> Workplace {
        Workplace { folder: TempDir::new().unwrap(), python: python.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `heaplay record OPTIONS -o app.trace --`, in the folder.
    fn recording(&self, options: &[&str]) -> Command {
        let mut command = heaplay();
        command
            .arg("record")
            .args(["--domains", "python"])
            .args(options)
            .arg("-o")
            .arg(self.path("app.trace"))
            .arg("--");
        command.current_dir(self.folder.path()).env("PYTHONHASHSEED", "0");
        for name in ["PYTHONMALLOC", "PYTHONDEVMODE", "PYTHONTRACEMALLOC", "LD_PRELOAD"] {
            command.env_remove(name);
        }
        command
    }

    fn record(&self, options: &[&str], script: &str) -> Output {
        let script = self.file("app.py", script);
        finish(self.recording(options).arg(&self.python).arg(script))
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

    /// Proves that the folder has traces and scripts only.
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

/// Counts outermost calls by hooks of its own, below the recorder's. Writes the counts to a file at
/// the end.
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
static void *c_malloc(void *c, size_t n) {
  Allocator *a = c; int outer = depth++ == 0; void *p = a->malloc(a->ctx, n); depth--;
  if (outer && p) { ADD(mallocs, 1); ADD(bytes, n); } return p; }
static void *c_calloc(void *c, size_t k, size_t n) {
  Allocator *a = c; int outer = depth++ == 0; void *p = a->calloc(a->ctx, k, n); depth--;
  if (outer && p) { ADD(callocs, 1); ADD(bytes, k * n); } return p; }
static void *c_realloc(void *c, void *o, size_t n) {
  Allocator *a = c; int outer = depth++ == 0; void *p = a->realloc(a->ctx, o, n); depth--;
  if (outer && p) { if (o) ADD(reallocs, 1); else ADD(mallocs, 1); ADD(bytes, n); } return p; }
static void c_free(void *c, void *p) {
  Allocator *a = c; if (depth++ == 0 && p) ADD(frees, 1); a->free(a->ctx, p); depth--; }
typedef struct { void *ctx; void *(*alloc)(void *, size_t); void (*free)(void *, void *, size_t); }
  ArenaAllocator;
static ArenaAllocator arenas; static unsigned long long arena_births, arena_deaths;
static void *c_arena(void *c, size_t n) {
  void *p = arenas.alloc(arenas.ctx, n); if (p && n >= 1 << 18) arena_births++; return p; }
static void c_arena_free(void *c, void *p, size_t n) {
  if (n >= 1 << 18) arena_deaths++; arenas.free(arenas.ctx, p, n); }
static void *find(const char *name) { return dlsym(RTLD_DEFAULT, name); }
__attribute__((constructor)) static void start(void) {
  void (*get_a)(ArenaAllocator *) = find("PyObject_GetArenaAllocator");
  void (*set_a)(ArenaAllocator *) = find("PyObject_SetArenaAllocator");
  void (*get)(int, Allocator *) = find("PyMem_GetAllocator");
  void (*set)(int, Allocator *) = find("PyMem_SetAllocator");
  if (!get || !set) return;
  get_a(&arenas); ArenaAllocator hook_a = { 0, c_arena, c_arena_free }; set_a(&hook_a);
  for (int d = 0; d < 3; d++) {
    get(d, &real[d]);
    Allocator hook = { &real[d], c_malloc, c_calloc, c_realloc, c_free };
    set(d, &hook); } }
__attribute__((destructor)) static void stop(void) {
  FILE *f = real[0].malloc ? fopen(getenv("COUNTS"), "w") : 0;
  if (f) {
    fprintf(f, "%llu %llu %llu %llu %llu ", mallocs, callocs, reallocs, frees, bytes);
    fprintf(f, "%llu %llu", arena_births, arena_deaths); fclose(f); } }
"#;

/// Before 3.13 `join` returns before a thread's last free, of its state. The thread may be delayed past
/// the counter's end, and the recorder would see a call more. So the program waits for the kernel's
/// threads.
const WORK: &str = r#"
import json, os, re, sys, threading, time
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
while THREADS and len(os.listdir("/proc/self/task")) > 1: time.sleep(0.001)
work()
print("done")
"#;

/// With one thread and with four, with and without sites, the trace has the calls and bytes of the
/// counter. The user's own LD_PRELOAD stays in force.
#[test]
fn counts_are_exact() {
    for (minor, python) in interpreters::find() {
        for (threads, options) in [(0, &[][..]), (4, &[][..]), (4, &["--sites"][..])] {
            let place = Workplace::new(&python);
            let Some(counter) = compiler::library(place.folder.path(), "counter", COUNTER) else {
                return;
            };
            let script = place.file("app.py", &WORK.replace("THREADS", &threads.to_string()));
            let output = finish(
                place
                    .recording(options)
                    .args([&python, &script])
                    .env("LD_PRELOAD", counter)
                    .env("COUNTS", place.path("counts")),
            );
            assert!(output.status.success(), "3.{minor}: {}", errors(&output));
            assert_eq!(output.stdout, b"done\n");
            let trace = place.trace();
            trace.assert_whole();
            let counts = std::fs::read_to_string(place.path("counts")).unwrap();
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
                assert_replays_have_counts(&place, counted);
            }
        }
    }
}

/// Threads that make objects at the same time.
const CROWD: &str = r#"
import threading
def work():
    lists, strings = [], []
    for n in range(100000):
        lists.append([n])
        strings.append("s%d" % n)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"#;

/// A free-threaded build calls the hooks from several threads at the same time. The trace has the
/// calls of a counter beside the recorder, and every end names a live block.
#[test]
fn counts_of_a_free_threaded_build_are_exact() {
    let Some(python) = interpreters::free_threaded() else { return };
    for options in [&[][..], &["--sites"], &["--sites=3"]] {
        let place = Workplace::new(&python);
        let Some(counter) = compiler::library(place.folder.path(), "counter", COUNTER) else {
            return;
        };
        let script = place.file("app.py", CROWD);
        let mut command = place.recording(options);
        command.args([&python, &script]);
        command.env("LD_PRELOAD", counter).env("COUNTS", place.path("counts"));
        let output = finish(&mut command);
        assert!(output.status.success(), "{}", errors(&output));
        let trace = place.trace();
        trace.assert_whole();
        let counts = std::fs::read_to_string(place.path("counts")).unwrap();
        let counted: Vec<u64> = counts.split(' ').map(|number| number.parse().unwrap()).collect();
        let bytes = trace.rows.iter().map(|row| row.size).sum();
        let ops = [Op::Malloc, Op::Calloc, Op::Realloc].map(|op| trace.count(op));
        let recorded = [ops[0], ops[1], ops[2], trace.frees, bytes];
        assert_eq!(recorded, counted[..5], "mallocs callocs reallocs frees bytes");
        assert!(trace.count(Op::Malloc) > 800_000);
        assert_eq!(trace.fact("free_threaded"), "true");
        assert!(!errors(&output).contains("(mimalloc)"), "{}", errors(&output));
        assert_eq!(trace.rows.iter().map(|row| row.thread).max(), Some(5));
        if !options.is_empty() {
            let at = |line| trace.sites.iter().filter(|site| site.starts_with(line)).count();
            let (lists, strings) = (at("app.py:6"), at("app.py:7"));
            assert!(lists >= 400_000 && strings >= 400_000, "{lists} and {strings}");
        }
    }
}

/// Replays the recording on some backends. The runs have the counts of the program.
fn assert_replays_have_counts(place: &Workplace, counted: &[u64]) {
    let run = place.path("run");
    let mut command = heaplay();
    command.arg("run").arg(place.path("app.trace")).args(["--backends", "malloc,pymalloc,bump"]);
    // All calls, those of the interpreter's teardown, too.
    command.args(["--at", "last-call"]);
    command.args(["--passes", "footprint,latency", "-r", "1", "--out"]);
    expect(0, command.arg(&run));
    let run = Run::load(&run).unwrap();
    for backend in ["malloc", "pymalloc", "bump", "null"] {
        for (op, expected) in ["malloc", "calloc", "realloc", "free"].into_iter().zip(counted) {
            let scope = Scope::Op(Operation::find(op).unwrap());
            let calls = run.values("app", backend, scope, Metric::Calls);
            assert_eq!(calls, [*expected as f64; 2], "{op} on {backend}, in both passes");
        }
        let bytes = run.values("app", backend, Scope::All, Metric::RequestedBytes);
        assert_eq!(bytes, [counted[4] as f64], "bytes on {backend}");
    }
}

/// A block's site is the line that allocates it, also in generators and classes, and after a code
/// object took the address of another one. Each block has a size that no other one has.
#[test]
fn sites_are_the_lines_that_allocate() {
    let script = r#"import gc
def plain():
    return bytearray(70100)
def generator():
    yield bytearray(70200)
class Holder:
    held = bytearray(70300)
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
        let place = Workplace::new(&python);
        let output = place.record(&["--sites"], script);
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        let trace = place.trace();
        let site_of = |size: u64| {
            let at = trace.rows.iter().position(|row| is_bytearray(row, size));
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
fn input_output_arguments_and_exit_code_pass_through() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    let script = place.file(
        "app.py",
        "import sys\ntext = sys.stdin.buffer.read()[::-1] + repr(sys.argv[1:]).encode()\n\
         sys.stdout.buffer.write(text)\nsys.stdout.flush()\nsys.stderr.write('warned\\n')\nsys.exit(41)",
    );
    let mut child = place
        .recording(&[])
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
    let message = errors(&output);
    assert!(message.starts_with("warned\nheaplay: recorded "), "{message}");
    // And a line for what the recording explains, and one for how the program ended.
    assert_eq!(message.lines().count(), 4, "{message}");
    assert!(message.contains("the program ended with exit status 41; "), "{message}");
    place.trace().assert_whole();
    place.assert_clean();
}

/// However the process ends, the trace has all its calls.
#[test]
fn sudden_ends_lose_nothing() {
    let Some(python) = interpreters::any() else { return };
    for (ending, code, fact) in [
        ("os._exit(3)", 3, "_exit, exit status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "signal 9"),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143, "signal 15"),
        ("os.abort()", 134, "signal 6"),
    ] {
        let place = Workplace::new(&python);
        let script = format!(
            "import os, signal\nheld = [list(range(n)) for n in range(2000)]\n\
             last = bytearray(76543)\n{ending}\n"
        );
        let output = place.record(&[], &script);
        let message = errors(&output);
        assert_eq!(output.status.code(), Some(code), "{ending}: {message}");
        let how = fact.trim_start_matches("_exit, ");
        assert!(message.contains(&format!("the program ended with {how}; the exit")), "{message}");
        let trace = place.trace();
        trace.assert_whole();
        assert_eq!(trace.fact("ending"), fact);
        assert!(trace.has_size(76544), "{ending}");
    }
}

#[test]
fn signals_reach_the_program() {
    let Some(python) = interpreters::any() else { return };
    for signal in ["TERM", "INT", "HUP", "USR1", "QUIT"] {
        let place = Workplace::new(&python);
        let script = place.file(
            "app.py",
            &format!(
                "import signal, sys, time\ndef handle(number, frame):\n    print('caught')\n    sys.exit(9)\n\
                 signal.signal(signal.SIG{signal}, handle)\nprint('ready', flush=True)\ntime.sleep(60)\n"
            ),
        );
        let mut command = place.recording(&[]);
        command.args([&python, &script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A shell starts its background jobs with SIGINT and SIGQUIT ignored, and heaplay leaves
        // them so.
        #[expect(unsafe_code, reason = "the child's signals are set between fork and exec")]
        // SAFETY: `signal` may be called there.
        unsafe {
            command.pre_exec(|| {
                for ignored in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
                    libc::signal(ignored, libc::SIG_DFL);
                }
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let kill =
            Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"caught\n", "{signal}: {}", errors(&output));
        assert_eq!(output.status.code(), Some(9));
        assert_eq!(output.status.signal(), None);
        place.trace().assert_whole();
    }
}

/// A forked child, a pool of processes and a started Python each have a trace, which names the
/// parent.
#[test]
fn each_process_has_its_own_trace() {
    let script = r#"
import multiprocessing, os, subprocess, sys
def work(n):
    return len([str(i) for i in range(n)])
if __name__ == "__main__":
    child = os.fork()
    if child == 0:
        held = bytearray(81234)
        os._exit(0)
    os.waitpid(child, 0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, [1000, 2000, 3000]) == [1000, 2000, 3000]
    subprocess.run([sys.executable, "-c", "held = bytearray(82345)"], check=True)
    subprocess.run(["sh", "-c", "exit 0"], check=True)
    os.spawnv(os.P_WAIT, "/bin/true", ["true"])
"#;
    for (minor, python) in interpreters::find() {
        let place = Workplace::new(&python);
        let output = place.record(&[], script);
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        let main = place.trace();
        main.assert_whole();
        let others = place.others();
        assert!(others.len() >= 4, "3.{minor}: {} traces: {}", others.len(), errors(&output));
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
        place.assert_clean();
    }
}

/// The recording goes on after the program closed all descriptors, changed its folder and cleared
/// its environment.
#[test]
fn programs_that_close_descriptors_are_recorded() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    let script = "import os\nos.chdir('/')\nos.closerange(3, 1000)\nos.environ.clear()\n\
                  first = os.open('/dev/null', os.O_RDONLY)\n\
                  for n in range(300_000):\n    held = str(n)\nlast = bytearray(76543)\n\
                  assert os.open('/dev/null', os.O_RDONLY) == first + 1\n";
    let output = place.record(&[], script);
    assert!(output.status.success(), "{}", errors(&output));
    let trace = place.trace();
    trace.assert_whole();
    assert!(trace.has_size(76544) && trace.calls > 600_000);
}

/// A log that cannot grow, or that was deleted, does the program no harm.
#[test]
fn a_log_that_cannot_grow_ends_the_recording_only() {
    let Some(python) = interpreters::any() else { return };
    let work = "held = [str(n) for n in range(100_000)]\nprint('done')\n";
    let place = Workplace::new(&python);
    let script = place.file("app.py", work);
    let limited = "ulimit -f 1000; exec \"$@\"";
    let output =
        finish(place.recording(&[]).args(["sh", "-c", limited, "sh"]).args([&python, &script]));
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"done\n"[..]),
        "{}",
        errors(&output)
    );
    let trace = place.trace();
    assert_eq!(trace.fact("ending"), "no space");
    assert!(trace.fact("lost_events").parse::<u64>().unwrap() > 10_000);
    assert!(errors(&output).contains("calls were made and not recorded"));

    let output = place.record(
        &[],
        &format!("import glob, os\n[os.remove(p) for p in glob.glob('*.raw-*')]\n{work}"),
    );
    assert_eq!(output.stdout, b"done\n", "{}", errors(&output));
}

#[test]
fn programs_that_cannot_be_recorded_are_refused_before_the_start() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    let script = place.file("app.py", "open('started', 'w')\n");
    let python_name = python.as_os_str().to_owned();
    let ends = |code: i32, arguments: &[OsString], variable: Option<(&str, &str)>| {
        let mut command = place.recording(&[]);
        command.args(arguments).envs(variable);
        let output = finish(&mut command);
        let message = errors(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {variable:?}: {message}");
        assert!(
            !place.path("started").exists() && !place.path("app.trace").exists(),
            "{arguments:?}: {message}"
        );
        place.assert_clean();
        message
    };
    let run = |arguments: &[OsString], variable| ends(2, arguments, variable);
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
    // A program that cannot be started has the exit status that a shell gives it.
    assert!(ends(126, std::slice::from_ref(&script), None).contains("not executable"));
    assert!(ends(127, &["./missing".into()], None).contains("check the path"));
    assert!(ends(127, &["no-such-python".into()], None).contains("not found in PATH"));
    assert!(run(&["cat".into(), script.clone()], None).contains("is no Python"));
    assert!(ends(126, &[place.folder.path().into()], None).contains("is a directory"));

    // With -E the interpreter ignores the variable.
    let output = finish(place.recording(&[]).args(with(&["-E"])).env("PYTHONMALLOC", "malloc"));
    assert!(output.status.success(), "{}", errors(&output));
    place.trace().assert_whole();
}

#[test]
fn a_path_that_cannot_be_written_is_refused_before_the_start() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    for path in ["missing/app.trace", "app.txt", "."] {
        let output = finish(
            heaplay()
                .current_dir(place.folder.path())
                .args(["record", "-o", path, "--"])
                .arg(&python)
                .args(["-c", "open('started', 'w')"]),
        );
        assert_eq!(output.status.code(), Some(2), "{path}: {}", errors(&output));
        assert!(!place.path("started").exists());
        place.assert_clean();
    }
}

/// The interpreter is started by a script's first line, by the exec of a shell, or by a shell.
#[test]
fn launchers_are_followed() {
    let Some(python) = interpreters::any() else { return };
    let shown = python.display();
    for text in [
        format!("#!/usr/bin/env -S {shown} -B\nheld = bytearray(76543)\n"),
        format!("#!/bin/sh\nexec {shown} -c 'held = bytearray(76543)'\n"),
        format!("#!/bin/sh\n{shown} -c 'held = bytearray(76543)'\nexit 0\n"),
    ] {
        let place = Workplace::new(&python);
        let script = place.file("start", &text);
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = finish(place.recording(&[]).arg(&script));
        assert!(output.status.success(), "{text}: {}", errors(&output));
        let trace = place.trace();
        trace.assert_whole();
        assert!(trace.has_size(76544), "{text}");
    }
}

/// tracemalloc that is started by the program cannot be refused. The trace has a fact for it.
#[test]
fn a_hook_above_is_reported() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    let output = place.record(
        &[],
        "import tracemalloc\ntracemalloc.start()\nheld = [str(n) for n in range(60_000)]\n",
    );
    assert!(errors(&output).contains("tracemalloc"), "{}", errors(&output));
    assert!(!place.trace().fact("disturbed").is_empty());
}

/// A raw log that was cut off at any byte gives the rows up to the cut.
#[test]
fn a_log_that_was_cut_off_is_read_up_to_the_cut() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    let output =
        place.record(&["--sites", "--keep-raw"], "held = [str(n) for n in range(50_000)]\n");
    assert!(output.status.success(), "{}", errors(&output));
    let whole = place.trace();
    let raw = place.folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let raw = raw.into_iter().find(|path| path.to_string_lossy().contains(".raw-")).unwrap();
    let bytes = std::fs::read(&raw).unwrap();
    let head = 4096 + (128 << 10);
    for cut in [head, head + 1, head + 4096, head + 99_999, bytes.len() - 1, bytes.len()] {
        let (short, out) = (place.path("short"), place.path("short.trace"));
        std::fs::write(&short, &bytes[..cut]).unwrap();
        let output =
            finish(heaplay().args(["record", "--recover"]).arg(&short).arg("-o").arg(&out));
        assert!(output.status.success(), "cut at {cut}: {}", errors(&output));
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
        std::fs::write(place.path("short"), &bytes[..cut]).unwrap();
        assert!(RawLog::open(&place.path("short")).is_err());
    }
}

/// The catalogue in `traces/` agrees with the files beside it.
#[test]
fn the_catalogue_is_true() {
    let folder = repository("traces");
    let table = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let index = std::fs::read_to_string(folder.join("index.toml")).unwrap();
    let index: toml::Table = toml::from_str(&index).unwrap();
    let entries = index["trace"].as_array().unwrap();
    let (mut traces, mut bytes, mut with_sites) = (0, 0, 0);
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let path = folder.join(cells[1]).with_extension("trace");
        let content = std::fs::read(&path).unwrap();
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&content);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let entry = entries.iter().find(|entry| entry["name"].as_str() == Some(cells[1])).unwrap();
        assert_eq!(entry["sha256"].as_str(), Some(&*digest), "{}: run scripts/rerecord", cells[1]);
        assert_eq!(entry["bytes"].as_integer(), Some(content.len() as i64));
        for (key, cell) in [("calls", cells[5]), ("live_peak_bytes", cells[6])] {
            assert_eq!(entry[key].as_integer().unwrap().to_string(), cell, "{}: {key}", cells[1]);
        }
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
    assert_eq!(
        (on_disk, entries.len()),
        (traces, traces),
        "every trace has its line and its entry"
    );
    let csv = read(&folder.join("hello.csv"));
    assert_eq!(csv.rows, read(&folder.join("hello.trace")).rows);
}

/// Marks are in the trace with their call, also in a thread and in a forked child. Without a
/// recording they do nothing.
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
        let place = Workplace::new(&python);
        with_helper(&place);
        let output = place.record(&["--sites"], script);
        assert_eq!(output.stdout, b"done\n", "3.{minor}: {}", errors(&output));
        let trace = place.trace();
        trace.assert_whole();
        let marks: Vec<(u64, String)> = serde_json::from_str(trace.fact("marks")).unwrap();
        let names: Vec<&str> = marks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["load", &format!("serve ä{}", "x".repeat(56)), "thread"], "3.{minor}");
        let big = trace.rows.iter().find(|row| is_bytearray(row, 77777)).unwrap().event;
        assert!(
            marks[0].0 <= big
                && big < marks[1].0
                && marks[1].0 < marks[2].0
                && marks[2].0 < trace.calls
        );
        let others = place.others();
        assert!(others.len() == 1 && others[0].fact("marks").contains("child"));
        let plain = finish(Command::new(&python).arg(place.path("app.py")));
        assert_eq!(plain.stdout, b"done\n");
    }
}

/// The figure that CPython prints of its arenas after this label.
fn figure(text: &str, label: &str) -> usize {
    let line = text.lines().find(|line| line.trim_start_matches("# ").starts_with(label));
    let figure = line.and_then(|line| line.rsplit('=').next()).unwrap_or_default();
    figure.trim().replace(',', "").parse().unwrap_or_else(|_| panic!("no `{label}` in {text}"))
}

/// Copies the Python module to the folder of the program.
fn with_helper(place: &Workplace) {
    python_module(place.folder.path());
}

/// The trace has as many arenas as the interpreter counts. The interpreter counts only without a
/// hook above its pymalloc, so the recording ends at a mark. Calls after the mark are not in the
/// trace.
#[test]
fn arenas_are_those_the_interpreter_counts() {
    let script = r#"
import sys, heaplay
held = []
for n in range(3):
    waste = [str(i) * 3 for i in range(40_000)]
    held.append(waste[::2000])
    del waste
heaplay.mark("end")
sys._debugmallocstats()
sys.stderr.flush()
more = bytearray(76543)
"#;
    for (minor, python) in interpreters::find() {
        let place = Workplace::new(&python);
        with_helper(&place);
        let output = place.record(&["--stop-at-mark", "end"], script);
        let message = errors(&output);
        assert!(output.status.success(), "3.{minor}: {message}");
        let trace = place.trace();
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
        assert_eq!(births, figure(&message, "arenas allocated total"), "3.{minor}");
        assert_eq!(deaths, figure(&message, "arenas reclaimed"), "3.{minor}");
        assert_eq!(most, Some(figure(&message, "arenas highwater mark")), "3.{minor}");
        assert_eq!(births - deaths, figure(&message, "arenas allocated current"), "3.{minor}");
    }
}

/// Makes cyclic garbage and long-lived objects, and counts by `gc.callbacks` what the collector has in the
/// lists that it is about to visit. It ends before the interpreter finalises itself, which collects
/// without calling back.
const COLLECTED: &str = r#"
import gc, os
collections, objects = [0, 0, 0], [0, 0, 0]
def count(phase, info):
    if phase == "start":
        generation = info["generation"]
        collections[generation] += 1
        objects[generation] += sum(len(gc.get_objects(young)) for young in range(generation + 1))
gc.collect()
# What one collection before this line visited, at most: a middle one a dozen of young ones.
most = [12 * gc.get_threshold()[0], len(gc.get_objects())]
gc.callbacks.append(count)
class Node:
    def __init__(self, depth):
        self.children = [Node(depth - 1) for _ in range(6)] if depth else []
        self.itself = self
held = []
for n in range(5):
    Node(4)
    held.append(Node(5))
gc.collect(); gc.collect(1); gc.collect()
gc.callbacks.clear()
print(*collections[1:], *objects[1:], *most, flush=True)
after = [str(n) for n in range(1000)]
os._exit(0)
"#;

/// The recording has the collections, and what they visit, as the interpreter's own callbacks count them.
/// The callbacks do not see the collections of the start, and count the lists that `get_objects` makes.
#[test]
fn visits_are_those_the_collector_makes() {
    for (minor, python) in interpreters::find() {
        let place = Workplace::new(&python);
        let output = place.record(&[], COLLECTED);
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        let mut reader = trace::open(&place.path("app.trace")).unwrap();
        while reader.next_row().unwrap().is_some() {}
        let Some(record) = reader.process().collector else {
            assert!(minor < 8, "3.{minor} has a collector that is known");
            continue;
        };
        let counted: Vec<u64> = String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect();
        let recorded = [record.middle, record.oldest];
        let recorded = recorded.map(|generation| [generation.collections, generation.objects]);
        for (at, recorded) in recorded.into_iter().enumerate() {
            let (of_start, all) = (recorded[0] - counted[at], recorded[1] as f64);
            assert!(of_start <= 5, "3.{minor}: {recorded:?} and {counted:?}");
            let least = 0.99 * counted[2 + at] as f64;
            let most = 1.01 * counted[2 + at] as f64 + (of_start * counted[4 + at]) as f64;
            assert!((least..=most).contains(&all), "3.{minor}: {recorded:?} and {counted:?}");
        }
    }
}

/// Each limit ends or starts the recording. The trace has the limit and its call, and the program
/// runs on.
#[test]
fn limits_end_the_recording_and_not_the_program() {
    let Some(python) = interpreters::any() else { return };
    let script = "import heaplay, time\nbefore = [str(n) for n in range(50_000)]\n\
                  heaplay.mark('middle')\nfirst = bytearray(70100)\n\
                  for n in range(50):\n    del before[:1000]\n    time.sleep(0.01)\n\
                  held = [str(n) for n in range(50_000)]\nlast = bytearray(70200)\n\
                  heaplay.mark('end')\nprint('done')\n";
    let run = |options: &[&str]| {
        let place = Workplace::new(&python);
        with_helper(&place);
        let output = place.record(options, script);
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(0), &b"done\n"[..]),
            "{}",
            errors(&output)
        );
        place.assert_clean();
        (place.trace(), errors(&output))
    };
    for (most, options) in [(1, &[][..]), (100, &[][..]), (12_345, &["--sites=2"][..])] {
        let (trace, message) = run(&[&["--max-events", &most.to_string()], options].concat());
        trace.assert_whole();
        assert_eq!((trace.calls, trace.fact("ending")), (most, "limit"));
        assert!(
            trace
                .fact("limit")
                .starts_with(&format!("--max-events {most}, reached after {most} calls"))
        );
        assert!(message.contains("the program went on unrecorded"), "{message}");
    }
    let (trace, _) = run(&["--max-bytes", "1M"]);
    trace.assert_whole();
    // A call takes 4 or 8 bytes. Up to two chunks are left for the log's last entries.
    assert!(trace.calls < (1 << 20) / 4 && trace.calls > (1 << 20) / 8 * 2 / 5, "{}", trace.calls);
    assert!(
        trace.fact("limit").starts_with("--max-bytes 1048576, reached") && !trace.has_size(70201)
    );
    let (trace, _) = run(&["--duration", "0.2"]);
    trace.assert_whole();
    assert!(trace.fact("limit").starts_with("--duration 0.2, reached") && !trace.has_size(70201));
    assert!(trace.rows.iter().all(|row| row.time_ns < 200_000_000));

    // Blocks from before the recording have no row. Their frees are counted.
    for options in [&["--start-at-mark", "middle"][..], &["--start-after", "0.4", "--sites=2"]] {
        let (trace, message) = run(options);
        let unseen: u64 = trace.fact("unseen_frees").parse().unwrap();
        assert!((1000..90_000).contains(&unseen), "{options:?}: {unseen}");
        assert!(
            trace.fact("started").starts_with(options[0]) && trace.fact("ending") == "clean",
            "{message}"
        );
        assert!(trace.has_size(70201) && trace.fact("lost_events") == "0");
        assert!(message.contains("frees were of blocks from before the recording"), "{message}");
        assert_eq!(trace.has_size(70101), options[0] == "--start-at-mark", "{options:?}");
    }
    let (trace, _) =
        run(&["--start-at-mark", "middle", "--stop-at-mark", "end", "--max-events", "1000000"]);
    assert!(
        trace.fact("limit").starts_with("--stop-at-mark")
            && trace.has_size(70101)
            && trace.has_size(70201)
    );

    let place = Workplace::new(&python);
    let output = place.record(&["--start-at-mark", "never"], "held = bytearray(70300)\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        errors(&output).contains("ended before the start of the recording"),
        "{}",
        errors(&output)
    );
    place.assert_clean();
    for options in
        [&["--max-events", "0"][..], &["--duration", "-1"], &["--max-bytes", "7"], &["--sites=0"]]
    {
        let output = place.record(options, "open('started', 'w')\n");
        assert!(output.status.code() == Some(2) && !place.path("started").exists(), "{options:?}");
    }
}

/// Four threads run while the hooks are put in place, and while they are removed.
#[test]
fn threads_cross_the_start_and_the_end() {
    // The threads outlast the recording by far, on a slow machine, too.
    let lasting = "import time\nEND = time.time() + 1\n\
                   def lasting():\n    while time.time() < END: work()\nthreads =";
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
            let place = Workplace::new(python);
            let output = place.record(options, &work);
            assert_eq!(output.stdout, b"done\n", "3.{minor}: {}", errors(&output));
            let trace = place.trace();
            assert!(
                trace.calls > 0
                    && trace.fact("lost_events") == "0"
                    && trace.fact("disturbed").is_empty()
            );
        }
    }
}

/// A full disk ends the recording. The trace has the calls that fitted, and the program runs on.
#[test]
fn a_full_disk_ends_the_recording_only() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    let disk = place.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&disk).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        return skip("mount", "a small disk cannot be mounted without root");
    }
    let script = place.file("app.py", "held = [str(n) for n in range(200_000)]\nprint('done')\n");
    let output = heaplay()
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
        let out = place.path("app.trace");
        expect(0, heaplay().args(["record", "--recover"]).arg(raw).arg("-o").arg(&out));
    });
    let trace = if recovered.is_some() { place.trace() } else { read(&disk.join("app.trace")) };
    assert!(Command::new("umount").arg("-l").arg(&disk).status().unwrap().success());
    let output = output.unwrap();
    assert_eq!(output.stdout, b"done\n", "{}", errors(&output));
    assert_eq!(trace.fact("ending"), "no space", "{}", errors(&output));
    assert!(trace.calls > 50_000 && trace.fact("lost_events").parse::<u64>().unwrap() > 100_000);
}

/// A program that was not started has no exit status: the place, what is needed, and the next step.
#[test]
fn a_full_disk_before_the_start_is_no_end_of_the_program() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    let disk = place.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&disk).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        return skip("mount", "a small disk cannot be mounted without root");
    }
    let mut command = heaplay();
    command.args(["record", "-o"]).arg(disk.join("app.trace")).arg("--").arg(&python);
    let output = finish(command.args(["-c", "print('started')"]));
    let left = disk.read_dir().unwrap().count();
    assert!(Command::new("umount").arg("-l").arg(&disk).status().unwrap().success());
    let message = both(&output);
    assert_eq!((output.status.code(), left), (Some(75), 0), "{message}");
    for part in ["disk/app.trace: the program was not started", "free some, or give -o a path"] {
        assert!(message.contains(part), "no {part} in: {message}");
    }
    assert!(!message.contains("the program's own"), "{message}");
}

/// The recorder's own failure in the process that it is to record.
#[test]
fn a_log_that_cannot_begin_is_no_end_of_the_program() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    let script = place.file("app.py", "print('started')\n");
    let limited = "ulimit -f 100; exec \"$@\"";
    let mut command = place.recording(&[]);
    command.args(["sh", "-c", limited, "sh"]).args([&python, &script]);
    let message = expect(2, &mut command);
    for part in ["the raw log cannot be created", "`ulimit -f`", "was not started"] {
        assert!(message.contains(part), "no {part} in: {message}");
    }
    assert!(!message.contains("the program's own"), "{message}");
    place.assert_clean();
    // That status of a program itself is the program's own.
    let mut command = place.recording(&[]);
    let message = expect(125, command.arg(&python).args(["-c", "import sys; sys.exit(125)"]));
    assert!(message.contains("exit status 125; the exit status is the program's own"), "{message}");
}

/// A program records a part of itself, on 3.6, too. The trace has the calls of the part, with
/// lines, and a count of frees of earlier blocks. A second part follows, and a third one under a
/// hook is refused.
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
    for (minor, python) in interpreters::find_of(6..=15) {
        let place = Workplace::new(&python);
        expect(0, heaplay().arg("recorder").arg(place.folder.path()));
        let script = place.file("app.py", script);
        let mut command = Command::new(&python);
        command
            .arg(&script)
            .current_dir(place.folder.path())
            .env("HEAPLAY", env!("CARGO_BIN_EXE_heaplay"));
        let output = finish(&mut command);
        let message = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        assert!(
            message.contains("tracemalloc would") && message.contains("being recorded already"),
            "3.{minor}: {message}"
        );
        let trace = place.trace();
        assert_eq!(
            (trace.fact("started"), trace.fact("ending")),
            ("by the program, while it ran", "stopped by the program")
        );
        assert_eq!((trace.fact("disturbed"), trace.fact("lost_events")), ("", "0"));
        // 1000 numbers, their list, and the first memory of the bytearray.
        let unseen: u64 = trace.fact("unseen_frees").parse().unwrap();
        assert!((990..1100).contains(&unseen), "3.{minor}: {unseen}");
        for (size, there) in
            [(70100, true), (70150, true), (70000, false), (70200, false), (70300, false)]
        {
            let is_there = trace.rows.iter().any(|row| is_bytearray(row, size));
            assert_eq!(is_there, there, "3.{minor}: {size}");
        }
        let at = trace.rows.iter().position(|row| is_bytearray(row, 70100)).unwrap();
        assert_eq!(trace.sites[at], "app.py:7", "3.{minor}");
        assert!(trace.fact("marks").contains("inside"));
        let second = read(&place.path("second.trace"));
        assert!(second.calls <= 100 && second.has_size(70301) != second.has_size(70300));
        assert_eq!(second.fact("ending"), "limit", "3.{minor}");
        assert!(!place.path("third.trace").exists() && !place.path("inner.trace").exists());
        assert!(place.path("outer.trace").exists());
    }
}

/// A whole program, with the recorder loaded late. Without a heaplay on the PATH the raw log stays,
/// and a message names it.
#[test]
fn a_whole_program_is_recorded_late() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let without_heaplay =
        std::env::split_paths(&path).filter(|folder| !folder.join("heaplay").exists());
    let without_heaplay = std::env::join_paths(without_heaplay).unwrap();
    for (minor, python) in interpreters::find_of(6..=15) {
        let place = Workplace::new(&python);
        expect(0, heaplay().arg("recorder").arg(place.folder.path()));
        place.file(
            "app.py",
            "import sys\nheld = bytearray(70100)\nprint(sys.argv[1:], __name__)\nsys.exit(3)\n",
        );
        let output = finish(
            Command::new(&python)
                .args([
                    "-m",
                    "heaplay.late",
                    "-o",
                    "app.trace",
                    "--sites",
                    "1",
                    "app.py",
                    "--an",
                    "argument",
                ])
                .current_dir(place.folder.path())
                .env("HEAPLAY", env!("CARGO_BIN_EXE_heaplay")),
        );
        assert_eq!(
            output.stdout,
            b"['--an', 'argument'] __main__\n",
            "3.{minor}: {}",
            errors(&output)
        );
        assert_eq!(output.status.code(), Some(3));
        let trace = place.trace();
        let at = trace.rows.iter().position(|row| is_bytearray(row, 70100)).unwrap();
        assert_eq!(trace.sites[at], "app.py:2", "3.{minor}");

        let output = finish(
            Command::new(&python)
                .args(["-m", "heaplay.late", "-o", "other.trace", "-m", "app"])
                .current_dir(place.folder.path())
                .env_remove("HEAPLAY")
                .env("PATH", &without_heaplay),
        );
        assert!(
            errors(&output).contains("is a raw log; `heaplay record --recover "),
            "{}",
            errors(&output)
        );
    }
}

/// An environment variable suffices, as in a container's start command. `heaplay recorder` prints
/// it.
#[test]
fn an_environment_variable_records_without_a_parent() {
    for (minor, python) in interpreters::find() {
        let place = Workplace::new(&python);
        let logs = place.path("log");
        let output = finish(
            heaplay()
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
                .arg(place.path("place")),
        );
        let lines = String::from_utf8(output.stdout).unwrap();
        let variables = lines
            .lines()
            .find_map(|line| line.strip_prefix("ENV "))
            .expect("a line for a Dockerfile");
        let script = place.file(
            "app.py",
            "import os, sys, ctypes\nheld = bytearray(70100)\nif not os.fork():\n    \
             held = bytearray(70200)\n    os._exit(0)\nos.wait()\n\
             ctypes.PyDLL(None).heaplay_mark(b'a, b: 100%')\nlast = bytearray(70300)\nsys.exit(5)\n",
        );
        let line = format!("{variables} {} {}; exit $?", python.display(), script.display());
        let output = finish(Command::new("sh").args(["-c", &line]));
        assert_eq!((output.status.code(), errors(&output)), (Some(5), String::new()), "3.{minor}");
        let raws = place.folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
        let raws = raws.filter(|path| path.to_string_lossy().contains("/log."));
        let mut recover = heaplay();
        recover.args(["record", "--recover"]).args(raws).arg("-o").arg(place.path("app.trace"));
        expect(0, &mut recover);
        let trace = place.trace();
        trace.assert_whole();
        assert!(trace.has_size(70101) && !trace.has_size(70301), "3.{minor}");
        assert!(trace.fact("limit").starts_with("--stop-at-mark"));
        assert!(place.others().len() == 1 && place.others()[0].has_size(70201));
    }
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new(&python);
    expect(0, heaplay().arg("recorder").arg(place.path("p")));
    let output = finish(
        Command::new(&python)
            .args(["-c", "print('done')"])
            .env("LD_PRELOAD", place.path("p/heaplay-recorder.so"))
            .env("HEAPLAY_RECORD", "2:0:sites=many:/tmp/x"),
    );
    assert_eq!(output.stdout, b"done\n");
    assert!(errors(&output).contains("HEAPLAY_RECORD is not understood"), "{}", errors(&output));
}

/// With several frames, a site is the line and its callers, newest first.
#[test]
fn sites_have_their_callers() {
    let script = r#"def inner(n):
    return bytearray(n)
def outer(n):
    return inner(n)
class Holder:
    held = outer(70100)
import os
held = [inner(70200), *map(inner, [70300])]
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
        let place = Workplace::new(&python);
        let output = place.record(&["--sites=3"], script);
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        let trace = place.trace();
        trace.assert_whole();
        for (size, site) in expected {
            let at = trace.rows.iter().position(|row| is_bytearray(row, size)).unwrap();
            let names: Vec<&str> =
                trace.sites[at].split(" < ").take(site.split(" < ").count()).collect();
            assert_eq!(names.join(" < "), site, "3.{minor}");
            assert!(trace.sites[at].split(" < ").count() <= 3);
        }
        if minor == 13 {
            let report = expect(0, heaplay().arg("inspect").arg(place.path("app.trace")));
            // The line has one row in each of two tables, whatever called it. A row with its
            // callers is apart.
            assert_eq!(report.matches("| app.py:2 (inner)  ").count(), 2, "{report}");
            let callers = "| app.py:2 (inner) < app.py:4 (outer) < app.py:6 (Holder) ";
            assert!(report.contains(callers), "{report}");
            // A line that only called is found, too.
            let whatif = |line: &str| {
                let mut command = heaplay();
                command.args(["whatif", "--move-site", line, "-b", "malloc"]);
                expect(0, command.arg(place.path("app.trace")))
            };
            // Its bytes, and their object.
            let report = whatif("app.py:6");
            let opening =
                "app.py:6 and the code that it called (--without-callees: only the line itself)";
            assert!(report.starts_with(&format!("{opening}: 2 blocks (")), "{report}");
            // The beginning of a chain can be typed as the table prints it.
            let report = whatif("app.py:2 (inner) < app.py:4 (outer)");
            assert!(report.starts_with("app.py:2 < app.py:4: "), "{report}");
        }
    }
}

/// A program that first requests blocks, then waits for a file, and then for the word to end.
const SERVER: &str = r#"
import os, sys, time
before = [bytearray(71001) for n in range(1000)]
print("ready", flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
del before
def serve():
    return [bytearray(72001) for n in range(500)]
held = serve()
print("served", flush=True)
while not os.path.exists("end"):
    time.sleep(0.01)
last = bytearray(73001)
print("done", flush=True)
"#;

/// A program that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running program with a pipe from its stdout, which has printed `ready`.
fn running(place: &Workplace, options: &[&str], variables: &[(&str, &str)]) -> Running {
    let script = place.file("server.py", SERVER);
    let mut command = Command::new(&place.python);
    command.args(options).arg(script).current_dir(place.folder.path()).stdout(Stdio::piped());
    let mut program = Running(command.envs(variables.iter().copied()).spawn().unwrap());
    wait_for(&mut program, "ready\n");
    program
}

/// Waits until a program prints that line.
fn wait_for(program: &mut Running, line: &str) {
    let mut text = vec![0; line.len()];
    std::io::Read::read_exact(program.0.stdout.as_mut().unwrap(), &mut text).unwrap();
    assert_eq!(text, line.as_bytes());
}

/// `heaplay record --attach`, whose notes go into a pipe.
fn attaching(place: &Workplace, pid: u32, options: &[&str]) -> Command {
    let mut command = heaplay();
    command.args(["record", "--attach", &pid.to_string()]).args(options);
    command.arg("-o").arg(place.path("app.trace")).stderr(Stdio::piped());
    command
}

/// From 3.14 on a running process is recorded: all from the start of the recording to Ctrl-C, or to
/// the end of the process. Earlier blocks are counted. The program goes on.
#[test]
fn a_running_process_is_recorded() {
    for (minor, python) in interpreters::find_of(14..=15) {
        for signal in ["INT", ""] {
            let place = Workplace::new(&python);
            let mut program = running(&place, &[], &[]);
            let mut heaplay = attaching(&place, program.0.id(), &["--sites"]).spawn().unwrap();
            let mut notes = std::io::BufReader::new(heaplay.stderr.take().unwrap());
            let mut note = String::new();
            std::io::BufRead::read_line(&mut notes, &mut note).unwrap();
            assert!(note.contains("blocks were live before"), "3.{minor}: {note}");
            place.file("go", "");
            wait_for(&mut program, "served\n");
            if signal.is_empty() {
                place.file("end", "");
                wait_for(&mut program, "done\n");
            } else {
                let id = heaplay.id().to_string();
                assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
            }
            std::io::Read::read_to_string(&mut notes, &mut note).unwrap();
            let ended = heaplay.wait().unwrap();
            assert_eq!(ended.code(), Some(0), "3.{minor}: {note}");
            if !signal.is_empty() {
                place.file("end", "");
                wait_for(&mut program, "done\n");
            }
            assert!(program.0.wait().unwrap().success());

            let trace = place.trace();
            let count = |length| trace.rows.iter().filter(|row| is_bytearray(row, length)).count();
            assert_eq!((count(71001), count(72001)), (0, 500), "3.{minor}");
            assert_eq!(count(73001), usize::from(signal.is_empty()), "3.{minor}");
            // A bytearray is two blocks. The list, and what loads the recorder, are some hundred more.
            // At its end the interpreter frees the rest.
            let number = |fact: &str| trace.fact(fact).parse::<u64>().unwrap();
            let most = if signal.is_empty() { u64::MAX } else { 3000 };
            assert!((2000..most).contains(&number("unseen_frees")), "{}", number("unseen_frees"));
            assert!(number("live_before") > 3000, "3.{minor}");
            assert_eq!((number("lost_events"), number("unseen_ends")), (0, 0), "3.{minor}");
            assert_eq!(trace.fact("started"), "by the program, while it ran");
            let site = trace.rows.iter().position(|row| is_bytearray(row, 72001)).unwrap();
            assert_eq!(trace.sites[site], "server.py:9", "3.{minor}");
            let left: Vec<_> = place.folder.path().read_dir().unwrap().collect();
            assert!(left.len() == 4, "3.{minor}: the script, two signals and the trace: {left:?}");
        }
    }
}

/// A limit ends the recording of a running process, and heaplay with it.
#[test]
fn a_limit_ends_the_recording_of_a_running_process() {
    for (minor, python) in interpreters::find_of(14..=15) {
        let place = Workplace::new(&python);
        let mut program = running(&place, &[], &[]);
        let command = &mut attaching(&place, program.0.id(), &["--duration", "0.5"]);
        let output = finish(command);
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        assert!(place.trace().fact("lost_events") == "0");
        // It can be attached to again.
        let output =
            finish(attaching(&place, program.0.id(), &["--duration", "0.1"]).arg("--sites"));
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        place.file("go", "");
        place.file("end", "");
        assert!(program.0.wait().unwrap().success());
    }
}

/// Options and variables of an interpreter, and why the process is refused.
type RefusedStart =
    (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);

/// A process that cannot be attached to is refused, with the ways that work.
#[test]
fn what_cannot_be_attached_to_is_refused() {
    let refused = |place: &Workplace, pid: u32, reasons: &[&str]| {
        let output = finish(&mut attaching(place, pid, &[]));
        assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
        for reason in reasons {
            assert!(errors(&output).contains(reason), "{reason}: {}", errors(&output));
        }
        assert!(!place.path("app.trace").exists());
    };
    let ways = ["heaplay recorder DIR", "with heaplay.record"];
    let place = Workplace::new(Path::new("sleep"));
    let sleep = Running(Command::new("sleep").arg("60").spawn().unwrap());
    refused(&place, sleep.0.id(), &["is no CPython 3", "heaplay record -- PROGRAM"]);
    refused(&place, 4_000_000, &["process 4000000: does not exist"]);
    for (minor, python) in interpreters::find() {
        let place = Workplace::new(&python);
        let cases: &[RefusedStart] = if minor < 14 {
            &[(&[], &[], "3.14 is the first")]
        } else {
            &[
                (&[], &[("PYTHON_DISABLE_REMOTE_DEBUG", "1")], "PYTHON_DISABLE_REMOTE_DEBUG"),
                (&["-X", "disable-remote-debug"], &[], "-X disable-remote-debug"),
            ]
        };
        for (options, variables, reason) in cases {
            let program = running(&place, options, variables);
            refused(&place, program.0.id(), &[&[*reason][..], &ways].concat());
        }
    }
}

/// From 3.12 on a sub-interpreter has a heap of its own, and its threads have numbers of their own.
#[test]
fn sub_interpreters_are_recorded_apart() {
    let script = r#"
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
held = bytearray(70100)
run = getattr(interpreters, "exec", None) or interpreters.run_string
number = interpreters.create()
run(number, "inside = [bytearray(70200) for n in range(100)]")
interpreters.destroy(number)
last = bytearray(70300)
"#;
    for (minor, python) in interpreters::find() {
        let place = Workplace::new(&python);
        if minor < 8 {
            continue;
        }
        let output = place.record(&[], script);
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        let trace = place.trace();
        // From 3.14 on a sub-interpreter frees three tables of its pools at its end. pymalloc made
        // them inside other calls, so they are no requests of the program.
        let unseen_frees = if minor >= 14 { "3" } else { "0" };
        assert_eq!(trace.fact("unseen_frees"), unseen_frees, "3.{minor}");
        assert_eq!((trace.fact("lost_events"), trace.fact("unseen_ends")), ("0", "0"));
        let header = Header { facts: trace.facts.clone(), ..Header::default() };
        let apart = header.interpreters();
        if minor < 12 {
            assert!(apart.is_empty(), "3.{minor}: one heap for all");
            continue;
        }
        let [(thread, interpreter)] = apart[..] else { panic!("3.{minor}: {apart:?}") };
        assert!(interpreter > 0);
        let threads = |size: u64| {
            let rows = trace.rows.iter().filter(move |row| is_bytearray(row, size));
            rows.map(|row| row.thread).collect::<Vec<_>>()
        };
        assert_eq!(
            (threads(70100), threads(70200), threads(70300)),
            (vec![1], vec![thread; 100], vec![1])
        );
        assert!(
            errors(&output).contains("1 sub-interpreters had heaps of their own"),
            "{}",
            errors(&output)
        );
    }
}

/// A C program with the functions that the recorder needs of an interpreter, and allocators behind
/// them.
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
#define FUNCTIONS { 0, s_malloc, s_calloc, s_realloc, s_free }
static Allocator domains[3] = { FUNCTIONS, FUNCTIONS, FUNCTIONS };
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

/// A version after the known ones is recorded by the functions that it exports. It is refused
/// before the start if a function is missing, or with sites, if its frames are unknown. Those of a
/// free-threaded build are.
#[test]
fn later_interpreters_are_recorded_if_they_can_be() {
    let place = Workplace::new(Path::new(""));
    let build = |name: &str, version: &str, options: &[&str]| {
        let version = format!("-DVERSION=\"{version}\"");
        let options = [&["-rdynamic", &version], options].concat();
        compiler::program(place.folder.path(), name, STUB, &options)
    };
    let Some(later) = build("later", "3.14.0 (stub)", &[]) else { return };
    let output = finish(place.recording(&[]).arg(&later));
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(7), &b"PyMem_SetAllocator done\n"[..]),
        "{}",
        errors(&output)
    );
    let trace = place.trace();
    trace.assert_whole();
    let rows: Vec<_> = trace.rows.iter().map(|row| (row.op, row.size, row.end())).collect();
    let expected =
        [(Op::Malloc, 100, Some(2)), (Op::Calloc, 210, Some(3)), (Op::Realloc, 5000, Some(4))];
    assert_eq!((&rows[..], trace.fact("python")), (&expected[..], "3.14.0"));
    std::fs::remove_file(place.path("app.trace")).unwrap();

    for (path, options, reason) in [
        (Some(later), &["--sites"][..], "--sites does not know"),
        (build("noset", "3.15.0", &["-DNO_SET"]), &[], "no PyMem_SetAllocator"),
        (
            build("text", "3.13.0 experimental free-threading build (stub)", &[]),
            &["--sites"],
            "--sites does not know",
        ),
        (build("symbol", "3.13.0 (stub)", &["-DFREE_THREADED"]), &["--sites"], "--sites does not"),
        (build("old", "3.6.15 (stub)", &[]), &[], "overwrites the hooks"),
    ] {
        let output = finish(place.recording(options).arg(path.unwrap()));
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(2), &b""[..]),
            "{reason}: {}",
            errors(&output)
        );
        assert!(errors(&output).contains(reason), "{reason}: {}", errors(&output));
        assert!(!place.path("app.trace").exists());
    }
}

/// Recordings of parts begin and end while four threads allocate and the program forks. Each log is
/// whole and can be read.
#[test]
fn parts_begin_and_end_while_threads_run() {
    let script = r#"
import os, sys, threading, time, heaplay
sys.setswitchinterval(1e-5)
heaplay._finish = lambda raw, output: os.rename(raw, output)
stop = False
def work():
    while not stop:
        held = [str(i) * 3 for i in range(500)]
        grown = bytearray(70000); grown.extend(bytes(9000))
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for n in range(8):
    with heaplay.record("part-%d" % n, sites=n % 4, max_events=[None, 500][n % 2]):
        heaplay.mark("inside"); time.sleep(0.002)
        if n % 5 == 0:
            child = os.fork()
            if not child:
                held = [str(i) for i in range(1000)]; os._exit(0)
            os.waitpid(child, 0)
stop = True
for thread in threads: thread.join()
print("done")
"#;
    let found = interpreters::find_of(6..=15);
    for (minor, python) in found.first().into_iter().chain(found.last()) {
        let place = Workplace::new(python);
        expect(0, heaplay().arg("recorder").arg(place.folder.path()));
        let script = place.file("app.py", script);
        let mut command = Command::new(python);
        command.args(["-W", "ignore"]).arg(script).current_dir(place.folder.path());
        let output = finish(&mut command);
        assert_eq!(output.stdout, b"done\n", "3.{minor}: {}", errors(&output));
        for n in 0..8 {
            let log = RawLog::open(&place.path(&format!("part-{n}"))).unwrap();
            let survey = log.convert(&place.path("app.trace")).unwrap();
            let trace = place.trace();
            assert_eq!(
                (trace.calls, trace.fact("lost_events")),
                (survey.events, "0"),
                "3.{minor}, {n}"
            );
            assert!(trace.fact("disturbed").is_empty() && (n % 2 == 0 || trace.calls <= 501));
        }
    }
}
