//! Logs of other recorders: a small sample of each, row by row. A fault is reported with its line.
//! The mtrace log of a C program has the calls that the program counted.

use std::path::{Path, PathBuf};
use std::process::Command;

use heaplay::trace::{self, FOREIGN, FileKind, ForeignLog, Imported, Sequence, TraceError};
use tempfile::TempDir;

use crate::support::compiler;
use crate::support::log_samples::SAMPLES;
use crate::support::process::{expect, heaplay, repository};
use crate::support::skip::skip;

fn sample(name: &str) -> PathBuf {
    repository("tests/samples").join(name)
}

struct Read {
    /// `event op size lifetime site`, `-` for none.
    rows: Vec<String>,
    facts: std::collections::BTreeMap<String, String>,
    imported: Imported,
}

/// Converts a log in that format, or in the one that its content shows.
fn convert(path: &Path, format: Option<&str>, out: &Path) -> Result<Imported, TraceError> {
    let member = match format {
        Some(name) => FOREIGN.iter().find(|foreign| foreign.name == name).unwrap(),
        None => match trace::identify(path)?.kind {
            FileKind::Log(member) => member,
            _ => panic!("{} is no log", path.display()),
        },
    };
    ForeignLog::open(path, member)?.convert(out)
}

fn import(path: &Path, format: Option<&str>) -> Read {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.trace");
    let imported = convert(path, format, &out).unwrap();
    let mut reader = trace::open(&out).unwrap();
    let (mut sequence, mut rows) = (Sequence::new(), Vec::new());
    while let Some(row) = reader.next_row().unwrap() {
        sequence.accept(&row, |_| {}).unwrap();
        let lifetime = row.lifetime.map_or("-".into(), |lifetime| lifetime.to_string());
        let by = row.end_thread.map_or(String::new(), |thread| format!(">{thread}"));
        let site =
            Some(reader.sites().name(row.site)).filter(|site| !site.is_empty()).unwrap_or("-");
        let (event, op, size, thread, time) =
            (row.event, row.op.name(), row.size, row.thread, row.time_ns);
        rows.push(format!("{event} {op} {size} {lifetime} {thread}{by} {time} {site}"));
    }
    assert_eq!(sequence.finish(|_| {}).unwrap(), imported.events);
    assert_eq!(rows.len() as u64, imported.rows);
    Read { rows, facts: reader.header().facts.clone(), imported }
}

#[test]
fn malloc_lab() {
    let read = import(&sample("exercise.rep"), None);
    assert_eq!(
        read.rows,
        [
            "0 malloc 512 2 0 0 -",
            "1 malloc 128 3 0 0 -",
            "2 realloc 640 3 0 0 -",
            "3 malloc 96 4 0 0 -",
            "5 realloc 768 1 0 0 -"
        ]
    );
    assert_eq!(
        (read.imported.unseen_frees, read.imported.unseen_ends, read.imported.tally.left_out),
        (0, 0, 0)
    );
}

#[test]
fn mtrace() {
    let read = import(&sample("glibc.mtrace"), None);
    assert_eq!(
        read.rows,
        [
            "0 malloc 10 1 0 0 ./app:[0x11b0]",
            "1 realloc 100000 3 0 0 ./app:[0x11c5]",
            "2 malloc 27 1 0 0 ./my app:(grow+0x28)[0x11d8]",
            "5 malloc 128 - 0 0 ./app:[0x1211]"
        ]
    );
    assert_eq!((read.imported.unseen_frees, read.imported.unseen_resizes), (1, 0));
}

#[test]
fn logalloc() {
    let read = import(&sample("firefox.logalloc"), None);
    assert_eq!(
        read.rows,
        [
            "0 malloc 42 6 1 0 -",
            "1 calloc 168 1 2 0 -",
            "2 realloc 84 2 2>1 0 -",
            "3 malloc 1024 - 1 0 -",
            "5 malloc 7 - 1 0 -"
        ]
    );
    assert_eq!(read.imported.tally.left_out, 1, "statistics");
    assert_eq!(read.imported.tally.other_processes.values().sum::<u64>(), 1);
    let read = import(&sample("prepared.logalloc"), None);
    assert_eq!(read.rows, ["0 malloc 42 2 1 0 -", "1 malloc 24 2 1 0 -", "3 realloc 84 1 1 0 -"]);
}

#[test]
fn android() {
    let read = import(&sample("app.android"), None);
    assert_eq!(
        read.rows,
        [
            "0 malloc 48 3 1>2 0 -",
            "1 calloc 256 - 2 100 -",
            "2 malloc 100 - 1 300 -",
            "3 realloc 512 2 2>1 500 -",
            "4 malloc 16 - 2 600 -"
        ]
    );
}

#[test]
fn memray() {
    let read = import(&sample("app.memray"), None);
    assert_eq!(
        read.rows,
        [
            "0 malloc 32 6 1 0 /srv/my app.py:1",
            "1 calloc 64 1 1 0 /srv/my app.py:7",
            "2 realloc 96 2 1>2 10000000 /srv/my app.py:7",
            "3 malloc 500 - 2 10000000 -",
            "5 malloc 8 - 1 10000000 /srv/my app.py:1"
        ]
    );
    assert_eq!((read.imported.unseen_frees, read.imported.tally.left_out), (0, 1), "the mmap");
    assert_eq!(
        (read.facts["python"].as_str(), read.facts["program"].as_str()),
        ("3.11.7", "memray run app.py --its arguments")
    );
    let read = import(&sample("older.memray"), None);
    assert_eq!(read.rows, ["0 malloc 32 - 1 0 app.py:4"]);
}

