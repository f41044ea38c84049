//! The list of trace formats, and how to open, create and copy a trace in any of them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::event::{Header, Row, Sites, TraceError, TraceReader, TraceWriter};
use super::process::ProcessRecord;
use super::{binary, csv};

/// Opens a file as a trace of one format.
type OpenTrace = fn(&Path, File) -> Result<Box<dyn TraceReader>, TraceError>;
/// Begins a trace of one format in a file.
type CreateTrace = fn(&Path, File, &Header) -> Result<Box<dyn TraceWriter>, TraceError>;

/// Bytes of a file by which its format is recognised.
const SNIFFED_BYTES: u64 = 4096;

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

/// Opens a trace. The first bytes of the file decide on the format.
///
/// # Errors
/// When the file cannot be read, is of no known format, or has a faulty header.
pub fn open(path: &Path) -> Result<Box<dyn TraceReader>, TraceError> {
    let mut file = File::open(path).map_err(|source| TraceError::io(path, source))?;
    let mut start = Vec::new();
    (&mut file)
        .take(SNIFFED_BYTES)
        .read_to_end(&mut start)
        .map_err(|source| TraceError::io(path, source))?;
    let format = FORMATS
        .iter()
        .find(|format| (format.sniff)(&start))
        .or_else(|| FORMATS.iter().find(|format| is_named_csv(format, path)))
        .ok_or_else(|| TraceError::Foreign {
            path: path.to_owned(),
            found: describe(&start),
            expected: "a recording made by `heaplay record` (.trace), or CSV with the columns op, \
                       size and lifetime; `heaplay import` reads what others recorded"
                .into(),
        })?;
    let file = File::open(path).map_err(|source| TraceError::io(path, source))?;
    (format.open)(path, file)
}

/// Whether the format is CSV and the file is named `.csv`. The CSV reader has the better message
/// for a file whose beginning is not recognised.
fn is_named_csv(format: &Format, path: &Path) -> bool {
    format.extension == "csv" && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"))
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
        found: format!("a name that ends in `.{extension}`"),
        expected: FORMATS
            .iter()
            .map(|f| format!(".{} ({})", f.extension, f.name))
            .collect::<Vec<_>>()
            .join(" or "),
    })
}

/// Describes a file of no known format by its first bytes.
pub(super) fn describe(start: &[u8]) -> String {
    match start {
        [] => "an empty file".into(),
        [0x1F, 0x8B, ..] => "gzip data (unpack it first)".into(),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "zstd data (unpack it first)".into(),
        [0x7F, b'E', b'L', b'F', ..] => "an ELF program or library".into(),
        [b'P', b'K', 3, 4, ..] => "a zip archive".into(),
        [0x80, 2..=5, ..] => "a Python pickle".into(),
        _ if start.contains(&0) => "binary data".into(),
        _ => {
            let line = start.split(|&b| b == b'\n').next().unwrap_or_default();
            format!("text that begins `{}`", String::from_utf8_lossy(&line[..line.len().min(40)]))
        }
    }
}
