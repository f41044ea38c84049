//! Validates what a child reports against what the parent knows of the program.

use super::failure::ChildFailure;
use super::operations::scope_of;
use super::workload::Workload;
use crate::program::{Action, Profile};
use crate::results::{CellKey, Metric, Moment, Pass, Run, Sample, Scope};

/// Whether the tables of a cell hold as many calls of each kind, and as many bytes, as the program.
///
/// # Errors
/// [`ChildFailure::Void`] with the first figure that contradicts the program.
pub(super) fn validate(
    cell: &CellKey,
    workload: &Workload,
    tables: &Run,
) -> Result<(), ChildFailure> {
    validate_attribution(cell, workload.sites.marks(), tables)?;
    for (op, metric, value) in expected(cell.pass, workload.profile(cell.pass)) {
        let reported = figure(cell, tables, op, metric);
        if reported != Some(value as f64) {
            return Err(ChildFailure::Void(format!(
                "the child reports {reported:?} for {metric} of {op}, and the trace has {value}"
            )));
        }
    }
    Ok(())
}

fn figure(cell: &CellKey, tables: &Run, op: Scope, metric: Metric) -> Option<f64> {
    tables.values(&cell.trace, &cell.backend, op, metric).first().copied()
}

/// The figures that follow from the program itself.
fn expected(pass: Pass, profile: &Profile) -> Vec<(Scope, Metric, u64)> {
    // A backend that one thread at a time may call has no figures in free order.
    if pass == Pass::Free {
        return vec![];
    }
    if matches!(pass, Pass::Time | Pass::Touch | Pass::Cold | Pass::Traversal) {
        return vec![(Scope::All, Metric::Calls, profile.total_calls())];
    }
    let calls = |action: Action| (scope_of(action), Metric::Calls, profile.calls[action as usize]);
    let mut expected = Action::ALL.map(calls).to_vec();
    if pass == Pass::Footprint {
        expected.push((Scope::All, Metric::LivePeakBytes, profile.live_peak_bytes));
        expected.push((Scope::All, Metric::LiveEndBytes, profile.live_end_bytes));
    }
    expected
}

/// The free space that is charged to the sites must be all free space on pages in use, to the byte.
fn validate_attribution(cell: &CellKey, marks: &[u64], tables: &Run) -> Result<(), ChildFailure> {
    let all = |metric| figure(cell, tables, Scope::All, metric);
    let known = [
        (Moment::Peak, all(Metric::PagesInUseAtLivePeakBytes), all(Metric::UsableAtLivePeakBytes)),
        (Moment::End, all(Metric::PagesInUseEndBytes), all(Metric::UsableEndBytes)),
    ];
    let at_mark = |(number, mark): (u16, &u64)| {
        let sample = tables.samples.iter().find(|sample| sample.event == *mark);
        let of_sample = |of: fn(&Sample) -> u64| sample.map(|sample| of(sample) as f64);
        (
            Moment::Mark(number),
            of_sample(|sample| sample.pages_in_use_bytes),
            of_sample(|sample| sample.usable_bytes),
        )
    };
    for (moment, in_use, usable) in known.into_iter().chain((1..).zip(marks).map(at_mark)) {
        let (Some(in_use), Some(usable)) = (in_use, usable) else { continue };
        let charged: Vec<u64> = tables
            .attributions
            .iter()
            .filter(|attribution| attribution.moment == moment)
            .map(|attribution| attribution.external_fragmentation_bytes)
            .collect();
        let (sum, free) = (charged.iter().sum::<u64>(), in_use - usable);
        if !charged.is_empty() && sum as f64 != free {
            return Err(ChildFailure::Void(format!(
                "the child charges {sum} bytes to the program's lines, and {free} bytes are free on \
                 pages in use"
            )));
        }
    }
    Ok(())
}
