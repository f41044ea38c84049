//! `jemalloc`: compiled in under the prefix `_rjem_`, so that it replaces nothing.
//!
//! Its settings are its options (`opt.*` in jemalloc(3)), which it reads from `_RJEM_MALLOC_CONF`
//! before `main`; `mallctl` reads them back. It returns free pages after a delay in wall time,
//! `dirty_decay_ms`. Resident memory therefore depends on the pace, unless the delay is 0 (immediately)
//! or −1 (never). 5.3.1 also collects a thread's cache after a delay, unless `experimental_tcache_gc` is
//! false.
#![expect(unsafe_code, reason = "calls jemalloc")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr;

use tikv_jemalloc_sys as je;

use super::allocator::{Allocator, Domains};
use super::backend::{Backend, ThreadUse, Trim, Varies};
use super::calls::{c_aligned, c_table};
use super::error::BackendError;
use super::jemalloc_arenas::{self, Slabs};
use super::member::{ChildEnvironment, Member, Opened};
use super::optional;
use super::return_unit::{ReturnKind, UnitOfBlock};
use super::setting::{Setting, plain};
use super::spec_checks::SpecChecks;
use crate::environment::RJEM_MALLOC_CONF;
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = optional::JEMALLOC.member(environment, details, open);

const SETTINGS: &[Setting] = optional::JEMALLOC.settings;

struct Jemalloc {
    varies_by_clock: bool,
}

/// A control of jemalloc, as text: a decimal number, `true`, `false`, or a string.
fn read(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    let mut buffer = [0u64; 1];
    // Booleans have 1 byte, unsigned numbers 4, signed numbers, sizes and pointers 8. A control
    // refuses any length but its own, and then touches nothing.
    for length in [1usize, 4, 8] {
        let mut written = length;
        // SAFETY: the buffer has 8 bytes, of which the control may write `written`.
        let code = unsafe {
            je::mallctl(name.as_ptr(), buffer.as_mut_ptr().cast(), &mut written, ptr::null_mut(), 0)
        };
        if code == 0 && written == length {
            return Some(match length {
                1 => (buffer[0] as u8 != 0).to_string(),
                4 => (buffer[0] as u32).to_string(),
                _ if is_string(&name) => {
                    // SAFETY: these controls return a string that lives as long as the library.
                    unsafe { CStr::from_ptr(buffer[0] as *const c_char) }
                        .to_string_lossy()
                        .into_owned()
                }
                _ => (buffer[0] as i64).to_string(),
            });
        }
    }
    None
}

/// Controls whose value is a string.
fn is_string(name: &CStr) -> bool {
    let strings: [&CStr; 5] =
        [c"version", c"opt.thp", c"opt.metadata_thp", c"opt.percpu_arena", c"opt.dss"];
    strings.contains(&name)
}

fn control(name: &CStr) -> c_int {
    // SAFETY: a control without input or output.
    unsafe { je::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) }
}

impl Backend for Jemalloc {
    fn domains(&self) -> Domains {
        Domains::same(c_table!(je::malloc, je::calloc, je::realloc, je::free))
            .with_aligned(c_aligned!(je::aligned_alloc))
    }

    fn thread_use(&self) -> ThreadUse {
        ThreadUse::Concurrent
    }

    fn version(&self) -> String {
        let version = read("version").unwrap_or_else(|| "unknown".to_owned());
        // "5.3.1-0-g81034ce1f…": the commit follows the first dash.
        format!("jemalloc {}", version.split('-').next().unwrap_or(&version))
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller's promise: the block is live.
        unsafe { je::malloc_usable_size(block) }
    }

    fn trim(&self) -> Trim {
        control(c"thread.tcache.flush");
        // 4096 is MALLCTL_ARENAS_ALL.
        match control(c"arena.4096.purge") {
            0 => Trim::Done,
            _ => Trim::None,
        }
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        vec![ReturnKind::Span, ReturnKind::Page]
    }

    fn unit_of_block(&self) -> Option<UnitOfBlock<'_>> {
        let slabs = Slabs::of(je::mallctl);
        Some(Box::new(move |block| {
            // SAFETY: the block is live.
            slabs.of_block(block.addr(), unsafe { je::malloc_usable_size(block) })
        }))
    }

    fn write_arenas(&self, out: RawFd) -> bool {
        jemalloc_arenas::write(je::mallctl, out)
    }

    fn varies(&self) -> Option<Varies> {
        self.varies_by_clock.then_some(Varies::ByClock)
    }
}

fn environment(spec: &BackendSpec) -> ChildEnvironment {
    spec.takes_numbers(SETTINGS)?;
    if spec.settings().is_empty() {
        return Ok(Vec::new());
    }
    let options: Vec<String> =
        spec.settings().iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
    Ok(vec![(RJEM_MALLOC_CONF.to_owned(), options.join(",").into())])
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "jemalloc: {}\n  \
         usable size: malloc_usable_size; trim: thread.tcache.flush and arena.4096.purge\n  \
         varies with time unless dirty_decay_ms and muzzy_decay_ms are 0 or -1 \
         and experimental_tcache_gc is false\n  \
         settings are read back with mallctl\n",
        Jemalloc { varies_by_clock: true }.version()
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(SETTINGS)?;
    for known in SETTINGS {
        if let Some(value) = spec.setting(known.name) {
            let found =
                read(&format!("opt.{}", known.name)).unwrap_or_else(|| "nothing".to_owned());
            if found != plain(value) {
                return Err(spec.not_taken(known.name, value, &found));
            }
        }
    }
    let is = |name: &str, values: &[&str]| {
        read(name).is_some_and(|value| values.contains(&value.as_str()))
    };
    let is_decay_fixed =
        is("opt.dirty_decay_ms", &["0", "-1"]) && is("opt.muzzy_decay_ms", &["0", "-1"]);
    let is_cache_fixed =
        is("opt.experimental_tcache_gc", &["false"]) || is("opt.tcache", &["false"]);
    Ok(Box::new(Jemalloc { varies_by_clock: !(is_decay_fixed && is_cache_fixed) }))
}
