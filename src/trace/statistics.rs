//! Counts the calls, sizes, lifetimes, threads and lines of a trace, for `heaplay inspect`.
//!
//! One pass suffices. Memory is proportional to live blocks, sites and threads, never to the length
//! of the trace.
//!
//! The *allocation clock* is the sum of all bytes requested so far, by malloc, calloc and realloc. A
//! block's age in bytes is the number of bytes requested after its own request and before its end.
//! Ages are counted in log-linear bins, four to an octave ([`age_bin`]). Integer arithmetic defines
//! the bins, so other programs can count the same.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::PathBuf;

use serde::Serialize;

use super::event::{Domain, Op, Row, SiteId, Sites, TraceError, TraceReader, TypeId};
use super::live_series::{LivePoint, LiveSeries};
use super::process::EndCause;
use super::sequence::{Call, Sequence, SequenceError};
use crate::units::{size_class, size_class_limit};

/// Bytes of all requests together, at most: 2^62. So sums of several counts cannot overflow.
pub const REQUESTED_LIMIT_BYTES: u64 = 1 << 62;

/// Why a trace has no statistics.
#[derive(Debug, thiserror::Error)]
pub enum StatisticsError {
    /// The trace cannot be read.
    // Not transparent: then the cause, which has the path, would be hidden from those that look for it.
    #[error("{0}")]
    Trace(#[from] TraceError),
    /// Its rows contradict each other.
    #[error("{}: {source}; expected {}", path.display(), source.expected())]
    Sequence {
        /// The trace.
        path: PathBuf,
        /// The rule that is broken.
        source: SequenceError,
    },
    /// Its requests have more bytes than the counts hold.
    #[error(
        "{}: at event {event} all requests together exceed 2^62 bytes; is a size of the trace wrong?",
        path.display()
    )]
    TooManyBytes {
        /// The trace.
        path: PathBuf,
        /// The first request beyond the limit.
        event: u64,
    },
}

/// Calls of one op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OpCount {
    /// `malloc`, `calloc`, `realloc` or `free`.
    pub op: &'static str,
    /// Calls.
    pub calls: u64,
    /// Requested bytes; 0 for free.
    pub bytes: u64,
}

/// Requests in one domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DomainCount {
    /// `raw`, `mem` or `obj`.
    pub domain: &'static str,
    /// Requests.
    pub requests: u64,
    /// Requested bytes.
    pub bytes: u64,
    /// Frees of blocks of this domain.
    pub frees: u64,
}

/// Requests of one size class ([`size_class`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// The largest size of the class, in bytes ([`size_class_limit`]).
    pub up_to: u64,
    /// Requests.
    pub requests: u64,
    /// Requested bytes.
    pub bytes: u64,
}

/// Blocks whose age is in one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Age {
    /// The smallest age of the bin, in calls or bytes.
    pub from: u64,
    /// Blocks that ended at that age.
    pub ended: u64,
    /// Blocks that are live at the end of the trace, and have that age there.
    pub survived: u64,
}

/// Requests of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ThreadCount {
    /// The thread's number in the trace.
    pub thread: u32,
    /// Requests.
    pub requests: u64,
    /// Requested bytes.
    pub bytes: u64,
    /// Frees of blocks that other threads allocated.
    pub foreign_frees: u64,
}

/// Blocks of one thread that another thread frees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RemoteFrees {
    /// The thread that allocated them.
    pub allocated_by: u32,
    /// The thread that frees them.
    pub freed_by: u32,
    /// The blocks.
    pub blocks: u64,
}

/// Requests of one line of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SiteCount {
    /// `file:line`.
    pub site: String,
    /// Requests.
    pub requests: u64,
    /// Requested bytes.
    pub bytes: u64,
    /// The line's blocks that are live at the end.
    pub live_blocks: u64,
    /// Bytes of those blocks.
    pub live_bytes: u64,
}

/// Requests for objects of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TypeCount {
    /// The type's name; empty for blocks that are no object of a known type.
    #[serde(rename = "type")]
    pub name: String,
    /// Requests.
    pub requests: u64,
    /// Requested bytes.
    pub bytes: u64,
    /// The type's blocks that are live at the end.
    pub live_blocks: u64,
    /// Bytes of those blocks.
    pub live_bytes: u64,
}

