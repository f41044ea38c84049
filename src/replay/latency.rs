//! Room `replay`: the latency pass. A fenced clock pair around each call; ticks are pushed raw and folded afterwards.
//!
//! Besides a histogram for each action, each call's time is kept as one byte, its place on a logarithmic scale. Replay
//! is deterministic, so the median of a call's bytes over repetitions is the call's own cost, and what one repetition
//! alone saw is the machine's (`bench` takes that median). On a busy machine every repetition may lose the processor in the
//! same long call: what the kernel gave to others during a call over 50 µs is taken off it at once ([`Ticks::turn`]).

use hdrhistogram::Histogram;

use super::time::{involuntary_switches, processor_ns};
use super::{Clock, Done, Floor, Probe, ReplayError, Slots, Tables, replay};
use crate::program::{Feed, Program};

/// What a latency pass found.
pub struct LatencyResult {
    /// Service times by [`Action`], in ns, the clock pair included.
    pub histograms: [Histogram<u64>; 4],
    /// Mean service time by action less the mean empty pair, in ns; NaN where there was no call. Fences keep calls from
    /// overlapping, so it is more than a call's share of the time pass, which is the centre.
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
    /// From here on a call is long, in ticks.
    long: u64,
    /// When it was last looked what this thread had of the processor.
    looked: Moment,
}

/// From here on it is looked whether the processor was taken away during a call, in ns: a hundred times what looking would add
/// to a short one, and less than a scheduler's shortest turn.
const LONG_NS: f64 = 50_000.0;

/// What this thread has had so far.
#[derive(Clone, Copy, Default)]
struct Moment {
    ticks: u64,
    processor_ns: u64,
    switches: u64,
}

impl Moment {
    fn now(clock: &Clock) -> Moment {
        Moment { ticks: clock.ticks(), processor_ns: processor_ns(), switches: involuntary_switches() }
    }

    /// Time in ns that the kernel gave to others between two moments; 0 where it took nothing away, so that a call which waits
    /// of its own accord keeps its time.
    fn lost_ns(&self, before: &Moment, clock: &Clock) -> f64 {
        if self.switches == before.switches {
            return 0.0;
        }
        let wall_ns = clock.nanoseconds(self.ticks.wrapping_sub(before.ticks));
        (wall_ns - self.processor_ns.saturating_sub(before.processor_ns) as f64).max(0.0)
    }
}

