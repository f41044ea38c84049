//! The permutation test of two groups over several measures at once.
//!
//! If nothing differs between two groups but chance, each split of all their members into two groups
//! of these sizes is equally likely. So the probability of a result as large as the observed one is
//! counted, not assumed. The largest statistic over all measures makes the error hold for all
//! measures together: Westfall and Young, "Resampling-based multiple testing", Wiley, 1993.

use super::random::Random;
use super::steady_counts::{CentredCounts, KeyedCounts};

/// Splits that are counted. Where there are more, as many are drawn at random.
const MOST_SPLITS: u64 = 20_000;
/// The seed of the splits that are drawn, so that the same figures give the same verdict.
const SEED: u64 = 0x5EED;
/// Statistics that differ by less than this share are equal but for rounding.
const EQUAL_SHARE: f64 = 1e-9;

/// A measure of the members of both groups, those of the first group before those of the second.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupedValues {
    /// A value for each member.
    pub values: Vec<f64>,
    /// A growth of the mean from the first group to the second that counts as none. It may depend
    /// on the values, but not on which group a member is in.
    pub allowed_growth: f64,
}

/// A measure of the members of both groups.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupedMeasure {
    /// A figure.
    Values(GroupedValues),
    /// Counts by key, of which the steady ones are added.
    Counts(KeyedCounts),
}

impl From<GroupedValues> for GroupedMeasure {
    fn from(values: GroupedValues) -> GroupedMeasure {
        GroupedMeasure::Values(values)
    }
}

impl From<KeyedCounts> for GroupedMeasure {
    fn from(counts: KeyedCounts) -> GroupedMeasure {
        GroupedMeasure::Counts(counts)
    }
}

impl GroupedMeasure {
    fn members(&self) -> usize {
        match self {
            GroupedMeasure::Values(measure) => measure.values.len(),
            GroupedMeasure::Counts(counts) => counts.members(),
        }
    }
}

/// The number of ways to split members into groups of these sizes.
pub fn split_count(first: usize, second: usize) -> u64 {
    let smaller = first.min(second) as u128;
    let members = (first + second) as u128;
    let mut count: u128 = 1;
    for taken in 1..=smaller {
        count = count * (members - smaller + taken) / taken;
        if count > u128::from(u64::MAX) {
            return u64::MAX;
        }
    }
    count as u64
}

/// For each measure the probability that chance makes a measure grow as clearly as this one
/// grew. `first` members are in the first group. The smallest value is one over the number of
/// splits; 1 is the value of a measure that grew by no more than it may.
///
/// The statistic is the growth of the mean in standard deviations of all members. Of counts by key it
/// is that of the sum over the steady keys.
pub fn growth_probabilities(measures: &[GroupedMeasure], first: usize) -> Vec<f64> {
    let Some(members) = measures.first().map(GroupedMeasure::members) else {
        return Vec::new();
    };
    let second = members.saturating_sub(first);
    if first == 0 || second == 0 {
        return vec![1.0; measures.len()];
    }
    let scaled: Vec<PreparedMeasure> = measures.iter().map(PreparedMeasure::of).collect();
    let observed: Vec<usize> = (first..members).collect();
    let statistics: Vec<f64> = scaled.iter().map(|one| one.statistic(&observed)).collect();
    let mut as_large = vec![0_u64; measures.len()];
    let mut splits = 0_u64;
    let mut count = |chosen: &[usize]| {
        splits += 1;
        let largest = scaled.iter().map(|one| one.statistic(chosen)).fold(0.0, f64::max);
        for (hits, statistic) in as_large.iter_mut().zip(&statistics) {
            *hits += u64::from(largest >= statistic * (1.0 - EQUAL_SHARE));
        }
    };
    if split_count(first, second) <= MOST_SPLITS {
        let mut chosen: Vec<usize> = (0..second).collect();
        loop {
            count(&chosen);
            if !advance(&mut chosen, members) {
                break;
            }
        }
    } else {
        // The observed split is one of those that count, so the probability is never 0.
        count(&observed);
        let mut random = Random(SEED);
        let mut order: Vec<usize> = (0..members).collect();
        for _ in 1..MOST_SPLITS {
            random.shuffle(&mut order);
            count(&order[..second]);
        }
    }
    as_large.into_iter().map(|hits| hits as f64 / splits as f64).collect()
}

/// What is the same for all splits.
enum PreparedMeasure<'a> {
    Values(ScaledMeasure<'a>),
    Counts(CentredCounts<'a>),
}

impl PreparedMeasure<'_> {
    fn of(measure: &GroupedMeasure) -> PreparedMeasure<'_> {
        match measure {
            GroupedMeasure::Values(values) => PreparedMeasure::Values(ScaledMeasure::of(values)),
            GroupedMeasure::Counts(counts) => PreparedMeasure::Counts(CentredCounts::of(counts)),
        }
    }

    /// The statistic where `second` are the members of the second group.
    fn statistic(&self, second: &[usize]) -> f64 {
        match self {
            PreparedMeasure::Values(values) => values.statistic(second),
            PreparedMeasure::Counts(counts) => counts.statistic(second),
        }
    }
}

