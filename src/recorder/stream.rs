//! The stream: writes the raw log of the process, in the order of the calls.
//!
//! All threads write to one buffer. The only thread of a process takes no lock. Several threads take
//! a spin lock for a few stores. A byte of libc shows whether there are several. Separate buffers
//! would need an atomic counter to restore the order, and the counter would cost as much as the lock.
//!
//! The most frequent calls are one unit of 32 bits each, all else is words of two (`rawlog.rs`). Half
//! the bytes are half the kernel's work, which is the larger part of what a call costs.
//!
//! Units first go to the mapped tail, whose space on the disk is claimed before. `pwrite` then
//! appends the tail to the file. So a full disk is an error here, never a SIGBUS in the program. The
//! file is opened by name for each chunk and closed again. So programs that close or count all
//! descriptors never meet one of the recorder's.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use crate::collector::{Collections, Collector};
use crate::interpreters::Interpreters;
use crate::order::{MARK_BYTES, Order, RecordingLimits};
use crate::placement;
use crate::rawlog::{
    BLOCK_BYTES, BLOCK_UNITS, Control, HEADER_BYTES, IS_WIDE, MAGIC, PAD, SHORT_SIZE_BITS, STAMP,
    ShortBase, TAIL_BYTES, UNIT_BYTES, VERSION, arena, call, collections, control, end, field,
    fits, flag, limit, request, start, tag, text, word,
};
use crate::shared::ProcessState;
use crate::system::{self, monotonic_ns, preserving_errno};
use crate::{allocator, hooks, memory, native, sites};

/// Longest path of a raw log, bytes.
const PATH_BYTES: usize = 4096;

enum StreamState {
    /// Nothing may be written, now or later.
    Off,
    /// A forked child that has not allocated yet. Many children only exec, and need no file.
    Waiting,
    /// Recording.
    On,
}

/// The base moves to a call that does not fit into one unit, unless the base has moved recently: where
/// the number of further units is no multiple of this. A program whose blocks are far apart would
/// otherwise write a base for each.
const UNITS_A_BASE: u64 = 32;

/// The open log. The fields that each call needs are in one line of the cache.
#[repr(C, align(64))]
pub struct Stream {
    /// Where the next unit goes. A multiple of a block, or null, is where a time stamp is due: blocks
    /// have aligned addresses, because a tail is whole pages.
    cursor: *mut u32,
    /// What calls of one unit count from.
    base: ShortBase,
    /// The tag of the calls that may be one unit: `MALLOC` and the common domain.
    short_tag: u64,
    /// Units besides one for each call.
    extra_units: u64,
    /// The mapped tail, null while no log is open.
    tail: *mut u32,
    header: *mut u64,
    /// Chunks written.
    chunks: u64,
    start_ns: u64,
    thread: u32,
    site: u32,
    interpreter: u32,
    /// Whether the process has several interpreters, each with a heap.
    has_interpreters: bool,
    /// Whether a call of the only thread needs no word before it.
    is_plain: bool,
    interpreters: Option<Interpreters>,
    collector: Option<Collector>,
    state: StreamState,
    limits: RecordingLimits,
    /// What started the recording, one of [`start`], and nanoseconds from the start of the process.
    begun: (u64, u64),
    /// The monotonic clock at the start or the fork of the process.
    born_ns: u64,
    flags: u64,
    parent: u64,
    path_base: [u8; PATH_BYTES],
    path_base_length: usize,
    path: [u8; PATH_BYTES],
    python: [u8; text::PYTHON.1],
    program: [u8; text::PROGRAM.1],
    directory: [u8; text::DIRECTORY.1],
    variables: [u8; text::VARIABLES.1],
    allocator: [u8; text::ALLOCATOR.1],
    allocator_version: [u8; text::ALLOCATOR_VERSION.1],
    bypass: [u8; text::BYPASS.1],
    executable: [u8; text::EXECUTABLE.1],
}

static STREAM: ProcessState<Stream> = ProcessState::new(Stream {
    cursor: core::ptr::null_mut(),
    base: ShortBase::FIRST,
    short_tag: 0,
    extra_units: 0,
    tail: core::ptr::null_mut(),
    header: core::ptr::null_mut(),
    chunks: 0,
    start_ns: 0,
    thread: 1,
    site: 0,
    interpreter: 0,
    has_interpreters: false,
    is_plain: false,
    interpreters: None,
    collector: None,
    state: StreamState::Off,
    limits: RecordingLimits::NONE,
    begun: (start::FIRST, 0),
    born_ns: 0,
    flags: 0,
    parent: 0,
    path_base: [0; PATH_BYTES],
    path_base_length: 0,
    path: [0; PATH_BYTES],
    python: [0; text::PYTHON.1],
    program: [0; text::PROGRAM.1],
    directory: [0; text::DIRECTORY.1],
    variables: [0; text::VARIABLES.1],
    allocator: [0; text::ALLOCATOR.1],
    allocator_version: [0; text::ALLOCATOR_VERSION.1],
    bypass: [0; text::BYPASS.1],
    executable: [0; text::EXECUTABLE.1],
});

