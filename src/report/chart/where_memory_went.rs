//! Chart: resident memory by cause over the trace, a panel for each backend.

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::heap_series::{HeapSeries, shown_peak, trace_clock};
use super::trace_clock::TraceClock;
use crate::report::figures::{
    BackendFigures, BackendLabel, MemoryFigures, ProgramPhase, ResidentFigure, TraceReport,
    without_bounds,
};
use crate::report::palette::{Colour, EXTERNAL_FRAGMENTATION, LIVE, RETAINED, ROUNDING};
use crate::report::text::{all_or_ends, capitalised, list, some};
use crate::units::{byte_unit, bytes, count, figure};

/// Why is resident memory so much larger than the heap?
pub const ABOUT: About = About {
    name: "where-memory-went",
    question: "Why is resident memory so much larger than the heap, and what would a trim return?",
    reading: "Each panel is one allocator, left to right the program's life. Blue is what the \
              program requested. Everything above it is overhead. Sky blue was rounded up. \
              Orange is free space on pages in use, beside live blocks. Grey is retained: pages \
              without a live byte. The bar below each panel is the end of the trace. The black \
              mark on it is what was left after the allocator's own trim.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct WhereMemoryWentChart {
    /// Its sentences.
    pub caption: Caption,
    /// The parts of resident memory, from the bottom.
    pub parts: [MemoryPart; 4],
    /// Across.
    pub clock_axis: Axis,
    /// The moment that counts as the end.
    pub end_name: String,
    /// What the axis across counts.
    pub clock: TraceClock,
    /// The end of that axis, in bytes or calls.
    pub clock_end: f64,
    /// Upwards, the same in all panels.
    pub memory_axis: Axis,
    /// Largest sum of requested bytes live at once.
    pub live_peak_bytes: f64,
    /// The marks of the program.
    pub phases: Vec<ProgramPhase>,
    /// By backend.
    pub panels: Vec<HeapPanel>,
}

/// A part of resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MemoryPart {
    /// Its name and meaning.
    pub name: &'static str,
    /// Its colour.
    pub colour: Colour,
}

/// The heap of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct HeapPanel {
    /// The backend.
    pub backend: BackendLabel,
    /// The heap over the trace.
    pub heap: HeapSeries,
    /// Its memory.
    pub memory: MemoryFigures,
    /// The highest point of the panel: the largest boundary, or the measured peak.
    pub highest_bytes: f64,
    /// Requested bytes live at the end.
    pub live_end_bytes: f64,
    /// The parts of resident memory at the end, by [`WhereMemoryWentChart::parts`].
    pub end_parts_bytes: [f64; 4],
}

const PARTS: [MemoryPart; 4] = [
    MemoryPart { name: "live: requested bytes", colour: LIVE },
    MemoryPart { name: "rounding: usable − requested", colour: ROUNDING },
    MemoryPart {
        name: "free space on pages in use, beside live blocks",
        colour: EXTERNAL_FRAGMENTATION,
    },
    MemoryPart {
        name: "retained: resident pages without a live byte (▲: after a trim)",
        colour: RETAINED,
    },
];

/// Panels in one row; more are in two rows.
const PANELS_IN_A_ROW: usize = 5;

/// Describes the chart; `None` when no backend has memory.
pub fn describe(trace_report: &TraceReport) -> Option<WhereMemoryWentChart> {
    let mut shown: Vec<&BackendFigures> =
        trace_report.backends.iter().filter(|backend| backend.has_memory()).collect();
    if shown.is_empty() {
        return None;
    }
    if shown.len() > PANELS_IN_A_ROW {
        // So many are read as a ranking: the one with the most memory at the end first.
        let end = |backend: &BackendFigures| backend.memory.end_bytes.unwrap_or(0.0);
        shown.sort_by(|a, b| end(b).total_cmp(&end(a)));
    }
    let clock = trace_clock(trace_report);
    let panels: Vec<HeapPanel> = shown.iter().filter_map(|backend| panel(backend, clock)).collect();
    let peaks: Vec<f64> = panels.iter().map(|panel| panel.highest_bytes).collect();
    let most = shown_peak(&peaks).max(trace_report.live_peak_bytes) * 1.06;
    let clock_ends = panels.iter().filter_map(|panel| panel.heap.positions().last());
    let clock_end = clock_ends.map(|end| *end as f64).fold(0.0, f64::max);
    let unit = byte_unit(most);
    Some(WhereMemoryWentChart {
        caption: caption(trace_report, &without_bounds(shown.iter().copied()), &panels),
        parts: PARTS,
        clock_axis: clock.axis(clock_end),
        end_name: trace_report.end_name(),
        clock,
        clock_end,
        memory_axis: Axis::bytes(format!("{} resident", unit.name), unit, most),
        live_peak_bytes: trace_report.live_peak_bytes,
        phases: trace_report.phases.clone(),
        panels,
    })
}

