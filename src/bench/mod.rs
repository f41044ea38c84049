//! Runs a plan: cells in child processes, and what they leave as one run.
//!
//! | file | what it does |
//! |---|---|
//! | `session.rs` | runs all cells of a plan; `finish.rs` is its end |
//! | `begin.rs`, `resume.rs`, `versions.rs` | begins a run; goes on with an unfinished one |
//! | `plan.rs` | says what is to be done, in which order |
//! | `batch.rs` | measures cells together; `commit.rs` and `validate.rs` are the end of a cell |
//! | `time_slices.rs` | lets the timed children of a trace run in time slices |
//! | `interference.rs` | says how many batches run side by side |
//! | `workload.rs` | a compiled trace; `handover.rs` says how a child gets it |
//! | `settings.rs`, `error.rs` | limits of children; why a run could not go on |
//! | `worker.rs` | a child from outside; `environment.rs` has its variables |
//! | `child.rs` | a child from inside; `measure.rs` does one job |
//! | `page_rows.rs`, `operations.rs` | rows of a footprint pass; the names of operations |
//! | `preflight.rs` | a backend's version and proof |
//! | `halves.rs` | makes the two passes of a latency repetition one |
//! | `confirm.rs` | takes the median of each call over repetitions |
//! | `slow_calls.rs`, `latency_map.rs`, `windows.rs` | what the tables hold of these medians |
//! | `calibrate.rs` | compares builds of the same source |
//! | `pairs.rs` | times two sides against each other; `exact.rs` measures their memory |
//! | `instructions.rs`, `run_instructions.rs` | counts instructions; those of a whole run |
//! | `overhead.rs` | what the footprint passes spent on measuring |
//! | `compare.rs` | compares two pool allocators call by call; `pool_specs.rs` has their specs |
//! | `what_if.rs` | replays a changed trace |
//! | `check_cell.rs`, `race.rs` | one timed measure of two sides, from its first pair to its verdict |
//! | `suite.rs`, `lanes.rs` | all cells of a check within a time limit, on all processors |
//! | `power_study.rs`, `injection.rs` | trials of a check with a known effect |
//! | `identity.rs`, `demand.rs` | whether two sides are the same; what two recordings request |
//! | `grid.rs` | a grid of backends from specs with braces |
//! | `bounds.rs` | an allocator that returns memory at once, and never |
//! | `machine.rs` | says where a run was made |

mod batch;
mod begin;
mod bounds;
pub mod calibrate;
mod check_cell;
mod child;
mod commit;
mod compare;
mod confirm;
mod demand;
mod environment;
mod error;
mod exact;
mod finish;
mod grid;
mod halves;
mod handover;
mod identity;
mod injection;
mod instructions;
mod interference;
mod lanes;
mod latency_map;
mod machine;
mod measure;
mod operations;
mod overhead;
mod page_rows;
pub mod pairs;
mod plan;
pub mod pool_specs;
mod power_study;
mod preflight;
mod race;
mod resume;
mod run_instructions;
mod session;
mod settings;
mod slow_calls;
mod suite;
mod time_slices;
mod validate;
mod versions;
mod what_if;
mod windows;
mod worker;
mod workload;

pub use begin::{RunPlan, begin_run};
pub use check_cell::CheckCell;
pub use child::serve;
pub use compare::{Comparison, arenas_at, compare, compare_recording};
pub use confirm::LEAST_REPETITIONS;
pub use demand::{Demand, DemandChange, DemandChanges};
pub use error::BenchError;
pub use exact::exact;
pub use grid::{GridError, expand_grid};
pub use handover::Handover;
pub use identity::{are_identical, sha256_of_file};
pub use injection::{ExactInjection, InjectedEffect};
pub use instructions::{InstructionCounter, instructions, valgrind};
pub use machine::{available_bytes, fingerprint, processors, variables};
pub use overhead::FootprintOverhead;
pub use plan::{Batch, ClockRate, Job, Pace, Task, Verified, batches, order};
pub use power_study::{Experiment, PowerStudy, Trial, TrialSeries};
pub use preflight::{verify, version};
pub use resume::{ResumeError, pace_of_run, reopen};
pub use run_instructions::add_instructions;
pub use session::{Progress, run};
pub use settings::Settings;
pub use suite::Suite;
pub use versions::{AbsentBackend, ask_versions};
pub use what_if::{Saved, Saving, savings};
pub use worker::{CANCELLED, Ended, Limits, Worker, cancelled};
pub use workload::Loaded;
