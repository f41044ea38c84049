//! The seal of a run folder: a checksum of each table, so that a figure changed by hand is noticed.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::RecordError;
use super::file::{read_table, write_table};

/// The file that holds the checksums of the others.
pub(super) const CHECKSUMS: &str = "checksums.csv";

/// The checksum of a table as it was saved. A changed figure parses as well as the right one, so
/// only a checksum finds it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Checksum {
    file: String,
    /// CRC-32 (ISO 3309) in hex.
    crc32: String,
}

/// The checksum of a table; `None` when it is not there.
fn checksum(folder: &Path, name: &str) -> Result<Option<Checksum>, RecordError> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(Checksum {
            file: name.to_owned(),
            crc32: format!("{:08x}", crc32fast::hash(&bytes)),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Io { path, source }),
    }
}

/// Writes the checksums of the tables `names` as they are now.
///
/// # Errors
/// When a table cannot be read or the checksums cannot be written.
pub(super) fn seal(folder: &Path, names: &[&str]) -> Result<(), RecordError> {
    let rows: Result<Vec<Option<Checksum>>, RecordError> =
        names.iter().map(|name| checksum(folder, name)).collect();
    write_table(&folder.join(CHECKSUMS), &rows?.into_iter().flatten().collect::<Vec<_>>())
}

/// Compares the tables `names` with the checksums that were saved; a folder without checksums
/// passes.
///
/// # Errors
/// When a table has changed or is gone.
pub(super) fn check_seal(folder: &Path, names: &[&str]) -> Result<(), RecordError> {
    for saved in read_table::<Checksum>(&folder.join(CHECKSUMS))? {
        if !names.contains(&saved.file.as_str()) {
            continue; // a table of another version
        }
        let found = checksum(folder, &saved.file)?.map_or("gone".to_owned(), |found| found.crc32);
        if found != saved.crc32 {
            return Err(RecordError::Broken {
                path: folder.join(&saved.file),
                reason: format!(
                    "changed since it was saved (its checksum was {}, now {found})",
                    saved.crc32
                ),
            });
        }
    }
    Ok(())
}
