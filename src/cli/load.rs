//! Traces as options name them: found, read and compiled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use anyhow::{Context, bail};

use super::end_choice::EndChoice;
use super::error_chain::chain;
use super::exit::Exit;
use super::recorded_process::process_entry;
use super::tables::table;
use super::terminal::{note, print};
use crate::bench::{Settings, Workload, Workloads, sha256_of_file};
use crate::program::AllocationSites;
use crate::report::some;
use crate::results::{NamedThread, ProgramMark, RunDir, TraceEntry};
use crate::trace::FileStamp;
use crate::{program, trace};

/// The traces that paths name: files as they are, folders as the traces in them (a CSV only where
/// there is no binary trace of the same name).
///
/// # Errors
/// A path that is not there, or a folder without a trace.
pub fn find_traces(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let inside = traces_in(path).map_err(|error| trace::TraceError::io(path, error))?;
        if inside.is_empty() {
            let endings: Vec<String> =
                trace::FORMATS.iter().map(|f| format!(".{}", f.extension)).collect();
            bail!(
                "{}: no trace in this folder; expected files that end in {}",
                path.display(),
                endings.join(" or ")
            );
        }
        found.extend(inside.into_values());
    }
    Ok(found)
}

/// The traces in a folder, by their paths without the ending. Of two formats of the same trace, the
/// first one of the list counts.
fn traces_in(folder: &Path) -> io::Result<BTreeMap<PathBuf, PathBuf>> {
    let mut found = BTreeMap::new();
    for format in trace::FORMATS.iter().rev() {
        for entry in fs::read_dir(folder)? {
            let file = entry?.path();
            if file.extension().is_some_and(|e| e.eq_ignore_ascii_case(format.extension)) {
                found.insert(file.with_extension(""), file);
            }
        }
    }
    Ok(found)
}

/// The traces that paths name, compiled, and the files of folders that could not be.
pub struct FoundTraces {
    /// The traces.
    pub workloads: Workloads,
    /// The files of folders that are no trace that can be replayed.
    pub unread: UnreadTraces,
}

/// Files of folders that could not be read, with the reasons.
#[derive(Default)]
pub struct UnreadTraces {
    files: Vec<(PathBuf, String)>,
    /// All files, with those that could be read.
    all: usize,
}

impl UnreadTraces {
    /// Prints before the results which files they do not have.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn announce(&self) -> anyhow::Result<()> {
        let names: Vec<String> =
            self.files.iter().map(|(path, _)| path.display().to_string()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let measured = self.all - names.len();
        print(&format!(
            "{measured} of {} files {} measured. Not measured: {}; the reasons are at the end.\n\n",
            self.all,
            if measured == 1 { "is" } else { "are" },
            some(&names)
        ))
    }

    /// The exit code of a verb that did the rest of its job with `code`: a row for each file, and a
    /// failure where there is one.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn conclude(&self, code: ExitCode) -> anyhow::Result<ExitCode> {
        if self.files.is_empty() {
            return Ok(code);
        }
        let rows =
            self.files.iter().map(|(path, why)| vec![path.display().to_string(), why.clone()]);
        print(&table(&["file", "not measured, because"], rows.collect()))?;
        Ok(self.exit(code))
    }

    /// As [`UnreadTraces::conclude`], without a table on standard output.
    pub fn exit(&self, code: ExitCode) -> ExitCode {
        if self.files.is_empty() {
            return code;
        }
        let files = match self.files.len() {
            1 => "1 file was".to_owned(),
            count => format!("{count} files were"),
        };
        note(format!("{files} not measured, of {}, for the reasons above", self.all));
        if code == ExitCode::from(Exit::Fine) { Exit::Failed.into() } else { code }
    }
}

/// By what page retention is attributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineGroups {
    /// By the line that allocated.
    #[default]
    Lines,
    /// By the line with its recorded callers.
    Callers,
}

impl LineGroups {
    /// The groups of a trace as the run record has them.
    pub fn of(trace: &TraceEntry) -> LineGroups {
        if trace.has_callers { LineGroups::Callers } else { LineGroups::Lines }
    }

    /// The sites in these groups.
    pub fn group(self, sites: AllocationSites) -> AllocationSites {
        match self {
            LineGroups::Lines => sites.by_line(),
            LineGroups::Callers => sites,
        }
    }

    /// The workload, whose record says by what its sites are grouped.
    fn note(self, mut workload: Workload) -> Workload {
        workload.trace.has_callers = self == LineGroups::Callers;
        workload
    }
}

