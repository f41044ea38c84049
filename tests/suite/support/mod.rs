//! What tests share: starting programs, what this machine has, what is skipped without it,
//! reference models, and generated requests.

pub mod arena_hooks;
pub mod browser;
pub mod child;
pub mod compiler;
pub mod imports;
pub mod interpreters;
pub mod libraries;
pub mod lockstep;
pub mod log_samples;
pub mod machine;
pub mod made_up_runs;
pub mod made_up_sides;
pub mod made_up_threads;
pub mod made_up_traces;
pub mod process;
pub mod reference_heap;
pub mod reference_pools;
pub mod skip;
pub mod traces;
pub mod waves;
