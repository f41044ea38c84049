//! The renderer of PNG: which file draws which chart.

use super::canvas::Canvas;
use super::frame::warn;
use super::{
    check_effect, footprint_overlay, heap_map, latency_by_size, latency_heat_map,
    latency_histogram, latency_percentiles, page_fullness, page_retention, page_retention_at_marks,
    placement, scaling, scorecard, side_by_side, sizes_and_rounding, threads, throughput,
    trace_arenas, trace_lifetimes, trace_live, trace_sizes, where_memory_went,
};
use crate::report::chart::Chart;

/// A finished picture.
pub struct Picture {
    /// The drawing.
    pub canvas: Canvas,
}

/// Draws a chart.
pub fn draw(chart: &Chart) -> Picture {
    let mut canvas = match chart {
        Chart::CheckEffect(chart) => check_effect::draw(chart),
        Chart::FootprintOverlay(chart) => footprint_overlay::draw(chart),
        Chart::HeapMap(chart) => heap_map::draw(chart),
        Chart::LatencyBySize(chart) => latency_by_size::draw(chart),
        Chart::LatencyHeatMap(chart) => latency_heat_map::draw(chart),
        Chart::LatencyHistogram(chart) => latency_histogram::draw(chart),
        Chart::LatencyPercentiles(chart) => latency_percentiles::draw(chart),
        Chart::PageFullness(chart) => page_fullness::draw(chart),
        Chart::PageRetention(chart) => page_retention::draw(chart),
        Chart::PageRetentionAtMarks(chart) => page_retention_at_marks::draw(chart),
        Chart::Placement(chart) => placement::draw(chart),
        Chart::Scaling(chart) => scaling::draw(chart),
        Chart::Scorecard(chart) => scorecard::draw(chart),
        Chart::SideBySide(chart) => side_by_side::draw(chart),
        Chart::SizesAndRounding(chart) => sizes_and_rounding::draw(chart),
        Chart::Threads(chart) => threads::draw(chart),
        Chart::Throughput(chart) => throughput::draw(chart),
        Chart::TraceArenas(chart) => trace_arenas::draw(chart),
        Chart::TraceLifetimes(chart) => trace_lifetimes::draw(chart),
        Chart::TraceLive(chart) => trace_live::draw(chart),
        Chart::TraceSizes(chart) => trace_sizes::draw(chart),
        Chart::WhereMemoryWent(chart) => where_memory_went::draw(chart),
    };
    if let Some(note) = &chart.caption().synthesised {
        warn(&mut canvas, note);
    }
    Picture { canvas }
}
