//! Reads the raw log that the recorder leaves behind, and turns it into rows for any
//! format.
//!
//! The layout is the recorder's own file, included here. The log is read twice: the survey follows
//! each block from birth to end and notes its lifetime (see `blocks.rs`), and then the rows are
//! written with it. A log that was cut off is read up to the cut.

#[path = "../recorder/rawlog.rs"]
mod layout;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use self::layout::{Control, end, field, flag, limit, start, tag, text};
use super::blocks::{Item, Lifetimes, Tracker};
use super::{
    ArenaEvent, CALLED_FROM, Columns, Creation, Domain, Header, Op, Row, SITE_LIMIT_BYTES,
    SIZE_LIMIT_BYTES, SiteId, Sites, TraceError,
};

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The process finalised and ended by itself.
    Clean,
    /// It ended without finalising (`os._exit`, a signal), or still runs.
    Abrupt,
    /// The log could not grow: the program went on unrecorded. Holds the operating system's reason.
    NoRoom(String),
    /// Nothing was recorded. Holds the reason.
    Refused(String),
    /// A limit was reached: the program went on unrecorded. Holds the limit, as the option that set
    /// it.
    Limit(String),
    /// The program itself ended it.
    Stopped,
    /// It never began: the mark did not come, or the delay was not over.
    Waiting,
}

impl Ending {
    /// The word for the trace's facts.
    pub fn name(&self) -> &'static str {
        match self {
            Ending::Clean => "clean",
            Ending::Abrupt => "abrupt",
            Ending::NoRoom(_) => "no room",
            Ending::Refused(_) => "refused",
            Ending::Limit(_) => "limit",
            Ending::Stopped => "stopped by the program",
            Ending::Waiting => "never began",
        }
    }
}

/// A raw log whose header has been read.
#[derive(Clone, Debug)]
pub struct RawLog {
    path: PathBuf,
    flags: u64,
    /// What started it, one of the layout's `start`.
    start: u64,
    start_delay_ns: u64,
    /// Working directory when the process started, with a closing slash.
    directory: String,
    /// Process id.
    pub pid: u64,
    /// Process id of its parent.
    pub parent: u64,
    /// Monotonic clock when the recording started, nanoseconds.
    pub start_ns: u64,
    /// Version of the interpreter.
    pub python: String,
    /// The command line.
    pub program: Vec<String>,
    /// How the recording ended.
    pub ending: Ending,
    /// Calls that were made and could not be written.
    pub lost_events: u64,
}

/// Marks that a trace holds at most: its header is small.
pub const MARKS_LIMIT: usize = 1024;
/// AllocationSites and deaths of arenas that a trace holds at most, the first ones.
pub const ARENAS_LIMIT: usize = 8192;
/// Every arena is a multiple of this (256 KiB up to 3.9, 1 MiB later). What else CPython takes from
/// the arena allocator are chunks of its frame stacks (3.11 and later; 16 KiB, doubled where one
/// frame needs more).
const ARENA_UNIT_BYTES: u64 = 256 << 10;

/// What the first reading of a log found.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Rows: mallocs, callocs and reallocs.
    pub rows: u64,
    /// Calls, frees included.
    pub events: u64,
    /// Bytes asked for, by all rows together.
    pub bytes: u64,
    /// Frees (and reallocs) of blocks that the log never saw born: left out, or taken for mallocs.
    pub unseen_frees: u64,
    /// Blocks that must have ended unseen, because their address was given out again: ended just
    /// before that.
    pub unseen_ends: u64,
    /// Bytes of the log up to its end.
    pub log_bytes: u64,
    /// What the program marked: the index of the next call, and the name. The first [`MARKS_LIMIT`]
    /// of them.
    pub marks: Vec<(u64, String)>,
    /// How many it marked in all.
    pub marks_made: u64,
    /// AllocationSites and deaths of arenas, the first [`ARENAS_LIMIT`] of them.
    pub arenas: Vec<ArenaEvent>,
    /// How many there were in all.
    pub arena_events: u64,
    /// What the frame stacks took from the arena allocator.
    pub frame_chunks: FrameChunks,
    /// Nanoseconds from the start of the recording to its last calls.
    pub last_ns: u64,
    /// Threads of the trace that stand for a thread in a sub-interpreter with a heap of its own:
    /// the trace's number, and the interpreter's.
    pub interpreters: Vec<(u32, u32)>,
    lifetimes: Lifetimes,
}

