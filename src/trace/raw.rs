//! Turns the raw log of the recorder into rows, for any format.
//!
//! The log is read twice. The survey follows each block from birth to end and notes its lifetime
//! (`blocks.rs`). The second reading writes the rows with their lifetimes. A log that was cut off is
//! read up to the cut. `raw_items.rs` reads the words.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::blocks::{Lifetimes, Tracker};
use super::event::{ArenaEvent, Columns, Header, Row, SiteId, Sites, TraceError};
use super::explained::{explained_sentence, explained_warnings, has_free_threaded, own_allocators};
use super::formats::Creation;
use super::process::ProcessRecord;
use super::process_survey::ProcessSurvey;
use super::raw_items::{Aside, Items};
use super::raw_words::layout::{self, end, field, flag, limit, start, text};
use super::raw_words::{Fold, number};
use super::symbols::Symbols;

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingEnding {
    /// The interpreter was finalised and the process ended.
    Clean,
    /// The process ended without finalising (`os._exit`, a signal), or still runs.
    Abrupt,
    /// The log could not grow, and the program went on unrecorded. Holds the operating system's
    /// reason.
    NoSpace(String),
    /// Nothing was recorded. Holds the reason.
    Refused(String),
    /// A limit was reached, and the program went on unrecorded. Holds the limit as an option of the
    /// command line.
    Limit(String),
    /// The program itself ended the recording.
    Stopped,
    /// The recording never began: the mark did not come, or the delay was not over.
    Waiting,
}

impl RecordingEnding {
    /// The text of the trace's fact `ending`.
    pub fn name(&self) -> &'static str {
        match self {
            RecordingEnding::Clean => "clean",
            RecordingEnding::Abrupt => "abrupt",
            RecordingEnding::NoSpace(_) => "no space",
            RecordingEnding::Refused(_) => "refused",
            RecordingEnding::Limit(_) => "limit",
            RecordingEnding::Stopped => "stopped by the program",
            RecordingEnding::Waiting => "never began",
        }
    }
}

/// A raw log whose header has been read.
#[derive(Clone, Debug)]
pub struct RawLog {
    path: PathBuf,
    flags: u64,
    /// What started the recording, one of the layout's `start`.
    start: u64,
    start_delay_ns: u64,
    /// Working directory at the start of the process, with a closing slash.
    directory: String,
    /// Process id.
    pub pid: u64,
    /// Process id of its parent.
    pub parent: u64,
    /// Monotonic clock at the start of the recording, nanoseconds.
    pub start_ns: u64,
    /// Version of the interpreter.
    pub python: String,
    /// The command line.
    pub program: Vec<String>,
    /// How the recording ended.
    pub ending: RecordingEnding,
    /// Calls that the recorder could not write.
    pub lost_events: u64,
    /// The highest resident memory of the process, bytes, and the highest of a sample; `None` where
    /// the process did not end normally, or the recording began late.
    resident_peaks: Option<(u64, u64)>,
    /// What stands for the log's oldest part, where only the newest part was retained.
    pub fold: Option<Fold>,
    /// Environment variables that choose or set an allocator, `NAME=value`.
    pub variables: Vec<String>,
    /// The file of the malloc that served the process; empty where that is not known.
    pub allocator_file: String,
    /// What that allocator reports as its version; empty where it reports none.
    pub allocator_version: String,
    /// The file whose malloc the program calls past the recorder; empty where there is none.
    pub bypass: String,
    /// The path of the executable.
    pub executable: String,
    /// How the process ended, where its parent knows: `signal 9`, `exit status 3`.
    pub exit: Option<String>,
    /// Blocks of CPython's allocator that were live before a late start, where they were counted
    /// (`sys.getallocatedblocks`).
    pub live_before: Option<u64>,
}

/// Marks that a trace holds at most, because its header is small.
const MARKS_LIMIT: usize = 1024;
/// Births and deaths of arenas that a trace holds at most: the first ones.
const ARENAS_LIMIT: usize = 8192;
/// Every arena is a multiple of this: arenas have 256 KiB up to 3.9, and 1 MiB later. From 3.11 on
/// CPython also takes the chunks of its frame stacks from the arena allocator. A chunk has 16 KiB,
/// doubled where one frame needs more.
const ARENA_UNIT_BYTES: u64 = 256 << 10;

