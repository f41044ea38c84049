//! Room `backends`, member `mimalloc`: Microsoft's, version 3, compiled in under its own `mi_`
//! names.
//!
//! Its settings are its options (`mi_option_t`, `mimalloc.h`), which it reads from the environment
//! once, at the first call; `mi_option_get` reads them back. Purging waits `purge_delay`
//! milliseconds of the clock unless that is 0 or −1.
#![expect(unsafe_code, reason = "calls mimalloc")]

use std::ffi::c_void;

use libmimalloc_sys as mi;

use super::allocator::{
    Allocator, Backend, BackendError, Domains, Environment, Member, Opened, Setting, Trim, Varies,
    delay, plain, setting,
};
use super::calls::c_table;
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "mimalloc",
    summary: "Microsoft's: a free list for each 64 KiB page, purged after a delay",
    below: None,
    settings: &SETTINGS,
    environment,
    details,
    open,
};

/// The options that matter in a replay, each with its number in `mi_option_t` of version 3.3.
const NUMBERS: [i32; SETTINGS.len()] = [15, 5, 4, 6, 34, 36, 37, 43];
const SETTINGS: [Setting; 8] = [
    delay(
        "purge_delay",
        "10",
        "ms that free memory waits before it is purged; 0 at once, -1 never",
        ["0", "-1"],
    ),
    setting(
        "purge_decommits",
        "1",
        "purging gives pages back; 0 only marks them as reusable (MADV_FREE)",
    ),
    setting(
        "arena_eager_commit",
        "2",
        "commit arenas whole: 1 yes, 0 no, 2 where the system overcommits",
    ),
    setting("allow_large_os_pages", "0", "1: use large pages of 2 or 4 MiB where there are any"),
    setting("generic_collect", "10000", "slow calls between two collections of the heap"),
    setting("page_full_retain", "2", "full pages kept in a size class's list"),
    setting("page_max_candidates", "4", "pages looked at for the fullest one"),
    setting("allow_thp", "1", "0 switches transparent huge pages off for the process"),
];

struct Mimalloc {
    keeps_time: bool,
}

impl Backend for Mimalloc {
    fn domains(&self) -> Domains {
        Domains::same(c_table!(mi::mi_malloc, mi::mi_calloc, mi::mi_realloc, mi::mi_free))
    }

    fn version(&self) -> String {
        // SAFETY: reads a constant of the library.
        let told = unsafe { mi::mi_version() };
        // Version 3 has two digits each for minor and patch (30302); version 2 had one for the
        // minor (209).
        match told {
            10_000.. => format!("mimalloc {}.{}.{}", told / 10_000, told / 100 % 100, told % 100),
            _ => format!("mimalloc {}.{}.{}", told / 100, told / 10 % 10, told % 10),
        }
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller says that the block is live.
        unsafe { mi::mi_usable_size(block) }
    }

    fn trim(&mut self) -> Trim {
        // SAFETY: collects free memory of this thread; live blocks stay.
        unsafe { mi::mi_collect(true) };
        Trim::Done
    }

    fn varies(&self) -> Option<Varies> {
        self.keeps_time.then_some(Varies::ByClock)
    }
}

fn environment(spec: &BackendSpec) -> Environment {
    spec.takes_only(&SETTINGS)?;
    let variable = |(key, value): &(String, String)| {
        (format!("MIMALLOC_{}", key.to_uppercase()), plain(value).into())
    };
    Ok(spec.settings().iter().map(variable).collect())
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "mimalloc: {}\n  usable size: mi_usable_size; trim: mi_collect(true)\n  varies by the clock unless purge_delay is 0 or -1\n  settings are read from MIMALLOC_NAME at the first call and read back with mi_option_get\n",
        Mimalloc { keeps_time: true }.version()
    ))
}

/// What an option is now.
fn read(number: i32) -> i64 {
    // SAFETY: the number is one of mi_option_t.
    unsafe { mi::mi_option_get(number) }
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(&SETTINGS)?;
    for (known, number) in SETTINGS.iter().zip(NUMBERS) {
        if let Some(value) = spec.setting(known.name) {
            let found = read(number).to_string();
            if found != plain(value) {
                return Err(spec.not_taken(known.name, value, &found));
            }
        }
    }
    Ok(Box::new(Mimalloc { keeps_time: read(NUMBERS[0]) > 0 }))
}