static LOCK: AtomicU32 = AtomicU32::new(0);

/// Takes the lock: spins, then yields. The lock is held for nanoseconds, or for longer while a tail
/// is appended.
#[inline(always)]
pub fn lock() {
    while LOCK.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        wait();
    }
}

#[cold]
fn wait() {
    for _ in 0..100 {
        if LOCK.load(Ordering::Relaxed) == 0 {
            return;
        }
        core::hint::spin_loop();
    }
    // SAFETY: a plain call.
    preserving_errno(|| unsafe { system::sched_yield() });
}

/// Gives the lock back.
#[inline(always)]
pub fn unlock() {
    LOCK.store(0, Ordering::Release);
}

/// The stream.
///
/// # Safety
/// The caller holds the lock or is the only thread, and holds no other reference to the stream.
#[inline(always)]
pub unsafe fn get<'a>() -> &'a mut Stream {
    // SAFETY: as the caller guarantees.
    unsafe { &mut *STREAM.get() }
}

impl Stream {
    /// Units that the block of the cursor has left; 0 where the next block begins, and without a log.
    #[inline(always)]
    fn units_left(&self) -> usize {
        self.cursor.addr().wrapping_neg() % BLOCK_BYTES / UNIT_BYTES
    }

    /// Writes one unit where the cursor is.
    ///
    /// # Safety
    /// The block has a unit left.
    #[inline(always)]
    unsafe fn put_unit(&mut self, unit: u32) {
        // SAFETY: inside a block of the mapped tail.
        unsafe {
            self.cursor.write_volatile(unit);
            self.cursor = self.cursor.add(1);
        }
    }

    /// Writes one word where the cursor is, by one store: a process may die at any time.
    ///
    /// # Safety
    /// The block has two units left.
    #[inline(always)]
    unsafe fn put_word(&mut self, word: u64) {
        // The upper half is the first unit.
        let stored = if cfg!(target_endian = "little") { word.rotate_left(32) } else { word };
        // SAFETY: inside a block of the mapped tail.
        unsafe {
            self.cursor.cast::<u64>().write_unaligned(stored);
            self.cursor = self.cursor.add(2);
        }
    }

    /// Writes a call of one unit, after a time stamp where one is due; `false` when nothing can be
    /// written.
    #[inline(always)]
    fn push_unit(&mut self, unit: u32) -> bool {
        if self.units_left() == 0 && !self.stamp(true) {
            return false;
        }
        // SAFETY: a block has space behind its time stamp, and behind a sample of the memory.
        unsafe { self.put_unit(unit) };
        true
    }

    /// Writes one word, after a time stamp where one is due; `false` when nothing can be written.
    /// Only before a call may a sample of the memory follow the stamp: other words may belong
    /// together.
    #[inline(always)]
    fn push<const IS_CALL: bool>(&mut self, word: u64) -> bool {
        if self.units_left() < 2 && !self.begin_block_for_word(IS_CALL) {
            return false;
        }
        // SAFETY: as in `push_unit`.
        unsafe { self.put_word(word) };
        true
    }

    /// Writes a word that is no call, or the first of a call's two words.
    #[inline(always)]
    fn note(&mut self, word: u64) -> bool {
        self.extra_units += 2;
        self.push::<false>(word)
    }

    /// Writes a call of the thread numbered `thread`.
    #[inline(always)]
    pub fn call(&mut self, thread: u32, tag: u64, size: u64, address: u64) {
        self.switch_caller(thread);
        if tag == self.short_tag
            && let Some(unit) = self.base.birth(size, address)
        {
            if !self.push_unit(unit) {
                self.lose();
            }
            return;
        }
        self.long_call(tag, size, address);
    }

    /// Writes who makes the next call, where that is not who made the last one.
    #[inline(always)]
    fn switch_caller(&mut self, thread: u32) {
        if thread != self.thread {
            self.switch_thread(thread);
        }
        if self.has_interpreters {
            self.switch_interpreter();
        }
    }

    /// Writes a call that does not fit into one unit, or moves the base so that it does.
    #[inline(always)]
    fn long_call(&mut self, tag: u64, size: u64, address: u64) {
        if self.moves_base(tag, size, address) {
            return self.call_at_new_base(size, address);
        }
        self.extra_units += 1;
        let is_written = if fits(size, address) {
            self.push::<true>(call(tag, size, address))
        } else {
            self.wide_call(tag, size, address)
        };
        if !is_written {
            self.lose();
        }
    }

