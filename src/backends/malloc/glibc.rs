//! The release of the C library, and what it does with settings.
#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "calls the C library"))]

/// Largest request, in bytes, that the thread cache serves by default.
pub(super) const CACHED_BYTES_MOST: u64 = 1032;

/// The C library of this process, as it reports itself.
#[cfg(target_env = "gnu")]
pub fn version() -> String {
    // SAFETY: the function returns a string that lives as long as the library.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", version.to_string_lossy())
}

/// The C library of this process, which reports no version.
#[cfg(not(target_env = "gnu"))]
pub fn version() -> String {
    "musl/unknown".to_owned()
}

/// The release of glibc as (2, 36); `None` for another C library.
pub(super) fn release() -> Option<(u32, u32)> {
    release_of(version().strip_prefix("glibc ")?)
}

/// The release of a version as glibc reports it, `2.36`. Allocates nothing.
pub(super) fn release_of(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    });
    Some((parts.next()??, parts.next()??))
}

/// Why this C library ignores a tunable with that value; `None` where it does not.
pub(super) fn ignores(tunable: &str, value: u64) -> Option<String> {
    release().and_then(|release| ignored(release, tunable, value))
}

/// As [`ignores`], for a release. Source: `do_set_mxfast`, `do_set_tcache_max` and
/// `do_set_tcache_count` in malloc/malloc.c of 2.36 and 2.43.
fn ignored(release: (u32, u32), tunable: &str, value: u64) -> Option<String> {
    const FAST_BYTES_MOST: u64 = 160;
    const CACHED_BLOCKS_MOST: u64 = 65_535;
    let (major, minor) = release;
    let at_most = |most: u64| {
        (value > most).then(|| {
            format!("glibc {major}.{minor} takes at most {most}, and ignores a larger value")
        })
    };
    match tunable {
        "glibc.malloc.mxfast" if release >= (2, 43) => Some(format!(
            "glibc {major}.{minor} has no fast bins, so the setting does nothing; leave it out"
        )),
        "glibc.malloc.mxfast" => at_most(FAST_BYTES_MOST),
        // 2.42 added a cache of large blocks. Its last bin ends below chunks of 4 MiB.
        "glibc.malloc.tcache_max" if release >= (2, 42) => at_most((4 << 20) - 24),
        "glibc.malloc.tcache_max" => at_most(CACHED_BYTES_MOST),
        "glibc.malloc.tcache_count" => at_most(CACHED_BLOCKS_MOST),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(release_of("2.36"), Some((2, 36)));
        assert_eq!(release_of("2.43.9000"), Some((2, 43)));
        assert_eq!(release_of("unknown"), None);
    }

    #[test]
    fn what_a_release_ignores_is_known() {
        let is_ignored = |release, name: &str, value| {
            ignored(release, &format!("glibc.malloc.{name}"), value).is_some()
        };
        for (name, value, in_2_36, in_2_43) in [
            ("mxfast", 0, false, true),
            ("mxfast", 161, true, true),
            ("tcache_max", 1032, false, false),
            ("tcache_max", 1033, true, false),
            ("tcache_max", 4_194_280, true, false),
            ("tcache_max", 4_194_281, true, true),
            ("tcache_count", 65_535, false, false),
            ("tcache_count", 65_536, true, true),
            ("arena_max", 1 << 40, false, false),
        ] {
            assert_eq!(is_ignored((2, 36), name, value), in_2_36, "2.36: {name}={value}");
            assert_eq!(is_ignored((2, 43), name, value), in_2_43, "2.43: {name}={value}");
        }
    }
}
