//! What a file is, for all verbs, and what to do with it.
//!
//! The first bytes decide, behind any packing. Known kinds that heaplay does not read have a name and a
//! next step each.

use std::borrow::Cow;
use std::path::Path;

use super::event::TraceError;
use super::foreign::{Foreign, LogStart};
use super::foreign_list::FOREIGN;
use super::formats::{FORMATS, Format};
use super::packing::Packing;
use super::quote::{quoted, quoted_bytes};
use super::stable_file::StableFile;
use super::tracemalloc::Snapshot;

/// Bytes by which a kind is recognised.
const START_BYTES: usize = 1 << 16;

/// What a file is.
#[derive(Clone)]
pub enum FileKind {
    /// A file without a byte.
    Empty,
    /// A trace of heaplay's.
    Trace(&'static Format),
    /// A pickle, which may be a snapshot of tracemalloc.
    Pickle,
    /// A log of another recorder.
    Log(&'static Foreign),
    /// A known kind that heaplay does not read: its name, and the next step.
    Unread(&'static str, &'static str),
    /// None of these: a description of its beginning.
    Unknown(String),
}

/// A file, its packings and its kind.
#[derive(Clone)]
pub struct IdentifiedFile {
    /// The packings around the file, the outermost first.
    pub packings: Vec<Packing>,
    /// What the file is, unpacked.
    pub kind: FileKind,
}

/// How a text begins that heaplay does not read.
struct UnreadText {
    is_meant: fn(&LogStart<'_>) -> bool,
    name: &'static str,
    next_step: &'static str,
}

const CALLS_NEEDED: &str = "it holds totals and no calls; record the program with `heaplay record`, \
                            heaptrack or `valgrind --trace-malloc=yes`";
const CALLS_NEEDED_OF_MEMORY: &str =
    "it holds memory and no calls; record the program with `heaplay record`";
const UNPACK: &str = "unpack it first";
const UTF_16: &str = "save it as UTF-8 first (`iconv -f UTF-16 -t UTF-8 FILE`)";

/// How files begin that heaplay does not read: bytes, name and next step.
const UNREAD_BYTES: [(&[u8], &str, &str); 27] = [
    (
        b"hplayraw",
        "the unfinished recording of a program",
        "`heaplay record --recover FILE -o NAME.trace` makes a trace of it",
    ),
    (
        b"memray",
        "a recording of memray",
        "print it with `memray parse FILE > FILE.txt`, and import that text",
    ),
    (b"\x7fELF", "an ELF program or library", "record the program with `heaplay record`"),
    (b"\xFF\xFE", "UTF-16 text", UTF_16),
    (b"\xFE\xFF", "UTF-16 text", UTF_16),
    (b"PERFILE2", "a recording of perf", CALLS_NEEDED),
    (b"SQLite format 3\0", "an SQLite database", "export its calls as CSV (op, size, lifetime)"),
    (b"\x89PNG", "a PNG picture", "give the trace that it was drawn from"),
    (b"%PDF", "a PDF document", "give the trace that it was made from"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive", UNPACK),
    (b"\x1F\x9D", "data of compress (.Z)", UNPACK),
    (b"\x1F\xA0", "data of compress (.Z)", UNPACK),
    (b"\x5D\0\0", "lzma data", UNPACK),
    (b"\x02\x21\x4C\x18", "legacy lz4 data", UNPACK),
    (b"LZIP", "lzip data", UNPACK),
    (b"Rar!", "a rar archive", UNPACK),
    (b"PK\x05\x06", "an empty zip archive", "pack one log or trace into it"),
    (b"PK\x07\x08", "a zip archive in parts", UNPACK),
    (b"!<arch>", "an archive of ar", UNPACK),
    (b"PAR1", "a parquet file", "export it as CSV with the columns op, size and lifetime"),
    (b"ARROW1", "an arrow file", "export it as CSV with the columns op, size and lifetime"),
    (b"FEA1", "a feather file", "export it as CSV with the columns op, size and lifetime"),
    (b"JAVA PROFILE", "a heap dump of a JVM", CALLS_NEEDED),
    (b"MDMP", "a minidump", CALLS_NEEDED),
    (b"\xCA\xFE\xBA\xBE", "a Java class or a Mach-O program", CALLS_NEEDED),
    (b"\x0D\x0D\x0A", "compiled Python", "record the program with `heaplay record`"),
    (b"<?xml", "an XML file", CALLS_NEEDED),
];

/// Texts that heaplay does not read, in the order of looking.
const UNREAD_TEXTS: [UnreadText; 11] = [
    UnreadText {
        is_meant: |start| {
            has_line(start, |line| line.starts_with("desc: "))
                && has_line(start, |line| line.starts_with("time_unit: "))
        },
        name: "a profile of valgrind's massif",
        next_step: CALLS_NEEDED,
    },
    UnreadText {
        is_meant: |start| {
            start.text.trim_start().starts_with('{') && start.text.contains("\"dhatFileVersion\"")
        },
        name: "a profile of valgrind's DHAT",
        next_step: CALLS_NEEDED,
    },
    UnreadText {
        is_meant: |start| {
            start.lines().next().is_some_and(|line| {
                line.starts_with("heap profile:")
                    || line.starts_with("heap_v2/")
                    || line.starts_with("--- Memory map")
            })
        },
        name: "a heap profile (jemalloc, tcmalloc)",
        next_step: CALLS_NEEDED,
    },
    UnreadText {
        is_meant: |start| has_line(start, is_strace),
        name: "output of strace",
        next_step: "it holds system calls and no allocations; record the program with `heaplay \
                    record`, heaptrack or `valgrind --trace-malloc=yes`",
    },
    UnreadText {
        is_meant: |start| has_line(start, is_ltrace),
        name: "output of ltrace",
        next_step: "it lacks calls from within libraries; record the program with `heaplay record`, \
                    heaptrack or `valgrind --trace-malloc=yes`",
    },
    UnreadText {
        is_meant: |start| {
            let text = start.text.trim_start();
            text.starts_with('{')
                && text.contains("\"allocations\"")
                && text.contains("\"backtrace_id\"")
        },
        name: "JSON of bytehound's server, which is no trace",
        next_step: "export the recording for replay (`/data/ID/export/replay` of that server), and \
                    import that file",
    },
    UnreadText {
        is_meant: |start| {
            let is_open = |line: &str| line.starts_with('{') || line.starts_with('[');
            start.lines().next().is_some_and(is_open)
        },
        name: "JSON, which is no trace",
        next_step: "give a recording of the program, or write its calls as CSV with the columns op, \
                    size and lifetime",
    },
    UnreadText {
        is_meant: |start| {
            let is_page = |line: &str| {
                line.to_ascii_lowercase().starts_with("<!doctype html") || line == "<html>"
            };
            start.lines().next().is_some_and(is_page)
        },
        name: "an HTML page",
        next_step: "download the file itself",
    },
    UnreadText {
        is_meant: |start| has_line(start, |line| line.starts_with("version https://git-lfs")),
        name: "a pointer of Git LFS",
        next_step: "fetch the file with `git lfs pull`",
    },
    UnreadText {
        is_meant: |start| has_line(start, |line| line.contains("==") && is_memcheck(line)),
        name: "output of valgrind without calls",
        next_step: "run it with `valgrind --trace-malloc=yes`",
    },
    UnreadText { is_meant: is_python, name: PYTHON_PROGRAM, next_step: RECORD_PYTHON },
];

const PYTHON_PROGRAM: &str = "a Python program";
const RECORD_PYTHON: &str = "record it with `heaplay record -- python3 FILE`";

/// A text whose first line names Python, or that has lines of its syntax.
fn is_python(start: &LogStart<'_>) -> bool {
    let is_name = |text: &str| {
        let is_letter = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ',' | ' ');
        !text.is_empty() && text.chars().all(is_letter)
    };
    let is_statement = |line: &str| {
        let imported = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import "));
        imported.is_some_and(|(module, _)| is_name(module))
            || line.strip_prefix("import ").is_some_and(is_name)
            || line.starts_with("def ") && line.contains('(') && line.ends_with(':')
    };
    let first = start.text.lines().next().unwrap_or_default();
    first.starts_with("#!") && first.contains("python") || has_line(start, is_statement)
}

/// Bytes of an entry of `memusage --data`: heap, stack and time.
const MEMUSAGE_BYTES: usize = 24;

/// Whether bytes are what glibc's `memusage --data=FILE` writes. The first entry has the peak of
/// both together, the second has the peaks of heap and stack. Entries in the order of time follow.
fn is_memusage(start: &LogStart<'_>) -> bool {
    let is_of_length = |bytes: u64| bytes.is_multiple_of(MEMUSAGE_BYTES as u64);
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    let entries: Vec<[u64; 3]> = start
        .bytes
        .chunks_exact(MEMUSAGE_BYTES)
        .map(|entry| [word(&entry[..8]), word(&entry[8..16]), word(&entry[16..])])
        .collect();
    let [[zero, peak, began], [heap, stack, ended], calls @ ..] = entries.as_slice() else {
        return false;
    };
    let are_peaks = *zero == 0 && heap.max(stack) <= peak && *peak <= heap.saturating_add(*stack);
    let mut last = began;
    start.length_bytes.is_none_or(is_of_length)
        && *peak > 0
        && began > &0
        && are_peaks
        && calls.len() >= 2
        && calls.iter().all(|[live, depth, now]| {
            let is_next = live <= heap && depth <= stack && last <= now && now <= ended;
            last = now;
            is_next
        })
}

fn has_line(start: &LogStart<'_>, is_meant: impl Fn(&str) -> bool) -> bool {
    start.lines().any(is_meant)
}

/// A line such as `brk(NULL) = 0x55d5c1a2b000`, perhaps behind a process.
fn is_strace(line: &str) -> bool {
    const SYSTEM_CALLS: [&str; 10] = [
        "brk", "mmap", "munmap", "execve", "openat", "mprotect", "read", "write", "close", "futex",
    ];
    traced_function(line).is_some_and(|function| SYSTEM_CALLS.contains(&function))
}

/// A line such as `malloc(64) = 0x55d5c1a2b2a0`, perhaps behind a process.
fn is_ltrace(line: &str) -> bool {
    const FUNCTIONS: [&str; 6] =
        ["malloc", "free", "calloc", "realloc", "__libc_start_main", "malloc->malloc"];
    traced_function(line)
        .map(|function| function.rsplit("->").next().unwrap_or(function))
        .is_some_and(|function| FUNCTIONS.contains(&function))
}

/// The function of a line of strace or ltrace.
fn traced_function(line: &str) -> Option<&str> {
    let (head, rest) = line.split_once('(')?;
    let has_result = rest.contains(") = ") || rest.contains(" <unfinished") || rest.contains("= ");
    let function = head.split_ascii_whitespace().last()?;
    let is_process = |field: &str| {
        field.trim_matches(['[', ']']).bytes().all(|byte| byte.is_ascii_digit())
            || field == "[pid"
            || field.contains(':')
            || field.contains('.')
    };
    let are_processes = head.split_ascii_whitespace().rev().skip(1).all(is_process);
    (has_result && are_processes).then_some(function)
}

/// A line such as `==123== Memcheck, a memory error detector`.
fn is_memcheck(line: &str) -> bool {
    let process = line.strip_prefix("==").and_then(|rest| rest.split_once("== "));
    process.is_some_and(|(process, _)| process.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Finds out what a file is.
///
/// # Errors
/// When the file cannot be read or unpacked, or is a pipe.
pub fn identify(path: &Path) -> Result<IdentifiedFile, TraceError> {
    let file = StableFile::new(path)?;
    let mut unpacked = file.open()?;
    let bytes = unpacked.stream.peek(START_BYTES);
    let bytes = bytes.map_err(|source| TraceError::io(path, source))?;
    let bytes = &bytes[..bytes.len().min(START_BYTES)];
    let length_bytes = unpacked.packings.is_empty().then(|| file.length_bytes());
    let text = text_of(bytes);
    let start = LogStart { bytes, text: &text, length_bytes };
    let kind = match kind_of(&start) {
        FileKind::Unknown(_) if is_named_python(path) && !text.is_empty() => {
            FileKind::Unread(PYTHON_PROGRAM, RECORD_PYTHON)
        }
        kind => kind,
    };
    Ok(IdentifiedFile { kind, packings: unpacked.packings })
}

fn is_named_python(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py")
}

/// The text of a beginning: without a byte-order mark and a last line that may be cut off. Empty for
/// bytes that are no text.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.contains(&0) {
        return Cow::Borrowed("");
    }
    let is_cut = bytes.len() + 3 >= START_BYTES;
    let end = if is_cut { bytes.iter().rposition(|byte| *byte == b'\n') } else { None };
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())])
}

