//! Room `stats`: looking at data while it comes in. Each look is a chance to be wrong, so the error that is allowed is spent
//! over them: dividing it evenly keeps the sum (Bonferroni), whatever the looks have in common.

/// After how many values one looks: half as many again each time.
pub const LOOKS: [usize; 10] = [10, 15, 22, 33, 50, 75, 112, 168, 252, 378];

/// The first look at which there are more than `seen` values; `None` after the last.
pub fn look_after(seen: usize) -> Option<usize> {
    LOOKS.into_iter().find(|look| *look > seen)
}

/// The error for one look at one of `cells` × `measures`, if in all of them over all looks it is to be at most `budget`.
pub fn at_most(budget: f64, cells: usize, measures: usize) -> f64 {
    budget / (LOOKS.len() * cells.max(1) * measures.max(1)) as f64
}
