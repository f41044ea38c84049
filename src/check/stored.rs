//! Compares two stored run records by exact measures. Two runs of the same recording allow no
//! growth. Different recordings of one program are judged by `recordings.rs`. Times of stored runs are not
//! judged: the same machine differs from itself an hour later by up to 20 %, so times are compared
//! only within one run.

use super::finding::{Finding, Verdict, sort};
use super::machines::{difference_for_exact, differences_for_times};
use super::measures::FRAGMENTATION;
use super::policy::Policy;
use super::reasons::{OTHER_LAYOUT, variation};
use super::recording::{Recording, RequestCounts};
use super::recordings::judge_recordings;
use crate::results::{
    BackendEntry, CellKey, CellLabel, Exactness, Metric, Pass, Run, Scope, Status, TraceEntry,
};

/// What a comparison of two records found.
#[derive(Clone, Debug)]
pub struct StoredFindings {
    /// Worst first.
    pub findings: Vec<Finding>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// Why two runs cannot be compared at all.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No trace is in both.
    #[error(
        "the runs share no trace (baseline: {baseline}; candidate: {candidate}); compare runs of the \
         same traces"
    )]
    NoTrace {
        /// The baseline's traces.
        baseline: String,
        /// The candidate's.
        candidate: String,
    },
    /// No backend is in both.
    #[error(
        "the runs share no backend (baseline: {baseline}; candidate: {candidate}); compare runs of \
         the same backends"
    )]
    NoBackend {
        /// The baseline's backends.
        baseline: String,
        /// The candidate's.
        candidate: String,
    },
}

/// Judges `candidate`, worst first.
///
/// # Errors
/// When the runs have no trace or no backend in common.
pub fn compare(
    baseline: &Run,
    candidate: &Run,
    policy: &Policy,
) -> Result<StoredFindings, CheckError> {
    let pair = StoredPair { baseline, candidate, policy };
    pair.refuse_disjoint()?;
    let mut findings = Vec::new();
    for trace in &baseline.manifest.traces {
        match candidate.manifest.traces.iter().find(|other| other.name == trace.name) {
            Some(other) => pair.judge_trace(trace, other, &mut findings),
            None => {
                let why = "the candidate was not run on it";
                findings.push(Finding::bare(&trace.name, "", "trace", Verdict::Missing, why));
            }
        }
    }
    sort(&mut findings);
    Ok(StoredFindings { findings, notes: pair.note_on_times().into_iter().collect() })
}

/// Judges the recordings of `candidate` by those of `baseline`. Each record has one trace, and all
/// have the same name and the same backends. Of several recordings, the requests are judged, too.
///
/// # Errors
/// When the records have no trace or no backend in common.
pub fn compare_recordings(
    baseline: &[Recording],
    candidate: &[Recording],
    policy: &Policy,
) -> Result<StoredFindings, CheckError> {
    let (Some(first), Some(second)) = (baseline.first(), candidate.first()) else {
        let none = || "no recording".to_owned();
        return Err(CheckError::NoTrace { baseline: none(), candidate: none() });
    };
    if (baseline.len(), candidate.len()) == (1, 1) {
        return compare(&first.run, &second.run, policy);
    }
    let pair = StoredPair { baseline: &first.run, candidate: &second.run, policy };
    pair.refuse_disjoint()?;
    let runs = [baseline, candidate]
        .map(|side| side.iter().map(|recording| &recording.run).collect::<Vec<&Run>>());
    let requests = [baseline, candidate]
        .map(|side| side.iter().map(|recording| &recording.requests).collect::<Vec<_>>());
    let requests = [requests[0].as_slice(), &requests[1]];
    let mut findings = Vec::new();
    for trace in &first.run.manifest.traces {
        pair.judge_recordings(&trace.name, [&runs[0], &runs[1]], requests, &mut findings);
    }
    sort(&mut findings);
    Ok(StoredFindings { findings, notes: Vec::new() })
}