/// Chunks of the interpreter's frame stacks, which come from the arena allocator from 3.11 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameChunks {
    /// Chunks got.
    pub births: u64,
    /// Chunks given back.
    pub deaths: u64,
    /// Bytes that were held at a time, at most.
    pub peak_bytes: u64,
    bytes: u64,
}

impl FrameChunks {
    fn take(&mut self, is_birth: bool, size: u64) {
        if is_birth {
            self.births += 1;
            self.bytes = self.bytes.saturating_add(size);
            self.peak_bytes = self.peak_bytes.max(self.bytes);
        } else {
            self.deaths += 1;
            self.bytes = self.bytes.saturating_sub(size);
        }
    }
}

/// Frames of a site that are read, at most: the recorder writes fewer.
const SITE_FRAMES_LIMIT: usize = 64;

/// What a site's number stands for.
enum Site {
    Line {
        file: u32,
        line: u32,
    },
    /// A line, by its own number, and the site that called it.
    Call {
        at: u32,
        caller: u32,
    },
}

/// What stands between the calls.
enum Aside {
    Mark(String),
    Arena { is_birth: bool, base: u64, size: u64 },
}

impl Survey {
    /// Takes what stands before the call of index `event`.
    fn take(&mut self, aside: Aside, event: u64) {
        match aside {
            Aside::Mark(name) => {
                self.marks_made += 1;
                if self.marks.len() < MARKS_LIMIT {
                    self.marks.push((event, name));
                }
            }
            Aside::Arena { is_birth, size, .. } if size % ARENA_UNIT_BYTES != 0 => {
                self.frame_chunks.take(is_birth, size);
            }
            Aside::Arena { is_birth, base, size } => {
                self.arena_events += 1;
                if self.arenas.len() < ARENAS_LIMIT {
                    self.arenas.push(ArenaEvent { event, is_birth, base, size });
                }
            }
        }
    }
}

impl RawLog {
    /// Reads the header of the log at `path`.
    ///
    /// # Errors
    /// When the file cannot be read or is no raw log of this version.
    pub fn open(path: &Path) -> Result<RawLog, TraceError> {
        let io = |source| TraceError::io(path, source);
        let mut bytes = Vec::new();
        File::open(path)
            .map_err(io)?
            .take(layout::HEADER_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        let number = |index| number(&bytes, index);
        let foreign = |found: String| TraceError::Foreign {
            path: path.to_owned(),
            found,
            expected: format!("a raw log of version {} by this machine's heaplay", layout::VERSION),
        };
        if bytes.len() < layout::HEADER_BYTES || number(field::MAGIC) != layout::MAGIC {
            return Err(foreign("its first bytes are not those of a raw log".into()));
        }
        if number(field::VERSION) != layout::VERSION {
            return Err(foreign(format!("a raw log of version {}", number(field::VERSION))));
        }
        let string = |(at, length): (usize, usize)| {
            let bytes = bytes.get(at..at + length).unwrap_or_default();
            String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default())
                .into_owned()
        };
        let ending = match number(field::END) {
            end::CLEAN => Ending::Clean,
            end::NO_ROOM => Ending::NoRoom(reason(number(field::ERRNO))),
            end::REFUSED => Ending::Refused(string(text::REASON)),
            end::LIMIT => {
                Ending::Limit(limit_name(number(field::LIMIT), number(field::LIMIT_VALUE)))
            }
            end::STOPPED => Ending::Stopped,
            end::WAITING => Ending::Waiting,
            _ => Ending::Abrupt,
        };
        let (at, length) = text::PROGRAM;
        Ok(RawLog {
            path: path.to_owned(),
            flags: number(field::FLAGS),
            start: number(field::START),
            start_delay_ns: number(field::START_DELAY_NS),
            directory: string(text::DIRECTORY) + "/",
            pid: number(field::PID),
            parent: number(field::PARENT),
            start_ns: number(field::START_NS),
            python: string(text::PYTHON),
            program: words(bytes.get(at..at + length).unwrap_or_default()),
            ending,
            lost_events: number(field::LOST),
        })
    }

