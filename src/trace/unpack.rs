//! Opens a file of another recorder, gzip or plain, as a stream.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::event::TraceError;

/// The bytes of a file, unpacked if the file is gzip.
///
/// # Errors
/// When the file cannot be opened or read.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>, TraceError> {
    let io = |source| TraceError::io(path, source);
    let mut file = File::open(path).map_err(io)?;
    let mut start = Vec::new();
    (&mut file).take(2).read_to_end(&mut start).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    Ok(match start.as_slice() {
        [0x1F, 0x8B] => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))),
        _ => Box::new(file),
    })
}

/// The first bytes that [`open`] reads. They identify the format.
///
/// # Errors
/// As [`open`].
pub(super) fn start(path: &Path) -> Result<Vec<u8>, TraceError> {
    let mut start = Vec::new();
    open(path)?
        .take(4096)
        .read_to_end(&mut start)
        .map_err(|source| TraceError::io(path, source))?;
    Ok(start)
}
