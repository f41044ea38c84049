//! `heaplay live` runs a program under each allocator and measures what it costs. The oracle is the
//! program: it reads its own memory, and writes it to a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::{both, errors, expect, finish, heaplay, printed, python_module};
use crate::support::skip::skip;
use crate::support::{compiler, interpreters, libraries};

/// A program that holds 30 MiB of small blocks, and half of them at its end. It appends its own
/// resident anonymous memory at each moment to the file that is its argument, and prints a line.
const HOLDS_BLOCKS: &str = r#"
import sys, os, heaplay
def anonymous():
    pages = [int(n) for n in open("/proc/self/statm").read().split()]
    return (pages[1] - pages[2]) * os.sysconf("SC_PAGE_SIZE")
blocks = [bytes(100) for _ in range(200_000)]
big = [bytearray(b"x" * 200_000) for _ in range(50)]
heaplay.mark("full")
full = anonymous()
del blocks[::2], big
heaplay.mark("half")
half = anonymous()
print("done")
sys.stdout.flush()
with open(sys.argv[1], "a") as file:
    file.write("%d %d %d\n" % (full, half, anonymous()))
os._exit(0)
"#;

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        python_module(place.0.path());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn python(&self, text: &str) -> PathBuf {
        let path = self.path("app.py");
        fs::write(&path, text).unwrap();
        path
    }

    /// `heaplay live` with its rows in a file.
    fn live(&self) -> Command {
        let mut command = heaplay();
        command.arg("live").arg("-o").arg(self.path("rows.csv"));
        command
    }

    fn records(&self) -> Vec<csv::StringRecord> {
        let mut reader = csv::Reader::from_path(self.path("rows.csv")).unwrap();
        reader.records().map(Result::unwrap).collect()
    }

    /// A column of the rows of a round that is no run: `start`, or one of those of instructions.
    fn figures(&self, backend: &str, round: &str, column: usize) -> Vec<f64> {
        let rows = self.records().into_iter().filter(|row| &row[0] == backend && &row[1] == round);
        rows.map(|row| row[column].parse().unwrap()).collect()
    }

    /// The rows of runs and predictions.
    fn rows(&self) -> Vec<LiveRow> {
        let number = |text: &str| text.parse::<f64>().ok();
        let is_run = |round: &str| round == "predicted" || number(round).is_some();
        self.records()
            .into_iter()
            .filter(|record| is_run(&record[1]))
            .map(|record| LiveRow {
                backend: record[0].to_owned(),
                round: record[1].to_owned(),
                mark: record[2].to_owned(),
                processor_ns: number(&record[3]).zip(number(&record[4])).map(|(a, b)| a + b),
                faults: number(&record[6]),
                peak_bytes: number(&record[7]),
                bytes: number(&record[8]).unwrap(),
            })
            .collect()
    }
}

struct LiveRow {
    backend: String,
    round: String,
    mark: String,
    processor_ns: Option<f64>,
    faults: Option<f64>,
    peak_bytes: Option<f64>,
    bytes: f64,
}

fn is_near(found: f64, expected: f64, bytes: f64) -> bool {
    (found - expected).abs() <= bytes.max(0.02 * expected)
}

