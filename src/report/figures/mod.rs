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
mod line_change;
mod line_matching;
mod memory;
mod movement_answer;
mod phases;
mod recorded_process;
mod rows;
mod run_sides;
mod scaling;
mod scorecard;
mod side_by_side;
mod tail;
mod thread_memory;
mod trace_report;
mod trace_shape;
mod trace_threads;

pub use arena_map::{ArenaMap, ArenaStrip, PoolCell};
pub use backend::{BackendFigures, BackendLabel, rows_without_bounds, without_bounds};
pub use cost::{CallCost, ChunkCost};
pub use distribution::{LatencyDistribution, OPS};
pub use effect::Effect;
pub use fragmentation::{Fragmentation, fragmentation};
pub use line_change::{
    LineChange, has_line_changes, held_text, line_at_end, line_changes, replayed_bytes,
    retention_at_end,
};
pub use memory::{ByteRange, MemoryFigures, ResidentFigure};
pub use movement_answer::{short_row, signed_percent};
pub use phases::{MARKS_MAX, ProgramPhase};
pub use recorded_process::{OwnReplay, RecordedProcess};
pub use run_sides::{NothingInCommon, compare_runs, size_class_label};
pub use scaling::{ScalingFigures, ScalingLine, ScalingPoint, ScalingStep, Spread};
pub use scorecard::{
    GEOMETRIC_MEAN, MemoryUnit, ScorecardGroup, ScorecardRow, geometric, group, groups_of_means,
};
pub use side_by_side::{
    BrokenDownBy, ComparedKind, ComparedSide, MovedBreakdown, MovedMeasure, MovedPart, MovedRow,
    MovedUnit, NO_LINE, NOT_ATTRIBUTED, SideBySide, SideMeasure,
};
pub use tail::{
    ClassTimes, PERCENTILES, WINDOWS, WINDOWS_NOTE, after_end, best_by_class, by_class, call_text,
    partly_slow_calls, percentiles, preemptions, seen_text, slow_calls, worst_windows,
};
pub use thread_memory::{LeftByEnded, ReportedArenas, ThreadMemory};
pub use trace_report::{TraceReport, backend_labels, mean_time_ratio};
pub use trace_shape::{AgeBar, AgeCurve, LiveSegment, SizeBar, Survival, TraceShape, survival};
pub use trace_threads::{LANES_MAX, ThreadLane, TraceThreads};