    /// Whether the base moves to a call that does not fit into one unit: with that base it would fit.
    #[inline(always)]
    fn moves_base(&self, tag: u64, size: u64, address: u64) -> bool {
        self.extra_units.is_multiple_of(UNITS_A_BASE)
            && tag == self.short_tag
            && size >> SHORT_SIZE_BITS == 0
            && address.is_multiple_of(16)
            && fits(0, address)
    }

    /// Moves the base to a call, and writes the call.
    #[cold]
    #[inline(never)]
    fn call_at_new_base(&mut self, size: u64, address: u64) {
        let base = ShortBase::around(address);
        let is_written = self.note(base.word()) && {
            self.base = base;
            self.base.birth(size, address).is_some_and(|unit| self.push_unit(unit))
        };
        if !is_written {
            self.lose();
        }
    }

    /// Writes a new block that needs neither a time stamp nor another word before it, by the thread
    /// of the call before. Returns `false` where a call needs more, or `block` is null; then nothing
    /// is written.
    #[inline(always)]
    pub fn quick_birth(&mut self, tag: u64, size: usize, block: *mut c_void) -> bool {
        let (size, address) = (size as u64, block as u64);
        if address == 0 {
            return false;
        }
        if tag == self.short_tag
            && let Some(unit) = self.base.birth(size, address)
        {
            return self.quick_unit(unit);
        }
        !self.moves_base(tag, size, address) && self.quick_word(tag, size, address)
    }

    /// Writes the end of a block as [`Stream::quick_birth`] does.
    #[inline(always)]
    pub fn quick_end(&mut self, block: *mut c_void) -> bool {
        let address = block as u64;
        if address == 0 {
            return false;
        }
        match self.base.end(address) {
            Some(unit) => self.quick_unit(unit),
            None => self.quick_word(tag::FREE, 0, address),
        }
    }

    #[inline(always)]
    fn quick_unit(&mut self, unit: u32) -> bool {
        let has_space = self.units_left() != 0;
        if has_space {
            // SAFETY: the block has a unit left.
            unsafe { self.put_unit(unit) };
        }
        has_space
    }

    #[inline(always)]
    fn quick_word(&mut self, tag: u64, size: u64, address: u64) -> bool {
        let has_space = self.units_left() >= 2 && fits(size, address);
        if has_space {
            self.extra_units += 1;
            // SAFETY: the block has two units left.
            unsafe { self.put_word(call(tag, size, address)) };
        }
        has_space
    }

    /// Whether a call of the only thread needs no word before it.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Writes that a block ends.
    #[inline(always)]
    pub fn end(&mut self, thread: u32, address: u64) {
        self.switch_caller(thread);
        match self.base.end(address) {
            Some(unit) if self.push_unit(unit) => {}
            Some(_) => self.lose(),
            None => self.long_call(tag::FREE, 0, address),
        }
    }

    /// Writes that a realloc gives a block up.
    #[inline(always)]
    pub fn give_up(&mut self, thread: u32, address: u64) {
        self.switch_caller(thread);
        // The size of an end is the flag. It is no call of its own.
        self.extra_units += 1;
        self.long_call(tag::FREE, 1, address);
    }

    /// Writes the alignment that the next call requests.
    #[cold]
    pub fn alignment(&mut self, alignment: usize) {
        let shift = alignment.next_power_of_two().trailing_zeros();
        self.note(control(Control::Alignment, u64::from(shift)));
    }

    /// Writes that a thread makes its first call.
    pub fn thread_birth(&mut self, thread: u32, kernel_id: u64) {
        self.pair(Control::ThreadBirth, u64::from(thread), kernel_id);
    }

    /// Writes that a thread ends.
    pub fn thread_death(&mut self, thread: u32, name: &[u8; 16]) {
        if self.note(control(Control::ThreadDeath, u64::from(thread))) {
            self.text(name);
        }
    }

    /// Writes the memory of the process; see [`Control::Memory`].
    pub fn memory(&mut self, anonymous: u64, details: [u64; 3]) {
        if self.note(control(Control::Memory, anonymous)) {
            for detail in details {
                self.note(detail);
            }
        }
    }

    /// Nanoseconds since the recording began.
    pub fn now_ns(&self) -> u64 {
        monotonic_ns().wrapping_sub(self.start_ns)
    }

    /// Whether a log is open.
    pub fn is_recording(&self) -> bool {
        !self.tail.is_null()
    }

    /// Notes the resident memory of a sample, if it is the highest so far.
    pub fn note_sampled_peak(&mut self, resident: u64) {
        if !self.header.is_null() {
            // SAFETY: the header is mapped.
            let most = unsafe { self.header.add(field::SAMPLED_PEAK).read_volatile() };
            self.set(field::SAMPLED_PEAK, most.max(resident));
        }
    }

