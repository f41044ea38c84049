//! Why a run folder could not be read, written or merged.

use std::io;
use std::path::PathBuf;

use super::manifest::{FORMAT, OLDEST_FORMAT};

/// Why a run folder could not be read, written or merged.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// No such folder.
    #[error(
        "{}: there is no such folder; expected the folder of a run, as `heaplay run` makes it",
        path.display()
    )]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// Not a run folder.
    #[error(
        "{}: not a run folder (it has no manifest.json); give a folder that `heaplay run` made",
        path.display()
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process works in the folder.
    #[error(
        "{}: another heaplay is at work in this folder; wait for its end, or give another with --out",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A folder for a new run has a run in it.
    #[error(
        "{0}: holds a run already; give another --out, or `--resume {0}` to finish it",
        path.display()
    )]
    HoldsRun {
        /// The folder.
        path: PathBuf,
    },
    /// A folder for a new run has something else in it.
    #[error("{}: is not empty, and no run; give a new folder with --out", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A table or the manifest is broken.
    #[error(
        "{}: {reason}; restore it from a copy, or measure again with `heaplay run`",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
    /// Another version's layout.
    #[error(
        "{}: layout {found}, and this heaplay reads layouts {OLDEST_FORMAT} to {FORMAT}; use the heaplay \
         that made it ({heaplay})",
        path.display()
    )]
    Version {
        /// The manifest.
        path: PathBuf,
        /// Its layout.
        found: u32,
        /// Its heaplay.
        heaplay: String,
    },
    /// Folders that cannot be one run.
    #[error(
        "cannot merge: {reason}; merge folders of the same traces on machines of the same kind"
    )]
    Apart {
        /// What differs.
        reason: String,
    },
}
