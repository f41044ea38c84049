//! The layout of a raw log, the file that a recorded process writes. The recorder writes it;
//! `trace/raw.rs` reads it. Both include this file, which has no imports.
//!
//! A raw log is a header of [`HEADER_BYTES`], a tail of [`TAIL_BYTES`], and then chunks of
//! [`TAIL_BYTES`] each. Tail and chunks are units of 32 bits in the byte order of the machine. The
//! units of all threads stand together, in the order of the calls.
//!
//! Header and tail are mapped while they are written, so the kernel saves them when the process
//! dies. A full tail is appended as a chunk and used again. That costs a sixth of mapping the whole
//! file, where every page would be a fault.
//!
//! The log's units are those of its `CHUNKS` chunks and then those of the tail, if `TAIL` equals
//! `CHUNKS`. If the two differ, the process died between appending the tail and clearing it. No entry
//! begins with a zero unit. So the first zero unit where an entry could begin is the end, wherever
//! the recording stopped.
//!
//! The most frequent calls are one unit each, and every other entry is one or more *words*. A word has
//! 64 bits in two units, first the upper half. [`WORD`] is set in the first word of an entry and clear
//! in a call of one unit:
//!
//! | bits | a call of one unit |
//! |---|---|
//! | [`SHORT_BIRTH`] | set for a new block of the common domain by `malloc`, clear for a block's end |
//! | 9, then 21 | of a new block: the size, then (address - base) / 16 |
//! | 30 | of an end: (address - base) / 16 + 2^29, which is not 0 |
//!
//! The header names the common domain (`SHORT_DOMAIN`). The base is 0 until a `BASE` word. A call that
//! does not fit into one unit is a word: see [`ShortBase`].
//!
//! A block of the log has [`BLOCK_UNITS`]. It begins with a time stamp, which is a word without a tag. It
//! has [`STAMP`] set; the lower bits are nanoseconds of the monotonic clock since the header's
//! `START_NS`. A call has the time of the stamp before it. So the clock is read once in 30 units, and a
//! call's time is early by up to 30 calls. No word lies in two blocks: if one unit is left for it, that
//! unit is [`PAD`]. Each first word of an entry has a tag in the four bits below [`WORD`]:
//!
//! | tag | lower bits |
//! |---|---|
//! | 0 `BASE` | [`IS_BASE`], and the base of the calls of one unit that follow / 16 |
//! | 1 to 4 `MALLOC`+domain | size in 15 bits, then address / 8 in 44 |
//! | 5 to 8 `CALLOC`+domain | the same |
//! | 9 to 12 `REALLOC`+domain | the same |
//! | 13 `FREE` | [`GIVES_UP`] for the begin of a realloc (see below), then address / 8 in 44 |
//! | 14 `CONTROL` | kind in 4 bits, payload in 55: see [`Control`] |
//! | 15 `ASIDE` | [`IS_WIDE`] and the size of the next call, which did not fit into 15 bits; else |
//! | | the site of the calls that follow, 0 for none; until the next site |
//!
//! A free is written before the block is freed, and a new block after its allocation. So between
//! two births at one address the log always has an end. A realloc gives up its old block where the
//! call begins, and owns its new block where the call ends. The thread's next `REALLOC` or
//! [`Control::ReallocFailed`] completes it.

#![allow(dead_code, reason = "the writer and the reader each use a part")]

/// First eight bytes of a raw log, as an integer.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"hplayraw");
/// Version of this layout.
pub const VERSION: u64 = 5;
/// Bytes before the first unit.
pub const HEADER_BYTES: usize = 8192;
/// Units from one time stamp to the next, the stamp's two included.
pub const BLOCK_UNITS: usize = 32;
/// Bytes of a unit.
pub const UNIT_BYTES: usize = 4;
/// Bytes from one time stamp to the next.
pub const BLOCK_BYTES: usize = BLOCK_UNITS * UNIT_BYTES;
/// Bytes of the tail and of each chunk: a multiple of a block and of a page. A tail fits into a
/// second-level cache.
pub const TAIL_BYTES: usize = 256 << 10;
/// Set in the first word of each entry.
pub const WORD: u64 = 1 << 63;
/// Set in each time stamp, so that no stamp is zero.
pub const STAMP: u64 = 1 << 63;
/// The last unit of a block that has no space for a word.
pub const PAD: u32 = 1 << 31;