    /// Notes the highest resident memory of the process, if the samples began with the process.
    pub fn note_peak(&mut self, resident: u64) {
        if self.flags & flag::LATE == 0 {
            self.set(field::PEAK, resident);
        }
    }

    /// Writes what the program asks of its allocator.
    pub fn request(&mut self, thread: u32, kind: u64, value: u64) {
        if thread != self.thread {
            self.switch_thread(thread);
        }
        self.pair(Control::Request, kind, value);
    }

    /// Writes how much of a large block is resident.
    pub fn present(&mut self, address: u64, resident: u64) {
        self.pair(Control::Present, resident, address);
    }

    /// Writes a call from outside Python, with the newest Python line.
    pub fn caller(&mut self, site: u32, (module, offset): (u32, u64), line: u32) {
        if self.note(control(Control::Caller, u64::from(site))) {
            self.note(u64::from(module) << 48 | offset & 0xFFFF_FFFF_FFFF);
            self.note(u64::from(line));
        }
    }

    /// Writes that this thread's realloc failed.
    #[cold]
    pub fn realloc_failed(&mut self, thread: u32) {
        if thread != self.thread {
            self.switch_thread(thread);
        }
        self.note(control(Control::ReallocFailed, 0));
    }

    #[cold]
    fn switch_thread(&mut self, thread: u32) {
        native::end_short_path();
        self.is_plain = false;
        if self.note(control(Control::Thread, u64::from(thread))) {
            self.thread = thread;
        }
    }

    #[cold]
    fn switch_interpreter(&mut self) {
        let current = self.interpreters.map_or(0, |interpreters| interpreters.current());
        if current != self.interpreter
            && self.note(control(Control::Interpreter, u64::from(current)))
        {
            self.interpreter = current;
        }
    }

    #[cold]
    fn wide_call(&mut self, tag: u64, size: u64, address: u64) -> bool {
        fits(0, address)
            && size >> 59 == 0
            && self.note(word(tag::ASIDE, IS_WIDE | size))
            && self.push::<true>(call(tag, 0, address))
    }

