//! What several tests share: reference models, generated requests, interpreters and libraries.

pub mod arena_hooks;
pub mod child;
pub mod interpreters;
pub mod libpython;
pub mod lockstep;
pub mod reference_heap;
pub mod reference_pools;
pub mod waves;
