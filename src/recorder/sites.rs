//! Numbers the Python lines that make calls. Such a line is a *site*.
//!
//! A position (code object, instruction) is looked up in a table. Only a new position costs a call
//! of CPython for file and line. The address of a freed code object may come back for another one.
//! So each code object has an incarnation number, which ends when its block is freed. The hook of
//! `free` calls [`SiteTable::freed`], where one bit decides for nearly all blocks.
//!
//! A site with callers is looked up by a digest of all its positions. The stream gets it as a chain:
//! the newest frame's line, and the site that called it. Chains share their callers. All memory
//! comes from the kernel, none from the recorded domains or from libc's heap.

use crate::modules::Modules;
use crate::order::SITES_LIMIT;
use crate::python::{CodePosition, Frames};
use crate::rawlog::Control;
use crate::shared::ProcessState;
use crate::stream::Stream;
use crate::system;
use crate::table::{HashTable, hash};
use crate::unwind::{self, CallerStack};

/// Characters of the longest file name that is recorded; longer names become `?`.
const NAME_CHARS: usize = 1024;
/// Numbers of names that a site can have as its function.
const FUNCTIONS_LIMIT: u32 = 1 << 23;
/// Words of the filter of code addresses: 2^16 bits.
const FILTER_WORDS: usize = 1 << 10;

/// The program's code objects, source files and sites, with their numbers.
pub struct SiteTable {
    frames: Option<Frames>,
    /// Address of a code object to its incarnation number, 0 once the object is freed.
    codes: HashTable,
    /// (incarnation, instruction) to site.
    positions: HashTable,
    /// Hash of a file name to the number of the file.
    files: HashTable,
    /// (file, line) to site.
    sites: HashTable,
    /// Digest of all positions of a chain to site.
    chains: HashTable,
    /// (site of the newest frame, site that called it) to site.
    links: HashTable,
    /// Digest of a return address and the newest Python line to site.
    callers: HashTable,
    /// Return address to the bytes of its frame, if that is one of `operator new`; else 0.
    operators: HashTable,
    modules: Modules,
    /// Frames of each site.
    depth: usize,
    filter: [u64; FILTER_WORDS],
    last_code: u32,
    last_file: u32,
    last_site: u32,
    name: [u32; NAME_CHARS],
}

static SITES: ProcessState<SiteTable> = ProcessState::new(SiteTable {
    frames: None,
    codes: HashTable::new(),
    positions: HashTable::new(),
    files: HashTable::new(),
    sites: HashTable::new(),
    chains: HashTable::new(),
    links: HashTable::new(),
    callers: HashTable::new(),
    operators: HashTable::new(),
    modules: Modules::new(),
    depth: 1,
    filter: [0; FILTER_WORDS],
    last_code: 0,
    last_file: 0,
    last_site: 0,
    name: [0; NAME_CHARS],
});

/// Prepares to record sites of `depth` frames. Returns why this interpreter's sites cannot be
/// recorded; `None` when they can, or when `depth` is 0. In the constructor, or while nothing is
/// recorded.
pub fn prepare(version: &[u8], depth: u32) -> Option<&'static str> {
    if depth == 0 {
        return None;
    }
    // Objects of debug builds have other fields.
    let is_debug_build = !system::symbol(c"_Py_NegativeRefcount").is_null();
    let frames = if is_debug_build { None } else { Frames::find(version) };
    let is_missing = frames.is_none();
    // SAFETY: the constructor runs before other threads exist; later the hooks are not in place.
    unsafe {
        (*SITES.get()).frames = frames;
        (*SITES.get()).depth = depth as usize;
    }
    is_missing.then_some("--sites does not know this interpreter's frames; record without it")
}

/// Forgets all sites, because a new log knows none. In a forked child, and while nothing is
/// recorded.
pub fn forget() {
    // SAFETY: a forked child has one thread; elsewhere the caller holds the lock.
    let sites = unsafe { get() };
    sites.modules.forget();
    let SiteTable { codes, positions, files, sites: lines, chains, links, .. } = sites;
    for table in [codes, positions, files, lines, chains, links] {
        table.clear();
    }
    sites.callers.clear();
    sites.operators.clear();
    sites.filter = [0; FILTER_WORDS];
    (sites.last_file, sites.last_site) = (0, 0);
}

/// The table of sites.
///
/// # Safety
/// The caller holds the stream's lock or is the only thread, and holds no other reference to the
/// table.
#[inline(always)]
pub unsafe fn get<'a>() -> &'a mut SiteTable {
    // SAFETY: as the caller guarantees.
    unsafe { &mut *SITES.get() }
}

