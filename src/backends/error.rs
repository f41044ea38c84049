//! Why a backend cannot be opened. Each message ends with the next step.

use crate::spec::SpecError;

/// Why a backend cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No backend of that name.
    #[error("unknown backend `{name}`{}; `heaplay backends` lists them", suggestion(nearest))]
    Unknown {
        /// The name as written.
        name: String,
        /// The closest known name, when one is close.
        nearest: Option<String>,
    },
    /// The path of a file where a backend was expected.
    #[error(
        "`{path}` is a path, and no backend: write so:{path} for a shared library{}",
        if *exists || !path.contains('/') { "" } else { "; there is no such file, so check the path" }
    )]
    Path {
        /// The path as written.
        path: String,
        /// Whether there is a file.
        exists: bool,
    },
    /// A backend that this build has left out.
    #[error("backend `{name}` was left out of this heaplay; build it with `--features {name}`")]
    NotBuilt {
        /// The backend's name, which is the feature's, too.
        name: String,
    },
    /// The text is not of the form of a backend.
    #[error(transparent)]
    Malformed(#[from] SpecError),
    /// A setting, version or lower layer that this backend does not have.
    #[error("backend `{backend}` {reason}; `heaplay backends {backend}` shows what it takes")]
    Refused {
        /// The backend's name.
        backend: String,
        /// What it does not take, and why.
        reason: String,
    },
    /// It exists but cannot be used on this machine.
    #[error("backend `{backend}` cannot be used here: {reason}")]
    Unavailable {
        /// The backend's name.
        backend: String,
        /// The reason, and what would provide it.
        reason: String,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
