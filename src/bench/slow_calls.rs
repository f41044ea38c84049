//! The single calls that the run record retains: the slowest, found while the calls stream by.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::program::Action;
use crate::results::SlowCall;
use crate::units::bucket_nanoseconds;

/// Calls retained that are slow by their own time.
const OWN: usize = 1000;
/// Calls retained that only some of the repetitions saw slow.
const STRAY: usize = 250;

/// What the trace says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallFacts {
    /// Its place in the trace.
    pub event: u64,
    /// What it was.
    pub action: Action,
    /// Bytes of its block.
    pub size_bytes: u64,
    /// The block's site.
    pub site: u32,
}

/// A call that is retained, with its times as buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedCall {
    /// Its own time.
    pub median: u8,
    /// The longest of the repetitions.
    pub longest: u8,
    /// Repetitions in which it took at least half of its own time; of a stray one, half of the
    /// longest.
    pub repetitions: u32,
    /// The call.
    pub call: CallFacts,
}

/// Orders by time; of equal ones the earliest counts as the largest.
#[derive(PartialEq, Eq)]
struct RankedCall(RetainedCall, (u8, u8));

impl RankedCall {
    fn key(&self) -> ((u8, u8), Reverse<u64>) {
        (self.1, Reverse(self.0.call.event))
    }
}

impl Ord for RankedCall {
    fn cmp(&self, other: &RankedCall) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for RankedCall {
    fn partial_cmp(&self, other: &RankedCall) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The slow calls so far.
pub struct SlowCalls {
    own: BinaryHeap<Reverse<RankedCall>>,
    stray: BinaryHeap<Reverse<RankedCall>>,
    own_seen: u64,
    /// The first buckets that are slow by a call's own time, and as a stray.
    limits: (u8, u8),
}

impl Default for SlowCalls {
    fn default() -> SlowCalls {
        let first = |least_ns: u64| {
            (0..u8::MAX)
                .find(|bucket| bucket_nanoseconds(*bucket) >= least_ns as f64)
                .unwrap_or(u8::MAX)
        };
        SlowCalls {
            own: BinaryHeap::new(),
            stray: BinaryHeap::new(),
            own_seen: 0,
            limits: (first(SlowCall::SLOW_NANOSECONDS), first(SlowCall::STRAY_NANOSECONDS)),
        }
    }
}

/// An eighth of a bucket's octave: half of a time is so many buckets below it.
const HALF: u8 = 8;

impl SlowCalls {
    /// One call with its median and its times in the repetitions, rising.
    #[inline]
    pub fn call(&mut self, median: u8, times: &[u8], call: impl FnOnce() -> CallFacts) {
        let Some(&longest) = times.last() else { return };
        let is_own = median >= self.limits.0;
        if !is_own && longest < self.limits.1 {
            return;
        }
        let half = if is_own { median } else { longest }.saturating_sub(HALF);
        let repetitions = times.iter().filter(|time| **time >= half).count() as u32;
        let slow = RetainedCall { median, longest, repetitions, call: call() };
        let (heap, most, key) = if is_own {
            self.own_seen += 1;
            (&mut self.own, OWN, (median, longest))
        } else {
            (&mut self.stray, STRAY, (longest, median))
        };
        heap.push(Reverse(RankedCall(slow, key)));
        if heap.len() > most {
            heap.pop();
        }
    }

    /// The calls in the order of the trace, and how many calls that are slow by their own time were
    /// too many.
    pub fn retained(self) -> (Vec<RetainedCall>, u64) {
        let left_out = self.own_seen - self.own.len() as u64;
        let mut retained: Vec<RetainedCall> =
            self.own.into_iter().chain(self.stray).map(|Reverse(ranked)| ranked.0).collect();
        retained.sort_by_key(|slow| slow.call.event);
        (retained, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::bucket;
    use proptest::prelude::*;

    fn facts(event: usize) -> CallFacts {
        CallFacts { event: event as u64, action: Action::Free, size_bytes: 1, site: 0 }
    }

    #[test]
    fn a_call_that_one_repetition_saw_is_not_its_own() {
        let mut slow = SlowCalls::default();
        let times = |times: [f64; 3]| times.map(bucket);
        slow.call(bucket(30.0), &times([20.0, 30.0, 4e6]), || facts(7));
        slow.call(bucket(3e6), &times([2.9e6, 3e6, 9e6]), || facts(9));
        slow.call(bucket(3e6), &times([30.0, 3e6, 3e6]), || facts(11));
        slow.call(bucket(30.0), &times([30.0, 30.0, 50e3]), || facts(12));
        let (retained, left_out) = slow.retained();
        let found: Vec<(u64, u32)> =
            retained.iter().map(|call| (call.call.event, call.repetitions)).collect();
        assert_eq!((found, left_out), (vec![(7, 1), (9, 3), (11, 2)], 0));
    }

    proptest! {
        /// The largest are retained, whatever the order in which they come: compared with a sort of
        /// all.
        #[test]
        fn the_largest_are_retained(
            medians in
                prop::collection::vec(prop_oneof![4 => 0..110_u8, 1 => 110..=255_u8], 0..6000),
        ) {
            let mut slow = SlowCalls::default();
            for (event, &median) in medians.iter().enumerate() {
                slow.call(median, &[median], || facts(event));
            }
            let mut all: Vec<(u8, usize)> =
                medians.iter().copied().enumerate().map(|(event, median)| (median, event)).collect();
            all.retain(|(median, _)| bucket_nanoseconds(*median) >= 10_000.0);
            all.sort_by_key(|(median, event)| (Reverse(*median), *event));
            let (retained, left_out) = slow.retained();
            prop_assert_eq!(left_out as usize, all.len().saturating_sub(OWN));
            all.truncate(OWN);
            all.sort_by_key(|(_, event)| *event);
            let retained: Vec<(u8, usize)> =
                retained.iter().map(|slow| (slow.median, slow.call.event as usize)).collect();
            prop_assert_eq!(retained, all);
        }
    }
}
