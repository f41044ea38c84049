//! The program itself, run under each allocator that it could have.
//!
//! `deployment.rs` has the variables and the library that give a program a backend. `program.rs`
//! runs the program once, with the observer (`src/observer/`) loaded. `observation.rs` is what such a
//! run showed, `page.rs` in `src/observer/` the page on which the observer wrote it.
//! `read_back.rs` says whether the program really had the backend. `outputs.rs` compares what runs
//! print. `rounds.rs` runs all backends in interleaved rounds, and `decision.rs` decides from the
//! rounds so far whether one of two needs more processor time. `start.rs` runs the program's start
//! only, and lets a tool such as valgrind run it.

mod decision;
mod deployment;
mod observation;
mod outputs;
#[path = "../observer/page.rs"]
#[allow(dead_code, reason = "the observer writes fields that only tests read")]
mod page;
mod program;
mod read_back;
mod rounds;
mod start;

pub use decision::compare;
pub use deployment::{Deployment, NotDeployable, sets_allocator};
pub use observation::{LoadedAllocator, MarkReading, Observation, ProgramFailure};
pub use program::{LiveError, LiveProgram, Until};
pub use rounds::{Candidate, LiveRuns, RoundsPlan, run_rounds};
pub use start::{Extent, Tool};
