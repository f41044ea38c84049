//! Room `recorder`, the raw log: the layout of the file that a recorded process leaves behind. The
//! recorder writes it, `trace/raw.rs` reads it; both include this file, which needs nothing.
//!
//! A raw log is a header of [`HEADER_BYTES`], a tail of [`TAIL_BYTES`], and then chunks of as many
//! bytes each. All of tail and chunks are 64-bit words in the byte order of the machine, in the
//! order in which the calls happened, all threads together. Header and tail are mapped while they
//! are written, so that the kernel keeps what a dying process leaves. A full tail is appended as a
//! chunk and used again: that costs a sixth of mapping the whole file, whose every page would be a
//! fault. The words of a log are those of its `CHUNKS` chunks and then, if `TAIL` equals `CHUNKS`,
//! of the tail (if not, the process died between appending the tail and clearing it). No word is
//! zero, save inside a text: the first zero word is the end, wherever the recording stopped.
//!
//! Every [`BLOCK_WORDS`]th word, counted from the first, is a bare time stamp and has no tag:
//! [`STAMP`] set and below it the nanoseconds of the monotonic clock since the header's `START_NS`.
//! Calls take the time of the stamp before them, so a clock is read once in 31 words instead of
//! once a call, at the price that a call's time is early by up to 31 words. Every other word has
//! its tag in the top four bits:
//!
//! | tag | below it |
//! |---|---|
//! | 1–3 `MALLOC`+domain, 4–6 `CALLOC`+domain, 7–9 `REALLOC`+domain | size in 16 bits, then address / 8 in 44 |
//! | 10 `FREE` | address / 8 |
//! | 11 `REALLOC_BEGIN` | address / 8 of the block given up; that thread's next `REALLOC` or `REALLOC_FAILED` ends it |
//! | 12 `CONTROL` | kind in 4 bits, payload in 56: see [`Control`] |
//! | 13 `SITE` | the site of the calls that follow, 0 for none; until the next `SITE` |
//! | 14 `WIDE` | the size of the next call, which did not fit into 16 bits |
//!
//! A free is written before the block is given back and a new block after it was got, so an address
//! is never born twice without its end between; a realloc gives up its old block where it begins
//! and owns its new one where it ends.

// Each of the two crates that include this file uses a part of it.
#![allow(dead_code, reason = "the writer and the reader each use a part")]

/// First eight bytes of a raw log, as one word.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"hplayraw");
/// Version of this layout.
pub const VERSION: u64 = 2;
/// Bytes before the first word.
pub const HEADER_BYTES: usize = 4096;
/// Words from one time stamp to the next, the stamp included.
pub const BLOCK_WORDS: usize = 32;
/// Bytes of the tail and of each chunk: a multiple of a block and of a page. It fits into a
/// second-level cache.
pub const TAIL_BYTES: usize = 128 << 10;
/// Set in each time stamp, so that no stamp is zero.
pub const STAMP: u64 = 1 << 63;

/// The header's numbers: index of the word that holds each. All are 0 until they are known.
pub mod field {
    /// [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// [`super::VERSION`].
    pub const VERSION: usize = 1;
    /// Process id.
    pub const PID: usize = 2;
    /// Process id of the parent.
    pub const PARENT: usize = 3;
    /// Monotonic clock when the recording started, nanoseconds.
    pub const START_NS: usize = 4;
    /// Bits of [`super::flag`].
    pub const FLAGS: usize = 5;
    /// How it ended, one of [`super::end`].
    pub const END: usize = 6;
    /// Calls that were made but could not be written.
    pub const LOST: usize = 7;
    /// The operating system's error number behind `end::NO_ROOM`.
    pub const ERRNO: usize = 8;
    /// Chunks that stand behind the tail.
    pub const CHUNKS: usize = 9;
    /// Which chunk the tail will be.
    pub const TAIL: usize = 10;
    /// Which limit ended it, one of [`super::limit`].
    pub const LIMIT: usize = 11;
    /// How far that limit goes, in its own unit: calls, bytes, nanoseconds.
    pub const LIMIT_VALUE: usize = 12;
    /// Calls after which the log is not read on; 0 for no such limit. The recorder looks once a
    /// block, and so writes a few more.
    pub const MAX_EVENTS: usize = 13;
    /// What started it, one of [`super::start`].
    pub const START: usize = 14;
    /// Nanoseconds from the start of the process (or, of a forked one, from its fork) to that of
    /// the recording.
    pub const START_DELAY_NS: usize = 15;
}

/// The header's texts: first byte and length of each; UTF-8 as far as the program gave it, ended by
/// a zero byte.
pub mod text {
    /// `Py_GetVersion()`, up to its first blank.
    pub const PYTHON: (usize, usize) = (128, 128);
    /// Why the recording was refused.
    pub const REASON: (usize, usize) = (256, 512);
    /// The command line: arguments ended by a zero byte each, and a zero byte more; cut off where
    /// it is too long.
    pub const PROGRAM: (usize, usize) = (768, 2304);
    /// The working directory when the process started; source files under it are told relative to
    /// it.
    pub const DIRECTORY: (usize, usize) = (3072, 1024);
}

