//! Does one job, in the child. What it counted becomes the rows of a run folder.

use std::fs;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::operations::scope_of;
use super::page_rows;
use super::plan::{ClockRate, Job, Pace, Task, Verified};
use crate::backends::arenas::Pools;
use crate::backends::{self, Backend};
use crate::program::{Action, AllocationSites, Feed, Outline, Parts, Program, Times};
use crate::replay::{
    self, Footprint, Isolated, LatencyResult, PassJob, PassResult, ReplayError, Tables, TimeResult,
};
use crate::results::{
    CellKey, Chunk, Latency, Manifest, Metric, Pass, RecordError, Run, Sample, Scope, Variation,
};

/// The file of a latency cell that holds each call's time as a byte; [`super::halves`] and
/// [`super::confirm`] read it.
pub(super) const BUCKETS: &str = "buckets.bin";

/// Why a child could not do its job. It goes to the parent as the reason of an error row.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The backend cannot be had.
    #[error(transparent)]
    Backend(#[from] backends::BackendError),
    /// The replay stopped.
    #[error(transparent)]
    Replay(#[from] replay::ReplayError),
    /// The backend is no allocator that a result could be believed of.
    #[error("breaks a rule of allocators, and stays out: {0}; `heaplay verify` tells more")]
    Breaks(ReplayError),
    /// The tables cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The program cannot be read, or a file not written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

/// Does `job` and returns what goes to standard output. `turn` is called before each turn of a
/// timed pass.
///
/// # Errors
/// The reason, for the parent's error row.
pub fn perform(
    job: &Job,
    turn: impl FnMut() -> Result<(), ReplayError>,
) -> Result<String, JobError> {
    match &job.task {
        Task::Version { backend } => {
            let backend = open(backend)?;
            match replay::contract_test(backend.as_ref()) {
                Err(broken @ ReplayError::BreaksContract { .. }) => Err(JobError::Breaks(broken)),
                _ => Ok(backend.version()),
            }
        }
        Task::Verify { backend, program } => {
            let backend = open(backend)?;
            let found = match program {
                Some(program) => replay::verify(&load(program)?, backend.as_ref()),
                None => replay::contract_test(backend.as_ref()),
            };
            let found = match found {
                Ok(calls) => Verified::Proved(calls),
                Err(broken @ (ReplayError::Rule { .. } | ReplayError::BreaksContract { .. })) => {
                    Verified::Broken(broken.to_string())
                }
                Err(error) => return Err(error.into()),
            };
            Ok(serde_json::to_string(&found).unwrap_or_default())
        }
        Task::AddressTrace { backend, program, calls, out } => {
            let program = load(program)?;
            let file = fs::OpenOptions::new().write(true).open(out);
            let file = file.map_err(|source| JobError::Io { path: out.clone(), source })?;
            let out = BufWriter::with_capacity(1 << 16, file);
            let ending = replay::address_trace_of(
                &program,
                open_for(program.outline(), backend)?.as_ref(),
                *calls,
                out,
            )?;
            Ok(serde_json::to_string(&ending).unwrap_or_default())
        }
        Task::Iterations { backend, program, iterations } => {
            let program = load(program)?;
            let backend = open(backend)?;
            let times = replay::iterations(
                &program,
                &Tables::new(&program, backend.as_ref()),
                *iterations,
                turn,
            )?;
            Ok(serde_json::to_string(&times).unwrap_or_default())
        }
        Task::Tail { backend, program, segments, clock, times, chosen } => {
            let program = load(program)?;
            let backend = open(backend)?;
            let (tables, clock) = (Tables::new(&program, backend.as_ref()), clock.clock());
            if let Some(path) = times {
                let found = replay::call_times(&program, &tables, &clock, *segments, turn)?;
                let bytes: Vec<u8> = found.iter().flat_map(|time| time.to_le_bytes()).collect();
                let written = fs::OpenOptions::new().write(true).open(path);
                let written = written.and_then(|mut file| file.write_all(&bytes));
                written.map_err(|source| JobError::Io { path: path.clone(), source })?;
                return Ok(String::new());
            }
            let chosen = chosen.as_deref().map(load_numbers).transpose()?.unwrap_or_default();
            Ok(replay::tail(&program, &tables, &clock, *segments, &chosen, turn)?.to_string())
        }
        Task::Calls { backend, program, calls } => {
            let program = load(program)?;
            let (mut slots, calls) =
                (replay::Slots::new(&program), (*calls).min(program.instructions().len()));
            let backend = open(backend)?;
            let tables = Tables::new(&program, backend.as_ref());
            replay::replay(&program, &tables, &mut slots, 0..calls, &mut replay::Nothing)?;
            // Whatever leaving would cost differs with what is live, and was not asked about.
            std::mem::forget(backend);
            Ok(calls.to_string())
        }
        Task::Measure { cell, alone, program, births, pace, folder, clock } => {
            let feed = feed(program)?;
            let births = births.as_deref().map(load_sites).transpose()?.unwrap_or_default();
            let pace = pace.as_ref().map(load_pace).transpose()?;
            let beside = Beside { alone: alone.unwrap_or(Isolated::Even), births, pace };
            measure(cell, feed, &beside, folder, *clock, turn)?.save_tables(folder)?;
            Ok(String::new())
        }
    }
}

fn open(backend: &str) -> Result<Box<dyn Backend>, JobError> {
    Ok(backends::open(&backends::parse(backend)?)?)
}

/// Opens the backend for a program: with its arenas where the recorded process had them, if the
/// word asks for that.
fn open_for(outline: &Outline, backend: &str) -> Result<Box<dyn Backend>, JobError> {
    let opened = open(backend)?;
    if let Some(arenas) = opened.pools().and_then(Pools::arenas)
        && arenas.wants_recorded()
    {
        if outline.arena_bases.is_empty() {
            let reason = "the trace does not say where its arenas lay, which `bases=recorded` asks for: record it with \
                          this heaplay, or use bases=aligned or bases=misaligned";
            return Err(ReplayError::Instrument(reason.to_owned()).into());
        }
        arenas.place_as(&outline.arena_bases);
    }
    Ok(opened)
}

fn load(path: &Path) -> Result<Program, JobError> {
    let read = || Program::read(&mut BufReader::with_capacity(1 << 16, fs::File::open(path)?));
    read().map_err(|source| JobError::Io { path: path.to_owned(), source })
}

/// The program as a pass walks it: a file holds all of it, a pipe its parts as they are decoded.
fn feed(path: &Path) -> Result<Feed<'static>, JobError> {
    let begin = || {
        let input: Box<dyn Read> =
            Box::new(BufReader::with_capacity(1 << 16, fs::File::open(path)?));
        Parts::begin(input)
    };
    Ok(begin().map_err(|source| JobError::Io { path: path.to_owned(), source })?.into())
}

/// Numbers of 32 bits, little-endian.
fn load_numbers(path: &Path) -> Result<Vec<u32>, JobError> {
    let bytes = fs::read(path).map_err(|source| JobError::Io { path: path.to_owned(), source })?;
    let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(bytes.chunks_exact(4).map(number).collect())
}

/// What a pass is told beside the program; the rest is a footprint pass's.
struct Beside {
    /// In a latency pass.
    alone: Isolated,
    births: AllocationSites,
    pace: Option<replay::ProgramPace>,
}

fn load_pace(pace: &Pace) -> Result<replay::ProgramPace, JobError> {
    let read = || Times::read(&mut BufReader::with_capacity(1 << 16, fs::File::open(&pace.times)?));
    let times = read().map_err(|source| JobError::Io { path: pace.times.clone(), source })?;
    Ok(replay::ProgramPace { times, factor: pace.factor })
}

fn load_sites(path: &Path) -> Result<AllocationSites, JobError> {
    let read =
        || AllocationSites::read(&mut BufReader::with_capacity(1 << 16, fs::File::open(path)?));
    read().map_err(|source| JobError::Io { path: path.to_owned(), source })
}

fn measure(
    cell: &CellKey,
    feed: Feed<'_>,
    beside: &Beside,
    folder: &Path,
    clock: ClockRate,
    turn: impl FnMut() -> Result<(), ReplayError>,
) -> Result<Run, JobError> {
    let outline = Arc::clone(feed.outline());
    let mut backend = open_for(&outline, &cell.backend)?;
    let mut rows = Rows { cell, run: Run::new(Manifest::default()) };
    let (clock, path) = (clock.clock(), folder.join(BUCKETS));
    let lost = |source| JobError::Io { path: path.clone(), source };
    let mut buckets = None;
    // An allocator without delays in wall time gives the same figures at any pace.
    let delays = backend.varies() == Some(backends::Varies::ByClock);
    let job = match cell.pass {
        Pass::Time => PassJob::Time,
        Pass::Latency => {
            let buckets = buckets.insert(fs::File::create(&path).map_err(lost)?);
            PassJob::Latency { clock: &clock, isolated: beside.alone, buckets }
        }
        Pass::Footprint => {
            let pace = beside.pace.as_ref().filter(|_| delays);
            PassJob::Footprint { sites: &beside.births, pace }
        }
    };
    let found = job.run(feed, backend.as_mut(), turn).map_err(|error| match error {
        ReplayError::Write(source) => lost(source),
        other => other.into(),
    })?;
    match found {
        PassResult::Time(found) => rows.time(&found),
        PassResult::Latency(found) => rows.latency(*found),
        PassResult::Footprint(found) => {
            rows.footprint(&outline, &found, backend.backs_memory());
            if let Some(varies) = backend.varies() {
                let variation = match varies {
                    backends::Varies::ByClock => Variation::ByClock,
                    backends::Varies::AtRandom => Variation::AtRandom,
                };
                rows.put(Scope::All, Metric::VariesBetweenRuns, variation.value());
            }
            if backend.backs_memory() {
                page_rows::add(&mut rows.run, cell, &beside.births, &found);
                page_rows::add_map(&mut rows.run, cell, &found.heap_map);
            }
        }
    }
    Ok(rows.run)
}

/// Collects the rows of one cell.
struct Rows<'a> {
    cell: &'a CellKey,
    run: Run,
}

