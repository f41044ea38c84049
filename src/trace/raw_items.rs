//! Reads the raw log of a recording piece by piece, as [`Item`]s and what stands between them.
//!
//! `raw_words.rs` has the pieces.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::blocks::Item;
use super::event::{
    ALIGNMENT_LIMIT_BYTES, Domain, Op, SITE_LIMIT_BYTES, SIZE_LIMIT_BYTES, TraceError, site_name,
};
use super::process::{AllocatorRequest, EndCause};
use super::raw_words::layout::{self, Control, ShortBase, ShortCall, field, request, tag};
use super::raw_words::{LogUnits, Piece, Pieces, number};
use super::symbols::Symbols;
use crate::cpython::GenerationRecord;
use crate::units::{CALLED_FROM, VIA};

/// Frames of a site that are read, at most. The recorder writes fewer.
const SITE_FRAMES_LIMIT: usize = 64;

/// The meaning of a site's number in the log.
enum LogSite {
    /// A line of a file.
    Line { file: u32, line: u32, function: u32 },
    /// A line, by its own number, and the site that called it.
    Call { at: u32, caller: u32 },
    /// A call from outside Python: an offset in a file, and the site of the newest Python line.
    Native { module: u32, offset: u64, line: u32 },
}

/// An entry of the log that is no call.
pub(super) enum Aside {
    /// A mark of the program.
    Mark(String),
    /// An arena.
    Arena { is_birth: bool, base: u64, size: u64 },
    /// A thread makes its first call. It has the log's number, and the kernel's id.
    ThreadBirth { thread: u32, id: u64 },
    /// A thread ends.
    ThreadDeath { thread: u32, name: String },
    /// The memory of the process.
    Memory(LogMemory),
    /// The program asks something of its allocator.
    Request { thread: u32, request: AllocatorRequest },
    /// The garbage collector visited objects of a generation.
    Collections { generation: u64, record: GenerationRecord },
    /// The process begins to end.
    End(EndCause),
    /// Resident bytes of a large block.
    Present { address: u64, bytes: u64 },
}

/// The memory of the process at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogMemory {
    pub time_ns: u64,
    /// Resident anonymous memory.
    pub anonymous: u64,
    /// Its parts, as they were last read.
    pub parts: MemoryParts,
}

/// Parts of the resident anonymous memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemoryParts {
    /// In mappings that the program made by itself.
    pub own_mappings: u64,
    /// Data of loaded files, and the main stack.
    pub images: u64,
    /// Free in the C library's malloc; `None` where another allocator served the process.
    pub malloc_free: Option<u64>,
}

/// Reads a log piece by piece.
pub(super) struct Items {
    path: PathBuf,
    units: BufReader<LogUnits>,
    pieces: Pieces,
    /// What calls of one unit count from, and the domain of their new blocks.
    base: ShortBase,
    short_domain: Domain,
    /// The time of the last stamp, nanoseconds since the recording started.
    pub time_ns: u64,
    thread: u32,
    interpreter: u32,
    /// The number of thread and interpreter: `thread` itself for the main interpreter.
    key: u32,
    /// Thread and interpreter of each number for a sub-interpreter.
    pairs: Vec<(u32, u32)>,
    /// The site of the calls that follow.
    pub site: u32,
    /// The size of the next call, if it did not fit into the call's word.
    wide_size: Option<u64>,
    /// The alignment of the next call; 0 for none.
    alignment: u64,
    /// Calls that may still be read.
    calls_left: u64,
    files: HashMap<u32, String>,
    sites: HashMap<u32, LogSite>,
    /// Files with code, by the log's number.
    modules: HashMap<u32, String>,
    /// Entries that are no calls, since the caller last took them.
    pub asides: Vec<Aside>,
}