#[test]
fn memory_is_what_the_program_reads_itself() {
    let Some(python) = interpreters::any() else { return };
    let place = Place::new();
    let (app, own) = (place.python(HOLDS_BLOCKS), place.path("own.txt"));
    let output = finish(
        place
            .live()
            .args(["-b", "pymalloc,malloc", "-r", "3", "--"])
            .arg(python)
            .arg(app)
            .arg(&own),
    );
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let own: Vec<Vec<f64>> = fs::read_to_string(own)
        .unwrap()
        .lines()
        .map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect())
        .collect();
    // A first run that is not measured, and three rounds of two.
    assert_eq!(own.len(), 7);
    let rows = place.rows();
    let runs: Vec<&LiveRow> = rows.iter().filter(|row| row.mark.is_empty()).collect();
    assert_eq!(runs.len(), 6);
    let has = |figure: usize, found: f64| {
        own.iter().any(|read| is_near(found, read[figure], f64::from(256 << 10)))
    };
    for run in runs {
        let name = format!("{} {}", run.backend, run.round);
        assert!(has(2, run.bytes), "{name}: {} at the end, {own:?}", run.bytes);
        let peak = run.peak_bytes.unwrap();
        assert!(peak >= run.bytes && peak >= 30e6, "{name}: peak {peak}");
        // The program's own most, and at most what a list of blocks needs while it is cut.
        assert!((0.98..1.1).contains(&(peak / own[0][0])), "{name}: peak {peak}, {own:?}");
        assert!(run.processor_ns.unwrap() > 1e7 && run.faults.unwrap() > 5000.0, "{name}");
        let at = |mark: &str| {
            let of_run = |row: &&LiveRow| {
                row.mark == mark && row.backend == run.backend && row.round == run.round
            };
            rows.iter().find(of_run).unwrap().bytes
        };
        assert!(has(0, at("full")), "{name}: {} at `full`, {own:?}", at("full"));
        assert!(has(1, at("half")), "{name}: {} at `half`, {own:?}", at("half"));
    }
    let text = printed(&output);
    assert!(text.contains("resident anonymous memory at its marks"), "{text}");
    assert!(text.contains("in life, malloc instead of pymalloc: "), "{text}");
}

/// The replay of a recording beside the program, with native memory, large blocks that are never
/// touched, and threads.
#[test]
fn the_replay_predicts_the_memory() {
    const MIXED: &str = r#"
import threading
untouched = [bytes(4 << 20) for _ in range(20)]
held = []
def work():
    mine = [bytearray(n % 700 + 600) for n in range(20_000)]
    held.append(mine[::7])
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
    thread.join()
print(len(held), sum(len(block) for block in untouched))
"#;
    let Some(python) = interpreters::any() else { return };
    let place = Place::new();
    let (app, trace) = (place.python(MIXED), place.path("app.trace"));
    expect(0, heaplay().args(["record", "-o"]).arg(&trace).arg("--").arg(&python).arg(&app));
    let specs = "pymalloc,malloc,malloc:MALLOC_ARENA_MAX=1";
    let output = finish(
        place
            .live()
            .args(["-b", specs, "-r", "3", "--trace"])
            .arg(&trace)
            .arg("--")
            .arg(&python)
            .arg(&app),
    );
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let rows = place.rows();
    for spec in specs.split(',') {
        let of = |is_predicted: bool| {
            rows.iter().filter(move |row| {
                row.backend == spec
                    && row.mark.is_empty()
                    && (row.round == "predicted") == is_predicted
            })
        };
        assert_eq!((of(true).count(), of(false).count()), (2, 3), "{spec}");
        let predicted = of(true).next().unwrap();
        // The most memory of a run of 0.2 s is sampled each 2 ms.
        let is_right = |figure: fn(&LiveRow) -> f64| {
            of(false).any(|row| is_near(figure(predicted), figure(row), f64::from(1 << 20)))
        };
        assert!(is_right(|row| row.bytes), "{spec} at the end: {}", both(&output));
        assert!(is_right(|row| row.peak_bytes.unwrap()), "{spec} at the peak: {}", both(&output));
        assert!(predicted.peak_bytes.unwrap() < 60e6, "80 MiB were never touched");
    }
    assert!(printed(&output).contains("as predicted"), "{}", both(&output));
}

