//! Each call of a trace is replayed on the thread that made it: memory has the arenas of all threads,
//! two replays in recorded order agree to the byte, and free order keeps the rules of allocators.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use heaplay::results::{
    Exactness, Latency, Metric, Pass, Run, Scope, ThreadActivity, ThreadRow, decode_numbers,
};

use crate::support::process::{errors, expect, finish, heaplay, repository};
use crate::support::{interpreters, libraries};

/// A malloc, with the call and the thread that frees its block.
struct ThreadedRow {
    event: u64,
    size: usize,
    thread: u32,
    end: Option<(u64, u32)>,
}

/// A trace in the making.
#[derive(Default)]
struct ThreadedTrace {
    rows: Vec<ThreadedRow>,
    next: u64,
    last_thread: Option<u32>,
    changes: u64,
}

impl ThreadedTrace {
    fn call(&mut self, thread: u32) -> u64 {
        self.changes +=
            u64::from(self.last_thread.replace(thread).is_some_and(|last| last != thread));
        self.next += 1;
        self.next - 1
    }

    fn malloc(&mut self, thread: u32, size: usize) -> usize {
        let event = self.call(thread);
        self.rows.push(ThreadedRow { event, size, thread, end: None });
        self.rows.len() - 1
    }

    fn free(&mut self, thread: u32, row: usize) {
        let event = self.call(thread);
        self.rows[row].end = Some((event, thread));
    }

    fn write(&self, path: &Path) -> PathBuf {
        let mut text = "event,op,size,lifetime,thread,end_thread,domain\n".to_owned();
        for ThreadedRow { event, size, thread, end } in &self.rows {
            let lifetime = end.map_or(String::new(), |(end, _)| (end - event).to_string());
            let other = end.filter(|(_, by)| by != thread);
            let other = other.map_or(String::new(), |(_, by)| by.to_string());
            writeln!(text, "{event},malloc,{size},{lifetime},{thread},{other},raw").unwrap();
        }
        fs::write(path, text).unwrap();
        path.to_owned()
    }
}

/// Blocks of a job, their size, and the block that outlives it.
const JOB_BLOCKS: usize = 200;
const JOB_BLOCK_BYTES: usize = 20_000;
const JOB_BYTES: f64 = (JOB_BLOCKS * JOB_BLOCK_BYTES) as f64;

/// Threads that do their jobs strictly one after another. A job allocates blocks, then a small one
/// that stays, and frees the others.
fn jobs(threads: u32, rounds: u32) -> ThreadedTrace {
    let mut trace = ThreadedTrace::default();
    trace.malloc(1, 100);
    for _ in 0..rounds {
        for thread in 2..threads + 2 {
            let blocks: Vec<usize> =
                (0..JOB_BLOCKS).map(|_| trace.malloc(thread, JOB_BLOCK_BYTES)).collect();
            trace.malloc(thread, 3000);
            for block in blocks {
                trace.free(thread, block);
            }
        }
    }
    trace
}

/// Threads that come and go, and free blocks of each other.
fn mixed(threads: u32, calls: u64) -> ThreadedTrace {
    let mut trace = ThreadedTrace::default();
    let mut draw: u64 = 11;
    let mut below = |limit: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (draw >> 33) % limit
    };
    let mut live = Vec::new();
    let mut thread = 1;
    for at in 0..calls {
        if below(8) == 0 {
            let begun = 1 + at * u64::from(threads) / calls;
            thread = (begun - below(begun.min(12))) as u32;
        }
        if !live.is_empty() && below(2) == 0 {
            let row = live.swap_remove(below(live.len() as u64) as usize);
            trace.free(thread, row);
        } else {
            let size = if below(50) == 0 { 9000 } else { 1 + below(900) };
            live.push(trace.malloc(thread, size as usize));
        }
    }
    trace
}

fn footprint(trace: &Path, backends: &str, out: &Path) -> Run {
    let mut command = heaplay();
    command.arg("run").arg(trace).args(["--passes", "footprint", "-b", backends, "--out"]).arg(out);
    expect(0, command.env_remove("GLIBC_TUNABLES"));
    Run::load(out).expect("a run")
}