    /// Writes a text in whole words. Its length stands in the word before.
    pub fn text(&mut self, text: &[u8]) {
        for chunk in text.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.note(u64::from_ne_bytes(word));
        }
    }

    /// Writes a mark of the program.
    pub fn mark(&mut self, name: &[u8]) {
        let name = name.get(..MARK_BYTES).unwrap_or(name);
        if self.note(control(Control::Mark, name.len() as u64)) {
            self.text(name);
        }
    }

    /// Writes that an arena was allocated, or is about to be freed.
    #[cold]
    pub fn arena(&mut self, is_birth: bool, base: u64, size: u64) {
        self.pair(Control::Arena, arena(is_birth, size), base);
    }

    /// Writes what the collector of a Python has visited since the last time.
    fn collections(&mut self) {
        let news = self.collector.as_mut().and_then(Collector::news);
        for Collections { generation, count, objects } in news.into_iter().flatten() {
            let word = collections(generation, count, objects);
            self.pair(Control::Request, request::COLLECTIONS, word);
        }
    }

    /// Writes a control word and the word that follows it.
    pub fn pair(&mut self, kind: Control, payload: u64, second: u64) {
        if self.note(control(kind, payload)) {
            self.note(second);
        }
    }

    /// Writes the name of a numbered file: source or module.
    pub fn named(&mut self, kind: Control, number: u32, name: &[u8]) {
        if self.note(control(kind, u64::from(number) << 24 | name.len() as u64)) {
            self.text(name);
        }
    }

    /// Writes the site of the next calls, where it differs from that of the calls before.
    #[inline(always)]
    pub fn site(&mut self, site: u32) {
        if site != self.site && self.note(word(tag::ASIDE, u64::from(site))) {
            self.site = site;
        }
    }

    #[cold]
    fn lose(&mut self) {
        if !self.header.is_null() {
            // SAFETY: a header that is not null is mapped.
            unsafe { *self.header.add(field::LOST) += 1 };
        }
    }

    /// Begins a block for a word: the last unit of the block before stays empty.
    #[cold]
    #[inline(never)]
    fn begin_block_for_word(&mut self, may_sample: bool) -> bool {
        if self.units_left() == 1 {
            self.extra_units += 1;
            // SAFETY: the block has a unit left.
            unsafe { self.put_unit(PAD) };
        }
        self.stamp(may_sample)
    }

    /// Begins a block: appends the tail if it is full, then writes the time.
    #[cold]
    #[inline(never)]
    fn stamp(&mut self, may_sample: bool) -> bool {
        preserving_errno(|| {
            let is_full = self.cursor.addr() == self.tail.addr() + TAIL_BYTES;
            if (self.tail.is_null() || is_full) && !self.make_space() {
                return false;
            }
            let now = monotonic_ns().wrapping_sub(self.start_ns);
            if self.is_over(now) {
                return false;
            }
            if !self.has_interpreters
                && self.interpreters.is_some_and(|interpreters| interpreters.are_several())
            {
                self.has_interpreters = true;
            }
            self.is_plain = self.thread == 1 && !self.has_interpreters;
            // SAFETY: a block of the mapped tail begins at the cursor.
            unsafe { self.put_word(STAMP | now) };
            if may_sample && memory::is_due(now) {
                memory::sample(self, now, false);
            }
            if may_sample {
                self.collections();
            }
            true
        })
    }

    /// Ends the recording where a limit of calls or time is reached. Called once a block.
    #[inline(always)]
    fn is_over(&mut self, now_ns: u64) -> bool {
        let RecordingLimits { max_events, duration_ns, .. } = self.limits;
        if duration_ns > 0 && now_ns >= duration_ns {
            return self.finish(end::LIMIT, (limit::DURATION, duration_ns));
        }
        if max_events > 0 {
            let in_tail = (self.cursor.addr() - self.tail.addr()) / BLOCK_BYTES;
            let blocks = self.chunks * (TAIL_BYTES / BLOCK_BYTES) as u64 + in_tail as u64;
            // A time stamp takes two units.
            let units = blocks * (BLOCK_UNITS - 2) as u64;
            if units.saturating_sub(self.extra_units) >= max_events {
                return self.finish(end::LIMIT, (limit::EVENTS, max_events));
            }
        }
        false
    }

    /// Ends the recording if `mark` is the mark at which it shall end.
    pub fn finish_at(&mut self, mark: &[u8]) {
        if matches!(self.state, StreamState::On) && self.limits.stop_at.is(mark) {
            self.finish(end::LIMIT, (limit::MARK, 0));
        }
    }

    /// Ends the recording as ordered, and takes the hooks away. The program goes on without them.
    #[cold]
    fn finish(&mut self, how: u64, (limit, value): (u64, u64)) -> bool {
        self.last_entries();
        self.set(field::LIMIT, limit);
        self.set(field::LIMIT_VALUE, value);
        self.set(field::END, how);
        self.unmap();
        self.state = StreamState::Off;
        placement::take_away();
        true
    }

    /// Writes what stands at the end of a log.
    fn last_entries(&mut self) {
        if !self.tail.is_null() {
            // No limit may end the recording once more.
            let limits = core::mem::replace(&mut self.limits, RecordingLimits::NONE);
            // SAFETY: the caller holds the lock, or is the only thread.
            unsafe { sites::get() }.write_modules(self);
            self.collections();
            memory::look_at_live_blocks(self);
            memory::sample(self, monotonic_ns().wrapping_sub(self.start_ns), true);
            self.limits = limits;
        }
    }

    fn make_space(&mut self) -> bool {
        match self.state {
            StreamState::Off => false,
            StreamState::Waiting => self.create().is_ok(),
            StreamState::On => {
                if placement::is_disturbed() {
                    self.set_flag(flag::DISTURBED);
                }
                self.append_tail()
            }
        }
    }

    /// Appends the full tail as a chunk, then clears it. If the process dies at any point of this, no
    /// word is lost or doubled.
    fn append_tail(&mut self) -> bool {
        let offset = (HEADER_BYTES + TAIL_BYTES) as i64 + self.chunks as i64 * TAIL_BYTES as i64;
        let most = self.limits.max_bytes;
        // The last entries may take another chunk.
        if most > 0 && offset as u64 + 2 * TAIL_BYTES as u64 > most {
            self.finish(end::LIMIT, (limit::BYTES, most));
            return false;
        }
        if !system::may_write(offset + TAIL_BYTES as i64) {
            return self.fail(system::EFBIG);
        }
        // SAFETY: the path is a C string, the tail is mapped, and this function opened the
        // descriptor.
        let written = unsafe {
            let fd = system::open(self.path.as_ptr().cast(), system::O_RDWR | system::O_CLOEXEC, 0);
            if fd < 0 {
                return self.fail(system::errno());
            }
            let written = system::pwrite(fd, self.tail.cast(), TAIL_BYTES, offset);
            let errno = system::errno();
            system::close(fd);
            if written < 0 { Err(errno) } else { Ok(written as usize) }
        };
        match written {
            Ok(TAIL_BYTES) => {}
            Ok(_) => return self.fail(system::ENOSPC),
            Err(errno) => return self.fail(errno),
        }
        self.chunks += 1;
        self.set(field::CHUNKS, self.chunks);
        // SAFETY: the mapped tail.
        unsafe { self.tail.write_bytes(0, TAIL_BYTES / UNIT_BYTES) };
        self.set(field::TAIL, self.chunks);
        self.cursor = self.tail;
        true
    }

    fn unmap(&mut self) {
        if !self.header.is_null() {
            // SAFETY: the stream's own mapping; no pointer into it remains.
            unsafe { system::unmap(self.header.cast(), HEADER_BYTES + TAIL_BYTES) };
        }
        self.header = core::ptr::null_mut();
        (self.tail, self.cursor) = (core::ptr::null_mut(), core::ptr::null_mut());
    }

    /// Ends the recording after an error; the program goes on.
    fn fail(&mut self, errno: c_int) -> bool {
        self.state = StreamState::Off;
        // The tail stays as it is: a full tail is whole, and the last part of the log.
        (self.tail, self.cursor) = (core::ptr::null_mut(), core::ptr::null_mut());
        self.set(field::ERRNO, errno as u64);
        self.set(field::END, end::NO_SPACE);
        false
    }

    fn set(&mut self, field: usize, value: u64) {
        if !self.header.is_null() {
            // SAFETY: the header is mapped.
            unsafe { self.header.add(field).write_volatile(value) };
        }
    }

    fn set_flag(&mut self, flag: u64) {
        self.flags |= flag;
        self.set(field::FLAGS, self.flags);
    }

    fn set_text(&mut self, (at, length): (usize, usize), value: &[u8]) {
        let value = value.get(..length - 1).unwrap_or(value);
        if !self.header.is_null() {
            // SAFETY: the header is mapped, and the text lies inside it.
            unsafe { self.header.cast::<u8>().add(at).copy_from(value.as_ptr(), value.len()) };
        }
    }

    /// Creates the file and its header. The name gets a number where a program of the same process
    /// id was recorded before. The error is the number of the operating system.
    fn create(&mut self) -> Result<(), c_int> {
        // SAFETY: plain calls.
        let pid = unsafe { system::getpid() } as u64;
        let mut fd = -1;
        for attempt in 0..1000 {
            self.set_path(pid, attempt);
            let flags = system::O_RDWR | system::O_CREAT | system::O_EXCL | system::O_CLOEXEC;
            // SAFETY: the path is a C string.
            fd = unsafe { system::open(self.path.as_ptr().cast(), flags, 0o600) };
            if fd >= 0 || system::errno() != system::EEXIST {
                break;
            }
        }
        if fd < 0 {
            self.state = StreamState::Off;
            return Err(system::errno());
        }
        let claimed = claim(fd, HEADER_BYTES + TAIL_BYTES);
        // SAFETY: descriptor and path are this function's own.
        unsafe {
            system::close(fd);
            let mapped = claimed.inspect_err(|_| {
                system::unlink(self.path.as_ptr().cast());
                self.state = StreamState::Off;
            })?;
            self.header = mapped;
            self.tail = mapped.add(HEADER_BYTES / 8).cast();
        }
        self.cursor = self.tail;
        self.base = ShortBase::FIRST;
        (self.chunks, self.extra_units) = (0, 0);
        self.start_ns = monotonic_ns();
        self.state = StreamState::On;
        self.fill_header(pid);
        Ok(())
    }

    fn fill_header(&mut self, pid: u64) {
        let python = self.python;
        let (program, directory) = (self.program, self.directory);
        self.set(field::VERSION, VERSION);
        self.set(field::PID, pid);
        self.set(field::PARENT, self.parent);
        self.set(field::START_NS, self.start_ns);
        self.set(field::FLAGS, self.flags);
        self.set(field::MAX_EVENTS, self.limits.max_events);
        self.set(field::SHORT_DOMAIN, self.short_tag - tag::MALLOC);
        self.set(field::START, self.begun.0);
        self.set(field::START_DELAY_NS, self.begun.1);
        self.set_text(text::PYTHON, &python);
        self.set_text(text::PROGRAM, &program);
        self.set_text(text::DIRECTORY, &directory);
        let (variables, executable) = (self.variables, self.executable);
        self.set_text(text::VARIABLES, &variables);
        self.set_text(text::EXECUTABLE, &executable);
        let (allocator, version, bypass) = (self.allocator, self.allocator_version, self.bypass);
        self.set_text(text::ALLOCATOR, &allocator);
        self.set_text(text::ALLOCATOR_VERSION, &version);
        self.set_text(text::BYPASS, &bypass);
        self.set(field::MAGIC, MAGIC);
    }

    /// Notes which allocator serves the process. In the constructor, or while nothing is recorded.
    fn describe_allocator(&mut self, with_libc: bool) {
        let copy = |text: Option<&CStr>, buffer: &mut [u8]| {
            buffer.fill(0);
            let bytes = text.map_or(&[][..], CStr::to_bytes);
            let fitting = bytes.len().min(buffer.len() - 1);
            buffer[..fitting].copy_from_slice(&bytes[..fitting]);
        };
        self.variables.fill(0);
        let most = self.variables.len() - 1;
        allocator::variables(&mut self.variables[..most]);
        copy(allocator::file(), &mut self.allocator);
        self.allocator_version.fill(0);
        let most = self.allocator_version.len() - 1;
        allocator::version(&mut self.allocator_version[..most]);
        let bypass = native::is_bypassed().filter(|_| with_libc).and_then(system::file_of);
        copy(bypass, &mut self.bypass);
        self.executable.fill(0);
        let most = self.executable.len() - 1;
        // SAFETY: the length is that of the buffer.
        unsafe {
            let path = c"/proc/self/exe".as_ptr();
            system::readlink(path, self.executable.as_mut_ptr().cast(), most);
        }
    }

    /// `BASE.pid`, and `.attempt` after the first.
    fn set_path(&mut self, pid: u64, attempt: u64) {
        let mut at = self.path_base_length;
        self.path[..at].copy_from_slice(&self.path_base[..at]);
        at = append_number(&mut self.path, at, pid);
        if attempt > 0 {
            at = append_number(&mut self.path, at, attempt);
        }
        self.path[at] = 0;
    }
}

