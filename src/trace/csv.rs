//! The CSV format, for people, pandas and DuckDB.
//!
//! Each request is a row, in the order of the calls. Frees have no rows.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("example.csv");
//! let text = "\
//! event,op,size,lifetime,thread,domain,time_ns,site
//! 0,malloc,64,3,1,obj,0,app.py:12
//! 1,malloc,24,,1,obj,130,app.py:13
//! 2,calloc,512,3,1,mem,410,app.py:13
//! 4,malloc,24,3,1,obj,900,app.py:20
//! 5,realloc,768,1,1,mem,1310,app.py:21
//! ";
//! # std::fs::write(&path, text).unwrap();
//! let mut reader = heaplay::trace::open(&path).unwrap();
//! let first = reader.next_row().unwrap().unwrap();
//! assert_eq!((first.size, first.end()), (64, Some(3)));
//! # while reader.next_row().unwrap().is_some() {}
//! ```
//!
//! - `lifetime`: calls from this one to the end of the block; empty for a block that outlives the
//!   trace.
//! - `event`: index of the call, where frees count, too. Without the column, rows take the lowest
//!   indices that no end has taken. A realloc then has no meaning and is refused.
//! - Optional: `thread`, `end_thread` (the freeing thread, where it is another), `domain`, `time_ns`,
//!   `site`, `type`. The type is that of the object in the block (`float`, `tuple`, `dict`), and
//!   empty for a buffer. CPython chooses free lists by it.
//!
//! Unknown columns are left out with one warning.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::event::{
    Columns, Domain, Header, Op, Row, SITE_LIMIT_BYTES, SIZE_LIMIT_BYTES, SiteId, Sites,
    TYPE_LIMIT_BYTES, TraceError, TraceReader, TraceWriter, TypeId,
};
use super::sequence::{Sequence, SequenceError};

/// The names of the columns, in the order of writing.
const NAMES: [&str; 10] = [
    "event",
    "op",
    "size",
    "lifetime",
    "thread",
    "end_thread",
    "domain",
    "time_ns",
    "site",
    "type",
];
const EVENT: usize = 0;
const OP: usize = 1;
const SIZE: usize = 2;
const LIFETIME: usize = 3;
const THREAD: usize = 4;
const END_THREAD: usize = 5;
const DOMAIN: usize = 6;
const TIME_NS: usize = 7;
const SITE: usize = 8;
const TYPE: usize = 9;

/// Whether the beginning of a file looks like a CSV trace: its first line names a known column.
pub(super) fn sniff(start: &[u8]) -> bool {
    let line = start.split(|&b| b == b'\n').next().unwrap_or_default();
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    line.split(|&b| b == b',')
        .any(|field| NAMES.iter().any(|name| field.trim_ascii() == name.as_bytes()))
}

/// Opens a CSV trace.
pub(super) fn open(path: &Path, file: File) -> Result<Box<dyn TraceReader>, TraceError> {
    Ok(Box::new(CsvReader::new(path, file)?))
}

/// Creates a CSV trace.
pub(super) fn create(
    path: &Path,
    file: File,
    header: &Header,
) -> Result<Box<dyn TraceWriter>, TraceError> {
    Ok(Box::new(CsvWriter::new(path, file, header.columns)?))
}

struct CsvReader {
    path: PathBuf,
    reader: csv::Reader<File>,
    record: ByteRecord,
    /// The index of each column of [`NAMES`] in the file.
    indices: [Option<usize>; NAMES.len()],
    width: usize,
    header: Header,
    sites: Sites,
    sequence: Sequence,
    /// Whether the caller validates that the rows are a trace.
    caller_validates: bool,
    warnings: Vec<String>,
    is_over: bool,
}

