//! The latency pass. Stretches of calls take turns: in one each call has a fenced
//! clock pair around it, which tells the tail; the next has one pair around all of it, which tells
//! the centre, since calls overlap there as they do in a program. Another pass of the same
//! repetition has them the other way round ([`Alone`]), so that each call is timed alone once.
//!
//! Besides a histogram for each action, each call's time is kept as one byte, its place on a
//! logarithmic scale. Replay is deterministic, so the median of a call's bytes over repetitions is
//! the call's own cost, and what one repetition alone saw is the machine's (`bench` takes that
//! median). On a busy machine every repetition may lose the processor in the same long call: what
//! the kernel gave to others during a call over 50 µs is taken off it at once ([`Ticks::turn`]).

use std::io::Write;
use std::ops::Range;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::time::{involuntary_switches, processor_ns};
use super::{Clock, Done, Floor, Nothing, Probe, ReplayError, Slots, Tables, replay};
use crate::program::{Feed, Program};

/// Which stretches have their calls timed alone, in one of the two passes of a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolated {
    /// The first and each second one after it.
    Even,
    /// The others.
    Odd,
}

/// Calls in a turn: about two milliseconds with the clock pairs, less than one without. A process
/// that has waited for its turn is seldom taken off the processor within the next.
const TIME_SLICE_CALLS: usize = 1 << 15;
/// Calls in a stretch, as many as in a part. Shorter ones would not do: what a processor learns of
/// an allocator's branches between fences does not serve it among others, and the times that are
/// kept push the heap out of the caches. In stretches of 256 calls glibc's took a quarter more than
/// in the time pass, in those of a turn a seventh, in those of eight turns a tenth.
const STRETCH: usize = 32 * TIME_SLICE_CALLS;

impl Isolated {
    /// Both, whose passes are one repetition.
    pub const BOTH: [Isolated; 2] = [Isolated::Even, Isolated::Odd];

    /// AddressTrace that are enough for so many calls, whichever half it is.
    pub fn places(calls: usize) -> usize {
        (calls.div_ceil(2 * STRETCH) * STRETCH).min(calls)
    }

    /// Whether this call of the program is timed alone.
    pub fn times(self, call: usize) -> bool {
        call / STRETCH % 2 == self as usize
    }
}

/// What a latency pass found.
pub struct LatencyResult {
    /// Service times of the calls that were timed alone by [`Action`](crate::program::Action), in
    /// ns, the clock pair included.
    pub histograms: [Histogram<u64>; 4],
    /// Their mean by action less the mean empty pair, in ns; NaN where there was no call. Fences
    /// keep calls from overlapping, so it is more than a call takes among others.
    pub isolated_ns: [f64; 4],
    /// The mean of the calls in stretches that were timed as a whole, in ns; NaN where there was
    /// none.
    pub back_to_back_ns: f64,
    /// What the clock could resolve during this pass.
    pub floor: Floor,
    /// Calls made, by action.
    pub calls: [u64; 4],
    /// Times that the kernel took the processor away, which some call's time then has in it.
    pub preemptions: u64,
}

/// Takes the ticks of calls, one after the other, and of stretches.
pub struct Ticks<'a> {
    clock: &'a Clock,
    /// A place for each call, and how many are taken.
    ticks: Vec<u32>,
    taken: usize,
    /// What stretches took, how many there were, and their calls.
    stretch_ticks: u64,
    stretches: u64,
    stretch_calls: u64,
    /// From here on a call is long, in ticks.
    long: u64,
    /// When it was last looked what this thread had of the processor.
    looked: Moment,
}

