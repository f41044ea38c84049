//! Unpacks compressed files as streams: gzip, zstd, xz, bzip2, lz4, and zip with one member.
//!
//! The first bytes identify the packing, also of what is packed twice. Any number of frames may
//! follow one another, with zeros between and behind them. Other bytes behind a frame are an error.
//! Checksums are compared. The memory is bounded by the window of the packing, and
//! [`UNPACKED_LIMIT_BYTES`] bounds the unpacked bytes.

use std::error::Error;
use std::io::{self, BufRead, Read};

use super::peek_reader::{PackedFrame, PeekReader};
use super::zip_member::ZipMember;

/// Bytes that one file unpacks to, at most: 1 TiB.
pub const UNPACKED_LIMIT_BYTES: u64 = 1 << 40;
/// Packings around one another, at most.
const LAYERS: usize = 4;
/// Bytes by which a packing is recognised.
const MAGIC_BYTES: usize = 10;

/// A way to compress a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// LZMA2 in the xz container.
    Xz,
    /// bzip2.
    Bzip2,
    /// LZ4 frames.
    Lz4,
    /// A zip archive with one member, stored or deflated.
    Zip,
}

impl Packing {
    /// The name of the packing, as of the program that makes it.
    pub fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Xz => "xz",
            Packing::Bzip2 => "bzip2",
            Packing::Lz4 => "lz4",
            Packing::Zip => "zip",
        }
    }

    /// The packing of a file that begins so.
    fn of(start: &[u8]) -> Option<Packing> {
        match start {
            [0x1F, 0x8B, 8, ..] => Some(Packing::Gzip),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Some(Packing::Zstd),
            [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Some(Packing::Zstd), // a frame to skip
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Some(Packing::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => {
                Some(Packing::Bzip2)
            }
            [0x04, 0x22, 0x4D, 0x18, ..] => Some(Packing::Lz4),
            [b'P', b'K', 3, 4, ..] => Some(Packing::Zip),
            _ => None,
        }
    }

    /// Begins to unpack the frame that `source` begins with.
    fn frame(self, mut source: PeekReader) -> io::Result<Box<dyn PackedFrame>> {
        Ok(match self {
            Packing::Gzip => Box::new(flate2::bufread::GzDecoder::new(source)),
            Packing::Zstd => {
                skip_frames(&mut source)?;
                let decoder = ruzstd::decoding::StreamingDecoder::new(source);
                Box::new(ZstdFrame(decoder.map_err(|error| of_zstd(Box::new(error)))?))
            }
            Packing::Xz => Box::new(lzma_rust2::XzReader::new(source, false)),
            Packing::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(source)),
            Packing::Lz4 => {
                skip_frames(&mut source)?;
                Box::new(lz4_flex::frame::FrameDecoder::new(source))
            }
            Packing::Zip => Box::new(ZipMember::begin(source)?),
        })
    }
}

/// Skips the frames of zstd and lz4 that hold no data.
fn skip_frames(source: &mut PeekReader) -> io::Result<()> {
    while let [0x50..=0x5F, 0x2A, 0x4D, 0x18, a, b, c, d, ..] = *source.peek(MAGIC_BYTES)? {
        let length = u64::from(u32::from_le_bytes([a, b, c, d])) + 8;
        if io::copy(&mut source.take(length), &mut io::sink())? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

impl PackedFrame for flate2::bufread::GzDecoder<PeekReader> {
    fn into_source(self: Box<Self>) -> PeekReader {
        self.into_inner()
    }
}

impl PackedFrame for bzip2::bufread::BzDecoder<PeekReader> {
    fn into_source(self: Box<Self>) -> PeekReader {
        self.into_inner()
    }
}

impl PackedFrame for lzma_rust2::XzReader<PeekReader> {
    fn into_source(self: Box<Self>) -> PeekReader {
        self.into_inner()
    }
}

impl PackedFrame for lz4_flex::frame::FrameDecoder<PeekReader> {
    fn into_source(self: Box<Self>) -> PeekReader {
        self.into_inner()
    }
}

/// An error of the zstd decoder. Where the cause is the end of the file, the error says so.
fn of_zstd(error: Box<dyn Error + Send + Sync>) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        let io_error = error.downcast_ref::<io::Error>();
        if io_error.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return io::ErrorKind::UnexpectedEof.into();
        }
        // An `io::Error` leaves its own cause out of its `source`.
        let inner = io_error.and_then(io::Error::get_ref);
        cause = inner.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source());
    }
    io::Error::other(error)
}

