//! Room `backends`, member `malloc`: the system's own allocator, as CPython's raw domain calls it.
//!
//! CPython's raw allocator turns a size of 0 into 1, and `calloc` of nothing into one element of one byte, so that
//! every request gives a distinct block (Objects/obmalloc.c, `_PyMem_RawMalloc` and its sisters). So do these.
#![expect(unsafe_code, reason = "calls the C library's allocator")]

use std::ffi::c_void;

use super::allocator::{
    Allocator, Backend, BackendError, Domains, Member, Opened, Spec, Trim, no_environment,
};

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "malloc",
    summary: "the C library's malloc, called as CPython's raw domain calls it",
    below: None,
    environment: no_environment,
    details,
    open,
};

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
}

unsafe extern "C" fn malloc(_ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: malloc takes any size.
    unsafe { libc::malloc(size.max(1)) }
}

unsafe extern "C" fn calloc(_ctx: *mut c_void, elements: usize, element_size: usize) -> *mut c_void {
    if elements == 0 || element_size == 0 {
        // SAFETY: calloc takes any sizes.
        return unsafe { libc::calloc(1, 1) };
    }
    // SAFETY: as above; it refuses a product that overflows.
    unsafe { libc::calloc(elements, element_size) }
}

unsafe extern "C" fn realloc(_ctx: *mut c_void, block: *mut c_void, new_size: usize) -> *mut c_void {
    // SAFETY: the caller's block came from these functions or is null.
    unsafe { libc::realloc(block, new_size.max(1)) }
}

unsafe extern "C" fn free(_ctx: *mut c_void, block: *mut c_void) {
    // SAFETY: the caller's block came from these functions or is null.
    unsafe { libc::free(block) }
}

#[cfg(target_env = "gnu")]
pub(super) fn version() -> String {
    // SAFETY: the function gives a string that lives as long as the library.
    let told = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", told.to_string_lossy())
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn version() -> String {
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

fn details(_spec: &Spec) -> Result<String, BackendError> {
    Ok(format!(
        "malloc: {}\n  calls malloc, calloc, realloc and free of the C library; a size of 0 becomes 1, as CPython's raw domain does\n  usable size: malloc_usable_size; trim: malloc_trim(0) where the library is glibc\n  takes no version, no settings and no lower layer\n",
        version()
    ))
}

fn open(spec: &Spec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_settings(&[])?;
    Ok(Box::new(Malloc))
}
