//! The bytes of a binary log, with their offset.

use std::io::{self, Read};

use super::peek_reader::PeekReader;

/// The bytes of a log, one after the other.
pub(super) struct ByteInput {
    stream: PeekReader,
    offset: u64,
}

impl ByteInput {
    /// Reads `stream` from its beginning.
    pub fn new(stream: PeekReader) -> ByteInput {
        ByteInput { stream, offset: 0 }
    }

    /// Bytes that were read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether no byte is left.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.stream.peek(1)?.is_empty())
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When the file cannot be read or ends before.
    pub fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        self.offset += N as u64;
        Ok(bytes)
    }

    /// All bytes that are left, at most `limit` of them; `None` when there are more.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn rest(&mut self, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let mut rest = Vec::new();
        let count = (&mut self.stream).take(limit + 1).read_to_end(&mut rest)? as u64;
        Ok((count <= limit).then_some(rest))
    }
}
