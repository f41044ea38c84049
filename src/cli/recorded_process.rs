//! What a run's record has of the recorded process: the backend that stands for its allocator, and
//! its memory over time.

use std::collections::BTreeMap;

use crate::cpython::version;
use crate::environment::{GLIBC_TUNABLES, PYTHONMALLOC};
use crate::results::{ProcessEntry, ProcessMemory};
use crate::trace::{Header, MemorySample, ProcessRecord};

/// Points of the curve that a run's record has, at most.
const POINTS_LIMIT: usize = 512;

/// What is known of the process up to the call of index `end`; `None` where the recording did not
/// read its memory.
pub fn process_entry(header: &Header, process: &ProcessRecord, end: u64) -> Option<ProcessEntry> {
    let until = process.memory.partition_point(|sample| sample.event <= end);
    let memory = points(&process.memory[..until])?;
    let own_backend = own_backend(&header.facts).unwrap_or_default();
    Some(ProcessEntry { own_backend, memory, collector: process.collector })
}

/// Nanoseconds before a reading of the images in which they may have grown, at most. The recorder
/// reads them for at most a hundredth of the time, and once takes some 0.2 ms.
const IMAGES_GROWTH_NS: u64 = 100_000_000;

/// The images' bytes at each sample. Many samples repeat the last reading. Between two readings they
/// are taken to grow evenly: an interpreter writes a MiB of its data in its first milliseconds, which
/// would count as heap until they are read again.
fn images_bytes(samples: &[MemorySample]) -> Vec<u64> {
    let reading = |sample: &MemorySample| sample.parts.map_or(0, |parts| parts.images);
    let mut images: Vec<u64> = samples.iter().map(reading).collect();
    let mut first = 0;
    for (at, sample) in samples.iter().enumerate() {
        let (before, after) = (reading(&samples[first]), reading(sample));
        if before == after {
            continue;
        }
        let end_ns = sample.time_ns;
        let start_ns = samples[first].time_ns.max(end_ns.saturating_sub(IMAGES_GROWTH_NS));
        let length_ns = end_ns.saturating_sub(start_ns).max(1) as f64;
        for (bytes, sample) in images.iter_mut().zip(samples).take(at).skip(first + 1) {
            let part = sample.time_ns.saturating_sub(start_ns) as f64 / length_ns;
            *bytes = (before as f64 + (after as f64 - before as f64) * part) as u64;
        }
        first = at;
    }
    images
}

/// The curve, thinned out: of adjacent points the larger is left, and the first and the last.
fn points(samples: &[MemorySample]) -> Option<Vec<ProcessMemory>> {
    let images = images_bytes(samples);
    let heap_bytes = |(sample, images): (&MemorySample, &u64)| {
        let parts = sample.parts?;
        Some(sample.anonymous_bytes.saturating_sub(parts.own_mappings).saturating_sub(*images))
    };
    let first = samples.iter().zip(&images).find_map(heap_bytes)?;
    let all: Vec<ProcessMemory> = samples
        .iter()
        .zip(&images)
        .filter_map(|(sample, images)| {
            let heap_bytes = heap_bytes((sample, images))?.saturating_sub(first);
            let besides_bytes = sample.anonymous_bytes.saturating_sub(heap_bytes);
            Some(ProcessMemory { event: sample.event, heap_bytes, besides_bytes })
        })
        .collect();
    let last = *all.last()?;
    let width = all.len().div_ceil(POINTS_LIMIT);
    let larger =
        |group: &[ProcessMemory]| group.iter().max_by_key(|point| point.heap_bytes).copied();
    let mut points: Vec<ProcessMemory> = all.chunks(width.max(1)).filter_map(larger).collect();
    if points.last() != Some(&last) {
        points.push(last);
    }
    Some(points)
}