impl Rows<'_> {
    fn put(&mut self, op: Scope, metric: Metric, value: f64) {
        self.run.measurements.push(self.cell.measurement(op, metric, value));
    }

    fn count(&mut self, metric: Metric, value: u64) {
        self.put(Scope::All, metric, value as f64);
    }

    fn calls(&mut self, calls: [u64; 4]) {
        for action in Action::ALL {
            self.put(scope_of(action), Metric::Calls, calls[action as usize] as f64);
        }
    }

    fn time(&mut self, found: &TimeResult) {
        self.count(Metric::Calls, found.calls);
        self.count(Metric::TimeNanoseconds, found.processor_ns);
        self.count(Metric::WallNanoseconds, found.wall_ns);
        self.count(Metric::Preemptions, found.preemptions);
        for (number, &nanoseconds) in found.chunks_ns.iter().enumerate() {
            let start = (number * found.chunk_calls) as u64;
            self.run.chunks.push(Chunk {
                trace: self.cell.trace.clone(),
                backend: self.cell.backend.clone(),
                repetition: self.cell.repetition,
                chunk: number as u32,
                calls: (found.chunk_calls as u64).min(found.calls - start),
                nanoseconds,
            });
        }
    }

    fn latency(&mut self, found: LatencyResult) {
        self.calls(found.calls);
        self.count(Metric::Preemptions, found.preemptions);
        self.put(Scope::All, Metric::ClockStepNanoseconds, found.floor.step_ns);
        self.put(Scope::All, Metric::ClockPairNanoseconds, found.floor.pair_ns);
        self.put(Scope::All, Metric::ClockCostNanoseconds, found.floor.cost_ns);
        if found.back_to_back_ns.is_finite() {
            self.put(Scope::All, Metric::LatencyBackToBackNanoseconds, found.back_to_back_ns);
        }
        for (action, histogram) in Action::ALL.into_iter().zip(found.histograms) {
            if histogram.is_empty() {
                continue;
            }
            self.put(
                scope_of(action),
                Metric::LatencyIsolatedNanoseconds,
                found.isolated_ns[action as usize],
            );
            self.run.latencies.push(Latency {
                trace: self.cell.trace.clone(),
                backend: self.cell.backend.clone(),
                repetition: Some(self.cell.repetition),
                op: action.into(),
                histogram,
            });
        }
    }

    fn footprint(&mut self, outline: &Outline, found: &Footprint, backs_memory: bool) {
        let profile = &outline.profile;
        self.calls(found.calls);
        self.count(Metric::RequestedBytes, profile.total_requested_bytes());
        self.count(Metric::LivePeakBytes, found.samples.at_live_peak.live_bytes);
        self.count(Metric::LivePeakEvent, profile.live_peak_event);
        self.count(Metric::LiveEndBytes, found.samples.end.live_bytes);
        self.count(Metric::MinorFaults, found.cost.minor_faults);
        self.count(Metric::PassNanoseconds, found.cost.pass_ns);
        self.count(Metric::SamplingNanoseconds, found.cost.sampling_ns);
        self.count(Metric::MappingNanoseconds, found.cost.mapping_ns);
        let (live_mean, resident_mean) = means(found);
        self.put(Scope::All, Metric::LiveMeanBytes, live_mean);
        if backs_memory {
            self.memory(found, resident_mean);
        }
        for counter in &found.end_of_life.counters {
            if let Some(metric) = Metric::find(counter.metric) {
                self.count(metric, counter.value);
            }
        }
        for sample in &found.samples.all {
            self.run.samples.push(Sample {
                trace: self.cell.trace.clone(),
                backend: self.cell.backend.clone(),
                repetition: self.cell.repetition,
                event: sample.event,
                clock_bytes: sample.clock_bytes,
                live_bytes: sample.live_bytes,
                usable_bytes: sample.usable_bytes,
                pages_in_use_bytes: sample.pages_in_use_bytes,
                resident_bytes: sample.resident_bytes,
            });
        }
    }

    fn memory(&mut self, found: &Footprint, resident_mean: f64) {
        let largest = |figure: fn(&replay::HeapSample) -> u64| {
            found.samples.all.iter().map(figure).max().unwrap_or(0)
        };
        self.count(Metric::UsableAtLivePeakBytes, found.samples.at_live_peak.usable_bytes);
        self.count(
            Metric::PagesInUseAtLivePeakBytes,
            found.samples.at_live_peak.pages_in_use_bytes,
        );
        self.count(Metric::ResidentAtLivePeakBytes, found.samples.at_live_peak.resident_bytes);
        self.count(Metric::PagesInUsePeakBytes, largest(|sample| sample.pages_in_use_bytes));
        self.count(Metric::ResidentPeakBytes, largest(|sample| sample.resident_bytes));
        self.count(Metric::UsableEndBytes, found.samples.end.usable_bytes);
        self.count(Metric::PagesInUseEndBytes, found.samples.end.pages_in_use_bytes);
        self.count(Metric::ResidentEndBytes, found.samples.end.resident_bytes);
        self.put(Scope::All, Metric::ResidentMeanBytes, resident_mean);
        if let Some(bytes) = found.end_of_life.resident_trimmed_bytes {
            self.count(Metric::ResidentTrimmedBytes, bytes);
            self.count(Metric::TrimNanoseconds, found.end_of_life.trim_ns);
        }
        if let Some(bytes) = found.end_of_life.resident_flushed_bytes {
            self.count(Metric::ResidentFlushedBytes, bytes);
        }
        if let Some(bytes) = found.end_of_life.trim_predicted_bytes {
            self.count(Metric::TrimPredictedBytes, bytes);
        }
        self.count(Metric::ResidentFreedBytes, found.end_of_life.resident_freed_bytes);
        self.count(
            Metric::PagesInUseOverResidentBytes,
            found.samples.pages_in_use_over_resident_bytes,
        );
        self.count(Metric::ReturnableBytes, page_rows::returnable(&found.samples.all));
        for (at, names) in page_rows::PAGES_IN_USE_BY_GRAIN.iter().enumerate() {
            self.count(names[0], found.views.at_live_peak.pages_in_use_bytes[at + 1]);
            self.count(names[1], found.views.end.pages_in_use_bytes[at + 1]);
        }
    }
}

/// Live and resident bytes averaged over the allocation clock: each sample stands for the bytes
/// requested since the one before. A trace that requests nothing has no clock; its last sample
/// stands for it.
fn means(found: &Footprint) -> (f64, f64) {
    let (mut live, mut resident, mut clock) = (0.0, 0.0, 0.0);
    for pair in found.samples.all.windows(2) {
        let weight = (pair[1].clock_bytes - pair[0].clock_bytes) as f64;
        live += weight * pair[1].live_bytes as f64;
        resident += weight * pair[1].resident_bytes as f64;
        clock += weight;
    }
    if clock == 0.0 {
        return (found.samples.end.live_bytes as f64, found.samples.end.resident_bytes as f64);
    }
    ((live / clock).round(), (resident / clock).round())
}