#[test]
fn a_backend_that_the_program_did_not_have_is_no_figure() {
    let Some(python) = interpreters::any() else { return };
    let place = Place::new();
    let app = place.python("print(sum(range(1000)))");
    let live = |backends: &str, options: &[&str]| {
        let mut command = place.live();
        command.args(["-r", "1", "-b", backends, "--"]).arg(&python).args(options).arg(&app);
        let output = finish(&mut command);
        (output.status.code(), both(&output))
    };
    // Nobody can have these; the others are measured.
    let (code, text) = live("pymalloc,bump,pymalloc:arena=1MiB", &[]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("not measured: bump: no library of it can be loaded"), "{text}");
    assert!(text.contains("the interpreter has this setting from its build"), "{text}");
    assert_eq!(place.rows().len(), 1);
    // Another version's pymalloc.
    let (code, text) = live("malloc,pymalloc@3.7", &[]);
    if !text.contains("CPython 3.7,") {
        assert!(code == Some(4) && text.contains("whose pymalloc is another one"), "{text}");
    }
    // Python leaves its variables out.
    let (code, text) = live("pymalloc,malloc", &["-E"]);
    assert!(code == Some(4) && text.contains("PYTHONMALLOC=malloc did not take"), "{text}");
    // The linker would go on without a library that it does not find.
    let (code, text) = live("pymalloc,so:libheaplay-none.so", &[]);
    assert!(
        code == Some(2) && text.contains("no installed library is libheaplay-none.so"),
        "{text}"
    );
    // A label is the installed library.
    if libraries::installed("libjemalloc.so.2").is_some() {
        let (code, text) = live("pymalloc,so:libjemalloc", &[]);
        assert!(code == Some(0) && text.contains("| so:libjemalloc"), "{text}");
    }
    // A path that leads to no file is refused.
    let library = place.path("libnone.so");
    let (code, text) = live(&format!("pymalloc,so:{}", library.display()), &[]);
    assert!(code == Some(2) && text.contains("expected a shared library at"), "{text}");
    // What all are compared with cannot be had.
    let (code, text) = live("malloc,pymalloc", &["-E"]);
    assert!(
        code == Some(2) && text.contains("under malloc, with which all are compared"),
        "{text}"
    );
    if let Some(name) = libraries::installed("libjemalloc.so.2") {
        let (code, text) = live("pymalloc,jemalloc", &[]);
        assert!(code == Some(0) && text.contains("jemalloc"), "{name}: {text}");
    }
}

/// The name of an allocator that heaplay has built in, too, is an installed library in a program: the two
/// can be of different versions.
#[test]
fn the_installed_library_of_a_built_in_allocator_is_named() {
    if libraries::installed("libjemalloc.so.2").is_none() {
        return;
    }
    let place = Place::new();
    let text = expect(0, place.live().args(["-r", "1", "-b", "malloc,jemalloc", "--", "true"]));
    assert!(text.contains("jemalloc is the installed /"), "{text}");
    assert!(!text.contains("malloc is the installed libc"), "{text}");
}

/// An executable that is not position-independent and takes the address of `malloc` has an entry of its
/// own under that name. Debian's Pythons are such. The library behind it is what served the program.
#[test]
fn the_allocator_behind_an_entry_of_the_executable_is_found() {
    let Some(library) = libraries::installed("libjemalloc.so.2") else { return };
    let place = Place::new();
    let source = "#include <stdlib.h>\nvoid *(*volatile allocate)(size_t) = malloc;\n\
                  int main(void) { return allocate(1000) == 0; }\n";
    let options = ["-O1", "-no-pie", "-fno-pie"];
    let Some(program) = compiler::program(place.0.path(), "entry", source, &options) else {
        return;
    };
    let backends = format!("malloc,so:{library}");
    let mut command = place.live();
    let output = finish(command.args(["-r", "1", "-b", &backends, "--"]).arg(&program));
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    // Read-back finds that it was not the C library.
    let mut command = place.live();
    command.env("LD_PRELOAD", &library).args(["-r", "1", "-b", "malloc", "--"]).arg(&program);
    let text = both(&finish(&mut command));
    assert!(text.contains("served the program's malloc, and not the C library"), "{text}");
}

