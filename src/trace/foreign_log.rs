//! The list of logs of other recorders, and their conversion into traces.
//!
//! A log is read twice, so it must be a file; gzip is unpacked. Nothing is guessed. Facts of the trace
//! count the gaps of a log:
//!
//! - `unseen_frees`: frees of blocks without a birth,
//! - `unseen_ends`: blocks whose address came back before their end,
//! - `left_out`: lines of kinds that a trace does not hold.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::blocks::{Item, Lifetimes, Tracker};
use super::event::{Columns, Header, Row, SIZE_LIMIT_BYTES, SiteId, Sites, TraceError};
use super::foreign::{Foreign, Log, WrongLine};
use super::formats::{Creation, describe};
use super::{android, logalloc, memray, mtrace, rep, unpack};

/// The longest line that is read, in bytes.
const LINE_LIMIT_BYTES: u64 = 1 << 20;

/// Every format of logs of other recorders that can be read.
pub const FOREIGN: &[Foreign] =
    &[rep::MEMBER, mtrace::MEMBER, logalloc::MEMBER, android::MEMBER, memray::MEMBER];

/// A log of another recorder.
pub struct ForeignLog {
    path: PathBuf,
    member: &'static Foreign,
}

/// The counts of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows of the trace.
    pub rows: u64,
    /// Calls, frees included.
    pub events: u64,
    /// Frees and reallocs of blocks whose birth is not in the log.
    pub unseen_frees: u64,
    /// Blocks whose end is not in the log, although their address came back.
    pub unseen_ends: u64,
    /// Lines of kinds that a trace does not hold.
    pub left_out: u64,
}

impl ForeignLog {
    /// Opens a log. Without a `format`, the beginning of the file decides.
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
                .map(|f| format!("{} ({})", f.name, f.description))
                .collect::<Vec<_>>()
                .join(", ")
        };
        match member {
            Some(member) => Ok(ForeignLog { path: path.to_owned(), member }),
            None => Err(TraceError::Foreign {
                path: path.to_owned(),
                found: describe(start.as_bytes()),
                expected: format!(
                    "a tracemalloc snapshot, or one of {}; --format NAME forces one",
                    known()
                ),
            }),
        }
    }

    /// The format of the log.
    pub fn format(&self) -> &'static Foreign {
        self.member
    }

    /// Reads all lines and hands each call to `take`.
    fn each(
        &self,
        take: &mut dyn FnMut(&Item, SiteId, &Sites) -> Result<(), TraceError>,
    ) -> Result<Log, TraceError> {
        let mut reader = BufReader::with_capacity(1 << 16, unpack::open(&self.path)?);
        let (mut parser, mut log) = ((self.member.parser)(), Log::default());
        let (mut bytes, mut count) = (Vec::new(), 0u64);
        loop {
            bytes.clear();
            let limited = (&mut reader).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut bytes);
            let read = limited.map_err(|source| TraceError::io(&self.path, source))?;
            let parsed = match read {
                0 => parser.end(&mut log),
                _ => {
                    count += 1;
                    let line = String::from_utf8_lossy(&bytes);
                    let line = line.trim_end_matches(['\n', '\r']);
                    if line.len() as u64 == LINE_LIMIT_BYTES {
                        Err(WrongLine("a line of over 1 MiB".into(), "text, a call a line"))
                    } else if line.is_empty() {
                        Ok(())
                    } else {
                        parser.line(line, &mut log)
                    }
                }
            };
            parsed.map_err(|WrongLine(found, expected)| self.fault(count, found, expected))?;
            for (item, site) in log.take_items() {
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
        let expected = format!("{expected} ({})", self.member.description);
        TraceError::Line { path: self.path.clone(), line, found, expected }
    }

    /// Writes the log as a trace, in the format that the extension of `out` names.
    ///
    /// # Errors
    /// The first faulty line, or a file that cannot be written; `out` is then unchanged.
    pub fn convert(&self, out: &Path) -> Result<Imported, TraceError> {
        let (mut tracker, mut lifetimes) = (Tracker::default(), Lifetimes::default());
        let log = self.each(&mut |item, _, _| {
            if tracker.follow(item, &mut |end| lifetimes.note(end)).is_some() {
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
            creation.write_row(&without_missing_columns(row, columns), sites)
        })?;
        creation.finish()?;
        Ok(imported)
    }

    fn header(&self, log: &Log, imported: &Imported) -> Header {
        let mut header = log.header.clone();
        let mut fact =
            |name: &str, value: String| drop(header.facts.insert(name.to_owned(), value));
        fact("recorder", self.member.description.into());
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

/// A row without the values of columns that the log lacks.
fn without_missing_columns(mut row: Row, columns: Columns) -> Row {
    if !columns.thread {
        (row.thread, row.end_thread) = (0, None);
    }
    row
}
