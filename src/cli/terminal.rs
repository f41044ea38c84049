//! Standard output and standard error, as every verb writes to them.

use std::borrow::Cow;
use std::io::Write;

use anyhow::Context;

/// Writes to standard output. A reader that closes the pipe early (`heaplay check … | head`) is no
/// failure and changes no verdict: the rest of the text is dropped.
///
/// # Errors
/// Any other failure to write.
pub fn print(text: &str) -> anyhow::Result<()> {
    match anstream::stdout().lock().write_all(without_control(text).as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}

/// Writes a note for the person to standard error.
pub fn note(text: impl AsRef<str>) {
    anstream::eprintln!("heaplay: {}", without_control(text.as_ref()));
}

/// The text with its control characters escaped, except for line feeds and tabs. Names of files and
/// texts in them may hold sequences that change a terminal.
pub(super) fn without_control(text: &str) -> Cow<'_, str> {
    let is_control = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            letter if is_control(letter) => escaped.extend(letter.escape_debug()),
            letter => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}
