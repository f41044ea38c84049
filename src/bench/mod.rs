//! Runs a plan: cells in child processes, and what they leave as one run.
//!
//! | file | what it does |
//! |---|---|
//! | `session.rs` | runs all cells of a plan; `finish.rs` is its end |
//! | `begin.rs`, `resume.rs`, `versions.rs` | begins a run; goes on with an unfinished one |
//! | `plan.rs` | says in which order cells are measured, and which of them together |
//! | `estimate.rs`, `disk.rs` | how long cells will take, and how much of the disk |
//! | `repetitions.rs` | goes on with the time pass until its comparisons are decided |
//! | `batch.rs` | measures cells together; `validate.rs` compares their figures with the trace |
//! | `time_slices.rs` | runs the timed children of a trace in time slices |
//! | `interference.rs` | says how many batches run side by side |
//! | `workload.rs` | a compiled trace; `handover.rs` gives it to a child in parts |
//! | `trace_entry.rs` | what the run record has of a trace's lines and times |
//! | `huge_pages.rs` | whether children may have transparent huge pages |
//! | `settings.rs`, `error.rs` | limits of children; why a run could not go on |
//! | `job.rs`, `files.rs` | what a child is to do, and the files that go with it |
//! | `protocol.rs`, `failure.rs` | the messages of parent and child; why there is no result |
//! | `worker.rs`, `side.rs` | a child seen from its parent; the heaplay that measures |
//! | `child_environment.rs`, `fixed_addresses.rs` | the variables and addresses of a child |
//! | `child.rs` | the child itself; `perform.rs` does one job |
//! | `cell_rows.rs`, `page_rows.rs`, `operations.rs` | what a pass counted, as rows of its cell |
//! | `thread_rows.rs` | the threads of a pass, as rows of its cell |
//! | `preflight.rs` | a backend's version and proof |
//! | `halves.rs` | makes the two passes of a latency repetition one |
//! | `confirm.rs` | takes the median of each call over repetitions |
//! | `slow_calls.rs`, `latency_map.rs`, `windows.rs` | what is stored of these medians |
//! | `what_if.rs`, `replayed_range.rs` | replays a changed trace; what several replays leave |
//! | `free_order.rs`, `free_figures.rs` | replays a trace with its threads at once |
//! | `bounds.rs` | the range of an allocator that returns memory after a delay |
//! | `exact.rs` | measures the memory of one backend outside a run |
//! | `instructions.rs`, `run_instructions.rs` | counts instructions; those of a whole run |
//! | `overhead.rs` | what the footprint passes spent on measuring |
//! | `pairs.rs`, `ratios.rs` | time two sides against each other; `calibrate.rs` compares builds |
//! | `check_cell.rs`, `race.rs` | one timed measure of two sides, from its first pair to its verdict |
//! | `suite.rs`, `lanes.rs` | all cells of a check within a time limit, on all processors |
//! | `power_study.rs`, `injection.rs` | trials of a check with a known effect |
//! | `handshake.rs` | whether another build understands this one's jobs |
//! | `identity.rs`, `demand.rs` | whether two sides are the same; what two recordings request |
//! | `grid.rs` | a grid of backends from specs with braces |
//! | `compare.rs`, `compare_text.rs` | compare two pool allocators |
//! | `address_traces.rs`, `pool_specs.rs` | where their blocks lie; their specs |
//! | `machine.rs` | facts about the machine |

mod address_traces;
mod batch;
mod begin;
mod bounds;
pub mod calibrate;
mod cell_rows;
mod check_cell;
mod child;
mod child_environment;
mod compare;
mod compare_text;
mod confirm;
mod demand;
mod disk;
mod error;
mod estimate;
mod exact;
mod failure;
mod files;
mod finish;
mod fixed_addresses;
mod free_figures;
mod free_order;
mod grid;
mod halves;
mod handover;
mod handshake;
mod huge_pages;
mod identity;
mod injection;
mod instructions;
mod interference;
mod job;
mod lanes;
mod latency_map;
mod library_start;
mod machine;
mod operations;
mod overhead;
mod page_rows;
mod pairs;
mod perform;
mod plan;
pub mod pool_specs;
mod power_study;
mod preflight;
mod protocol;
mod race;
mod ratios;
mod repetitions;
mod replayed_range;
mod resume;
mod run_instructions;
mod session;
mod settings;
mod side;
mod slow_calls;
mod suite;
mod thread_rows;
mod time_slices;
mod trace_entry;
mod validate;
mod versions;
mod what_if;
mod windows;
mod worker;
mod workload;

pub use address_traces::{CompareError, arenas_at};
pub use begin::{RunPlan, begin_run};
pub use check_cell::CheckCell;
pub use child::serve;
pub use compare::{Comparison, compare, compare_recording};
pub use confirm::LEAST_REPETITIONS;
pub use demand::{Demand, DemandByKey, DemandChange, DemandChanges};
pub use disk::{DiskNeed, free_disk_bytes};
pub use error::{BenchError, MeasureError};
pub use estimate::{EstimateBasis, KnownCosts, PlannedCell, planned_cells};
pub use exact::exact;
pub use failure::{ChildFailure, Failure};
pub use free_figures::{FreeFigures, FreePass, FreeThread};
pub use free_order::{replay_freely, verify_freely};
pub use grid::{GridError, expand_grid};
pub use handshake::{Unfit, handshake};
pub use huge_pages::{HugePages, HugePagesError};
pub use identity::{are_identical, sha256_of_file};
pub use injection::{ExactInjection, InjectedEffect};
pub use instructions::{
    CountError, InstructionCounter, counting_arguments, instructions, instructions_in, valgrind,
};
pub use job::{ClockRate, Verified};
pub use library_start::print_own_memory;
pub use machine::{available_bytes, fingerprint, processors, variables};
pub use overhead::FootprintOverhead;
pub use pairs::{ChosenCalls, PairContext, PairError, TAIL_SHARE, load};
pub use plan::{Batch, TraceDemand, batches, order};
pub use power_study::{Experiment, PowerStudy, Trial, TrialSeries};
pub use preflight::{verify, version};
pub use ratios::{Ratio, ratios};
pub use replayed_range::ReplayedRange;
pub use resume::{ResumeError, pace_of_run, reopen};
pub use run_instructions::add_instructions;
pub use session::{Progress, run};
pub use settings::Settings;
pub use side::Side;
pub use suite::Suite;
pub use thread_rows::thread_rows;
pub use versions::{AbsentBackend, ask_versions};
pub use what_if::{Saved, SavedResident, Saving, savings};
pub use worker::{CANCELLED, ChildLimits, cancelled};
pub use workload::{Workload, Workloads};