fn panel(backend: &&BackendFigures, clock: TraceClock) -> Option<HeapPanel> {
    let heap = HeapSeries::of(&backend.samples, clock);
    Some(HeapPanel {
        backend: backend.label.clone(),
        memory: backend.memory,
        highest_bytes: heap.highest().max(backend.memory.peak_bytes.unwrap_or(0.0)),
        live_end_bytes: *heap.live_bytes.last()? as f64,
        end_parts_bytes: heap.last_parts()?,
        heap,
    })
}

fn caption(trace_report: &TraceReport, shown: &[&BackendFigures], panels: &[HeapPanel]) -> Caption {
    let caption = Caption::new(
        verdict(trace_report, shown, panels),
        plotted(trace_report),
        &[
            "Black line: resident.",
            "▲ on a bar: measured after the allocator's own trim call; left of it is what stays, \
             right of it what was returned.",
        ],
    );
    let has_range = |backend: &&BackendFigures| backend.memory.range(ResidentFigure::End).is_some();
    let range = if shown.iter().any(has_range) {
        "≈, and the bracket over a bar: memory is returned after a delay; range: at once to never."
    } else {
        ""
    };
    caption
        .with_reading(range)
        .with_reading(listed(
            shown,
            "△: after the thread cache is flushed, which a trim does not do \
             (glibc.malloc.tcache_count=0 has none); the cache holds",
            &|backend| backend.memory.cached_bytes(),
            &bytes,
        ))
        .with_reading(listed(
            shown,
            "Left by a trim, predicted from pointers",
            &|backend| backend.memory.trim_predicted_bytes,
            &bytes,
        ))
        .with_reading(listed(
            shown,
            "Part of the grey that a trim returned",
            &|backend| trimmed_percent(&backend.memory),
            &|share| format!("{share:.0}\u{a0}%"),
        ))
        .with_reading(listed(
            shown,
            "Still resident when every block is freed",
            &|backend| backend.memory.freed_bytes,
            &bytes,
        ))
}

/// A sentence with a figure of each backend that has it; empty where none has.
fn listed(
    shown: &[&BackendFigures],
    opening: &str,
    of: &dyn Fn(&BackendFigures) -> Option<f64>,
    text: &dyn Fn(f64) -> String,
) -> String {
    let figures = shown.iter().filter_map(|backend| {
        let value = of(backend)?;
        Some((value, format!("{} {}", backend.name(), text(value))))
    });
    let figures = all_or_ends(figures.collect(), ", ");
    if figures.is_empty() { String::new() } else { format!("{opening}: {figures}.") }
}

/// The part of the retained memory that a trim returned, in per cent.
fn trimmed_percent(memory: &MemoryFigures) -> Option<f64> {
    let (end, trimmed) = (memory.end_bytes?, memory.trimmed_bytes?);
    let retained = end - memory.pages_in_use_end_bytes?;
    (retained > end * 0.02).then(|| ((end - trimmed) / retained * 100.0).clamp(0.0, 100.0))
}

fn plotted(trace_report: &TraceReport) -> String {
    let mut text = format!(
        "Resident anonymous memory split by cause while `{}` is replayed ({} calls, {} allocated in \
         total).  From pointers and resident size only, so for any allocator.",
        trace_report.trace.name,
        count(trace_report.trace.calls),
        bytes(trace_report.requested_bytes)
    );
    let absent = |is_floor: bool| -> Vec<String> {
        let own = trace_report
            .backends
            .iter()
            .filter(|backend| !backend.has_memory() && backend.is_floor() == is_floor);
        own.map(|backend| backend.name().to_owned()).collect()
    };
    if !absent(true).is_empty() {
        text += "  null backs no memory.";
    }
    if !absent(false).is_empty() {
        text += &format!("  Not measured: {}.", list(&absent(false)));
    }
    text
}

