//! `malloc`: the system's own allocator, as CPython's raw domain calls it.

#[cfg(target_env = "gnu")]
mod arena_limit;
#[cfg(target_env = "gnu")]
mod arenas;
mod backend;
mod glibc;
#[cfg(target_env = "gnu")]
mod heap_of_block;
mod settings;
#[cfg(target_env = "gnu")]
mod thread_cache;

pub use backend::{
    MEMBER, RETURNS_BY, c_library, flush_thread_cache, make_request, trim, unit_of_block,
};
pub use glibc::version;
