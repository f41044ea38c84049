//! Judges counts of instructions. Two counts of one side differ by a seventh of the margin at the
//! most (jemalloc's do), so the smallest difference of the counts decides.

use super::finding::Verdict;

/// Whether both sides have to be counted again. Below half of the margin the first counts decide:
/// counts of one side never differ so much.
pub fn is_second_count_needed(baseline: f64, candidate: f64, margin: f64) -> bool {
    candidate > baseline * (1.0 + margin / 2.0)
}

/// The verdict, and its reason where the figures do not give it. `margin` is a share.
pub fn judge(baseline: &[f64], candidate: &[f64], margin: f64) -> (Verdict, String) {
    let margin = 1.0 + margin;
    let (least_before, most_before) = least_and_most(baseline);
    let (least_after, most_after) = least_and_most(candidate);
    let verdict = if least_after > most_before * margin {
        Verdict::Fail
    } else if most_after > least_before * margin {
        let why = format!(
            "the counts of one side differ: {baseline:?} and {candidate:?}, on both sides of the \
             margin"
        );
        return (Verdict::Inconclusive, why);
    } else if least_after > most_before {
        // Hashing and the dynamic loader vary by a few instructions.
        Verdict::Pass
    } else if most_after * margin < least_before {
        Verdict::Better
    } else if baseline == candidate {
        Verdict::Identical
    } else {
        Verdict::Pass
    };
    (verdict, String::new())
}

/// The smallest and the largest count.
pub fn least_and_most(counts: &[f64]) -> (f64, f64) {
    let start = (f64::INFINITY, 0.0);
    counts.iter().fold(start, |(least, most), count| (count.min(least), count.max(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_clearly_over_the_margin_fails() {
        let verdict = |before: &[f64], after: &[f64]| judge(before, after, 0.001).0;
        assert_eq!(verdict(&[1e6, 1e6], &[1.002e6, 1.0021e6]), Verdict::Fail);
        assert_eq!(verdict(&[1e6, 1.0005e6], &[1.0012e6, 1.0012e6]), Verdict::Inconclusive);
        assert_eq!(verdict(&[1e6], &[1.0001e6]), Verdict::Pass);
        assert_eq!(verdict(&[1e6], &[1e6]), Verdict::Identical);
        assert_eq!(verdict(&[1e6], &[0.9e6]), Verdict::Better);
        assert!(is_second_count_needed(1e6, 1.0006e6, 0.001));
        assert!(!is_second_count_needed(1e6, 1.0004e6, 0.001));
    }
}