/// The content of each sample identifies its format, also behind gzip. Each format has a sample and its
/// row in the guide.
#[test]
fn content_identifies_the_format() {
    let folder = TempDir::new().unwrap();
    let guide = std::fs::read_to_string(repository("docs/guide/importing.md")).unwrap();
    for foreign in FOREIGN {
        let samples = SAMPLES.iter().filter(|(format, _)| *format == foreign.name);
        let samples: Vec<&str> = samples.map(|(_, name)| *name).collect();
        assert!(!samples.is_empty(), "{}: no sample in support/log_samples.rs", foreign.name);
        let row = format!("| `{}` |", foreign.name);
        assert!(guide.contains(&row), "docs/guide/importing.md has no row {row}");
        for name in samples {
            let found = trace::identify(&sample(name)).unwrap();
            assert_eq!(found.description(), foreign.description, "{name}");
            let packed = folder.path().join("packed");
            let file = std::fs::File::create(&packed).unwrap();
            let status = Command::new("gzip").arg("-c").arg(sample(name)).stdout(file).status();
            if !status.is_ok_and(|status| status.success()) {
                return skip("gzip", "no gzip on the PATH");
            }
            let plain = import(&sample(name), Some(foreign.name));
            assert_eq!(import(&packed, None).rows, plain.rows, "{name}");
        }
    }
}

#[test]
fn faults_name_their_line() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    let out = folder.path().join("out.csv");
    for (format, text, line, part) in [
        ("rep", "1\n1\n2\n1\na 0 8\n", 5, "1 of 2 requests"),
        ("rep", "1\n1\n1\n1\na 0\n", 5, "`a ID BYTES`"),
        (
            "mtrace",
            "= Start\n@ a + 0x10\n",
            2,
            "1 number behind `+`; expected an address and a size",
        ),
        ("mtrace", "@ a:[0x1] + 0x10 0xffffffffffffff\n", 1, "2^47"),
        ("logalloc", "1 1 malloc(8)=#1\n1 1 malloc(x)=#2\n", 2, "PID TID"),
        ("android", "1: malloc 0x10 8\n1: grab 0x20 8\n", 2, "the action `grab`; expected malloc"),
        (
            "memray",
            "HEADER magic=memray file_format=AGGREGATED_ALLOCATIONS start_time=1\n",
            1,
            "--aggregate",
        ),
        (
            "memray",
            "HEADER magic=memray file_format=ALL_ALLOCATIONS\nALLOCATION address=0x10\n",
            2,
            "size=N",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = convert(&path, Some(format), &out).unwrap_err().to_string();
        assert!(error.contains(&format!("log:{line}: ")) && error.contains(part), "{error}");
        assert!(!out.exists());
    }
    std::fs::write(&path, "hello\n").unwrap();
    let message = expect(2, heaplay().arg("import").arg(&path));
    assert!(message.contains("--format"), "{message}");
}

/// Counts its own calls.
const PROGRAM: &str = r#"
#include <mcheck.h>
#include <stdio.h>
#include <stdlib.h>
int main(void) {
  unsigned long long bytes = 0; unsigned seed = 1; void *blocks[64] = {0};
  unsigned long births = 0, frees = 0, resizes = 0;
  mtrace();
  for (int n = 0; n < 20000; n++) {
    seed = seed * 1103515245 + 12345; unsigned at = seed >> 16 & 63, size = (seed >> 8) % 3000 + 1;
    if (!blocks[at]) { blocks[at] = n % 3 ? malloc(size) : calloc(1, size); births++; bytes += size; }
    else if (n % 4 == 0) { blocks[at] = realloc(blocks[at], size); resizes++; bytes += size; }
    else { free(blocks[at]); blocks[at] = 0; frees++; }
  }
  muntrace();
  printf("%lu %lu %lu %llu", births, resizes, frees, bytes);
}
"#;

#[test]
#[cfg(target_env = "gnu")]
fn mtrace_of_a_program() {
    let folder = TempDir::new().unwrap();
    let Some(program) = compiler::program(folder.path(), "app", PROGRAM, &["-O0"]) else { return };
    let library = Command::new("cc").arg("-print-file-name=libc_malloc_debug.so.0").output();
    let library = String::from_utf8_lossy(&library.expect("cc starts").stdout).trim().to_owned();
    let log = folder.path().join("log");
    let output = Command::new(&program)
        .env("MALLOC_TRACE", &log)
        .env("LD_PRELOAD", library)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let counted: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    if !log.is_file() {
        return skip("libc_malloc_debug", "this C library has no mtrace");
    }
    let read = import(&log, None);
    let count =
        |op: &str| read.rows.iter().filter(|row| row.split(' ').nth(1) == Some(op)).count() as u64;
    let bytes: u64 =
        read.rows.iter().map(|row| row.split(' ').nth(2).unwrap().parse::<u64>().unwrap()).sum();
    let frees = read.imported.events - read.imported.rows;
    assert_eq!([count("malloc"), count("realloc"), frees, bytes], counted[..]);
    assert_eq!((read.imported.unseen_frees, read.imported.unseen_ends), (0, 0));
}
