//! The list of measures, most repeatable last.

use comfy_table::{ContentArrangement, Table};

use crate::check::MEASURES;
use crate::results::{Exactness, Metric};

/// A table of all measures, with how each is judged.
pub fn measures() -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["measure", "unit", "judged", "what it is"]);
    for measure in MEASURES {
        table.add_row([measure.name, measure.unit, measure.rule, measure.meaning]);
    }
    let mut metrics: Vec<Metric> = Metric::ALL.to_vec();
    metrics.sort_by_key(|metric| order(metric.exactness()));
    for metric in metrics {
        let judged = metric.exactness().describe();
        table.add_row([metric.name(), metric.unit(), judged, metric.meaning()]);
    }
    format!("{table}\n")
}

/// The order of the metrics in the table.
fn order(exactness: Exactness) -> u8 {
    match exactness {
        Exactness::Trace => 0,
        Exactness::Policy => 1,
        Exactness::Machine => 2,
        Exactness::Layout => 3,
        Exactness::Timed => 4,
        Exactness::Reported => 5,
    }
}
