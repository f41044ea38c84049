//! Why a child gave no result: what the child reports itself ([`Failure`]), and what the parent
//! sees of it ([`ChildFailure`]). Callers tell reasons apart by their variant, never by their text.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::backends::BackendError;
use crate::program::Profile;
use crate::replay::ReplayError;
use crate::results::RecordError;
use crate::spec::BackendSpec;

/// Why a child could not do its job, as the child itself reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The job is of another version of heaplay, or no job at all.
    #[error("not a job: {0}")]
    NotAJob(String),
    /// No backend has that spec.
    #[error("{0}")]
    UnknownBackend(String),
    /// The backend exists, but not on this machine.
    #[error("{0}")]
    UnavailableBackend(String),
    /// The backend breaks a rule of allocators, so that no result of it could be trusted.
    #[error("breaks a rule of allocators, and is left out: {0}; `heaplay verify` shows more")]
    BrokenContract(String),
    /// The replay stopped at a call.
    #[error("{message}")]
    Replay {
        /// The call, where the replay stopped at one.
        event: Option<u64>,
        /// What happened.
        message: String,
    },
    /// The parent gave no further time slice.
    #[error("no further time slice was given: the run was interrupted")]
    NoTimeSlice,
    /// A file of the job cannot be read or written.
    #[error("{file}: {reason}")]
    File {
        /// Which file.
        file: String,
        /// The operating system's reason.
        reason: String,
    },
    /// The tables cannot be written.
    #[error("{0}")]
    Tables(String),
}

impl Failure {
    /// A file of the job that cannot be read or written.
    pub(super) fn file(file: impl Into<String>) -> impl FnOnce(std::io::Error) -> Failure {
        let file = file.into();
        move |error| Failure::File { file, reason: error.to_string() }
    }

    /// Whether the text names the backend already.
    fn names_backend(&self) -> bool {
        matches!(self, Failure::UnknownBackend(_) | Failure::UnavailableBackend(_))
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Failure {
        match error {
            BackendError::Unavailable { .. } | BackendError::NotBuilt { .. } => {
                Failure::UnavailableBackend(error.to_string())
            }
            BackendError::Unknown { .. }
            | BackendError::Path { .. }
            | BackendError::Malformed(_)
            | BackendError::Refused { .. } => Failure::UnknownBackend(error.to_string()),
        }
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Failure {
        let event = match error {
            ReplayError::Refused { event, .. } | ReplayError::Rule { event, .. } => {
                Some(event as u64)
            }
            ReplayError::NoTimeSlice => return Failure::NoTimeSlice,
            _ => None,
        };
        Failure::Replay { event, message: error.to_string() }
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Failure {
        Failure::Tables(error.to_string())
    }
}

/// Why the parent has no result of a child.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChildFailure {
    /// The run was interrupted.
    #[error("interrupted")]
    Cancelled,
    /// The child reported why.
    #[error(transparent)]
    Reported(#[from] Failure),
    /// The child could not be started or watched.
    #[error("{program}: {reason}")]
    NotStarted {
        /// The program.
        program: String,
        /// The operating system's reason.
        reason: String,
    },
    /// A signal ended the child: it crashed, or somebody killed it.
    #[error("the child was killed by {}{}", signal_name(*signal), printed(last_line))]
    Killed {
        /// The signal's number.
        signal: i32,
        /// The last line that the child printed.
        last_line: String,
    },
    /// The child took too long.
    #[error("stopped after {seconds} s, its time limit; --timeout sets another")]
    OverTime {
        /// The limit.
        seconds: u64,
    },
    /// The child took too much memory.
    #[error("stopped at its memory limit of {}; --memory-limit sets another", mebibytes(*bytes))]
    OverMemory {
        /// The limit.
        bytes: u64,
    },
    /// The trace needs more memory than a child may take, so none was started.
    #[error(
        "call {event} of the trace leaves {} live, and this pass writes every page of each block: over \
         the memory limit of {}; --memory-limit sets another",
        mebibytes(*live_bytes),
        mebibytes(*limit_bytes)
    )]
    NeedsMore {
        /// The first call with the most live bytes.
        event: u64,
        /// Those bytes.
        live_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The child ended by itself and gave no answer.
    #[error("{}", ended(status, last_line))]
    NoAnswer {
        /// Its exit status.
        status: String,
        /// The last line that the child printed.
        last_line: String,
    },
    /// The answer belongs to another job, or is damaged.
    #[error("the child's answer is not one to its job: {0}")]
    WrongAnswer(String),
    /// The parent could not decode the trace that it hands over in parts.
    #[error("{0}")]
    Undecodable(String),
    /// What the child reports contradicts the trace.
    #[error("{0}: the measurement is void")]
    Void(String),
}

impl ChildFailure {
    /// A child that could not be started.
    pub(super) fn not_started(
        program: &Path,
    ) -> impl FnOnce(std::io::Error) -> ChildFailure + use<> {
        let program = program.display().to_string();
        move |error| ChildFailure::NotStarted { program, reason: error.to_string() }
    }

    /// An answer to another job.
    pub(super) fn answered(answer: &impl std::fmt::Debug) -> ChildFailure {
        let text: String = format!("{answer:?}").chars().take(60).collect();
        ChildFailure::WrongAnswer(text)
    }

    /// Whether the child was ended at one of its limits.
    pub fn is_over_limit(&self) -> bool {
        matches!(self, ChildFailure::OverTime { .. } | ChildFailure::OverMemory { .. })
    }

    /// Refuses a footprint pass that cannot fit in the memory of a child, since it writes every page of
    /// each live block. `null` writes none.
    ///
    /// # Errors
    /// The failure of such a pass.
    pub(super) fn of_footprint(
        profile: &Profile,
        backend: &str,
        limit_bytes: u64,
    ) -> Result<(), ChildFailure> {
        let live_bytes = profile.live_peak_bytes;
        if live_bytes <= limit_bytes
            || backend.parse::<BackendSpec>().is_ok_and(|spec| spec.is_floor())
        {
            return Ok(());
        }
        Err(ChildFailure::NeedsMore { event: profile.live_peak_event, live_bytes, limit_bytes })
    }

    /// The text with the backend in front, unless the text names the backend by itself.
    pub fn about(&self, backend: &str) -> String {
        match self {
            ChildFailure::Reported(failure) if failure.names_backend() => self.to_string(),
            _ => format!("{backend}: {self}"),
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{bytes} bytes"),
        mib => format!("{mib} MiB"),
    }
}

fn printed(last_line: &str) -> String {
    match last_line {
        "" => String::new(),
        line => format!("; the last line that it printed: {line}"),
    }
}

fn ended(status: &str, last_line: &str) -> String {
    match last_line {
        "" => format!("the child ended with {status} and no answer"),
        line => line.to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV (it touched memory that is not there)",
        libc::SIGABRT => "SIGABRT (the allocator or a check gave up)",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL (an instruction that this processor lacks)",
        libc::SIGKILL => "SIGKILL (somebody, or the kernel for lack of memory)",
        libc::SIGTERM => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
