//! What is known of CPython itself, whatever the backend.
//!
//! | file | holds |
//! |---|---|
//! | `free_lists.rs` | the objects of each version that are stored after they are freed |

mod free_lists;

pub use free_lists::{ListRule, Listed, collector_bytes, listed};
