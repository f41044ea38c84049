//! A recording holds every allocation of a process, of any program: the C library's calls beside
//! CPython's domains, with threads, alignments and modules, or it says what it did not see.
//!
//! The oracles are valgrind's count of the same program, a counting library that is preloaded below
//! the recorder, and what the programs do by their own account.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use heaplay::trace::{
    self, AllocatorRequest, Call, Domain, Op, ProcessRecord, Row, Sequence, Sites,
};
use tempfile::TempDir;

use crate::support::process::{errors, finish, heaplay};
use crate::support::skip::skip;
use crate::support::{compiler, interpreters, libraries};

/// A trace, read whole and proved: every end names a live block.
struct Trace {
    rows: Vec<Row>,
    sites: Sites,
    facts: BTreeMap<String, String>,
    process: ProcessRecord,
    frees: u64,
    calls: u64,
}

impl Trace {
    fn read(path: &Path) -> Trace {
        let mut reader = trace::open(path).unwrap();
        let (mut sequence, mut rows, mut frees) = (Sequence::new(), Vec::new(), 0);
        let mut count = |call: Call<'_>| {
            // Valgrind counts a realloc as a free and an allocation, too.
            frees += match call {
                Call::Free { .. } => 1,
                Call::Request { resized, .. } => u64::from(resized.is_some()),
            };
        };
        while let Some(row) = reader.next_row().unwrap() {
            sequence.accept(&row, &mut count).unwrap();
            rows.push(row);
        }
        let calls = sequence.finish(&mut count).unwrap();
        Trace {
            rows,
            sites: reader.sites().clone(),
            facts: reader.header().facts.clone(),
            process: reader.process().clone(),
            frees,
            calls,
        }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    fn of(&self, domain: Domain) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.domain == domain)
    }

    /// Allocations, frees and bytes, as valgrind counts them.
    fn totals(&self) -> (u64, u64, u64) {
        let bytes = self.rows.iter().map(|row| row.size).sum();
        (self.rows.len() as u64, self.frees, bytes)
    }
}

struct Workplace(TempDir);