#[test]
fn another_output_or_another_end_is_reported() {
    let Some(python) = interpreters::any() else { return };
    let place = Place::new();
    let differs = "import os, sys\nmalloc = os.environ.get('PYTHONMALLOC', 'default')\n";
    let ends = |code: i32, text: &str| {
        let app = place.python(text);
        let mut command = place.live();
        command.args(["-r", "2", "-b", "pymalloc,malloc", "--"]).arg(&python).arg(app);
        expect(code, &mut command)
    };
    let live = |text: &str| ends(0, text);
    let text = live(&format!("{differs}print(malloc)"));
    assert!(text.contains("warning: under malloc: another standard output, in 2 of 2"), "{text}");
    let text =
        ends(4, &format!("{differs}print('a', file=sys.stderr)\nsys.exit(malloc == 'malloc')"));
    assert!(text.contains("exit status: 1 instead of exit status: 0"), "{text}");
    assert!(text.contains("standard error ends: a"), "{text}");
    let text = live("import os\nprint(os.getpid())");
    assert!(text.contains("the program does not do the same in each run"), "{text}");
    assert!(!text.contains("warning"), "{text}");
    let text = live(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', \
                     'print(sum(range(3_000_000)))'])",
    );
    assert!(text.contains("that of processes that the program started"), "{text}");
    let text = ends(4, "raise SystemExit('broken')");
    assert!(text.contains("the program fails in each run: exit status: 1; "), "{text}");
    assert!(text.contains("ends: broken"), "{text}");
    // One that prints nothing has no last line, and the failure stands first and last.
    // A signal that ends the program under one backend costs that backend.
    let killed = format!("{differs}os.kill(os.getpid(), 9 if malloc == 'malloc' else 0)");
    let text = ends(4, &killed);
    assert!(text.contains("not measured: malloc: the program was ended by a signal"), "{text}");
    let text = ends(4, "import os\nos._exit(3)");
    let failure =
        "warning: the program fails in each run: exit status: 3; it prints nothing; run it by";
    assert!(text.contains(failure) && text.contains("app.py\n"), "{text}");
    assert!(text.find(failure) < text.find("2 rounds; resident"), "{text}");
    assert!(!text.contains("nothing\n") && !text.contains("standard error ends"), "{text}");
    let last =
        "all figures are those of a program that fails (exit status: 3): see why, and measure";
    assert!(text.contains(last) && text.find("in life, ") < text.find(last), "{text}");
    // A program that fails is not worth the budget.
    let app = place.python("raise SystemExit(3)");
    let mut command = place.live();
    command.args(["-b", "pymalloc,malloc", "--"]).arg(&python).arg(app);
    let text = expect(4, &mut command);
    assert!(text.contains("3 rounds; resident") && text.contains("-r N for more"), "{text}");
    let text = live("print('the same')");
    assert!(!text.contains("warning"), "{text}");
    assert!(!text.contains("another"), "{text}");
}

/// A program whose threads allocate at once, and take one lock.
const THREADS_AND_A_LOCK: &str = r#"
#include <pthread.h>
#include <stdlib.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *shared;
static void *work(void *argument) {
    void *own[64] = {0};
    for (int i = 0; i < 20000; i++) {
        free(own[i % 64]);
        own[i % 64] = malloc(100 + i % 900);
        if (i % 16 == 0) {
            pthread_mutex_lock(&lock);
            free(shared);
            shared = malloc(200);
            pthread_mutex_unlock(&lock);
        }
    }
    for (int i = 0; i < 64; i++) free(own[i]);
    return argument;
}
int main(int count, char **arguments) {
    pthread_t threads[3];
    int others = count > 1 ? 3 : 0;
    for (int i = 0; i < others; i++) pthread_create(&threads[i], 0, work, 0);
    if (!others) work(arguments);
    for (int i = 0; i < others; i++) pthread_join(threads[i], 0);
    return 0;
}
"#;

