//! Traces as options name them: found, read and compiled.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::terminal::note;
use crate::bench::{Loaded, sha256_of_file};
use crate::program::AllocationSites;
use crate::results::TraceEntry;
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
            sha256: sha256_of_file(path)?,
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
