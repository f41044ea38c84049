//! Chart: which ranges of address space stay resident over the replay, and how full they are.

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::heap_series::shown_peak;
use super::scale::Scale;
use crate::report::figures::{
    BackendFigures, BackendLabel, ProgramPhase, TraceReport, rows_without_bounds,
};
use crate::report::text::capitalised;
use crate::results::{HeapRow, Residency};
use crate::units::{byte_unit, bytes};

/// Which parts of the heap stay resident?
pub const ABOUT: About = About {
    name: "heap-map",
    question: "Which parts of the heap stay resident, and how full are they?",
    reading: "Each panel is one allocator's address space, its oldest region at the bottom, and \
              left to right the replay. Blue is resident and in use. Orange is resident for a \
              few blocks. Grey is resident without a live byte. White is not resident. A \
              horizontal orange streak is a range that a few blocks keep resident; its length \
              shows for how long.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct HeapMapChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across: calls replayed.
    pub calls_axis: Axis,
    /// Upwards: bytes of address space, the oldest region first.
    pub address_axis: Axis,
    /// The marks of the program.
    pub phases: Vec<ProgramPhase>,
    /// By allocator.
    pub maps: Vec<HeapMapPanel>,
}

/// The address space of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct HeapMapPanel {
    /// The backend.
    pub backend: BackendLabel,
    /// Bytes of a row.
    pub row_bytes: f64,
    /// Columns of time.
    pub columns: usize,
    /// From the bottom; each row has runs of equal columns.
    pub rows: Vec<Vec<HeapRun>>,
    /// The last column.
    pub last: LastColumn,
}

/// Adjacent columns of a row that are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeapRun {
    /// Columns.
    pub columns: usize,
    /// Sixteenths of the resident pages that are live, rounded up; 0 for resident pages without a
    /// live byte. `None` where no page is resident.
    pub live_sixteenths: Option<u8>,
}

/// Rows in the last column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LastColumn {
    /// Resident rows.
    pub resident: usize,
    /// Rows under a quarter full, but not empty.
    pub sparse: usize,
    /// Resident rows without a live byte.
    pub empty: usize,
}

impl HeapMapPanel {
    fn of(backend: &BackendFigures) -> Option<HeapMapPanel> {
        let mut rows: Vec<&HeapRow> = backend.rows.heap_map.clone();
        let first = rows.iter().map(|row| row.repetition).min()?;
        rows.retain(|row| row.repetition == first);
        rows.sort_by_key(|row| row.row);
        let row_bytes = rows[0].row_bytes as f64;
        let rows: Vec<Vec<HeapRun>> = rows.iter().map(|row| runs(row)).collect();
        let width = |row: &Vec<HeapRun>| row.iter().map(|run| run.columns).sum();
        let columns = rows.iter().map(width).max().unwrap_or(0);
        let last = LastColumn::of(&rows);
        let backend = backend.label.clone();
        (columns > 0 && row_bytes > 0.0).then_some(HeapMapPanel {
            backend,
            row_bytes,
            columns,
            rows,
            last,
        })
    }

    /// Bytes of address space.
    pub fn bytes(&self) -> f64 {
        self.rows.len() as f64 * self.row_bytes
    }
}

fn runs(row: &HeapRow) -> Vec<HeapRun> {
    let run = |(columns, residency): (usize, Residency)| HeapRun {
        columns,
        live_sixteenths: match residency {
            Residency::Nowhere => None,
            Residency::Empty => Some(0),
            Residency::Live(level) => Some(level),
        },
    };
    row.runs().into_iter().map(run).collect()
}

impl LastColumn {
    fn of(rows: &[Vec<HeapRun>]) -> LastColumn {
        let mut last = LastColumn::default();
        for live in rows.iter().filter_map(|runs| runs.last()?.live_sixteenths) {
            last.resident += 1;
            last.sparse += usize::from((1..=4).contains(&live));
            last.empty += usize::from(live == 0);
        }
        last
    }
}

/// Panels in one row; more are in two rows.
const PANELS_IN_A_ROW: usize = 5;

