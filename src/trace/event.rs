//! The contract of trace formats: the row, and the traits that read and write rows.
//!
//! A trace is a table of allocation *requests*, in the order in which a program made them. The end
//! of a block has no row. The `lifetime` of the block's row counts the calls until the end.
//! `sequence.rs` turns rows into calls. Each format is a file, listed in `formats.rs`; all of them
//! read and write [`Row`].

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use super::process::{NOTHING_KNOWN, ProcessRecord};
use super::quote::printable;

/// The largest alignment of a row, in bytes: 2^30. Linux has no page that is larger.
pub const ALIGNMENT_LIMIT_BYTES: u64 = 1 << 30;

/// The largest size of a row, in bytes: 2^47, the user half of a 48-bit address space.
pub const SIZE_LIMIT_BYTES: u64 = 1 << 47;

/// The longest site of a trace, in bytes of UTF-8.
pub const SITE_LIMIT_BYTES: usize = 4096;

/// The longest type name of a trace, in bytes of UTF-8.
pub const TYPE_LIMIT_BYTES: usize = 256;

/// The function of a request. A free is no request; it is the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// A new block with undefined contents.
    Malloc,
    /// A new block of zeros. The size is the product of the two arguments.
    Calloc,
    /// Ends one block and begins another with the same contents.
    Realloc,
}

impl Op {
    /// All ops, in the order of their codes (0, 1, 2).
    pub const ALL: [Op; 3] = [Op::Malloc, Op::Calloc, Op::Realloc];

    /// The op's name in CSV files, tables and pictures.
    pub fn name(self) -> &'static str {
        match self {
            Op::Malloc => "malloc",
            Op::Calloc => "calloc",
            Op::Realloc => "realloc",
        }
    }

    /// The op of that name.
    pub fn from_name(name: &[u8]) -> Option<Op> {
        Op::ALL.into_iter().find(|op| op.name().as_bytes() == name)
    }
}

/// Where the memory was requested: one of CPython's three allocation domains (`PyMem_RawMalloc`,
/// `PyMem_Malloc`, `PyObject_Malloc`), or the C library itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// `PyMem_Raw*`: bypasses pymalloc; may be called without the GIL.
    Raw,
    /// `PyMem_*`: buffers. Shares pymalloc with `obj`.
    Mem,
    /// `PyObject_*`: objects.
    Obj,
    /// The C library's own functions (`malloc`, `posix_memalign`, `operator new`), called by any
    /// code but CPython's allocators. Bypasses pymalloc.
    Libc,
}

impl Domain {
    /// All domains, in the order of their codes (0, 1, 2, 3).
    pub const ALL: [Domain; 4] = [Domain::Raw, Domain::Mem, Domain::Obj, Domain::Libc];

    /// The domains of CPython's allocators.
    pub const CPYTHON: [Domain; 3] = [Domain::Raw, Domain::Mem, Domain::Obj];

    /// Whether a block of this domain may be resized or freed in the other. `mem` and `obj` share
    /// one allocator; `raw` and `libc` have their own. CPython crashes when they are mixed.
    pub fn shares_blocks_with(self, other: Domain) -> bool {
        let is_pooled = |domain| matches!(domain, Domain::Mem | Domain::Obj);
        self == other || is_pooled(self) && is_pooled(other)
    }

    /// The domain's name in CSV files, tables and pictures.
    pub fn name(self) -> &'static str {
        match self {
            Domain::Raw => "raw",
            Domain::Mem => "mem",
            Domain::Obj => "obj",
            Domain::Libc => "libc",
        }
    }

    /// The domain of that name.
    pub fn from_name(name: &[u8]) -> Option<Domain> {
        Domain::ALL.into_iter().find(|domain| domain.name().as_bytes() == name)
    }
}

/// `file:line` of a site. A long path loses its beginning, because its end says more.
pub(super) fn site_name(file: &str, line: u32) -> String {
    let mut name = format!("{file}:{line}");
    let excess = name.len().saturating_sub(SITE_LIMIT_BYTES);
    if excess > 0 {
        let cut = (excess..=name.len()).find(|&at| name.is_char_boundary(at)).unwrap_or(excess);
        name.drain(..cut);
    }
    name
}

/// The number of a site in a trace's table ([`Sites`]); 0 means that no site was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub u32);

