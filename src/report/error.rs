//! Why a report could not be written.

use std::io;
use std::path::PathBuf;

/// What helps where a file cannot be written.
fn next_step(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the figures are not lost: free some space, or draw into another folder with `heaplay report RUN \
             --out FOLDER`"
        }
        _ => "choose a folder that you may write to",
    }
}

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The operating system refused.
    #[error("{}: {source}; {}", path.display(), next_step(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is to be a folder, and is something else.
    #[error("{}: is no folder; name one, or a path that does not exist", path.display())]
    NoFolder {
        /// The path.
        path: PathBuf,
    },
    /// A picture could not be encoded.
    #[error("{}: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: png::EncodingError,
    },
    /// A table could not be encoded.
    #[error("{}: {source}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: csv::Error,
    },
}
