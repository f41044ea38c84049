//! The constants that a spec asks for, and the allocator as text, layer by layer.
//!
//! A spec names a version (3.14 when it names none) and changes constants of it:
//! `pymalloc@3.6:threshold=256` is the allocator of Python 2.5 to 3.2.

use std::fmt::Write as _;

use super::constants::{Constants, OwnerTest, POOL_HEADER_BYTES};
use super::layout::{Cpython36, Cpython37, Cpython38, Cpython39, Cpython310, Cpython311, Layout};
use crate::backends::arenas::Bases;
use crate::backends::error::BackendError;
use crate::backends::setting::{Setting, setting};
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::units::parse_bytes;

/// One set of rules, and the versions that have it.
struct VersionRules {
    /// From this version (minor, patch) of CPython 3 on.
    from: (u32, u32),
    constants: Constants,
    /// The versions as text.
    versions: &'static str,
}

/// The oldest and newest CPython 3 whose rules are here.
const OLDEST: u32 = 6;
const NEWEST: u32 = 15;
/// The version of a spec without one. 3.15 has the same rules, and requests huge pages.
const DEFAULT: u32 = 14;
/// From this version on each new arena requests huge pages: `madvise(MADV_HUGEPAGE)` in
/// `_PyMem_ArenaAlloc` (Objects/obmalloc.c of 3.15, as in its binary).
const REQUESTS_HUGE_PAGES: u32 = 15;

/// Every set of rules, the oldest first.
fn rules() -> [VersionRules; 7] {
    let rules = |from, constants, versions| VersionRules { from, constants, versions };
    [
        rules((OLDEST, 0), Cpython36.constants(), "3.6 to 3.7.3"),
        rules((7, 4), Cpython37.constants(), "3.7.4 to 3.7.17"),
        rules((8, 0), Cpython38.constants(), "3.8"),
        rules((9, 0), Cpython39.constants(), "3.9"),
        rules((10, 0), Cpython310.constants(), "3.10"),
        rules((11, 0), Cpython311.constants(), "3.11 to 3.14"),
        rules((15, 0), Cpython311.constants(), "3.15"),
    ]
}

/// The settings; the default of each is the version's own.
pub(super) const SETTINGS: [Setting; 9] = [
    setting("arena", "bytes, a power of two", "256KiB, from 3.10 on 1MiB", "size of an arena"),
    setting("pool", "bytes, a power of two", "4KiB, from 3.10 on 16KiB", "size of a pool"),
    setting(
        "align",
        "bytes, 8 or 16",
        "8, from 3.7.4 on 16",
        "interval between size classes, and alignment of blocks",
    ),
    setting("threshold", "bytes", "512", "largest request that pools serve"),
    setting(
        "owner",
        "index, radix (64 address bits) or radix48",
        "index, from 3.10 on radix",
        "the test of whether a block lies in the pools",
    ),
    setting(
        "empty",
        "unmap or keep",
        "unmap, from 3.9 on keep",
        "a wholly free arena is unmapped immediately, or stays while it is last in the list",
    ),
    setting(
        "order",
        "walk or table",
        "walk, from 3.8 on table",
        "the search for an arena's position in the list of those with free pools",
    ),
    setting(
        "hugepages",
        "none or madvise",
        "none, from 3.15 on madvise",
        "whether a new arena requests transparent huge pages",
    ),
    Bases::setting("each at a multiple of a pool"),
];

/// Specs of former allocators, and of builds that are not the usual ones. Sources:
/// Objects/obmalloc.c of the named versions; the threshold was raised to 512 in May 2011.
const HISTORIC: [(&str, &str); 5] = [
    (
        "pymalloc@3.6:threshold=256",
        "2.5 to 3.2: 8-byte blocks, 4 KiB pools, 256 KiB arenas, up to 256 bytes",
    ),
    ("pymalloc@3.6", "3.3 to 3.7.3, and 2.7.5 and later: the same up to 512 bytes"),
    (
        "pymalloc@3.6:align=16",
        "3.6 as some builders patch it, with 16-byte blocks: the rules of 3.7.4",
    ),
    ("pymalloc@3.10:owner=index,pool=4KiB", "3.10 and later built with WITH_PYMALLOC_RADIX_TREE=0"),
    (
        "pymalloc@3.15:arena=2MiB",
        "3.15 built --with-pymalloc-hugepages, without PYTHON_PYMALLOC_HUGEPAGES=1",
    ),
];

/// What a spec asks for.
pub(super) struct PymallocSettings {
    constants: Constants,
    versions: &'static str,
    requests_huge_pages: bool,
    /// The settings that change constants, as written.
    changed: Vec<String>,
}