fn one(run: &Run, backend: &str, metric: Metric) -> f64 {
    let trace = &run.manifest.traces[0].name;
    let values = run.values(trace, backend, Scope::All, metric);
    assert_eq!(values.len(), 1, "{metric} of {backend}");
    values[0]
}

/// The known result: a thread's freed memory stays in its arena, so arenas multiply the memory. The
/// bounds follow from the bytes of a job.
#[test]
#[cfg(target_env = "gnu")]
fn the_arenas_of_all_threads_are_in_the_footprint() {
    let folder = tempfile::tempdir().unwrap();
    let trace = jobs(8, 2);
    let path = trace.write(&folder.path().join("jobs.csv"));
    let (many, one_arena) = ("malloc", "malloc:MALLOC_ARENA_MAX=1");
    let run = footprint(&path, &format!("{many},{one_arena}"), &folder.path().join("run"));
    let peak = |backend| one(&run, backend, Metric::ResidentPeakBytes);
    assert!(peak(many) > 7.5 * JOB_BYTES && peak(many) < 9.0 * JOB_BYTES, "{}", peak(many));
    assert!(
        peak(one_arena) > JOB_BYTES && peak(one_arena) < 2.0 * JOB_BYTES,
        "{}",
        peak(one_arena)
    );
    assert_eq!(one(&run, many, Metric::Threads), 9.0);
    assert!(one(&run, many, Metric::HandOvers) >= trace.changes as f64);
}

#[test]
fn two_replays_in_recorded_order_agree_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    for (threads, calls) in [(8, 40_000), (393, 60_000)] {
        let path = mixed(threads, calls).write(&folder.path().join(format!("t{threads}.csv")));
        let backends = "malloc,pymalloc,bump";
        let runs = ["one", "two"].map(|name| {
            footprint(&path, backends, &folder.path().join(format!("{name}{threads}")))
        });
        let exact = |run: &Run| -> Vec<(String, Metric, f64)> {
            let rows = run.measurements.iter().filter(|row| {
                !matches!(row.metric.exactness(), Exactness::Timed | Exactness::Reported)
                    || matches!(row.metric, Metric::Threads | Metric::HandOvers)
            });
            rows.map(|row| (row.backend.clone(), row.metric, row.value)).collect()
        };
        let [one_run, two_run] = &runs;
        assert!(exact(one_run).len() > 60);
        assert_eq!(exact(one_run), exact(two_run), "{threads} threads");
        assert_eq!(one_run.samples, two_run.samples);
        assert!(one(one_run, "pymalloc", Metric::Threads) > f64::from(threads) * 0.9);
    }
}

#[test]
fn timed_passes_replay_all_calls_of_all_threads() {
    let folder = tempfile::tempdir().unwrap();
    let trace = mixed(12, 30_000);
    let path = trace.write(&folder.path().join("mixed.csv"));
    let out = folder.path().join("run");
    let mut command = heaplay();
    command.arg("run").arg(&path).args(["--passes", "time,latency", "-r", "1", "-b", "malloc"]);
    expect(0, command.arg("--out").arg(&out));
    let run = Run::load(&out).unwrap();
    assert!(run.failed().is_empty());
    let times = run.values("mixed", "malloc", Scope::All, Metric::TimeNanoseconds);
    assert!(times[0] > 0.0);
    let hand_overs = run.values("mixed", "malloc", Scope::All, Metric::HandOvers);
    assert!(!hand_overs.is_empty() && hand_overs.iter().all(|n| *n >= trace.changes as f64));
    let is_own = |row: &&Latency| row.repetition.is_some() && row.backend == "malloc";
    let own = run.latencies.iter().filter(is_own);
    let timed: u64 = own.map(|row| row.histogram.len()).sum();
    assert_eq!(timed, 30_000);
}

#[test]
fn a_trace_of_one_thread_has_no_threads_in_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let run = footprint(&repository("traces/hello.trace"), "malloc", &folder.path().join("run"));
    let threads = [Metric::Threads, Metric::HandOvers];
    assert!(run.measurements.iter().all(|row| !threads.contains(&row.metric)));
}

