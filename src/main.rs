//! The program `heaplay`. Its memory and its clock stay out of what is measured.

use std::process::ExitCode;

heaplay::isolate_measurement!();

fn main() -> ExitCode {
    heaplay::command_line()
}
