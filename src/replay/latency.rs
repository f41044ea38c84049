//! The latency pass: the service times of single calls, and their mean back to back.
//!
//! Spans of calls alternate. In one span, each call is isolated by a fenced clock pair, which shows
//! the tail. The next span has one clock pair around all of its calls. They run back to back and
//! overlap as they do in a program, which shows the mean. Another pass of the same repetition swaps
//! the spans ([`Isolated`]), so the two passes together isolate each call once.
//!
//! Besides a histogram for each action, the pass writes the time of each call as one byte on a
//! logarithmic scale ([`bucket`]). A replay is deterministic. So the median of a call's bytes over
//! repetitions is the call's own cost, and `bench` takes that median. A time that only one
//! repetition shows is machine noise.

use std::io::Write;

use hdrhistogram::Histogram;

use super::calls::{Slots, Tables};
use super::clock::{Clock, Floor};
use super::error::ReplayError;
use super::histogram::empty_histogram;
use super::threads::{RecordedOrder, ThreadCounts};
use super::ticks::{Isolated, Ticks};
use super::time_slice::TIME_SLICE_CALLS;
use super::usage::involuntary_switches;
use crate::backends::Backend;
use crate::program::{Feed, Program};
use crate::units::bucket;

/// The result of a latency pass.
pub struct LatencyResult {
    /// Service times of the isolated calls by [`Action`](crate::program::Action), in ns, with the
    /// clock pair.
    pub histograms: [Histogram<u64>; 4],
    /// Their mean by action less the mean empty pair, in ns; NaN without a call. Fences keep calls
    /// from overlapping, so it exceeds the time of a call back to back.
    pub isolated_ns: [f64; 4],
    /// The mean time of a call back to back, in ns; NaN without a call.
    pub back_to_back_ns: f64,
    /// The resolution and the cost of the clock during this pass.
    pub floor: Floor,
    /// Calls made, by action.
    pub calls: [u64; 4],
    /// Times that the kernel preempted the calling thread. The time of some call includes each of
    /// them.
    pub preemptions: u64,
    /// The threads that made the calls.
    pub threads: ThreadCounts,
}

/// Replays a program once and times its calls.
///
/// The pass calls `await_time_slice` before each time slice; it returns when the time slice may
/// begin. A part of the program is read between two time slices. `out` gets a byte for each call:
/// the [`bucket`] of an isolated call, else 0.
///
/// # Errors
/// The backend gives no memory, a part does not arrive, the bytes cannot be written, or
/// `await_time_slice` reports that no further time slice will come.
pub fn latency<'a>(
    feed: impl Into<Feed<'a>>,
    backend: &dyn Backend,
    clock: &Clock,
    isolated: Isolated,
    out: &mut (impl Write + ?Sized),
    mut await_time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<LatencyResult, ReplayError> {
    let mut feed = feed.into();
    let (tables, mut slots) = (Tables::of(feed.outline(), backend), Slots::of(feed.outline()));
    let mut order = RecordedOrder::new(feed.outline(), backend);
    let mut probe = Ticks::new(clock, 0);
    let mut sums = LatencySums::new(clock.floor());
    while let Some(part) = feed.next_part()? {
        let calls = part.instructions().len();
        probe.begin(Isolated::capacity(calls));
        for start in (0..calls).step_by(TIME_SLICE_CALLS) {
            await_time_slice()?;
            let range = start..(start + TIME_SLICE_CALLS).min(calls);
            let mut preemptions = 0;
            order.run(part, range, |segment| {
                // Only this thread calls within a segment.
                let switches = involuntary_switches();
                probe.begin_segment();
                probe.replay(part, &tables, &mut slots, segment, isolated)?;
                preemptions += involuntary_switches().saturating_sub(switches);
                Ok(())
            })?;
            sums.found.preemptions += preemptions;
        }
        let buckets = sums.add_part(part, clock, isolated, probe.ticks());
        out.write_all(&buckets).map_err(ReplayError::Write)?;
    }
    sums.found.threads = order.counts();
    Ok(sums.finish(&probe))
}

