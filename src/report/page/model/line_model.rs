//! Lines of the program at recorded moments: what they hold, and the free space charged to them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::site_table::SiteTable;
use crate::report::figures::{BackendFigures, TraceReport};
use crate::results::Moment;

/// The lines at one moment.
#[derive(Debug, Serialize)]
pub struct LinesModel {
    /// As [`Moment`] is written.
    moment: String,
    /// Its name in sentences: `live peak`, `end`, or the mark.
    name: String,
    /// Calls done at it.
    event: u64,
    rows: Vec<LineRow>,
}

/// One line.
#[derive(Debug, Serialize)]
struct LineRow {
    /// Its number.
    site: usize,
    live_bytes: u64,
    live_blocks: u64,
    /// By backend; `None` where the record has no row.
    free_space_bytes: Vec<Option<u64>>,
    /// By backend: the bytes by which pages in use fell in the check by replay; empty for a line or a
    /// moment without a check.
    checked_bytes: Vec<Option<i64>>,
}

/// The lines of a trace, the end first, then the live peak, then marks in order.
pub fn lines(trace_report: &TraceReport, sites: &mut SiteTable) -> Vec<LinesModel> {
    let rows = || trace_report.backends.iter().flat_map(|backend| &backend.rows.attributions);
    let mut moments: Vec<Moment> = rows().map(|row| row.moment).collect();
    moments.sort_unstable_by_key(|moment| match moment {
        Moment::End | Moment::Whole => (0, 0),
        Moment::Peak => (1, 0),
        Moment::Mark(number) => (2, *number),
    });
    moments.dedup();
    moments.into_iter().map(|moment| at(trace_report, moment, sites)).collect()
}

fn at(trace_report: &TraceReport, moment: Moment, sites: &mut SiteTable) -> LinesModel {
    let backends = trace_report.backends.len();
    let mut found: BTreeMap<&str, (u64, u64, Vec<Option<u64>>)> = BTreeMap::new();
    for (number, backend) in trace_report.backends.iter().enumerate() {
        let first = backend.rows.attributions.iter().map(|row| row.repetition).min();
        let own = backend.rows.attributions.iter();
        for row in own.filter(|row| row.moment == moment && Some(row.repetition) == first) {
            let line = found.entry(&row.site).or_insert((0, 0, vec![None; backends]));
            line.0 = line.0.max(row.live_bytes);
            line.1 = line.1.max(row.live_blocks);
            line.2[number] = Some(row.external_fragmentation_bytes);
        }
    }
    let row = |(site, (live_bytes, live_blocks, free_space_bytes)): (&str, _)| LineRow {
        site: sites.number(site),
        live_bytes,
        live_blocks,
        free_space_bytes,
        checked_bytes: checked(trace_report, moment, site),
    };
    let (name, event) = place(trace_report, moment);
    let rows = found.into_iter().map(row).collect();
    LinesModel { moment: String::from(moment), name, event, rows }
}

/// The pages in use that a replay without the survivors of a line saved, by backend. Checks are of
/// the end.
fn checked(trace_report: &TraceReport, moment: Moment, site: &str) -> Vec<Option<i64>> {
    let saved = |backend: &BackendFigures| {
        let row = backend.rows.what_if(site)?;
        let before = i64::try_from(row.pages_in_use_before_bytes).ok()?;
        before.checked_sub(i64::try_from(row.pages_in_use_after_bytes).ok()?)
    };
    let saved: Vec<Option<i64>> = match moment {
        Moment::End => trace_report.backends.iter().map(saved).collect(),
        _ => vec![],
    };
    if saved.iter().any(Option::is_some) { saved } else { vec![] }
}

/// The name of a moment, and the calls done at it.
fn place(trace_report: &TraceReport, moment: Moment) -> (String, u64) {
    let calls = trace_report.observed_calls();
    match moment {
        Moment::End | Moment::Whole => (trace_report.end_noun(), calls),
        Moment::Peak => {
            let event = trace_report.live_peak_event().unwrap_or(calls);
            ("live peak".to_owned(), event)
        }
        Moment::Mark(number) => {
            let marks = &trace_report.trace.marks;
            let mark = (number as usize).checked_sub(1).and_then(|at| marks.get(at));
            mark.map_or((format!("mark {number}"), calls), |mark| (mark.name.clone(), mark.event))
        }
    }
}
