//! Judges recordings of one program by recordings of another state of it.
//!
//! Recordings of an unchanged program differ: by hash seeds, addresses and the order of its threads.
//! Several recordings a side show how much. The verdict then comes from all splits of the recordings
//! into two sides (`stats/splits.rs`). One recording a side shows nothing about it. Then only a
//! program of one thread can fail.
//!
//! A growth counts from a share of the live peak on, so a small figure that doubles is no regression.

use super::finding::{Finding, RecordedFigures, Verdict};
use super::measures::CALLS_MEASURE;
use super::policy::Policy;
use super::recording::RequestCounts;
use super::steady_requests::{JudgedShare, SteadyRequests, SteadyUnit};
use crate::results::{CellLabel, Exactness, Metric, Pass, Run, Scope};
use crate::stats::{
    GroupedMeasure, GroupedValues, growth_probabilities, mean, median, split_count,
};
use crate::units::with_commas;

/// The probability that an unchanged program fails, over all measures of a trace on a backend.
pub const RECORDING_ERROR: f64 = 0.01;
/// Recordings of each side that can show a difference at [`RECORDING_ERROR`].
pub const ENOUGH_RECORDINGS: usize = 5;
/// Between single recordings, memory by addresses fails from so many times the tolerance on.
const FEW_RECORDINGS_FACTOR: f64 = 3.0;

/// A sum that varies so much that it would take so many times the recordings is not judged, where what
/// repeats is.
const MOST_TIMES_RECORDINGS: f64 = 10.0;
/// A growth is clear from so many standard errors on, for the number of recordings that a sum takes.
const CLEAR_ERRORS: f64 = 3.0;
/// A growth of so many standard errors is no more than chance makes of an unchanged program.
const CHANCE_ERRORS: f64 = 2.0;
/// What repeats stands for a sum from this share of all requests, or bytes, on.
const LEAST_JUDGED_SHARE: f64 = 0.5;

/// What the program requests: a figure may fail.
const DEMAND: [Metric; 4] =
    [Metric::RequestedBytes, Metric::LivePeakBytes, Metric::LiveEndBytes, Metric::LiveMeanBytes];
/// What it holds by the allocator's placement: a figure may fail. The parts of these sums (free
/// blocks, headers) grow when a program frees more, so they are reported only.
const MEMORY: [Metric; 12] = [
    Metric::UsableAtLivePeakBytes,
    Metric::PagesInUseAtLivePeakBytes,
    Metric::PagesInUsePeakBytes,
    Metric::PagesInUseEndBytes,
    Metric::ResidentAtLivePeakBytes,
    Metric::ResidentPeakBytes,
    Metric::ResidentMeanBytes,
    Metric::ResidentEndBytes,
    Metric::ResidentTrimmedBytes,
    Metric::ResidentFlushedBytes,
    Metric::ArenasPeak,
    Metric::ArenasEnd,
];
/// Means over the allocation clock. A program that makes less garbage has a shorter clock, and so a
/// larger mean. Between recordings the sum over the clock is divided by one clock for both sides.
const MEANS: [Metric; 2] = [Metric::LiveMeanBytes, Metric::ResidentMeanBytes];

/// What may be done with a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It may fail, and follows from the requests.
    Demand,
    /// It may fail, and depends on addresses.
    Memory,
    /// A part of other measures: it never fails.
    Reported,
}

/// A measure with its values on both sides.
struct RecordedMeasure {
    name: String,
    unit: &'static str,
    role: Role,
    baseline: Vec<f64>,
    candidate: Vec<f64>,
    /// The growth of the mean that is allowed, in the measure's own unit.
    allowed: f64,
}