/// The number of a type in a trace's table ([`Sites::type_name`]). 0 means that the block is no
/// object of a known type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// A block's type and its requested size. CPython's free lists are chosen by both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// The type's name.
    pub type_name: String,
    /// Requested bytes.
    pub bytes: u64,
}

/// One allocation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index of this call in the sequence of all calls, frees included, from 0.
    pub event: u64,
    /// The function of the request.
    pub op: Op,
    /// Requested bytes.
    pub size: u64,
    /// Calls from this one to the end of the block; `None` for a block that is live at the end of
    /// the trace.
    pub lifetime: Option<NonZeroU64>,
    /// The allocating thread: a small number, 1 for the first thread. 0 where the trace has no
    /// thread column.
    pub thread: u32,
    /// The freeing thread, where it differs from the allocating one.
    pub end_thread: Option<u32>,
    /// The domain of the request; `obj` where the trace has no domain column.
    pub domain: Domain,
    /// Nanoseconds since the recording started; 0 where the trace has no time column.
    pub time_ns: u64,
    /// The line that allocated.
    pub site: SiteId,
    /// The type of the object in the block, as the program's runtime names it: `float`, `tuple`,
    /// `dict`. Buffers have none.
    pub type_id: TypeId,
    /// The alignment that the program requested, in bytes: a power of two, of a malloc only. 0 for a
    /// request without one.
    pub alignment: u64,
}

impl Row {
    /// A row of the columns that every trace has; the others have their defaults.
    pub fn new(event: u64, op: Op, size: u64, lifetime: Option<u64>) -> Row {
        Row {
            event,
            op,
            size,
            lifetime: lifetime.and_then(NonZeroU64::new),
            thread: 0,
            end_thread: None,
            domain: Domain::Obj,
            time_ns: 0,
            site: SiteId(0),
            type_id: TypeId(0),
            alignment: 0,
        }
    }

    /// The index of the call that ends this block; `None` for a block that outlives the trace.
    pub fn end(&self) -> Option<u64> {
        self.lifetime.map(|lifetime| self.event.saturating_add(lifetime.get()))
    }
}

/// Op (bits 0 to 1) and domain (bits 2 to 3) of a request, by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestCode(pub(super) u8);

impl RequestCode {
    /// The code of `op` in `domain`.
    pub fn new(op: Op, domain: Domain) -> RequestCode {
        RequestCode(op as u8 | (domain as u8) << 2)
    }

    /// The op.
    #[inline(always)]
    pub fn op(self) -> Op {
        match self.0 & 3 {
            0 => Op::Malloc,
            1 => Op::Calloc,
            _ => Op::Realloc,
        }
    }

    /// The domain.
    #[inline(always)]
    pub fn domain(self) -> Domain {
        match self.0 >> 2 & 3 {
            0 => Domain::Raw,
            1 => Domain::Mem,
            2 => Domain::Obj,
            _ => Domain::Libc,
        }
    }

    /// The code as a byte.
    #[inline(always)]
    pub fn code(self) -> u8 {
        self.0
    }
}

/// A batch of rows, column by column. Callers that would lose time row by row read batches.
///
/// The first four columns are always there and have one value a row. Any other column is empty where
/// the trace lacks it or the caller did not select it ([`TraceReader::select_columns`]).
#[derive(Clone, Debug, Default)]
pub struct RowBatch {
    /// As [`Row::event`].
    pub events: Vec<u64>,
    /// [`Row::op`] and [`Row::domain`].
    pub requests: Vec<RequestCode>,
    /// As [`Row::size`], in bytes.
    pub sizes: Vec<u64>,
    /// As [`Row::lifetime`]; 0 for none.
    pub lifetimes: Vec<u64>,
    /// As [`Row::time_ns`].
    pub times_ns: Vec<u64>,
    /// As [`Row::thread`].
    pub threads: Vec<u32>,
    /// As [`Row::end_thread`].
    pub end_threads: Vec<Option<u32>>,
    /// As [`Row::site`].
    pub sites: Vec<SiteId>,
    /// As [`Row::type_id`].
    pub types: Vec<TypeId>,
    /// As [`Row::alignment`], in bytes.
    pub alignments: Vec<u64>,
}

