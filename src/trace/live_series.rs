//! Live bytes and blocks over a trace, in a bounded number of segments, and the plateau in them.

use std::collections::VecDeque;

use serde::Serialize;

/// Points of the live series, at most. A full series joins adjacent points two by two.
const POINTS: usize = 4096;

/// How far the live bytes of a plateau lie apart: the most are at most 1.1 times the fewest.
const PLATEAU: (u128, u128) = (11, 10);

/// A plateau has at least one in so many calls of the trace.
const PLATEAU_CALLS: u64 = 10;

/// A segment of the trace in the live series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LivePoint {
    /// Calls up to the end of the segment.
    pub event: u64,
    /// The allocation clock at the end of the segment, in bytes.
    pub clock_bytes: u64,
    /// Fewest live bytes in the segment.
    pub least_bytes: u64,
    /// Most live bytes in the segment.
    pub most_bytes: u64,
    /// Fewest live blocks in the segment.
    pub least_blocks: u64,
    /// Most live blocks in the segment.
    pub most_blocks: u64,
}

/// The live series: segments of equally many calls. The length doubles when there are [`POINTS`]
/// segments.
#[derive(Debug, Default)]
pub struct LiveSeries {
    points: Vec<LivePoint>,
    open: Option<LivePoint>,
    /// Calls in the open segment.
    calls: u64,
    /// Calls of a segment, a power of two.
    segment_calls: u64,
}

impl LiveSeries {
    /// Adds a call: the calls made up to it, the allocation clock, and what is live after it.
    pub fn add(&mut self, event: u64, clock_bytes: u64, bytes: u64, blocks: u64) {
        let open = self.open.get_or_insert(LivePoint {
            least_bytes: bytes,
            most_bytes: bytes,
            least_blocks: blocks,
            most_blocks: blocks,
            ..LivePoint::default()
        });
        open.event = event;
        open.clock_bytes = clock_bytes;
        open.least_bytes = open.least_bytes.min(bytes);
        open.most_bytes = open.most_bytes.max(bytes);
        open.least_blocks = open.least_blocks.min(blocks);
        open.most_blocks = open.most_blocks.max(blocks);
        self.calls += 1;
        if self.calls >= self.segment_calls.max(1) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.calls = 0;
        self.points.extend(self.open.take());
        if self.points.len() < POINTS {
            return;
        }
        self.segment_calls = self.segment_calls.max(1) * 2;
        self.points = self
            .points
            .chunks(2)
            .map(|pair| {
                let (first, last) = (pair[0], pair[pair.len() - 1]);
                LivePoint {
                    least_bytes: first.least_bytes.min(last.least_bytes),
                    most_bytes: first.most_bytes.max(last.most_bytes),
                    least_blocks: first.least_blocks.min(last.least_blocks),
                    most_blocks: first.most_blocks.max(last.most_blocks),
                    ..last
                }
            })
            .collect();
    }

    /// The segments.
    pub fn finish(mut self) -> Vec<LivePoint> {
        self.points.extend(self.open.take());
        self.points
    }
}

/// A segment of the trace in which live bytes hardly change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plateau {
    /// Calls up to its begin.
    pub from_event: u64,
    /// Calls up to its end.
    pub until_event: u64,
}

