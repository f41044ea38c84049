//! What a change of one line of the program saves, by footprint passes over the trace as it is and
//! over the changed one.

use rayon::prelude::*;

use super::error::{BenchError, io_error};
use super::exact::{footprint, footprint_at};
use super::failure::ChildFailure;
use super::job::ChildAddresses;
use super::replayed_range::ReplayedRange;
use super::settings::Settings;
use super::workload::{Workload, Workloads};
use crate::program::Change;
use crate::results::{
    Attribution, BackendEntry, Metric, Moment, RetentionAtEnd, Run, Scope, WhatIf,
};

/// Lines with most live bytes that are replayed.
const HOLDERS_MAX: usize = 3;
/// Replays of each of the two traces on a backend whose replays differ.
const VARYING_REPLAYS: usize = 8;

/// What the change of a line saves with one backend.
pub struct Saving {
    /// The backend's spec.
    pub backend: String,
    /// The figures, or why there are none.
    pub result: Result<Saved, ChildFailure>,
}

/// The figures of a [`Saving`], in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saved {
    /// Blocks of the line that live to the end.
    pub blocks: u64,
    /// Their requested bytes.
    pub live_bytes: u64,
    /// The saving that the attribution predicts.
    pub predicted: u64,
    /// The saving of resident memory that the attribution by arenas, spans and the top of the heap
    /// predicts; `None` where the backend has none of them.
    pub returnable: Option<u64>,
    /// Pages in use at the end of the trace as it is.
    pub pages_in_use_before: u64,
    /// Pages in use at the end of the changed one.
    pub pages_in_use_after: u64,
    /// Resident memory at the end; `None` where the backend backs no memory.
    pub resident: Option<SavedResident>,
    /// Resident memory after the backend's own trim, as it is.
    pub trimmed_before: Option<u64>,
    /// The same with the change.
    pub trimmed_after: Option<u64>,
}

/// Resident memory at the end, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedResident {
    /// Of the trace as it is.
    pub before: ReplayedRange,
    /// Of the changed one.
    pub after: ReplayedRange,
    /// The first less the second.
    pub saved: ReplayedRange,
}

impl SavedResident {
    /// By the resident memory that each replay leaves, in bytes.
    fn of(before: &[f64], after: &[f64]) -> Option<SavedResident> {
        Some(SavedResident {
            before: ReplayedRange::of(before)?,
            after: ReplayedRange::of(after)?,
            saved: ReplayedRange::difference(before, after)?,
        })
    }
}

/// Replays `workload` with and without the change of `site` on each of `backends`.
///
/// # Errors
/// When nothing is left of the changed trace, or a file cannot be written. A backend that fails is
/// a [`Saving`] with the reason.
pub fn savings(
    workload: &Workload,
    site: u32,
    change: Change,
    backends: &[BackendEntry],
    settings: &Settings,
) -> Result<Vec<Saving>, BenchError> {
    let changed = workload.changed(site, change).map_err(io_error("the changed trace"))?;
    let name = workload.sites.name(site);
    let saving = |backend: &BackendEntry| {
        let measure = |workload| footprint(&backend.name, workload, settings);
        let result = match (measure(workload)?, measure(&changed)?) {
            (Ok(before), Ok(after)) => {
                let resident =
                    resident(&backend.name, [workload, &changed], &before, &after, settings)?;
                saved(name, change, &before, &after, resident)
            }
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
        };
        Ok(Saving { backend: backend.name.clone(), result })
    };
    backends.iter().map(saving).collect()
}

/// Resident memory at the end of both traces. A backend whose replays differ is replayed several times,
/// at random addresses: jemalloc decides by random numbers when it looks at its clock, and seeds
/// these by an address. `before` and `after` are replays at fixed addresses.
fn resident(
    backend: &str,
    workloads: [&Workload; 2],
    before: &Run,
    after: &Run,
    settings: &Settings,
) -> Result<Option<SavedResident>, BenchError> {
    let at_end = |run: &Run| figure(run, Metric::ResidentEndBytes).map(|bytes| bytes as f64);
    if figure(before, Metric::VariesBetweenRuns).is_none() {
        let single = at_end(before).zip(at_end(after));
        return Ok(single.and_then(|(before, after)| SavedResident::of(&[before], &[after])));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(settings.jobs.max(1)).build();
    let pool =
        pool.map_err(|error| io_error("threads for replays")(std::io::Error::other(error)))?;
    let replayed = |workload: &Workload| -> Result<Vec<f64>, BenchError> {
        let replay = |_| footprint_at(ChildAddresses::Random, backend, workload, settings);
        let runs: Result<Vec<_>, BenchError> =
            pool.install(|| (0..VARYING_REPLAYS).into_par_iter().map(replay).collect());
        Ok(runs?.iter().filter_map(|run| run.as_ref().ok().and_then(at_end)).collect())
    };
    let [before, after] = workloads.map(replayed);
    Ok(SavedResident::of(&before?, &after?))
}

/// Replays each trace of `run` with the survivors of one line moved behind the last call: whether the
/// prediction holds. Each backend replays it for the line that retains most pages, and for the line
/// by which it could return most memory. The allocator that the program has today replays it also for the
/// program's lines that hold most, so that no large one goes without a figure. A backend on which that
/// fails gets no row, and the pictures then say nothing about it.
///
/// # Errors
/// When a file cannot be written.
pub fn check(
    run: &Run,
    workloads: &Workloads,
    settings: &Settings,
) -> Result<Vec<WhatIf>, BenchError> {
    let mut rows = Vec::new();
    // A change needs all calls in memory.
    for workload in workloads.iter().filter(|workload| workload.program.is_whole()) {
        for (site, backends) in lines_to_check(run, workload) {
            // Nothing is left of a trace all of whose blocks are that line's.
            let Ok(changed) = workload.changed(site, Change::Move) else { continue };
            let name = workload.sites.name(site);
            let row =
                |backend: &&str| moved(run, workload.name(), backend, name, &changed, settings);
            let of_line: Vec<Result<Option<WhatIf>, BenchError>> =
                backends.par_iter().map(row).collect();
            for row in of_line {
                rows.extend(row?);
            }
        }
    }
    Ok(rows)
}

/// The lines to check, each with the backends that replay its change.
fn lines_to_check<'a>(run: &'a Run, workload: &Workload) -> Vec<(u32, Vec<&'a str>)> {
    let known = |name: &str| workload.sites.find(name).ok();
    let retaining = run.retaining_lines(workload.name(), Moment::End);
    let retaining = retaining.iter().find_map(|(name, _)| known(name));
    let backends = || run.manifest.backends.iter().map(|backend| backend.name.as_str());
    let mut lines: Vec<(u32, Vec<&str>)> = Vec::new();
    lines.extend(retaining.map(|site| (site, backends().collect())));
    let mut add = |site: u32, backend| match lines.iter_mut().find(|(known, _)| *known == site) {
        Some((_, backends)) if backends.contains(&backend) => {}
        Some((_, backends)) => backends.push(backend),
        None => lines.push((site, vec![backend])),
    };
    for backend in backends() {
        let most = run.retention_at_end(workload.name(), backend).and_then(|found| found.most());
        if let Some(site) = most.and_then(|most| known(most.line)) {
            add(site, backend);
        }
    }
    if let Some(own) = backends().find(|backend| workload.trace.is_own_backend(backend)) {
        let held = holders(run, workload, own);
        held.into_iter().filter_map(known).for_each(|site| add(site, own));
    }
    lines
}

