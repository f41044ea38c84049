//! `tcmalloc`: Google's, compiled in under its internal names, so that it replaces nothing.
//!
//! It has no releases and reports no version: the version is that of the crate that compiled it in.
//! Its fast path is a cache for each processor, by restartable sequences (rseq(2)). glibc 2.35 and
//! later use that facility themselves. The child is therefore started with `glibc.pthread.rseq=0`,
//! as TCMalloc's own documentation (docs/rseq.md) requires; without it, TCMalloc has a cache for
//! each thread instead. It returns memory on request, or by a thread that calls
//! `ProcessBackgroundActions`. A program must start that thread itself; heaplay starts none.
#![expect(unsafe_code, reason = "calls tcmalloc")]

use std::ffi::c_void;

// The crate has the library itself; the calls below are TCMalloc's own, with C linkage.
use libtcmalloc_sys as _;

use super::allocator::{Allocator, Domains};
use super::backend::{Backend, ThreadUse, Trim};
use super::calls::{c_aligned, c_table};
use super::error::BackendError;
use super::member::{ChildEnvironment, Member, Opened};
use super::optional;
use super::return_unit::ReturnKind;
use super::setting::{Setting, plain};
use super::spec_checks::SpecChecks;
use crate::environment::GLIBC_TUNABLES;
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = optional::TCMALLOC.member(environment, details, open);

const SETTINGS: &[Setting] = optional::TCMALLOC.settings;

/// Google's functions, as `tcmalloc/tcmalloc.h`, `cpu_cache.cc` and `parameters.cc` declare them.
#[allow(non_snake_case, reason = "these are their names")]
mod google {
    use std::ffi::c_void;

    unsafe extern "C" {
        pub fn TCMallocInternalMalloc(size: usize) -> *mut c_void;
        pub fn TCMallocInternalCalloc(elements: usize, element_size: usize) -> *mut c_void;
        pub fn TCMallocInternalRealloc(block: *mut c_void, size: usize) -> *mut c_void;
        pub fn TCMallocInternalMemalign(alignment: usize, size: usize) -> *mut c_void;
        pub fn TCMallocInternalFree(block: *mut c_void);
        pub fn TCMallocInternalMallocSize(block: *mut c_void) -> usize;
        pub fn MallocExtension_Internal_ReleaseMemoryToSystem(bytes: usize) -> usize;
        pub fn MallocExtension_Internal_ReleaseCpuMemory(processor: i32) -> usize;
        pub fn MallocExtension_Internal_GetPerCpuCachesActive() -> bool;
        pub fn MallocExtension_Internal_GetMaxPerCpuCacheSize() -> i32;
        pub fn MallocExtension_Internal_SetMaxPerCpuCacheSize(bytes: i32);
        pub fn MallocExtension_Internal_GetMaxTotalThreadCacheBytes() -> i64;
        pub fn MallocExtension_Internal_SetMaxTotalThreadCacheBytes(bytes: i64);
        pub fn MallocExtension_Internal_GetMemoryLimit(kind: i32) -> usize;
        pub fn MallocExtension_Internal_SetMemoryLimit(bytes: usize, kind: i32);
        pub fn MallocExtension_Internal_GetProfileSamplingInterval() -> i64;
        pub fn MallocExtension_Internal_SetProfileSamplingInterval(bytes: i64);
    }
}

/// `LimitKind::kSoft` of `malloc_extension.h`.
const SOFT: i32 = 0;

struct Tcmalloc;

impl Backend for Tcmalloc {
    fn domains(&self) -> Domains {
        Domains::same(c_table!(
            google::TCMallocInternalMalloc,
            google::TCMallocInternalCalloc,
            google::TCMallocInternalRealloc,
            google::TCMallocInternalFree
        ))
        .with_aligned(c_aligned!(google::TCMallocInternalMemalign))
    }

    fn thread_use(&self) -> ThreadUse {
        ThreadUse::Concurrent
    }