impl Plateau {
    /// The longest plateau of a series, by calls: live bytes stay within 10 % of the fewest. Of two as
    /// long it is the later one. `None` where none has a tenth of the calls.
    pub fn longest(points: &[LivePoint]) -> Option<Plateau> {
        let calls = points.last()?.event;
        // Indices of segments, of falling most bytes and of rising fewest bytes.
        let (mut most, mut least) = (VecDeque::new(), VecDeque::new());
        let mut begin = 0;
        let mut found: Option<Plateau> = None;
        for (end, point) in points.iter().enumerate() {
            while most.back().is_some_and(|&at: &usize| points[at].most_bytes <= point.most_bytes) {
                most.pop_back();
            }
            while least
                .back()
                .is_some_and(|&at: &usize| points[at].least_bytes >= point.least_bytes)
            {
                least.pop_back();
            }
            most.push_back(end);
            least.push_back(end);
            while let (Some(&high), Some(&low)) = (most.front(), least.front()) {
                let (high_bytes, low_bytes) = (points[high].most_bytes, points[low].least_bytes);
                if u128::from(high_bytes) * PLATEAU.1 <= u128::from(low_bytes) * PLATEAU.0 {
                    break;
                }
                begin += 1;
                most.retain(|&at| at >= begin);
                least.retain(|&at| at >= begin);
            }
            let from_event = begin.checked_sub(1).map_or(0, |before| points[before].event);
            let plateau = Plateau { from_event, until_event: point.event };
            if begin <= end && found.is_none_or(|best| plateau.calls() >= best.calls()) {
                found = Some(plateau);
            }
        }
        found.filter(|plateau| plateau.calls().saturating_mul(PLATEAU_CALLS) >= calls)
    }

    fn calls(&self) -> u64 {
        self.until_event - self.from_event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_series_is_bounded_and_loses_no_extreme() {
        let mut series = LiveSeries::default();
        for event in 1..=100_000_u64 {
            let bytes = if event == 77_777 { 999 } else { event % 7 };
            series.add(event, event * 10, bytes, bytes);
        }
        let points = series.finish();
        assert!(points.len() <= POINTS);
        assert_eq!(points.iter().map(|p| p.most_bytes).max(), Some(999));
        assert_eq!(points.last().map(|p| (p.event, p.clock_bytes)), Some((100_000, 1_000_000)));
        assert!(points.windows(2).all(|pair| pair[0].event < pair[1].event));
    }

    fn points(levels: &[(u64, u64)]) -> Vec<LivePoint> {
        let point = |(at, &(least_bytes, most_bytes)): (u64, &(u64, u64))| LivePoint {
            event: 10 * (at + 1),
            least_bytes,
            most_bytes,
            ..LivePoint::default()
        };
        (0..).zip(levels).map(point).collect()
    }

    #[test]
    fn the_longest_level_part_is_the_plateau() {
        let levels = [(0, 90), (100, 108), (101, 109), (100, 110), (90, 200), (50, 55), (50, 54)];
        let plateau = Plateau { from_event: 10, until_event: 40 };
        assert_eq!(Plateau::longest(&points(&levels)), Some(plateau));
        let rising: Vec<(u64, u64)> = (0..30).map(|at| (1 << at, 2 << at)).collect();
        assert_eq!(Plateau::longest(&points(&rising)), None);
        assert_eq!(Plateau::longest(&[]), None);
        let nothing = Plateau { from_event: 0, until_event: 20 };
        assert_eq!(Plateau::longest(&points(&[(0, 0), (0, 0)])), Some(nothing));
    }

    proptest! {
        /// The reference tries all pairs of begin and end.
        #[test]
        fn no_longer_part_is_level(levels in prop::collection::vec((0u64..40, 0u64..5), 1..40)) {
            let levels: Vec<(u64, u64)> =
                levels.into_iter().map(|(least, more)| (least, least + more)).collect();
            let is_level = |part: &[(u64, u64)]| {
                let most = part.iter().map(|level| level.1).max().unwrap_or(0);
                let least = part.iter().map(|level| level.0).min().unwrap_or(0);
                10 * most <= 11 * least
            };
            let mut longest = 0;
            for begin in 0..levels.len() {
                for end in begin + 1..=levels.len() {
                    if is_level(&levels[begin..end]) {
                        longest = longest.max(end - begin);
                    }
                }
            }
            let found = Plateau::longest(&points(&levels)).map_or(0, |found| found.calls() / 10);
            let expected = if longest * 10 >= levels.len() { longest as u64 } else { 0 };
            prop_assert_eq!(found, expected);
        }
    }
}
