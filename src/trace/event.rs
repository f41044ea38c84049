//! Room `trace`, the contract: what one row of a trace says, and what a format must do to read and
//! write rows.
//!
//! A trace is a table of allocation *requests* in the order in which a program made them. A block's
//! end has no row of its own: the row's `lifetime` says after how many calls it came. `sequence.rs`
//! turns rows back into calls. Every format (one file each, listed in `mod.rs`) reads to and writes
//! from [`Row`].

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

/// The largest size a row may carry, in bytes: 2^47, the user half of a 48-bit address space.
pub const SIZE_LIMIT_BYTES: u64 = 1 << 47;

/// The longest site a trace may carry, in bytes of UTF-8.
pub const SITE_LIMIT_BYTES: usize = 4096;

/// The longest name of a type that a trace may carry, in bytes of UTF-8.
pub const TYPE_LIMIT_BYTES: usize = 256;

/// What a request asks for. A free is no request: it is the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// New block, contents undefined.
    Malloc,
    /// New block, all zero; the size is the product of the two arguments.
    Calloc,
    /// Ends one block and begins another that keeps its contents.
    Realloc,
}

impl Op {
    /// All ops, in the order of their codes.
    pub const ALL: [Op; 3] = [Op::Malloc, Op::Calloc, Op::Realloc];

    /// The word used in CSV headers, tables and pictures.
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

/// One of CPython's three allocation domains (`PyMem_RawMalloc`, `PyMem_Malloc`,
/// `PyObject_Malloc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// `PyMem_Raw*`: goes past pymalloc, may be called without the GIL.
    Raw,
    /// `PyMem_*`: buffers; shares pymalloc with `obj`.
    Mem,
    /// `PyObject_*`: objects.
    Obj,
}

impl Domain {
    /// All domains, in the order of their codes.
    pub const ALL: [Domain; 3] = [Domain::Raw, Domain::Mem, Domain::Obj];

    /// Whether a block of this domain may be resized or freed in the other: `mem` and `obj` share
    /// one allocator, `raw` has its own, and CPython crashes when the two are mixed.
    pub fn shares_blocks_with(self, other: Domain) -> bool {
        (self == Domain::Raw) == (other == Domain::Raw)
    }

    /// The word used in CSV headers, tables and pictures.
    pub fn name(self) -> &'static str {
        match self {
            Domain::Raw => "raw",
            Domain::Mem => "mem",
            Domain::Obj => "obj",
        }
    }

    /// The domain of that name.
    pub fn from_name(name: &[u8]) -> Option<Domain> {
        Domain::ALL.into_iter().find(|domain| domain.name().as_bytes() == name)
    }
}

/// What stands in a site between a line and the line that called it.
pub const CALLED_FROM: &str = " < ";

/// The frames of a site, `file:line` each, newest first.
pub fn frames(site: &str) -> impl Iterator<Item = &str> {
    site.split(CALLED_FROM)
}

/// The line that allocated: a site's newest frame, without its callers.
pub fn innermost(site: &str) -> &str {
    frames(site).next().unwrap_or(site)
}

/// An index into a trace's table of sites ([`Sites`]); 0 means that no site was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub u32);

/// An index into a trace's table of types ([`Sites::type_name`]); 0 means that the block is no
/// object of a known type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// A block's type and its requested size: what a free list is kept by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// The type's name.
    pub type_name: String,
    /// Bytes asked for.
    pub bytes: u64,
}

/// One allocation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index of this call among all calls, frees included, from 0.
    pub event: u64,
    /// What was asked.
    pub op: Op,
    /// Bytes asked for.
    pub size: u64,
    /// Calls from this one to the one that ended the block; `None` when it was live at the end of
    /// the trace.
    pub lifetime: Option<NonZeroU64>,
    /// Who allocated: a small number, 1 for the thread seen first. 0 where the trace has no thread
    /// column.
    pub thread: u32,
    /// Who freed, when that was another thread.
    pub end_thread: Option<u32>,
    /// Which domain was asked; `obj` where the trace has no domain column.
    pub domain: Domain,
    /// Nanoseconds since the recording started; 0 where the trace has no time column.
    pub time_ns: u64,
    /// The line that allocated.
    pub site: SiteId,
    /// What the block is for, as the program's runtime calls it: `float`, `tuple`, `dict`. None for
    /// buffers.
    pub type_id: TypeId,
}

impl Row {
    /// A row with only what every trace has; the rest at its default.
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
        }
    }

    /// The index of the call that ends this block.
    pub fn end(&self) -> Option<u64> {
        self.lifetime.map(|lifetime| self.event.saturating_add(lifetime.get()))
    }
}

/// What a row asks for and of whom, in a byte: op (bits 0–1) and domain (bits 2–3), by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(pub(super) u8);

impl Asked {
    /// That op of that domain.
    pub fn new(op: Op, domain: Domain) -> Asked {
        Asked(op as u8 | (domain as u8) << 2)
    }

    /// What was asked.
    #[inline(always)]
    pub fn op(self) -> Op {
        match self.0 & 3 {
            0 => Op::Malloc,
            1 => Op::Calloc,
            _ => Op::Realloc,
        }
    }