/// A replay in recorded order has no contention, so it predicts no time of a program that may have some.
#[test]
fn threads_that_allocate_at_once_have_no_predicted_time() {
    let place = Place::new();
    let options = ["-O1", "-pthread"];
    let Some(program) = compiler::program(place.0.path(), "threads", THREADS_AND_A_LOCK, &options)
    else {
        return;
    };
    let predicted = |arguments: &[&str]| {
        let trace = place.path("threads.trace");
        let mut record = heaplay();
        expect(
            0,
            record.args(["record", "-o"]).arg(&trace).arg("--").arg(&program).args(arguments),
        );
        let specs = "malloc,malloc:MALLOC_ARENA_MAX=1";
        let mut live = place.live();
        live.args(["-b", specs, "-r", "2", "--trace"]).arg(&trace).arg("--");
        let output = finish(live.arg(&program).args(arguments));
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        printed(&output)
    };
    let text = predicted(&["threads"]);
    assert!(
        text.contains("no time is predicted: 4 threads allocate, and a replay makes"),
        "{text}"
    );
    assert!(text.contains(", not predicted: several threads allocate"), "{text}");
    assert!(!text.contains("by part") && !text.contains("predicted time is"), "{text}");
    let text = predicted(&[]);
    assert!(!text.contains("no time is predicted"), "{text}");
    assert!(
        text.contains("by part") && text.contains("predicted time is that of the start"),
        "{text}"
    );
}

/// A library whose constructor works for a while makes each start longer by that, and the prediction
/// has it. The library is the oracle: it takes a known time of the processor's clock.
#[test]
fn the_start_of_the_library_is_predicted() {
    const WORKS_AT_START: &str = r#"
#include <stdlib.h>
#include <time.h>
extern void *__libc_malloc(size_t); extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t); extern void __libc_free(void *);
void *malloc(size_t n) { return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return __libc_realloc(p, n); }
void free(void *p) { __libc_free(p); }
static long now(void) {
    struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}
__attribute__((constructor)) static void work(void) { long end = now() + 40000000; while (now() < end); }
"#;
    const USES_BLOCKS: &str = r"
#include <stdlib.h>
int main(void) {
    for (int at = 0; at < 200000; at++) free(malloc(at % 512 + 1));
    return 0;
}";
    let place = Place::new();
    let folder = place.0.path();
    let Some(library) = compiler::library(folder, "works", WORKS_AT_START) else { return };
    let Some(program) = compiler::program(folder, "uses", USES_BLOCKS, &["-O0"]) else { return };
    let trace = place.path("uses.trace");
    expect(0, heaplay().args(["record", "-o"]).arg(&trace).arg("--").arg(&program));
    let works = format!("so:{}", library.display());
    let specs = format!("malloc,{works}");
    let mut command = place.live();
    command.args(["-b", &specs, "-r", "3", "--trace"]).arg(&trace).arg("--").arg(&program);
    let output = finish(&mut command);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let start_ms = |backend: &str| {
        let starts = place.figures(backend, "start", 3);
        assert_eq!(starts.len(), 9, "three in each of three rounds: {text}");
        heaplay::stats::median(&starts).unwrap() / 1e6
    };
    let extra = start_ms(&works) - start_ms("malloc");
    // The constructor works before the start has ended, and once only.
    assert!((38.0..60.0).contains(&extra), "{extra} ms\n{text}");
    let table = text.split("predicted processor time against the first backend").nth(1).unwrap();
    let row = table.lines().find(|line| line.contains("works")).unwrap();
    let start = row.split('|').nth(2).unwrap().trim();
    assert!(start.starts_with('+') && start.ends_with("ms"), "{row}\n{text}");
    // 40 ms are most of what the program takes: the prediction is no less than the model's error.
    let time = text.split("time of the program").nth(1).unwrap();
    let row = time.lines().find(|line| line.contains("works")).unwrap();
    assert!(!row.contains("within ±"), "{row}\n{text}");
}

