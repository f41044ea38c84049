//! Folds the oldest part of a raw log, so that a recording can go on with the newest part.
//!
//! A *fold* is a file beside the log. It stands for the log's first chunks: it has the blocks that
//! were live after them, in the order of their births, and what later words refer to, such as files,
//! sites, threads and arenas. Calls of blocks that had ended are left out. A reader reads the units
//! of the fold and then the chunks that it does not stand for. So a trace begins with what was live,
//! exactly, and goes on with every later call.
//!
//! Nothing of this happens in the recorded process. A fold replaces an older one by renaming it, and
//! only then may the chunks be released. So a log can be read at any time.
//!
//! After its header (`raw_words.rs`) a fold has words as those of a log, in whole blocks, and no call of
//! one unit. So all of its blocks are alike.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::hash::BuildHasherDefault;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::blocks::AddressHasher;
use super::event::TraceError;
use super::raw_words::layout::{self, Control, ShortBase, ShortCall, field, request, tag};
use super::raw_words::{Fold, LogUnits, Piece, Pieces, number};

/// A block of a fold has its time to this part of the time of the whole fold, and at most twice that
/// after many folds. More time stamps would make a fold large.
const TIMES_A_FOLD: u64 = 4096;
/// Words of a block of a fold, the time stamp included.
const BLOCK_WORDS: usize = layout::BLOCK_UNITS / 2;

/// Folds the oldest part of a log that takes more than `most_bytes` on the disk. Half of that stays
/// as the newest part. Returns the new fold, or `None` where the log is not so large.
///
/// # Errors
/// When the log cannot be read or the fold cannot be written; an older fold then stays.
pub fn fold_oldest(log: &Path, most_bytes: u64) -> Result<Option<Fold>, TraceError> {
    let io = |source| TraceError::io(log, source);
    let mut header = [0; layout::HEADER_BYTES];
    File::open(log).and_then(|mut file| file.read_exact(&mut header)).map_err(io)?;
    let chunk_bytes = layout::TAIL_BYTES as u64;
    let chunks = number(&header, field::CHUNKS);
    let older = Fold::open(log).map_err(io)?.map_or(Fold::default(), |(fold, _)| fold);
    let waiting = chunks.saturating_sub(older.chunks);
    if waiting.saturating_mul(chunk_bytes) <= most_bytes {
        return Ok(None);
    }
    let end = chunks.saturating_sub(most_bytes / 2 / chunk_bytes);
    let (mut units, first_new_unit) = LogUnits::open_part(log, end).map_err(io)?;
    let mut state = FoldState {
        calls: older.calls,
        first_new_unit,
        short_tag: tag::MALLOC + number(&header, field::SHORT_DOMAIN).min(LAST_DOMAIN),
        present: FIRST_CALLER,
        ..FoldState::default()
    };
    let mut bytes = vec![0; 1 << 16];
    loop {
        let filled = read_as_far_as_possible(&mut units, &mut bytes).map_err(io)?;
        if filled == 0 {
            break;
        }
        let (whole, _) = bytes.get(..filled).unwrap_or_default().as_chunks();
        for unit in whole {
            state.take(u32::from_ne_bytes(*unit));
        }
    }
    let (folded, time_ns) = state.write();
    let live_blocks = folded.live_blocks;
    let fold = Fold { chunks: end, calls: state.calls, live_blocks, time_ns };
    let path = Fold::path_of(log);
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let write = || {
        let mut file = io::BufWriter::new(File::create(&part)?);
        for word in fold.header() {
            file.write_all(&word.to_ne_bytes())?;
        }
        for word in &folded.words {
            // The upper half is the first unit.
            file.write_all(&((word >> 32) as u32).to_ne_bytes())?;
            file.write_all(&(*word as u32).to_ne_bytes())?;
        }
        file.into_inner()?;
        fs::rename(&part, &path)
    };
    write().map_err(|source| TraceError::io(&part, source))?;
    Ok(Some(fold))
}

/// Fills the buffer as far as words come. Returns the number of bytes.
fn read_as_far_as_possible(units: &mut LogUnits, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match units.read(rest)? {
            0 => break,
            got => filled += got,
        }
    }
    Ok(filled)
}

/// Who makes the calls, and for which site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CallState {
    thread: u32,
    interpreter: u32,
    site: u32,
}

/// The highest code of a domain.
const LAST_DOMAIN: u64 = 3;

/// Who makes the calls at the start of a log.
const FIRST_CALLER: CallState = CallState { thread: 1, interpreter: 0, site: 0 };