/// Describes the chart; `None` without a map.
pub fn describe(trace_report: &TraceReport) -> Option<HeapMapChart> {
    let mut maps: Vec<HeapMapPanel> =
        trace_report.allocators().filter_map(HeapMapPanel::of).collect();
    if maps.is_empty() {
        return None;
    }
    if maps.len() > PANELS_IN_A_ROW {
        maps.sort_by_key(|map| std::cmp::Reverse(map.last.resident));
    }
    // A bound makes neither the title nor the scale.
    let leading = rows_without_bounds(&maps, |map| map.backend.is_bound);
    let heights: Vec<f64> = leading.iter().map(|map| map.bytes()).collect();
    let most = shown_peak(&heights).max(1.0) * 1.03;
    let unit = byte_unit(most);
    let at_end = capitalised(&trace_report.end_name());
    Some(HeapMapChart {
        caption: Caption::new(verdict(&leading, &at_end), plotted(trace_report, &maps), &READING),
        calls_axis: calls_axis(trace_report.observed_calls()),
        address_axis: Axis::bytes(format!("heap, {}", unit.name), unit, most),
        phases: trace_report.phases.clone(),
        maps,
    })
}

fn calls_axis(calls: u64) -> Axis {
    let calls = calls as f64;
    let (divisor, label) = match calls {
        calls if calls >= 1e9 => (1e9, "billions of calls replayed"),
        calls if calls >= 2e6 => (1e6, "millions of calls replayed"),
        calls if calls >= 2e3 => (1e3, "thousands of calls replayed"),
        _ => (1.0, "calls replayed"),
    };
    Axis {
        label: label.to_owned(),
        unit: "calls".to_owned(),
        unit_size: divisor,
        scale: Scale::Linear { from: 0.0, to: calls.max(1.0) / divisor },
    }
}

/// The sizes of the rows of maps: `256 KiB`, or `256 KiB to 1.0 MiB` of maps of different heights.
fn row_sizes(maps: impl IntoIterator<Item = f64>) -> String {
    let sizes: Vec<f64> = maps.into_iter().collect();
    match crate::stats::range(&sizes) {
        Some((least, most)) if least < most => format!("{} to {}", bytes(least), bytes(most)),
        Some((size, _)) => bytes(size),
        None => String::new(),
    }
}

fn plotted(trace_report: &TraceReport, maps: &[HeapMapPanel]) -> String {
    format!(
        "Heap map of `{}`: every {} of address space over the replay, coloured by how full its \
         resident pages are.  White: not resident.{}",
        trace_report.trace.name,
        row_sizes(maps.iter().map(|map| map.row_bytes)),
        trace_report.pace_note()
    )
}

const READING: [&str; 5] = [
    "Blue is good: resident and in use.",
    "A horizontal orange streak is a range that a few blocks keep resident; its length shows how long.",
    "A grey streak has no live byte and is retained by the allocator.",
    "White to the right of a colour is memory that was returned.",
    "A band that is grey from its first column on never held a block: the allocator's own tables.",
];

/// `at_end` is the moment that counts as the end, as a sentence begins.
fn verdict(maps: &[&HeapMapPanel], at_end: &str) -> String {
    let share =
        |map: &HeapMapPanel| (map.last.sparse + map.last.empty) as f64 / map.last.resident as f64;
    let resident = maps.iter().filter(|map| map.last.resident > 0);
    let shares: Vec<f64> = resident.map(|map| share(map)).collect();
    let Some((low, high)) = crate::stats::range(&shares) else {
        return format!("{at_end} no part of the heap is resident");
    };
    let [from, to] = [low, high].map(|share| format!("{:.0}", share * 100.0));
    let span = if from == to { to } else { format!("{from}–{to}") };
    let opening = format!(
        "{at_end} {span}\u{a0}% of the resident ranges of {} are empty or less than a quarter full.",
        row_sizes(maps.iter().map(|map| map.row_bytes))
    );
    // Ranges of two maps can differ in size, so what is empty is in bytes.
    let empty_bytes = |map: &HeapMapPanel| map.last.empty as f64 * map.row_bytes;
    let mut empty: Vec<(&str, f64)> =
        maps.iter().map(|map| (map.backend.name.as_str(), empty_bytes(map))).collect();
    empty.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (least, most) = (empty[0], empty[empty.len() - 1]);
    let [least_text, most_text] = [least.1, most.1].map(bytes);
    if most.1 == 0.0 {
        return format!("{opening}  None retains an empty one.");
    }
    if empty.len() == 1 || least_text == most_text {
        return format!("{opening}  {most_text} are retained in empty ones.");
    }
    let least_text = if least.1 == 0.0 { "none" } else { &least_text };
    format!("{opening}  {} retains {most_text} in empty ones, {} {least_text}.", most.0, least.0)
}
