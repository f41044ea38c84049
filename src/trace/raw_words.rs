//! The units of a raw log in their order, as pieces, and the header of a fold.
//!
//! The layout of the log is a file of the recorder, included here. `raw_fold.rs` says what a fold is.
//! It begins with [`HEADER_WORDS`] 64-bit words: [`MAGIC`], the number of chunks that it stands for,
//! the calls in them, the live blocks, the time after the last chunk in nanoseconds, and zeros.

#[path = "../recorder/rawlog.rs"]
pub(super) mod layout;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use self::layout::field;
use crate::units::with_commas;

/// The first word of a fold.
const MAGIC: u64 = u64::from_ne_bytes(*b"hplyfold");
/// Words of a fold before the units of the log.
const HEADER_WORDS: usize = 8;
/// The ending of a fold's name, behind that of its log.
const ENDING: &str = ".fold";

/// The header of a fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// Chunks of the log that the fold stands for.
    pub chunks: u64,
    /// Calls in these chunks.
    pub calls: u64,
    /// Blocks that were live after them.
    pub live_blocks: u64,
    /// Nanoseconds from the start of the recording to the end of these chunks.
    pub time_ns: u64,
}

impl Fold {
    /// Bytes of a fold before the units of the log.
    pub(super) const HEADER_BYTES: u64 = HEADER_WORDS as u64 * 8;

    /// The path of a log's fold.
    pub fn path_of(log: &Path) -> PathBuf {
        let mut path = log.as_os_str().to_owned();
        path.push(ENDING);
        path.into()
    }

    /// Whether a file is a fold or a part of one, by its name.
    pub fn is_name(path: &Path) -> bool {
        let name = path.as_os_str().as_encoded_bytes();
        name.ends_with(ENDING.as_bytes()) || name.ends_with(b".fold.part")
    }

    /// The fold of a log, and a reader of its units; `None` where the log has none.
    ///
    /// # Errors
    /// When the fold cannot be read, or is none.
    pub(super) fn open(log: &Path) -> io::Result<Option<(Fold, File)>> {
        let mut file = match File::open(Fold::path_of(log)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut header = [0; HEADER_WORDS * 8];
        file.read_exact(&mut header)?;
        if number(&header, 0) != MAGIC {
            return Err(io::Error::other("the .fold file beside the raw log is no fold"));
        }
        let fold = Fold {
            chunks: number(&header, 1),
            calls: number(&header, 2),
            live_blocks: number(&header, 3),
            time_ns: number(&header, 4),
        };
        Ok(Some((fold, file)))
    }

    /// The text of the fact `newest`.
    pub fn sentence(&self) -> String {
        format!(
            "the trace begins with the {} blocks that were live {:.3} s after the start; {} calls before \
             are left out",
            with_commas(self.live_blocks),
            self.time_ns as f64 / 1e9,
            with_commas(self.calls.saturating_sub(self.live_blocks))
        )
    }

    /// The header's words.
    pub(super) fn header(&self) -> [u64; HEADER_WORDS] {
        [MAGIC, self.chunks, self.calls, self.live_blocks, self.time_ns, 0, 0, 0]
    }

    /// The log's bytes that nobody reads any more, as offset and length.
    pub fn released_bytes(&self) -> (u64, u64) {
        let chunk = layout::TAIL_BYTES as u64;
        (layout::HEADER_BYTES as u64 + chunk, self.chunks * chunk)
    }
}

/// The header of a log.
pub(super) type LogHeader = [u8; layout::HEADER_BYTES];

/// The bytes of a log's units in their order: its fold, if it has one, then all chunks that the fold
/// does not stand for, then the tail.
pub(super) struct LogUnits {
    file: File,
    fold: Option<File>,
    /// Bytes of chunks still to read.
    chunk_bytes: u64,
    /// Bytes of the tail still to read.
    tail_bytes: u64,
}

impl LogUnits {
    /// The units, and the header.
    pub fn open(path: &Path) -> io::Result<(LogUnits, LogHeader)> {
        let mut file = File::open(path)?;
        let mut header = [0; layout::HEADER_BYTES];
        file.read_exact(&mut header)?;
        let chunks = number(&header, field::CHUNKS);
        let tail_bytes =
            if number(&header, field::TAIL) == chunks { layout::TAIL_BYTES as u64 } else { 0 };
        let (units, _) = LogUnits::of(path, file, chunks, tail_bytes)?;
        Ok((units, header))
    }

