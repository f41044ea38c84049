//! The contract for logs of other recorders. Each format is a file with a `MEMBER`;
//! `foreign_list.rs` lists them, and `foreign_log.rs` reads their lines or bytes.
//!
//! A member turns lines or bytes into [`Item`]s, keyed by address or id. `blocks.rs` follows the
//! blocks, as for the log of heaplay's own recorder.

use std::collections::BTreeMap;

use super::blocks::Item;
use super::byte_input::ByteInput;
use super::event::{ALIGNMENT_LIMIT_BYTES, Domain, Header, Op, SiteId, Sites};
use super::process::ThreadNumbers;

/// A format of logs of another recorder.
pub struct Foreign {
    /// The name for `--format`.
    pub name: &'static str,
    /// A description for messages.
    pub description: &'static str,
    pub(super) sniff: fn(&LogStart<'_>) -> bool,
    pub(super) parser: fn() -> LogParser,
}

/// The beginning of a file, by which members recognise their formats.
pub(super) struct LogStart<'a> {
    /// The first bytes.
    pub bytes: &'a [u8],
    /// The same as text, without a byte-order mark and without a last line that is cut off; empty
    /// for bytes that are no text.
    pub text: &'a str,
    /// Length of the file in bytes where it is not packed.
    pub length_bytes: Option<u64>,
}

impl LogStart<'_> {
    /// The first lines, without blank ones.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        const LINES: usize = 200;
        self.text.lines().map(str::trim).filter(|line| !line.is_empty()).take(LINES)
    }
}

/// How a member reads its logs.
pub(super) enum LogParser {
    /// Line by line.
    Lines(Box<dyn LineParser>),
    /// As bytes.
    Bytes(Box<dyn ByteParser>),
}

/// Why a line is no call.
#[derive(Debug)]
pub(super) enum LineFault {
    /// The line is of another program. It is counted and left out.
    Foreign,
    /// The line is faulty: the finding and the expectation.
    Wrong(String, &'static str),
}

/// Reads one log, line by line.
pub(super) trait LineParser {
    /// Takes a line, without its end.
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault>;
    /// Whether the file's last line is whole although it has no line feed. Otherwise it is left out.
    fn is_whole_without_end(&self, _line: &str) -> bool {
        false
    }
    /// Takes the end of the file.
    fn end(&mut self, _log: &mut Log) -> Result<(), LineFault> {
        Ok(())
    }
}

/// Why bytes are no log: the finding and the expectation.
#[derive(Debug)]
pub(super) enum ByteFault {
    /// The bytes contradict the format.
    Wrong(String, &'static str),
    /// The file cannot be read.
    Io(std::io::Error),
}

impl From<std::io::Error> for ByteFault {
    fn from(error: std::io::Error) -> ByteFault {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ByteFault::Wrong(
                "the end of the file within a record".into(),
                "whole records: was the file cut off?",
            ),
            _ => ByteFault::Io(error),
        }
    }
}

/// Reads one log, record by record.
pub(super) trait ByteParser {
    /// Reads the next record; `false` at the end.
    fn record(&mut self, input: &mut ByteInput, log: &mut Log) -> Result<bool, ByteFault>;
}

/// The counts of a log beside its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTally {
    /// Lines of the file, or records of a binary one.
    pub lines: u64,
    /// Lines and records of kinds that a trace does not hold.
    pub left_out: u64,
    /// Lines that are of another program.
    pub foreign_lines: u64,
    /// The number of the first of them, from 1; 0 without one.
    pub first_foreign_line: u64,
    /// Calls that failed. They change nothing.
    pub failed_calls: u64,
    /// Times before the first one. They count as the first one.
    pub clamped_times: u64,
    /// The lines of each other process, by its number. A trace has one process.
    pub other_processes: BTreeMap<u64, u64>,
    /// The process whose calls were read, where the log names processes.
    pub process: Option<u64>,
    /// Bytes of a last line that lacks its line feed, and was left out.
    pub cut_line_bytes: u64,
    /// The calls that the log states, and those that it has, where the two differ.
    pub stated: Option<(u64, u64)>,
    /// Bytes by which the file grew while it was read.
    pub grown_bytes: u64,
    /// Requests by domain, where the log has domains.
    pub domains: Vec<(Domain, u64)>,
    /// Other facts that a person should know, a sentence each.
    pub remarks: Vec<String>,
}

