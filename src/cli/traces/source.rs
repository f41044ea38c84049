//! Where an index and its traces lie: a folder, a file, or an address. What lies elsewhere is
//! downloaded by the program `curl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::index::{INDEX_NAME, IndexedTrace, TraceIndex};
use crate::bench::sha256_of_file;
use crate::cli::near_path::did_you_mean;
use crate::trace::advice;

/// An index, and the way to its files.
pub struct TraceSource {
    /// The index.
    pub index: TraceIndex,
    /// The path or the address of the index, as messages show it.
    pub shown: String,
    /// What stands before the name of each file.
    base: SourceBase,
}

/// What stands before the name of each file.
enum SourceBase {
    /// A folder of this machine.
    Folder(PathBuf),
    /// An address that ends with a slash.
    Address(String),
}

impl TraceSource {
    /// Opens an index: a folder with an `index.toml`, such a file, or the address of one.
    ///
    /// # Errors
    /// When there is none, or it is faulty.
    pub fn open(source: &str) -> anyhow::Result<TraceSource> {
        if is_remote(source) {
            let address = match source.strip_suffix('/') {
                Some(folder) => format!("{folder}/{INDEX_NAME}"),
                None => source.to_owned(),
            };
            let folder = TempDir::new().context("a temporary folder; set TMPDIR")?;
            let path = folder.path().join(INDEX_NAME);
            download(&address, &path)?;
            let index = TraceIndex::read(&path).with_context(|| address.clone())?;
            let end = address.rfind('/').map_or(0, |at| at + 1);
            let base = SourceBase::Address(address[..end].to_owned());
            return Ok(TraceSource { index, shown: address, base });
        }
        let path = PathBuf::from(source.strip_prefix("file://").unwrap_or(source));
        let path = if path.is_dir() { path.join(INDEX_NAME) } else { path };
        let is_index = path.extension().is_some_and(|extension| extension == "toml");
        if !path.exists() && !is_index {
            bail!(
                "{source}: there is no such folder; expected a folder of traces, its {INDEX_NAME}, or an \
                 address{}",
                did_you_mean(&path)
            );
        }
        if !path.exists() {
            bail!(
                "{}: there is no index; `heaplay traces {} --write-index --licence LICENCE` writes \
                 one for the traces of a folder",
                path.display(),
                path.parent()
                    .filter(|parent| parent.is_dir())
                    .unwrap_or(Path::new("FOLDER"))
                    .display()
            );
        }
        let index = TraceIndex::read(&path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let shown = path.display().to_string();
        Ok(TraceSource { index, shown, base: SourceBase::Folder(folder) })
    }

    /// The file of a trace on this machine; `None` for one that lies elsewhere.
    pub fn local(&self, entry: &IndexedTrace) -> Option<PathBuf> {
        match (&entry.file, &entry.url, &self.base) {
            (Some(file), _, SourceBase::Folder(folder)) => Some(folder.join(file)),
            (None, Some(url), _) => url.strip_prefix("file://").map(PathBuf::from),
            _ => None,
        }
    }

    /// Writes the file of a trace to `path`, and checks its contents.
    ///
    /// # Errors
    /// When the file is missing, cannot be downloaded, or has other contents than the index states.
    /// Nothing is left at `path` then.
    pub fn fetch(&self, entry: &IndexedTrace, path: &Path) -> anyhow::Result<()> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let place = self.place(entry);
        let fetched = self
            .copy(entry, &part)
            .and_then(|()| check_contents(entry, &part, &place))
            .and_then(|()| {
                fs::rename(&part, path)
                    .with_context(|| format!("{}: cannot be written", path.display()))
            });
        fetched.inspect_err(|_| drop(fs::remove_file(&part)))
    }

    /// The path or the address of a trace's file.
    fn place(&self, entry: &IndexedTrace) -> String {
        match (self.local(entry), &entry.url, &entry.file, &self.base) {
            (Some(path), ..) => path.display().to_string(),
            (None, Some(url), ..) => url.clone(),
            (None, None, Some(file), SourceBase::Address(base)) => {
                format!("{base}{}", file.display())
            }
            _ => entry.name.clone(),
        }
    }

    fn copy(&self, entry: &IndexedTrace, part: &Path) -> anyhow::Result<()> {
        match self.local(entry) {
            None => download(&self.place(entry), part),
            Some(path) if !path.is_file() => Err(self.missing(entry, &path)),
            Some(path) => match fs::copy(&path, part) {
                Ok(_) => Ok(()),
                Err(error) => {
                    bail!("{} to {}: {error}{}", path.display(), part.display(), advice(&error))
                }
            },
        }
    }

    /// Checks the file of a trace on this machine.
    ///
    /// # Errors
    /// When it is missing, or has other contents than the index states.
    pub fn check(&self, entry: &IndexedTrace, path: &Path) -> anyhow::Result<()> {
        if !path.is_file() {
            return Err(self.missing(entry, path));
        }
        check_contents(entry, path, &path.display().to_string())
    }

    fn missing(&self, entry: &IndexedTrace, path: &Path) -> anyhow::Error {
        anyhow::anyhow!(
            "{}: is missing; {} lists it as `{}`; put it there, or write the index again by \
             `--write-index`",
            path.display(),
            self.shown,
            entry.name
        )
    }
}

/// Checks that a file has the contents that an entry states.
///
/// # Errors
/// What it has instead.
pub fn check_contents(entry: &IndexedTrace, path: &Path, place: &str) -> anyhow::Result<()> {
    let length = fs::metadata(path).with_context(|| format!("{place}: cannot be read"))?.len();
    let digest = sha256_of_file(path)?;
    if digest == entry.sha256 {
        return Ok(());
    }
    bail!(
        "{place}: {length} bytes with the sha256 {digest}; expected {} bytes with {}, as the index \
         states for `{}`; fetch the file again, or ask who published the index",
        entry.bytes,
        entry.sha256,
        entry.name
    )
}

/// Whether a source has an address, and no path.
fn is_remote(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Downloads a file by `curl`.
fn download(address: &str, path: &Path) -> anyhow::Result<()> {
    let output = Command::new("curl")
        .args(["--fail", "--silent", "--show-error", "--location", "--proto", "=http,https"])
        .args(["--connect-timeout", "30", "--speed-time", "60", "--speed-limit", "1"])
        .arg("--output")
        .arg(path)
        .arg("--")
        .arg(address)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => bail!(
            "{address}: cannot be downloaded: curl: {error}; install curl, or download the folder of \
             the index by other means and name it"
        ),
    };
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("{address}: cannot be downloaded: {}; check the address", reason.trim());
    }
    Ok(())
}
