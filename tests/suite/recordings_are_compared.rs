//! Recordings of one program against recordings of another state of it: a series is recorded, an
//! unchanged program does not fail however much its recordings differ, and a changed one does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use heaplay::stats::{GroupedMeasure, GroupedValues, KeyedCounts, growth_probabilities};

use crate::support::process::{both, expect, finish, heaplay};

/// Probabilities agree with those that `oracle/splits.py` counts the plain way.
#[test]
fn probabilities_agree_with_all_splits() {
    let text = include_str!("../oracle/splits.csv");
    let numbers = |text: &str| -> Vec<f64> {
        text.split(' ').map(|number| number.parse().unwrap()).collect()
    };
    let mut rows = 0;
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let allowed_growth = fields[1].parse().unwrap();
        let measures: Vec<GroupedMeasure> = fields[2]
            .split(';')
            .map(|values| GroupedValues { values: numbers(values), allowed_growth }.into())
            .collect();
        let found = growth_probabilities(&measures, fields[0].parse().unwrap());
        for (found, expected) in found.iter().zip(numbers(fields[3])) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}: {line}");
        }
        rows += 1;
    }
    assert_eq!(rows, 21);
}

/// Steady keys and probabilities agree with those of `oracle/steady_counts.py`.
#[test]
fn steady_counts_agree_with_all_splits() {
    let text = include_str!("../oracle/steady_counts.csv");
    let numbers = |text: &str| -> Vec<f64> {
        text.split(' ').map(|number| number.parse().unwrap()).collect()
    };
    let mut rows = 0;
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let first: usize = fields[0].parse().unwrap();
        let counts = KeyedCounts {
            counts: fields[2].split(';').map(numbers).collect(),
            allowed_growth: fields[1].parse().unwrap(),
        };
        let steady = counts.steady_keys(first);
        assert_eq!(steady.keys.len(), fields[4].parse::<usize>().unwrap(), "{line}");
        let measure = GroupedValues { values: numbers(fields[3]), allowed_growth: 0.1 };
        let found = growth_probabilities(&[counts.into(), measure.into()], first);
        for (found, expected) in found.iter().zip(&fields[5..]) {
            let expected: f64 = expected.parse().unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}: {line}");
        }
        rows += 1;
    }
    assert_eq!(rows, 20);
}

/// A program as a CSV trace, written without any code of heaplay.
#[derive(Default)]
struct MadeUp {
    /// The size, the first call and the last one of each block.
    blocks: Vec<(u64, u64, Option<u64>)>,
    calls: u64,
}

impl MadeUp {
    fn malloc(&mut self, size: u64) -> usize {
        self.blocks.push((size, self.calls, None));
        self.calls += 1;
        self.blocks.len() - 1
    }

    fn free(&mut self, block: usize) {
        self.blocks[block].2 = Some(self.calls);
        self.calls += 1;
    }

    fn garbage(&mut self, count: u64) {
        for _ in 0..count {
            let block = self.malloc(200);
            self.free(block);
        }
    }

    /// Writes the trace. Every second block is another thread's where there are two.
    fn write(&self, path: &Path, threads: u64) -> PathBuf {
        let mut text = String::from("event,op,size,lifetime,thread\n");
        for (at, (size, first, last)) in (0..).zip(&self.blocks) {
            let lifetime = last.map_or(String::new(), |last| (last - first).to_string());
            text += &format!("{first},malloc,{size},{lifetime},{}\n", 1 + at % threads);
        }
        fs::write(path, text).unwrap();
        path.to_owned()
    }
}

/// A program that holds 2,000 blocks of 1,000 bytes, and whose recordings differ: each holds
/// `noise` blocks more for a while, and leaves `leak` blocks.
fn program(noise: u64, leak: u64) -> MadeUp {
    let mut made = MadeUp::default();
    let held: Vec<usize> = (0..2_000).map(|_| made.malloc(1_000)).collect();
    let extra: Vec<usize> = (0..noise).map(|_| made.malloc(1_000)).collect();
    extra.into_iter().for_each(|block| made.free(block));
    for _ in 0..leak {
        made.malloc(1_000);
    }
    made.garbage(500);
    held.into_iter().for_each(|block| made.free(block));
    made
}

/// Writes a series, one recording for each noise.
fn series(folder: &Path, name: &str, threads: u64, noises: &[u64], leak: u64) -> PathBuf {
    for (number, &noise) in (1..).zip(noises) {
        program(noise, leak).write(&folder.join(format!("{name}.{number}.csv")), threads);
    }
    folder.join(format!("{name}.csv"))
}

fn check(code: i32, old: &Path, new: &Path) -> String {
    expect(code, heaplay().arg("check").args([old, new]).args(["--backend", "malloc"]))
}

