//! Room `recorder`, sites: the Python line that makes a call, as a small number.
//!
//! A place (code object, instruction) is looked up in a table; only a new one asks CPython for file
//! and line. A code object's address may come back as another one, so each is known by a number of
//! its incarnation, which ends when its block is freed: the hook of `free` asks [`Sites::freed`],
//! where one bit answers for nearly all blocks.
//!
//! A site with callers is looked up by a digest of all its places, and told to the stream as a
//! chain: its newest frame's line, and the site that called it, which others share. All memory is
//! the kernel's own, none of it from the domains that are being recorded or from libc's heap.

use crate::Shared;
use crate::order::SITES_LIMIT;
use crate::python::{Frames, Place};
use crate::rawlog::Control;
use crate::stream::Stream;
use crate::system;

/// Slots of a table when it is new: a power of two.
const FIRST_SLOTS: usize = 4096;
/// A table that is only a memory of earlier answers is emptied instead of growing past this.
const MOST_SLOTS: usize = 1 << 20;
/// Characters of the longest file name that is told; longer ones are `?`.
const NAME_CHARS: usize = 1024;
/// Words of the filter of code addresses: 2^16 bits.
const FILTER_WORDS: usize = 1 << 10;

/// A hash table of non-zero keys with open addressing, in pages of the kernel's.
struct Table {
    slots: *mut (u64, u64),
    count: usize,
    used: usize,
}

impl Table {
    const fn new() -> Table {
        Table { slots: core::ptr::null_mut(), count: 0, used: 0 }
    }

    /// The slot that holds `key`, or the empty one where it would go; `None` for a table without
    /// memory.
    #[inline(always)]
    fn slot(&self, key: u64) -> Option<*mut (u64, u64)> {
        if self.count == 0 {
            return None;
        }
        let mut at = hash(key) as usize & (self.count - 1);
        loop {
            // SAFETY: `at` is below `count`, and a table is never more than half full, so the loop
            // ends.
            unsafe {
                let slot = self.slots.add(at);
                if (*slot).0 == key || (*slot).0 == 0 {
                    return Some(slot);
                }
            }
            at = (at + 1) & (self.count - 1);
        }
    }

    #[inline(always)]
    fn get(&self, key: u64) -> Option<u64> {
        let slot = self.slot(key)?;
        // SAFETY: a slot of the table.
        unsafe { ((*slot).0 == key).then_some((*slot).1) }
    }

    /// Enters or changes a key. `false` when there is no memory.
    fn set(&mut self, key: u64, value: u64) -> bool {
        if self.used * 2 >= self.count && !self.grow() {
            return false;
        }
        let Some(slot) = self.slot(key) else { return false };
        // SAFETY: a slot of the table.
        unsafe {
            if (*slot).0 == 0 {
                self.used += 1;
            }
            *slot = (key, value);
        }
        true
    }

    fn grow(&mut self) -> bool {
        let count = (self.count * 2).max(FIRST_SLOTS);
        let slots: *mut (u64, u64) = system::pages(count * size_of::<(u64, u64)>()).cast();
        if slots.is_null() {
            return false;
        }
        let old = core::mem::replace(self, Table { slots, count, used: 0 });
        for at in 0..old.count {
            // SAFETY: a slot of the old table.
            let (key, value) = unsafe { *old.slots.add(at) };
            if key != 0 {
                self.set(key, value);
            }
        }
        old.release();
        true
    }

    /// Whether one more entry would make a mere memory too large.
    fn is_full(&self) -> bool {
        self.used * 2 >= MOST_SLOTS
    }

    fn clear(&mut self) {
        core::mem::replace(self, Table::new()).release();
    }

    fn release(self) {
        if !self.slots.is_null() {
            // SAFETY: the table's own pages.
            unsafe { system::munmap(self.slots.cast(), self.count * size_of::<(u64, u64)>()) };
        }
    }
}

/// Spreads a key over all bits (the finaliser of SplitMix64).
#[inline(always)]
fn hash(key: u64) -> u64 {
    let key = (key ^ key >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    key ^ key >> 32
}

/// What is known of the program's places.
pub struct Sites {
    frames: Option<Frames>,
    /// Address of a code object to the number of its incarnation, 0 once it was freed.
    codes: Table,
    /// (incarnation, instruction) to site.
    places: Table,
    /// Hash of a file's name to its number.
    files: Table,
    /// (file, line) to site.
    sites: Table,
    /// Digest of all places of a chain to site.
    chains: Table,
    /// (newest frame's site, site that called it) to site.
    links: Table,
    /// Frames of each site.
    depth: usize,
    filter: [u64; FILTER_WORDS],
    last_code: u32,
    last_file: u32,
    last_site: u32,
    name: [u32; NAME_CHARS],
}

static SITES: Shared<Sites> = Shared::new(Sites {
    frames: None,
    codes: Table::new(),
    places: Table::new(),
    files: Table::new(),
    sites: Table::new(),
    chains: Table::new(),
    links: Table::new(),
    depth: 1,
    filter: [0; FILTER_WORDS],
    last_code: 0,
    last_file: 0,
    last_site: 0,
    name: [0; NAME_CHARS],
});

/// Gets ready to record sites of `depth` frames; why they cannot be recorded with this interpreter,
/// `None` when they can or none are asked for. In the constructor, or where nothing is recorded
/// yet.
pub fn prepare(version: &[u8], depth: u32) -> Option<&'static str> {
    if depth == 0 {
        return None;
    }
    // Objects of debug builds have more fields.
    let is_debug_build = !system::symbol(c"_Py_NegativeRefcount").is_null();
    let frames = if is_debug_build { None } else { Frames::find(version) };
    let missing = frames.is_none();
    // SAFETY: the constructor is alone, or the hooks are not in place.
    unsafe {
        (*SITES.get()).frames = frames;
        (*SITES.get()).depth = depth as usize;
    }
    missing.then_some("--sites does not know this interpreter's frames; record without it")
}

