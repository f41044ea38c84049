//! `rpmalloc`: spans of 64 KiB with caches by thread. A thread must be announced before it calls.
//!
//! It has no call that reports its version: the version is that of the crate that compiled it in.
//! Its settings are fields of `rpmalloc_config_t` (`rpmalloc.h`), read back with `rpmalloc_config`.
//! The sizes of spans and pages are constants of this build.
#![expect(unsafe_code, reason = "calls rpmalloc")]

use std::ffi::{c_int, c_void};
use std::ptr;

use rpmalloc_sys as rp;

use super::allocator::{Allocator, Domains};
use super::backend::{Backend, ThreadUse, Trim};
use super::calls::{c_aligned, c_table};
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::optional;
use super::setting::{Setting, plain};
use super::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = optional::RPMALLOC.member(no_environment, details, open);

const SETTINGS: &[Setting] = optional::RPMALLOC.settings;

/// Declarations that the crate lacks, from `rpmalloc.h` of its sources. So only one version of the
/// crate is allowed.
mod config {
    use std::ffi::{c_int, c_void};

    /// `rpmalloc_config_t`. Null and 0 mean its defaults.
    #[repr(C)]
    pub struct Config {
        pub memory_map: *mut c_void,
        pub memory_unmap: *mut c_void,
        pub error_callback: *mut c_void,
        pub map_fail_callback: *mut c_void,
        pub page_size: usize,
        pub span_size: usize,
        pub span_map_count: usize,
        pub enable_huge_pages: c_int,
        pub unused: c_int,
    }

    unsafe extern "C" {
        pub fn rpmalloc_initialize_config(config: *const Config) -> c_int;
        pub fn rpmalloc_config() -> *const Config;
        /// The crate declares it without its argument.
        pub fn rpmalloc_thread_finalize(release_caches: c_int);
    }
}

/// Its calls with a check of sizes. rpmalloc itself checks only when it is built with
/// `ENABLE_VALIDATE_ARGS`, which the crate does not set. Sizes that overflow when they are rounded
/// up crash it, where C requires null.
mod checked {
    use std::ffi::c_void;
    use std::ptr;

    use rpmalloc_sys as rp;

    /// More than a process can address.
    const TOO_MUCH: usize = 1 << 47;
    /// The largest alignment that rpmalloc serves: less than a span.
    const MOST_ALIGNED: usize = 1 << 15;

    pub unsafe fn malloc(size: usize) -> *mut c_void {
        // SAFETY: any smaller size is allowed.
        if size < TOO_MUCH { unsafe { rp::rpmalloc(size) } } else { ptr::null_mut() }
    }

    pub unsafe fn aligned(alignment: usize, size: usize) -> *mut c_void {
        if alignment > MOST_ALIGNED {
            // A block that is large enough to hold one, as for an allocator without the call.
            // SAFETY: any size is allowed.
            return unsafe { malloc(size.saturating_add(alignment)) };
        }
        // SAFETY: as above.
        if size < TOO_MUCH {
            unsafe { rp::rpaligned_alloc(alignment, size) }
        } else {
            ptr::null_mut()
        }
    }

    pub unsafe fn calloc(elements: usize, element_size: usize) -> *mut c_void {
        match elements.checked_mul(element_size) {
            // SAFETY: as above.
            Some(size) if size < TOO_MUCH => unsafe { rp::rpcalloc(elements, element_size) },
            _ => ptr::null_mut(),
        }
    }

    pub unsafe fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
        // SAFETY: as above; the caller's block is live or null.
        if size < TOO_MUCH { unsafe { rp::rprealloc(block, size) } } else { ptr::null_mut() }
    }
}

struct Rpmalloc;

impl Backend for Rpmalloc {
    fn domains(&self) -> Domains {
        Domains::same(c_table!(checked::malloc, checked::calloc, checked::realloc, rp::rpfree))
            .with_aligned(c_aligned!(checked::aligned))
    }

    fn thread_use(&self) -> ThreadUse {
        ThreadUse::Concurrent
    }

    fn thread_begins(&self) {
        // SAFETY: the calling thread makes no other call before this one.
        unsafe { rp::rpmalloc_thread_initialize() };
    }

    fn thread_ends(&self) {
        // SAFETY: the thread makes no further call. Its spans go to the global cache, as
        // `rpmalloc.h` recommends for the end of a thread.
        unsafe { config::rpmalloc_thread_finalize(1) };
    }

    fn version(&self) -> String {
        concat!("rpmalloc of rpmalloc-sys ", env!("VERSION_OF_RPMALLOC_SYS")).to_owned()
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller's promise: the block is live.
        unsafe { rp::rpmalloc_usable_size(block) }
    }

    fn trim(&self) -> Trim {
        // SAFETY: moves free spans of this thread's cache to the global one; live blocks stay.
        unsafe { rp::rpmalloc_thread_collect() };
        Trim::Done
    }
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "rpmalloc: {}\n  \
         usable size: rpmalloc_usable_size; trim: rpmalloc_thread_collect\n  \
         sizes from 2^47 on are refused before they reach it, because they crash it\n  \
         settings are read back with rpmalloc_config\n",
        Rpmalloc.version()
    ))
}

/// The value of a setting as a number; 0 where it is not set.
fn number(spec: &BackendSpec, name: &str) -> Result<usize, BackendError> {
    let Some(value) = spec.setting(name) else { return Ok(0) };
    plain(value)
        .parse()
        .map_err(|_| spec.refused(format!("cannot take {name}={value}: write a whole number")))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(SETTINGS)?;
    let huge = number(spec, "enable_huge_pages")?;
    let config = config::Config {
        memory_map: ptr::null_mut(),
        memory_unmap: ptr::null_mut(),
        error_callback: ptr::null_mut(),
        map_fail_callback: ptr::null_mut(),
        page_size: 0,
        span_size: 0,
        span_map_count: number(spec, "span_map_count")?,
        enable_huge_pages: c_int::try_from(huge).unwrap_or(c_int::MAX),
        unused: 0,
    };
    // SAFETY: both may be called again, and copy their arguments. This thread makes all calls.
    let ready = unsafe {
        let ready = config::rpmalloc_initialize_config(&config) == 0;
        if ready && rp::rpmalloc_is_thread_initialized() == 0 {
            rp::rpmalloc_thread_initialize();
        }
        ready
    };
    if !ready {
        return Err(BackendError::Unavailable {
            backend: "rpmalloc".to_owned(),
            reason: "rpmalloc_initialize failed; free some memory".to_owned(),
        });
    }
    // SAFETY: it is initialised, so its configuration exists and stays.
    let taken = unsafe { &*config::rpmalloc_config() };
    let found =
        [taken.span_map_count, usize::try_from(taken.enable_huge_pages).unwrap_or_default()];
    for (known, found) in SETTINGS.iter().zip(found) {
        if let Some(value) = spec.setting(known.name)
            && number(spec, known.name)? != found
        {
            return Err(spec.not_taken(known.name, value, &found.to_string()));
        }
    }
    Ok(Box::new(Rpmalloc))
}