impl SiteTable {
    /// The site of the newest Python frame, 0 for none. A new site is written to the stream.
    ///
    /// # Safety
    /// As [`Frames::newest`].
    #[inline(always)]
    pub unsafe fn current(&mut self, holds_gil: bool, stream: &mut Stream) -> u32 {
        if self.depth > 1 {
            // SAFETY: passed on.
            return unsafe { self.chain(holds_gil, stream) };
        }
        // SAFETY: passed on.
        let newest = self.frames.as_ref().and_then(|frames| unsafe { frames.newest(holds_gil) });
        let Some(position) = newest else { return 0 };
        if let Some(code) = self.codes.get(position.code as u64)
            && code != 0
            && let Some(site) = self.positions.get(key(code, position.instruction))
        {
            return site as u32;
        }
        // SAFETY: the position was found in this call of the hook.
        unsafe { self.learn(position, stream) }
    }

    /// The site of a call from outside Python, with the newest Python line.
    ///
    /// # Safety
    /// As [`Frames::newest`].
    pub unsafe fn native(&mut self, caller: CallerStack, stream: &mut Stream) -> u32 {
        let caller = self.caller_outside_operators(caller);
        // SAFETY: passed on.
        let line = unsafe { self.current(false, stream) };
        let digest = mixed(hash(caller), u64::from(line));
        if let Some(site) = self.callers.get(digest) {
            return site as u32;
        }
        if self.callers.is_full() {
            self.callers.clear();
        }
        let place = self.modules.find(caller, stream).unwrap_or((0, 0));
        self.last_site += 1;
        stream.caller(self.last_site, place, line);
        self.callers.set(digest, u64::from(self.last_site));
        self.last_site
    }

    /// The return address of a call; of one in `operator new`, that function's own.
    fn caller_outside_operators(&mut self, stack: CallerStack) -> u64 {
        let mut address = stack.return_address();
        let mut frames_bytes = 0;
        // `operator new[]` may call `operator new`.
        for _ in 0..3 {
            let frame_bytes = match self.operators.get(address) {
                Some(frame_bytes) => frame_bytes,
                None if address == 0 => return 0,
                None => {
                    if self.operators.is_full() {
                        self.operators.clear();
                    }
                    let frame_bytes = unwind::frame_of_operator_new(address).unwrap_or(0);
                    self.operators.set(address, frame_bytes);
                    frame_bytes
                }
            };
            if frame_bytes == 0 {
                break;
            }
            frames_bytes += frame_bytes;
            address = stack.outer(frames_bytes);
        }
        address
    }

    /// Writes the files whose code the process has mapped, those that are not yet in the log.
    pub fn write_modules(&mut self, stream: &mut Stream) {
        self.modules.read(stream);
    }

    /// The site of the newest frames, with callers.
    ///
    /// # Safety
    /// As [`Frames::walk`].
    #[inline(never)]
    unsafe fn chain(&mut self, holds_gil: bool, stream: &mut Stream) -> u32 {
        let Some(frames) = self.frames.as_ref() else { return 0 };
        let (mut positions, mut count) = ([CodePosition::NONE; SITES_LIMIT as usize], 0);
        let (mut digest, mut is_known) = (1, true);
        let depth = self.depth.min(positions.len());
        let codes = &self.codes;
        // SAFETY: passed on.
        unsafe {
            frames.walk(holds_gil, |position| {
                let code = codes.get(position.code as u64).unwrap_or(0);
                is_known &= code != 0;
                digest = mixed(digest, key(code, position.instruction));
                positions[count] = position;
                count += 1;
                count < depth
            });
        }
        let positions = &positions[..count];
        if positions.is_empty() {
            return 0;
        }
        if is_known && let Some(site) = self.chains.get(digest) {
            return site as u32;
        }
        // SAFETY: the positions were found in this call of the hook.
        unsafe { self.learn_chain(positions, stream) }
    }

    /// Numbers a new chain and writes it to the stream.
    ///
    /// # Safety
    /// As [`Frames::line`].
    #[cold]
    #[inline(never)]
    unsafe fn learn_chain(&mut self, positions: &[CodePosition], stream: &mut Stream) -> u32 {
        if self.chains.is_full() {
            self.chains.clear();
        }
        let mut site = 0;
        for &position in positions.iter().rev() {
            // SAFETY: passed on.
            let line = unsafe { self.learn(position, stream) };
            site = if site == 0 { line } else { self.link(line, site, stream) };
        }
        // Learning may have emptied the table of code objects. Then a code object that occurs twice
        // has another number now, so the digest is computed anew.
        let digest = positions.iter().fold(1, |digest, position| {
            let code = self.codes.get(position.code as u64).unwrap_or(0);
            mixed(digest, key(code, position.instruction))
        });
        self.chains.set(digest, u64::from(site));
        site
    }

    /// The site of a line together with the site that called it.
    fn link(&mut self, line: u32, caller: u32, stream: &mut Stream) -> u32 {
        let key = u64::from(line) << 32 | u64::from(caller);
        if let Some(site) = self.links.get(key) {
            return site as u32;
        }
        self.last_site += 1;
        stream.pair(Control::Chain, u64::from(self.last_site), key);
        self.links.set(key, u64::from(self.last_site));
        self.last_site
    }