/// How much the live peak of unchanged recordings differs here: by up to 30 %.
const OLD: [u64; 5] = [0, 400, 100, 600, 200];
const NEW: [u64; 5] = [500, 50, 300, 550, 150];

#[test]
fn an_unchanged_program_does_not_fail_and_a_small_leak_does() {
    let folder = tempfile::tempdir().unwrap();
    let old = series(folder.path(), "old", 2, &OLD, 0);
    let new = series(folder.path(), "new", 2, &NEW, 0);
    // The means are 260 and 310 blocks of 1,000 bytes: over the tolerance, and within the noise.
    let text = check(3, &old, &new);
    assert!(text.contains("0 FAIL") && text.contains("live_peak_bytes"), "{text}");
    assert!(text.contains("mean of 5 and 5 recordings"), "{text}");
    // 1 % of the live peak stays: 25 blocks of 2,000 and up to 600 more.
    let leak = series(folder.path(), "leak", 2, &NEW, 25);
    let text = check(1, &old, &leak);
    assert!(text.contains("FAIL old the trace: live_end_bytes"), "{text}");
    assert!(text.contains("live_end_bytes 0 → 25000 bytes"), "{text}");
    assert!(text.contains("--old") && text.contains("--new"), "the command again: {text}");
    // Both sides may be named by their files, and one may have more of them.
    let files = |name: &str, numbers: &[u32]| -> Vec<PathBuf> {
        numbers.iter().map(|n| folder.path().join(format!("{name}.{n}.csv"))).collect()
    };
    let named = |code, numbers: &[u32]| {
        let mut command = heaplay();
        command.arg("check").arg("--old").args(files("old", &[1, 2, 3, 4, 5]));
        command.arg("--new").args(files("leak", numbers)).args(["--backend", "malloc"]);
        expect(code, &mut command)
    };
    named(1, &[1, 2, 3, 4]);
    // 2 of 7 recordings are one of 21 splits: no error of 1 % can hold.
    let text = named(3, &[1, 2]);
    assert!(text.contains("record --repeat 5"), "{text}");
}

#[test]
fn one_recording_a_side_decides_only_for_a_program_of_one_thread() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let one = program(0, 0).write(&at("one.csv"), 1);
    let more = program(400, 25).write(&at("more.csv"), 1);
    let text = check(1, &one, &more);
    assert!(text.contains("live_end_bytes"), "{text}");
    let text =
        check(3, &program(0, 0).write(&at("a.csv"), 2), &program(400, 25).write(&at("b.csv"), 2));
    assert!(text.contains("2 threads") && text.contains("record --repeat 5"), "{text}");
    // A small figure that doubles is no regression: 8 blocks of 2,000 are 0.4 % of the live peak.
    let less = program(0, 8).write(&at("less.csv"), 1);
    let twice = program(0, 16).write(&at("twice.csv"), 1);
    assert!(check(0, &less, &twice).contains("0 FAIL"));
}

/// Requests of one size, by one thread, at one line.
#[derive(Clone, Copy)]
struct Requests {
    count: u64,
    size: u64,
    thread: u64,
    line: &'static str,
}

/// Writes a recording of a block that stays and of short-lived blocks.
fn write_requests(path: &Path, requests: &[Requests]) {
    let mut text = String::from("event,op,size,lifetime,thread,site\n");
    text += "0,malloc,1000000,,1,app.py:1\n";
    let mut event = 1;
    for Requests { count, size, thread, line } in requests {
        for _ in 0..*count {
            text += &format!("{event},malloc,{size},1,{thread},{line}\n");
            event += 2;
        }
    }
    fs::write(path, text).unwrap();
}

/// A series of a program that polls for a time that varies by 10 %, each recording with `others`
/// besides.
fn polling(folder: &Path, name: &str, waits: &[u64; 5], others: &[Requests]) -> PathBuf {
    for (number, &count) in (1..).zip(waits) {
        let polls = Requests { count, size: 200, thread: 2, line: "wait.py:7" };
        let all = [&[polls][..], others].concat();
        write_requests(&folder.join(format!("{name}.{number}.csv")), &all);
    }
    folder.join(format!("{name}.csv"))
}

/// The polls of recordings of both sides. Their means differ by less than the tolerance.
const OLD_WAITS: [u64; 5] = [5_000, 5_400, 5_100, 5_600, 5_200];
const NEW_WAITS: [u64; 5] = [5_500, 5_050, 5_300, 5_350, 5_103];

