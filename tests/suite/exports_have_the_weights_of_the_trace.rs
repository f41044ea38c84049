//! `heaplay export`: what a viewer reads has the bytes of the trace.
//!
//! The oracle is a plain reading of a CSV that the test writes, and small readers of each format.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::interpreters;
use crate::support::process::{errors, expect, finish, heaplay, on_path, repository};
use crate::support::skip::skip;

/// Event, size, lifetime in calls (0: live at the end), site.
const ROWS: [(u64, u64, u64, &str); 6] = [
    (0, 100, 4, "a.py:1 < main.py:9"),
    (1, 2000, 0, "b.py:2 via lib.so!grow < main.py:9"),
    (2, 30, 1, "a.py:1 < main.py:9"),
    (5, 500, 0, "c.py:3"),
    (6, 100, 1, ""),
    (8, 7, 0, "c.py:3"),
];

fn csv_of_rows(folder: &Path) -> PathBuf {
    let path = folder.join("app.csv");
    let mut text = "event,op,size,lifetime,time_ns,site\n".to_owned();
    for (event, size, lifetime, site) in ROWS {
        let lifetime = if lifetime == 0 { String::new() } else { lifetime.to_string() };
        text += &format!("{event},malloc,{size},{lifetime},{},{site}\n", event * 1000);
    }
    fs::write(&path, text).unwrap();
    path
}

/// Bytes by stack, outermost frame first: live at the peak (2,600 bytes, after 7 calls), live at the
/// end, allocated, and allocations.
fn expected() -> BTreeMap<Vec<&'static str>, [u64; 4]> {
    BTreeMap::from([
        (vec!["main.py:9", "a.py:1"], [0, 0, 130, 2]),
        (vec!["main.py:9", "b.py:2", "lib.so!grow"], [2000, 2000, 2000, 1]),
        (vec!["c.py:3"], [500, 507, 507, 2]),
        (vec!["(no line)"], [100, 0, 100, 1]),
    ])
}

fn export(input: &Path, format: &str, more: &[&str]) -> Vec<u8> {
    let output = finish(heaplay().arg("export").arg(input).args(["--to", format]).args(more));
    assert!(output.status.success(), "{}", errors(&output));
    output.stdout
}

#[test]
fn speedscope_has_the_bytes_by_stack() {
    let folder = tempfile::tempdir().unwrap();
    let file: Value =
        serde_json::from_slice(&export(&csv_of_rows(folder.path()), "speedscope", &[])).unwrap();
    assert_eq!(file["$schema"], "https://www.speedscope.app/file-format-schema.json");
    let frames = file["shared"]["frames"].as_array().unwrap();
    let names = ["live at the peak", "live at the end", "allocated", "allocations"];
    for (at, (profile, name)) in file["profiles"].as_array().unwrap().iter().zip(names).enumerate()
    {
        assert_eq!((&profile["name"], &profile["type"]), (&name.into(), &"sampled".into()));
        assert_eq!(profile["unit"], if at < 3 { "bytes" } else { "none" });
        let samples = profile["samples"].as_array().unwrap();
        let weights = profile["weights"].as_array().unwrap();
        assert_eq!(samples.len(), weights.len());
        let found: BTreeMap<Vec<&str>, u64> = samples
            .iter()
            .zip(weights)
            .map(|(stack, weight)| {
                let name =
                    |frame: &Value| frames[frame.as_u64().unwrap() as usize]["name"].as_str();
                let stack = stack.as_array().unwrap().iter().map(|frame| name(frame).unwrap());
                (stack.collect(), weight.as_u64().unwrap())
            })
            .collect();
        let wanted: BTreeMap<Vec<&str>, u64> =
            expected().into_iter().map(|(stack, values)| (stack, values[at])).collect();
        let wanted: BTreeMap<_, _> = wanted.into_iter().filter(|(_, value)| *value > 0).collect();
        assert_eq!(found, wanted, "{name}");
        assert_eq!(profile["endValue"].as_u64().unwrap(), wanted.values().sum::<u64>());
    }
    let line = frames.iter().find(|frame| frame["name"] == "b.py:2").unwrap();
    assert_eq!((&line["file"], &line["line"]), (&"b.py".into(), &2.into()));
}

/// The next varint of a protobuf message.
fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            break;
        }
    }
    value
}

/// The fields of a protobuf message: number, and a varint or bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Result<u64, Vec<u8>>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Ok(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (own, rest) = bytes.split_at(length);
                bytes = rest;
                Err(own.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}