impl Workplace {
    fn new() -> Workplace {
        Workplace(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `heaplay record OPTIONS -o app.trace --`, in the folder.
    fn recording(&self, options: &[&str]) -> Command {
        let mut command = heaplay();
        command.arg("record").args(options).arg("-o").arg(self.path("app.trace")).arg("--");
        command.current_dir(self.0.path()).env_remove("LD_PRELOAD").env_remove("PYTHONMALLOC");
        command
    }

    fn trace(&self) -> Trace {
        Trace::read(&self.path("app.trace"))
    }

    /// The program of that C source, or `None` where there is no compiler.
    fn program(&self, name: &str, source: &str) -> Option<PathBuf> {
        compiler::program(self.0.path(), name, source, &["-O0", "-pthread"])
    }
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", errors(output));
}

/// `total heap usage` of a program: allocations, frees and bytes.
fn counted_by_valgrind(program: &Path, arguments: &[&str]) -> Option<(u64, u64, u64)> {
    // What the libraries free only for valgrind is no call of the program.
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--run-libc-freeres=no", "--run-cxx-freeres=no"]);
    let Ok(output) = valgrind.arg(program).args(arguments).output() else {
        skip("valgrind", "no valgrind in PATH");
        return None;
    };
    let text = errors(&output);
    let line = text.lines().find(|line| line.contains("total heap usage"))?;
    let numbers: Vec<u64> = line
        .rsplit("usage:")
        .next()?
        .replace(',', "")
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    Some((numbers[0], numbers[1], numbers[2]))
}

/// All functions of the C library that allocate, mixed.
const CHURN: &str = r#"
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
static void *block[1000];
int main(void) {
    unsigned s = 1;
    for (int i = 0; i < 60000; i++) {
        s = s * 1103515245 + 12345;
        int k = (s >> 16) % 1000;
        size_t size = (s >> 8) % 3000 + 1;
        void *old = block[k];
        switch (s % 11) {
        case 0: free(old); block[k] = 0; break;
        case 1: block[k] = realloc(old, size); break;
        case 2: free(old); block[k] = calloc(3, size); break;
        case 3: free(old); if (posix_memalign(&block[k], 64, size)) block[k] = 0; break;
        case 4: free(old); block[k] = aligned_alloc(4096, 8192); break;
        case 5: free(old); block[k] = memalign(128, size); break;
        case 6: block[k] = reallocarray(old, 3, size); break;
        case 7: free(old); block[k] = valloc(size); break;
        default: free(old); block[k] = malloc(size);
        }
        if (block[k]) memset(block[k], 1, 1);
    }
    return 7;
}
"#;

#[test]
fn counts_of_a_c_program_are_those_of_valgrind() {
    let place = Workplace::new();
    let Some(program) = place.program("churn", CHURN) else { return };
    let output = finish(place.recording(&[]).arg(&program));
    assert_eq!(output.status.code(), Some(7), "{}", errors(&output));
    let trace = place.trace();
    assert!(trace.rows.iter().all(|row| row.domain == Domain::Libc && row.thread == 1));
    for fact in ["lost_events", "unseen_frees", "unseen_ends"] {
        assert_eq!(trace.fact(fact), "0", "{fact}");
    }
    assert!(trace.fact("allocator").starts_with("glibc 2."), "{}", trace.fact("allocator"));
    let aligned: BTreeSet<u64> = trace.rows.iter().map(|row| row.alignment).collect();
    assert_eq!(aligned, BTreeSet::from([0, 64, 128, 4096]));
    if let Some(counted) = counted_by_valgrind(&program, &[]) {
        assert_eq!(trace.totals(), counted);
    }
}

/// Strings, vectors and maps: `operator new` reaches malloc.
const CPP: &str = r#"
#include <map>
#include <string>
#include <vector>
struct alignas(128) Wide { char bytes[128]; };
int main() {
    std::map<int, std::string> names;
    for (int i = 0; i < 3000; i++) names[i * 7919 % 5003] = std::string(i % 300, 'x');
    std::vector<Wide> wide(100);
    for (int i = 0; i < 1000; i++) names.erase(i);
    return names.size() == 0;
}
"#;

#[test]
fn counts_of_a_cpp_program_are_those_of_valgrind() {
    let place = Workplace::new();
    let source = place.path("names.cpp");
    std::fs::write(&source, CPP).unwrap();
    let program = place.path("names");
    let mut compiler = Command::new("c++");
    let built = compiler.args(["-O1", "-std=c++17", "-o"]).arg(&program).arg(&source).status();
    if !built.is_ok_and(|status| status.success()) {
        return skip("c++", "no C++ compiler");
    }
    assert_success(&finish(place.recording(&[]).arg(&program)));
    let trace = place.trace();
    assert!(trace.rows.iter().any(|row| row.alignment == 128 && row.size == 12_800));
    if let Some(counted) = counted_by_valgrind(&program, &[]) {
        assert_eq!(trace.totals(), counted);
    }
}

#[test]
fn counts_of_a_rust_program_are_those_of_valgrind() {
    let place = Workplace::new();
    let source = place.path("words.rs");
    let text = r#"
        use std::collections::HashMap;
        #[repr(align(64))]
        struct Wide([u8; 64]);
        fn main() {
            let mut words: HashMap<String, Vec<u32>> = HashMap::new();
            for i in 0..5000u32 {
                words.entry(format!("word {}", i % 701)).or_default().push(i);
            }
            let wide: Vec<Box<Wide>> = (0..50).map(|i| Box::new(Wide([i; 64]))).collect();
            assert_eq!(words.len() + wide.len() + wide[3].0[1] as usize, 754);
        }
    "#;
    std::fs::write(&source, text).unwrap();
    let program = place.path("words");
    let built = Command::new("rustc").args(["-O", "-o"]).arg(&program).arg(&source).status();
    if !built.is_ok_and(|status| status.success()) {
        return skip("rustc", "no rustc in PATH");
    }
    assert_success(&finish(place.recording(&[]).arg(&program)));
    let trace = place.trace();
    assert_eq!(trace.rows.iter().filter(|row| row.alignment == 64).count(), 50);
    if let Some(counted) = counted_by_valgrind(&program, &[]) {
        assert_eq!(trace.totals(), counted);
    }
}

/// Eight threads allocate, and free each other's blocks. The first byte of a block is its thread, so
/// the program counts itself how many blocks another thread frees.
const SWAPPERS: &str = r#"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/prctl.h>
static _Atomic(void *) shelf[256];
static atomic_ulong births, deaths, remote;
static void *work(void *number) {
    unsigned s = (unsigned)(size_t)number + 1;
    const unsigned char self = (unsigned char)s;
    char name[16];
    snprintf(name, sizeof name, "swapper %u", s);
    prctl(PR_SET_NAME, name);
    for (int i = 0; i < 40000; i++) {
        s = s * 1103515245 + 12345;
        unsigned char *mine = malloc((s >> 8) % 500 + 1);
        *mine = self;
        atomic_fetch_add(&births, 1);
        unsigned char *other = atomic_exchange(&shelf[(s >> 16) % 256], (void *)mine);
        if (other) {
            if (*other != self) atomic_fetch_add(&remote, 1);
            free(other);
            atomic_fetch_add(&deaths, 1);
        }
        if (i % 32 == 0) sched_yield();
    }
    return 0;
}
int main(void) {
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++) pthread_create(&threads[i], 0, work, (void *)i);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    fprintf(stderr, "counted %lu %lu %lu\n", atomic_load(&births), atomic_load(&deaths),
            atomic_load(&remote));
    return 0;
}
"#;

#[test]
fn threads_that_free_each_others_blocks_are_recorded_in_order() {
    let place = Workplace::new();
    let Some(program) = place.program("swappers", SWAPPERS) else { return };
    let output = finish(place.recording(&[]).arg(&program));
    assert_success(&output);
    let text = errors(&output);
    let line = text.lines().find(|line| line.starts_with("counted")).unwrap();
    let counted: Vec<u64> = line.split(' ').skip(1).map(|n| n.parse().unwrap()).collect();
    let trace = place.trace();
    // An end that comes before its birth, or a birth at the address of a live block, is out of order.
    for fact in ["lost_events", "unseen_frees", "unseen_ends"] {
        assert_eq!(trace.fact(fact), "0", "{fact}");
    }
    let by_threads = trace.rows.iter().filter(|row| row.thread > 1 && row.size <= 500);
    assert_eq!((by_threads.count() as u64, counted[0]), (320_000, 320_000));
    assert!(trace.frees >= counted[1], "{} {}", trace.frees, counted[1]);
    // How many these are depends on how the system schedules the threads.
    let by_another = trace.rows.iter().filter(|row| {
        row.thread > 1 && row.size <= 500 && row.end_thread.is_some_and(|thread| thread > 1)
    });
    assert_eq!(by_another.count() as u64, counted[2], "blocks that another thread freed");
    assert!(counted[2] > 0);
    // Threads have names, are born before their first call and die after their last.
    let threads = &trace.process.threads;
    let named = threads.iter().filter(|thread| thread.name.starts_with("swapper ")).count();
    assert_eq!((threads.len(), named), (9, 8));
    for (thread, number) in threads.iter().zip(1..).skip(1) {
        let calls = trace.rows.iter().filter(|row| row.thread == number).map(|row| row.event);
        let (first, last) = (calls.clone().min().unwrap(), calls.max().unwrap());
        assert!(thread.birth.is_some_and(|birth| birth <= first), "{thread:?} {first}");
        assert!(thread.death.is_some_and(|death| death > last), "{thread:?} {last}");
        assert_ne!(thread.id, 0);
    }
}

/// Calls of the only thread, beside a second thread, after that thread, and in a forked child. Each
/// phase has a size of its own.
const PHASES: &str = r#"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void *block[5000];
static void work(size_t size, int from, int end) {
    for (int i = from; i < end; i++) {
        free(block[i]);
        block[i] = i % 5 ? malloc(size) : calloc(1, size);
        memset(block[i], 1, 8);
    }
}
static void *second(void *unused) { work(202, 0, 2500); return unused; }
int main(void) {
    pthread_t thread;
    work(101, 0, 5000);
    char *wide = malloc(70000), *large = malloc(1 << 20);
    wide[0] = large[0] = 1;
    free(0);
    free(wide);
    free(large);
    pthread_create(&thread, 0, second, 0);
    work(303, 2500, 5000);
    pthread_join(thread, 0);
    work(404, 0, 5000);
    if (fork() == 0) { work(505, 0, 5000); exit(0); }
    while (wait(0) > 0) {}
    return 0;
}
"#;

#[test]
fn calls_before_beside_and_after_a_second_thread_are_recorded() {
    let place = Workplace::new();
    let Some(program) = place.program("phases", PHASES) else { return };
    assert_success(&finish(place.recording(&[]).arg(&program)));
    let trace = place.trace();
    for fact in ["lost_events", "unseen_frees", "unseen_ends"] {
        assert_eq!(trace.fact(fact), "0", "{fact}");
    }
    // Of each size: blocks, blocks of calloc, threads, and blocks that end.
    let of_size = |trace: &Trace, size| {
        let rows: Vec<_> = trace.rows.iter().filter(|row| row.size == size).collect();
        let zeroed = rows.iter().filter(|row| row.op == Op::Calloc).count();
        let threads: BTreeSet<u32> = rows.iter().map(|row| row.thread).collect();
        let ended = rows.iter().filter(|row| row.lifetime.is_some()).count();
        (rows.len(), zeroed, threads, ended)
    };
    let (first, second) = (BTreeSet::from([1]), BTreeSet::from([2]));
    assert_eq!(of_size(&trace, 101), (5000, 1000, first.clone(), 5000));
    assert_eq!(of_size(&trace, 70_000), (1, 0, first.clone(), 1));
    assert_eq!(of_size(&trace, 1 << 20), (1, 0, first.clone(), 1));
    assert_eq!(of_size(&trace, 202), (2500, 500, second, 2500));
    assert_eq!(of_size(&trace, 303), (2500, 500, first.clone(), 2500));
    assert_eq!(of_size(&trace, 404), (5000, 1000, first.clone(), 0));
    let large = trace.rows.iter().find(|row| row.size == 1 << 20).unwrap().event;
    let present = trace.process.present.iter().find(|present| present.event == large).unwrap();
    assert!(present.bytes <= 8192, "{}", present.bytes);
    let child = std::fs::read_dir(place.0.path()).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let is_other = path != place.path("app.trace");
        (is_other && path.extension().is_some_and(|extension| extension == "trace")).then_some(path)
    });
    let child = Trace::read(&child.unwrap());
    assert_eq!(of_size(&child, 505), (5000, 1000, first, 0));
    assert_eq!(child.fact("lost_events"), "0");
}

