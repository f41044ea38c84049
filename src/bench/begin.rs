//! The begin of a run: its manifest, and the cells that are known to fail.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::machine::fingerprint;
use super::settings::Settings;
use super::versions::AbsentBackend;
use crate::results::{
    BackendEntry, FORMAT, Manifest, NewRunDir, Outcome, Pass, RecordError, RunDir, Shard,
    TimeBudget, TraceEntry,
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
    /// How long the time pass may go on beyond that.
    pub time_budget: Option<TimeBudget>,
    /// The part of the cells to measure; `None` for all of them.
    pub shard: Option<Shard>,
    /// The seed of the order of the timed cells; the time of day where there is none.
    pub seed: Option<u64>,
}

impl RunPlan {
    /// The manifest of the run on this machine, now.
    pub fn manifest(&self, settings: &Settings) -> Manifest {
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut passes = self.passes.clone();
        passes.sort();
        passes.dedup();
        Manifest {
            format: FORMAT,
            heaplay: env!("CARGO_PKG_VERSION").to_owned(),
            created_unix_seconds: created.as_secs(),
            traces: self.traces.clone(),
            backends: self.backends.clone(),
            passes,
            repetitions: self.repetitions,
            time_budget: self.time_budget,
            further_time: vec![],
            shard: self.shard,
            seed: self.seed.unwrap_or(created.as_nanos() as u64),
            settings: settings_facts(settings),
            machine: fingerprint(),
            merged: vec![],
            clock: clock_facts(settings),
        }
    }
}

/// Begins a run in a folder: writes its manifest, and an error row for each cell of an absent
/// backend. No child is started for them.
///
/// # Errors
/// When the folder cannot be written.
pub fn begin_run(
    folder: NewRunDir,
    plan: &RunPlan,
    settings: &Settings,
) -> Result<RunDir, RecordError> {
    let dir = folder.create(plan.manifest(settings))?;
    let absent = &plan.absent;
    for cell in dir.manifest().planned() {
        if let Some(AbsentBackend { reason, .. }) = absent.iter().find(|b| b.name == cell.backend) {
            dir.commit(dir.begin_cell(&cell)?, &Outcome::of(&cell, 0.0, Err(reason.clone())))?;
        }
    }
    Ok(dir)
}

/// The settings as the manifest has them.
fn settings_facts(settings: &Settings) -> BTreeMap<String, String> {
    let pace = settings.pace.map(|pace| (PACE.to_owned(), pace.to_string()));
    let facts = [
        ("jobs".to_owned(), settings.jobs.to_string()),
        ("memory_limit_bytes".to_owned(), settings.memory_bytes.to_string()),
    ];
    let huge_pages = settings.huge_pages;
    let huge_pages = huge_pages.map(|which| ("huge_pages".to_owned(), which.name().to_owned()));
    facts.into_iter().chain(pace).chain(huge_pages).collect()
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
