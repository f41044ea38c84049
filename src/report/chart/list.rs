//! Every chart: the enum of descriptions, and the lists of those that a report draws.

use serde::Serialize;

use super::check_effect::{self, CheckEffectChart};
use super::contract::{About, Caption};
use super::footprint_overlay::{self, FootprintOverlayChart};
use super::heap_map::{self, HeapMapChart};
use super::latency_by_size::{self, LatencyBySizeChart};
use super::latency_heat_map::{self, LatencyHeatMapChart};
use super::latency_histogram::{self, LatencyHistogramChart};
use super::latency_percentiles::{self, LatencyPercentilesChart};
use super::page_fullness::{self, PageFullnessChart};
use super::page_retention::{self, PageRetentionChart};
use super::page_retention_at_marks::{self, PageRetentionAtMarksChart};
use super::placement::{self, PlacementChart};
use super::scaling::{self, ScalingChart};
use super::scorecard::{self, ScorecardChart};
use super::side_by_side::{self, SideBySideChart};
use super::sizes_and_rounding::{self, SizesAndRoundingChart};
use super::threads::{self, ThreadsChart};
use super::throughput::{self, ThroughputChart};
use super::trace_arenas::{self, TraceArenasChart};
use super::trace_lifetimes::{self, TraceLifetimesChart};
use super::trace_live::{self, TraceLiveChart};
use super::trace_sizes::{self, TraceSizesChart};
use super::where_memory_went::{self, WhereMemoryWentChart};
use crate::report::figures::{
    ArenaMap, Effect, MovedPart, ScalingFigures, SideBySide, TraceReport, TraceShape,
};
use crate::report::text::caveat;

/// Declares [`Chart`]: a variant for each description.
macro_rules! charts {
    ($($variant:ident($description:ident)),* $(,)?) => {
        /// The description of a chart: its sentences, its axes and its data with units, without a
        /// pixel. A renderer makes a picture of it; serialised, it has the variant's name as
        /// `chart`.
        #[derive(Clone, Debug, Serialize)]
        #[serde(tag = "chart", rename_all = "kebab-case")]
        #[allow(clippy::large_enum_variant, reason = "a chart is drawn as soon as it is described")]
        pub enum Chart {
            $(#[doc = concat!("See [`", stringify!($description), "`].")] $variant($description),)*
        }

        impl Chart {
            /// Its sentences.
            pub fn caption(&self) -> &Caption {
                match self { $(Chart::$variant(chart) => &chart.caption,)* }
            }

            fn caption_mut(&mut self) -> &mut Caption {
                match self { $(Chart::$variant(chart) => &mut chart.caption,)* }
            }
        }

        $(impl From<$description> for Chart {
            fn from(chart: $description) -> Chart {
                Chart::$variant(chart)
            }
        })*
    };
}

charts! {
    CheckEffect(CheckEffectChart),
    FootprintOverlay(FootprintOverlayChart),
    HeapMap(HeapMapChart),
    LatencyBySize(LatencyBySizeChart),
    LatencyHeatMap(LatencyHeatMapChart),
    LatencyHistogram(LatencyHistogramChart),
    LatencyPercentiles(LatencyPercentilesChart),
    PageFullness(PageFullnessChart),
    PageRetention(PageRetentionChart),
    PageRetentionAtMarks(PageRetentionAtMarksChart),
    Placement(PlacementChart),
    Scaling(ScalingChart),
    Scorecard(ScorecardChart),
    SideBySide(SideBySideChart),
    SizesAndRounding(SizesAndRoundingChart),
    Threads(ThreadsChart),
    Throughput(ThroughputChart),
    TraceArenas(TraceArenasChart),
    TraceLifetimes(TraceLifetimesChart),
    TraceLive(TraceLiveChart),
    TraceSizes(TraceSizesChart),
    WhereMemoryWent(WhereMemoryWentChart),
}

/// A chart that a report has for each trace.
pub struct ChartKind {
    /// Its name, question and reading.
    pub about: About,
    describe: fn(&TraceReport) -> Option<Chart>,
}

impl ChartKind {
    /// Describes the chart of a trace; `None` when the record has nothing for it.
    pub fn describe(&self, trace_report: &TraceReport) -> Option<Chart> {
        let mut chart = (self.describe)(trace_report)?;
        chart.caption_mut().synthesised = caveat(&trace_report.trace.facts);
        Some(chart)
    }
}

/// Gives the [`ChartKind`] of a module of charts.
macro_rules! kind {
    ($module:ident) => {
        ChartKind {
            about: $module::ABOUT,
            describe: |trace_report| $module::describe(trace_report).map(Chart::from),
        }
    };
}

/// Every chart of a trace, in the order of the page.
pub const CHARTS: &[ChartKind] = &[
    kind!(throughput),
    kind!(latency_percentiles),
    kind!(latency_heat_map),
    kind!(latency_histogram),
    kind!(latency_by_size),
    kind!(where_memory_went),
    kind!(footprint_overlay),
    kind!(heap_map),
    kind!(page_fullness),
    kind!(sizes_and_rounding),
    kind!(page_retention),
    kind!(page_retention_at_marks),
    kind!(placement),
    kind!(threads),
];

/// A chart of a trace by itself: its name, and its description where there is something to show.
pub type TraceChart = (&'static str, fn(&TraceShape) -> Option<Chart>);

/// Every chart of a trace by itself, without backends.
pub const TRACE_CHARTS: &[TraceChart] = &[
    ("sizes", |shape| trace_sizes::describe(shape).map(Chart::from)),
    ("lifetimes", |shape| trace_lifetimes::describe(shape).map(Chart::from)),
    ("live", |shape| trace_live::describe(shape).map(Chart::from)),
    ("threads", |shape| threads::describe_trace(shape).map(Chart::from)),
];

/// The scorecard of a run; `None` when nothing was measured.
pub fn scorecard(trace_reports: &[TraceReport]) -> Option<Chart> {
    scorecard::describe(trace_reports).map(Chart::from)
}

/// The scaling of some traces; empty where nothing was measured.
pub fn scaling(traces: &[ScalingFigures]) -> Vec<Chart> {
    scaling::describe(traces).into_iter().map(Chart::from).collect()
}

/// The map of arenas of a pool allocator; `None` when there never was an arena.
pub fn arenas(map: &ArenaMap) -> Option<Chart> {
    trace_arenas::describe(map).map(Chart::from)
}

/// A timed measure of a check; `None` without pairs.
pub fn effect(effect: &Effect) -> Option<Chart> {
    check_effect::describe(effect).map(Chart::from)
}

/// The movement between two sides in one part: charts with the end of the file name of each. What did
/// not move has none.
pub fn side_by_side(sides: &SideBySide, part: &MovedPart) -> Vec<(String, Chart)> {
    let charts = side_by_side::describe(sides, part).into_iter();
    charts.map(|(name, chart)| (name, Chart::from(chart))).collect()
}
