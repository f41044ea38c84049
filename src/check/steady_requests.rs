//! Requests by size class, by thread and by line, of which those count that repeat.
//!
//! The calls of a program that waits in a loop follow the wall time. Their sum then hides a small
//! change, and most size classes, threads and lines repeat nevertheless. What repeats within both
//! sides is added (`stats/steady_counts.rs`), and the sum is judged with all other measures.

use std::collections::BTreeMap;

use super::finding::{Finding, RecordedFigures, Verdict};
use super::measures::{Measure, STEADY_LINES, STEADY_SIZES, STEADY_THREADS};
use super::policy::Policy;
use super::recording::RequestCounts;
use crate::results::CellLabel;
use crate::stats::{KeyedCounts, SteadyKeys, mean, median};

/// Keys with counts of their own: those with most requests. The rest is one key.
const MOST_KEYS: usize = 100;
/// Keys that a reason names.
const MOST_NAMED: usize = 3;
/// Characters of a name in a reason.
const MOST_NAME_CHARS: usize = 80;
/// A reason names the keys that have this share of the growth.
const NAMED_SHARE: f64 = 0.1;

/// Requests by the name of a key.
type Counts = BTreeMap<String, u64>;

/// Requests by one kind of key.
pub(super) struct SteadyRequests {
    measure: Measure,
    /// The noun for several keys.
    noun: &'static str,
    /// Names of the keys, in the order of the counts.
    names: Vec<String>,
    counts: KeyedCounts,
    /// Recordings of the baseline.
    first: usize,
}

impl SteadyRequests {
    /// The requests of both sides by each kind of key that all recordings have.
    pub(super) fn all(sides: [&[&RequestCounts]; 2], policy: &Policy) -> Vec<SteadyRequests> {
        let all: Vec<&RequestCounts> = sides.concat();
        let sizes = all.iter().map(|counts| &counts.by_size).collect();
        let threads = all.iter().map(|counts| &counts.by_thread).collect();
        let lines = all.iter().map(|counts| &counts.by_line).collect();
        let kinds: [(Measure, &str, Vec<&Counts>); 3] = [
            (STEADY_SIZES, "size classes", sizes),
            (STEADY_THREADS, "threads", threads),
            (STEADY_LINES, "lines", lines),
        ];
        kinds
            .into_iter()
            .filter_map(|(measure, noun, members)| {
                SteadyRequests::of(measure, noun, &members, sides[0].len(), policy)
            })
            .collect()
    }

    /// The requests by one kind of key; `None` where there are not two keys, or a recording has none.
    fn of(
        measure: Measure,
        noun: &'static str,
        members: &[&Counts],
        first: usize,
        policy: &Policy,
    ) -> Option<SteadyRequests> {
        if members.iter().any(|member| member.is_empty()) {
            return None;
        }
        let (names, counts) = by_key(members);
        if names.len() < 2 {
            return None;
        }
        let sums: Vec<f64> =
            members.iter().map(|member| member.values().sum::<u64>() as f64).collect();
        let share = policy.recording_tolerance().max(policy.margin(measure.name).fail);
        let allowed_growth = share * median(&sums).unwrap_or(0.0);
        let counts = KeyedCounts { counts, allowed_growth };
        Some(SteadyRequests { measure, noun, names, counts, first })
    }

    pub(super) fn counts(&self) -> &KeyedCounts {
        &self.counts
    }

    /// The finding, with the probability of the permutation test.
    pub(super) fn finding(&self, cell: CellLabel<'_>, probability: f64, error: f64) -> Finding {
        let steady = self.counts.steady_keys(self.first);
        let sum_of = |member: usize| steady.keys.iter().map(|&key| self.count(key, member)).sum();
        let sums: Vec<f64> = (0..self.counts.members()).map(sum_of).collect();
        let (before, after) = sums.split_at(self.first);
        let [mean_before, mean_after] = [before, after].map(|side| mean(side).unwrap_or(0.0));
        let (verdict, why) = self.verdict(&steady, probability, error);
        Finding {
            unit: self.measure.unit,
            baseline: Some(mean_before.round()),
            candidate: Some(mean_after.round()),
            margin: if mean_before > 0.0 { self.counts.allowed_growth / mean_before } else { 0.0 },
            recordings: Some(RecordedFigures {
                baseline: before.to_vec(),
                candidate: after.to_vec(),
                allowed_growth: self.counts.allowed_growth,
                probability: Some(probability),
            }),
            ..Finding::bare(cell.trace, "", self.measure.name, verdict, why)
        }
    }

