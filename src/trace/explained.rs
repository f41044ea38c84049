//! How much of a recorded process's memory its recording explains, and the likely reasons for the
//! rest.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::process::{MemorySample, ProcessRecord};
use crate::units::plain_bytes;

/// A recording that explains less than this share of the growth gets a warning.
const ENOUGH_SHARE: f64 = 0.9;
/// Fewer bytes than this are no reason for a warning: an interpreter has so much of its own.
const SMALL_BYTES: u64 = 2 << 20;

/// Texts in a library that has an allocator of its own, and that allocator's name.
const TEXTS: [(&[u8], &str); 4] = [
    (b"<jemalloc>", "jemalloc"),
    (b"mimalloc: ", "mimalloc"),
    (b"tcmalloc::", "tcmalloc"),
    (b"snmalloc", "snmalloc"),
];

/// How much of a process's memory a recording explains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// Resident anonymous memory at that moment, bytes.
    pub anonymous_bytes: u64,
    /// What it has grown by since the recording began, bytes.
    pub growth_bytes: u64,
    /// How much of the growth the recording explains, bytes.
    pub explained_bytes: u64,
    /// Resident in mappings that the program made by itself, which no replay makes, bytes.
    pub own_mappings_bytes: u64,
}

impl Explained {
    /// The share of the growth that is explained, from 0 to 1; 1 where nothing has grown.
    pub fn share(&self) -> f64 {
        if self.growth_bytes == 0 {
            return 1.0;
        }
        self.explained_bytes as f64 / self.growth_bytes as f64
    }

    /// `92.1 MiB of 95.0 MiB (97 %)`.
    fn text(&self) -> String {
        format!(
            "{} of {} ({:.0} %)",
            plain_bytes(self.explained_bytes),
            plain_bytes(self.growth_bytes),
            100.0 * self.share()
        )
    }

    /// Whether so little is explained that the recording does not stand for the process.
    pub fn is_too_little(&self) -> bool {
        let missing_bytes = self.growth_bytes - self.explained_bytes;
        missing_bytes >= SMALL_BYTES && self.share() < ENOUGH_SHARE
    }
}

impl ProcessRecord {
    /// How much is explained of the growth to the largest resident memory; `None` where its parts are
    /// not known.
    pub fn explained_at_peak(&self) -> Option<Explained> {
        // The first of those that are equally large: afterwards blocks may be free and resident.
        let larger = |most: Option<&MemorySample>, sample: &MemorySample| {
            most.is_none_or(|most| sample.anonymous_bytes > most.anonymous_bytes)
        };
        let mut peak = None;
        for sample in &self.memory {
            if larger(peak, sample) {
                peak = Some(sample);
            }
        }
        self.explained(peak?)
    }

    /// How much is explained of the growth to the end; `None` where the parts are not known there.
    pub fn explained_at_end(&self) -> Option<Explained> {
        let is_before =
            |sample: &&MemorySample| self.end.is_none_or(|end| sample.event <= end.event);
        self.explained(self.memory.iter().rfind(is_before)?)
    }

    fn explained(&self, sample: &MemorySample) -> Option<Explained> {
        let (first, parts) = (self.memory.first()?, sample.parts?);
        let before = first.parts.map_or(0, |parts| parts.explained()).min(first.anonymous_bytes);
        let growth_bytes = sample.anonymous_bytes.saturating_sub(first.anonymous_bytes);
        Some(Explained {
            anonymous_bytes: sample.anonymous_bytes,
            growth_bytes,
            explained_bytes: parts.explained().saturating_sub(before).min(growth_bytes),
            own_mappings_bytes: parts.own_mappings,
        })
    }
}

/// The allocators that loaded files have of their own: `libpolars.abi3.so (jemalloc)`. A file that
/// cannot be read has none.
pub(super) fn own_allocators<'a>(
    files: impl Iterator<Item = &'a str>,
    served: &str,
) -> Vec<String> {
    let mut found = Vec::new();
    for path in files.filter(|path| *path != served) {
        let Ok(bytes) = fs::read(path) else { continue };
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        let is_c_library = name.starts_with("libc.") || name.starts_with("ld-");
        let allocator = TEXTS.iter().find(|(text, _)| memchr::memmem::find(&bytes, text).is_some());
        // The calls of CPython's mimalloc are those of its domains, which are recorded.
        let is_other = !is_c_library && !is_interpreter(&name);
        if let (true, Some((_, allocator))) = (is_other, allocator) {
            found.push(format!("{name} ({allocator})"));
        }
    }
    found
}

/// Whether a file is CPython itself, or its library.
fn is_interpreter(name: &str) -> bool {
    name.starts_with("libpython3.") || name.starts_with("python3")
}

/// Whether one of the loaded files is a free-threaded CPython: `python3.13t`, `libpython3.13t.so.1.0`.
pub(super) fn has_free_threaded<'a>(mut files: impl Iterator<Item = &'a str>) -> bool {
    files.any(|path| {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        let rest = name.strip_prefix("lib").unwrap_or(&name).strip_prefix("python3.");
        rest.is_some_and(|rest| {
            rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('t')
        })
    })
}

