//! Collects what the recorder's log says of the process, besides its calls: threads, memory, requests
//! to the allocator, and large blocks that were touched in part.

use std::collections::HashMap;

use super::event::Domain;
use super::process::{
    AllocatorEvent, AllocatorRequest, EndCause, EndMoment, MemoryParts, MemorySample, PresentBytes,
    ProcessRecord, ThreadRecord,
};
use super::raw_items::{self, LogMemory};
use crate::cpython::{CollectorRecord, GenerationRecord};

/// Samples of memory that a trace holds, at most.
const SAMPLES_LIMIT: usize = 4096;
/// Requests to the allocator that a trace holds, at most: the first ones.
const REQUESTS_LIMIT: usize = 1 << 16;
/// The largest request that pymalloc serves from its pools, bytes.
const POOLED_LIMIT_BYTES: u64 = 512;

/// A thread of the log.
#[derive(Clone, Debug, Default)]
struct LogThread {
    id: u64,
    name: String,
    birth: Option<u64>,
    death: Option<u64>,
}

/// What the log says of the process. Threads have the log's own numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessSurvey {
    threads: HashMap<u32, LogThread>,
    memory: Vec<MemorySample>,
    requests: Vec<(u64, u32, AllocatorRequest)>,
    present: Vec<PresentBytes>,
    end: Option<EndMoment>,
    collector: Option<CollectorRecord>,
    /// Live blocks outside of pools, rounded as the C library's malloc rounds; bytes.
    outside_bytes: u64,
    /// Live blocks of mem and obj that fit a pool, rounded as well; bytes.
    small_bytes: u64,
    /// Arenas and chunks of frame stacks that live, bytes.
    arena_bytes: u64,
    has_arenas: bool,
}

/// What a block takes in the C library's malloc, in bytes: a header of 8, and a multiple of 16.
fn rounded(size: u64) -> u64 {
    (size.saturating_add(8 + 15) & !15).max(32)
}

impl ProcessSurvey {
    /// Takes a block that begins.
    pub fn begin(&mut self, domain: Domain, size: u64) {
        let bytes = self.bytes_of(domain, size);
        *bytes = bytes.saturating_add(rounded(size));
    }

    /// Takes a block that ends.
    pub fn end(&mut self, domain: Domain, size: u64) {
        let bytes = self.bytes_of(domain, size);
        *bytes = bytes.saturating_sub(rounded(size));
    }

    fn bytes_of(&mut self, domain: Domain, size: u64) -> &mut u64 {
        let is_pooled = matches!(domain, Domain::Mem | Domain::Obj) && size <= POOLED_LIMIT_BYTES;
        if is_pooled { &mut self.small_bytes } else { &mut self.outside_bytes }
    }

    /// Takes memory of the arena allocator that begins or ends: an arena of pools, or a chunk of a
    /// frame stack.
    pub fn arena(&mut self, is_birth: bool, size: u64, has_pools: bool) {
        self.has_arenas |= has_pools;
        if is_birth {
            self.arena_bytes = self.arena_bytes.saturating_add(size);
        } else {
            self.arena_bytes = self.arena_bytes.saturating_sub(size);
        }
    }

    /// Takes the memory of the process before the call of index `event`.
    pub fn memory(&mut self, event: u64, log: LogMemory) {
        // Without arenas, small blocks are in the C library's malloc, too.
        let small = if self.has_arenas { 0 } else { self.small_bytes };
        let parts = |read: raw_items::MemoryParts| MemoryParts {
            blocks: self.outside_bytes.saturating_add(small),
            arenas: self.arena_bytes,
            free: read.malloc_free.unwrap_or(0),
            own_mappings: read.own_mappings,
            images: read.images,
        };
        self.memory.push(MemorySample {
            event,
            time_ns: log.time_ns,
            anonymous_bytes: log.anonymous,
            parts: Some(parts(log.parts)),
        });
        if self.memory.len() >= 2 * SAMPLES_LIMIT {
            self.thin_out();
        }
    }

    /// Leaves the larger of two samples each, besides the first and the last.
    fn thin_out(&mut self) {
        let [first, between @ .., last] = self.memory.as_slice() else { return };
        let larger = |pair: &[MemorySample]| {
            pair.iter().max_by_key(|sample| sample.anonymous_bytes).copied()
        };
        let between = between.chunks(2).filter_map(larger);
        self.memory = std::iter::once(*first).chain(between).chain([*last]).collect();
    }

    /// Takes a thread's first call.
    pub fn thread_birth(&mut self, thread: u32, id: u64, event: u64) {
        let record = self.threads.entry(thread).or_default();
        (record.id, record.birth) = (id, Some(event));
    }

    /// Takes the end of a thread.
    pub fn thread_death(&mut self, thread: u32, name: String, event: u64) {
        let record = self.threads.entry(thread).or_default();
        (record.name, record.death) = (name, Some(event));
    }

    /// Takes that the process begins to end. The first moment counts: an interpreter that finalises
    /// itself exits afterwards.
    pub fn end_of_process(&mut self, event: u64, cause: EndCause) {
        self.end.get_or_insert(EndMoment { event, cause });
    }

    /// Takes collections of a generation.
    pub fn collections(&mut self, generation: u64, record: GenerationRecord) {
        let known = self.collector.get_or_insert_default();
        let sum = match generation {
            1 => &mut known.middle,
            2 => &mut known.oldest,
            _ => return,
        };
        sum.collections = sum.collections.saturating_add(record.collections);
        sum.objects = sum.objects.saturating_add(record.objects);
    }

    /// Takes a request to the allocator.
    pub fn request(&mut self, event: u64, thread: u32, request: AllocatorRequest) {
        if self.requests.len() < REQUESTS_LIMIT {
            self.requests.push((event, thread, request));
        }
    }

    /// Takes how much of the block of that row was touched.
    pub fn present(&mut self, event: u64, bytes: u64) {
        self.present.push(PresentBytes { event, bytes });
    }

    /// The record for a trace whose threads have, in the order of their numbers, these numbers in
    /// the log.
    pub fn record(&self, log_threads: &[u32]) -> ProcessRecord {
        let mut survey = self.clone();
        while survey.memory.len() > SAMPLES_LIMIT {
            survey.thin_out();
        }
        let number = |thread: u32| {
            let at = log_threads.iter().position(|&known| known == thread);
            at.map_or(0, |at| at as u32 + 1)
        };
        let threads = log_threads
            .iter()
            .map(|thread| {
                let known = self.threads.get(thread).cloned().unwrap_or_default();
                ThreadRecord {
                    id: known.id,
                    name: known.name,
                    birth: known.birth,
                    death: known.death,
                }
            })
            .collect();
        let requests = self.requests.iter().map(|&(event, thread, request)| AllocatorEvent {
            event,
            thread: number(thread),
            request,
        });
        let mut present = self.present.clone();
        present.sort_by_key(|present| present.event);
        // A realloc in place keeps its block; the last look counts.
        present.dedup_by(|later, earlier| {
            let is_same = later.event == earlier.event;
            if is_same {
                earlier.bytes = later.bytes;
            }
            is_same
        });
        ProcessRecord {
            threads,
            memory: survey.memory,
            requests: requests.collect(),
            present,
            end: self.end,
            collector: self.collector,
            ..ProcessRecord::NONE
        }
    }
}