/// Indices of the header's words. Each word is 0 until its value is known.
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
    /// How the recording ended, one of [`super::end`].
    pub const END: usize = 6;
    /// Calls that were made but could not be written.
    pub const LOST: usize = 7;
    /// The operating system's error number behind `end::NO_SPACE`.
    pub const ERRNO: usize = 8;
    /// Chunks in the file, behind the tail.
    pub const CHUNKS: usize = 9;
    /// The index of the chunk that the tail will become.
    pub const TAIL: usize = 10;
    /// The limit that ended the recording, one of [`super::limit`].
    pub const LIMIT: usize = 11;
    /// The value of that limit, in its own unit: calls, bytes, nanoseconds.
    pub const LIMIT_VALUE: usize = 12;
    /// Calls that the reader takes at most; 0 for no limit. The recorder checks the limit once a
    /// block, and so writes a few calls more.
    pub const MAX_EVENTS: usize = 13;
    /// What started the recording, one of [`super::start`].
    pub const START: usize = 14;
    /// Nanoseconds from the start of the process to the start of the recording. For a forked
    /// process, nanoseconds from the fork.
    pub const START_DELAY_NS: usize = 15;
    /// The highest resident memory of a sample, bytes: all of it, not only anonymous memory.
    pub const SAMPLED_PEAK: usize = 16;
    /// The highest resident memory since the process began, bytes, as the kernel knows it. Written at
    /// the end of the recording, where the samples began with the process.
    pub const PEAK: usize = 17;
    /// The code of the common domain (raw 0, mem 1, obj 2, libc 3): see [`super::ShortBase`].
    pub const SHORT_DOMAIN: usize = 18;
}

/// The header's texts: first byte and length in bytes. Each text ends with a zero byte; it is UTF-8
/// if the program gave UTF-8.
pub mod text {
    /// `Py_GetVersion()`, up to its first blank.
    pub const PYTHON: (usize, usize) = (192, 64);
    /// Why the recording was refused.
    pub const REASON: (usize, usize) = (256, 512);
    /// The command line: each argument ends with a zero byte, and one more zero byte follows. A long
    /// command line is cut off.
    pub const PROGRAM: (usize, usize) = (768, 2304);
    /// The working directory at the start of the process. Names of source files below it become
    /// relative.
    pub const DIRECTORY: (usize, usize) = (3072, 1024);
    /// The environment variables that choose or set an allocator, `NAME=value` each, one to a line.
    pub const VARIABLES: (usize, usize) = (4096, 2048);
    /// The file of the C library's malloc, or of what stands in its place.
    pub const ALLOCATOR: (usize, usize) = (6144, 512);
    /// The version of that allocator as it reports it; empty where it reports none.
    pub const ALLOCATOR_VERSION: (usize, usize) = (6656, 256);
    /// Why calls of the C library's malloc are not seen; empty where they are, or are not wanted.
    pub const BYPASS: (usize, usize) = (6912, 512);
    /// The path of the executable.
    pub const EXECUTABLE: (usize, usize) = (7424, 768);
}

/// Bits of the header's `FLAGS`.
pub mod flag {
    /// The recording has sites.
    pub const SITES: u64 = 1;
    /// The process was forked during a recording, so it holds blocks that this log never saw.
    pub const FORKED: u64 = 2;
    /// At some time another hook stood above the recorder's (tracemalloc, a debugger), or had
    /// replaced them.
    pub const DISTURBED: u64 = 4;
    /// The recording began late, so the process holds blocks that this log never saw.
    pub const LATE: u64 = 8;
    /// Calls of the C library are recorded.
    pub const LIBC: u64 = 16;
    /// Hooks that the program had replaced were placed again.
    pub const REPLACED: u64 = 32;
}

/// Values of the header's `END`.
pub mod end {
    /// The process runs still, or was killed.
    pub const NONE: u64 = 0;
    /// The process ended normally.
    pub const CLEAN: u64 = 1;
    /// A chunk could not be appended. The program went on unrecorded.
    pub const NO_SPACE: u64 = 2;
    /// Refused before the interpreter started; `REASON` says why.
    pub const REFUSED: u64 = 3;
    /// A limit was reached; `LIMIT` says which. The program went on unrecorded.
    pub const LIMIT: u64 = 4;
    /// The program itself ended the recording.
    pub const STOPPED: u64 = 5;
    /// The recording has not begun: the delay is not over, or the mark has not come.
    pub const WAITING: u64 = 6;
}