/// The lines that a person can change with the most live bytes at the end, under a backend.
fn holders<'a>(run: &'a Run, workload: &Workload, backend: &str) -> Vec<&'a str> {
    let mine = |row: &&Attribution| row.trace == workload.name() && row.backend == backend;
    let mine = run.attributions.iter().filter(mine);
    let mut held: Vec<&Attribution> = mine.filter(|row| workload.trace.is_holder(row)).collect();
    held.sort_by(|a, b| b.live_bytes.cmp(&a.live_bytes).then_with(|| a.site.cmp(&b.site)));
    held.into_iter().take(HOLDERS_MAX).map(|row| row.site.as_str()).collect()
}

/// The prediction for one line and backend beside what the changed trace needs; `None` where one of
/// the two is not there.
fn moved(
    run: &Run,
    trace: &str,
    backend: &str,
    site: &str,
    changed: &Workload,
    settings: &Settings,
) -> Result<Option<WhatIf>, BenchError> {
    let first = |metric| run.values(trace, backend, Scope::All, metric).first().copied();
    let charged = run.attributions.iter().find(|attribution| {
        attribution.trace == trace
            && attribution.backend == backend
            && attribution.moment == Moment::End
            && attribution.site == site
    });
    let (Some(before), Some(charged)) = (first(Metric::PagesInUseEndBytes), charged) else {
        return Ok(None);
    };
    let Ok(after) = footprint(backend, changed, settings)? else { return Ok(None) };
    let retention = run.retention_at_end(trace, backend);
    Ok(figure(&after, Metric::PagesInUseEndBytes).map(|after_bytes| WhatIf {
        trace: trace.to_owned(),
        backend: backend.to_owned(),
        site: site.to_owned(),
        predicted_bytes: charged.external_fragmentation_bytes,
        pages_in_use_before_bytes: before as u64,
        pages_in_use_after_bytes: after_bytes,
        returnable_bytes: retention.map(|found| found.returnable_bytes(site)),
        resident_before_bytes: first(Metric::ResidentEndBytes).map(|bytes| bytes as u64),
        resident_after_bytes: figure(&after, Metric::ResidentEndBytes),
    }))
}

/// A figure of the only cell of a run.
pub(super) fn figure(run: &Run, metric: Metric) -> Option<u64> {
    let row = run.measurements.iter().find(|row| row.metric == metric && row.op == Scope::All);
    row.map(|row| row.value as u64)
}

fn saved(
    site: &str,
    change: Change,
    before: &Run,
    after: &Run,
    resident: Option<SavedResident>,
) -> Result<Saved, ChildFailure> {
    let pages_in_use = |run: &Run| {
        figure(run, Metric::PagesInUseEndBytes)
            .ok_or_else(|| ChildFailure::Void("the backend backs no memory".to_owned()))
    };
    let attribution = before
        .attributions
        .iter()
        .find(|attribution| attribution.moment == Moment::End && attribution.site == site);
    let (blocks, live_bytes, free) = attribution.map_or((0, 0, 0), |attribution| {
        (attribution.live_blocks, attribution.live_bytes, attribution.external_fragmentation_bytes)
    });
    // A block that is gone takes its own bytes with it. Rounding is not known by line, so requested
    // bytes stand for both.
    let own = if change == Change::Drop { live_bytes } else { 0 };
    Ok(Saved {
        blocks,
        live_bytes,
        predicted: free + own,
        returnable: RetentionAtEnd::of(&before.unit_retention)
            .map(|found| found.returnable_bytes(site) + own),
        pages_in_use_before: pages_in_use(before)?,
        pages_in_use_after: pages_in_use(after)?,
        resident,
        trimmed_before: figure(before, Metric::ResidentTrimmedBytes),
        trimmed_after: figure(after, Metric::ResidentTrimmedBytes),
    })
}
