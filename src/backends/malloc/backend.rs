//! The C library's allocator as a backend.
//!
//! Every request returns a distinct block, as in CPython's raw allocator: a size of 0 becomes 1, and
//! `calloc` of nothing one element of one byte (Objects/obmalloc.c, `_PyMem_RawMalloc` and the
//! functions beside it).
#![expect(unsafe_code, reason = "calls the C library's allocator")]

use std::ffi::c_void;
#[cfg(target_env = "gnu")]
use std::os::fd::RawFd;

use super::glibc::version;
use super::settings::{SETTINGS, check_effect, environment, read_back};
#[cfg(target_env = "gnu")]
use super::{arena_limit, arenas, heap_of_block, thread_cache};
use crate::backends::allocator::{Allocator, Domains};
#[cfg(target_env = "gnu")]
use crate::backends::arena_report::ArenaMemory;
use crate::backends::backend::{Backend, ThreadUse, Trim};
use crate::backends::error::BackendError;
use crate::backends::member::{Member, Opened};
use crate::backends::return_unit::{ReturnKind, UnitOfBlock};
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::trace::AllocatorRequest;

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "malloc",
    summary: "the C library's malloc, called as CPython's raw domain calls it",
    below: None,
    settings: &SETTINGS,
    settings_read_from: Some("the environment (tunables from GLIBC_TUNABLES), before the start"),
    environment,
    details,
    open,
};

/// The system's allocator. Its state is global to the process.
struct Malloc;

impl Backend for Malloc {
    fn domains(&self) -> Domains {
        c_library()
    }

    fn thread_use(&self) -> ThreadUse {
        ThreadUse::Concurrent
    }

    fn thread_begins(&self) {
        #[cfg(target_env = "gnu")]
        arena_limit::restore();
    }

    fn version(&self) -> String {
        version()
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller's promise: the block is live.
        unsafe { libc::malloc_usable_size(block) }
    }

    fn request(&self, request: AllocatorRequest) {
        make_request(request);
    }

    fn trim(&self) -> Trim {
        trim()
    }

    fn flush_thread_cache(&self) -> Trim {
        flush_thread_cache()
    }

    fn trim_leaves(&self, usable: usize) -> Option<[usize; 2]> {
        trim_leaves(usable)
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        RETURNS_BY.to_vec()
    }

    fn unit_of_block(&self) -> Option<UnitOfBlock<'_>> {
        unit_of_block()
    }

    #[cfg(target_env = "gnu")]
    fn write_arenas(&self, out: RawFd) -> bool {
        arenas::write(out)
    }

    #[cfg(target_env = "gnu")]
    fn read_arenas(&self, text: &str) -> Vec<ArenaMemory> {
        arenas::read(text)
    }
}

/// The tables over the C library's functions.
pub fn c_library() -> Domains {
    Domains::same(Allocator { ctx: std::ptr::null_mut(), malloc, calloc, realloc, free })
        .with_aligned(aligned)
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
    // SAFETY: as above; calloc refuses a product that overflows.
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

unsafe extern "C" fn aligned(_ctx: *mut c_void, alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: memalign takes any power of two and any size.
    unsafe { libc::memalign(alignment, size.max(1)) }
}

/// Requests that the C library of this process returns unused memory.
#[cfg(target_env = "gnu")]
pub fn trim() -> Trim {
    // SAFETY: malloc_trim returns free memory and touches no live block.
    unsafe { libc::malloc_trim(0) };
    Trim::Done
}

/// Makes a request of the recorded program to the C library of this process.
#[cfg(target_env = "gnu")]
pub fn make_request(request: AllocatorRequest) {
    // SAFETY: malloc_trim returns free memory and touches no live block. mallopt changes a setting,
    // and refuses parameters that it does not know.
    unsafe {
        match request {
            AllocatorRequest::Trim { pad_bytes } => {
                libc::malloc_trim(usize::try_from(pad_bytes).unwrap_or(usize::MAX));
            }
            AllocatorRequest::Option { parameter, value } => {
                if let (Ok(parameter), Ok(value)) = (parameter.try_into(), value.try_into()) {
                    libc::mallopt(parameter, value);
                }
            }
        }
    }
}

/// Another C library has no such calls.
#[cfg(not(target_env = "gnu"))]
pub fn make_request(_request: AllocatorRequest) {}

/// Another C library has no such call.
#[cfg(not(target_env = "gnu"))]
pub fn trim() -> Trim {
    Trim::None
}

/// Before a block is its chunk's header of two machine words, the first of which is the last word
/// of a used chunk below. The block's usable end is one word into the next chunk. If that chunk is
/// free, `malloc_trim` returns the whole pages after its six words of links (`mtrim` in
/// malloc/malloc.c). At the heap's top these are four words (`systrim`), which matters only where
/// two words cross into another page.
///
/// A chunk that is a mapping of its own has nothing after it. Its usable bytes are a multiple of
/// two words; those of other chunks are not.
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

/// How this C library returns memory: by itself from the top of a heap, and pages on request. A block
/// that is a mapping of its own returns when it ends.
#[cfg(target_env = "gnu")]
pub const RETURNS_BY: [ReturnKind; 2] = [ReturnKind::Top, ReturnKind::Page];
#[cfg(not(target_env = "gnu"))]
pub const RETURNS_BY: [ReturnKind; 0] = [];

/// The heap of each block: see [`Backend::unit_of_block`].
pub fn unit_of_block() -> Option<UnitOfBlock<'static>> {
    #[cfg(target_env = "gnu")]
    return Some(heap_of_block::of_block());
    #[cfg(not(target_env = "gnu"))]
    return None;
}

/// Flushes the cache of the calling thread: see [`Backend::flush_thread_cache`].
pub fn flush_thread_cache() -> Trim {
    #[cfg(target_env = "gnu")]
    return thread_cache::flush();
    #[cfg(not(target_env = "gnu"))]
    return Trim::None;
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "malloc: {}\n  \
         calls malloc, calloc, realloc and free of the C library; \
         a size of 0 becomes 1, as in CPython's raw domain\n  \
         usable size: malloc_usable_size; trim: malloc_trim(0) where the library is glibc\n  \
         settings are read back with ld.so --list-tunables\n  \
         takes no version and no lower layer\n",
        version()
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(&SETTINGS)?;
    check_effect(spec)?;
    read_back(spec)?;
    Ok(Box::new(Malloc))
}
