//! The probe of the latency pass: the ticks of isolated calls, and of spans of calls that run back
//! to back.
//!
//! On a busy machine, every repetition may lose the processor in the same long call. So for a call
//! over 50 µs, the probe subtracts the time that the kernel gave to other processes during the call
//! ([`Ticks::begin_segment`]).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::calls::{Slots, Tables, replay};
use super::clock::Clock;
use super::error::ReplayError;
use super::probe::{Done, Nothing, Probe};
use super::time_slice::TIME_SLICE_CALLS;
use super::usage::{involuntary_switches, processor_ns};
use crate::program::Program;

/// The spans whose calls are timed in isolation, in one of the two passes of a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolated {
    /// The first span and each second one after it.
    Even,
    /// The other spans.
    Odd,
}

/// Calls in a span: as many as in a part of a program.
///
/// Shorter spans would give wrong figures for calls back to back. Between fences, a processor
/// learns other branches of an allocator than it needs back to back. The stored times displace the
/// heap from the caches. So glibc's calls took longer than in the time pass: a quarter with spans
/// of 256 calls, a seventh with spans of one time slice, a tenth with spans of eight.
pub(super) const SPAN_CALLS: usize = 32 * TIME_SLICE_CALLS;

impl Isolated {
    /// Both halves; their passes are one repetition.
    pub const BOTH: [Isolated; 2] = [Isolated::Even, Isolated::Odd];

    /// The most isolated calls in so many calls, for either half.
    pub fn capacity(calls: usize) -> usize {
        (calls.div_ceil(2 * SPAN_CALLS) * SPAN_CALLS).min(calls)
    }

    /// Whether this call of the program is timed in isolation.
    pub fn includes(self, call: usize) -> bool {
        call / SPAN_CALLS % 2 == self as usize
    }
}

/// Stores the ticks of isolated calls, one after the other, and sums the ticks of the other spans.
pub struct Ticks<'a> {
    clock: &'a Clock,
    /// One number for each isolated call, of which `taken` are filled.
    ticks: Vec<u32>,
    taken: usize,
    /// The ticks of spans that ran back to back, the number of clock pairs around them, and their
    /// calls.
    span_ticks: u64,
    span_pairs: u64,
    span_calls: u64,
    /// The shortest long call, in ticks.
    long: u64,
    /// The thread's times when they were last read.
    last_read: ThreadTimes,
}

/// The shortest long call, in ns. The probe checks long calls for preemption. The check would take
/// a hundredth of that time, and a scheduler's shortest time slice is longer.
const LONG_NS: f64 = 50_000.0;

/// The times of this thread so far.
#[derive(Clone, Copy, Default)]
struct ThreadTimes {
    ticks: u64,
    processor_ns: u64,
    switches: u64,
}

impl ThreadTimes {
    fn now(clock: &Clock) -> ThreadTimes {
        ThreadTimes {
            ticks: clock.ticks(),
            processor_ns: processor_ns(),
            switches: involuntary_switches(),
        }
    }

    /// Time that the kernel gave to other processes since `before`, in ns. It is 0 without a
    /// preemption: a call that waits by itself is charged with the wait.
    fn lost_ns(&self, before: &ThreadTimes, clock: &Clock) -> f64 {
        if self.switches == before.switches {
            return 0.0;
        }
        let wall_ns = clock.nanoseconds(self.ticks.wrapping_sub(before.ticks));
        (wall_ns - self.processor_ns.saturating_sub(before.processor_ns) as f64).max(0.0)
    }
}