/// The results of the first reading of a log.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Rows: mallocs, callocs and reallocs.
    pub rows: u64,
    /// Calls, frees included.
    pub events: u64,
    /// Requested bytes of all rows.
    pub bytes: u64,
    /// Frees and reallocs of blocks whose birth is not in the log. Such a free is left out, and such
    /// a realloc becomes a malloc.
    pub unseen_frees: u64,
    /// Blocks whose end is not in the log, although their address came back. Each ends before the
    /// new block at its address.
    pub unseen_ends: u64,
    /// Bytes of the log up to its end.
    pub log_bytes: u64,
    /// The first 1024 marks (`MARKS_LIMIT`) of the program: the index of the next call, and the name.
    pub marks: Vec<(u64, String)>,
    /// The number of all marks.
    pub marks_made: u64,
    /// The first 8192 (`ARENAS_LIMIT`) births and deaths of arenas.
    pub arenas: Vec<ArenaEvent>,
    /// The number of all births and deaths of arenas.
    pub arena_events: u64,
    /// Chunks of frame stacks, from the arena allocator.
    pub frame_chunks: FrameChunks,
    /// Nanoseconds from the start of the recording to its last time stamp.
    pub last_ns: u64,
    /// Threads of the trace in a sub-interpreter with a heap of its own: the trace's number of the
    /// thread, and the number of the interpreter.
    pub interpreters: Vec<(u32, u32)>,
    /// Loaded files with an allocator of their own, looked for where memory is unexplained.
    pub own_allocators: Vec<String>,
    /// Whether the process ran a free-threaded CPython.
    pub is_free_threaded: bool,
    /// Whether a row has an alignment.
    pub has_alignments: bool,
    /// Threads, memory and requests.
    pub process: ProcessRecord,
    lifetimes: Lifetimes,
}

/// Chunks of the interpreter's frame stacks. From 3.11 on they come from the arena allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameChunks {
    /// Chunks allocated.
    pub births: u64,
    /// Chunks freed.
    pub deaths: u64,
    /// Most bytes of live chunks.
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

impl Survey {
    /// Takes an entry that stands before the next call.
    fn take(&mut self, aside: Aside, tracker: &Tracker, process: &mut ProcessSurvey) {
        let event = tracker.events;
        match aside {
            Aside::ThreadBirth { thread, id } => process.thread_birth(thread, id, event),
            Aside::ThreadDeath { thread, name } => process.thread_death(thread, name, event),
            Aside::Memory(memory) => process.memory(event, memory),
            Aside::Request { thread, request } => process.request(event, thread, request),
            Aside::Present { address, bytes } => {
                if let Some(event) = tracker.event_of(address) {
                    process.present(event, bytes);
                }
            }
            Aside::Collections { generation, record } => process.collections(generation, record),
            Aside::End(cause) => process.end_of_process(event, cause),
            Aside::Mark(name) => {
                self.marks_made += 1;
                if self.marks.len() < MARKS_LIMIT {
                    self.marks.push((event, name));
                }
            }
            Aside::Arena { is_birth, size, .. } if size % ARENA_UNIT_BYTES != 0 => {
                process.arena(is_birth, size, false);
                self.frame_chunks.take(is_birth, size);
            }
            Aside::Arena { is_birth, base, size } => {
                process.arena(is_birth, size, true);
                self.arena_events += 1;
                if self.arenas.len() < ARENAS_LIMIT {
                    self.arenas.push(ArenaEvent { event, is_birth, base, size });
                }
            }
        }
    }
}

impl RawLog {
    /// Bytes that a log takes on the disk before its first call.
    pub const LEAST_BYTES: u64 = (layout::HEADER_BYTES + layout::TAIL_BYTES) as u64;

    /// Creates the file `path` with disk space for the beginning of a log.
    ///
    /// # Errors
    /// When the file cannot be created, or the disk has less space.
    pub fn reserve(path: &Path) -> std::io::Result<()> {
        // Pages of a hole would be claimed only when they are written.
        let zeros = vec![0; RawLog::LEAST_BYTES as usize];
        File::create_new(path)?.write_all(&zeros)
    }

