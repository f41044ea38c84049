//! `null`: does nothing. Its time is the cost of the harness.
//!
//! Every request returns the same non-null address, which is not memory that may be touched.
#![expect(unsafe_code, reason = "the signatures of the contract are unsafe")]

use std::ffi::c_void;

use super::allocator::{Allocator, Domains};
use super::backend::{Backend, ThreadUse};
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::spec_checks::SpecChecks;
use crate::spec::{BackendSpec, FLOOR};

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: FLOOR,
    summary: "does nothing: shows the cost of the harness itself",
    below: None,
    settings: &[],
    settings_read_from: None,
    environment: no_environment,
    details,
    open,
};

/// The address of every "block": aligned like any block, and never mapped.
const ADDRESS: *mut c_void = std::ptr::without_provenance_mut(4096 - 16);

struct Null;

impl Backend for Null {
    fn domains(&self) -> Domains {
        Domains::same(Allocator { ctx: std::ptr::null_mut(), malloc, calloc, realloc, free })
    }

    fn thread_use(&self) -> ThreadUse {
        ThreadUse::Concurrent
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    unsafe fn usable_size(&self, _block: *mut c_void, requested: usize) -> usize {
        requested
    }

    fn backs_memory(&self) -> bool {
        false
    }
}

unsafe extern "C" fn malloc(_ctx: *mut c_void, _size: usize) -> *mut c_void {
    ADDRESS
}

unsafe extern "C" fn calloc(
    _ctx: *mut c_void,
    _elements: usize,
    _element_size: usize,
) -> *mut c_void {
    ADDRESS
}

unsafe extern "C" fn realloc(
    _ctx: *mut c_void,
    _block: *mut c_void,
    _new_size: usize,
) -> *mut c_void {
    ADDRESS
}

unsafe extern "C" fn free(_ctx: *mut c_void, _block: *mut c_void) {}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok("null: returns one constant address, without memory, for every request\n  \
        takes no version, no settings and no lower layer\n"
        .to_owned())
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_settings(&[])?;
    Ok(Box::new(Null))
}
