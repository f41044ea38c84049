//! Room `replay`: the time pass. Nothing but the loop, and a clock read every few thousand calls.
//!
//! The clock is the processor time of this thread, so that what the kernel gives to others in between does not count.
//! The pass comes in turns of about a millisecond: between two of them the caller may let another process run, so that
//! several backends meet the same weather (`bench` does).

use std::time::Instant;

use super::{Nothing, ReplayError, Slots, Tables, replay};
use crate::program::Program;

/// How long a replay took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeResult {
    /// Processor time of this thread in the loop, in ns.
    pub processor_ns: u64,
    /// Wall time of the same stretches, in ns; the pauses between turns are not in it.
    pub wall_ns: u64,
    /// Processor time of each stretch of [`TimeResult::chunk_calls`] calls, in ns; the last may be shorter.
    pub chunks_ns: Vec<u64>,
    /// Calls in a stretch.
    pub chunk_calls: usize,
    /// Calls made.
    pub calls: u64,
    /// Times that the kernel took the processor away.
    pub preemptions: u64,
}

/// Calls in a turn: 0.6 to 2.5 ms at 18 to 75 ns a call. Shorter turns would cost cold caches.
const TURN_CALLS: usize = 1 << 15;
/// Calls in a chunk at the least: reading the clock costs about 0.2 µs, 0.2 % of a chunk at 12 ns a call.
const CHUNK_CALLS: usize = 1 << 13;

/// Chunks are long enough that the clock costs nothing, and at most about 1,024, so that they can be kept.
fn chunk_calls(calls: usize) -> usize {
    (calls / 1024).next_multiple_of(CHUNK_CALLS).max(CHUNK_CALLS)
}

/// Replays `program` once and times it. `turn` is called before each turn and returns when it may begin.
///
/// # Errors
/// When the backend gives no memory, or `turn` says that there will be no more.
pub fn time(
    program: &Program,
    tables: &Tables,
    mut turn: impl FnMut() -> Result<(), ReplayError>,
) -> Result<TimeResult, ReplayError> {
    let calls = program.instructions().len();
    let chunk = chunk_calls(calls);
    let mut slots = Slots::new(program);
    let mut found = TimeResult { chunk_calls: chunk, calls: calls as u64, ..TimeResult::default() };
    found.chunks_ns = Vec::with_capacity(calls / chunk + 1);
    let mut turn_left = 0;
    let mut switches = 0;
    let (mut began, mut mark) = (Instant::now(), 0);
    for start in (0..calls).step_by(chunk) {
        if turn_left == 0 {
            turn()?;
            turn_left = TURN_CALLS.max(chunk);
            switches = involuntary_switches();
            began = Instant::now();
            mark = processor_ns();
        }
        let end = (start + chunk).min(calls);
        replay(program, tables, &mut slots, start..end, &mut Nothing)?;
        let now = processor_ns();
        found.chunks_ns.push(now - mark);
        found.processor_ns += now - mark;
        mark = now;
        turn_left = turn_left.saturating_sub(chunk);
        if turn_left == 0 || end == calls {
            found.wall_ns += began.elapsed().as_nanos() as u64;
            found.preemptions += involuntary_switches().saturating_sub(switches);
        }
    }
    Ok(found)
}

/// Processor time of this thread so far.
pub(super) fn processor_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Context switches that this process did not ask for, from `/proc/self/status`.
pub(super) fn involuntary_switches() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("nonvoluntary_ctxt_switches"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .unwrap_or(0)
}
