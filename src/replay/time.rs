//! The time pass: the loop, and a clock read every few thousand calls.
//!
//! The clock is the processor time of this thread, so time that the kernel gives to other processes
//! does not count. The pass comes in time slices of about a millisecond. Between two time slices
//! the caller may let another process run, so that several backends meet the same machine noise.
//!
//! A program of several threads runs in segments, one for each run of calls of a thread. Each
//! segment is timed on its thread, and the sum is the time of the replay. So hand-overs, and threads
//! that begin and end, are in no figure. The reading of an empty clock pair is subtracted from each
//! segment.

use std::ops::Range;
use std::time::Instant;

use super::calls::{Slots, Tables, replay};
use super::error::ReplayError;
use super::first_touch::{ColdTouch, FirstTouch};
use super::probe::{Nothing, Probe};
use super::threads::{RecordedOrder, ThreadCounts};
use super::time_slice::TIME_SLICE_CALLS;
use super::usage::{involuntary_switches, minor_faults, processor_ns, processor_pair_ns};
use crate::backends::Backend;
use crate::program::{Feed, Program};

/// How long a replay took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeResult {
    /// Processor time of the calling threads in the loop, in ns.
    pub processor_ns: u64,
    /// Wall time of the same calls, in ns, without the pauses between time slices.
    pub wall_ns: u64,
    /// Processor time of each chunk of [`TimeResult::chunk_calls`] calls, in ns. The last chunk may
    /// be shorter.
    pub chunks_ns: Vec<u64>,
    /// Calls in a chunk.
    pub chunk_calls: usize,
    /// Calls made.
    pub calls: u64,
    /// Times that the kernel preempted the calling thread within a time slice.
    pub preemptions: u64,
    /// Page faults of the process from the first call to the last.
    pub faults: u64,
    /// The threads that made the calls.
    pub threads: ThreadCounts,
}

/// The fewest calls in a chunk. A clock read costs about 0.2 µs: 0.2 % of a chunk at 12 ns a call.
const CHUNK_CALLS: usize = 1 << 13;

/// Calls in a chunk: enough to make the clock's cost negligible, and so many that a trace has about
/// 1,024 chunks at the most.
fn chunk_calls(calls: usize) -> usize {
    (calls / 1024).next_multiple_of(CHUNK_CALLS).max(CHUNK_CALLS)
}

/// Replays a program once and times it.
///
/// The pass calls `await_time_slice` before each time slice; it returns when the time slice may
/// begin. A part of the program is read between two time slices, so no figure includes the reading.
///
/// # Errors
/// The backend gives no memory, a part does not arrive, or `await_time_slice` reports that no
/// further time slice will come.
pub fn time<'a>(
    feed: impl Into<Feed<'a>>,
    backend: &dyn Backend,
    await_time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<TimeResult, ReplayError> {
    time_with(feed.into(), backend, Nothing, await_time_slice)
}

/// As [`time`], with a write to each cache line of each new block, as the program's first write
/// does, and an access to its first line before it ends, as its last one does. So the page faults of
/// fresh memory are in the time, and an allocator that reads a block's neighbourhood at the free does
/// not pay for what the program has just read. A backend that backs no memory is only timed.
///
/// # Errors
/// As [`time`].
pub fn touch_time<'a>(
    feed: impl Into<Feed<'a>>,
    backend: &dyn Backend,
    await_time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<TimeResult, ReplayError> {
    let feed = feed.into();
    if !backend.backs_memory() {
        return time_with(feed, backend, Nothing, await_time_slice);
    }
    let probe = FirstTouch::new(feed.outline());
    time_with(feed, backend, probe, await_time_slice)
}

/// As [`touch_time`], with other code between two calls, so that the lines and branches of the
/// allocator are not the only ones that the processor sees. The other code's own time is in the
/// result: only differences between backends mean something.
///
/// # Errors
/// As [`time`].
pub fn cold_time<'a>(
    feed: impl Into<Feed<'a>>,
    backend: &dyn Backend,
    await_time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<TimeResult, ReplayError> {
    let feed = feed.into();
    let probe = ColdTouch::new(feed.outline(), backend.backs_memory());
    time_with(feed, backend, probe, await_time_slice)
}

