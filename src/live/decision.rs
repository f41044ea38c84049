//! Decides from interleaved rounds whether one of two backends needs more processor time.
//!
//! A figure is ln(candidate / base) of one round. `stats/comparison.rs` has the rule.

use crate::stats::{ComparisonRule, LookPlan, TimeComparison, estimate_of_pairs};

/// The error probability of calling equal backends different, over all looks and all pairs of a run.
const ERROR: f64 = 0.01;
/// Compares the candidate's processor times with the base's, round by round, if `pairs` candidates
/// are compared with one base. `None` without a round.
pub fn compare(base_ns: &[f64], candidate_ns: &[f64], pairs: usize) -> Option<TimeComparison> {
    let logs: Vec<f64> =
        base_ns.iter().zip(candidate_ns).map(|(base, own)| (own / base).ln()).collect();
    let error = ERROR / pairs.max(1) as f64;
    let looks = LookPlan::UntilDecided;
    let rule = ComparisonRule { error, least_change: 0.0, looks };
    TimeComparison::of(&logs, estimate_of_pairs, &rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Decision, Random, is_look};

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
