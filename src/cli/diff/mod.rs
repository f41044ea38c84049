//! Verb `diff`: two recordings or two runs side by side. `options.rs` has its command line and decides
//! which of the two is meant, `recordings.rs` counts two traces, `text.rs` prints.

mod options;
mod recordings;
mod text;

pub use options::DiffArgs;