/// A block that is live.
#[derive(Clone, Copy, Debug)]
struct FoldedBlock {
    /// The number of its birth.
    birth: u64,
    tag: u64,
    size: u64,
    /// The binary logarithm of the alignment, 0 for none.
    alignment_shift: u64,
    caller: CallState,
    time_ns: u64,
}

/// An entry of several words.
type Entry = Vec<u64>;

/// What the units so far leave behind.
#[derive(Default)]
struct FoldState {
    pieces: Pieces,
    /// The index of the first unit that no older fold had. Calls before it were counted.
    first_new_unit: u64,
    /// What calls of one unit count from, and the tag of their new blocks.
    base: ShortBase,
    short_tag: u64,
    calls: u64,
    births: u64,
    time_ns: u64,
    present: CallState,
    /// An entry whose last words have not come, and how many are missing.
    incomplete: Entry,
    missing: usize,
    /// Files, modules and sites.
    definitions: Entry,
    first_memory: Option<(Entry, u64)>,
    first_mark: Option<Entry>,
    last_mark: Option<Entry>,
    thread_births: BTreeMap<u32, Entry>,
    thread_deaths: BTreeMap<u32, Entry>,
    /// Values of `mallopt`, by parameter.
    options: BTreeMap<u64, Entry>,
    /// Arenas by base: the number of the birth, and the entry.
    arenas: HashMap<u64, (u64, Entry)>,
    arena_births: u64,
    live: HashMap<u64, FoldedBlock, BuildHasherDefault<AddressHasher>>,
    /// The unfinished realloc of each thread and interpreter, with its old block.
    given_up: BTreeMap<(u32, u32), (u64, Option<FoldedBlock>)>,
    /// How much of large blocks was resident, where their ends have not come.
    resident: HashMap<u64, Entry>,
    /// What stands before the next call: its size and its alignment.
    wide_size: Option<u64>,
    alignment_shift: u64,
}

/// The words of a fold.
struct FoldWords {
    words: Vec<u64>,
    live_blocks: u64,
}

impl FoldState {
    /// Takes the next unit.
    fn take(&mut self, unit: u32) {
        match self.pieces.take(unit, self.missing > 0) {
            Some(Piece::Stamp(time_ns)) => self.time_ns = time_ns,
            Some(Piece::Short(unit)) => match self.base.call(unit) {
                ShortCall::Birth { size, address } => self.birth(self.short_tag, size, address),
                ShortCall::End { address } => self.end(address),
            },
            Some(Piece::Word(word)) if self.missing > 0 => {
                self.incomplete.push(word);
                self.missing -= 1;
                if self.missing == 0 {
                    let entry = std::mem::take(&mut self.incomplete);
                    self.entry(entry);
                }
            }
            Some(Piece::Word(word)) => self.begin(word),
            None => {}
        }
    }

    /// Takes a word that is no part of an entry before it.
    fn begin(&mut self, word: u64) {
        match layout::tag_of(word) {
            tag::FREE if word & layout::GIVES_UP != 0 => {
                let address = address(word);
                let block = self.live.remove(&address);
                self.given_up.insert(self.key(), (address, block));
            }
            tag::FREE => self.end(address(word)),
            code @ tag::MALLOC..tag::FREE => {
                let narrow = word >> layout::ADDRESS_BITS & ((1 << layout::SIZE_BITS) - 1);
                self.birth(code, narrow, address(word));
            }
            tag::ASIDE if word & layout::IS_WIDE != 0 => {
                self.wide_size = Some(word & (layout::IS_WIDE - 1));
            }
            tag::ASIDE => self.present.site = word as u32,
            tag::BASE => self.base = ShortBase::of(word),
            _ => {
                self.missing = words_after(word);
                if self.missing == 0 {
                    self.entry(vec![word]);
                } else {
                    self.incomplete = vec![word];
                }
            }
        }
    }

    fn count_call(&mut self) {
        self.calls += u64::from(self.pieces.index > self.first_new_unit);
    }

    fn key(&self) -> (u32, u32) {
        (self.present.thread, self.present.interpreter)
    }

    fn end(&mut self, address: u64) {
        self.count_call();
        self.live.remove(&address);
        if !self.resident.is_empty() {
            self.resident.remove(&address);
        }
    }

