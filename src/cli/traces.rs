//! Verb `traces`: lists and fetches published traces, and writes the index of a folder.
//!
//! `traces/index.rs` is the index, and `traces/source.rs` the way to it and to its files.

mod index;
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use self::index::{INDEX_NAME, IndexedTrace, TraceFacts, TraceIndex};
use self::source::{TraceSource, check_contents};
use super::exit::Exit;
use super::load::find_traces;
use super::tables::table;
use super::terminal::{note, print};
use crate::bench::sha256_of_file;
use crate::results::Metric;
use crate::units::{plain_bytes, with_commas};

/// List the traces of an index, fetch them, or write the index of a folder
#[derive(clap::Args)]
pub struct TracesArgs {
    /// A folder with an `index.toml`, such a file, or its address: file:///…, http://… or https://…
    /// (by the program `curl`)
    #[arg(default_value = "traces", value_name = "INDEX")]
    source: String,
    /// Fetch these traces, separated by commas; `all` for all. The sha256 of each is checked
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "to")]
    fetch: Vec<String>,
    /// The folder for what is fetched; its `index.toml` gets the entries
    #[arg(long, value_name = "DIR", requires = "fetch")]
    to: Option<PathBuf>,
    /// Check each file: its sha256, its calls and its live peak
    #[arg(long, conflicts_with = "fetch")]
    verify: bool,
    /// Write the index of the traces in the folder INDEX. What an earlier index has besides the
    /// counted facts is retained: licence, description, program, command
    #[arg(long, conflicts_with_all = ["fetch", "verify"])]
    write_index: bool,
    /// With --write-index, the licence of traces that are new in the index, as an SPDX expression
    #[arg(long, value_name = "LICENCE", requires = "write_index")]
    licence: Option<String>,
    /// Print the index as JSON
    #[arg(long, conflicts_with_all = ["fetch", "verify", "write_index"])]
    json: bool,
}

impl TracesArgs {
    /// Lists, fetches, checks, or writes the index.
    ///
    /// # Errors
    /// A faulty index, a missing file, or one with other contents than the index states.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.write_index {
            return write_index(Path::new(&self.source), self.licence.as_deref());
        }
        let source = TraceSource::open(&self.source)?;
        if let Some(folder) = &self.to {
            return fetch(&source, &self.fetch, folder);
        }
        if self.verify {
            return verify(&source);
        }
        if self.json {
            print(&(serde_json::to_string_pretty(&source.index)? + "\n"))?;
        } else {
            print(&listing(&source))?;
        }
        Ok(Exit::Fine.into())
    }
}

/// The table of an index, and a line for each trace.
fn listing(source: &TraceSource) -> String {
    let row = |entry: &IndexedTrace| {
        let place = match source.local(entry) {
            Some(path) if path.is_file() => "here",
            Some(_) => "missing",
            None => "elsewhere",
        };
        vec![
            entry.name.clone(),
            with_commas(entry.calls),
            plain_bytes(entry.live_peak_bytes),
            plain_bytes(entry.bytes),
            entry.licence.clone(),
            place.to_owned(),
        ]
    };
    let rows = source.index.traces.iter().map(row).collect();
    let mut text = table(&["trace", "calls", "live peak", "file", "licence", "place"], rows);
    for entry in source.index.traces.iter().filter(|entry| !entry.about.is_empty()) {
        let python = entry.python.as_deref().map(|version| format!(" (CPython {version})"));
        text.push_str(&format!("{}: {}{}\n", entry.name, entry.about, python.unwrap_or_default()));
    }
    text
}