/// Peaks between two calls: of a large block and of a mapping, and with an argument also one that no
/// call ends.
const PEAKS: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#define MIB ((size_t)1 << 20)
static char *map(size_t size) {
    char *p = mmap(0, size, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(p, 1, size);
    return p;
}
int main(int count, char **arguments) {
    char *p = malloc(64 * MIB);
    memset(p, 1, 64 * MIB);
    free(p);
    munmap(map(100 * MIB), 100 * MIB);
    if (count > 1) madvise(map(200 * MIB), 200 * MIB, MADV_DONTNEED);
    return 0;
}
"#;

#[test]
fn peaks_between_two_calls_are_sampled_or_reported() {
    let place = Workplace::new();
    let Some(program) = place.program("peaks", PEAKS) else { return };
    assert_success(&finish(place.recording(&[]).arg(&program)));
    let trace = place.trace();
    let bytes = |trace: &Trace, name| trace.fact(name).parse::<u64>().unwrap();
    let most = trace.process.memory.iter().map(|sample| sample.anonymous_bytes).max().unwrap();
    assert!((100 << 20..104 << 20).contains(&most), "{most}");
    assert!(bytes(&trace, "unsampled_peak_bytes") < 1 << 20);
    assert!((100 << 20..110 << 20).contains(&bytes(&trace, "process_peak_bytes")));
    assert_success(&finish(place.recording(&[]).arg(&program).arg("more")));
    let trace = place.trace();
    let unsampled = bytes(&trace, "unsampled_peak_bytes");
    assert!((90 << 20..=101 << 20).contains(&unsampled), "{unsampled}");
    assert!(trace.fact("unexplained").contains("more than in any sample"));
}

/// Small blocks over 100 MiB of addresses, which end in the order of their births.
const FAR: &str = r#"
#include <stdlib.h>
static void *block[400000];
int main(void) {
    for (int i = 0; i < 400000; i++) block[i] = malloc(100 + i % 300);
    for (int i = 0; i < 400000; i++) free(block[i]);
    return 0;
}
"#;

/// Most calls take 4 bytes of the raw log, also where the blocks are farther apart than one base
/// reaches. Each call is read as the program made it.
#[test]
fn small_calls_take_few_bytes_of_the_raw_log() {
    const BLOCKS: usize = 400_000;
    let place = Workplace::new();
    let Some(program) = place.program("far", FAR) else { return };
    assert_success(&finish(place.recording(&["--keep-raw"]).arg(&program)));
    let trace = place.trace();
    assert_eq!((trace.rows.len(), trace.frees), (BLOCKS, BLOCKS as u64));
    for (index, row) in trace.rows.iter().enumerate() {
        let size = 100 + index as u64 % 300;
        assert_eq!((row.op, row.domain, row.size), (Op::Malloc, Domain::Libc, size), "{index}");
        assert_eq!(row.lifetime.map(u64::from), Some(BLOCKS as u64), "{index}");
    }
    let files = place.0.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let raw = files.into_iter().find(|path| path.to_string_lossy().contains(".raw-")).unwrap();
    let bytes = fs::metadata(raw).unwrap().len();
    // 30 of 32 units are calls. The file has a header and a tail, whatever stands in it.
    let least = 2 * BLOCKS as u64 * 4;
    assert!((least..least * 115 / 100 + (270 << 10)).contains(&bytes), "{bytes} bytes");
}

/// Many calls of all kinds, with few live blocks, long-lived ones, and threads that end early.
const LONG: &str = r#"
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
static void *block[2000], *held[500];
static void *early(void *unused) {
    for (int i = 0; i < 500; i++) held[i] = malloc(7000 + i);
    return unused;
}
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, early, 0);
    pthread_join(thread, 0);
    mallopt(M_MMAP_THRESHOLD, 1 << 22);
    unsigned s = 1;
    for (int i = 0; i < 1500000; i++) {
        s = s * 1103515245 + 12345;
        int k = (s >> 16) % 2000;
        size_t size = (s >> 8) % 500 + 1;
        switch (s % 13) {
        case 0: free(block[k]); block[k] = 0; break;
        case 1: block[k] = realloc(block[k], size); break;
        case 2: free(block[k]); block[k] = calloc(3, size); break;
        case 3: free(block[k]); if (posix_memalign(&block[k], 64, size)) block[k] = 0; break;
        case 4: free(block[k]); block[k] = malloc(70000 + size); break;
        default: free(block[k]); block[k] = malloc(size);
        }
        if (i % 10000 == 0) { free(held[i / 10000]); held[i / 10000] = 0; }
    }
    return 0;
}
"#;