#[test]
fn verify_holds_in_both_orders_and_free_order_refuses_one_thread_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = mixed(6, 20_000).write(&folder.path().join("mixed.csv"));
    let verify = |arguments: &[&str]| {
        let mut command = heaplay();
        command.arg("verify").arg(&path).args(arguments);
        command
    };
    let text = expect(0, &mut verify(&["-b", "malloc,pymalloc"]));
    assert!(text.contains("ok     mixed  pymalloc: 20000 calls checked"), "{text}");
    let text = expect(0, &mut verify(&["-b", "malloc", "--order", "free"]));
    assert!(text.contains("ok     mixed  malloc: 20000 calls checked"), "{text}");
    let text = expect(4, &mut verify(&["-b", "pymalloc", "--order", "free"]));
    assert!(text.contains("one thread at a time may call this backend"), "{text}");
}

#[test]
fn scale_has_a_line_for_each_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = mixed(6, 20_000).write(&folder.path().join("mixed.csv"));
    let csv = folder.path().join("threads.csv");
    let scale = |trace: &Path, arguments: &[&str]| {
        let mut command = heaplay();
        command.arg("scale").arg(trace).args(["-r", "1"]).args(arguments);
        command
    };
    let arguments = ["--threads", "1,2,trace", "-b", "malloc,null", "-o"];
    let text = expect(0, scale(&path, &arguments).arg(&csv));
    for line in ["| malloc  | 1 ", "| malloc  | 2 ", "| malloc  | trace ", "| null    | 2 "] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Calls of all threads of a time pass are those of the trace.
    let table = fs::read_to_string(&csv).unwrap();
    let sum = |lanes: &str| -> u64 {
        let start = format!("mixed,malloc,{lanes},time,0,");
        let rows = table.lines().filter_map(|line| line.strip_prefix(&start));
        rows.map(|rest| rest.split(',').nth(1).unwrap().parse::<u64>().unwrap()).sum()
    };
    assert_eq!(["1", "2", "trace"].map(sum), [20_000; 3]);
    let hello = repository("traces/hello.trace");
    let text = expect(0, &mut scale(&hello, &["--copies", "1,2"]));
    assert!(text.contains("| malloc  | 2 copies "), "{text}");
    let refused = finish(&mut scale(&hello, &["--threads", "2"]));
    assert!(errors(&refused).contains("--copies 1,2,4"), "{}", errors(&refused));
    // The reason is there once, and not for each number of threads.
    let refused = finish(&mut scale(&path, &["-b", "pymalloc", "--threads", "1,2"]));
    assert_eq!(refused.status.code(), Some(4));
    let reason = "mixed: pymalloc: one thread at a time";
    assert_eq!(errors(&refused).matches(reason).count(), 1, "{}", errors(&refused));
}

#[test]
fn inspect_sums_the_threads_after_the_first_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = mixed(60, 20_000).write(&folder.path().join("mixed.csv"));
    let text = expect(0, heaplay().arg("inspect").arg(&path));
    assert!(text.contains("| 40 others ") && text.contains("| blocks of thread "), "{text}");
}

