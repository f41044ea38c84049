//! Runs as their user meets them: whole, interrupted, resumed, merged, checked, and given nonsense.
//!
//! Counts are compared with a plain reading of the CSV. Verdicts are compared with changes that the
//! tests make to a run folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use heaplay::results::{
    Chunk, Exactness, Metric, Operation, Pass, Run, Scope, ServiceTimes, Status,
};

use crate::support::process::{both, errors, expect, finish, heaplay};
use crate::support::skip::skip;
use crate::support::traces::{generated, requests};

/// The calls by op, and peak and end of the live bytes, from the rows of a CSV.
fn counts(csv: &Path) -> (BTreeMap<&'static str, u64>, u64, u64) {
    // One entry for each change of the live bytes at an event.
    let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
    let mut calls: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut ended_by_free = 0i64;
    for request in requests(csv) {
        let bytes = i64::try_from(request.size_bytes).unwrap();
        let ops = ["malloc", "calloc", "realloc"];
        *calls.entry(ops.into_iter().find(|name| *name == request.op).unwrap()).or_default() += 1;
        *changes.entry(request.event).or_default() += bytes;
        ended_by_free -= i64::from(request.op == "realloc");
        if let Some(end) = request.end {
            *changes.entry(end).or_default() -= bytes;
            ended_by_free += 1;
        }
    }
    calls.insert("free", u64::try_from(ended_by_free).unwrap());
    let (mut live, mut peak) = (0i64, 0i64);
    for change in changes.values() {
        live += change;
        peak = peak.max(live);
    }
    (calls, u64::try_from(peak).unwrap(), u64::try_from(live).unwrap())
}

#[test]
fn a_run_has_the_counts_of_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let csv = generated(folder.path(), "small.csv", 20_000);
    let out = folder.path().join("run");
    expect(0, heaplay().arg("run").arg(&csv).args(["-r", "3", "--out"]).arg(&out));
    let run = Run::load(&out).unwrap();
    assert!(run.missing().is_empty() && run.failed().is_empty());
    let (calls, peak, end) = counts(&csv);
    for backend in ["malloc", "pymalloc", "bump", "null"] {
        for (op, count) in &calls {
            for value in
                run.values("small", backend, Scope::Op(Operation::find(op).unwrap()), Metric::Calls)
            {
                assert_eq!(value, *count as f64, "{backend} {op}");
            }
        }
        assert_eq!(run.values("small", backend, Scope::All, Metric::LivePeakBytes), [peak as f64]);
        assert_eq!(run.values("small", backend, Scope::All, Metric::LiveEndBytes), [end as f64]);
        let histograms: u64 = run
            .latencies
            .iter()
            .filter(|l| l.backend == backend && l.repetition == Some(1))
            .map(|l| l.histogram.len())
            .sum();
        assert_eq!(histograms, 20_000);
        let confirmed: u64 = run
            .latencies
            .iter()
            .filter(|l| l.backend == backend && l.repetition.is_none())
            .map(|l| l.histogram.len())
            .sum();
        assert_eq!(confirmed, 20_000);
    }
    for sample in &run.samples {
        assert!(sample.live_bytes <= sample.usable_bytes, "{sample:?}");
        if sample.backend != "null" {
            assert!(sample.usable_bytes <= sample.pages_in_use_bytes, "{sample:?}");
            assert!(
                sample.pages_in_use_bytes <= sample.resident_bytes + (16 << 10) + 4096,
                "{sample:?}"
            );
        }
    }
    // A bump allocator returns nothing, so at least all requested bytes are resident.
    let bump = run.values("small", "bump", Scope::All, Metric::ResidentEndBytes)[0];
    assert!(bump >= run.values("small", "bump", Scope::All, Metric::RequestedBytes)[0]);
    assert!(!out.join("cells").exists());
}

#[test]
fn two_runs_agree_in_every_exact_measure_and_an_injected_page_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 30_000);
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    for out in [&first, &second] {
        expect(
            0,
            heaplay().arg("run").arg(&trace).args(["--passes", "footprint", "--out"]).arg(out),
        );
    }
    let check =
        |code| expect(code, heaplay().arg("check").arg("--baseline").arg(&first).arg(&second));
    assert!(check(0).contains(" 0 MISSING"), "{}", check(0));
    let mut run = Run::load(&second).unwrap();
    let injected = run
        .measurements
        .iter_mut()
        .find(|m| m.backend == "pymalloc" && m.metric == Metric::ResidentEndBytes)
        .expect("a footprint has an end");
    injected.value += 4096.0;
    run.save(&second).unwrap();
    let table = check(1);
    assert!(
        table.contains("FAIL")
            && table.contains(Metric::ResidentEndBytes.name())
            && table.contains("pymalloc"),
        "{table}"
    );
    assert!(table.contains("1 FAIL"), "{table}");
}

