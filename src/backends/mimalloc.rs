//! `mimalloc`: Microsoft's, version 3, compiled in under its own `mi_` names.
//!
//! Its settings are its options (`mi_option_t`, `mimalloc.h`), which it reads from the environment
//! once, at the first call; `mi_option_get` reads them back. It purges free memory after
//! `purge_delay` milliseconds of wall time, unless that is 0 or −1.
#![expect(unsafe_code, reason = "calls mimalloc")]

use std::ffi::c_void;

use libmimalloc_sys as mi;

use super::allocator::{Allocator, Domains};
use super::backend::{Backend, ThreadUse, Trim, Varies};
use super::calls::{c_aligned, c_table};
use super::error::BackendError;
use super::member::{ChildEnvironment, Member, Opened};
use super::optional;
use super::return_unit::ReturnKind;
use super::setting::{Setting, plain};
use super::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The entry of the list.
pub const MEMBER: Member = optional::MIMALLOC.member(environment, details, open);

const SETTINGS: &[Setting] = optional::MIMALLOC.settings;
/// The number of each setting in `mi_option_t` of version 3.3.
const NUMBERS: [i32; SETTINGS.len()] = [15, 5, 4, 6, 34, 36, 37, 43];

struct Mimalloc {
    varies_by_clock: bool,
}

/// `aligned_alloc` with mimalloc's order of arguments.
unsafe fn aligned(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: any power of two and any size may be passed.
    unsafe { mi::mi_malloc_aligned(size, alignment) }
}

impl Backend for Mimalloc {
    fn domains(&self) -> Domains {
        Domains::same(c_table!(mi::mi_malloc, mi::mi_calloc, mi::mi_realloc, mi::mi_free))
            .with_aligned(c_aligned!(aligned))
    }

    fn thread_use(&self) -> ThreadUse {
        ThreadUse::Concurrent
    }

    fn version(&self) -> String {
        // SAFETY: reads a constant of the library.
        let version = unsafe { mi::mi_version() };
        // Version 3 has two digits each for minor and patch (30302); version 2 had one for the
        // minor (209).
        match version {
            10_000.. => {
                format!("mimalloc {}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
            }
            _ => format!("mimalloc {}.{}.{}", version / 100, version / 10 % 10, version % 10),
        }
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller's promise: the block is live.
        unsafe { mi::mi_usable_size(block) }
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        vec![ReturnKind::Span]
    }

    fn trim(&self) -> Trim {
        // SAFETY: collects free memory of this thread; live blocks stay.
        unsafe { mi::mi_collect(true) };
        Trim::Done
    }

    fn varies(&self) -> Option<Varies> {
        self.varies_by_clock.then_some(Varies::ByClock)
    }
}

fn environment(spec: &BackendSpec) -> ChildEnvironment {
    spec.takes_numbers(SETTINGS)?;
    let variable = |(key, value): &(String, String)| {
        (format!("MIMALLOC_{}", key.to_uppercase()), plain(value).into())
    };
    Ok(spec.settings().iter().map(variable).collect())
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "mimalloc: {}\n  \
         usable size: mi_usable_size; trim: mi_collect(true)\n  \
         varies with time unless purge_delay is 0 or -1\n  \
         settings are read back with mi_option_get\n",
        Mimalloc { varies_by_clock: true }.version()
    ))
}

/// The present value of an option.
fn read(number: i32) -> i64 {
    // SAFETY: the number is one of mi_option_t.
    unsafe { mi::mi_option_get(number) }
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(SETTINGS)?;
    for (known, number) in SETTINGS.iter().zip(NUMBERS) {
        if let Some(value) = spec.setting(known.name) {
            let found = read(number).to_string();
            if found != plain(value) {
                return Err(spec.not_taken(known.name, value, &found));
            }
        }
    }
    Ok(Box::new(Mimalloc { varies_by_clock: read(NUMBERS[0]) > 0 }))
}
