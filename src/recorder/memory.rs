//! What the process holds besides the blocks of its calls: resident memory over time, mappings that
//! the program made by itself, and large blocks of which it touched only a part.
//!
//! All functions are called with the stream's lock held, or by the only thread. Reading the resident
//! memory costs some 3 µs, and the stream reads it at most once in 2 ms. Its parts cost more: the C
//! library's malloc walks its free blocks to count them, and the kernel walks all pages. So these are
//! read where the resident memory has grown, and neither for more than a hundredth of the time.

use core::ffi::c_void;

use crate::native;
use crate::shared::ProcessState;
use crate::stream::Stream;
use crate::system::{self, PAGE_BYTES};
use crate::table::HashTable;

/// Nanoseconds between two samples, at first.
const FIRST_INTERVAL_NS: u64 = 2_000_000;
/// Samples after which the interval doubles. So a log has few for each doubling of its time.
const SAMPLES_AN_INTERVAL: u64 = 4096;
/// Nanoseconds between two extra samples, at least. One costs some 3 µs.
const EXTRA_INTERVAL_NS: u64 = 300_000;
/// An extra sample is taken where so many resident bytes are about to be returned.
pub const EXTRA_BYTES: u64 = 1 << 20;
/// Mappings that are followed, at most; further ones are not counted.
const MAPPINGS_LIMIT: usize = 4096;
/// A block of at least so many bytes is looked at when it ends.
pub const LARGE_BYTES: usize = 256 << 10;
/// Pages that one call looks at.
const PAGES_A_LOOK: usize = 1 << 12;
/// Words of the filter of large blocks: 2^16 bits.
const FILTER_WORDS: usize = 1 << 10;

/// `struct mallinfo2`.
#[repr(C)]
struct MallocInformation {
    arena: usize,
    ordinary_chunks: usize,
    fast_chunks: usize,
    mappings: usize,
    mapped_bytes: usize,
    unused: usize,
    fast_bytes: usize,
    used_bytes: usize,
    free_bytes: usize,
    top_bytes: usize,
}

type ReadInformation = unsafe extern "C" fn() -> MallocInformation;

/// Figures that are costly to read, when they were last read.
#[derive(Clone, Copy)]
struct Reading<const N: usize> {
    values: [u64; N],
    next_ns: u64,
}

impl<const N: usize> Reading<N> {
    const NONE: Reading<N> = Reading { values: [0; N], next_ns: 0 };

    /// Reads them again, unless that was done so recently that it would cost more than a hundredth
    /// of the time. `is_last` reads in any case.
    fn refresh(&mut self, now_ns: u64, is_last: bool, read: impl FnOnce() -> [u64; N]) {
        if is_last || now_ns >= self.next_ns {
            // Processor time: on a busy machine a reading may wait for long, and costs no more.
            let started = system::thread_cpu_ns();
            self.values = read();
            self.next_ns = now_ns + 100 * system::thread_cpu_ns().wrapping_sub(started);
        }
    }
}

struct ProcessMemory {
    interval_ns: u64,
    next_sample_ns: u64,
    samples: u64,
    /// The most resident anonymous bytes so far.
    most_bytes: u64,
    /// The most resident bytes so far, not only anonymous ones.
    most_resident_bytes: u64,
    /// No extra sample is taken before this time.
    next_extra_ns: u64,
    malloc: Reading<1>,
    mappings_and_images: Reading<2>,
    read: Option<ReadInformation>,
    /// Start and length of each own mapping; length 0 is a free place.
    mappings: [(usize, usize); MAPPINGS_LIMIT],
    mapping_count: usize,
    /// Address to size of each large block.
    large: HashTable,
    filter: [u64; FILTER_WORDS],
    /// Whether a large block was ever noted.
    has_large: bool,
}

