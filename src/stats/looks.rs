//! Looking at data while it comes in. Each look is a chance to be wrong, so the error
//! that is allowed is spent over them: a sum of shares keeps the whole (Bonferroni), whatever the
//! looks have in common. The first looks get the larger shares, as they have the fewest values to
//! say the same with: so the bound that must be crossed stays nearly the same number of standard
//! errors from look to look (5.6 at the second, 3.8 at the sixth).

/// After how many values one looks: the first only sees what is huge; then half as many again each
/// time.
pub const LOOKS: [usize; 10] = [6, 10, 15, 22, 33, 50, 75, 112, 168, 252];

/// Each look's share of the error, in parts of the share of the look before.
const SHRINKS: f64 = 0.7;

/// The first look at which there are more than `seen` values; `None` after the last.
pub fn look_after(seen: usize) -> Option<usize> {
    LOOKS.into_iter().find(|look| *look > seen)
}

/// The error for the look at `seen` values, if over all looks it is to be at most `budget`. One
/// that is brought forward, for lack of time, has the error of the look that it is taken for.
pub fn error_of_look(budget: f64, seen: usize) -> f64 {
    let at = LOOKS.iter().position(|look| *look >= seen).unwrap_or(LOOKS.len() - 1);
    let all = (1.0 - SHRINKS.powi(LOOKS.len() as i32)) / (1.0 - SHRINKS);
    budget * SHRINKS.powi(at as i32) / all
}