/// A measure, with what is the same for all splits.
struct ScaledMeasure<'a> {
    measure: &'a GroupedValues,
    sum: f64,
    deviation: f64,
}

impl ScaledMeasure<'_> {
    fn of(measure: &GroupedValues) -> ScaledMeasure<'_> {
        let count = measure.values.len() as f64;
        let sum: f64 = measure.values.iter().sum();
        let squares = measure.values.iter().map(|value| (value - sum / count).powi(2));
        ScaledMeasure { measure, sum, deviation: (squares.sum::<f64>() / count).sqrt() }
    }

    /// The statistic where `second` are the members of the second group.
    fn statistic(&self, second: &[usize]) -> f64 {
        let members = self.measure.values.len();
        let sum: f64 = second.iter().filter_map(|&at| self.measure.values.get(at)).sum();
        let mean = sum / second.len() as f64;
        let growth = mean - (self.sum - sum) / (members - second.len()) as f64;
        let counts = growth > self.measure.allowed_growth && self.deviation > 0.0;
        if counts { growth / self.deviation } else { 0.0 }
    }
}

/// The next choice of members in order; false after the last one.
fn advance(chosen: &mut [usize], members: usize) -> bool {
    let size = chosen.len();
    let Some(at) = (0..size).rev().find(|&at| chosen[at] < members - size + at) else {
        return false;
    };
    chosen[at] += 1;
    for next in at + 1..size {
        chosen[next] = chosen[next - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(values: &[f64], allowed_growth: f64) -> GroupedMeasure {
        GroupedValues { values: values.to_vec(), allowed_growth }.into()
    }

    #[test]
    fn splits_are_counted() {
        assert_eq!(split_count(5, 5), 252);
        assert_eq!(split_count(10, 3), 286);
        assert_eq!(split_count(1, 1), 2);
        assert_eq!(split_count(7, 0), 1);
        assert_eq!(split_count(200, 200), u64::MAX);
        let mut chosen = vec![0, 1, 2];
        let mut count = 1;
        while advance(&mut chosen, 6) {
            count += 1;
        }
        assert_eq!((count, chosen), (20, vec![3, 4, 5]));
    }

    #[test]
    fn a_clear_growth_is_the_rarest_split() {
        let clear = measure(&[1.0, 1.1, 1.2, 1.0, 1.1, 2.0, 2.1, 2.2, 2.0, 2.1], 0.1);
        let noise = measure(&[5.0, 7.0, 6.0, 9.0, 1.0, 5.5, 7.5, 2.0, 8.0, 3.0], 0.1);
        let found = growth_probabilities(&[clear, noise], 5);
        assert_eq!(found[0], 1.0 / 252.0);
        assert_eq!(found[1], 1.0, "it grew by less than is allowed");
    }

    /// Without a difference, at most a hundredth of the data sets has a probability of a hundredth.
    #[test]
    fn errors_hold_over_all_measures_together() {
        let mut random = Random(7);
        let mut draw = || (random.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        let trials = 2_000;
        let mut false_alarms = 0;
        for _ in 0..trials {
            // Ten measures: smooth, with outliers, and of two values.
            let mut measures: Vec<GroupedMeasure> = (0..10)
                .map(|kind| {
                    let value = |_| match kind % 3 {
                        0 => draw() + draw() + draw(),
                        1 => draw().powi(-2),
                        _ => f64::from(draw() > 0.5),
                    };
                    measure(&(0..10).map(value).collect::<Vec<_>>(), 0.01)
                })
                .collect();
            // Counts by key: some repeat, some have two values, some vary much.
            let counts = (0..12)
                .map(|key| {
                    let count = |_| match key % 4 {
                        0 => 1_000.0,
                        1 => 100.0 + (draw() * 3.0).floor(),
                        2 => {
                            if draw() > 0.5 {
                                100.0
                            } else {
                                200.0
                            }
                        }
                        _ => (draw().powi(-2)).min(1e6).floor(),
                    };
                    (0..10).map(count).collect()
                })
                .collect();
            measures.push(KeyedCounts { counts, allowed_growth: 20.0 }.into());
            let least = growth_probabilities(&measures, 5).into_iter().fold(1.0, f64::min);
            false_alarms += u32::from(least <= 0.01);
        }
        // 20 are expected at most; 36 have a probability below 1 in 1,000 then.
        assert!(false_alarms <= 36, "{false_alarms} of {trials}");
    }
}
