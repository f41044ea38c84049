//! The text that `memray parse FILE.bin` prints. It was checked with memray 1.11 to 1.20.
//!
//! Each line is a record: a kind and `name=value` fields. The reader uses these records:
//!
//! ```text
//! HEADER …file_format=ALL_ALLOCATIONS start_time=MILLISECONDS command_line=… python_allocator=…
//! CONTEXT_SWITCH tid=N                   the records that follow are of thread N
//! MEMORY_RECORD time=MILLISECONDS …      every 10 ms: the time of the calls after it
//! ALLOCATION address=0x… size=N allocator=NAME …
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
//! mmap and munmap are left out, because they are no blocks of a heap.
//!
//! The site is the newest Python frame. Version 13 prints only the first line of its function; the
//! fact `sites` reports that. An aggregated recording contains no calls and is refused.

use std::collections::HashMap;

use super::event::{Op, site_name};
use super::foreign::{Foreign, LineParser, Log, WrongLine, number};

pub(super) const MEMBER: Foreign = Foreign {
    name: "memray",
    description: "text of `memray parse`",
    sniff,
    parser: || Box::new(Memray::default()),
};

fn sniff(start: &str) -> bool {
    start.starts_with("HEADER magic=memray")
}

#[derive(Default)]
struct Memray {
    start_ms: u64,
    /// `file:line` by the id of a frame or code object.
    lines: HashMap<u64, String>,
    /// The frames of each thread, the newest last.
    stacks: HashMap<u32, Vec<u64>>,
    /// The address of the thread's last free, which may be the first half of a realloc.
    freed: Option<u64>,
}

/// The value of a field. A value that may contain blanks ends at the field `until`.
fn field<'a>(line: &'a str, name: &str, until: Option<&str>) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}="))?;
    match until {
        Some(until) => rest.split_once(&format!(" {until}=")).map(|(value, _)| value),
        None => rest.split(' ').next(),
    }
}

fn count(line: &str, name: &str) -> Option<u64> {
    field(line, name, None).and_then(number)
}

impl LineParser for Memray {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), WrongLine> {
        let wrong = || {
            WrongLine(
                format!("`{}`", line.chars().take(80).collect::<String>()),
                "a record of memray's",
            )
        };
        match line.split(' ').next().unwrap_or_default() {
            "HEADER" => return self.header(line, log),
            "CONTEXT_SWITCH" => {
                self.free_pending(log);
                log.thread =
                    count(line, "tid").and_then(|tid| u32::try_from(tid).ok()).ok_or_else(wrong)?;
            }
            "MEMORY_RECORD" => {
                let now = count(line, "time").ok_or_else(wrong)?;
                log.time_ns = now.saturating_sub(self.start_ms).saturating_mul(1_000_000);
            }
            "CODE_OBJECT" => {
                let frame = frame_line(line, "firstlineno").ok_or_else(wrong)?;
                log.fact("sites", "the line at which the newest frame's function begins");
                self.lines.insert(count(line, "code_id").ok_or_else(wrong)?, frame);
            }
            "FRAME_ID" => {
                let frame = frame_line(line, "lineno").ok_or_else(wrong)?;
                self.lines.insert(count(line, "frame_id").ok_or_else(wrong)?, frame);
            }
            "FRAME_PUSH" => {
                let id = count(line, "code_object_id")
                    .or_else(|| count(line, "frame_id"))
                    .ok_or_else(wrong)?;
                self.stacks.entry(log.thread).or_default().push(id);
            }
            "FRAME_POP" => {
                let popped =
                    usize::try_from(count(line, "count").ok_or_else(wrong)?).unwrap_or(usize::MAX);
                let stack = self.stacks.entry(log.thread).or_default();
                stack.truncate(stack.len().saturating_sub(popped));
            }
            "ALLOCATION" | "ALLOCATION_WITH_NATIVE" => return self.allocation(line, log),
            kind if !kind.is_empty()
                && kind.chars().all(|c| c.is_ascii_uppercase() || c == '_') => {}
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn end(&mut self, log: &mut Log) -> Result<(), WrongLine> {
        self.free_pending(log);
        Ok(())
    }
}

/// `file:line` of a frame or code object.
fn frame_line(line: &str, line_field: &str) -> Option<String> {
    let number = count(line, line_field)?;
    Some(site_name(field(line, "filename", Some(line_field))?, u32::try_from(number).ok()?))
}

impl Memray {
    fn header(&mut self, line: &str, log: &mut Log) -> Result<(), WrongLine> {
        let format = field(line, "file_format", None).unwrap_or_default();
        if format != "ALL_ALLOCATIONS" {
            return Err(WrongLine(
                format!("a recording of the format `{format}`"),
                "one made without --aggregate",
            ));
        }
        let columns = &mut log.header.columns;
        (columns.thread, columns.end_thread, columns.time_ns, columns.site) =
            (true, true, true, true);
        self.start_ms = count(line, "start_time").unwrap_or(0);
        log.thread = 1;
        if let Some(program) = field(line, "command_line", Some("python_allocator")) {
            log.fact("program", program);
        }
        let version =
            field(line, "python_version", None).and_then(|text| u32::from_str_radix(text, 16).ok());
        if let Some(version) = version {
            log.fact(
                "python",
                format!("{}.{}.{}", version >> 24, version >> 16 & 0xFF, version >> 8 & 0xFF),
            );
        }
        let is_traced = field(line, "trace_python_allocators", None) == Some("true");
        log.fact(
            "memray_saw",
            if is_traced { "CPython's allocators" } else { "the C library's allocator only" },
        );
        Ok(())
    }

    fn allocation(&mut self, line: &str, log: &mut Log) -> Result<(), WrongLine> {
        let wrong =
            || WrongLine(format!("`{line}`"), "ALLOCATION address=0x… size=N allocator=NAME");
        let address = count(line, "address").ok_or_else(wrong)?;
        let size = count(line, "size").ok_or_else(wrong)?;
        let allocator = field(line, "allocator", None).ok_or_else(wrong)?;
        let kind = allocator.strip_prefix("pymalloc_").unwrap_or(allocator);
        if kind != "realloc" {
            self.free_pending(log);
        }
        if !matches!(kind, "free" | "mmap" | "munmap") {
            let newest = self.stacks.get(&log.thread).and_then(|stack| stack.last());
            let frame = newest.and_then(|id| self.lines.get(id)).map_or("", String::as_str);
            log.site = log.sites.intern(frame);
        }
        match kind {
            "free" => self.freed = Some(address),
            "realloc" => log.realloc(self.freed.take().unwrap_or(0), size, address),
            "calloc" => log.birth(Op::Calloc, size, address),
            "mmap" | "munmap" => log.left_out += 1,
            _ => log.birth(Op::Malloc, size, address),
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