/// From here on it is looked whether the processor was taken away during a call, in ns: a hundred
/// times what looking would add to a short one, and less than a scheduler's shortest turn.
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
        Moment {
            ticks: clock.ticks(),
            processor_ns: processor_ns(),
            switches: involuntary_switches(),
        }
    }

    /// Time in ns that the kernel gave to others between two moments; 0 where it took nothing away,
    /// so that a call which waits of its own accord keeps its time.
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
        let mut probe = Ticks {
            clock,
            ticks: Vec::new(),
            taken: 0,
            stretch_ticks: 0,
            stretches: 0,
            stretch_calls: 0,
            long: u64::MAX,
            looked: Moment::default(),
        };
        probe.begin(calls);
        probe
    }

    /// Forgets the calls that were taken; so many come next.
    pub fn begin(&mut self, calls: usize) {
        self.taken = 0;
        self.ticks.resize(calls, std::hint::black_box(1u32));
    }

    /// From here on this thread does not wait of its own accord but within calls: what the kernel
    /// gives to others during a long call is taken off that call. It costs the short ones a
    /// comparison; what was lost between two calls is taken off the next long one of the same turn.
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

    /// What each call took, the clock pair included; one that took longer than 32 bits of ticks
    /// saturates.
    pub fn ticks(&self) -> &[u32] {
        &self.ticks[..self.taken]
    }

    /// The mean of a call in the stretches so far, in ns, where an empty pair reads `pair_ns`; NaN
    /// where there was none. And how many calls there were.
    pub fn among(&self, pair_ns: f64) -> (f64, u64) {
        let ns = self.clock.nanoseconds(self.stretch_ticks) - pair_ns * self.stretches as f64;
        (ns / self.stretch_calls as f64, self.stretch_calls)
    }

    /// Makes the calls of `range`, of which [`Alone`] says how they are timed. There must be a
    /// place for each that is timed alone.
    ///
    /// # Errors
    /// As [`replay`].
    pub fn replay(
        &mut self,
        program: &Program,
        tables: &Tables,
        slots: &mut Slots,
        range: Range<usize>,
        alone: Isolated,
    ) -> Result<(), ReplayError> {
        let first = program.first() as usize;
        let mut start = range.start;
        while start < range.end {
            let end = (start + STRETCH - (first + start) % STRETCH).min(range.end);
            if alone.times(first + start) {
                replay(program, tables, slots, start..end, self)?;
            } else {
                let mark = self.clock.before();
                replay(program, tables, slots, start..end, &mut Nothing)?;
                let mut ticks = self.clock.after().wrapping_sub(mark);
                if ticks >= self.long {
                    ticks = self.own(ticks);
                }
                self.stretch_ticks += ticks;
                self.stretches += 1;
                self.stretch_calls += (end - start) as u64;
            }
            start = end;
        }
        Ok(())
    }
}

impl Probe for Ticks<'_> {
    type Mark = u64;

    #[inline(always)]
    fn before(&mut self) -> u64 {
        self.clock.before()
    }

    #[inline(always)]
    fn after(&mut self, mark: u64, _: Done) {
        let mut ticks = self.clock.after().wrapping_sub(mark);
        if ticks >= self.long {
            ticks = self.own(ticks);
        }
        self.ticks[self.taken] = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.taken += 1;
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

/// Replays a program once. `turn` is called before each turn and returns when it may begin; a part
/// is read between two turns. `keep` gets a byte for each call: its [`bucket`] where it was timed
/// alone, else 0.
///
/// # Errors
/// When the backend gives no memory, a part does not come, the bytes cannot be kept, or `turn` says
/// that there will be no more.
pub fn latency<'a>(
    feed: impl Into<Feed<'a>>,
    tables: &Tables,
    clock: &Clock,
    alone: Isolated,
    keep: &mut impl Write,
    mut turn: impl FnMut() -> Result<(), ReplayError>,
) -> Result<LatencyResult, ReplayError> {
    let mut feed = feed.into();
    let mut slots = Slots::of(feed.outline());
    let mut probe = Ticks::new(clock, 0);
    let mut fold = Fold::new(clock.floor());
    while let Some(part) = feed.next_part()? {
        let calls = part.instructions().len();
        probe.begin(Isolated::places(calls));
        for start in (0..calls).step_by(TIME_SLICE_CALLS) {
            turn()?;
            let switches = involuntary_switches();
            probe.turn();
            probe.replay(
                part,
                tables,
                &mut slots,
                start..(start + TIME_SLICE_CALLS).min(calls),
                alone,
            )?;
            fold.found.preemptions += involuntary_switches().saturating_sub(switches);
        }
        keep.write_all(&fold.part(part, clock, alone, probe.ticks())).map_err(ReplayError::Keep)?;
    }
    Ok(fold.finish(&probe))
}

/// Sums up the ticks of the parts.
struct Fold {
    found: LatencyResult,
    sums: [f64; 4],
}

impl Fold {
    fn new(floor: Floor) -> Fold {
        let histograms = std::array::from_fn(|_| empty_histogram());
        let (isolated_ns, back_to_back_ns) = ([f64::NAN; 4], f64::NAN);
        let found = LatencyResult {
            histograms,
            isolated_ns,
            back_to_back_ns,
            floor,
            calls: [0; 4],
            preemptions: 0,
        };
        Fold { found, sums: [0.0; 4] }
    }

    /// Gives a byte for each call of the part.
    fn part(&mut self, part: &Program, clock: &Clock, alone: Isolated, ticks: &[u32]) -> Vec<u8> {
        let LatencyResult { histograms, calls, .. } = &mut self.found;
        let mut ticks = ticks.iter();
        let mut buckets = vec![0; part.instructions().len()];
        for (index, (instruction, kept)) in part.instructions().iter().zip(&mut buckets).enumerate()
        {
            let action = instruction.action() as usize;
            calls[action] += 1;
            if !alone.times(part.first() as usize + index) {
                continue;
            }
            let Some(&ticks) = ticks.next() else { break };
            let nanoseconds = clock.nanoseconds(ticks.into());
            self.sums[action] += nanoseconds;
            histograms[action].saturating_record((nanoseconds.round() as u64).max(1));
            *kept = bucket(nanoseconds);
        }
        buckets
    }