    /// The log's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the process was forked while it was recorded, and so holds blocks that this log
    /// never saw.
    pub fn is_forked(&self) -> bool {
        self.flags & flag::FORKED != 0
    }

    /// Whether it began while the process ran, and so holds blocks that this log never saw.
    pub fn is_late(&self) -> bool {
        self.flags & flag::LATE != 0
    }

    /// What made it begin late, and when; `None` for one that began before the interpreter.
    fn started(&self, survey: &Survey) -> Option<String> {
        let seconds = self.start_delay_ns as f64 / 1e9;
        match self.start {
            start::DELAY => Some(format!("--start-after, {seconds:.3} s after the process")),
            start::MARK => {
                let mark = survey.marks.first().map_or("", |(_, name)| name);
                Some(format!("--start-at-mark {mark:?}, {seconds:.3} s after the process"))
            }
            start::LATE => Some("by the program, while it ran".into()),
            _ => None,
        }
    }

    /// Whether another hook (tracemalloc, say) stood above the recorder's at some time, or took its
    /// place.
    pub fn is_disturbed(&self) -> bool {
        self.flags & flag::DISTURBED != 0
    }

    /// Follows every block from birth to end.
    ///
    /// # Errors
    /// When the log cannot be read, or has a word that no recorder writes.
    pub fn survey(&self) -> Result<Survey, TraceError> {
        let mut items = Items::open(&self.path)?;
        let mut tracker = Tracker::default();
        let mut survey = Survey::default();
        loop {
            let item = items.next()?;
            // The rows pass over them: they are no calls.
            for aside in items.asides.drain(..) {
                survey.take(aside, tracker.events);
            }
            let Some(item) = item else { break };
            if let Some(row) = tracker.follow(&item, &mut |ended| survey.lifetimes.note(ended)) {
                survey.lifetimes.begin();
                survey.bytes = survey.bytes.saturating_add(row.size);
            }
        }
        survey.rows = tracker.rows;
        survey.last_ns = items.time_ns;
        survey.interpreters = tracker
            .threads()
            .iter()
            .zip(1..)
            .filter_map(|(&key, thread)| Some((thread, items.interpreter_of(key)?)))
            .collect();
        survey.events = tracker.events;
        survey.unseen_frees = tracker.unseen_frees;
        survey.unseen_ends = tracker.unseen_ends;
        survey.log_bytes = layout::HEADER_BYTES as u64 + items.index * 8;
        Ok(survey)
    }