    fn version(&self) -> String {
        concat!("tcmalloc (Google) of libtcmalloc-sys ", env!("VERSION_OF_LIBTCMALLOC_SYS"))
            .to_owned()
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller's promise: the block is live.
        unsafe { google::TCMallocInternalMallocSize(block) }
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        vec![ReturnKind::Span]
    }

    fn trim(&self) -> Trim {
        // SAFETY: both return free memory; live blocks stay. The child runs on one processor at a
        // time, and the cache of another processor is stopped before it is flushed.
        unsafe {
            if google::MallocExtension_Internal_GetPerCpuCachesActive() {
                for processor in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                    google::MallocExtension_Internal_ReleaseCpuMemory(processor as i32);
                }
            }
            google::MallocExtension_Internal_ReleaseMemoryToSystem(usize::MAX >> 1);
        }
        Trim::Done
    }
}

/// Whether the spec wants caches by processor.
fn per_cpu(spec: &BackendSpec) -> Result<bool, BackendError> {
    match spec.setting("per_cpu") {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => {
            Err(spec.refused(format!("cannot take per_cpu={other}: write true or false")))
        }
    }
}

fn environment(spec: &BackendSpec) -> ChildEnvironment {
    spec.takes_only(SETTINGS)?;
    // Where glibc uses the facility, the caches are by thread.
    Ok(match per_cpu(spec)? {
        true => vec![(GLIBC_TUNABLES.to_owned(), "glibc.pthread.rseq=0".into())],
        false => Vec::new(),
    })
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "tcmalloc: {}\n  \
         usable size: TCMallocInternalMallocSize; \
         trim: ReleaseCpuMemory and ReleaseMemoryToSystem\n  \
         it returns no memory without a request: a program must start a thread for that, \
         and heaplay starts none\n  \
         settings are read back with its getters\n",
        Tcmalloc.version()
    ))
}

/// Sets each number of the spec, and reads it back.
fn set_numbers(spec: &BackendSpec) -> Result<(), BackendError> {
    for (key, value) in spec.settings().iter().filter(|(key, _)| key != "per_cpu") {
        let number: u32 =
            plain(value).parse().ok().filter(|number| *number <= i32::MAX as u32).ok_or_else(
                || spec.refused(format!("cannot take {key}={value}: write bytes, under 2G")),
            )?;
        // SAFETY: setters and getters of numbers, which accept any number.
        let found = unsafe {
            match key.as_str() {
                "max_per_cpu_cache_size" => {
                    google::MallocExtension_Internal_SetMaxPerCpuCacheSize(number as i32);
                    i64::from(google::MallocExtension_Internal_GetMaxPerCpuCacheSize())
                }
                "max_total_thread_cache_bytes" => {
                    google::MallocExtension_Internal_SetMaxTotalThreadCacheBytes(number.into());
                    google::MallocExtension_Internal_GetMaxTotalThreadCacheBytes()
                }
                "memory_limit" => {
                    google::MallocExtension_Internal_SetMemoryLimit(number as usize, SOFT);
                    google::MallocExtension_Internal_GetMemoryLimit(SOFT) as i64
                }
                _ => {
                    google::MallocExtension_Internal_SetProfileSamplingInterval(number.into());
                    google::MallocExtension_Internal_GetProfileSamplingInterval()
                }
            }
        };
        if found != i64::from(number) {
            return Err(spec.not_taken(key, value, &found.to_string()));
        }
    }
    Ok(())
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(SETTINGS)?;
    set_numbers(spec)?;
    let wanted = per_cpu(spec)?;
    // SAFETY: a block that is freed immediately; the first request decides on the caches.
    let active = unsafe {
        google::TCMallocInternalFree(google::TCMallocInternalMalloc(1));
        google::MallocExtension_Internal_GetPerCpuCachesActive()
    };
    // A setting that a person wrote and that has no effect is an error.
    if spec.setting("per_cpu").is_some() && active != wanted {
        return Err(spec.not_taken(
            "per_cpu",
            if wanted { "true" } else { "false" },
            if active { "true" } else { "false" },
        ));
    }
    Ok(Box::new(Tcmalloc))
}
