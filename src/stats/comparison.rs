//! Which of two takes longer, from the ratios of interleaved pairs.
//!
//! One looks at the pairs at the numbers of [`LOOKS`], and the looks share the allowed error. So going
//! on until a difference is clear does not make a false one more likely.

use super::looks::{LOOKS, error_of_look, look_after};
use super::robust::{Estimate, TRIMMED_FROM};
use super::sample::median;

/// Two within this share of each other are equal.
pub const EQUAL: f64 = 0.02;
/// The error probability of calling two equal within [`EQUAL`], at one look.
const ERROR_OF_EQUAL: f64 = 0.01;
/// The fewest pairs that have an interval.
pub const LEAST_PAIRS: usize = 3;

/// The most pairs that are named as the number that would show a difference. Where more are needed, the
/// ranges of the two overlap.
const NAMED_PAIRS: usize = 20;

/// The estimate of the logarithm of the ratio from the logarithms of pairs; `None` for fewer than
/// [`LEAST_PAIRS`].
pub fn estimate_of_pairs(logs: &[f64]) -> Option<Estimate> {
    if logs.len() < TRIMMED_FROM { Estimate::untrimmed(logs) } else { Estimate::of(logs) }
}

/// What the pairs so far say of a candidate against the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It takes longer.
    Slower,
    /// It takes less time.
    Faster,
    /// The two are within [`EQUAL`] of each other.
    Equal,
    /// The pairs do not show it yet.
    Open,
}

/// By which rule two are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComparisonRule {
    /// The probability that two equal ones are called different, over all looks.
    pub error: f64,
    /// The smallest share by which the mean of two that differ is off.
    pub least_change: f64,
    /// How often one looks.
    pub looks: LookPlan,
}

/// How often one looks at pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookPlan {
    /// At each of [`LOOKS`], until the comparison is decided.
    UntilDecided,
    /// Once, when all pairs are there. Their number was fixed before.
    Once,
}

/// The time of a candidate against that of the base, as shares: 0.1 is 10 % more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeComparison {
    /// The mean over the pairs, robust against disturbed ones.
    pub change: f64,
    /// The interval in which the change lies but for the error of this look. Infinite where there
    /// are too few pairs for one.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
    /// What it says.
    pub decision: Decision,
    /// The pairs behind it.
    pub pairs: usize,
    /// About how many pairs would show the difference at the spread of these, where the number of pairs
    /// was fixed and is too small for it; see [`pairs_needed`].
    pub pairs_needed: Option<usize>,
}

impl TimeComparison {
    /// Compares by the natural logarithms of candidate over base, one of each pair, which `estimate`
    /// puts together. `None` without a pair.
    pub fn of(
        logs: &[f64],
        estimate: impl FnOnce(&[f64]) -> Option<Estimate>,
        rule: &ComparisonRule,
    ) -> Option<TimeComparison> {
        let pairs = logs.len();
        let least = match rule.looks {
            LookPlan::UntilDecided => LOOKS[0],
            LookPlan::Once => LEAST_PAIRS,
        };
        if let Some(estimate) = estimate(logs).filter(|_| pairs >= least) {
            return Some(TimeComparison::of_estimate(&estimate, pairs, rule));
        }
        let change = median(logs)?.exp_m1();
        let (lower, upper) = (f64::NEG_INFINITY, f64::INFINITY);
        let decision = Decision::Open;
        Some(TimeComparison { change, lower, upper, decision, pairs, pairs_needed: None })
    }

    /// Compares by an estimate of the logarithm from so many pairs.
    pub fn of_estimate(estimate: &Estimate, pairs: usize, rule: &ComparisonRule) -> TimeComparison {
        // To either side.
        let error = match rule.looks {
            LookPlan::UntilDecided => error_of_look(rule.error / 2.0, pairs),
            LookPlan::Once => rule.error / 2.0,
        };
        let (lower, upper) = (estimate.lower(error).exp_m1(), estimate.upper(error).exp_m1());
        let narrow =
            [estimate.lower(ERROR_OF_EQUAL), estimate.upper(ERROR_OF_EQUAL)].map(f64::exp_m1);
        let change = estimate.mean.exp_m1();
        let is_large = estimate.mean.abs() >= rule.least_change.ln_1p();
        let decision = if lower > 0.0 && is_large {
            Decision::Slower
        } else if upper < 0.0 && is_large {
            Decision::Faster
        } else if narrow[0] > -EQUAL && narrow[1] < EQUAL {
            Decision::Equal
        } else {
            Decision::Open
        };
        // The interval is the one by which it was decided.
        let [lower, upper] = if decision == Decision::Equal { narrow } else { [lower, upper] };
        let is_fixed = rule.looks == LookPlan::Once && decision == Decision::Open && is_large;
        let pairs_needed = is_fixed.then(|| pairs_needed(estimate, pairs, error)).flatten();
        TimeComparison { change, lower, upper, decision, pairs, pairs_needed }
    }