impl<'a> Ticks<'a> {
    /// A probe for so many isolated calls. Its memory is touched, so the harness causes no page
    /// fault in the loop.
    pub fn new(clock: &'a Clock, calls: usize) -> Ticks<'a> {
        let mut probe = Ticks {
            clock,
            ticks: Vec::new(),
            taken: 0,
            span_ticks: 0,
            span_pairs: 0,
            span_calls: 0,
            long: u64::MAX,
            last_read: ThreadTimes::default(),
        };
        probe.begin(calls);
        probe
    }

    /// Discards the ticks of isolated calls and makes space for so many.
    pub fn begin(&mut self, calls: usize) {
        self.taken = 0;
        self.ticks.resize(calls, std::hint::black_box(1u32));
    }

    /// Begins a segment, on the thread that makes its calls: from here on, this thread waits only
    /// within calls.
    ///
    /// The probe then subtracts from a long call the time that the kernel gave to other processes.
    /// Time that was lost between two calls is subtracted from the next long call of the same
    /// segment. Short calls pay one comparison.
    pub fn begin_segment(&mut self) {
        self.long = (LONG_NS * 1e-9 * self.clock.ticks_per_second()) as u64;
        self.last_read = ThreadTimes::now(self.clock);
    }

    /// The ticks of a long call, less the time that the kernel gave to other processes.
    #[cold]
    #[inline(never)]
    fn own(&mut self, ticks: u64) -> u64 {
        let now = ThreadTimes::now(self.clock);
        let lost_ns = now.lost_ns(&std::mem::replace(&mut self.last_read, now), self.clock);
        ticks.saturating_sub((lost_ns * 1e-9 * self.clock.ticks_per_second()) as u64)
    }

    /// The ticks of each isolated call, with the clock pair. A call of more than 32 bits of ticks
    /// saturates.
    pub fn ticks(&self) -> &[u32] {
        &self.ticks[..self.taken]
    }

    /// The mean time of a call in the spans that ran back to back, in ns; NaN without such a span.
    /// `pair_ns` is the reading of an empty clock pair.
    pub fn back_to_back_ns(&self, pair_ns: f64) -> f64 {
        let ns = self.clock.nanoseconds(self.span_ticks) - pair_ns * self.span_pairs as f64;
        ns / self.span_calls as f64
    }

    /// Makes the calls of `range` and times them as [`Isolated`] selects. The probe must have space
    /// for the isolated calls.
    ///
    /// # Errors
    /// As [`replay`].
    pub fn replay(
        &mut self,
        program: &Program,
        tables: &Tables,
        slots: &mut Slots,
        range: Range<usize>,
        isolated: Isolated,
    ) -> Result<(), ReplayError> {
        let first = program.first() as usize;
        let mut start = range.start;
        while start < range.end {
            let end = (start + SPAN_CALLS - (first + start) % SPAN_CALLS).min(range.end);
            if isolated.includes(first + start) {
                replay(program, tables, slots, start..end, self)?;
            } else {
                let mark = self.clock.before();
                replay(program, tables, slots, start..end, &mut Nothing)?;
                let mut ticks = self.clock.after().wrapping_sub(mark);
                if ticks >= self.long {
                    ticks = self.own(ticks);
                }
                self.span_ticks += ticks;
                self.span_pairs += 1;
                self.span_calls += (end - start) as u64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Action;
    use rustix::thread::{CpuSet, sched_setaffinity};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    /// Works until `enough`, as one call that a probe times. Returns in ns: the time of the call by
    /// the probe, its wall time, its processor time.
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

    /// Another thread on the same processor preempts a call: the call is not charged with that
    /// time. It is charged with its own work and its own waits.
    #[test]
    fn a_preemption_is_subtracted_and_a_stall_of_the_call_is_not() {
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
            // The reported time is the processor time, to a millisecond for what is lost between
            // two readings. More may be lost there, and a shared machine has other disturbances:
            // one of several tries has to be without.
            let mut tries = Vec::new();
            let right = (0..50).any(|_| {
                let mut probe = Ticks::new(&clock, 1);
                probe.begin_segment();
                // Until the other threads have had 30 ms of the call.
                let (reported, wall, own) = call(&mut probe, &clock, |wall, processor| {
                    wall > processor + 30_000_000 && processor > 3_000_000
                });
                tries.push(format!("{reported} reported, {own} of {wall}"));
                (reported - own).abs() < 1e6 + 0.01 * wall
            });
            over.store(true, Ordering::Relaxed);
            assert!(right, "{tries:?}");
            // Outside a segment nothing is subtracted. The thread may be preempted between the probe's
            // reading and the wall's, so that one of several tries has to be right.
            let mut tries = Vec::new();
            let right = (0..50).any(|_| {
                let mut probe = Ticks::new(&clock, 1);
                let (reported, wall, _) = call(&mut probe, &clock, |wall, _| wall > 3_000_000);
                tries.push(format!("{reported} reported of {wall}"));
                reported >= wall - 1e3
            });
            assert!(right, "{tries:?}");
        });
        // A call is charged with its own wait: no switch was involuntary.
        let before = ThreadTimes { ticks: 0, processor_ns: 0, switches: 5 };
        let ticks = (3e-3 * clock.ticks_per_second()) as u64;
        let slept = ThreadTimes { ticks, processor_ns: 1000, switches: 5 };
        assert!(slept.lost_ns(&before, &clock) == 0.0);
        let taken = ThreadTimes { switches: 6, ..slept };
        assert!((taken.lost_ns(&before, &clock) - 2_999_000.0).abs() < 1e3);
    }
}