/// Requests counted under the number of a site or type.
#[derive(Clone, Copy, Default)]
struct RequestTally {
    requests: u64,
    bytes: u64,
    live_blocks: u64,
    live_bytes: u64,
}

impl RequestTally {
    /// Counts a request under the number `id`.
    fn begin(tallies: &mut Vec<RequestTally>, id: u32, size: u64) {
        let id = id as usize;
        if tallies.len() <= id {
            tallies.resize(id + 1, RequestTally::default());
        }
        let tally = &mut tallies[id];
        tally.requests += 1;
        tally.bytes = tally.bytes.saturating_add(size);
        tally.live_blocks += 1;
        tally.live_bytes = tally.live_bytes.saturating_add(size);
    }

    fn end(tallies: &mut [RequestTally], id: u32, size: u64) {
        if let Some(tally) = tallies.get_mut(id as usize) {
            tally.live_blocks -= 1;
            tally.live_bytes = tally.live_bytes.saturating_sub(size);
        }
    }
}

/// The end of a trace whose last calls take the process apart, in its statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EndStatistics {
    /// Calls before it.
    pub event: u64,
    /// How the process begins to end; `None` for a moment that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<EndCause>,
    /// Requested bytes live then.
    pub live_bytes: u64,
    /// Blocks live then.
    pub live_blocks: u64,
}

/// The largest block size of each row of [`TraceStatistics::ages_by_size`], in bytes.
pub const AGE_SIZES: [u64; 4] = [64, 512, 4096, u64::MAX];

/// The statistics of a trace. Sizes and clocks are in bytes, lifetimes in calls or bytes as named.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TraceStatistics {
    /// All calls, frees included.
    pub calls: u64,
    /// Calls by op, free last.
    pub ops: Vec<OpCount>,
    /// Requests by domain.
    pub domains: Vec<DomainCount>,
    /// The allocation clock at the end.
    pub requested_bytes: u64,
    /// Requests for 0 bytes.
    pub empty_requests: u64,
    /// The largest request.
    pub largest_bytes: u64,
    /// Requests by size class, from the smallest; empty classes at the end are left out.
    pub sizes: Vec<SizeCount>,
    /// Ages in calls, by bin; empty bins at the end are left out.
    pub ages_calls: Vec<Age>,
    /// Ages in bytes of the allocation clock, by bin.
    pub ages_bytes: Vec<Age>,
    /// Ages in bytes by size of the block, see [`AGE_SIZES`].
    pub ages_by_size: Vec<Vec<Age>>,
    /// Bytes × bytes of age, by octave of size (rows) and octave of age (columns), survivors
    /// included.
    pub weight_by_size_and_age: Vec<Vec<f64>>,
    /// Blocks that the next call ended.
    pub ended_by_next_call: u64,
    /// Blocks live at the end of the trace.
    pub survivors: u64,
    /// Live bytes at the end.
    pub live_end_bytes: u64,
    /// Most live bytes.
    pub live_peak_bytes: u64,
    /// Calls up to the first such moment.
    pub live_peak_event: u64,
    /// Most live blocks.
    pub live_peak_blocks: u64,
    /// Live bytes and blocks over the trace, in at most 4096 segments.
    pub live: Vec<LivePoint>,
    /// Requests by thread.
    pub threads: Vec<ThreadCount>,
    /// Blocks that another thread frees than the one that allocated them, the most first.
    pub remote_frees: Vec<RemoteFrees>,
    /// Requests by line, most bytes first; empty for a trace without sites.
    pub sites: Vec<SiteCount>,
    /// Requests by type, most bytes first; empty for a trace without types.
    pub types: Vec<TypeCount>,
    /// The program's marks: the allocation clock in bytes, and the name.
    pub marks: Vec<(u64, String)>,
    /// Time of the last request, nanoseconds since the recording began; 0 for a trace without times.
    pub last_request_nanoseconds: u64,
    /// The moment before the calls that take the process apart; see `live_at.rs`. Live blocks of lines
    /// and types are those of then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<EndStatistics>,
}