    fn birth(&mut self, code: u64, size: u64, address: u64) {
        self.count_call();
        // A realloc whose old block has ended is a new block.
        let tag = if code >= tag::REALLOC {
            if let Some((old, _)) = self.given_up.remove(&self.key()) {
                self.resident.remove(&old);
            }
            code - tag::REALLOC + tag::MALLOC
        } else {
            code
        };
        let block = FoldedBlock {
            birth: self.births,
            tag,
            size: self.wide_size.take().unwrap_or(size),
            alignment_shift: std::mem::take(&mut self.alignment_shift),
            caller: self.present,
            time_ns: self.time_ns,
        };
        self.births += 1;
        self.live.insert(address, block);
    }

    /// Takes an entry that is no call.
    fn entry(&mut self, entry: Entry) {
        let word = entry.first().copied().unwrap_or(0);
        let second = entry.get(1).copied().unwrap_or(0);
        let payload = layout::payload_of(word);
        match layout::kind_of(word) {
            Some(Control::Thread) => self.present.thread = payload as u32,
            Some(Control::Interpreter) => self.present.interpreter = payload as u32,
            Some(Control::Alignment) => self.alignment_shift = payload,
            Some(Control::ReallocFailed) => {
                if let Some((address, Some(block))) = self.given_up.remove(&self.key()) {
                    self.live.insert(address, block);
                }
            }
            Some(Control::Memory) => {
                self.first_memory.get_or_insert((entry, self.time_ns));
            }
            Some(Control::Mark) => {
                self.first_mark.get_or_insert_with(|| entry.clone());
                self.last_mark = Some(entry);
            }
            Some(Control::ThreadBirth) => drop(self.thread_births.insert(payload as u32, entry)),
            Some(Control::ThreadDeath) => drop(self.thread_deaths.insert(payload as u32, entry)),
            Some(Control::Request) if payload == request::OPTION => {
                self.options.insert(second >> 32, entry);
            }
            Some(Control::Present) => drop(self.resident.insert(second, entry)),
            Some(Control::Arena) if payload & layout::ARENA_BIRTH != 0 => {
                self.arenas.insert(second, (self.arena_births, entry));
                self.arena_births += 1;
            }
            Some(Control::Arena) => drop(self.arenas.remove(&second)),
            Some(Control::File | Control::Site | Control::Chain | Control::Module)
            | Some(Control::Caller) => self.definitions.extend(entry),
            // A request to trim has had its effect.
            Some(Control::Request) | None => {}
        }
    }

    /// The words of the fold, and the time after the last word.
    fn write(&self) -> (FoldWords, u64) {
        let mut words = FoldWriter::default();
        if let Some((entry, time_ns)) = &self.first_memory {
            words.push_all(entry, *time_ns);
        }
        let mut blocks: Vec<(u64, FoldedBlock)> =
            self.live.iter().map(|(&address, &block)| (address, block)).collect();
        let given_up =
            self.given_up.values().filter_map(|&(address, block)| Some((address, block?)));
        blocks.extend(given_up);
        blocks.sort_unstable_by_key(|(_, block)| block.birth);
        let mut start_ns = blocks.first().map_or(self.time_ns, |(_, block)| block.time_ns);
        start_ns = start_ns.max(words.time_ns);
        self.write_definitions(&mut words, &blocks, start_ns);
        let mut caller = FIRST_CALLER;
        let tolerance_ns = self.time_ns / TIMES_A_FOLD;
        for (address, block) in &blocks {
            if block.time_ns > words.stamp_ns + tolerance_ns {
                words.push_to_block_end(&[], padding(caller), words.time_ns);
            }
            words.switch(&mut caller, block.caller, block.time_ns);
            words.push_block(*address, block);
        }
        for (&(thread, interpreter), &(address, _)) in &self.given_up {
            let next = CallState { thread, interpreter, site: caller.site };
            words.switch(&mut caller, next, self.time_ns);
            words.push(layout::call(tag::FREE, 1, address), self.time_ns);
        }
        let mut last = Vec::new();
        for entry in self.resident.values() {
            words.push_all(entry, self.time_ns);
        }
        words.switch(&mut caller, self.present, self.time_ns);
        words.push(self.base.word(), self.time_ns);
        if self.alignment_shift > 0 {
            last.push(layout::control(Control::Alignment, self.alignment_shift));
        }
        last.extend(self.wide_size.map(|size| layout::word(tag::ASIDE, layout::IS_WIDE | size)));
        last.extend(&self.incomplete);
        words.push_to_block_end(&last, padding(caller), self.time_ns);
        (FoldWords { words: words.words, live_blocks: blocks.len() as u64 }, self.time_ns)
    }

