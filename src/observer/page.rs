//! The page on which the observer writes what it read: a file that the observed process maps and
//! `heaplay live` reads. Included by both sides.
//!
//! All numbers are 64 bits, little-endian. Each field has a fixed place.

/// The variable that names the page: `root=PPID;until=NAME;PATH`. The observer does nothing in a
/// process whose parent is not `PPID`. `until=NAME;` is left out where the process runs to its end.
/// `start=FILE;` in its place ends the process as soon as the libraries of this program are loaded. The
/// file is that of `/proc/self/exe`, so an image before it, such as valgrind's, goes on.
pub const VARIABLE: &str = "HEAPLAY_OBSERVE";
/// The first eight bytes of a page.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HPLIVE01");
/// Bytes of a page.
pub const PAGE_LENGTH: usize = MARKS + MARKS_LIMIT * MARK_LENGTH;

/// [`MAGIC`], once the observer runs.
pub const MAGIC_AT: usize = 0;
/// The process's id. The last image of a chain of `exec` has written it.
pub const PROCESS: usize = 8;
/// Which allocator serves the object domain of CPython: a [`python_allocator`].
pub const PYTHON_ALLOCATOR: usize = 16;
/// How the process ended: an [`end`].
pub const END: usize = 24;
/// Resident anonymous memory at the end, bytes.
pub const END_ANONYMOUS: usize = 32;
/// Resident memory of files and shared memory at the end, bytes.
pub const END_SHARED: usize = 40;
/// The most resident memory that the process ever had, of all kinds, bytes (`VmHWM`).
pub const HIGH_WATER: usize = 48;
/// Marks so far.
pub const MARK_COUNT: usize = 56;
/// The number of the mark of `until`, counted from 1; 0 before it.
pub const UNTIL_MARK: usize = 64;
/// The version of CPython as `major << 8 | minor`; 0 where the process is no Python.
pub const PYTHON_VERSION: usize = 72;
/// Processor time of the process itself at its end, ns.
pub const OWN_PROCESSOR: usize = 80;
/// The version that the allocator reports, with closing zero bytes.
pub const ALLOCATOR_VERSION: usize = 128;
/// The file of the `malloc` that serves the process, with closing zero bytes.
pub const MALLOC_FILE: usize = 256;
/// The first mark.
pub const MARKS: usize = 1024;
/// Marks that a page holds; later ones are not written.
pub const MARKS_LIMIT: usize = 64;
/// Bytes of a mark.
pub const MARK_LENGTH: usize = 128;

/// What serves CPython's object domain.
pub mod python_allocator {
    /// Nobody looked, or the process is no Python.
    pub const UNKNOWN: u64 = 0;
    /// Another one than the raw domain's: pymalloc, or mimalloc in a free-threaded build.
    pub const OWN: u64 = 1;
    /// The one of the raw domain, which is the process's malloc.
    pub const MALLOC: u64 = 2;
}

/// How a process ended.
pub mod end {
    /// It still runs, or a signal ended it.
    pub const UNKNOWN: u64 = 0;
    /// It ran its destructors.
    pub const EXIT: u64 = 1;
    /// It called `_exit`.
    pub const SHORT_EXIT: u64 = 2;
    /// The observer ended it at its start, as the order says.
    pub const START: u64 = 3;
}

/// The fields of a mark, from its start on.
pub mod mark {
    /// Nanoseconds of the monotonic clock.
    pub const TIME: usize = 0;
    /// Resident anonymous memory, bytes.
    pub const ANONYMOUS: usize = 8;
    /// Processor time of the process in user mode so far, ns.
    pub const USER: usize = 16;
    /// The same in the kernel.
    pub const SYSTEM: usize = 24;
    /// Page faults so far.
    pub const FAULTS: usize = 32;
    /// The name, with closing zero bytes.
    pub const NAME: usize = 40;
    /// Bytes of a name, at most.
    pub const NAME_LENGTH: usize = super::MARK_LENGTH - NAME;
}
