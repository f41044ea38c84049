//! Requests and their bytes by size class, by thread and by line, of which those count that repeat.
//!
//! The calls of a program that waits in a loop follow the wall time. Their sum then hides a small
//! change, and most size classes, threads and lines repeat nevertheless. What repeats within both
//! sides is added (`stats/steady_counts.rs`), and the sum is judged with all other measures.

use std::collections::BTreeMap;

use super::finding::{Finding, RecordedFigures, Verdict};
use super::measures::{
    Measure, STEADY_LINE_BYTES, STEADY_LINES, STEADY_SIZE_BYTES, STEADY_SIZES, STEADY_THREAD_BYTES,
    STEADY_THREADS,
};
use super::policy::Policy;
use super::recording::{KeyedRequests, RequestCounts};
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

/// The counts by one kind of key.
type CountsOf = fn(&KeyedRequests) -> &Counts;

/// What is added of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SteadyUnit {
    /// Their number.
    Requests,
    /// Their bytes.
    Bytes,
}

impl SteadyUnit {
    fn of(self, member: &RequestCounts) -> &KeyedRequests {
        match self {
            SteadyUnit::Requests => &member.requests,
            SteadyUnit::Bytes => &member.bytes,
        }
    }
}

/// Requests, or their bytes, by one kind of key.
pub(super) struct SteadyRequests {
    unit: SteadyUnit,
    measure: Measure,
    /// The noun for several keys.
    noun: &'static str,
    /// Names of the keys, in the order of the counts.
    names: Vec<String>,
    counts: KeyedCounts,
    /// Recordings of the baseline.
    first: usize,
}

/// What one measure adds, and by which keys.
struct SteadyKind {
    unit: SteadyUnit,
    measure: Measure,
    noun: &'static str,
}

/// How much of all requests is judged by what repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct JudgedShare {
    pub(super) unit: SteadyUnit,
    /// The noun for the keys.
    pub(super) noun: &'static str,
    /// From 0 to 1.
    pub(super) share: f64,
}

impl SteadyRequests {
    /// The requests of both sides by each kind of key that all recordings have.
    pub(super) fn all(sides: [&[&RequestCounts]; 2], policy: &Policy) -> Vec<SteadyRequests> {
        let all: Vec<&RequestCounts> = sides.concat();
        let units = [
            (SteadyUnit::Requests, [STEADY_SIZES, STEADY_THREADS, STEADY_LINES]),
            (SteadyUnit::Bytes, [STEADY_SIZE_BYTES, STEADY_THREAD_BYTES, STEADY_LINE_BYTES]),
        ];
        let kinds: [(&str, CountsOf); 3] = [
            ("size classes", |requests| &requests.by_size),
            ("threads", |requests| &requests.by_thread),
            ("lines", |requests| &requests.by_line),
        ];
        let mut found = Vec::new();
        for (unit, measures) in units {
            for (measure, (noun, counts)) in measures.into_iter().zip(kinds) {
                let members: Vec<&Counts> =
                    all.iter().map(|&member| counts(unit.of(member))).collect();
                let kind = SteadyKind { unit, measure, noun };
                found.extend(SteadyRequests::of(kind, &members, sides[0].len(), policy));
            }
        }
        found
    }

    /// The requests by one kind of key; `None` where there are not two keys, or a recording has none.
    fn of(
        kind: SteadyKind,
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
        let SteadyKind { unit, measure, noun } = kind;
        let share = policy.recording_tolerance().max(policy.margin(measure.name).fail);
        let allowed_growth = share * median(&sums).unwrap_or(0.0);
        let counts = KeyedCounts { counts, allowed_growth };
        Some(SteadyRequests { unit, measure, noun, names, counts, first })
    }

    /// The share of all requests, or bytes, that repeats and did not grow, with the unit; `None` where
    /// nothing is decided. `probability` is that of the permutation test.
    pub(super) fn judged_share(&self, probability: f64, error: f64) -> Option<JudgedShare> {
        let steady = self.counts.steady_keys(self.first);
        let (verdict, _) = self.verdict(&steady, probability, error);
        let sum = |keys: &mut dyn Iterator<Item = &Vec<f64>>| keys.flatten().sum::<f64>();
        let of_steady = sum(&mut steady.keys.iter().filter_map(|&key| self.counts.counts.get(key)));
        let share = of_steady / sum(&mut self.counts.counts.iter()).max(1.0);
        let is_judged = matches!(verdict, Verdict::Pass | Verdict::Better);
        is_judged.then_some(JudgedShare { unit: self.unit, noun: self.noun, share })
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