impl<'a> Ticks<'a> {
    /// For so many calls, with the memory touched, so that the loop meets no page fault of ours.
    pub fn new(clock: &'a Clock, calls: usize) -> Ticks<'a> {
        let looked = Moment::default();
        let mut probe = Ticks { clock, first: 0, ticks: Vec::new(), long: u64::MAX, looked };
        probe.begin(0, calls);
        probe
    }

    /// From here on this thread does not wait of its own accord but within calls: what the kernel gives to others during a long
    /// call is taken off that call. It costs the short ones a comparison; what was lost between two calls is taken off the next
    /// long one of the same turn.
    pub fn turn(&mut self) {
        self.long = (LONG_NS * 1e-9 * self.clock.ticks_per_second()) as u64;
        self.looked = Moment::now(self.clock);
    }

    /// A long call's ticks without what the kernel gave to others.
    #[cold]
    #[inline(never)]
    fn own(&mut self, ticks: u64) -> u64 {
        let now = Moment::now(self.clock);
        let lost_ns = now.lost_ns(&std::mem::replace(&mut self.looked, now), self.clock);
        ticks.saturating_sub((lost_ns * 1e-9 * self.clock.ticks_per_second()) as u64)
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
        let mut ticks = self.clock.after().wrapping_sub(mark);
        if ticks >= self.long {
            ticks = self.own(ticks);
        }
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
            probe.turn();
            replay(part, tables, &mut slots, start..(start + TURN_CALLS).min(calls), &mut probe)?;
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
}

impl Fold {
    fn new(floor: Floor) -> Fold {
        let histograms = std::array::from_fn(|_| empty_histogram());
        let (mean_ns, buckets, calls) = ([f64::NAN; 4], vec![], [0; 4]);
        let found = LatencyResult { histograms, mean_ns, buckets, floor, calls, preemptions: 0 };
        Fold { found, sums: [0.0; 4] }
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
        let mean = |action: usize| self.sums[action] / found.calls[action] as f64 - found.floor.pair_ns;
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
    use crate::program::Action;
    use rustix::thread::{CpuSet, sched_setaffinity};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    /// Works until `enough`, as one call that a probe times: its ticks in ns, and what it had by the wall and of the processor.
    fn call(probe: &mut Ticks, clock: &Clock, enough: impl Fn(u64, u64) -> bool) -> (f64, f64, f64) {
        let (wall, processor) = (Instant::now(), processor_ns());
        let since = || (wall.elapsed().as_nanos() as u64, processor_ns() - processor);
        let mark = probe.before();
        let had = loop {
            let (wall, processor) = since();
            if enough(wall, processor) {
                break (wall as f64, processor as f64);
            }
        };
        let null = std::ptr::null_mut();
        probe.after(mark, Done { index: 0, action: Action::Malloc, slot: 0, size: 1, old: null, new: null });
        (clock.nanoseconds(probe.ticks()[0].into()), had.0, had.1)
    }

    /// A neighbour on the same processor takes it away in the middle of a call: that is not the call's. What the call itself does
    /// or waits for stays.
    #[test]
    fn what_a_neighbour_takes_is_taken_off_and_a_stall_of_the_call_s_own_stays() {
        let over = AtomicBool::new(false);
        let clock = Clock::calibrate();
        let mut processor = CpuSet::new();
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        processor.set((0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    sched_setaffinity(None, &processor).unwrap();
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            sched_setaffinity(None, &processor).unwrap();
            // What is lost outside the call, between the readings around it, is another matter: such a try does not count.
            let (told, wall, own) = (0..50)
                .find_map(|_| {
                    let mut probe = Ticks::new(&clock, 1);
                    let (began, before) = (Instant::now(), processor_ns());
                    probe.turn();
                    // Until the neighbours have had 30 ms of the call.
                    let found = call(&mut probe, &clock, |wall, processor| {
                        wall > processor + 30_000_000 && processor > 3_000_000
                    });
                    let lost = began.elapsed().as_nanos() as f64 - (processor_ns() - before) as f64;
                    (lost - (found.1 - found.2) < 1e6).then_some(found)
                })
                .expect("a call that alone was interrupted");
            over.store(true, Ordering::Relaxed);
            assert!(wall - own >= 30e6);
            // What is told is what it had of the processor; a millisecond for what is lost between two readings.
            assert!((told - own).abs() < 1e6 + 0.01 * wall, "{told} told, {own} of {wall}");
            // Not a turn: nothing is taken off.
            let mut probe = Ticks::new(&clock, 1);
            let (told, wall, _) = call(&mut probe, &clock, |wall, _| wall > 3_000_000);
            assert!(told >= wall - 1e3, "{told} told of {wall}");
        });
        // Waiting of one's own accord is the call's: no switch was the kernel's.
        let before = Moment { ticks: 0, processor_ns: 0, switches: 5 };
        let ticks = (3e-3 * clock.ticks_per_second()) as u64;
        let slept = Moment { ticks, processor_ns: 1000, switches: 5 };
        assert!(slept.lost_ns(&before, &clock) == 0.0);
        let taken = Moment { switches: 6, ..slept };
        assert!((taken.lost_ns(&before, &clock) - 2_999_000.0).abs() < 1e3);
    }

    #[test]
    fn a_bucket_is_within_five_percent() {
        for nanoseconds in [1.0, 10.0, 26.0, 999.0, 1e6, 1e9] {
            let back = bucket_nanoseconds(bucket(nanoseconds));
            assert!((back / nanoseconds - 1.0).abs() < 0.05, "{nanoseconds} {back}");
        }
    }
}
