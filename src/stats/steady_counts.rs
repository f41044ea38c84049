//! Counts by key of the members of two groups, where some keys vary by chance and others repeat.
//!
//! A program that waits in a loop makes more calls on a slower machine. The sum of all its calls then
//! hides a change of a few percent. The keys whose counts repeat within both groups show it. They are
//! chosen anew for each split of the members, without regard to which split was observed. So the
//! permutation test (`stats/splits.rs`) stays exact.

/// The spreads of the steady keys together, as a share of the growth that is allowed.
const STEADY_SHARE: f64 = 0.25;
/// The sum of all keys denies a growth that lies so many standard errors above its own.
const DENIAL_ERRORS: f64 = 3.0;

/// Counts of the members of both groups, those of the first group before those of the second.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedCounts {
    /// For each key a count of each member.
    pub counts: Vec<Vec<f64>>,
    /// A growth of the mean sum from the first group to the second that counts as none. It may
    /// depend on the counts, but not on which group a member is in.
    pub allowed_growth: f64,
}

/// The steady keys of a split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SteadyKeys {
    /// Their indices, those that vary least first.
    pub keys: Vec<usize>,
    /// The growth of the mean sum of their counts.
    pub growth: f64,
    /// Whether the sum of all keys shows that it did not grow.
    pub is_denied: bool,
}

impl KeyedCounts {
    /// The number of members.
    pub fn members(&self) -> usize {
        self.counts.first().map_or(0, Vec::len)
    }

    /// The steady keys where the first `first` members are the first group.
    pub fn steady_keys(&self, first: usize) -> SteadyKeys {
        let second: Vec<usize> = (first..self.members()).collect();
        let centred = CentredCounts::of(self);
        let found = centred.steady(&second);
        let varying = |&at: &usize| centred.varying.get(at).map(|key| key.index);
        let constant = (0..self.counts.len()).filter(|&key| is_constant(&self.counts[key]));
        SteadyKeys {
            keys: constant.chain(found.keys.iter().filter_map(varying)).collect(),
            ..found
        }
    }
}

fn is_constant(counts: &[f64]) -> bool {
    counts.iter().all(|count| Some(count) == counts.first())
}

/// Counts less their mean: what is the same for all splits. A key with one count for all members adds
/// nothing to a growth or a spread.
pub(super) struct CentredCounts<'a> {
    counts: &'a KeyedCounts,
    varying: Vec<CentredKey>,
    /// All keys together.
    all: CentredKey,
}

/// The counts of a key less their mean.
struct CentredKey {
    index: usize,
    deviations: Vec<f64>,
    squares: f64,
}

/// How a key differs between and within the groups of a split.
#[derive(Clone, Copy)]
struct KeySpread {
    growth: f64,
    /// The standard deviation within the groups.
    within: f64,
}

impl CentredKey {
    fn of(index: usize, counts: &[f64]) -> CentredKey {
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let deviations: Vec<f64> = counts.iter().map(|count| count - mean).collect();
        let squares = deviations.iter().map(|deviation| deviation * deviation).sum();
        CentredKey { index, deviations, squares }
    }

    /// The spread where `second` are the members of the second group.
    fn spread(&self, second: &[usize]) -> KeySpread {
        let of_second = second.len() as f64;
        let of_first = self.deviations.len() as f64 - of_second;
        let sum: f64 = second.iter().filter_map(|&at| self.deviations.get(at)).sum();
        // The deviations add up to 0, so the sum of the first group is the negative one.
        let between = sum * sum / of_first + sum * sum / of_second;
        let degrees = (self.deviations.len() as f64 - 2.0).max(1.0);
        KeySpread {
            growth: sum / of_second + sum / of_first,
            within: ((self.squares - between).max(0.0) / degrees).sqrt(),
        }
    }
}