    /// What the trace will say of itself.
    pub fn header(&self, survey: &Survey) -> Header {
        let columns =
            Columns { site: self.flags & flag::SITES != 0, type_name: false, ..Columns::ALL };
        let mut facts = BTreeMap::new();
        let mut fact = |name: &str, value: String| drop(facts.insert(name.to_owned(), value));
        fact("python", self.python.clone());
        fact("program", command_line(&self.program));
        fact("recorder", concat!("heaplay ", env!("CARGO_PKG_VERSION")).into());
        fact("pid", self.pid.to_string());
        fact("parent_pid", self.parent.to_string());
        fact("ending", self.ending.name().into());
        if let Some(started) = self.started(survey) {
            fact("started", started);
        }
        if let Ending::Limit(limit) = &self.ending {
            let seconds = survey.last_ns as f64 / 1e9;
            fact(
                "limit",
                format!("{limit}, reached after {} calls and {seconds:.3} s", survey.events),
            );
        }
        if !survey.interpreters.is_empty() {
            fact("interpreters", interpreters_fact(&survey.interpreters));
        }
        fact("lost_events", self.lost_events.to_string());
        fact("unseen_frees", survey.unseen_frees.to_string());
        fact("unseen_ends", survey.unseen_ends.to_string());
        if !survey.marks.is_empty() {
            fact("marks", marks_fact(&survey.marks));
            let left_out = survey.marks_made - survey.marks.len() as u64;
            if left_out > 0 {
                fact("marks_left_out", left_out.to_string());
            }
        }
        if !survey.arenas.is_empty() {
            fact("arenas", arenas_fact(&survey.arenas));
            let left_out = survey.arena_events - survey.arenas.len() as u64;
            if left_out > 0 {
                fact("arenas_left_out", left_out.to_string());
            }
        }
        let chunks = survey.frame_chunks;
        if chunks.births > 0 {
            let told = format!(
                "{} got, {} given back, at most {} bytes",
                chunks.births, chunks.deaths, chunks.peak_bytes
            );
            fact("frame_chunks", told);
        }
        if self.is_forked() {
            fact("forked", "yes".into());
        }
        if self.is_disturbed() {
            fact("disturbed", "another hook stood above the recorder's, or in its place".into());
        }
        Header { columns, facts }
    }

    /// Hands each row to `write`, in order.
    ///
    /// # Errors
    /// As [`RawLog::survey`], and what `write` returns.
    pub fn rows(
        &self,
        survey: &Survey,
        write: &mut dyn FnMut(&Row, &Sites) -> Result<(), TraceError>,
    ) -> Result<(), TraceError> {
        let mut items = Items::open(&self.path)?;
        let mut tracker = Tracker::default();
        let mut sites = Sites::default();
        let mut site_ids: HashMap<u32, SiteId> = HashMap::new();
        let mut index = 0;
        while let Some(item) = items.next()? {
            items.asides.clear();
            let Some(mut row) = tracker.follow(&item, &mut |_| {}) else { continue };
            let (lifetime, end_thread) = survey.lifetimes.get(index);
            index += 1;
            row.lifetime = lifetime;
            row.end_thread = end_thread;
            row.site = *site_ids
                .entry(items.site)
                .or_insert_with(|| sites.intern(&items.site_name(&self.directory)));
            write(&row, &sites)?;
        }
        Ok(())
    }

    /// Writes the log as a trace, in the format that the path's ending names.
    ///
    /// # Errors
    /// When the log cannot be read or the trace not written; then `path` is as it was.
    pub fn convert(&self, path: &Path) -> Result<Survey, TraceError> {
        let survey = self.survey()?;
        let mut creation = Creation::begin(path, &self.header(&survey))?;
        self.rows(&survey, &mut |row, sites| creation.write_row(row, sites))?;
        creation.finish()?;
        Ok(survey)
    }
}

fn reason(errno: u64) -> String {
    i32::try_from(errno).map_or_else(
        |_| format!("error {errno}"),
        |errno| std::io::Error::from_raw_os_error(errno).to_string(),
    )
}

/// The fact `marks`: JSON, `[[event,"name"],…]`; see [`Header::marks`].
fn marks_fact(marks: &[(u64, String)]) -> String {
    serde_json::to_string(marks).unwrap_or_default()
}

/// A limit as the option that set it.
fn limit_name(kind: u64, value: u64) -> String {
    match kind {
        limit::EVENTS => format!("--max-events {value}"),
        limit::BYTES => format!("--max-bytes {value}"),
        limit::DURATION => format!("--duration {}", value as f64 / 1e9),
        limit::MARK => "--stop-at-mark".into(),
        _ => format!("limit {kind}"),
    }
}