/// Reads the traces that paths name, as [`load_within`] does. A file of a folder that cannot be read
/// is left out, and reported at the end. A file that is named itself has to be readable.
///
/// # Errors
/// A path that is not there, a named file that is faulty, or a folder without a readable trace.
pub fn load_found(
    paths: &[PathBuf],
    end: &EndChoice,
    lines: LineGroups,
    most: u64,
) -> anyhow::Result<FoundTraces> {
    let mut found: Vec<Workload> = Vec::new();
    let mut unread = UnreadTraces::default();
    if let Some(run) = paths.iter().find(|path| RunDir::is_at(path)) {
        let run = run.display();
        bail!("{run} is the folder of a run, not of traces; `heaplay report {run}` shows it");
    }
    let files = find_traces(paths)?;
    refuse_twice(&files)?;
    unread.all = files.len();
    for file in files {
        match load_one(&file, &found, |sites| lines.group(sites), end, most) {
            Ok(workload) => found.push(lines.note(workload)),
            Err(error) if paths.contains(&file) => return Err(error),
            Err(error) => {
                let why = chain(&error);
                note(format!("{why}; this file of the folder is left out"));
                unread.files.push((file, why));
            }
        }
    }
    if found.is_empty() && !unread.files.is_empty() {
        bail!("no file of the folder can be replayed; record one with `heaplay record`");
    }
    Ok(FoundTraces { workloads: found.into_iter().collect(), unread })
}

/// The calls whose instructions, of 8 bytes, fit the memory of a child. A trace with more calls is
/// replayed in parts.
pub fn calls_within(settings: &Settings) -> u64 {
    settings.memory_bytes / 8
}

/// Reads, hashes and compiles each trace. Its sites are the lines that allocated.
///
/// # Errors
/// The first trace that is faulty.
pub fn load_traces(paths: &[PathBuf]) -> anyhow::Result<Workloads> {
    load_within(paths, &EndChoice::default(), u64::MAX)
}

/// As [`load_traces`]. A trace of more than `most` calls is an outline, which is replayed in parts.
///
/// # Errors
/// The first trace that is faulty.
pub fn load_within(paths: &[PathBuf], end: &EndChoice, most: u64) -> anyhow::Result<Workloads> {
    load_grouped(paths, AllocationSites::by_line, end, most)
}

/// As [`load_within`], with the sites that `group` makes.
///
/// # Errors
/// The first trace that is faulty.
pub fn load_grouped(
    paths: &[PathBuf],
    group: impl Fn(AllocationSites) -> AllocationSites,
    end: &EndChoice,
    most: u64,
) -> anyhow::Result<Workloads> {
    refuse_twice(paths)?;
    let mut workloads: Vec<Workload> = Vec::new();
    for path in paths {
        workloads.push(load_one(path, &workloads, &group, end, most)?);
    }
    Ok(workloads.into_iter().collect())
}

/// Reads one trace, whose name differs from those of `others`.
fn load_one(
    path: &Path,
    others: &[Workload],
    group: impl Fn(AllocationSites) -> AllocationSites,
    end: &EndChoice,
    most: u64,
) -> anyhow::Result<Workload> {
    let stamp = FileStamp::now(path).ok();
    let (reader, compiled) = read(path, most)?;
    note_reader(path, reader.as_ref());
    let header = reader.header();
    let mut facts = header.facts.clone();
    // Lists: the marks are typed, and no report reads the others.
    for list in ["marks", "arenas", "interpreters"] {
        facts.remove(list);
    }
    let profile = compiled.0.profile();
    let known = (profile.total_calls(), profile.live_peak_event);
    // Of a program in parts, what is live before the last call is not known.
    let end = match compiled.0.is_whole() {
        true => end.end_point(path, header, reader.process(), known, || compiled.0.plateau())?,
        false => None,
    };
    let until = end.as_ref().map_or(u64::MAX, |end| end.event);
    let marks = header.marks().into_iter();
    let entry = TraceEntry {
        name: unique_name(path, others)?,
        path: path.display().to_string(),
        sha256: sha256_of_file(path)?,
        calls: compiled.0.profile().total_calls(),
        recorded_ns: compiled.2.last_ns(),
        facts,
        has_callers: false,
        marks: marks.map(|(event, name)| ProgramMark { event, name }).collect(),
        end,
        process: process_entry(header, reader.process(), until),
        thread_count: compiled.0.outline().threads.len() as u32,
        threads: named_threads(reader.process()),
        has_pymalloc_calls: has_pymalloc_calls(&compiled.0),
        ..TraceEntry::default()
    };
    // What was compiled must be what was hashed: the hash names it in the record.
    if FileStamp::now(path).ok() != stamp {
        bail!(
            "{}: the file changed while it was read; expected one that stays as it is: copy it, \
             and name the copy",
            path.display()
        );
    }
    let workload = workload(path, entry, compiled, group)?.until(until);
    let workload =
        workload.with_context(|| format!("{}: no memory for its end", path.display()))?;
    Ok(workload.with_arenas(reader.header().arenas()))
}

