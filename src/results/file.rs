//! Files of a run folder: replaced as a whole, tables as CSV.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::RecordError;

/// Writes `path` by way of a `.part` beside it, so that a crash leaves the old file or the new one.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), RecordError> {
    let failed = |source| RecordError::Io { path: path.to_owned(), source };
    let part = path.with_extension("part");
    let result = (|| {
        let mut file = BufWriter::new(File::create(&part)?);
        write(&mut file)?;
        file.flush()?;
        fs::rename(&part, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&part);
    }
    result.map_err(failed)
}

/// Writes rows as CSV with a header. A table without rows has no file.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write_table<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), RecordError> {
    if rows.is_empty() {
        // No file is a table without rows: a cell that took no samples leaves none. A stale one
        // must not stay.
        return match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RecordError::Io { path: path.to_owned(), source })
            }
            _ => Ok(()),
        };
    }
    replace(path, |file| {
        let mut writer = csv::Writer::from_writer(file);
        for row in rows {
            writer.serialize(row).map_err(io::Error::other)?;
        }
        writer.flush()
    })
}

/// Reads a CSV table; a file that is not there is a table without rows.
///
/// # Errors
/// When the file cannot be read or a row is broken.
pub(super) fn read_table<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RecordError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(RecordError::Io { path: path.to_owned(), source }),
    };
    csv::Reader::from_reader(BufReader::new(file))
        .into_deserialize()
        .collect::<Result<Vec<T>, csv::Error>>()
        .map_err(|error| RecordError::Broken { path: path.to_owned(), reason: error.to_string() })
}