impl RowBatch {
    /// Rows of a batch, where a format reads row by row.
    const ROWS: usize = 1 << 12;

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.events.len()
    }

    /// Removes all rows. The memory stays allocated.
    pub fn clear(&mut self) {
        self.events.clear();
        self.requests.clear();
        self.sizes.clear();
        self.lifetimes.clear();
        self.times_ns.clear();
        self.threads.clear();
        self.end_threads.clear();
        self.sites.clear();
        self.types.clear();
        self.alignments.clear();
    }

    /// Removes all rows, but leaves the values of events, sizes and lifetimes, which the caller
    /// overwrites.
    pub(super) fn clear_for_overwriting(&mut self) {
        let columns = [&mut self.events, &mut self.sizes, &mut self.lifetimes].map(std::mem::take);
        self.clear();
        [self.events, self.sizes, self.lifetimes] = columns;
    }

    /// Appends a row, with the optional columns of `columns`.
    pub fn push(&mut self, row: &Row, columns: Columns) {
        self.events.push(row.event);
        self.requests.push(RequestCode::new(row.op, row.domain));
        self.sizes.push(row.size);
        self.lifetimes.push(row.lifetime.map_or(0, NonZeroU64::get));
        self.times_ns.extend(columns.time_ns.then_some(row.time_ns));
        self.threads.extend(columns.thread.then_some(row.thread));
        self.end_threads.extend(columns.end_thread.then_some(row.end_thread));
        self.sites.extend(columns.site.then_some(row.site));
        self.types.extend(columns.type_name.then_some(row.type_id));
        self.alignments.extend(columns.alignment.then_some(row.alignment));
    }

    /// The row of index `at`; columns that the batch lacks have their defaults.
    pub fn row(&self, at: usize) -> Row {
        Row {
            event: self.events[at],
            op: self.requests[at].op(),
            size: self.sizes[at],
            lifetime: NonZeroU64::new(self.lifetimes[at]),
            domain: self.requests[at].domain(),
            thread: self.threads.get(at).copied().unwrap_or_default(),
            end_thread: self.end_threads.get(at).copied().flatten(),
            time_ns: self.times_ns.get(at).copied().unwrap_or_default(),
            site: self.sites.get(at).copied().unwrap_or_default(),
            type_id: self.types.get(at).copied().unwrap_or_default(),
            alignment: self.alignments.get(at).copied().unwrap_or_default(),
        }
    }
}

/// The optional columns of a trace. `op`, `size` and `lifetime` are always there, and `event` can be
/// derived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// `thread` is recorded.
    pub thread: bool,
    /// `end_thread` is recorded.
    pub end_thread: bool,
    /// `domain` is recorded.
    pub domain: bool,
    /// `time_ns` is recorded.
    pub time_ns: bool,
    /// `site` is recorded.
    pub site: bool,
    /// `type` is recorded.
    pub type_name: bool,
    /// `alignment` is recorded.
    pub alignment: bool,
    /// The log's own ids and names of threads are recorded. They are in the trace's
    /// [`ProcessRecord`], not in its rows.
    pub thread_names: bool,
}

impl Columns {
    /// Every column.
    pub const ALL: Columns = Columns {
        thread: true,
        end_thread: true,
        domain: true,
        time_ns: true,
        site: true,
        type_name: true,
        alignment: true,
        thread_names: true,
    };

    /// The columns that are in both.
    #[must_use]
    pub fn and(self, other: Columns) -> Columns {
        Columns {
            thread: self.thread && other.thread,
            end_thread: self.end_thread && other.end_thread,
            domain: self.domain && other.domain,
            time_ns: self.time_ns && other.time_ns,
            site: self.site && other.site,
            type_name: self.type_name && other.type_name,
            alignment: self.alignment && other.alignment,
            thread_names: self.thread_names && other.thread_names,
        }
    }
}

/// Strings and their numbers. Numbers run from 1, in the order of the first rows that use the
/// strings; 0 is the empty string.
#[derive(Clone, Debug, Default)]
struct Names {
    names: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Names {
    fn intern(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        self.names.push(name.to_owned());
        let id = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.ids.insert(name.to_owned(), id);
        id
    }

    fn name(&self, id: u32) -> &str {
        match id {
            0 => "",
            n => self.names.get(n as usize - 1).map_or("", String::as_str),
        }
    }
}

/// The strings of a trace: sites by [`SiteId`], and types by [`TypeId`]. A site is `file:line` of the
/// line that allocated. Where callers were recorded, ` < file:line` follows for each, newest first.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    sites: Names,
    types: Names,
}

