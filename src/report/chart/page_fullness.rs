//! Chart: how full the pages in use are, and how much would be in use if memory were returned in
//! larger pieces.

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::heap_series::shown_peak;
use super::scale::Scale;
use crate::report::figures::{BackendFigures, BackendLabel, TraceReport, rows_without_bounds};
use crate::report::text::capitalised;
use crate::results::{Metric, Moment};
use crate::units::{byte_unit, percent, ratio};

/// Would smaller arenas, or huge pages, help?
pub const ABOUT: About = About {
    name: "page-fullness",
    question: "How full are the pages in use, and would smaller arenas, or huge pages, change \
               that?",
    reading: "Left: the pages in use of each allocator at the live peak and at the end, from orange \
              (hardly a byte of them is live) to dark blue (full). Right: how much would be in \
              use if memory were returned in pieces of that size. A curve that rises steeply \
              shows that huge pages cost memory here. A flat one shows that they cost none.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct PageFullnessChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across, of the bars: bytes of pages.
    pub bar_axis: Axis,
    /// Across, of the curves: bytes of a piece.
    pub piece_axis: Axis,
    /// Upwards, of the curves: bytes in use.
    pub curve_axis: Axis,
    /// Requested bytes live at the end.
    pub live_end_bytes: f64,
    /// The moment that counts as the end.
    pub end_name: String,
    /// By allocator.
    pub rows: Vec<FullnessRow>,
}

/// Bytes of pages in use by how much of them is live, in sixteenths.
pub type FullnessBins = [f64; 16];

/// The pages of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct FullnessRow {
    /// The backend.
    pub backend: BackendLabel,
    /// At the live peak.
    pub peak_bytes: FullnessBins,
    /// At the end.
    pub end_bytes: FullnessBins,
    /// Bytes in use at the end if memory were returned in pieces: bytes of a piece, and bytes in
    /// use.
    pub by_piece: Vec<(f64, f64)>,
}

impl FullnessRow {
    fn of(backend: &BackendFigures) -> Option<FullnessRow> {
        if backend.rows.fullness.is_empty() {
            return None;
        }
        let mut bins = [[0.0; 16]; 2];
        for row in &backend.rows.fullness {
            let moment = usize::from(row.moment == Moment::End);
            bins[moment][(row.bin as usize).min(15)] += row.pages as f64 * PAGE_BYTES;
        }
        let piece =
            |(bytes, metric): (f64, Metric)| Some((bytes, backend.rows.first_value(metric)?));
        Some(FullnessRow {
            backend: backend.label.clone(),
            peak_bytes: bins[0],
            end_bytes: bins[1],
            by_piece: PIECES.into_iter().filter_map(piece).collect(),
        })
    }
}

/// Bytes in all bins.
pub fn total(bins: &FullnessBins) -> f64 {
    bins.iter().sum()
}

/// Bytes of pages that are less than a quarter full.
pub fn sparse(bins: &FullnessBins) -> f64 {
    bins[..4].iter().sum()
}

const PAGE_BYTES: f64 = 4096.0;

/// Bytes of a piece, and the bytes in use at the end.
pub const PIECES: [(f64, Metric); 6] = [
    (4096.0, Metric::PagesInUseEndBytes),
    (16384.0, Metric::PagesInUse16kEndBytes),
    (65536.0, Metric::PagesInUse64kEndBytes),
    (262_144.0, Metric::PagesInUse256kEndBytes),
    (1_048_576.0, Metric::PagesInUse1mEndBytes),
    (2_097_152.0, Metric::PagesInUse2mEndBytes),
];

