//! heaplay records every allocation of a real Python program, replays the recording against
//! interchangeable allocators, and shows the cost of each in time and in memory.
//!
//! The code has two sides. The measuring side ([`trace`], [`program`], [`backends`], [`replay`],
//! [`bench`]) turns a trace into a program, replays it and writes down the figures. The reading side
//! ([`report`], [`check`]) draws and judges them. Both sides share the run record ([`results`]), the
//! specs of backends ([`spec`]) and the units ([`units`]), and nothing else.
//!
//! Unsafe code is denied. An item that needs it opens it with a reason: `backends` (memory and C
//! calls), `recorder` (loaded into the interpreter), the hot loop of `replay`, and one system call
//! of `bench`.

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
