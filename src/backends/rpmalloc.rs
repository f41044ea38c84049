//! Room `backends`, member `rpmalloc`: spans of 64 KiB with caches by thread. A thread must be announced before it calls.
//!
//! It has no call that reports its version: the version is that of the crate that compiled it in.
#![expect(unsafe_code, reason = "calls rpmalloc")]

use std::ffi::c_void;

use rpmalloc_sys as rp;

use super::allocator::{
    Allocator, Backend, BackendError, Domains, Member, Opened, Spec, Trim, no_environment,
};
use super::calls::c_table;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "rpmalloc",
    summary: "spans of 64 KiB in caches by thread",
    below: None,
    settings: &[],
    environment: no_environment,
    details,
    open,
};

/// Its calls behind the check of sizes that it makes itself only when it is built with `ENABLE_VALIDATE_ARGS`, and the crate
/// does not: sizes that overflow when they are rounded up crash it, where C wants null.
mod checked {
    use std::ffi::c_void;
    use std::ptr;

    use rpmalloc_sys as rp;

    /// More than a process can address.
    const TOO_MUCH: usize = 1 << 47;

    pub unsafe fn malloc(size: usize) -> *mut c_void {
        // SAFETY: any smaller size is allowed.
        if size < TOO_MUCH { unsafe { rp::rpmalloc(size) } } else { ptr::null_mut() }
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
    }

    fn version(&self) -> String {
        concat!("rpmalloc of rpmalloc-sys ", env!("VERSION_OF_RPMALLOC_SYS")).to_owned()
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller says that the block is live.
        unsafe { rp::rpmalloc_usable_size(block) }
    }

    fn trim(&mut self) -> Trim {
        // SAFETY: gives free spans of this thread's cache to the global one; live blocks stay.
        unsafe { rp::rpmalloc_thread_collect() };
        Trim::Done
    }
}

fn details(_spec: &Spec) -> Result<String, BackendError> {
    Ok(format!(
        "rpmalloc: {}\n  usable size: rpmalloc_usable_size; trim: rpmalloc_thread_collect; no settings\n  sizes from 2^47 on are refused before it sees them: it does not survive them\n",
        Rpmalloc.version()
    ))
}

fn open(spec: &Spec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_settings(&[])?;
    // SAFETY: both may be called again; this thread is the one that will call.
    let ready = unsafe {
        let ready = rp::rpmalloc_initialize() == 0;
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
    Ok(Box::new(Rpmalloc))
}
