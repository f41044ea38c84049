//! Logs of other recorders: a small sample of each, row by row; what is wrong in one is told with
//! its line; and glibc's own mtrace log of a C program against what that program says it did.

use std::path::{Path, PathBuf};
use std::process::Command;

use heaplay::trace::{self, FOREIGN, ForeignLog, Imported, Sequence};
use tempfile::TempDir;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

struct Read {
    /// `event op size lifetime site`, `-` for none.
    rows: Vec<String>,
    facts: std::collections::BTreeMap<String, String>,
    told: Imported,
}

fn import(path: &Path, format: Option<&str>) -> Read {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.trace");
    let told = ForeignLog::open(path, format).unwrap().convert(&out).unwrap();
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
    assert_eq!(sequence.finish(|_| {}).unwrap(), told.events);
    assert_eq!(rows.len() as u64, told.rows);
    Read { rows, facts: reader.header().facts.clone(), told }
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
    assert_eq!((read.told.unseen_frees, read.told.unseen_ends, read.told.left_out), (0, 0, 0));
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
    assert_eq!(read.told.unseen_frees, 1);
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
    assert_eq!(read.told.left_out, 2, "another process, and statistics");
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
    assert_eq!((read.told.unseen_frees, read.told.left_out), (0, 1), "the mmap");
    assert_eq!(
        (read.facts["python"].as_str(), read.facts["program"].as_str()),
        ("3.11.7", "memray run app.py --its arguments")
    );
    let read = import(&sample("older.memray"), None);
    assert_eq!(read.rows, ["0 malloc 32 - 1 0 app.py:4"]);
}

/// Each sample is told by its content, its name is in the list, and gzip makes no difference.
#[test]
fn formats_are_told_by_content() {
    let folder = TempDir::new().unwrap();
    let names = ["exercise.rep", "glibc.mtrace", "firefox.logalloc", "app.android", "app.memray"];
    for (name, foreign) in names.iter().zip(FOREIGN) {
        assert_eq!(
            ForeignLog::open(&sample(name), None).unwrap().format().name,
            foreign.name,
            "{name}"
        );
        let packed = folder.path().join("packed");
        let file = std::fs::File::create(&packed).unwrap();
        let status = Command::new("gzip").arg("-c").arg(sample(name)).stdout(file).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("skipped: no gzip");
            return;
        }
        assert_eq!(import(&packed, None).rows, import(&sample(name), Some(foreign.name)).rows);
    }
}

#[test]
fn faults_name_their_line() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    let out = folder.path().join("out.csv");
    for (format, text, line, words) in [
        ("rep", "1\n1\n2\n1\na 0 8\n", 5, "1 of 2 requests"),
        ("rep", "1\n1\n1\n1\na 0\n", 5, "`a ID BYTES`"),
        ("mtrace", "= Start\n@ a + 0x10\n", 2, "PLACE"),
        ("mtrace", "@ a:[0x1] + 0x10 0xffffffffffffff\n", 1, "2^47"),
        ("logalloc", "1 1 malloc(8)=#1\n1 1 malloc(x)=#2\n", 2, "PID TID"),
        ("android", "1: malloc 0x10 8\n1: grab 0x20 8\n", 2, "ACTION"),
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
        let error = ForeignLog::open(&path, Some(format))
            .and_then(|log| log.convert(&out))
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("log:{line}: ")) && error.contains(words), "{error}");
        assert!(!out.exists());
    }
    std::fs::write(&path, "hello\n").unwrap();
    let Err(error) = ForeignLog::open(&path, None) else { panic!("hello is no log") };
    assert!(error.to_string().contains("--format"), "{error}");
}

/// What glibc logs of this program is what it says it did.
const PROGRAM: &str = r#"
#include <mcheck.h>
#include <stdio.h>
#include <stdlib.h>
int main(void) {
  unsigned long long asked = 0; unsigned seed = 1; void *blocks[64] = {0}; unsigned long births = 0, frees = 0, resizes = 0;
  mtrace();
  for (int n = 0; n < 20000; n++) {
    seed = seed * 1103515245 + 12345; unsigned at = seed >> 16 & 63, size = (seed >> 8) % 3000 + 1;
    if (!blocks[at]) { blocks[at] = n % 3 ? malloc(size) : calloc(1, size); births++; asked += size; }
    else if (n % 4 == 0) { blocks[at] = realloc(blocks[at], size); resizes++; asked += size; }
    else { free(blocks[at]); blocks[at] = 0; frees++; }
  }
  muntrace();
  printf("%lu %lu %lu %llu", births, resizes, frees, asked);
}
"#;

#[test]
fn mtrace_of_a_program() {
    let folder = TempDir::new().unwrap();
    let (source, program) = (folder.path().join("app.c"), folder.path().join("app"));
    std::fs::write(&source, PROGRAM).unwrap();
    let built = Command::new("cc").args(["-w", "-O0", "-o"]).arg(&program).arg(&source).status();
    let library = Command::new("cc").arg("-print-file-name=libc_malloc_debug.so.0").output();
    let library = library.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let (Ok(true), Ok(library)) = (built.map(|status| status.success()), library) else {
        return println!("skipped: no C compiler (cc) with glibc");
    };
    let log = folder.path().join("log");
    let output = Command::new(&program)
        .env("MALLOC_TRACE", &log)
        .env("LD_PRELOAD", library)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    if !log.is_file() {
        return println!("skipped: this libc has no mtrace");
    }
    let read = import(&log, None);
    let count =
        |op: &str| read.rows.iter().filter(|row| row.split(' ').nth(1) == Some(op)).count() as u64;
    let asked: u64 =
        read.rows.iter().map(|row| row.split(' ').nth(2).unwrap().parse::<u64>().unwrap()).sum();
    let frees = read.told.events - read.told.rows;
    assert_eq!([count("malloc"), count("realloc"), frees, asked], said[..]);
    assert_eq!((read.told.unseen_frees, read.told.unseen_ends), (0, 0));
}
