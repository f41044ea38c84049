//! Files for readers that open paths. Their names contain the process id; they lie in memory where
//! the machine has `/dev/shm`.

#![allow(dead_code, reason = "each target uses a part")]

use std::path::{Path, PathBuf};

use heaplay::trace::{self, ForeignLog, Row, Sequence, TraceError};

/// The path of a file of this process.
pub fn path(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    root.join(format!("heaplay-fuzz-{}-{name}", std::process::id()))
}

/// Every row, with the text of its site.
pub fn read(path: &Path) -> Result<Vec<(Row, String)>, TraceError> {
    let mut reader = trace::open(path)?;
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row()? {
        rows.push((row, reader.sites().name(row.site).to_owned()));
    }
    Ok(rows)
}

/// Reads arbitrary bytes. Rows that can be read can be written in the other format, and are the same
/// there.
pub fn check(bytes: &[u8], name: &str, other: &str) {
    let (from, to) = (path(name), path(other));
    std::fs::write(&from, bytes).unwrap();
    let rows = match read(&from) {
        Ok(rows) => rows,
        Err(error) => {
            assert!(error.to_string().contains(&from.display().to_string()), "no path in `{error}`");
            if let Ok(mut reader) = trace::open_salvaging(&from) {
                while let Ok(Some(_)) = reader.next_row() {}
            }
            return;
        }
    };
    trace::copy(&mut *trace::open(&from).unwrap(), &to).unwrap();
    assert_eq!(rows, read(&to).unwrap());
}

/// Reads a trace that heaplay made from another format. Its rows are a valid sequence of calls, with
/// the reported numbers of rows and calls.
pub fn check_counts(path: &Path, rows: u64, events: u64) {
    let (mut reader, mut sequence, mut found) = (trace::open(path).unwrap(), Sequence::new(), 0);
    while let Some(row) = reader.next_row().unwrap() {
        sequence.accept(&row, |_| {}).unwrap();
        found += 1;
    }
    assert_eq!((found, sequence.finish(|_| {}).unwrap()), (rows, events));
}

/// Imports arbitrary bytes as a log of another recorder. An error names the file; a trace is valid.
pub fn check_log(
    bytes: &[u8],
    open: impl FnOnce(&Path) -> Option<Result<ForeignLog, TraceError>>,
) {
    let (path, out) = (path("a.log"), path("b.trace"));
    std::fs::write(&path, bytes).unwrap();
    let Some(opened) = open(&path) else { return };
    let imported = match opened.and_then(|log| log.convert(&out)) {
        Ok(imported) => imported,
        Err(error) => {
            assert!(error.to_string().contains(&path.display().to_string()), "no path in `{error}`");
            return;
        }
    };
    imported.notes();
    check_counts(&out, imported.rows, imported.events);
}
