//! Why a run could not go on.

use crate::results::RecordError;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The folder cannot be written; what was measured before stays in it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file or a child.
    #[error("{what}: {source}{}", crate::trace::advice(source))]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

pub(super) fn io_error(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    let what = what.into();
    move |source| BenchError::Io { what, source }
}
