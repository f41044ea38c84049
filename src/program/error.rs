//! Why a trace could not be compiled.

use std::io;

use super::instruction::SLOT_LIMIT;
use crate::trace::TraceError;

/// Why a trace could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The trace is faulty.
    // Not transparent: then the cause, which has the path, would be hidden from those that look for it.
    #[error("{0}")]
    Trace(#[from] TraceError),
    /// The rows are no trace. A reader that checks reports the line first.
    #[error(
        "event {event}: {found}; the trace is damaged: record it again, or convert it with --salvage"
    )]
    Unsound {
        /// The call.
        event: u64,
        /// What is wrong with it.
        found: String,
    },
    /// More live blocks than an instruction can name.
    #[error(
        "event {event}: more than {SLOT_LIMIT} blocks live at once; replay a shorter part of the trace"
    )]
    Slots {
        /// The call.
        event: u64,
    },
    /// Its requests have more bytes than the counts hold.
    #[error(
        "event {event}: all requests up to here exceed 2^62 bytes; is a size of the trace wrong?"
    )]
    TooManyBytes {
        /// A call of the batch that exceeds the limit.
        event: u64,
    },
    /// The receiver of the program cannot take it.
    #[error("the compiled program cannot be handed on: {0}")]
    Handing(io::Error),
    /// There is nothing to replay.
    #[error("the trace holds no call; record a program that allocates")]
    Empty,
}

impl ProgramError {
    /// Nothing is known of a call.
    #[cold]
    pub(super) fn gap(event: u64) -> ProgramError {
        ProgramError::Unsound { event, found: "no row has it and no block ends there".into() }
    }
}
