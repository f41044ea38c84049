//! Why there is nothing to export.

use std::path::PathBuf;

use crate::trace::{StatisticsError, TraceError};

/// Why a trace or a run was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The trace cannot be read.
    // Not transparent: then the cause, which has the path, would be hidden from those that look for it.
    #[error("{0}")]
    Trace(#[from] TraceError),
    /// Its rows contradict each other.
    #[error("{0}")]
    Statistics(#[from] StatisticsError),
    /// Nothing is known of the lines that allocate.
    #[error(
        "{}: has no allocation sites, which this format shows; record with `heaplay record --sites`",
        path.display()
    )]
    NoSites {
        /// The trace or the run.
        path: PathBuf,
    },
    /// A table could not be written.
    #[error("the table could not be written: {0}")]
    Table(#[from] csv::Error),
    /// JSON could not be written.
    #[error("the JSON could not be written: {0}")]
    Json(#[from] serde_json::Error),
    /// The compressed file could not be written.
    #[error("the file could not be compressed: {0}")]
    Compression(#[from] std::io::Error),
}
