//! Room `backends`, member `scudo`: LLVM's hardened allocator, in the state of 2021 (the sources that its crate carries).
//!
//! Its interface is told a block's size when it is freed, and aborts when that is wrong; the contract tells none. So each
//! block has 16 bytes more before it, which hold the size and count as its overhead here.
#![expect(unsafe_code, reason = "calls scudo")]

use std::alloc::Layout;
use std::ffi::c_void;

use super::allocator::{Backend, BackendError, Domains, Member, Opened, Spec, Varies, no_environment};
use super::calls::{HEADER_BYTES, Headed, Layouted, table};

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "scudo",
    summary: "LLVM's hardened allocator, sources of 2021; 16 bytes more a block hold its size",
    below: None,
    settings: &[],
    environment: no_environment,
    details,
    open,
};

struct Calls;

impl Layouted for Calls {
    fn give(&mut self, layout: Layout) -> *mut u8 {
        // The library aborts on sizes that it cannot ever give, where the contract wants null.
        if layout.size() >= 1 << 40 {
            return std::ptr::null_mut();
        }
        // SAFETY: any smaller size is allowed.
        unsafe { scudo_sys::scudo_allocate(layout.size(), layout.align()) }.cast()
    }

    unsafe fn take(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block of this library with its layout.
        unsafe { scudo_sys::scudo_deallocate(block.cast(), layout.size(), layout.align()) };
    }

    unsafe fn in_place(&mut self, _block: *mut u8, _layout: Layout, _new_size: usize) -> bool {
        false
    }
}

struct Scudo(*mut Headed<Calls>);

impl Backend for Scudo {
    fn domains(&self) -> Domains {
        Domains::same(table(self.0))
    }

    fn version(&self) -> String {
        concat!("scudo of scudo-sys ", env!("VERSION_OF_SCUDO_SYS"), " (2021)").to_owned()
    }

    unsafe fn usable_size(&self, _block: *mut c_void, requested: usize) -> usize {
        requested
    }

    fn varies(&self) -> Option<Varies> {
        Some(Varies::AtRandom)
    }
}

impl Drop for Scudo {
    fn drop(&mut self) {
        // SAFETY: made by `open`, dropped once.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

fn details(_spec: &Spec) -> Result<String, BackendError> {
    Ok(format!(
        "scudo: LLVM's hardened allocator, sources of 2021\n  {HEADER_BYTES} bytes before each block hold its size, which its free must be told: they count as overhead\n  no call tells a block's usable size or gives memory back; realloc always moves; no settings\n  varies: free blocks are shuffled\n"
    ))
}

fn open(spec: &Spec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_settings(&[])?;
    Ok(Box::new(Scudo(Box::into_raw(Box::new(Headed(Calls))))))
}
