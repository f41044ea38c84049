//! The contract for logs of other recorders. Each format is a file with a `MEMBER`;
//! `foreign_log.rs` lists them and reads their lines.
//!
//! A member turns lines into [`Item`]s, keyed by address or id. `blocks.rs` follows the blocks, as
//! for the log of heaplay's own recorder.

use super::blocks::Item;
use super::event::{Domain, Header, Op, SiteId, Sites};

/// A format of logs of another recorder.
pub struct Foreign {
    /// The name for `--format`.
    pub name: &'static str,
    /// A description for messages.
    pub description: &'static str,
    pub(super) sniff: fn(&str) -> bool,
    pub(super) parser: fn() -> Box<dyn LineParser>,
}

/// A faulty line: the finding and the expectation.
pub(super) struct WrongLine(pub String, pub &'static str);

/// Reads one log, line by line.
pub(super) trait LineParser {
    /// Takes a line, without its end.
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), WrongLine>;
    /// Takes the end of the file.
    fn end(&mut self, _log: &mut Log) -> Result<(), WrongLine> {
        Ok(())
    }
}

/// Collects what a member reads from its lines.
#[derive(Default)]
pub(super) struct Log {
    /// Calls since the last [`Log::take_items`], with the sites of births.
    items: Vec<(Item, SiteId)>,
    /// The sites of the births so far.
    pub sites: Sites,
    /// Columns and facts of the log.
    pub header: Header,
    /// Lines of kinds that a trace does not hold.
    pub left_out: u64,
    /// The thread of the calls that follow.
    pub thread: u32,
    /// The time of the calls that follow, nanoseconds since the log began.
    pub time_ns: u64,
    /// The site of the calls that follow.
    pub site: SiteId,
}

impl Log {
    /// Adds a block at `address`. Address 0 means that the call failed, and adds nothing.
    pub fn birth(&mut self, op: Op, size: u64, address: u64) {
        if address != 0 {
            let (thread, time_ns) = (self.thread, self.time_ns);
            let item = Item::Birth {
                op,
                domain: Domain::Obj,
                size,
                alignment: 0,
                address,
                thread,
                time_ns,
            };
            self.items.push((item, self.site));
        }
    }

    /// Ends the block at `address`; does nothing for address 0.
    pub fn free(&mut self, address: u64) {
        if address != 0 {
            self.items.push((Item::Free { address, thread: self.thread }, SiteId(0)));
        }
    }

    /// Adds a whole realloc. A realloc of nothing is a malloc, a realloc to nothing a free. A failed
    /// realloc changes nothing.
    pub fn realloc(&mut self, old: u64, size: u64, new: u64) {
        match (old, new) {
            (0, _) => self.birth(Op::Malloc, size, new),
            (_, 0) if size == 0 => self.free(old),
            (_, 0) => {}
            _ => {
                self.give_up(old);
                self.birth(Op::Realloc, size, new);
            }
        }
    }

    /// Begins a realloc of the block at `address`.
    pub fn give_up(&mut self, address: u64) {
        self.items.push((Item::GiveUp { address, thread: self.thread }, SiteId(0)));
    }

    /// Ends a realloc that failed: the old block lives on.
    pub fn failed(&mut self) {
        self.items.push((Item::Failed { thread: self.thread }, SiteId(0)));
    }

    /// Sets a fact of the trace.
    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.header.facts.insert(name.to_owned(), value.into());
    }

    /// Removes and returns the calls so far.
    pub fn take_items(&mut self) -> Vec<(Item, SiteId)> {
        std::mem::take(&mut self.items)
    }
}

/// A number as C prints it: `0x` and hexadecimal digits, or decimal digits.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
