//! Why a figure is not comparable, in the sentences of findings.

use crate::results::Variation;

/// The reason for a figure that follows from the address where the heap begins.
pub const OTHER_LAYOUT: &str = "another build of heaplay begins the heap elsewhere, which moves what \
                                lies in one large piece";

/// The reason for page faults that another build has on its own file.
pub const OTHER_FILE: &str = "another build of heaplay has other page faults on its own file";

/// The reason for memory that varies between runs, from the value of
/// [`VariesBetweenRuns`](crate::results::Metric::VariesBetweenRuns).
pub fn variation(value: f64) -> &'static str {
    match Variation::of(value) {
        Some(Variation::AtRandom) => "it places blocks at random",
        _ => {
            "it returns memory after a delay in wall time; `heaplay backends NAME` lists the settings \
             that fix it"
        }
    }
}