/// Whether an ELF file is a core file: its type, at byte 16, is 4 (`ET_CORE` of elf(5)).
fn is_core(start: &[u8]) -> bool {
    start.starts_with(b"\x7fELF") && start.get(16..18).is_some_and(|kind| kind.contains(&4))
}

fn kind_of(start: &LogStart<'_>) -> FileKind {
    if start.bytes.is_empty() {
        return FileKind::Empty;
    }
    let traces = FORMATS.iter().find(|format| format.is_meant_by(start.bytes));
    if let Some(format) = traces {
        return FileKind::Trace(format);
    }
    if let Some(member) = FOREIGN.iter().find(|foreign| (foreign.sniff)(start)) {
        return FileKind::Log(member);
    }
    if is_pickle(start.bytes) {
        return FileKind::Pickle;
    }
    if is_core(start.bytes) {
        return FileKind::Unread("a core file", CALLS_NEEDED_OF_MEMORY);
    }
    let unread = UNREAD_BYTES.iter().find(|(magic, _, _)| start.bytes.starts_with(magic));
    if let Some((_, name, next_step)) = unread {
        return FileKind::Unread(name, next_step);
    }
    if is_memusage(start) {
        return FileKind::Unread("data of glibc's memusage", CALLS_NEEDED);
    }
    if start.bytes.get(257..262) == Some(b"ustar") {
        return FileKind::Unread("a tar archive", UNPACK);
    }
    if let Some(unread) = UNREAD_TEXTS.iter().find(|unread| (unread.is_meant)(start)) {
        return FileKind::Unread(unread.name, unread.next_step);
    }
    FileKind::Unknown(describe(start))
}

