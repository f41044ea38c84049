//! Looks at data that is still coming in.
//!
//! Each look is a chance to be wrong, so the looks share the allowed error. The sum of their shares
//! is the whole error (Bonferroni), whatever dependence there is between looks. The first looks get
//! the larger shares, because they have the fewest values. So the bound that a figure must cross
//! stays nearly the same number of standard errors: 5.6 at the second look, 3.8 at the sixth.

/// The numbers of values at which one looks. The first look only finds huge effects; each later
/// look has half as many values again.
pub const LOOKS: [usize; 10] = [6, 10, 15, 22, 33, 50, 75, 112, 168, 252];

/// The error of a look, as a part of the error of the look before.
const SHRINKS: f64 = 0.7;

/// The number of values at the first look with more than `seen` values; `None` after the last look.
pub fn look_after(seen: usize) -> Option<usize> {
    LOOKS.into_iter().find(|look| *look > seen)
}

/// The error of the look at `seen` values, if all looks together may have the error `budget`. A
/// look that is made early, for lack of time, has the error of the look that it replaces.
pub fn error_of_look(budget: f64, seen: usize) -> f64 {
    let at = LOOKS.iter().position(|look| *look >= seen).unwrap_or(LOOKS.len() - 1);
    let all = (1.0 - SHRINKS.powi(LOOKS.len() as i32)) / (1.0 - SHRINKS);
    budget * SHRINKS.powi(at as i32) / all
}
