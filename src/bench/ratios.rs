//! How much longer the second side of each pair took than the first.

use crate::replay::{IterationTimes, Iterations};
use crate::stats::segment_ratios;

/// How much longer the second of two took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Natural logarithm of the ratio of processor times.
    pub processor: f64,
    /// The same of wall times.
    pub wall: f64,
}

/// How much longer the second of each two took than the first, all cut by `iterations`: one figure
/// a pair, as [`segment_ratios`] has it. `None` where segments take no time.
pub fn ratios(pairs: &[[&IterationTimes; 2]], iterations: Iterations) -> Option<Vec<Ratio>> {
    let by = |times: fn(&IterationTimes) -> &[u64]| {
        let pairs: Vec<[&[u64]; 2]> = pairs.iter().map(|[a, b]| [times(a), times(b)]).collect();
        segment_ratios(&pairs, iterations.segments.max(1))
    };
    let (processor, wall) = (by(|times| &times.processor_ns)?, by(|times| &times.wall_ns)?);
    Some(
        processor
            .into_iter()
            .zip(wall)
            .map(|(processor, wall)| Ratio { processor, wall })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITERATIONS: Iterations =
        Iterations { iterations: 4, segments: 10, iterations_in_segment: 1 };

    /// Times of a side: `at` gives those of each segment, by iteration and place.
    fn side(at: impl Fn(usize, usize) -> f64) -> IterationTimes {
        let segments = (0..ITERATIONS.iterations)
            .flat_map(|iteration| (0..ITERATIONS.segments).map(move |place| (iteration, place)));
        let ns: Vec<u64> =
            segments.map(|(iteration, place)| (at(iteration, place) * 1e6) as u64).collect();
        IterationTimes { processor_ns: ns.clone(), wall_ns: ns }
    }

    fn figures(pairs: &[[IterationTimes; 2]]) -> Vec<f64> {
        let pairs: Vec<[&IterationTimes; 2]> = pairs.iter().map(|[a, b]| [a, b]).collect();
        ratios(&pairs, ITERATIONS).unwrap().into_iter().map(|ratio| ratio.processor).collect()
    }

    #[test]
    fn a_disturbance_is_left_out_and_a_slower_phase_is_not() {
        let even = || side(|_, _| 1.0);
        let slower = side(|_, _| 1.05);
        let near = |found: f64, truth: f64| assert!((found - truth.ln()).abs() < 1e-4, "{found}");
        near(figures(&[[even(), slower]])[0], 1.05);
        // One segment of forty that took twenty times as long.
        let disturbed =
            side(|iteration, place| if (iteration, place) == (1, 3) { 21.0 } else { 1.05 });
        near(figures(&[[even(), disturbed]])[0], 1.05);
        // One place of ten that takes half as long again in every iteration: ln(1.5) there, which
        // weighs 2.5 of 20.5.
        let phase = side(|_, place| if place == 3 { 1.5 } else { 1.0 });
        let found = figures(&[[even(), phase]])[0];
        assert!((found - 1.5f64.ln() * 2.5 / 20.5).abs() < 1e-4, "{found}");
    }

    #[test]
    fn each_pair_has_its_own_deviation() {
        let pair = |own: f64| {
            [side(|_, place| 1.0 + place as f64), side(move |_, place| own * (1.0 + place as f64))]
        };
        let found = figures(&[pair(1.00), pair(1.02), pair(1.04), pair(0.97)]);
        for (found, own) in found.iter().zip([1.00f64, 1.02, 1.04, 0.97]) {
            assert!((found - own.ln()).abs() < 1e-3, "{found} of {own}");
        }
        // Neither side is favoured.
        let swapped = figures(&[[side(|_, _| 1.1), side(|_, place| 1.0 + place as f64 / 9.0)]])[0];
        let straight = figures(&[[side(|_, place| 1.0 + place as f64 / 9.0), side(|_, _| 1.1)]])[0];
        assert!((swapped + straight).abs() < 1e-4, "{swapped} {straight}");
    }

    #[test]
    fn segments_that_take_no_time_have_no_ratio() {
        assert_eq!(ratios(&[[&side(|_, _| 0.0), &side(|_, _| 0.0)]], ITERATIONS), None);
    }
}