/// Judges all measures of a trace on a backend. Metrics that depend on placement are skipped for the
/// reason `incomparable`. `requests` are those of each recording, or none.
pub(super) fn judge_recordings(
    cell: CellLabel<'_>,
    [baseline, candidate]: [&[&Run]; 2],
    requests: [&[&RequestCounts]; 2],
    incomparable: Option<&str>,
    policy: &Policy,
) -> Vec<Finding> {
    let sides = RecordingSides { cell, baseline, candidate, policy };
    let measures = sides.measures();
    let may_fail = |measure: &RecordedMeasure| match measure.role {
        Role::Demand => true,
        Role::Memory => incomparable.is_none(),
        Role::Reported => false,
    };
    let is_whole = |measure: &RecordedMeasure| {
        (measure.baseline.len(), measure.candidate.len()) == (baseline.len(), candidate.len())
    };
    let is_decisive = 1.0 / split_count(baseline.len(), candidate.len()) as f64 <= RECORDING_ERROR;
    let is_counted = is_decisive && requests.map(<[_]>::len) == [baseline.len(), candidate.len()];
    let steady = if is_counted { SteadyRequests::all(requests, policy) } else { Vec::new() };
    let figures = measures
        .iter()
        .filter(|measure| is_decisive && may_fail(measure) && is_whole(measure))
        .map(|measure| GroupedValues {
            values: [measure.baseline.as_slice(), &measure.candidate].concat(),
            allowed_growth: measure.allowed,
        });
    let counts = steady.iter().map(|requests| requests.counts().clone());
    let family: Vec<GroupedMeasure> =
        counts.map(GroupedMeasure::from).chain(figures.map(GroupedMeasure::from)).collect();
    let mut probabilities = growth_probabilities(&family, baseline.len()).into_iter();
    let of_steady: Vec<(&SteadyRequests, f64)> =
        steady.iter().zip(probabilities.by_ref()).collect();
    let judged: Vec<JudgedShare> = of_steady
        .iter()
        .filter_map(|(requests, probability)| requests.judged_share(*probability, RECORDING_ERROR))
        .collect();
    let mut findings: Vec<Finding> = of_steady
        .iter()
        .map(|(requests, probability)| requests.finding(cell, *probability, RECORDING_ERROR))
        .collect();
    findings.extend(measures.iter().map(|measure| {
        let is_counted = is_decisive && may_fail(measure) && is_whole(measure);
        let probability = if is_counted { probabilities.next() } else { None };
        match incomparable {
            Some(reason) if measure.role != Role::Demand => {
                let mut finding = sides.finding(measure, None, &judged);
                finding.verdict = Verdict::Skipped;
                finding.why = format!("not comparable: {reason}");
                finding
            }
            _ if !is_whole(measure) && measure.role != Role::Reported => Finding::bare(
                cell.trace,
                cell.backend,
                &measure.name,
                Verdict::Missing,
                "not every recording has it",
            ),
            _ => sides.finding(measure, probability, &judged),
        }
    }));
    findings
}

/// The recordings of both sides on one backend.
struct RecordingSides<'a> {
    cell: CellLabel<'a>,
    baseline: &'a [&'a Run],
    candidate: &'a [&'a Run],
    policy: &'a Policy,
}

