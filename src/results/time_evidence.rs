//! The time passes of one trace as evidence: which of two backends takes longer, and which pairs of
//! backends a run compares.
//!
//! The backends of one repetition were interleaved in time slices, so two are compared within a
//! repetition, segment by segment. Repetitions of runs that were merged are of different batches.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::key::{CellKey, Pass};
use super::manifest::Manifest;
use super::tables::Chunk;
use crate::spec::BackendSpec;
use crate::stats::{
    ComparisonRule, Decision, EQUAL, Estimate, LookPlan, TimeComparison, median, range,
    repetition_ratios,
};

/// The probability that two equal backends are called different, for each comparison. It is half of what is
/// promised, one in a thousand: the repetitions of a run are not quite independent.
const ERROR: f64 = 0.0005;

/// Which pairs of backends a run compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComparedBackends {
    /// Each allocator with the reference, and with the fastest.
    #[default]
    ReferenceAndFastest,
    /// Each variant with its allocator without settings, and each of these with the reference.
    Settings,
}

/// A repetition of the time pass, whose backends were interleaved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeBatch {
    /// The run that it came from: see [`Manifest::runs_of_cells`].
    pub run: usize,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
}

/// The time passes of one backend on one trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackendTimes {
    /// By repetition: nanoseconds of each segment of the trace.
    by_batch: BTreeMap<TimeBatch, Vec<u64>>,
}

impl BackendTimes {
    /// Adds the next segment of a repetition.
    pub fn add(&mut self, batch: TimeBatch, nanoseconds: u64) {
        self.by_batch.entry(batch).or_default().push(nanoseconds);
    }

    /// Whole repetitions are those with so many segments: one that was cut short has fewer.
    fn segments(&self) -> usize {
        self.by_batch.values().map(Vec::len).max().unwrap_or(0)
    }

    /// The median over the repetitions of the time of the whole trace, in ns.
    pub fn median_ns(&self) -> Option<f64> {
        median(&self.totals_ns())
    }

    /// The time of the whole trace in each repetition, in ns.
    fn totals_ns(&self) -> Vec<f64> {
        let segments = self.segments();
        let whole = self.by_batch.values().filter(|times| times.len() == segments);
        whole.map(|times| times.iter().map(|ns| *ns as f64).sum()).collect()
    }

    /// The natural logarithm of the other's time over this one's, for each repetition that both have:
    /// see [`repetition_ratios`].
    fn logs(&self, other: &BackendTimes) -> Vec<f64> {
        let segments = self.segments();
        if segments == 0 || segments != other.segments() {
            return vec![];
        }
        let pairs: Vec<[&[u64]; 2]> = self
            .by_batch
            .iter()
            .filter_map(|(batch, own)| Some([own, other.by_batch.get(batch)?]))
            .filter(|[own, other]| own.len() == segments && other.len() == segments)
            .map(|[own, other]| [own.as_slice(), other.as_slice()])
            .collect();
        repetition_ratios(&pairs).unwrap_or_default()
    }

    /// Compares the time of a candidate with this one's, over the repetitions that both have. `None`
    /// where they have none in common.
    pub fn compare(&self, candidate: &BackendTimes, looks: LookPlan) -> Option<TimeComparison> {
        let found =
            TimeComparison::of(&self.logs(candidate), Estimate::of_influences, &rule(looks))?;
        // Of two whose times overlap, more repetitions may as well show that they are equal.
        let pairs_needed = found.pairs_needed.filter(|_| !self.overlaps(candidate));
        Some(TimeComparison { pairs_needed, ..found })
    }

    /// Whether the ranges of the times of the whole trace overlap.
    fn overlaps(&self, other: &BackendTimes) -> bool {
        let [own, other] = [self.totals_ns(), other.totals_ns()].map(|all| range(&all));
        own.zip(other).is_none_or(|(own, other)| own.0 <= other.1 && other.0 <= own.1)
    }
}

fn rule(looks: LookPlan) -> ComparisonRule {
    // Builds of the same source differ by up to 2 %, by the layout of their code.
    ComparisonRule { error: ERROR, least_change: EQUAL, looks }
}

/// Two backends that were compared.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedPair {
    /// The spec of the backend that the other is compared with.
    pub base: String,
    /// The spec of the other.
    pub candidate: String,
    /// What the repetitions say. `None` where the two have none in common.
    pub comparison: Option<TimeComparison>,
}

impl ComparedPair {
    /// Whether further repetitions may decide it.
    pub fn is_open(&self) -> bool {
        self.comparison.is_some_and(|comparison| comparison.decision == Decision::Open)
    }
}