/// The live blocks after each call, as the multiset of what is known of them.
fn live_at_end(trace: &Trace) -> BTreeMap<(Op, u64, u64, u32), usize> {
    let mut live = BTreeMap::new();
    for row in trace.rows.iter().filter(|row| row.lifetime.is_none()) {
        // What a realloc returned long ago is a new block of the snapshot.
        let op = if row.op == Op::Realloc { Op::Malloc } else { row.op };
        *live.entry((op, row.size, row.alignment, row.thread)).or_default() += 1;
    }
    live
}

#[test]
fn the_newest_part_begins_with_what_was_live() {
    let place = Workplace::new();
    let Some(program) = place.program("long", LONG) else { return };
    assert_success(&finish(place.recording(&[]).arg(&program)));
    let whole = place.trace();
    let options = ["--max-bytes", "2M", "--keep", "newest"];
    let output = finish(place.recording(&options).arg(&program));
    assert_success(&output);
    assert!(errors(&output).contains("the trace begins with the "), "{}", errors(&output));
    let newest = place.trace();
    for fact in ["lost_events", "unseen_frees", "unseen_ends"] {
        assert_eq!(newest.fact(fact), "0", "{fact}");
    }
    assert!(newest.fact("newest").contains("blocks that were live"), "{}", newest.fact("newest"));
    // 2 MiB of units of 4 bytes hold 524,288 calls at most; the snapshot comes before them.
    assert!((50_000..530_000).contains(&newest.calls), "{} of {}", newest.calls, whole.calls);
    assert!(whole.calls > 2_500_000, "{}", whole.calls);
    assert!(live_at_end(&newest) == live_at_end(&whole), "other blocks are live at the end");
    // The newest calls are the same, one by one, with the same lifetimes.
    let calls = |trace: &Trace| {
        let rows = trace.rows.iter().rev().take(20_000);
        rows.map(|row| (row.op, row.size, row.alignment, row.thread, row.lifetime))
            .collect::<Vec<_>>()
    };
    assert!(calls(&newest) == calls(&whole), "the newest calls differ");
    // A block of the snapshot is freed in the newest part.
    let first = newest.rows.iter().filter(|row| row.thread == 2 && row.lifetime.is_some());
    assert!(first.count() > 0);
    assert_eq!(newest.process.requests.len(), 1, "the setting of the allocator stays");
    let left: Vec<_> = std::fs::read_dir(place.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".raw-"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn the_newest_part_has_the_sites_of_all_its_blocks() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new();
    let program = "held = [bytes(1000 + i) for i in range(300)]\n\
                   for i in range(150000):\n    x = [i, str(i) * 3]\n\
                   last = [bytes(2000 + i) for i in range(300)]\n";
    std::fs::write(place.path("app.py"), program).unwrap();
    let options = ["--sites", "--max-bytes", "1M", "--keep", "newest"];
    assert_success(&finish(place.recording(&options).arg(&python).arg("app.py")));
    let trace = place.trace();
    assert!(trace.fact("newest").contains("blocks that were live"));
    assert_eq!((trace.fact("unseen_frees"), trace.fact("unseen_ends")), ("0", "0"));
    let sites = |sizes: std::ops::Range<u64>| {
        // The lists themselves are of the domain mem.
        let rows = trace.of(Domain::Obj).filter(|row| sizes.contains(&row.size));
        rows.map(|row| trace.sites.name(row.site).to_owned())
            .filter(|site| site.starts_with("app.py"))
            .fold(BTreeMap::<String, usize>::new(), |mut counts, site| {
                *counts.entry(site).or_default() += 1;
                counts
            })
    };
    // A bytes object has a head of 33 bytes.
    assert_eq!(sites(1033..1333), BTreeMap::from([("app.py:1".to_owned(), 300)]));
    assert_eq!(sites(2033..2333), BTreeMap::from([("app.py:4".to_owned(), 300)]));
}

#[test]
fn the_newest_part_is_refused_where_it_has_no_sense() {
    let place = Workplace::new();
    for (options, expected) in [
        (&["--keep", "newest"][..], "--max-bytes"),
        (&["--keep", "newest", "--max-bytes", "2M", "--max-events", "7"], "--max-events"),
    ] {
        let output = finish(place.recording(options).arg("/bin/true"));
        assert!(!output.status.success());
        assert!(errors(&output).contains(expected), "{}", errors(&output));
    }
}

/// Blocks of each form of `operator new`, each from a function of its own.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
const OPERATORS: &str = r#"
#include <new>
#include <vector>
struct alignas(64) Wide { char content[192]; };
extern "C" {
__attribute__((noinline)) int *makes_many() { return new int[1000]; }
__attribute__((noinline)) char *makes_unthrown() { return new (std::nothrow) char[3001]; }
__attribute__((noinline)) Wide *makes_wide() { return new Wide; }
__attribute__((noinline)) long *makes_one() { return new long(5); }
}
int main() {
    delete[] makes_many();
    delete[] makes_unthrown();
    delete makes_wide();
    delete makes_one();
    return 0;
}
"#;

#[test]
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn the_caller_of_a_block_of_cpp_is_not_operator_new() {
    let place = Workplace::new();
    let source = place.path("operators.cc");
    std::fs::write(&source, OPERATORS).unwrap();
    let program = place.path("operators");
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-O1", "-fno-builtin", "-o"]).arg(&program).arg(&source);
    if !compiler.status().is_ok_and(|status| status.success()) {
        return skip("c++", "no C++ compiler");
    }
    assert_success(&finish(place.recording(&["--sites"]).arg(&program)));
    let trace = place.trace();
    let site = |size| {
        let row = trace.rows.iter().find(|row| row.size == size).unwrap();
        trace.sites.name(row.site)
    };
    for (size, expected) in [(4000, "many"), (3001, "unthrown"), (192, "wide"), (8, "one")] {
        assert_eq!(site(size), format!("operators!makes_{expected}"));
    }
}

/// Forked children, a daemon, and a program that replaces itself.
const FAMILY: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **arguments) {
    if (count > 1) { void *p = malloc(33333); memset(p, 1, 33333); return 0; }
    char *held = malloc(11111);
    memset(held, 1, 11111);
    if (fork() == 0) { char *p = malloc(22222); p[0] = held[0]; free(held); free(p); exit(0); }
    while (wait(0) > 0) {}
    execl(arguments[0], arguments[0], "again", (char *)0);
    return 9;
}
"#;