impl Sites {
    /// The id of a site; a new site is entered. The empty name has id 0.
    pub fn intern(&mut self, name: &str) -> SiteId {
        SiteId(self.sites.intern(name))
    }

    /// The text of a site; empty for id 0 and for an id that was never entered.
    pub fn name(&self, id: SiteId) -> &str {
        self.sites.name(id.0)
    }

    /// The number of sites; ids run from 1 to this number.
    pub fn len(&self) -> usize {
        self.sites.names.len()
    }

    /// Whether there is no site.
    pub fn is_empty(&self) -> bool {
        self.sites.names.is_empty()
    }

    /// The id of the type of that name; a new type is entered. The empty name has id 0.
    pub fn intern_type(&mut self, name: &str) -> TypeId {
        TypeId(self.types.intern(name))
    }

    /// The name of a type; empty for id 0 and for an id that was never entered.
    pub fn type_name(&self, id: TypeId) -> &str {
        self.types.name(id.0)
    }

    /// The number of types; ids run from 1 to this number.
    pub fn type_count(&self) -> usize {
        self.types.names.len()
    }
}

/// The birth or death of an arena: pymalloc of the recorded program took memory from the system, or
/// returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaEvent {
    /// Calls that ended before. A birth belongs to the call of this index. A death belongs to the
    /// call before, or to this call if a realloc returned the arena.
    pub event: u64,
    /// Whether this is a birth; otherwise it is a death.
    pub is_birth: bool,
    /// The arena's first address in the recorded process.
    pub base: u64,
    /// The arena's size in bytes.
    pub size: u64,
}

impl ArenaEvent {
    /// `birth` or `death`.
    pub fn name(&self) -> &'static str {
        if self.is_birth { "birth" } else { "death" }
    }
}

/// The contents of a trace besides its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// The optional columns of the trace.
    pub columns: Columns,
    /// Facts by name: `python` (version), `program` (command line), `recorder`, `lost_events`,
    /// `unseen_frees`, `arenas`, `synthesised` … CSV cannot hold facts.
    pub facts: BTreeMap<String, String>,
}