/// The values of a packed field of a message.
fn packed(message: &[u8], number: u64) -> Vec<u64> {
    let own = fields(message).into_iter().find(|(own, _)| *own == number).unwrap();
    let packed = own.1.unwrap_err();
    let mut left = packed.as_slice();
    let mut values = Vec::new();
    while !left.is_empty() {
        values.push(varint(&mut left));
    }
    values
}

#[test]
fn pprof_has_the_bytes_by_stack() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("app.pb.gz");
    let trace = csv_of_rows(folder.path());
    export(&trace, "pprof", &["--out", out.to_str().unwrap()]);
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(&out).unwrap()).read_to_end(&mut raw).unwrap();
    let all = fields(&raw);
    let messages = |number: u64| {
        let own = all.iter().filter(move |(own, _)| *own == number);
        own.map(|(_, value)| value.clone().unwrap_err())
    };
    let strings: Vec<String> = messages(6).map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    assert_eq!(strings[0], "");
    let number = |message: &[u8], field: u64| -> u64 {
        let own = fields(message).into_iter().find(|(own, _)| *own == field);
        own.map_or(0, |(_, value)| value.unwrap())
    };
    let functions: BTreeMap<u64, String> = messages(5)
        .map(|function| (number(&function, 1), strings[number(&function, 2) as usize].clone()))
        .collect();
    assert_eq!(messages(1).count(), 4);
    let found: BTreeMap<Vec<String>, Vec<u64>> = messages(2)
        .map(|sample| {
            let stack = packed(&sample, 1).into_iter().rev().map(|id| functions[&id].clone());
            (stack.collect(), packed(&sample, 2))
        })
        .collect();
    let wanted: BTreeMap<Vec<String>, Vec<u64>> = expected()
        .into_iter()
        .map(|(stack, values)| (stack.into_iter().map(str::to_owned).collect(), values.to_vec()))
        .collect();
    assert_eq!(found, wanted);
    // Its own reader, where there is one.
    let Some(go) = on_path("go") else { return skip("go", "no go in PATH for `go tool pprof`") };
    let index = "-sample_index=live at the peak";
    let output = finish(Command::new(go).args(["tool", "pprof", "-top", index]).arg(&out));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("lib.so!grow") && text.contains("2600B total"), "{text}");
}

#[test]
fn the_firefox_profiler_has_the_bytes_and_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file: Value =
        serde_json::from_slice(&export(&csv_of_rows(folder.path()), "firefox", &[])).unwrap();
    let mut sums: Vec<i64> = file["threads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|thread| {
            let weights = thread["samples"]["weight"].as_array().unwrap();
            weights.iter().map(|weight| weight.as_i64().unwrap()).sum()
        })
        .collect();
    // A viewer sorts threads by itself.
    sums.sort_unstable();
    assert_eq!(sums, [6, 2507, 2600, 2737]);
    let counter = &file["counters"][0]["samples"]["count"];
    let total: f64 = counter.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).sum();
    assert!((total - 2507.0).abs() < 1e-9, "{counter}");
}

