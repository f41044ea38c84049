//! Chart: resident memory of all backends in one plot, and what is left after the end.

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::heap_series::{HeapSeries, shown_peak, trace_clock};
use super::trace_clock::TraceClock;
use crate::report::figures::{
    BackendFigures, BackendLabel, MemoryFigures, ProgramPhase, ResidentFigure, TraceReport,
    without_bounds,
};
use crate::report::text::{end_moment, some};
use crate::units::{byte_unit, bytes};

/// Does it come down again?
pub const ABOUT: About = About {
    name: "footprint-overlay",
    question: "How much does each allocator hold over the program's life, and does it come down \
               again?",
    reading: "A line is the resident memory of an allocator, the blue area the live heap: the \
              nearer a line is to the area, the better. The strip at the right is what happens \
              after the end: a trim, then everything is freed and trimmed again. What is left \
              then is the allocator's own.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct FootprintOverlayChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across.
    pub clock_axis: Axis,
    /// The moment that counts as the end.
    pub end_name: String,
    /// What the axis across counts.
    pub clock: TraceClock,
    /// The end of that axis, in bytes or calls.
    pub clock_end: f64,
    /// Upwards, the same in both panels.
    pub memory_axis: Axis,
    /// Largest sum of requested bytes live at once.
    pub live_peak_bytes: f64,
    /// The marks of the program.
    pub phases: Vec<ProgramPhase>,
    /// The recorded process itself: places on the axis and resident bytes; empty where that is not
    /// known.
    pub process: Vec<(f64, f64)>,
    /// By backend. The live bytes are the same for all.
    pub lines: Vec<FootprintLine>,
}

/// The memory of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct FootprintLine {
    /// The backend.
    pub backend: BackendLabel,
    /// The heap over the trace.
    pub heap: HeapSeries,
    /// Its memory: the second panel has the end, after a trim, and after everything is freed.
    pub memory: MemoryFigures,
}

/// Describes the chart; `None` when no backend has memory.
pub fn describe(trace_report: &TraceReport) -> Option<FootprintOverlayChart> {
    let shown: Vec<&BackendFigures> =
        trace_report.backends.iter().filter(|backend| backend.has_memory()).collect();
    if shown.is_empty() {
        return None;
    }
    let clock = trace_clock(trace_report);
    // A bound makes neither the title nor the scale.
    let leading = without_bounds(shown.iter().copied());
    let peaks: Vec<f64> = leading.iter().filter_map(|backend| backend.memory.peak_bytes).collect();
    let process = trace_report.process.as_ref();
    let recorded_peak = process.map_or(0.0, |process| process.peak_bytes);
    let most = shown_peak(&peaks).max(trace_report.live_peak_bytes).max(recorded_peak) * 1.06;
    let unit = byte_unit(most);
    let line = |backend: &&BackendFigures| FootprintLine {
        backend: backend.label.clone(),
        heap: HeapSeries::of(&backend.samples, clock),
        memory: backend.memory,
    };
    let lines: Vec<FootprintLine> = shown.iter().map(line).collect();
    let clock_ends = lines.iter().filter_map(|line| line.heap.positions().last());
    let clock_end = clock_ends.map(|end| *end as f64).fold(0.0, f64::max);
    Some(FootprintOverlayChart {
        caption: Caption::new(
            verdict(trace_report, &leading),
            plotted(trace_report),
            &reading(trace_report),
        ),
        clock_axis: clock.axis(clock_end.max(1.0)),
        end_name: trace_report.end_name(),
        clock,
        clock_end,
        memory_axis: Axis::bytes(format!("{} resident", unit.name), unit, most.max(1.0)),
        live_peak_bytes: trace_report.live_peak_bytes,
        phases: trace_report.phases.clone(),
        process: process_curve(trace_report, clock),
        lines,
    })
}

/// The recorded process: its places on the axis, and resident bytes.
fn process_curve(trace_report: &TraceReport, clock: TraceClock) -> Vec<(f64, f64)> {
    let Some(process) = &trace_report.process else { return vec![] };
    let entry = trace_report.trace.process.iter().flat_map(|entry| &entry.memory);
    match clock {
        TraceClock::Bytes => process.curve.clone(),
        TraceClock::Calls => {
            entry.map(|point| (point.event as f64, point.heap_bytes as f64)).collect()
        }
    }
}

