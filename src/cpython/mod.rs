//! What is known of CPython itself, whatever the backend.
//!
//! | file | holds |
//! |---|---|
//! | `collector.rs` | how often the garbage collector walks along its lists |
//! | `free_lists.rs` | the objects of each version that are stored after they are freed |
//! | `version.rs` | the version that an interpreter reports |

mod collector;
mod free_lists;
mod version;

pub use collector::{CollectorList, CollectorRecord, GenerationRecord};
pub use free_lists::{LARGE_LIST_OBJECTS, ListRule, Listed, collector_bytes, listed};
pub use version::version;