    fn verdict(&self, steady: &SteadyKeys, probability: f64, error: f64) -> (Verdict, String) {
        let (allowed, noun) = (self.counts.allowed_growth, self.noun);
        let known = format!("{} of {} {noun} repeat", steady.keys.len(), self.names.len());
        if steady.keys.is_empty() {
            return (Verdict::Skipped, known);
        }
        if steady.growth < -allowed {
            return (Verdict::Better, known);
        }
        if steady.growth <= allowed {
            return (Verdict::Pass, known);
        }
        let grown = self.grown(steady);
        if steady.is_denied {
            let why = format!("{grown}; {known}; the other {noun} make up for it");
            return (Verdict::Pass, why);
        }
        let is_clear = probability <= error;
        let verdict = if is_clear { Verdict::Fail } else { Verdict::Inconclusive };
        let more = if is_clear { "" } else { "; more recordings may decide" };
        let why =
            format!("{grown}; {known}; chance gives this with probability {probability:.4}{more}");
        (verdict, why)
    }

    /// The steady keys that grew most, with their means on both sides.
    fn grown(&self, steady: &SteadyKeys) -> String {
        let means = |key: usize| {
            let (before, after) = self.counts.counts[key].split_at(self.first);
            [before, after].map(|side| mean(side).unwrap_or(0.0))
        };
        let mut grown: Vec<(f64, usize)> = steady
            .keys
            .iter()
            .map(|&key| {
                let [before, after] = means(key);
                (after - before, key)
            })
            .filter(|(growth, _)| *growth >= NAMED_SHARE * steady.growth)
            .collect();
        grown.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let named = grown.iter().take(MOST_NAMED).map(|&(_, key)| {
            let [before, after] = means(key);
            let name = self.names.get(key).map_or(String::new(), |name| shortened(name));
            format!("{name} from {before:.0} to {after:.0}")
        });
        let mut named: Vec<String> = named.collect();
        if named.is_empty() {
            named.push("each by little".to_owned());
        }
        named.join(", ")
    }

    fn count(&self, key: usize, member: usize) -> f64 {
        self.counts.counts.get(key).and_then(|counts| counts.get(member)).copied().unwrap_or(0.0)
    }
}

/// The names of all keys, and of each the count of every member. Which keys have counts of
/// their own does not depend on the sides.
fn by_key(members: &[&Counts]) -> (Vec<String>, Vec<Vec<f64>>) {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in members.iter().flat_map(|member| member.iter()) {
        *sums.entry(name).or_default() += count;
    }
    let mut names: Vec<&str> = sums.keys().copied().collect();
    names.sort_by_key(|name| std::cmp::Reverse(sums.get(name)));
    let rest = names.split_off(names.len().min(MOST_KEYS));
    let count = |member: &Counts, name: &str| member.get(name).copied().unwrap_or(0) as f64;
    let mut counts: Vec<Vec<f64>> = names
        .iter()
        .map(|name| members.iter().map(|member| count(member, name)).collect())
        .collect();
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    if !rest.is_empty() {
        names.push(format!("{} others", rest.len()));
        let sum = |member: &&Counts| rest.iter().map(|name| count(member, name)).sum::<f64>();
        counts.push(members.iter().map(sum).collect());
    }
    (names, counts)
}

/// The end of a long name: that of a path says most.
fn shortened(name: &str) -> String {
    match name.chars().count().checked_sub(MOST_NAME_CHARS) {
        None | Some(0) => name.to_owned(),
        Some(more) => format!("…{}", name.chars().skip(more).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_keys_are_one() {
        let member: BTreeMap<String, u64> = (0..130).map(|n| (format!("l:{n}"), n)).collect();
        let (names, counts) = by_key(&[&member, &member]);
        assert_eq!((names.len(), counts.len()), (101, 101));
        assert_eq!((names[0].as_str(), names[100].as_str()), ("l:129", "30 others"));
        // 0 + 1 + … + 29.
        assert_eq!(counts[100], [435.0, 435.0]);
        assert_eq!(counts.iter().map(|key| key[0]).sum::<f64>(), 8385.0);
    }
}