/// The two records.
struct StoredPair<'a> {
    baseline: &'a Run,
    candidate: &'a Run,
    policy: &'a Policy,
}

impl StoredPair<'_> {
    fn refuse_disjoint(&self) -> Result<(), CheckError> {
        let traces = |run: &Run| -> Vec<String> {
            run.manifest.traces.iter().map(|trace| trace.name.clone()).collect()
        };
        let backends = |run: &Run| -> Vec<String> {
            run.manifest.backends.iter().map(|backend| backend.name.clone()).collect()
        };
        let (before, after) = (traces(self.baseline), traces(self.candidate));
        if before.iter().all(|name| !after.contains(name)) {
            let (baseline, candidate) = (before.join(", "), after.join(", "));
            return Err(CheckError::NoTrace { baseline, candidate });
        }
        let (before, after) = (backends(self.baseline), backends(self.candidate));
        if before.iter().all(|name| !after.contains(name)) {
            let (baseline, candidate) = (before.join(", "), after.join(", "));
            return Err(CheckError::NoBackend { baseline, candidate });
        }
        Ok(())
    }

    /// What becomes of times that both runs measured.
    fn note_on_times(&self) -> Option<String> {
        let is_timed =
            |run: &Run| run.measurements.iter().any(|m| m.metric == Metric::TimeNanoseconds);
        if !is_timed(self.baseline) || !is_timed(self.candidate) {
            return None;
        }
        let [before, after] = [self.baseline, self.candidate].map(|run| run.manifest.machines());
        let pairs =
            before.iter().flat_map(|before| after.iter().map(move |after| [*before, *after]));
        let mut differences = pairs.map(|[before, after]| differences_for_times(before, after));
        let differences = differences.find(|lines| !lines.is_empty()).unwrap_or_default();
        Some(match differences.is_empty() {
            true => "times of a stored run are not judged; \
                     `heaplay check TRACE --baseline A --candidate B` times both sides in one run"
                .to_owned(),
            false => format!(
                "times are refused: the baseline is another machine's\n{}",
                differences.join("\n")
            ),
        })
    }

    fn judge_trace(&self, trace: &TraceEntry, other: &TraceEntry, findings: &mut Vec<Finding>) {
        if trace.sha256 != other.sha256 {
            return self.judge_recordings(
                &trace.name,
                [&[self.baseline], &[self.candidate]],
                [&[], &[]],
                findings,
            );
        }
        if trace.end != other.end {
            let why = "the two runs have other moments as the end; measure both with the same --at";
            findings.push(Finding::bare(&trace.name, "", "end", Verdict::Missing, why));
            return;
        }
        self.judge_demand(&trace.name, findings);
        for [backend, other] in self.backends(&trace.name, findings) {
            self.judge_backend(&trace.name, [backend, other], findings);
        }
    }

    /// The backends of both records. One that the candidate lacks is a finding.
    fn backends(&self, trace: &str, findings: &mut Vec<Finding>) -> Vec<[&BackendEntry; 2]> {
        let mut found = Vec::new();
        for backend in &self.baseline.manifest.backends {
            let mut candidates = self.candidate.manifest.backends.iter();
            match candidates.find(|other| other.name == backend.name) {
                Some(other) => found.push([backend, other]),
                None => {
                    let (name, why) = (&backend.name, "not in the candidate");
                    findings.push(Finding::bare(trace, name, "backend", Verdict::Missing, why));
                }
            }
        }
        found
    }

    /// Judges recordings that differ. What the program requests is the same on every backend, so the
    /// first backend gives it.
    fn judge_recordings(
        &self,
        trace: &str,
        sides: [&[&Run]; 2],
        requests: [&[&RequestCounts]; 2],
        findings: &mut Vec<Finding>,
    ) {
        for (number, backends) in self.backends(trace, findings).into_iter().enumerate() {
            let backend = backends[0].name.as_str();
            findings.extend(self.failed_cell(trace, backend));
            let reason = self.incomparable(trace, backends);
            let cell = CellLabel { trace, backend };
            let found = judge_recordings(cell, sides, requests, reason.as_deref(), self.policy);
            for mut finding in found {
                let is_demand = Metric::find(&finding.measure)
                    .is_none_or(|metric| metric.exactness() == Exactness::Trace);
                if is_demand {
                    finding.backend.clear();
                }
                if !is_demand || number == 0 {
                    findings.push(finding);
                }
            }
        }
    }

    /// Judges what the trace requests. That is the same on every backend, so the first backend that
    /// both runs measured gives it.
    fn judge_demand(&self, trace: &str, findings: &mut Vec<Finding>) {
        let demands = Metric::ALL.iter().filter(|m| m.exactness() == Exactness::Trace);
        for &metric in demands {
            let measured = self.baseline.manifest.backends.iter().find(|backend| {
                let has = |run| figures(run, trace, &backend.name, metric).next().is_some();
                has(self.baseline) && has(self.candidate)
            });
            if let Some(backend) = measured {
                for finding in self.judge_metric(trace, &backend.name, metric) {
                    findings.push(Finding { backend: String::new(), ..finding });
                }
            }
        }
    }

    fn judge_backend(
        &self,
        trace: &str,
        [backend, other]: [&BackendEntry; 2],
        findings: &mut Vec<Finding>,
    ) {
        let name = backend.name.as_str();
        findings.extend(self.failed_cell(trace, name));
        let incomparable = self.incomparable(trace, [backend, other]);
        findings.extend(self.fragmentation(trace, name, incomparable.as_deref()));
        for &metric in Metric::ALL {
            let reason = match metric.exactness() {
                Exactness::Policy => None,
                Exactness::Machine | Exactness::Layout => incomparable.as_deref(),
                _ => continue,
            };
            for mut finding in self.judge_metric(trace, name, metric) {
                // A run stores the version of its build, not which build it was.
                let is_moved = metric.exactness() == Exactness::Layout
                    && finding.verdict != Verdict::Identical;
                if let Some(reason) = reason.or(is_moved.then_some(OTHER_LAYOUT)) {
                    finding.verdict = Verdict::Skipped;
                    finding.why = format!("not comparable: {reason}");
                }
                findings.push(finding);
            }
        }
    }

    /// Why figures of resident pages are not comparable, if they are not.
    fn incomparable(&self, trace: &str, [backend, other]: [&BackendEntry; 2]) -> Option<String> {
        let varies = [self.baseline, self.candidate].iter().find_map(|run| {
            let name = &backend.name;
            run.values(trace, name, Scope::All, Metric::VariesBetweenRuns).first().copied()
        });
        let footprint = |backend: &BackendEntry| CellKey {
            trace: trace.to_owned(),
            backend: backend.name.clone(),
            pass: Pass::Footprint,
            repetition: 0,
        };
        let before = self.baseline.manifest.machine_of(&footprint(backend));
        let after = self.candidate.manifest.machine_of(&footprint(other));
        let versions = || {
            let is_other = backend.version != other.version;
            is_other.then(|| format!("{} and {}", backend.version, other.version))
        };
        varies
            .map(|value| variation(value).to_owned())
            .or_else(|| difference_for_exact(before, after))
            .or_else(versions)
    }

    /// A cell that the candidate could not measure. It fails where the baseline measured all cells
    /// of that pass.
    fn failed_cell(&self, trace: &str, backend: &str) -> Option<Finding> {
        let cells = |run: &Run, is_ok: bool| -> Vec<(CellKey, String)> {
            let outcomes = run.outcomes.iter();
            outcomes
                .filter(|o| o.trace == trace && o.backend == backend)
                .filter(|o| (o.status == Status::Ok) == is_ok)
                .map(|o| (o.cell(), o.reason.clone()))
                .collect()
        };
        let (measured, failed) = (cells(self.baseline, true), cells(self.baseline, false));
        let (cell, reason) = cells(self.candidate, false).into_iter().next()?;
        let has_pass =
            |cells: &[(CellKey, String)]| cells.iter().any(|(known, _)| known.pass == cell.pass);
        let is_new = has_pass(&measured) && !has_pass(&failed);
        let verdict = if is_new { Verdict::Fail } else { Verdict::Missing };
        Some(Finding::bare(trace, backend, cell.pass.name(), verdict, reason))
    }

    /// Resident over live bytes at the live peak.
    fn fragmentation(
        &self,
        trace: &str,
        backend: &str,
        incomparable: Option<&str>,
    ) -> Option<Finding> {
        let ratio = |run: &Run| {
            let value =
                |metric: Metric| run.values(trace, backend, Scope::All, metric).first().copied();
            let (resident, live) =
                (value(Metric::ResidentAtLivePeakBytes)?, value(Metric::LivePeakBytes)?);
            let live = live - value(Metric::UntouchedAtLivePeakBytes).unwrap_or(0.0);
            (live > 0.0).then_some(resident / live)
        };
        let (before, after) = (ratio(self.baseline)?, ratio(self.candidate)?);
        let allowed = self.policy.margin(FRAGMENTATION.name).fail;
        let verdict = match incomparable {
            Some(_) => Verdict::Skipped,
            None => verdict_of(before, Some(after), allowed),
        };
        let why = incomparable.map_or(String::new(), |reason| format!("not comparable: {reason}"));
        Some(Finding {
            unit: FRAGMENTATION.unit,
            margin: allowed,
            baseline: Some(before),
            candidate: Some(after),
            ..Finding::bare(trace, backend, FRAGMENTATION.name, verdict, why)
        })
    }

    /// A finding for each op of a metric.
    fn judge_metric(&self, trace: &str, backend: &str, metric: Metric) -> Vec<Finding> {
        let allowed = self.policy.margin(metric.name()).fail;
        let after: Vec<(Scope, f64)> = figures(self.candidate, trace, backend, metric).collect();
        let judge = |(op, baseline): (Scope, f64)| {
            let candidate = after.iter().find(|(other, _)| *other == op).map(|(_, value)| *value);
            let measure = match op {
                Scope::All => metric.name().to_owned(),
                op => format!("{} of {op}", metric.name()),
            };
            let why = match allowed {
                0.0 => String::new(),
                _ => format!("{:.3} % are allowed", allowed * 100.0),
            };
            let verdict = verdict_of(baseline, candidate, allowed);
            Finding {
                unit: metric.unit(),
                baseline: Some(baseline),
                candidate,
                margin: allowed,
                ..Finding::bare(trace, backend, measure, verdict, why)
            }
        };
        figures(self.baseline, trace, backend, metric).map(judge).collect()
    }
}

/// The verdict on one exact figure; `allowed` is a share.
fn verdict_of(baseline: f64, candidate: Option<f64>, allowed: f64) -> Verdict {
    match candidate {
        None => Verdict::Missing,
        Some(candidate) if candidate > baseline * (1.0 + allowed) => Verdict::Fail,
        Some(candidate) if candidate < baseline * (1.0 - allowed) => Verdict::Better,
        Some(candidate) if candidate == baseline => Verdict::Identical,
        Some(candidate) if candidate.is_finite() && baseline.is_finite() => Verdict::Pass,
        Some(_) => Verdict::Missing,
    }
}

/// The figures of a metric by op. The footprint pass has every exact metric; other passes repeat
/// the calls.
fn figures<'r>(
    run: &'r Run,
    trace: &'r str,
    backend: &'r str,
    metric: Metric,
) -> impl Iterator<Item = (Scope, f64)> + 'r {
    let is_wanted = move |m: &&crate::results::Measurement| {
        m.trace == trace && m.backend == backend && m.metric == metric
    };
    let rows = run.measurements.iter().filter(is_wanted);
    rows.filter(|m| m.pass == Pass::Footprint).map(|m| (m.op, m.value))
}
