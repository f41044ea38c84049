//! The compact binary format, `.trace`. It holds the columns of the CSV format, and facts about the
//! recording.
//!
//! All integers are little-endian; a *varint* is LEB128, at most 10 bytes.
//!
//! ```text
//! magic      8 bytes   89 'H' 'P' 'L' 'Y' 0D 0A 1A   (a text-mode copy breaks it visibly)
//! version    u16       2; version 1 lacks the part `P`, the column `alignment` and the domain libc
//! header     u32 length, JSON {"columns":[…],"facts":{name: text, …}}, u32 CRC-32 of the JSON
//! parts      tag u8 'R', rows u32 (1 … 65536), raw length u32, stored length u32,
//!            u32 CRC-32 of the stored bytes, then the stored bytes: a zstd frame
//! process    tag u8 'P', raw length u32, stored length u32, u32 CRC-32 of the stored bytes, then
//!            the stored bytes: a zstd frame of JSON (`ProcessRecord`); at most once, after the rows
//! end        tag u8 'E', rows u64, calls u64, u32 CRC-32 of those 16 bytes, and nothing after it
//! ```
//!
//! A fact that is a list is JSON. `marks` is `[[event,"name"],…]`, the marks of the program before
//! those calls (`Header::marks`). `arenas` is `[[event,"birth"|"death",base,size],…]`, the arenas of
//! its pymalloc (`Header::arenas`).
//!
//! The raw bytes of a part are columns, each a varint length and its bytes:
//!
//! ```text
//! sites       new strings: varint length, UTF-8
//! head        a byte a row: op, domain « 2, has lifetime « 4, has end_thread « 5
//! gap         varint: ends between this row and the row before
//! size        varint
//! lifetime    varint, only of rows that have one
//! time_ns     varint: zigzag difference to the row before
//! thread      varint
//! end_thread  varint, only of rows that have one
//! site        varint
//! types       new strings; only in a trace with types
//! type        varint; only in a trace with types
//! alignment   varint: 0 for none, else 1 + its binary logarithm; only in a trace with alignments
//! ```
//!
//! Columns compress to about half the size of rows. A part needs nothing of the parts before but the
//! running `event`, `time_ns` and the strings. So a file that was cut off is readable up to its last
//! whole part.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::column::{PADDING, PartColumn, all_bits, at_most, count, put_varint, spread};
use super::event::{
    ALIGNMENT_LIMIT_BYTES, Columns, Domain, Header, RequestCode, Row, RowBatch, SITE_LIMIT_BYTES,
    SIZE_LIMIT_BYTES, SiteId, Sites, TYPE_LIMIT_BYTES, TraceError, TraceReader, TraceWriter,
    TypeId,
};
use super::frame;
use super::process::{NOTHING_KNOWN, ProcessRecord};
use super::sequence::Sequence;

const MAGIC: [u8; 8] = [0x89, b'H', b'P', b'L', b'Y', 0x0D, 0x0A, 0x1A];
const VERSION: u16 = 2;
/// Versions that can be read.
const READABLE: std::ops::RangeInclusive<u16> = 1..=VERSION;
/// Rows of a part that the writer makes. A cut loses at most as many.
const PART_ROWS: usize = 1 << 13;
/// Rows of a part that the reader accepts, at most.
const PART_ROWS_LIMIT: usize = 1 << 16;
/// Raw bytes of a part, at most. The writer never exceeds this, and the reader refuses more.
const PART_LIMIT_BYTES: usize = 16 << 20;
const HEADER_LIMIT_BYTES: usize = 1 << 20;
/// The index of every call is below this.
const EVENT_LIMIT: u64 = 1 << 50;
const TAG_ROWS: u8 = b'R';
const TAG_PROCESS: u8 = b'P';
const TAG_END: u8 = b'E';
const HAS_LIFETIME: u8 = 1 << 4;
const HAS_END_THREAD: u8 = 1 << 5;

