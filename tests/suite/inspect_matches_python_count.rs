//! The statistics of a trace against a Python script that counts in the CSV.

use std::path::Path;
use std::process::Command;

use heaplay::trace::{
    self, Columns, Creation, Distribution, Domain, Generator, Header, SIZE_LIMIT_BYTES, Sites,
    TraceReader, TraceStatistics, age_bin, age_of_bin,
};
use serde_json::{Map, Value, json};

use crate::support::process::{errors, finish, repository};
use crate::support::skip::skip;

/// A Python 3 on the PATH; `None`, with a skip, where there is none.
fn python() -> Option<&'static str> {
    let found = ["python3", "python"].into_iter().find(|name| {
        let version = Command::new(name)
            .args(["-c", "import sys; sys.exit(sys.version_info < (3, 6))"])
            .status();
        version.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        skip("python3", "no Python 3.6 or later on the PATH");
    }
    found
}

/// A generated trace with every optional column filled in.
fn write_trace(path: &Path, calls: u64) {
    let sizes =
        Distribution::parse("0-0:1,1-16:5,17-512:60,513-70000:8", SIZE_LIMIT_BYTES).expect("sizes");
    let mut generator = Generator::new(7, calls, sizes, Distribution::python_lifetimes());
    let header = Header { columns: Columns::ALL, ..Header::default() };
    let mut creation = Creation::begin(path, &header).expect("the file can be made");
    let mut sites = Sites::default();
    while let Some(mut row) = generator.next_row().expect("generated rows are good") {
        row.thread = 1 + (row.event % 3) as u32;
        row.end_thread =
            (row.lifetime.is_some() && row.event % 7 == 0).then_some(1 + (row.event % 2) as u32);
        row.domain = if row.event % 2 == 0 { Domain::Mem } else { Domain::Obj };
        row.time_ns = row.event * 13;
        row.site = sites.intern(&format!("app.py:{}", row.event % 11));
        row.type_id = sites.intern_type(["float", "", "dict keys"][row.event as usize % 13 % 3]);
        creation.write_row(&row, &sites).expect("written");
    }
    creation.finish().expect("written");
}

fn inspect(path: &Path) -> TraceStatistics {
    let mut reader = trace::open(path).expect("opens");
    trace::statistics(reader.as_mut(), path, |_| {}).expect("counts")
}

/// The same figures in the shape of the script's.
fn figures(counted: &TraceStatistics) -> Value {
    let map = |rows: Vec<(String, Value)>| {
        Value::Object(rows.into_iter().collect::<Map<String, Value>>())
    };
    let ages = |of: fn(&trace::Age) -> u64, ages: &[trace::Age]| {
        map(ages
            .iter()
            .enumerate()
            .filter(|(_, age)| of(age) > 0)
            .map(|(bin, age)| (bin.to_string(), json!(of(age))))
            .collect())
    };
    json!({
        "calls": counted.calls,
        "requested_bytes": counted.requested_bytes,
        "live_peak_bytes": counted.live_peak_bytes,
        "live_peak_event": counted.live_peak_event,
        "live_peak_blocks": counted.live_peak_blocks,
        "live_end_bytes": counted.live_end_bytes,
        "survivors": counted.survivors,
        "ended_by_next_call": counted.ended_by_next_call,
        "ops": map(counted.ops.iter().map(|o| (o.op.to_owned(), json!([o.calls, o.bytes]))).collect()),
        "domains": map(counted
            .domains
            .iter()
            .filter(|d| d.requests > 0)
            .map(|d| (d.domain.to_owned(), json!([d.requests, d.bytes, d.frees])))
            .collect()),
        "sizes": map(counted
            .sizes
            .iter()
            .filter(|s| s.requests > 0)
            .map(|s| (s.up_to.to_string(), json!([s.requests, s.bytes])))
            .collect()),
        "ages_calls": ages(|age| age.ended, &counted.ages_calls),
        "ages_bytes": ages(|age| age.ended, &counted.ages_bytes),
        "survived": ages(|age| age.survived, &counted.ages_bytes),
        "threads": map(counted
            .threads
            .iter()
            .map(|t| (t.thread.to_string(), json!([t.requests, t.bytes, t.foreign_frees])))
            .collect()),
        "sites": map(counted
            .sites
            .iter()
            .map(|s| (s.site.clone(), json!([s.requests, s.bytes, s.live_blocks, s.live_bytes])))
            .collect()),
        "types": map(counted
            .types
            .iter()
            .map(|t| (t.name.clone(), json!([t.requests, t.bytes, t.live_blocks, t.live_bytes])))
            .collect()),
    })
}