/// The bin of an age: 0 for 0, then four bins to an octave.
pub fn age_bin(age: u64) -> usize {
    if age == 0 {
        return 0;
    }
    let octave = age.ilog2() as usize;
    let quarter = if octave >= 2 { (age >> (octave - 2)) & 3 } else { (age << (2 - octave)) & 3 };
    1 + octave * 4 + quarter as usize
}

/// The smallest age of a bin. A bin without a whole number has the smallest age of the next bin.
pub fn age_of_bin(bin: usize) -> u64 {
    let Some(bin) = bin.checked_sub(1) else { return 0 };
    let (octave, quarter) = (bin / 4, (bin % 4) as u64);
    if octave >= 2 {
        (4 + quarter) << (octave - 2)
    } else {
        (4 + quarter).div_ceil(1 << (2 - octave))
    }
}

/// Reads a whole trace and counts. `progress` gets the number of calls so far, once in 65,536 rows.
///
/// # Errors
/// The reader's fault, or rows that contradict each other; the message names `path`.
pub fn statistics(
    reader: &mut dyn TraceReader,
    path: &std::path::Path,
    mut progress: impl FnMut(u64),
) -> Result<TraceStatistics, StatisticsError> {
    let broken = |source| StatisticsError::Sequence { path: path.to_owned(), source };
    let mut sequence = Sequence::new();
    let marks = reader.header().marks().into_iter().rev().collect();
    let mut count = Counting { marks, ..Counting::default() };
    let mut rows = 0_u64;
    while let Some(row) = reader.next_row()? {
        sequence.accept(&row, |call| count.call(call)).map_err(broken)?;
        if count.clock_bytes > REQUESTED_LIMIT_BYTES {
            let path = path.to_owned();
            return Err(StatisticsError::TooManyBytes { path, event: row.event });
        }
        rows += 1;
        if rows.is_multiple_of(1 << 16) {
            progress(sequence.next_event());
        }
    }
    let calls = sequence.finish(|call| count.call(call)).map_err(broken)?;
    Ok(count.finish(calls, reader))
}

/// A live block.
#[derive(Clone, Copy)]
struct Birth {
    /// The allocation clock after its request.
    clock_bytes: u64,
    size: u64,
    site: u32,
}

/// Hashes events by one multiplication. Events are dense, and no adversary chooses them.
#[derive(Default)]
struct EventHasher(u64);

impl Hasher for EventHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, event: u64) {
        let mixed = (self.0 ^ event).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[derive(Default)]
struct Counting {
    counts: TraceStatistics,
    ops: [(u64, u64); 4],
    domains: [(u64, u64, u64); Domain::ALL.len()],
    sizes: Vec<SizeCount>,
    clock_bytes: u64,
    live_bytes: u64,
    births: HashMap<u64, Birth, BuildHasherDefault<EventHasher>>,
    threads: BTreeMap<u32, ThreadCount>,
    /// By allocating and freeing thread.
    remote_frees: BTreeMap<(u32, u32), u64>,
    sites: Vec<RequestTally>,
    types: Vec<RequestTally>,
    series: LiveSeries,
    /// Marks after the present call, the next one last.
    marks: Vec<(u64, String)>,
}

impl Counting {
    /// Counts the marks that stand before the call of index `event`.
    fn pass_marks(&mut self, event: u64) {
        while let Some((_, name)) = self.marks.pop_if(|(at, _)| *at <= event) {
            self.counts.marks.push((self.clock_bytes, name));
        }
    }

