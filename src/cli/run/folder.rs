//! The folder of a run, locked for this process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::results::civil_date;

/// The context of a folder that cannot be written.
pub const NO_FOLDER: &str = "the run folder could not be made; choose a place with --out";

/// A run folder. The lock ends when this is dropped.
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes an empty folder: at `path`, or in `reports` with the date as its name.
    ///
    /// # Errors
    /// A folder that is not empty, or cannot be made or locked.
    pub fn create(path: Option<&Path>) -> anyhow::Result<RunFolder> {
        let Some(path) = path else {
            return RunFolder::lock(&dated_folder(Path::new("reports")).context(NO_FOLDER)?);
        };
        fs::create_dir_all(path).with_context(|| format!("{}: {NO_FOLDER}", path.display()))?;
        let folder = RunFolder::lock(path)?;
        if path.join("manifest.json").exists() {
            bail!(
                "{0}: holds a run already; give another --out, or `--resume {0}` to finish it",
                path.display()
            );
        }
        if fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_some()) {
            bail!("{}: is not empty, and no run; give a new folder with --out", path.display());
        }
        Ok(folder)
    }

    /// Locks a folder for this process.
    ///
    /// # Errors
    /// When another process has the lock.
    pub fn lock(path: &Path) -> anyhow::Result<RunFolder> {
        let lock = File::open(path).with_context(|| path.display().to_string())?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "{}: another heaplay is at work in this folder; wait for its end, or give another \
                 with --out",
                path.display()
            ),
            // A file system that knows no locks is no reason not to run.
            _ => Ok(RunFolder { path: path.to_owned(), _lock: lock }),
        }
    }
}

/// Makes a folder that is named by the date.
fn dated_folder(parent: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(parent)?;
    let seconds =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil_date(seconds);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let name = format!("{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}{second:02}");
    let mut number = 1;
    let mut folder = parent.join(&name);
    loop {
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number += 1;
                folder = parent.join(format!("{name}-{number}"));
            }
            made => return made.map(|()| folder),
        }
    }
}
