//! How much longer one backend took than another, from the times of their segments in repetitions in
//! which the two were interleaved.

use super::robust::Trimmed;
use super::sample::median;

/// The natural logarithm of second over first, a figure for each pair. A side is the time of each
/// segment of the trace. `None` where no segment takes time in all pairs.
///
/// The mean of the figures is the estimate: the ratio of the times of the whole trace. In each segment
/// the two sides are apart by the trimmed mean of the logarithms over the pairs. A disturbance hits
/// one segment of one pair, and is trimmed away there. A phase that is slower in every pair counts in
/// full.
///
/// The figure of a pair is the estimate and the pair's own influence on it: its Winsorised deviation
/// in each segment, by the segment's share of the time. So the spread of the figures gives the error
/// of the estimate as Yuen's does for a single segment ([`Estimate::of_influences`]), and segments that
/// are disturbed together do not pass for independent ones.
///
/// [`Estimate::of_influences`]: super::Estimate::of_influences
pub fn repetition_ratios(pairs: &[[&[u64]; 2]]) -> Option<Vec<f64>> {
    let segments = pairs.iter().flatten().map(|side| side.len()).min()?;
    let found: Vec<Segment> =
        (0..segments).filter_map(|segment| Segment::of(pairs, segment)).collect();
    let total = |side: usize| found.iter().map(|segment| segment.times[side]).sum::<f64>();
    let totals = [total(0), total(1)];
    let mut figures = vec![(totals[1] / totals[0]).ln(); pairs.len()];
    for segment in &found {
        let share = (segment.times[0] / totals[0] + segment.times[1] / totals[1]) / 2.0;
        for (figure, influence) in figures.iter_mut().zip(&segment.influences) {
            *figure += share * influence;
        }
    }
    (!found.is_empty()).then_some(figures)
}

/// A segment over all pairs.
struct Segment {
    /// Its time on each side, apart by the trimmed mean of the logarithms.
    times: [f64; 2],
    /// What each pair adds to that mean; their sum is 0.
    influences: Vec<f64>,
}

impl Segment {
    /// `None` where it takes no time on a side.
    fn of(pairs: &[[&[u64]; 2]], segment: usize) -> Option<Segment> {
        let times = || pairs.iter().map(|[a, b]| [a[segment] as f64, b[segment] as f64]);
        let logs: Vec<f64> = times().map(|[a, b]| (b / a).ln()).collect();
        if !logs.iter().all(|log| log.is_finite()) {
            return None;
        }
        let middle = |side: usize| median(&times().map(|both| both[side]).collect::<Vec<f64>>());
        // Of both sides alike, so that the ratio of the sides in the other order is the reciprocal.
        let size = (middle(0)? * middle(1)?).sqrt();
        let trimmed = Trimmed::of_many(&logs)?;
        let half = trimmed.mean / 2.0;
        let scale = pairs.len() as f64 / trimmed.count as f64;
        let influences = trimmed.deviations.iter().map(|deviation| deviation * scale).collect();
        Some(Segment { times: [size * (-half).exp(), size * half.exp()], influences })
    }
}

#[cfg(test)]
mod tests {
    use super::super::comparison::estimate_of_pairs;
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
        // One segment of ten takes twice as long in each pair. The ratio is that of the whole times.
        pairs.iter_mut().for_each(|[_, b]| b[3] *= 2);
        let mean = ratios(&pairs).unwrap().iter().sum::<f64>() / 10.0;
        let whole: f64 = (9.0 * 1100.0 + 8800.0) / (9.0 * 1000.0 + 4000.0);
        assert!((mean - whole.ln()).abs() < 1e-3, "{mean}");
        let swapped: Vec<[Vec<u64>; 2]> =
            pairs.iter().map(|[a, b]| [b.clone(), a.clone()]).collect();
        let other = ratios(&swapped).unwrap().iter().sum::<f64>() / 10.0;
        assert!((mean + other).abs() < 1e-12, "{mean} {other}");
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
        /// With a single segment, the estimate is Yuen's, or that of all values where they are few.
        #[test]
        fn one_segment_is_yuen_s(times in prop::collection::vec((1u64..10_000, 1u64..10_000), 5..60)) {
            let pairs: Vec<[Vec<u64>; 2]> =
                times.iter().map(|(a, b)| [vec![*a], vec![*b]]).collect();
            let figures = ratios(&pairs).unwrap();
            let logs: Vec<f64> = times.iter().map(|(a, b)| (*b as f64 / *a as f64).ln()).collect();
            let expected = estimate_of_pairs(&logs).unwrap();
            let own = Estimate::of_influences(&figures).unwrap();
            prop_assert!((own.mean - expected.mean).abs() < 1e-9);
            prop_assert!((own.error - expected.error).abs() < 1e-9, "{own:?} {expected:?}");
            prop_assert_eq!(own.freedom, expected.freedom);
        }
    }
}
