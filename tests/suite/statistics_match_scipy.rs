//! The statistics of the regression check agree with scipy (`oracle/robust.py`), and find the known
//! truth in simulated data.

use heaplay::stats::{
    Estimate, LOOKS, Random, clopper_pearson, error_of_look, incomplete_beta, look_after,
    student_quantile,
};

fn close(found: f64, expected: f64, what: &str) {
    let off = (found - expected).abs() / expected.abs().max(1e-300);
    assert!(off < 1e-9 || (found - expected).abs() < 1e-13, "{what}: {found} is not {expected}");
}

#[test]
fn agrees_with_scipy() {
    let text = include_str!("../oracle/robust.csv");
    let mut seen = std::collections::BTreeMap::new();
    for line in text.lines().skip(2) {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| fields[at].parse::<f64>().unwrap_or(f64::NAN);
        let (a, b, c, x, y) = (number(1), number(2), number(3), number(5), number(6));
        *seen.entry(fields[0]).or_insert(0) += 1;
        match fields[0] {
            "trimmed" => {
                let values: Vec<f64> =
                    fields[4].split(' ').map(|value| value.parse().unwrap()).collect();
                let found = Estimate::of(&values).unwrap();
                close(found.mean, x, line);
                close(found.error, y, line);
            }
            "student" => close(student_quantile(a, b), x, line),
            "beta" => close(incomplete_beta(a, b, c), x, line),
            "interval" => {
                let found = clopper_pearson(a as u64, b as u64, c);
                close(found.0, x, line);
                close(found.1, y, line);
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

/// A figure with the noise of a busy machine: normal by Box and Muller, with one value in ten from
/// a distribution ten times as wide.
fn noisy(random: &mut Random, truth: f64, spread: f64) -> f64 {
    let (u, v) = (1.0 - random.share(), random.share());
    let normal = (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos();
    let wide = if random.share() < 0.1 { 10.0 } else { 1.0 };
    truth + normal * spread * wide
}

/// Whether the lower bound is above the margin at any look.
fn alarms(random: &mut Random, truth: f64, margin: f64, budget: f64, most: usize) -> bool {
    let mut values = Vec::new();
    while let Some(look) = look_after(values.len()).filter(|look| *look <= most) {
        while values.len() < look {
            values.push(noisy(random, truth, 0.02));
        }
        if Estimate::of(&values).unwrap().lower(error_of_look(budget, look)) > margin {
            return true;
        }
    }
    false
}

fn share(trials: u64, mut trial: impl FnMut() -> bool) -> (f64, f64, f64) {
    let hits = (0..trials).map(|_| u64::from(trial())).sum::<u64>();
    let (low, high) = clopper_pearson(hits, trials, 0.999);
    (hits as f64 / trials as f64, low, high)
}

#[test]
fn false_alarms_over_all_looks_stay_below_the_budget() {
    let mut random = Random(1);
    // The truth is on the margin with a budget of 5 %, and then with the default budget.
    let (seen, low, _) = share(4000, || alarms(&mut random, 0.02, 0.02, 0.05, 168));
    assert!(low < 0.05, "{seen}");
    assert!(seen > 0.002, "{seen}: a bound that never alarms shows nothing");
    let (seen, _, high) = share(4000, || alarms(&mut random, 0.0, 0.0, 0.001, 168));
    assert!(high < 0.005, "{seen}");
}

#[test]
fn a_worse_candidate_is_found() {
    let mut random = Random(2);
    assert!(share(500, || alarms(&mut random, 0.10, 0.02, 0.001, 33)).0 > 0.99);
    assert!(share(500, || alarms(&mut random, 0.05, 0.02, 0.001, 112)).0 > 0.99);
    assert!(share(500, || alarms(&mut random, 0.02, 0.0, 0.001, 168)).0 > 0.95);
}

#[test]
fn looks_grow_and_end() {
    let mut seen = 0;
    let mut all = Vec::new();
    while let Some(next) = look_after(seen) {
        all.push(next);
        seen = next;
    }
    assert_eq!(all, LOOKS);
    let spent: f64 = LOOKS.iter().map(|look| error_of_look(0.001, *look)).sum();
    assert!((spent - 0.001).abs() < 1e-15, "{spent}");
    // An early look counts as the next one. There is no look after the last.
    assert_eq!(error_of_look(1.0, 11), error_of_look(1.0, 15));
    assert_eq!(error_of_look(1.0, 9999), error_of_look(1.0, LOOKS[LOOKS.len() - 1]));
}

#[test]
fn nothing_is_computed_from_nothing() {
    assert_eq!(Estimate::of(&[1.0, 2.0]), None);
    assert_eq!(Estimate::of(&[f64::NAN; 9]), None);
    assert!(student_quantile(0.0, 5.0).is_nan() && student_quantile(0.1, 0.0).is_nan());
    assert_eq!(clopper_pearson(0, 0, 0.95), (0.0, 1.0));
    let flat = Estimate::of(&[0.5; 10]).unwrap();
    assert_eq!((flat.mean, flat.error), (0.5, 0.0));
}
