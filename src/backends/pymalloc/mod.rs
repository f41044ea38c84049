//! `pymalloc`: CPython's pool allocator, event for event.
//!
//! CPython's object allocator serves requests of up to 512 bytes of the mem and obj domains from
//! pools. Size 0, larger requests and the raw domain go to the layer below.
//!
//! | file | what it has |
//! |---|---|
//! | `constants.rs` | the constants, and which of them can work together |
//! | `layout.rs` | the constants of each version |
//! | `settings.rs` | the constants that a spec asks for, and the description |
//! | `headers.rs` | the records that the heap writes into memory |
//! | `owner.rs` | the test of whether a block lies in the pools |
//! | `heap.rs` | blocks and pools, and the paths of every call |
//! | `arena.rs` | arenas and their lists |
//! | `check.rs` | the statistics, and the walk over the invariants |
//! | `backend.rs` | the backend |

mod arena;
mod backend;
mod check;
mod constants;
mod headers;
mod heap;
mod layout;
mod owner;
mod settings;

pub use backend::{MEMBER, Pymalloc};
pub use constants::{Clash, Constants, OwnerTest, POOL_HEADER_BYTES};
pub use headers::ArenaTable;
pub use heap::Heap;
pub(crate) use layout::NEWEST;
pub use layout::{
    Cpython36, Cpython37, Cpython38, Cpython39, Cpython310, Cpython311, Custom, HeapTable, Layout,
};
pub use owner::{AnyOwner, ArenaIndex, Owner, RadixTree};

pub use super::arenas::{ArenaSource, ArenaStatistics, ClassStatistics};
