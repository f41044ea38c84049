//! Why a run could not go on.

use std::io;

use super::failure::ChildFailure;
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
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
}

pub(super) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
    let what = what.into();
    move |source| BenchError::Io { what, source }
}

/// Why a measurement outside a run gave no result.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The child gave none.
    #[error(transparent)]
    Child(#[from] ChildFailure),
    /// It could not be begun, or its result not be read.
    #[error(transparent)]
    Bench(#[from] BenchError),
}

impl From<RecordError> for MeasureError {
    fn from(error: RecordError) -> MeasureError {
        MeasureError::Bench(error.into())
    }
}

impl MeasureError {
    /// The text with the backend in front, unless the text names the backend by itself.
    pub fn about(&self, backend: &str) -> String {
        match self {
            MeasureError::Child(failure) => failure.about(backend),
            MeasureError::Bench(error) => format!("{backend}: {error}"),
        }
    }
}
