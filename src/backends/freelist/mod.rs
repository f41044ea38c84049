//! `freelist`: CPython's free lists in front of its allocator, on any layer below.
//!
//! CPython stores the latest freed floats, tuples, lists, dicts and key tables for the next object
//! of their type, up to a limit each (`cpython::free_lists`). Where a trace names the types of its
//! blocks, the lists are those of the version: one for each type and tuple length. Where it does
//! not, the lists are by size class: each may have as many blocks as the common types of that class
//! together. Only the obj domain has them then. With types, the block's own domain has them (mem or
//! obj, which share one allocator).
//!
//! A recording is made below CPython's own lists. This backend is for other traces: generated ones,
//! or a program that ran with `--without-freelists`.

mod backend;
mod classes;
mod front;
mod lists;
mod settings;

pub use backend::{Freelist, MEMBER};
pub use classes::{CLASSES, ListLimits, limits};
pub use settings::version_of;
