//! Summary statistics of a sample: quantiles, range, deviation, geometric mean.

/// The finite values, ascending.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The quantile at `share` (0 to 1), interpolated between adjacent values. This is type 7 of
/// Hyndman and Fan, "Sample quantiles in statistical packages", The American Statistician 50
/// (1996), the default of R and NumPy.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let values = sorted(values);
    let last = values.len().checked_sub(1)?;
    let position = share.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(values[below] + (values[above] - values[below]) * (position - below as f64))
}

/// The median: the quantile at one half.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The arithmetic mean.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The smallest and the largest value.
pub fn range(values: &[f64]) -> Option<(f64, f64)> {
    let values = sorted(values);
    Some((*values.first()?, *values.last()?))
}

/// The geometric mean of the positive values. It is the only mean under which ratios of ratios
/// agree for every reference: Fleming and Wallace, "How not to lie with statistics", CACM 29
/// (1986). Other values are left out.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let logs: Vec<f64> = values
        .iter()
        .filter(|value| value.is_finite() && **value > 0.0)
        .map(|value| value.ln())
        .collect();
    if logs.is_empty() { None } else { Some((logs.iter().sum::<f64>() / logs.len() as f64).exp()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: [f64; 7] = [3.1, 0.4, 15.9, 2.6, 5.3, 5.8, 9.7];

    fn close(found: Option<f64>, expected: f64) {
        let found = found.expect("a value");
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    /// Figures from Python 3: `statistics.median(v)`, `statistics.quantiles(v, n=…,
    /// method="inclusive")`, `statistics.median(abs(x - median) for x in v)`,
    /// `statistics.geometric_mean(v)`.
    #[test]
    fn agrees_with_python() {
        close(median(&V), 5.3);
        close(median(&V[..4]), 2.85);
        close(quantile(&V, 0.25), 2.85);
        close(quantile(&V, 0.9), 12.18);
        close(geometric_mean(&V), 3.9605229698548254);
        assert_eq!(range(&V), Some((0.4, 15.9)));
    }

    #[test]
    fn an_empty_sample_gives_none_and_only_finite_values_count() {
        assert_eq!(median(&[]), None);
        assert_eq!(range(&[f64::NAN]), None);
        assert_eq!(geometric_mean(&[0.0, -1.0]), None);
        assert_eq!(median(&[f64::NAN, 2.0, f64::INFINITY]), Some(2.0));
        assert_eq!(quantile(&[1.0], 0.99), Some(1.0));
        assert_eq!(quantile(&[1.0, 2.0], 7.0), Some(2.0));
    }
}
