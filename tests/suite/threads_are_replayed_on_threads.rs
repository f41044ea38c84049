//! Each call of a trace is replayed on the thread that made it: memory has the arenas of all threads,
//! two replays in recorded order agree to the byte, and free order keeps the rules of allocators.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use heaplay::results::{Exactness, Latency, Metric, Run, Scope};

use crate::support::process::{errors, expect, finish, heaplay, repository};

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
    let text = expect(2, &mut verify(&["-b", "pymalloc", "--order", "free"]));
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
    let refused = finish(&mut scale(&path, &["-b", "pymalloc", "--threads", "2"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(errors(&refused).contains("mixed: pymalloc: "), "{}", errors(&refused));
}

#[test]
fn inspect_sums_the_threads_after_the_first_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = mixed(60, 20_000).write(&folder.path().join("mixed.csv"));
    let text = expect(0, heaplay().arg("inspect").arg(&path));
    assert!(text.contains("| 40 others ") && text.contains("| blocks of thread "), "{text}");
}