/// Waits until `done` holds, for a minute at most.
#[track_caller]
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited a minute for {what}");
        sleep(Duration::from_millis(5));
    }
}

fn finished_cells(out: &Path) -> usize {
    fs::read_dir(out.join("cells"))
        .map_or(0, |cells| cells.flatten().filter(|cell| cell.path().extension().is_none()).count())
}

fn signal(pid: u32, name: &str) {
    assert!(
        Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// The children of a process, from `/proc`.
fn children_of(parent: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return vec![] };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            after.split_whitespace().nth(1).and_then(|ppid| ppid.parse().ok()) == Some(parent)
        })
        .collect()
}

#[test]
fn a_run_that_is_killed_retains_its_cells_and_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 300_000);
    for (name, code) in [("INT", Some(130)), ("KILL", None)] {
        let out = folder.path().join(name);
        let mut child = heaplay()
            .arg("run")
            .arg(&trace)
            .args(["-r", "9", "--out"])
            .arg(&out)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the first cells", || finished_cells(&out) >= 3);
        signal(child.id(), name);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), code);
        let partial = Run::load(&out).unwrap();
        let (done, missing) = (partial.outcomes.len(), partial.missing().len());
        assert!(done >= 3 && missing > 0, "{done} done, {missing} missing");
        expect(0, heaplay().args(["run", "--resume"]).arg(&out));
        let whole = Run::load(&out).unwrap();
        assert_eq!(whole.outcomes.len(), done + missing);
        assert!(whole.missing().is_empty() && whole.failed().is_empty());
        // The figures from before the interruption are unchanged.
        for before in partial.measurements {
            assert!(whole.measurements.contains(&before));
        }
    }
}

#[test]
fn a_child_that_is_killed_costs_its_own_cell() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 1_500_000);
    let out = folder.path().join("run");
    let mut run = heaplay()
        .arg("run")
        .arg(&trace)
        .args([
            "-r",
            "1",
            "--passes",
            "latency",
            "--backends",
            "malloc,bump",
            "--jobs",
            "1",
            "--out",
        ])
        .arg(&out)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("a child at work", || {
        out.join("cells").exists() && !children_of(run.id()).is_empty() && finished_cells(&out) == 0
    });
    // All children of a batch are alive at once. One of them dies, and the others go on.
    signal(children_of(run.id())[0], "KILL");
    run.wait().unwrap();
    let record = Run::load(&out).unwrap();
    let failed = record.failed();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].reason.contains("SIGKILL"), "{}", failed[0].reason);
    assert_eq!(record.outcomes.iter().filter(|o| o.status == Status::Ok).count(), 2);
    expect(0, heaplay().args(["run", "--resume"]).arg(&out));
    let record = Run::load(&out).unwrap();
    assert!(record.failed().is_empty() && record.missing().is_empty());
    assert!(record.outcomes.iter().all(|o| o.pass == Pass::Latency));
}

#[test]
fn a_folder_serves_one_run_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 300_000);
    let out = folder.path().join("run");
    let mut first = heaplay()
        .arg("run")
        .arg(&trace)
        .args(["-r", "9", "--out"])
        .arg(&out)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the first cells", || finished_cells(&out) >= 1);
    for arguments in [vec!["run", "--resume"], vec!["run", trace.to_str().unwrap(), "--out"]] {
        let second = finish(heaplay().args(&arguments).arg(&out));
        assert_eq!(second.status.code(), Some(2));
        assert!(errors(&second).contains("another heaplay is at work"), "{}", errors(&second));
    }
    assert!(first.wait().unwrap().success());
    assert!(Run::load(&out).unwrap().missing().is_empty());
}