static MEMORY: ProcessState<ProcessMemory> = ProcessState::new(ProcessMemory {
    interval_ns: FIRST_INTERVAL_NS,
    next_sample_ns: 0,
    samples: 0,
    most_bytes: 0,
    most_resident_bytes: 0,
    next_extra_ns: 0,
    malloc: Reading::NONE,
    mappings_and_images: Reading::NONE,
    read: None,
    mappings: [(0, 0); MAPPINGS_LIMIT],
    mapping_count: 0,
    large: HashTable::new(),
    filter: [0; FILTER_WORDS],
    has_large: false,
});

/// Finds the C library's function. In the constructor, or while nothing is recorded.
pub fn prepare() {
    let found = system::symbol(c"mallinfo2");
    let is_usable = !found.is_null() && native::is_c_library();
    // SAFETY: nothing is recorded, so no other thread reads the state. The function has this
    // signature since glibc 2.33.
    unsafe {
        (*MEMORY.get()).read =
            is_usable.then(|| core::mem::transmute::<*mut c_void, ReadInformation>(found));
    }
    forget();
}

/// Begins anew, for a new log. In a forked child, or while nothing is recorded.
pub fn forget() {
    // SAFETY: no other thread records.
    unsafe {
        let memory = MEMORY.get();
        (*memory).interval_ns = FIRST_INTERVAL_NS;
        (*memory).next_sample_ns = 0;
        (*memory).samples = 0;
        (*memory).most_bytes = 0;
        (*memory).most_resident_bytes = 0;
        (*memory).next_extra_ns = 0;
        (*memory).malloc = Reading::NONE;
        (*memory).mappings_and_images = Reading::NONE;
        (*memory).large.clear();
        (*memory).filter = [0; FILTER_WORDS];
    }
}

/// Whether a sample is due, so many nanoseconds after the start of the recording.
#[inline(always)]
pub fn is_due(now_ns: u64) -> bool {
    // SAFETY: as for all functions here.
    unsafe { now_ns >= (*MEMORY.get()).next_sample_ns }
}

/// Writes a sample to the stream. `is_last` asks for all figures.
pub fn sample(stream: &mut Stream, now_ns: u64, is_last: bool) {
    // SAFETY: as for all functions here.
    let memory = unsafe { &mut *MEMORY.get() };
    memory.samples += 1;
    if memory.samples.is_multiple_of(SAMPLES_AN_INTERVAL) {
        memory.interval_ns *= 2;
    }
    memory.next_sample_ns = now_ns + memory.interval_ns;
    let anonymous = memory.read_resident(stream);
    memory.write(stream, now_ns, anonymous, is_last);
    if is_last {
        stream.note_peak(peak_resident_bytes());
    }
}

/// Writes an extra sample where the process holds more memory than in any sample before. Called
/// where much memory is about to be returned, so that a peak between two samples is seen.
#[cold]
#[inline(never)]
pub fn sample_peak(stream: &mut Stream) {
    if !stream.is_recording() {
        return;
    }
    system::preserving_errno(|| {
        // SAFETY: as for all functions here.
        let memory = unsafe { &mut *MEMORY.get() };
        let now_ns = stream.now_ns();
        if now_ns < memory.next_extra_ns {
            return;
        }
        memory.next_extra_ns = now_ns + EXTRA_INTERVAL_NS;
        let anonymous = memory.read_resident(stream);
        if anonymous > memory.most_bytes {
            memory.write(stream, now_ns, anonymous, false);
        }
    });
}

impl ProcessMemory {
    /// Reads the resident anonymous bytes of the process. Notes the most resident bytes.
    fn read_resident(&mut self, stream: &mut Stream) -> u64 {
        let (anonymous, resident) = resident_memory();
        if resident > self.most_resident_bytes {
            self.most_resident_bytes = resident;
            stream.note_sampled_peak(resident);
        }
        anonymous
    }

