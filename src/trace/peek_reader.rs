//! What unpacking needs of its input: a stream that shows its next bytes, and frames that return it.

use std::io::{self, BufRead, Read};

const BUFFER_BYTES: usize = 1 << 16;

/// A stream that shows its next bytes before it gives them.
pub(super) struct PeekReader {
    source: Box<dyn Read>,
    buffer: Vec<u8>,
    at: usize,
}

impl PeekReader {
    /// A stream of the bytes of `source`.
    pub fn new(source: Box<dyn Read>) -> PeekReader {
        PeekReader { source, buffer: Vec::new(), at: 0 }
    }

    /// The next bytes: at least `count`, or all up to the end.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.at < count {
            self.buffer.drain(..self.at);
            self.at = 0;
            let filled = self.buffer.len();
            self.buffer.resize(BUFFER_BYTES.max(count), 0);
            let read = self.source.read(&mut self.buffer[filled..]);
            self.buffer.truncate(filled + read.as_ref().map_or(0, |read| *read));
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[self.at..])
    }
}

impl Read for PeekReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for PeekReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.len());
    }
}

/// A frame that is being unpacked. It reads no byte behind its end.
pub(super) trait PackedFrame: Read {
    /// Compares the checksum, where reading has not done so.
    fn is_sound(&self) -> bool {
        true
    }
    /// The stream behind the frame.
    fn into_source(self: Box<Self>) -> PeekReader;
}
