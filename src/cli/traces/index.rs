//! The index of a collection of traces: a TOML file beside them, `index.toml`.
//!
//! ```toml
//! format = 1
//!
//! [[trace]]
//! name = "churn"
//! file = "churn.trace"        # beside the index or below; `url` for a file elsewhere
//! sha256 = "2eddfe52eb4481ce66ae58fb2b1f0f5ebc5049cd01ec383da8471de19e36c001"
//! bytes = 412345              # of the file
//! licence = "MIT OR Apache-2.0"
//! about = "small objects made, linked and dropped in no order"
//! calls = 344652              # all calls, frees included
//! live_peak_bytes = 2471625   # the most bytes requested and not yet freed
//! python = "3.11.2"           # these three only where they are known
//! program = "programs/churn.py"
//! record = "heaplay record -o churn.trace -- python3 programs/churn.py"
//! ```

use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::results::Metric;
use crate::trace;

/// The name of an index in a folder.
pub const INDEX_NAME: &str = "index.toml";

/// The version of the form that this heaplay reads and writes.
const FORMAT: u32 = 1;

/// The largest index that is read, bytes.
const INDEX_LIMIT_BYTES: u64 = 64 << 20;

/// An index.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TraceIndex {
    /// The version of its form.
    pub format: u32,
    /// The traces, in the order of the file.
    pub traces: Vec<IndexedTrace>,
}

/// A trace of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IndexedTrace {
    /// Its name, unique in the index.
    pub name: String,
    /// Its file, relative to the index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where its file can be had, if not beside the index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The SHA-256 of its file, in lower-case hex.
    pub sha256: String,
    /// The size of its file, bytes.
    pub bytes: u64,
    /// The licence under which it is published, as an SPDX expression.
    pub licence: String,
    /// What the program does, in a sentence.
    pub about: String,
    /// All calls, frees included.
    pub calls: u64,
    /// The most bytes that were requested and not yet freed.
    pub live_peak_bytes: u64,
    /// The version of the recorded CPython.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// The recorded program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The command that records it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// The file, with the place of each entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexFile {
    format: Spanned<u32>,
    #[serde(default)]
    trace: Vec<Spanned<IndexedTrace>>,
}

impl TraceIndex {
    /// Reads an index.
    ///
    /// # Errors
    /// The first fault, with its line and what was expected.
    pub fn read(path: &Path) -> anyhow::Result<TraceIndex> {
        let shown = path.display();
        let metadata = fs::metadata(path).with_context(|| format!("{shown}: cannot be read"))?;
        if !metadata.is_file() || metadata.len() > INDEX_LIMIT_BYTES {
            bail!("{shown}: expected an index, a TOML file of at most 64 MiB");
        }
        let text = fs::read_to_string(path).with_context(|| format!("{shown}: cannot be read"))?;
        TraceIndex::parse(&text).map_err(|(place, reason)| {
            let line = text[..place.start.min(text.len())].matches('\n').count() + 1;
            anyhow::anyhow!(
                "{shown}:{line}: {reason}; `heaplay traces FOLDER --write-index` writes an index"
            )
        })
    }

    /// Reads the text of an index. An error is a place in the text, and what is wrong there.
    fn parse(text: &str) -> Result<TraceIndex, (Range<usize>, String)> {
        let file: IndexFile = toml::from_str(text).map_err(|error| {
            (error.span().unwrap_or_default(), error.message().trim().replace('\n', ", "))
        })?;
        let format = *file.format.get_ref();
        if format != FORMAT {
            let reason = format!("format {format}; this heaplay reads format {FORMAT}");
            return Err((file.format.span(), reason));
        }
        let (mut names, mut files) = (HashSet::new(), HashSet::new());
        let mut traces = Vec::with_capacity(file.trace.len());
        for entry in file.trace {
            let (place, entry) = (entry.span(), entry.into_inner());
            if let Some(fault) = entry.fault() {
                return Err((place, format!("trace `{}`: {fault}", entry.name.escape_debug())));
            }
            if !names.insert(entry.name.clone()) || !files.insert(entry.file_name()) {
                let reason = format!("a second trace or file of the name `{}`", entry.name);
                return Err((place, format!("{reason}; expected each name once")));
            }
            traces.push(entry);
        }
        Ok(TraceIndex { format, traces })
    }

    /// Writes the index into a file of that path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = String::from("# The index of these traces. `heaplay traces` lists them.\n");
        let _ = writeln!(text, "format = {FORMAT}");
        for entry in &self.traces {
            text.push_str(&entry.text());
        }
        if let Err((_, reason)) = TraceIndex::parse(&text) {
            bail!("{}: is not written: {reason}; rename the file of the trace", path.display());
        }
        let part = path.with_extension("part");
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, path))
            .with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// The trace of that name.
    pub fn find(&self, name: &str) -> Option<&IndexedTrace> {
        self.traces.iter().find(|entry| entry.name == name)
    }

    /// Enters a trace, in the place of the one of that name.
    pub fn enter(&mut self, entry: IndexedTrace) {
        match self.traces.iter_mut().find(|other| other.name == entry.name) {
            Some(other) => *other = entry,
            None => self.traces.push(entry),
        }
    }
}

