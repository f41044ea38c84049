//! Figures: what charts and tables show, derived once from the record and referred to from then on.
//!
//! [`TraceReport`] has the figures of one trace. Each [`BackendFigures`] in it has the figures of
//! one backend, indexed by [`crate::results::Scope`] and [`crate::results::Metric`].

mod arena_map;
mod backend;
mod cost;
mod distribution;
mod effect;
mod fragmentation;
mod memory;
mod phases;
mod recorded_process;
mod rows;
mod scorecard;
mod tail;
mod trace_report;
mod trace_shape;

pub use arena_map::{ArenaMap, ArenaStrip, PoolCell};
pub use backend::{BackendFigures, BackendLabel};
pub use cost::{CallCost, ChunkCost};
pub use distribution::{LatencyDistribution, OPS};
pub use effect::Effect;
pub use fragmentation::{Fragmentation, fragmentation};
pub use memory::{ByteRange, MemoryFigures, ResidentFigure};
pub use phases::{MARKS_MAX, ProgramPhase};
pub use recorded_process::{OwnReplay, RecordedProcess};
pub use scorecard::{GEOMETRIC_MEAN, MemoryUnit, ScorecardGroup, ScorecardRow, geometric, group};
pub use tail::{
    ClassTimes, PERCENTILES, WINDOWS, best_by_class, by_class, call_text, partly_slow_calls,
    percentiles, preemptions, seen_text, short_site, slow_calls, worst_windows,
};
pub use trace_report::TraceReport;
pub use trace_shape::{AgeBar, AgeCurve, LiveSegment, SizeBar, Survival, TraceShape, survival};
