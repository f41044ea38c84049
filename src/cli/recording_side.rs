//! Recordings of one program, measured: a footprint pass of each on one backend. `check` compares
//! them, and `selftest` draws sides from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, anyhow, bail};
use rayon::prelude::*;

use super::end_choice::EndChoice;
use super::load::{calls_within, load_within};
use super::specs;
use crate::bench::{self, Demand, DemandByKey, Settings, Side, Workload, fingerprint};
use crate::check::{KeyedRequests, Recording, RequestCounts};
use crate::results::{BackendEntry, Manifest, NamedThread, Pass, Run};
use crate::units::{size_class, size_class_limit};

/// Measures recordings on one backend.
pub struct RecordingReader {
    backend: BackendEntry,
    /// The name that all recordings get, by which their records are compared.
    name: String,
    settings: Settings,
    /// A recording, and whether it is replayed whole. The others must be, too, since a replay in parts
    /// has another end.
    first: OnceLock<(PathBuf, bool)>,
}

/// Recordings of one state of a program.
pub struct MeasuredSide {
    /// Each of them.
    pub recordings: Vec<Recording>,
    /// What each requests.
    pub demands: Vec<DemandByKey>,
}

impl RecordingReader {
    /// A reader for recordings of the program `name`.
    ///
    /// # Errors
    /// A backend that cannot be had.
    pub fn new(backend: &str, name: &str, settings: Settings) -> anyhow::Result<RecordingReader> {
        let backend = String::from(specs::read(backend)?);
        let version = bench::version(&backend, None)?;
        let backend = BackendEntry { name: backend, version };
        Ok(RecordingReader { backend, name: name.to_owned(), settings, first: OnceLock::new() })
    }

    /// Measures each recording, several at once.
    ///
    /// # Errors
    /// The first recording that cannot be read or replayed.
    pub fn measure(&self, recordings: &[PathBuf]) -> anyhow::Result<MeasuredSide> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(self.settings.jobs.max(1));
        let threads = threads.build().context("cannot start threads")?;
        let measured: anyhow::Result<Vec<(Recording, DemandByKey)>> =
            threads.install(|| recordings.par_iter().map(|path| self.measure_one(path)).collect());
        let (recordings, demands) = measured?.into_iter().unzip();
        Ok(MeasuredSide { recordings, demands })
    }

    fn measure_one(&self, path: &Path) -> anyhow::Result<(Recording, DemandByKey)> {
        let most = calls_within(&self.settings);
        let loaded = load_within(&[path.to_owned()], &EndChoice::default(), most)?;
        let loaded = loaded.into_iter().next().context("one trace")?;
        self.refuse_other_end(path, loaded.program.is_whole())?;
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
        let demand = DemandByKey::of(&recording)?;
        let requests = request_counts(&demand, &recording.trace.threads);
        Ok((Recording { run, requests }, demand))
    }
}

impl RecordingReader {
    /// Refuses recordings of which some are replayed in parts: their footprint ends after the last call,
    /// that of the others before the program's teardown.
    fn refuse_other_end(&self, path: &Path, is_whole: bool) -> anyhow::Result<()> {
        let (first, is_first_whole) = self.first.get_or_init(|| (path.to_owned(), is_whole));
        if *is_first_whole == is_whole {
            return Ok(());
        }
        let (whole, in_parts) =
            if is_whole { (path, first.as_path()) } else { (first.as_path(), path) };
        bail!(
            "{}: over the memory limit, so its footprint ends after the last call, and that of {} may \
             end before; give `--memory-limit SIZE` so that both are whole, or `--jobs 1`",
            in_parts.display(),
            whole.display()
        )
    }
}

/// The requests by size class, thread and line under the names of messages.
fn request_counts(demand: &DemandByKey, threads: &[NamedThread]) -> RequestCounts {
    let name_of_thread = |number: u32| match threads.iter().find(|named| named.thread == number) {
        Some(named) => format!("thread {number} ({})", named.name),
        None => format!("thread {number}"),
    };
    let name_of_line = |name: &str| match name {
        "" => "no line known".to_owned(),
        name => name.to_owned(),
    };
    let keyed = |number: fn(&Demand) -> i64| KeyedRequests {
        by_size: counts(demand.classes(), number, |&largest| class_name(largest)),
        by_thread: counts(demand.threads(), number, |&number| name_of_thread(number)),
        by_line: counts(demand.lines(), number, |line| name_of_line(line)),
    };
    RequestCounts { requests: keyed(|demand| demand.requests), bytes: keyed(|demand| demand.bytes) }
}

fn counts<K>(
    demands: &BTreeMap<K, Demand>,
    number: fn(&Demand) -> i64,
    name: impl Fn(&K) -> String,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (key, demand) in demands {
        *counts.entry(name(key)).or_default() += number(demand).unsigned_abs();
    }
    counts
}

/// The sizes of a class, by the largest.
fn class_name(largest: u64) -> String {
    let class = size_class(largest);
    let smallest = class.checked_sub(1).map_or(0, |before| size_class_limit(before) + 1);
    match largest {
        u64::MAX => format!("{smallest} bytes and more"),
        _ => format!("{smallest} to {largest} bytes"),
    }
}
