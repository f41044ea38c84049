//! What the readers of a worker's files share: a number, and the error for an unsound file.

use std::io::{self, Read};

/// The next number, 8 bytes little-endian.
pub(super) fn read_u64(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// What is wrong with a file that should hold a program.
pub(super) fn unsound(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a compiled program: {what}"))
}
