//! `python`: the real pymalloc, in the shared library of an installed interpreter. Of a free-threaded
//! build, or on request, it is CPython's mimalloc (`mimalloc.rs`).
//!
//! The library's own tables (`PyMem_GetAllocator`) are called as they are. Until 3.11 that needs
//! nothing else: the state is static. From 3.12 on the pools belong to an interpreter, so one is
//! started. It runs on plain malloc (`PYTHONMALLOC=malloc`), and the tables are read before, so
//! that its own start touches no pool. Its own data then lie on the C library's heap, which a
//! footprint takes as its baseline. Each thread of a replay has a thread state (`thread_states.rs`)
//! and holds the GIL while it makes calls.
//!
//! Arenas go through a hook that counts them, and that can place them (`bases`). Without the
//! setting the hook calls the interpreter's own arena allocator, plain `mmap`. `find.rs` searches
//! for libraries. `printed.rs` reads the statistics that the interpreter prints of its pools, which
//! have the sizes of pools and arenas as well.

mod backend;
mod find;
mod interpreter;
mod mimalloc;
mod printed;
mod thread_states;

pub use backend::MEMBER;
pub use printed::{Printed, read as read_print};