    fn finish(self, probe: &Ticks) -> LatencyResult {
        let mut found = self.found;
        let pair_ns = found.floor.pair_ns;
        let mean =
            |action: usize| self.sums[action] / found.histograms[action].len() as f64 - pair_ns;
        found.isolated_ns = std::array::from_fn(mean);
        found.back_to_back_ns = probe.among(pair_ns).0;
        found
    }
}

/// Buckets an octave: a byte spans 1 ns to over 4 s (2^32 ns) in steps of 9 %.
const BUCKETS_AN_OCTAVE: f64 = 8.0;

/// A time as its place on a logarithmic scale of 8 steps an octave, from 1 ns up; never 0, which
/// stands for no time.
pub fn bucket(nanoseconds: f64) -> u8 {
    (nanoseconds.max(1.0).log2() * BUCKETS_AN_OCTAVE).round().clamp(1.0, 255.0) as u8
}

/// The time in the middle of a [`bucket`], in ns.
pub fn bucket_nanoseconds(bucket: u8) -> f64 {
    (f64::from(bucket) / BUCKETS_AN_OCTAVE).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Action, compile};
    use crate::trace::{Distribution, Generator};
    use rustix::thread::{CpuSet, sched_setaffinity};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    /// Works until `enough`, as one call that a probe times: its ticks in ns, and what it had by
    /// the wall and of the processor.
    fn call(
        probe: &mut Ticks,
        clock: &Clock,
        enough: impl Fn(u64, u64) -> bool,
    ) -> (f64, f64, f64) {
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
        probe.after(
            mark,
            Done { index: 0, action: Action::Malloc, slot: 0, size: 1, old: null, new: null },
        );
        (clock.nanoseconds(probe.ticks()[0].into()), had.0, had.1)
    }

    /// A neighbour on the same processor takes it away in the middle of a call: that is not the
    /// call's. What the call itself does or waits for stays.
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
            // What is told is what it had of the processor, to a millisecond for what is lost
            // between two readings. Much more may be lost there, and a shared machine has other
            // whims: one of several tries has to be without.
            let mut tries = Vec::new();
            let right = (0..50).any(|_| {
                let mut probe = Ticks::new(&clock, 1);
                probe.turn();
                // Until the neighbours have had 30 ms of the call.
                let (told, wall, own) = call(&mut probe, &clock, |wall, processor| {
                    wall > processor + 30_000_000 && processor > 3_000_000
                });
                tries.push(format!("{told} told, {own} of {wall}"));
                (told - own).abs() < 1e6 + 0.01 * wall
            });
            over.store(true, Ordering::Relaxed);
            assert!(right, "{tries:?}");
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

    /// Of the two passes of a repetition, whatever the trace's length: each call is timed alone in
    /// one, and among others in the other.
    #[test]
    fn two_passes_time_each_call_alone_once() {
        let clock = Clock::calibrate();
        let backend = crate::backends::open(&crate::backends::parse("bump").unwrap()).unwrap();
        for wanted in
            [1, 200, TIME_SLICE_CALLS as u64 + 5, STRETCH as u64 - 1, 2 * STRETCH as u64 + 5]
        {
            let lifetimes = Distribution::parse("1-9:1", 9).unwrap();
            let mut generator =
                Generator::new(wanted, wanted, Distribution::python_sizes(), lifetimes);
            let program = compile(&mut generator).unwrap();
            let tables = Tables::new(&program, backend.as_ref());
            let [even, odd] = Isolated::BOTH.map(|alone| {
                let mut kept = Vec::new();
                let found =
                    latency(&program, &tables, &clock, alone, &mut kept, || Ok(())).unwrap();
                assert_eq!(found.calls, program.profile().calls);
                assert_eq!(kept.len(), program.calls());
                let timed = |action: usize| found.histograms[action].len();
                let counted = |action: usize| {
                    let calls = program.instructions().iter().enumerate();
                    calls
                        .filter(|(at, call)| kept[*at] > 0 && call.action() as usize == action)
                        .count() as u64
                };
                for action in 0..4 {
                    assert_eq!(timed(action), counted(action));
                    assert_eq!(found.isolated_ns[action].is_nan(), timed(action) == 0);
                }
                let alone: u64 = (0..4).map(timed).sum();
                assert_eq!(found.back_to_back_ns.is_nan(), alone == program.calls() as u64);
                kept
            });
            assert!(
                even.iter().zip(&odd).all(|(even, odd)| (*even == 0) != (*odd == 0)),
                "{wanted} calls"
            );
        }
    }

    #[test]
    fn a_bucket_is_within_five_percent() {
        for nanoseconds in [1.1, 10.0, 26.0, 999.0, 1e6, 1e9] {
            let back = bucket_nanoseconds(bucket(nanoseconds));
            assert!((back / nanoseconds - 1.0).abs() < 0.05, "{nanoseconds} {back}");
        }
    }
}