// Columns of a part, in order.
const SITES: usize = 0;
const HEAD: usize = 1;
const GAP: usize = 2;
const SIZE: usize = 3;
const LIFETIME: usize = 4;
const TIME_NS: usize = 5;
const THREAD: usize = 6;
const END_THREAD: usize = 7;
const SITE: usize = 8;
// Only in a trace with types.
const TYPES: usize = 9;
const TYPE: usize = 10;
// Only in a trace with alignments.
const ALIGNMENT: usize = 11;
const COLUMNS: usize = 12;

/// The columns in the parts of a trace, in order.
fn part_columns(columns: Columns) -> impl Iterator<Item = usize> {
    (0..COLUMNS).filter(move |column| match *column {
        TYPES | TYPE => columns.type_name,
        ALIGNMENT => columns.alignment,
        _ => true,
    })
}

/// The header's JSON.
#[derive(Serialize, Deserialize)]
struct HeaderJson {
    columns: Vec<String>,
    facts: std::collections::BTreeMap<String, String>,
}

impl HeaderJson {
    fn new(header: &Header) -> HeaderJson {
        let columns = header.columns;
        let named = [
            (columns.thread, "thread"),
            (columns.end_thread, "end_thread"),
            (columns.domain, "domain"),
            (columns.time_ns, "time_ns"),
            (columns.site, "site"),
            (columns.type_name, "type"),
            (columns.alignment, "alignment"),
            (columns.thread_names, "thread_name"),
        ];
        let columns =
            named.iter().filter(|(has, _)| *has).map(|(_, name)| (*name).to_owned()).collect();
        HeaderJson { columns, facts: header.facts.clone() }
    }

    fn header(self) -> Result<Header, String> {
        let mut columns = Columns::default();
        for name in &self.columns {
            match name.as_str() {
                "thread" => columns.thread = true,
                "end_thread" => columns.end_thread = true,
                "domain" => columns.domain = true,
                "time_ns" => columns.time_ns = true,
                "site" => columns.site = true,
                "type" => columns.type_name = true,
                "alignment" => columns.alignment = true,
                "thread_name" => columns.thread_names = true,
                other => return Err(format!("a column `{other}`")),
            }
        }
        Ok(Header { columns, facts: self.facts })
    }
}

/// Whether the beginning of a file is that of a binary trace.
pub(super) fn sniff(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
}

/// Opens a binary trace.
pub(super) fn open(path: &Path, file: File) -> Result<Box<dyn TraceReader>, TraceError> {
    Ok(Box::new(BinaryReader::new(path, file)?))
}

/// Creates a binary trace.
pub(super) fn create(
    path: &Path,
    file: File,
    header: &Header,
) -> Result<Box<dyn TraceWriter>, TraceError> {
    Ok(Box::new(BinaryWriter::new(path, file, header)?))
}

fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

struct BinaryReader {
    path: PathBuf,
    file: BufReader<File>,
    header: Header,
    sites: Sites,
    /// `None` before the part that has it was read.
    process: Option<ProcessRecord>,
    /// Byte offset of the part that is being read.
    offset: u64,
    /// Byte offset of the next part.
    next_offset: u64,
    rows_read: u64,
    /// Rows of the part that is being read, in order; `cursor` is the next row.
    part: RowBatch,
    cursor: usize,
    /// The columns that are decoded.
    selected: Columns,
    /// One past the event of the last row.
    next_event: u64,
    last_time_ns: u64,
    /// `None` where the caller validates.
    sequence: Option<Sequence>,
    events_hint: Option<u64>,
    is_over: bool,
    unpacker: frame::Unpacker,
    stored: Vec<u8>,
    raw: Vec<u8>,
    /// The values of the column that is being read.
    values: Vec<u64>,
}