    /// Of which domain.
    #[inline(always)]
    pub fn domain(self) -> Domain {
        match self.0 >> 2 {
            0 => Domain::Raw,
            1 => Domain::Mem,
            _ => Domain::Obj,
        }
    }

    /// The byte.
    #[inline(always)]
    pub fn code(self) -> u8 {
        self.0
    }
}

/// Rows side by side, as many as a format has at hand, column by column: what a caller takes that
/// would lose time row by row.
///
/// The first four columns are in every row, and equally long. Another is empty where the trace has
/// none or nobody looks at it ([`TraceReader::look_at`]); else it is as long as they are.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// As [`Row::event`].
    pub events: Vec<u64>,
    /// [`Row::op`] and [`Row::domain`].
    pub asked: Vec<Asked>,
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
}

impl Batch {
    /// Rows that are gathered into a batch where a format reads them one by one.
    const ROWS: usize = 1 << 12;

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.events.len()
    }

    /// Forgets the rows, and keeps their memory.
    pub fn clear(&mut self) {
        self.events.clear();
        self.asked.clear();
        self.sizes.clear();
        self.lifetimes.clear();
        self.times_ns.clear();
        self.threads.clear();
        self.end_threads.clear();
        self.sites.clear();
        self.types.clear();
    }

    /// Forgets the rows for others whose first columns will be written over these, whatever they
    /// hold.
    pub(super) fn clear_to_be_written_over(&mut self) {
        let kept = [&mut self.events, &mut self.sizes, &mut self.lifetimes].map(std::mem::take);
        self.clear();
        [self.events, self.sizes, self.lifetimes] = kept;
    }

    /// Appends a row with the columns that `columns` names.
    pub fn push(&mut self, row: &Row, columns: Columns) {
        self.events.push(row.event);
        self.asked.push(Asked::new(row.op, row.domain));
        self.sizes.push(row.size);
        self.lifetimes.push(row.lifetime.map_or(0, NonZeroU64::get));
        self.times_ns.extend(columns.time_ns.then_some(row.time_ns));
        self.threads.extend(columns.thread.then_some(row.thread));
        self.end_threads.extend(columns.end_thread.then_some(row.end_thread));
        self.sites.extend(columns.site.then_some(row.site));
        self.types.extend(columns.type_name.then_some(row.type_id));
    }

    /// The row at that place; what has no column is at its default.
    pub fn row(&self, at: usize) -> Row {
        Row {
            event: self.events[at],
            op: self.asked[at].op(),
            size: self.sizes[at],
            lifetime: NonZeroU64::new(self.lifetimes[at]),
            domain: self.asked[at].domain(),
            thread: self.threads.get(at).copied().unwrap_or_default(),
            end_thread: self.end_threads.get(at).copied().flatten(),
            time_ns: self.times_ns.get(at).copied().unwrap_or_default(),
            site: self.sites.get(at).copied().unwrap_or_default(),
            type_id: self.types.get(at).copied().unwrap_or_default(),
        }
    }
}

/// Which optional columns a trace has. `op`, `size` and `lifetime` are always there; `event` can be
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
    };

    /// Those that are in both.
    #[must_use]
    pub fn and(self, other: Columns) -> Columns {
        Columns {
            thread: self.thread && other.thread,
            end_thread: self.end_thread && other.end_thread,
            domain: self.domain && other.domain,
            time_ns: self.time_ns && other.time_ns,
            site: self.site && other.site,
            type_name: self.type_name && other.type_name,
        }
    }
}

/// Strings with the numbers that rows name them by, from 1 in the order of their first row; 0 is
/// the empty string.
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

/// The strings behind a trace's ids: sites behind [`SiteId`]s, and types behind [`TypeId`]s. A site
/// is `file:line` of the line that allocated, and where callers were recorded too ` < file:line`
/// for each, newest first.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    sites: Names,
    types: Names,
}

impl Sites {
    /// The id of `name`, which is entered if it is new. The empty name is id 0.
    pub fn intern(&mut self, name: &str) -> SiteId {
        SiteId(self.sites.intern(name))
    }

    /// The text of `id`; empty for id 0 and for one that was never entered.
    pub fn name(&self, id: SiteId) -> &str {
        self.sites.name(id.0)
    }

    /// How many sites there are; ids run from 1 to this.
    pub fn len(&self) -> usize {
        self.sites.names.len()
    }

    /// Whether there is no site.
    pub fn is_empty(&self) -> bool {
        self.sites.names.is_empty()
    }

    /// The id of the type of that name, which is entered if it is new. The empty name is id 0.
    pub fn intern_type(&mut self, name: &str) -> TypeId {
        TypeId(self.types.intern(name))
    }

    /// The name of a type; empty for id 0 and for one that was never entered.
    pub fn type_name(&self, id: TypeId) -> &str {
        self.types.name(id.0)
    }

    /// How many types there are; ids run from 1 to this.
    pub fn type_count(&self) -> usize {
        self.types.names.len()
    }
}