/// A reader that closes the pipe does not change the verdict.
#[test]
fn a_closed_pipe_is_no_pass() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 5_000);
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    expect(
        0,
        heaplay().arg("run").arg(&trace).args(["--passes", "footprint", "--out"]).arg(&first),
    );
    let mut run = Run::load(&first).unwrap();
    run.measurements
        .iter_mut()
        .filter(|m| m.metric == Metric::PagesInUseEndBytes)
        .for_each(|m| m.value += 4096.0);
    run.save(&second).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = heaplay()
        .arg("check")
        .arg("--baseline")
        .arg(&first)
        .arg(&second)
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_memory_limit_stops_a_child() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 2_000_000);
    let out = folder.path().join("run");
    let arguments = [
        "--backends",
        "bump",
        "--no-floor",
        "--passes",
        "footprint",
        "--memory-limit",
        "1MiB",
        "--out",
    ];
    let output = finish(heaplay().arg("run").arg(&trace).args(arguments).arg(&out));
    assert_eq!(output.status.code(), Some(4), "{}", errors(&output));
    assert!(errors(&output).contains("memory limit"), "{}", errors(&output));
}

#[test]
fn folders_are_merged_when_they_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 5_000);
    let run = |name: &str, backend: &str| {
        let out = folder.path().join(name);
        let arguments = ["--no-floor", "-r", "1", "--backends", backend, "--out"];
        expect(0, heaplay().arg("run").arg(&trace).args(arguments).arg(&out));
        out
    };
    let (first, second, again) = (run("a", "malloc"), run("b", "bump"), run("c", "bump"));
    let out = folder.path().join("whole");
    expect(0, heaplay().arg("merge").args([&first, &second]).arg("--out").arg(&out));
    let whole = Run::load(&out).unwrap();
    assert_eq!(whole.manifest.backends.len(), 2);
    assert!(whole.missing().is_empty());
    assert_eq!(
        whole.measurements.len(),
        [&first, &second].map(|f| Run::load(f).unwrap().measurements.len()).iter().sum::<usize>()
    );
    let twice = finish(
        heaplay().arg("merge").args([&second, &again]).arg("--out").arg(folder.path().join("no")),
    );
    assert_eq!(twice.status.code(), Some(2));
    assert!(errors(&twice).contains("is in two of them"), "{}", errors(&twice));
}

