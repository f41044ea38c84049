//! Room `backends`, member `jemalloc`: compiled in under the prefix `_rjem_`, so that it takes over
//! nothing.
//!
//! Its settings are its options (`opt.*` in jemalloc(3)), which it reads from `_RJEM_MALLOC_CONF`
//! before `main`; `mallctl` reads them back. Free pages decay by the clock: after `dirty_decay_ms`
//! they are purged, so what is resident depends on the pace of the replay unless the decay is 0 (at
//! once) or −1 (never); and 5.3.1 tidies a thread's cache by the clock too, unless
//! `experimental_tcache_gc` is false.
#![expect(unsafe_code, reason = "calls jemalloc")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use tikv_jemalloc_sys as je;

use super::allocator::{
    Allocator, Backend, BackendError, Domains, Environment, Member, Opened, Setting, Trim, Varies,
    delay, plain, setting,
};
use super::calls::c_table;
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "jemalloc",
    summary: "size classes in slabs, arenas, thread caches; free pages decay over 10 s",
    below: None,
    settings: &SETTINGS,
    environment,
    details,
    open,
};

const SETTINGS: [Setting; 14] = [
    delay(
        "dirty_decay_ms",
        "10000",
        "ms over which free dirty pages are given back; 0 at once, -1 never",
        ["0", "-1"],
    ),
    delay(
        "muzzy_decay_ms",
        "0",
        "ms over which pages that were marked reusable are given back; 0 at once, -1 never",
        ["0", "-1"],
    ),
    setting("narenas", "4 for each processor", "arenas"),
    setting("background_thread", "false", "purge in a thread of its own, not in calls"),
    setting("retain", "true", "keep address space of what was given back"),
    setting("tcache", "true", "a cache of free blocks for each thread"),
    setting("tcache_max", "32768", "largest block in that cache, in bytes"),
    setting("experimental_tcache_gc", "true", "tidy that cache by the clock as well as by bytes"),
    setting("thp", "default", "huge pages: default, always or never"),
    setting("metadata_thp", "disabled", "huge pages for its own tables: disabled, auto or always"),
    setting(
        "oversize_threshold",
        "8388608",
        "bytes from which a block gets an arena that purges at once",
    ),
    setting("lg_extent_max_active_fit", "6", "log2 of how much larger a reused extent may be"),
    setting("percpu_arena", "disabled", "arenas by processor: disabled, percpu or phycpu"),
    setting("dss", "secondary", "memory from sbrk: disabled, primary or secondary"),
];

struct Jemalloc {
    keeps_time: bool,
}

/// A control of jemalloc, as text: numbers in decimal, `true`, `false`, or a word.
fn read(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    let mut buffer = [0u64; 1];
    // Booleans have 1 byte, unsigned numbers 4, signed and sizes and pointers 8: a control refuses
    // any length but its own and touches nothing then.
    for length in [1usize, 4, 8] {
        let mut told = length;
        // SAFETY: the buffer has 8 bytes, and `told` says how many of them the control may write.
        let code = unsafe {
            je::mallctl(name.as_ptr(), buffer.as_mut_ptr().cast(), &mut told, ptr::null_mut(), 0)
        };
        if code == 0 && told == length {
            return Some(match length {
                1 => (buffer[0] as u8 != 0).to_string(),
                4 => (buffer[0] as u32).to_string(),
                _ if is_word(&name) => {
                    // SAFETY: these controls give a string that lives as long as the library.
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
fn is_word(name: &CStr) -> bool {
    let words: [&CStr; 5] =
        [c"version", c"opt.thp", c"opt.metadata_thp", c"opt.percpu_arena", c"opt.dss"];
    words.contains(&name)
}

fn control(name: &CStr) -> c_int {
    // SAFETY: a control without input or output.
    unsafe { je::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) }
}

impl Backend for Jemalloc {
    fn domains(&self) -> Domains {
        Domains::same(c_table!(je::malloc, je::calloc, je::realloc, je::free))
    }

    fn version(&self) -> String {
        let told = read("version").unwrap_or_else(|| "unknown".to_owned());
        // "5.3.1-0-g81034ce1f…": what follows the first dash names the commit.
        format!("jemalloc {}", told.split('-').next().unwrap_or(&told))
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: the caller says that the block is live.
        unsafe { je::malloc_usable_size(block) }
    }

    fn trim(&mut self) -> Trim {
        control(c"thread.tcache.flush");
        // 4096 is MALLCTL_ARENAS_ALL.
        match control(c"arena.4096.purge") {
            0 => Trim::Done,
            _ => Trim::None,
        }
    }

    fn varies(&self) -> Option<Varies> {
        self.keeps_time.then_some(Varies::ByClock)
    }
}

fn environment(spec: &BackendSpec) -> Environment {
    spec.takes_only(&SETTINGS)?;
    if spec.settings().is_empty() {
        return Ok(Vec::new());
    }
    let options: Vec<String> =
        spec.settings().iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
    Ok(vec![("_RJEM_MALLOC_CONF".to_owned(), options.join(",").into())])
}

fn details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok(format!(
        "jemalloc: {}\n  usable size: malloc_usable_size; trim: thread.tcache.flush and arena.4096.purge\n  varies by the clock unless dirty_decay_ms is 0 or -1 and experimental_tcache_gc is false\n  settings are read from _RJEM_MALLOC_CONF before the start and read back with mallctl\n",
        Jemalloc { keeps_time: true }.version()
    ))
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    spec.takes_no_version()?;
    spec.takes_only(&SETTINGS)?;
    for known in &SETTINGS {
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
    let decay_pinned =
        is("opt.dirty_decay_ms", &["0", "-1"]) && is("opt.muzzy_decay_ms", &["0", "-1"]);
    let cache_pinned = is("opt.experimental_tcache_gc", &["false"]) || is("opt.tcache", &["false"]);
    Ok(Box::new(Jemalloc { keeps_time: !(decay_pinned && cache_pinned) }))
}
