//! What several verbs do first: find traces, compile them, and the options that
//! children share.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::note;
use crate::bench::{self, ClockRate, Loaded, Settings, available_bytes, processors};
use crate::program::AllocationSites;
use crate::replay::Clock;
use crate::results::TraceEntry;
use crate::{backends, program, trace};

/// Bounds of the children, shared by the verbs that start some.
#[derive(clap::Args, Default)]
pub struct ChildArgs {
    /// Children at once [default: one for each processor; of timed ones fewer, where busy
    /// neighbours slow each other down]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Seconds that a pass may take; a backend that does not finish is stopped, and not tried again
    /// on that trace [default: 60 and 20 µs a call]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    timeout: Option<u64>,
    /// Resident private memory that a child may take, such as 2GiB [default: its share of 3/4 of
    /// what is available]
    #[arg(long, value_parser = parse_bytes)]
    memory_limit: Option<u64>,
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    backends::parse_bytes(text)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected bytes, such as 512MiB or 2GiB".to_owned())
}

impl ChildArgs {
    /// The bounds, with the clock calibrated.
    pub fn settings(&self) -> Settings {
        let jobs = self.jobs.map_or_else(|| processors().len().max(1), usize::from);
        let share = available_bytes() / 4 * 3 / jobs as u64;
        note_environment();
        Settings {
            jobs,
            jobs_told: self.jobs.is_some(),
            memory_bytes: self.memory_limit.unwrap_or(share),
            timeout: self.timeout.map(Duration::from_secs),
            pace: None,
            clock: ClockRate::of(&Clock::calibrate()),
        }
    }
}

/// Says which of the caller's variables change what the children measure.
fn note_environment() {
    let passed = bench::variables();
    if !passed.is_empty() {
        note(format!("every backend runs with {passed}, as it was found in the environment"));
    }
    if std::env::var_os("LD_PRELOAD").is_some_and(|preload| !preload.is_empty()) {
        note("LD_PRELOAD is kept from the backends; `preload:PATH` measures a library");
    }
}

/// The words of `--backends`, each checked: `a,b` is two, but the settings of one keep their commas
/// (`jemalloc:dirty_decay_ms=0,narenas=1`): a part with `=` and without `:` belongs to the one
/// before.
///
/// # Errors
/// A word that is no backend, or one that is there twice.
pub fn backend_words(lists: &[String]) -> anyhow::Result<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    for list in lists {
        let first = words.len();
        for part in list.split(',') {
            // Behind a path even `narenas:1` may be part of a value (MALLOC_CONF).
            let by_path = words.last().is_some_and(|w| w.contains("so:") || w.contains("preload:"));
            let value = by_path && part.contains(':') && backends::parse(part).is_err();
            let continues =
                (part.contains('=') && !part.contains(':') || value) && words.len() > first;
            match words.last_mut() {
                Some(last) if continues => {
                    last.push(',');
                    last.push_str(part);
                }
                _ => words.push(part.trim().to_owned()),
            }
        }
    }
    for (at, word) in words.iter().enumerate() {
        // A setting that a backend does not have is refused here already; what cannot be had is the
        // child's to tell.
        let spec = backends::parse(word)?;
        for told in [backends::environment(&spec).err(), backends::describe(&spec).err()] {
            match told {
                None | Some(backends::BackendError::Unavailable { .. }) => {}
                Some(error) => return Err(error.into()),
            }
        }
        if words[..at].contains(word) {
            bail!("--backends: `{word}` is there twice; name each once");
        }
    }
    Ok(words)
}

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
        let mut inside: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
        for format in trace::FORMATS.iter().rev() {
            for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
                let file = entry.with_context(|| path.display().to_string())?.path();
                if file.extension().is_some_and(|e| e.eq_ignore_ascii_case(format.extension)) {
                    inside.insert(file.with_extension(""), file); // the first format in the list wins
                }
            }
        }
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

/// Reads, hashes and compiles each trace. Its sites are the lines that allocated.
///
/// # Errors
/// The first trace that is faulty.
pub fn load_traces(
    paths: &[PathBuf],
) -> anyhow::Result<(Vec<TraceEntry>, HashMap<String, Loaded>)> {
    load_grouped(paths, AllocationSites::by_line, u64::MAX)
}

