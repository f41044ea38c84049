//! What a program asked for. `event.rs` is the contract, each format is a file, this
//! is the list.
//!
//! `sequence.rs` turns rows back into calls; `generate.rs` makes traces of a given distribution;
//! `salvage.rs` reads what is whole of a file that was cut off; `raw.rs` turns what the recorder
//! leaves behind into rows. `tracemalloc.rs` (with `pickle.rs`) makes a trace of a series of
//! snapshots, and `foreign.rs` (the contract and list of `rep.rs`, `mtrace.rs`, `logalloc.rs`,
//! `android.rs`, `memray.rs`) of others' logs; `blocks.rs` follows the blocks of a log by their
//! addresses.

mod android;
mod binary;
mod blocks;
mod column;
mod csv;
mod event;
mod foreign;
mod frame;
mod generate;
mod logalloc;
mod memray;
mod mtrace;
mod pickle;
mod raw;
mod rep;
mod salvage;
mod sequence;
mod statistics;
mod tracemalloc;
mod unpack;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use column::all_bits;
pub use event::{
    ArenaEvent, Asked, Batch, CALLED_FROM, Columns, Domain, Header, Kind, Op, Row,
    SITE_LIMIT_BYTES, SIZE_LIMIT_BYTES, SiteId, Sites, TYPE_LIMIT_BYTES, TraceError, TraceReader,
    TraceWriter, TypeId, advice, frames, innermost,
};
pub use foreign::{FOREIGN, Foreign, ForeignLog, Imported};
pub use generate::{Distribution, GeneratedType, Generator};
pub use raw::{Ending, RawLog, Survey};
pub use salvage::open_salvaging;
pub use sequence::{Call, Sequence, SequenceError};
pub use statistics::{
    AGE_SIZES, Age, DomainCount, LivePoint, OpCount, SiteCount, SizeClass, Statistics,
    StatisticsError, ThreadCount, TypeCount, age_bin, age_of_bin, statistics,
};

pub use tracemalloc::{Live, Series, SeriesReader, Snapshot};

/// Whether a file of others is a pickle, gzip or plain: a tracemalloc snapshot, if any.
///
/// # Errors
/// When it cannot be read.
pub fn is_snapshot(path: &Path) -> Result<bool, TraceError> {
    Ok(tracemalloc::sniff(&unpack::start(path)?))
}

/// Opens a file as a trace of one format.
type Open = fn(&Path, File) -> Result<Box<dyn TraceReader>, TraceError>;
/// Begins a trace of one format in a file.
type Create = fn(&Path, File, &Header) -> Result<Box<dyn TraceWriter>, TraceError>;

/// One line of the list of formats.
pub struct Format {
    /// What a person calls it.
    pub name: &'static str,
    /// The ending of its files' names, without the dot.
    pub extension: &'static str,
    sniff: fn(&[u8]) -> bool,
    open: Open,
    create: Create,
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

/// Opens a trace in whatever format its first bytes show.
///
/// # Errors
/// When the file cannot be read, is of no known format, or its header is faulty.
pub fn open(path: &Path) -> Result<Box<dyn TraceReader>, TraceError> {
    let mut file = File::open(path).map_err(|source| TraceError::io(path, source))?;
    let mut start = Vec::new();
    (&mut file)
        .take(4096)
        .read_to_end(&mut start)
        .map_err(|source| TraceError::io(path, source))?;
    let format = FORMATS
        .iter()
        .find(|format| (format.sniff)(&start))
        .or_else(|| FORMATS.iter().find(|format| fits(format, path)))
        .ok_or_else(|| TraceError::Foreign {
            path: path.to_owned(),
            found: describe(&start),
            expected:
                "a recording made by `heaplay record` (.trace), or CSV with the columns op, size and lifetime; \
                 `heaplay import` reads what others recorded"
                    .into(),
        })?;
    let file = File::open(path).map_err(|source| TraceError::io(path, source))?;
    (format.open)(path, file)
}

/// A file that is too short or too strange to tell, but is named `.csv`, is read as CSV for the
/// better message.
fn fits(format: &Format, path: &Path) -> bool {
    format.extension == "csv" && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"))
}

/// Creates a trace in the format that the path's ending names.
///
/// # Errors
/// When the ending is of no known format, or the file cannot be written.
pub fn create(path: &Path, header: &Header) -> Result<Box<dyn TraceWriter>, TraceError> {
    let format = format_of(path)?;
    let file = File::create(path).map_err(|source| TraceError::io(path, source))?;
    (format.create)(path, file, header)
}

/// A trace being written under another name, which takes its own only when it is whole.
pub struct Creation {
    writer: Box<dyn TraceWriter>,
    part: PathBuf,
    path: PathBuf,
}

impl Creation {
    /// Begins to write `path`, by way of a `.part` beside it.
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

    /// Completes the file and gives it its name.
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

/// Copies a whole trace into another format. Returns the rows copied.
///
/// # Errors
/// When `reader` is faulty or `path` cannot be written; then `path` is as it was.
pub fn copy(reader: &mut dyn TraceReader, path: &Path) -> Result<u64, TraceError> {
    let mut creation = Creation::begin(path, reader.header())?;
    let mut rows = 0;
    let result = (|| {
        while let Some(row) = reader.next_row()? {
            creation.write_row(&row, reader.sites())?;
            rows += 1;
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

/// What a foreign file seems to be.
fn describe(start: &[u8]) -> String {
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
