//! How much longer one backend took than another, from the times of their segments in repetitions in
//! which the two were interleaved.

use super::robust::TRIM;
use super::sample::{median, sorted};

/// The natural logarithm of second over first, a figure for each pair. A side is the time of each
/// segment of the trace. `None` where no segment takes time in all pairs.
///
/// The mean of the figures is the estimate: the mean over the segments of the trimmed mean over the
/// pairs. Each segment weighs as much as both sides take in it. A disturbance hits one segment of one
/// pair, and is trimmed away there. A phase that is slower in every pair counts in full.
///
/// The figure of a pair is the estimate and the pair's own influence on it: its Winsorised deviation
/// in each segment. So the spread of the figures gives the error of the estimate as Yuen's does for a
/// single segment, and segments that are disturbed together do not pass for independent ones.
pub fn repetition_ratios(pairs: &[[&[u64]; 2]]) -> Option<Vec<f64>> {
    let segments = pairs.iter().flatten().map(|side| side.len()).min()?;
    let count = pairs.len();
    let cut = (TRIM * count as f64) as usize;
    let (mut estimate, mut weights) = (0.0, 0.0);
    let mut influences = vec![0.0; count];
    for segment in 0..segments {
        let times = || pairs.iter().map(|[a, b]| (a[segment] as f64, b[segment] as f64));
        let logs: Vec<f64> = times().map(|(a, b)| (b / a).ln()).collect();
        if !logs.iter().all(|log| log.is_finite()) {
            continue;
        }
        let weight = median(&times().map(|(a, b)| a + b).collect::<Vec<f64>>())?;
        let ordered = sorted(&logs);
        let inner = &ordered[cut..count - cut];
        let (low, high) = (inner[0], inner[inner.len() - 1]);
        let winsorised: Vec<f64> = logs.iter().map(|log| log.clamp(low, high)).collect();
        let middle = winsorised.iter().sum::<f64>() / count as f64;
        estimate += weight * inner.iter().sum::<f64>() / inner.len() as f64;
        weights += weight;
        for (influence, value) in influences.iter_mut().zip(&winsorised) {
            *influence += weight * (value - middle) * count as f64 / inner.len() as f64;
        }
    }
    let figure = |influence: f64| (estimate + influence) / weights;
    (weights > 0.0).then(|| influences.into_iter().map(figure).collect())
}

#[cfg(test)]
mod tests {
    use super::super::robust::Estimate;
    use super::*;
    use proptest::prelude::*;

    fn ratios(pairs: &[[Vec<u64>; 2]]) -> Option<Vec<f64>> {
        let pairs: Vec<[&[u64]; 2]> =
            pairs.iter().map(|[a, b]| [a.as_slice(), b.as_slice()]).collect();
        repetition_ratios(&pairs)
    }

    #[test]
    fn a_disturbance_is_trimmed_and_a_slow_phase_counts() {
        let side = |factor: f64| -> Vec<u64> {
            (0..10).map(|at| (1000.0 * factor * if at == 3 { 4.0 } else { 1.0 }) as u64).collect()
        };
        let mut pairs: Vec<[Vec<u64>; 2]> = (0..10).map(|_| [side(1.0), side(1.1)]).collect();
        pairs[4][1][7] *= 9;
        let found = ratios(&pairs).unwrap();
        assert!(found.iter().all(|log| (log - 1.1_f64.ln()).abs() < 1e-3), "{found:?}");
        // One segment of ten, with 4 of 13 parts of the time, takes twice as long in each pair.
        pairs.iter_mut().for_each(|[_, b]| b[3] *= 2);
        let mean = ratios(&pairs).unwrap().iter().sum::<f64>() / 10.0;
        let (heavy, all) = (4000.0 + 8800.0, 9.0 * 2100.0 + 4000.0 + 8800.0);
        assert!((mean - 1.1_f64.ln() - heavy / all * 2_f64.ln()).abs() < 2e-3, "{mean}");
    }

    #[test]
    fn what_takes_no_time_has_no_ratio() {
        assert_eq!(ratios(&[]), None);
        assert_eq!(ratios(&[[vec![], vec![]]]), None);
        assert_eq!(ratios(&[[vec![0, 0], vec![5, 0]]]), None);
        let log = ratios(&[[vec![0, 10], vec![5, 20]]]).unwrap()[0];
        assert!((log - 2_f64.ln()).abs() < 1e-12);
    }

    proptest! {
        /// With a single segment, mean and error are Yuen's.
        #[test]
        fn one_segment_is_yuen_s(times in prop::collection::vec((1u64..10_000, 1u64..10_000), 5..60)) {
            let pairs: Vec<[Vec<u64>; 2]> =
                times.iter().map(|(a, b)| [vec![*a], vec![*b]]).collect();
            let figures = ratios(&pairs).unwrap();
            let logs: Vec<f64> = times.iter().map(|(a, b)| (*b as f64 / *a as f64).ln()).collect();
            let yuen = Estimate::of(&logs).unwrap();
            let own = Estimate::untrimmed(&figures).unwrap();
            prop_assert!((own.mean - yuen.mean).abs() < 1e-9);
            // Yuen divides by h(h − 1) where n(n − 1) is here.
            let (n, h) = (logs.len() as f64, yuen.freedom + 1.0);
            let expected = yuen.error * ((h - 1.0) * n / (h * (n - 1.0))).sqrt();
            prop_assert!((own.error - expected).abs() < 1e-9, "{} {expected}", own.error);
        }
    }
}
