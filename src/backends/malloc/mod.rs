//! `malloc`: the system's own allocator, as CPython's raw domain calls it.

#[cfg(target_env = "gnu")]
mod arena_limit;
#[cfg(target_env = "gnu")]
mod arenas;
mod backend;
mod glibc;
mod settings;
#[cfg(target_env = "gnu")]
mod thread_cache;

pub use backend::{MEMBER, c_library, flush_thread_cache, make_request, trim};
pub use glibc::version;