impl CentredCounts<'_> {
    pub(super) fn of(counts: &KeyedCounts) -> CentredCounts<'_> {
        let keys = counts.counts.iter().enumerate();
        let varying = keys.filter(|(_, key)| !is_constant(key));
        let mut sums = vec![0.0; counts.members()];
        for key in &counts.counts {
            for (sum, count) in sums.iter_mut().zip(key) {
                *sum += count;
            }
        }
        CentredCounts {
            counts,
            varying: varying.map(|(index, key)| CentredKey::of(index, key)).collect(),
            all: CentredKey::of(0, &sums),
        }
    }

    /// The growth of the steady keys in standard deviations of all members; 0 for a growth that does
    /// not count.
    pub(super) fn statistic(&self, second: &[usize]) -> f64 {
        let steady = self.steady(second);
        if steady.growth <= self.counts.allowed_growth || steady.is_denied {
            return 0.0;
        }
        let mut sums = vec![0.0; self.counts.members()];
        for &at in &steady.keys {
            for (sum, deviation) in sums.iter_mut().zip(&self.varying[at].deviations) {
                *sum += deviation;
            }
        }
        let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
        let deviation = (squares / sums.len() as f64).sqrt();
        if deviation > 0.0 { steady.growth / deviation } else { 0.0 }
    }

    /// The steady keys, as indices of the varying ones.
    fn steady(&self, second: &[usize]) -> SteadyKeys {
        let members = self.counts.members();
        if second.is_empty() || second.len() >= members {
            return SteadyKeys::default();
        }
        let most = self.counts.allowed_growth * STEADY_SHARE;
        let spreads = self.varying.iter().map(|key| key.spread(second)).enumerate();
        let mut calm: Vec<(usize, KeySpread)> =
            spreads.filter(|(_, spread)| spread.within <= most).collect();
        calm.sort_by(|(_, a), (_, b)| a.within.total_cmp(&b.within));
        let mut found = SteadyKeys::default();
        let mut sum = 0.0;
        for (key, spread) in calm {
            sum += spread.within;
            if sum > most {
                break;
            }
            found.keys.push(key);
            found.growth += spread.growth;
        }
        let all = self.all.spread(second);
        let first = (members - second.len()) as f64;
        let error = all.within * (1.0 / first + 1.0 / second.len() as f64).sqrt();
        found.is_denied = all.growth + DENIAL_ERRORS * error <= self.counts.allowed_growth;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[&[f64]], allowed_growth: f64) -> KeyedCounts {
        KeyedCounts { counts: counts.iter().map(|key| key.to_vec()).collect(), allowed_growth }
    }

    #[test]
    fn keys_that_vary_within_a_group_are_left_out() {
        let noise = [900.0, 1500.0, 1100.0, 700.0, 1300.0, 800.0];
        let grown = [50.0, 51.0, 50.0, 90.0, 91.0, 90.0];
        let found = counts(&[&noise, &[7.0; 6], &grown], 20.0).steady_keys(3);
        assert_eq!((found.keys, found.growth.round(), found.is_denied), (vec![1, 2], 40.0, false));
    }

    #[test]
    fn what_moves_from_key_to_key_is_no_growth() {
        let (before, after) = ([500.0, 500.0, 100.0, 100.0], [0.0, 0.0, 400.0, 400.0]);
        let found = counts(&[&before, &after], 20.0).steady_keys(2);
        assert_eq!((found.keys.len(), found.growth), (2, 0.0));
    }

    #[test]
    fn a_sum_that_fell_denies_a_growth() {
        // The first key varies too much to be steady, and clearly fell by more than the other grew.
        let fell = [1000.0, 1010.0, 990.0, 800.0, 810.0, 790.0];
        let grown = [50.0, 50.0, 50.0, 90.0, 90.0, 90.0];
        let all = counts(&[&fell, &grown], 20.0);
        let found = all.steady_keys(3);
        assert_eq!((found.keys.as_slice(), found.growth, found.is_denied), (&[1][..], 40.0, true));
        assert_eq!(CentredCounts::of(&all).statistic(&[3, 4, 5]), 0.0);
    }
}
