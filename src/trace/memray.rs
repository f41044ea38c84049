//! The text that `memray parse FILE.bin` prints. It was checked with memray 1.11 to 1.20.
//!
//! Each line is a record: a kind and `name=value` fields. The reader uses these records:
//!
//! ```text
//! HEADER …file_format=ALL_ALLOCATIONS n_allocations=N … start_time=MILLISECONDS …
//!        command_line=… python_allocator=NAME trace_python_allocators=BOOL …
//! CONTEXT_SWITCH tid=N                   the records that follow are of thread N
//! MEMORY_RECORD time=MILLISECONDS …      every 10 ms: the time of the calls after it
//! ALLOCATION address=0x… size=N allocator=NAME …
//! THREAD NAME                            the name of the present thread
//! ALLOCATION_WITH_NATIVE …               the same; a free has size=0
//! FRAME_POP count=N
//!                                        from version 13 of the format:
//! CODE_OBJECT code_id=N … filename=… firstlineno=N …
//! FRAME_PUSH code_object_id=N …
//!                                        in versions before:
//! FRAME_ID frame_id=N … filename=… lineno=N …
//! FRAME_PUSH frame_id=N
//! ```
//!
//! A realloc is two records: a free, and the thread's next allocation with an allocator whose name
//! ends in `realloc`. A free before a realloc of nothing looks the same and is read as a realloc.
//! mmap and munmap are left out, because they are no blocks of a heap. Allocators named `pymalloc_…`
//! are CPython's (domain `obj`), the others are the C library's (domain `raw`).
//!
//! The site is the newest Python frame. Version 13 prints only the first line of its function; the
//! fact `sites` reports that. An aggregated recording contains no calls and is refused. So is a second
//! header. Command lines and file names may hold blanks and `name=value`, so the fields around them
//! are found from both ends of the line. A command line may also hold line feeds.

use std::collections::HashMap;

use super::event::{Domain, Op, site_name};
use super::foreign::{Foreign, LineFault, LineParser, Log, LogParser, LogStart, number};
use super::quote::{quoted, quoted_field};

pub(super) const MEMBER: Foreign = Foreign {
    name: "memray",
    description: "text of `memray parse`",
    sniff,
    parser: || LogParser::Lines(Box::new(Memray::default())),
};

/// How the text begins.
const MAGIC: &str = "HEADER magic=memray";

fn sniff(start: &LogStart<'_>) -> bool {
    start.lines().any(|line| line.starts_with(MAGIC))
}

/// Records that hold nothing for a trace.
const IGNORED: [&str; 8] = [
    "MEMORY_MAP_START",
    "SEGMENT_HEADER",
    "SEGMENT",
    "NATIVE_FRAME_ID",
    "OBJECT_RECORD",
    "TRAILER",
    "FRAME_INDEX",
    "MEMORY_SNAPSHOT",
];

/// Bytes of a header with line feeds, at most.
const HEADER_LIMIT_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Memray {
    has_header: bool,
    /// A header whose command line holds line feeds, up to the present line.
    unfinished_header: Option<String>,
    has_trailer: bool,
    start_ms: u64,
    stated_allocations: Option<u64>,
    allocations: u64,
    /// `file:line` by the id of a frame or code object.
    lines: HashMap<u64, String>,
    /// The frames of each thread, the newest last.
    stacks: HashMap<u32, Vec<u64>>,
    /// The address of the thread's last free, which may be the first half of a realloc.
    freed: Option<u64>,
}

/// The text of a field without blanks. The first field of that name counts.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}="))?;
    rest.split(' ').next()
}

fn count(line: &str, name: &str) -> Option<u64> {
    field(line, name).and_then(number)
}

/// The names of a record's numbers. One of the names in a group suffices.
fn number_names(kind: &str) -> &'static [&'static [&'static str]] {
    match kind {
        "ALLOCATION" => &[&["address"], &["size"]],
        "CONTEXT_SWITCH" => &[&["tid"]],
        "MEMORY_RECORD" => &[&["time"]],
        "CODE_OBJECT" => &[&["code_id"], &["firstlineno"]],
        "FRAME_ID" => &[&["frame_id"], &["lineno"]],
        "FRAME_PUSH" => &[&["code_object_id", "frame_id"]],
        "FRAME_POP" => &[&["count"]],
        _ => &[],
    }
}