/// Fetches traces into a folder.
fn fetch(source: &TraceSource, names: &[String], folder: &Path) -> anyhow::Result<ExitCode> {
    let mut wanted = Vec::new();
    for name in names {
        if name == "all" {
            wanted.extend(&source.index.traces);
            continue;
        }
        let Some(entry) = source.index.find(name) else {
            let known: Vec<&str> =
                source.index.traces.iter().map(|entry| entry.name.as_str()).collect();
            bail!("{}: no trace `{name}`; expected one of {}", source.shown, known.join(", "));
        };
        wanted.push(entry);
    }
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let index_path = folder.join(INDEX_NAME);
    let mut index = match index_path.exists() {
        true => TraceIndex::read(&index_path)?,
        false => TraceIndex::default(),
    };
    for entry in wanted {
        let file = PathBuf::from(entry.file_name());
        let path = folder.join(&file);
        if path.exists() {
            check_contents(entry, &path, &path.display().to_string())
                .context("the file is there already; remove it, or choose another folder")?;
            note(format!("{}: is there already", path.display()));
        } else {
            source.fetch(entry, &path)?;
            note(format!("{}: {}, sha256 as stated", path.display(), plain_bytes(entry.bytes)));
        }
        index.enter(IndexedTrace { file: Some(file), url: None, ..entry.clone() });
        index.write(&index_path)?;
    }
    Ok(Exit::Fine.into())
}

/// Checks the files of an index on this machine.
fn verify(source: &TraceSource) -> anyhow::Result<ExitCode> {
    let mut faults = 0;
    for entry in &source.index.traces {
        let fault = match source.local(entry) {
            None => {
                note(format!("{}: lies elsewhere, and was not checked", entry.name));
                continue;
            }
            Some(path) => source.check(entry, &path).and_then(|()| check_facts(entry, &path)),
        };
        match fault {
            Ok(()) => print(&format!("{}: as stated\n", entry.name))?,
            Err(error) => {
                faults += 1;
                print(&format!("{}: {error:#}\n", entry.name))?;
            }
        }
    }
    if faults > 0 {
        bail!("{}: {faults} of {} traces differ", source.shown, source.index.traces.len());
    }
    Ok(Exit::Fine.into())
}

/// Checks the facts of an entry against its file.
fn check_facts(entry: &IndexedTrace, path: &Path) -> anyhow::Result<()> {
    let facts = TraceFacts::of(path)?;
    let pairs = [
        ("calls", facts.calls, entry.calls),
        (Metric::LivePeakBytes.name(), facts.live_peak_bytes, entry.live_peak_bytes),
    ];
    for (name, counted, stated) in pairs {
        if counted != stated {
            bail!("{}: {name} is {counted}; the index states {stated}", path.display());
        }
    }
    Ok(())
}

/// Writes the index of a folder.
fn write_index(folder: &Path, licence: Option<&str>) -> anyhow::Result<ExitCode> {
    if !folder.is_dir() {
        bail!("{}: expected the folder whose index is to be written", folder.display());
    }
    let path = folder.join(INDEX_NAME);
    let before = match path.exists() {
        true => TraceIndex::read(&path)?,
        false => TraceIndex::default(),
    };
    let mut index = TraceIndex::default();
    for file in find_traces(&[folder.to_owned()])? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let old = before.find(&name);
        let Some(licence) = old.map(|entry| entry.licence.as_str()).or(licence) else {
            bail!(
                "{}: is new in the index; name its licence by --licence, such as `--licence CC0-1.0`",
                file.display()
            );
        };
        let facts = TraceFacts::of(&file)?;
        index.enter(IndexedTrace {
            file: file.file_name().map(PathBuf::from),
            url: None,
            sha256: sha256_of_file(&file)?,
            bytes: fs::metadata(&file)?.len(),
            licence: licence.to_owned(),
            calls: facts.calls,
            live_peak_bytes: facts.live_peak_bytes,
            python: facts.python,
            name,
            ..old.cloned().unwrap_or_default()
        });
    }
    for entry in &before.traces {
        match (&entry.url, index.find(&entry.name)) {
            (Some(_), None) => index.enter(entry.clone()),
            (None, None) => note(format!("{}: its file is gone, and so is its entry", entry.name)),
            _ => {}
        }
    }
    index.write(&path)?;
    note(format!("{}: {} traces", path.display(), index.traces.len()));
    Ok(Exit::Fine.into())
}