/// What a line or record says.
#[derive(Clone, Copy, Debug)]
pub(super) enum LogItem {
    /// A call, with the site of a birth.
    Call(Item, SiteId),
    /// The thread of that number begins.
    ThreadBirth(u32),
    /// The thread of that number ends.
    ThreadDeath(u32),
    /// Of the block at `address`, so many bytes were in memory when it ended.
    Present { address: u64, bytes: u64 },
}

/// Collects what a member reads.
#[derive(Default)]
pub(super) struct Log {
    /// What was read since the last [`Log::take_items`].
    items: Vec<LogItem>,
    /// The sites of the births so far.
    pub sites: Sites,
    /// Columns and facts of the log.
    pub header: Header,
    /// Counts beside the calls.
    pub tally: LogTally,
    /// The process that was chosen; `None` for the first one of the log.
    pub chosen_process: Option<u64>,
    /// The present thread, by its number in `threads`.
    thread: u32,
    /// The log's own number of the present thread.
    thread_id: u64,
    /// The threads by the log's own numbers.
    pub threads: ThreadNumbers,
    /// The time of the calls that follow, nanoseconds since the log began.
    pub time_ns: u64,
    /// The site of the calls that follow.
    pub site: SiteId,
    /// The domain of the calls that follow.
    domain: Option<Domain>,
}

/// Different processes that are counted one by one, at most.
const PROCESSES_LIMIT: usize = 1000;

impl Log {
    /// Sets the thread of the calls that follow, by the log's own number.
    pub fn set_thread(&mut self, number: u64) {
        self.name_thread_columns();
        self.thread_id = number;
        self.thread = self.threads.number(number);
    }

    /// Names the present thread.
    pub fn name_thread(&mut self, name: &str) {
        self.threads.name(self.thread_id, name);
    }

    fn name_thread_columns(&mut self) {
        let columns = &mut self.header.columns;
        (columns.thread, columns.end_thread, columns.thread_names) = (true, true, true);
    }

    /// Notes that a thread begins, by the log's own number.
    pub fn thread_birth(&mut self, number: u64) {
        self.name_thread_columns();
        let thread = self.threads.birth(number, 0); // the call's index is known later
        self.items.push(LogItem::ThreadBirth(thread));
    }

    /// Notes that a thread ends, by the log's own number. A later thread of that number is another.
    pub fn thread_death(&mut self, number: u64) {
        self.name_thread_columns();
        let thread = self.threads.number(number);
        self.threads.death(number, 0); // the call's index is known later
        self.items.push(LogItem::ThreadDeath(thread));
    }

    /// Notes how much of the block at `address`, which the next call ends, was in memory.
    pub fn present(&mut self, address: u64, bytes: u64) {
        self.items.push(LogItem::Present { address, bytes });
    }

    /// The number of the present thread.
    pub fn thread(&self) -> u32 {
        self.thread
    }

    /// Whether a line is of the process of this trace: the chosen one, or the first one of the log.
    /// Lines of the others are counted.
    pub fn is_of_process(&mut self, number: u64) -> bool {
        let process = *self.tally.process.get_or_insert(self.chosen_process.unwrap_or(number));
        if process != number {
            let others = &mut self.tally.other_processes;
            let entry = if others.len() < PROCESSES_LIMIT { number } else { u64::MAX };
            *others.entry(entry).or_default() += 1;
        }
        process == number
    }

    /// Sets the time of the calls that follow. A time before the first one counts as that.
    pub fn set_time(&mut self, now_ns: u64, first_ns: u64) {
        self.header.columns.time_ns = true;
        self.tally.clamped_times += u64::from(now_ns < first_ns);
        self.time_ns = now_ns.saturating_sub(first_ns);
    }

