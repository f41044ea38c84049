//! Room `check`, the contract: what is said of one measure of one cell, and on what evidence.

use serde::Serialize;

/// What is said of one measure. In order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Worse than the baseline, and sure: fails.
    Fail,
    /// It could not be measured or judged.
    Missing,
    /// Measured, and what was seen allows no verdict.
    Inconclusive,
    /// Worse than the baseline by less than the margin.
    Warn,
    /// Worse, and the policy says that this is known.
    Accepted,
    /// Not comparable, for the reason beside.
    Skipped,
    /// Better than the baseline.
    Better,
    /// No worse.
    Pass,
    /// The same to the last digit, or not measured because both sides are the same.
    Identical,
}

impl Verdict {
    /// All, in order of gravity.
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

    /// The word in the table.
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

/// The figures of one pair, as logarithms of ratios.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairOf {
    /// Of processor time (of the slow calls' mean time, for the tail).
    pub processor: f64,
    /// Of wall time; none for the tail.
    pub wall: Option<f64>,
}

/// What stands behind the verdict on a measure that is not exact.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// By how much the candidate is above the baseline, as a share: 0.05 is 5 %.
    pub effect: f64,
    /// The bound above which the true effect lies, at the error of one look.
    pub lower: f64,
    /// The bound below which it lies, at 99 %.
    pub upper: f64,
    /// The error of one look, for the lower bound.
    pub error_of_a_look: f64,
    /// Fails above this.
    pub fail_margin: f64,
    /// Passes below this.
    pub pass_margin: f64,
    /// The same effect by wall time.
    pub wall_effect: Option<f64>,
    /// Every pair of the first stage, in order.
    pub pairs: Vec<PairOf>,
    /// Every pair of the confirmation; empty when there was none.
    pub confirmation: Vec<PairOf>,
    /// The baseline against itself, in the same run as the confirmation.
    pub control: Vec<PairOf>,
    /// Wall time spent on it.
    pub seconds: f64,
    /// The system's load when it ended.
    pub load: Option<f64>,
    /// From which the orders of turns come.
    pub seed: u64,
}

/// One line of the judgement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which trace.
    pub trace: String,
    /// Which backend; empty for what follows from the trace alone.
    pub backend: String,
    /// The metric, with its op where that is not `all`; or `time`, `tail`, `instructions`.
    pub measure: String,
    /// Its unit; `%` for effects.
    pub unit: &'static str,
    /// The baseline's figure.
    pub baseline: Option<f64>,
    /// The candidate's.
    pub candidate: Option<f64>,
    /// What is said of it.
    pub verdict: Verdict,
    /// Why, in a few words; empty when the figures say it.
    pub why: String,
    /// What is allowed, as a share; 0 for exact measures.
    pub margin: f64,
    /// The command that measures this again; empty when there is none.
    pub reproduce: String,
    /// What stands behind it, for measures that are not exact.
    pub evidence: Option<Evidence>,
}

impl Finding {
    /// One without figures.
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

    /// The measure with its figures, in words: `resident_end_bytes 40960 → 45056 bytes (+10 %,
    /// margin 0 %)`.
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

/// Worst first; within a verdict by what grew most.
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

/// The exit status: 1 something failed, 2 something could not be judged (or nothing was), 3
/// something is inconclusive (`inconclusive` puts another in its place), else 0.
pub fn exit_code(findings: &[Finding], inconclusive: u8) -> u8 {
    let has = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    if has(Verdict::Fail) {
        1
    } else if has(Verdict::Missing) || findings.iter().all(|f| f.verdict == Verdict::Skipped) {
        2
    } else if has(Verdict::Inconclusive) {
        inconclusive
    } else {
        0
    }
}
