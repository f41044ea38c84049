//! `bump`: returns one address after the other, and reuses nothing.
//!
//! It is the lower bound of the time of an allocation (one addition), and shows what never reusing
//! memory costs. It reserves address space once. A block has no header, its address is a multiple
//! of 16, and it takes its size rounded up to 16 bytes. `free` does nothing. `realloc` stays in
//! place for the latest block; any other block is copied. Memory above the top was never touched,
//! so `calloc` has nothing to clear.
#![expect(unsafe_code, reason = "hands out memory behind raw pointers")]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::allocator::{Allocator, Domains};
use super::backend::Backend;
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::pages;
use super::setting::{Setting, setting};
use super::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::units::parse_bytes;

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "bump",
    summary: "returns the next free address, reuses nothing: the lower bound of time",
    below: None,
    settings: &[RESERVE],
    settings_read_from: None,
    environment: no_environment,
    details,
    open,
};

const RESERVE: Setting = setting(
    "reserve",
    "bytes, from a page to 64TiB",
    "64GiB",
    "address space; a request is refused (null) when it is used up",
);

/// Address space without the setting, in bytes.
const RESERVE_BYTES: u64 = 64 << 30;
/// Every block begins at a multiple of this many bytes.
const ALIGN_BYTES: usize = 16;

/// The state behind the table's context.
///
/// Invariants: `start <= last <= top <= end`; `last` and `top` are multiples of 16; every byte from
/// `top` on is zero; `last` is the latest block (or `start` when there is none).
struct BumpState {
    top: Cell<usize>,
    last: Cell<usize>,
    end: usize,
    start: NonNull<u8>,
}

/// A bump allocator with its own range of addresses.
struct Bump {
    state: Box<BumpState>,
    reserved_bytes: usize,
}

impl Bump {
    fn new(reserved_bytes: usize) -> Result<Bump, BackendError> {
        let start = pages::reserve(reserved_bytes).map_err(|error| BackendError::Unavailable {
            backend: "bump".to_owned(),
            reason: format!(
                "{reserved_bytes} bytes of address space could not be reserved ({error}); \
                 reserve less with bump:reserve=4GiB"
            ),
        })?;
        let address = start.as_ptr().addr();
        let state = BumpState {
            top: Cell::new(address),
            last: Cell::new(address),
            end: address + reserved_bytes,
            start,
        };
        Ok(Bump { state: Box::new(state), reserved_bytes })
    }
}

impl Drop for Bump {
    fn drop(&mut self) {
        // SAFETY: the range was reserved by `new` with this size, and no block is live when the
        // backend is dropped. A refusal would leave the range reserved, which is harmless.
        let _ = unsafe { pages::unmap(self.state.start, self.reserved_bytes) };
    }
}

impl Backend for Bump {
    fn domains(&self) -> Domains {
        let ctx = ptr::from_ref::<BumpState>(&self.state).cast_mut().cast();
        Domains::same(Allocator { ctx, malloc, calloc, realloc, free }).with_aligned(aligned)
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    unsafe fn usable_size(&self, _block: *mut c_void, requested: usize) -> usize {
        requested.max(1).next_multiple_of(ALIGN_BYTES)
    }
}

impl BumpState {
    /// The state behind a table's context.
    ///
    /// # Safety
    /// `ctx` is the context of a table of a [`Bump`] that is alive.
    unsafe fn of<'a>(ctx: *mut c_void) -> &'a BumpState {
        // SAFETY: the context is the boxed state, which is only ever shared.
        unsafe { &*ctx.cast::<BumpState>() }
    }

    fn at(&self, address: usize) -> *mut c_void {
        self.start.as_ptr().with_addr(address).cast()
    }

    #[inline(always)]
    fn allocate(&self, size: usize) -> *mut c_void {
        let block = self.top.get();
        if size > self.end - block {
            return ptr::null_mut();
        }
        // No overflow: the size is at most the rest of the range, which ends at least a page before
        // the address space.
        let top = block + size.max(1).next_multiple_of(ALIGN_BYTES);
        if top > self.end {
            return ptr::null_mut();
        }
        self.last.set(block);
        self.top.set(top);
        self.at(block)
    }

    fn allocate_aligned(&self, alignment: usize, size: usize) -> *mut c_void {
        match self.top.get().checked_next_multiple_of(alignment.max(ALIGN_BYTES)) {
            Some(block) if block < self.end => {
                self.top.set(block);
                self.allocate(size)
            }
            _ => ptr::null_mut(),
        }
    }

