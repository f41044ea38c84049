//! The list of trace formats, and how to create and copy a trace in any of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::event::{Header, Row, Sites, TraceError, TraceReader, TraceWriter};
use super::process::ProcessRecord;
use super::{binary, csv};

/// Opens a file as a trace of one format.
type OpenTrace = fn(&Path, File) -> Result<Box<dyn TraceReader>, TraceError>;
/// Begins a trace of one format in a file.
type CreateTrace = fn(&Path, File, &Header) -> Result<Box<dyn TraceWriter>, TraceError>;

/// A format of traces.
pub struct Format {
    /// The format's name in messages.
    pub name: &'static str,
    /// The extension of file names, without the dot.
    pub extension: &'static str,
    sniff: fn(&[u8]) -> bool,
    open: OpenTrace,
    create: CreateTrace,
}

/// Every format that can be read and written.
pub const FORMATS: &[Format] = &[
    Format {
        name: "binary trace",
        extension: "trace",
        sniff: binary::sniff,
        open: binary::open,
        create: binary::create,
    },
    Format {
        name: "CSV",
        extension: "csv",
        sniff: csv::sniff,
        open: csv::open,
        create: csv::create,
    },
];

impl Format {
    /// Whether the beginning of a file is that of a trace of this format.
    pub(super) fn is_meant_by(&self, start: &[u8]) -> bool {
        (self.sniff)(start)
    }

    /// Whether this format is CSV and the file is named `.csv`, perhaps before an ending that names a
    /// packing.
    pub(super) fn is_named_csv(&self, path: &Path) -> bool {
        let is_csv = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        self.extension == "csv"
            && (is_csv(path) || path.file_stem().is_some_and(|s| is_csv(s.as_ref())))
    }

    /// Opens a file of this format; messages name `path`.
    pub(super) fn open(&self, path: &Path, file: File) -> Result<Box<dyn TraceReader>, TraceError> {
        (self.open)(path, file)
    }
}

/// Creates a trace in the format that the extension of `path` names.
///
/// # Errors
/// When the extension is of no known format, or the file cannot be written.
#[cfg(feature = "internals")]
pub fn create(path: &Path, header: &Header) -> Result<Box<dyn TraceWriter>, TraceError> {
    let format = format_of(path)?;
    let file = File::create(path).map_err(|source| TraceError::io(path, source))?;
    (format.create)(path, file, header)
}

/// A trace that is being written under a temporary name. It gets its own name when it is complete.
pub struct Creation {
    writer: Box<dyn TraceWriter>,
    part: PathBuf,
    path: PathBuf,
}

impl Creation {
    /// Begins to write the trace `path`, as a `.part` file beside it.
    ///
    /// # Errors
    /// As [`create`].
    pub fn begin(path: &Path, header: &Header) -> Result<Creation, TraceError> {
        let format = format_of(path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        let file = File::create(&part).map_err(|source| TraceError::io(path, source))?;
        let writer = (format.create)(path, file, header)?;
        Ok(Creation { writer, part, path: path.to_owned() })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_row(&mut self, row: &Row, sites: &Sites) -> Result<(), TraceError> {
        self.writer.write_row(row, sites).inspect_err(|_| drop(std::fs::remove_file(&self.part)))
    }

    /// Writes what is known of the recorded process besides its requests, after the last row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_process(&mut self, process: &ProcessRecord) -> Result<(), TraceError> {
        self.writer.write_process(process).inspect_err(|_| drop(std::fs::remove_file(&self.part)))
    }

    /// Removes what was written.
    pub(super) fn discard(self) {
        drop(self.writer);
        drop(std::fs::remove_file(&self.part));
    }

    /// Completes the file and gives it its own name.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<(), TraceError> {
        let result = self.writer.finish().and_then(|()| {
            std::fs::rename(&self.part, &self.path).map_err(|e| TraceError::io(&self.path, e))
        });
        result.inspect_err(|_| drop(std::fs::remove_file(&self.part)))
    }
}

/// Copies a whole trace to `path`, in the format that its extension names. Returns the number of
/// rows.
///
/// # Errors
/// When `reader` is faulty or `path` cannot be written; `path` is then unchanged.
pub fn copy(reader: &mut dyn TraceReader, path: &Path) -> Result<u64, TraceError> {
    let mut creation = Creation::begin(path, reader.header())?;
    let mut rows = 0;
    let result = (|| {
        while let Some(row) = reader.next_row()? {
            creation.write_row(&row, reader.sites())?;
            rows += 1;
        }
        if !reader.process().is_empty() {
            creation.write_process(reader.process())?;
        }
        Ok(rows)
    })();
    match result {
        Ok(rows) => creation.finish().map(|()| rows),
        Err(error) => {
            drop(std::fs::remove_file(&creation.part));
            Err(error)
        }
    }
}

fn format_of(path: &Path) -> Result<&'static Format, TraceError> {
    let extension =
        path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    FORMATS.iter().find(|format| format.extension == extension).ok_or_else(|| TraceError::Foreign {
        path: path.to_owned(),
        found: match extension.is_empty() {
            true => "a name without an ending".to_owned(),
            false => format!("a name that ends in `.{extension}`"),
        },
        expected: FORMATS
            .iter()
            .map(|f| format!(".{} ({})", f.extension, f.name))
            .collect::<Vec<_>>()
            .join(" or "),
    })
}