/// A zstd frame.
struct ZstdFrame(ruzstd::decoding::StreamingDecoder<PeekReader, ruzstd::decoding::FrameDecoder>);

impl Read for ZstdFrame {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| match error.raw_os_error() {
            Some(_) => error,
            None => of_zstd(Box::new(error)),
        })
    }
}

impl PackedFrame for ZstdFrame {
    fn is_sound(&self) -> bool {
        let stored = self.0.decoder.get_checksum_from_data();
        stored.is_none() || stored == self.0.decoder.get_calculated_checksum()
    }

    fn into_source(self: Box<Self>) -> PeekReader {
        self.0.into_inner()
    }
}

/// What is between two reads of [`PackedFrames`].
enum FrameState {
    Between(PeekReader),
    Within(Box<dyn PackedFrame>),
    /// At the end, or after an error.
    Over,
}

/// The unpacked bytes of all frames of a file.
struct PackedFrames {
    packing: Packing,
    state: FrameState,
    unpacked_bytes: u64,
}

impl PackedFrames {
    fn next(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, FrameState::Over) {
                FrameState::Over => return Ok(0),
                FrameState::Between(mut source) => {
                    let start = source.peek(MAGIC_BYTES)?;
                    if start.is_empty() {
                        return Ok(0);
                    } else if Packing::of(start) == Some(self.packing) {
                        self.state = FrameState::Within(self.packing.frame(source)?);
                    } else {
                        return rest_is_zero(source).map(|()| 0);
                    }
                }
                FrameState::Within(mut frame) => {
                    let count = frame.read(into)?;
                    if count > 0 {
                        self.state = FrameState::Within(frame);
                        return Ok(count);
                    }
                    if !frame.is_sound() {
                        return Err(io::Error::other("a checksum differs"));
                    }
                    self.state = FrameState::Between(frame.into_source());
                }
            }
        }
    }
}

/// Checks that nothing but padding follows.
fn rest_is_zero(mut source: PeekReader) -> io::Result<()> {
    loop {
        let bytes = source.fill_buf()?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(io::Error::other("other bytes follow the packed data"));
        }
        match bytes.len() {
            0 => return Ok(()),
            count => source.consume(count),
        }
    }
}

impl Read for PackedFrames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let name = self.packing.name();
        let read = self.next(into).and_then(|count| {
            self.unpacked_bytes += count as u64;
            if self.unpacked_bytes <= UNPACKED_LIMIT_BYTES {
                return Ok(count);
            }
            Err(io::Error::other("it unpacks to more than 1 TiB"))
        });
        read.map_err(|error| match error.kind() {
            _ if error.raw_os_error().is_some() => error,
            kind @ io::ErrorKind::UnexpectedEof => io::Error::new(
                kind,
                format!("the {name} data ends early: the file was cut off; copy it again"),
            ),
            // The error has its own next step.
            kind @ io::ErrorKind::Unsupported => {
                io::Error::new(kind, format!("the {name} data cannot be unpacked: {error}"))
            }
            kind => io::Error::new(
                kind,
                format!("the {name} data cannot be unpacked ({error}); copy the file again"),
            ),
        })
    }
}

/// The packings around a file, the outermost first, and its unpacked bytes.
///
/// # Errors
/// When the file cannot be read or is packed too often.
pub(super) fn unpacked(file: Box<dyn Read>) -> io::Result<(Vec<Packing>, PeekReader)> {
    let mut packings = Vec::new();
    let mut stream = PeekReader::new(file);
    while let Some(packing) = Packing::of(stream.peek(MAGIC_BYTES)?) {
        if packings.len() == LAYERS {
            return Err(io::Error::other("it is packed more than four times; unpack it first"));
        }
        packings.push(packing);
        let state = FrameState::Between(stream);
        let frames = PackedFrames { packing, state, unpacked_bytes: 0 };
        stream = PeekReader::new(Box::new(frames));
    }
    Ok((packings, stream))
}