/// What is wrong with a record: the first of its numbers that is none, or a field that is missing.
fn faulty_value(kind: &str, line: &str) -> String {
    for names in number_names(kind) {
        // The number of a line lies behind the name of its file, which may look like a field.
        let value = |name: &&str| match *name {
            "firstlineno" | "lineno" => {
                let (_, rest) = line.rsplit_once(&format!(" {name}="))?;
                rest.split(' ').next()
            }
            name => field(line, name),
        };
        match names.iter().find_map(value) {
            Some(value) if number(value).is_none() && value != "(nil)" => {
                return quoted_field(line, value);
            }
            Some(_) => {}
            None => return format!("no `{}=` in {}", names[0], quoted(line)),
        }
    }
    match kind {
        "ALLOCATION" => format!("no `allocator=` in {}", quoted(line)),
        "CODE_OBJECT" | "FRAME_ID" => {
            format!("no `filename=`, or a line over 2^32, in {}", quoted(line))
        }
        _ => quoted(line),
    }
}

impl LineParser for Memray {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault> {
        if let Some(begun) = &mut self.unfinished_header {
            begun.push('\n');
            begun.push_str(line);
            if begun.len() > HEADER_LIMIT_BYTES {
                return Err(LineFault::Wrong("a header of over 1 MiB".into(), "a shorter one"));
            }
        }
        if let Some(header) = self.unfinished_header.take() {
            return self.header(header, log);
        }
        if line.starts_with(MAGIC) {
            if self.has_header {
                return Err(LineFault::Wrong(
                    "a second header".into(),
                    "one recording; give each recording a file of its own",
                ));
            }
            return self.header(line.to_owned(), log);
        }
        let kind = line.split(' ').next().unwrap_or_default();
        if !self.has_header || !is_record_name(kind) {
            return Err(LineFault::Foreign);
        }
        if self.has_trailer {
            return Err(LineFault::Wrong(
                format!("{} behind the trailer", quoted(line)),
                "one recording; give each recording a file of its own",
            ));
        }
        let wrong = || LineFault::Wrong(faulty_value(kind, line), "a record of memray's");
        self.record(kind, line, log)?.ok_or_else(wrong)
    }

    fn is_whole_without_end(&self, line: &str) -> bool {
        line == "TRAILER"
    }

    fn end(&mut self, log: &mut Log) -> Result<(), LineFault> {
        self.free_pending(log);
        if self.unfinished_header.is_some() {
            return Err(LineFault::Wrong(
                "the end of the file within the header".into(),
                "the whole text of `memray parse`: was the file cut off?",
            ));
        }
        // A recording that was killed states 0.
        let stated = self.stated_allocations.filter(|stated| *stated > 0);
        if let Some(stated) = stated.filter(|stated| *stated != self.allocations) {
            log.tally.stated = Some((stated, self.allocations));
        }
        if self.has_header && !self.has_trailer {
            log.tally.remarks.push(
                "the recording has no trailer: the program was killed, or the text was cut off"
                    .into(),
            );
        }
        Ok(())
    }
}

