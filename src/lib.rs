//! heaplay records every allocation of a real Python program, replays the recording against
//! interchangeable allocators, and reports what each costs in time and in memory.
//!
//! It is a command line. The library is for authors of allocators: [`Harness`] measures theirs, and
//! [`isolate_measurement!`] keeps the harness out of the figures. ARCHITECTURE.md describes the
//! modules.
//!
//! # The feature `internals`
//!
//! It makes the modules public for heaplay's own tests, benchmarks and fuzz targets, which are
//! other crates. It is off by default. What it adds is no interface: any release may change it.
//!
//! Unsafe code is denied. It is allowed item by item with its reason, in `backends` (memory and C
//! calls), `recorder` (loaded into the interpreter) and one block of `replay` (the hot loop).

#![cfg_attr(
    not(feature = "internals"),
    expect(unused_imports, reason = "some re-exports serve the tests, which see the modules")
)]

// Two lists, as rustfmt finds no module that a macro declares.
#[cfg(not(feature = "internals"))]
mod backends;
#[cfg(not(feature = "internals"))]
mod bench;
#[cfg(not(feature = "internals"))]
mod check;
#[cfg(not(feature = "internals"))]
mod cli;
#[cfg(not(feature = "internals"))]
mod cpython;
#[cfg(not(feature = "internals"))]
mod environment;
#[cfg(not(feature = "internals"))]
mod export;
mod harness;
#[cfg(not(feature = "internals"))]
mod live;
#[cfg(not(feature = "internals"))]
mod program;
#[cfg(not(feature = "internals"))]
mod replay;
#[cfg(not(feature = "internals"))]
mod report;
#[cfg(not(feature = "internals"))]
mod results;
#[cfg(not(feature = "internals"))]
mod spec;
#[cfg(not(feature = "internals"))]
mod stats;
#[cfg(not(feature = "internals"))]
mod trace;
#[cfg(not(feature = "internals"))]
mod units;

#[cfg(feature = "internals")]
pub mod backends;
#[cfg(feature = "internals")]
pub mod bench;
#[cfg(feature = "internals")]
pub mod check;
#[cfg(feature = "internals")]
pub mod cli;
#[cfg(feature = "internals")]
pub mod cpython;
#[cfg(feature = "internals")]
pub mod environment;
#[cfg(feature = "internals")]
pub mod export;
#[cfg(feature = "internals")]
pub mod live;
#[cfg(feature = "internals")]
pub mod program;
#[cfg(feature = "internals")]
pub mod replay;
#[cfg(feature = "internals")]
pub mod report;
#[cfg(feature = "internals")]
pub mod results;
#[cfg(feature = "internals")]
pub mod spec;
#[cfg(feature = "internals")]
pub mod stats;
#[cfg(feature = "internals")]
pub mod trace;
#[cfg(feature = "internals")]
pub mod units;

pub use harness::Harness;
#[doc(hidden)]
pub use harness::{command_line, isolation};
