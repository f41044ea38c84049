//! The error for a file of the command line that cannot be written.

use std::path::Path;

/// The place and what was expected there, for the file that an option names.
pub fn expected(option: &str, path: &Path) -> String {
    format!(
        "{option} {}: expected a file in a folder that is there, and that you may write to",
        path.display()
    )
}
