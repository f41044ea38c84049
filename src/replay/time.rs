//! The time pass: the loop, and a clock read every few thousand calls.
//!
//! The clock is the processor time of this thread, so time that the kernel gives to other processes
//! does not count. The pass comes in time slices of about a millisecond. Between two time slices
//! the caller may let another process run, so that several backends meet the same machine noise.

use std::time::Instant;

use super::calls::{Slots, Tables, replay};
use super::error::ReplayError;
use super::probe::Nothing;
use super::time_slice::TIME_SLICE_CALLS;
use super::usage::{involuntary_switches, processor_ns};
use crate::program::Feed;

/// How long a replay took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeResult {
    /// Processor time of this thread in the loop, in ns.
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
    /// Times that the kernel preempted this thread within a time slice.
    pub preemptions: u64,
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
    tables: &Tables,
    mut await_time_slice: impl FnMut() -> Result<(), ReplayError>,
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
            await_time_slice()?;
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
    /// Stores the time of a chunk, and begins the next at 0.
    fn end_of_chunk(&mut self, ns: &mut u64) {
        self.chunks_ns.push(*ns);
        self.processor_ns += std::mem::take(ns);
    }
}
