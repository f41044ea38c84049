//! Room `backends`, member `scudo`: LLVM's hardened allocator, in the state of 2021 (the sources
//! that its crate carries).
//!
//! Its interface is told a block's size when it is freed, and aborts when that is wrong; the
//! contract tells none. So each block has 16 bytes more before it, which hold the size and count as
//! its overhead here.
//!
//! Its settings are flags of `flags.inc`, which it reads from `SCUDO_OPTIONS` at its first call. It
//! has no call that tells them: the quarantine's limits stand in its printed statistics, and what
//! it fills blocks with is seen in blocks. Flags that can be read back in neither way
//! (`release_to_os_interval_ms`) are not offered.
#![expect(unsafe_code, reason = "calls scudo")]

use std::alloc::Layout;
use std::ffi::c_void;
use std::fs::File;
use std::io::{Read, Seek};

use super::allocator::{
    Backend, BackendError, Domains, Environment, Member, Opened, Setting, Varies, plain, setting,
};
use super::calls::{HEADER_BYTES, Headed, Layouted, table};
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "scudo",
    summary: "LLVM's hardened allocator, sources of 2021; 16 bytes more a block hold its size",
    below: None,
    settings: &SETTINGS,
    environment,
    details,
    open,
};

const SETTINGS: [Setting; 4] = [
    setting(
        "quarantine_size_kb",
        "0",
        "KiB of freed blocks that wait before they are used again; needs the next two as well",
    ),
    setting(
        "thread_local_quarantine_size_kb",
        "0",
        "KiB of them that wait in a thread's own list at first",
    ),
    setting("quarantine_max_chunk_size", "0", "bytes of the largest block that waits"),
    setting("pattern_fill_contents", "false", "true: every new block is filled with 0xAB"),
];

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

fn environment(spec: &BackendSpec) -> Environment {
    spec.takes_only(&SETTINGS)?;
    if spec.settings().is_empty() {
        return Ok(Vec::new());
    }
    // Of a value that it cannot read it would make an end of the process.
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

/// What the library prints about itself, which it writes to standard error.
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

/// The quarantine's limits in KiB, all and a thread's own, in `printed`.
fn quarantine(printed: &str) -> Option<(&str, &str)> {
    let limits =
        printed.lines().find_map(|line| line.strip_prefix("Quarantine limits: global: "))?;
    let (all, own) = limits.split_once("K; thread local: ")?;
    Some((all, own.strip_suffix('K')?))
}

/// Whether a new block is filled.
fn fills() -> bool {
    let mut calls = Calls;
    let layout = Layout::new::<[u64; 8]>();
    let block = calls.give(layout);
    // SAFETY: the block has 64 bytes that the library or the kernel has filled, and is given back
    // once.
    unsafe {
        let is_filled = !block.is_null() && block.read_volatile() == 0xAB;
        calls.take(block, layout);
        is_filled
    }
}

/// Reads back what was set. The largest size that waits is nowhere to be read.
fn read_back(spec: &BackendSpec) -> Result<(), BackendError> {
    if spec.settings().is_empty() {
        return Ok(());
    }
    let is_filled = fills(); // its first call: before it, there is nothing to print
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
        "scudo: LLVM's hardened allocator, sources of 2021\n  {HEADER_BYTES} bytes before each block hold its size, which its free must be told: they count as overhead\n  no call tells a block's usable size or gives memory back; realloc always moves\n  varies: free blocks are shuffled\n  settings are read from SCUDO_OPTIONS at the first call and read back from its statistics and its blocks\n"
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(&SETTINGS)?;
    read_back(spec)?;
    Ok(Box::new(Scudo(Box::into_raw(Box::new(Headed(Calls))))))
}