#[test]
fn forks_and_programs_that_replace_themselves_are_recorded() {
    let place = Workplace::new();
    let Some(program) = place.program("family", FAMILY) else { return };
    assert_success(&finish(place.recording(&[]).arg(&program)));
    let mut sizes = BTreeMap::new();
    for entry in std::fs::read_dir(place.0.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "trace") {
            let trace = Trace::read(&path);
            for size in [11_111, 22_222, 33_333] {
                if trace.rows.iter().any(|row| row.size == size) {
                    sizes.insert(size, trace.fact("forked").to_owned());
                }
            }
        }
    }
    let expected = [(11_111, String::new()), (22_222, "yes".into()), (33_333, String::new())];
    assert_eq!(sizes, BTreeMap::from(expected));
}

#[test]
fn what_the_program_asks_its_allocator_is_recorded() {
    let place = Workplace::new();
    let source = "#include <malloc.h>\n#include <stdlib.h>\n#include <string.h>\n\
                  int main(void) { mallopt(M_MMAP_THRESHOLD, 1 << 20); void *p = malloc(100);\n\
                  memset(p, 1, 100); free(p); malloc_trim(4096); return 0; }\n";
    let Some(program) = place.program("asks", source) else { return };
    assert_success(&finish(place.recording(&[]).arg(&program)));
    let requests: Vec<_> =
        place.trace().process.requests.iter().map(|event| (event.event, event.request)).collect();
    let option = AllocatorRequest::Option { parameter: -3, value: 1 << 20 };
    assert_eq!(requests, [(0, option), (2, AllocatorRequest::Trim { pad_bytes: 4096 })]);
}

