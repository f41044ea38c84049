//! Damaged logs: each mutation of each sample is read as a second reader reads it, with a report of
//! what is odd, or it is refused. It is never read wrongly without a report.
//!
//! The second reader is `tests/oracle/logs.py`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use heaplay::trace::{self, FOREIGN, ForeignLog, Imported, TraceError};
use tempfile::TempDir;

use crate::support::interpreters;
use crate::support::log_samples::SAMPLES;
use crate::support::process::{repository, scratch};

/// Mutations of each sample.
const MUTATIONS: usize = 150;

/// Lines of other programs, and of other formats.
const FOREIGN_LINES: [&str; 12] = [
    "hello, world",
    "WARNING: 3 of 5 tasks failed (see the log)",
    "12 brk(NULL) = 0x55d5c1a2b000",
    "2024-05-01 12:30:01 INFO started",
    "= = =",
    "7 8 malloc(64)=0x10",
    "9: malloc 0x10 16",
    "@ ./app:[0x1] + 0x10 0x8",
    "a 0 16",
    "--7-- malloc(8) = 0x10",
    "1,11:00:00.5,allocate,0x10,8,0x0",
    "\u{1b}[31mred\u{1b}[0m",
];

/// Knuth's generator.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit.max(1) as u64) as usize
    }
}

/// The pieces that a mutation moves: lines, or pieces of a binary file.
fn pieces(bytes: &[u8], format: &str) -> Vec<Vec<u8>> {
    let length = match format {
        "glibc" => 64,
        "bytehound" => 8,
        "glibc-workload" => 1,
        _ => return bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect(),
    };
    bytes.chunks(length).map(<[u8]>::to_vec).collect()
}

/// One mutation of a file.
fn mutated(bytes: &[u8], format: &str, draw: &mut Draw) -> Vec<u8> {
    let mut pieces = pieces(bytes, format);
    let kind = draw.below(6);
    if kind == 0 {
        return bytes[..draw.below(bytes.len())].to_vec();
    }
    for _ in 0..=draw.below(2) {
        let (at, other) = (draw.below(pieces.len()), draw.below(pieces.len()));
        match kind {
            1 => drop(pieces.remove(at)),
            2 => pieces.insert(at, pieces[at].clone()),
            3 => pieces.swap(at, other),
            4 => {
                let line = FOREIGN_LINES[draw.below(FOREIGN_LINES.len())];
                pieces.insert(at, format!("{line}\n").into_bytes());
            }
            _ => {
                let again = pieces[other].clone();
                pieces.insert(at, again);
            }
        }
        if pieces.is_empty() {
            break;
        }
    }
    pieces.concat()
}

/// Rows as the second reader prints them.
fn rows(path: &Path) -> serde_json::Value {
    let mut reader = trace::open(path).expect("heaplay's own trace");
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row().expect("heaplay's own trace") {
        rows.push(serde_json::json!([
            row.event,
            row.op.name(),
            row.size,
            row.lifetime.map(u64::from),
            row.thread.max(1),
            row.end_thread,
            row.domain.name(),
            row.time_ns,
        ]));
    }
    serde_json::Value::Array(rows)
}

fn import(path: &Path, format: &str, out: &Path) -> Result<Imported, TraceError> {
    let member = FOREIGN.iter().find(|foreign| foreign.name == format).expect("a format");
    ForeignLog::open(path, member)?.convert(out)
}

