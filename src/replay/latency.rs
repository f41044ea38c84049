//! Room `replay`: the latency pass. A fenced clock pair around each call; ticks are pushed raw and folded afterwards.
//!
//! Besides a histogram for each action, each call's time is kept as one byte, its place on a logarithmic scale. Replay
//! is deterministic, so the median of a call's bytes over repetitions is the call's own cost, and what one repetition
//! alone saw is the machine's (`bench` takes that median).

use std::time::Instant;

use hdrhistogram::Histogram;

use super::time::{involuntary_switches, processor_ns};
use super::{Clock, Done, Floor, Probe, ReplayError, Slots, Tables, replay};
use crate::program::{Feed, Program};

/// What a latency pass found.
pub struct LatencyResult {
    /// Service times by [`Action`], in ns, the clock pair included.
    pub histograms: [Histogram<u64>; 4],
    /// Mean service time by action less the mean empty pair, in ns, and less what the kernel gave to others meanwhile; NaN
    /// where there was no call.
    pub mean_ns: [f64; 4],
    /// Each call's time as [`bucket`], in order; empty for a program in parts, which is too long for it.
    pub buckets: Vec<u8>,
    /// What the clock could resolve during this pass.
    pub floor: Floor,
    /// Calls made, by action.
    pub calls: [u64; 4],
    /// Times that the kernel took the processor away, which some call's time then has in it.
    pub preemptions: u64,
}

/// Takes the ticks of each call of a program, or of a part.
pub struct Ticks<'a> {
    clock: &'a Clock,
    /// Calls in the parts before: where `ticks` begin.
    first: usize,
    ticks: Vec<u32>,
}

impl<'a> Ticks<'a> {
    /// For so many calls, with the memory touched, so that the loop meets no page fault of ours.
    pub fn new(clock: &'a Clock, calls: usize) -> Ticks<'a> {
        let mut probe = Ticks { clock, first: 0, ticks: Vec::new() };
        probe.begin(0, calls);
        probe
    }

    /// The next part: so many calls from `first` on.
    fn begin(&mut self, first: usize, calls: usize) {
        self.first = first;
        self.ticks.resize(calls, std::hint::black_box(1u32));
    }

    /// What each call took, the clock pair included; one that took longer than 32 bits of ticks saturates.
    pub fn ticks(&self) -> &[u32] {
        &self.ticks
    }
}

impl Probe for Ticks<'_> {
    type Mark = u64;

    #[inline(always)]
    fn before(&mut self) -> u64 {
        self.clock.before()
    }

    #[inline(always)]
    fn after(&mut self, mark: u64, done: Done) {
        let ticks = self.clock.after().wrapping_sub(mark);
        self.ticks[done.index - self.first] = u32::try_from(ticks).unwrap_or(u32::MAX);
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

/// Replays a program once, timing each call. `turn` is called before each turn and returns when it may begin; a part is read
/// between two turns.
///
/// # Errors
/// When the backend gives no memory, a part does not come, or `turn` says that there will be no more.
pub fn latency<'a>(
    feed: impl Into<Feed<'a>>,
    tables: &Tables,
    clock: &Clock,
    mut turn: impl FnMut() -> Result<(), ReplayError>,
) -> Result<LatencyResult, ReplayError> {
    let mut feed = feed.into();
    let mut slots = Slots::of(feed.outline());
    let mut probe = Ticks::new(clock, 0);
    let mut fold = Fold::new(clock.floor());
    while let Some(part) = feed.next_part()? {
        let calls = part.instructions().len();
        probe.begin(part.first() as usize, calls);
        for start in (0..calls).step_by(TURN_CALLS) {
            turn()?;
            let switches = involuntary_switches();
            let (began, mark) = (Instant::now(), processor_ns());
            replay(part, tables, &mut slots, start..(start + TURN_CALLS).min(calls), &mut probe)?;
            fold.processor_ns += processor_ns() - mark;
            fold.wall_ns += began.elapsed().as_nanos() as u64;
            fold.found.preemptions += involuntary_switches().saturating_sub(switches);
        }
        fold.part(part, clock, probe.ticks());
    }
    Ok(fold.finish())
}

/// Sums up the ticks of the parts.
struct Fold {
    found: LatencyResult,
    sums: [f64; 4],
    processor_ns: u64,
    wall_ns: u64,
}

impl Fold {
    fn new(floor: Floor) -> Fold {
        let histograms = std::array::from_fn(|_| empty_histogram());
        let (mean_ns, buckets, calls) = ([f64::NAN; 4], vec![], [0; 4]);
        let found = LatencyResult { histograms, mean_ns, buckets, floor, calls, preemptions: 0 };
        Fold { found, sums: [0.0; 4], processor_ns: 0, wall_ns: 0 }
    }

    fn part(&mut self, part: &Program, clock: &Clock, ticks: &[u32]) {
        let LatencyResult { histograms, buckets, calls, .. } = &mut self.found;
        for (instruction, &ticks) in part.instructions().iter().zip(ticks) {
            let action = instruction.action() as usize;
            let nanoseconds = clock.nanoseconds(ticks.into());
            self.sums[action] += nanoseconds;
            calls[action] += 1;
            histograms[action].saturating_record((nanoseconds.round() as u64).max(1));
            if part.is_whole() {
                buckets.push(bucket(nanoseconds));
            }
        }
    }

    fn finish(self) -> LatencyResult {
        let mut found = self.found;
        // What the kernel gave to others lies within the calls as often as they last.
        let own = self.processor_ns.min(self.wall_ns) as f64 / self.wall_ns as f64;
        let mean = |action: usize| self.sums[action] * own / found.calls[action] as f64 - found.floor.pair_ns;
        found.mean_ns = std::array::from_fn(mean);
        found
    }
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