/// Describes the chart; `None` without pages.
pub fn describe(trace_report: &TraceReport) -> Option<PageFullnessChart> {
    let rows: Vec<FullnessRow> = trace_report.allocators().filter_map(FullnessRow::of).collect();
    if rows.is_empty() {
        return None;
    }
    let plotted = format!(
        "`{}`.  Left: 4 KiB pages in use, which have a byte of a live block, by how much of them is \
         live.  Right: what is in use when memory can be returned only in pieces of 4 KiB to 2 MiB.",
        trace_report.trace.name
    );
    // A bound makes neither the title nor the scales.
    let leading = rows_without_bounds(&rows, |row| row.backend.is_bound);
    let totals: Vec<f64> =
        leading.iter().map(|row| total(&row.peak_bytes).max(total(&row.end_bytes))).collect();
    let bar_most = shown_peak(&totals).max(1.0) * 1.02;
    let bar_unit = byte_unit(bar_most);
    let curves = leading.iter().filter(|row| row.by_piece.len() > 1);
    let ends: Vec<f64> = curves.filter_map(|row| row.by_piece.last()).map(|end| end.1).collect();
    let curve_most = shown_peak(&ends).max(trace_report.live_end_bytes).max(1.0) * 1.06;
    let curve_unit = byte_unit(curve_most);
    let pieces = Scale::Log { from: PIECES[0].0, to: PIECES[5].0 };
    let at_end = capitalised(&trace_report.end_name());
    Some(PageFullnessChart {
        caption: Caption::new(verdict(&leading, &at_end), plotted, &READING),
        bar_axis: Axis::bytes(format!("{} of pages in use", bar_unit.name), bar_unit, bar_most),
        piece_axis: Axis::plain("size of a piece that can be returned", "B", pieces),
        curve_axis: Axis::bytes(
            format!("{} in use {}", curve_unit.name, trace_report.end_name()),
            curve_unit,
            curve_most,
        ),
        live_end_bytes: trace_report.live_end_bytes,
        end_name: trace_report.end_name(),
        rows,
    })
}

const READING: [&str; 2] = [
    "Orange pages are in use for a few bytes: no trim returns them, only other places for the \
     blocks that live long.",
    "The blue dashes on the right are the live bytes themselves; the distance of a curve's left end \
     to them is rounding and free space on pages in use, its rise to the right what larger pieces \
     would cost on top.",
];

/// `at_end` is the moment that counts as the end, as a sentence begins.
fn verdict(rows: &[&FullnessRow], at_end: &str) -> String {
    let share = |row: &FullnessRow| sparse(&row.end_bytes) / total(&row.end_bytes);
    let shares: Vec<f64> =
        rows.iter().filter(|row| total(&row.end_bytes) > 0.0).map(|row| share(row)).collect();
    const SPARSE: &str = "of the pages in use are less than a quarter full.";
    let opening = match crate::stats::range(&shares) {
        Some((_, 0.0)) => {
            format!("{at_end} every page in use is at least a quarter full.")
        }
        Some((low, high)) if high - low < 0.02 => format!("{at_end} {} {SPARSE}", percent(high)),
        Some((low, high)) => {
            let [from, to] = [low, high].map(|share| format!("{:.0}", share * 100.0));
            format!("{at_end} {from}–{to}\u{a0}% {SPARSE}")
        }
        None => format!("{at_end} no page is in use."),
    };
    opening + &growth(rows)
}

/// How much more would be in use in pieces of 2 MiB; empty where it is not known.
fn growth(rows: &[&FullnessRow]) -> String {
    let mut grown: Vec<(f64, &str)> = Vec::new();
    for row in rows {
        if let (Some(first), Some(last)) = (row.by_piece.first(), row.by_piece.last())
            && first.1 > 0.0
        {
            grown.push((last.1 / first.1, &row.backend.name));
        }
    }
    grown.sort_by(|a, b| a.0.total_cmp(&b.0));
    match (grown.first(), grown.last()) {
        (Some(least), Some(most)) if grown.len() > 1 && most.0 - least.0 > 0.1 => format!(
            "  With memory returned only in whole pieces of 2\u{a0}MiB, {} retains {} as much as with \
             pages of 4\u{a0}KiB, {} {}.",
            most.1,
            ratio(most.0),
            least.1,
            ratio(least.0)
        ),
        (Some(least), _) => {
            format!(
                "  With memory returned only in whole pieces of 2\u{a0}MiB, {} as much is retained as with \
                 pages of 4\u{a0}KiB.",
                ratio(least.0)
            )
        }
        _ => String::new(),
    }
}