fn plotted(trace_report: &TraceReport) -> String {
    let mut text = format!(
        "Resident anonymous memory while `{}` is replayed, one line an allocator; filled: live \
         requested bytes.  Right: {}, after the allocator's own trim, and after every block is freed \
         and trimmed.",
        trace_report.trace.name,
        end_moment(trace_report.trace.end.as_ref())
    );
    if trace_report.process.is_some() {
        text += "  Grey dashes: the recorded process itself.";
    }
    for sentence in trace_report.own_replay() {
        text += &format!("  {sentence}");
    }
    if !has_range(trace_report) {
        text += &trace_report.pace_note();
    }
    text
}

/// Whether a backend returns memory after a delay, so that its end is a range.
fn has_range(trace_report: &TraceReport) -> bool {
    let is_range = |backend: &BackendFigures| backend.memory.range(ResidentFigure::End).is_some();
    trace_report.backends.iter().any(is_range)
}

fn reading(trace_report: &TraceReport) -> [&'static str; 3] {
    [
        "A line that falls after a burst returns memory; a flat one retains it.",
        "The strip shows whether a trim would help, and what is never returned.",
        match has_range(trace_report) {
            true => "Brackets: memory is returned after a delay; range: at once to never.",
            false => "Every column has its least and most: no peak is lost.",
        },
    ]
}

/// The resident memory of one backend at its peak and at the end, in bytes.
struct Span<'a> {
    backend: &'a BackendFigures<'a>,
    peak: f64,
    end: f64,
}

impl Span<'_> {
    fn peak_text(&self) -> String {
        self.backend.memory.text(ResidentFigure::Peak).unwrap_or_default()
    }
}

fn verdict(trace_report: &TraceReport, shown: &[&BackendFigures]) -> String {
    let spans: Vec<Span> = shown
        .iter()
        .filter_map(|backend| {
            let (peak, end) = (backend.memory.peak_bytes?, backend.memory.end_bytes?);
            Some(Span { backend, peak, end })
        })
        .collect();
    let Some(high) = spans.iter().max_by(|a, b| a.peak.total_cmp(&b.peak)) else {
        return "Resident memory over the trace".to_owned();
    };
    let least = spans.iter().min_by(|a, b| a.peak.total_cmp(&b.peak)).unwrap_or(high);
    let live = bytes(trace_report.live_peak_bytes);
    let peaks = if spans.len() == 1 {
        format!("{} peaks at {} for a heap of {live}.", high.backend.name(), high.peak_text())
    } else if least.peak_text() == high.peak_text() {
        format!("For a heap of {live}, peaks reach {}.", high.peak_text())
    } else {
        format!(
            "For a heap of {live}, peaks reach from {} ({}) to {} ({}).",
            least.peak_text(),
            least.backend.name(),
            high.peak_text(),
            high.backend.name()
        )
    };
    format!("{peaks}  {}", returned(trace_report, &spans))
}

/// Which allocators return more than half of the memory that they no longer need.
fn returned(trace_report: &TraceReport, spans: &[Span]) -> String {
    let returns = |span: &&Span| {
        let needless = span.peak - trace_report.live_end_bytes;
        needless > 0.0 && (span.peak - span.end) / needless > 0.5
    };
    let names: Vec<String> =
        spans.iter().filter(returns).map(|span| span.backend.name().to_owned()).collect();
    // What one with a delay returns depends on the pace.
    let is_delayed = spans.iter().any(|span| span.backend.memory.has_ranges());
    match names.len() {
        0 if is_delayed => {
            format!("None returns half of its free memory {}.", trace_report.pace())
        }
        0 if spans.len() == 1 => "It returns less than half of its free memory.".to_owned(),
        0 => "None returns half of its free memory.".to_owned(),
        1 if spans.len() == 1 => "It returns most of its free memory.".to_owned(),
        all if all == spans.len() => "All return most of their free memory.".to_owned(),
        1 => format!("Only {} returns most free memory.", names[0]),
        _ => format!("Only {} return most free memory.", some(&names)),
    }
}