/// Values of the header's `LIMIT`.
pub mod limit {
    /// A number of calls.
    pub const EVENTS: u64 = 1;
    /// A number of bytes of the raw log.
    pub const BYTES: u64 = 2;
    /// A number of nanoseconds.
    pub const DURATION: u64 = 3;
    /// A mark, the last one in the log.
    pub const MARK: u64 = 4;
}

/// Values of the header's `START`.
pub mod start {
    /// The start of the process, before the interpreter's.
    pub const FIRST: u64 = 0;
    /// The end of a delay.
    pub const DELAY: u64 = 1;
    /// A mark, the first one in the log.
    pub const MARK: u64 = 2;
    /// A request of the program.
    pub const LATE: u64 = 3;
}

/// Tags of words.
pub mod tag {
    /// With [`super::IS_BASE`] the base of calls of one unit.
    pub const BASE: u64 = 0;
    /// New block; add the domain's code (raw 0, mem 1, obj 2, libc 3).
    pub const MALLOC: u64 = 1;
    /// New zeroed block; add the domain's code.
    pub const CALLOC: u64 = 5;
    /// The block that a realloc returned; add the domain's code.
    pub const REALLOC: u64 = 9;
    /// A block's end, or with [`super::GIVES_UP`] the block that a realloc gives up.
    pub const FREE: u64 = 13;
    /// See [`super::Control`].
    pub const CONTROL: u64 = 14;
    /// The site of the calls that follow, or with [`super::IS_WIDE`] the size of the next call.
    pub const ASIDE: u64 = 15;
}

/// Set in a `FREE` word where a realloc begins: the block that it gives up.
pub const GIVES_UP: u64 = 1 << ADDRESS_BITS;
/// Set in an `ASIDE` word that holds the size of the next call.
pub const IS_WIDE: u64 = 1 << 58;
/// Set in a `BASE` word, so that it is no [`PAD`].
pub const IS_BASE: u64 = 1 << 58;

/// Kinds of control words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Payload: the number of the thread that makes the calls from here on.
    Thread = 1,
    /// The thread's realloc failed: the block that it gave up lives on.
    ReallocFailed = 2,
    /// A source file, or a function. Payload: the id in 31 bits, then the length of the name in 24. The
    /// name follows in whole words.
    File = 3,
    /// A mark of the program: a phase begins. Payload: the length of its name. The name follows in
    /// whole words.
    Mark = 4,
    /// An arena: see [`arena`]. One word follows: its base address. A birth stands before the call
    /// that needed the arena, a death after the `FREE` or `REALLOC_BEGIN` that emptied it.
    Arena = 5,
    /// A site. Payload: the id of the line's function in the upper 23 bits, 0 for none, and the site's
    /// id in the lower 32. One word follows: file id in the upper 32 bits, line in the lower.
    Site = 6,
    /// A site with its callers. Payload: an id in 32 bits, from the same sequence as those of sites.
    /// One word follows: the newest frame's site in the upper 32 bits, its caller's in the lower.
    /// The caller's site may have callers itself.
    Chain = 7,
    /// Payload: the number of the interpreter that makes the calls from here on; the main one is 0.
    Interpreter = 8,
    /// Payload: the binary logarithm of the alignment that the next call requests.
    Alignment = 9,
    /// A thread makes its first call. Payload: its number. One word follows: the kernel's id.
    ThreadBirth = 10,
    /// A thread ends. Payload: its number. Two words follow: its name.
    ThreadDeath = 11,
    /// The memory of the process. Payload: resident anonymous bytes. Three words follow, as they were
    /// last read: resident bytes in anonymous mappings that the program made by itself; anonymous
    /// bytes of loaded files (their data) and of the main stack; free bytes in the C library's malloc
    /// plus 1, 0 where another allocator serves the process.
    Memory = 12,
    /// The program asks something of its allocator, or begins to end. Payload: see [`request`]. One
    /// word follows.
    Request = 13,
    /// A loaded file. Payload: its number in 31 bits, then the length of its name in 24. The name
    /// follows in whole words.
    Module = 14,
    /// A call from outside Python. Payload: a site's id in 32 bits, from the same sequence as those of
    /// sites. Two words follow: the module's number in 16 bits and the offset in the file in 48; then
    /// the site of the newest Python line, 0 for none.
    Caller = 15,
    /// A large block of which only a part was resident. Payload: resident bytes. One word follows:
    /// the block's address. It stands before the block's end, or at the end of the log.
    Present = 0,
}

