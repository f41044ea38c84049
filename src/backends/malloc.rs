//! Room `backends`, member `malloc`: the system's own allocator, as CPython's raw domain calls it.
//!
//! CPython's raw allocator turns a size of 0 into 1, and `calloc` of nothing into one element of
//! one byte, so that every request gives a distinct block (Objects/obmalloc.c, `_PyMem_RawMalloc`
//! and its sisters). So do these.
#![expect(unsafe_code, reason = "calls the C library's allocator")]

use std::ffi::c_void;
#[cfg(target_env = "gnu")]
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};
#[cfg(target_env = "gnu")]
use std::time::{Duration, Instant};

use super::allocator::{
    Allocator, Backend, BackendError, Domains, Environment, Member, Opened, Setting, Trim, plain,
    setting,
};
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "malloc",
    summary: "the C library's malloc, called as CPython's raw domain calls it",
    below: None,
    settings: &SETTINGS,
    environment,
    details,
    open,
};

const SETTINGS: [Setting; 19] = [
    setting(
        "MALLOC_ARENA_MAX",
        "8 for each processor",
        "most arenas; threads share them from there on",
    ),
    setting("MALLOC_ARENA_TEST", "8", "arenas from which on the limit is computed"),
    setting(
        "MALLOC_TRIM_THRESHOLD_",
        "128K, growing",
        "bytes free at the heap's top from which they are given back; fixes it",
    ),
    setting("MALLOC_TOP_PAD_", "128K", "bytes asked from the system more than needed"),
    setting(
        "MALLOC_MMAP_THRESHOLD_",
        "128K, growing",
        "bytes from which a block gets a mapping of its own; fixes it",
    ),
    setting("MALLOC_MMAP_MAX_", "65536", "most blocks with a mapping of their own; 0 none"),
    setting("MALLOC_PERTURB_", "0", "a byte that new and freed blocks are filled with; 0 none"),
    setting("glibc.malloc.arena_max", "8 for each processor", "as MALLOC_ARENA_MAX"),
    setting("glibc.malloc.arena_test", "8", "as MALLOC_ARENA_TEST"),
    setting("glibc.malloc.trim_threshold", "128K, growing", "as MALLOC_TRIM_THRESHOLD_"),
    setting("glibc.malloc.top_pad", "128K", "as MALLOC_TOP_PAD_"),
    setting("glibc.malloc.mmap_threshold", "128K, growing", "as MALLOC_MMAP_THRESHOLD_"),
    setting("glibc.malloc.mmap_max", "65536", "as MALLOC_MMAP_MAX_"),
    setting("glibc.malloc.perturb", "0", "as MALLOC_PERTURB_"),
    setting(
        "glibc.malloc.mxfast",
        "128",
        "largest block for fast bins, which merge late and all at once; 0 none",
    ),
    setting(
        "glibc.malloc.tcache_count",
        "7",
        "free blocks of each size in the thread's cache; 0 none",
    ),
    setting("glibc.malloc.tcache_max", "1032", "largest block in that cache, in bytes"),
    setting(
        "glibc.malloc.tcache_unsorted_limit",
        "0",
        "blocks looked at to fill that cache; 0 no limit",
    ),
    setting(
        "glibc.malloc.hugetlb",
        "0",
        "1: ask for transparent huge pages; 2: use huge pages for mappings",
    ),
];

/// The tunable that a setting is; the old variables are other names of tunables.
fn tunable(name: &str) -> String {
    match name.strip_prefix("MALLOC_") {
        Some(old) => format!("glibc.malloc.{}", old.trim_end_matches('_').to_lowercase()),
        None => name.to_owned(),
    }
}

/// Variables stay variables, tunables go into `GLIBC_TUNABLES`: both are read by the loader before
/// `main`.
fn environment(spec: &BackendSpec) -> Environment {
    spec.takes_only(&SETTINGS)?;
    Ok(spec
        .settings()
        .iter()
        .map(|(name, value)| match name.strip_prefix("MALLOC_") {
            Some(_) => (name.clone(), plain(value).into()),
            None => ("GLIBC_TUNABLES".to_owned(), format!("{name}={}", plain(value)).into()),
        })
        .collect())
}