/// The oracle: the rows of the trace, by their events.
#[test]
fn the_record_has_who_allocates_who_frees_and_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let trace = mixed(60, 30_000);
    let path = trace.write(&folder.path().join("mixed.csv"));
    let run = footprint(&path, "malloc", &folder.path().join("run"));
    // A trace numbers its threads as the rows name them.
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for row in &trace.rows {
        for thread in [Some(row.thread), row.end.map(|(_, by)| by)].into_iter().flatten() {
            let next = numbers.len() as u32 + 1;
            numbers.entry(thread).or_insert(next);
        }
    }
    let mut calls: BTreeMap<u32, u64> = BTreeMap::new();
    let mut left: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let mut ended: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for row in &trace.rows {
        let thread = numbers[&row.thread];
        *calls.entry(thread).or_default() += 1;
        match row.end.map(|(_, by)| numbers[&by]) {
            Some(by) => {
                *calls.entry(by).or_default() += 1;
                *ended.entry((thread, by)).or_default() += 1;
            }
            None => {
                let own = left.entry(thread).or_default();
                *own = (own.0 + 1, own.1 + row.size as u64);
            }
        }
    }
    for backend in ["malloc", "null"] {
        let own = |name: &str| name == backend;
        let threads: Vec<&ThreadRow> = run.threads.iter().filter(|row| own(&row.backend)).collect();
        assert_eq!(threads.len(), calls.len());
        for row in &threads {
            assert_eq!(row.calls, calls[&row.thread], "thread {}", row.thread);
            let live = left.get(&row.thread).copied().unwrap_or_default();
            assert_eq!((row.live_end_blocks, row.live_end_bytes), live, "thread {}", row.thread);
            assert_eq!(row.retained_end_bytes.is_some(), backend == "malloc");
        }
        // The first forty threads have rows of their own, the others share one.
        let activity = || run.thread_activity.iter().filter(|row| own(&row.backend));
        let named: BTreeSet<u32> = activity().filter_map(|row| row.thread).collect();
        assert_eq!((named.len(), activity().count()), (40, 41));
        let made = |row: &ThreadActivity| decode_numbers(&row.calls, 999).iter().sum::<u64>();
        for row in activity() {
            let wanted = match row.thread {
                Some(thread) => calls[&thread],
                None => calls.iter().filter(|(of, _)| !named.contains(of)).map(|(_, n)| n).sum(),
            };
            assert_eq!(made(row), wanted, "{:?}", row.thread);
        }
        let group = |thread: u32| named.contains(&thread).then_some(thread);
        let mut grouped: BTreeMap<(Option<u32>, Option<u32>), (u64, u64)> = BTreeMap::new();
        for (&(owner, by), blocks) in &ended {
            let sums = grouped.entry((group(owner), group(by))).or_default();
            *sums = (sums.0 + blocks, sums.1 + if owner == by { 0 } else { *blocks });
        }
        let frees = run.thread_frees.iter().filter(|row| own(&row.backend));
        let found: BTreeMap<(Option<u32>, Option<u32>), (u64, u64)> = frees
            .map(|row| ((row.allocated_by, row.ended_by), (row.blocks, row.remote_blocks)))
            .collect();
        assert_eq!(found, grouped);
    }
    let live: u64 = left.values().map(|(_, bytes)| bytes).sum();
    assert_eq!(one(&run, "malloc", Metric::LiveEndBytes), live as f64);
    // All threads but the first have ended, and their blocks are on pages in use.
    let ended_live: u64 = left.iter().filter(|(of, _)| **of != 1).map(|(_, (_, n))| n).sum();
    assert_eq!(one(&run, "malloc", Metric::EndedThreadsLiveBytes), ended_live as f64);
    let in_use = one(&run, "malloc", Metric::EndedThreadsInUseBytes);
    assert!(
        in_use >= ended_live as f64 && in_use <= one(&run, "malloc", Metric::PagesInUseEndBytes)
    );
    assert!(run.threads.iter().any(|row| row.end_event.is_some()));
}

