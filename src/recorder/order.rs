//! Room `recorder`, the order: what a process is asked to record, as one line. Pure; the program
//! writes this line and the recorder reads it, so both include this file.
//!
//! `2:ROOT:OPTIONS:BASE`. `2` is the version of the line; ROOT the process whose child must be
//! recorded or stopped, 0 for none; BASE where the raw logs go (`BASE.pid`). OPTIONS are
//! `name=value`, with commas between them, each at most once: `sites=N`, `max-events=N`,
//! `max-bytes=N`, `duration-ns=N`, `start-after-ns=N`, `start-at-mark=NAME`, `stop-at-mark=NAME`.
//! In a NAME, `%`, `,` and `:` are written `%25`, `%2C` and `%3A`.

// Each of the crates that include this file uses a part of it.
#![allow(dead_code, reason = "the writer and the reader each use a part")]

/// The variable that carries the order.
pub const VARIABLE: &str = "HEAPLAY_RECORD";
/// Version of the line.
pub const VERSION: &str = "2";
/// Frames of a site, at most.
pub const SITES_LIMIT: u64 = 32;
/// Bytes of a mark's name that are kept.
pub const MARK_BYTES: usize = 64;

/// A mark's name, as far as it is kept; empty for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; MARK_BYTES],
    length: usize,
}

impl Name {
    /// No name.
    pub const NONE: Name = Name { bytes: [0; MARK_BYTES], length: 0 };

    /// The name as written in an order; `None` for a broken escape.
    fn read(text: &[u8]) -> Option<Name> {
        let mut name = Name::NONE;
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

    /// Whether it is this mark's; never for none.
    pub fn is(&self, mark: &[u8]) -> bool {
        self.length > 0 && mark.get(..MARK_BYTES).unwrap_or(mark) == &self.bytes[..self.length]
    }

    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        self.length > 0
    }
}

/// When a recording starts and ends; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls recorded, at most.
    pub max_events: u64,
    /// Bytes of the raw log, at most.
    pub max_bytes: u64,
    /// Nanoseconds from the start of the recording to its end, at most.
    pub duration_ns: u64,
    /// Nanoseconds from the start of the process to that of the recording.
    pub start_after_ns: u64,
    /// The mark at which the recording starts.
    pub start_at: Name,
    /// The mark at which it ends.
    pub stop_at: Name,
}

impl Limits {
    /// From the first call to the last.
    pub const NONE: Limits = Limits {
        max_events: 0,
        max_bytes: 0,
        duration_ns: 0,
        start_after_ns: 0,
        start_at: Name::NONE,
        stop_at: Name::NONE,
    };
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<'a> {
    /// The process whose child must be recorded or stopped; 0 for none.
    pub root: i64,
    /// Frames of each site; 0 for no sites.
    pub sites: u32,
    /// When it starts and ends.
    pub limits: Limits,
    /// Where the raw logs go.
    pub base: &'a [u8],
}

/// Reads an order; `None` for a line that is none of this version.
pub fn read(line: &[u8]) -> Option<Order<'_>> {
    let mut parts = line.splitn(4, |&byte| byte == b':');
    if parts.next()? != VERSION.as_bytes() {
        return None;
    }
    let root = core::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let options = parts.next()?;
    let base = parts.next().filter(|base| !base.is_empty())?;
    let mut order = Order { root, sites: 0, limits: Limits::NONE, base };
    for option in options.split(|&byte| byte == b',').filter(|option| !option.is_empty()) {
        let at = option.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (option.get(..at)?, option.get(at + 1..)?);
        let number = || core::str::from_utf8(value).ok()?.parse::<u64>().ok();
        let limits = &mut order.limits;
        match name {
            b"sites" => {
                order.sites = number().filter(|&frames| frames <= SITES_LIMIT)? as u32;
            }
            b"max-events" => limits.max_events = number()?,
            b"max-bytes" => limits.max_bytes = number()?,
            b"duration-ns" => limits.duration_ns = number()?,
            b"start-after-ns" => limits.start_after_ns = number()?,
            b"start-at-mark" => limits.start_at = Name::read(value)?,
            b"stop-at-mark" => limits.stop_at = Name::read(value)?,
            _ => return None,
        }
    }
    Some(order)
}