/// What the script counts in a CSV.
fn counted(python: &str, csv: &Path) -> Value {
    let script = repository("tests/oracle/statistics.py");
    let output = finish(Command::new(python).arg(script).arg(csv));
    assert!(output.status.success(), "{}", errors(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[track_caller]
fn assert_agrees(found: &Value, expected: &Value, of: &str) {
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&found[name], value, "{name} of {of}");
    }
}

/// Every recording in `traces/`: binary to CSV to binary to CSV gives the same bytes, and the
/// statistics of either form are those of the script.
#[test]
fn both_forms_of_each_committed_trace_agree_with_a_count_in_python() {
    let python = python();
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("traces")).expect("traces/ is there").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "trace") {
            continue;
        }
        let at = |name: &str| folder.path().join(name);
        let convert = |from: &Path, to: &Path| {
            trace::copy(trace::open(from).expect("opens").as_mut(), to).expect("converts")
        };
        let rows = convert(&path, &at("a.csv"));
        assert_eq!(convert(&at("a.csv"), &at("b.trace")), rows);
        assert_eq!(convert(&at("b.trace"), &at("c.csv")), rows);
        let bytes = |name: &str| std::fs::read(at(name)).expect("was written");
        assert!(
            bytes("a.csv") == bytes("c.csv"),
            "{}: the rows changed on the way",
            path.display()
        );
        let committed = path.with_extension("csv");
        if committed.exists() {
            assert!(
                std::fs::read(&committed).expect("opens") == bytes("a.csv"),
                "{}",
                committed.display()
            );
        }
        let found = figures(&inspect(&path));
        assert_eq!(found, figures(&inspect(&at("a.csv"))), "{}", path.display());
        if let Some(python) = python {
            assert_agrees(&found, &counted(python, &at("a.csv")), &path.display().to_string());
        }
        seen += 1;
    }
    assert!(seen >= 5, "{seen} traces");
}

#[test]
fn agrees_with_a_count_in_python() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for calls in [1, 2, 1000, 60_000] {
        let path = folder.path().join(format!("{calls}.csv"));
        write_trace(&path, calls);
        assert_agrees(
            &figures(&inspect(&path)),
            &counted(python, &path),
            &format!("{calls} calls"),
        );
    }
}

#[test]
fn parts_add_up_to_the_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.trace");
    write_trace(&path, 50_000);
    let counted = inspect(&path);
    assert_eq!(counted.ops.iter().map(|op| op.calls).sum::<u64>(), counted.calls);
    let requests: u64 = counted.sizes.iter().map(|class| class.requests).sum();
    for ages in [&counted.ages_calls, &counted.ages_bytes] {
        assert_eq!(ages.iter().map(|age| age.ended + age.survived).sum::<u64>(), requests);
    }
    let by_size = counted.ages_by_size.iter().flatten();
    assert_eq!(by_size.map(|age| age.ended + age.survived).sum::<u64>(), requests);
    assert_eq!(
        counted.live.iter().map(|point| point.most_bytes).max(),
        Some(counted.live_peak_bytes)
    );
    assert_eq!(counted.live.last().map(|point| point.clock_bytes), Some(counted.requested_bytes));
    assert!(counted.live.len() <= 4096);
    assert_eq!(
        counted.sites.iter().map(|site| site.live_bytes).sum::<u64>(),
        counted.live_end_bytes
    );
    assert_eq!(age_of_bin(age_bin(1 << 20)), 1 << 20);
}
