//! `snmalloc`: Microsoft's message-passing allocator, through its C interface (`sn_malloc`, …).
//!
//! It has no call that reports its version: the version is that of the crate that compiled it in.
//! It has no call that returns memory.
#![expect(unsafe_code, reason = "calls snmalloc")]

use std::ffi::c_void;

use snmalloc_sys as sn;

use super::allocator::{Allocator, Domains};
use super::backend::{Backend, ThreadUse};
use super::calls::c_table;
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::optional;
use super::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = optional::SNMALLOC.member(no_environment, details, open);

struct Snmalloc;

impl Backend for Snmalloc {
    fn domains(&self) -> Domains {
        Domains::same(c_table!(sn::sn_malloc, sn::sn_calloc, sn::sn_realloc, sn::sn_free))
    }

    fn thread_use(&self) -> ThreadUse {
        ThreadUse::Concurrent
    }

    fn version(&self) -> String {
        concat!("snmalloc of snmalloc-sys ", env!("VERSION_OF_SNMALLOC_SYS")).to_owned()
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller's promise: the block is live.
        unsafe { sn::sn_malloc_usable_size(block) }
    }
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "snmalloc: {}\n  usable size: sn_malloc_usable_size; no call returns memory; no settings\n",
        Snmalloc.version()
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_settings(&[])?;
    Ok(Box::new(Snmalloc))
}