impl CsvReader {
    fn new(path: &Path, file: File) -> Result<CsvReader, TraceError> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(1 << 16)
            .from_reader(file);
        let mut record = ByteRecord::new();
        let read = reader.read_byte_record(&mut record).map_err(|error| from_csv(path, error))?;
        let line = |found: String| TraceError::Line {
            path: path.to_owned(),
            line: 1,
            found,
            expected: "a header line with at least op, size and lifetime".into(),
        };
        if !read {
            return Err(line("an empty file".into()));
        }
        let mut indices = [None; NAMES.len()];
        let mut unknown = Vec::new();
        for (index, field) in record.iter().enumerate() {
            let field = field.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(field).trim_ascii();
            let name = std::str::from_utf8(field)
                .map_err(|_| line(format!("column {} has a name that is not UTF-8", index + 1)))?;
            match NAMES.iter().position(|known| *known == name) {
                Some(column) if indices[column].is_some() => {
                    return Err(line(format!("two columns named `{name}`")));
                }
                Some(column) => indices[column] = Some(index),
                None => unknown.push(format!("`{name}`")),
            }
        }
        for required in [OP, SIZE, LIFETIME] {
            if indices[required].is_none() {
                return Err(line(format!("no column `{}`", NAMES[required])));
            }
        }
        let mut warnings = Vec::new();
        if !unknown.is_empty() {
            warnings.push(format!(
                "{}: unknown columns are left out: {}",
                path.display(),
                unknown.join(", ")
            ));
        }
        let columns = Columns {
            thread: indices[THREAD].is_some(),
            end_thread: indices[END_THREAD].is_some(),
            domain: indices[DOMAIN].is_some(),
            time_ns: indices[TIME_NS].is_some(),
            site: indices[SITE].is_some(),
            type_name: indices[TYPE].is_some(),
        };
        Ok(CsvReader {
            path: path.to_owned(),
            width: record.len(),
            reader,
            record,
            indices,
            header: Header { columns, ..Header::default() },
            sites: Sites::default(),
            sequence: Sequence::new(),
            caller_validates: false,
            warnings,
            is_over: false,
        })
    }

    fn fault(&self, found: impl Into<String>, expected: impl Into<String>) -> TraceError {
        let line = self.record.position().map_or(0, csv::Position::line);
        TraceError::Line {
            path: self.path.clone(),
            line,
            found: found.into(),
            expected: expected.into(),
        }
    }

    fn sequence_fault(&self, error: &SequenceError) -> TraceError {
        self.fault(error.to_string(), error.expected())
    }

    /// The text of a column; empty where the file lacks the column.
    fn field(&self, column: usize) -> &[u8] {
        self.indices[column].and_then(|index| self.record.get(index)).unwrap_or_default()
    }

    /// A whole number; `None` for an empty field.
    fn number(&self, column: usize, limit: u64, what: &str) -> Result<Option<u64>, TraceError> {
        let field = self.field(column);
        if field.is_empty() {
            return Ok(None);
        }
        let value = field.iter().try_fold(0u64, |value, byte| match byte {
            b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
            _ => None,
        });
        match value {
            Some(value) if value <= limit => Ok(Some(value)),
            _ => {
                Err(self
                    .fault(format!("{} `{}`", NAMES[column], String::from_utf8_lossy(field)), what))
            }
        }
    }

    fn parse(&mut self) -> Result<Row, TraceError> {
        if self.record.len() != self.width {
            let found = format!("{} fields", self.record.len());
            return Err(self.fault(found, format!("{}, as in the header", self.width)));
        }
        let op = self.field(OP);
        let op = Op::from_name(op).ok_or_else(|| {
            self.fault(format!("op `{}`", String::from_utf8_lossy(op)), "malloc, calloc or realloc")
        })?;
        const SIZE_RULE: &str = "a whole number of bytes, at most 2^47 (140737488355328)";
        let size = self
            .number(SIZE, SIZE_LIMIT_BYTES, SIZE_RULE)?
            .ok_or_else(|| self.fault("an empty size", SIZE_RULE))?;
        const LIFETIME_RULE: &str = "a whole number of calls from 1 to 2^48, or nothing for a block \
                                     that outlives the trace";
        let lifetime = self.number(LIFETIME, 1 << 48, LIFETIME_RULE)?;
        if lifetime == Some(0) {
            return Err(self.fault("lifetime `0`", LIFETIME_RULE));
        }
        const THREAD_RULE: &str = "a small whole number";
        let thread = self.number(THREAD, u64::from(u32::MAX), THREAD_RULE)?.unwrap_or(0) as u32;
        let end_thread =
            self.number(END_THREAD, u64::from(u32::MAX), THREAD_RULE)?.map(|t| t as u32);
        let domain = match self.field(DOMAIN) {
            b"" => Domain::Obj,
            name => Domain::from_name(name).ok_or_else(|| {
                self.fault(format!("domain `{}`", String::from_utf8_lossy(name)), "raw, mem or obj")
            })?,
        };
        let time_ns = self.number(TIME_NS, u64::MAX, "nanoseconds as a whole number")?.unwrap_or(0);
        let (site, type_id) = self.names()?;
        let event = match self.indices[EVENT] {
            Some(_) => self
                .number(EVENT, 1 << 48, "the index of the call as a whole number")?
                .ok_or_else(|| self.fault("an empty event", "the index of the call"))?,
            None if op == Op::Realloc => {
                return Err(self.fault(
                    "a realloc in a trace without an `event` column",
                    "an `event` column, which says which block it resizes",
                ));
            }
            None => {
                self.sequence.derive_event(|_| {}).map_err(|error| self.sequence_fault(&error))?
            }
        };
        let lifetime = lifetime.and_then(NonZeroU64::new);
        Ok(Row { event, op, size, lifetime, thread, end_thread, domain, time_ns, site, type_id })
    }

    /// The ids of site and type.
    fn names(&mut self) -> Result<(SiteId, TypeId), TraceError> {
        let site = self.text(SITE, SITE_LIMIT_BYTES, "file:line in UTF-8")?.map(str::to_owned);
        let site = site.map_or(SiteId(0), |name| self.sites.intern(&name));
        let name =
            self.text(TYPE, TYPE_LIMIT_BYTES, "the name of a type in UTF-8")?.map(str::to_owned);
        Ok((site, name.map_or(TypeId(0), |name| self.sites.intern_type(&name))))
    }

    /// The text of a column; `None` for an empty field.
    fn text(
        &self,
        column: usize,
        limit: usize,
        expected: &str,
    ) -> Result<Option<&str>, TraceError> {
        match std::str::from_utf8(self.field(column)) {
            Ok("") => Ok(None),
            Ok(name) if name.len() > limit => {
                let found = format!("a {} of {} bytes", NAMES[column], name.len());
                Err(self.fault(found, format!("at most {limit}")))
            }
            Ok(name) => Ok(Some(name)),
            Err(_) => Err(self.fault(format!("a {} that is not UTF-8", NAMES[column]), expected)),
        }
    }
}