    fn call(&mut self, call: Call<'_>) {
        self.pass_marks(match call {
            Call::Free { event, .. } => event,
            Call::Request { row, .. } => row.event,
        });
        let event = match call {
            Call::Free { event, block } => {
                self.ops[3].0 += 1;
                self.domains[domain_index(block.domain)].2 += 1;
                self.end(event, block);
                event
            }
            Call::Request { row, resized } => {
                if let Some(block) = resized {
                    self.end(row.event, block);
                }
                self.begin(row);
                row.event
            }
        };
        let blocks = self.births.len() as u64;
        if self.live_bytes > self.counts.live_peak_bytes {
            self.counts.live_peak_bytes = self.live_bytes;
            self.counts.live_peak_event = event + 1;
        }
        self.counts.live_peak_blocks = self.counts.live_peak_blocks.max(blocks);
        self.series.add(event + 1, self.clock_bytes, self.live_bytes, blocks);
    }

    fn begin(&mut self, row: &Row) {
        let size = row.size;
        self.clock_bytes = self.clock_bytes.saturating_add(size);
        self.live_bytes = self.live_bytes.saturating_add(size);
        let op = match row.op {
            Op::Malloc => 0,
            Op::Calloc => 1,
            Op::Realloc => 2,
        };
        self.ops[op].0 += 1;
        self.ops[op].1 = self.ops[op].1.saturating_add(size);
        let domain = &mut self.domains[domain_index(row.domain)];
        domain.0 += 1;
        domain.1 = domain.1.saturating_add(size);
        let class = size_class(size);
        if self.sizes.len() <= class {
            self.sizes.resize(class + 1, SizeCount::default());
        }
        self.sizes[class].requests += 1;
        self.sizes[class].bytes = self.sizes[class].bytes.saturating_add(size);
        self.counts.empty_requests += u64::from(size == 0);
        self.counts.largest_bytes = self.counts.largest_bytes.max(size);
        self.counts.last_request_nanoseconds =
            self.counts.last_request_nanoseconds.max(row.time_ns);
        let thread = self.threads.entry(row.thread).or_default();
        thread.requests += 1;
        thread.bytes = thread.bytes.saturating_add(size);
        RequestTally::begin(&mut self.sites, row.site.0, size);
        RequestTally::begin(&mut self.types, row.type_id.0, size);
        self.births
            .insert(row.event, Birth { clock_bytes: self.clock_bytes, size, site: row.site.0 });
    }

    fn end(&mut self, event: u64, block: &Row) {
        let Some(birth) = self.births.remove(&block.event) else { return };
        self.live_bytes = self.live_bytes.saturating_sub(birth.size);
        let calls = event - block.event;
        self.counts.ended_by_next_call += u64::from(calls == 1);
        let age = self.clock_bytes - birth.clock_bytes;
        add_age(&mut self.counts.ages_calls, calls, false);
        self.age(birth.size, age, false);
        if let Some(thread) = block.end_thread.filter(|thread| *thread != block.thread) {
            self.threads.entry(thread).or_default().foreign_frees += 1;
            *self.remote_frees.entry((block.thread, thread)).or_default() += 1;
        }
        RequestTally::end(&mut self.sites, birth.site, birth.size);
        RequestTally::end(&mut self.types, block.type_id.0, birth.size);
    }

    fn age(&mut self, size: u64, age: u64, survived: bool) {
        add_age(&mut self.counts.ages_bytes, age, survived);
        self.counts.ages_by_size.resize(AGE_SIZES.len(), vec![]);
        let group =
            AGE_SIZES.iter().position(|limit| size <= *limit).unwrap_or(AGE_SIZES.len() - 1);
        add_age(&mut self.counts.ages_by_size[group], age, survived);
        let octave = |value: u64| value.max(1).ilog2() as usize;
        let rows = &mut self.counts.weight_by_size_and_age;
        if rows.len() <= octave(size) {
            rows.resize(octave(size) + 1, vec![]);
        }
        let row = &mut rows[octave(size)];
        if row.len() <= octave(age) {
            row.resize(octave(age) + 1, 0.0);
        }
        row[octave(age)] += size as f64 * age as f64;
    }