fn is_record_name(kind: &str) -> bool {
    kind.len() > 3 && kind.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// `file:line` of a frame or code object. The file's name lies between the first `filename=` and the
/// last field of the line's number.
fn frame_line(line: &str, line_field: &str) -> Option<String> {
    let (_, rest) = line.split_once(" filename=")?;
    let (file, number) = rest.rsplit_once(&format!(" {line_field}="))?;
    Some(site_name(file, number.split(' ').next()?.parse().ok()?))
}

impl Memray {
    /// Takes a record; `None` when it is faulty.
    fn record(&mut self, kind: &str, line: &str, log: &mut Log) -> Result<Option<()>, LineFault> {
        match kind {
            "ALLOCATION" | "ALLOCATION_WITH_NATIVE" => {
                self.allocations += 1;
                return self.allocation(line, log).map(Some);
            }
            "THREAD" => log.name_thread(line.strip_prefix("THREAD ").unwrap_or_default()),
            kind if IGNORED.contains(&kind) => self.has_trailer |= kind == "TRAILER",
            "CONTEXT_SWITCH" | "MEMORY_RECORD" | "CODE_OBJECT" | "FRAME_ID" | "FRAME_PUSH"
            | "FRAME_POP" => return Ok(self.context(kind, line, log)),
            _ => log.tally.left_out += 1,
        }
        Ok(Some(()))
    }

    /// Takes a record on thread, time or frames; `None` when it is faulty.
    fn context(&mut self, kind: &str, line: &str, log: &mut Log) -> Option<()> {
        match kind {
            "CONTEXT_SWITCH" => {
                self.free_pending(log);
                log.set_thread(count(line, "tid")?);
            }
            "MEMORY_RECORD" => {
                const NS_PER_MS: u64 = 1_000_000;
                let now_ms = count(line, "time")?;
                log.set_time(
                    now_ms.saturating_mul(NS_PER_MS),
                    self.start_ms.saturating_mul(NS_PER_MS),
                );
            }
            "CODE_OBJECT" => {
                let frame = frame_line(line, "firstlineno")?;
                log.fact("sites", "the line at which the newest frame's function begins");
                self.lines.insert(count(line, "code_id")?, frame);
            }
            "FRAME_ID" => {
                let frame = frame_line(line, "lineno")?;
                self.lines.insert(count(line, "frame_id")?, frame);
            }
            "FRAME_PUSH" => {
                let id = count(line, "code_object_id").or_else(|| count(line, "frame_id"))?;
                self.stacks.entry(log.thread()).or_default().push(id);
            }
            _ => {
                let popped = usize::try_from(count(line, "count")?).unwrap_or(usize::MAX);
                let stack = self.stacks.entry(log.thread()).or_default();
                stack.truncate(stack.len().saturating_sub(popped));
            }
        }
        Some(())
    }

    /// Takes a header. One whose command line is not over waits for the next line.
    fn header(&mut self, text: String, log: &mut Log) -> Result<(), LineFault> {
        let line = text.as_str();
        let (before, command) = match line.split_once(" command_line=") {
            Some((before, rest)) => match command_line(rest) {
                Some(command) => (before, Some(command)),
                None => {
                    self.unfinished_header = Some(text);
                    return Ok(());
                }
            },
            None => (line, None),
        };
        let format = field(before, "file_format").unwrap_or_default();
        if format != "ALL_ALLOCATIONS" {
            return Err(LineFault::Wrong(
                format!("a recording of the format {}", quoted(format)),
                "one made without --aggregate",
            ));
        }
        self.has_header = true;
        let columns = &mut log.header.columns;
        (columns.time_ns, columns.site) = (true, true);
        self.start_ms = count(before, "start_time").unwrap_or(0);
        self.stated_allocations = count(before, "n_allocations");
        log.set_thread(count(before, "main_tid").unwrap_or(1));
        let version =
            field(before, "python_version").and_then(|text| u32::from_str_radix(text, 16).ok());
        if let Some(version) = version {
            log.fact(
                "python",
                format!("{}.{}.{}", version >> 24, version >> 16 & 0xFF, version >> 8 & 0xFF),
            );
        }
        if let Some((program, _)) = command {
            log.fact("program", program);
        }
        let is_traced = command.is_some_and(|(_, is_traced)| is_traced);
        log.fact(
            "memray_saw",
            if is_traced { "CPython's allocators" } else { "the C library's allocator only" },
        );
        Ok(())
    }

    fn allocation(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault> {
        let wrong = || {
            let expected = "ALLOCATION address=0x… size=N allocator=NAME";
            LineFault::Wrong(faulty_value("ALLOCATION", line), expected)
        };
        let address = match field(line, "address").ok_or_else(wrong)? {
            "(nil)" => 0,
            text => number(text).ok_or_else(wrong)?,
        };
        let size = count(line, "size").ok_or_else(wrong)?;
        let allocator = field(line, "allocator").ok_or_else(wrong)?;
        let kind = allocator.strip_prefix("pymalloc_");
        log.set_domain(if kind.is_some() { Domain::Obj } else { Domain::Raw });
        let kind = kind.unwrap_or(allocator);
        if kind != "realloc" {
            self.free_pending(log);
        }
        if !matches!(kind, "free" | "mmap" | "munmap") {
            let newest = self.stacks.get(&log.thread()).and_then(|stack| stack.last());
            let frame = newest.and_then(|id| self.lines.get(id)).map_or("", String::as_str);
            log.site = log.sites.intern(frame);
        }
        match kind {
            "free" => self.freed = Some(address),
            "realloc" => log.realloc(self.freed.take().unwrap_or(0), size, address),
            "calloc" => log.birth(Op::Calloc, size, address),
            "mmap" | "munmap" => log.tally.left_out += 1,
            "malloc" | "memalign" | "posix_memalign" | "aligned_alloc" | "valloc" | "pvalloc" => {
                log.birth(Op::Malloc, size, address);
            }
            other => {
                return Err(LineFault::Wrong(
                    format!("the allocator {}", quoted_field(line, other)),
                    "an allocator of memray 1.11 to 1.20",
                ));
            }
        }
        Ok(())
    }

    /// Writes the pending free, which is no part of a realloc.
    fn free_pending(&mut self, log: &mut Log) {
        if let Some(address) = self.freed.take() {
            log.free(address);
        }
    }
}

/// The command line and whether CPython's allocators were traced, of the text behind
/// `command_line=`; `None` where the fields behind the command line are missing. Arguments of the
/// program may look like these fields, so the last ones count.
fn command_line(text: &str) -> Option<(&str, bool)> {
    const ALLOCATOR: &str = " python_allocator=";
    text.rmatch_indices(ALLOCATOR).find_map(|(at, _)| {
        let (_, rest) = text[at + ALLOCATOR.len()..].split_once(" trace_python_allocators=")?;
        let is_traced = match rest.split([' ', '\n']).next()? {
            "true" => true,
            "false" => false,
            _ => return None,
        };
        Some((&text[..at], is_traced))
    })
}