/// The time passes of one trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeEvidence {
    /// The allocators in the order of the run, with their times.
    backends: Vec<(String, BackendTimes)>,
    looks: LookPlan,
    /// The cells of the time pass that other runs gave, with the number of their run.
    runs: HashMap<CellKey, usize>,
}

impl TimeEvidence {
    /// Nothing yet, of the allocators of a run.
    pub fn new(manifest: &Manifest) -> TimeEvidence {
        let is_allocator =
            |name: &&str| !name.parse().is_ok_and(|spec: BackendSpec| spec.is_floor());
        let names = manifest.backends.iter().map(|entry| entry.name.as_str()).filter(is_allocator);
        let looks = match manifest.time_budget {
            Some(_) => LookPlan::UntilDecided,
            None => LookPlan::Once,
        };
        TimeEvidence {
            backends: names.map(|name| (name.to_owned(), BackendTimes::default())).collect(),
            looks,
            runs: manifest
                .runs_of_cells()
                .into_iter()
                .filter(|(cell, _)| cell.pass == Pass::Time)
                .map(|(cell, run)| (cell.clone(), run))
                .collect(),
        }
    }

    /// Adds a segment of a time pass. Those of a repetition come in their order.
    pub fn add(&mut self, chunk: &Chunk) {
        let batch = TimeBatch { run: self.run_of(chunk), repetition: chunk.repetition };
        if let Some((_, times)) = self.backends.iter_mut().find(|(name, _)| *name == chunk.backend)
        {
            times.add(batch, chunk.nanoseconds);
        }
    }

    /// The run that measured a segment.
    fn run_of(&self, chunk: &Chunk) -> usize {
        if self.runs.is_empty() {
            return 0;
        }
        let Chunk { trace, backend, repetition, .. } = chunk.clone();
        let cell = CellKey { trace, backend, pass: Pass::Time, repetition };
        self.runs.get(&cell).copied().unwrap_or(0)
    }

    /// Has these totals, in ns by repetition, for a backend without segments: an older record.
    pub fn set_totals(&mut self, backend: &str, totals_ns: &[f64]) {
        let own = self.backends.iter_mut().find(|(name, _)| name == backend);
        if let Some((_, times)) = own.filter(|(_, times)| times.by_batch.is_empty()) {
            for (repetition, ns) in (0..).zip(totals_ns) {
                times.add(TimeBatch { run: 0, repetition }, *ns as u64);
            }
        }
    }

    /// How often the comparisons are looked at.
    pub fn looks(&self) -> LookPlan {
        self.looks
    }

    /// The times of a backend.
    pub fn times(&self, backend: &str) -> Option<&BackendTimes> {
        self.backends.iter().find(|(name, _)| name == backend).map(|(_, times)| times)
    }

    /// Compares a candidate with a base. `None` where they have no repetition in common.
    pub fn compare(&self, base: &str, candidate: &str) -> Option<TimeComparison> {
        self.times(base)?.compare(self.times(candidate)?, self.looks)
    }

    /// The allocator that others are compared with: `malloc`, else the first.
    pub fn reference(&self) -> Option<&str> {
        reference(self.backends.iter().map(|(name, _)| name.as_str()))
    }

    /// The allocator with the smallest median.
    pub fn fastest(&self) -> Option<&str> {
        let timed =
            self.backends.iter().filter_map(|(name, times)| Some((name, times.median_ns()?)));
        timed.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name.as_str())
    }

    /// The pairs that a run of this kind compares, each once.
    pub fn pairs(&self, compared: ComparedBackends) -> Vec<ComparedPair> {
        let bases: Vec<&str> = match compared {
            ComparedBackends::ReferenceAndFastest => {
                self.reference().into_iter().chain(self.fastest()).collect()
            }
            ComparedBackends::Settings => self.reference().into_iter().collect(),
        };
        let mut seen: BTreeSet<[&str; 2]> = BTreeSet::new();
        let mut pairs = Vec::new();
        let mut add = |base, candidate| {
            let mut both: [&str; 2] = [base, candidate];
            both.sort_unstable();
            if base != candidate && seen.insert(both) {
                pairs.push(ComparedPair {
                    base: base.to_owned(),
                    candidate: candidate.to_owned(),
                    comparison: self.compare(base, candidate),
                });
            }
        };
        let is_variant = |name: &str| {
            let plain = without_settings(name);
            compared == ComparedBackends::Settings && plain != name && self.times(&plain).is_some()
        };
        let names = || self.backends.iter().map(|(name, _)| name.as_str());
        for base in bases {
            names().filter(|name| !is_variant(name)).for_each(|name| add(base, name));
        }
        for name in names().filter(|name| is_variant(name)) {
            let plain = without_settings(name);
            names().filter(|base| *base == plain).for_each(|base| add(base, name));
        }
        pairs
    }
}

