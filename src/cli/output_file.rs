//! The error for a file of the command line that cannot be written.

use std::io::{Error, ErrorKind};
use std::path::Path;

use anyhow::Context;

/// The place, what was expected there, and the next step, for the file that an option names.
pub fn written<T>(result: Result<T, Error>, option: &str, path: &Path) -> anyhow::Result<T> {
    let is_full =
        |error: &Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let expected = match &result {
        Err(error) if is_full(error) => "free some space, or name a file on another disk",
        _ => "expected a file in a folder that is there, and that you may write to",
    };
    result.with_context(|| format!("{option} {}: {expected}", path.display()))
}
