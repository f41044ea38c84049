//! The folder of a new run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::results::{NewRunDir, RecordError, RunDir, civil_date};

/// The context of a folder that cannot be written.
pub const NO_FOLDER: &str = "the run folder could not be made; choose a place with --out";

/// Takes an empty folder, and locks it: at `path`, or in `reports` with the date as its name.
///
/// # Errors
/// A folder that is not empty, or cannot be made or locked.
pub fn claim(path: Option<&Path>) -> anyhow::Result<NewRunDir> {
    let folder = match path {
        Some(path) => path.to_owned(),
        None => {
            let parent = std::path::absolute("reports").unwrap_or_else(|_| "reports".into());
            let place = || format!("{NO_FOLDER}: {}", parent.display());
            dated_folder(Path::new("reports")).with_context(place)?
        }
    };
    if folder.is_file() {
        bail!("{} is a file; --out takes a folder, which need not be there", folder.display());
    }
    match RunDir::claim(&folder) {
        Err(error @ RecordError::Io { .. }) => Err(error).context(NO_FOLDER),
        claimed => Ok(claimed?),
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