fn time_with<P: Probe>(
    mut feed: Feed<'_>,
    backend: &dyn Backend,
    probe: P,
    mut await_time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<TimeResult, ReplayError> {
    let calls = feed.calls();
    let chunk = chunk_calls(calls);
    let mut replayed = TimedReplay::new(&feed, backend, probe);
    let faults = minor_faults();
    let mut found = TimeResult { chunk_calls: chunk, calls: calls as u64, ..TimeResult::default() };
    found.chunks_ns = Vec::with_capacity(calls / chunk + 1);
    let (mut chunk_left, mut chunk_ns) = (chunk, 0);
    while let Some(part) = feed.next_part()? {
        let calls = part.instructions().len();
        let mut made = 0;
        while made < calls {
            await_time_slice()?;
            let time_slice_end = (made + TIME_SLICE_CALLS.max(chunk)).min(calls);
            replayed.begin_time_slice();
            while made < time_slice_end {
                let end = (made + chunk_left).min(time_slice_end);
                chunk_ns += replayed.replay(part, made..end)?;
                chunk_left -= end - made;
                made = end;
                if chunk_left == 0 {
                    found.end_of_chunk(&mut chunk_ns);
                    chunk_left = chunk;
                }
            }
            replayed.end_time_slice(&mut found);
        }
    }
    if chunk_left < chunk {
        found.end_of_chunk(&mut chunk_ns);
    }
    found.faults = minor_faults() - faults;
    found.threads = replayed.order.counts();
    Ok(found)
}

/// A replay that is timed in segments.
struct TimedReplay<'a, P> {
    probe: P,
    tables: Tables,
    slots: Slots,
    order: RecordedOrder<'a>,
    /// The reading of an empty clock pair, in ns; only where there are several segments.
    pair_ns: u64,
    /// In this time slice: when it began, the last reading of the processor time, and the thread's
    /// switches at the begin.
    began: Instant,
    mark_ns: u64,
    switches: u64,
    /// Of the segments of this time slice.
    wall_ns: u64,
    preemptions: u64,
}

impl<'a, P: Probe> TimedReplay<'a, P> {
    fn new(feed: &Feed<'_>, backend: &'a dyn Backend, probe: P) -> TimedReplay<'a, P> {
        let order = RecordedOrder::new(feed.outline(), backend);
        TimedReplay {
            probe,
            tables: Tables::of(feed.outline(), backend),
            slots: Slots::of(feed.outline()),
            pair_ns: if order.is_one_run() { 0 } else { processor_pair_ns() },
            order,
            began: Instant::now(),
            mark_ns: 0,
            switches: 0,
            wall_ns: 0,
            preemptions: 0,
        }
    }

    fn begin_time_slice(&mut self) {
        (self.wall_ns, self.preemptions) = (0, 0);
        self.switches = involuntary_switches();
        self.began = Instant::now();
        self.mark_ns = processor_ns();
    }

    /// Makes the calls of a range. Returns their processor time in ns.
    fn replay(&mut self, part: &Program, range: Range<usize>) -> Result<u64, ReplayError> {
        let TimedReplay { probe, tables, slots, order, .. } = self;
        if order.is_one_run() {
            replay(part, tables, slots, range, probe)?;
            let now_ns = processor_ns();
            return Ok(now_ns - std::mem::replace(&mut self.mark_ns, now_ns));
        }
        let pair_ns = self.pair_ns;
        let (mut spent_ns, mut wall_ns, mut preemptions) = (0, 0, 0);
        order.run(part, range, |segment| {
            let switches = involuntary_switches();
            let (mark_ns, began) = (processor_ns(), Instant::now());
            replay(part, tables, slots, segment, probe)?;
            wall_ns += began.elapsed().as_nanos() as u64;
            spent_ns += (processor_ns() - mark_ns).saturating_sub(pair_ns);
            preemptions += involuntary_switches().saturating_sub(switches);
            Ok(())
        })?;
        self.wall_ns += wall_ns;
        self.preemptions += preemptions;
        Ok(spent_ns)
    }

    /// Adds the wall time and the preemptions of the time slice.
    fn end_time_slice(&self, found: &mut TimeResult) {
        if self.order.is_one_run() {
            found.wall_ns += self.began.elapsed().as_nanos() as u64;
            found.preemptions += involuntary_switches().saturating_sub(self.switches);
        } else {
            found.wall_ns += self.wall_ns;
            found.preemptions += self.preemptions;
        }
    }
}

impl TimeResult {
    /// Stores the time of a chunk, and begins the next at 0.
    fn end_of_chunk(&mut self, ns: &mut u64) {
        self.chunks_ns.push(*ns);
        self.processor_ns += std::mem::take(ns);
    }
}
