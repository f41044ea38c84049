//! Chart of a trace: live bytes and blocks over the program's life.

use serde::Serialize;

use super::axis::Axis;
use super::contract::Caption;
use super::scale::Scale;
use super::trace_clock::TraceClock;
use crate::report::figures::{LiveSegment, MARKS_MAX, ProgramPhase, TraceShape};
use crate::report::text::{end_name, end_sentence};
use crate::units::{byte_unit, bytes, count, percent, times};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct TraceLiveChart {
    /// Its sentences.
    pub caption: Caption,
    /// What the axis across counts.
    pub clock: TraceClock,
    /// Across.
    pub clock_axis: Axis,
    /// Upwards, of the upper panel: live bytes.
    pub bytes_axis: Axis,
    /// Upwards, of the lower panel: live blocks.
    pub blocks_axis: Axis,
    /// The trace in order.
    pub segments: Vec<LiveSegment>,
    /// The peak: its place on the axis across, and live bytes.
    pub peak: (u64, u64),
    /// The place of the end on the axis across.
    pub end: u64,
    /// Live bytes at the end.
    pub live_end_bytes: u64,
    /// The moment that counts as the end.
    pub end_name: String,
    /// The marks of the program.
    pub phases: Vec<ProgramPhase>,
}

/// Describes the chart; `None` for a trace without requests.
pub fn describe(shape: &TraceShape) -> Option<TraceLiveChart> {
    let last = shape.live.last()?;
    if last.clock == 0 {
        return None;
    }
    let clock = TraceClock::of(shape.live.iter().map(|segment| (segment.clock, segment.bytes.0)));
    let place = |segment: &LiveSegment| match clock {
        TraceClock::Bytes => segment.clock,
        TraceClock::Calls => segment.event,
    };
    // The first segment that reaches a place of the trace.
    let first = |is_reached: &dyn Fn(&LiveSegment) -> bool| {
        shape.live.iter().find(|segment| is_reached(segment)).unwrap_or(last)
    };
    let ends = shape.end.as_ref().map_or(last, |end| first(&|segment| segment.event >= end.event));
    let peak = shape.live.iter().max_by_key(|segment| segment.bytes.1)?;
    let over = match clock {
        TraceClock::Bytes => "over the bytes that it allocated",
        TraceClock::Calls => "over its calls",
    };
    let plotted = format!(
        "Live heap of `{}` {over} ({} calls, {} in all).  No allocator can hold less than this.",
        shape.name,
        count(shape.calls),
        bytes(shape.requested as f64)
    );
    let unit = byte_unit(shape.live_peak as f64);
    let most = shape.live_peak as f64 / unit.bytes;
    let blocks = shape.live.iter().map(|segment| segment.blocks.1).max().unwrap_or(1).max(1) as f64;
    let (factor, label) =
        if blocks >= 1e4 { (1e3, "live blocks, thousands") } else { (1.0, "live blocks") };
    let axis = |label: String, unit: &str, unit_size: f64, to: f64| Axis {
        label,
        unit: unit.to_owned(),
        unit_size,
        scale: Scale::Linear { from: 0.0, to },
    };
    let phase = |(bytes, name): &(u64, String)| ProgramPhase {
        event: first(&|segment| segment.clock >= *bytes).event as f64,
        clock_bytes: *bytes as f64,
        name: name.clone(),
    };
    let live_bytes = format!("live bytes, {}", unit.name);
    Some(TraceLiveChart {
        caption: Caption {
            synthesised: shape.synthesised.clone(),
            ..Caption::new(verdict(shape, peak.clock as f64 / last.clock as f64), plotted, &READING)
        },
        clock,
        clock_axis: clock.axis(place(last) as f64),
        bytes_axis: axis(live_bytes, unit.name, unit.bytes, (most * 1.1).max(1e-9)),
        blocks_axis: axis(label.to_owned(), "blocks", factor, blocks / factor * 1.12),
        segments: shape.live.clone(),
        peak: (place(peak), shape.live_peak),
        end: place(ends),
        live_end_bytes: shape.live_end,
        end_name: end_name(shape.end.as_ref()),
        phases: shape.marks.iter().take(MARKS_MAX).map(phase).collect(),
    })
}

const READING: [&str; 2] = [
    "Dark: the least in each segment of the trace, pale on top of it: the most; where both are one, \
     the heap moves slowly.",
    "A sawtooth is bursts that come and go; a rising floor under it is what they leave behind.",
];

fn verdict(shape: &TraceShape, peak_share: f64) -> String {
    let left = shape.live_end as f64 / shape.live_peak.max(1) as f64;
    let factor = shape.requested as f64 / shape.live_peak.max(1) as f64;
    format!(
        "The heap peaks at {}, when {} of the bytes are allocated, and {} ({}) are live {}.  \
         The program allocates {} times its peak.",
        bytes(shape.live_peak as f64),
        percent(peak_share),
        bytes(shape.live_end as f64),
        percent(left),
        end_sentence(shape.end.as_ref()),
        times(factor)
    )
}
