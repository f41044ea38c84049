//! Room `trace`: a part of a binary trace as a zstd frame. The C library packs smaller and is the default; a build without
//! it (`--no-default-features`) reads and writes the same frames in Rust.

use std::io;

#[cfg(feature = "zstd")]
const LEVEL: i32 = 9;

/// The bytes in a frame; at most `most` of them.
///
/// # Errors
/// When it is no frame or holds more.
#[cfg(feature = "zstd")]
pub fn unpack(stored: &[u8], most: usize) -> io::Result<Vec<u8>> {
    zstd::bulk::decompress(stored, most)
}

/// A frame of these bytes.
///
/// # Errors
/// When there is no memory.
#[cfg(feature = "zstd")]
pub fn pack(raw: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(raw, LEVEL)
}

/// The bytes in a frame; at most `most` of them.
///
/// # Errors
/// When it is no frame or holds more.
#[cfg(not(feature = "zstd"))]
pub fn unpack(stored: &[u8], most: usize) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let decoder = ruzstd::decoding::StreamingDecoder::new(stored).map_err(io::Error::other)?;
    let mut raw = Vec::with_capacity(most);
    decoder.take(most as u64 + 1).read_to_end(&mut raw)?;
    if raw.len() > most {
        return Err(io::Error::other("it holds more than it says"));
    }
    Ok(raw)
}

/// A frame of these bytes.
///
/// # Errors
/// None.
#[cfg(not(feature = "zstd"))]
pub fn pack(raw: &[u8]) -> io::Result<Vec<u8>> {
    Ok(ruzstd::encoding::compress_to_vec(raw, ruzstd::encoding::CompressionLevel::Fastest))
}