impl Control {
    /// All kinds.
    pub const ALL: [Control; 16] = [
        Control::Present,
        Control::Thread,
        Control::ReallocFailed,
        Control::File,
        Control::Mark,
        Control::Arena,
        Control::Site,
        Control::Chain,
        Control::Interpreter,
        Control::Alignment,
        Control::ThreadBirth,
        Control::ThreadDeath,
        Control::Memory,
        Control::Request,
        Control::Module,
        Control::Caller,
    ];
}

/// Payloads of [`Control::Request`].
pub mod request {
    /// `malloc_trim`; the word is the bytes to leave.
    pub const TRIM: u64 = 1;
    /// `mallopt`; the word has the parameter in the upper and the value in the lower 32 bits.
    pub const OPTION: u64 = 2;
    /// The interpreter begins to finalise itself; the word is 1. The entry stands before the first
    /// block that ends afterwards.
    pub const FINALISATION: u64 = 3;
    /// `main` has returned, or the program calls `exit`; the word is 1.
    pub const EXIT: u64 = 4;
    /// The collector of a Python has visited objects of a generation; the word is of
    /// [`super::collections`].
    pub const COLLECTIONS: u64 = 5;
}

/// Bits of the objects, and of the collections above them, in the word of [`collections`].
const OBJECT_BITS: u32 = 44;
const COLLECTION_BITS: u32 = 16;

/// The word of `request::COLLECTIONS`: a generation, how many collections of it there were, and how many
/// objects they visited.
pub const fn collections(generation: u64, count: u64, objects: u64) -> u64 {
    const MOST_COLLECTIONS: u64 = (1 << COLLECTION_BITS) - 1;
    const MOST_OBJECTS: u64 = (1 << OBJECT_BITS) - 1;
    let count = if count < MOST_COLLECTIONS { count } else { MOST_COLLECTIONS };
    let objects = if objects < MOST_OBJECTS { objects } else { MOST_OBJECTS };
    generation << (OBJECT_BITS + COLLECTION_BITS) | count << OBJECT_BITS | objects
}

/// The parts of the word of [`collections`], in that order.
pub const fn collections_of(word: u64) -> (u64, u64, u64) {
    let count = word >> OBJECT_BITS & ((1 << COLLECTION_BITS) - 1);
    (word >> (OBJECT_BITS + COLLECTION_BITS), count, word & ((1 << OBJECT_BITS) - 1))
}

/// Bits of a size in a call's word; a `WIDE` word stands before a call of a larger size.
pub const SIZE_BITS: u32 = 15;
/// Bits of an address / 8.
pub const ADDRESS_BITS: u32 = 44;
/// Bits of a tag, below [`WORD`], and of what stands below the tag.
const TAG_BITS: u32 = 4;
const CONTENT_BITS: u32 = 63 - TAG_BITS;
/// Bits of a control word's payload, below its kind of 4 bits.
pub const PAYLOAD_BITS: u32 = CONTENT_BITS - 4;

/// A call's word. `size` and `address` must fit: see [`fits`].
#[inline(always)]
pub const fn call(tag: u64, size: u64, address: u64) -> u64 {
    word(tag, size << ADDRESS_BITS | address >> 3)
}

/// Whether size and address fit into a call's word, without a `WIDE` word.
#[inline(always)]
pub const fn fits(size: u64, address: u64) -> bool {
    size >> SIZE_BITS | address >> (ADDRESS_BITS + 3) == 0
}

/// A word of another tag.
#[inline(always)]
pub const fn word(tag: u64, content: u64) -> u64 {
    WORD | tag << CONTENT_BITS | content
}

/// The tag of a word that begins an entry.
pub const fn tag_of(word: u64) -> u64 {
    word >> CONTENT_BITS & ((1 << TAG_BITS) - 1)
}