/// The profiler's own reader shows the bytes of the trace, and its memory to the last call.
#[test]
fn the_firefox_profiler_reads_a_whole_recording() {
    let Some(reader) = on_path("profiler-cli") else {
        return skip(
            "profiler-cli",
            "no profiler-cli in PATH (npm: @firefox-devtools/profiler-cli)",
        );
    };
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("service.json");
    let trace = repository("traces/service.trace");
    export(&trace, "firefox", &["--out", profile.to_str().unwrap()]);
    let read = |arguments: &[&str]| {
        let mut command = Command::new(&reader);
        command.env("HOME", folder.path()).args(arguments).output().expect("profiler-cli runs")
    };
    // Its reader is a process of its own, which takes its time to begin.
    read(&["load", profile.to_str().unwrap()]);
    let begin = std::time::Instant::now();
    let counter: Value = loop {
        let output = read(&["counter", "info", "c-0", "--json"]);
        match serde_json::from_slice(&output.stdout) {
            Ok(counter) => break counter,
            Err(error) => assert!(begin.elapsed().as_secs() < 60, "{error}: {output:?}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
    };
    let samples: Value =
        serde_json::from_slice(&read(&["thread", "samples", "--json"]).stdout).unwrap();
    read(&["stop", "--all"]);
    let inspected: Value =
        serde_json::from_str(&expect(0, heaplay().args(["inspect", "--json"]).arg(&trace)))
            .unwrap();
    let peak = inspected["live_peak_bytes"].as_f64().unwrap();
    assert_eq!(samples["categoryBreakdown"]["totalSamples"].as_f64(), Some(peak));
    let shown = counter["stats"][0]["value"].as_f64().unwrap();
    assert!((shown / peak - 1.0).abs() < 0.02, "{shown} of {peak}: {counter}");
}

#[test]
fn chrome_trace_and_table_have_the_memory_of_trace_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let trace = csv_of_rows(folder.path());
    let events = |bytes: &[u8]| -> Vec<Value> {
        let file: Value = serde_json::from_slice(bytes).unwrap();
        file["traceEvents"].as_array().unwrap().clone()
    };
    let counters = |events: &[Value], name: &str| -> Vec<(f64, f64)> {
        let own = events.iter().filter(|event| event["ph"] == "C" && event["name"] == name);
        own.map(|event| (event["ts"].as_f64().unwrap(), event["args"]["bytes"].as_f64().unwrap()))
            .collect()
    };
    let of_trace = events(&export(&trace, "chrome-trace", &[]));
    let live = counters(&of_trace, "live bytes");
    assert_eq!(live.iter().map(|point| point.1).fold(0.0, f64::max), 2600.0);
    assert_eq!(live.last().unwrap().1, 2507.0);
    assert!(live.windows(2).all(|two| two[0].0 <= two[1].0), "{live:?}");
    let table = String::from_utf8(export(&trace, "csv", &[])).unwrap();
    assert!(table.contains("main.py:9;b.py:2;lib.so!grow,2000,2000,2000,1\n"), "{table}");
    // A run: resident memory by backend, and what lines hold at the end.
    let out = folder.path().join("run");
    let mut command = heaplay();
    command.arg("run").arg(&trace).args([
        "-b",
        "malloc,bump",
        "--passes",
        "footprint,time",
        "-r",
        "1",
    ]);
    expect(0, command.arg("--out").arg(&out));
    let of_run = events(&export(&out, "chrome-trace", &[]));
    assert!(!counters(&of_run, "resident bytes: malloc").is_empty());
    assert_eq!(counters(&of_run, "live bytes").last().unwrap().1, 2507.0);
    let table = String::from_utf8(export(&out, "csv", &[])).unwrap();
    let header = table.lines().next().unwrap();
    assert!(header.contains("malloc: free space retained at the end (bytes)"), "{header}");
    // Bencher's schema: numbers under benchmark and measure.
    let bmf: Value = serde_json::from_slice(&export(&out, "bmf", &[])).unwrap();
    let malloc = &bmf["app/malloc"];
    for measure in ["time-ns-a-call", "resident-peak-bytes", "resident-end-bytes"] {
        assert!(malloc[measure]["value"].is_number(), "{bmf}");
    }
    assert!(bmf.get("app/null").is_none());
}

#[test]
fn what_has_nothing_to_export_is_refused_with_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let trace = csv_of_rows(folder.path());
    let plain = folder.path().join("plain.csv");
    fs::write(&plain, "op,size,lifetime\nmalloc,5,\n").unwrap();
    let missing = folder.path().join("missing.csv");
    for (input, arguments, reason) in [
        (&trace, vec!["--to", "bmf"], "a trace has no measurements"),
        (&plain, vec!["--to", "speedscope"], "record with `heaplay record --sites`"),
        (&plain, vec!["--to", "pprof"], "record with `heaplay record --sites`"),
        (&missing, vec!["--to", "csv"], "missing.csv"),
        (&trace, vec!["--to", "csv", "--trace", "app"], "--trace chooses a trace of a run"),
        (&trace, vec!["--to", "csv", "--out", "/dev/full"], "/dev/full"),
        (&trace, vec!["--to", "svg"], "possible values"),
        (&folder.path().to_path_buf(), vec!["--to", "csv"], "manifest.json"),
    ] {
        // A full disk may have space later.
        let status = if arguments.contains(&"/dev/full") { 75 } else { 2 };
        let text = expect(status, heaplay().arg("export").arg(input).args(&arguments));
        assert!(text.contains(reason), "{arguments:?}: {text}");
    }
}

/// Allocates in a method that a function calls, and prints the lines and names of both.
const NAMES_ITSELF: &str = "\
import sys
def name(frame):
    code = frame.f_code
    return '%d %s' % (frame.f_lineno, getattr(code, 'co_qualname', code.co_name))
