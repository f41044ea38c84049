//! The time pass. Nothing but the loop, and a clock read every few thousand calls.
//!
//! The clock is the processor time of this thread, so that what the kernel gives to others in
//! between does not count. The pass comes in turns of about a millisecond: between two of them the
//! caller may let another process run, so that several backends meet the same weather (`bench`
//! does).

use std::time::Instant;

use super::{Nothing, ReplayError, Slots, Tables, replay};
use crate::program::Feed;

/// How long a replay took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeResult {
    /// Processor time of this thread in the loop, in ns.
    pub processor_ns: u64,
    /// Wall time of the same stretches, in ns; the pauses between turns are not in it.
    pub wall_ns: u64,
    /// Processor time of each stretch of [`TimeResult::chunk_calls`] calls, in ns; the last may be
    /// shorter.
    pub chunks_ns: Vec<u64>,
    /// Calls in a stretch.
    pub chunk_calls: usize,
    /// Calls made.
    pub calls: u64,
    /// Times that the kernel took the processor away.
    pub preemptions: u64,
}

/// Calls in a turn: 0.6 to 2.5 ms at 18 to 75 ns a call. Shorter turns would cost cold caches.
const TIME_SLICE_CALLS: usize = 1 << 15;
/// Calls in a chunk at the least: reading the clock costs about 0.2 µs, 0.2 % of a chunk at 12 ns a
/// call.
const CHUNK_CALLS: usize = 1 << 13;

/// Chunks are long enough that the clock costs nothing, and at most about 1,024, so that they can
/// be kept.
fn chunk_calls(calls: usize) -> usize {
    (calls / 1024).next_multiple_of(CHUNK_CALLS).max(CHUNK_CALLS)
}

/// Replays a program once and times it. `turn` is called before each turn and returns when it may
/// begin. A part is read between two turns, so that reading it is in no figure.
///
/// # Errors
/// When the backend gives no memory, a part does not come, or `turn` says that there will be no
/// more.
pub fn time<'a>(
    feed: impl Into<Feed<'a>>,
    tables: &Tables,
    mut turn: impl FnMut() -> Result<(), ReplayError>,
) -> Result<TimeResult, ReplayError> {
    let mut feed = feed.into();
    let calls = feed.calls();
    let chunk = chunk_calls(calls);
    let mut slots = Slots::of(feed.outline());
    let mut found = TimeResult { chunk_calls: chunk, calls: calls as u64, ..TimeResult::default() };
    found.chunks_ns = Vec::with_capacity(calls / chunk + 1);
    let (mut chunk_left, mut chunk_ns) = (chunk, 0);
    while let Some(part) = feed.next_part()? {
        let calls = part.instructions().len();
        let mut made = 0;
        while made < calls {
            turn()?;
            let time_slice_end = (made + TIME_SLICE_CALLS.max(chunk)).min(calls);
            let switches = involuntary_switches();
            let began = Instant::now();
            let mut mark = processor_ns();
            while made < time_slice_end {
                let end = (made + chunk_left).min(time_slice_end);
                replay(part, tables, &mut slots, made..end, &mut Nothing)?;
                let now = processor_ns();
                chunk_ns += now - mark;
                mark = now;
                chunk_left -= end - made;
                made = end;
                if chunk_left == 0 {
                    found.end_of_chunk(&mut chunk_ns);
                    chunk_left = chunk;
                }
            }
            found.wall_ns += began.elapsed().as_nanos() as u64;
            found.preemptions += involuntary_switches().saturating_sub(switches);
        }
    }
    if chunk_left < chunk {
        found.end_of_chunk(&mut chunk_ns);
    }
    Ok(found)
}

impl TimeResult {
    fn end_of_chunk(&mut self, ns: &mut u64) {
        self.chunks_ns.push(*ns);
        self.processor_ns += std::mem::take(ns);
    }
}

/// Processor time of this thread so far.
pub(super) fn processor_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Context switches that this thread did not ask for, from `/proc/thread-self/status`.
pub(super) fn involuntary_switches() -> u64 {
    std::fs::read_to_string("/proc/thread-self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("nonvoluntary_ctxt_switches"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .unwrap_or(0)
}