/// Appends `.number`; the base leaves space for it.
fn append_number(path: &mut [u8; PATH_BYTES], mut at: usize, number: u64) -> usize {
    path[at] = b'.';
    at += 1;
    let digits = number.checked_ilog10().unwrap_or(0);
    for power in (0..=digits).rev() {
        path[at] = b'0' + (number / 10u64.pow(power) % 10) as u8;
        at += 1;
    }
    at
}

/// Claims disk space for the first `length` bytes of a file and maps them. The error is the number of
/// the operating system.
fn claim(fd: c_int, length: usize) -> Result<*mut u64, c_int> {
    if !system::may_write(length as i64) {
        return Err(system::EFBIG);
    }
    // SAFETY: the stream's own descriptor; a mapping at an address of the kernel's choice.
    unsafe {
        let errno = system::posix_fallocate(fd, 0, length as i64);
        if errno != 0 {
            return Err(errno);
        }
        let at = system::map(length, system::MAP_SHARED, fd);
        if at == system::MAP_FAILED { Err(system::errno()) } else { Ok(at.cast()) }
    }
}

/// Notes the order and the contents of the header. In the constructor, or while nothing is recorded.
pub fn prepare(order: &Order<'_>, version: &[u8]) {
    // SAFETY: the constructor runs before other threads exist; later the stream is off, and the
    // caller holds the lock or the GIL.
    let stream = unsafe { get() };
    let fitting = order.base.len().min(PATH_BYTES - 64);
    stream.path_base[..fitting].copy_from_slice(&order.base[..fitting]);
    stream.path_base_length = fitting;
    let short = version.split(|&byte| byte == b' ').next().unwrap_or_default();
    let fitting = short.len().min(stream.python.len() - 1);
    stream.python[..fitting].copy_from_slice(&short[..fitting]);
    stream.flags = if order.sites > 0 { flag::SITES } else { 0 };
    stream.flags |= if order.libc { flag::LIBC } else { 0 };
    stream.describe_allocator(order.libc);
    stream.limits = order.limits;
    // Most calls of a Python are of obj. Another process has the C library's calls only.
    stream.short_tag = tag::MALLOC + if version.is_empty() { hooks::LIBC } else { hooks::OBJ };
    stream.interpreters = Interpreters::find(version);
    stream.collector = Collector::find(version);
    (stream.thread, stream.site, stream.interpreter, stream.has_interpreters) = (1, 0, 0, false);
    stream.begun = (start::FIRST, 0);
    stream.born_ns = monotonic_ns();
    // SAFETY: a plain call.
    stream.parent = unsafe { system::getppid() } as u64;
    stream.program.fill(0);
    let most = stream.program.len() - 1;
    system::read_start(c"/proc/self/cmdline", &mut stream.program[..most]);
    // SAFETY: the length is that of the buffer; where the path does not fit, the buffer stays empty.
    preserving_errno(|| unsafe {
        system::getcwd(stream.directory.as_mut_ptr().cast(), text::DIRECTORY.1)
    });
}