/// Nonsense of any kind gives exit code 2 and a message that names the place, and never a panic.
#[test]
fn nonsense_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, bytes: &[u8]| {
        fs::write(at(name), bytes).unwrap();
        at(name).display().to_string()
    };
    let good = generated(folder.path(), "good.trace", 3_000);
    let bytes = fs::read(&good).unwrap();
    // Long enough for two parts, so that one part is whole after the cut.
    let long = fs::read(generated(folder.path(), "long.trace", 200_000)).unwrap();
    let cut = write("cut.trace", &long[..long.len() - 30]);
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0x40;
    let flipped = write("flipped.trace", &flipped);
    let header = "event,op,size,lifetime,thread,domain\n";
    let csv = |name: &str, rows: &str| write(name, format!("{header}{rows}").as_bytes());
    let good = good.display().to_string();
    let cases: Vec<(Vec<String>, &[&str])> = vec![
        (vec!["run".into(), write("empty.trace", b"")], &["empty.trace", "empty file"]),
        (vec!["run".into(), write("empty.csv", b"")], &["empty.csv:1", "empty file"]),
        (vec!["run".into(), cut.clone()], &["cut.trace", "cut off at byte", "--salvage"]),
        (vec!["run".into(), flipped], &["flipped.trace", "at byte", "checksum"]),
        (vec!["run".into(), write("foreign.trace", b"\x1f\x8b\x08")], &["foreign.trace", "gzip"]),
        (vec!["run".into(), write("elf.bin", b"\x7fELF")], &["elf.bin", "ELF"]),
        (
            vec!["run".into(), at("absent.trace").display().to_string()],
            &["absent.trace", "check the path"],
        ),
        (
            vec!["run".into(), csv("size.csv", "0,malloc,x,,1,obj\n")],
            &["size.csv:2", "size `x`", "whole number"],
        ),
        (
            vec!["run".into(), csv("big.csv", "0,malloc,140737488355329,,1,obj\n")],
            &["big.csv:2", "2^47"],
        ),
        (
            vec!["run".into(), csv("op.csv", "0,free,8,,1,obj\n")],
            &["op.csv:2", "op `free`", "malloc, calloc, realloc"],
        ),
        (
            vec!["run".into(), csv("zero.csv", "0,malloc,8,0,1,obj\n")],
            &["zero.csv:2", "lifetime `0`"],
        ),
        (
            vec!["run".into(), csv("gap.csv", "0,malloc,8,,1,obj\n2,malloc,8,,1,obj\n")],
            &["gap.csv:3", "event 1 is missing"],
        ),
        (
            vec!["run".into(), csv("two.csv", "0,malloc,8,2,1,obj\n1,malloc,8,1,1,obj\n")],
            &["two.csv", "event 2", "events 0 and 1 both end"],
        ),
        (
            vec!["run".into(), csv("past.csv", "0,malloc,8,9,1,obj\n")],
            &["past.csv", "past the last event"],
        ),
        (vec!["run".into(), csv("width.csv", "0,malloc,8\n")], &["width.csv:2", "3 fields"]),
        (
            vec!["run".into(), csv("utf8.csv", "0,malloc,8,,1,\u{0}bj\n")],
            &["utf8.csv:2", "raw, mem, obj"],
        ),
        (
            vec!["run".into(), csv("mixed.csv", "0,malloc,8,1,1,obj\n1,realloc,8,,1,raw\n")],
            &["mixed.csv:3", "domain raw"],
        ),
        (
            vec!["run".into(), write("column.csv", b"op,size\nmalloc,1\n")],
            &["column.csv:1", "no column `lifetime`"],
        ),
        (
            vec!["run".into(), write("norows.csv", b"op,size,lifetime\n")],
            &["norows.csv", "no call"],
        ),
        (
            vec!["run".into(), write("realloc.csv", b"op,size,lifetime\nrealloc,1,\n")],
            &["realloc.csv:2", "event` column"],
        ),
        (vec!["run".into(), folder.path().join("nowhere/").display().to_string()], &["nowhere"]),
        (
            vec!["run".into(), good.clone(), "--backends".into(), "mallok".into()],
            &["did you mean `malloc`"],
        ),
        (
            vec!["run".into(), good.clone(), "--backends".into(), "malloc,malloc".into()],
            &["there twice"],
        ),
        (
            vec!["run".into(), good.clone(), "--backends".into(), "malloc@".into()],
            &["malloc@", "version"],
        ),
        (
            vec!["run".into(), good.clone(), "--backends".into(), "bump:colour=red".into()],
            &["bump", "colour"],
        ),
        (
            vec!["run".into(), good.clone(), "--out".into(), "/proc/nothing".into()],
            &["/proc/nothing", "--out"],
        ),
        (vec!["run".into(), good.clone(), "--repetitions".into(), "0".into()], &["repetitions"]),
        (
            vec!["run".into(), good.clone(), "--passes".into(), "speed".into()],
            &["speed", "footprint"],
        ),
        (
            vec!["run".into(), "--resume".into(), at("none").display().to_string()],
            &["none", "there is no such folder"],
        ),
        (
            vec![
                "merge".into(),
                at("x").display().to_string(),
                at("y").display().to_string(),
                "--out".into(),
                at("z").display().to_string(),
            ],
            &["there is no such folder"],
        ),
        (
            vec![
                "check".into(),
                "--baseline".into(),
                at("x").display().to_string(),
                at("y").display().to_string(),
            ],
            &["the baseline", "there is no such folder"],
        ),
        (
            vec!["convert".into(), good.clone(), at("out.parquet").display().to_string()],
            &["out.parquet", ".csv"],
        ),
        (vec!["convert".into(), good.clone(), good.clone()], &["same file"]),
        (
            vec!["convert".into(), cut.clone(), at("half.csv").display().to_string()],
            &["cut off", "--salvage"],
        ),
        (
            vec![
                "generate".into(),
                at("g.trace").display().to_string(),
                "--sizes".into(),
                "9-1:2".into(),
            ],
            &["--sizes", "9-1:2"],
        ),
        (vec!["fly".into()], &["fly"]),
    ];
    for (arguments, parts) in cases {
        let output = finish(heaplay().args(&arguments).current_dir(folder.path()));
        let message = errors(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(!message.contains("panicked"), "{arguments:?}: {message}");
        for part in parts {
            assert!(message.contains(part), "{arguments:?}: no `{part}` in {message}");
        }
    }
    // It gives no memory, so nothing is proved.
    expect(4, heaplay().args(["verify", &good, "--backend", "null"]));
    assert!(
        !at("half.csv").exists() && !at("half.csv.part").exists(),
        "a failed conversion leaves nothing"
    );
    let salvaged = at("salvaged.csv");
    expect(0, heaplay().args(["convert", "--salvage", &cut]).arg(&salvaged));
    expect(0, heaplay().arg("verify").arg(&salvaged));
}

