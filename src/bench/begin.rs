//! The begin of a run: its manifest, and the cells that are known to fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::machine::fingerprint;
use super::settings::Settings;
use super::versions::AbsentBackend;
use crate::results::{
    BackendEntry, FORMAT, Manifest, Outcome, Pass, RecordError, Run, Status, TraceEntry,
};

/// The manifest's setting that holds the pace of the footprint passes.
pub(super) const PACE: &str = "pace";

/// What a new run measures.
pub struct RunPlan {
    /// The traces.
    pub traces: Vec<TraceEntry>,
    /// The backends with their versions.
    pub backends: Vec<BackendEntry>,
    /// Those of the backends that cannot be had.
    pub absent: Vec<AbsentBackend>,
    /// The passes; sorted, each once, in the manifest.
    pub passes: Vec<Pass>,
    /// Repetitions of each timed pass.
    pub repetitions: u32,
    /// The seed of the order of the timed cells; the time of day where there is none.
    pub seed: Option<u64>,
}

/// Writes the manifest of a new run into `folder`, and an error row for each cell of an absent
/// backend: no child is started for them.
///
/// # Errors
/// When the folder cannot be written.
pub fn begin_run(folder: &Path, plan: RunPlan, settings: &Settings) -> Result<Run, RecordError> {
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let RunPlan { mut traces, backends, absent, mut passes, repetitions, seed } = plan;
    for trace in &mut traces {
        trace.facts.remove("arenas"); // a row for each arena, which no report reads
    }
    passes.sort();
    passes.dedup();
    let run = Run::new(Manifest {
        format: FORMAT,
        heaplay: env!("CARGO_PKG_VERSION").to_owned(),
        created_unix_seconds: created.as_secs(),
        traces,
        backends,
        passes,
        repetitions,
        seed: seed.unwrap_or(created.as_nanos() as u64),
        settings: settings_facts(settings),
        machine: fingerprint(),
        clock: clock_facts(settings),
    });
    run.save(folder)?;
    leave_absent_cells(&run.manifest, &absent, folder)?;
    Ok(run)
}

/// The settings as the manifest has them.
fn settings_facts(settings: &Settings) -> BTreeMap<String, String> {
    let pace = settings.pace.map(|pace| (PACE.to_owned(), pace.to_string()));
    let facts = [
        ("jobs".to_owned(), settings.jobs.to_string()),
        ("memory_limit_bytes".to_owned(), settings.memory_bytes.to_string()),
    ];
    facts.into_iter().chain(pace).collect()
}

/// The clock as the manifest has it.
fn clock_facts(settings: &Settings) -> BTreeMap<String, String> {
    let floor = settings.clock.clock().floor();
    [
        ("source", settings.clock.source_name().to_owned()),
        ("ticks_per_second", format!("{:.0}", settings.clock.ticks_per_second)),
        ("step_nanoseconds", format!("{:.2}", floor.step_ns)),
        ("pair_nanoseconds", format!("{:.2}", floor.pair_ns)),
        ("cost_nanoseconds", format!("{:.2}", floor.cost_ns)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn leave_absent_cells(
    manifest: &Manifest,
    absent: &[AbsentBackend],
    folder: &Path,
) -> Result<(), RecordError> {
    for (number, cell) in manifest.planned().into_iter().enumerate() {
        let Some(AbsentBackend { reason, .. }) = absent.iter().find(|b| b.name == cell.backend)
        else {
            continue;
        };
        let place = folder.join("cells").join(format!("{number:05}"));
        fs::create_dir_all(&place)
            .map_err(|source| RecordError::Io { path: place.clone(), source })?;
        let mut row = Run::new(Manifest::default());
        row.outcomes.push(Outcome {
            trace: cell.trace,
            backend: cell.backend,
            pass: cell.pass,
            repetition: cell.repetition,
            status: Status::Error,
            seconds: 0.0,
            reason: reason.clone(),
        });
        row.save_outcomes(&place)?;
    }
    Ok(())
}