/// The instructions of the program are those that valgrind counts in it, and the predicted difference
/// of two backends is that of the two runs.
#[test]
fn instructions_are_counted_and_predicted() {
    const USES_BLOCKS: &str = r"
#include <stdlib.h>
int main(void) {
    static void *blocks[64];
    for (int at = 0; at < 300000; at++) {
        free(blocks[at % 64]);
        blocks[at % 64] = malloc(at * 7919u % 700 + 1);
    }
    return 0;
}";
    let place = Place::new();
    let folder = place.0.path();
    let Some(program) = compiler::program(folder, "uses", USES_BLOCKS, &["-O0"]) else { return };
    if Command::new("valgrind").arg("--version").output().is_err() {
        skip("valgrind", "not on the PATH");
        return;
    }
    let trace = place.path("uses.trace");
    expect(0, heaplay().args(["record", "-o"]).arg(&trace).arg("--").arg(&program));
    let no_cache = "malloc:glibc.malloc.tcache_count=0";
    let specs = format!("malloc,{no_cache}");
    let mut command = place.live();
    command.args(["-b", &specs, "-r", "1", "--count-instructions", "--trace"]);
    let output = finish(command.arg(&trace).arg("--").arg(&program));
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let counted = |backend: &str, round: &str| {
        let found = place.figures(backend, round, 9);
        assert_eq!(found.len(), 1, "{backend} {round}: {text}");
        found[0]
    };
    // valgrind on the program itself, without heaplay.
    let own = |tunables: &str| {
        let mut command = Command::new("valgrind");
        command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
        command.env("GLIBC_TUNABLES", tunables).arg(&program);
        let printed = errors(&finish(&mut command));
        let line = printed.lines().find(|line| line.contains("refs:")).unwrap();
        let digits = line.rsplit(':').next().unwrap().replace(',', "");
        digits.trim().parse::<f64>().unwrap()
    };
    let own = [own("glibc.malloc.check=0"), own("glibc.malloc.tcache_count=0")];
    let runs = [counted("malloc", "instructions"), counted(no_cache, "instructions")];
    for (own, run) in own.iter().zip(runs) {
        // The observer's own start and end are some 100,000.
        assert!((0.0..1e6).contains(&(run - own)), "{runs:?}, {own:?}\n{text}");
        assert!(counted("malloc", "start instructions") < 0.1 * run, "{text}");
    }
    let difference = own[1] - own[0];
    assert!(difference > 5e6, "{own:?}");
    let predicted =
        counted(no_cache, "predicted instructions") - counted("malloc", "predicted instructions");
    assert!((predicted / difference - 1.0).abs() < 0.05, "{predicted}, {difference}\n{text}");
    assert!(text.contains("instructions of the program, counted by valgrind"), "{text}");
}

/// Programs that do not end: until a mark, and for a time.
#[test]
fn a_server_is_measured_until_a_mark_or_for_a_time() {
    const SERVES: &str = r#"
import signal, sys, time, heaplay
blocks = [bytes(1000) for _ in range(20_000)]
heaplay.mark("loaded")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    time.sleep(0.01)
"#;
    let Some(python) = interpreters::any() else { return };
    let place = Place::new();
    let app = place.python(SERVES);
    let live = |options: &[&str]| {
        let mut command = place.live();
        command.args(options).args(["-r", "2", "-b", "pymalloc,malloc", "--"]);
        let output = finish(command.arg(&python).arg(&app));
        (output.status.code(), both(&output))
    };
    for options in [["--until-mark", "loaded"], ["--for", "0.5"]] {
        let (code, text) = live(&options);
        assert_eq!(code, Some(0), "{text}");
        let rows = place.rows();
        let runs: Vec<&LiveRow> = rows.iter().filter(|row| row.mark.is_empty()).collect();
        assert_eq!(runs.len(), 4);
        assert!(runs.iter().all(|run| (20e6..60e6).contains(&run.bytes)), "{text}");
    }
    // It ends before the mark comes.
    let app = place.python("print(1)");
    let mut command = place.live();
    command.args(["--until-mark", "never", "-r", "1", "--"]).arg(&python).arg(app);
    let text = expect(2, &mut command);
    assert!(text.contains("ended before the mark `never`"), "{text}");
    assert!(text.contains("; it set no mark"), "{text}");
}

