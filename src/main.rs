//! Parses the command line, dispatches to a verb, prints the error chain and chooses the exit code.

fn main() {}