    /// The units before a chunk, and how many of them are in the fold.
    pub fn open_part(path: &Path, end_chunk: u64) -> io::Result<(LogUnits, u64)> {
        LogUnits::of(path, File::open(path)?, end_chunk, 0)
    }

    fn of(
        path: &Path,
        mut file: File,
        end_chunk: u64,
        tail_bytes: u64,
    ) -> io::Result<(LogUnits, u64)> {
        let (fold, first_chunk, fold_units) = match Fold::open(path)? {
            Some((fold, units)) => {
                let bytes = units.metadata()?.len().saturating_sub(Fold::HEADER_BYTES);
                (Some(units), fold.chunks, bytes / layout::UNIT_BYTES as u64)
            }
            None => (None, 0, 0),
        };
        if fold.is_none() && end_chunk > 0 && LogUnits::is_released(&mut file)? {
            return Err(io::Error::other(
                "the oldest part of this raw log is in a file of its name and .fold, which is missing",
            ));
        }
        let chunk = layout::TAIL_BYTES as u64;
        let chunk_bytes = end_chunk.saturating_sub(first_chunk).saturating_mul(chunk);
        let first = first_chunk.saturating_add(1).saturating_mul(chunk);
        file.seek(SeekFrom::Start(LogUnits::START.saturating_add(first)))?;
        let mut units = LogUnits { file, fold, chunk_bytes, tail_bytes };
        if chunk_bytes == 0 {
            units.seek_to_tail()?;
        }
        Ok((units, fold_units))
    }

    /// Whether the first chunk was given back to the file system. It begins with a time stamp, which is
    /// not zero.
    fn is_released(file: &mut File) -> io::Result<bool> {
        let mut first = [u8::MAX; 8];
        file.seek(SeekFrom::Start(LogUnits::START + layout::TAIL_BYTES as u64))?;
        // A copy that was cut off may have no chunk.
        let got = file.read(&mut first)?;
        Ok(got == first.len() && first == [0; 8])
    }

    /// Byte offset of the tail.
    const START: u64 = layout::HEADER_BYTES as u64;

    fn seek_to_tail(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(LogUnits::START)).map(drop)
    }
}

impl Read for LogUnits {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(fold) = &mut self.fold {
            let got = fold.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            self.fold = None;
        }
        let left = if self.chunk_bytes > 0 { &mut self.chunk_bytes } else { &mut self.tail_bytes };
        let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let got = self.file.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        *left -= got as u64;
        if got == 0 {
            // A copy that was cut off has no chunks after the cut, and its tail does not belong there.
            (self.chunk_bytes, self.tail_bytes) = (0, 0);
        } else if *left == 0 && self.tail_bytes == layout::TAIL_BYTES as u64 {
            self.seek_to_tail()?;
        }
        Ok(got)
    }
}

/// A piece of a log: what one or two units are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A time stamp: nanoseconds.
    Stamp(u64),
    /// A call of one unit, or 0 for the end of the log.
    Short(u32),
    /// A word.
    Word(u64),
}

/// Makes pieces of a log's units.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pieces {
    /// Units so far.
    pub index: u64,
    /// The first unit of a word.
    upper: Option<u32>,
}

impl Pieces {
    /// Takes the next unit. `None` where a piece needs the next one as well, and after padding.
    /// `is_within_entry` says that an entry needs one more word.
    #[inline(always)]
    pub fn take(&mut self, unit: u32, is_within_entry: bool) -> Option<Piece> {
        let place = self.index % layout::BLOCK_UNITS as u64;
        self.index += 1;
        if let Some(upper) = self.upper.take() {
            let word = (upper as u64) << 32 | unit as u64;
            return Some(if place == 1 {
                Piece::Stamp(word & !layout::STAMP)
            } else {
                Piece::Word(word)
            });
        }
        // No stamp is zero, so a zero unit in its place is the end of the log.
        let is_call =
            if place == 0 { unit == 0 } else { unit & layout::PAD == 0 && !is_within_entry };
        if is_call {
            return Some(Piece::Short(unit));
        }
        if place != layout::BLOCK_UNITS as u64 - 1 {
            self.upper = Some(unit);
        }
        None
    }
}

/// A number of the header; 0 where the header is cut off.
pub(super) fn number(header: &[u8], index: usize) -> u64 {
    let bytes = header.get(index * 8..index * 8 + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_ne_bytes)
}