impl Header {
    /// The program's marks in order: the index of the next call, and the name. They come from the
    /// fact `marks`, JSON: `[[event,"name"],…]`.
    pub fn marks(&self) -> Vec<(u64, String)> {
        self.facts.get("marks").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Births and deaths of the recorded program's arenas, in order. They come from the fact
    /// `arenas`, JSON: `[[event,"birth"|"death",base,size],…]`; see [`ArenaEvent`].
    ///
    /// ```
    /// use heaplay::trace::Header;
    /// let mut header = Header::default();
    /// header.facts.insert("arenas".into(), r#"[[0,"birth",139637976727552,1048576]]"#.into());
    /// assert!(header.arenas()[0].is_birth && header.arenas()[0].base % 16384 == 0);
    /// ```
    pub fn arenas(&self) -> Vec<ArenaEvent> {
        let text = self.facts.get("arenas").map_or("", String::as_str);
        let lines: Vec<(u64, String, u64, u64)> = serde_json::from_str(text).unwrap_or_default();
        let read = |(event, name, base, size): (u64, String, u64, u64)| ArenaEvent {
            event,
            is_birth: name == "birth",
            base,
            size,
        };
        lines.into_iter().map(read).collect()
    }

    /// Threads that ran in a sub-interpreter with a heap of its own (3.12 and later). Each entry is
    /// the number of the thread and of the interpreter. They come from the fact `interpreters`,
    /// JSON: `[[thread,interpreter],…]`.
    pub fn interpreters(&self) -> Vec<(u32, u32)> {
        let text = self.facts.get("interpreters").map_or("", String::as_str);
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// Reads one trace, row by row, in order.
pub trait TraceReader: Send {
    /// Columns and facts of the trace.
    fn header(&self) -> &Header;
    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// The first fault, with its position. After a fault the reader gives no further rows.
    fn next_row(&mut self) -> Result<Option<Row>, TraceError>;
    /// Replaces the rows of `batch` by the next ones; `false` at the end, with an empty batch.
    ///
    /// # Errors
    /// As [`TraceReader::next_row`].
    fn next_batch(&mut self, batch: &mut RowBatch) -> Result<bool, TraceError> {
        batch.clear();
        let columns = self.header().columns;
        while batch.rows() < RowBatch::ROWS
            && let Some(row) = self.next_row()?
        {
            batch.push(&row, columns);
        }
        Ok(batch.rows() > 0)
    }
    /// Selects the optional columns that the caller needs, before the first row. A reader may leave
    /// out and not check the others. The checksums of a binary trace still cover them.
    fn select_columns(&mut self, _columns: Columns) {}
    /// Leaves it to the caller to validate that each call is one row or one end. Validating costs a
    /// reader more than reading. A caller that finds a fault lacks its position in the file.
    fn skip_validation(&mut self) {}
    /// The sites and types of the rows read so far.
    fn sites(&self) -> &Sites;
    /// What is known of the recorded process besides its requests. Complete after the last row.
    fn process(&self) -> &ProcessRecord {
        &NOTHING_KNOWN
    }
    /// The number of calls (rows and frees), where the format shows it before the end. A hint, not a
    /// promise.
    fn events_hint(&self) -> Option<u64> {
        None
    }
    /// Warnings so far, such as an unknown column that was left out.
    fn warnings(&self) -> &[String] {
        &[]
    }
}

/// Writes one trace, row by row, in order.
pub trait TraceWriter {
    /// Appends a row. `sites` must hold the row's site.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn write_row(&mut self, row: &Row, sites: &Sites) -> Result<(), TraceError>;
    /// Writes what is known of the recorded process besides its requests. Called after the last row,
    /// at most once.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn write_process(&mut self, process: &ProcessRecord) -> Result<(), TraceError>;
    /// Writes buffered rows and the closing part. A file without its closing part counts as cut off.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn finish(self: Box<Self>) -> Result<(), TraceError>;
}

/// Why a trace could not be read or written. Each message names the position, the finding and the
/// expectation.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The operating system refused.
    #[error("{}: {source}{}", path.display(), advice(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// Not a trace of any known format.
    #[error("{}: not a trace: {}; expected {expected}", path.display(), printable(found))]
    Foreign {
        /// The file.
        path: PathBuf,
        /// A description of the first bytes.
        found: String,
        /// The known formats.
        expected: String,
    },
    /// A faulty line of a text format.
    #[error("{}:{line}: {}; expected {expected}", path.display(), printable(found))]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// The finding.
        found: String,
        /// The expectation.
        expected: String,
    },
    /// A faulty part of a binary format.
    #[error("{}: at byte {offset}: {}; expected {expected}", path.display(), printable(found))]
    Byte {
        /// The file.
        path: PathBuf,
        /// Byte offset of the faulty part.
        offset: u64,
        /// The finding.
        found: String,
        /// The expectation.
        expected: String,
    },
    /// The file lacks its closing part: the recording or the copy was cut off.
    #[error(
        "{}: cut off at byte {offset}, after {rows} whole rows; {}",
        path.display(),
        after_cut(path, *rows)
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Byte offset of the end of the last whole part.
        offset: u64,
        /// Rows before that offset.
        rows: u64,
    },
    /// A file of a known kind that this verb does not read.
    #[error("{}: {}; {next_step}", path.display(), printable(kind))]
    Unread {
        /// The file.
        path: PathBuf,
        /// The kind of the file.
        kind: String,
        /// What to do instead.
        next_step: String,
    },
}

impl TraceError {
    /// A [`TraceError::Io`] for `path`.
    pub fn io(path: &Path, source: io::Error) -> TraceError {
        TraceError::Io { path: path.to_owned(), source }
    }
}

/// The next step for a trace that was cut off after `rows` whole rows.
fn after_cut(path: &Path, rows: u64) -> String {
    match rows {
        0 => "nothing of it can be saved: copy the file again, or record again".to_owned(),
        _ => format!("`heaplay convert --salvage {} OUT` saves them", path.display()),
    }
}

/// A hint on the next step after an error of the operating system; empty where there is none.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => {
            "; choose a path that you may read and write, or change its permissions"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, or choose another disk"
        }
        io::ErrorKind::IsADirectory => "; expected a file: name one in it",
        _ => "",
    }
}