/// Bits of the header's `FLAGS`.
pub mod flag {
    /// Sites were asked for.
    pub const SITES: u64 = 1;
    /// The process was forked while it was being recorded: it holds blocks that this log never saw.
    pub const FORKED: u64 = 2;
    /// At some time another hook stood above the recorder's (tracemalloc, a debugger), or they had
    /// been taken away.
    pub const DISTURBED: u64 = 4;
    /// The recording began while the process ran: it holds blocks that this log never saw.
    pub const LATE: u64 = 8;
}

/// Values of the header's `END`.
pub mod end {
    /// Still running, or killed.
    pub const NONE: u64 = 0;
    /// The process ended by itself.
    pub const CLEAN: u64 = 1;
    /// A chunk could not be appended: the program went on unrecorded.
    pub const NO_ROOM: u64 = 2;
    /// Refused before the interpreter started: `REASON` says why.
    pub const REFUSED: u64 = 3;
    /// A limit was reached: `LIMIT` says which. The program went on unrecorded.
    pub const LIMIT: u64 = 4;
    /// The program itself ended it.
    pub const STOPPED: u64 = 5;
    /// It has not begun: the delay is not over, or the mark has not come.
    pub const WAITING: u64 = 6;
}

/// Values of the header's `LIMIT`.
pub mod limit {
    /// So many calls.
    pub const EVENTS: u64 = 1;
    /// So many bytes of the raw log.
    pub const BYTES: u64 = 2;
    /// So many nanoseconds.
    pub const DURATION: u64 = 3;
    /// A mark, the last one in the log.
    pub const MARK: u64 = 4;
}

/// Values of the header's `START`.
pub mod start {
    /// Before the interpreter.
    pub const FIRST: u64 = 0;
    /// After a delay.
    pub const DELAY: u64 = 1;
    /// At a mark, the first one in the log.
    pub const MARK: u64 = 2;
    /// When the program asked for it.
    pub const LATE: u64 = 3;
}

/// Tags of words.
pub mod tag {
    /// New block; add the domain's code (raw 0, mem 1, obj 2).
    pub const MALLOC: u64 = 1;
    /// New zeroed block; add the domain's code.
    pub const CALLOC: u64 = 4;
    /// What a realloc returned; add the domain's code.
    pub const REALLOC: u64 = 7;
    /// A block's end.
    pub const FREE: u64 = 10;
    /// A realloc begins: the block it gives up.
    pub const REALLOC_BEGIN: u64 = 11;
    /// See [`super::Control`].
    pub const CONTROL: u64 = 12;
    /// The site of what follows.
    pub const SITE: u64 = 13;
    /// The size of the next call.
    pub const WIDE: u64 = 14;
}

/// Kinds of control words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Payload: the number of the thread that makes the calls from here on.
    Thread = 1,
    /// The thread's realloc failed: the block it gave up is its own again.
    ReallocFailed = 2,
    /// A source file. Payload: its id in 32 bits, then in 24 the bytes of its name, which follow in
    /// whole words.
    File = 3,
    /// The program said that a phase begins. Payload: the bytes of its name, which follow in whole
    /// words.
    Mark = 4,
    /// An arena: see [`arena`]. One word follows: its base address. A birth stands before the word
    /// of the call that needed it, a death after the `FREE` (or `REALLOC_BEGIN`) that emptied it.
    Arena = 5,
    /// A site. Payload: its id in 32 bits. One word follows: file id in the upper 32 bits, line in
    /// the lower.
    Site = 6,
    /// A site with its callers. Payload: its id in 32 bits, of the same numbers as those of sites.
    /// One word follows: the newest frame's site in the upper 32 bits, and in the lower the site
    /// (with or without callers) that called it.
    Chain = 7,
    /// Payload: the number of the interpreter that makes the calls from here on; 0 is the main one.
    Interpreter = 8,
}

impl Control {
    /// All kinds.
    pub const ALL: [Control; 8] = [
        Control::Thread,
        Control::ReallocFailed,
        Control::File,
        Control::Mark,
        Control::Arena,
        Control::Site,
        Control::Chain,
        Control::Interpreter,
    ];
}

/// Bits of a size in a call's word; wider ones have a `WIDE` word before them.
pub const SIZE_BITS: u32 = 16;
/// Bits of an address / 8.
pub const ADDRESS_BITS: u32 = 44;

/// A call's word. `size` and `address` must fit: see [`fits`].
#[inline(always)]
pub const fn call(tag: u64, size: u64, address: u64) -> u64 {
    tag << 60 | size << ADDRESS_BITS | address >> 3
}

/// Whether a size fits into a call's word without a `WIDE` word, and the address at all.
#[inline(always)]
pub const fn fits(size: u64, address: u64) -> bool {
    size >> SIZE_BITS | address >> (ADDRESS_BITS + 3) == 0
}

/// A word of another tag.
pub const fn word(tag: u64, payload: u64) -> u64 {
    tag << 60 | payload
}

/// A control word.
pub const fn control(kind: Control, payload: u64) -> u64 {
    word(tag::CONTROL, (kind as u64) << 56 | payload)
}

/// Set in an arena's payload where it is born; clear where it dies.
pub const ARENA_BIRTH: u64 = 1 << 55;

/// An arena's payload: birth or death, and below it the size in bytes.
pub const fn arena(is_birth: bool, size: u64) -> u64 {
    (if is_birth { ARENA_BIRTH } else { 0 }) | size & (ARENA_BIRTH - 1)
}
