//! Room `trace`: the compact binary format, `.trace`. It holds exactly what the CSV holds, plus facts about the recording.
//!
//! All integers are little-endian; a *varint* is LEB128, at most 10 bytes.
//!
//! ```text
//! magic      8 bytes   89 'H' 'P' 'L' 'Y' 0D 0A 1A   (a text-mode copy breaks it visibly)
//! version    u16       1
//! header     u32 length, JSON {"columns":[…],"facts":{name: text, …}}, u32 CRC-32 of it
//! parts      tag u8 'R', rows u32 (1 … 65536), raw length u32, stored length u32, CRC-32 of what is stored u32,
//!            then the stored bytes: a zstd frame
//! end        tag u8 'E', rows u64, calls u64, CRC-32 of those 16 bytes u32, and nothing after it
//! ```
//!
//! A fact that is a list is JSON in its text: `marks` is `[[event,"name"],…]`, what the program marked before which call;
//! `arenas` is `[[event,"birth"|"death",base,size],…]`, where its pymalloc's memory lay (`Header::marks`, `Header::arenas`).
//!
//! A part's raw bytes are columns, each a varint length and its bytes: `sites` (new strings: varint length, UTF-8),
//! `head` (a byte a row: op, domain « 2, has lifetime « 4, has end_thread « 5), `gap` (varint: ends between this row
//! and the one before), `size`, `lifetime` (only where there is one), `time_ns` (zigzag difference), `thread`,
//! `end_thread` (only where there is one), `site` (varints). Columns like with like compress to about half of what rows
//! would. A trace with types has two more columns: `types` (new strings) and `type` (varints). A part stands alone but
//! for the running `event`, `time_ns` and the strings, so a file cut off anywhere is readable up to its last whole part.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::event::{
    Columns, Domain, Header, Op, Row, SITE_LIMIT_BYTES, SIZE_LIMIT_BYTES, SiteId, Sites, TYPE_LIMIT_BYTES,
    TraceError, TraceReader, TraceWriter, TypeId,
};
use super::frame;
use super::sequence::Sequence;

const MAGIC: [u8; 8] = [0x89, b'H', b'P', b'L', b'Y', 0x0D, 0x0A, 0x1A];
const VERSION: u16 = 1;
/// Rows of a part that the writer makes: what a cut can take away at most.
const PART_ROWS: usize = 1 << 13;
/// Rows of a part that the reader takes.
const PART_ROWS_LIMIT: usize = 1 << 16;
/// No part that the writer makes is larger; a reader asked for more memory than this refuses.
const PART_LIMIT_BYTES: usize = 16 << 20;
const HEADER_LIMIT_BYTES: usize = 1 << 20;
const TAG_ROWS: u8 = b'R';
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
const COLUMNS: usize = 11;

/// How many columns the parts of a trace have.
fn part_columns(columns: Columns) -> usize {
    if columns.type_name { COLUMNS } else { TYPES }
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
        ];
        let columns = named.iter().filter(|(has, _)| *has).map(|(_, name)| (*name).to_owned()).collect();
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
                other => return Err(format!("a column `{other}`")),
            }
        }
        Ok(Header { columns, facts: self.facts })
    }
}

/// Whether a file that begins so is a binary trace.
pub(super) fn sniff(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
}

/// Opens a binary trace.
pub(super) fn open(path: &Path, file: File) -> Result<Box<dyn TraceReader>, TraceError> {
    Ok(Box::new(BinaryReader::new(path, file)?))
}

/// Creates a binary trace.
pub(super) fn create(path: &Path, file: File, header: &Header) -> Result<Box<dyn TraceWriter>, TraceError> {
    Ok(Box::new(BinaryWriter::new(path, file, header)?))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads varints from a column.
struct Column<'a> {
    bytes: &'a [u8],
}

impl<'a> Column<'a> {
    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        if first < 0x80 {
            return Some(first.into());
        }
        let mut value = u64::from(first & 0x7F);
        for shift in (7..64).step_by(7) {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    /// The next string of a column of them, `Some(None)` at its end; `None` when it is none.
    fn text(&mut self, limit: usize) -> Option<Option<&'a str>> {
        if self.bytes.is_empty() {
            return Some(None);
        }
        let length = usize::try_from(self.varint()?).ok().filter(|length| (1..=limit).contains(length))?;
        std::str::from_utf8(self.take(length)?).ok().map(Some)
    }
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
    /// Where the part that is being read starts.
    offset: u64,
    /// Where the next part starts.
    next_offset: u64,
    rows_read: u64,
    /// Rows of the part being read, in order; `cursor` is the next.
    part: Vec<Row>,
    cursor: usize,
    last_event: Option<u64>,
    last_time_ns: u64,
    /// `None` where the caller proves.
    sequence: Option<Sequence>,
    events_hint: Option<u64>,
    over: bool,
    stored: Vec<u8>,
}