    fn write(&mut self, stream: &mut Stream, now_ns: u64, anonymous: u64, is_last: bool) {
        let memory = self;
        if is_last || anonymous > memory.most_bytes {
            memory.most_bytes = memory.most_bytes.max(anonymous);
            // SAFETY: the function of glibc takes its own locks. No thread holds one of those while it
            // waits for the stream's.
            let free = || memory.read.map_or(0, |read| unsafe { read() }.free_bytes as u64 + 1);
            memory.malloc.refresh(now_ns, is_last, || [free()]);
            let mappings = &memory.mappings[..memory.mapping_count];
            let read = || [resident_in_mappings(mappings), image_bytes()];
            memory.mappings_and_images.refresh(now_ns, is_last, read);
        }
        let ([free], [mappings, images]) =
            (memory.malloc.values, memory.mappings_and_images.values);
        stream.memory(anonymous, [mappings, images, free]);
    }
}

/// The highest resident bytes since the process began; 0 where the kernel does not say.
fn peak_resident_bytes() -> u64 {
    let mut kibibytes = 0;
    system::each_line(c"/proc/self/status", |line| {
        if let Some(value) = line.strip_prefix(b"VmHWM:") {
            kibibytes = decimal(value);
        }
    });
    kibibytes * 1024
}

/// Anonymous bytes of loaded files, which are their data, and of the main stack.
fn image_bytes() -> u64 {
    let mut kibibytes = 0;
    let mut is_image = false;
    system::each_line(c"/proc/self/smaps", |line| {
        if let Some(value) = line.strip_prefix(b"Anonymous:") {
            if is_image {
                kibibytes += decimal(value);
            }
        } else if line.first().is_some_and(|first| !first.is_ascii_uppercase()) {
            // A mapping: `start-end permissions offset device inode path`.
            let path = line.splitn(6, |&byte| byte == b' ').nth(5).unwrap_or_default();
            let path = path.trim_ascii_start();
            is_image = path.starts_with(b"/") || path == b"[stack]";
        }
    });
    kibibytes * 1024
}

/// The first number of a text.
fn decimal(text: &[u8]) -> u64 {
    let digits = text.iter().skip_while(|byte| !byte.is_ascii_digit());
    digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}

