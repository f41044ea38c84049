//! heaplay records every allocation of a real Python program, replays the recording against
//! interchangeable allocators, and reports what each costs in time and in memory.
//!
//! There are two sides. The measuring side ([`trace`], [`program`], [`backends`], [`replay`],
//! [`bench`]) compiles a trace to a program, replays it and stores what it counted. The reading side
//! ([`report`], [`check`]) draws and judges what was stored. They meet only at the run record
//! ([`results`]).
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