#[test]
fn a_path_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 1_000);
    if Path::new("/dev/full").exists() {
        let path = folder.path().join("full.csv");
        std::os::unix::fs::symlink("/dev/full", folder.path().join("full.csv.part")).unwrap();
        let output = finish(heaplay().arg("convert").arg(&trace).arg(&path));
        // A full disk may have space later, so a scheduler may try again.
        assert_eq!(output.status.code(), Some(75));
        assert!(
            errors(&output).contains("full.csv") && errors(&output).contains("free some space"),
            "{}",
            errors(&output)
        );
    } else {
        skip("dev-full", "no /dev/full");
    }
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let output = finish(heaplay().arg("run").arg(&trace).arg("--out").arg(closed.join("run")));
    if output.status.success() {
        skip("ordinary-user", "permissions do not bind this user");
    } else {
        assert_eq!(output.status.code(), Some(2));
        assert!(errors(&output).contains("closed"), "{}", errors(&output));
    }
}

#[test]
fn csv_and_binary_hold_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let first = generated(folder.path(), "a.csv", 50_000);
    let (binary, second) = (folder.path().join("b.trace"), folder.path().join("c.csv"));
    expect(0, heaplay().arg("convert").arg(&first).arg(&binary));
    expect(0, heaplay().arg("convert").arg(&binary).arg(&second));
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap());
}

/// A trace over the memory limit is replayed in parts. Exact measures are those of the whole trace.
#[test]
fn a_trace_over_the_memory_limit_is_replayed_in_parts_with_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    // A call takes 8 bytes, so 16 MiB hold 2 of the 2.5 million calls. There are three parts of up
    // to 2^20 calls. Blocks live so briefly that the heaps fit.
    let trace = folder.path().join("long.trace");
    let arguments = ["--calls", "2500000", "--lifetimes", "1-64:5,1000-8000:1"];
    expect(0, heaplay().arg("generate").arg(&trace).args(arguments));
    let mut runs = Vec::new();
    for (name, limit) in [("parts", "16MiB"), ("whole", "4GiB")] {
        // Latencies are confirmed with three repetitions.
        let out = folder.path().join(name);
        let mut command = heaplay();
        command.arg("run").arg(&trace).args([
            "-r",
            "3",
            "-b",
            "pymalloc,malloc",
            "--memory-limit",
            limit,
        ]);
        let output = finish(command.arg("--out").arg(&out));
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        assert_eq!(errors(&output).contains("in parts"), name == "parts", "{}", errors(&output));
        runs.push(Run::load(&out).unwrap());
    }
    let [parts, whole] = &runs[..] else { unreachable!() };
    assert!(parts.failed().is_empty() && parts.missing().is_empty());
    let mut compared = 0;
    for row in &whole.measurements {
        let exact = row.metric.exactness();
        let is_exact = !matches!(exact, Exactness::Timed | Exactness::Reported);
        // Page faults include those of the harness's tables, which lie at other addresses.
        if is_exact && row.metric != Metric::MinorFaults {
            let other = parts.values("long", &row.backend, row.op, row.metric);
            assert_eq!(
                other.first(),
                Some(&row.value),
                "{} {} of {}",
                row.backend,
                row.metric,
                row.op
            );
            compared += 1;
        }
    }
    assert!(compared > 60, "{compared}");
    // Every call is timed, in the same chunks.
    let chunks = |run: &Run| -> Vec<u64> {
        let mine = |chunk: &&Chunk| chunk.backend == "malloc" && chunk.repetition == 0;
        run.chunks.iter().filter(mine).map(|chunk| chunk.calls).collect()
    };
    assert_eq!(chunks(parts), chunks(whole));
    // Latencies are raw in each repetition, and confirmed by all.
    let timed = |run: &Run, repetition: Option<u32>| -> u64 {
        let mine =
            run.latencies.iter().filter(|l| l.backend == "malloc" && l.repetition == repetition);
        mine.map(|l| l.histogram.len()).sum()
    };
    for repetition in [Some(0), Some(1), Some(2), None] {
        assert_eq!((timed(parts, repetition), timed(whole, repetition)), (2_500_000, 2_500_000));
    }
    // Each call has its op and size class. Its time is not compared.
    let classes = |run: &Run| -> BTreeMap<(String, Option<u32>, Operation, u64), u64> {
        let calls = |row: &ServiceTimes| row.pairs().map(|(_, calls)| calls).sum();
        let key =
            |row: &ServiceTimes| (row.backend.clone(), row.repetition, row.op, row.up_to_bytes);
        run.service_times.iter().map(|row| (key(row), calls(row))).collect()
    };
    assert_eq!(classes(parts), classes(whole));
    assert!(classes(parts).len() > 40 && parts.latency_map.len() > 1);
}