/// Resident bytes of the process: anonymous ones, without the recorder's own tables, and all.
fn resident_memory() -> (u64, u64) {
    let mut text = [0; 128];
    let length = system::read_start(c"/proc/self/statm", &mut text);
    let mut numbers = text[..length]
        .split(|byte| !byte.is_ascii_digit())
        .map(|digits| digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')));
    let (resident, shared) = (numbers.nth(1).unwrap_or(0), numbers.next().unwrap_or(0));
    let anonymous = resident.saturating_sub(shared) * PAGE_BYTES as u64;
    (anonymous.saturating_sub(system::own_bytes() as u64), resident * PAGE_BYTES as u64)
}

/// Resident bytes from `start` on.
fn resident_bytes(start: usize, length: usize) -> u64 {
    let mut pages = [0u8; PAGES_A_LOOK];
    let end = start.saturating_add(length);
    let mut at = start & !(PAGE_BYTES - 1);
    let mut resident = 0;
    while at < end {
        let bytes = (end - at).min(PAGES_A_LOOK * PAGE_BYTES);
        let count = bytes.div_ceil(PAGE_BYTES);
        // SAFETY: the kernel writes a byte for each page of the range.
        if unsafe { system::mincore(at as *mut c_void, bytes, pages.as_mut_ptr()) } == 0 {
            resident += pages[..count].iter().filter(|page| **page & 1 != 0).count();
        }
        at += count * PAGE_BYTES;
    }
    (resident * PAGE_BYTES) as u64
}

/// Resident bytes of mappings, by start and length. Of enormous ones, which are address space rather
/// than memory, the first 64 GiB are looked at.
fn resident_in_mappings(mappings: &[(usize, usize)]) -> u64 {
    let lengths = mappings.iter().filter(|(_, length)| *length > 0);
    lengths.map(|&(start, length)| resident_bytes(start, length.min(64 << 30))).sum()
}

/// Notes an anonymous mapping that the program made by itself.
pub fn mapped(start: usize, length: usize) {
    // SAFETY: as for all functions here.
    let memory = unsafe { &mut *MEMORY.get() };
    let places = &mut memory.mappings[..memory.mapping_count];
    if let Some(place) = places.iter_mut().find(|(_, length)| *length == 0) {
        *place = (start, length);
    } else if memory.mapping_count < MAPPINGS_LIMIT {
        memory.mappings[memory.mapping_count] = (start, length);
        memory.mapping_count += 1;
    }
}

/// Notes that a range is unmapped, wholly or a part of a mapping. Returns whether an own mapping was
/// there.
pub fn unmapped(start: usize, length: usize) -> bool {
    // SAFETY: as for all functions here.
    let memory = unsafe { &mut *MEMORY.get() };
    let end = start.saturating_add(length);
    let mut rest = None;
    let mut was_there = false;
    for place in &mut memory.mappings[..memory.mapping_count] {
        let (first, last) = (place.0, place.0 + place.1);
        if place.1 == 0 || end <= first || last <= start {
            continue;
        }
        was_there = true;
        if start <= first {
            *place = (end.min(last), last.saturating_sub(end));
        } else {
            if end < last {
                rest = Some((end, last - end));
            }
            *place = (first, start - first);
        }
    }
    if let Some((start, length)) = rest {
        mapped(start, length);
    }
    was_there
}

#[inline(always)]
fn filter_bit(address: usize) -> usize {
    (address >> 4) & (FILTER_WORDS * 64 - 1)
}

/// Notes a large block.
#[cold]
#[inline(never)]
pub fn begins(address: usize, size: usize) {
    // SAFETY: as for all functions here.
    let memory = unsafe { &mut *MEMORY.get() };
    if memory.large.is_full() {
        // Blocks that live now are not looked at any more.
        memory.large.clear();
        memory.filter = [0; FILTER_WORDS];
    }
    let bit = filter_bit(address);
    memory.filter[bit / 64] |= 1 << (bit % 64);
    memory.large.set(address as u64, size as u64);
    memory.has_large = true;
}

/// Whether a block may be a large one.
#[inline(always)]
pub fn may_be_large(address: usize) -> bool {
    // SAFETY: as for all functions here.
    let memory = unsafe { &*MEMORY.get() };
    let bit = filter_bit(address);
    memory.has_large && memory.filter[bit / 64] >> (bit % 64) & 1 != 0
}

/// Writes how much of a block was resident, if it is a large one of which that is only a part. The
/// block is about to end.
#[inline(always)]
pub fn ends(address: usize, stream: &mut Stream) {
    if may_be_large(address) {
        look(address, stream);
    }
}

#[cold]
#[inline(never)]
fn look(address: usize, stream: &mut Stream) {
    // SAFETY: as for all functions here.
    let memory = unsafe { &mut *MEMORY.get() };
    let Some(size) = memory.large.get(address as u64).filter(|size| *size > 0) else { return };
    memory.large.set(address as u64, 0);
    if write_present(address, size as usize, stream) >= EXTRA_BYTES {
        sample_peak(stream);
    }
}

/// Writes how much of a block is resident, if that is only a part. Returns the resident bytes.
fn write_present(address: usize, size: usize, stream: &mut Stream) -> u64 {
    let resident = resident_bytes(address, size);
    if resident + (PAGE_BYTES as u64) < size as u64 {
        stream.present(address as u64, resident);
    }
    resident
}

/// Writes the same of all large blocks that live. At the end of the log.
pub fn look_at_live_blocks(stream: &mut Stream) {
    // SAFETY: as for all functions here.
    let memory = unsafe { &mut *MEMORY.get() };
    memory.large.each(|address, size| {
        if size > 0 {
            write_present(address as usize, size as usize, stream);
        }
    });
}
