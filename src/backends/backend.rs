//! The contract of a backend: [`Backend`] is one allocator with its settings.

use std::ffi::c_void;
use std::os::fd::RawFd;

use super::allocator::Domains;
use super::arena_report::{self, ArenaMemory};
use super::arenas::Pools;
use super::return_unit::{ReturnKind, UnitOfBlock};
use crate::trace::{AllocatorRequest, Kind};

/// What a pool allocator of this crate counts about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolFigure {
    /// Most arenas mapped at once.
    ArenasPeak,
    /// Arenas mapped now.
    ArenasEnd,
    /// Arenas mapped so far.
    ArenasTotal,
    /// Pools that hold a live block.
    PoolsEnd,
    /// Bytes in pool headers.
    PoolHeaderBytes,
    /// Bytes in the tails of pools, too small for a block.
    QuantizationBytes,
    /// Bytes in free blocks of used pools.
    AvailableBytes,
    /// Bytes in wholly free pools of mapped arenas.
    UnusedPoolBytes,
    /// Bytes in blocks in use, by their class size.
    AllocatedBytes,
    /// Bytes lost where arenas do not begin at a multiple of a pool.
    ArenaAlignmentBytes,
}

/// A figure that an allocator of this crate counts about itself. Exact: the same trace gives the
/// same figure every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Which figure.
    pub figure: PoolFigure,
    /// The figure.
    pub value: u64,
}

/// Why an allocator does not behave the same in two replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Varies {
    /// It returns memory, or collects, after a delay in wall time (decay, delayed purges).
    ByClock = 1,
    /// It places blocks at random, against attackers.
    #[cfg_attr(not(feature = "scudo"), allow(dead_code, reason = "only scudo does so"))]
    AtRandom = 2,
}

/// The threads that may call a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThreadUse {
    /// Any thread while no other thread calls, as under CPython's GIL.
    OneAtATime,
    /// Any number of threads at the same time.
    Concurrent,
}

/// The result of a request to return memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// The allocator has no such call, which is no fault.
    None,
    /// The call was made.
    Done,
}

/// One allocator with its settings, in a process of its own: state may be global to the process.
///
/// [`Backend::thread_use`] says from which threads it may be called.
pub trait Backend {
    /// The tables that the loop calls. They stay valid as long as the backend lives.
    fn domains(&self) -> Domains;

    /// The tables for the blocks of each kind, those without a kind first, for backends that treat
    /// types differently; `None` when [`Backend::domains`] serve all. A block ends through the
    /// tables that allocated it.
    fn by_kind(&self, _kinds: &[Kind]) -> Option<Vec<Domains>> {
        None
    }

    /// The threads that may call the tables and the other functions of this contract.
    fn thread_use(&self) -> ThreadUse {
        ThreadUse::OneAtATime
    }

    /// The calling thread is about to make its first call. Allocators whose threads must be
    /// announced do so here; opening the backend announces the thread that opens it.
    fn thread_begins(&self) {}

    /// The calling thread has made its last call and ends.
    fn thread_ends(&self) {}

    /// The calling thread makes calls until [`Backend::calls_paused`]: in recorded order the next ones, in
    /// free order all of its own, beside other threads. The thread that opened the backend begins so,
    /// without this call. An allocator that knows its caller by a lock takes the lock here.
    fn calls_resumed(&self) {}

    /// Another thread makes the next calls, or begins or ends; in free order this thread is about to end.
    fn calls_paused(&self) {}

    /// The recorded program made this request of its allocator, on the calling thread. An allocator
    /// without such a call ignores it.
    fn request(&self, request: AllocatorRequest) {
        if let AllocatorRequest::Trim { .. } = request {
            self.trim();
        }
    }

    /// The allocator's true version, as it reports itself (`glibc 2.36`).
    fn version(&self) -> String;

    /// Bytes that the caller may use at `block`, which was requested with `requested` bytes.
    ///
    /// # Safety
    /// `block` is a live block of this backend.
    #[expect(unsafe_code, reason = "black-box allocators read their own headers before the block")]
    unsafe fn usable_size(&self, block: *mut c_void, requested: usize) -> usize;

    /// The alignment in bytes of every block of 16 bytes or more, aligned requests included. C's `malloc`
    /// guarantees 16 on 64-bit machines; CPython up to 3.7.3 guaranteed 8.
    fn alignment(&self) -> usize {
        16
    }

    /// Whether blocks are memory that may be touched. False only for `null`.
    fn backs_memory(&self) -> bool {
        true
    }

    /// Requests that the allocator returns unused memory (`malloc_trim` and the like).
    fn trim(&self) -> Trim {
        Trim::None
    }

    /// Flushes the cache of the calling thread, where a trim does not touch it (glibc's `tcache`).
    /// It is called in a copy of the process that ends afterwards. The copy shares the harness's
    /// heap, so this must not use that heap.
    fn flush_thread_cache(&self) -> Trim {
        Trim::None
    }

    /// Bytes that stay resident beside a live block of so many usable bytes after a trim: bytes
    /// before the block's start, and bytes from its usable end on (the header of an adjacent free
    /// block). `None` where that is not known; then nothing is predicted.
    fn trim_leaves(&self, _usable: usize) -> Option<[usize; 2]> {
        None
    }

    /// How the allocator returns unused memory, by itself or on request; empty where it never does,
    /// and where that is not known.
    fn returns_by(&self) -> Vec<ReturnKind> {
        Vec::new()
    }

    /// The unit in which the memory of each block can be returned, as long as no call is made;
    /// `None` where there are no units but pages, and where heaplay does not know where they lie.
    fn unit_of_block(&self) -> Option<UnitOfBlock<'_>> {
        None
    }

    /// Why two replays of one trace may place blocks or leave pages differently; `None` when they
    /// do not. `check` does not judge the memory of a backend that varies.
    fn varies(&self) -> Option<Varies> {
        None
    }

    /// The figures that the allocator counts about itself, now; none for a black box.
    fn counters(&self) -> Vec<Counter> {
        Vec::new()
    }

    /// Writes to a file descriptor what the allocator reports of its memory by arena, thread heap or
    /// cache; `false` where it reports nothing. As [`Backend::flush_thread_cache`], it is called in a
    /// copy of the process and must not use the harness's heap.
    fn write_arenas(&self, _out: RawFd) -> bool {
        false
    }

    /// Reads what [`Backend::write_arenas`] wrote.
    fn read_arenas(&self, text: &str) -> Vec<ArenaMemory> {
        arena_report::read(text)
    }

    /// Its arenas and pools, for allocators that have such.
    fn pools(&self) -> Option<&dyn Pools> {
        None
    }

    /// Walks the allocator's whole state and checks its invariants; a black box has nothing to
    /// walk. Slow.
    ///
    /// # Errors
    /// The first invariant that does not hold, as text.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