/// Rounds go on until a plain difference is decided, and no longer.
#[test]
fn rounds_end_when_the_difference_is_clear() {
    const C: &str = r"
#include <stdlib.h>
#include <string.h>
int main(void) {
    /* Blocks over the threshold are mapped and unmapped each time. */
    for (int at = 0; at < 3000; at++) {
        char *volatile block = malloc(400000);
        memset(block, 1, 400000);
        free(block);
    }
    return 0;
}";
    let place = Place::new();
    let Some(program) = compiler::program(place.0.path(), "maps", C, &["-O1"]) else { return };
    let specs = "malloc:MALLOC_MMAP_THRESHOLD_=64K,malloc:MALLOC_MMAP_THRESHOLD_=8M";
    let output = finish(place.live().args(["--budget", "60", "-b", specs, "--"]).arg(&program));
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(": faster"), "{text}");
    assert!(text.contains("service file:"), "{text}");
    let rounds = place.rows().len() / 2;
    assert!((6..=50).contains(&rounds), "{rounds} rounds\n{text}");
}

#[test]
fn bad_input_is_refused_before_anything_runs() {
    let place = Place::new();
    let refused = |code: i32, options: &[&str], message: &str| {
        let mut command = heaplay();
        command.arg("live").args(options).current_dir(place.0.path());
        let output = finish(&mut command);
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(code), "{options:?}: {text}");
        assert!(text.contains(message), "{options:?}: {text}");
    };
    refused(127, &["--", "no-such-program"], "no-such-program");
    refused(2, &["-r", "1", "--", "sh", "-c", "kill -9 $$"], "signal: 9 (SIGKILL)");
    refused(2, &["-r", "1", "--", "sh", "-c", "kill -9 $$"], "heaplay did not send");
    refused(2, &["-b", "bump,null", "--", "true"], "a program can have none of these");
    refused(2, &["-b", "mallloc", "--", "true"], "mallloc");
    refused(2, &["--trace", "none.trace", "--", "true"], "none.trace");
    refused(2, &["-o", "none/rows.csv", "--", "true"], "none/rows.csv");
    refused(2, &["-o", ".", "--", "true"], "-o .: expected a file in a folder that is there");
    refused(2, &["--budget", "0", "--", "true"], "--budget");
    refused(2, &["--timeout", "1", "--", "sleep", "600"], "--until-mark NAME measure a program");
    refused(2, &["--for", "x", "--", "true"], "expected seconds");
    refused(2, &["--count-instructions", "--for", "1", "--", "true"], "--count-instructions");
    refused(2, &["-b", "so:/none/libnone.so", "--", "true"], "/none/libnone.so");
    refused(
        2,
        &["-b", "so:/usr", "--", "true"],
        "expected a shared library at /usr, found a folder",
    );
    refused(2, &["--until-mark", "a;b", "--", "true"], "no `;`");
    refused(2, &[], "PROGRAM");
    let text = Path::new("app.py");
    fs::write(place.path("app.py"), "print(1)").unwrap();
    refused(126, &["--", &format!("./{}", text.display())], "is not executable");
    if compiler::program(place.0.path(), "fixed", "int main(void) { return 0; }", &["-static"])
        .is_some()
    {
        refused(2, &["-b", "malloc", "--", "./fixed"], "static");
    } else {
        skip("cc", "no C compiler for a static program");
    }
}