impl IndexedTrace {
    /// What is wrong with the entry, and what was expected.
    fn fault(&self) -> Option<String> {
        let is_in_name = |letter: char| letter.is_ascii_alphanumeric() || "._+-".contains(letter);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(is_in_name)
        {
            return Some("expected a name of letters, digits, `.`, `_`, `+` and `-`".into());
        }
        let is_digest = self.sha256.len() == 64
            && self
                .sha256
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !is_digest {
            return Some(format!(
                "sha256 `{}`; expected 64 lower-case hexadecimal digits",
                self.sha256.escape_debug()
            ));
        }
        if self.licence.trim().is_empty() {
            return Some("an empty licence; expected an SPDX expression such as `MIT`".into());
        }
        match (&self.file, &self.url) {
            (Some(file), None) => {
                let is_below = file.components().all(|part| matches!(part, Component::Normal(_)));
                let is_fine = is_below && file.file_name().is_some();
                (!is_fine).then(|| {
                    format!(
                        "file `{}`; expected a path beside the index or below",
                        file.display().to_string().escape_debug()
                    )
                })
            }
            (None, Some(url)) => {
                let is_known = ["file:///", "http://", "https://"]
                    .iter()
                    .any(|scheme| url.starts_with(scheme) && url.len() > scheme.len());
                let is_fine = is_known && !url.ends_with('/');
                (!is_fine).then(|| {
                    format!(
                        "url `{}`; expected file:///…, http://… or https://…",
                        url.escape_debug()
                    )
                })
            }
            _ => Some("expected either `file` or `url`".into()),
        }
    }

    /// The name of its file, without the folder.
    pub fn file_name(&self) -> String {
        let last = match (&self.file, &self.url) {
            (Some(file), _) => file.file_name().map(|name| name.to_string_lossy().into_owned()),
            (None, url) => url.as_deref().and_then(|url| url.rsplit('/').next()).map(str::to_owned),
        };
        last.filter(|name| !matches!(name.as_str(), "" | "." | "..")).unwrap_or_default()
    }

    /// The entry as it stands in the file.
    fn text(&self) -> String {
        let mut text = String::from("\n[[trace]]\n");
        let mut line = |key: &str, value: &str| text.push_str(&format!("{key} = {value}\n"));
        line("name", &quoted(&self.name));
        if let Some(file) = &self.file {
            line("file", &quoted(&file.to_string_lossy()));
        }
        if let Some(url) = &self.url {
            line("url", &quoted(url));
        }
        line("sha256", &quoted(&self.sha256));
        line("bytes", &self.bytes.to_string());
        line("licence", &quoted(&self.licence));
        line("about", &quoted(&self.about));
        line("calls", &self.calls.to_string());
        line(Metric::LivePeakBytes.name(), &self.live_peak_bytes.to_string());
        for (key, value) in
            [("python", &self.python), ("program", &self.program), ("record", &self.record)]
        {
            if let Some(value) = value {
                line(key, &quoted(value));
            }
        }
        text
    }
}

/// A text as a TOML string. The escapes of JSON are a part of those of TOML.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default().replace('\u{7f}', "\\u007f")
}

/// Facts of a trace, counted from its file.
pub struct TraceFacts {
    /// All calls, frees included.
    pub calls: u64,
    /// The most bytes that were requested and not yet freed.
    pub live_peak_bytes: u64,
    /// The version of the recorded CPython.
    pub python: Option<String>,
}

impl TraceFacts {
    /// Counts the facts of a trace.
    ///
    /// # Errors
    /// When the file is no whole trace.
    pub fn of(path: &Path) -> anyhow::Result<TraceFacts> {
        let mut reader = trace::open(path)?;
        let counts = trace::statistics(reader.as_mut(), path, |_| ())?;
        Ok(TraceFacts {
            calls: counts.calls,
            live_peak_bytes: counts.live_peak_bytes,
            python: reader.header().facts.get("python").cloned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "format = 1\n[[trace]]\nname = \"a\"\nfile = \"a.trace\"\n\
        sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n\
        bytes = 5\nlicence = \"MIT\"\nabout = \"\\\"x\\\" \\u007f\\n\"\ncalls = 3\n\
        live_peak_bytes = 8\n";

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let index = TraceIndex::parse(ENTRY).unwrap();
        assert_eq!(index.traces[0].about, "\"x\" \u{7f}\n");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(INDEX_NAME);
        index.write(&path).unwrap();
        assert_eq!(TraceIndex::read(&path).unwrap().traces, index.traces);
    }

    #[test]
    fn faults_are_reported_at_their_place() {
        let second = ENTRY.split_once('\n').unwrap().1;
        for (text, expected) in [
            (ENTRY.replace("format = 1", "format = 2"), "this heaplay reads format 1"),
            (ENTRY.replace("format = 1\n", ""), "format"),
            (ENTRY.replace("calls = 3\n", ""), "calls"),
            (ENTRY.replace("calls", "cals"), "cals"),
            (ENTRY.replace("calls = 3", "calls = \"3\""), "invalid type"),
            (ENTRY.replace("\"a.trace\"", "\"../a.trace\""), "beside the index or below"),
            (ENTRY.replace("\"a.trace\"", "\"/a.trace\""), "beside the index or below"),
            (ENTRY.replace("\"a.trace\"", "\"\""), "beside the index or below"),
            (ENTRY.replace("file = \"a.trace\"\n", ""), "either `file` or `url`"),
            (ENTRY.replace("file = \"a", "url = \"ftp://a"), "expected file:///…"),
            (ENTRY.replace("\"a\"", "\"a/b\""), "expected a name"),
            (ENTRY.replace("00000\"", "0000G\""), "hexadecimal"),
            (ENTRY.replace("00000\"", "0000\""), "hexadecimal"),
            (ENTRY.replace("\"MIT\"", "\" \""), "licence"),
            (format!("{ENTRY}{second}"), "each name once"),
            ("format = 1\n[[trace".into(), ""),
        ] {
            let (_, reason) = TraceIndex::parse(&text).unwrap_err();
            assert!(reason.contains(expected), "{reason}\n{text}");
        }
    }
}
