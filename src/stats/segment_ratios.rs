//! How much longer the second side of each pair took than the first, from the times of its segments.

use super::robust::TRIM;
use super::sample::median;

/// The natural logarithm of second over first, a figure for each pair. A side is the time of each
/// segment, iteration by iteration; an iteration has `segments` of them. `None` where segments take no
/// time.
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
pub fn segment_ratios(pairs: &[[&[u64]; 2]], segments: usize) -> Option<Vec<f64>> {
    let all = |[a, b]: &[&[u64]; 2]| -> Vec<(f64, f64)> {
        let one = |(a, b): (&u64, &u64)| ((*b as f64 / *a as f64).ln(), *a as f64 + *b as f64);
        a.iter().zip(*b).map(one).collect()
    };
    let pairs: Vec<Vec<(f64, f64)>> = pairs.iter().map(all).collect();
    // Of each segment of an iteration: its usual ratio, and how much it weighs.
    let mut places = Vec::with_capacity(segments);
    for place in 0..segments {
        let here = || pairs.iter().flat_map(|timed| timed.iter().skip(place).step_by(segments));
        let logs: Vec<f64> = here().map(|one| one.0).collect();
        let weights: Vec<f64> = here().map(|one| one.1).collect();
        places.push((median(&logs)?, median(&weights)?));
    }
    let usual = weighted_mean(places.iter().copied())?;
    let figure = |timed: &Vec<(f64, f64)>| {
        let off = |(at, one): (usize, &(f64, f64))| {
            (one.0 - places[at % segments].0, places[at % segments].1)
        };
        let mut off: Vec<(f64, f64)> = timed.iter().enumerate().map(off).collect();
        off.retain(|(log, _)| log.is_finite());
        off.sort_by(|a, b| a.0.total_cmp(&b.0));
        let cut = (TRIM * off.len() as f64) as usize;
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
