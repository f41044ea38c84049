//! Logs that other recorders wrote, line by line: the contract, the list, and what
//! reads them.
//!
//! A member turns lines into [`Item`]s keyed by address or id; `blocks.rs` follows the blocks, as
//! it does for our own recorder's log. A log is read twice, so it must be a file; gzip is unpacked.
//! Nothing is guessed: a free of a block that the log never saw born is counted (`unseen_frees`),
//! and so is a block whose address came back without its end (`unseen_ends`) and a line of a kind
//! that a trace does not hold (`left_out`).

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::blocks::{Item, Lifetimes, Tracker};
use super::{
    Columns, Creation, Domain, Header, Op, Row, SIZE_LIMIT_BYTES, SiteId, Sites, TraceError,
    android, logalloc, memray, mtrace, rep, unpack,
};

/// The longest line that is read, in bytes.
const LINE_LIMIT_BYTES: u64 = 1 << 20;

/// One line of the list of foreign logs.
pub struct Foreign {
    /// The word for `--format`.
    pub name: &'static str,
    /// What it is.
    pub words: &'static str,
    pub(super) sniff: fn(&str) -> bool,
    pub(super) lines: fn() -> Box<dyn Lines>,
}

/// Every log of others that can be read.
pub const FOREIGN: &[Foreign] =
    &[rep::MEMBER, mtrace::MEMBER, logalloc::MEMBER, android::MEMBER, memray::MEMBER];

/// What is wrong with a line: what was found, what was expected.
pub(super) struct Wrong(pub String, pub &'static str);

/// Reads one log, line by line.
pub(super) trait Lines {
    /// Takes a line, without its end.
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), Wrong>;
    /// Takes the end of the file.
    fn end(&mut self, _log: &mut Log) -> Result<(), Wrong> {
        Ok(())
    }
}

/// What a member tells of its lines.
#[derive(Default)]
pub(super) struct Log {
    items: Vec<(Item, SiteId)>,
    /// The sites of the births told so far.
    pub sites: Sites,
    /// What the log says of itself.
    pub header: Header,
    /// Lines of kinds that a trace does not hold.
    pub left_out: u64,
    /// Who makes the calls that are told next.
    pub thread: u32,
    /// When, nanoseconds since the log began.
    pub time_ns: u64,
    /// From where.
    pub site: SiteId,
}

impl Log {
    /// A new block at `address`; none at address 0, for then the call failed.
    pub fn birth(&mut self, op: Op, size: u64, address: u64) {
        if address != 0 {
            let (thread, time_ns) = (self.thread, self.time_ns);
            let item = Item::Birth { op, domain: Domain::Obj, size, address, thread, time_ns };
            self.items.push((item, self.site));
        }
    }

    /// The end of the block at `address`; nothing for address 0.
    pub fn free(&mut self, address: u64) {
        if address != 0 {
            self.items.push((Item::Free { address, thread: self.thread }, SiteId(0)));
        }
    }

    /// A whole realloc: of nothing it is a malloc, to nothing a free, and one that failed changes
    /// nothing.
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

    /// A realloc begins.
    pub fn give_up(&mut self, address: u64) {
        self.items.push((Item::GiveUp { address, thread: self.thread }, SiteId(0)));
    }

    /// It failed: the block is its own again.
    pub fn failed(&mut self) {
        self.items.push((Item::Failed { thread: self.thread }, SiteId(0)));
    }

    /// Says a fact.
    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.header.facts.insert(name.to_owned(), value.into());
    }
}

/// A number as C prints it: `0x` and hexadecimal digits, or decimal.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A log of others.
pub struct ForeignLog {
    path: PathBuf,
    member: &'static Foreign,
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows of the trace.
    pub rows: u64,
    /// Calls, frees included.
    pub events: u64,
    /// Frees (and reallocs) of blocks that the log never saw born.
    pub unseen_frees: u64,
    /// Blocks that must have ended unseen.
    pub unseen_ends: u64,
    /// Lines of kinds that a trace does not hold.
    pub left_out: u64,
}

impl ForeignLog {
    /// Tells the format of a log by its beginning, or takes the named one.
    ///
    /// # Errors
    /// When the file cannot be read, or is of no known format.
    pub fn open(path: &Path, format: Option<&str>) -> Result<ForeignLog, TraceError> {
        let start = unpack::start(path)?;
        let start = String::from_utf8_lossy(&start);
        let member = match format {
            Some(name) => FOREIGN.iter().find(|foreign| foreign.name == name),
            None => FOREIGN.iter().find(|foreign| (foreign.sniff)(&start)),
        };
        let known = || {
            FOREIGN
                .iter()
                .map(|f| format!("{} ({})", f.name, f.words))
                .collect::<Vec<_>>()
                .join(", ")
        };
        match member {
            Some(member) => Ok(ForeignLog { path: path.to_owned(), member }),
            None => Err(TraceError::Foreign {
                path: path.to_owned(),
                found: super::describe(start.as_bytes()),
                expected: format!(
                    "a tracemalloc snapshot, or one of {}; --format NAME forces one",
                    known()
                ),
            }),
        }
    }

