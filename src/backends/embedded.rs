//! Allocators that the program around heaplay brings itself: what [`crate::Harness`] measures.
//!
//! A Rust allocator (`GlobalAlloc`) must get a block's layout when the block ends. The contract
//! of backends does not give it, as C's `free` does not. So 16 bytes before each block hold the size,
//! and they count as the allocator's overhead, as for the other allocators in Rust.
#![expect(unsafe_code, reason = "hands out memory behind raw pointers")]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::sync::OnceLock;

use super::allocator::{Allocator, Domains};
use super::backend::{Backend, ThreadUse};
use super::calls::{ALIGN_BYTES, HEADER_BYTES};
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use crate::spec::BackendSpec;

/// An allocator of the program around heaplay.
#[derive(Clone, Copy)]
pub struct Embedded {
    /// Its name in specs, tables and pictures.
    pub name: &'static str,
    /// Its version, as tables show it.
    pub version: &'static str,
    /// The allocator. It does not have to be the program's global one.
    pub allocator: &'static (dyn GlobalAlloc + Sync),
}

/// What was registered, with the line that each adds to the list of backends.
static REGISTERED: OnceLock<Vec<(Embedded, Member)>> = OnceLock::new();

/// Adds allocators to the list of backends of this process, once. A second call changes nothing and
/// returns `false`.
pub fn register(allocators: &[Embedded]) -> bool {
    let lines = allocators.iter().map(|embedded| (*embedded, line(embedded))).collect();
    REGISTERED.set(lines).is_ok()
}

/// The registered allocator of that name, as a line of the list of backends.
pub(super) fn member(name: &str) -> Option<&'static Member> {
    members().find(|member| member.name == name)
}

/// All registered allocators, as lines of the list of backends.
pub(super) fn members() -> impl Iterator<Item = &'static Member> {
    REGISTERED.get().into_iter().flatten().map(|(_, member)| member)
}

fn line(embedded: &Embedded) -> Member {
    Member {
        name: embedded.name,
        summary: "an allocator of the program around heaplay; 16 bytes more a block hold its size",
        below: None,
        settings: &[],
        settings_read_from: None,
        environment: no_environment,
        details,
        open,
    }
}

fn find(spec: &BackendSpec) -> Result<Embedded, BackendError> {
    let mut all = REGISTERED.get().into_iter().flatten();
    all.find(|(embedded, _)| embedded.name == spec.name())
        .map(|(embedded, _)| *embedded)
        .ok_or_else(|| BackendError::Unavailable {
            backend: spec.name().to_owned(),
            reason: "this process did not register it".to_owned(),
        })
}

fn details(spec: &BackendSpec) -> Result<String, BackendError> {
    let Embedded { name, version, .. } = find(spec)?;
    Ok(format!(
        "{name}: {version}, an allocator of the program around heaplay\n  {HEADER_BYTES} bytes before \
         each block hold its size, which its end must be given: they count as overhead\n"
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    let Embedded { version, allocator, .. } = find(spec)?;
    Ok(Box::new(EmbeddedBackend { heap: Box::into_raw(Box::new(SizedBlocks(allocator))), version }))
}

/// The backend of one registered allocator.
struct EmbeddedBackend {
    heap: *mut SizedBlocks,
    version: &'static str,
}

impl Backend for EmbeddedBackend {
    fn domains(&self) -> Domains {
        let ctx = self.heap.cast();
        Domains::same(Allocator { ctx, malloc, calloc, realloc, free })
    }

    fn thread_use(&self) -> ThreadUse {
        ThreadUse::Concurrent
    }

    fn version(&self) -> String {
        self.version.to_owned()
    }

    unsafe fn usable_size(&self, _block: *mut c_void, requested: usize) -> usize {
        requested.max(1)
    }
}

impl Drop for EmbeddedBackend {
    fn drop(&mut self) {
        // SAFETY: made by `open`, dropped once.
        drop(unsafe { Box::from_raw(self.heap) });
    }
}

/// A `GlobalAlloc` whose blocks have their size before them.
struct SizedBlocks(&'static (dyn GlobalAlloc + Sync));

/// The layout for a block of so many bytes, header included.
fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEADER_BYTES)?, ALIGN_BYTES).ok()
}

/// Writes the header and returns where the block begins; null stays null.
///
/// # Safety
/// `start` is null or has space for the header.
unsafe fn with_header(start: *mut u8, size: usize) -> *mut u8 {
    if start.is_null() {
        return start;
    }
    // SAFETY: the caller's promise.
    unsafe {
        start.cast::<usize>().write(size);
        start.add(HEADER_BYTES)
    }
}

impl SizedBlocks {
    /// # Safety
    /// `ctx` is the context of a table of an [`EmbeddedBackend`] that is alive.
    unsafe fn of<'a>(ctx: *mut c_void) -> &'a SizedBlocks {
        // SAFETY: the context is the boxed heap, which is only ever shared: several threads may call.
        unsafe { &*ctx.cast::<SizedBlocks>() }
    }

    fn allocate(&self, size: usize) -> *mut u8 {
        let Some(layout) = layout(size) else { return std::ptr::null_mut() };
        // SAFETY: the layout is not empty, and what comes back has space for the header.
        unsafe { with_header(self.0.alloc(layout), size) }
    }

    fn zeroed(&self, size: usize) -> *mut u8 {
        let Some(layout) = layout(size) else { return std::ptr::null_mut() };
        // SAFETY: as in `allocate`.
        unsafe { with_header(self.0.alloc_zeroed(layout), size) }
    }

    /// # Safety
    /// `block` is a live block of this heap.
    unsafe fn resize(&self, block: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: a live block has its size before it, and its layout is that of its size.
        unsafe {
            let start = block.sub(HEADER_BYTES);
            let (Some(old), Some(new)) = (layout(start.cast::<usize>().read()), layout(new_size))
            else {
                return std::ptr::null_mut();
            };
            with_header(self.0.realloc(start, old, new.size()), new_size)
        }
    }

    /// # Safety
    /// As for `resize`; the block is not live any more.
    unsafe fn release(&self, block: *mut u8) {
        // SAFETY: as in `resize`.
        unsafe {
            let start = block.sub(HEADER_BYTES);
            if let Some(layout) = layout(start.cast::<usize>().read()) {
                self.0.dealloc(start, layout);
            }
        }
    }
}

unsafe extern "C" fn malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the loop passes the table's own context.
    unsafe { SizedBlocks::of(ctx) }.allocate(size.max(1)).cast()
}

unsafe extern "C" fn calloc(ctx: *mut c_void, elements: usize, element_size: usize) -> *mut c_void {
    match elements.checked_mul(element_size) {
        // SAFETY: as in malloc.
        Some(size) => unsafe { SizedBlocks::of(ctx) }.zeroed(size.max(1)).cast(),
        None => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn realloc(ctx: *mut c_void, block: *mut c_void, new_size: usize) -> *mut c_void {
    // SAFETY: as in malloc; the caller's block is live or null.
    unsafe {
        let heap = SizedBlocks::of(ctx);
        if block.is_null() {
            return heap.allocate(new_size.max(1)).cast();
        }
        heap.resize(block.cast(), new_size.max(1)).cast()
    }
}

unsafe extern "C" fn free(ctx: *mut c_void, block: *mut c_void) {
    if !block.is_null() {
        // SAFETY: as in realloc.
        unsafe { SizedBlocks::of(ctx).release(block.cast()) };
    }
}
