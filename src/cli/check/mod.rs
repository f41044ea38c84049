//! Verb `check`: the regression check in its three uses. `options.rs` has its command line, `verb.rs`
//! chooses the use. `sides.rs` measures two sides in one run, `traces.rs` compares two recordings of
//! one program, `stored.rs` two run folders. `output.rs` reports what was found, `list.rs` prints the
//! measures, `init.rs` writes a CI file.

mod init;
mod list;
mod options;
mod output;
mod sides;
mod stored;
mod traces;
mod verb;

pub use options::CheckArgs;
