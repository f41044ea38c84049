//! A figure of an allocator that decides otherwise in each replay: its median over several replays, and
//! its range.

use crate::stats::{median, quantile, range};

/// The range of a difference holds this share of all pairs of a replay before and a replay after.
const PAIRS_IN_RANGE: f64 = 0.9;

/// A figure over several replays, or over one that is the same every time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayedRange {
    /// The median, or the figure of the only replay.
    pub median: f64,
    /// The smallest and the largest value, where there are several replays.
    pub range: Option<(f64, f64)>,
}

impl ReplayedRange {
    /// Over the values of replays; `None` without a value.
    pub fn of(values: &[f64]) -> Option<ReplayedRange> {
        let range = if values.len() > 1 { range(values) } else { None };
        Some(ReplayedRange { median: median(values)?, range })
    }

    /// The difference between a replay of `before` and one of `after`. The replays are independent, so
    /// each of the one may go with each of the other. The range leaves out the outermost pairs.
    pub fn difference(before: &[f64], after: &[f64]) -> Option<ReplayedRange> {
        let pairs = before.iter().flat_map(|b| after.iter().map(move |a| b - a));
        let pairs: Vec<f64> = pairs.collect();
        let outside = (1.0 - PAIRS_IN_RANGE) / 2.0;
        let ends = quantile(&pairs, outside).zip(quantile(&pairs, 1.0 - outside));
        Some(ReplayedRange { median: median(&pairs)?, range: ends.filter(|_| pairs.len() > 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replay_has_no_range() {
        let single = ReplayedRange { median: 7.0, range: None };
        assert_eq!(ReplayedRange::of(&[7.0]), Some(single));
        assert_eq!(ReplayedRange::difference(&[9.0], &[2.0]), Some(single));
        assert_eq!(ReplayedRange::of(&[]), None);
        assert_eq!(ReplayedRange::difference(&[], &[1.0]), None);
    }

    #[test]
    fn a_difference_has_the_pairs_without_the_outermost() {
        let (before, after) = ([10.0, 11.0, 12.0], [1.0, 2.0, 3.0]);
        let found = ReplayedRange::difference(&before, &after).unwrap();
        // The nine differences are 7, 8, 8, 9, 9, 9, 10, 10 and 11.
        assert_eq!(found.median, 9.0);
        let (low, high) = found.range.unwrap();
        assert!((low - 7.4).abs() < 1e-9 && (high - 10.6).abs() < 1e-9, "{low} to {high}");
        assert_eq!(ReplayedRange::of(&before).unwrap().range, Some((10.0, 12.0)));
    }
}