impl RecordingSides<'_> {
    fn measures(&self) -> Vec<RecordedMeasure> {
        let live_peak =
            self.pooled_median(|run| self.figure(run, Scope::All, Metric::LivePeakBytes));
        let clock = self.pooled_median(|run| self.figure(run, Scope::All, Metric::RequestedBytes));
        let calls = self.pooled_median(|run| self.calls(run));
        let mut all =
            vec![self.measure(CALLS_MEASURE.name, CALLS_MEASURE.unit, Role::Demand, 0.0, |run| {
                self.calls(run)
            })];
        for (metric, role) in DEMAND
            .map(|metric| (metric, Role::Demand))
            .into_iter()
            .chain(MEMORY.map(|metric| (metric, Role::Memory)))
        {
            let floor = if metric.unit() == "bytes" { live_peak } else { 0.0 };
            all.push(self.measure(metric.name(), metric.unit(), role, floor, |run| {
                let value = self.figure(run, Scope::All, metric)?;
                if !MEANS.contains(&metric) {
                    return Some(value);
                }
                let own_clock = self.figure(run, Scope::All, Metric::RequestedBytes)?;
                Some(if clock > 0.0 { value * own_clock / clock } else { value })
            }));
        }
        for op in self.ops() {
            let name = format!("{} of {op}", Metric::Calls);
            let unit = Metric::Calls.unit();
            all.push(self.measure(&name, unit, Role::Reported, calls, |run| {
                Some(self.figure(run, op, Metric::Calls).unwrap_or(0.0))
            }));
        }
        for &metric in Metric::ALL {
            let is_part = matches!(metric.exactness(), Exactness::Policy | Exactness::Machine)
                && !MEMORY.contains(&metric);
            if is_part {
                let floor = if metric.unit() == "bytes" { live_peak } else { 0.0 };
                all.push(self.measure(
                    metric.name(),
                    metric.unit(),
                    Role::Reported,
                    floor,
                    |run| self.figure(run, Scope::All, metric),
                ));
            }
        }
        all.retain(|measure| !(measure.baseline.is_empty() && measure.candidate.is_empty()));
        all
    }

    /// A measure whose tolerance is a share of its own size, or of `floor` where that is larger.
    fn measure(
        &self,
        name: &str,
        unit: &'static str,
        role: Role,
        floor: f64,
        value: impl Fn(&Run) -> Option<f64>,
    ) -> RecordedMeasure {
        let own = self.pooled_median(&value);
        let share = self.policy.recording_tolerance();
        let mut allowed = (share * own.max(floor)).max(self.policy.margin(name).fail * own);
        if unit == Metric::ArenasEnd.unit() {
            // One arena more or less may follow from one page.
            allowed = allowed.max(1.0);
        }
        let values = |runs: &[&Run]| runs.iter().filter_map(|run| value(run)).collect();
        RecordedMeasure {
            name: name.to_owned(),
            unit,
            role,
            baseline: values(self.baseline),
            candidate: values(self.candidate),
            allowed,
        }
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.baseline.iter().chain(self.candidate).copied()
    }

    /// The median over the recordings of both sides, so that it does not depend on the sides.
    fn pooled_median(&self, value: impl Fn(&Run) -> Option<f64>) -> f64 {
        median(&self.runs().filter_map(value).collect::<Vec<_>>()).unwrap_or(0.0)
    }

    /// A figure of the footprint pass.
    fn figure(&self, run: &Run, op: Scope, metric: Metric) -> Option<f64> {
        let row = run.measurements.iter().find(|row| {
            row.pass == Pass::Footprint
                && row.metric == metric
                && row.op == op
                && row.trace == self.cell.trace
                && row.backend == self.cell.backend
        });
        row.map(|row| row.value)
    }

    /// The kinds of calls that some recording has.
    fn ops(&self) -> Vec<Scope> {
        let mut ops: Vec<Scope> = Vec::new();
        for row in self.runs().flat_map(|run| &run.measurements) {
            if row.metric == Metric::Calls && row.op != Scope::All && !ops.contains(&row.op) {
                ops.push(row.op);
            }
        }
        ops
    }

    /// All calls of a recording.
    fn calls(&self, run: &Run) -> Option<f64> {
        let rows = run.measurements.iter().filter(|row| {
            row.pass == Pass::Footprint
                && row.metric == Metric::Calls
                && row.trace == self.cell.trace
                && row.backend == self.cell.backend
        });
        let values: Vec<f64> = rows.map(|row| row.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Threads of the recording that has most.
    fn threads(&self) -> u32 {
        let traces = self.runs().flat_map(|run| &run.manifest.traces);
        let of_trace = traces.filter(|trace| trace.name == self.cell.trace);
        of_trace.map(|trace| trace.thread_count).max().unwrap_or(1)
    }

    fn finding(
        &self,
        measure: &RecordedMeasure,
        probability: Option<f64>,
        judged: &[JudgedShare],
    ) -> Finding {
        let (before, after) = (mean(&measure.baseline), mean(&measure.candidate));
        let (verdict, why) = match (before, after) {
            (Some(before), Some(after)) => {
                let growth = after - before;
                let found = self.verdict(measure, growth, probability);
                match judged_instead(measure, growth, judged) {
                    Some(why) if found.0 == Verdict::Inconclusive => (Verdict::Skipped, why),
                    _ => found,
                }
            }
            _ => (Verdict::Skipped, "one side does not have it".to_owned()),
        };
        let has_several = measure.baseline.len() + measure.candidate.len() > 2;
        Finding {
            unit: measure.unit,
            baseline: before.map(f64::round),
            candidate: after.map(f64::round),
            margin: before.filter(|before| *before > 0.0).map_or(0.0, |b| measure.allowed / b),
            recordings: has_several.then(|| RecordedFigures {
                baseline: measure.baseline.clone(),
                candidate: measure.candidate.clone(),
                allowed_growth: measure.allowed,
                probability,
            }),
            ..Finding::bare(self.cell.trace, self.cell.backend, &measure.name, verdict, why)
        }
    }

    /// The verdict on a growth of the mean, with the reason.
    fn verdict(
        &self,
        measure: &RecordedMeasure,
        growth: f64,
        probability: Option<f64>,
    ) -> (Verdict, String) {
        let figures = || measure.baseline.iter().chain(&measure.candidate);
        if !growth.is_finite() {
            return (Verdict::Missing, "a figure is no number".to_owned());
        }
        if figures().all(|value| Some(value) == measure.baseline.first()) {
            return (Verdict::Identical, String::new());
        }
        if growth < -measure.allowed {
            return (Verdict::Better, String::new());
        }
        if growth <= measure.allowed {
            let share = self.policy.recording_tolerance() * 100.0;
            return (Verdict::Pass, format!("{share} % of it or of the live peak are allowed"));
        }
        if measure.role == Role::Reported {
            return (Verdict::Pass, "reported only: a part of other measures".to_owned());
        }
        let (first, second) = (self.baseline.len(), self.candidate.len());
        if let Some(probability) = probability {
            let is_clear = probability <= RECORDING_ERROR;
            let verdict = if is_clear { Verdict::Fail } else { Verdict::Inconclusive };
            let more = if is_clear { "" } else { "; more recordings may decide" };
            let why = format!(
                "mean of {first} and {second} recordings; chance gives this with probability \
                 {probability:.4}{more}"
            );
            return (verdict, why);
        }
        let (threads, more) = (
            self.threads(),
            format!(
                "record each side at least {ENOUGH_RECORDINGS} times (`record --repeat {ENOUGH_RECORDINGS}`)"
            ),
        );
        if threads > 1 {
            let why = format!("{threads} threads, whose order differs between recordings; {more}");
            return (Verdict::Inconclusive, why);
        }
        if measure.role == Role::Memory && growth <= FEW_RECORDINGS_FACTOR * measure.allowed {
            return (Verdict::Inconclusive, format!("addresses may explain so little; {more}"));
        }
        let most = measure.baseline.iter().copied().fold(f64::MIN, f64::max);
        if measure.candidate.iter().any(|value| *value <= most) {
            return (Verdict::Inconclusive, format!("the recordings of the sides overlap; {more}"));
        }
        (Verdict::Fail, String::new())
    }
}

/// Why a sum over the calls is not judged: it varies so much that no number of recordings within reach
/// would decide, its growth is no more than that makes of an unchanged program, and most of the requests
/// repeat and are judged by themselves. `None` where one of these does not hold.
fn judged_instead(
    measure: &RecordedMeasure,
    growth: f64,
    judged: &[JudgedShare],
) -> Option<String> {
    let unit = match measure.name.as_str() {
        name if name == CALLS_MEASURE.name => SteadyUnit::Requests,
        name if name == Metric::RequestedBytes.name() => SteadyUnit::Bytes,
        name if MEANS.iter().any(|mean| mean.name() == name) => SteadyUnit::Bytes,
        _ => return None,
    };
    let of_unit = judged.iter().filter(|judged| judged.unit == unit);
    let most = of_unit.max_by(|a, b| a.share.total_cmp(&b.share))?;
    let error = standard_error(&measure.baseline, &measure.candidate)?;
    let times = (CLEAR_ERRORS * error / measure.allowed).powi(2);
    let is_hopeless = times > MOST_TIMES_RECORDINGS;
    if !is_hopeless || growth > CHANCE_ERRORS * error || most.share < LEAST_JUDGED_SHARE {
        return None;
    }
    let recordings = measure.baseline.len().max(measure.candidate.len()) as f64 * times;
    let noun = match unit {
        SteadyUnit::Requests => "requests",
        SteadyUnit::Bytes => "bytes",
    };
    Some(format!(
        "it varies too much within a side: a growth of what is allowed would take about {} \
         recordings a side; the {} that repeat are judged, {:.0} % of the {noun}",
        with_commas(recordings.round() as u64),
        most.noun,
        most.share * 100.0
    ))
}

/// The standard error of the difference of the means, by the spread within both sides; `None` for
/// fewer than three values.
fn standard_error(first: &[f64], second: &[f64]) -> Option<f64> {
    let squares = |side: &[f64]| -> Option<f64> {
        let mean = mean(side)?;
        Some(side.iter().map(|value| (value - mean).powi(2)).sum())
    };
    let degrees = (first.len() + second.len()).checked_sub(2).filter(|degrees| *degrees > 0)?;
    let variance = (squares(first)? + squares(second)?) / degrees as f64;
    Some((variance * (1.0 / first.len() as f64 + 1.0 / second.len() as f64)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(baseline: &[f64], candidate: &[f64]) -> RecordedMeasure {
        RecordedMeasure {
            name: CALLS_MEASURE.name.to_owned(),
            unit: CALLS_MEASURE.unit,
            role: Role::Demand,
            baseline: baseline.to_vec(),
            candidate: candidate.to_vec(),
            allowed: 5.0,
        }
    }

    #[test]
    fn a_sum_that_no_number_of_recordings_decides_is_left_to_what_repeats() {
        let requests = |share| JudgedShare { unit: SteadyUnit::Requests, noun: "threads", share };
        let noisy = calls(&[900.0, 1100.0, 1000.0], &[920.0, 1120.0, 1020.0]);
        // The standard error is 100 · √(2/3), and 3 · 81.6 / 5 squared is 2,400.
        let why = judged_instead(&noisy, 20.0, &[requests(0.2), requests(0.7)]).unwrap();
        assert!(
            why.contains("about 7,200 recordings") && why.contains("threads that repeat are"),
            "{why}"
        );
        assert!(why.ends_with("70 % of the requests"), "{why}");
        assert_eq!(judged_instead(&noisy, 200.0, &[requests(0.7)]), None, "more than chance makes");
        assert_eq!(judged_instead(&noisy, 20.0, &[requests(0.4)]), None, "most is not judged");
        let bytes = JudgedShare { unit: SteadyUnit::Bytes, ..requests(0.9) };
        assert_eq!(judged_instead(&noisy, 20.0, &[bytes]), None, "other figures are judged");
        let calm = calls(&[999.0, 1001.0, 1000.0], &[1006.0, 1008.0, 1007.0]);
        assert_eq!(judged_instead(&calm, 7.0, &[requests(0.7)]), None, "more recordings decide");
        let peak = RecordedMeasure { name: Metric::LivePeakBytes.name().to_owned(), ..noisy };
        assert_eq!(judged_instead(&peak, 20.0, &[requests(0.7), bytes]), None, "no sum over calls");
    }
}