/// The known result: a dead thread leaves its arena. With one arena the next thread takes it.
#[test]
#[cfg(target_env = "gnu")]
fn what_dead_threads_left_is_known_by_thread_and_by_arena() {
    let folder = tempfile::tempdir().unwrap();
    let path = jobs(8, 2).write(&folder.path().join("jobs.csv"));
    let (many, one_arena) = ("malloc", "malloc:MALLOC_ARENA_MAX=1");
    let backends = format!("{many},{one_arena},pymalloc");
    let run = footprint(&path, &backends, &folder.path().join("run"));
    let retained = |backend: &str| -> Vec<f64> {
        let own = run.threads.iter().filter(|row| row.backend == backend && row.thread > 1);
        own.map(|row| row.retained_end_bytes.unwrap() as f64 / JOB_BYTES).collect()
    };
    assert!(retained(many).iter().all(|share| (0.9..1.1).contains(share)), "{:?}", retained(many));
    let shared: f64 = retained(one_arena).iter().sum();
    assert!((0.9..1.2).contains(&shared), "{shared}");
    let sum = one(&run, many, Metric::EndedThreadsRetainedBytes) / JOB_BYTES;
    assert!((7.5..8.5).contains(&sum), "{sum}");
    assert_eq!(one(&run, many, Metric::EndedThreads), 8.0);
    // glibc reports each arena by itself.
    let arenas = |backend: &str| -> Vec<f64> {
        let own = run.arenas.iter().filter(|row| row.backend == backend);
        own.map(|row| row.held_bytes.unwrap() as f64 / JOB_BYTES).collect()
    };
    let large = |backend: &str| arenas(backend).iter().filter(|held| **held > 0.9).count();
    assert_eq!((large(many), arenas(many).len()), (8, 9), "{:?}", arenas(many));
    assert_eq!((large(one_arena), arenas(one_arena).len()), (1, 1), "{:?}", arenas(one_arena));
    let text = fs::read_to_string(folder.path().join("run/summary.md")).unwrap();
    assert!(text.contains("| left by ended threads | "), "{text}");
    let pymalloc = text.lines().find(|line| line.contains("not reported")).unwrap();
    assert!(pymalloc.contains("pymalloc"), "{text}");
}

/// jemalloc counts its arenas, too. Its blocks are those of the trace, rounded up.
#[test]
#[cfg(feature = "jemalloc")]
fn jemalloc_reports_its_arenas() {
    let folder = tempfile::tempdir().unwrap();
    let path = jobs(4, 2).write(&folder.path().join("jobs.csv"));
    let run = footprint(&path, "jemalloc", &folder.path().join("run"));
    let own = || run.arenas.iter().filter(|row| row.backend == "jemalloc");
    assert!(own().count() >= 4, "{:?}", run.arenas);
    let allocated: u64 = own().map(|row| row.allocated_bytes.unwrap()).sum();
    let cached: u64 = own().map(|row| row.cached_bytes.unwrap_or(0)).sum();
    let live = one(&run, "jemalloc", Metric::LiveEndBytes);
    assert!(allocated as f64 >= live, "{allocated} {live}");
    assert!((allocated - cached) as f64 <= 3.0 * live + 65_536.0, "{allocated} {cached} {live}");
}

#[test]
fn a_run_has_memory_in_both_orders() {
    let folder = tempfile::tempdir().unwrap();
    let path = mixed(6, 20_000).write(&folder.path().join("mixed.csv"));
    let out = folder.path().join("run");
    let run = |trace: &Path, order: &str, out: &Path| {
        let mut command = heaplay();
        command.arg("run").arg(trace).args(["--passes", "footprint", "-b", "malloc,pymalloc"]);
        command.args(["--order", order, "-r", "2", "--out"]).arg(out);
        command
    };
    let text = expect(0, &mut run(&path, "both", &out));
    assert!(text.contains("peak, free order"), "{text}");
    let found = Run::load(&out).unwrap();
    assert!(found.missing().is_empty() && found.failed().is_empty());
    let live = one(&found, "malloc", Metric::LiveEndBytes);
    let values = |backend, metric| found.values("mixed", backend, Scope::All, metric);
    let peaks = values("malloc", Metric::FreeOrderResidentPeakBytes);
    assert!(peaks.len() == 2 && peaks.iter().all(|peak| *peak >= live), "{peaks:?}");
    assert_eq!(values("malloc", Metric::FreeOrderResidentEndBytes).len(), 2);
    // One thread at a time may call pymalloc.
    assert!(values("pymalloc", Metric::FreeOrderResidentPeakBytes).is_empty());
    assert_eq!(values("pymalloc", Metric::ResidentPeakBytes).len(), 1);
    let free = folder.path().join("free");
    expect(0, &mut run(&path, "free", &free));
    let found = Run::load(&free).unwrap();
    assert!(found.manifest.passes == [Pass::Free] && found.samples.is_empty());
    let hello = repository("traces/hello.trace");
    let refused = finish(&mut run(&hello, "free", &folder.path().join("hello")));
    assert_eq!(refused.status.code(), Some(2));
    assert!(errors(&refused).contains("scale --copies 1,2,4"), "{}", errors(&refused));
    expect(0, &mut run(&hello, "both", &folder.path().join("hello")));
}

