//! Chart: the sizes of the live heap, and what each allocator loses on them by rounding up.

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::heap_series::shown_peak;
use super::scale::Scale;
use crate::report::figures::{BackendFigures, BackendLabel, TraceReport, rows_without_bounds};
use crate::results::{Moment, Rounding, SizeClass};
use crate::units::{
    SMALL_SIZE_BYTES, SMALL_SIZE_CLASSES, byte_unit, bytes, percent, size_class, size_class_limit,
};

/// Where does internal fragmentation come from?
pub const ABOUT: About = About {
    name: "sizes-and-rounding",
    question: "Which sizes make up the heap, and on which of them does each allocator lose memory \
               by rounding up?",
    reading: "Above: all bytes that were ever allocated, by size of the request (pale), and of \
              those the ones live at the live peak (blue). Below, hanging down, is a strip for \
              each allocator: what it adds to the live blocks by rounding up. The thin line is \
              what a single block of that size loses: each tooth is a size class. Long bars \
              under long teeth are sizes that do not fit the classes.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct SizesAndRoundingChart {
    /// Its sentences.
    pub caption: Caption,
    /// The largest request of each class, in bytes: steps of 16 to 512, then octaves.
    pub up_to_bytes: Vec<u64>,
    /// Requested bytes live at the peak, by class.
    pub live_bytes: Vec<f64>,
    /// Requested bytes of all blocks of the trace, by class; all 0 where the record lacks them.
    pub allocated_bytes: Vec<f64>,
    /// Upwards, of the bars.
    pub size_axis: Axis,
    /// Downwards, the same in every strip.
    pub loss_axis: Axis,
    /// By allocator.
    pub strips: Vec<RoundingStrip>,
}

/// The rounding of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct RoundingStrip {
    /// The backend.
    pub backend: BackendLabel,
    /// Bytes lost at the peak, by class.
    pub lost_bytes: Vec<f64>,
    /// Of all blocks of the trace: bytes lost, and requested bytes.
    pub of_all_bytes: Option<(f64, f64)>,
    /// Its size classes, up to 512 bytes.
    pub size_classes: Vec<SizeClassStep>,
}

/// Requests of adjacent sizes that get the same usable bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SizeClassStep {
    /// The smallest request.
    pub from_bytes: u32,
    /// The largest request.
    pub to_bytes: u32,
    /// Usable bytes of such a block.
    pub usable_bytes: u32,
}

impl SizesAndRoundingChart {
    /// Live bytes of all classes.
    pub fn live_total(&self) -> f64 {
        self.live_bytes.iter().sum()
    }

    /// Whether the record has all blocks of the trace.
    pub fn has_allocated(&self) -> bool {
        self.allocated_bytes.iter().sum::<f64>() > 0.0
    }

    /// The bars by class: all blocks of the trace, or the live ones where the record has no more.
    pub fn bars_bytes(&self) -> &[f64] {
        if self.has_allocated() { &self.allocated_bytes } else { &self.live_bytes }
    }
}

impl RoundingStrip {
    /// Bytes lost in all classes.
    pub fn total_bytes(&self) -> f64 {
        self.lost_bytes.iter().sum()
    }
}

/// Describes the chart; `None` without live bytes by size.
pub fn describe(trace_report: &TraceReport) -> Option<SizesAndRoundingChart> {
    let all = trace_report.backends.iter().flat_map(|backend| &backend.rows.rounding);
    let shown = all.filter(|row| matches!(row.moment, Moment::Peak | Moment::Whole));
    let count = shown.map(|row| size_class(row.up_to_bytes) + 1).max()?.max(SMALL_SIZE_CLASSES + 2);
    let mut live_bytes = vec![0.0; count];
    let mut allocated_bytes = vec![0.0; count];
    let mut strips = Vec::new();
    for backend in trace_report.allocators() {
        strips.extend(strip(backend, &mut live_bytes, &mut allocated_bytes));
    }
    if strips.is_empty() || live_bytes.iter().sum::<f64>() <= 0.0 {
        return None;
    }
    let highest: Vec<f64> =
        strips.iter().map(|strip| strip.lost_bytes.iter().copied().fold(0.0, f64::max)).collect();
    let deepest = shown_peak(&highest).max(1.0) * 1.06;
    let loss_unit = byte_unit(shown_peak(&highest).max(1.0));
    let mut chart = SizesAndRoundingChart {
        caption: Caption::default(),
        up_to_bytes: (0..count).map(size_class_limit).collect(),
        live_bytes,
        allocated_bytes,
        size_axis: Axis::plain("", "B", Scale::Linear { from: 0.0, to: 1.0 }),
        loss_axis: Axis::bytes("lost to rounding".to_owned(), loss_unit, deepest),
        strips,
    };
    let most = chart.bars_bytes().iter().copied().fold(0.0, f64::max);
    let unit = byte_unit(most);
    let label = format!("{}{}", unit.name, if chart.has_allocated() { "" } else { " live" });
    chart.size_axis = Axis {
        label,
        unit: unit.name.to_owned(),
        unit_size: unit.bytes,
        scale: Scale::Linear { from: 0.0, to: most / unit.bytes * 1.14 },
    };
    chart.caption = Caption::new(verdict(&chart), plotted(trace_report, &chart), &READING);
    Some(chart)
}

