//! Files of a run folder: replaced as a whole, tables as CSV.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::RecordError;
use super::metric::DROPPED_METRICS;

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
/// When the file cannot be read or a row is broken. Rows of a metric that no longer exists are left
/// out.
pub(super) fn read_table<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RecordError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(RecordError::Io { path: path.to_owned(), source }),
    };
    let mut reader = csv::Reader::from_reader(BufReader::new(file));
    let mut rows = || -> Result<Vec<T>, csv::Error> {
        let header = reader.headers()?.clone();
        let metric = header.iter().position(|column| column == "metric");
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record?;
            let name = metric.and_then(|column| record.get(column));
            if !name.is_some_and(|name| DROPPED_METRICS.contains(&name)) {
                rows.push(record.deserialize(Some(&header))?);
            }
        }
        Ok(rows)
    };
    rows().map_err(|error| RecordError::Broken { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Measurement;

    #[test]
    fn rows_of_a_dropped_metric_are_left_out_and_unknown_metrics_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("measurements.csv");
        let table = |metric: &str| {
            format!(
                "trace,backend,pass,repetition,op,metric,value\n\
                 t,malloc,latency,0,malloc,{metric},12.5\n\
                 t,malloc,time,0,all,time_nanoseconds,7.0\n"
            )
        };
        std::fs::write(&path, table("latency_mean_nanoseconds")).unwrap();
        assert_eq!(read_table::<Measurement>(&path).unwrap().len(), 1);
        std::fs::write(&path, table("no_such_metric")).unwrap();
        let reason = read_table::<Measurement>(&path).unwrap_err().to_string();
        assert!(reason.contains("no_such_metric"), "{reason}");
    }
}
