//! Charts: descriptions of pictures. A description has the sentences, the axes and the data of a
//! chart with their units, and no pixel; it can be serialised.
//!
//! `contract.rs` has what every chart has, each chart is a file with its type and its `describe`,
//! and `list.rs` is the list. A renderer, such as [`crate::report::picture`], draws a description.

mod axis;
mod check_effect;
mod clock_floor;
mod contract;
mod footprint_overlay;
mod heap_map;
mod heap_series;
mod latency_by_size;
mod latency_heat_map;
mod latency_histogram;
mod latency_percentiles;
mod list;
mod page_fullness;
mod page_retention;
mod page_retention_at_marks;
mod placement;
mod scale;
mod scaling;
mod scorecard;
mod side_by_side;
mod sizes_and_rounding;
mod threads;
mod throughput;
mod trace_arenas;
mod trace_clock;
mod trace_lifetimes;
mod trace_live;
mod trace_sizes;
mod where_memory_went;

pub use axis::Axis;
pub use check_effect::{CheckEffectChart, PairStage, signed_share};
pub use clock_floor::ClockFloor;
pub use contract::{About, Caption, ReadingSentence};
pub use footprint_overlay::{FootprintLine, FootprintOverlayChart};
pub use heap_map::{HeapMapChart, HeapMapPanel, HeapRun, LastColumn};
pub use heap_series::{HeapColumn, HeapSeries};
pub use latency_by_size::{
    ClassLine, ClassPanel, ClassPercentile, ClassPoint, LatencyBySizeChart, size_place,
};
pub use latency_heat_map::{LatencyBand, LatencyHeatMapChart, LatencyHeatMapRow};
pub use latency_histogram::{HistogramCell, HistogramColumn, LEAST_SHARE, LatencyHistogramChart};
pub use latency_percentiles::{
    LatencyPercentilesChart, PercentileCurve, PercentilePanel, describe as latency_percentiles,
};
pub use list::{
    CHARTS, Chart, ChartKind, TRACE_CHARTS, TraceChart, arenas, effect, scaling, scorecard,
    side_by_side,
};
pub use page_fullness::{FullnessBins, FullnessRow, PIECES, PageFullnessChart, sparse};
pub use page_retention::{
    LINES_MAX, PageRetentionChart, Reach, RetentionColumn, RetentionLine, checked_by_replay,
    first_line,
};
pub use page_retention_at_marks::{
    PageRetentionAtMarksChart, RetentionMoment, RetentionPanel, RetentionPart,
    table as retention_table,
};
pub use placement::{DISTANCES, PlacementChart, PlacementRow, describe as placement};
pub use scale::{Scale, tick_text};
pub use scaling::{ScalingChart, ScalingPanel, ScalingPanelLine, StepValue};
pub use scorecard::{
    QUESTION as SCORECARD_QUESTION, READING as SCORECARD_READING, ScorecardChart, ScorecardColumn,
};
pub use side_by_side::{
    MovementBar, MovementPanel, QUESTION as SIDES_QUESTION, READING as SIDES_READING,
    SideBySideChart,
};
pub use sizes_and_rounding::{RoundingStrip, SizeClassStep, SizesAndRoundingChart};
pub use threads::ThreadsChart;
pub use throughput::{AlongTrace, ThroughputChart, ThroughputRow};
pub use trace_arenas::TraceArenasChart;
pub use trace_clock::TraceClock;
pub use trace_lifetimes::{SurvivalCurve, TraceLifetimesChart};
pub use trace_live::TraceLiveChart;
pub use trace_sizes::{SizePanel, TraceSizesChart};
pub use where_memory_went::{HeapPanel, MemoryPart, WhereMemoryWentChart};
