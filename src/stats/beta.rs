//! The incomplete beta function, and two intervals that follow from it: Student's t, and Clopper
//! and Pearson's.

/// ln Γ(x) for x > 0, by Stirling's series. First Γ(x + 1) = x Γ(x) raises the argument, until a
/// few terms give all digits of a double. Source: Abramowitz and Stegun, 6.1.15 and 6.1.41.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 12.0 {
        shift += x.ln();
        x += 1.0;
    }
    // The Bernoulli numbers B(2k) over 2k(2k − 1).
    const TERMS: [f64; 7] = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
    ];
    let square = x * x;
    let series = TERMS.iter().rev().fold(0.0, |sum, term| sum / square + term) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

/// The regularised incomplete beta function I_x(a, b): the probability that a beta variable with
/// these parameters is at most x. It is the continued fraction of DLMF 8.17.22, evaluated forwards.
/// NaN unless a, b > 0 and 0 ≤ x ≤ 1.
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if !(a > 0.0 && b > 0.0 && (0.0..=1.0).contains(&x)) {
        return f64::NAN;
    }
    if x == 0.0 || x == 1.0 {
        return x;
    }
    // The fraction converges quickly below the mean; above it the symmetric one does.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front =
        (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    // 1 / (1 + d1 / (1 + d2 / (1 + …))): numerators and denominators of the convergents, scaled as
    // they grow.
    let (mut before, mut now) = ((1.0, 0.0), (1.0, 1.0));
    let mut value = 1.0;
    for step in 1..20_000 {
        let m = f64::from(step / 2);
        let d = if step % 2 == 1 {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        } else {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        };
        let next = (now.0 + d * before.0, now.1 + d * before.1);
        (before, now) = ((now.0 / next.1, now.1 / next.1), (next.0 / next.1, 1.0));
        if (now.0 - value).abs() <= f64::EPSILON * now.0.abs() {
            value = now.0;
            break;
        }
        value = now.0;
    }
    front / value
}

/// The x at which I_x(a, b) is `share`, by bisection.
fn beta_quantile(a: f64, b: f64, share: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..1100 {
        // Bisection of the exponent first: quantiles of small shares lie near 0.
        let middle = if low == 0.0 && high > 1e-300 { high / 2.0 } else { (low + high) / 2.0 };
        if middle <= low || middle >= high {
            break;
        }
        if incomplete_beta(a, b, middle) < share { low = middle } else { high = middle }
    }
    high
}

/// The quantile of Student's t with `freedom` degrees of freedom (not necessarily whole) that is
/// exceeded with probability `above`. For a two-sided interval at 99 %, `above` is 0.005. NaN
/// unless 0 < `above` < 1 and `freedom` > 0.
pub fn student_quantile(above: f64, freedom: f64) -> f64 {
    if !(above > 0.0 && above < 1.0 && freedom > 0.0) {
        return f64::NAN;
    }
    if above > 0.5 {
        return -student_quantile(1.0 - above, freedom);
    }
    // P(T > t) is half of I_x(freedom / 2, 1 / 2) at x = freedom / (freedom + t²).
    let x = beta_quantile(freedom / 2.0, 0.5, 2.0 * above);
    (freedom * (1.0 - x) / x).sqrt()
}

/// The exact interval of a share after `hits` of `trials`, at `level` (such as 0.95). Source:
/// Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the
/// binomial", Biometrika 26 (1934).
pub fn clopper_pearson(hits: u64, trials: u64, level: f64) -> (f64, f64) {
    let (k, n, tail) = (hits as f64, trials as f64, (1.0 - level) / 2.0);
    let low = if hits == 0 { 0.0 } else { beta_quantile(k, n - k + 1.0, tail) };
    let high = if hits >= trials { 1.0 } else { 1.0 - beta_quantile(n - k, k + 1.0, tail) };
    (low, high)
}