    /// Sets the domain of the calls that follow.
    pub fn set_domain(&mut self, domain: Domain) {
        self.header.columns.domain = true;
        self.domain = Some(domain);
    }

    /// Adds a block at `address`. Address 0 means that the call failed, and changes nothing.
    pub fn birth(&mut self, op: Op, size: u64, address: u64) {
        self.add_birth(op, size, 0, address);
    }

    /// Adds a block at `address` that was requested with an alignment in bytes, as
    /// [`Log::birth`] does.
    pub fn aligned_birth(&mut self, alignment: u64, size: u64, address: u64) {
        let is_sound = alignment.is_power_of_two() && alignment <= ALIGNMENT_LIMIT_BYTES;
        self.header.columns.alignment |= is_sound;
        self.add_birth(Op::Malloc, size, if is_sound { alignment } else { 0 }, address);
    }

    fn add_birth(&mut self, op: Op, size: u64, alignment: u64, address: u64) {
        if address == 0 {
            return self.failed_call();
        }
        let (thread, time_ns) = (self.thread, self.time_ns);
        let domain = self.domain.unwrap_or(Domain::Obj);
        if self.domain.is_some() {
            let domains = &mut self.tally.domains;
            match domains.iter_mut().find(|(known, _)| *known == domain) {
                Some((_, count)) => *count += 1,
                None => domains.push((domain, 1)),
            }
        }
        let item = Item::Birth { op, domain, size, alignment, address, thread, time_ns };
        self.items.push(LogItem::Call(item, self.site));
    }

    /// Adds a block of `count` times `size` bytes at `address`. `None` where the product is over
    /// 2^64 and the call did not fail.
    pub fn calloc(&mut self, count: u64, size: u64, address: u64) -> Option<()> {
        match count.checked_mul(size) {
            Some(size) => self.birth(Op::Calloc, size, address),
            None if address == 0 => self.failed_call(),
            None => return None,
        }
        Some(())
    }

    /// Counts a call that failed.
    pub fn failed_call(&mut self) {
        self.tally.failed_calls += 1;
    }

    /// Ends the block at `address`; does nothing for address 0.
    pub fn free(&mut self, address: u64) {
        if address != 0 {
            self.call(Item::Free { address, thread: self.thread });
        }
    }

    /// Adds a whole realloc. A realloc of nothing is a malloc, a realloc to nothing a free. A failed
    /// realloc changes nothing.
    pub fn realloc(&mut self, old: u64, size: u64, new: u64) {
        match (old, new) {
            (0, _) => self.birth(Op::Malloc, size, new),
            (_, 0) if size == 0 => self.free(old),
            (_, 0) => self.failed_call(),
            _ => {
                self.give_up(old);
                self.birth(Op::Realloc, size, new);
            }
        }
    }

    /// Begins a realloc of the block at `address`.
    pub fn give_up(&mut self, address: u64) {
        self.call(Item::GiveUp { address, thread: self.thread });
    }

    /// Ends a realloc that failed: the old block lives on.
    pub fn failed_realloc(&mut self) {
        self.failed_call();
        self.call(Item::Failed { thread: self.thread });
    }

    fn call(&mut self, item: Item) {
        self.items.push(LogItem::Call(item, SiteId(0)));
    }

    /// Sets a fact of the trace.
    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.header.facts.insert(name.to_owned(), value.into());
    }

    /// Removes and returns what was read so far.
    pub fn take_items(&mut self) -> std::vec::Drain<'_, LogItem> {
        self.items.drain(..)
    }
}

/// A number as C prints it: `0x` and hexadecimal digits, or decimal digits.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => hexadecimal(digits),
        None => decimal(text),
    }
}

/// A pointer as C prints it: a [`number`], or `(nil)`.
pub(super) fn pointer(text: &str) -> Option<u64> {
    if text == "(nil)" { Some(0) } else { number(text) }
}

/// Decimal digits only.
pub(super) fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Hexadecimal digits only.
pub(super) fn hexadecimal(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u64::from_str_radix(text, 16).ok()
    } else {
        None
    }
}