class Store:
    def load(self):
        print(name(sys._getframe(0)), name(sys._getframe(1)), sep='\\n')
        self.held = bytes(5000); self.more = bytearray(70001)
def main():
    store = Store(); store.load(); return store
held = main()
";

/// A recording of that program with two frames a site, and what the program prints.
fn named(folder: &Path, python: &Path) -> (PathBuf, Vec<String>) {
    fs::write(folder.join("app.py"), NAMES_ITSELF).unwrap();
    let path = folder.join("app.trace");
    let mut command = heaplay();
    command.args(["record", "--sites=2", "-o"]).arg(&path).arg("--").arg(python).arg("app.py");
    let output = finish(command.current_dir(folder).env_remove("PYTHONMALLOC"));
    assert!(output.status.success(), "{}", errors(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    (path, text.lines().map(str::to_owned).collect())
}

#[test]
fn frames_have_the_names_that_the_interpreter_has_for_them() {
    for (minor, python) in interpreters::find() {
        let folder = tempfile::tempdir().unwrap();
        let (path, printed) = named(folder.path(), &python);
        let file: Value = serde_json::from_slice(&export(&path, "speedscope", &[])).unwrap();
        let frames = file["shared"]["frames"].as_array().unwrap();
        let names: Vec<&str> = frames.iter().filter_map(|frame| frame["name"].as_str()).collect();
        // The block of 70,001 bytes is allocated on the line after the printing one.
        let own = |printed: &str, later: u32| {
            let (line, name) = printed.split_once(' ').unwrap();
            (format!("app.py:{}", line.parse::<u32>().unwrap() + later), name.to_owned())
        };
        let (load, main) = (own(&printed[0], 1), own(&printed[1], 0));
        for (line, name) in [&load, &main] {
            let expected = format!("{name} ({line})");
            assert!(names.contains(&expected.as_str()), "3.{minor}: {expected} of {names:?}");
        }
        let text = expect(0, heaplay().args(["inspect", "--sites", "400"]).arg(&path));
        let site = format!("{} ({}) < {} ({})", load.0, load.1, main.0, main.1);
        assert!(text.contains(&site), "3.{minor}: {site}: {text}");
        let anonymous = folder.path().join("anonymous.trace");
        expect(0, heaplay().args(["convert", "--anonymise"]).arg(&path).arg(&anonymous));
        let process = {
            let mut reader = heaplay::trace::open(&anonymous).unwrap();
            while reader.next_row().unwrap().is_some() {}
            reader.process().clone()
        };
        assert!(process.functions.is_empty(), "names are removed");
    }
}

#[test]
fn a_run_attributes_retention_to_lines_with_their_callers() {
    let Some(python) = interpreters::any() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = named(folder.path(), &python);
    let attributed = |more: &[&str], out: &str| {
        let out = folder.path().join(out);
        let mut run = heaplay();
        run.args(["run", "-b", "malloc", "--passes", "footprint", "-o"]).arg(&out).args(more);
        expect(0, run.arg(&path));
        (heaplay::results::Run::load(&out).unwrap().attributions, out)
    };
    let ((lines, _), (callers, out)) =
        (attributed(&[], "lines"), attributed(&["--callers"], "callers"));
    let sum = |rows: &[heaplay::results::Attribution]| -> u64 {
        rows.iter().map(|row| row.external_fragmentation_bytes).sum()
    };
    assert_eq!(sum(&lines), sum(&callers), "the same free space, in finer groups");
    let is_chain =
        |row: &heaplay::results::Attribution| row.site.starts_with("app.py:8 < app.py:10");
    assert!(callers.iter().any(is_chain) && !lines.iter().any(is_chain));
    let file: Value = serde_json::from_slice(&export(&out, "speedscope", &[])).unwrap();
    let frames = file["shared"]["frames"].as_array().unwrap();
    let number = |name: &str| frames.iter().position(|frame| frame["name"] == name).unwrap();
    let stack = serde_json::json!([number("app.py:10"), number("app.py:8")]);
    // Live at the end: the peak of 3.14 is that of its start.
    let samples = file["profiles"][2]["samples"].as_array().unwrap();
    assert!(samples.contains(&stack), "{samples:?}");
    // The whole site is a name for `whatif`, too.
    let mut whatif = heaplay();
    whatif.args(["whatif", "-b", "malloc", "--drop-site", "app.py:8 < app.py:10"]);
    let text = expect(0, whatif.arg(&path));
    assert!(text.starts_with("app.py:8 < app.py:10: "), "{text}");
}