/// The fact `interpreters`: JSON, `[[thread,interpreter],…]`; see [`Header::interpreters`].
fn interpreters_fact(interpreters: &[(u32, u32)]) -> String {
    serde_json::to_string(interpreters).unwrap_or_default()
}

/// The fact `arenas`: JSON, `[[event,"birth"|"death",base,size],…]`; see [`Header::arenas`].
fn arenas_fact(arenas: &[ArenaEvent]) -> String {
    let lines: Vec<_> = arenas.iter().map(|a| (a.event, a.word(), a.base, a.size)).collect();
    serde_json::to_string(&lines).unwrap_or_default()
}

/// The arguments of a command line that ends each with a zero byte, and itself with one more.
fn words(bytes: &[u8]) -> Vec<String> {
    let end = bytes.windows(2).position(|pair| pair == [0, 0]).unwrap_or(bytes.len());
    let bytes = bytes.get(..end).unwrap_or_default();
    bytes.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// A command line that a shell would read back.
fn command_line(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+./,:@%".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The bytes of a log's words in their order: all chunks, then the tail.
struct Words {
    file: File,
    /// Bytes of chunks still to read.
    chunk_bytes: u64,
    /// Bytes of the tail still to read.
    tail_bytes: u64,
}

impl Words {
    /// The words, and how many calls may be read of them.
    fn open(path: &Path) -> std::io::Result<(Words, u64)> {
        let mut file = File::open(path)?;
        let mut header = [0; layout::HEADER_BYTES];
        file.read_exact(&mut header)?;
        let chunks = number(&header, field::CHUNKS);
        let tail_bytes =
            if number(&header, field::TAIL) == chunks { layout::TAIL_BYTES as u64 } else { 0 };
        let chunk_bytes = chunks.saturating_mul(layout::TAIL_BYTES as u64);
        file.seek(SeekFrom::Start(Words::START + layout::TAIL_BYTES as u64))?;
        let mut words = Words { file, chunk_bytes, tail_bytes };
        if chunk_bytes == 0 {
            words.seek_to_tail()?;
        }
        let most = number(&header, field::MAX_EVENTS);
        Ok((words, if most == 0 { u64::MAX } else { most }))
    }

    /// Where the tail begins.
    const START: u64 = layout::HEADER_BYTES as u64;

    fn seek_to_tail(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(Words::START)).map(drop)
    }
}

impl Read for Words {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = if self.chunk_bytes > 0 { &mut self.chunk_bytes } else { &mut self.tail_bytes };
        let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let got = self.file.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        *left -= got as u64;
        if got == 0 {
            // A copy that was cut off has no chunks after the cut, and its tail does not follow.
            (self.chunk_bytes, self.tail_bytes) = (0, 0);
        } else if *left == 0 && self.tail_bytes == layout::TAIL_BYTES as u64 {
            self.seek_to_tail()?;
        }
        Ok(got)
    }
}

/// A number of the header; 0 where it is cut off.
fn number(header: &[u8], index: usize) -> u64 {
    let bytes = header.get(index * 8..index * 8 + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_ne_bytes)
}

/// Reads a log word by word.
struct Items {
    path: PathBuf,
    words: BufReader<Words>,
    /// Words read so far.
    index: u64,
    time_ns: u64,
    thread: u32,
    interpreter: u32,
    /// `thread`, or where the calls are made in a sub-interpreter a number that stands for both.
    key: u32,
    /// What the numbers that stand for both stand for: thread and interpreter.
    pairs: Vec<(u32, u32)>,
    site: u32,
    wide: Option<u64>,
    /// Calls that may still be given.
    calls_left: u64,
    files: HashMap<u32, String>,
    sites: HashMap<u32, Site>,
    /// What stands before the item given last.
    asides: Vec<Aside>,
}