/// No measure of sums sees 2 % more calls of a program whose calls vary by 10 %. The size class, the
/// thread or the line that grew repeats within both sides.
#[test]
fn a_change_beside_noise_is_found_where_counts_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let of = |count, size, thread, line| Requests { count, size, thread, line };
    let base = [of(1_250, 200, 1, "app.py:1"), of(125, 130, 1, "app.py:2")];
    let old = polling(folder.path(), "old", &OLD_WAITS, &base);
    let unchanged = polling(folder.path(), "same", &NEW_WAITS, &base);
    let text = check(0, &old, &unchanged);
    assert!(text.contains("0 FAIL") && text.contains("0 inconclusive"), "{text}");
    let failed = |name: &str, more: Requests| -> Vec<String> {
        let all = [&base[..], &[more]].concat();
        let text = check(1, &old, &polling(folder.path(), name, &NEW_WAITS, &all));
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("FAIL old")).collect();
        // Bytes by the same key grew, too.
        let (bytes, requests): (Vec<&str>, Vec<&str>) =
            lines.into_iter().partition(|line| line.contains("steady_bytes_by_"));
        let kind = format!("_by_{name}");
        assert!(bytes.len() == 1 && bytes[0].contains(&kind), "{bytes:#?}");
        requests.into_iter().map(str::to_owned).collect()
    };
    // 135 requests and their frees are 2 % of the calls. They are in a size class of their own …
    let found = failed("size", of(135, 130, 2, "wait.py:7"));
    assert_eq!(found.len(), 1, "{found:#?}");
    for part in [
        "steady_requests_by_size 126 → 261 requests (+107.14 %",
        "129 to 144 bytes from 125 to 260",
        "2 of 3 size classes repeat",
        "probability 0.0040",
    ] {
        assert!(found[0].contains(part), "{part}: {found:#?}");
    }
    // … or in a thread of their own …
    let found = failed("thread", of(135, 200, 1, "wait.py:7"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("steady_requests_by_thread 1376 → 1511 requests"), "{found:#?}");
    assert!(found[0].contains("thread 1 from 1376 to 1511"), "{found:#?}");
    // … or at a line of their own.
    let found = failed("line", of(135, 200, 2, "app.py:9"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("app.py:9 from 0 to 135"), "{found:#?}");
}

/// The sums of a program that polls are beyond any number of recordings. They are skipped where most of
/// the requests repeat, and inconclusive otherwise.
#[test]
fn a_sum_that_varies_too_much_is_left_to_what_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let waits = [5_700, 5_250, 5_500, 5_550, 5_303];
    let of = |count, size| Requests { count, size, thread: 1, line: "app.py:1" };
    for (name, steady, code) in [("most", 9_000, 0), ("few", 1_000, 3)] {
        let base = [of(steady, 300), of(125, 130)];
        let old = polling(folder.path(), &format!("{name}-old"), &OLD_WAITS, &base);
        let new = polling(folder.path(), &format!("{name}-new"), &waits, &base);
        let text = check(code, &old, &new);
        // Calls, requested bytes and both means; of `few`, the calls of which most do not repeat.
        let verdicts = if code == 0 { "0 inconclusive" } else { "1 inconclusive" };
        assert!(text.contains("0 FAIL") && text.contains(verdicts), "{text}");
        assert!(text.contains(if code == 0 { "4 skipped" } else { "3 skipped" }), "{text}");
    }
    // The same beside a change: what repeats shows it.
    let base = |more: u64| [of(9_000, 300), of(125 + more, 130)];
    let old = polling(folder.path(), "before", &OLD_WAITS, &base(0));
    let text = check(1, &old, &polling(folder.path(), "after", &waits, &base(400)));
    assert!(text.contains("FAIL before the trace: steady_requests_by_size"), "{text}");
}

/// What moves from one key to another is no growth, nor is what other calls more than make up for.
#[test]
fn moved_requests_and_fewer_requests_do_not_fail() {
    let folder = tempfile::tempdir().unwrap();
    let of = |count, size, line| Requests { count, size, thread: 1, line };
    let base = [of(1_250, 200, "app.py:1"), of(225, 130, "app.py:2")];
    let old = polling(folder.path(), "old", &OLD_WAITS, &base);
    // A smaller size, and every line one further down.
    let moved = [of(1_250, 200, "app.py:2"), of(225, 110, "app.py:3")];
    let text = check(0, &old, &polling(folder.path(), "moved", &NEW_WAITS, &moved));
    assert!(text.contains("0 FAIL") && text.contains("0 inconclusive"), "{text}");
    // 135 requests more, and a quarter of the polls.
    let fewer = [&base[..], &[of(135, 130, "app.py:9")]].concat();
    let waits = NEW_WAITS.map(|count| count / 4);
    let text = check(0, &old, &polling(folder.path(), "fewer", &waits, &fewer));
    assert!(text.contains("0 FAIL") && text.contains("0 inconclusive"), "{text}");
}