/// Asks this process's own loader, with the same environment, what it makes of the tunables
/// (`--list-tunables`, glibc 2.33 and later): a value out of bounds or a name that it does not know
/// leaves the default.
///
/// # Errors
/// The first setting that it did not take, or why that cannot be told.
fn read_back(spec: &BackendSpec) -> Result<(), BackendError> {
    if spec.settings().is_empty() {
        return Ok(());
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let loader = maps
        .lines()
        .filter_map(|line| line.split_once('/'))
        .map(|(_, path)| format!("/{path}"))
        .find(|path| {
            path.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with("ld-linux") || name.starts_with("ld-2"))
        });
    let unknown = |reason: String| BackendError::Unavailable { backend: spec.to_string(), reason };
    let loader = loader
        .ok_or_else(|| unknown("its settings are glibc's, and this is another C library".into()))?;
    let output = std::process::Command::new(&loader).arg("--list-tunables").output();
    let output = output.map_err(|error| unknown(format!("{loader} --list-tunables: {error}")))?;
    if !output.status.success() {
        return Err(unknown(format!(
            "{loader} has no --list-tunables (glibc 2.33), so settings cannot be read back"
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    for (name, value) in spec.settings() {
        let own = tunable(name);
        let found = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(told, _)| *told == own)
            .map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        let present = environment(spec)?.iter().all(|(key, value)| {
            let value = value.to_string_lossy();
            std::env::var(key).is_ok_and(|present| present.split(':').any(|part| part == value))
        });
        let taken = found.and_then(number);
        if taken.is_none() || taken != number(&plain(value)) || !present {
            return Err(spec.not_taken(name, value, found.unwrap_or("nothing")));
        }
    }
    Ok(())
}

/// The system's allocator. Its state is the process's.
struct Malloc;

impl Backend for Malloc {
    fn domains(&self) -> Domains {
        Domains::same(Allocator { ctx: std::ptr::null_mut(), malloc, calloc, realloc, free })
    }

    fn version(&self) -> String {
        version()
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller says that the block is live.
        unsafe { libc::malloc_usable_size(block) }
    }

    fn trim(&mut self) -> Trim {
        trim()
    }

    fn drain(&mut self) -> Trim {
        drain()
    }

    fn trim_leaves(&self, usable: usize) -> Option<[usize; 2]> {
        trim_leaves(usable)
    }
}

unsafe extern "C" fn malloc(_ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: malloc takes any size.
    unsafe { libc::malloc(size.max(1)) }
}

unsafe extern "C" fn calloc(
    _ctx: *mut c_void,
    elements: usize,
    element_size: usize,
) -> *mut c_void {
    if elements == 0 || element_size == 0 {
        // SAFETY: calloc takes any sizes.
        return unsafe { libc::calloc(1, 1) };
    }
    // SAFETY: as above; it refuses a product that overflows.
    unsafe { libc::calloc(elements, element_size) }
}

unsafe extern "C" fn realloc(
    _ctx: *mut c_void,
    block: *mut c_void,
    new_size: usize,
) -> *mut c_void {
    // SAFETY: the caller's block came from these functions or is null.
    unsafe { libc::realloc(block, new_size.max(1)) }
}

unsafe extern "C" fn free(_ctx: *mut c_void, block: *mut c_void) {
    // SAFETY: the caller's block came from these functions or is null.
    unsafe { libc::free(block) }
}

/// The C library of this process, as it reports itself.
#[cfg(target_env = "gnu")]
pub fn version() -> String {
    // SAFETY: the function gives a string that lives as long as the library.
    let told = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", told.to_string_lossy())
}

/// The C library of this process, which reports no version.
#[cfg(not(target_env = "gnu"))]
pub fn version() -> String {
    "musl/unknown".to_owned()
}

#[cfg(target_env = "gnu")]
pub(super) fn trim() -> Trim {
    // SAFETY: malloc_trim gives free memory back and touches no live block.
    unsafe { libc::malloc_trim(0) };
    Trim::Done
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn trim() -> Trim {
    Trim::None
}

/// Before a block lies its chunk's head: two words, the first of which is the last word of a used
/// chunk below. Behind its usable end, which is one word into the next chunk, that chunk begins; if
/// it is free, `malloc_trim` gives back the whole pages that begin behind the six words in which it
/// is listed (`mtrim` in malloc/malloc.c), or behind four where it is the heap's top (`systrim`;
/// the difference shows only where those two words cross into a page). A chunk that is a mapping of
/// its own has nothing behind it: its usable bytes are a multiple of two words, those of others are
/// not.
#[cfg(target_env = "gnu")]
fn trim_leaves(usable: usize) -> Option<[usize; 2]> {
    const WORD: usize = size_of::<usize>();
    let behind = if usable.is_multiple_of(2 * WORD) { 0 } else { 5 * WORD };
    Some([2 * WORD, behind])
}

#[cfg(not(target_env = "gnu"))]
fn trim_leaves(_usable: usize) -> Option<[usize; 2]> {
    None
}

/// Requests that glibc's thread cache can keep, and the steps of its sizes; up to 2.41 no setting
/// makes it keep larger ones.
#[cfg(target_env = "gnu")]
const CACHED_BYTES: std::ops::RangeInclusive<usize> = 24..=1032;
#[cfg(target_env = "gnu")]
const CACHED_STEP: usize = 16;
/// Each look at the heap's books walks all free chunks; where there are so many that emptying takes
/// longer than this, it is given up.
#[cfg(target_env = "gnu")]
const PATIENCE: Duration = Duration::from_secs(10);

/// Empties the calling thread's cache, whatever its settings are. All that it holds is taken by
/// malloc; another thread frees it and ends, and glibc then gives that thread's cache back to the
/// arena.
///
/// Taking is not counting: where a size's cache is empty, malloc takes a free chunk of that size
/// from the arena and puts others of its like into the cache. So it goes on until a call takes
/// exactly one chunk out of the arena: then the cache had none, and was given none. The other
/// thread is there before that begins, since starting one is such a call.
#[cfg(target_env = "gnu")]
pub(super) fn drain() -> Trim {
    let Some(books) = Books::find() else { return Trim::None };
    let began = Instant::now();
    // SAFETY: only sets a limit: the thread below is to use this arena, not to make one of its own.
    unsafe { libc::mallopt(M_ARENA_MAX, 1) };
    let Some(helper) = Helper::start() else { return Trim::None };
    let mut taken = Chain(std::ptr::null_mut());
    for size in CACHED_BYTES.step_by(CACHED_STEP) {
        let mut batch = 0;
        loop {
            for _ in 0..batch {
                taken.take(size);
            }
            let before = books.in_use();
            let chunk = taken.take(size);
            if chunk == 0 || books.in_use().wrapping_sub(before) == chunk {
                break;
            }
            if began.elapsed() > PATIENCE {
                return Trim::None;
            }
            batch = (batch * 2).max(8);
        }
    }
    helper.free(taken);
    Trim::Done
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn drain() -> Trim {
    Trim::None
}

/// `M_ARENA_MAX` of `malloc.h`.
#[cfg(target_env = "gnu")]
const M_ARENA_MAX: libc::c_int = -8;

/// glibc's own account of its arenas: `mallinfo2`, from 2.33 on.
#[cfg(target_env = "gnu")]
struct Books(unsafe extern "C" fn() -> libc::mallinfo2);

#[cfg(target_env = "gnu")]
impl Books {
    fn find() -> Option<Books> {
        // SAFETY: looks a name up; what has that name in glibc has this type.
        unsafe {
            let found = libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr());
            (!found.is_null()).then(|| {
                Books(
                    std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> libc::mallinfo2>(
                        found,
                    ),
                )
            })
        }
    }

    /// Bytes of chunks in use; those in a thread's cache count as such.
    fn in_use(&self) -> usize {
        // SAFETY: reads the arenas under their locks.
        unsafe { (self.0)() }.uordblks
    }
}

/// Blocks, each of which holds the address of the one before it.
#[cfg(target_env = "gnu")]
struct Chain(*mut c_void);

#[cfg(target_env = "gnu")]
impl Chain {
    /// Takes a block. Gives its chunk's bytes, header and all; 0 where there is no memory.
    fn take(&mut self, size: usize) -> usize {
        // SAFETY: the block has room for an address, and nobody else has it.
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
/// resident. Nobody joins it: what libc keeps for a thread it then frees itself, after its cache is
/// gone, and not the caller into the cache just emptied.
#[cfg(target_env = "gnu")]
struct Helper(*const Hand);

/// What helper and caller pass to each other, on the helper's stack's far end.
#[cfg(target_env = "gnu")]
#[repr(C)]
struct Hand {
    /// The helper's number among the kernel's threads; 0 until it runs.
    thread: AtomicI32,
    /// Whether `chain` is there.
    given: AtomicBool,
    chain: AtomicPtr<c_void>,
}

#[cfg(target_env = "gnu")]
impl Helper {
    fn start() -> Option<Helper> {
        const STACK_BYTES: usize = 256 << 10;
        // SAFETY: a mapping of our own, all zeroes, begins with a `Hand`; the rest is the stack of
        // a thread, and never unmapped.
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
            let mut thread: libc::pthread_t = std::mem::zeroed();
            let well = memory != libc::MAP_FAILED
                && libc::pthread_attr_init(&mut attributes) == 0
                && libc::pthread_attr_setdetachstate(
                    &mut attributes,
                    libc::PTHREAD_CREATE_DETACHED,
                ) == 0
                && libc::pthread_attr_setstack(
                    &mut attributes,
                    memory.byte_add(HAND_BYTES),
                    STACK_BYTES - HAND_BYTES,
                ) == 0
                && libc::pthread_create(&mut thread, &attributes, run, memory) == 0;
            if !well {
                return None;
            }
            let helper = Helper(memory.cast());
            while helper.hand().thread.load(Ordering::Acquire) == 0 {
                libc::sched_yield();
            }
            Some(helper)
        }
    }

    fn hand(&self) -> &Hand {
        // SAFETY: `start` mapped it for good; all access is atomic.
        unsafe { &*self.0 }
    }

    /// Has the chain freed, and waits until the thread is gone.
    fn free(self, chain: Chain) {
        let hand = self.hand();
        hand.chain.store(chain.0, Ordering::Relaxed);
        hand.given.store(true, Ordering::Release);
        let thread = hand.thread.load(Ordering::Relaxed);
        // SAFETY: asks the kernel whether a thread of this process is still there; yields.
        unsafe {
            while libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, 0) == 0 {
                libc::sched_yield();
            }
        }
    }
}

/// Room for a [`Hand`] before the stack.
#[cfg(target_env = "gnu")]
const HAND_BYTES: usize = 4096;

/// The helper's life.
#[cfg(target_env = "gnu")]
extern "C" fn run(hand: *mut c_void) -> *mut c_void {
    // SAFETY: `Helper::start` gives a `Hand` that is never unmapped; each block of the chain is
    // live until it is freed here, and holds the address of the next.
    unsafe {
        let hand = &*hand.cast::<Hand>();
        hand.thread.store(libc::syscall(libc::SYS_gettid) as i32, Ordering::Release);
        while !hand.given.load(Ordering::Acquire) {
            libc::sched_yield();
        }
        let mut block = hand.chain.load(Ordering::Relaxed);
        while !block.is_null() {
            let next = block.cast::<*mut c_void>().read();
            libc::free(block);
            block = next;
        }
        block
    }
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "malloc: {}\n  calls malloc, calloc, realloc and free of the C library; a size of 0 becomes 1, as CPython's raw domain does\n  usable size: malloc_usable_size; trim: malloc_trim(0) where the library is glibc\n  settings are read by the loader before the start and read back with ld.so --list-tunables\n  takes no version and no lower layer\n",
        version()
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(&SETTINGS)?;
    read_back(spec)?;
    Ok(Box::new(Malloc))
}
