//! Decides from interleaved rounds whether one of two backends needs more processor time.
//!
//! A figure is ln(candidate / base) of one round. One looks at the rounds at the numbers of
//! [`LOOKS`], and the looks share the allowed error. So going on until a difference is clear does not
//! make a false one more likely.

use crate::stats::{Estimate, LOOKS, error_of_look, look_after};

/// The error probability of calling equal backends different, over all looks and all pairs of a run.
const ERROR: f64 = 0.01;
/// The error probability of calling two equal within [`EQUAL`], at one look.
const ERROR_OF_EQUAL: f64 = 0.01;
/// Two within this share of each other are equal.
pub const EQUAL: f64 = 0.02;

/// What the rounds so far say of a candidate against the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It needs more processor time.
    Slower,
    /// It needs less.
    Faster,
    /// The two are within 2 % of each other.
    Equal,
    /// The rounds do not tell yet.
    Open,
}

/// The processor time of a candidate against that of the base, as shares: 0.1 is 10 % more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeComparison {
    /// The trimmed mean over the rounds.
    pub change: f64,
    /// The interval in which the change lies but for the error of this look. Infinite where there
    /// are too few rounds for one.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
    /// What it says.
    pub decision: Decision,
}

/// Compares the candidate's processor times with the base's, round by round, if `pairs` candidates
/// are compared with one base. `None` without a round.
pub fn compare(base_ns: &[f64], candidate_ns: &[f64], pairs: usize) -> Option<TimeComparison> {
    let logs: Vec<f64> =
        base_ns.iter().zip(candidate_ns).map(|(base, own)| (own / base).ln()).collect();
    let share = |log: f64| log.exp_m1();
    let Some(estimate) = Estimate::of(&logs).filter(|_| logs.len() >= LOOKS[0]) else {
        let change = share(crate::stats::median(&logs)?);
        let (lower, upper) = (f64::NEG_INFINITY, f64::INFINITY);
        return Some(TimeComparison { change, lower, upper, decision: Decision::Open });
    };
    // To either side, and for each pair.
    let error = error_of_look(ERROR / 2.0 / pairs.max(1) as f64, logs.len());
    let (lower, upper) = (share(estimate.lower(error)), share(estimate.upper(error)));
    let narrow = [estimate.lower(ERROR_OF_EQUAL), estimate.upper(ERROR_OF_EQUAL)].map(share);
    let is_equal = narrow[0] > -EQUAL && narrow[1] < EQUAL;
    let decision = if lower > 0.0 {
        Decision::Slower
    } else if upper < 0.0 {
        Decision::Faster
    } else if is_equal {
        Decision::Equal
    } else {
        Decision::Open
    };
    // The interval is the one by which it was decided.
    let [lower, upper] = if decision == Decision::Equal { narrow } else { [lower, upper] };
    Some(TimeComparison { change: share(estimate.mean), lower, upper, decision })
}

/// Whether one looks after so many rounds.
pub(super) fn is_look(rounds: usize) -> bool {
    LOOKS.contains(&rounds)
}

/// Whether further rounds would be looked at.
pub(super) fn has_further_look(rounds: usize) -> bool {
    look_after(rounds).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    /// Rounds until the decision, at most `most`: processor times that spread by `spread`, one round
    /// in ten disturbed by up to a quarter, with the candidate `change` slower.
    fn decide(random: &mut Random, spread: f64, change: f64, most: usize) -> Decision {
        let (mut base, mut own) = (Vec::new(), Vec::new());
        let time = |random: &mut Random, factor: f64| {
            let bell = (0..12).map(|_| random.share()).sum::<f64>() - 6.0;
            let hit = if random.share() < 0.1 { 1.0 + 0.25 * random.share() } else { 1.0 };
            1e9 * factor * (spread * bell).exp() * hit
        };
        for round in 1..=most {
            base.push(time(random, 1.0));
            own.push(time(random, 1.0 + change));
            if is_look(round) || round == most {
                let found = compare(&base, &own, 1).unwrap().decision;
                if found != Decision::Open {
                    return found;
                }
            }
        }
        Decision::Open
    }

    #[test]
    fn equal_backends_are_rarely_different() {
        let mut random = Random(8);
        for spread in [0.003, 0.02, 0.08] {
            let trials = 3000;
            let wrong = (0..trials)
                .filter(|_| {
                    let found = decide(&mut random, spread, 0.0, 60);
                    matches!(found, Decision::Slower | Decision::Faster)
                })
                .count();
            // 1 % would be 30; four standard deviations more are 52.
            assert!(wrong <= 52, "{wrong} of {trials} at a spread of {spread}");
        }
    }

    /// A program of one second on a quiet machine: thirty rounds of two backends in a minute.
    #[test]
    fn three_per_cent_are_found_in_a_minute() {
        let mut random = Random(9);
        let trials = 500;
        let found =
            (0..trials).filter(|_| decide(&mut random, 0.01, 0.03, 30) == Decision::Slower).count();
        assert!(found * 100 >= 95 * trials, "{found} of {trials}");
        let equal =
            (0..trials).filter(|_| decide(&mut random, 0.01, 0.0, 60) == Decision::Equal).count();
        assert!(equal * 100 >= 90 * trials, "{equal} of {trials}");
    }

    #[test]
    fn few_rounds_decide_nothing() {
        let found = compare(&[1.0, 1.0, 1.0], &[2.0, 2.0, 2.0], 1).unwrap();
        assert!((found.change - 1.0).abs() < 1e-12);
        assert_eq!(found.decision, Decision::Open);
        assert_eq!(compare(&[], &[], 1), None);
    }
}
