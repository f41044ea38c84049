//! Unpacks the only member of a zip archive, stored or deflated, as a stream.
//!
//! The layout is that of PKWARE's APPNOTE: a local header (`PK 03 04`), the data, for some an
//! optional descriptor (`PK 07 08`), then the central directory (`PK 01 02`, one entry a member).
//! The checksum is that of the central directory, since a local header may lack it.

use std::io::{self, Read};

use super::peek_reader::{PackedFrame, PeekReader};

/// Bytes of the local header and of an entry of the central directory, without names.
const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;

/// The data of a member.
enum MemberData {
    Stored(io::Take<PeekReader>),
    Deflated(flate2::bufread::DeflateDecoder<PeekReader>),
    /// Everything was read and compared.
    Done,
}

/// The only member of an archive.
pub(super) struct ZipMember {
    data: MemberData,
    checksum: crc32fast::Hasher,
    unpacked_bytes: u64,
}

fn fault(text: &str) -> io::Error {
    io::Error::other(text)
}

fn number<const N: usize>(header: &[u8], at: usize) -> u64 {
    let bytes = header.get(at..at + N).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl ZipMember {
    /// Reads the local header.
    ///
    /// # Errors
    /// A member that is encrypted, is packed in another way, or does not state its length.
    pub fn begin(mut source: PeekReader) -> io::Result<ZipMember> {
        let mut header = [0; LOCAL_BYTES];
        source.read_exact(&mut header)?;
        let (flags, method) = (number::<2>(&header, 6), number::<2>(&header, 8));
        let names = number::<2>(&header, 26) + number::<2>(&header, 28);
        if io::copy(&mut source.by_ref().take(names), &mut io::sink())? < names {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let stored_bytes = number::<4>(&header, 18);
        let data = match method {
            _ if flags & 1 != 0 => return Err(fault("the member is encrypted")),
            0 if flags & 8 == 0 && stored_bytes < u64::from(u32::MAX) => {
                MemberData::Stored(source.take(stored_bytes))
            }
            8 => MemberData::Deflated(flate2::bufread::DeflateDecoder::new(source)),
            _ => return Err(fault("the member is neither stored nor deflated; unpack it first")),
        };
        Ok(ZipMember { data, checksum: crc32fast::Hasher::new(), unpacked_bytes: 0 })
    }

    /// Compares what was read with the central directory.
    fn compare(&mut self) -> io::Result<()> {
        let mut source = match std::mem::replace(&mut self.data, MemberData::Done) {
            MemberData::Stored(data) => data.into_inner(),
            MemberData::Deflated(data) => data.into_inner(),
            MemberData::Done => return Ok(()),
        };
        let checksum = std::mem::take(&mut self.checksum).finalize();
        // A descriptor has 12 to 24 bytes.
        let found = (0..=24).find_map(|skipped| {
            let next = source.peek(skipped + 4).ok()?.get(skipped..skipped + 4)?;
            (next[..2] == *b"PK" && matches!(next[2..], [1, 2] | [3, 4]))
                .then_some((skipped, next[2] == 3))
        });
        let Some((skipped, has_another)) = found else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if has_another {
            let text = "the archive has several members; unpack it and give one of them";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let entry = source.peek(skipped + CENTRAL_BYTES)?.get(skipped..).unwrap_or_default();
        if entry.len() < CENTRAL_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = number::<4>(entry, 24);
        let is_long = bytes == u64::from(u32::MAX);
        if number::<4>(entry, 16) != u64::from(checksum)
            || !is_long && bytes != self.unpacked_bytes & u64::from(u32::MAX)
        {
            return Err(fault("the member's checksum differs"));
        }
        Ok(())
    }
}

impl Read for ZipMember {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.data {
            MemberData::Stored(data) => {
                let count = data.read(into)?;
                if count == 0 && data.limit() > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                count
            }
            MemberData::Deflated(data) => data.read(into)?,
            MemberData::Done => 0,
        };
        self.checksum.update(&into[..count]);
        self.unpacked_bytes += count as u64;
        if count == 0 {
            self.compare()?;
        }
        Ok(count)
    }
}

impl PackedFrame for ZipMember {
    fn into_source(self: Box<Self>) -> PeekReader {
        PeekReader::new(Box::new(io::empty()))
    }
}
