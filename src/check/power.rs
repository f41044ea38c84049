//! The trials of a power study, summarised: how often a check failed, warned or was inconclusive.

use serde::Serialize;

use super::finding::{Finding, Verdict};
use crate::results::TrialRun;
use crate::stats::{clopper_pearson, quantile};

/// One trial, as the study's file has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialSummary {
    /// The trace, the time and the seed.
    #[serde(flatten)]
    pub run: TrialRun,
    /// The gravest verdict.
    pub verdict: Verdict,
    /// The estimated effect, in percent; none for exact measures.
    pub effect_percent: Option<f64>,
    /// Pairs that the verdict took.
    pub pairs: usize,
    /// The exact measures that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// The reason, where the figures do not give it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl TrialSummary {
    /// The trial of one timed measure, or of instructions.
    pub fn of_measure(run: TrialRun, finding: &Finding) -> TrialSummary {
        let evidence = finding.evidence.as_ref();
        TrialSummary {
            run,
            verdict: finding.verdict,
            effect_percent: match evidence {
                Some(evidence) => Some((evidence.effect * 1e5).round() / 1e3),
                None => finding.growth().map(|growth| growth * 100.0),
            },
            pairs: evidence.map_or(0, |e| e.pairs.len() + e.confirmation.len()),
            failed: Vec::new(),
            why: finding.why.clone(),
        }
    }

    /// The trial of all exact measures.
    pub fn of_exact(run: TrialRun, findings: &[Finding]) -> TrialSummary {
        let with = |verdict| findings.iter().filter(move |finding| finding.verdict == verdict);
        let undecided = with(Verdict::Inconclusive).chain(with(Verdict::Skipped));
        let sentences: Vec<String> = undecided.map(Finding::sentence).collect();
        TrialSummary {
            run,
            verdict: findings.iter().map(|f| f.verdict).min().unwrap_or(Verdict::Missing),
            effect_percent: None,
            pairs: 0,
            failed: with(Verdict::Fail).map(|finding| finding.measure.clone()).collect(),
            why: sentences.join("; "),
        }
    }
}

/// How many trials ended with each verdict that occurs, gravest first.
pub fn verdict_counts(trials: &[TrialSummary]) -> Vec<(String, u64)> {
    let counts = Verdict::ALL.into_iter().map(|verdict| (verdict, count(trials, &[verdict])));
    counts
        .filter(|(_, count)| *count > 0)
        .map(|(verdict, count)| (verdict.name().to_owned(), count))
        .collect()
}

fn count(trials: &[TrialSummary], verdicts: &[Verdict]) -> u64 {
    trials.iter().filter(|trial| verdicts.contains(&trial.verdict)).count() as u64
}

/// A share of trials with its exact interval at 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Trials that count.
    pub hits: u64,
    /// Their share of all trials.
    pub share: f64,
    /// The interval of the true share.
    pub interval: (f64, f64),
}

/// The rates of a series of trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Trials.
    pub trials: u64,
    /// Trials that failed.
    pub failed: Rate,
    /// Trials that failed or warned.
    pub failed_or_warned: Rate,
    /// Trials that were inconclusive.
    pub inconclusive: Rate,
    /// Quantiles of the wall time to the verdict, in seconds: 50 %, 95 %, 99 %.
    pub seconds: [Option<f64>; 3],
}

impl Rates {
    /// The rates of these trials.
    pub fn of(trials: &[TrialSummary]) -> Rates {
        let all = trials.len() as u64;
        let rate = |verdicts: &[Verdict]| {
            let hits = count(trials, verdicts);
            Rate {
                hits,
                share: hits as f64 / all.max(1) as f64,
                interval: clopper_pearson(hits, all, 0.95),
            }
        };
        let seconds: Vec<f64> = trials.iter().map(|trial| trial.run.seconds).collect();
        Rates {
            trials: all,
            failed: rate(&[Verdict::Fail]),
            failed_or_warned: rate(&[Verdict::Fail, Verdict::Warn]),
            inconclusive: rate(&[Verdict::Inconclusive]),
            seconds: [0.5, 0.95, 0.99].map(|share| quantile(&seconds, share)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_count_verdicts() {
        let run = || TrialRun { trace: "t".into(), seconds: 2.0, load: None, seed: 1 };
        let finding = |verdict| Finding::bare("t", "b", "time", verdict, "");
        let trials: Vec<TrialSummary> =
            [Verdict::Fail, Verdict::Warn, Verdict::Pass, Verdict::Pass]
                .into_iter()
                .map(|verdict| TrialSummary::of_measure(run(), &finding(verdict)))
                .collect();
        let rates = Rates::of(&trials);
        assert_eq!((rates.trials, rates.failed.hits, rates.failed_or_warned.hits), (4, 1, 2));
        assert_eq!(rates.failed.share, 0.25);
        assert_eq!(rates.seconds, [Some(2.0); 3]);
        let counts = verdict_counts(&trials);
        assert_eq!(
            counts,
            [("FAIL".to_owned(), 1), ("warn".to_owned(), 1), ("pass".to_owned(), 2)]
        );
    }

    #[test]
    fn the_gravest_exact_finding_counts() {
        let found = [
            Finding::bare("t", "b", "arenas_peak", Verdict::Fail, ""),
            Finding::bare("t", "b", "minor_faults", Verdict::Inconclusive, "not the same twice"),
        ];
        let run = || TrialRun { trace: "t".into(), seconds: 1.0, load: None, seed: 1 };
        let trial = TrialSummary::of_exact(run(), &found);
        assert_eq!((trial.verdict, trial.failed), (Verdict::Fail, vec!["arenas_peak".to_owned()]));
        assert_eq!(trial.why, "minor_faults: not the same twice");
        let none = TrialSummary::of_exact(run(), &[]);
        assert_eq!(none.verdict, Verdict::Missing);
    }
}
