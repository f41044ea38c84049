//! Does one job, in the child. What a measurement counts becomes the rows of its cell's folder.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use super::cell_rows::CellRows;
use super::failure::Failure;
use super::files::{FileNumber, ReceivedFiles, SharedReader};
use super::free_figures::FreePass;
use super::free_order;
use super::job::{CellTask, ClockRate, Job, PacedBy, ProgramInput, Task, Verified};
use super::library_start::{library_start_bytes, resident_memory};
use super::page_rows;
use super::protocol::Answer;
use super::thread_rows;
use crate::backends::arenas::Pools;
use crate::backends::{self, Backend, ThreadUse, Varies};
use crate::program::{AllocationSites, Feed, Outline, Parts, Program, Times};
use crate::replay::{
    self, Isolated, Iterations, Lanes, PassJob, PassResult, ProgramPace, ReplayError,
    ResidentMemory, Tables,
};
use crate::results::{CellDir, Metric, Pass, Scope};
use crate::spec::BackendSpec;

/// Does `job` with its files. `time_slice` is called before each time slice of a timed pass.
///
/// # Errors
/// Why it cannot be done.
pub fn perform(
    job: &Job,
    mut files: ReceivedFiles,
    time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<Answer, Failure> {
    match &job.task {
        Task::Version { backend } => version(backend),
        Task::Verify { backend, program } => {
            let program = program.map(|number| load(&mut files, number)).transpose()?;
            verify(backend, program.as_ref())
        }
        Task::AddressTrace { backend, program, calls, out } => {
            let program = load(&mut files, *program)?;
            address_trace(backend, &program, *calls, take(&mut files, *out)?)
        }
        Task::Iterations { backend, program, iterations } => {
            iterate(backend, &load(&mut files, *program)?, *iterations, time_slice)
        }
        Task::CallTimes { backend, program, segments, clock, times } => {
            let program = load(&mut files, *program)?;
            let tables =
                TimedCalls { backend, program: &program, segments: *segments, clock: *clock };
            tables.times(take(&mut files, *times)?, time_slice)
        }
        Task::Tail { backend, program, segments, clock, chosen } => {
            let program = load(&mut files, *program)?;
            let tables =
                TimedCalls { backend, program: &program, segments: *segments, clock: *clock };
            tables.tail(&load_numbers(&mut files, *chosen)?, time_slice)
        }
        Task::Calls { backend, program, calls } => {
            make_calls(backend, &load(&mut files, *program)?, *calls)
        }
        Task::FreeOrder { backend, program, lanes, pass, clock } => {
            let program = load(&mut files, *program)?;
            let backend = open(backend)?;
            free_order::perform(&program, &*backend, *lanes, *pass, *clock).map(Answer::FreeOrder)
        }
        Task::Measure(task) => measure(task, &mut files, time_slice),
    }
}

/// The version; refused for a backend that breaks the contract.
fn version(backend: &str) -> Result<Answer, Failure> {
    let backend = open(backend)?;
    match replay::contract_test(backend.as_ref()) {
        Err(broken @ ReplayError::BreaksContract { .. }) => {
            Err(Failure::BrokenContract(broken.to_string()))
        }
        _ => Ok(Answer::Version(backend.version())),
    }
}

fn verify(backend: &str, program: Option<&Program>) -> Result<Answer, Failure> {
    let backend = open(backend)?;
    let found = match program {
        Some(program) => replay::verify(program, backend.as_ref()),
        None => replay::contract_test(backend.as_ref()),
    };
    match found {
        Ok(calls) => Ok(Answer::Verified(Verified::Proved(calls))),
        Err(broken @ (ReplayError::Rule { .. } | ReplayError::BreaksContract { .. })) => {
            Ok(Answer::Verified(Verified::Broken(broken.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}

fn address_trace(
    backend: &str,
    program: &Program,
    calls: usize,
    out: File,
) -> Result<Answer, Failure> {
    let backend = open_for(program.outline(), backend)?;
    let out = BufWriter::with_capacity(1 << 16, out);
    Ok(Answer::AddressTrace(replay::address_trace_of(program, backend.as_ref(), calls, out)?))
}

fn iterate(
    backend: &str,
    program: &Program,
    iterations: Iterations,
    time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<Answer, Failure> {
    let backend = open(backend)?;
    Ok(Answer::Iterations(replay::iterations(program, &*backend, iterations, time_slice)?))
}

/// Calls that are timed one by one, over some iterations.
struct TimedCalls<'a> {
    backend: &'a str,
    program: &'a Program,
    segments: usize,
    clock: ClockRate,
}

impl TimedCalls<'_> {
    /// Writes each call's own time.
    fn times(
        &self,
        mut out: File,
        time_slice: impl FnMut() -> Result<(), ReplayError>,
    ) -> Result<Answer, Failure> {
        let backend = open(self.backend)?;
        let clock = self.clock.clock();
        let found = replay::call_times(self.program, &*backend, &clock, self.segments, time_slice)?;
        let bytes: Vec<u8> = found.iter().flat_map(|time| time.to_le_bytes()).collect();
        out.write_all(&bytes).map_err(Failure::file("the times of calls"))?;
        Ok(Answer::CallTimes)
    }

    /// The mean of the chosen calls.
    fn tail(
        &self,
        chosen: &[u32],
        time_slice: impl FnMut() -> Result<(), ReplayError>,
    ) -> Result<Answer, Failure> {
        let backend = open(self.backend)?;
        let (clock, segments) = (self.clock.clock(), self.segments);
        let mean = replay::tail(self.program, &*backend, &clock, segments, chosen, time_slice)?;
        Ok(Answer::Tail(mean))
    }
}

fn make_calls(backend: &str, program: &Program, calls: usize) -> Result<Answer, Failure> {
    let calls = calls.min(program.instructions().len());
    let mut slots = replay::Slots::new(program);
    let backend = open(backend)?;
    let tables = Tables::new(program, backend.as_ref());
    replay::replay(program, &tables, &mut slots, 0..calls, &mut replay::Nothing)?;
    // What closing the backend costs depends on the live blocks, and is no part of the calls.
    std::mem::forget(backend);
    Ok(Answer::Calls(calls))
}

fn open(backend: &str) -> Result<Box<dyn Backend>, Failure> {
    Ok(backends::open(&backends::parse(backend)?)?)
}

/// Opens the backend for a program. Its arenas lie where the recorded process had them, if the spec
/// asks for that.
fn open_for(outline: &Outline, backend: &str) -> Result<Box<dyn Backend>, Failure> {
    let opened = open(backend)?;
    if let Some(arenas) = opened.pools().and_then(Pools::arenas)
        && arenas.wants_recorded()
    {
        if outline.arena_bases.is_empty() {
            let reason = "the trace does not say where its arenas lay, which `bases=recorded` needs: \
                          record it with this heaplay, or use bases=aligned or bases=misaligned";
            return Err(ReplayError::Instrument(reason.to_owned()).into());
        }
        arenas.place_as(&outline.arena_bases);
    }
    Ok(opened)
}

fn take(files: &mut ReceivedFiles, number: FileNumber) -> Result<File, Failure> {
    files.take(number).map_err(Failure::file("a file of the job"))
}

/// Reads a file of the job from its start.
fn read<T>(
    files: &mut ReceivedFiles,
    number: FileNumber,
    name: &str,
    read: impl FnOnce(&mut BufReader<SharedReader>) -> std::io::Result<T>,
) -> Result<T, Failure> {
    let reader = SharedReader::new(take(files, number)?);
    read(&mut BufReader::with_capacity(1 << 16, reader)).map_err(Failure::file(name))
}

fn load(files: &mut ReceivedFiles, number: FileNumber) -> Result<Program, Failure> {
    read(files, number, "the program", Program::read)
}

/// The program as a pass walks it. A file holds all of it, a pipe its parts as they are decoded.
fn feed(files: &mut ReceivedFiles, program: ProgramInput) -> Result<Feed<'static>, Failure> {
    let input: Box<dyn Read> = match program {
        ProgramInput::Whole(number) => Box::new(SharedReader::new(take(files, number)?)),
        ProgramInput::Parts(number) => Box::new(take(files, number)?),
    };
    let input: Box<dyn Read> = Box::new(BufReader::with_capacity(1 << 16, input));
    Ok(Parts::begin(input).map_err(Failure::file("the program"))?.into())
}

/// Numbers of 32 bits, little-endian.
fn load_numbers(files: &mut ReceivedFiles, number: FileNumber) -> Result<Vec<u32>, Failure> {
    let mut bytes = Vec::new();
    read(files, number, "the chosen calls", |input| input.read_to_end(&mut bytes))?;
    let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(bytes.chunks_exact(4).map(number).collect())
}

fn load_pace(files: &mut ReceivedFiles, pace: PacedBy) -> Result<ProgramPace, Failure> {
    let times = read(files, pace.times, "the program's times", Times::read)?;
    Ok(ProgramPace { times, method: pace.method })
}

fn load_sites(files: &mut ReceivedFiles, number: FileNumber) -> Result<AllocationSites, Failure> {
    read(files, number, "the allocation sites", AllocationSites::read)
}

/// Measures resident memory in free order, and saves the tables of the cell: empty ones for a backend
/// that one thread at a time may call, or that backs no memory.
fn measure_freely(task: &CellTask, files: &mut ReceivedFiles) -> Result<Answer, Failure> {
    let ProgramInput::Whole(number) = task.program else {
        let reason = "free order needs the whole program in memory; give it more with --memory";
        return Err(ReplayError::Instrument(reason.to_owned()).into());
    };
    let program = load(files, number)?;
    let backend = open_for(program.outline(), &task.cell.backend)?;
    let mut rows = CellRows::new(&task.cell);
    if backend.thread_use() == ThreadUse::Concurrent && backend.backs_memory() {
        let found = free_order::perform(
            &program,
            &*backend,
            Lanes::Recorded,
            FreePass::Footprint,
            task.clock,
        )?;
        let figures = [
            (Metric::FreeOrderResidentPeakBytes, found.resident_peak_bytes),
            (Metric::FreeOrderResidentEndBytes, found.resident_end_bytes),
        ];
        for (metric, bytes) in figures {
            rows.put(Scope::All, metric, bytes as f64);
        }
    }
    CellDir::at(&task.folder).save(&rows.run)?;
    Ok(Answer::Measured)
}

/// Resident private memory from before a library of the spec was there; `None` where none is.
fn memory_before_library(spec: &BackendSpec) -> Result<Option<ResidentMemory>, Failure> {
    let has = |is: fn(&BackendSpec) -> bool| spec.layers().any(is);
    if !has(BackendSpec::is_library) {
        return Ok(None);
    }
    let mut before = resident_memory()?;
    if has(BackendSpec::is_preloaded) {
        before.private_bytes = before.private_bytes.saturating_sub(library_start_bytes()?);
    }
    Ok(Some(before))
}

/// Measures a cell and saves its tables.
fn measure(
    task: &CellTask,
    files: &mut ReceivedFiles,
    time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<Answer, Failure> {
    if task.cell.pass == Pass::Free {
        return measure_freely(task, files);
    }
    let feed = feed(files, task.program)?;
    let sites = task.sites.map(|number| load_sites(files, number)).transpose()?.unwrap_or_default();
    let pace = task.pace.map(|pace| load_pace(files, pace)).transpose()?;
    let outline = Arc::clone(feed.outline());
    // A program that loads the library has what it takes by itself, too.
    let before = memory_before_library(&backends::parse(&task.cell.backend)?)?;
    let mut backend = open_for(&outline, &task.cell.backend)?;
    let dir = CellDir::at(&task.folder);
    let call_times = dir.call_times();
    let lost = |error| Failure::file(call_times.display().to_string())(error);
    let (clock, mut buckets) = (task.clock.clock(), None);
    // An allocator without delays in wall time gives the same figures at any pace.
    let has_delays = backend.varies() == Some(Varies::ByClock);
    let pass = match task.cell.pass {
        Pass::Time => PassJob::Time,
        Pass::Touch => PassJob::Touch,
        Pass::Cold => PassJob::Cold,
        Pass::Traversal => PassJob::Traversal { collector: task.collector },
        Pass::Latency => PassJob::Latency {
            clock: &clock,
            isolated: task.isolated.unwrap_or(Isolated::Even),
            buckets: buckets.insert(File::create(&call_times).map_err(lost)?),
        },
        Pass::Footprint | Pass::Free => {
            let pace = pace.as_ref().filter(|_| has_delays);
            PassJob::Footprint { sites: &sites, pace, before }
        }
    };
    let found = pass.run(feed, backend.as_mut(), time_slice).map_err(|error| match error {
        ReplayError::Write(error) => lost(error),
        error => error.into(),
    })?;
    let mut rows = CellRows::new(&task.cell);
    match found {
        PassResult::Time(found) => {
            rows.threads(&outline, found.threads);
            rows.time(&found);
        }
        PassResult::Touch(found) => {
            rows.threads(&outline, found.threads);
            rows.touch(&found);
        }
        PassResult::Cold(found) => {
            rows.threads(&outline, found.threads);
            rows.cold(&found);
        }
        PassResult::Traversal(found) => rows.traversal(&outline, found),
        PassResult::Latency(found) => {
            rows.threads(&outline, found.threads);
            rows.latency(*found);
        }
        PassResult::Footprint(found) => {
            rows.threads(&outline, found.threads);
            rows.footprint(&outline, &sites, &found, backend.as_ref());
            if backend.backs_memory() {
                page_rows::add(&mut rows.run, &task.cell, &sites, &found);
                page_rows::add_map(&mut rows.run, &task.cell, &sites, &found);
            }
            thread_rows::add(&mut rows.run, &task.cell, &found.history, backend.backs_memory());
            if let Some(arenas) = &found.end_of_life.arenas {
                thread_rows::add_arenas(&mut rows.run, &task.cell, arenas);
            }
        }
    }
    dir.save(&rows.run)?;
    Ok(Answer::Measured)
}