/// Sums the ticks of the parts.
struct LatencySums {
    found: LatencyResult,
    /// Service times by action, in ns.
    sums: [f64; 4],
}

impl LatencySums {
    fn new(floor: Floor) -> LatencySums {
        let found = LatencyResult {
            histograms: std::array::from_fn(|_| empty_histogram()),
            isolated_ns: [f64::NAN; 4],
            back_to_back_ns: f64::NAN,
            floor,
            calls: [0; 4],
            preemptions: 0,
            threads: ThreadCounts::default(),
        };
        LatencySums { found, sums: [0.0; 4] }
    }

    /// Adds a part, and returns a byte for each of its calls.
    fn add_part(
        &mut self,
        part: &Program,
        clock: &Clock,
        isolated: Isolated,
        ticks: &[u32],
    ) -> Vec<u8> {
        let LatencyResult { histograms, calls, .. } = &mut self.found;
        let mut ticks = ticks.iter();
        let mut buckets = vec![0; part.instructions().len()];
        for (index, (instruction, byte)) in part.instructions().iter().zip(&mut buckets).enumerate()
        {
            let action = instruction.action() as usize;
            calls[action] += 1;
            if !isolated.includes(part.first() as usize + index) {
                continue;
            }
            let Some(&ticks) = ticks.next() else { break };
            let nanoseconds = clock.nanoseconds(ticks.into());
            self.sums[action] += nanoseconds;
            histograms[action].saturating_record((nanoseconds.round() as u64).max(1));
            *byte = bucket(nanoseconds);
        }
        buckets
    }

    fn finish(self, probe: &Ticks) -> LatencyResult {
        let mut found = self.found;
        let pair_ns = found.floor.pair_ns;
        let mean =
            |action: usize| self.sums[action] / found.histograms[action].len() as f64 - pair_ns;
        found.isolated_ns = std::array::from_fn(mean);
        found.back_to_back_ns = probe.back_to_back_ns(pair_ns);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::ticks::SPAN_CALLS;
    use super::*;
    use crate::program::compile;
    use crate::trace::{Distribution, Generator};

    /// Of the two passes of a repetition, one isolates each call and the other makes it back to
    /// back, whatever the trace's length.
    #[test]
    fn two_passes_isolate_each_call_once() {
        let clock = Clock::calibrate();
        let backend = crate::backends::open(&crate::backends::parse("bump").unwrap()).unwrap();
        let (slice, span) = (TIME_SLICE_CALLS as u64, SPAN_CALLS as u64);
        for wanted in [1, 200, slice + 5, span - 1, 2 * span + 5] {
            let lifetimes = Distribution::parse("1-9:1", 9).unwrap();
            let mut generator =
                Generator::new(wanted, wanted, Distribution::python_sizes(), lifetimes);
            let program = compile(&mut generator).unwrap();
            let [even, odd] = Isolated::BOTH.map(|half| {
                let mut buckets = Vec::new();
                let found =
                    latency(&program, &*backend, &clock, half, &mut buckets, || Ok(())).unwrap();
                assert_eq!(found.calls, program.profile().calls);
                assert_eq!(buckets.len(), program.calls());
                let timed = |action: usize| found.histograms[action].len();
                let counted = |action: usize| {
                    let calls = program.instructions().iter().enumerate();
                    calls
                        .filter(|(at, call)| buckets[*at] > 0 && call.action() as usize == action)
                        .count() as u64
                };
                for action in 0..4 {
                    assert_eq!(timed(action), counted(action));
                    assert_eq!(found.isolated_ns[action].is_nan(), timed(action) == 0);
                }
                let isolated: u64 = (0..4).map(timed).sum();
                assert_eq!(found.back_to_back_ns.is_nan(), isolated == program.calls() as u64);
                buckets
            });
            assert!(
                even.iter().zip(&odd).all(|(even, odd)| (*even == 0) != (*odd == 0)),
                "{wanted} calls"
            );
        }
    }
}
