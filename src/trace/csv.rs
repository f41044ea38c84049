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
//! - Optional: `alignment`, the alignment in bytes that a malloc requested.
//! - A row whose `op` is `thread_start` or `thread_end` is no call: the thread in `thread` begins or
//!   ends before the call of index `event`. `thread_id` and `thread_name` of a `thread_start` are
//!   the log's own. `thread` may be any number of 64 bits; the trace numbers threads from 1, in the
//!   order in which the rows name them.
//!
//! Unknown columns are left out with one warning. Columns may be separated by `;` or tabs, and blanks
//! may stand around fields. Whole numbers may be written as `64.0`, and missing ones as `NaN`.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::event::{
    ALIGNMENT_LIMIT_BYTES, Columns, Domain, Header, Op, Row, SITE_LIMIT_BYTES, SIZE_LIMIT_BYTES,
    SiteId, Sites, TYPE_LIMIT_BYTES, TraceError, TraceReader, TraceWriter, TypeId,
};
use super::process::{ProcessRecord, ThreadNumbers, ThreadRecord};
use super::quote::{quoted, quoted_bytes};
use super::sequence::{Sequence, SequenceError};

/// The names of the columns, in the order of writing.
const NAMES: [&str; 13] = [
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
    "alignment",
    "thread_id",
    "thread_name",
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
const ALIGNMENT: usize = 10;
const THREAD_ID: usize = 11;
const THREAD_NAME: usize = 12;

/// The `op` of a row that says that a thread begins.
const THREAD_START: &[u8] = b"thread_start";
/// The `op` of a row that says that a thread ends.
const THREAD_END: &[u8] = b"thread_end";
/// The longest name of a thread, in bytes.
const THREAD_NAME_LIMIT_BYTES: usize = 256;

/// How other programs write a field without a value, in any letter case.
const MISSING: [&[u8]; 6] = [b"nan", b"none", b"null", b"na", b"n/a", b"<na>"];

fn is_missing(field: &[u8]) -> bool {
    MISSING.iter().any(|missing| field.eq_ignore_ascii_case(missing))
}

/// A whole number that is written as a fraction, such as `64.0` or `6.4e1`. Above 2^53 such a number
/// may have been rounded, so it is refused.
fn whole(field: &[u8]) -> Option<u64> {
    const EXACT_LIMIT: f64 = 9_007_199_254_740_992.0;
    let text = std::str::from_utf8(field).ok()?;
    let has_digits_only =
        text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let number = text.parse::<f64>().ok().filter(|_| has_digits_only)?;
    ((0.0..=EXACT_LIMIT).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// Whether the beginning of a file looks like a CSV trace: its first line names a known column.
pub(super) fn sniff(start: &[u8]) -> bool {
    SEPARATORS.iter().any(|separator| known_columns(start, *separator) > 0)
}

/// The separators of spreadsheets.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// The number of known columns that the first line names, with this separator.
fn known_columns(start: &[u8], separator: u8) -> usize {
    let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).trim_ascii_start();
    let line = start.split(|&b| b == b'\n').next().unwrap_or_default();
    let bare = |field: &[u8]| {
        let field = field.trim_ascii();
        field
            .strip_prefix(b"\"")
            .and_then(|field| field.strip_suffix(b"\""))
            .unwrap_or(field)
            .to_vec()
    };
    line.split(|&b| b == separator)
        .filter(|field| NAMES.iter().any(|name| bare(field) == name.as_bytes()))
        .count()
}

/// The separator of a file, by its first line.
fn separator_of(file: &mut File) -> io::Result<u8> {
    const LINE_BYTES: u64 = 1 << 16;
    let mut start = Vec::new();
    file.take(LINE_BYTES).read_to_end(&mut start)?;
    file.rewind()?;
    let best =
        SEPARATORS.into_iter().rev().max_by_key(|separator| known_columns(&start, *separator));
    Ok(best.unwrap_or(b','))
}

/// Whether a file that is not empty ends without a line feed.
fn lacks_line_feed(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    if file.seek(io::SeekFrom::End(0))? > 0 {
        file.seek(io::SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    file.rewind()?;
    Ok(!matches!(last, [0 | b'\n' | b'\r']))
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
    threads: ThreadNumbers,
    process: ProcessRecord,
    sequence: Sequence,
    /// Whether the caller validates that the rows are a trace.
    caller_validates: bool,
    warnings: Vec<String>,
    is_over: bool,
    /// Whether this reader only finds the line of a row for an error of another reader.
    is_lookup: bool,
}

impl CsvReader {
    fn new(path: &Path, mut file: File) -> Result<CsvReader, TraceError> {
        let io = |source| TraceError::io(path, source);
        let separator = separator_of(&mut file).map_err(io)?;
        let is_cut = lacks_line_feed(&mut file).map_err(io)?;
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
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
                None => unknown.push(quoted(name)),
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
        if is_cut {
            warnings.push(format!(
                "{}: the last line has no line feed; if the file was cut off, its last field is wrong",
                path.display()
            ));
        }
        let columns = Columns {
            thread: indices[THREAD].is_some(),
            end_thread: indices[END_THREAD].is_some(),
            domain: indices[DOMAIN].is_some(),
            time_ns: indices[TIME_NS].is_some(),
            site: indices[SITE].is_some(),
            type_name: indices[TYPE].is_some(),
            alignment: indices[ALIGNMENT].is_some(),
            thread_names: indices[THREAD_ID].is_some() || indices[THREAD_NAME].is_some(),
        };
        Ok(CsvReader {
            path: path.to_owned(),
            width: record.len(),
            reader,
            record,
            indices,
            header: Header { columns, ..Header::default() },
            sites: Sites::default(),
            threads: match indices[THREAD_ID] {
                Some(_) => ThreadNumbers::with_own_ids(),
                None => ThreadNumbers::default(),
            },
            process: ProcessRecord::default(),
            sequence: Sequence::new(),
            caller_validates: false,
            warnings,
            is_over: false,
            is_lookup: false,
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

    /// A fault of the order of calls. It is where the blocks begin that it speaks of: the calls of a
    /// file without the column `event` have no numbers that a person could look up.
    fn sequence_fault(&self, error: &SequenceError) -> TraceError {
        let births = if self.is_lookup { vec![] } else { error.births() };
        let lines: Option<Vec<u64>> = births.iter().map(|birth| self.line_of(*birth)).collect();
        let mut fault = self.fault(error.to_string(), error.expected());
        if let (TraceError::Line { line, found, .. }, Some(lines)) = (&mut fault, lines)
            && let Some(last) = lines.last()
        {
            // The others are found at the row that is at fault itself.
            if matches!(error, SequenceError::PastEnd { .. } | SequenceError::TwoEnds { .. }) {
                *line = *last;
            }
            let numbers: Vec<String> = lines.iter().map(u64::to_string).collect();
            let plural = if lines.len() == 1 { "born on line" } else { "born on lines" };
            *found = format!("{found} ({plural} {})", numbers.join(" and "));
        }
        fault
    }

    /// The line of the row that is call `event`; `None` where the file cannot be read once more.
    fn line_of(&self, event: u64) -> Option<u64> {
        let mut reader = CsvReader::new(&self.path, File::open(&self.path).ok()?).ok()?;
        reader.is_lookup = true;
        loop {
            // An error of the file is the one that is reported: it comes after the row.
            let row = reader.next_row().ok()??;
            if row.event == event {
                return reader.record.position().map(csv::Position::line);
            }
        }
    }

    /// The text of a column without blanks around it; empty where the file lacks the column.
    fn field(&self, column: usize) -> &[u8] {
        let field = self.indices[column].and_then(|index| self.record.get(index));
        field.unwrap_or_default().trim_ascii()
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
        if value.is_none() && is_missing(field) {
            return Ok(None);
        }
        match value.or_else(|| whole(field)) {
            Some(value) if value <= limit => Ok(Some(value)),
            _ => {
                let found = quoted_bytes(field);
                Err(self.fault(format!("{} {found}", NAMES[column]), what))
            }
        }
    }

    /// The row, or `None` for one that says that a thread begins or ends.
    fn parse(&mut self) -> Result<Option<Row>, TraceError> {
        if self.record.len() != self.width {
            let found = format!("{} fields", self.record.len());
            return Err(self.fault(found, format!("{}, as in the header", self.width)));
        }
        let op = self.field(OP);
        if op == THREAD_START || op == THREAD_END {
            let is_start = op == THREAD_START;
            return self.thread_event(is_start).map(|()| None);
        }
        let op = Op::from_name(op).ok_or_else(|| {
            self.fault(
                format!("op {}", quoted_bytes(op)),
                "malloc, calloc, realloc, thread_start or thread_end",
            )
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
        let thread = self.thread(THREAD)?;
        let end_thread = Some(self.thread(END_THREAD)?).filter(|thread| *thread > 0);
        let domain = match self.field(DOMAIN) {
            b"" => Domain::Obj,
            name if is_missing(name) => Domain::Obj,
            name => Domain::from_name(name).ok_or_else(|| {
                self.fault(format!("domain {}", quoted_bytes(name)), "raw, mem, obj or libc")
            })?,
        };
        let time_ns = self.number(TIME_NS, u64::MAX, "nanoseconds as a whole number")?.unwrap_or(0);
        let (site, type_id) = self.names()?;
        let alignment = self.alignment(op)?;
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
        Ok(Some(Row {
            event,
            op,
            size,
            lifetime,
            thread,
            end_thread,
            domain,
            time_ns,
            site,
            type_id,
            alignment,
        }))
    }

    /// The number of the thread that a column names; 0 for none.
    fn thread(&mut self, column: usize) -> Result<u32, TraceError> {
        let id = self.number(column, u64::MAX, "the id of a thread, a whole number")?;
        Ok(id.filter(|id| *id > 0).map_or(0, |id| self.threads.number(id)))
    }

    /// The requested alignment in bytes; 0 for none.
    fn alignment(&self, op: Op) -> Result<u64, TraceError> {
        const RULE: &str = "a power of two of at most 2^30 bytes, or nothing";
        let alignment = self.number(ALIGNMENT, ALIGNMENT_LIMIT_BYTES, RULE)?.unwrap_or(0);
        if alignment > 0 && !alignment.is_power_of_two() {
            return Err(self.fault(format!("alignment `{alignment}`"), RULE));
        }
        if alignment > 0 && op != Op::Malloc {
            let found = format!("a {} with an alignment", op.name());
            return Err(self.fault(found, "an alignment of a malloc only"));
        }
        Ok(alignment)
    }

    /// Takes a row that says that a thread begins or ends.
    fn thread_event(&mut self, is_start: bool) -> Result<(), TraceError> {
        let id = self
            .number(THREAD, u64::MAX, "the id of a thread, a whole number")?
            .filter(|id| *id > 0)
            .ok_or_else(|| self.fault("a thread without an id", "its id in column `thread`"))?;
        let event = match self.indices[EVENT] {
            Some(_) => self.number(EVENT, 1 << 48, "the index of the next call")?,
            None => Some(
                self.sequence.derive_event(|_| {}).map_err(|error| self.sequence_fault(&error))?,
            ),
        };
        let name = self
            .text(THREAD_NAME, THREAD_NAME_LIMIT_BYTES, "the name of a thread in UTF-8")?
            .map(str::to_owned);
        let own_id = self.number(THREAD_ID, u64::MAX, "the log's own id of the thread")?;
        match (is_start, event) {
            (true, Some(event)) => self.threads.birth(id, event),
            (true, None) => self.threads.number(id),
            (false, Some(event)) => {
                self.threads.death(id, event);
                return Ok(());
            }
            (false, None) => {
                return Err(
                    self.fault("a thread_end without an event", "the index of the next call")
                );
            }
        };
        if let Some(name) = name {
            self.threads.name(id, &name);
        }
        if let Some(own_id) = own_id {
            self.threads.identify(id, own_id);
        }
        Ok(())
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
        let field = self.indices[column].and_then(|index| self.record.get(index));
        match std::str::from_utf8(field.unwrap_or_default()) {
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
        let row = loop {
            let (reader, path) = (&mut self.reader, &self.path);
            if !reader.read_byte_record(&mut self.record).map_err(|error| from_csv(path, error))? {
                if !self.caller_validates {
                    self.sequence.finish(|_| {}).map_err(|error| self.sequence_fault(&error))?;
                }
                self.process.threads = self.threads.records().to_vec();
                return Ok(None);
            }
            if let Some(row) = self.parse()? {
                break row;
            }
        };
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

    fn process(&self) -> &ProcessRecord {
        &self.process
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
                TYPE => self.writer.write_field(sites.type_name(row.type_id))?,
                ALIGNMENT if row.alignment > 0 => self.writer.write_field(number(row.alignment))?,
                _ => self.writer.write_field("")?,
            }
        }
        self.writer.write_record(None::<&[u8]>)
    }

    /// Writes a row that says that a thread begins or ends. Its other columns are empty.
    fn put_thread(
        &mut self,
        op: &[u8],
        number: usize,
        event: Option<u64>,
        record: &ThreadRecord,
    ) -> csv::Result<()> {
        for column in (0..NAMES.len()).filter(|column| has(self.columns, *column)) {
            match column {
                OP => self.writer.write_field(op)?,
                THREAD => self.writer.write_field(number.to_string())?,
                EVENT => self
                    .writer
                    .write_field(event.map(|event| event.to_string()).unwrap_or_default())?,
                THREAD_ID if op == THREAD_START => {
                    self.writer.write_field(record.id.to_string())?;
                }
                THREAD_NAME if op == THREAD_START => self.writer.write_field(&record.name)?,
                _ => self.writer.write_field("")?,
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
        ALIGNMENT => columns.alignment,
        THREAD_ID | THREAD_NAME => columns.thread && columns.thread_names,
        _ => true,
    }
}

impl TraceWriter for CsvWriter {
    fn write_row(&mut self, row: &Row, sites: &Sites) -> Result<(), TraceError> {
        self.put(row, sites).map_err(|error| from_csv(&self.path, error))
    }

    fn write_process(&mut self, process: &ProcessRecord) -> Result<(), TraceError> {
        if !self.columns.thread {
            return Ok(());
        }
        for (record, number) in process.threads.iter().zip(1..) {
            let is_named = self.columns.thread_names && (record.id > 0 || !record.name.is_empty());
            let start =
                (record.birth.is_some() || is_named).then_some((THREAD_START, record.birth));
            let end = record.death.map(|event| (THREAD_END, Some(event)));
            for (op, event) in start.into_iter().chain(end) {
                self.put_thread(op, number, event, record)
                    .map_err(|error| from_csv(&self.path, error))?;
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), TraceError> {
        let CsvWriter { path, writer, .. } = *self;
        let mut inner =
            writer.into_inner().map_err(|error| TraceError::io(&path, error.into_error()))?;
        inner.flush().map_err(|source| TraceError::io(&path, source))
    }
}
