//! Judges a candidate against a baseline from figures alone.
//!
//! `finding.rs` is the contract: what is said of one measure, and on what evidence. `stored.rs`
//! compares two run records, `exact.rs` the repeated exact runs of two sides, `timing.rs` says of
//! pairs that are still coming in whether to go on; `policy.rs` reads margins and accepted
//! increases. `json.rs`, `junit.rs`, `markdown.rs` and `annotations.rs` write the findings down for
//! machines.

mod annotations;
mod exact;
mod finding;
mod json;
mod junit;
mod markdown;
mod policy;
mod stored;
mod timing;

pub use annotations::annotations;
pub use exact::{Repeated, compare_exact};
pub use finding::{Evidence, Finding, PairOf, Verdict, exit_code, sort};
pub use json::json;
pub use junit::junit;
pub use markdown::markdown;
pub use policy::{Margin, Policy, PolicyError, TIMED};
pub use stored::{CheckError, Stored, compare, fingerprints_apart};
pub use timing::{Budget, Ended, Gate, Step, confirm, give_up, look};

use crate::results::Machine;

/// What a check was: the frame of its findings.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Frame {
    /// Version of heaplay.
    pub heaplay: String,
    /// The first side, as the person wrote it.
    pub baseline: String,
    /// The second.
    pub candidate: String,
    /// The rule by which times were judged, in a sentence; empty when none were.
    pub rule: String,
    /// From which all orders of turns come.
    pub seed: u64,
    /// Wall time of the whole check.
    pub seconds: f64,
    /// The system's load at its end.
    pub load: Option<f64>,
    /// Where it ran.
    pub machine: Machine,
    /// What else a person should know: entries of the policy that are of no use, measures left out.
    pub notes: Vec<String>,
}
