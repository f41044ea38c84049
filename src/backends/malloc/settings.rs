//! The settings of glibc's malloc: its environment variables and tunables.

use super::glibc;
use crate::backends::error::BackendError;
use crate::backends::member::ChildEnvironment;
use crate::backends::setting::{Setting, plain, setting};
use crate::backends::spec_checks::SpecChecks;
use crate::environment::GLIBC_TUNABLES;
use crate::spec::BackendSpec;

pub(super) const SETTINGS: [Setting; 19] = [
    setting(
        "MALLOC_ARENA_MAX",
        "number",
        "8 for each processor",
        "most arenas; further threads share them",
    )
    .for_threads(),
    setting("MALLOC_ARENA_TEST", "number", "8", "arenas from which on the limit is computed")
        .for_threads(),
    setting(
        "MALLOC_TRIM_THRESHOLD_",
        "bytes",
        "128K, growing",
        "free memory at the heap's top from which on it is returned; stops the growth",
    ),
    setting("MALLOC_TOP_PAD_", "bytes", "128K", "memory requested from the system beyond the need"),
    setting(
        "MALLOC_MMAP_THRESHOLD_",
        "bytes",
        "128K, growing",
        "size from which on a block gets a mapping of its own; stops the growth",
    ),
    setting(
        "MALLOC_MMAP_MAX_",
        "number; 0 none",
        "65536",
        "most blocks with a mapping of their own",
    ),
    setting("MALLOC_PERTURB_", "a byte; 0 none", "0", "fill new and freed blocks with this byte"),
    setting("glibc.malloc.arena_max", "number", "8 for each processor", "as MALLOC_ARENA_MAX")
        .for_threads(),
    setting("glibc.malloc.arena_test", "number", "8", "as MALLOC_ARENA_TEST").for_threads(),
    setting("glibc.malloc.trim_threshold", "bytes", "128K, growing", "as MALLOC_TRIM_THRESHOLD_"),
    setting("glibc.malloc.top_pad", "bytes", "128K", "as MALLOC_TOP_PAD_"),
    setting("glibc.malloc.mmap_threshold", "bytes", "128K, growing", "as MALLOC_MMAP_THRESHOLD_"),
    setting("glibc.malloc.mmap_max", "number; 0 none", "65536", "as MALLOC_MMAP_MAX_"),
    setting("glibc.malloc.perturb", "a byte; 0 none", "0", "as MALLOC_PERTURB_"),
    setting(
        "glibc.malloc.mxfast",
        "bytes; 0 none",
        "128; refused from glibc 2.43 on",
        "largest block for fast bins, whose blocks merge late, all together",
    ),
    setting(
        "glibc.malloc.tcache_count",
        "number; 0 none",
        "7, from glibc 2.43 on 16",
        "free blocks of each size in the thread's cache",
    ),
    setting(
        "glibc.malloc.tcache_max",
        "bytes; at most 1032, from glibc 2.42 on 4194280",
        "1032",
        "largest block in that cache",
    ),
    setting(
        "glibc.malloc.tcache_unsorted_limit",
        "number; 0 no limit",
        "0",
        "blocks that one call examines to fill that cache",
    ),
    setting(
        "glibc.malloc.hugetlb",
        "0, 1 or 2",
        "0",
        "1: request transparent huge pages; 2: use huge pages for mappings",
    ),
];

/// The tunable of a setting; the old variables are other names of tunables.
fn tunable(name: &str) -> String {
    match name.strip_prefix("MALLOC_") {
        Some(old) => format!("glibc.malloc.{}", old.trim_end_matches('_').to_lowercase()),
        None => name.to_owned(),
    }
}

/// Variables stay variables, tunables go into `GLIBC_TUNABLES`. The loader reads both before
/// `main`.
pub(super) fn environment(spec: &BackendSpec) -> ChildEnvironment {
    spec.takes_numbers(&SETTINGS)?;
    check_effect(spec)?;
    Ok(spec
        .settings()
        .iter()
        .map(|(name, value)| match name.strip_prefix("MALLOC_") {
            Some(_) => (name.clone(), plain(value).into()),
            None => (GLIBC_TUNABLES.to_owned(), format!("{name}={}", plain(value)).into()),
        })
        .collect())
}

/// Refuses values that this C library reads and ignores.
///
/// # Errors
/// The first such setting, with the reason.
pub(super) fn check_effect(spec: &BackendSpec) -> Result<(), BackendError> {
    for (name, value) in spec.settings() {
        let number = number(&plain(value));
        if let Some(reason) = number.and_then(|number| glibc::ignores(&tunable(name), number)) {
            return Err(spec.refused(format!("cannot take {name}={value}: {reason}")));
        }
    }
    Ok(())
}

/// A number as a tunable has it: decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Reads the settings back: this process's own loader, with the same environment, lists the values
/// of the tunables (`--list-tunables`, glibc 2.33 and later). A value out of bounds and an unknown
/// name leave the default.
///
/// # Errors
/// The first setting that it did not take, or why that cannot be read.
pub(super) fn read_back(spec: &BackendSpec) -> Result<(), BackendError> {
    if spec.settings().is_empty() {
        return Ok(());
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let loader = maps
        .lines()
        .filter_map(|line| line.split_once('/'))
        .map(|(_, path)| format!("/{path}"))
        .find(|path| {
            path.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with("ld-linux") || name.starts_with("ld-2"))
        });
    let unknown = |reason: String| BackendError::Unavailable { backend: spec.to_string(), reason };
    let loader = loader
        .ok_or_else(|| unknown("its settings are glibc's, and this is another C library".into()))?;
    let output = std::process::Command::new(&loader).arg("--list-tunables").output();
    let output = output.map_err(|error| unknown(format!("{loader} --list-tunables: {error}")))?;
    if !output.status.success() {
        return Err(unknown(format!(
            "{loader} has no --list-tunables (glibc 2.33), so settings cannot be read back"
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    for (name, value) in spec.settings() {
        let own = tunable(name);
        let found = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(listed, _)| *listed == own)
            .map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
        let present = environment(spec)?.iter().all(|(key, value)| {
            let value = value.to_string_lossy();
            std::env::var(key).is_ok_and(|present| present.split(':').any(|part| part == value))
        });
        let taken = found.and_then(number);
        if taken.is_none() || taken != number(&plain(value)) || !present {
            return Err(spec.not_taken(name, value, found.unwrap_or("nothing")));
        }
    }
    Ok(())
}
