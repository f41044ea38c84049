//! A compiled trace, ready for children.
//!
//! A [`Workload`] is made once. Its program, its allocation sites and its times lie in files in
//! memory that all children share. Of a program that is larger than the memory for it there is only
//! the outline; its parts are decoded for each child (`handover.rs`).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{FileNumber, JobFiles, memory_file};
use super::handover::Decoder;
use super::job::{PacedBy, ProgramInput};
use super::plan::TraceDemand;
use super::trace_entry::with_lines_and_times;
use crate::cpython::CollectorRecord;
use crate::program::{
    AllocationSites, Change, Feed, Outline, Parts, Profile, Program, Times, what_if,
};
use crate::replay::PaceMethod;
use crate::results::{Pass, TraceEntry};
use crate::trace::ArenaEvent;

/// A compiled trace, ready for children.
pub struct Workload {
    /// The trace as the run record names it.
    pub trace: TraceEntry,
    /// The program, or only its outline.
    pub program: Program,
    /// The site of each request, or those that come with the parts; empty where the trace does not
    /// say.
    pub sites: AllocationSites,
    /// When its calls were made; empty where the trace does not say.
    pub times: Times,
    /// Births and deaths of the recorded process's arenas; empty where the trace does not say.
    pub arenas: Vec<ArenaEvent>,
    source: ProgramSource,
    /// What the footprint pass replays, where that ends before the last call.
    beginning: Option<Beginning>,
    sites_file: Option<File>,
    times_file: Option<File>,
}

/// The first calls of a program, as a program of their own.
struct Beginning {
    outline: Arc<Outline>,
    file: File,
}

/// Where a program comes from.
enum ProgramSource {
    /// The compiled program.
    Compiled(File),
    /// The trace itself.
    Trace(PathBuf),
}

impl Workload {
    /// A whole program with its sites and its times.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new(
        trace: TraceEntry,
        program: Program,
        sites: AllocationSites,
        times: Times,
    ) -> io::Result<Workload> {
        let trace = with_lines_and_times(trace, &program, &sites, &times);
        let sites = sites.without_callers();
        let file = memory_file("heaplay-program", |out| program.write(out))?;
        let (sites_file, times_file) = (sites_file(&sites)?, times_file(&times)?);
        let source = ProgramSource::Compiled(file);
        Ok(Workload {
            trace,
            program,
            sites,
            times,
            arenas: vec![],
            source,
            beginning: None,
            sites_file,
            times_file,
        })
    }

    /// The trace at `path`, of which `program` is the outline. Children get the program in parts,
    /// which bring the sites of their requests.
    ///
    /// # Errors
    /// When there is no memory for the names of the sites, or for the times.
    pub fn in_parts(
        trace: TraceEntry,
        program: Program,
        sites: AllocationSites,
        times: Times,
        path: &Path,
    ) -> io::Result<Workload> {
        Ok(Workload {
            trace: with_lines_and_times(trace, &program, &sites, &times),
            program,
            sites_file: sites_file(&sites)?,
            sites,
            times_file: times_file(&times)?,
            times,
            arenas: vec![],
            source: ProgramSource::Trace(path.to_owned()),
            beginning: None,
        })
    }

    /// The same with the arenas that the recorded process had.
    #[must_use]
    pub fn with_arenas(self, arenas: Vec<ArenaEvent>) -> Workload {
        Workload { arenas, ..self }
    }

    /// The same with a footprint pass that ends after so many calls: at the moment that counts as the
    /// end. A program in parts has no other end than its last call.
    ///
    /// # Errors
    /// When the moment is before the first call, or there is no memory for the calls.
    pub fn until(self, calls: u64) -> io::Result<Workload> {
        if !self.program.is_whole() || calls >= self.program.calls() as u64 {
            return Ok(self);
        }
        let program = self.program.beginning(calls).map_err(io::Error::other)?;
        let file = memory_file("heaplay-beginning", |out| program.write(out))?;
        let beginning = Some(Beginning { outline: Arc::clone(program.outline()), file });
        Ok(Workload { beginning, ..self })
    }

    /// The same under another name, by which two recordings of a program are compared.
    #[must_use]
    pub fn named(mut self, name: &str) -> Workload {
        name.clone_into(&mut self.trace.name);
        self
    }

    /// The same trace with the long-lived blocks of one site changed. It stands in no run record.
    ///
    /// # Errors
    /// When nothing is left of the changed trace, or there is no memory for it.
    pub fn changed(&self, site: u32, change: Change) -> io::Result<Workload> {
        let until = self.beginning.as_ref().map(|beginning| beginning.outline.calls);
        let beginning = until.map(|calls| self.program.beginning(calls)).transpose();
        let beginning = beginning.map_err(io::Error::other)?;
        let program = beginning.as_ref().unwrap_or(&self.program);
        let changed = what_if(program, &self.sites, site, change).map_err(io::Error::other)?;
        let trace = TraceEntry { name: "what-if".to_owned(), ..TraceEntry::default() };
        let times = changed.times(&self.times);
        Workload::new(trace, changed.program, changed.sites, times)
    }

    /// The trace's name in the run record.
    pub fn name(&self) -> &str {
        &self.trace.name
    }

    /// What the garbage collector of the recorded program visited; `None` where the trace does not say.
    pub fn collector(&self) -> Option<CollectorRecord> {
        self.trace.process.as_ref()?.collector
    }

    /// How many calls the program has.
    pub fn calls(&self) -> usize {
        self.program.calls()
    }

    /// How many calls a footprint pass makes.
    pub fn observed_calls(&self) -> usize {
        self.profile(Pass::Footprint).total_calls() as usize
    }

    /// What a pass requests.
    pub(super) fn profile(&self, pass: Pass) -> &Profile {
        match &self.beginning {
            Some(beginning) if pass == Pass::Footprint => &beginning.outline.profile,
            _ => self.program.profile(),
        }
    }

    /// Adds the program to the files of a job that only whole programs are given to. Of a program
    /// in parts there is no file, and the child says so.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(super) fn share(&self, files: &mut JobFiles) -> io::Result<FileNumber> {
        match &self.source {
            ProgramSource::Compiled(file) => files.share(file),
            ProgramSource::Trace(_) => Ok(FileNumber::NONE),
        }
    }

    /// Adds the program to the files of a job, for a child that makes `pass` on `processor`. The
    /// decoder is to be ended after the child.
    ///
    /// # Errors
    /// When there is no descriptor, pipe or thread left.
    pub(super) fn hand_over(
        &self,
        files: &mut JobFiles,
        processor: Option<usize>,
        pass: Pass,
    ) -> io::Result<(ProgramInput, Decoder)> {
        if let (Some(beginning), Pass::Footprint) = (&self.beginning, pass) {
            return Ok((ProgramInput::Whole(files.share(&beginning.file)?), Decoder::none()));
        }
        match &self.source {
            ProgramSource::Compiled(file) => {
                Ok((ProgramInput::Whole(files.share(file)?), Decoder::none()))
            }
            ProgramSource::Trace(path) => {
                // Only the footprint pass looks at sites.
                let site_of = self.sites.of_recorded().filter(|_| pass == Pass::Footprint);
                let outline = self.program.outline();
                let (reader, decoder) = Decoder::start(path, outline, site_of, processor)?;
                Ok((ProgramInput::Parts(files.give(reader)), decoder))
            }
        }
    }

    /// The program as this process walks it itself, or why it does not begin. The decoder is to be
    /// ended after the feed, and knows what is wrong with a trace that cannot be decoded.
    ///
    /// # Errors
    /// When there is no pipe or thread left.
    pub(super) fn feed(&self) -> io::Result<(io::Result<Feed<'_>>, Decoder)> {
        match &self.source {
            ProgramSource::Compiled(_) => Ok((Ok((&self.program).into()), Decoder::none())),
            ProgramSource::Trace(path) => {
                let (outline, site_of) = (self.program.outline(), self.sites.of_recorded());
                let (reader, decoder) = Decoder::start(path, outline, site_of, None)?;
                let input: Box<dyn Read> = Box::new(BufReader::with_capacity(1 << 16, reader));
                Ok((Parts::begin(input).map(Feed::from), decoder))
            }
        }
    }

    /// Adds the sites to the files of a job, where there are any.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(super) fn share_sites(&self, files: &mut JobFiles) -> io::Result<Option<FileNumber>> {
        self.sites_file.as_ref().map(|file| files.share(file)).transpose()
    }

    /// Adds the times by which a footprint pass goes, where the trace has times.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(super) fn share_pace(
        &self,
        files: &mut JobFiles,
        method: PaceMethod,
    ) -> io::Result<Option<PacedBy>> {
        let Some(file) = &self.times_file else { return Ok(None) };
        Ok(Some(PacedBy { times: files.share(file)?, method }))
    }
}