/// What a recording explains, in a sentence; `None` where the trace does not know.
pub fn explained_sentence(process: &ProcessRecord) -> Option<String> {
    let peak = process.explained_at_peak()?;
    let end = process.explained_at_end().map(|end| format!(", at the end {}", end.text()));
    Some(format!(
        "of what the process's anonymous memory grew by, the recording explains at the peak {}{}",
        peak.text(),
        end.unwrap_or_default()
    ))
}

/// Why a recording may not stand for the whole process, a sentence each.
pub fn explained_warnings(
    facts: &BTreeMap<String, String>,
    process: &ProcessRecord,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let fact = |name: &str| facts.get(name).map_or("", String::as_str);
    if let Some(peak) = process.explained_at_peak().filter(Explained::is_too_little) {
        let missing_bytes = peak.growth_bytes - peak.explained_bytes;
        let missing = plain_bytes(missing_bytes);
        let are_mappings = peak.own_mappings_bytes >= missing_bytes / 2;
        let reason = match (fact("own_allocators"), fact("bypass"), fact("domains")) {
            ("", "", "python") => {
                "only CPython's domains were recorded; --domains all records native allocations"
                    .to_owned()
            }
            ("", "", _) if are_mappings => {
                format!(
                    "{} in mappings that the program made by itself",
                    plain_bytes(peak.own_mappings_bytes)
                )
            }
            ("", "", _) if fact("free_threaded") == "true" => {
                "free memory in the mimalloc of this free-threaded CPython, whose calls are recorded"
                    .to_owned()
            }
            ("", "", _) => "mappings or an allocator that the recorder cannot see".to_owned(),
            ("", file, _) => format!("the program calls the malloc of {file}"),
            (files, ..) => format!(
                "{files}: this allocator is part of the library, and its calls \
                                    cannot be seen"
            ),
        };
        warnings.push(format!(
            "{missing} at the peak are not in the recording, and in no figure made of it; likely \
             reason: {reason}"
        ));
    }
    let bytes = |name: &str| fact(name).parse::<u64>().unwrap_or(0);
    let (unsampled, peak) = (bytes("unsampled_peak_bytes"), bytes("process_peak_bytes"));
    if unsampled >= SMALL_BYTES && unsampled as f64 > (1.0 - ENOUGH_SHARE) * peak as f64 {
        warnings.push(format!(
            "for a moment the process held {} more than in any sample of its memory; what the \
             recording explains at the peak is without it",
            plain_bytes(unsampled)
        ));
    }
    if facts.contains_key("started") || facts.contains_key("forked") {
        let before = process.memory.first().map_or(0, |sample| sample.anonymous_bytes);
        if before >= SMALL_BYTES {
            warnings.push(format!(
                "the process held {} before the recording began; figures are without it",
                plain_bytes(before)
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::process::MemoryParts;
    use super::*;

    #[test]
    fn free_threaded_interpreters_are_known_by_their_files() {
        for (path, expected) in [
            ("/usr/lib/libpython3.13t.so.1.0", true),
            ("/usr/bin/python3.14t", true),
            ("/usr/bin/python3.14", false),
            ("/usr/lib/libpython3.14.so.1.0", false),
            ("/usr/lib/libtorch_python3.13t.so", false),
        ] {
            assert_eq!(has_free_threaded([path].into_iter()), expected, "{path}");
        }
    }

    fn sample(anonymous_mib: u64, blocks_mib: u64) -> MemorySample {
        MemorySample {
            event: anonymous_mib,
            time_ns: 0,
            anonymous_bytes: anonymous_mib << 20,
            parts: Some(MemoryParts { blocks: blocks_mib << 20, ..MemoryParts::default() }),
        }
    }

    #[test]
    fn growth_is_explained_by_what_came_since_the_start() {
        let memory = vec![sample(10, 2), sample(110, 97), sample(60, 52)];
        let mut process = ProcessRecord { memory, ..ProcessRecord::NONE };
        let peak = process.explained_at_peak().unwrap();
        assert_eq!((peak.growth_bytes, peak.explained_bytes), (100 << 20, 95 << 20));
        assert_eq!(process.explained_at_end().unwrap().share(), 1.0);
        let facts = BTreeMap::new();
        assert!(explained_warnings(&facts, &process).is_empty());
        process.memory[1] = sample(110, 52);
        assert!(explained_warnings(&facts, &process)[0].starts_with("50.0 MiB at the peak"));
    }

    #[test]
    fn a_peak_above_all_samples_is_a_warning_where_it_is_large() {
        let warnings = |unsampled: u64, peak: u64| {
            let facts = [("unsampled_peak_bytes", unsampled), ("process_peak_bytes", peak)];
            let facts = facts.map(|(name, bytes)| (name.to_owned(), bytes.to_string()));
            explained_warnings(&BTreeMap::from(facts), &ProcessRecord::NONE)
        };
        assert!(warnings(40 << 20, 100 << 20)[0].contains("40.0 MiB more than in any sample"));
        assert!(warnings(5 << 20, 100 << 20).is_empty());
        assert!(warnings(1 << 20, 2 << 20).is_empty());
    }
}