#[test]
fn threads_and_scaling_have_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let path = mixed(6, 20_000).write(&folder.path().join("mixed.csv"));
    let pictures = folder.path().join("pictures");
    let mut command = heaplay();
    command
        .arg("scale")
        .args([&path, &repository("traces/hello.trace")])
        .args(["-r", "1", "--png"]);
    let text = expect(0, command.arg(&pictures));
    for name in ["mixed--scaling.png", "hello--scaling.png", "scaling.png"] {
        assert!(text.contains(name), "{name}: {text}");
        let bytes = fs::read(pictures.join(name)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
    }
    let text = expect(0, heaplay().arg("inspect").arg(&path).arg("--png").arg(&pictures));
    assert!(text.contains("mixed--threads.png") && pictures.join("mixed--threads.png").exists());
    let hello = repository("traces/hello.trace");
    let text = expect(0, heaplay().arg("inspect").arg(hello).arg("--png").arg(&pictures));
    assert!(!text.contains("hello--threads.png"), "{text}");
}

/// A free-threaded interpreter has heaps for each thread, without a GIL. The oracle is the reference heap
/// of `verify`, which finds two blocks in one place.
#[test]
fn a_free_threaded_interpreter_is_called_by_all_threads_at_once() {
    let Some(python) = interpreters::free_threaded() else { return };
    let python = format!("python@{}", python.display());
    let folder = tempfile::tempdir().unwrap();
    // More threads than the interpreter's first table of states has places.
    let path = mixed(20, 60_000).write(&folder.path().join("mixed.csv"));
    let text = fs::read_to_string(&path).unwrap().replace(",raw\n", ",obj\n");
    fs::write(&path, text).unwrap();
    for order in ["recorded", "free"] {
        let mut verify = heaplay();
        verify.arg("verify").arg(&path).args(["-b", &python, "--order", order]);
        let text = expect(0, &mut verify);
        assert!(text.contains("60000 calls checked"), "{order}: {text}");
    }
    let run = footprint(&path, &python, &folder.path().join("run"));
    assert_eq!(one(&run, &python, Metric::Threads), 20.0);
}

/// From 3.12 on, the pools are those of the calling thread's interpreter, under its GIL. The oracle
/// are the rules of that version in Rust, which know no threads.
#[test]
fn an_interpreter_with_a_gil_is_called_by_all_threads() {
    let folder = tempfile::tempdir().unwrap();
    // Small blocks of the domain of objects, so that there are arenas.
    let trace = mixed(9, 60_000);
    let path = trace.write(&folder.path().join("mixed.csv"));
    let text = fs::read_to_string(&path).unwrap().replace(",raw\n", ",obj\n");
    fs::write(&path, text).unwrap();
    for minor in [12, 13] {
        let Some(library) = libraries::libpython(minor) else { continue };
        let python = format!("python@{}", library.display());
        let rules = format!("pymalloc@3.{minor}");
        let runs = ["one", "two"].map(|name| {
            let out = folder.path().join(format!("{name}{minor}"));
            footprint(&path, &format!("{python},{rules}"), &out)
        });
        for run in &runs {
            assert_eq!(one(run, &python, Metric::Threads), 9.0);
            assert!(one(run, &python, Metric::HandOvers) >= trace.changes as f64);
            for metric in [Metric::ArenasPeak, Metric::ArenasEnd, Metric::ArenasTotal] {
                assert_eq!(one(run, &python, metric), one(run, &rules, metric), "{metric}");
            }
        }
        let peaks = runs.each_ref().map(|run| one(run, &python, Metric::ResidentPeakBytes));
        assert_eq!(peaks[0], peaks[1], "3.{minor}");
        let text = expect(0, heaplay().arg("verify").arg(&path).args(["-b", &python]));
        assert!(text.contains("60000 calls checked"), "{text}");
    }
}
