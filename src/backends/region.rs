//! A range of address space that one allocator in Rust manages whole.
//!
//! Only touched memory costs anything. A range far larger than the machine therefore means "grows
//! as needed", without chunks between which nothing can merge. Its size is the setting `reserve`.
//! [`manage`] makes the backend: a [`SimpleHeap`] on its range.
#![expect(unsafe_code, reason = "unmaps what it mapped")]

use std::ffi::c_void;
use std::ptr::NonNull;

use super::allocator::Domains;
use super::backend::Backend;
use super::calls::{SimpleHeap, table};
use super::error::BackendError;
use super::member::Opened;
use super::pages;
use super::setting::{Setting, setting};
use super::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::units::parse_bytes;

/// The setting of backends with a [`Region`].
pub const RESERVE: Setting = setting(
    "reserve",
    "bytes, 1MiB to 64GiB",
    "64GiB",
    "address space to manage; requests beyond it are refused (null)",
);

/// Address space without the setting, in bytes.
const RESERVE_BYTES: u64 = 64 << 30;

/// A range of private, zeroed memory; unmapped when it is dropped.
pub struct Region {
    /// Its first byte, at a multiple of 1 GiB.
    pub start: NonNull<u8>,
    /// Its length in bytes.
    pub bytes: usize,
}

impl Region {
    /// The range that a spec asks for.
    ///
    /// # Errors
    /// [`BackendError::Refused`] for a size that is none, [`BackendError::Unavailable`] when the
    /// kernel refuses.
    pub fn new(spec: &BackendSpec) -> Result<Region, BackendError> {
        spec.takes_no_version()?;
        spec.takes_only(&[RESERVE])?;
        let bytes = match spec.setting(RESERVE.name) {
            None => RESERVE_BYTES,
            Some(text) => parse_bytes(text)
                .ok()
                .filter(|bytes| (1 << 20..=1 << 36).contains(bytes))
                .ok_or_else(|| {
                    spec.refused(format!(
                        "cannot take reserve={text}: write a size from 1MiB to 64GiB"
                    ))
                })?,
        };
        let bytes = (bytes as usize).next_multiple_of(pages::page_bytes());
        let unavailable = |error| BackendError::Unavailable {
            backend: spec.name().to_owned(),
            reason: format!(
                "{bytes} bytes of address space could not be reserved ({error}); \
                 reserve less with {}:reserve=4GiB",
                spec.name()
            ),
        };
        let start = pages::reserve_aligned(bytes, 1 << 30).map_err(unavailable)?;
        Ok(Region { start, bytes })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no block is live when the backend is dropped.
        let _ = unsafe { pages::unmap(self.start, self.bytes) };
    }
}

/// Usable bytes of a live block, from the block and its requested bytes.
///
/// # Safety
/// The block is a live one of the heap that the function belongs to.
pub type UsableSize = unsafe fn(*mut c_void, usize) -> usize;

/// A heap that manages a range of its own and has no call that returns memory.
struct Managed<H: SimpleHeap> {
    heap: *mut H,
    version: &'static str,
    usable_size: UsableSize,
    _region: Region,
}

impl<H: SimpleHeap> Backend for Managed<H> {
    fn domains(&self) -> Domains {
        Domains::same(table(self.heap))
    }

    fn version(&self) -> String {
        self.version.to_owned()
    }

    unsafe fn usable_size(&self, block: *mut c_void, requested: usize) -> usize {
        // SAFETY: the caller's promise: the block is live.
        unsafe { (self.usable_size)(block, requested) }
    }
}

impl<H: SimpleHeap> Drop for Managed<H> {
    fn drop(&mut self) {
        // SAFETY: made by `manage`, dropped once.
        drop(unsafe { Box::from_raw(self.heap) });
    }
}

/// The backend of a spec: `heap` makes the allocator on the range that the spec asks for. The range
/// is fresh, used by nothing else, and lives as long as the backend.
///
/// # Errors
/// As [`Region::new`]; and [`BackendError::Refused`] when the allocator cannot manage a range as
/// small as this.
pub fn manage<H: SimpleHeap + 'static>(
    spec: &BackendSpec,
    version: &'static str,
    usable_size: UsableSize,
    heap: impl FnOnce(&Region) -> Option<H>,
) -> Opened {
    let region = Region::new(spec)?;
    let heap = heap(&region)
        .ok_or_else(|| spec.refused("cannot manage a range as small as this".to_owned()))?;
    Ok(Box::new(Managed {
        heap: Box::into_raw(Box::new(heap)),
        version,
        usable_size,
        _region: region,
    }))
}