#[test]
fn large_blocks_that_are_not_touched_are_known() {
    let place = Workplace::new();
    let source = "#include <stdlib.h>\n#include <string.h>\n\
                  int main(void) { char *p = malloc(8 << 20), *q = malloc(4 << 20), *r = malloc(1 << 20);\n\
                  memset(p, 1, 1 << 20); memset(r, 1, 1 << 20); free(p); return q[0]; }\n";
    let Some(program) = place.program("large", source) else { return };
    assert_success(&finish(place.recording(&[]).arg(&program)));
    let trace = place.trace();
    let present: BTreeMap<u64, u64> =
        trace.process.present.iter().map(|present| (present.event, present.bytes)).collect();
    let event = |size| trace.rows.iter().find(|row| row.size == size).unwrap().event;
    let first = present[&event(8 << 20)];
    assert!((1 << 20..=(1 << 20) + 8192).contains(&first), "{first}");
    // Nobody freed the second; its first page is written by malloc itself, or read by the program.
    assert!(present[&event(4 << 20)] <= 8192);
    assert!(!present.contains_key(&event(1 << 20)));
}

#[test]
fn static_and_set_uid_programs_are_refused() {
    let place = Workplace::new();
    let source = "int main(void) { return 0; }\n";
    let Some(program) = place.program("plain", source) else { return };
    if let Some(still) = compiler::program(place.0.path(), "still", source, &["-static"]) {
        let output = finish(place.recording(&[]).arg(still));
        assert_eq!(output.status.code(), Some(2));
        assert!(errors(&output).contains("statically linked"), "{}", errors(&output));
    }
    assert_success(&finish(place.recording(&[]).arg(&program)));
}

