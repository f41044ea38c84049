//! Verb `check`: the regression check in its three uses. `options.rs` has its command line, `verb.rs`
//! chooses the use. `sides.rs` measures two sides in one run (`side_args.rs` reads them), `traces.rs`
//! compares two recordings of one program, `stored.rs` two run folders. `output.rs` reports what was
//! found, with the table of `table.rs`. `list.rs` prints the measures, `init.rs` writes a CI file.

mod init;
mod list;
mod options;
mod output;
mod side_args;
mod sides;
mod stored;
mod table;
mod traces;
mod verb;

pub use options::CheckArgs;