fn sites_file(sites: &AllocationSites) -> io::Result<Option<File>> {
    match sites.is_empty() {
        true => Ok(None),
        false => memory_file("heaplay-sites", |out| sites.write(out)).map(Some),
    }
}

fn times_file(times: &Times) -> io::Result<Option<File>> {
    match times.is_empty() {
        true => Ok(None),
        false => memory_file("heaplay-times", |out| times.write(out)).map(Some),
    }
}

/// The workloads of a run, in the order in which the traces were given.
#[derive(Default)]
pub struct Workloads(Vec<Workload>);

impl Workloads {
    /// What a child of a trace must hold; nothing for a trace that is not there.
    pub fn demand(&self, trace: &str) -> TraceDemand {
        self.get(trace).map_or_else(TraceDemand::default, |workload| TraceDemand {
            stored_calls: workload.program.instructions().len(),
            live_peak_bytes: workload.program.profile().live_peak_bytes,
        })
    }

    /// The workload of the trace of that name.
    pub fn get(&self, trace: &str) -> Option<&Workload> {
        self.0.iter().find(|workload| workload.name() == trace)
    }

    /// All of them in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Workload> {
        self.0.iter()
    }

    /// The first of them.
    pub fn first(&self) -> Option<&Workload> {
        self.0.first()
    }

    /// The traces as the run record names them.
    pub fn traces(&self) -> Vec<TraceEntry> {
        self.0.iter().map(|workload| workload.trace.clone()).collect()
    }

    /// The same under the names that another run has for them, in their order.
    #[must_use]
    pub fn named_as(self, traces: &[TraceEntry]) -> Workloads {
        self.into_iter().zip(traces).map(|(workload, trace)| workload.named(&trace.name)).collect()
    }
}

impl FromIterator<Workload> for Workloads {
    fn from_iter<I: IntoIterator<Item = Workload>>(workloads: I) -> Workloads {
        Workloads(workloads.into_iter().collect())
    }
}

impl IntoIterator for Workloads {
    type Item = Workload;
    type IntoIter = std::vec::IntoIter<Workload>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Workloads {
    type Item = &'a Workload;
    type IntoIter = std::slice::Iter<'a, Workload>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
