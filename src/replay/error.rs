//! Why a replay stopped.

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The backend gave no memory.
    #[error("event {event}: {op} of {size} bytes was refused: the backend is out of memory")]
    Refused {
        /// Index of the call in the trace.
        event: usize,
        /// The operation.
        op: &'static str,
        /// Requested bytes.
        size: usize,
    },
    /// The backend broke a rule of allocators in a call of the trace.
    #[error("event {event}: {op} of {size} bytes: {fault}")]
    Rule {
        /// Index of the call in the trace.
        event: usize,
        /// The operation.
        op: &'static str,
        /// Requested bytes.
        size: usize,
        /// The rule, and how the backend broke it.
        fault: String,
    },
    /// The backend broke a rule of allocators in a call of the contract test.
    #[error("domain {domain}: {call}: {fault}")]
    BreaksContract {
        /// The domain that was called.
        domain: &'static str,
        /// The call, as in C.
        call: String,
        /// The rule, and how the backend broke it.
        fault: String,
    },
    /// The backend gave no memory for a modest request of the contract test.
    #[error("{call} was refused: the backend is out of memory")]
    Withheld {
        /// The call, as in C.
        call: String,
    },
    /// Free order with a backend that one thread at a time may call.
    #[error(
        "one thread at a time may call this backend, and free order is for threads, or copies, that call \
         at once; leave it out, or replay in recorded order with `heaplay run`"
    )]
    OneThreadAtATime,
    /// The next part of the program did not arrive, or it was not sound.
    #[error("the rest of the program could not be read: {0}")]
    Feed(#[from] std::io::Error),
    /// The times of the calls could not be written.
    #[error("the times of calls could not be written: {0}")]
    Write(#[source] std::io::Error),
    /// The process that hands out the time slices is gone.
    #[error("no further time slice was given: the run was interrupted")]
    NoTimeSlice,
    /// The instrument cannot be trusted here.
    #[error("the harness cannot measure here: {0}")]
    Instrument(String),
}

impl ReplayError {
    /// The error for a backend whose blocks are not memory, in a mode that reads and fills them.
    pub(super) fn backs_no_memory() -> ReplayError {
        ReplayError::Instrument("this backend gives no memory that could be checked".into())
    }
}
