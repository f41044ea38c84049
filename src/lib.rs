//! heaplay records every allocation of a real Python program, replays the recording against
//! interchangeable allocators, and tells what each costs in time and in memory.
//!
//! Two houses share one table. The making house ([`trace`], [`program`], [`backends`], [`replay`],
//! [`bench`]) turns a trace into a program, replays it and writes down what it counted. The reading
//! house ([`report`], [`check`]) draws and judges what was written. They meet only at the run
//! record ([`results`]).
//!
//! Unsafe code is denied and opened, item by item with its reason, in `backends` (memory and C
//! calls), `recorder` (loaded into the interpreter) and one block of `replay` (the hot loop).

pub mod backends;
pub mod bench;
pub mod check;
pub mod cli;
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