/// Whether any call is of a domain that pymalloc serves; `None` of a program in parts.
fn has_pymalloc_calls(program: &program::Program) -> Option<bool> {
    let is_served = |call: &program::Instruction| {
        matches!(call.domain(), trace::Domain::Mem | trace::Domain::Obj)
    };
    program.is_whole().then(|| program.instructions().iter().any(is_served))
}

/// The threads that have a name.
pub(super) fn named_threads(process: &trace::ProcessRecord) -> Vec<NamedThread> {
    let named = (1..).zip(&process.threads).filter(|(_, record)| !record.name.is_empty());
    named.map(|(thread, record)| NamedThread { thread, name: record.name.clone() }).collect()
}

fn refuse_twice(paths: &[PathBuf]) -> anyhow::Result<()> {
    for (at, path) in paths.iter().enumerate() {
        let is_same = |other: &PathBuf| {
            let (own, other) = (path.canonicalize(), other.canonicalize());
            own.is_ok_and(|own| other.is_ok_and(|other| own == other))
        };
        if paths[..at].iter().any(is_same) {
            bail!("{}: given twice; name each trace once", path.display());
        }
    }
    Ok(())
}

/// What the person should know of a trace.
fn note_reader(path: &Path, reader: &dyn trace::TraceReader) {
    reader.warnings().iter().for_each(note);
    let heaps = reader.header().interpreters().len();
    if heaps > 0 {
        note(format!(
            "{}: {heaps} threads ran in sub-interpreters with heaps of their own; they are replayed \
             in one heap",
            path.display()
        ));
    }
}

/// The program for children: whole, or in parts where it is an outline.
fn workload(
    path: &Path,
    entry: TraceEntry,
    (program, sites, times): Compiled,
    group: impl Fn(AllocationSites) -> AllocationSites,
) -> anyhow::Result<Workload> {
    let workload = if program.is_whole() {
        Workload::new(entry, program, group(sites), times)
    } else {
        let (calls, mib) = (program.calls(), (8 * program.calls()) >> 20);
        note(format!(
            "{}: {calls} calls need {mib} MiB, over the memory limit, so the trace is replayed in parts; \
             the footprint ends after the last call, and no change of a line is tried",
            path.display()
        ));
        Workload::in_parts(entry, program, group(sites), times, path)
    };
    workload.with_context(|| format!("{}: no memory for the program", path.display()))
}

/// What compiling gives.
type Compiled = (program::Program, AllocationSites, program::Times);

/// Reads and compiles a trace. Compiling proves everything that the reader would prove. The reader
/// proves it only after a fault, to name the place in the file.
fn read(path: &Path, most: u64) -> anyhow::Result<(Box<dyn trace::TraceReader>, Compiled)> {
    let mut reader = trace::open(path)?;
    reader.skip_validation();
    let expected = reader.events_hint();
    match program::compile_within(reader.as_mut(), most) {
        Ok(compiled) if expected.is_none_or(|calls| calls == compiled.0.calls() as u64) => {
            return Ok((reader, compiled));
        }
        Ok(_) | Err(program::ProgramError::Unsound { .. }) => {}
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    }
    let mut reader = trace::open(path)?;
    let compiled = program::compile_within(reader.as_mut(), most)
        .with_context(|| path.display().to_string())?;
    Ok((reader, compiled))
}

/// The file's name without its ending; with the folder's name before it where two are the same.
fn unique_name(path: &Path, taken: &[Workload]) -> anyhow::Result<String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder =
        path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    [stem.clone(), format!("{folder}-{stem}"), format!("{folder}-{stem}-{extension}")]
        .into_iter()
        .find(|name| taken.iter().all(|workload| workload.name() != name))
        .with_context(|| format!("{}: given twice; name each trace once", path.display()))
}