impl PymallocSettings {
    /// Reads a spec.
    ///
    /// # Errors
    /// [`BackendError::Refused`] for an unknown version, setting or value, and for constants that
    /// cannot work together, with the reason.
    pub fn of(spec: &BackendSpec) -> Result<PymallocSettings, BackendError> {
        spec.takes_only(&SETTINGS)?;
        let rules = rules_of(spec)?;
        let mut constants = rules.constants;
        let mut requests_huge_pages = rules.from.0 >= REQUESTS_HUGE_PAGES;
        let power = |key: &str, value: &str| {
            let bytes = parse_bytes(value).ok().filter(|bytes| bytes.is_power_of_two());
            bytes.map(u64::ilog2).ok_or_else(|| {
                spec.refused(format!(
                    "cannot have {key}={value}: expected a power of two in bytes, such as 16KiB"
                ))
            })
        };
        let mut changed = Vec::new();
        for (key, value) in spec.settings().iter().filter(|(key, _)| key != "bases") {
            changed.push(format!("{key}={value}"));
            let expected =
                |what: &str| spec.refused(format!("cannot have {key}={value}: expected {what}"));
            match key.as_str() {
                "arena" => constants.arena_bits = power(key, value)?,
                "pool" => constants.pool_bits = power(key, value)?,
                "align" => constants.align_shift = power(key, value)?,
                "threshold" => {
                    let bytes =
                        parse_bytes(value).ok().and_then(|bytes| usize::try_from(bytes).ok());
                    constants.threshold = bytes
                        .filter(|bytes| *bytes <= 1 << 20)
                        .ok_or_else(|| expected("bytes, such as 256 or 512"))?;
                }
                "owner" => {
                    constants.owner = match value.as_str() {
                        "index" => OwnerTest::ArenaIndex,
                        "radix" => OwnerTest::RadixTree { address_bits: 64 },
                        "radix48" => OwnerTest::RadixTree { address_bits: 48 },
                        _ => return Err(expected("index, radix or radix48")),
                    }
                }
                "hugepages" => {
                    requests_huge_pages = match value.as_str() {
                        "none" => false,
                        "madvise" => true,
                        _ => return Err(expected("none or madvise")),
                    }
                }
                "order" => {
                    constants.finds_by_table = match value.as_str() {
                        "walk" => false,
                        "table" => true,
                        _ => return Err(expected("walk or table")),
                    }
                }
                _ => {
                    constants.keeps_last_empty = match value.as_str() {
                        "unmap" => false,
                        "keep" => true,
                        _ => return Err(expected("unmap or keep")),
                    }
                }
            }
        }
        if let Some(clash) = constants.broken() {
            return Err(spec.refused(format!("cannot be so: {}", clash.text(&constants))));
        }
        Ok(PymallocSettings { constants, versions: rules.versions, requests_huge_pages, changed })
    }

    /// The resulting constants.
    pub fn constants(&self) -> Constants {
        self.constants
    }

    /// Whether a new arena requests huge pages.
    pub fn requests_huge_pages(&self) -> bool {
        self.requests_huge_pages
    }

    /// `3.9`, or `3.9 with align=8`.
    pub fn rules(&self) -> String {
        match self.changed.as_slice() {
            [] => self.versions.to_owned(),
            changed => format!("{} with {}", self.versions, changed.join(", ")),
        }
    }
}

/// The rules for the version of a spec: `3.N` means its last patch release, `3.N.P` that one.
fn rules_of(spec: &BackendSpec) -> Result<VersionRules, BackendError> {
    let version = match spec.version() {
        None => (DEFAULT, u32::MAX),
        Some(text) => {
            spec.cpython(OLDEST, NEWEST).ok_or_else(|| spec.has_no_version(text, OLDEST, NEWEST))?
        }
    };
    let found = rules().into_iter().rev().find(|rules| rules.from <= version);
    found.ok_or_else(|| spec.refused("has no rules for that version".to_owned()))
}

