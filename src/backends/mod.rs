//! What is measured: each backend is a file or a folder, `list.rs` is the list.
//!
//! `allocator.rs` has the four calls, `backend.rs` the contract of a backend, `member.rs` an entry
//! of the list, `setting.rs` a setting.
//!
//! A backend is named by its spec, `name[@version][:key=value,…][+below]`
//! ([`BackendSpec`](crate::spec::BackendSpec)): [`parse`] reads it, [`open`] makes the backend,
//! [`describe`] prints it, and [`reference()`] lists all backends with their settings.

mod allocator;
mod arena_report;
pub mod arenas;
mod backend;
mod buddy;
mod bump;
mod calls;
mod dlmalloc;
mod elf;
mod embedded;
mod error;
pub mod freelist;
mod injected;
#[cfg(feature = "jemalloc")]
mod jemalloc;
mod jemalloc_arenas;
mod library;
mod linked_list;
mod list;
mod loader;
mod malloc;
mod member;
#[cfg(feature = "mimalloc")]
mod mimalloc;
mod null;
mod opening;
mod optional;
pub mod pages;
pub mod pymalloc;
mod python;
#[cfg(feature = "internals")]
mod reference;
mod region;
mod return_unit;
#[cfg(feature = "rpmalloc")]
mod rpmalloc;
#[cfg(feature = "scudo")]
mod scudo;
mod setting;
#[cfg(feature = "snmalloc")]
mod snmalloc;
mod spec_checks;
mod talc;
#[cfg(feature = "tcmalloc")]
mod tcmalloc;
mod tlsf;

pub use allocator::{AlignedCall, Allocator, Domains};
pub use arena_report::ArenaMemory;
pub use backend::{Backend, Counter, PoolFigure, ThreadUse, Trim, Varies};
pub use embedded::{Embedded, register};
pub use error::BackendError;
pub use library::look_at_libraries;
pub use list::BACKENDS;
pub use loader::with_installed_library;
pub use malloc::version as libc_version;
pub use member::{ChildEnvironment, Member, Opened};
pub use opening::{bounds, describe, environment, open, parse, parse_list, settings_for_threads};
pub use python::{Printed, read_print};
#[cfg(feature = "internals")]
pub use reference::{BackendReference, SettingReference, reference};
pub use return_unit::{ReturnKind, ReturnUnit, UnitOfBlock};
pub use setting::Setting;
