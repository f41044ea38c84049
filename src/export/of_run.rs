//! A profile of one trace of a run: what each line retains under each backend, the memory of each
//! backend over the calls, and slow calls.

use std::collections::BTreeMap;

use super::profile::{
    ExportedProfile, Moment, Series, SlowCallSpan, TimeAxis, Weight, WeightUnit, stack_of,
};
use crate::results::{self, Run, TraceEntry};
use crate::spec::FLOOR;

/// The profile of a trace of the run.
pub fn profile_of_run(run: &Run, trace: &TraceEntry) -> ExportedProfile {
    let mut profile = ExportedProfile {
        name: trace.name.clone(),
        weights: vec![],
        stacks: BTreeMap::new(),
        functions: BTreeMap::new(),
        axis: TimeAxis::Calls,
        series: series(run, trace),
        marks: trace
            .marks
            .iter()
            .map(|mark| Moment { at: mark.event as f64, name: mark.name.clone() })
            .collect(),
        slow_calls: slow_calls(run, trace),
    };
    attributions(run, trace, &mut profile);
    profile
}

/// What each line holds and retains at the live peak and at the end.
fn attributions(run: &Run, trace: &TraceEntry, profile: &mut ExportedProfile) {
    let rows: Vec<_> = run
        .attributions
        .iter()
        .filter(|row| row.trace == trace.name)
        .filter(|row| results::Moment::ALL.contains(&row.moment))
        .collect();
    let mut weights: Vec<(&str, results::Moment)> = Vec::new();
    for row in &rows {
        if !weights.contains(&(&row.backend, row.moment)) {
            weights.push((&row.backend, row.moment));
        }
    }
    for (backend, moment) in &weights {
        let moment = match moment {
            results::Moment::Peak => "at the peak",
            _ => "at the end",
        };
        for what in ["live", "free space retained"] {
            let name = format!("{backend}: {what} {moment}");
            profile.weights.push(Weight { name, unit: WeightUnit::Bytes });
        }
    }
    for row in rows {
        let own = weights.iter().position(|weight| *weight == (row.backend.as_str(), row.moment));
        let Some(own) = own else { continue };
        let stack = stack_of(&row.site);
        profile.add(stack.clone(), 2 * own, row.live_bytes);
        profile.add(stack, 2 * own + 1, row.external_fragmentation_bytes);
    }
}

/// Resident memory of each backend over the calls, and the live bytes.
fn series(run: &Run, trace: &TraceEntry) -> Vec<Series> {
    let mut by_backend: BTreeMap<&str, Vec<&results::Sample>> = BTreeMap::new();
    for sample in run.samples.iter().filter(|sample| sample.trace == trace.name) {
        if sample.repetition == 0 {
            by_backend.entry(&sample.backend).or_default().push(sample);
        }
    }
    let points = |samples: &[&results::Sample], of: fn(&results::Sample) -> u64| {
        samples.iter().map(|sample| (sample.event as f64, of(sample) as f64)).collect()
    };
    let mut all = Vec::new();
    if let Some(samples) = by_backend.values().next() {
        let points = points(samples, |sample| sample.live_bytes);
        all.push(Series { name: "live bytes".to_owned(), points });
    }
    for (backend, samples) in by_backend.iter().filter(|(backend, _)| **backend != FLOOR) {
        let points = points(samples, |sample| sample.resident_bytes);
        all.push(Series { name: format!("resident bytes: {backend}"), points });
    }
    all
}

fn slow_calls(run: &Run, trace: &TraceEntry) -> Vec<SlowCallSpan> {
    let own = run.slow_calls.iter().filter(|call| call.trace == trace.name);
    own.map(|call| SlowCallSpan {
        backend: call.backend.clone(),
        at: call.event as f64,
        nanoseconds: call.nanoseconds,
        name: match call.site.as_str() {
            "" => format!("{} of {} bytes", call.op, call.size_bytes),
            site => format!("{} of {} bytes, {site}", call.op, call.size_bytes),
        },
    })
    .collect()
}
