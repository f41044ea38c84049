//! Judges a candidate against a baseline by figures only.
//!
//! `finding.rs` is the contract: a verdict on one measure with its evidence. `judge.rs` judges a
//! suite that `bench` measures: `exact.rs` its exact measures, `instructions.rs` its instructions,
//! and `timing.rs` its pairs while they come in. `stored.rs` compares two run records,
//! `recordings.rs` the recordings (`recording.rs`) of one program, `steady_requests.rs` those of their
//! requests that repeat. `policy.rs` reads margins and accepted increases,
//! `measures.rs` lists what is judged beside exact metrics.
//! `power.rs` summarises the trials of a power study, `pareto.rs` ranks backends by time and memory.
//! `json.rs`, `junit.rs`, `markdown.rs` and `annotations.rs` write findings for other programs.

mod annotations;
mod exact;
mod finding;
mod frame;
mod instructions;
mod json;
mod judge;
mod junit;
mod machines;
mod markdown;
mod measures;
mod pareto;
mod policy;
mod policy_file;
mod power;
mod reasons;
mod recording;
mod recordings;
mod steady_requests;
mod stored;
mod timing;

pub use annotations::annotations;
pub use exact::compare_exact;
pub use finding::{
    Conclusion, Evidence, Finding, RecordedFigures, Verdict, all_counts, counts, sort,
};
pub use frame::Frame;
pub use json::json;
pub use junit::junit;
pub use markdown::markdown;
pub use measures::{FRAGMENTATION, INSTRUCTIONS, MEASURES, Measure, TAIL, TIME};
pub use pareto::{BackendCost, best, pareto_set};
pub use policy::{Margin, Policy};
pub use policy_file::PolicyError;
pub use power::{Rate, Rates, TrialSummary, verdict_counts};
pub use recording::{KeyedRequests, Recording, RequestCounts};
pub use recordings::{ENOUGH_RECORDINGS, RECORDING_ERROR};
pub use stored::{CheckError, StoredFindings, compare, compare_recordings};
pub use timing::{Budget, Gate, Ruling};