    fn finish(mut self, calls: u64, reader: &dyn TraceReader) -> TraceStatistics {
        let left: Vec<(u64, Birth)> = self.births.drain().collect();
        for (event, birth) in &left {
            // A block that outlives the trace is at least as old as at its end.
            add_age(&mut self.counts.ages_calls, calls - event, true);
            self.age(birth.size, self.clock_bytes - birth.clock_bytes, true);
        }
        self.pass_marks(u64::MAX);
        let mut counts = self.counts;
        counts.calls = calls;
        counts.survivors = left.len() as u64;
        counts.live_end_bytes = self.live_bytes;
        counts.requested_bytes = self.clock_bytes;
        counts.ops = ["malloc", "calloc", "realloc", "free"]
            .into_iter()
            .zip(self.ops)
            .map(|(op, (calls, bytes))| OpCount { op, calls, bytes })
            .collect();
        counts.domains = Domain::ALL
            .into_iter()
            .zip(self.domains)
            .map(|(domain, (requests, bytes, frees))| DomainCount {
                domain: domain.name(),
                requests,
                bytes,
                frees,
            })
            .collect();
        for (class, row) in self.sizes.iter_mut().enumerate() {
            row.up_to = size_class_limit(class);
        }
        counts.sizes = self.sizes;
        for ages in [&mut counts.ages_calls, &mut counts.ages_bytes]
            .into_iter()
            .chain(counts.ages_by_size.iter_mut())
        {
            for (bin, age) in ages.iter_mut().enumerate() {
                age.from = age_of_bin(bin);
            }
        }
        counts.live = self.series.finish();
        counts.threads = self
            .threads
            .into_iter()
            .map(|(thread, count)| ThreadCount { thread, ..count })
            .collect();
        counts.remote_frees = self
            .remote_frees
            .into_iter()
            .map(|((allocated_by, freed_by), blocks)| RemoteFrees {
                allocated_by,
                freed_by,
                blocks,
            })
            .collect();
        counts.remote_frees.sort_by_key(|frees| std::cmp::Reverse(frees.blocks));
        counts.sites = sites(&self.sites, reader.sites());
        counts.types = types(&self.types, reader.sites());
        counts
    }
}

fn domain_index(domain: Domain) -> usize {
    Domain::ALL.iter().position(|known| *known == domain).unwrap_or(0)
}

fn add_age(ages: &mut Vec<Age>, age: u64, survived: bool) {
    let bin = age_bin(age);
    if ages.len() <= bin {
        ages.resize(bin + 1, Age::default());
    }
    if survived {
        ages[bin].survived += 1;
    } else {
        ages[bin].ended += 1;
    }
}

/// The lines by bytes; empty for a trace without sites.
fn sites(tallies: &[RequestTally], names: &Sites) -> Vec<SiteCount> {
    if names.is_empty() {
        return vec![];
    }
    let made = requested(tallies).map(|(id, tally)| {
        let RequestTally { requests, bytes, live_blocks, live_bytes } = tally;
        let site = names.name(SiteId(id)).to_owned();
        SiteCount { site, requests, bytes, live_blocks, live_bytes }
    });
    let mut sites: Vec<SiteCount> = made.collect();
    sites.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.site.cmp(&b.site)));
    sites
}

/// The types by bytes; empty for a trace without types.
fn types(tallies: &[RequestTally], names: &Sites) -> Vec<TypeCount> {
    if names.type_count() == 0 {
        return vec![];
    }
    let made = requested(tallies).map(|(id, tally)| {
        let RequestTally { requests, bytes, live_blocks, live_bytes } = tally;
        let name = names.type_name(TypeId(id)).to_owned();
        TypeCount { name, requests, bytes, live_blocks, live_bytes }
    });
    let mut types: Vec<TypeCount> = made.collect();
    types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    types
}

/// The numbers that have requests, with their counts.
fn requested(tallies: &[RequestTally]) -> impl Iterator<Item = (u32, RequestTally)> {
    (0..).zip(tallies.iter().copied()).filter(|(_, tally)| tally.requests > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_meet_without_gap_or_overlap() {
        for age in (0..5000).chain([u64::MAX / 2, u64::MAX]) {
            let bin = age_bin(age);
            assert!(age_of_bin(bin) <= age, "{age} in bin {bin}");
            if bin + 1 < 257 {
                assert!(age < age_of_bin(bin + 1), "{age} in bin {bin}");
            }
        }
    }
}
