//! The order: a line that says what a process shall record. heaplay writes the line and the recorder
//! reads it, so both include this file. Its spelling is nowhere else.
//!
//! The line is `3:ROOT:OPTIONS:BASE`:
//!
//! - `3` is the version of the line.
//! - ROOT is the process whose child must be recorded or stopped; 0 for none.
//! - OPTIONS are `name=value`, separated by commas, each at most once: `sites=N`, `max-events=N`,
//!   `max-bytes=N`, `duration-ns=N`, `start-after-ns=N`, `start-at-mark=NAME`, `stop-at-mark=NAME`,
//!   `libc=1` (record the C library's calls, too), `any-program=1` (record also processes that are no
//!   Python).
//!   In a NAME, `%`, `,` and `:` are written `%25`, `%2C` and `%3A`.
//! - BASE is the path of the raw logs, which are named `BASE.pid`.
#![allow(dead_code, reason = "the writer and the reader each use a part")]

/// The environment variable that carries the order.
pub const VARIABLE: &str = "HEAPLAY_RECORD";
/// [`VARIABLE`] for C.
pub const VARIABLE_C: &core::ffi::CStr = c"HEAPLAY_RECORD";
/// Version of the line.
pub const VERSION: &str = "3";
/// Frames of a site, at most.
pub const SITES_LIMIT: u64 = 32;
/// The exit status of a process that must be recorded and cannot be: its program has not begun.
/// `timeout` and `env` have it for their own failures, too.
pub const NOT_STARTED: i32 = 125;
/// Bytes of a mark's name, at most; a longer name is cut off.
pub const MARK_BYTES: usize = 64;

/// Names of the options in the line.
pub mod option {
    /// Frames of each site.
    pub const SITES: &str = "sites";
    /// Calls recorded, at most.
    pub const MAX_EVENTS: &str = "max-events";
    /// Bytes of the raw log, at most.
    pub const MAX_BYTES: &str = "max-bytes";
    /// Nanoseconds from the start of the recording to its end, at most.
    pub const DURATION_NS: &str = "duration-ns";
    /// Nanoseconds from the start of the process to the start of the recording.
    pub const START_AFTER_NS: &str = "start-after-ns";
    /// The mark at which the recording starts.
    pub const START_AT_MARK: &str = "start-at-mark";
    /// The mark at which the recording ends.
    pub const STOP_AT_MARK: &str = "stop-at-mark";
    /// 1: the C library's calls are recorded, too.
    pub const LIBC: &str = "libc";
    /// 1: processes that are no Python are recorded, too.
    pub const ANY_PROGRAM: &str = "any-program";
}

/// The part of the line before BASE.
pub fn line_start(root: u32, numbers: &[(&str, u64)], names: &[(&str, &str)]) -> String {
    let numbers = numbers.iter().map(|(option, number)| format!("{option}={number}"));
    let names = names.iter().map(|(option, name)| format!("{option}={}", escaped(name)));
    let options: Vec<String> = numbers.chain(names).collect();
    format!("{VERSION}:{root}:{}:", options.join(","))
}

fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace(',', "%2C").replace(':', "%3A")
}

/// A mark's name of at most [`MARK_BYTES`]; empty for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkName {
    bytes: [u8; MARK_BYTES],
    length: usize,
}

impl MarkName {
    /// No name.
    pub const NONE: MarkName = MarkName { bytes: [0; MARK_BYTES], length: 0 };

    /// The name as written in an order; `None` for a broken escape.
    fn read(text: &[u8]) -> Option<MarkName> {
        let mut name = MarkName::NONE;
        let mut rest = text;
        while let [first, after @ ..] = rest {
            let byte = if *first == b'%' {
                let digits = core::str::from_utf8(after.get(..2)?).ok()?;
                rest = after.get(2..)?;
                u8::from_str_radix(digits, 16).ok()?
            } else {
                rest = after;
                *first
            };
            if name.length < MARK_BYTES {
                name.bytes[name.length] = byte;
                name.length += 1;
            }
        }
        Some(name)
    }

    /// Whether the name is that of `mark`; an empty name never is.
    pub fn is(&self, mark: &[u8]) -> bool {
        self.length > 0 && mark.get(..MARK_BYTES).unwrap_or(mark) == &self.bytes[..self.length]
    }

    /// Whether the name is not empty.
    pub fn is_some(&self) -> bool {
        self.length > 0
    }
}

/// When a recording starts and ends; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingLimits {
    /// Calls recorded, at most.
    pub max_events: u64,
    /// Bytes of the raw log, at most.
    pub max_bytes: u64,
    /// Nanoseconds from the start of the recording to its end, at most.
    pub duration_ns: u64,
    /// Nanoseconds from the start of the process to the start of the recording.
    pub start_after_ns: u64,
    /// The mark at which the recording starts.
    pub start_at: MarkName,
    /// The mark at which the recording ends.
    pub stop_at: MarkName,
}

impl RecordingLimits {
    /// No limits: the recording goes from the first call to the last.
    pub const NONE: RecordingLimits = RecordingLimits {
        max_events: 0,
        max_bytes: 0,
        duration_ns: 0,
        start_after_ns: 0,
        start_at: MarkName::NONE,
        stop_at: MarkName::NONE,
    };
}

/// What a process shall record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<'a> {
    /// The process whose child must be recorded or stopped; 0 for none.
    pub root: i64,
    /// Frames of each site; 0 for no sites.
    pub sites: u32,
    /// Whether the C library's calls are recorded, too.
    pub libc: bool,
    /// Whether processes that are no Python are recorded, too.
    pub any_program: bool,
    /// When the recording starts and ends.
    pub limits: RecordingLimits,
    /// The path of the raw logs, without the process id.
    pub base: &'a [u8],
}

/// Reads an order; `None` for a line that is no order of this version.
pub fn read(line: &[u8]) -> Option<Order<'_>> {
    let mut parts = line.splitn(4, |&byte| byte == b':');
    if parts.next()? != VERSION.as_bytes() {
        return None;
    }
    let root = core::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let options = parts.next()?;
    let base = parts.next().filter(|base| !base.is_empty())?;
    let (libc, any_program, limits) = (false, false, RecordingLimits::NONE);
    let mut order = Order { root, sites: 0, libc, any_program, limits, base };
    for option in options.split(|&byte| byte == b',').filter(|option| !option.is_empty()) {
        let at = option.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (option.get(..at)?, option.get(at + 1..)?);
        let number = || core::str::from_utf8(value).ok()?.parse::<u64>().ok();
        let limits = &mut order.limits;
        match core::str::from_utf8(name).ok()? {
            option::SITES => {
                order.sites = number().filter(|&frames| frames <= SITES_LIMIT)? as u32;
            }
            option::MAX_EVENTS => limits.max_events = number()?,
            option::MAX_BYTES => limits.max_bytes = number()?,
            option::DURATION_NS => limits.duration_ns = number()?,
            option::START_AFTER_NS => limits.start_after_ns = number()?,
            option::LIBC => order.libc = number()? > 0,
            option::ANY_PROGRAM => order.any_program = number()? > 0,
            option::START_AT_MARK => limits.start_at = MarkName::read(value)?,
            option::STOP_AT_MARK => limits.stop_at = MarkName::read(value)?,
            _ => return None,
        }
    }
    Some(order)
}