impl TraceReader for CsvReader {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
        if self.is_over {
            return Ok(None);
        }
        self.is_over = true; // unless this row is sound
        let path = &self.path;
        if !self.reader.read_byte_record(&mut self.record).map_err(|error| from_csv(path, error))? {
            if !self.caller_validates {
                self.sequence.finish(|_| {}).map_err(|error| self.sequence_fault(&error))?;
            }
            return Ok(None);
        }
        let row = self.parse()?;
        if !self.caller_validates {
            self.sequence.accept(&row, |_| {}).map_err(|error| self.sequence_fault(&error))?;
        }
        self.is_over = false;
        Ok(Some(row))
    }

    fn skip_validation(&mut self) {
        // Without the column `event`, the events follow from the ends, which only `sequence` knows.
        self.caller_validates = self.indices[EVENT].is_some();
    }

    fn sites(&self) -> &Sites {
        &self.sites
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn from_csv(path: &Path, error: csv::Error) -> TraceError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(source) => TraceError::io(path, source),
        other => TraceError::Line {
            path: path.to_owned(),
            line,
            found: format!("{other:?}"),
            expected: "comma-separated fields".into(),
        },
    }
}

struct CsvWriter {
    path: PathBuf,
    writer: csv::Writer<BufWriter<File>>,
    columns: Columns,
}

impl CsvWriter {
    fn new(path: &Path, file: File, columns: Columns) -> Result<CsvWriter, TraceError> {
        let mut writer = csv::WriterBuilder::new()
            .flexible(true)
            .from_writer(BufWriter::with_capacity(1 << 16, file));
        let names = NAMES
            .iter()
            .enumerate()
            .filter(|(column, _)| has(columns, *column))
            .map(|(_, name)| name);
        writer.write_record(names).map_err(|error| from_csv(path, error))?;
        Ok(CsvWriter { path: path.to_owned(), writer, columns })
    }

    fn put(&mut self, row: &Row, sites: &Sites) -> csv::Result<()> {
        let columns = self.columns;
        let number = |value: u64| value.to_string();
        for column in (0..NAMES.len()).filter(|column| has(columns, *column)) {
            match column {
                EVENT => self.writer.write_field(number(row.event))?,
                OP => self.writer.write_field(row.op.name())?,
                SIZE => self.writer.write_field(number(row.size))?,
                LIFETIME => self
                    .writer
                    .write_field(row.lifetime.map(|l| number(l.get())).unwrap_or_default())?,
                THREAD => self.writer.write_field(number(row.thread.into()))?,
                END_THREAD => self
                    .writer
                    .write_field(row.end_thread.map(|t| t.to_string()).unwrap_or_default())?,
                DOMAIN => self.writer.write_field(row.domain.name())?,
                TIME_NS => self.writer.write_field(number(row.time_ns))?,
                SITE => self.writer.write_field(sites.name(row.site))?,
                _ => self.writer.write_field(sites.type_name(row.type_id))?,
            }
        }
        self.writer.write_record(None::<&[u8]>)
    }
}

/// Whether a trace with these optional columns has the column of that index.
fn has(columns: Columns, column: usize) -> bool {
    match column {
        THREAD => columns.thread,
        END_THREAD => columns.end_thread,
        DOMAIN => columns.domain,
        TIME_NS => columns.time_ns,
        SITE => columns.site,
        TYPE => columns.type_name,
        _ => true,
    }
}

impl TraceWriter for CsvWriter {
    fn write_row(&mut self, row: &Row, sites: &Sites) -> Result<(), TraceError> {
        self.put(row, sites).map_err(|error| from_csv(&self.path, error))
    }

    fn finish(self: Box<Self>) -> Result<(), TraceError> {
        let CsvWriter { path, writer, .. } = *self;
        let mut inner =
            writer.into_inner().map_err(|error| TraceError::io(&path, error.into_error()))?;
        inner.flush().map_err(|source| TraceError::io(&path, source))
    }
}
