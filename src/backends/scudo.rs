//! `scudo`: LLVM's hardened allocator, in the state of 2021 (the sources that its crate contains).
//!
//! Its free needs a block's size, and aborts when it is wrong; the contract passes none. So 16
//! bytes before each block hold the size and count as its overhead here.
//!
//! Its settings are flags of `flags.inc`, which it reads from `SCUDO_OPTIONS` at its first call. It
//! has no call that reports them. The quarantine's limits are in its printed statistics, and the
//! pattern that it fills blocks with is visible in blocks. Flags that cannot be read back in either
//! way (`release_to_os_interval_ms`) are not offered.
#![expect(unsafe_code, reason = "calls scudo")]

use std::alloc::Layout;
use std::ffi::c_void;
use std::fs::File;
use std::io::{Read, Seek};

use super::allocator::Domains;
use super::backend::{Backend, ThreadUse, Varies};
use super::calls::{HEADER_BYTES, Headed, LayoutedHeap, table};
use super::error::BackendError;
use super::member::{ChildEnvironment, Member, Opened};
use super::optional;
use super::return_unit::ReturnKind;
use super::setting::{Setting, plain};
use super::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = optional::SCUDO.member(environment, details, open);

const SETTINGS: &[Setting] = optional::SCUDO.settings;

struct ScudoHeap;

impl LayoutedHeap for ScudoHeap {
    fn allocate_layout(&mut self, layout: Layout) -> *mut u8 {
        // The library aborts on sizes that it can never serve, where the contract requires null.
        if layout.size() >= 1 << 40 {
            return std::ptr::null_mut();
        }
        // SAFETY: any smaller size is allowed.
        unsafe { scudo_sys::scudo_allocate(layout.size(), layout.align()) }.cast()
    }

    unsafe fn free_layout(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller passes a block of this library with its layout.
        unsafe { scudo_sys::scudo_deallocate(block.cast(), layout.size(), layout.align()) };
    }

    unsafe fn resize_in_place(
        &mut self,
        _block: *mut u8,
        _layout: Layout,
        _new_size: usize,
    ) -> bool {
        false
    }
}

struct Scudo(*mut Headed<ScudoHeap>);

impl Backend for Scudo {
    fn domains(&self) -> Domains {
        Domains::same(table(self.0))
    }

    fn thread_use(&self) -> ThreadUse {
        // The heap behind the table has no state of its own: a reference to it covers no byte.
        const { assert!(size_of::<Headed<ScudoHeap>>() == 0) };
        ThreadUse::Concurrent
    }

    fn version(&self) -> String {
        concat!("scudo of scudo-sys ", env!("VERSION_OF_SCUDO_SYS"), " (2021)").to_owned()
    }

    unsafe fn usable_size(&self, _block: *mut c_void, requested: usize) -> usize {
        requested
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        vec![ReturnKind::Page]
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

fn environment(spec: &BackendSpec) -> ChildEnvironment {
    spec.takes_only(SETTINGS)?;
    if spec.settings().is_empty() {
        return Ok(Vec::new());
    }
    // A value that it cannot read ends the process.
    for (key, value) in spec.settings() {
        let is_flag = key == SETTINGS[3].name;
        let is_read = if is_flag {
            value.parse::<bool>().is_ok()
        } else {
            plain(value).parse::<i32>().is_ok_and(|n| n >= 0)
        };
        if !is_read {
            let expected =
                if is_flag { "true or false" } else { "a whole number from 0 to 2147483647" };
            return Err(spec.refused(format!("cannot take {key}={value}: write {expected}")));
        }
    }
    let flags: Vec<String> =
        spec.settings().iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
    Ok(vec![("SCUDO_OPTIONS".to_owned(), flags.join(":").into())])
}

/// The statistics that the library prints to standard error.
fn printed() -> std::io::Result<String> {
    let mut file = File::from(rustix::fs::memfd_create("scudo", rustix::fs::MemfdFlags::CLOEXEC)?);
    let stderr = rustix::io::dup(rustix::stdio::stderr())?;
    rustix::stdio::dup2_stderr(&file)?;
    // SAFETY: prints; takes its own locks.
    unsafe { scudo_sys::scudo_print_stats() };
    rustix::stdio::dup2_stderr(&stderr)?;
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The quarantine's limits in KiB, the global one and a thread's own, in `printed`.
fn quarantine(printed: &str) -> Option<(&str, &str)> {
    let limits =
        printed.lines().find_map(|line| line.strip_prefix("Quarantine limits: global: "))?;
    let (all, own) = limits.split_once("K; thread local: ")?;
    Some((all, own.strip_suffix('K')?))
}

/// Whether a new block is filled.
fn fills() -> bool {
    let mut heap = ScudoHeap;
    let layout = Layout::new::<[u64; 8]>();
    let block = heap.allocate_layout(layout);
    // SAFETY: the block has 64 bytes that the library or the kernel has filled, and is freed once.
    unsafe {
        let is_filled = !block.is_null() && block.read_volatile() == 0xAB;
        heap.free_layout(block, layout);
        is_filled
    }
}

/// Reads the settings back. `quarantine_max_chunk_size` cannot be read.
fn read_back(spec: &BackendSpec) -> Result<(), BackendError> {
    if spec.settings().is_empty() {
        return Ok(());
    }
    let is_filled = fills(); // its first call: before it, it prints nothing
    let text = printed().map_err(|error| spec.refused(format!("cannot be read back: {error}")))?;
    let (all, own) = quarantine(&text).unwrap_or(("nothing", "nothing"));
    let filled = is_filled.to_string();
    for (known, found) in [(&SETTINGS[0], all), (&SETTINGS[1], own), (&SETTINGS[3], &filled)] {
        if let Some(value) = spec.setting(known.name)
            && plain(value) != found
        {
            return Err(spec.not_taken(known.name, value, found));
        }
    }
    Ok(())
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "scudo: LLVM's hardened allocator, sources of 2021\n  \
         {HEADER_BYTES} bytes before each block hold its size, which its free needs: \
         they count as overhead\n  \
         no call reports a block's usable size or returns memory; realloc always moves\n  \
         varies: free blocks are shuffled\n  \
         settings are read back from its statistics and its blocks\n"
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(SETTINGS)?;
    read_back(spec)?;
    Ok(Box::new(Scudo(Box::into_raw(Box::new(Headed(ScudoHeap))))))
}
