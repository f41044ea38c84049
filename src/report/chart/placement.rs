//! Chart: what walking live objects costs, and how far the next object is.

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::scale::Scale;
use crate::report::collector_time::collector_time;
use crate::report::figures::{BackendFigures, BackendLabel, TraceReport};
use crate::results::{Metric, Scope};
use crate::stats;
use crate::units::{figure, percent, ratio};

/// Does the program pay for where its objects lie?
pub const ABOUT: About = About {
    name: "placement",
    question: "What does walking its objects cost the program, where the allocator placed them?",
    reading: "At 24 moments, live blocks of one kind are chained in the order of their births and \
              walked, as a garbage collector walks its objects. Left: time of a visit. Right: how \
              far the next object is. An allocator that spreads the objects over many pages makes \
              each walk of the program slower. That cost is in no time of a call.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct PlacementChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across, of the bars: nanoseconds of a visit.
    pub time_axis: Axis,
    /// By allocator.
    pub rows: Vec<PlacementRow>,
}

/// The names of the distances, as [`PlacementRow::steps`] has them.
pub const DISTANCES: [&str; 4] =
    ["the same or the next cache line", "the same page", "the same 2 MiB", "farther"];

/// Where the objects of one backend lie.
#[derive(Clone, Debug, Serialize)]
pub struct PlacementRow {
    /// The backend.
    pub backend: BackendLabel,
    /// Nanoseconds of a visit: median, least and most of the repetitions.
    pub visit_ns: [f64; 3],
    /// The median with last births first.
    pub reverse_ns: Option<f64>,
    /// Shares of the steps to the next object, by [`DISTANCES`].
    pub steps: [f64; 4],
    /// Pages of 4 KiB that 100 objects begin on.
    pub pages_by_100: f64,
}

impl PlacementRow {
    fn of(backend: &BackendFigures) -> Option<PlacementRow> {
        let values = |metric| backend.values(Scope::All, metric);
        let times = values(Metric::TraversalNanoseconds);
        let (least, most) = stats::range(times)?;
        let first = |metric| values(metric).first().copied();
        let counts = [
            Metric::TraversalStepsInLine,
            Metric::TraversalStepsInPage,
            Metric::TraversalStepsInHugePage,
            Metric::TraversalStepsFarther,
        ];
        let counts = counts.map(|metric| first(metric).unwrap_or(0.0));
        let all = counts.iter().sum::<f64>().max(1.0);
        let objects = first(Metric::TraversalObjects).filter(|objects| *objects > 0.0)?;
        Some(PlacementRow {
            backend: backend.label.clone(),
            visit_ns: [stats::median(times)?, least, most],
            reverse_ns: stats::median(values(Metric::TraversalReverseNanoseconds)),
            steps: counts.map(|count| count / all),
            pages_by_100: first(Metric::TraversalPages)? / objects * 100.0,
        })
    }
}

/// Describes the chart; `None` where no backend was walked.
pub fn describe(trace_report: &TraceReport) -> Option<PlacementChart> {
    let rows: Vec<PlacementRow> = trace_report.allocators().filter_map(PlacementRow::of).collect();
    if rows.is_empty() {
        return None;
    }
    let plotted = format!(
        "`{}`.  Left: processor time of a visit, first births first; the pale end is the range over \
         the repetitions, the ring is last births first.  Right: distance to the next object.",
        trace_report.trace.name
    );
    let times = |row: &PlacementRow| row.visit_ns[2].max(row.reverse_ns.unwrap_or(0.0));
    // The factor between two allocators is the point, so none is cut off.
    let most = rows.iter().map(times).fold(0.1, f64::max) * 1.12;
    let scale = Scale::Linear { from: 0.0, to: most };
    let caption = Caption::new(verdict(&choosable_rows(trace_report)), plotted, &READING);
    Some(PlacementChart {
        caption: match collector_time(trace_report) {
            Some(sentence) => caption.with_reading(sentence),
            None => caption,
        },
        time_axis: Axis::plain("ns, processor time of a visit", "ns", scale),
        rows,
    })
}

const READING: [&str; 2] = [
    "Blocks of one kind (a type, or a size) are chained in the order of their births by pointers \
     inside them, at 24 moments of the trace.",
    "A step to a farther page needs another entry of the TLB, and mostly a load from memory.",
];

/// The rows of sentences: a bound is only in the picture.
fn choosable_rows(trace_report: &TraceReport) -> Vec<PlacementRow> {
    trace_report.choosable().into_iter().filter_map(PlacementRow::of).collect()
}

fn verdict(rows: &[PlacementRow]) -> String {
    let by_time = |a: &&PlacementRow, b: &&PlacementRow| a.visit_ns[0].total_cmp(&b.visit_ns[0]);
    let (Some(least), Some(most)) = (rows.iter().min_by(by_time), rows.iter().max_by(by_time))
    else {
        return String::new();
    };
    let far_share = |row: &PlacementRow| row.steps[2] + row.steps[3];
    let far = |row: &PlacementRow| percent(far_share(row));
    if let [only] = rows {
        return format!(
            "A walk over live objects costs {} ns a visit under {}: {} of its steps leave the page.",
            figure(only.visit_ns[0]),
            only.backend.name,
            far(only)
        );
    }
    if most.visit_ns[1] <= least.visit_ns[2] {
        return format!(
            "A walk over live objects costs {} to {} ns a visit; no allocator stands out.",
            figure(least.visit_ns[0]),
            figure(most.visit_ns[0])
        );
    }
    let cost = format!(
        "A walk over live objects costs {} ns a visit under {}, {} as much as under {}",
        figure(most.visit_ns[0]),
        most.backend.name,
        ratio(most.visit_ns[0] / least.visit_ns[0]),
        least.backend.name,
    );
    // The steps explain the cost only where there are more far ones.
    if far_share(most) <= far_share(least) {
        return format!("{cost}.");
    }
    format!("{cost}: {} of its steps leave the page, against {}.", far(most), far(least))
}