/// What the second reader reads of each file.
fn second_reader(requests: &[(String, PathBuf)]) -> Option<Vec<serde_json::Value>> {
    let (_, python) = interpreters::find_of(7..=14).pop()?;
    let mut child = Command::new(python)
        .arg(repository("tests/oracle/logs.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut input = child.stdin.take().expect("a pipe");
    let lines: String =
        requests.iter().map(|(format, path)| format!("{format} {}\n", path.display())).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("Python ends");
    writer.join().expect("no panic").expect("all requests were taken");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("JSON");
    Some(text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

/// The samples themselves are read as the second reader reads them.
#[test]
fn samples_are_read_as_by_a_second_reader() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.trace");
    let request = |(format, name): &(&str, &str)| {
        ((*format).to_owned(), repository("tests/samples").join(name))
    };
    let requests: Vec<(String, PathBuf)> = SAMPLES.iter().map(request).collect();
    let Some(read) = second_reader(&requests) else { return };
    assert_eq!(read.len(), requests.len());
    for ((format, path), expected) in requests.iter().zip(&read) {
        let imported = import(path, format, &out).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(expected["fault"], serde_json::Value::Null, "{}", path.display());
        assert_eq!(rows(&out), expected["rows"], "{}", path.display());
        assert_eq!(expected["calls"], imported.events, "{}", path.display());
    }
}

#[test]
fn mutations_are_read_or_refused() {
    let folder = TempDir::new().unwrap();
    let mut requests = Vec::new();
    for (number, (format, name)) in SAMPLES.iter().enumerate() {
        let bytes = std::fs::read(repository("tests/samples").join(name)).unwrap();
        let mut draw = Draw(number as u64 + 1);
        for mutation in 0..MUTATIONS {
            let path = folder.path().join(format!("{name}.{mutation}"));
            std::fs::write(&path, mutated(&bytes, format, &mut draw)).unwrap();
            requests.push(((*format).to_owned(), path));
        }
    }
    let Some(read) = second_reader(&requests) else { return };
    assert_eq!(read.len(), requests.len());
    let out = folder.path().join("out.trace");
    let (mut sound, mut reported, mut refused) = (0, 0, 0);
    for ((format, path), expected) in requests.iter().zip(&read) {
        let saved = || {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let saved = scratch(&name);
            std::fs::copy(path, &saved).unwrap();
            format!("{format} {}: {expected}", saved.display())
        };
        match import(path, format, &out) {
            Err(error) => {
                assert!(error.to_string().contains(&*path.display().to_string()), "{error}");
                refused += 1;
            }
            Ok(imported) => {
                assert_eq!(expected["fault"], serde_json::Value::Null, "read: {}", saved());
                assert_eq!(rows(&out), expected["rows"], "{}", saved());
                let is_odd = expected["odd"].as_u64() != Some(0);
                assert!(!is_odd || !imported.notes().is_empty(), "no report: {}", saved());
                *if is_odd { &mut reported } else { &mut sound } += 1;
            }
        }
    }
    println!("{sound} read, {reported} read with a report, {refused} refused");
    assert!(sound > 100 && reported > 100 && refused > 100);
}

/// A packed log is read as it is. A damaged one is refused, or its log is unchanged.
#[test]
fn packed_logs_are_read_or_refused() {
    let folder = TempDir::new().unwrap();
    let (out, damaged) = (folder.path().join("out.trace"), folder.path().join("damaged"));
    import(&repository("tests/samples/app.android"), "android", &out).unwrap();
    let expected = rows(&out);
    for ending in ["gz", "zst", "xz", "bz2", "lz4", "zip"] {
        let path = repository("tests/samples/packed").join(format!("app.android.{ending}"));
        import(&path, "android", &out).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rows(&out), expected, "{ending}");
        let whole = std::fs::read(&path).unwrap();
        let check = |bytes: &[u8], what: &str| {
            std::fs::write(&damaged, bytes).unwrap();
            match import(&damaged, "android", &out) {
                Ok(_) => assert_eq!(rows(&out), expected, "{ending}: {what}"),
                Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
            }
        };
        for cut in 0..whole.len() {
            check(&whole[..cut], &format!("cut at {cut}"));
        }
        for at in 0..whole.len() {
            for bit in [0, 3, 7] {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                check(&bytes, &format!("bit {bit} of byte {at}"));
            }
        }
        // Two frames in a row are one log; zeros behind are padding; other bytes are refused.
        if ending != "zip" {
            let zeros = [whole.clone(), vec![0; 512]].concat();
            std::fs::write(&damaged, zeros).unwrap();
            import(&damaged, "android", &out).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(rows(&out), expected, "{ending}: padding");
            std::fs::write(&damaged, [whole.clone(), b"more".to_vec()].concat()).unwrap();
            let message = import(&damaged, "android", &out).unwrap_err().to_string();
            assert!(message.contains("other bytes follow"), "{ending}: {message}");
            std::fs::write(&damaged, [whole.clone(), whole.clone()].concat()).unwrap();
            assert!(import(&damaged, "android", &out).unwrap().rows > 5, "{ending}");
        }
    }
}
