//! What a check was: the circumstances of its findings.

use serde::Serialize;

use crate::results::Machine;

/// What a check was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Frame {
    /// Version of heaplay.
    pub heaplay: String,
    /// The first side, as the person wrote it.
    pub baseline: String,
    /// The second side.
    pub candidate: String,
    /// The rule by which times were judged, in a sentence; empty when none were.
    pub rule: String,
    /// The seed of all orders of time slices.
    pub seed: u64,
    /// Wall time of the whole check, in seconds.
    pub seconds: f64,
    /// The system's load average over one minute, at the end of the check.
    pub load: Option<f64>,
    /// Where it ran.
    pub machine: Machine,
    /// What else a person should know: unused entries of the policy, measures left out.
    pub notes: Vec<String>,
}
