//! Pictures, tables and a page of a run, from nothing but its record.
//!
//! Figures are derived from the record once ([`figures`]). A chart describes a picture by them,
//! without a pixel ([`chart`]); a renderer draws it ([`picture`]). The page, the terminal and the
//! tables read the same figures.
//!
//! A record from another machine, a half-finished run and an absurd one must all draw: what is
//! missing is left out and named, and nothing panics.

pub mod chart;
pub mod figures;
pub mod picture;

mod choice;
mod collector_time;
mod comparison_table;
mod dockerfile;
mod error;
mod failed_cells;
mod files;
mod free_list_note;
mod line_answer;
mod machines;
mod markdown;
mod own_line;
mod page;
mod palette;
mod peak_survival;
mod percentiles_table;
mod private;
mod render;
mod scorecard_table;
mod sides_table;
mod terminal;
mod text;
mod text_table;
mod thread_table;
mod trim_call;
mod unit_table;

pub use chart::{CHARTS, Chart, TRACE_CHARTS, arenas, effect, scaling, scorecard, side_by_side};
pub use error::ReportError;
pub use figures::{
    AgeBar, AgeCurve, ArenaMap, ArenaStrip, BrokenDownBy, ComparedKind, ComparedSide, Effect,
    LiveSegment, MovedMeasure, MovedPart, MovedRow, MovedUnit, NO_LINE, PoolCell, ScalingFigures,
    ScalingLine, ScalingPoint, ScalingStep, SideBySide, SideMeasure, SizeBar, Spread, ThreadLane,
    TraceReport, TraceShape, TraceThreads, backend_labels, compare_runs, short_row, signed_percent,
    size_class_label,
};
pub use line_answer::HOLDERS_NOTE;
pub use palette::Colour;
pub use picture::{Canvas, HEIGHT, Label, Picture, WIDTH, draw};
pub use private::without_private;
pub use render::{
    PendingPictures, render_arenas, render_effects, render_page, render_scaling, render_sides,
    render_trace,
};
#[cfg(feature = "internals")]
pub use render::{page, render};
pub use terminal::summary;
pub use text::{end_name, end_sentence, list, some, synthesised};