    /// What it says, in words.
    pub fn decision_text(&self) -> String {
        match (self.decision, self.pairs_needed) {
            (Decision::Slower, _) => "slower".to_owned(),
            (Decision::Faster, _) => "faster".to_owned(),
            (Decision::Equal, _) => "equal within 2 %".to_owned(),
            (Decision::Open, _) if self.lower.is_infinite() => "too few repetitions".to_owned(),
            (Decision::Open, Some(needed)) => {
                format!("too few repetitions (about {needed} needed)")
            }
            (Decision::Open, None) => "not separable".to_owned(),
        }
    }

    /// Whether the two differ.
    pub fn is_apart(&self) -> bool {
        matches!(self.decision, Decision::Slower | Decision::Faster)
    }

    /// Half of the interval that `further` pairs would leave, as a share; infinite where there is none
    /// now. The spread of the pairs stays as it is.
    pub fn half_width_after(&self, further: f64) -> f64 {
        let pairs = self.pairs as f64;
        (self.upper - self.lower) / 2.0 * (pairs / (pairs + further)).sqrt()
    }
}

/// About how many pairs would have an interval on one side of 0, if their mean and their spread were
/// those of the present ones, at most [`NAMED_PAIRS`]. `error` is that of one side.
fn pairs_needed(estimate: &Estimate, pairs: usize, error: f64) -> Option<usize> {
    let spread = estimate.error * (pairs as f64).sqrt();
    (pairs + 1..=NAMED_PAIRS).find(|&more| {
        let freedom = estimate.freedom + (more - pairs) as f64;
        let of_more = Estimate { error: spread / (more as f64).sqrt(), freedom, ..*estimate };
        of_more.lower(error) > 0.0 || of_more.upper(error) < 0.0
    })
}

/// Whether one looks after so many pairs.
pub fn is_look(pairs: usize) -> bool {
    LOOKS.contains(&pairs)
}