    /// Resizes the last block in its place; false when the range is used up.
    fn resize_last(&self, new_size: usize) -> bool {
        let block = self.last.get();
        if new_size > self.end - block {
            return false;
        }
        // The top never decreases: bytes below it may have been written, and calloc relies on
        // untouched bytes above.
        let top = (block + new_size.max(1)).next_multiple_of(ALIGN_BYTES).max(self.top.get());
        if top > self.end {
            return false;
        }
        self.top.set(top);
        true
    }
}

unsafe extern "C" fn malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the loop passes the table's own context.
    unsafe { BumpState::of(ctx) }.allocate(size)
}

unsafe extern "C" fn aligned(ctx: *mut c_void, alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: as in malloc.
    unsafe { BumpState::of(ctx) }.allocate_aligned(alignment, size)
}

unsafe extern "C" fn calloc(ctx: *mut c_void, elements: usize, element_size: usize) -> *mut c_void {
    match elements.checked_mul(element_size) {
        // SAFETY: as in malloc. Memory above the top is zero.
        Some(size) => unsafe { BumpState::of(ctx) }.allocate(size),
        None => ptr::null_mut(),
    }
}

unsafe extern "C" fn realloc(ctx: *mut c_void, block: *mut c_void, new_size: usize) -> *mut c_void {
    // SAFETY: as in malloc.
    let state = unsafe { BumpState::of(ctx) };
    if block.is_null() {
        return state.allocate(new_size);
    }
    if block.addr() == state.last.get() {
        return if state.resize_last(new_size) { block } else { ptr::null_mut() };
    }
    let old_top = state.top.get();
    let new = state.allocate(new_size);
    if !new.is_null() {
        // Without a header the old size is not known; it is at most the distance from the block to
        // the old top.
        let bytes = new_size.min(old_top - block.addr());
        // SAFETY: both ranges lie in the reserved range; the new one begins at the old top, where
        // the old one ends.
        unsafe { ptr::copy_nonoverlapping(block.cast::<u8>(), new.cast::<u8>(), bytes) };
    }
    new
}

unsafe extern "C" fn free(_ctx: *mut c_void, _block: *mut c_void) {}

fn reserve_bytes(spec: &BackendSpec) -> Result<usize, BackendError> {
    let Some(text) = spec.setting(RESERVE.name) else {
        return Ok(usize::try_from(RESERVE_BYTES).unwrap_or(usize::MAX));
    };
    let refuse = |reason: &str| spec.refused(format!("cannot take reserve={text}: {reason}"));
    let bytes = parse_bytes(text).map_err(|_| refuse("write a size such as 64GiB or 512MiB"))?;
    let page = pages::page_bytes();
    match usize::try_from(bytes) {
        Ok(bytes) if (page..=1 << 46).contains(&bytes) => Ok(bytes.next_multiple_of(page)),
        _ => Err(refuse("it has to be between one page and 64 TiB")),
    }
}

fn details(spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "bump: blocks of 16-byte multiples, one after the other; free does nothing\n  \
         reserves {} bytes of address space\n  \
         realloc stays in place for the last block, else it copies\n  \
         takes no version and no lower layer\n",
        reserve_bytes(spec)?
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(&[RESERVE])?;
    Ok(Box::new(Bump::new(reserve_bytes(spec)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_null_when_used_up_and_grows_only_the_last_block() {
        let bump = Bump::new(1 << 20).unwrap();
        let table = *bump.domains().get(crate::trace::Domain::Obj);
        // SAFETY: the table's own context; blocks are used within their sizes.
        unsafe {
            let first = (table.malloc)(table.ctx, 100).cast::<u8>();
            first.write_bytes(7, 100);
            assert_eq!((table.realloc)(table.ctx, first.cast(), 200), first.cast());
            let second = (table.malloc)(table.ctx, 0);
            assert_eq!(second.addr() - first.addr(), 208);
            let moved = (table.realloc)(table.ctx, first.cast(), 300).cast::<u8>();
            assert_eq!(moved.addr() - second.addr(), 16);
            assert!((0..100).all(|at| moved.add(at).read() == 7));
            assert!((table.malloc)(table.ctx, 1 << 20).is_null());
            assert!((table.malloc)(table.ctx, usize::MAX).is_null());
            assert!((table.calloc)(table.ctx, usize::MAX, 2).is_null());
            assert!((table.realloc)(table.ctx, moved.cast(), usize::MAX).is_null());
            let fresh = (table.calloc)(table.ctx, 10, 10).cast::<u8>();
            assert!((0..100).all(|at| fresh.add(at).read() == 0));
        }
    }

    #[test]
    fn the_reserve_is_a_setting() {
        let spec = |value: &str| format!("bump:reserve={value}").parse::<BackendSpec>().unwrap();
        assert_eq!(reserve_bytes(&spec("1GiB")).unwrap(), 1 << 30);
        assert!(reserve_bytes(&spec("many")).is_err());
        assert!(reserve_bytes(&spec("0")).is_err());
    }
}
