//! Room `replay`: the time pass. Nothing but the loop, and a clock read every few thousand calls.

use super::{Clock, Nothing, ReplayError, Slots, replay};
use crate::backends::Domains;
use crate::program::Program;

/// How long a replay took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeResult {
    /// Processor time of this thread in the loop, in ns.
    pub processor_ns: u64,
    /// Wall time of the loop, in ns.
    pub wall_ns: f64,
    /// Wall time of each stretch of [`TimeResult::chunk_calls`] calls, in ns; the last may be shorter.
    pub chunks_ns: Vec<u64>,
    /// Calls in a stretch.
    pub chunk_calls: usize,
    /// Calls made.
    pub calls: u64,
    /// Times that the kernel took the processor away.
    pub preemptions: u64,
}

/// Stretches are long enough that the clock costs nothing, and few enough to be kept.
fn chunk_calls(calls: usize) -> usize {
    (calls / 1024).next_multiple_of(4096).max(4096)
}

/// Replays `program` once and times it.
///
/// # Errors
/// When the backend gives no memory.
pub fn time(program: &Program, domains: &Domains, clock: &Clock) -> Result<TimeResult, ReplayError> {
    let calls = program.instructions().len();
    let chunk = chunk_calls(calls);
    let mut slots = Slots::new(program);
    let mut marks = Vec::with_capacity(calls / chunk + 2);
    marks.resize(calls.div_ceil(chunk) + 1, std::hint::black_box(1u64)); // touched now, not in the loop
    let switches = involuntary_switches();
    let processor = processor_ns();
    marks[0] = clock.ticks();
    for (number, start) in (0..calls).step_by(chunk).enumerate() {
        replay(program, domains, &mut slots, start..(start + chunk).min(calls), &mut Nothing)?;
        marks[number + 1] = clock.ticks();
    }
    let processor_ns = processor_ns().saturating_sub(processor);
    let preemptions = involuntary_switches().saturating_sub(switches);
    let chunks_ns =
        marks.windows(2).map(|pair| clock.nanoseconds(pair[1] - pair[0]).round() as u64).collect();
    let wall_ns = clock.nanoseconds(marks[marks.len() - 1] - marks[0]);
    Ok(TimeResult { processor_ns, wall_ns, chunks_ns, chunk_calls: chunk, calls: calls as u64, preemptions })
}

/// Processor time of this thread so far.
fn processor_ns() -> u64 {
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
