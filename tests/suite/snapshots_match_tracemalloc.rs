//! tracemalloc's files: heaplay reads the same as each Python of this machine. A series becomes a
//! trace whose live blocks are those of its snapshots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use heaplay::trace::{self, Call, Sequence, Series, Snapshot, TraceReader};
use tempfile::TempDir;

use crate::support::interpreters;
use crate::support::process::{errors, expect, finish, heaplay, printed, repository};

/// Dumps snapshots with shared frames, sizes of several domains, and more than one batch. Writes
/// down the blocks and lines that `Snapshot.load` reads from each file.
const DUMP: &str = r#"
import gzip, json, sys, tracemalloc
tracemalloc.start(int(sys.argv[2]))
def down(depth, make):
    return down(depth - 1, make) if depth else make()
keep = []
for n in range(3):
    for line in range(150):
        text = "\n" * line + "value = [bytes(size) for size in range(7)]"
        code = compile(text, "made%d.py" % n, "exec")
        names = {}
        exec(code, names)
        keep.append(names["value"])
    keep.append(down(n * 9, lambda: [bytes(1000 + i) for i in range(400 * n)]))
    try:
        keep.append(bytes(3 << 30) if n == 1 else None)
    except MemoryError:
        pass
    del keep[:len(keep) // 3]
    name = "%s/%d.snapshot" % (sys.argv[1], n)
    tracemalloc.take_snapshot().dump(name)
tracemalloc.stop()
for n in range(3):
    name = "%s/%d.snapshot" % (sys.argv[1], n)
    loaded = tracemalloc.Snapshot.load(name)
    lines = loaded.statistics("lineno")
    sites = [[str(s.traceback[0].filename), s.traceback[0].lineno, s.count, s.size] for s in lines]
    blocks = [[t[1], t[0], [list(frame) for frame in t[2]]] for t in loaded.traces._traces]
    with open(name + ".json", "w") as file:
        json.dump({"blocks": blocks, "sites": sites, "limit": loaded.traceback_limit}, file)
with open(name, "rb") as plain, gzip.open(name + ".gz", "wb") as packed:
    packed.write(plain.read())
"#;

struct Dumped {
    folder: TempDir,
}

impl Dumped {
    fn by(python: &Path, frames: u32) -> Dumped {
        let folder = TempDir::new().unwrap();
        let script = folder.path().join("dump.py");
        std::fs::write(&script, DUMP).unwrap();
        let mut command = Command::new(python);
        command.args(["-I", "-S"]).arg(&script).arg(folder.path()).arg(frames.to_string());
        expect(0, &mut command);
        Dumped { folder }
    }

    fn path(&self, n: u32) -> PathBuf {
        self.folder.path().join(format!("{n}.snapshot"))
    }

    /// What Python read of the file.
    fn read_by_python(&self, n: u32) -> serde_json::Value {
        let path = self.folder.path().join(format!("{n}.snapshot.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

fn assert_as_python_reads(snapshot: &Snapshot, read: &serde_json::Value) {
    let blocks: Vec<serde_json::Value> = snapshot
        .each()
        .map(|(size, domain, frames)| serde_json::json!([size, domain, frames]))
        .collect();
    assert_eq!(blocks.len(), read["blocks"].as_array().unwrap().len());
    for (ours, theirs) in blocks.iter().zip(read["blocks"].as_array().unwrap()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(snapshot.traceback_limit(), read["limit"].as_u64().unwrap());
    let ours: BTreeMap<String, (u64, u128)> =
        snapshot.by_site().into_iter().map(|live| (live.name, (live.blocks, live.bytes))).collect();
    let theirs: BTreeMap<String, (u64, u128)> = read["sites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|site| {
            let name = format!("{}:{}", site[0].as_str().unwrap(), site[1]);
            (name, (site[2].as_u64().unwrap(), site[3].as_u64().unwrap().into()))
        })
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn every_python_reads_the_same() {
    for (_, python) in interpreters::find_of(6..=14) {
        for frames in [1, 25] {
            let dumped = Dumped::by(&python, frames);
            for n in 0..3 {
                assert_as_python_reads(
                    &Snapshot::open(&dumped.path(n)).unwrap(),
                    &dumped.read_by_python(n),
                );
            }
            let packed = dumped.folder.path().join("2.snapshot.gz");
            assert_as_python_reads(&Snapshot::open(&packed).unwrap(), &dumped.read_by_python(2));
        }
    }
}

/// At each snapshot the trace has as many live blocks of each size and line as the snapshot.
#[test]
fn a_series_has_the_live_blocks_of_its_snapshots() {
    let Some((_, python)) = interpreters::find_of(6..=14).pop() else { return };
    let dumped = Dumped::by(&python, 1);
    let mut series = Series::new();
    let (mut moments, mut wanted) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let snapshot = Snapshot::open(&dumped.path(n)).unwrap();
        series.add(&snapshot).unwrap();
        moments.push(series.events());
        let mut live: BTreeMap<(u64, String), i64> = BTreeMap::new();
        for (size, _, frames) in snapshot.each() {
            *live.entry((size, format!("{}:{}", frames[0].0, frames[0].1))).or_default() += 1;
        }
        wanted.push(live);
    }
    let (all, vouched) = series.vouched_bytes();
    assert!(vouched > 0 && vouched < all, "{vouched} of {all}");
    let mut reader = series.into_reader();
    let header = reader.header().clone();
    assert!(header.facts["synthesised"].contains("3 tracemalloc snapshots"));
    assert_eq!(header.facts["vouched_bytes_share"], format!("{:.4}", vouched as f64 / all as f64));
    let mut sequence = Sequence::new();
    let mut live: BTreeMap<(u64, String), i64> = BTreeMap::new();
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    let mut calls = Vec::new();
    while let Some(row) = reader.next_row().unwrap() {
        names.insert(row.event, reader.sites().name(row.site).to_owned());
        sequence.accept(&row, |call| calls.push(note(&call))).unwrap();
    }
    assert_eq!(sequence.finish(|call| calls.push(note(&call))).unwrap(), moments[2]);
    for (index, (birth, size, change)) in calls.iter().enumerate() {
        let count = live.entry((*size, names[birth].clone())).or_default();
        *count += change;
        if let Some(n) = moments.iter().position(|&moment| moment == index as u64 + 1) {
            live.retain(|_, count| *count != 0);
            assert_eq!(live, wanted[n], "at snapshot {n}");
        }
    }
}

fn note(call: &Call<'_>) -> (u64, u64, i64) {
    match call {
        Call::Request { row, .. } => (row.event, row.size, 1),
        Call::Free { block, .. } => (block.event, block.size, -1),
    }
}

fn import(arguments: &[&Path]) -> Output {
    finish(heaplay().arg("import").args(arguments))
}

#[test]
fn snapshots_are_imported_and_shown() {
    let Some((_, python)) = interpreters::find_of(6..=14).pop() else { return };
    let dumped = Dumped::by(&python, 2);
    let out = dumped.folder.path().join("app.trace");
    let files: Vec<PathBuf> = (0..3).map(|n| dumped.path(n)).collect();
    let [a, b, c] = [files[0].as_path(), files[1].as_path(), files[2].as_path()];
    let ended = import(&[a, b, c, Path::new("-o"), &out]);
    let message = errors(&ended);
    assert!(ended.status.success() && message.contains("vouched for"), "{message}");
    let facts = trace::open(&out).unwrap().header().facts.clone();
    assert!(facts["synthesised"].contains("% of its bytes"));
    let shown = import(&[a, b]);
    let text = printed(&shown);
    assert!(
        shown.status.success() && text.contains("dump.py:16") && text.contains("3.0\u{a0}GiB"),
        "{text}"
    );

    // A file that is no snapshot is refused, with its name and the fault.
    let hostile = dumped.folder.path().join("hostile");
    std::fs::write(
        &hostile,
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",
    )
    .unwrap();
    let cut = dumped.folder.path().join("cut");
    let whole = std::fs::read(a).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    for (file, part) in [(&hostile, "posix.system"), (&cut, "cut off"), (&out, "heaplay inspect")] {
        let ended = import(&[file]);
        let message = errors(&ended);
        assert_eq!(ended.status.code(), Some(2));
        assert!(message.contains(part), "{message}");
        assert!(message.contains(&*file.display().to_string()), "{message}");
    }
}

/// The helper script dumps a series from a running program, which becomes a trace.
#[test]
fn the_helper_script_dumps_a_series() {
    let script = repository("scripts/tracemalloc-series.py");
    let found = interpreters::find_of(6..=14);
    for (_, python) in found.first().into_iter().chain(found.last()) {
        let folder = TempDir::new().unwrap();
        let app = folder.path().join("app.py");
        let program = "import sys, time\nkeep = []\nfor n in range(20):\n    \
                       keep.append(bytearray(500))\n    time.sleep(0.02)\nprint(sys.argv[1:])\n";
        std::fs::write(&app, program).unwrap();
        let mut command = Command::new(python);
        command.current_dir(folder.path()).arg(&script);
        let ended = finish(command.args(["app-", "0.05", "app.py", "--its", "arguments"]));
        assert_eq!(printed(&ended), "['--its', 'arguments']\n", "{}", errors(&ended));
        let mut files: Vec<PathBuf> =
            folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "snapshot"));
        files.sort();
        assert!(files.len() >= 2, "{files:?}");
        let mut series = Series::new();
        for file in &files {
            series.add(&Snapshot::open(file).unwrap()).unwrap();
        }
        let mut reader = series.into_reader();
        // A block is missed if it began after the last timed dump and ended with the module.
        let mut seen = 0;
        while let Some(row) = reader.next_row().unwrap() {
            seen +=
                u64::from(reader.sites().name(row.site).ends_with("app.py:4") && row.size >= 500);
        }
        assert!((10..=20).contains(&seen), "{seen} blocks of line 4");
    }
}

/// `pickle.dump` of old Pythons writes protocols 0 to 3.
#[test]
fn every_protocol_is_read() {
    for (_, python) in interpreters::find_of(6..=13) {
        let folder = TempDir::new().unwrap();
        let script = "# -*- coding: utf-8 -*-\nimport pickle, tracemalloc\ntracemalloc.start(3)\n\
                      keep = [bytes(100 + n) for n in range(300)] + [bytes(70000)]\n\
                      s = tracemalloc.take_snapshot()\n\
                      s.traces._traces.append((389047, 5, (('dé中😀\\\\u.py', 9),)))\n\
                      for p in range(5):\n\
                      \x20   with open('%d' % p, 'wb') as file: pickle.dump(s, file, protocol=p)\n\
                      s.dump('5')\n";
        let mut command = Command::new(&python);
        expect(0, command.current_dir(folder.path()).args(["-c", script]));
        let read = |name: &str| {
            let snapshot = Snapshot::open(&folder.path().join(name)).unwrap();
            let blocks: Vec<String> = snapshot.each().map(|block| format!("{block:?}")).collect();
            (blocks, snapshot.traceback_limit())
        };
        let dumped = read("5");
        assert!(dumped.0.len() > 300 && dumped.0.last().unwrap().contains("dé中😀"), "{dumped:?}");
        for protocol in ["0", "1", "2", "3", "4"] {
            assert!(read(protocol) == dumped, "protocol {protocol}");
        }
    }
}

/// What stands behind a snapshot is refused at its byte.
#[test]
fn bytes_behind_a_snapshot() {
    let Some((_, python)) = interpreters::find_of(6..=14).pop() else { return };
    let dumped = Dumped::by(&python, 1);
    let one = std::fs::read(dumped.path(0)).unwrap();
    let path = dumped.folder.path().join("appended");
    for (behind, part) in [(one.clone(), "a second pickle"), (b"junk".to_vec(), "bytes behind")] {
        std::fs::write(&path, [one.clone(), behind].concat()).unwrap();
        let ended = import(&[&path]);
        let message = errors(&ended);
        assert_eq!(ended.status.code(), Some(2));
        assert!(message.contains(part), "{message}");
        assert!(message.contains(&format!("at byte {}:", one.len())), "{message}");
    }
}

/// Blocks of an extension with an allocator of its own are not Python's.
#[test]
fn domains_of_a_series() {
    let Some((_, python)) = interpreters::find_of(6..=13).pop() else { return };
    let folder = TempDir::new().unwrap();
    let script = "import tracemalloc as t\n\
                  s = t.Snapshot([], 1)\n\
                  s.traces._traces = [(0, 64, (('a.py', 1),)), (389047, 800, (('a.py', 2),))]\n\
                  s.dump('one')\n";
    let mut command = Command::new(&python);
    expect(0, command.current_dir(folder.path()).args(["-c", script]));
    let out = folder.path().join("one.trace");
    let ended = import(&[&folder.path().join("one"), Path::new("-o"), &out]);
    assert!(errors(&ended).contains("obj 50.0 %, raw 50.0 %"), "{}", errors(&ended));
    let mut reader = trace::open(&out).unwrap();
    let mut domains = Vec::new();
    while let Some(row) = reader.next_row().unwrap() {
        domains.push((row.size, row.domain.name()));
    }
    assert_eq!(domains, [(64, "obj"), (800, "raw")]);
}

/// A shell sorts `app-10` before `app-2`. A snapshot given twice is refused.
#[test]
fn the_order_of_a_series() {
    let Some((_, python)) = interpreters::find_of(6..=14).pop() else { return };
    let dumped = Dumped::by(&python, 1);
    let folder = dumped.folder.path();
    let names = ["app-1", "app-2", "app-10"].map(|name| folder.join(name));
    for (n, name) in names.iter().enumerate() {
        std::fs::copy(dumped.path(n as u32), name).unwrap();
    }
    let [one, two, ten] = names.each_ref().map(|name| name.as_path());
    let trace_of = |arguments: &[&Path]| {
        let out = folder.join("out.trace");
        let ended = import(&[arguments, &[Path::new("-o"), &out]].concat());
        assert!(ended.status.success(), "{}", errors(&ended));
        (std::fs::read(&out).unwrap(), errors(&ended))
    };
    let (by_number, message) = trace_of(&[one, two, ten]);
    assert!(!message.contains("order"), "{message}");
    let (by_shell, message) = trace_of(&[one, ten, two]);
    assert!(message.contains("read by their numbers"), "{message}");
    assert!(by_shell == by_number);
    let (_, message) = trace_of(&[two, one, ten]);
    assert!(message.contains("order of the command line"), "{message}");
    let ended = import(&[one, two, one]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(errors(&ended).contains("given twice"), "{}", errors(&ended));
}
