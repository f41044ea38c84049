//! Room `backends`: what is measured. `allocator.rs` is the contract, each backend is a file, this is the list.

mod allocator;

pub use allocator::{Allocator, Backend, BackendError, Counter, Domains, Member, Spec, Trim};