/// Of backends in the order of a run, the allocator that others are compared with: `malloc`, else
/// the first.
pub fn reference<'a>(mut allocators: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = allocators.next()?;
    Some(std::iter::once(first).chain(allocators).find(|name| *name == "malloc").unwrap_or(first))
}

fn without_settings(name: &str) -> String {
    let spec = name.parse::<BackendSpec>();
    spec.map_or_else(|_| name.to_owned(), |spec| spec.without_settings().into())
}

/// Compares two backends over several traces, by the geometric mean of the ratios: `pairs` has base
/// and candidate on each trace. `None` where a trace has too few repetitions in common.
pub fn compare_over_traces(
    pairs: &[[&BackendTimes; 2]],
    looks: LookPlan,
) -> Option<TimeComparison> {
    let logs: Vec<Vec<f64>> = pairs.iter().map(|[base, own]| base.logs(own)).collect();
    let estimates =
        logs.iter().map(|logs| Estimate::of_influences(logs)).collect::<Option<Vec<_>>>()?;
    let fewest = logs.iter().map(Vec::len).min()?;
    Some(TimeComparison::of_estimate(&Estimate::mean_of(&estimates)?, fewest, &rule(looks)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{BackendEntry, Machine, MergedRun, TimeBudget};
    use crate::stats::Random;

    fn evidence(names: &[&str], is_adaptive: bool) -> TimeEvidence {
        let entry = |name: &&str| BackendEntry { name: (*name).to_owned(), version: String::new() };
        let compared = ComparedBackends::default();
        TimeEvidence::new(&Manifest {
            backends: names.iter().map(entry).collect(),
            time_budget: is_adaptive.then_some(TimeBudget { seconds: 60.0, compared }),
            ..Manifest::default()
        })
    }

    fn chunk(backend: &str, repetition: u32, chunk: u32, nanoseconds: u64) -> Chunk {
        let (trace, backend) = ("t".to_owned(), backend.to_owned());
        Chunk { trace, backend, repetition, chunk, calls: 10, nanoseconds }
    }

    fn names(pairs: &[ComparedPair]) -> Vec<(&str, &str)> {
        pairs.iter().map(|pair| (pair.base.as_str(), pair.candidate.as_str())).collect()
    }

    #[test]
    fn each_allocator_is_compared_with_the_reference_and_the_fastest() {
        let mut evidence = evidence(&["pymalloc", "malloc", "bump", "null"], true);
        for (backend, ns) in [("pymalloc", 500), ("malloc", 1000), ("bump", 200), ("null", 10)] {
            for repetition in 0..6 {
                evidence.add(&chunk(backend, repetition, 0, ns + u64::from(repetition)));
            }
        }
        let pairs = evidence.pairs(ComparedBackends::ReferenceAndFastest);
        assert_eq!(
            names(&pairs),
            [("malloc", "pymalloc"), ("malloc", "bump"), ("bump", "pymalloc")]
        );
        let found: Vec<Decision> =
            pairs.iter().map(|pair| pair.comparison.unwrap().decision).collect();
        assert_eq!(found, [Decision::Faster, Decision::Faster, Decision::Slower]);
    }

    #[test]
    fn a_sweep_compares_variants_with_their_allocator() {
        let evidence =
            evidence(&["pymalloc", "malloc", "jemalloc", "jemalloc:narenas=1", "null"], true);
        assert_eq!(
            names(&evidence.pairs(ComparedBackends::Settings)),
            [("malloc", "pymalloc"), ("malloc", "jemalloc"), ("jemalloc", "jemalloc:narenas=1")]
        );
    }

    #[test]
    fn a_repetition_that_was_cut_short_is_left_out() {
        let mut evidence = evidence(&["malloc", "bump"], false);
        for repetition in 0..4 {
            for at in 0..2 {
                evidence.add(&chunk("malloc", repetition, at, 1000));
                if (repetition, at) != (3, 1) {
                    evidence.add(&chunk("bump", repetition, at, 500));
                }
            }
        }
        let comparison = evidence.compare("malloc", "bump").unwrap();
        assert_eq!((comparison.pairs, comparison.decision), (3, Decision::Faster));
        assert!((comparison.change + 0.5).abs() < 1e-9);
    }

    #[test]
    fn repetitions_of_merged_runs_are_no_batch() {
        let cell = |backend: &str| CellKey {
            trace: "t".into(),
            backend: backend.into(),
            pass: Pass::Time,
            repetition: 0,
        };
        let entry = |name: &str| BackendEntry { name: name.to_owned(), version: String::new() };
        let compare = |cells: Vec<CellKey>| {
            let mut evidence = TimeEvidence::new(&Manifest {
                backends: vec![entry("malloc"), entry("bump")],
                merged: vec![MergedRun { machine: Machine::default(), cells }],
                ..Manifest::default()
            });
            for at in 0..40 {
                evidence.add(&chunk("malloc", 0, at, 1000));
                evidence.add(&chunk("bump", 0, at, 500));
            }
            evidence.compare("malloc", "bump").map(|comparison| comparison.pairs)
        };
        assert_eq!(compare(vec![cell("bump")]), None);
        assert!(compare(vec![cell("bump"), cell("malloc")]).is_some());
    }

    /// Times of a backend on a busy machine: of 37 segments 5 have half of the time, and they vary by
    /// a tenth; one segment in ten is disturbed.
    fn busy(random: &mut Random, factor: f64, repetitions: u32) -> BackendTimes {
        let mut times = BackendTimes::default();
        for repetition in 0..repetitions {
            let whole = 1.0 + 0.1 * random.share();
            for segment in 0..37 {
                let (size, spread) = if segment % 8 == 1 { (64e5, 0.2) } else { (1e6, 0.04) };
                let bell = (0..12).map(|_| random.share()).sum::<f64>() - 6.0;
                let hit = if random.share() < 0.1 { 1.0 + random.share() } else { 1.0 };
                let ns = size * factor * whole * (spread / 2.0 * bell).exp() * hit;
                times.add(TimeBatch { run: 0, repetition }, ns as u64);
            }
        }
        times
    }

    /// The first decision, as a run looks: 22 repetitions at most.
    fn decide(random: &mut Random, change: f64) -> Decision {
        for repetitions in [6, 10, 15, 22] {
            // Fresh repetitions at each look err at least as often as those of a run, which it retains.
            let (base, own) =
                (busy(random, 1.0, repetitions), busy(random, 1.0 + change, repetitions));
            let found = base.compare(&own, LookPlan::UntilDecided).unwrap().decision;
            if found != Decision::Open {
                return found;
            }
        }
        Decision::Open
    }

    #[test]
    fn segments_that_vary_do_not_pass_for_a_difference() {
        let mut random = Random(5);
        let wrong = (0..1000)
            .filter(|_| matches!(decide(&mut random, 0.0), Decision::Slower | Decision::Faster));
        let wrong = wrong.count();
        // 1 in 1,000 is allowed; with medians that the repetitions share it was 15.
        assert!(wrong <= 4, "{wrong} of 1000");
        let found = (0..100).filter(|_| decide(&mut random, 0.3) == Decision::Slower).count();
        assert!(found >= 95, "{found} of 100");
    }

    /// Three fixed repetitions whose ranges do not overlap need more; where they do, nothing is known.
    #[test]
    fn too_few_repetitions_are_those_of_ranges_that_do_not_overlap() {
        let times = |all: [u64; 3]| {
            let mut times = BackendTimes::default();
            for (repetition, ns) in (0..).zip(all) {
                times.add(TimeBatch { run: 0, repetition }, ns);
            }
            times
        };
        let base = times([1000, 1100, 1050]);
        let needed = |all| {
            let found = base.compare(&times(all), LookPlan::Once).unwrap();
            assert_eq!(found.decision, Decision::Open, "{found:?}");
            found.pairs_needed
        };
        assert!(needed([1500, 1900, 1700]).is_some_and(|needed| (4..=8).contains(&needed)));
        assert_eq!(needed([1040, 1150, 1085]), None);
        let adaptive = base.compare(&times([1500, 1900, 1700]), LookPlan::UntilDecided).unwrap();
        assert_eq!(adaptive.pairs_needed, None);
    }

    #[test]
    fn traces_are_compared_by_their_geometric_mean() {
        let times = |ns: u64| {
            let mut times = BackendTimes::default();
            for repetition in 0..6 {
                times.add(TimeBatch { run: 0, repetition }, ns + u64::from(repetition % 2));
            }
            times
        };
        let (base, double, half) = (times(100_000), times(200_000), times(50_000));
        let once = LookPlan::Once;
        let level = compare_over_traces(&[[&base, &double], [&base, &half]], once).unwrap();
        assert_eq!(level.decision, Decision::Equal);
        let slower = compare_over_traces(&[[&base, &double], [&base, &base]], once).unwrap();
        assert!((slower.change - (2f64.sqrt() - 1.0)).abs() < 1e-4, "{slower:?}");
        assert_eq!(slower.decision, Decision::Slower);
    }
}
