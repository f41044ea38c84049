//! Flushes glibc's cache of the calling thread, which a trim does not touch.
#![expect(unsafe_code, reason = "calls the C library's allocator, and starts a thread of its own")]

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use super::glibc::{CACHED_BYTES_MOST, release_of};
use crate::backends::backend::Trim;
use crate::environment::GLIBC_TUNABLES_C;

/// Requests, in bytes, that glibc's thread cache serves, and the steps of its sizes. From 2.42 on a
/// setting makes it serve larger ones.
const CACHED_BYTES: std::ops::RangeInclusive<usize> = 24..=CACHED_BYTES_MOST as usize;
const CACHED_STEP: usize = 16;
/// Each `mallinfo2` walks all free chunks. Where there are so many that the flush takes longer than
/// this, it ends without a result.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Flushes the calling thread's cache, whatever its settings are. malloc takes all blocks out of
/// the cache. Another thread frees them and ends, and glibc then returns that thread's cache to the
/// arena.
///
/// The number of blocks in the cache is not known. Where the cache of a size is empty, malloc takes
/// a free chunk of that size from the arena. It also moves others of the same size into the cache.
/// So blocks are taken until a call takes exactly one chunk out of the arena: then the cache was
/// empty and got no chunk. The other thread is started before, because its start calls malloc, too.
pub(super) fn flush() -> Trim {
    let Some(info) = HeapInfo::find().filter(|_| !caches_large_blocks()) else {
        return Trim::None;
    };
    let began = Instant::now();
    // SAFETY: only sets a limit: the thread below uses this arena, and makes none of its own.
    unsafe { libc::mallopt(M_ARENA_MAX, 1) };
    let Some(thread) = FreeingThread::start() else { return Trim::None };
    let mut taken = BlockChain(std::ptr::null_mut());
    for size in CACHED_BYTES.step_by(CACHED_STEP) {
        let mut batch = 0;
        loop {
            for _ in 0..batch {
                taken.take(size);
            }
            let before = info.in_use();
            let chunk = taken.take(size);
            if chunk == 0 || info.in_use().wrapping_sub(before) == chunk {
                break;
            }
            if began.elapsed() > TIME_LIMIT {
                return Trim::None;
            }
            batch = (batch * 2).max(8);
        }
    }
    thread.free(taken);
    Trim::Done
}

/// Whether a setting makes the cache serve larger blocks. These have up to 4 MiB, and each size is a
/// list of its own, so they cannot be taken out one by one.
///
/// Called in a copy of the process, so it allocates nothing.
fn caches_large_blocks() -> bool {
    // SAFETY: a C string; no thread changes the environment of a child that measures.
    let tunables = unsafe { libc::getenv(GLIBC_TUNABLES_C.as_ptr()) };
    if tunables.is_null() {
        return false;
    }
    // SAFETY: getenv returns a C string.
    let tunables = unsafe { CStr::from_ptr(tunables) }.to_bytes();
    let largest = tunables.split(|byte| *byte == b':').rev().find_map(|part| {
        let value = part.strip_prefix(b"glibc.malloc.tcache_max=")?;
        std::str::from_utf8(value).ok()?.parse::<u64>().ok()
    });
    // SAFETY: the function returns a string that lives as long as the library.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    let release = version.to_str().ok().and_then(release_of);
    release >= Some((2, 42)) && largest.is_some_and(|largest| largest > CACHED_BYTES_MOST)
}

/// `M_ARENA_MAX` of `malloc.h`.
const M_ARENA_MAX: libc::c_int = -8;

/// glibc's own counters of its arenas: `mallinfo2`, from 2.33 on.
struct HeapInfo(unsafe extern "C" fn() -> libc::mallinfo2);

impl HeapInfo {
    fn find() -> Option<HeapInfo> {
        // SAFETY: looks a name up; in glibc the function of that name has this type.
        unsafe {
            let found = libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr());
            (!found.is_null()).then(|| {
                HeapInfo(std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn() -> libc::mallinfo2,
                >(found))
            })
        }
    }

    /// Bytes of chunks in use; those in a thread's cache count as such.
    fn in_use(&self) -> usize {
        // SAFETY: reads the arenas under their locks.
        unsafe { (self.0)() }.uordblks
    }
}

