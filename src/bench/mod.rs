//! Runs a plan: cells in child processes, and what they leave as one run.
//!
//! | file | what it does |
//! |---|---|
//! | `session.rs` | runs all cells of a plan; `finish.rs` is its end |
//! | `plan.rs` | says in which order cells are measured, and which of them together |
//! | `batch.rs` | measures cells together; `validate.rs` compares their figures with the trace |
//! | `time_slices.rs` | runs the timed children of a trace in time slices |
//! | `interference.rs` | says how many batches run side by side |
//! | `workload.rs` | a compiled trace; `handover.rs` gives it to a child in parts |
//! | `settings.rs`, `error.rs` | limits of children; why a run could not go on |
//! | `job.rs`, `files.rs` | what a child is requested to do, and the files that go with it |
//! | `protocol.rs`, `failure.rs` | the messages of parent and child; why there is no result |
//! | `worker.rs` | a child seen from its parent; `side.rs`, `environment.rs`, `fixed_addresses.rs` |
//! | `child.rs` | the child itself; `perform.rs` does one job |
//! | `cell_rows.rs`, `page_rows.rs`, `operations.rs` | what a pass counted, as rows of its cell |
//! | `preflight.rs` | a backend's version and proof |
//! | `halves.rs` | makes the two passes of a latency repetition one |
//! | `confirm.rs` | takes the median of each call over repetitions |
//! | `slow_calls.rs`, `latency_map.rs`, `windows.rs` | what is stored of these medians |
//! | `pairs.rs`, `ratios.rs` | time two sides against each other; `calibrate.rs` compares builds |
//! | `handshake.rs` | whether another build understands this one's jobs |
//! | `exact.rs` | measures the memory of one backend outside a run |
//! | `instructions.rs` | counts instructions |
//! | `compare.rs`, `compare_text.rs` | compare two pool allocators |
//! | `address_traces.rs`, `pool_specs.rs` | where their blocks lie; their specs |
//! | `what_if.rs` | replays a changed trace |
//! | `bounds.rs` | the range of an allocator that returns memory after a delay |
//! | `machine.rs` | facts about the machine |

mod address_traces;
mod batch;
mod bounds;
pub mod calibrate;
mod cell_rows;
mod child;
mod compare;
mod compare_text;
mod confirm;
mod environment;
mod error;
mod exact;
mod failure;
mod files;
mod finish;
mod fixed_addresses;
mod halves;
mod handover;
mod handshake;
mod instructions;
mod interference;
mod job;
mod latency_map;
mod machine;
mod operations;
mod page_rows;
mod pairs;
mod perform;
mod plan;
pub mod pool_specs;
mod preflight;
mod protocol;
mod ratios;
mod session;
mod settings;
mod side;
mod slow_calls;
mod time_slices;
mod validate;
mod what_if;
mod windows;
mod worker;
mod workload;

pub use address_traces::{CompareError, arenas_at};
pub use child::serve;
pub use compare::{Comparison, compare, compare_recording};
pub use confirm::LEAST_REPETITIONS;
pub use error::{BenchError, MeasureError};
pub use exact::exact;
pub use failure::{ChildFailure, Failure};
pub use handshake::{Unfit, handshake};
pub use instructions::{CountError, InstructionCounter, instructions, valgrind};
pub use job::{ClockRate, Verified};
pub use machine::{available_bytes, fingerprint, processors, variables};
pub use pairs::{ChosenCalls, PairContext, PairError, TAIL_SHARE, cut, load, seconds};
pub use plan::{Batch, batches, order};
pub use preflight::{verify, version};
pub use ratios::{Ratio, ratios};
pub use session::{Progress, run};
pub use settings::Settings;
pub use side::Side;
pub use what_if::{Saved, Saving, savings};
pub use worker::{CANCELLED, ChildLimits, cancelled};
pub use workload::{Workload, Workloads};
