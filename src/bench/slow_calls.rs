//! Which single calls the record keeps: the largest, found while the calls stream by.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::program::Action;
use crate::replay::bucket_nanoseconds;
use crate::results::SlowCall;

/// Calls kept that are slow by their own time.
const OWN: usize = 1000;
/// Calls kept that a part of the repetitions alone saw slow.
const STRAY: usize = 250;

/// A call, as the trace tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its place in the trace.
    pub event: u64,
    /// What it was.
    pub action: Action,
    /// Bytes of its block.
    pub size_bytes: u64,
    /// The block's site.
    pub site: u32,
}

/// A call that is kept, with its times as buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Its own time.
    pub median: u8,
    /// The longest of the repetitions.
    pub longest: u8,
    /// Repetitions in which it took at least half of its own time; of a stray one, half of the
    /// longest.
    pub repetitions: u32,
    /// The call.
    pub seen: Seen,
}

/// Orders by time; of equal ones the earliest counts as the largest.
#[derive(PartialEq, Eq)]
struct Ranked(Slow, (u8, u8));

impl Ranked {
    fn key(&self) -> ((u8, u8), Reverse<u64>) {
        (self.1, Reverse(self.0.seen.event))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The slow calls so far.
pub struct SlowCalls {
    own: BinaryHeap<Reverse<Ranked>>,
    stray: BinaryHeap<Reverse<Ranked>>,
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
    pub fn call(&mut self, median: u8, times: &[u8], seen: impl FnOnce() -> Seen) {
        let Some(&longest) = times.last() else { return };
        let is_own = median >= self.limits.0;
        if !is_own && longest < self.limits.1 {
            return;
        }
        let half = if is_own { median } else { longest }.saturating_sub(HALF);
        let repetitions = times.iter().filter(|time| **time >= half).count() as u32;
        let slow = Slow { median, longest, repetitions, seen: seen() };
        let (heap, most, key) = if is_own {
            self.own_seen += 1;
            (&mut self.own, OWN, (median, longest))
        } else {
            (&mut self.stray, STRAY, (longest, median))
        };
        heap.push(Reverse(Ranked(slow, key)));
        if heap.len() > most {
            heap.pop();
        }
    }

    /// The calls in the order of the trace, and how many that are slow by their own time had no
    /// room.
    pub fn kept(self) -> (Vec<Slow>, u64) {
        let left_out = self.own_seen - self.own.len() as u64;
        let mut kept: Vec<Slow> =
            self.own.into_iter().chain(self.stray).map(|Reverse(ranked)| ranked.0).collect();
        kept.sort_by_key(|slow| slow.seen.event);
        (kept, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::bucket;
    use proptest::prelude::*;

    fn seen(event: usize) -> Seen {
        Seen { event: event as u64, action: Action::Free, size_bytes: 1, site: 0 }
    }

    #[test]
    fn a_call_that_one_repetition_saw_is_not_its_own() {
        let mut slow = SlowCalls::default();
        let times = |times: [f64; 3]| times.map(bucket);
        slow.call(bucket(30.0), &times([20.0, 30.0, 4e6]), || seen(7));
        slow.call(bucket(3e6), &times([2.9e6, 3e6, 9e6]), || seen(9));
        slow.call(bucket(3e6), &times([30.0, 3e6, 3e6]), || seen(11));
        slow.call(bucket(30.0), &times([30.0, 30.0, 50e3]), || seen(12));
        let (kept, left_out) = slow.kept();
        let told: Vec<(u64, u32)> =
            kept.iter().map(|call| (call.seen.event, call.repetitions)).collect();
        assert_eq!((told, left_out), (vec![(7, 1), (9, 3), (11, 2)], 0));
    }

    proptest! {
        /// The largest are kept, whatever the order in which they come: held against a sort of all.
        #[test]
        fn the_largest_are_kept(medians in prop::collection::vec(prop_oneof![4 => 0..110_u8, 1 => 110..=255_u8], 0..6000)) {
            let mut slow = SlowCalls::default();
            for (event, &median) in medians.iter().enumerate() {
                slow.call(median, &[median], || seen(event));
            }
            let mut all: Vec<(u8, usize)> =
                medians.iter().copied().enumerate().map(|(event, median)| (median, event)).collect();
            all.retain(|(median, _)| bucket_nanoseconds(*median) >= 10_000.0);
            all.sort_by_key(|(median, event)| (Reverse(*median), *event));
            let (kept, left_out) = slow.kept();
            prop_assert_eq!(left_out as usize, all.len().saturating_sub(OWN));
            all.truncate(OWN);
            all.sort_by_key(|(_, event)| *event);
            let kept: Vec<(u8, usize)> = kept.iter().map(|call| (call.median, call.seen.event as usize)).collect();
            prop_assert_eq!(kept, all);
        }
    }
}