/// A control word.
pub const fn control(kind: Control, payload: u64) -> u64 {
    word(tag::CONTROL, (kind as u64) << PAYLOAD_BITS | payload)
}

/// The kind of a control word.
pub fn kind_of(word: u64) -> Option<Control> {
    Control::ALL.into_iter().find(|&kind| kind as u64 == word >> PAYLOAD_BITS & 0xF)
}

/// The payload of a control word.
pub const fn payload_of(word: u64) -> u64 {
    word & ((1 << PAYLOAD_BITS) - 1)
}

/// Set in an arena's payload for its birth; clear for its death.
pub const ARENA_BIRTH: u64 = 1 << 54;

/// An arena's payload: birth or death in the top bit, the size in bytes below.
pub const fn arena(is_birth: bool, size: u64) -> u64 {
    (if is_birth { ARENA_BIRTH } else { 0 }) | size & (ARENA_BIRTH - 1)
}

/// Set in a call of one unit that is a new block.
pub const SHORT_BIRTH: u32 = 1 << 30;
/// Bits of a size in one unit.
pub const SHORT_SIZE_BITS: u32 = 9;
/// Bits of the address of a new block in one unit. Blocks at 32 MiB of addresses have one.
const SHORT_BIRTH_BITS: u32 = 21;
/// Bits of the address of an end in one unit.
const SHORT_END_BITS: u32 = 30;
/// Addresses from the base down and up that an end may have in one unit: 8 GiB.
const SHORT_END_REACH: u64 = 1 << (SHORT_END_BITS + 3);

/// The address that calls of one unit count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortBase {
    address: u64,
}

/// A call of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortCall {
    /// A new block of the common domain by `malloc`.
    Birth { size: u64, address: u64 },
    /// The end of a block of any domain.
    End { address: u64 },
}

impl ShortBase {
    /// The base of a log before its first `BASE` word.
    pub const FIRST: ShortBase = ShortBase { address: 0 };

    /// The base with `address` in the middle of the addresses of new blocks.
    pub const fn around(address: u64) -> ShortBase {
        ShortBase { address: address.saturating_sub(1 << (SHORT_BIRTH_BITS + 3)) >> 4 << 4 }
    }

    /// The word that makes this the base of the calls that follow.
    pub const fn word(self) -> u64 {
        word(tag::BASE, IS_BASE | self.address >> 4)
    }

    /// The base of a `BASE` word.
    pub const fn of(word: u64) -> ShortBase {
        ShortBase { address: (word & (IS_BASE - 1)) << 4 }
    }

    /// A new block as one unit; `None` where size or address do not fit.
    #[inline(always)]
    pub const fn birth(self, size: u64, address: u64) -> Option<u32> {
        // An address that is no multiple of 16 has upper bits afterwards.
        let at = address.wrapping_sub(self.address).rotate_right(4);
        if size >> SHORT_SIZE_BITS | at >> SHORT_BIRTH_BITS == 0 {
            Some(SHORT_BIRTH | (size as u32) << SHORT_BIRTH_BITS | at as u32)
        } else {
            None
        }
    }

    /// A block's end as one unit; `None` where the address does not fit.
    #[inline(always)]
    pub const fn end(self, address: u64) -> Option<u32> {
        let from_lowest = address.wrapping_sub(self.address.wrapping_sub(SHORT_END_REACH));
        let at = from_lowest.rotate_right(4);
        if at.wrapping_sub(1) < (1 << SHORT_END_BITS) - 1 { Some(at as u32) } else { None }
    }

    /// The call that a unit without the bit of [`WORD`] is.
    pub const fn call(self, unit: u32) -> ShortCall {
        if unit & SHORT_BIRTH != 0 {
            let at = (unit & ((1 << SHORT_BIRTH_BITS) - 1)) as u64;
            let size = (unit & (SHORT_BIRTH - 1)) as u64 >> SHORT_BIRTH_BITS;
            ShortCall::Birth { size, address: self.address.wrapping_add(at << 4) }
        } else {
            let lowest = self.address.wrapping_sub(SHORT_END_REACH);
            ShortCall::End { address: lowest.wrapping_add((unit as u64) << 4) }
        }
    }
}