/// Less garbage makes the allocation clock shorter, so that the mean over the clock rises.
#[test]
fn less_garbage_does_not_fail_and_more_does() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, garbage: u64| {
        let mut made = MadeUp::default();
        made.garbage(garbage);
        for _ in 0..3_000 {
            made.malloc(600);
        }
        made.write(&folder.path().join(name), 1)
    };
    let (before, after) = (write("before.csv", 30_000), write("after.csv", 300));
    let text = check(0, &before, &after);
    assert!(text.contains("0 FAIL"), "{text}");
    let text = check(1, &after, &before);
    assert!(text.contains("requested_bytes"), "{text}");
}

#[test]
fn the_selftest_counts_false_alarms_of_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let noises: Vec<u64> = (0..10).map(|at| at * 37 % 10 * 60).collect();
    let unchanged = series(folder.path(), "app", 2, &noises, 0);
    let changed = series(folder.path(), "leak", 2, &noises, 30);
    let file = folder.path().join("out.json");
    let trials = |arguments: &[&str]| -> Vec<(u64, u64)> {
        let mut command = heaplay();
        command.arg("selftest").arg("--recordings").arg(&unchanged).args(arguments);
        command.args(["--trials", "60", "--backend", "malloc", "--json"]).arg(&file);
        expect(0, &mut command);
        let all: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let failed = |series: &serde_json::Value| {
            let trials = series["trials"].as_array().unwrap();
            let failed = trials.iter().filter(|trial| trial["verdict"] == "fail").count();
            (trials.len() as u64, failed as u64)
        };
        all["kinds"].as_array().unwrap().iter().map(failed).collect()
    };
    let found = trials(&[]);
    assert_eq!(found[0], (60, 0), "one a side, two threads");
    assert!(found[1].0 == 60 && found[1].1 <= 4, "five a side: {found:?}");
    let changed = changed.to_string_lossy();
    let found = trials(&["--changed", &changed, "--sides", "1,5,10"]);
    assert_eq!(found, [(60, 0), (60, 60), (60, 60)]);
    let mut few = heaplay();
    few.arg("selftest").arg("--recordings").arg(&unchanged).args(["--sides", "6"]);
    assert!(expect(2, &mut few).contains("sides of 6 need 12 recordings"));
}

/// `heaplay record --repeat` of a shell's command.
fn recorded(folder: &Path, count: &str, script: &str) -> Command {
    let mut command = heaplay();
    command.current_dir(folder).args(["record", "--repeat", count, "-o", "app.trace", "--"]);
    command.args(["/bin/sh", "-c", script]);
    command
}

fn traces(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|n| n.ends_with(".trace"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_program_is_recorded_several_times() {
    let folder = tempfile::tempdir().unwrap();
    let text = expect(0, &mut recorded(folder.path(), "3", "echo run >> runs"));
    assert_eq!(traces(folder.path()), ["app.1.trace", "app.2.trace", "app.3.trace"]);
    assert_eq!(fs::read_to_string(folder.path().join("runs")).unwrap(), "run\n".repeat(3));
    assert!(text.contains("3 recordings; `heaplay check app.trace …`"), "{text}");
    for name in traces(folder.path()) {
        expect(0, heaplay().current_dir(folder.path()).args(["inspect", &name]));
    }
    expect(0, heaplay().current_dir(folder.path()).args(["check", "app.trace", "app.1.trace"]));
    // A shorter series would be read with the rest of the longer one.
    let text = expect(2, &mut recorded(folder.path(), "2", "echo never >> runs"));
    assert!(text.contains("app.3.trace") && text.contains("longer series"), "{text}");
    fs::write(folder.path().join("app.trace"), "").unwrap();
    let text = expect(2, &mut recorded(folder.path(), "3", "echo never >> runs"));
    assert!(text.contains("app.trace: is a trace already"), "{text}");
    assert_eq!(fs::read_to_string(folder.path().join("runs")).unwrap(), "run\n".repeat(3));
}

#[test]
fn failures_and_signals_of_a_series_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    // The second run fails, and the series goes on.
    let script = "echo run >> runs; [ $(wc -l < runs) -ne 2 ] || exit 7";
    let text = expect(7, &mut recorded(folder.path(), "3", script));
    assert_eq!(traces(folder.path()).len(), 3);
    assert!(text.contains("1 of 3 runs failed (run 2: exit status 7)"), "{text}");
    // A signal to heaplay reaches the program and ends the series.
    let folder = tempfile::tempdir().unwrap();
    let output = finish(&mut recorded(folder.path(), "3", "kill -TERM $PPID; sleep 5"));
    assert_eq!(output.status.code(), Some(130), "{}", both(&output));
    assert!(both(&output).contains("after 1 of 3 recordings"), "{}", both(&output));
    assert_eq!(traces(folder.path()), ["app.1.trace"]);
    let mut missing = heaplay();
    missing.current_dir(folder.path()).args(["record", "--repeat", "2", "-o", "no.trace", "--"]);
    assert!(expect(127, missing.arg("./no-such-program")).contains("not found"));
}
