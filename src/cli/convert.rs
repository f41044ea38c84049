//! Verb `convert`: copies a trace into another format, on request without its names.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

use super::terminal::note;
use crate::trace::{self, Anonymous};

/// Convert a trace between CSV and the binary form; the extension of OUT chooses
#[derive(clap::Args)]
pub struct ConvertArgs {
    /// The trace to read
    input: PathBuf,
    /// The trace to write: NAME.csv or NAME.trace
    out: PathBuf,
    /// Save the whole parts of a file that was cut off
    #[arg(long)]
    salvage: bool,
    /// Replace names by numbers, for publication: files, lines, functions, types, marks. Names of
    /// threads and most facts are left out. Sizes, times and the order of calls stay
    #[arg(long)]
    anonymise: bool,
}

impl ConvertArgs {
    /// Converts.
    ///
    /// # Errors
    /// When the input is faulty or the output cannot be written; OUT is then unchanged.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if is_same_file(&self.input, &self.out) {
            bail!("{}: input and output are the same file; give another name", self.out.display());
        }
        let mut reader = if self.salvage {
            trace::open_salvaging(&self.input)?
        } else {
            trace::open(&self.input)?
        };
        if self.anonymise {
            let anonymous = Anonymous::new(reader);
            if !anonymous.left_out().is_empty() {
                note(format!("left out: {}", anonymous.left_out().join(", ")));
            }
            reader = Box::new(anonymous);
        }
        let rows = trace::copy(reader.as_mut(), &self.out)?;
        for warning in reader.warnings() {
            note(warning);
        }
        if self.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            let header = reader.header();
            for (count, what) in
                [(header.marks().len(), "marks"), (header.arenas().len(), "arena events")]
            {
                if count > 0 {
                    note(format!("CSV cannot hold {what}: {count} were left out"));
                }
            }
        }
        note(format!("{}: {rows} rows", self.out.display()));
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether two paths name the same existing file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let paths = (one.canonicalize(), other.canonicalize());
    matches!(paths, (Ok(one), Ok(other)) if one == other)
}
