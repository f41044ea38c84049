//! Standard output and standard error, as every verb writes to them.

use std::io::Write;

use anyhow::Context;

/// Writes to standard output. A reader that closes the pipe early (`heaplay check … | head`) is no
/// failure and changes no verdict: the rest of the text is dropped.
///
/// # Errors
/// Any other failure to write.
pub fn print(text: &str) -> anyhow::Result<()> {
    match anstream::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}

/// Writes a note for the person to standard error.
pub fn note(text: impl AsRef<str>) {
    anstream::eprintln!("heaplay: {}", text.as_ref());
}