fn verdict(trace_report: &TraceReport, shown: &[&BackendFigures], panels: &[HeapPanel]) -> String {
    let ends: Vec<f64> = shown.iter().filter_map(|backend| backend.memory.end_bytes).collect();
    let usual = shown_peak(&ends);
    let near: Vec<f64> = ends.iter().copied().filter(|end| *end <= usual).collect();
    let Some((low, high)) = crate::stats::range(&near) else {
        return "Resident memory by cause".to_owned();
    };
    let [resident, at_other_paces] = [span(low, high), other_paces(shown, usual, (low, high))];
    let giants: Vec<String> = shown
        .iter()
        .filter_map(|backend| {
            let end = backend.memory.end_bytes.filter(|end| *end > usual)?;
            Some(format!("{} in {}", bytes(end), backend.name()))
        })
        .collect();
    let giants = if giants.is_empty() { String::new() } else { format!(" ({})", list(&giants)) };
    let live = bytes(trace_report.live_end_bytes);
    let at_end = capitalised(&trace_report.end_name());
    let opening = if trace_report.live_end_bytes * 20.0 < low {
        format!(
            "{at_end} hardly anything is live ({live}), yet {resident} stay resident{at_other_paces}{giants}."
        )
    } else {
        format!(
            "{at_end}, {live} of live objects hold {resident} resident{at_other_paces}{giants}."
        )
    };
    format!("{opening}  {}", largest_parts(shown, panels)).trim_end().to_owned()
}

/// `(40–90 if freed memory is returned at once or never)` for allocators that return memory after a delay,
/// where that differs from `own`; `(at this pace)` where the range is not known.
fn other_paces(shown: &[&BackendFigures], usual: f64, own: (f64, f64)) -> String {
    let is_near =
        |backend: &&&BackendFigures| backend.memory.end_bytes.is_some_and(|end| end <= usual);
    let near = || shown.iter().filter(is_near);
    let ranges = near().filter_map(|backend| backend.memory.range(ResidentFigure::End));
    let (low, high) = ranges.fold(own, |all, range| (all.0.min(range.0), all.1.max(range.1)));
    let all = span(low, high);
    if all != span(own.0, own.1) {
        format!(" ({all} if freed memory is returned at once or never)")
    } else if near().any(|backend| backend.memory.is_for_one_pace) {
        " (at this pace)".to_owned()
    } else {
        String::new()
    }
}

/// `43–75 MiB`, or one number where both ends are the same as text.
fn span(low: f64, high: f64) -> String {
    let unit = byte_unit(high);
    let [from, to] = [low, high].map(|bytes| figure(bytes / unit.bytes));
    if from == to {
        format!("{to}\u{a0}{}", unit.name)
    } else {
        format!("{from}–{to}\u{a0}{}", unit.name)
    }
}

/// Which part is the largest, by backend.
fn largest_parts(shown: &[&BackendFigures], panels: &[HeapPanel]) -> String {
    let is_shown = |panel: &&HeapPanel| shown.iter().any(|one| one.name() == panel.backend.name);
    let causes = [
        "the live objects themselves (blue)",
        "rounding (sky blue)",
        "free space on pages in use (orange)",
        "free pages never returned (grey)",
    ];
    let mut groups: [Vec<String>; 4] = Default::default();
    for panel in panels.iter().filter(is_shown) {
        let parts = panel.end_parts_bytes;
        let most = (0..4).max_by(|a, b| parts[*a].total_cmp(&parts[*b])).unwrap_or(0);
        groups[most].push(panel.backend.name.clone());
    }
    let clauses: Vec<String> = groups
        .iter()
        .zip(causes)
        .rev()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, cause)| format!("{cause} in {}", some(names)))
        .collect();
    if clauses.is_empty() {
        String::new()
    } else {
        format!("The largest part is {}.", clauses.join("; "))
    }
}