/// The touch pass has the page faults of memory that is returned and taken again. The traversal pass
/// walks more pages where an allocator mixes sizes.
#[test]
fn passes_with_touches_and_walks_show_what_a_program_pays() {
    let place = Place::new();
    let trace = place.path("maps.csv");
    let mut text = String::from("event,op,size,lifetime\n");
    for at in 0..2000 {
        text += &format!("{},malloc,400000,1\n", 2 * at);
    }
    fs::write(&trace, text).unwrap();
    let run = |specs: &str, trace: &Path, passes: &str| {
        let folder = place.path("run");
        drop(fs::remove_dir_all(&folder));
        let mut command = heaplay();
        command.arg("run").arg(trace).args(["-b", specs, "--passes", passes, "-r", "3", "-o"]);
        expect(0, command.arg(&folder));
        heaplay::results::Run::load(&folder).unwrap()
    };
    use heaplay::results::{Metric, Scope};
    let mapped = "malloc:MALLOC_MMAP_THRESHOLD_=64K";
    let reused = "malloc:MALLOC_MMAP_THRESHOLD_=8M,MALLOC_TRIM_THRESHOLD_=64M";
    let found = run(&format!("{mapped},{reused}"), &trace, "time,touch");
    let value = |spec: &str, metric| {
        heaplay::stats::median(&found.values("maps", spec, Scope::All, metric)).unwrap()
    };
    // 98 pages of each block come from the kernel anew, or are the same ones.
    let faults = [mapped, reused].map(|spec| value(spec, Metric::FirstTouchFaults));
    assert!((190_000.0..250_000.0).contains(&faults[0]), "{faults:?}");
    assert!(faults[1] < 2000.0, "{faults:?}");
    let touched = [mapped, reused].map(|spec| value(spec, Metric::FirstTouchNanoseconds));
    assert!(touched[0] > 2.0 * touched[1], "{touched:?}");
    // The other code of a cold pass runs between all calls, whatever the backend. The calls are the same.
    let found = run("malloc,null", &trace, "touch,cold");
    for spec in ["malloc", "null"] {
        let cold = found.values("maps", spec, Scope::All, Metric::ColdNanoseconds);
        assert_eq!(cold.len(), 3, "{spec}");
        let calls = found.values("maps", spec, Scope::All, Metric::Calls);
        assert_eq!(calls.len(), 6, "{spec}");
        assert!(calls.iter().all(|of_pass| *of_pass == calls[0]), "{spec}: {calls:?}");
    }
    // Blocks of two sizes in turn: an allocator that separates sizes has each on half the pages.
    let mixed = place.path("mixed.csv");
    let mut text = String::from("event,op,size,lifetime\n");
    for at in 0..40_000 {
        text += &format!("{at},malloc,{},\n", if at % 2 == 0 { 64 } else { 480 });
    }
    fs::write(&mixed, text).unwrap();
    let found = run("malloc,pymalloc,null", &mixed, "traversal");
    let value = |spec: &str, metric| found.values("mixed", spec, Scope::All, metric)[0];
    let objects = ["malloc", "pymalloc"].map(|spec| value(spec, Metric::TraversalObjects));
    // 24 moments, each with so many blocks of both sizes as there are by then.
    let by_then: u32 = (1..=24).map(|moment| 40_000 * moment / 24).sum();
    assert_eq!(objects, [f64::from(by_then); 2]);
    let pages = ["malloc", "pymalloc"].map(|spec| value(spec, Metric::TraversalPages));
    // malloc: a pair takes 80 and 496 bytes, and both chains begin on each page. pymalloc: pools of
    // one size, 255 and 34 blocks on the four pages of a pool.
    let expected = [500_000.0 * 576.0 / 4096.0, 250_000.0 / 63.75 + 250_000.0 / 8.5];
    for (found, expected) in pages.iter().zip(expected) {
        assert!((found / expected - 1.0).abs() < 0.02, "{pages:?}, {expected}");
    }
    assert!(found.values("mixed", "null", Scope::All, Metric::TraversalObjects).is_empty());
}