    /// Writes what later words refer to.
    fn write_definitions(
        &self,
        words: &mut FoldWriter,
        blocks: &[(u64, FoldedBlock)],
        time_ns: u64,
    ) {
        words.push_all(&self.definitions, time_ns);
        let last_mark = self.last_mark.iter().filter(|_| self.first_mark != self.last_mark);
        let marks = self.first_mark.iter().chain(last_mark);
        marks.chain(self.options.values()).for_each(|entry| words.push_all(entry, time_ns));
        let holders: std::collections::BTreeSet<u32> =
            blocks.iter().map(|(_, block)| block.caller.thread).collect();
        for (thread, entry) in &self.thread_births {
            let death = self.thread_deaths.get(thread);
            if death.is_none() || holders.contains(thread) {
                words.push_all(entry, time_ns);
                death.into_iter().for_each(|death| words.push_all(death, time_ns));
            }
        }
        let mut arenas: Vec<_> = self.arenas.values().collect();
        arenas.sort_unstable_by_key(|(birth, _)| *birth);
        arenas.iter().for_each(|(_, entry)| words.push_all(entry, time_ns));
    }
}

/// A word that changes nothing: the present site once more.
fn padding(caller: CallState) -> u64 {
    layout::word(tag::ASIDE, u64::from(caller.site))
}

/// Words that follow a control word.
fn words_after(word: u64) -> usize {
    let text_words = ((word & 0xFF_FFFF) as usize).div_ceil(8);
    match layout::kind_of(word) {
        Some(Control::File | Control::Module | Control::Mark) => text_words,
        Some(Control::Arena | Control::Site | Control::Chain | Control::ThreadBirth) => 1,
        Some(Control::Request | Control::Present) => 1,
        Some(Control::ThreadDeath | Control::Caller) => 2,
        Some(Control::Memory) => 3,
        Some(
            Control::Thread | Control::ReallocFailed | Control::Interpreter | Control::Alignment,
        )
        | None => 0,
    }
}

fn address(word: u64) -> u64 {
    (word & ((1 << layout::ADDRESS_BITS) - 1)) << 3
}

/// Writes words with the time stamps of a log.
#[derive(Default)]
struct FoldWriter {
    words: Vec<u64>,
    time_ns: u64,
    /// The last time stamp.
    stamp_ns: u64,
}

impl FoldWriter {
    fn push(&mut self, word: u64, time_ns: u64) {
        self.time_ns = self.time_ns.max(time_ns);
        if self.words.len().is_multiple_of(BLOCK_WORDS) {
            self.words.push(layout::STAMP | self.time_ns);
            self.stamp_ns = self.time_ns;
        }
        self.words.push(word);
    }

    fn push_all(&mut self, words: &[u64], time_ns: u64) {
        words.iter().for_each(|&word| self.push(word, time_ns));
    }

    /// Lets the calls that follow be those of `next`.
    fn switch(&mut self, present: &mut CallState, next: CallState, time_ns: u64) {
        if next.thread != present.thread {
            self.push(layout::control(Control::Thread, next.thread.into()), time_ns);
        }
        if next.interpreter != present.interpreter {
            self.push(layout::control(Control::Interpreter, next.interpreter.into()), time_ns);
        }
        if next.site != present.site {
            self.push(layout::word(tag::ASIDE, next.site.into()), time_ns);
        }
        *present = next;
    }

    fn push_block(&mut self, address: u64, block: &FoldedBlock) {
        if block.alignment_shift > 0 {
            self.push(layout::control(Control::Alignment, block.alignment_shift), block.time_ns);
        }
        let mut size = block.size;
        if !layout::fits(size, address) {
            self.push(layout::word(tag::ASIDE, layout::IS_WIDE | size), block.time_ns);
            size = 0;
        }
        self.push(layout::call(block.tag, size, address), block.time_ns);
    }

    /// Writes `last` so that it ends with a block, after as many `padding` words as that takes.
    fn push_to_block_end(&mut self, last: &[u64], padding: u64, time_ns: u64) {
        let ends = |writer: &FoldWriter, padding: usize| {
            let mut length = writer.words.len() % BLOCK_WORDS;
            for _ in 0..padding + last.len() {
                length = if length == 0 { 2 } else { (length + 1) % BLOCK_WORDS };
            }
            length == 0
        };
        let count = (0..BLOCK_WORDS).find(|&count| ends(self, count)).unwrap_or(0);
        for _ in 0..count {
            self.push(padding, time_ns);
        }
        self.push_all(last, time_ns);
    }
}