/// An arena of the recorded program: a stretch of memory that its pymalloc got from the system, or
/// gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaEvent {
    /// Calls that had ended before: a birth belongs to the call of this index, a death to the one
    /// before it (or to this one, where a realloc gave the arena back).
    pub event: u64,
    /// A birth; else a death.
    pub is_birth: bool,
    /// Its first address in the recorded process.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

impl ArenaEvent {
    /// `birth` or `death`.
    pub fn word(&self) -> &'static str {
        if self.is_birth { "birth" } else { "death" }
    }
}

/// What a trace says about itself besides its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// The optional columns that it has.
    pub columns: Columns,
    /// Facts by name: `python` (version), `program` (its arguments), `recorder`, `lost_events`,
    /// `unseen_frees`, `arenas`, `synthesised` … Formats without a place for them (CSV) leave this
    /// empty.
    pub facts: BTreeMap<String, String>,
}

impl Header {
    /// What the program marked while it was recorded: the index of the next call, and the name, in
    /// order. They are the fact `marks`, JSON: `[[event,"name"],…]`.
    pub fn marks(&self) -> Vec<(u64, String)> {
        self.facts.get("marks").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// AllocationSites and deaths of the recorded program's arenas, in order. They are the fact `arenas`,
    /// JSON: `[[event,"birth"|"death",base,size],…]`; see [`ArenaEvent`]. Empty where none was
    /// recorded.
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
        let read = |(event, word, base, size): (u64, String, u64, u64)| ArenaEvent {
            event,
            is_birth: word == "birth",
            base,
            size,
        };
        lines.into_iter().map(read).collect()
    }

    /// Which threads of the trace stand for a thread in a sub-interpreter with a heap of its own
    /// (3.12 and later): the thread's number and the interpreter's. They are the fact
    /// `interpreters`, JSON: `[[thread,interpreter],…]`.
    pub fn interpreters(&self) -> Vec<(u32, u32)> {
        let text = self.facts.get("interpreters").map_or("", String::as_str);
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// Reads one trace, row by row, in order.
pub trait TraceReader: Send {
    /// What the trace says of itself.
    fn header(&self) -> &Header;
    /// The next row, `None` at the end.
    ///
    /// # Errors
    /// The first fault, with its place; after it the reader gives no further rows.
    fn next_row(&mut self) -> Result<Option<Row>, TraceError>;
    /// The next rows, in place of those that `batch` held; `false` at the end, and then it is
    /// empty.
    ///
    /// # Errors
    /// As [`TraceReader::next_row`].
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, TraceError> {
        batch.clear();
        let columns = self.header().columns;
        while batch.rows() < Batch::ROWS
            && let Some(row) = self.next_row()?
        {
            batch.push(&row, columns);
        }
        Ok(batch.rows() > 0)
    }
    /// Says before the first row which optional columns the caller looks at: a reader may leave out
    /// the others, and what they say is then not checked (a binary trace's checksum still covers
    /// them).
    fn look_at(&mut self, _columns: Columns) {}
    /// Leaves it to the caller to prove that the rows are a trace (that each call is one row or one
    /// end), which costs a reader more than reading; the caller then lacks the place of a fault in
    /// the file.
    fn leave_proof(&mut self) {}
    /// The sites of the rows read so far.
    fn sites(&self) -> &Sites;
    /// How many calls (rows and frees) the trace has, where the format can tell before the end: a
    /// hint, not a promise.
    fn events_hint(&self) -> Option<u64> {
        None
    }
    /// Things a person should know that are no errors (an unknown column that was left out),
    /// collected so far.
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
    /// Writes what is buffered and the closing part. A file whose writer was dropped before this
    /// reads as cut off.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn finish(self: Box<Self>) -> Result<(), TraceError>;
}

/// Why a trace could not be read or written. Each message names the place, what was found and what
/// to do next.
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
    #[error("{}: not a trace: {found}; expected {expected}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What its first bytes look like.
        found: String,
        /// The formats that are known.
        expected: String,
    },
    /// A faulty line of a text format.
    #[error("{}:{line}: {found}; expected {expected}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A faulty place in a binary format.
    #[error("{}: at byte {offset}: {found}; expected {expected}", path.display())]
    Byte {
        /// The file.
        path: PathBuf,
        /// Byte offset of the part that is faulty.
        offset: u64,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// The file ends before its closing part: the recording or the copy was cut off.
    #[error(
        "{}: cut off at byte {offset}, after {rows} whole rows; `heaplay convert --salvage {} OUT` keeps what is whole",
        path.display(),
        path.display()
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Where the last whole part ends.
        offset: u64,
        /// Rows before that.
        rows: u64,
    },
}

impl TraceError {
    /// An [`TraceError::Io`] for `path`.
    pub fn io(path: &Path, source: io::Error) -> TraceError {
        TraceError::Io { path: path.to_owned(), source }
    }
}

/// What to do next about an error of the operating system; empty where there is nothing better to
/// say than the reason.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => {
            "; choose a place that you may read and write, or change its permissions"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some room, or choose another disk"
        }
        io::ErrorKind::IsADirectory => "; a file was expected",
        _ => "",
    }
}