/// For a new log, which knows no site yet: in a forked child, and where nothing is recorded.
pub fn forget() {
    // SAFETY: the child has one thread; else the lock is held.
    let sites = unsafe { get() };
    let Sites { codes, places, files, sites: lines, chains, links, .. } = sites;
    for table in [codes, places, files, lines, chains, links] {
        table.clear();
    }
    sites.filter = [0; FILTER_WORDS];
    (sites.last_file, sites.last_site) = (0, 0);
}

/// What is known, for one who holds the stream's lock or is the only thread.
///
/// # Safety
/// As said; and not twice at a time.
#[inline(always)]
pub unsafe fn get<'a>() -> &'a mut Sites {
    // SAFETY: as the caller says.
    unsafe { &mut *SITES.get() }
}

impl Sites {
    /// The site of the newest Python frame, 0 for none; a new one is told to the stream.
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
        let place = self.frames.as_ref().and_then(|frames| unsafe { frames.newest(holds_gil) });
        let Some(place) = place else { return 0 };
        if let Some(code) = self.codes.get(place.code as u64)
            && code != 0
            && let Some(site) = self.places.get(key(code, place.instruction))
        {
            return site as u32;
        }
        // SAFETY: the place was found just now.
        unsafe { self.learn(place, stream) }
    }

    /// The site of the newest frames, with callers.
    ///
    /// # Safety
    /// As [`Frames::walk`].
    #[inline(never)]
    unsafe fn chain(&mut self, holds_gil: bool, stream: &mut Stream) -> u32 {
        let Some(frames) = self.frames.as_ref() else { return 0 };
        let (mut places, mut count) = ([Place::NONE; SITES_LIMIT as usize], 0);
        let (mut digest, mut is_known) = (1, true);
        let depth = self.depth.min(places.len());
        let codes = &self.codes;
        // SAFETY: passed on.
        unsafe {
            frames.walk(holds_gil, |place| {
                let code = codes.get(place.code as u64).unwrap_or(0);
                is_known &= code != 0;
                digest = mixed(digest, key(code, place.instruction));
                places[count] = place;
                count += 1;
                count < depth
            });
        }
        let places = &places[..count];
        if places.is_empty() {
            return 0;
        }
        if is_known && let Some(site) = self.chains.get(digest) {
            return site as u32;
        }
        // SAFETY: the places were found just now.
        unsafe { self.learn_chain(places, stream) }
    }

    /// # Safety
    /// As [`Frames::line`].
    #[cold]
    #[inline(never)]
    unsafe fn learn_chain(&mut self, places: &[Place], stream: &mut Stream) -> u32 {
        if self.chains.is_full() {
            self.chains.clear();
        }
        let mut site = 0;
        for &place in places.iter().rev() {
            // SAFETY: passed on.
            let line = unsafe { self.learn(place, stream) };
            site = if site == 0 { line } else { self.link(line, site, stream) };
        }
        // A code object met a second time may have another number by now, where the table was
        // emptied meanwhile.
        let digest = places.iter().fold(1, |digest, place| {
            let code = self.codes.get(place.code as u64).unwrap_or(0);
            mixed(digest, key(code, place.instruction))
        });
        self.chains.set(digest, u64::from(site));
        site
    }

    /// The site of a line that was called from another site.
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

    /// # Safety
    /// As [`Frames::line`].
    #[cold]
    #[inline(never)]
    unsafe fn learn(&mut self, place: Place, stream: &mut Stream) -> u32 {
        if self.places.is_full() {
            self.places.clear();
        }
        let code = self.incarnation(place.code as u64);
        // SAFETY: passed on.
        let (file, line) = unsafe {
            let Some(frames) = self.frames.as_ref() else { return 0 };
            let line = frames.line(place);
            let file = frames.file(place, &mut self.name).map(<[u32]>::len);
            (file, line)
        };
        let file = self.file(file, stream);
        let site = self.site(file, line, stream);
        self.places.set(key(code, place.instruction), u64::from(site));
        site
    }

    /// The number of this code object's life.
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

    /// The number of the file whose name of so many characters lies in `self.name`.
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

    fn site(&mut self, file: u32, line: u32, stream: &mut Stream) -> u32 {
        let key = u64::from(file) << 32 | u64::from(line);
        if let Some(site) = self.sites.get(key) {
            return site as u32;
        }
        self.last_site += 1;
        stream.pair(Control::Site, u64::from(self.last_site), key);
        self.sites.set(key, u64::from(self.last_site));
        self.last_site
    }

    /// A block is about to be freed: if it is a code object's, what was known of it is past.
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

/// A digest with one key more; never 0, which is no key of a table.
#[inline(always)]
fn mixed(digest: u64, key: u64) -> u64 {
    (hash(digest.rotate_left(23) ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15)).max(1)
}

#[inline(always)]
fn filter_bit(address: u64) -> usize {
    (address >> 4) as usize & (FILTER_WORDS * 64 - 1)
}

/// Tells the stream a file's name, as UTF-8.
fn write_file(file: u32, name: &[u32], stream: &mut Stream) {
    let mut bytes = [0; NAME_CHARS * 4];
    let mut length = 0;
    for &character in name {
        let character = char::from_u32(character).unwrap_or(char::REPLACEMENT_CHARACTER);
        length += character.encode_utf8(&mut bytes[length..]).len();
    }
    stream.file(file, &bytes[..length]);
}