    /// Finds file and line of a new position and numbers the site.
    ///
    /// # Safety
    /// As [`Frames::line`].
    #[cold]
    #[inline(never)]
    unsafe fn learn(&mut self, position: CodePosition, stream: &mut Stream) -> u32 {
        if self.positions.is_full() {
            self.positions.clear();
        }
        let code = self.incarnation(position.code as u64);
        // SAFETY: passed on.
        let (file, line) = unsafe {
            let Some(frames) = self.frames.as_ref() else { return 0 };
            let line = frames.line(position);
            let file = frames.file(position, &mut self.name).map(<[u32]>::len);
            (file, line)
        };
        let file = self.file(file, stream);
        // SAFETY: passed on.
        let site = unsafe { self.site(file, line, position, stream) };
        self.positions.set(key(code, position.instruction), u64::from(site));
        site
    }

    /// The incarnation number of the code object at `address`.
    fn incarnation(&mut self, address: u64) -> u64 {
        if let Some(code) = self.codes.get(address)
            && code != 0
        {
            return code;
        }
        if self.codes.is_full() {
            self.codes.clear();
            self.filter = [0; FILTER_WORDS];
        }
        self.last_code += 1;
        let code = u64::from(self.last_code);
        let bit = filter_bit(address);
        self.filter[bit / 64] |= 1 << (bit % 64);
        self.codes.set(address, code);
        code
    }

    /// The number of a file. Its name is the first `characters` of `self.name`; `None` for a name
    /// that did not fit.
    fn file(&mut self, characters: Option<usize>, stream: &mut Stream) -> u32 {
        let unknown = [u32::from(b'?')];
        let name = characters.and_then(|count| self.name.get(..count)).unwrap_or(&unknown);
        let digest = name.iter().fold(0xCBF2_9CE4_8422_2325, |digest: u64, &character| {
            hash(digest ^ u64::from(character)).wrapping_add(0x9E37_79B9_7F4A_7C15)
        });
        let digest = digest.max(1);
        if let Some(file) = self.files.get(digest) {
            return file as u32;
        }
        self.last_file += 1;
        write_file(self.last_file, name, stream);
        self.files.set(digest, u64::from(self.last_file));
        self.last_file
    }

    /// The number of a line without callers. A new one is written with the function of the code.
    ///
    /// # Safety
    /// As [`Frames::line`].
    unsafe fn site(
        &mut self,
        file: u32,
        line: u32,
        position: CodePosition,
        stream: &mut Stream,
    ) -> u32 {
        let key = u64::from(file) << 32 | u64::from(line);
        if let Some(site) = self.sites.get(key) {
            return site as u32;
        }
        // SAFETY: passed on.
        let name = self.frames.as_ref().and_then(|frames| unsafe {
            frames.function(position, &mut self.name).map(<[u32]>::len)
        });
        // Functions and files are numbered together. The number has 23 bits in the log.
        let function = name.map_or(0, |characters| self.file(Some(characters), stream));
        let function = if function < FUNCTIONS_LIMIT { function } else { 0 };
        self.last_site += 1;
        let numbers = u64::from(function) << 32 | u64::from(self.last_site);
        stream.pair(Control::Site, numbers, key);
        self.sites.set(key, u64::from(self.last_site));
        self.last_site
    }

    /// Notes that a block is about to be freed. If it holds a code object, the incarnation ends.
    #[inline(always)]
    pub fn freed(&mut self, address: u64) {
        let bit = filter_bit(address);
        if self.filter[bit / 64] >> (bit % 64) & 1 != 0 {
            self.forget_code(address);
        }
    }

    #[cold]
    fn forget_code(&mut self, address: u64) {
        if self.codes.get(address).is_some() {
            self.codes.set(address, 0);
        }
    }
}

#[inline(always)]
fn key(code: u64, instruction: i32) -> u64 {
    code << 32 | u64::from(instruction as u32)
}

/// A digest with one more key; never 0, because 0 is no key of a table.
#[inline(always)]
fn mixed(digest: u64, key: u64) -> u64 {
    (hash(digest.rotate_left(23) ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15)).max(1)
}

#[inline(always)]
fn filter_bit(address: u64) -> usize {
    (address >> 4) as usize & (FILTER_WORDS * 64 - 1)
}

/// Writes a file's name to the stream, as UTF-8.
fn write_file(file: u32, name: &[u32], stream: &mut Stream) {
    let mut bytes = [0; NAME_CHARS * 4];
    let mut length = 0;
    for &character in name {
        let character = char::from_u32(character).unwrap_or(char::REPLACEMENT_CHARACTER);
        length += character.encode_utf8(&mut bytes[length..]).len();
    }
    stream.named(Control::File, file, &bytes[..length]);
}
