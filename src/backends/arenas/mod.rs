//! What pool allocators of CPython's kind have in common: the memory of their arenas, the pools in
//! them, and the use of their bytes. CPython's real pymalloc (`python`) and this crate's
//! (`pymalloc`) share it.

mod bases;
mod hook;
mod pools;
mod source;
mod statistics;

pub use bases::Bases;
pub use hook::{ArenaChange, ArenaState, Arenas, BlockPlace, PoolState};
pub use pools::Pools;
pub use source::ArenaSource;
pub use statistics::{ArenaStatistics, ClassStatistics, Geometry};
