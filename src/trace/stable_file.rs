//! A file that is read several times, each time the same bytes: those that it had at first.
//!
//! A log may still be written while it is read. Each reading ends where the file ended when it was
//! opened. A checksum reports other changes.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::event::TraceError;
use super::packing::{Packing, unpacked};
use super::peek_reader::PeekReader;

/// A regular file, and its length when it was opened.
#[derive(Clone, Debug)]
pub(super) struct StableFile {
    path: PathBuf,
    length_bytes: u64,
}

/// The unpacked bytes of a file, and a checksum of those that were read.
pub(super) struct UnpackedFile {
    /// The packings around the file, the outermost first.
    pub packings: Vec<Packing>,
    /// The unpacked bytes.
    pub stream: PeekReader,
    /// CRC-32 of the file's bytes that were read so far.
    pub checksum: Rc<Cell<u32>>,
}

impl StableFile {
    /// Opens a file for any number of readings.
    ///
    /// # Errors
    /// When the file cannot be read, or is a pipe, a folder or a device.
    pub fn new(path: &Path) -> Result<StableFile, TraceError> {
        let io = |source| TraceError::io(path, source);
        let metadata = std::fs::metadata(path).map_err(io)?;
        if metadata.is_dir() {
            return Err(TraceError::Unread {
                path: path.to_owned(),
                kind: "a folder, where a file is expected".into(),
                next_step: "name a file in it (`heaplay run` takes folders of traces)".into(),
            });
        }
        if !metadata.is_file() {
            return Err(TraceError::Unread {
                path: path.to_owned(),
                kind: "a pipe or device, which can be read only once".into(),
                next_step: "save its bytes in a file, and give that file (compressed files are \
                            read as they are)"
                    .into(),
            });
        }
        Ok(StableFile { path: path.to_owned(), length_bytes: metadata.len() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length when it was opened, in bytes.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Begins a reading.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(&self) -> Result<UnpackedFile, TraceError> {
        let io = |source| TraceError::io(&self.path, source);
        let file = File::open(&self.path).map_err(io)?.take(self.length_bytes);
        let checksum = Rc::new(Cell::new(0));
        let summed =
            SummedReader { file, hasher: crc32fast::Hasher::new(), checksum: Rc::clone(&checksum) };
        let (packings, stream) = unpacked(Box::new(summed)).map_err(io)?;
        Ok(UnpackedFile { packings, stream, checksum })
    }

    /// The bytes by which the file has grown since it was opened.
    pub fn grown_bytes(&self) -> u64 {
        let now_bytes = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        now_bytes.saturating_sub(self.length_bytes)
    }
}

/// Which file lies at a path, and its last change. Two equal ones have the same bytes between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    length_bytes: u64,
    /// Seconds and nanoseconds of the last change of its bytes or of its inode.
    changed: [(i64, i64); 2],
}

impl FileStamp {
    /// The file at `path` as it is now.
    ///
    /// # Errors
    /// When there is none, or it cannot be looked at.
    pub fn now(path: &Path) -> Result<FileStamp, TraceError> {
        let found = std::fs::metadata(path).map_err(|source| TraceError::io(path, source))?;
        Ok(FileStamp {
            device: found.dev(),
            inode: found.ino(),
            length_bytes: found.len(),
            changed: [(found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())],
        })
    }
}

/// Sums the bytes that pass.
struct SummedReader {
    file: io::Take<File>,
    hasher: crc32fast::Hasher,
    checksum: Rc<Cell<u32>>,
}

impl Read for SummedReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.hasher.update(&into[..count]);
        self.checksum.set(self.hasher.clone().finalize());
        Ok(count)
    }
}
