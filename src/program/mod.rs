//! The compiled workload: a trace as dense instructions over reused slots, ready for the hot loop.
//!
//! `cli` and `bench` compile; `replay` runs. A [`Program`] comes only from [`compile`],
//! [`Program::read`] and [`Parts`]. Each of them proves what the loop's unsafe block relies on:
//!
//! 1. Every instruction's slot is below [`Program::slots`].
//! 2. A malloc or calloc names an empty slot, a realloc or free a full one. So each block ends at
//!    most once.
//! 3. Every index of the trace is exactly one instruction.
//! 4. A block is resized and freed in the domain that allocated it (`mem` and `obj` count as one).
//! 5. A block of a kind has the kind's size, is mem or obj, and is freed as one of that kind.
//! 6. The runs of threads cover the calls, name threads of the outline, and lie between the first and
//!    the last call of their thread.
//!
//! A row says when its block ends. So the compiler writes the instruction of the end together with
//! that of the birth, at its place further on. It needs neither a heap nor a map. A place that is
//! written twice, or never, is a fault of the trace. Ends beyond the current segment wait in a
//! bucket of their segment (`late_ends.rs`). So memory beyond the instructions is in proportion to
//! the live blocks. `prove.rs` walks what another process wrote.
//!
//! A program that is larger than memory comes in parts (`parts.rs`): each is a [`Program`] that
//! begins where the part before it ended, and all have one [`Outline`].
//!
//! | file | what it has |
//! |---|---|
//! | `instruction.rs`, `outline.rs`, `compiled.rs` | the types: a call, what is known before, all |
//! | `compile.rs` | the entry: rows in, program out |
//! | `compiler.rs`, `late_ends.rs`, `kinds.rs`, `threads.rs` | the compiler's state, one row at a time |
//! | `plain_rows.rs` | the same for batches of rows without special cases |
//! | `parts.rs`, `encoding.rs`, `prove.rs`, `feed.rs` | on the way to a worker |
//! | `allocation_sites.rs`, `times.rs` | beside the program: who allocated, and when |
//! | `live_sites.rs` | who allocated what is live at the peak and at the end |
//! | `library_lines.rs` | which of the program's own lines call a library's line |
//! | `beginning.rs` | the first calls of a program as a program of its own |
//! | `plateau.rs` | the longest part in which live bytes hardly change |
//! | `what_if.rs` | the same trace with one line of the program changed |

mod allocation_sites;
mod beginning;
mod compile;
mod compiled;
mod compiler;
mod encoding;
mod error;
mod feed;
#[cfg(test)]
mod fixtures;
mod instruction;
mod kinds;
mod late_ends;
mod library_lines;
mod live_sites;
mod outline;
mod parts;
mod plain_rows;
mod plateau;
mod prefetch;
mod prove;
mod reading;
mod threads;
mod times;
mod what_if;

pub use allocation_sites::{AllocationSites, MARKS_LOOKED_AT, SiteCursor};
pub use compile::compile_within;
#[cfg(feature = "internals")]
pub use compile::{compile, compile_with_sites};
pub use compiled::{Program, ThreadRun, WideRequest};
pub use error::ProgramError;
pub use feed::Feed;
#[cfg(test)]
pub(crate) use fixtures::{Draw, FixedRows};
pub use instruction::{Action, Instruction, SLOT_LIMIT};
pub use library_lines::{LibraryLine, LiveCallers, library_lines};
pub use live_sites::{LiveOfSize, LiveSites, PeakSurvival, live_bytes_after};
pub use outline::{Outline, Profile, ProgramThread};
pub use parts::{Parts, write_parts};
pub(crate) use prefetch::prefetch;
pub use times::Times;
pub use what_if::{Change, ChangedTrace, what_if};
