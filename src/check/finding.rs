//! The contract of the module: the verdict on one measure of one cell, and its evidence.

use serde::Serialize;

use crate::results::PairRatio;

/// The verdict on one measure, gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Worse than the baseline beyond the margin, with high confidence.
    Fail,
    /// It could not be measured or judged.
    Missing,
    /// Measured, and the figures allow no verdict.
    Inconclusive,
    /// Worse than the baseline by less than the margin.
    Warn,
    /// Worse, and the policy accepts it.
    Accepted,
    /// Not comparable, for the reason in `why`.
    Skipped,
    /// Better than the baseline.
    Better,
    /// No worse.
    Pass,
    /// The same to the last digit, or not measured because both sides are the same.
    Identical,
}

impl Verdict {
    /// All, gravest first.
    pub const ALL: [Verdict; 9] = [
        Verdict::Fail,
        Verdict::Missing,
        Verdict::Inconclusive,
        Verdict::Warn,
        Verdict::Accepted,
        Verdict::Skipped,
        Verdict::Better,
        Verdict::Pass,
        Verdict::Identical,
    ];

    /// The verdict as tables print it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Fail => "FAIL",
            Verdict::Missing => "MISSING",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Warn => "warn",
            Verdict::Accepted => "accepted",
            Verdict::Skipped => "skipped",
            Verdict::Better => "better",
            Verdict::Pass => "pass",
            Verdict::Identical => "identical",
        }
    }
}

/// The evidence of a verdict on a timed measure.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// By how much the candidate is above the baseline, as a share: 0.05 is 5 %.
    pub effect: f64,
    /// The lower bound of the true effect, at the error of one look.
    pub lower: f64,
    /// The upper bound of the true effect, at 99 %.
    pub upper: f64,
    /// The error probability of one look, for the lower bound.
    pub error_of_a_look: f64,
    /// The measure fails above this share.
    pub fail_margin: f64,
    /// The measure passes below this share.
    pub pass_margin: f64,
    /// The same effect by wall time.
    pub wall_effect: Option<f64>,
    /// Every pair of the first stage, in order.
    pub pairs: Vec<PairRatio>,
    /// Every pair of the confirmation; empty where there was none.
    pub confirmation: Vec<PairRatio>,
    /// The baseline against itself, beside each pair of the confirmation.
    pub control: Vec<PairRatio>,
    /// Wall time spent on the measure, in seconds.
    pub seconds: f64,
    /// The system's load average over one minute, at the end of the measure.
    pub load: Option<f64>,
    /// The seed of the orders of time slices.
    pub seed: u64,
}

/// The figures of each recording, where a side has several.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RecordedFigures {
    /// The baseline's.
    pub baseline: Vec<f64>,
    /// The candidate's.
    pub candidate: Vec<f64>,
    /// The growth of the mean that is allowed, in the measure's own unit.
    pub allowed_growth: f64,
    /// The probability that chance makes some measure grow as clearly; none where it cannot
    /// be counted.
    pub probability: Option<f64>,
}

/// The verdict on one measure of one cell, with its figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The trace.
    pub trace: String,
    /// The backend; empty for what follows from the trace by itself.
    pub backend: String,
    /// The metric, with its op where that is not `all`; or one of [`super::MEASURES`].
    pub measure: String,
    /// Its unit; `%` for effects.
    pub unit: &'static str,
    /// The baseline's figure.
    pub baseline: Option<f64>,
    /// The candidate's figure.
    pub candidate: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// The reason; empty where the figures give it.
    pub why: String,
    /// The growth that is allowed, as a share; 0 for exact measures.
    pub margin: f64,
    /// The command that measures this again; empty where there is none.
    pub reproduce: String,
    /// The evidence, for timed measures.
    pub evidence: Option<Evidence>,
    /// The figures of each recording, where recordings are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recordings: Option<RecordedFigures>,
}