/// With valgrind, instructions are counted, and agree in two runs. Without it a line says so.
#[test]
fn instructions_are_counted_or_the_lack_of_valgrind_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "small.trace", 20_000);
    let run = |name: &str, path: Option<&str>| {
        let out = folder.path().join(name);
        let mut command = heaplay();
        command.arg("run").arg(&trace).args(["-r", "1", "-b", "pymalloc", "--passes", "time"]);
        command.args(["--count-instructions", "--out"]).arg(&out);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let output = finish(&mut command);
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        (Run::load(&out).unwrap(), both(&output))
    };
    let (without, report) = run("without", Some("/nowhere"));
    assert!(report.contains("instructions: skipped, valgrind is not on the PATH"), "{report}");
    assert!(without.values("small", "pymalloc", Scope::All, Metric::Instructions).is_empty());
    if heaplay::bench::valgrind().is_none() {
        return skip("valgrind", "no valgrind on the PATH");
    }
    let (first, report) = run("first", None);
    assert!(report.contains("Instructions a call"), "{report}");
    let (second, _) = run("second", None);
    for backend in ["pymalloc", "null"] {
        let of = |run: &Run| run.values("small", backend, Scope::All, Metric::Instructions)[0];
        let (one, two) = (of(&first), of(&second));
        assert!((one / two - 1.0).abs() < 1e-3, "{backend}: {one} and {two}");
        // Each iteration of the loop takes several instructions, and no call takes a thousand.
        assert!((8.0..1000.0).contains(&(one / 20_000.0)), "{backend}: {one}");
    }
    assert!(
        first.values("small", "null", Scope::All, Metric::Instructions)
            < first.values("small", "pymalloc", Scope::All, Metric::Instructions)
    );
}

/// The manifest has variables that may change an allocator, and no search path of libraries.
#[test]
fn the_record_names_variables_of_allocators_and_no_search_paths() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "a.trace", 2000);
    let out = folder.path().join("run");
    let mut command = heaplay();
    command
        .env("LD_LIBRARY_PATH", folder.path())
        .env("MALLOC_ARENA_TEST", "3")
        .env("PRIVATE", "secret");
    command.env_remove("GLIBC_TUNABLES").env_remove("LD_PRELOAD");
    command
        .arg("run")
        .arg(&trace)
        .args(["--passes", "footprint", "-b", "malloc", "--out"])
        .arg(&out);
    expect(0, &mut command);
    let run = Run::load(&out).unwrap();
    assert_eq!(
        run.manifest.machine.facts.get("variables").map(String::as_str),
        Some("MALLOC_ARENA_TEST=3")
    );
}

/// Limits hold for a timed child, which waits most of the time. The row has the reason, and a
/// backend that failed once is not tried again.
#[test]
fn limits_hold_in_timed_passes() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "long.trace", 1_000_000);
    // One call takes half a minute. It comes after the checks before a run. For the memory limit it
    // comes late enough that the memory is taken.
    let hangs = |call: u32, below: &str| {
        let numbers = folder.path().join(format!("{call}.bin"));
        fs::write(&numbers, call.to_le_bytes()).unwrap();
        format!("injected:burn=20000000000,calls={},period=100000000+{below}", numbers.display())
    };
    for (backend, passes, limit, part) in [
        (hangs(200_000, "malloc"), "time", ["--timeout", "1"], "its time limit"),
        (hangs(200_000, "malloc"), "latency", ["--timeout", "1"], "its time limit"),
        (hangs(900_000, "bump"), "time", ["--memory-limit", "16MiB"], "its memory limit of 16 MiB"),
    ] {
        let out = folder.path().join(format!("{passes}-{}", &limit[0][2..]));
        let mut command = heaplay();
        command
            .arg("run")
            .arg(&trace)
            .args(["-r", "2", "-b", &backend, "--passes", passes, "--jobs", "1"]);
        let output = finish(command.args(limit).arg("--out").arg(&out));
        assert_eq!(output.status.code(), Some(4), "{}", errors(&output));
        let run = Run::load(&out).unwrap();
        let failed: Vec<&str> =
            run.failed().iter().map(|outcome| outcome.reason.as_str()).collect();
        assert_eq!(failed.len(), 2, "{failed:?}");
        assert!(failed.iter().all(|reason| reason.contains(part)), "{failed:?}");
        assert_eq!(
            failed.iter().filter(|reason| reason.contains("not tried again")).count(),
            1,
            "{failed:?}"
        );
    }
}
