//! Lines on stderr about a recording.

/// Prints a line on stderr. A closed stderr must not end the recording.
macro_rules! print_note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stderr(), $($text)*))
    }};
}