/// The recorder cannot be loaded into a program for another processor or another C library.
#[test]
fn programs_of_other_systems_are_refused() {
    let place = Workplace::new();
    let source = "int main(void) { return 0; }\n";
    let Some(program) = place.program("plain", source) else { return };
    let refusal = |program: &Path| {
        let output = finish(place.recording(&[]).arg(program));
        assert_eq!(output.status.code(), Some(2));
        errors(&output)
    };
    // The field `e_machine` of the ELF header: 22 is s390.
    let mut bytes = fs::read(&program).unwrap();
    bytes[18..20].copy_from_slice(&22_u16.to_le_bytes());
    let foreign = place.0.path().join("foreign");
    fs::copy(&program, &foreign).unwrap();
    fs::write(&foreign, bytes).unwrap();
    let message = refusal(&foreign);
    assert!(message.contains("foreign: is for another processor (S390x"), "{message}");
    let linker = ["-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"];
    let Some(musl) = compiler::program(place.0.path(), "musl", source, &linker) else { return };
    let message = refusal(&musl);
    assert!(message.contains("musl: is linked to musl"), "{message}");
}

/// A library that is preloaded below the recorder, and counts.
const COUNTER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
extern void *__libc_malloc(size_t);
static unsigned long count;
void *malloc(size_t size) { if (size == 54321) count++; return __libc_malloc(size); }
__attribute__((destructor)) static void out(void) { fprintf(stderr, "counted %lu\n", count); }
"#;

#[test]
fn a_library_that_is_preloaded_already_is_called_too() {
    let place = Workplace::new();
    let Some(counter) = compiler::library(place.0.path(), "counter", COUNTER) else { return };
    let source = "#include <stdlib.h>\n\
                  int main(void) { for (int i = 0; i < 9; i++) free(malloc(54321)); return 0; }\n";
    let Some(program) = place.program("nine", source) else { return };
    let output = finish(place.recording(&[]).env("LD_PRELOAD", &counter).arg(program));
    assert_success(&output);
    assert!(errors(&output).contains("counted 9\n"), "{}", errors(&output));
    let trace = place.trace();
    assert_eq!(trace.rows.iter().filter(|row| row.size == 54_321).count(), 9);
    assert!(trace.fact("variables").contains("counter"), "{}", trace.fact("variables"));
    assert!(trace.fact("allocator").contains("counter"), "{}", trace.fact("allocator"));
}

/// Allocators that a person may have preloaded: they map memory at the first call, before the recorder
/// has begun.
#[test]
fn a_program_on_a_preloaded_allocator_is_recorded() {
    let place = Workplace::new();
    let source = "#include <stdlib.h>\n\
                  int main(void) { for (int i = 0; i < 9; i++) free(malloc(54321)); return 0; }\n";
    let Some(program) = place.program("nine", source) else { return };
    for name in ["libjemalloc.so.2", "libmimalloc.so.2", "libtcmalloc_minimal.so.4"] {
        let Some(library) = libraries::installed(name) else { continue };
        let output = finish(place.recording(&[]).env("LD_PRELOAD", library).arg(&program));
        assert_success(&output);
        let trace = place.trace();
        assert_eq!(trace.rows.iter().filter(|row| row.size == 54_321).count(), 9, "{name}");
        let stem = name.split(".so").next().unwrap();
        assert!(trace.fact("allocator").contains(stem), "{name}: {}", trace.fact("allocator"));
    }
}

