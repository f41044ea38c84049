//! What a backend with arenas and pools shows of them.

use super::hook::Arenas;
use super::statistics::{ArenaStatistics, Geometry};

/// The arenas and pools of a backend.
pub trait Pools {
    /// Its sizes.
    fn geometry(&self) -> Geometry;

    /// Its arenas; `None` when they have no hook (the setting `bases` installs one).
    fn arenas(&self) -> Option<&Arenas>;

    /// The use of the arenas' bytes now, as the allocator itself counts it.
    ///
    /// # Errors
    /// When the allocator does not report it, or the report cannot be read.
    fn statistics(&self) -> Result<ArenaStatistics, String>;
}