/// Whether bytes begin a pickle: of protocol 2 or later, or an older one of an object.
fn is_pickle(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
        || names_object(start)
        || start.starts_with(b"(lp0\n")
        || start.starts_with(b"(dp0\n")
        || start.starts_with(b"]q\0")
        || start.starts_with(b"}q\0")
}

/// Whether bytes begin with the name of a class or function, as protocols 0 and 1 write it.
fn names_object(start: &[u8]) -> bool {
    let is_name = |line: &[u8]| {
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        !line.is_empty() && line.iter().all(is_letter)
    };
    let mut lines = start.split(|byte| *byte == b'\n').take(3);
    let (Some(module), Some(name), Some(_)) = (lines.next(), lines.next(), lines.next()) else {
        return false;
    };
    module.strip_prefix(b"c").is_some_and(is_name) && is_name(name)
}

/// Bytes that describe a file of no known kind.
const DESCRIBED_BYTES: usize = 16;

/// Describes a file of no known kind by its beginning.
fn describe(start: &LogStart<'_>) -> String {
    // A last character that is cut off is no fault.
    let fault = str::from_utf8(start.bytes).err().filter(|fault| fault.error_len().is_some());
    let no_utf8 = fault.map(|fault| fault.valid_up_to());
    let zero = start.bytes.iter().position(|byte| *byte == 0);
    let Some(at) = no_utf8.into_iter().chain(zero).min() else {
        return format!("text that begins {}", quoted(start.lines().next().unwrap_or_default()));
    };
    let shown = quoted_bytes(&start.bytes[..start.bytes.len().min(DESCRIBED_BYTES)]);
    format!("binary data: no text from byte {at} on, it begins {shown}")
}

