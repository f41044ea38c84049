//! A trace over the memory limit, replayed in parts, has the lines of the whole trace: of page
//! retention, of units, of rows of the heap map, and of slow calls.
//!
//! The line of a call is compared with a plain walk over the rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heaplay::results::{Moment, Run};
use heaplay::trace::{self, Distribution, Generator, Op, Sites, TraceReader};

use crate::support::process::{errors, finish, heaplay};

/// 16 MiB hold 2^21 calls: the trace has three parts, of which the last ends early.
const CALLS: u64 = (2 << 20) + 150_000;
const MEMORY_LIMIT: &str = "16MiB";

/// A trace with lines and their callers.
struct TraceWithLines {
    path: PathBuf,
    /// By call: the line that allocated its block.
    line_of: Vec<String>,
    /// Some mallocs, in all parts.
    mallocs: Vec<u64>,
}

impl TraceWithLines {
    /// Blocks live so briefly that the heaps fit the memory limit.
    fn write(folder: &Path, calls: u64) -> TraceWithLines {
        let lifetimes = Distribution::parse("1-64:5,1000-8000:1", calls).unwrap();
        let sizes = Distribution::python_sizes();
        let mut generator = Generator::new(11, calls, sizes, lifetimes);
        let mut header = generator.header().clone();
        header.columns.site = true;
        let marks = [(calls / 3, "a third"), (calls - 1000, "late")];
        header.facts.insert("marks".into(), serde_json::to_string(&marks).unwrap());
        let path = folder.join("long.trace");
        let mut writer = trace::create(&path, &header).unwrap();
        let mut sites = Sites::default();
        let mut line_of = vec![String::new(); calls as usize];
        let mut mallocs = Vec::new();
        while let Some(mut row) = generator.next_row().unwrap() {
            // A line that comes late, and callers that are left out: several sites are one line.
            let line = match row.event {
                event if event > calls / 2 && event % 7 == 0 => "late.py:9".to_owned(),
                event => format!("work.py:{}", event * 2_654_435_761 % 41),
            };
            let caller = row.event % 3;
            row.site = match row.event % 13 {
                0 => Default::default(),
                _ => sites.intern(&format!("{line} < main.py:{caller}")),
            };
            let line = if row.event % 13 == 0 { String::new() } else { line };
            line_of[row.event as usize].clone_from(&line);
            if let Some(lifetime) = row.lifetime {
                // A realloc at that place overwrites it later.
                line_of[(row.event + lifetime.get()) as usize] = line;
            }
            if row.op == Op::Malloc && row.event.is_multiple_of(60_001) {
                mallocs.push(row.event);
            }
            writer.write_row(&row, &sites).unwrap();
        }
        writer.finish().unwrap();
        TraceWithLines { path, line_of, mallocs }
    }
}

/// The run of a trace under a memory limit, and what it printed.
fn run(trace: &Path, limit: &str, out: &Path, arguments: &[&str]) -> (Run, String) {
    let mut command = heaplay();
    command.arg("run").arg(trace).args(["-r", "1", "--memory-limit", limit]).args(arguments);
    let output = finish(command.arg("--out").arg(out));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    (Run::load(out).unwrap(), errors(&output))
}

