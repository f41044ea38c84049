//! Imports files by the command line, and reads the traces that result.

use std::collections::BTreeMap;
use std::path::PathBuf;

use heaplay::trace::{self, ProcessRecord, Sequence};
use tempfile::TempDir;

use super::process::{both, finish, heaplay};

/// A folder of files to import.
pub struct Imports {
    folder: TempDir,
}

/// How one import ended.
pub struct ImportResult {
    /// The exit code.
    pub code: i32,
    /// Standard output and standard error.
    pub message: String,
    /// The trace; `None` where the import was refused.
    pub trace: Option<ImportedTrace>,
}

/// The trace of an import.
pub struct ImportedTrace {
    /// `EVENT OP SIZE LIFETIME THREAD[>END_THREAD] TIME_NS DOMAIN SITE` of each row, `-` for none.
    pub rows: Vec<String>,
    /// Calls, frees included.
    pub calls: u64,
    pub facts: BTreeMap<String, String>,
    pub process: ProcessRecord,
}

impl ImportedTrace {
    /// Event, op, size and lifetime of each row.
    pub fn calls_only(&self) -> Vec<String> {
        let four = |row: &String| row.split(' ').take(4).collect::<Vec<_>>().join(" ");
        self.rows.iter().map(four).collect()
    }

    /// One field of each row.
    pub fn field(&self, index: usize) -> Vec<&str> {
        self.rows.iter().map(|row| row.split(' ').nth(index).unwrap_or_default()).collect()
    }
}

impl ImportResult {
    /// The trace of an import that must succeed.
    #[track_caller]
    pub fn trace(&self) -> &ImportedTrace {
        assert_eq!(self.code, 0, "{}", self.message);
        self.trace.as_ref().unwrap_or_else(|| panic!("no trace: {}", self.message))
    }

    /// Asserts that the import succeeded and reported this.
    #[track_caller]
    pub fn reports(&self, part: &str) -> &ImportResult {
        assert_eq!(self.code, 0, "{}", self.message);
        assert!(self.message.contains(part), "no `{part}` in: {}", self.message);
        self
    }

    /// Asserts that the import was refused with this message, and left no file.
    #[track_caller]
    pub fn refused(&self, part: &str) -> &ImportResult {
        assert_eq!(self.code, 2, "{}", self.message);
        assert!(self.message.contains(part), "no `{part}` in: {}", self.message);
        assert!(self.trace.is_none());
        self
    }
}

impl Imports {
    pub fn new() -> Imports {
        Imports { folder: TempDir::new().expect("a folder") }
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the folder can be written");
        path
    }

    /// Imports a text or bytes.
    pub fn import(&self, bytes: impl AsRef<[u8]>) -> ImportResult {
        self.write("input", bytes);
        self.import_with(&["input"])
    }

    /// Imports with these arguments, in the folder.
    pub fn import_with(&self, arguments: &[&str]) -> ImportResult {
        let out = self.path("out.trace");
        let _ = std::fs::remove_file(&out);
        let mut command = heaplay();
        command.current_dir(self.folder.path()).arg("import").args(arguments);
        let output = finish(command.args(["-o", "out.trace"]));
        let code = output.status.code().unwrap_or(-1);
        assert!(!self.path("out.trace.part").exists(), "a part is left");
        let trace = out.exists().then(|| read(&out));
        ImportResult { code, message: both(&output), trace }
    }
}

/// Reads a trace whose rows must be a valid sequence.
fn read(path: &std::path::Path) -> ImportedTrace {
    let mut reader = trace::open(path).expect("heaplay's own trace");
    let (mut sequence, mut rows) = (Sequence::new(), Vec::new());
    while let Some(row) = reader.next_row().expect("heaplay's own trace") {
        sequence.accept(&row, |_| {}).expect("a valid sequence");
        let lifetime = row.lifetime.map_or("-".into(), |lifetime| lifetime.to_string());
        let by = row.end_thread.map_or(String::new(), |thread| format!(">{thread}"));
        let site = Some(reader.sites().name(row.site)).filter(|site| !site.is_empty());
        rows.push(format!(
            "{} {} {} {lifetime} {}{by} {} {} {}",
            row.event,
            row.op.name(),
            row.size,
            row.thread,
            row.time_ns,
            row.domain.name(),
            site.unwrap_or("-")
        ));
    }
    let calls = sequence.finish(|_| {}).expect("a valid sequence");
    ImportedTrace {
        rows,
        calls,
        facts: reader.header().facts.clone(),
        process: reader.process().clone(),
    }
}