/// Notes in the open log that the recording has not begun. In the constructor only.
pub fn wait_for_start() {
    // SAFETY: the constructor runs before other threads exist.
    unsafe { get() }.set(field::END, end::WAITING);
}

/// Whether the recording's delay is over.
pub fn is_due() -> bool {
    // SAFETY: both are written in the constructor, or in a child that has one thread.
    let (born_ns, delay_ns) =
        unsafe { ((*STREAM.get()).born_ns, (*STREAM.get()).limits.start_after_ns) };
    monotonic_ns().wrapping_sub(born_ns) >= delay_ns
}

/// Notes that the recording begins now. Under the lock.
pub fn begin(cause: u64) {
    // SAFETY: the lock is held.
    let stream = unsafe { get() };
    let now = monotonic_ns();
    stream.begun = (cause, now.wrapping_sub(stream.born_ns));
    stream.flags |= flag::LATE;
    stream.start_ns = now;
    stream.set(field::START_NS, now);
    stream.set(field::START, stream.begun.0);
    stream.set(field::START_DELAY_NS, stream.begun.1);
    stream.set(field::FLAGS, stream.flags);
    stream.set(field::END, end::NONE);
    memory::sample(stream, 0, false);
}

/// Whether the recording begins at `mark`.
pub fn begins_at(mark: &[u8]) -> bool {
    // SAFETY: written in the constructor.
    unsafe { (*STREAM.get()).limits.start_at.is(mark) }
}

