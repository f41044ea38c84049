//! heaplay records every allocation of a real Python program, replays the recording against
//! interchangeable allocators, and reports what each costs in time and in memory.
//!
//! There are two sides. The measuring side ([`trace`], [`program`], [`backends`], [`replay`],
//! [`mod@bench`]) compiles a trace to a program, replays it and stores what it counted. The reading side
//! ([`report`], [`check`]) draws and judges what was stored. They meet only at the run record
//! ([`results`]).
//!
//! Authors of allocators use [`Harness`]. [`trace`], [`results`], [`backends`] and [`spec`] are for
//! programs that read heaplay's files or bring a backend. The other modules belong to the binary and
//! to the tests: they are public for these only, and change without notice.
//!
//! Unsafe code is denied. It is allowed item by item with its reason, in `backends` (memory and C
//! calls), `recorder` (loaded into the interpreter) and one block of `replay` (the hot loop).

pub mod backends;
pub mod bench;
pub mod check;
pub mod cli;
pub mod environment;
mod harness;
pub mod program;
pub mod replay;
pub mod report;
pub mod results;
pub mod spec;
pub mod stats;
pub mod trace;
pub mod units;

pub use harness::Harness;
