//! What a change of one line saves, by footprint passes over the trace as it is and
//! over the changed one.

use std::collections::HashMap;

use rayon::prelude::*;

use super::error::{BenchError, io_error};
use super::exact::footprint;
use super::pairs::Side;
use super::settings::Settings;
use super::workload::Loaded;
use crate::program::{Change, Times, what_if};
use crate::results::{BackendEntry, Metric, Moment, Run, Scope, WhatIf};

/// The name of a trace that stands in no record.
const WHAT_IF: &str = "what-if";

/// What the change of a line saves with one backend.
pub struct Saving {
    /// The backend as written.
    pub backend: String,
    /// The figures, or why there are none.
    pub result: Result<Saved, String>,
}

/// The figures of a [`Saving`], in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Blocks of the line that live to the end.
    pub blocks: u64,
    /// Their requested bytes.
    pub live_bytes: u64,
    /// What the attribution of pins says that it should save.
    pub predicted: u64,
    /// P at the end of the trace as it is.
    pub pages_in_use_before: u64,
    /// P at the end of the changed one.
    pub pages_in_use_after: u64,
    /// R after the backend's own trim, as it is.
    pub trimmed_before: Option<u64>,
    /// The same with the change.
    pub trimmed_after: Option<u64>,
}

/// Replays `loaded` with and without the change of `site` on each of `backends`.
///
/// # Errors
/// When nothing is left of the changed trace, or a file cannot be written. A backend that fails is
/// a [`Saving`] with the reason.
pub fn savings(
    loaded: &Loaded,
    site: u32,
    change: Change,
    backends: &[BackendEntry],
    settings: &Settings,
) -> Result<Vec<Saving>, BenchError> {
    let changed = what_if(&loaded.program, &loaded.births, site, change).map_err(|error| {
        BenchError::Io { what: "the changed trace".into(), source: std::io::Error::other(error) }
    })?;
    let changed = Loaded::new(changed.program, changed.sites, Times::default())
        .map_err(io_error("the changed trace"))?;
    backends
        .iter()
        .map(|backend| {
            let side = Side::of(&backend.name);
            let measure = |loaded: &Loaded| footprint(&side, WHAT_IF, loaded, settings);
            let result = match (measure(loaded)?, measure(&changed)?) {
                (Ok(before), Ok(after)) => saved(loaded.births.name(site), change, &before, &after),
                (Err(reason), _) | (_, Err(reason)) => Err(reason),
            };
            Ok(Saving { backend: backend.name.clone(), result })
        })
        .collect()
}

/// Replays each trace of `run` with the survivors of the line that pins most moved behind the last
/// call: whether the prediction holds. A backend on which that fails gets no row; the pictures then
/// say nothing about it.
///
/// # Errors
/// When a file cannot be written.
pub fn check(
    run: &Run,
    programs: &HashMap<String, Loaded>,
    settings: &Settings,
) -> Result<Vec<WhatIf>, BenchError> {
    let mut rows = Vec::new();
    for (trace, loaded) in
        run.manifest.traces.iter().filter_map(|t| Some((&t.name, programs.get(&t.name)?)))
    {
        let lines = run.retaining_lines(trace, Moment::End);
        let Some(site) = lines.iter().find_map(|(name, _)| loaded.births.find(name).ok()) else {
            continue;
        };
        let Ok(changed) = what_if(&loaded.program, &loaded.births, site, Change::Move) else {
            continue;
        };
        let changed = Loaded::new(changed.program, changed.sites, Times::default())
            .map_err(io_error("the changed trace"))?;
        let name = loaded.births.name(site);
        let of_trace: Vec<Result<Option<WhatIf>, BenchError>> = run
            .manifest
            .backends
            .par_iter()
            .map(|backend| {
                let before =
                    run.values(trace, &backend.name, Scope::All, Metric::PagesInUseEndBytes);
                let charged = run.attributions.iter().find(|attribution| {
                    attribution.trace == *trace
                        && attribution.backend == backend.name
                        && attribution.moment == Moment::End
                        && attribution.site == name
                });
                let (Some(&before), Some(charged)) = (before.first(), charged) else {
                    return Ok(None);
                };
                let after = footprint(&Side::of(&backend.name), WHAT_IF, &changed, settings)?;
                let after = after.ok().and_then(|run| figure(&run, Metric::PagesInUseEndBytes));
                Ok(after.map(|after| WhatIf {
                    trace: trace.clone(),
                    backend: backend.name.clone(),
                    site: name.to_owned(),
                    predicted_bytes: charged.external_fragmentation_bytes,
                    pages_in_use_before_bytes: before as u64,
                    pages_in_use_after_bytes: after,
                }))
            })
            .collect();
        for row in of_trace {
            rows.extend(row?);
        }
    }
    Ok(rows)
}

pub(super) fn figure(run: &Run, metric: Metric) -> Option<u64> {
    let row = run.measurements.iter().find(|row| row.metric == metric && row.op == Scope::All);
    row.map(|row| row.value as u64)
}

fn saved(site: &str, change: Change, before: &Run, after: &Run) -> Result<Saved, String> {
    let pinned =
        |run: &Run| figure(run, Metric::PagesInUseEndBytes).ok_or("it backs no memory".to_owned());
    let attribution = before
        .attributions
        .iter()
        .find(|attribution| attribution.moment == Moment::End && attribution.site == site);
    let (blocks, live_bytes, stranded) = attribution.map_or((0, 0, 0), |attribution| {
        (attribution.live_blocks, attribution.live_bytes, attribution.external_fragmentation_bytes)
    });
    // A block that is gone takes its own bytes with it; rounding is not known by line, requested
    // bytes stand for both.
    let own = if change == Change::Drop { live_bytes } else { 0 };
    Ok(Saved {
        blocks,
        live_bytes,
        predicted: stranded + own,
        pages_in_use_before: pinned(before)?,
        pages_in_use_after: pinned(after)?,
        trimmed_before: figure(before, Metric::ResidentTrimmedBytes),
        trimmed_after: figure(after, Metric::ResidentTrimmedBytes),
    })
}