/// The allocator as text.
pub(super) fn details(spec: &BackendSpec) -> Result<String, BackendError> {
    let (wanted, bases) = (PymallocSettings::of(spec)?, Bases::of(spec)?);
    let places = bases
        .map_or("mmap, each at a multiple of a pool (in an interpreter at any page)", Bases::text);
    let Constants { threshold, keeps_last_empty, finds_by_table, owner, arena_bits, .. } =
        wanted.constants;
    let constants = wanted.constants;
    let (align, pool, arena) = (constants.align(), constants.pool(), constants.arena());
    let empty = if keeps_last_empty {
        "stays while it is last in the list"
    } else {
        "unmapped immediately"
    };
    let order = if finds_by_table {
        "found in a table of the last arena with each number of free pools"
    } else {
        "found by walking along them"
    };
    let huge = if wanted.requests_huge_pages { "requested, by madvise" } else { "not requested" };
    let mut text = format!(
        "pymalloc: rules of CPython {}; versions 3.{OLDEST} to 3.{NEWEST}\n\
         layer 1, domains: raw bypasses the pools; mem and obj share them; \
         size 0 and more than {threshold} bytes go to the layer below\n\
         layer 2, pools:\n  \
         alignment    {align} bytes\n  \
         threshold    {threshold} bytes\n  \
         pool         {pool} bytes, {POOL_HEADER_BYTES} of them header\n  \
         arena        {arena} bytes, {} pools\n  \
         owner test   {}\n  \
         free arena   {empty}\n  \
         its position {order}\n  \
         arenas from  layer -1, pages: {places}\n  \
         huge pages   {huge}\n  \
         size classes ({}):\n",
        wanted.rules(),
        constants.pools(),
        owner.text(arena_bits),
        constants.classes(),
    );
    text.push_str("     class  requests      block  blocks/pool   tail\n");
    // Writing to a string cannot fail.
    for class in 0..constants.classes() {
        let size = constants.class_bytes(class);
        let _ = writeln!(
            text,
            "     {class:>5}  {:>3} - {size:<4} {size:>7}  {:>11}  {:>5}",
            size - align + 1,
            constants.blocks(class),
            (pool - POOL_HEADER_BYTES) % size
        );
    }
    text.push_str("former and unusual layouts:\n");
    for (example, what) in HISTORIC {
        let _ = writeln!(text, "  {example:36}  {what}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::{describe, open, parse};

    #[test]
    fn versions_find_their_rules() {
        let versions = |text: &str| {
            let spec = parse(&format!("pymalloc@{text}")).map_err(|error| error.to_string())?;
            rules_of(&spec).map(|rules| rules.versions).map_err(|error| error.to_string())
        };
        for (text, expected) in [
            ("3.6", "3.6 to 3.7.3"),
            ("3.7.3", "3.6 to 3.7.3"),
            ("3.7", "3.7.4 to 3.7.17"),
            ("3.7.4", "3.7.4 to 3.7.17"),
            ("3.8", "3.8"),
            ("3.8.18", "3.8"),
            ("3.9", "3.9"),
            ("3.10", "3.10"),
            ("3.11.7", "3.11 to 3.14"),
            ("3.14", "3.11 to 3.14"),
            ("3.15", "3.15"),
            ("3.15.2", "3.15"),
        ] {
            assert_eq!(versions(text).unwrap(), expected, "{text}");
        }
        for text in ["2.7", "3", "3.5", "3.16", "3.x", "3.11.", "3.11.1.1", ""] {
            assert!(versions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_change_what_they_name_and_nothing_else() {
        let constants = |text: &str| PymallocSettings::of(&parse(text).unwrap()).unwrap().constants;
        let old = Cpython36.constants();
        assert_eq!(constants("pymalloc@3.6:threshold=256"), Constants { threshold: 256, ..old });
        assert_eq!(constants("pymalloc@3.6:align=16"), Cpython37.constants());
        assert_eq!(constants("pymalloc@3.7:order=table"), Cpython38.constants());
        let written = "pymalloc:arena=256KiB,pool=4KiB,align=8,threshold=512,\
                       owner=index,empty=unmap,order=walk";
        assert_eq!(constants(written), old);
        assert_eq!(constants("pymalloc@3.11:owner=radix48"), Cpython310.constants());
        assert_eq!(constants("pymalloc@3.15"), constants("pymalloc"));
        let requests =
            |text: &str| PymallocSettings::of(&parse(text).unwrap()).unwrap().requests_huge_pages();
        assert!(requests("pymalloc@3.15") && requests("pymalloc@3.9:hugepages=madvise"));
        assert!(!requests("pymalloc") && !requests("pymalloc@3.15:hugepages=none"));
        for (example, what) in HISTORIC {
            let text = describe(&parse(example).unwrap()).unwrap();
            assert!(text.contains("layer 2") && text.contains(example), "{example}: {what}");
            assert!(!open(&parse(example).unwrap()).unwrap().version().is_empty());
        }
        let version =
            open(&parse("pymalloc@3.9:align=8,bases=aligned").unwrap()).unwrap().version();
        assert!(version.contains("3.9 with align=8,") && !version.contains("bases"), "{version}");
    }

    #[test]
    fn what_cannot_work_together_is_refused_with_the_reason() {
        for (settings, reason) in [
            ("align=32", "8 or 16"),
            ("align=4", "8 or 16"),
            ("align=12", "power of two"),
            ("arena=3MiB", "power of two"),
            ("arena=x", "power of two"),
            ("arena=2GiB", "1 GiB"),
            ("arena=2KiB,pool=1KiB,threshold=128,align=8", "4096 bytes to"),
            ("threshold=0", "multiple"),
            ("threshold=100", "multiple"),
            ("threshold=many", "such as 256"),
            ("align=8,threshold=1024", "128 size classes"),
            ("pool=1KiB", "1072 bytes or more"),
            ("pool=2MiB", "does not fit"),
            ("arena=32KiB", "2 pools"),
            ("pool=2KiB,arena=1GiB", "1024 are possible"),
            ("owner=index", "owner=radix"),
            ("owner=tree", "radix48"),
            ("empty=maybe", "unmap or keep"),
            ("order=none", "walk or table"),
            ("hugepages=2MiB", "none or madvise"),
            ("bases=x", "misaligned"),
            ("pools=4KiB", "it takes arena, pool"),
        ] {
            let spec = parse(&format!("pymalloc:{settings}")).unwrap();
            let message = open(&spec).err().unwrap_or_else(|| panic!("{settings}")).to_string();
            assert!(message.contains(reason), "{settings}: {message}");
        }
    }
}