/// Of a Python, the domains are counted once: what raw passes on to malloc is no call of libc.
#[test]
fn a_python_is_recorded_with_its_native_allocations() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new();
    let script = "import ctypes, zlib\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\n\
                  libc.free.argtypes = [ctypes.c_void_p]\n\
                  held = [libc.malloc(77777) for _ in range(50)]\nfor p in held[:20]: libc.free(p)\n\
                  big = bytes(66634)\n";
    std::fs::write(place.path("app.py"), script).unwrap();
    let run = |options: &[&str]| {
        let output = finish(place.recording(options).arg(&python).arg("app.py"));
        assert_success(&output);
        place.trace()
    };
    let all = run(&["--sites"]);
    let native: Vec<&Row> = all.of(Domain::Libc).filter(|row| row.size == 77_777).collect();
    assert_eq!(native.len(), 50);
    assert_eq!(native.iter().filter(|row| row.lifetime.is_some()).count(), 20);
    let site = all.sites.name(native[0].site);
    assert!(site.starts_with("app.py:5 via "), "{site}");
    assert!(all.rows.iter().any(|row| row.size == 66_667 && row.domain != Domain::Libc));
    assert!(!all.of(Domain::Libc).any(|row| row.size == 66_667), "counted twice");
    assert_eq!(all.fact("lost_events"), "0");
    let python_only = run(&["--domains", "python"]);
    assert_eq!(python_only.of(Domain::Libc).count(), 0);
    // Both see the same requests of CPython's domains, but for those of the modules that differ.
    let count = |trace: &Trace| trace.calls - trace.of(Domain::Libc).count() as u64;
    assert!(count(&python_only) > 10_000 && all.of(Domain::Obj).count() > 5_000);
}

#[test]
fn a_python_is_recorded_under_any_pythonmalloc() {
    let Some(python) = interpreters::any() else { return };
    let place = Workplace::new();
    std::fs::write(place.path("app.py"), "held = [bytes(300 + i) for i in range(1000)]\n").unwrap();
    for value in ["default", "malloc", "pymalloc", "debug", "malloc_debug"] {
        let output =
            finish(place.recording(&[]).env("PYTHONMALLOC", value).arg(&python).arg("app.py"));
        assert_success(&output);
        let trace = place.trace();
        // A bytes object has 33 bytes besides its contents.
        let held = trace.of(Domain::Obj).filter(|row| (333..1333).contains(&row.size)).count();
        assert!(held >= 1000, "PYTHONMALLOC={value}: {held}");
        assert!(trace.fact("variables").contains(&format!("PYTHONMALLOC={value}")));
    }
}

/// A library that maps memory without the C library's malloc, as an allocator of its own does.
#[test]
fn memory_that_nobody_saw_is_a_warning() {
    let place = Workplace::new();
    let source = "#define _GNU_SOURCE\n#include <stdlib.h>\n#include <string.h>\n\
                  #include <sys/mman.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
                  int main(int n, char **a) { size_t size = 40 << 20; char *p;\n\
                  if (n > 1) p = mmap(0, size, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);\n\
                  else p = (char *)syscall(SYS_mmap, 0L, size, 3L, MAP_PRIVATE | MAP_ANONYMOUS, -1L, 0L);\n\
                  memset(p, 1, size); for (int i = 0; i < 1000; i++) free(malloc(10)); return 0; }\n";
    let Some(program) = place.program("maps", source) else { return };
    let output = finish(place.recording(&[]).arg(&program));
    assert_success(&output);
    let text = errors(&output);
    assert!(text.contains("warning: 39.") || text.contains("warning: 40."), "{text}");
    assert!(place.trace().fact("unexplained").contains("at the peak are not in the recording"));
    // A mapping that the program makes by its own call of mmap is the reason, with its size.
    let output = finish(place.recording(&[]).arg(&program).arg("seen"));
    let text = errors(&output);
    assert!(text.contains("40.0 MiB in mappings that the program made by itself"), "{text}");
}

#[test]
fn a_process_that_is_killed_has_its_ending() {
    let place = Workplace::new();
    let source = "#include <signal.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
                  int main(int n, char **a) { free(malloc(10)); if (n > 1) _exit(3);\n\
                  raise(SIGKILL); return 0; }\n";
    let Some(program) = place.program("ends", source) else { return };
    let output = finish(place.recording(&[]).arg(&program));
    assert_eq!(output.status.code(), Some(137));
    assert_eq!(place.trace().fact("ending"), "signal 9");
    let output = finish(place.recording(&[]).arg(&program).arg("quick"));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(place.trace().fact("ending"), "_exit, exit status 3");
    let frees = place.trace().rows.iter().filter(|row| row.op == Op::Malloc).count();
    assert!(frees >= 1);
}