impl BinaryReader {
    fn new(path: &Path, file: File) -> Result<BinaryReader, TraceError> {
        let mut reader = BinaryReader {
            path: path.to_owned(),
            events_hint: events_hint(&file),
            file: BufReader::with_capacity(1 << 16, file),
            header: Header::default(),
            sites: Sites::default(),
            offset: 0,
            next_offset: 0,
            rows_read: 0,
            part: Vec::new(),
            cursor: 0,
            last_event: None,
            last_time_ns: 0,
            sequence: Some(Sequence::new()),
            over: false,
            stored: Vec::new(),
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

    /// Fills `buffer`; a file that ends inside is cut off.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TraceError> {
        match self.file.read_exact(buffer) {
            Ok(()) => {
                self.next_offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(TraceError::CutOff { path: self.path.clone(), offset: self.offset, rows: self.rows_read })
            }
            Err(source) => Err(TraceError::io(&self.path, source)),
        }
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], TraceError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn word(&mut self) -> Result<u32, TraceError> {
        Ok(u32::from_le_bytes(self.number()?))
    }

    fn read_header(&mut self) -> Result<(), TraceError> {
        if self.number::<8>()? != MAGIC {
            return Err(self.fault("another beginning", "the magic of a heaplay trace"));
        }
        let version = u16::from_le_bytes(self.number()?);
        if version != VERSION {
            return Err(self.fault(
                format!("format version {version}"),
                format!("version {VERSION}; convert it to CSV with the heaplay that made it"),
            ));
        }
        let length = self.word()? as usize;
        if length > HEADER_LIMIT_BYTES {
            return Err(
                self.fault(format!("a header of {length} bytes"), "at most 1 MiB: the file is damaged")
            );
        }
        let mut json = vec![0; length];
        self.fill(&mut json)?;
        if self.word()? != crc32fast::hash(&json) {
            return Err(self.fault("a header whose checksum differs", "an undamaged file: copy it again"));
        }
        let parsed: HeaderJson = serde_json::from_slice(&json).map_err(|error| {
            self.fault(format!("a header that is no JSON ({error})"), "columns and facts")
        })?;
        self.header =
            parsed.header().map_err(|found| self.fault(found, "a column that this heaplay knows"))?;
        Ok(())
    }

    /// Reads the next part into `self.part`; `false` at the end.
    fn read_part(&mut self) -> Result<bool, TraceError> {
        self.offset = self.next_offset;
        match self.number::<1>()?[0] {
            TAG_ROWS => {
                self.read_rows()?;
                Ok(true)
            }
            TAG_END => {
                self.read_end()?;
                Ok(false)
            }
            tag => Err(self.fault(format!("a part with tag {tag:#04x}"), "'R' or 'E': the file is damaged")),
        }
    }

    fn read_rows(&mut self) -> Result<(), TraceError> {
        let rows = self.word()? as usize;
        let raw_length = self.word()? as usize;
        let stored_length = self.word()? as usize;
        let checksum = self.word()?;
        if rows == 0
            || rows > PART_ROWS_LIMIT
            || raw_length > PART_LIMIT_BYTES
            || stored_length > PART_LIMIT_BYTES
        {
            return Err(self.fault(
                format!("a part of {rows} rows, {stored_length} stored and {raw_length} raw bytes"),
                "1 to 65536 rows and at most 16 MiB: the file is damaged",
            ));
        }
        let mut stored = std::mem::take(&mut self.stored);
        stored.resize(stored_length, 0);
        self.fill(&mut stored)?;
        if crc32fast::hash(&stored) != checksum {
            return Err(self.fault("a part whose checksum differs", "an undamaged file: copy it again"));
        }
        let raw = frame::unpack(&stored, raw_length)
            .map_err(|error| self.fault(format!("a part that zstd cannot read ({error})"), "a zstd frame"))?;
        self.stored = stored;
        self.part.clear();
        self.cursor = 0;
        self.decode(&raw, rows).ok_or_else(|| {
            self.fault("a part whose columns do not fit its rows", "as many values as rows")
        })?;
        Ok(())
    }

    /// Splits the raw bytes into columns and those into rows; `None` when they do not fit.
    fn decode(&mut self, raw: &[u8], rows: usize) -> Option<()> {
        let mut rest = Column { bytes: raw };
        let has = self.header.columns;
        let mut columns: [Column<'_>; COLUMNS] = std::array::from_fn(|_| Column { bytes: &[] });
        for column in &mut columns[..part_columns(has)] {
            let length = usize::try_from(rest.varint()?).ok()?;
            column.bytes = rest.take(length)?;
        }
        // A string is entered once.
        while let Some(name) = columns[SITES].text(SITE_LIMIT_BYTES)? {
            let known = self.sites.len();
            (self.sites.intern(name).0 as usize == known + 1).then_some(())?;
        }
        while let Some(name) = columns[TYPES].text(TYPE_LIMIT_BYTES)? {
            let known = self.sites.type_count();
            (self.sites.intern_type(name).0 as usize == known + 1).then_some(())?;
        }
        self.part.reserve(rows);
        for _ in 0..rows {
            let head = *columns[HEAD].take(1)?.first()?;
            let op = *Op::ALL.get(usize::from(head & 3))?;
            let domain = *Domain::ALL.get(usize::from(head >> 2 & 3))?;
            let unannounced =
                (!has.domain && domain != Domain::Obj) || (!has.end_thread && head & HAS_END_THREAD != 0);
            if unannounced {
                return None; // a column that the header does not list
            }
            let gap = columns[GAP].varint()?;
            let event = match self.last_event {
                None => gap,
                Some(last) => last.checked_add(1)?.checked_add(gap)?,
            };
            let size = columns[SIZE].varint().filter(|size| *size <= SIZE_LIMIT_BYTES)?;
            let lifetime = match head & HAS_LIFETIME {
                0 => None,
                _ => Some(NonZeroU64::new(columns[LIFETIME].varint()?)?),
            };
            event.checked_add(lifetime.map_or(0, NonZeroU64::get)).filter(|end| *end < 1 << 50)?;
            let mut row = Row { event, op, size, lifetime, domain, ..Row::new(0, op, 0, None) };
            if has.time_ns {
                row.time_ns = self.last_time_ns.wrapping_add_signed(unzigzag(columns[TIME_NS].varint()?));
                self.last_time_ns = row.time_ns;
            }
            if has.thread {
                row.thread = u32::try_from(columns[THREAD].varint()?).ok()?;
            }
            if head & HAS_END_THREAD != 0 {
                row.end_thread = Some(u32::try_from(columns[END_THREAD].varint()?).ok()?);
            }
            if has.site {
                let site = columns[SITE].varint()?;
                if site > self.sites.len() as u64 {
                    return None;
                }
                row.site = SiteId(u32::try_from(site).ok()?);
            }
            if has.type_name {
                let id = columns[TYPE].varint().filter(|id| *id <= self.sites.type_count() as u64)?;
                row.type_id = TypeId(u32::try_from(id).ok()?);
            }
            self.last_event = Some(event);
            self.part.push(row);
        }
        columns.iter().all(|column| column.bytes.is_empty()).then_some(())
    }

    fn read_end(&mut self) -> Result<(), TraceError> {
        let totals = self.number::<16>()?;
        if self.word()? != crc32fast::hash(&totals) {
            return Err(self.fault("an end whose checksum differs", "an undamaged file: copy it again"));
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

/// Calls in the file, from its last 20 bytes, if those look like an end.
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
        if self.cursor == self.part.len() {
            if self.over {
                return Ok(None);
            }
            self.over = true; // after a fault there is nothing more
            self.part.clear();
            self.cursor = 0;
            match self.read_part() {
                Ok(true) => self.over = false,
                Ok(false) => return Ok(None),
                Err(error) => {
                    self.part.clear();
                    return Err(error);
                }
            }
        }
        let row = self.part[self.cursor];
        self.cursor += 1;
        self.rows_read += 1;
        if let Some(sequence) = &mut self.sequence
            && let Err(error) = sequence.accept(&row, |_| {})
        {
            self.over = true;
            self.cursor = self.part.len();
            return Err(self.fault(format!("row {}: {error}", self.rows_read), error.expected()));
        }
        Ok(Some(row))
    }

    fn leave_proof(&mut self) {
        self.sequence = None;
    }

    fn sites(&self) -> &Sites {
        &self.sites
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
    /// One past the last call that a row or an end accounts for.
    calls: u64,
}

impl BinaryWriter {
    fn new(path: &Path, file: File, header: &Header) -> Result<BinaryWriter, TraceError> {
        let mut file = BufWriter::with_capacity(1 << 16, file);
        let failed = |source| TraceError::io(path, source);
        let json = serde_json::to_vec(&HeaderJson::new(header)).map_err(|e| failed(io::Error::other(e)))?;
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

    /// Sites and types that rows to come may name must be in the file before them.
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
        for column in &mut self.part[..part_columns(self.columns)] {
            put_varint(&mut raw, column.len() as u64);
            raw.append(column);
        }
        let failed = |source| TraceError::io(&self.path, source);
        let stored = frame::pack(&raw).map_err(failed)?;
        let mut head = vec![TAG_ROWS];
        for word in [self.part_rows, raw.len(), stored.len()] {
            head.extend(u32::try_from(word).map_err(|e| failed(io::Error::other(e)))?.to_le_bytes());
        }
        head.extend(crc32fast::hash(&stored).to_le_bytes());
        self.file.write_all(&head).map_err(failed)?;
        self.file.write_all(&stored).map_err(failed)?;
        self.part_rows = 0;
        Ok(())
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