/// As [`load_traces`], but of a trace of more than `most` calls only the outline is kept, for a
/// replay in parts.
///
/// # Errors
/// The first trace that is faulty.
pub fn load_within(
    paths: &[PathBuf],
    most: u64,
) -> anyhow::Result<(Vec<TraceEntry>, HashMap<String, Loaded>)> {
    load_grouped(paths, AllocationSites::by_line, most)
}

/// As [`load_within`], with the sites that `group` makes.
///
/// # Errors
/// The first trace that is faulty.
pub fn load_grouped(
    paths: &[PathBuf],
    group: impl Fn(AllocationSites) -> AllocationSites,
    most: u64,
) -> anyhow::Result<(Vec<TraceEntry>, HashMap<String, Loaded>)> {
    let mut entries: Vec<TraceEntry> = Vec::new();
    let mut programs = HashMap::new();
    for (at, path) in paths.iter().enumerate() {
        let same = |other: &PathBuf| matches!((path.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if paths[..at].iter().any(same) {
            bail!("{}: given twice; name each trace once", path.display());
        }
        let (reader, (program, births, times)) = read(path, most)?;
        for warning in reader.warnings() {
            note(warning);
        }
        let heaps = reader.header().interpreters().len();
        if heaps > 0 {
            note(format!(
                "{}: {heaps} threads ran in sub-interpreters with heaps of their own; they are replayed in one",
                path.display()
            ));
        }
        let facts = reader.header().facts.clone();
        let name = unique_name(path, &entries)?;
        entries.push(TraceEntry {
            name: name.clone(),
            path: path.display().to_string(),
            sha256: sha256(path)?,
            calls: program.profile().total_calls(),
            facts,
        });
        let loaded = if program.is_whole() {
            Loaded::new(program, group(births), times)
        } else {
            let (calls, mib) = (program.calls(), (8 * program.calls()) >> 20);
            note(format!(
                "{}: {calls} calls need {mib} MiB, over the memory limit: replayed in parts that are decoded meanwhile; no \
                 lines: of what pins pages, or of slow calls",
                path.display()
            ));
            Loaded::in_parts(program, times, path)
        };
        let loaded =
            loaded.with_context(|| format!("{}: no memory for the program", path.display()))?;
        programs.insert(name, loaded);
    }
    Ok((entries, programs))
}

/// What compiling gives.
type Read = (program::Program, AllocationSites, program::Times);

/// Reads and compiles a trace. Compiling proves all that the reader would, so the reader does so
/// only where something is wrong, for its word on the place in the file.
fn read(path: &Path, most: u64) -> anyhow::Result<(Box<dyn trace::TraceReader>, Read)> {
    let mut reader = trace::open(path)?;
    reader.skip_validation();
    let told = reader.events_hint();
    match program::compile_within(reader.as_mut(), most) {
        Ok(read) if told.is_none_or(|calls| calls == read.0.calls() as u64) => {
            return Ok((reader, read));
        }
        Ok(_) | Err(program::ProgramError::Unsound { .. }) => {}
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    }
    let mut reader = trace::open(path)?;
    let read = program::compile_within(reader.as_mut(), most)
        .with_context(|| path.display().to_string())?;
    Ok((reader, read))
}

/// The file's name without its ending; with the folder's in front when two are alike.
fn unique_name(path: &Path, taken: &[TraceEntry]) -> anyhow::Result<String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder =
        path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    [stem.clone(), format!("{folder}-{stem}"), format!("{folder}-{stem}-{extension}")]
        .into_iter()
        .find(|name| taken.iter().all(|entry| entry.name != *name))
        .with_context(|| format!("{}: given twice; name each trace once", path.display()))
}

/// SHA-256 of a file, in hex.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    std::io::copy(&mut file, &mut hash).with_context(|| path.display().to_string())?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Ctrl-C and SIGTERM end the run in order; a second one ends it at once.
pub fn install_interrupt() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if bench::CANCELLED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("cannot listen for Ctrl-C")
}