impl Items {
    fn open(path: &Path) -> Result<Items, TraceError> {
        let (words, calls_left) =
            Words::open(path).map_err(|source| TraceError::io(path, source))?;
        Ok(Items {
            path: path.to_owned(),
            words: BufReader::with_capacity(1 << 16, words),
            index: 0,
            time_ns: 0,
            thread: 1,
            interpreter: 0,
            key: 1,
            pairs: Vec::new(),
            site: 0,
            wide: None,
            calls_left,
            files: HashMap::new(),
            sites: HashMap::new(),
            asides: Vec::new(),
        })
    }

    /// The next word that is no time stamp; `None` at the end of the file, whole or not.
    fn word(&mut self) -> Result<Option<u64>, TraceError> {
        loop {
            let mut bytes = [0; 8];
            match self.words.read_exact(&mut bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(TraceError::io(&self.path, error)),
            }
            let word = u64::from_ne_bytes(bytes);
            let stamp = self.index.is_multiple_of(layout::BLOCK_WORDS as u64);
            if stamp && word == 0 {
                return Ok(None);
            }
            self.index += 1;
            if !stamp {
                return Ok(Some(word));
            }
            self.time_ns = word & !layout::STAMP;
        }
    }

    /// The next thing, `None` at the end.
    fn next(&mut self) -> Result<Option<Item>, TraceError> {
        while let Some(word) = self.word()? {
            if word == 0 {
                self.index -= 1;
                return Ok(None);
            }
            match word >> 60 {
                tag::MALLOC..=tag::FREE if self.calls_left == 0 => return Ok(None),
                code @ tag::MALLOC..tag::FREE => return Ok(Some(self.birth(code, word))),
                tag::FREE => {
                    self.calls_left -= 1;
                    return Ok(Some(Item::Free { address: address(word), thread: self.key }));
                }
                tag::REALLOC_BEGIN => {
                    return Ok(Some(Item::GiveUp { address: address(word), thread: self.key }));
                }
                tag::SITE => self.site = word as u32,
                // No row may be larger: such a word is damage.
                tag::WIDE if word & !(0xF << 60) > SIZE_LIMIT_BYTES => {
                    return Err(self.strange(word));
                }
                tag::WIDE => self.wide = Some(word & !(0xF << 60)),
                tag::CONTROL => match self.control(word)? {
                    Some(item) => return Ok(Some(item)),
                    None => continue,
                },
                _ => return Err(self.strange(word)),
            }
        }
        Ok(None)
    }

    fn birth(&mut self, code: u64, word: u64) -> Item {
        let (op, domain) = match code {
            tag::REALLOC.. => (Op::Realloc, code - tag::REALLOC),
            tag::CALLOC.. => (Op::Calloc, code - tag::CALLOC),
            _ => (Op::Malloc, code - tag::MALLOC),
        };
        let domain = match domain {
            0 => Domain::Raw,
            1 => Domain::Mem,
            _ => Domain::Obj,
        };
        let narrow = word >> layout::ADDRESS_BITS & ((1 << layout::SIZE_BITS) - 1);
        let size = self.wide.take().unwrap_or(narrow);
        self.calls_left -= 1;
        Item::Birth {
            op,
            domain,
            size,
            address: address(word),
            thread: self.key,
            time_ns: self.time_ns,
        }
    }