/// Whether further pairs would be looked at.
pub fn has_further_look(pairs: usize) -> bool {
    look_after(pairs).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    /// By the rule of a run.
    const RULE: ComparisonRule =
        ComparisonRule { error: 0.001, least_change: EQUAL, looks: LookPlan::UntilDecided };

    /// Logarithms that spread by `spread`, one in ten disturbed by up to a quarter, of a candidate that
    /// takes `change` longer: the decision and the pairs that it took.
    fn decide(random: &mut Random, spread: f64, change: f64, most: usize) -> (Decision, usize) {
        let time = |random: &mut Random, factor: f64| {
            let bell = (0..12).map(|_| random.share()).sum::<f64>() - 6.0;
            let hit = if random.share() < 0.1 { 1.0 + 0.25 * random.share() } else { 1.0 };
            factor * (spread * bell).exp() * hit
        };
        let mut logs: Vec<f64> = Vec::new();
        for pair in 1..=most {
            logs.push((time(random, 1.0 + change) / time(random, 1.0)).ln());
            if is_look(pair) {
                let found = TimeComparison::of(&logs, estimate_of_pairs, &RULE).unwrap().decision;
                if found != Decision::Open {
                    return (found, pair);
                }
            }
        }
        (Decision::Open, most)
    }

    #[test]
    fn equal_ones_are_hardly_ever_different() {
        let mut random = Random(11);
        for spread in [0.003, 0.02, 0.08] {
            let trials = 4000;
            let wrong = (0..trials).filter(|_| {
                let (found, _) = decide(&mut random, spread, 0.0, 112);
                matches!(found, Decision::Slower | Decision::Faster)
            });
            // 1 in 1,000 would be 4; four standard deviations more are 12.
            let wrong = wrong.count();
            assert!(wrong <= 12, "{wrong} of {trials} at a spread of {spread}");
        }
    }

    #[test]
    fn a_difference_is_found_and_takes_the_longer_the_smaller_it_is() {
        let mut random = Random(12);
        for (change, least) in [(0.10, 95), (0.03, 80)] {
            let found = (0..300)
                .filter(|_| decide(&mut random, 0.02, change, 112).0 == Decision::Slower)
                .count();
            assert!(found * 100 >= least * 300, "{found} of 300 at {change}");
        }
        let mut pairs =
            |change: f64| (0..100).map(|_| decide(&mut random, 0.02, change, 112).1).sum();
        let sums: [usize; 3] = [0.5, 0.1, 0.03].map(&mut pairs);
        assert!(sums[0] < sums[1] && sums[1] < sums[2], "{sums:?}");
    }

    #[test]
    fn a_change_within_the_margin_is_no_difference() {
        let logs: Vec<f64> =
            (0..50).map(|at| 0.015 + if at % 2 == 0 { 1e-4 } else { -1e-4 }).collect();
        assert_eq!(
            TimeComparison::of(&logs, estimate_of_pairs, &RULE).unwrap().decision,
            Decision::Equal
        );
        let any = ComparisonRule { least_change: 0.0, ..RULE };
        assert_eq!(
            TimeComparison::of(&logs, estimate_of_pairs, &any).unwrap().decision,
            Decision::Slower
        );
    }

    #[test]
    fn a_fixed_number_has_one_look() {
        let once = ComparisonRule { looks: LookPlan::Once, ..RULE };
        let three = [0.69, 0.70, 0.695];
        assert_eq!(
            TimeComparison::of(&three, estimate_of_pairs, &once).unwrap().decision,
            Decision::Slower
        );
        let sequential = TimeComparison::of(&three, estimate_of_pairs, &RULE).unwrap();
        assert_eq!((sequential.decision, sequential.pairs), (Decision::Open, 3));
        assert!(sequential.lower.is_infinite());
        assert_eq!(
            TimeComparison::of(&three[..2], estimate_of_pairs, &once).unwrap().decision,
            Decision::Open
        );
        assert_eq!(TimeComparison::of(&[], estimate_of_pairs, &once), None);
    }

    /// Three pairs whose ranges do not overlap, and that a test at 1 in 1,000 cannot separate.
    #[test]
    fn too_few_fixed_pairs_name_the_number_that_is_needed() {
        let once = ComparisonRule { looks: LookPlan::Once, ..RULE };
        let three = [0.45, 0.60, 0.40];
        let found = TimeComparison::of(&three, estimate_of_pairs, &once).unwrap();
        assert_eq!((found.decision, found.pairs), (Decision::Open, 3));
        assert!(found.lower.is_finite());
        let needed = found.pairs_needed.unwrap();
        assert_eq!(found.decision_text(), format!("too few repetitions (about {needed} needed)"));
        // So many pairs of the same mean and spread do separate the two; one fewer does not.
        let spread = 0.104;
        let of = |count: usize| {
            let step = |at: usize| if at.is_multiple_of(2) { spread } else { -spread };
            let logs: Vec<f64> = (0..count).map(|at| 0.4833 + step(at)).collect();
            TimeComparison::of(&logs, Estimate::untrimmed, &once).unwrap().decision
        };
        assert_eq!((of(needed + 1), of(4)), (Decision::Slower, Decision::Open));
        // Pairs on both sides of 0 overlap, and a run that goes on by itself needs no such advice.
        let level = TimeComparison::of(&[0.5, -0.6, 0.3], estimate_of_pairs, &once).unwrap();
        assert_eq!((level.pairs_needed, &*level.decision_text()), (None, "not separable"));
        let six = [0.45, 0.60, 0.40, -0.2, 0.1, 0.3];
        let going_on = TimeComparison::of(&six, estimate_of_pairs, &RULE).unwrap();
        assert_eq!((going_on.decision, going_on.pairs_needed), (Decision::Open, None));
    }

    #[test]
    fn an_interval_shrinks_with_the_root_of_the_pairs() {
        let comparison = TimeComparison {
            change: 0.0,
            lower: -0.04,
            upper: 0.04,
            decision: Decision::Open,
            pairs: 10,
            pairs_needed: None,
        };
        assert!((comparison.half_width_after(30.0) - 0.02).abs() < 1e-12);
    }
}
