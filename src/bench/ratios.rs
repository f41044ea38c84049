//! How much longer the second side of each pair took than the first.

use crate::replay::{IterationTimes, Iterations};
use crate::stats;

/// How much longer the second of two took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Natural logarithm of the ratio of processor times.
    pub processor: f64,
    /// The same of wall times.
    pub wall: f64,
}

/// How much longer the second of each two took than the first, all cut by `iterations`: one figure
/// a pair. `None` where segments take no time.
///
/// Segments of an iteration differ: a longer free list slows those that search it. So the usual
/// ratio of each segment is found first, as the median over all iterations and pairs. A pair's
/// figure is the mean of the usual ratios, and the pair's own deviation from it, a trimmed mean
/// over its segments. A disturbance makes one segment of one iteration deviate, and is trimmed
/// away. A phase that is slower in every iteration deviates nowhere, and counts in full. Each
/// segment weighs as much as both sides take in it (the time of one side as a weight would favour
/// that side).
///
/// The pairs share the usual ratios, which do not tie the pairs together: were the usual ratio off
/// by some amount everywhere, each pair's deviation would be off by as much the other way.
pub fn ratios(pairs: &[[&IterationTimes; 2]], iterations: Iterations) -> Option<Vec<Ratio>> {
    let by = |times: fn(&IterationTimes) -> &[u64]| {
        let pairs: Vec<[&[u64]; 2]> = pairs.iter().map(|[a, b]| [times(a), times(b)]).collect();
        log_ratios(&pairs, iterations.segments.max(1))
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

fn log_ratios(pairs: &[[&[u64]; 2]], segments: usize) -> Option<Vec<f64>> {
    let all = |[a, b]: &[&[u64]; 2]| -> Vec<(f64, f64)> {
        let one = |(a, b): (&u64, &u64)| ((*b as f64 / *a as f64).ln(), (a + b) as f64);
        a.iter().zip(*b).map(one).collect()
    };
    let pairs: Vec<Vec<(f64, f64)>> = pairs.iter().map(all).collect();
    // Of each segment of an iteration: its usual ratio, and how much it weighs.
    let mut places = Vec::with_capacity(segments);
    for place in 0..segments {
        let here = || pairs.iter().flat_map(|timed| timed.iter().skip(place).step_by(segments));
        let logs: Vec<f64> = here().map(|one| one.0).collect();
        let weights: Vec<f64> = here().map(|one| one.1).collect();
        places.push((stats::median(&logs)?, stats::median(&weights)?));
    }
    let usual = weighted_mean(places.iter().copied())?;
    let figure = |timed: &Vec<(f64, f64)>| {
        let off = |(at, one): (usize, &(f64, f64))| {
            (one.0 - places[at % segments].0, places[at % segments].1)
        };
        let mut off: Vec<(f64, f64)> = timed.iter().enumerate().map(off).collect();
        off.retain(|(log, _)| log.is_finite());
        off.sort_by(|a, b| a.0.total_cmp(&b.0));
        let cut = (stats::TRIM * off.len() as f64) as usize;
        Some(usual + weighted_mean(off[cut..off.len() - cut].iter().copied())?)
    };
    pairs.iter().map(figure).collect()
}

/// The mean of values with their weights; `None` without any weight.
fn weighted_mean(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, weights) =
        values.fold((0.0, 0.0), |(sum, all), (value, weight)| (sum + value * weight, all + weight));
    (weights > 0.0).then_some(sum / weights)
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
