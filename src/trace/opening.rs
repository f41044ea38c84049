//! Opens a trace in any format, also a compressed one.

use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;

use super::event::{TraceError, TraceReader};
use super::file_kind::{FileKind, identify};
use super::formats::FORMATS;
use super::stable_file::StableFile;

/// What a verb that reads traces expects.
const A_TRACE: &str = "a recording made by `heaplay record` (.trace), or CSV with the columns op, \
                       size and lifetime; `heaplay import` reads what others recorded";

/// Opens a trace. The first bytes of the file decide on the format. A compressed trace is unpacked
/// into a temporary file without a name.
///
/// # Errors
/// When the file cannot be read, is of no known format, or has a faulty header.
pub fn open(path: &Path) -> Result<Box<dyn TraceReader>, TraceError> {
    let identified = identify(path)?;
    let format = match &identified.kind {
        FileKind::Trace(format) => *format,
        kind => {
            // The CSV reader has the better message for a file of that name.
            let may_be_csv = matches!(kind, FileKind::Unknown(_) | FileKind::Empty);
            let named = FORMATS.iter().find(|format| format.is_named_csv(path));
            named.filter(|_| may_be_csv).ok_or_else(|| identified.unread(path, A_TRACE))?
        }
    };
    let io = |source| TraceError::io(path, source);
    let file = if identified.packings.is_empty() {
        File::open(path).map_err(io)?
    } else {
        let mut unpacked = StableFile::new(path)?.open()?;
        let mut file = tempfile::tempfile().map_err(io)?;
        io::copy(&mut unpacked.stream, &mut file).map_err(io)?;
        file.rewind().map_err(io)?;
        file
    };
    format.open(path, file)
}