#[test]
fn page_retention_and_slow_calls_have_the_same_lines_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let trace = TraceWithLines::write(folder.path(), CALLS);
    assert!(trace.mallocs.len() > 10, "{:?}", trace.mallocs);
    let numbers = folder.path().join("calls.bin");
    let calls: Vec<u8> =
        trace.mallocs.iter().flat_map(|event| (*event as u32).to_le_bytes()).collect();
    fs::write(&numbers, calls).unwrap();
    // About 3 ms at each of these calls: two million dependent multiplications.
    let stalls =
        format!("injected:burn=2000000,calls={},period=1000000000+malloc", numbers.display());
    let both = |name: &str, arguments: &[&str]| -> [Run; 2] {
        [("parts", MEMORY_LIMIT), ("whole", "4GiB")].map(|(how, limit)| {
            let out = folder.path().join(format!("{name}-{how}"));
            let (run, notes) = run(&trace.path, limit, &out, arguments);
            assert_eq!(notes.contains("in parts"), how == "parts", "{notes}");
            assert!(run.failed().is_empty());
            run
        })
    };
    let [parts, whole] = both("memory", &["-b", "malloc,pymalloc", "--passes", "footprint"]);
    for backend in ["malloc", "pymalloc"] {
        let lines = |run: &Run| {
            let mine = run.attributions.iter().filter(|row| row.backend == backend);
            mine.map(|row| format!("{row:?}")).collect::<Vec<_>>()
        };
        assert_eq!(lines(&parts), lines(&whole), "{backend}");
        let units = |run: &Run| {
            let mine = run.unit_retention.iter().filter(|row| row.backend == backend);
            mine.map(|row| format!("{row:?}")).collect::<Vec<_>>()
        };
        assert_eq!(units(&parts), units(&whole), "{backend}");
        assert!(!units(&whole).is_empty(), "{backend} returns memory by units");
        let contents = |run: &Run| {
            let mine = run.heap_contents.iter().filter(|row| row.backend == backend);
            mine.map(|row| (row.moment, row.live_blocks, row.lines.clone())).collect::<Vec<_>>()
        };
        // Of pymalloc, arenas are mappings, which lie elsewhere where parts arrive meanwhile.
        assert!(backend == "pymalloc" || contents(&parts) == contents(&whole), "{backend}");
        for moment in [Moment::Peak, Moment::End, Moment::Mark(1), Moment::Mark(2)] {
            let of = |line: &str| {
                parts
                    .attributions
                    .iter()
                    .any(|row| row.backend == backend && row.moment == moment && row.site == line)
            };
            assert!(of("work.py:3"), "{backend} {moment:?}");
            assert!(moment != Moment::End || (of("late.py:9") && of("")), "{backend} {moment:?}");
        }
    }
    // Each slow call has the line of its block, and each stall is a slow call. With one repetition on a
    // machine that is shared, a stall may be missed; one of several runs has to have each.
    let mut missed = [trace.mallocs.clone(), trace.mallocs.clone()];
    for attempt in 0..3 {
        let name = format!("latency-{attempt}");
        let runs = both(&name, &["-b", &stalls, "--no-floor", "--passes", "latency"]);
        for (run, missed) in runs.iter().zip(&mut missed) {
            for call in &run.slow_calls {
                assert_eq!(call.site, trace.line_of[call.event as usize], "{call:?}");
            }
            missed.retain(|event| {
                let is_it = |call: &heaplay::results::SlowCall| {
                    call.backend == stalls && call.event == *event && call.op.name() == "malloc"
                };
                !run.slow_calls.iter().any(is_it)
            });
        }
        if missed.iter().all(Vec::is_empty) {
            return;
        }
    }
    panic!("stalls that no run has, in parts and whole: {missed:?}");
}

/// What lies in a folder and the folders in it, in bytes; files may vanish meanwhile.
/// A check counts the requests of recordings in parts as those of whole ones, and refuses a pair of which
/// one is in parts.
#[test]
fn a_check_counts_the_requests_of_recordings_in_parts() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let calls = [CALLS, CALLS - 40_000, 20_000];
    let traces: Vec<PathBuf> = folders
        .iter()
        .zip(calls)
        .map(|(folder, calls)| TraceWithLines::write(folder.path(), calls).path)
        .collect();
    let check = |new: &Path, limit: &str| {
        let mut command = heaplay();
        command.arg("check").arg(&traces[0]).arg(new).args(["--backend", "malloc"]);
        finish(command.args(["--memory-limit", limit]))
    };
    let [parts, whole] = [MEMORY_LIMIT, "4GiB"].map(|limit| {
        let output = check(&traces[1], limit);
        assert_eq!(errors(&output).contains("in parts"), limit == MEMORY_LIMIT);
        let text = String::from_utf8(output.stdout).unwrap();
        text.split("verdict").next().unwrap().to_owned()
    });
    assert_eq!(parts, whole);
    assert!(whole.contains("work.py:") && whole.contains("late.py:9"), "{whole}");
    let refused = check(&traces[2], MEMORY_LIMIT);
    let message = errors(&refused);
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(
        message.contains("over the memory limit") && message.contains("--memory-limit SIZE"),
        "{message}"
    );
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => folder_bytes(&entry.path()),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// The most that lies in `folder` while a command runs, looked at every 2 ms.
fn most_bytes_during(command: &mut Command, folder: &Path) -> (std::process::Output, u64) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(folder_bytes(folder));
                std::thread::sleep(Duration::from_millis(2));
            }
            most
        });
        let output = finish(command);
        is_over.store(true, Ordering::Relaxed);
        (output, watcher.join().unwrap())
    })
}

/// The disk that is announced is what the run takes: no less, and not much more.
#[test]
fn the_disk_that_a_run_takes_is_reported_before_it_measures() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("t.trace");
    let arguments = ["--calls", "2500000", "--lifetimes", "1-64:5,1000-8000:1"];
    assert!(finish(heaplay().arg("generate").arg(&trace).args(arguments)).status.success());
    let out = folder.path().join("run");
    let mut command = heaplay();
    command.arg("run").arg(&trace).args(["-b", "malloc", "-r", "2", "--passes", "latency"]);
    command.args(["--jobs", "1", "--memory-limit", "16MiB", "--out"]).arg(&out);
    let (output, most) = most_bytes_during(&mut command, &out);
    assert!(output.status.success(), "{}", errors(&output));
    // Two repetitions of malloc and null take 4 bytes a call. While a repetition is measured, a
    // second half of both and a joined file come.
    let calls = 2_500_000;
    let mib = 7.0 * calls as f64 / f64::from(1 << 20);
    let announced = format!("up to {mib:.1} MiB of disk");
    assert!(errors(&output).contains(&announced), "{}", errors(&output));
    // Besides, there are the tables.
    assert!((6 * calls..7 * calls + (1 << 20)).contains(&most), "{most}");
}