    /// Reads the header of the log at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or is no raw log of this version.
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
            end::CLEAN => RecordingEnding::Clean,
            end::NO_SPACE => RecordingEnding::NoSpace(reason(number(field::ERRNO))),
            end::REFUSED => RecordingEnding::Refused(string(text::REASON)),
            end::LIMIT => {
                RecordingEnding::Limit(limit_name(number(field::LIMIT), number(field::LIMIT_VALUE)))
            }
            end::STOPPED => RecordingEnding::Stopped,
            end::WAITING => RecordingEnding::Waiting,
            _ => RecordingEnding::Abrupt,
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
            program: arguments(bytes.get(at..at + length).unwrap_or_default()),
            ending,
            lost_events: number(field::LOST),
            fold: Fold::open(path).map_err(io)?.map(|(fold, _)| fold),
            resident_peaks: Some((number(field::PEAK), number(field::SAMPLED_PEAK)))
                .filter(|(peak, sampled)| *peak > 0 && *sampled > 0),
            variables: variables(&string(text::VARIABLES)),
            allocator_file: string(text::ALLOCATOR),
            allocator_version: string(text::ALLOCATOR_VERSION),
            bypass: string(text::BYPASS),
            executable: string(text::EXECUTABLE),
            exit: None,
            live_before: None,
        })
    }

    /// The path of the log.
    #[cfg(feature = "internals")]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of the fact `ending`. Of an abrupt end, its cause where the parent knows that.
    fn ending_text(&self) -> String {
        match (&self.ending, &self.exit) {
            (RecordingEnding::Abrupt, Some(exit)) if exit.starts_with("signal") => exit.clone(),
            (RecordingEnding::Abrupt, Some(exit)) => format!("_exit, {exit}"),
            (ending, _) => ending.name().into(),
        }
    }

    /// Whether calls of the C library are recorded.
    pub fn has_libc(&self) -> bool {
        self.flags & flag::LIBC != 0
    }

    /// The allocator that served the process: its version and its file.
    pub fn allocator(&self) -> String {
        let file = Path::new(&self.allocator_file).file_name().unwrap_or_default();
        match (self.allocator_version.as_str(), file.to_string_lossy()) {
            ("", file) if file.is_empty() => "not known".into(),
            ("", file) => file.into_owned(),
            (version, file) => format!("{version} ({file})"),
        }
    }

    /// Whether hooks that the program replaced were placed again.
    pub fn has_replaced_hooks(&self) -> bool {
        self.flags & flag::REPLACED != 0
    }

    /// Whether the process was forked during a recording, and so holds blocks without a birth in this
    /// log.
    pub fn is_forked(&self) -> bool {
        self.flags & flag::FORKED != 0
    }

    /// Whether the recording began late, so that the process holds blocks without a birth in this
    /// log.
    pub fn is_late(&self) -> bool {
        self.flags & flag::LATE != 0
    }

    /// The cause and the time of a late start; `None` for a start before the interpreter.
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

    /// Whether another hook, such as tracemalloc's, stood above the recorder's at some time, or
    /// replaced it.
    pub fn is_disturbed(&self) -> bool {
        self.flags & flag::DISTURBED != 0
    }

    /// Follows every block from birth to end.
    ///
    /// # Errors
    /// When the log cannot be read, or holds a word that no recorder writes.
    pub fn survey(&self) -> Result<Survey, TraceError> {
        let mut items = Items::open(&self.path)?;
        let mut tracker = Tracker::default();
        let mut survey = Survey::default();
        let mut process = ProcessSurvey::default();
        loop {
            let item = items.next()?;
            for aside in items.asides.drain(..) {
                survey.take(aside, &tracker, &mut process);
            }
            let Some(item) = item else { break };
            let row = tracker.follow(&item, &mut |end| {
                survey.lifetimes.note(end);
                process.end(end.domain, end.size);
            });
            if let Some(row) = row {
                process.begin(row.domain, row.size);
                survey.lifetimes.begin();
                survey.bytes = survey.bytes.saturating_add(row.size);
                survey.has_alignments |= row.alignment > 0;
            }
        }
        survey.process = process.record(tracker.threads());
        survey.process.functions = items.functions(&self.directory);
        let explains_too_little =
            survey.process.explained_at_peak().is_some_and(|peak| peak.is_too_little());
        if explains_too_little {
            survey.own_allocators = own_allocators(items.modules(), &self.allocator_file);
        }
        survey.is_free_threaded = has_free_threaded(items.modules());
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
        survey.log_bytes =
            layout::HEADER_BYTES as u64 + items.units_read() * layout::UNIT_BYTES as u64;
        Ok(survey)
    }

    /// Columns and facts of the trace.
    pub fn header(&self, survey: &Survey) -> Header {
        let columns = Columns {
            site: self.flags & flag::SITES != 0,
            type_name: false,
            alignment: survey.has_alignments,
            ..Columns::ALL
        };
        let mut facts = BTreeMap::new();
        let mut fact = |name: &str, value: String| drop(facts.insert(name.to_owned(), value));
        if !self.python.is_empty() {
            fact("python", self.python.clone());
        }
        if survey.is_free_threaded {
            fact("free_threaded", "true".into());
        }
        fact("program", command_line(&self.program));
        fact("domains", if self.has_libc() { "all" } else { "python" }.into());
        fact("allocator", self.allocator());
        if !self.variables.is_empty() {
            fact("variables", self.variables.join("\n"));
        }
        if !survey.own_allocators.is_empty() {
            fact("own_allocators", survey.own_allocators.join(", "));
        }
        if !self.bypass.is_empty() {
            fact("bypass", self.bypass.clone());
        }
        fact("recorder", concat!("heaplay ", env!("CARGO_PKG_VERSION")).into());
        fact("pid", self.pid.to_string());
        fact("parent_pid", self.parent.to_string());
        fact("ending", self.ending_text());
        if let Some(started) = self.started(survey) {
            fact("started", started);
        }
        if let Some(blocks) = self.live_before {
            fact("live_before", blocks.to_string());
        }
        if let Some(fold) = &self.fold {
            fact("newest", fold.sentence());
        }
        if let RecordingEnding::Limit(limit) = &self.ending {
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
        if let Some((peak, sampled)) = self.resident_peaks {
            fact("process_peak_bytes", peak.to_string());
            fact("unsampled_peak_bytes", peak.saturating_sub(sampled).to_string());
        }
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
            let text = format!(
                "{} allocated, {} freed, at most {} bytes",
                chunks.births, chunks.deaths, chunks.peak_bytes
            );
            fact("frame_chunks", text);
        }
        if self.is_forked() {
            fact("forked", "yes".into());
        }
        if self.has_replaced_hooks() {
            fact(
                "replaced_hooks",
                "the program replaced the recorder's hooks; they were placed again".into(),
            );
        }
        if self.is_disturbed() {
            fact("disturbed", "another hook stood above the recorder's, or replaced it".into());
        }
        if let Some(sentence) = explained_sentence(&survey.process) {
            facts.insert("explained".to_owned(), sentence);
        }
        let warnings = explained_warnings(&facts, &survey.process);
        if !warnings.is_empty() {
            facts.insert("unexplained".to_owned(), warnings.join("; "));
        }
        Header { columns, facts }
    }

    /// Hands each row to `write`, in order.
    ///
    /// # Errors
    /// As [`RawLog::survey`], and the errors of `write`.
    pub fn rows(
        &self,
        survey: &Survey,
        write: &mut dyn FnMut(&Row, &Sites) -> Result<(), TraceError>,
    ) -> Result<(), TraceError> {
        let mut items = Items::open(&self.path)?;
        let mut tracker = Tracker::default();
        let mut sites = Sites::default();
        let mut symbols = Symbols::default();
        let mut site_ids: HashMap<u32, SiteId> = HashMap::new();
        let mut index = 0;
        while let Some(item) = items.next()? {
            items.asides.clear();
            let Some(mut row) = tracker.follow(&item, &mut |_| {}) else { continue };
            let (lifetime, end_thread) = survey.lifetimes.get(index);
            index += 1;
            row.lifetime = lifetime;
            row.end_thread = end_thread;
            row.site = *site_ids.entry(items.site).or_insert_with(|| {
                sites.intern(&items.present_site(&self.directory, &mut symbols))
            });
            write(&row, &sites)?;
        }
        Ok(())
    }

    /// Writes the log as a trace, in the format that the extension of `path` names.
    ///
    /// # Errors
    /// When the log cannot be read or the trace cannot be written; `path` is then unchanged.
    pub fn convert(&self, path: &Path) -> Result<Survey, TraceError> {
        let survey = self.survey()?;
        let mut creation = Creation::begin(path, &self.header(&survey))?;
        self.rows(&survey, &mut |row, sites| creation.write_row(row, sites))?;
        creation.write_process(&survey.process)?;
        creation.finish()?;
        Ok(survey)
    }
}

