//! Validates what a child reports against what the parent knows of the program.

use std::path::Path;

use super::error::BenchError;
use super::operations;
use super::workload::Loaded;
use crate::results::{CellKey, Metric, Moment, Pass, Run, Sample, Scope};

/// Holds what a child reports against what the parent knows of the program: as many calls of each
/// kind, as many bytes.
pub(super) fn validate(
    cell: &CellKey,
    loaded: &Loaded,
    folder: &Path,
) -> Result<Option<String>, BenchError> {
    let tables = Run::load_tables(folder)?;
    let profile = loaded.program.profile();
    let reported = |op: Scope, metric: Metric| {
        tables.values(&cell.trace, &cell.backend, op, metric).first().copied()
    };
    let mut expected: Vec<(Scope, Metric, u64)> = Vec::new();
    if cell.pass == Pass::Time {
        expected.push((Scope::All, Metric::Calls, profile.total_calls()));
    } else {
        for action in crate::program::Action::ALL {
            expected.push((
                operations::scope_of(action),
                Metric::Calls,
                profile.calls[action as usize],
            ));
        }
    }
    if cell.pass == Pass::Footprint {
        expected.push((Scope::All, Metric::LivePeakBytes, profile.live_peak_bytes));
        expected.push((Scope::All, Metric::LiveEndBytes, profile.live_end_bytes));
    }
    if let Some(reason) = validate_attribution(cell, loaded.births.marks(), &tables) {
        return Ok(Some(reason));
    }
    Ok(expected.into_iter().find(|(op, metric, value)| reported(*op, *metric) != Some(*value as f64)).map(
        |(op, metric, value)| {
            format!(
                "the child reports {:?} for {metric} of {op}, and the trace has {value}: the measurement is void",
                reported(op, metric)
            )
        },
    ))
}

/// What is charged to the lines must be what is stranded, to the byte.
fn validate_attribution(cell: &CellKey, marks: &[u64], tables: &Run) -> Option<String> {
    let figure =
        |metric| tables.values(&cell.trace, &cell.backend, Scope::All, metric).first().copied();
    let known = [
        (
            Moment::Peak,
            figure(Metric::PagesInUseAtLivePeakBytes),
            figure(Metric::UsableAtLivePeakBytes),
        ),
        (Moment::End, figure(Metric::PagesInUseEndBytes), figure(Metric::UsableEndBytes)),
    ];
    let at_mark = |(number, mark): (u16, &u64)| {
        let sample = tables.samples.iter().find(|sample| sample.event == *mark);
        let figure = |of: fn(&Sample) -> u64| sample.map(|sample| of(sample) as f64);
        (
            Moment::Mark(number),
            figure(|sample| sample.pages_in_use_bytes),
            figure(|sample| sample.usable_bytes),
        )
    };
    for (moment, pinned, usable) in known.into_iter().chain((1..).zip(marks).map(at_mark)) {
        let (Some(pinned), Some(usable)) = (pinned, usable) else { continue };
        let mut charges = tables
            .attributions
            .iter()
            .filter(|attribution| attribution.moment == moment)
            .peekable();
        if charges.peek().is_none() {
            continue;
        }
        let charged: u64 =
            charges.map(|attribution| attribution.external_fragmentation_bytes).sum();
        if charged as f64 != pinned - usable {
            return Some(format!(
                "the child charges {charged} bytes to the program's lines, and {} are stranded: the measurement is void",
                pinned - usable
            ));
        }
    }
    None
}