/// Ends the recording at the request of the program. Returns the path of the log, a C string. Under
/// the lock. `is_disturbed` says that another hook stands above the recorder's.
pub fn stop(is_disturbed: bool) -> *const c_char {
    // SAFETY: the lock is held.
    let stream = unsafe { get() };
    if matches!(stream.state, StreamState::On) {
        if is_disturbed {
            stream.set_flag(flag::DISTURBED);
        }
        stream.finish(end::STOPPED, (0, 0));
    }
    stream.state = StreamState::Off;
    stream.path.as_ptr().cast()
}

/// The arguments of the command line. In the constructor only.
pub fn arguments() -> impl Iterator<Item = &'static [u8]> {
    // SAFETY: the text does not change after `prepare`, and the static never moves.
    let program: &'static [u8] = unsafe { &(*STREAM.get()).program };
    program.split(|&byte| byte == 0).take_while(|argument| !argument.is_empty())
}

/// Writes a log that holds only the reason why nothing is recorded. In the constructor only.
pub fn refuse(reason: &str) {
    // SAFETY: the constructor runs before other threads exist.
    let stream = unsafe { get() };
    if stream.create().is_ok() {
        stream.set_text(text::REASON, reason.as_bytes());
        stream.set(field::END, end::REFUSED);
    }
    stream.state = StreamState::Off;
}

/// The path of the log. In the constructor only.
pub fn path() -> &'static [u8] {
    // SAFETY: the static never moves, and the path changes only where a log is created.
    let path: &'static [u8] = unsafe { &(*STREAM.get()).path };
    path.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Opens the log. The error is the number of the operating system. In the constructor, or while
/// nothing is recorded.
pub fn open() -> Result<(), c_int> {
    // SAFETY: the constructor runs before other threads exist; later the stream is off, and the
    // caller holds the lock.
    let stream = unsafe { get() };
    stream.create()?;
    memory::sample(stream, 0, false); // what was there before the recording
    Ok(())
}

/// Notes that the program had replaced hooks. `is_placed` says that they are in their place again.
pub fn note_replaced_hooks(is_placed: bool) {
    lock();
    // SAFETY: the lock is held, or there is one thread.
    unsafe { get() }.set_flag(if is_placed { flag::REPLACED } else { flag::DISTURBED });
    unlock();
}

/// Marks a clean end; calls after it are still written. `is_disturbed` says that another hook stands
/// above the recorder's.
pub fn close(is_disturbed: bool) {
    lock();
    // SAFETY: the lock is held.
    let stream = unsafe { get() };
    if matches!(stream.state, StreamState::On) {
        if is_disturbed {
            stream.set_flag(flag::DISTURBED);
        }
        stream.last_entries();
        stream.set(field::END, end::CLEAN);
    }
    unlock();
}

/// Leaves the parent's log. The first call of the child opens a log of its own. In a forked child.
pub fn forked() {
    // SAFETY: the child has one thread.
    let stream = unsafe { get() };
    stream.unmap();
    stream.thread = 1;
    (stream.site, stream.interpreter) = (0, 0);
    stream.flags = stream.flags & (flag::SITES | flag::LIBC) | flag::FORKED;
    (stream.born_ns, stream.begun) = (monotonic_ns(), (start::FIRST, 0));
    // SAFETY: a plain call.
    stream.parent = unsafe { system::getppid() } as u64;
    if matches!(stream.state, StreamState::On) {
        stream.state = StreamState::Waiting;
    }
}