/// The variables of a header, one to a line. The recorder itself is left out of `LD_PRELOAD`.
fn variables(text: &str) -> Vec<String> {
    let is_other = |path: &&str| !path.contains("heaplay-recorder");
    let without_recorder = |line: &str| match line.strip_prefix("LD_PRELOAD=") {
        Some(paths) => {
            let others: Vec<&str> =
                paths.split([':', ' ']).filter(|path| !path.is_empty()).filter(is_other).collect();
            (!others.is_empty()).then(|| format!("LD_PRELOAD={}", others.join(":")))
        }
        None => Some(line.to_owned()),
    };
    text.lines().filter_map(without_recorder).collect()
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

/// A limit as an option of the command line.
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
    let lines: Vec<_> = arenas.iter().map(|a| (a.event, a.name(), a.base, a.size)).collect();
    serde_json::to_string(&lines).unwrap_or_default()
}

/// The arguments of a command line. Each ends with a zero byte, and one more zero byte ends the line.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let end = bytes.windows(2).position(|pair| pair == [0, 0]).unwrap_or(bytes.len());
    let bytes = bytes.get(..end).unwrap_or_default();
    let text = |argument| String::from_utf8_lossy(argument).into_owned();
    bytes.split(|&byte| byte == 0).map(text).collect()
}

/// The arguments as a command line, quoted for a shell.
fn command_line(arguments: &[String]) -> String {
    // Arguments are split at zero bytes, the only ones that cannot be quoted.
    let quoted = shlex::try_join(arguments.iter().map(String::as_str));
    quoted.unwrap_or_else(|_| arguments.join(" "))
}
