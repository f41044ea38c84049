//! What tests share: starting programs, what this machine has, what is skipped without it,
//! reference models, generated requests, and made-up runs.

pub mod arena_hooks;
pub mod child;
pub mod compiler;
pub mod interpreters;
pub mod libraries;
pub mod lockstep;
pub mod machine;
pub mod made_up_run;
pub mod made_up_trace;
pub mod process;
pub mod reference_heap;
pub mod reference_pools;
pub mod skip;
pub mod traces;
pub mod waves;
