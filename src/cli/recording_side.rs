//! Recordings of one program, measured: a footprint pass of each on one backend. `check` compares
//! them, and `selftest` draws sides from them.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use rayon::prelude::*;

use super::load::load_traces;
use super::specs;
use crate::bench::{self, DemandByKey, Settings, Side, Workload, fingerprint};
use crate::results::{BackendEntry, Manifest, Pass, Run};

/// Measures recordings on one backend.
pub struct RecordingReader {
    backend: BackendEntry,
    /// The name that all recordings get, by which their records are compared.
    name: String,
    settings: Settings,
}

/// Recordings of one state of a program.
pub struct MeasuredSide {
    /// The record of each.
    pub runs: Vec<Run>,
    /// What each requests.
    pub demands: Vec<DemandByKey>,
}

impl RecordingReader {
    /// A reader for recordings of the program `name`.
    ///
    /// # Errors
    /// A backend that cannot be had.
    pub fn new(backend: &str, name: &str, settings: Settings) -> anyhow::Result<RecordingReader> {
        specs::read(backend)?;
        let version = bench::version(backend, None)?;
        let backend = BackendEntry { name: backend.to_owned(), version };
        Ok(RecordingReader { backend, name: name.to_owned(), settings })
    }

    /// Measures each recording, several at once.
    ///
    /// # Errors
    /// The first recording that cannot be read or replayed.
    pub fn measure(&self, recordings: &[PathBuf]) -> anyhow::Result<MeasuredSide> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(self.settings.jobs.max(1));
        let threads = threads.build().context("cannot start threads")?;
        let measured: anyhow::Result<Vec<(Run, DemandByKey)>> =
            threads.install(|| recordings.par_iter().map(|path| self.measure_one(path)).collect());
        let (runs, demands) = measured?.into_iter().unzip();
        Ok(MeasuredSide { runs, demands })
    }

    fn measure_one(&self, path: &Path) -> anyhow::Result<(Run, DemandByKey)> {
        let loaded = load_traces(&[path.to_owned()])?.into_iter().next().context("one trace")?;
        let recording: Workload = loaded.named(&self.name);
        let mut run = Run::new(Manifest {
            traces: vec![recording.trace.clone()],
            backends: vec![self.backend.clone()],
            passes: vec![Pass::Footprint],
            machine: fingerprint(),
            ..Manifest::default()
        });
        let tables = bench::exact(&Side::of(&self.backend.name), &recording, &self.settings);
        let tables = tables.map_err(|error| {
            anyhow!("{}: {}", recording.trace.path, error.about(&self.backend.name))
        })?;
        run.absorb(tables);
        Ok((run, DemandByKey::of(&recording)))
    }
}