/// Blocks, each of which holds the address of the previous one.
struct BlockChain(*mut c_void);

impl BlockChain {
    /// Takes a block. Returns its chunk's bytes with the header; 0 where there is no memory.
    fn take(&mut self, size: usize) -> usize {
        // SAFETY: the block is large enough for an address, and nothing else uses it.
        unsafe {
            let block = libc::malloc(size);
            if block.is_null() {
                return 0;
            }
            block.cast::<*mut c_void>().write(self.0);
            self.0 = block;
            libc::malloc_usable_size(block) + size_of::<usize>()
        }
    }
}

/// A thread that frees a chain and ends. Its stack is shared memory, which is not counted as
/// resident. It is detached: libc then frees the thread's own blocks itself, after its cache is
/// gone. A join would free them into the caller's cache, which was just flushed.
struct FreeingThread(*const ThreadExchange);

/// What the thread and its caller exchange, at the far end of the thread's stack.
#[repr(C)]
struct ThreadExchange {
    /// The thread's id in the kernel; 0 until it runs.
    thread: AtomicI32,
    /// Whether `chain` is set.
    is_given: AtomicBool,
    chain: AtomicPtr<c_void>,
}

impl FreeingThread {
    fn start() -> Option<FreeingThread> {
        const STACK_BYTES: usize = 256 << 10;
        // SAFETY: a new mapping, all zeros, begins with an `ThreadExchange`; the rest is the stack
        // of a thread. It is never unmapped.
        unsafe {
            let memory = libc::mmap(
                std::ptr::null_mut(),
                STACK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            let mut id: libc::pthread_t = std::mem::zeroed();
            let has_started = memory != libc::MAP_FAILED
                && libc::pthread_attr_init(&mut attributes) == 0
                && libc::pthread_attr_setdetachstate(
                    &mut attributes,
                    libc::PTHREAD_CREATE_DETACHED,
                ) == 0
                && libc::pthread_attr_setstack(
                    &mut attributes,
                    memory.byte_add(EXCHANGE_BYTES),
                    STACK_BYTES - EXCHANGE_BYTES,
                ) == 0
                && libc::pthread_create(&mut id, &attributes, run, memory) == 0;
            if !has_started {
                return None;
            }
            let thread = FreeingThread(memory.cast());
            while thread.exchange().thread.load(Ordering::Acquire) == 0 {
                libc::sched_yield();
            }
            Some(thread)
        }
    }

    fn exchange(&self) -> &ThreadExchange {
        // SAFETY: `start` mapped it and nothing unmaps it; all access is atomic.
        unsafe { &*self.0 }
    }

    /// Lets the thread free the chain, and waits until the thread has ended.
    fn free(self, chain: BlockChain) {
        let exchange = self.exchange();
        exchange.chain.store(chain.0, Ordering::Relaxed);
        exchange.is_given.store(true, Ordering::Release);
        let thread = exchange.thread.load(Ordering::Relaxed);
        // SAFETY: a system call that checks whether a thread of this process exists; yields.
        unsafe {
            while libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, 0) == 0 {
                libc::sched_yield();
            }
        }
    }
}

/// Bytes before the stack, for an [`ThreadExchange`].
const EXCHANGE_BYTES: usize = 4096;

/// The body of the thread.
extern "C" fn run(exchange: *mut c_void) -> *mut c_void {
    // SAFETY: `FreeingThread::start` passes an `ThreadExchange` that is never unmapped. Each block
    // of the chain is live until it is freed here, and holds the address of the next.
    unsafe {
        let exchange = &*exchange.cast::<ThreadExchange>();
        exchange.thread.store(libc::syscall(libc::SYS_gettid) as i32, Ordering::Release);
        while !exchange.is_given.load(Ordering::Acquire) {
            libc::sched_yield();
        }
        let mut block = exchange.chain.load(Ordering::Relaxed);
        while !block.is_null() {
            let next = block.cast::<*mut c_void>().read();
            libc::free(block);
            block = next;
        }
        block
    }
}
