//! Room `backends`, member `snmalloc`: Microsoft's message-passing allocator, through its C
//! interface (`sn_malloc`, …).
//!
//! It has no call that reports its version: the version is that of the crate that compiled it in.
//! It has no call that gives memory back either.
#![expect(unsafe_code, reason = "calls snmalloc")]

use std::ffi::c_void;

use snmalloc_sys as sn;

use super::allocator::{Allocator, Backend, BackendError, Domains, Member, Opened, no_environment};
use super::calls::c_table;
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "snmalloc",
    summary: "Microsoft's: slabs whose remote frees travel as messages",
    below: None,
    settings: &[],
    environment: no_environment,
    details,
    open,
};

struct Snmalloc;

impl Backend for Snmalloc {
    fn domains(&self) -> Domains {
        Domains::same(c_table!(sn::sn_malloc, sn::sn_calloc, sn::sn_realloc, sn::sn_free))
    }

    fn version(&self) -> String {
        concat!("snmalloc of snmalloc-sys ", env!("VERSION_OF_SNMALLOC_SYS")).to_owned()
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller says that the block is live.
        unsafe { sn::sn_malloc_usable_size(block) }
    }
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "snmalloc: {}\n  usable size: sn_malloc_usable_size; no call gives memory back, no settings\n",
        Snmalloc.version()
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_settings(&[])?;
    Ok(Box::new(Snmalloc))
}