    /// The format.
    pub fn format(&self) -> &'static Foreign {
        self.member
    }

    /// Reads all lines and hands each item on.
    fn each(
        &self,
        take: &mut dyn FnMut(&Item, SiteId, &Sites) -> Result<(), TraceError>,
    ) -> Result<Log, TraceError> {
        let mut reader = BufReader::with_capacity(1 << 16, unpack::open(&self.path)?);
        let (mut lines, mut log) = ((self.member.lines)(), Log::default());
        let (mut bytes, mut count) = (Vec::new(), 0u64);
        loop {
            bytes.clear();
            let limited = (&mut reader).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut bytes);
            let read = limited.map_err(|source| TraceError::io(&self.path, source))?;
            let done = match read {
                0 => lines.end(&mut log),
                _ => {
                    count += 1;
                    let line = String::from_utf8_lossy(&bytes);
                    let line = line.trim_end_matches(['\n', '\r']);
                    if line.len() as u64 == LINE_LIMIT_BYTES {
                        Err(Wrong("a line of over 1 MiB".into(), "text, a call a line"))
                    } else if line.is_empty() {
                        Ok(())
                    } else {
                        lines.line(line, &mut log)
                    }
                }
            };
            done.map_err(|Wrong(found, expected)| self.fault(count, found, expected))?;
            for (item, site) in std::mem::take(&mut log.items) {
                if let Item::Birth { size, .. } = item
                    && size > SIZE_LIMIT_BYTES
                {
                    return Err(self.fault(
                        count,
                        format!("a size of {size} bytes"),
                        "at most 2^47 bytes",
                    ));
                }
                take(&item, site, &log.sites)?;
            }
            if read == 0 {
                return Ok(log);
            }
        }
    }

    fn fault(&self, line: u64, found: String, expected: &str) -> TraceError {
        let expected = format!("{expected} ({})", self.member.words);
        TraceError::Line { path: self.path.clone(), line, found, expected }
    }

    /// Writes the log as a trace, in the format that the path's ending names.
    ///
    /// # Errors
    /// The first faulty line, or a file that cannot be written; then `out` is as it was.
    pub fn convert(&self, out: &Path) -> Result<Imported, TraceError> {
        let (mut tracker, mut lifetimes) = (Tracker::default(), Lifetimes::default());
        let log = self.each(&mut |item, _, _| {
            if tracker.follow(item, &mut |ended| lifetimes.note(ended)).is_some() {
                lifetimes.begin();
            }
            Ok(())
        })?;
        let imported = Imported {
            rows: tracker.rows,
            events: tracker.events,
            unseen_frees: tracker.unseen_frees,
            unseen_ends: tracker.unseen_ends,
            left_out: log.left_out,
        };
        let header = self.header(&log, &imported);
        let columns = header.columns;
        let mut creation = Creation::begin(out, &header)?;
        let (mut tracker, mut index) = (Tracker::default(), 0);
        self.each(&mut |item, site, sites| {
            let Some(mut row) = tracker.follow(item, &mut |_| {}) else { return Ok(()) };
            (row.lifetime, row.end_thread) = lifetimes.get(index);
            index += 1;
            row.site = site;
            creation.write_row(&plain(row, columns), sites)
        })?;
        creation.finish()?;
        Ok(imported)
    }

    fn header(&self, log: &Log, imported: &Imported) -> Header {
        let mut header = log.header.clone();
        let mut fact =
            |name: &str, value: String| drop(header.facts.insert(name.to_owned(), value));
        fact("recorder", self.member.words.into());
        fact("unseen_frees", imported.unseen_frees.to_string());
        fact("unseen_ends", imported.unseen_ends.to_string());
        if imported.left_out > 0 {
            fact(
                "left_out",
                format!("{} lines of kinds that a trace does not hold", imported.left_out),
            );
        }
        header
    }
}

/// A row with only what the log has columns for.
fn plain(mut row: Row, columns: Columns) -> Row {
    if !columns.thread {
        (row.thread, row.end_thread) = (0, None);
    }
    row
}