impl Items {
    /// Opens a log.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(path: &Path) -> Result<Items, TraceError> {
        let (units, header) =
            LogUnits::open(path).map_err(|source| TraceError::io(path, source))?;
        let calls_left = match number(&header, field::MAX_EVENTS) {
            0 => u64::MAX,
            most => most,
        };
        Ok(Items {
            path: path.to_owned(),
            units: BufReader::with_capacity(1 << 16, units),
            pieces: Pieces::default(),
            base: ShortBase::FIRST,
            short_domain: domain(number(&header, field::SHORT_DOMAIN)),
            time_ns: 0,
            thread: 1,
            interpreter: 0,
            key: 1,
            pairs: Vec::new(),
            site: 0,
            wide_size: None,
            alignment: 0,
            calls_left,
            files: HashMap::new(),
            modules: HashMap::new(),
            sites: HashMap::new(),
            asides: Vec::new(),
        })
    }

    /// Units read so far.
    pub fn units_read(&self) -> u64 {
        self.pieces.index
    }

    /// The next piece that is no time stamp; `None` at the end of the log, whole or not.
    /// `is_within_entry` says that the entry before it needs one more word.
    fn piece(&mut self, is_within_entry: bool) -> Result<Option<Piece>, TraceError> {
        loop {
            let mut bytes = [0; layout::UNIT_BYTES];
            match self.units.read_exact(&mut bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(TraceError::io(&self.path, error)),
            }
            match self.pieces.take(u32::from_ne_bytes(bytes), is_within_entry) {
                Some(Piece::Short(0)) => {
                    self.pieces.index -= 1;
                    return Ok(None);
                }
                Some(Piece::Stamp(time_ns)) => self.time_ns = time_ns,
                Some(piece) => return Ok(Some(piece)),
                None => {}
            }
        }
    }

    /// The next word of an entry; `None` at the end of the log.
    fn word(&mut self) -> Result<Option<u64>, TraceError> {
        let piece = self.piece(true)?;
        Ok(piece.and_then(|piece| if let Piece::Word(word) = piece { Some(word) } else { None }))
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read, or holds a word that no recorder writes.
    pub fn next(&mut self) -> Result<Option<Item>, TraceError> {
        while let Some(piece) = self.piece(false)? {
            let word = match piece {
                Piece::Short(_) if self.calls_left == 0 => return Ok(None),
                Piece::Short(unit) => return Ok(Some(self.short_call(unit))),
                Piece::Word(word) => word,
                Piece::Stamp(_) => continue,
            };
            match layout::tag_of(word) {
                tag::MALLOC..=tag::FREE if self.calls_left == 0 => return Ok(None),
                code @ tag::MALLOC..tag::FREE => return Ok(Some(self.long_birth(code, word))),
                tag::FREE if word & layout::GIVES_UP != 0 => {
                    return Ok(Some(Item::GiveUp { address: address(word), thread: self.key }));
                }
                tag::FREE => return Ok(Some(self.end(address(word)))),
                tag::ASIDE if word & layout::IS_WIDE != 0 => {
                    let size = word & (layout::IS_WIDE - 1);
                    // No row may be larger, so the log is damaged.
                    if size > SIZE_LIMIT_BYTES {
                        return Err(self.damaged(word));
                    }
                    self.wide_size = Some(size);
                }
                tag::ASIDE => self.site = word as u32,
                tag::BASE if word & layout::IS_BASE != 0 => self.base = ShortBase::of(word),
                tag::CONTROL => match self.control(word)? {
                    Some(item) => return Ok(Some(item)),
                    None => continue,
                },
                _ => return Err(self.damaged(word)),
            }
        }
        Ok(None)
    }

    fn short_call(&mut self, unit: u32) -> Item {
        match self.base.call(unit) {
            ShortCall::Birth { size, address } => {
                self.birth(Op::Malloc, self.short_domain, size, address)
            }
            ShortCall::End { address } => self.end(address),
        }
    }

    fn end(&mut self, address: u64) -> Item {
        self.calls_left -= 1;
        Item::Free { address, thread: self.key }
    }

    fn long_birth(&mut self, code: u64, word: u64) -> Item {
        let (op, number) = match code {
            tag::REALLOC.. => (Op::Realloc, code - tag::REALLOC),
            tag::CALLOC.. => (Op::Calloc, code - tag::CALLOC),
            _ => (Op::Malloc, code - tag::MALLOC),
        };
        let size = word >> layout::ADDRESS_BITS & ((1 << layout::SIZE_BITS) - 1);
        self.birth(op, domain(number), size, address(word))
    }

    fn birth(&mut self, op: Op, domain: Domain, size: u64, address: u64) -> Item {
        self.calls_left -= 1;
        Item::Birth {
            op,
            domain,
            size: self.wide_size.take().unwrap_or(size),
            alignment: std::mem::take(&mut self.alignment),
            address,
            thread: self.key,
            time_ns: self.time_ns,
        }
    }

    fn control(&mut self, word: u64) -> Result<Option<Item>, TraceError> {
        match layout::kind_of(word) {
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
                self.files.insert((layout::payload_of(word) >> 24) as u32, name);
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
                let second = self.word()?.unwrap_or(0);
                self.sites.insert(
                    word as u32,
                    LogSite::Line {
                        file: (second >> 32) as u32,
                        line: second as u32,
                        function: (layout::payload_of(word) >> 32) as u32,
                    },
                );
            }
            Some(Control::Chain) => {
                let second = self.word()?.unwrap_or(0);
                self.sites.insert(
                    word as u32,
                    LogSite::Call { at: (second >> 32) as u32, caller: second as u32 },
                );
            }
            Some(Control::Caller) => {
                let place = self.word()?.unwrap_or(0);
                let line = self.word()?.unwrap_or(0) as u32;
                let (module, offset) = ((place >> 48) as u32, place & 0xFFFF_FFFF_FFFF);
                self.sites.insert(word as u32, LogSite::Native { module, offset, line });
            }
            Some(Control::Module) => {
                let name = self.text((word & 0xFF_FFFF) as usize)?;
                self.modules.insert((layout::payload_of(word) >> 24) as u32, name);
            }
            Some(Control::Alignment) => {
                let shift = word & 0x3F;
                if shift > u64::from(ALIGNMENT_LIMIT_BYTES.ilog2()) {
                    return Err(self.damaged(word));
                }
                self.alignment = 1 << shift;
            }
            Some(kind) => {
                let aside = self.aside(kind, word)?;
                self.asides.extend(aside);
            }
            None => return Err(self.damaged(word)),
        }
        Ok(None)
    }

    /// An entry that is no call; `None` where it says nothing that is known.
    fn aside(&mut self, kind: Control, word: u64) -> Result<Option<Aside>, TraceError> {
        let payload = layout::payload_of(word);
        Ok(Some(match kind {
            Control::ThreadBirth => {
                let id = self.word()?.unwrap_or(0);
                Aside::ThreadBirth { thread: payload as u32, id }
            }
            Control::ThreadDeath => {
                let name = self.text(16)?;
                let name = name.trim_end_matches('\0').to_owned();
                Aside::ThreadDeath { thread: payload as u32, name }
            }
            Control::Memory => {
                let mut next = || Ok::<_, TraceError>(self.word()?.unwrap_or(0));
                let (own_mappings, images) = (next()?, next()?);
                let malloc_free = next()?.checked_sub(1);
                let parts = MemoryParts { own_mappings, images, malloc_free };
                Aside::Memory(LogMemory { time_ns: self.time_ns, anonymous: payload, parts })
            }
            Control::Request => {
                let value = self.word()?.unwrap_or(0);
                let request = match payload {
                    request::TRIM => AllocatorRequest::Trim { pad_bytes: value },
                    request::OPTION => AllocatorRequest::Option {
                        parameter: i64::from((value >> 32) as i32),
                        value: i64::from(value as i32),
                    },
                    request::FINALISATION => return Ok(Some(Aside::End(EndCause::Finalisation))),
                    request::EXIT => return Ok(Some(Aside::End(EndCause::Exit))),
                    request::COLLECTIONS => {
                        let (generation, collections, objects) = layout::collections_of(value);
                        let record = GenerationRecord { collections, objects };
                        return Ok(Some(Aside::Collections { generation, record }));
                    }
                    _ => return Ok(None),
                };
                Aside::Request { thread: self.key, request }
            }
            Control::Present => {
                Aside::Present { address: self.word()?.unwrap_or(0), bytes: payload }
            }
            _ => return Ok(None),
        }))
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

    /// The number of the present thread in the present interpreter.
    fn key_of_thread(&mut self) -> u32 {
        if self.interpreter == 0 {
            return self.thread;
        }
        let pair = (self.thread, self.interpreter);
        let at = self.pairs.iter().position(|&known| known == pair).unwrap_or_else(|| {
            self.pairs.push(pair);
            self.pairs.len() - 1
        });
        // The recorder counts threads from 1, so numbers from the upper end are free.
        u32::MAX - u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The sub-interpreter of a number; `None` for the main interpreter.
    pub fn interpreter_of(&self, key: u32) -> Option<u32> {
        self.pairs.get((u32::MAX - key) as usize).map(|&(_, interpreter)| interpreter)
    }

    /// The paths of the files whose code the process had mapped.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.values().map(String::as_str)
    }

    /// The name of the present site: `file:line`, then ` < file:line` for each recorded caller, as
    /// many as fit; empty for no site. The name of a file in `directory` is relative. A call from
    /// outside Python is `file:line via module!function`, or without a Python line
    /// `module!function`.
    pub fn present_site(&self, directory: &str, symbols: &mut Symbols) -> String {
        let Some(&LogSite::Native { module, offset, line }) = self.sites.get(&self.site) else {
            return self.python_site(self.site, directory);
        };
        let place = self.modules.get(&module).map(|path| symbols.name(path, offset));
        let line = self.python_site(line, directory);
        match (line.split_once(CALLED_FROM), place) {
            (_, None) => line,
            (_, Some(place)) if line.is_empty() => place,
            (None, Some(place)) => format!("{line}{VIA}{place}"),
            (Some((line, callers)), Some(place)) => {
                format!("{line}{VIA}{place}{CALLED_FROM}{callers}")
            }
        }
    }

    /// The name of a site of Python lines; empty for none.
    fn python_site(&self, site: u32, directory: &str) -> String {
        let mut name = String::new();
        let mut next = site;
        for _ in 0..SITE_FRAMES_LIMIT {
            let (at, caller) = match self.sites.get(&next) {
                Some(&LogSite::Call { at, caller }) => (at, Some(caller)),
                Some(_) => (next, None),
                None => break,
            };
            let Some(&LogSite::Line { file, line, .. }) = self.sites.get(&at) else { break };
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

    /// The function of each Python line, by the name of the line; lines without one are left out.
    pub fn functions(&self, directory: &str) -> BTreeMap<String, String> {
        let mut functions = BTreeMap::new();
        for site in self.sites.values() {
            if let LogSite::Line { file, line, function } = *site
                && let Some(name) = self.files.get(&function)
            {
                functions.insert(self.frame_name(file, line, directory), name.clone());
            }
        }
        functions
    }

    fn frame_name(&self, file: u32, line: u32, directory: &str) -> String {
        let file = self.files.get(&file).map_or("?", String::as_str);
        let file = file.strip_prefix(directory).filter(|_| directory != "/").unwrap_or(file);
        site_name(file, line)
    }

    fn damaged(&self, word: u64) -> TraceError {
        TraceError::Byte {
            path: self.path.clone(),
            offset: self.units_read().saturating_sub(2) * layout::UNIT_BYTES as u64,
            found: format!("the word {word:#018x} (counted from the log's first)"),
            expected: "a word of this version of the recorder; is the log damaged?".into(),
        }
    }
}

/// The domain of a code of the log.
fn domain(code: u64) -> Domain {
    match code {
        0 => Domain::Raw,
        1 => Domain::Mem,
        2 => Domain::Obj,
        _ => Domain::Libc,
    }
}

fn address(word: u64) -> u64 {
    (word & ((1 << layout::ADDRESS_BITS) - 1)) << 3
}