impl Finding {
    /// A finding without figures.
    pub fn bare(
        trace: impl Into<String>,
        backend: impl Into<String>,
        measure: impl Into<String>,
        verdict: Verdict,
        why: impl Into<String>,
    ) -> Finding {
        Finding {
            trace: trace.into(),
            backend: backend.into(),
            measure: measure.into(),
            unit: "",
            baseline: None,
            candidate: None,
            verdict,
            why: why.into(),
            margin: 0.0,
            reproduce: String::new(),
            evidence: None,
            recordings: None,
        }
    }

    /// By how much the candidate is above the baseline, as a share; `None` without figures.
    pub fn growth(&self) -> Option<f64> {
        if let Some(evidence) = &self.evidence {
            return Some(evidence.effect);
        }
        let (before, after) = (self.baseline?, self.candidate?);
        if before == after {
            return Some(0.0);
        }
        Some(after / before - 1.0)
    }

    /// The measure with its figures: `resident_end_bytes 40960 → 45056 bytes (+10 %, margin 0 %)`.
    pub fn sentence(&self) -> String {
        let percent = |share: f64| format!("{:+.2} %", share * 100.0);
        let mut text = match &self.evidence {
            Some(e) => format!(
                "{} {} [{}, {}], margin {}; {} pairs, {:.1} s, load {}",
                self.measure,
                percent(e.effect),
                percent(e.lower),
                percent(e.upper),
                percent(e.fail_margin),
                e.pairs.len() + e.confirmation.len(),
                e.seconds,
                e.load.map_or("unknown".to_owned(), |load| format!("{load:.1}")),
            ),
            None => match (self.baseline, self.candidate) {
                (Some(before), Some(after)) => format!(
                    "{} {before} → {after} {} ({}, margin {})",
                    self.measure,
                    self.unit,
                    self.growth()
                        .filter(|g| g.is_finite())
                        .map_or("from nothing".to_owned(), percent),
                    percent(self.margin)
                ),
                _ => self.measure.clone(),
            },
        };
        if !self.why.is_empty() {
            text.push_str(": ");
            text.push_str(&self.why);
        }
        text
    }
}

/// Sorts findings: worst first, and within a verdict by growth.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let grown = |f: &Finding| f.growth().unwrap_or(0.0);
        let key = |f: &Finding| (f.verdict, f.trace.clone(), f.backend.clone());
        a.verdict
            .cmp(&b.verdict)
            .then(grown(b).total_cmp(&grown(a)))
            .then_with(|| key(a).cmp(&key(b)))
    });
}

/// What all findings of a check come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// A measure failed.
    Worse,
    /// A measure could not be judged, or all of them were skipped.
    NotJudged,
    /// A measure is inconclusive.
    Inconclusive,
    /// No measure is worse beyond its margin.
    NotWorse,
}

impl Conclusion {
    /// The conclusion of these findings: the gravest verdict counts.
    pub fn of(findings: &[Finding]) -> Conclusion {
        let has = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
        if has(Verdict::Fail) {
            Conclusion::Worse
        } else if has(Verdict::Missing) || findings.iter().all(|f| f.verdict == Verdict::Skipped) {
            Conclusion::NotJudged
        } else if has(Verdict::Inconclusive) {
            Conclusion::Inconclusive
        } else {
            Conclusion::NotWorse
        }
    }
}

/// How many findings have each verdict that occurs: `1 FAIL, 12 identical`.
pub fn counts(findings: &[Finding]) -> String {
    counted(findings, false)
}

/// How many findings have each verdict, those that do not occur too: `0 FAIL, 0 MISSING, …`.
pub fn all_counts(findings: &[Finding]) -> String {
    counted(findings, true)
}

fn counted(findings: &[Finding], has_zeros: bool) -> String {
    let counts = Verdict::ALL.map(|verdict| {
        (findings.iter().filter(|finding| finding.verdict == verdict).count(), verdict)
    });
    let shown = counts.iter().filter(|(count, _)| has_zeros || *count > 0);
    let texts: Vec<String> =
        shown.map(|(count, verdict)| format!("{count} {}", verdict.name())).collect();
    texts.join(", ")
}