/// The backend that stands for the allocator that the program ran on, as a spec; `None` where that
/// was not the C library's.
fn own_backend(facts: &BTreeMap<String, String>) -> Option<String> {
    let fact = |name: &str| facts.get(name).map_or("", String::as_str);
    if !fact("allocator").starts_with("glibc") {
        return None;
    }
    let variables: Vec<(&str, &str)> =
        fact("variables").lines().filter_map(|line| line.split_once('=')).collect();
    let settings: Vec<String> = variables
        .iter()
        .flat_map(|(name, value)| match *name {
            GLIBC_TUNABLES => value
                .split(':')
                .filter(|tunable| tunable.starts_with("glibc.malloc."))
                .map(str::to_owned)
                .collect(),
            name if name.starts_with("MALLOC_") => vec![format!("{name}={value}")],
            _ => vec![],
        })
        .collect();
    let malloc = match settings.as_slice() {
        [] => "malloc".to_owned(),
        settings => format!("malloc:{}", settings.join(",")),
    };
    let chosen = variables.iter().find(|(name, _)| *name == PYTHONMALLOC);
    let chosen = chosen.map_or("", |(_, value)| value);
    let minor = version(fact("python")).map(|(minor, _)| minor);
    match (minor, chosen) {
        (None, _) | (_, "malloc") => Some(malloc),
        (Some(minor), "" | "default" | "pymalloc") if settings.is_empty() => {
            Some(format!("pymalloc@3.{minor}"))
        }
        (Some(minor), "" | "default" | "pymalloc") => Some(format!("pymalloc@3.{minor}+{malloc}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::MemoryParts;

    fn own(facts: &[(&str, &str)]) -> Option<String> {
        own_backend(&facts.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_allocator_of_the_program_is_a_backend() {
        let glibc = ("allocator", "glibc 2.36 (libc.so.6)");
        let python = ("python", "3.11.7");
        assert_eq!(own(&[glibc]).as_deref(), Some("malloc"));
        assert_eq!(own(&[glibc, python]).as_deref(), Some("pymalloc@3.11"));
        let variables = ("variables", "MALLOC_ARENA_MAX=1\nPYTHONMALLOC=malloc");
        let arenas = Some("malloc:MALLOC_ARENA_MAX=1");
        assert_eq!(own(&[glibc, python, variables]).as_deref(), arenas);
        let tunables = ("variables", "GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.cpu.x=1");
        let below = Some("pymalloc@3.11+malloc:glibc.malloc.tcache_count=0");
        assert_eq!(own(&[glibc, python, tunables]).as_deref(), below);
        assert_eq!(own(&[glibc, python, ("variables", "PYTHONMALLOC=debug")]), None);
        assert_eq!(own(&[("allocator", "jemalloc 5.3.0"), python]), None);
    }

    #[test]
    fn images_grow_evenly_between_two_readings() {
        let sample = |event, time_ms: u64, images| MemorySample {
            event,
            time_ns: time_ms * 1_000_000,
            anonymous_bytes: 3000,
            parts: Some(MemoryParts { images, ..MemoryParts::default() }),
        };
        let early: Vec<MemorySample> = [(0, 100), (5, 100), (10, 100), (20, 1100), (30, 1100)]
            .iter()
            .map(|&(time_ms, images)| sample(time_ms, time_ms, images))
            .collect();
        assert_eq!(images_bytes(&early), [100, 350, 600, 1100, 1100]);
        // A library that is loaded after a long time: the images did not grow before.
        let late =
            [sample(0, 0, 100), sample(1, 500, 100), sample(2, 950, 100), sample(3, 1000, 200)];
        assert_eq!(images_bytes(&late), [100, 100, 150, 200]);
    }

    #[test]
    fn the_curve_keeps_its_peak_and_its_end() {
        let sample = |event, mib: u64| MemorySample {
            event,
            time_ns: 0,
            anonymous_bytes: mib << 20,
            parts: Some(MemoryParts { images: 2 << 20, ..MemoryParts::default() }),
        };
        let samples: Vec<MemorySample> = (0..5000)
            .map(|event| sample(event, if event == 2345 { 90 } else { 10 + event % 7 }))
            .collect();
        let points = points(&samples).unwrap();
        assert!(points.len() <= POINTS_LIMIT + 1, "{}", points.len());
        assert_eq!(points.iter().map(|point| point.heap_bytes).max(), Some(80 << 20));
        assert_eq!(points.last().unwrap().event, 4999);
    }
}
