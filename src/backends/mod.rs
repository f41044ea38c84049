//! What is measured. `allocator.rs` is the contract, each backend is a file, `list.rs` is the list.
//!
//! A backend is named by its spec, `name[@version][:key=value,…][+below]`
//! ([`BackendSpec`](crate::spec::BackendSpec)): [`parse`] reads it, [`open`] makes the backend,
//! [`describe`] prints what it is.

mod allocator;
pub mod arenas;
mod buddy;
mod bump;
mod calls;
mod dlmalloc;
mod embedded;
pub mod freelist;
mod injected;
#[cfg(feature = "jemalloc")]
mod jemalloc;
mod library;
mod linked_list;
mod list;
mod malloc;
#[cfg(feature = "mimalloc")]
mod mimalloc;
mod null;
pub mod pages;
pub mod pymalloc;
mod python;
mod region;
#[cfg(feature = "rpmalloc")]
mod rpmalloc;
#[cfg(feature = "scudo")]
mod scudo;
#[cfg(feature = "snmalloc")]
mod snmalloc;
mod spec_checks;
mod talc;
#[cfg(feature = "tcmalloc")]
mod tcmalloc;
mod tlsf;

pub use allocator::{
    Allocator, Backend, BackendError, Counter, Domains, Environment, Member, Opened, Setting, Trim,
    Varies,
};
pub use embedded::{Embedded, register};
pub use list::{BACKENDS, bounds, describe, environment, open, parse, parse_list};
pub use malloc::version as libc_version;
pub use python::{Printed, read_print};