impl BinaryReader {
    fn new(path: &Path, file: File) -> Result<BinaryReader, TraceError> {
        let mut reader = BinaryReader {
            path: path.to_owned(),
            events_hint: events_hint(&file),
            file: BufReader::with_capacity(1 << 16, file),
            header: Header::default(),
            sites: Sites::default(),
            process: None,
            offset: 0,
            next_offset: 0,
            rows_read: 0,
            part: RowBatch::default(),
            cursor: 0,
            selected: Columns::ALL,
            next_event: 0,
            last_time_ns: 0,
            sequence: Some(Sequence::new()),
            is_over: false,
            unpacker: frame::Unpacker::new().map_err(|source| TraceError::io(path, source))?,
            stored: Vec::new(),
            raw: Vec::new(),
            values: Vec::new(),
        };
        reader.read_header()?;
        Ok(reader)
    }

    fn fault(&self, found: impl Into<String>, expected: impl Into<String>) -> TraceError {
        TraceError::Byte {
            path: self.path.clone(),
            offset: self.offset,
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// Fills `buffer`. A file that ends before is cut off.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TraceError> {
        match self.file.read_exact(buffer) {
            Ok(()) => {
                self.next_offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(TraceError::CutOff {
                path: self.path.clone(),
                offset: self.offset,
                rows: self.rows_read,
            }),
            Err(source) => Err(TraceError::io(&self.path, source)),
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], TraceError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, TraceError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn read_header(&mut self) -> Result<(), TraceError> {
        if self.bytes::<8>()? != MAGIC {
            return Err(self.fault("another beginning", "the magic number of a heaplay trace"));
        }
        let version = u16::from_le_bytes(self.bytes()?);
        if !READABLE.contains(&version) {
            return Err(self.fault(
                format!("format version {version}"),
                format!(
                    "a version up to {VERSION}; convert it to CSV with the heaplay that made it"
                ),
            ));
        }
        let length = self.u32()? as usize;
        if length > HEADER_LIMIT_BYTES {
            return Err(self.fault(
                format!("a header of {length} bytes"),
                "at most 1 MiB: the file is damaged",
            ));
        }
        let mut json = vec![0; length];
        self.fill(&mut json)?;
        if self.u32()? != crc32fast::hash(&json) {
            return Err(
                self.fault("a header whose checksum differs", "an undamaged file: copy it again")
            );
        }
        let parsed: HeaderJson = serde_json::from_slice(&json).map_err(|error| {
            self.fault(format!("a header that is no JSON ({error})"), "columns and facts")
        })?;
        self.header = parsed
            .header()
            .map_err(|found| self.fault(found, "a column that this version of heaplay knows"))?;
        Ok(())
    }

    /// Reads the next part, after all rows of the last one were taken; `false` at the end, and after a
    /// fault.
    fn next_part(&mut self) -> Result<bool, TraceError> {
        self.cursor = 0;
        let found = if self.is_over { Ok(false) } else { self.read_part() };
        self.is_over = !matches!(found, Ok(true));
        if self.is_over {
            self.part.clear();
        }
        found
    }

    /// Reads the next part into `self.part`; `false` at the end.
    fn read_part(&mut self) -> Result<bool, TraceError> {
        loop {
            self.offset = self.next_offset;
            match self.bytes::<1>()?[0] {
                TAG_ROWS if self.process.is_none() => {
                    self.read_rows()?;
                    return Ok(true);
                }
                TAG_PROCESS if self.process.is_none() => self.read_process()?,
                TAG_END => {
                    self.read_end()?;
                    return Ok(false);
                }
                tag => {
                    return Err(self.fault(
                        format!("a part with tag {tag:#04x}"),
                        "'R', 'P' or 'E', in this order: the file is damaged",
                    ));
                }
            }
        }
    }

    /// Reads lengths, checksum and the stored bytes, and unpacks them into `self.raw`.
    fn unpack_part(&mut self) -> Result<(), TraceError> {
        let raw_length = self.u32()? as usize;
        let stored_length = self.u32()? as usize;
        let checksum = self.u32()?;
        if raw_length > PART_LIMIT_BYTES || stored_length > PART_LIMIT_BYTES {
            return Err(self.fault(
                format!("a part of {stored_length} stored and {raw_length} raw bytes"),
                "at most 16 MiB: the file is damaged",
            ));
        }
        let mut stored = std::mem::take(&mut self.stored);
        stored.resize(stored_length, 0);
        self.fill(&mut stored)?;
        if crc32fast::hash(&stored) != checksum {
            return Err(
                self.fault("a part whose checksum differs", "an undamaged file: copy it again")
            );
        }
        let mut raw = std::mem::take(&mut self.raw);
        self.unpacker.unpack(&stored, raw_length, &mut raw).map_err(|error| {
            self.fault(format!("a part that zstd cannot read ({error})"), "a zstd frame")
        })?;
        (self.stored, self.raw) = (stored, raw);
        Ok(())
    }

    fn read_process(&mut self) -> Result<(), TraceError> {
        self.unpack_part()?;
        let process = serde_json::from_slice(&self.raw).map_err(|error| {
            self.fault(
                format!("a record of the process that cannot be read ({error})"),
                "JSON with threads, memory and requests",
            )
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn read_rows(&mut self) -> Result<(), TraceError> {
        let rows = self.u32()? as usize;
        if rows == 0 || rows > PART_ROWS_LIMIT {
            return Err(self
                .fault(format!("a part of {rows} rows"), "1 to 65536 rows: the file is damaged"));
        }
        self.unpack_part()?;
        let mut raw = std::mem::take(&mut self.raw);
        let length = raw.len();
        raw.resize(length + PADDING, 0);
        self.decode(&raw, length, rows).ok_or_else(|| {
            self.fault("a part whose columns do not fit its rows", "as many values as rows")
        })?;
        self.raw = raw;
        Ok(())
    }

    /// Splits the raw bytes, without the padding, into columns and decodes their rows; `None` when the
    /// columns do not fit.
    fn decode(&mut self, raw: &[u8], length: usize, rows: usize) -> Option<()> {
        let mut rest = PartColumn::new(raw, 0, length);
        let (has, needed) = (self.header.columns, self.selected);
        let mut columns = [PartColumn::new(raw, length, length); COLUMNS];
        for column in part_columns(has) {
            let length = rest.varint()?;
            columns[column] = rest.take(length)?;
        }
        // A string must be new.
        while let Some(name) = columns[SITES].text(SITE_LIMIT_BYTES)? {
            let known = self.sites.len();
            (self.sites.intern(name).0 as usize == known + 1).then_some(())?;
        }
        while let Some(name) = columns[TYPES].text(TYPE_LIMIT_BYTES)? {
            let known = self.sites.type_count();
            (self.sites.intern_type(name).0 as usize == known + 1).then_some(())?;
        }
        let heads = columns[HEAD].bytes().filter(|heads| heads.len() == rows)?;
        columns[HEAD].skip();
        let (part, values) = (&mut self.part, &mut self.values);
        part.clear_for_overwriting();
        self.next_event = requests(heads, has, self.next_event, &mut columns, part)?;
        if has.time_ns && needed.time_ns {
            columns[TIME_NS].varints(rows, values)?;
            part.times_ns.extend(values.iter().map(|step| {
                self.last_time_ns = self.last_time_ns.wrapping_add_signed(unzigzag(*step));
                self.last_time_ns
            }));
        }
        if has.thread && needed.thread {
            match columns[THREAD].repeated_byte(rows) {
                Some(thread) => {
                    part.threads.clear();
                    part.threads.resize(rows, thread.into());
                    columns[THREAD].skip();
                }
                None => {
                    columns[THREAD].varints(rows, values)?;
                    at_most(u32::MAX.into(), values)?;
                    part.threads.extend(values.iter().map(|thread| *thread as u32));
                }
            }
        }
        if has.end_thread && needed.end_thread {
            columns[END_THREAD].varints(count(heads, HAS_END_THREAD), values)?;
            at_most(u32::MAX.into(), values)?;
            let mut there = values.iter();
            // Where no row has one, the column stays empty.
            let heads = if values.is_empty() { &[] } else { heads };
            part.end_threads.extend(heads.iter().map(|head| {
                let thread = (head & HAS_END_THREAD != 0).then(|| there.next());
                thread.flatten().map(|thread| *thread as u32)
            }));
        }
        if has.site && needed.site {
            columns[SITE].varints(rows, values)?;
            at_most((self.sites.len() as u64).min(u32::MAX.into()), values)?;
            part.sites.extend(values.iter().map(|site| SiteId(*site as u32)));
        }
        if has.type_name && needed.type_name {
            columns[TYPE].varints(rows, values)?;
            at_most((self.sites.type_count() as u64).min(u32::MAX.into()), values)?;
            part.types.extend(values.iter().map(|id| TypeId(*id as u32)));
        }
        if has.alignment && needed.alignment {
            columns[ALIGNMENT].varints(rows, values)?;
            at_most(u64::from(ALIGNMENT_LIMIT_BYTES.ilog2()) + 1, values)?;
            let alignment = |code: &u64| code.checked_sub(1).map_or(0, |shift| 1 << shift);
            part.alignments.extend(values.iter().map(alignment));
        }
        let left_out = [
            (TIME_NS, needed.time_ns),
            (THREAD, needed.thread),
            (END_THREAD, needed.end_thread),
            (SITE, needed.site),
            (TYPE, needed.type_name),
            (ALIGNMENT, needed.alignment),
        ];
        for (column, _) in left_out.into_iter().filter(|(_, is_needed)| !is_needed) {
            columns[column].skip();
        }
        columns.iter().all(PartColumn::is_done).then_some(())
    }

    fn read_end(&mut self) -> Result<(), TraceError> {
        let totals = self.bytes::<16>()?;
        if self.u32()? != crc32fast::hash(&totals) {
            return Err(
                self.fault("an end whose checksum differs", "an undamaged file: copy it again")
            );
        }
        let rows = u64::from_le_bytes(totals[..8].try_into().unwrap_or_default());
        let calls = u64::from_le_bytes(totals[8..].try_into().unwrap_or_default());
        let counted = match &mut self.sequence {
            Some(sequence) => sequence.finish(|_| {}),
            None => Ok(calls),
        };
        let counted = counted.map_err(|e| self.fault(e.to_string(), e.expected()))?;
        if (rows, calls) != (self.rows_read, counted) {
            return Err(self.fault(
                format!("an end that counts {rows} rows and {calls} calls"),
                format!("{} and {counted}, as before it", self.rows_read),
            ));
        }
        let mut byte = [0];
        match self.file.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.fault("more bytes after the end", "the end of the file")),
            Err(source) => Err(TraceError::io(&self.path, source)),
        }
    }
}

/// Decodes the columns that every row has. Returns one past the last event; `None` when the columns
/// do not fit.
fn requests(
    heads: &[u8],
    has: Columns,
    mut next_event: u64,
    columns: &mut [PartColumn<'_>; COLUMNS],
    part: &mut RowBatch,
) -> Option<u64> {
    let rows = heads.len();
    // Bits of columns that the header does not list: an ending thread, and any domain but `obj`.
    let unannounced = if has.end_thread { 0 } else { HAS_END_THREAD };
    let domains = if has.domain { 0 } else { 3 << 2 };
    let wrong = heads.iter().fold(0, |wrong, head| {
        let is_unknown = head & (head >> 1) & 0b0001;
        wrong | is_unknown | head & unannounced | (head ^ (Domain::Obj as u8) << 2) & domains
    });
    (wrong == 0).then_some(())?;
    part.requests.extend(heads.iter().map(|head| RequestCode(head & 0xF)));
    columns[SIZE].varints(rows, &mut part.sizes)?;
    at_most(SIZE_LIMIT_BYTES, &part.sizes)?;
    let lifetimes = &mut part.lifetimes;
    columns[LIFETIME].varints(count(heads, HAS_LIFETIME), lifetimes)?;
    (!lifetimes.contains(&0)).then_some(())?;
    spread(lifetimes, heads, HAS_LIFETIME);
    // Gaps become events.
    let events = &mut part.events;
    columns[GAP].varints(rows, events)?;
    if all_bits(events) | all_bits(lifetimes) | next_event < 1 << 32 {
        // The sum of 2^16 such gaps and a lifetime is below the limit.
        for event in events {
            let gap = *event;
            *event = next_event + gap;
            next_event += gap + 1;
        }
        return Some(next_event);
    }
    for (event, lifetime) in events.iter_mut().zip(lifetimes) {
        *event = next_event.checked_add(*event)?;
        event.checked_add(*lifetime).filter(|end| *end < EVENT_LIMIT)?;
        next_event = *event + 1;
    }
    Some(next_event)
}

/// The number of calls, from the last 21 bytes of the file, if those are an end.
fn events_hint(file: &File) -> Option<u64> {
    let mut file = file.try_clone().ok()?;
    let position = file.stream_position().ok()?;
    let result = (|| {
        file.seek(io::SeekFrom::End(-21)).ok()?;
        let mut bytes = [0u8; 21];
        file.read_exact(&mut bytes).ok()?;
        let sum = u32::from_le_bytes(bytes[17..].try_into().ok()?);
        let calls = u64::from_le_bytes(bytes[9..17].try_into().ok()?);
        (bytes[0] == TAG_END && crc32fast::hash(&bytes[1..17]) == sum).then_some(calls)
    })();
    file.seek(io::SeekFrom::Start(position)).ok()?;
    result
}

impl TraceReader for BinaryReader {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
        if self.cursor == self.part.rows() && !self.next_part()? {
            return Ok(None);
        }
        let row = self.part.row(self.cursor);
        self.cursor += 1;
        self.rows_read += 1;
        if let Some(sequence) = &mut self.sequence
            && let Err(error) = sequence.accept(&row, |_| {})
        {
            self.is_over = true;
            self.cursor = self.part.rows();
            return Err(self.fault(format!("row {}: {error}", self.rows_read), error.expected()));
        }
        Ok(Some(row))
    }

    fn next_batch(&mut self, batch: &mut RowBatch) -> Result<bool, TraceError> {
        if self.cursor == self.part.rows() {
            let found = self.next_part();
            if !matches!(found, Ok(true)) {
                batch.clear();
                return found;
            }
        }
        if self.cursor == 0 && self.sequence.is_none() {
            std::mem::swap(&mut self.part, batch);
            self.cursor = self.part.rows(); // rows of an earlier batch, whose memory is used again
            self.rows_read += batch.rows() as u64;
            return Ok(true);
        }
        batch.clear();
        // Row by row, each validated, to the end of this part.
        while self.cursor < self.part.rows()
            && let Some(row) = self.next_row()?
        {
            batch.push(&row, self.selected.and(self.header.columns));
        }
        Ok(true)
    }

    fn select_columns(&mut self, columns: Columns) {
        self.selected = columns;
    }

    fn skip_validation(&mut self) {
        self.sequence = None;
    }

    fn sites(&self) -> &Sites {
        &self.sites
    }

    fn process(&self) -> &ProcessRecord {
        self.process.as_ref().unwrap_or(&NOTHING_KNOWN)
    }

    fn events_hint(&self) -> Option<u64> {
        self.events_hint
    }
}

struct BinaryWriter {
    path: PathBuf,
    file: BufWriter<File>,
    columns: Columns,
    part: [Vec<u8>; COLUMNS],
    part_rows: usize,
    rows: u64,
    sites_written: u32,
    types_written: u32,
    last_event: Option<u64>,
    last_time_ns: u64,
    /// One past the last call of a row or an end.
    calls: u64,
}

impl BinaryWriter {
    fn new(path: &Path, file: File, header: &Header) -> Result<BinaryWriter, TraceError> {
        let mut file = BufWriter::with_capacity(1 << 16, file);
        let failed = |source| TraceError::io(path, source);
        let json = serde_json::to_vec(&HeaderJson::new(header))
            .map_err(|e| failed(io::Error::other(e)))?;
        let length = u32::try_from(json.len()).map_err(|e| failed(io::Error::other(e)))?;
        let mut start = MAGIC.to_vec();
        start.extend(VERSION.to_le_bytes());
        start.extend(length.to_le_bytes());
        start.extend(&json);
        start.extend(crc32fast::hash(&json).to_le_bytes());
        file.write_all(&start).map_err(failed)?;
        Ok(BinaryWriter {
            path: path.to_owned(),
            file,
            columns: header.columns,
            part: Default::default(),
            part_rows: 0,
            rows: 0,
            sites_written: 0,
            types_written: 0,
            last_event: None,
            last_time_ns: 0,
            calls: 0,
        })
    }

    /// Writes the sites and types that `row` names, if they are not yet in the file.
    fn put_names(&mut self, sites: &Sites, row: &Row) {
        while self.columns.site && self.sites_written < row.site.0 {
            self.sites_written += 1;
            self.put_text(SITES, sites.name(SiteId(self.sites_written)));
        }
        while self.columns.type_name && self.types_written < row.type_id.0 {
            self.types_written += 1;
            self.put_text(TYPES, sites.type_name(TypeId(self.types_written)));
        }
    }

    fn put_text(&mut self, column: usize, text: &str) {
        put_varint(&mut self.part[column], text.len() as u64);
        self.part[column].extend(text.as_bytes());
    }

    fn flush_part(&mut self) -> Result<(), TraceError> {
        if self.part_rows == 0 {
            return Ok(());
        }
        let mut raw = Vec::new();
        for column in part_columns(self.columns) {
            put_varint(&mut raw, self.part[column].len() as u64);
            raw.append(&mut self.part[column]);
        }
        self.put_part(TAG_ROWS, Some(self.part_rows), &raw)?;
        self.part_rows = 0;
        Ok(())
    }

    /// Writes a part: its tag, the number of its rows where it has rows, lengths, checksum, bytes.
    fn put_part(&mut self, tag: u8, rows: Option<usize>, raw: &[u8]) -> Result<(), TraceError> {
        let failed = |source| TraceError::io(&self.path, source);
        let stored = frame::pack(raw).map_err(failed)?;
        let mut head = vec![tag];
        for number in rows.into_iter().chain([raw.len(), stored.len()]) {
            head.extend(
                u32::try_from(number).map_err(|e| failed(io::Error::other(e)))?.to_le_bytes(),
            );
        }
        head.extend(crc32fast::hash(&stored).to_le_bytes());
        self.file.write_all(&head).map_err(failed)?;
        self.file.write_all(&stored).map_err(failed)
    }
}

impl TraceWriter for BinaryWriter {
    fn write_row(&mut self, row: &Row, sites: &Sites) -> Result<(), TraceError> {
        self.put_names(sites, row);
        let mut head = row.op as u8 | (row.domain as u8) << 2;
        if let Some(lifetime) = row.lifetime {
            head |= HAS_LIFETIME;
            put_varint(&mut self.part[LIFETIME], lifetime.get());
        }
        if let (true, Some(thread)) = (self.columns.end_thread, row.end_thread) {
            head |= HAS_END_THREAD;
            put_varint(&mut self.part[END_THREAD], thread.into());
        }
        self.part[HEAD].push(head);
        let gap = match self.last_event {
            None => row.event,
            Some(last) => row.event.wrapping_sub(last).wrapping_sub(1),
        };
        put_varint(&mut self.part[GAP], gap);
        put_varint(&mut self.part[SIZE], row.size);
        if self.columns.time_ns {
            let difference = row.time_ns.wrapping_sub(self.last_time_ns) as i64;
            put_varint(&mut self.part[TIME_NS], zigzag(difference));
            self.last_time_ns = row.time_ns;
        }
        if self.columns.thread {
            put_varint(&mut self.part[THREAD], row.thread.into());
        }
        if self.columns.site {
            put_varint(&mut self.part[SITE], row.site.0.into());
        }
        if self.columns.type_name {
            put_varint(&mut self.part[TYPE], row.type_id.0.into());
        }
        if self.columns.alignment {
            let code = row.alignment.checked_ilog2().map_or(0, |shift| shift + 1);
            put_varint(&mut self.part[ALIGNMENT], code.into());
        }
        self.last_event = Some(row.event);
        self.calls = self.calls.max(row.event + 1).max(row.end().map_or(0, |end| end + 1));
        self.rows += 1;
        self.part_rows += 1;
        if self.part_rows == PART_ROWS
            || self.part[SITES].len() + self.part[TYPES].len() > PART_LIMIT_BYTES / 4
        {
            self.flush_part()?;
        }
        Ok(())
    }

    fn write_process(&mut self, process: &ProcessRecord) -> Result<(), TraceError> {
        self.flush_part()?;
        let json = serde_json::to_vec(process)
            .map_err(|error| TraceError::io(&self.path, io::Error::other(error)))?;
        if json.len() > PART_LIMIT_BYTES {
            let found = format!("a record of the process of {} bytes", json.len());
            return Err(TraceError::io(&self.path, io::Error::other(found)));
        }
        self.put_part(TAG_PROCESS, None, &json)
    }

    fn finish(mut self: Box<Self>) -> Result<(), TraceError> {
        self.flush_part()?;
        let mut totals = Vec::new();
        totals.extend(self.rows.to_le_bytes());
        totals.extend(self.calls.to_le_bytes());
        let mut end = vec![TAG_END];
        end.extend(&totals);
        end.extend(crc32fast::hash(&totals).to_le_bytes());
        self.file
            .write_all(&end)
            .and_then(|()| self.file.flush())
            .map_err(|source| TraceError::io(&self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows and batches hold the same values, with and without validation. Columns that are not
    /// selected have their defaults.
    #[test]
    fn batches_hold_the_rows() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/json_round.trace");
        let open = || open(&path, File::open(&path).unwrap()).unwrap();
        let mut reader = open();
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row().unwrap() {
            rows.push(row);
        }
        assert!(
            rows.len() > 2 * PART_ROWS && rows.iter().any(|row| row.site.0 > 0 && row.time_ns > 0)
        );
        let only_sites = Columns { site: true, ..Columns::default() };
        for (is_validated, columns) in
            [(true, Columns::ALL), (false, Columns::ALL), (false, only_sites)]
        {
            let mut reader = open();
            if !is_validated {
                reader.skip_validation();
            }
            reader.select_columns(columns);
            let (mut batch, mut at) = (RowBatch::default(), 0);
            // After one single row, the next batch holds the rest of its part.
            let first = reader.next_row().unwrap().unwrap();
            assert_eq!(
                (first.event, first.size, first.site),
                (rows[0].event, rows[0].size, rows[0].site)
            );
            at += 1;
            while reader.next_batch(&mut batch).unwrap() {
                for row in 0..batch.rows() {
                    let mut expected = rows[at];
                    if columns != Columns::ALL {
                        (expected.thread, expected.end_thread, expected.time_ns) = (0, None, 0);
                    }
                    assert_eq!(batch.row(row), expected);
                    at += 1;
                }
            }
            assert_eq!(at, rows.len());
            assert!(
                reader.next_row().unwrap().is_none() && !reader.next_batch(&mut batch).unwrap()
            );
        }
    }
}