impl IdentifiedFile {
    /// The kind in words, with its packings: `gzip of a glibc mtrace log`.
    pub fn description(&self) -> String {
        let kind = match &self.kind {
            FileKind::Empty => "an empty file",
            FileKind::Trace(format) => match format.extension {
                "trace" => "a trace of heaplay",
                _ => "a trace as CSV",
            },
            FileKind::Pickle => "a Python pickle",
            FileKind::Log(member) => member.description,
            FileKind::Unread(name, _) => name,
            FileKind::Unknown(text) => text,
        };
        let packings: String =
            self.packings.iter().map(|packing| format!("{} of ", packing.name())).collect();
        packings + kind
    }

    /// The error of a verb that does not read this kind.
    pub fn unread(&self, path: &Path, verb_expects: &str) -> TraceError {
        let shown = path.display();
        let next_step = match &self.kind {
            FileKind::Empty => "record it again".to_owned(),
            FileKind::Trace(_) => format!("`heaplay inspect {shown}` shows it"),
            FileKind::Pickle | FileKind::Log(_) => {
                // Of other pickles, the reader of snapshots says what they hold.
                let snapshot = matches!(self.kind, FileKind::Pickle).then(|| Snapshot::open(path));
                if let Some(Err(error)) = snapshot {
                    return error;
                }
                format!("`heaplay import {shown} -o NAME.trace` makes a trace of it")
            }
            FileKind::Unread(_, next_step) => (*next_step).to_owned(),
            FileKind::Unknown(_) => {
                let (path, found) = (path.to_owned(), self.description());
                return TraceError::Foreign { path, found, expected: verb_expects.to_owned() };
            }
        };
        // Any other pickle was refused above.
        let what = match self.kind {
            FileKind::Pickle => ": a snapshot of tracemalloc",
            _ => "",
        };
        let kind = self.description() + what;
        TraceError::Unread { path: path.to_owned(), kind, next_step }
    }
}