    fn control(&mut self, word: u64) -> Result<Option<Item>, TraceError> {
        let kind = Control::ALL.into_iter().find(|&kind| kind as u64 == word >> 56 & 0xF);
        match kind {
            Some(Control::Thread) => {
                self.thread = word as u32;
                self.key = self.key_of_thread();
            }
            Some(Control::Interpreter) => {
                self.interpreter = word as u32;
                self.key = self.key_of_thread();
            }
            Some(Control::ReallocFailed) => return Ok(Some(Item::Failed { thread: self.key })),
            Some(Control::File) => {
                let name = self.text((word & 0xFF_FFFF) as usize)?;
                self.files.insert((word >> 24) as u32, name);
            }
            Some(Control::Mark) => {
                let name = self.text((word & 0xFF_FFFF) as usize)?;
                self.asides.push(Aside::Mark(name));
            }
            Some(Control::Arena) => {
                let Some(base) = self.word()? else { return Ok(None) };
                let is_birth = word & layout::ARENA_BIRTH != 0;
                let size = word & (layout::ARENA_BIRTH - 1);
                self.asides.push(Aside::Arena { is_birth, base, size });
            }
            Some(Control::Site) => {
                let place = self.word()?.unwrap_or(0);
                self.sites.insert(
                    word as u32,
                    Site::Line { file: (place >> 32) as u32, line: place as u32 },
                );
            }
            Some(Control::Chain) => {
                let place = self.word()?.unwrap_or(0);
                self.sites.insert(
                    word as u32,
                    Site::Call { at: (place >> 32) as u32, caller: place as u32 },
                );
            }
            None => return Err(self.strange(word)),
        }
        Ok(None)
    }

    fn text(&mut self, length: usize) -> Result<String, TraceError> {
        let mut name = Vec::new();
        while name.len() < length {
            let Some(word) = self.word()? else { break };
            name.extend_from_slice(&word.to_ne_bytes());
        }
        name.truncate(length);
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    /// The number for the present thread in the present interpreter.
    fn key_of_thread(&mut self) -> u32 {
        if self.interpreter == 0 {
            return self.thread;
        }
        let pair = (self.thread, self.interpreter);
        let at = self.pairs.iter().position(|&known| known == pair).unwrap_or_else(|| {
            self.pairs.push(pair);
            self.pairs.len() - 1
        });
        // The recorder counts its threads from 1, so those from the other end are free.
        u32::MAX - u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The sub-interpreter behind a number, `None` for the main one.
    fn interpreter_of(&self, key: u32) -> Option<u32> {
        self.pairs.get((u32::MAX - key) as usize).map(|&(_, interpreter)| interpreter)
    }

    /// The present site: `file:line`, then ` < file:line` for each caller that was recorded, as
    /// many as fit; empty for none. A file under `directory` is told relative to it.
    fn site_name(&self, directory: &str) -> String {
        let mut name = String::new();
        let mut next = self.site;
        for _ in 0..SITE_FRAMES_LIMIT {
            let (at, caller) = match self.sites.get(&next) {
                Some(&Site::Call { at, caller }) => (at, Some(caller)),
                Some(_) => (next, None),
                None => break,
            };
            let Some(&Site::Line { file, line }) = self.sites.get(&at) else { break };
            let frame = self.frame_name(file, line, directory);
            if name.is_empty() {
                name = frame;
            } else if name.len() + CALLED_FROM.len() + frame.len() <= SITE_LIMIT_BYTES {
                name = name + CALLED_FROM + &frame;
            } else {
                break;
            }
            let Some(caller) = caller else { break };
            next = caller;
        }
        name
    }

    fn frame_name(&self, file: u32, line: u32, directory: &str) -> String {
        let file = self.files.get(&file).map_or("?", String::as_str);
        let file = file.strip_prefix(directory).filter(|_| directory != "/").unwrap_or(file);
        let mut name = format!("{file}:{line}");
        // The end of a path says more than its beginning.
        let over = name.len().saturating_sub(SITE_LIMIT_BYTES);
        if over > 0 {
            let cut = (over..=name.len()).find(|&at| name.is_char_boundary(at)).unwrap_or(over);
            name.drain(..cut);
        }
        name
    }

    fn strange(&self, word: u64) -> TraceError {
        TraceError::Byte {
            path: self.path.clone(),
            offset: self.index.saturating_sub(1) * 8,
            found: format!("the word {word:#018x} (counted from the log's first)"),
            expected: "a word that a recorder of this version writes; is the log damaged?".into(),
        }
    }
}

fn address(word: u64) -> u64 {
    (word & ((1 << layout::ADDRESS_BITS) - 1)) << 3
}
