//! Room `replay`: the latency pass. A fenced clock pair around each call; ticks are pushed raw and folded afterwards.
//!
//! Besides a histogram for each action, each call's time is kept as one byte, its place on a logarithmic scale. Replay
//! is deterministic, so the median of a call's bytes over repetitions is the call's own cost, and what one repetition
//! alone saw is the machine's (`bench` takes that median).

use hdrhistogram::Histogram;

use super::time::involuntary_switches;
use super::{Clock, Done, Floor, Probe, ReplayError, Slots, Tables, replay};
use crate::program::{Action, Program};

/// What a latency pass found.
pub struct LatencyResult {
    /// Service times by [`Action`], in ns, the clock pair included.
    pub histograms: [Histogram<u64>; 4],
    /// Mean service time by action less the mean empty pair, in ns; NaN where there was no call.
    pub mean_ns: [f64; 4],
    /// Each call's time as [`bucket`], in order.
    pub buckets: Vec<u8>,
    /// What the clock could resolve during this pass.
    pub floor: Floor,
    /// Calls made, by action.
    pub calls: [u64; 4],
    /// Times that the kernel took the processor away, which some call's time then has in it.
    pub preemptions: u64,
}

/// Ticks of each call of a program.
pub(super) struct Ticks<'a> {
    pub(super) clock: &'a Clock,
    pub(super) ticks: Vec<u32>,
}

impl Probe for Ticks<'_> {
    type Mark = u64;

    #[inline(always)]
    fn before(&mut self) -> u64 {
        self.clock.ticks()
    }

    #[inline(always)]
    fn after(&mut self, mark: u64, done: Done) {
        let ticks = self.clock.ticks().wrapping_sub(mark);
        self.ticks[done.index] = u32::try_from(ticks).unwrap_or(u32::MAX);
    }
}

/// A histogram that holds 1 ns to an hour at 3 significant digits.
///
/// # Panics
/// Never: the bounds are constants that the library takes.
pub fn empty_histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, 3_600_000_000_000, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("constant bounds: {error}"),
    }
}

/// Calls in a turn: about two milliseconds with the clock pairs. A process that has waited for its turn is seldom taken off
/// the processor within the next.
const TURN_CALLS: usize = 1 << 15;

/// Replays `program` once, timing each call. `turn` is called before each turn and returns when it may begin.
///
/// # Errors
/// When the backend gives no memory, or `turn` says that there will be no more.
pub fn latency(
    program: &Program,
    tables: &Tables,
    clock: &Clock,
    mut turn: impl FnMut() -> Result<(), ReplayError>,
) -> Result<LatencyResult, ReplayError> {
    let calls = program.instructions().len();
    let mut slots = Slots::new(program);
    let mut ticks = Vec::with_capacity(calls);
    ticks.resize(calls, std::hint::black_box(1u32)); // touched now, not in the loop
    let mut probe = Ticks { clock, ticks };
    let floor = clock.floor();
    let mut preemptions = 0;
    for start in (0..calls).step_by(TURN_CALLS) {
        turn()?;
        let switches = involuntary_switches();
        replay(program, tables, &mut slots, start..(start + TURN_CALLS).min(calls), &mut probe)?;
        preemptions += involuntary_switches().saturating_sub(switches);
    }
    Ok(LatencyResult { preemptions, ..fold(program, clock, floor, &probe.ticks) })
}

fn fold(program: &Program, clock: &Clock, floor: Floor, ticks: &[u32]) -> LatencyResult {
    let mut histograms: [Histogram<u64>; 4] = std::array::from_fn(|_| empty_histogram());
    let (mut sums, mut calls) = ([0f64; 4], [0u64; 4]);
    let mut buckets = Vec::with_capacity(ticks.len());
    for (instruction, &ticks) in program.instructions().iter().zip(ticks) {
        let action = instruction.action() as usize;
        let nanoseconds = clock.nanoseconds(ticks.into());
        sums[action] += nanoseconds;
        calls[action] += 1;
        histograms[action].saturating_record((nanoseconds.round() as u64).max(1));
        buckets.push(bucket(nanoseconds));
    }
    let mean_ns = std::array::from_fn(|action| sums[action] / calls[action] as f64 - floor.pair_ns);
    debug_assert_eq!(calls.iter().sum::<u64>() as usize, ticks.len(), "{:?}", Action::ALL);
    LatencyResult { histograms, mean_ns, buckets, floor, calls, preemptions: 0 }
}

/// Buckets an octave: a byte spans 1 ns to over 4 s (2^32 ns) in steps of 9 %.
const BUCKETS_AN_OCTAVE: f64 = 8.0;

/// A time as its place on a logarithmic scale of 8 steps an octave, from 1 ns up.
pub fn bucket(nanoseconds: f64) -> u8 {
    (nanoseconds.max(1.0).log2() * BUCKETS_AN_OCTAVE).round().min(255.0) as u8
}

/// The time in the middle of a [`bucket`], in ns.
pub fn bucket_nanoseconds(bucket: u8) -> f64 {
    (f64::from(bucket) / BUCKETS_AN_OCTAVE).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_within_five_percent() {
        for nanoseconds in [1.0, 10.0, 26.0, 999.0, 1e6, 1e9] {
            let back = bucket_nanoseconds(bucket(nanoseconds));
            assert!((back / nanoseconds - 1.0).abs() < 0.05, "{nanoseconds} {back}");
        }
    }
}