/// The strip of a backend; `None` without rounding at the peak. Raises the bytes by class, which
/// are the same for all; a backend that was cut short has fewer.
fn strip(
    backend: &BackendFigures,
    live_bytes: &mut [f64],
    allocated_bytes: &mut [f64],
) -> Option<RoundingStrip> {
    let at = |moment: Moment| backend.rows.rounding.iter().filter(move |row| row.moment == moment);
    at(Moment::Peak).next()?;
    let lost = |row: &Rounding| row.usable_bytes.saturating_sub(row.live_bytes) as f64;
    let mut lost_bytes = vec![0.0; live_bytes.len()];
    let mut own = vec![0.0; live_bytes.len()];
    for row in at(Moment::Peak) {
        let class = size_class(row.up_to_bytes);
        lost_bytes[class] += lost(row);
        own[class] += row.live_bytes as f64;
    }
    for (all, own) in live_bytes.iter_mut().zip(own) {
        *all = f64::max(*all, own);
    }
    let mut of_all_bytes: Option<(f64, f64)> = None;
    for row in at(Moment::Whole) {
        let all = &mut allocated_bytes[size_class(row.up_to_bytes)];
        *all = f64::max(*all, row.live_bytes as f64);
        let (so_far, requested) = of_all_bytes.unwrap_or_default();
        of_all_bytes = Some((so_far + lost(row), requested + row.live_bytes as f64));
    }
    let backend_label = backend.label.clone();
    let size_classes = size_classes(&backend.rows.size_classes);
    Some(RoundingStrip { backend: backend_label, lost_bytes, of_all_bytes, size_classes })
}

/// The small size classes of the first repetition.
fn size_classes(rows: &[&SizeClass]) -> Vec<SizeClassStep> {
    let first = rows.iter().map(|row| row.repetition).min();
    rows.iter()
        .filter(|row| Some(row.repetition) == first && u64::from(row.to_bytes) <= SMALL_SIZE_BYTES)
        .map(|row| SizeClassStep {
            from_bytes: row.from_bytes,
            to_bytes: row.to_bytes,
            usable_bytes: row.usable_bytes,
        })
        .collect()
}

fn plotted(trace_report: &TraceReport, chart: &SizesAndRoundingChart) -> String {
    let all = if chart.has_allocated() { " all blocks, and of" } else { "" };
    format!(
        "`{}`.  Up: requested bytes of{all} those live at the peak, by size of the request, in \
         steps of 16 to 512, then in octaves.  Down: usable less requested bytes of those live at \
         the peak.",
        trace_report.trace.name
    )
}

const READING: [&str; 3] = [
    "Down, sky blue: lost to rounding in that class, the same scale in every strip.",
    "Thin line: what one block of that size loses, read downwards; a tooth is a size class, as far \
     as the program requested such sizes.",
    "On the right: all that is lost, its share of what is live, and the share lost of all that was \
     ever allocated.",
];

fn verdict(chart: &SizesAndRoundingChart) -> String {
    let live = chart.live_total();
    // A bound makes no title.
    let strips = rows_without_bounds(&chart.strips, |strip| strip.backend.is_bound);
    let mut totals: Vec<(f64, &RoundingStrip)> =
        strips.into_iter().map(|strip| (strip.total_bytes(), strip)).collect();
    totals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (Some(least), Some(most)) = (totals.first(), totals.last()) else { return String::new() };
    let [low, high] = [least.0 / live, most.0 / live].map(percent);
    let opening = if totals.len() == 1 || low == high {
        format!("Rounding up adds {high} to what is live at the peak")
    } else {
        format!(
            "Rounding up adds {low} to what is live at the peak in {}, {high} in {}",
            least.1.backend.name, most.1.backend.name
        )
    };
    let worst = most.1.lost_bytes.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    match worst {
        Some((at, lost)) if most.0 > 0.0 => {
            let from = if at == 0 { 0 } else { chart.up_to_bytes[at - 1] + 1 };
            let to = chart.up_to_bytes[at];
            let sizes = if to <= SMALL_SIZE_BYTES {
                format!("{from}–{to} bytes")
            } else {
                format!("{} to {}", bytes((from - 1) as f64), bytes(to as f64))
            };
            format!("{opening}; {} of that on requests of {sizes}.", percent(lost / most.0))
        }
        _ => format!("{opening}."),
    }
}
