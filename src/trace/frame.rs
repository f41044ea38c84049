//! Packs and unpacks the parts of a binary trace as zstd frames. The C library packs smaller and is
//! the default. A build without it (`--no-default-features`) reads and writes the same frames in
//! Rust.

use std::io;

#[cfg(feature = "zstd")]
const LEVEL: i32 = 9;

/// Unpacks frames one after the other, and uses the same memory for each.
#[cfg(feature = "zstd")]
pub struct Unpacker(zstd::bulk::Decompressor<'static>);

#[cfg(feature = "zstd")]
impl Unpacker {
    /// An unpacker for any number of frames.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> io::Result<Unpacker> {
        Ok(Unpacker(zstd::bulk::Decompressor::new()?))
    }

    /// Replaces the contents of `raw` by the bytes of a frame, at most `most` of them.
    ///
    /// # Errors
    /// When `stored` is no frame or holds more.
    pub fn unpack(&mut self, stored: &[u8], most: usize, raw: &mut Vec<u8>) -> io::Result<()> {
        raw.clear();
        raw.reserve(most);
        self.0.decompress_to_buffer(stored, raw)?;
        holds_no_more(raw, most)
    }
}

/// Packs bytes into a frame.
///
/// # Errors
/// When there is no memory.
#[cfg(feature = "zstd")]
pub fn pack(raw: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(raw, LEVEL)
}

/// Unpacks frames one after the other.
#[cfg(not(feature = "zstd"))]
pub struct Unpacker;

#[cfg(not(feature = "zstd"))]
impl Unpacker {
    /// An unpacker for any number of frames.
    ///
    /// # Errors
    /// None.
    pub fn new() -> io::Result<Unpacker> {
        Ok(Unpacker)
    }

    /// Replaces the contents of `raw` by the bytes of a frame, at most `most` of them.
    ///
    /// # Errors
    /// When `stored` is no frame or holds more.
    pub fn unpack(&mut self, stored: &[u8], most: usize, raw: &mut Vec<u8>) -> io::Result<()> {
        use std::io::Read;
        raw.clear();
        let decoder = ruzstd::decoding::StreamingDecoder::new(stored).map_err(io::Error::other)?;
        decoder.take(most as u64 + 1).read_to_end(raw)?;
        holds_no_more(raw, most)
    }
}

fn holds_no_more(raw: &[u8], most: usize) -> io::Result<()> {
    if raw.len() > most {
        return Err(io::Error::other("it holds more bytes than its part states"));
    }
    Ok(())
}

/// Packs bytes into a frame.
///
/// # Errors
/// None.
#[cfg(not(feature = "zstd"))]
pub fn pack(raw: &[u8]) -> io::Result<Vec<u8>> {
    Ok(ruzstd::encoding::compress_to_vec(raw, ruzstd::encoding::CompressionLevel::Fastest))
}
