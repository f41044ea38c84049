//! The allocation requests of a program, read from files and written to files.
//!
//! - `event.rs` is the contract: rows, readers, writers, errors. `process.rs` is what a trace knows
//!   besides its rows: threads, memory over time, requests to the allocator. `explained.rs` says how
//!   much of a process's memory its recording explains.
//! - `formats.rs` is the list of formats (`csv.rs`; `binary.rs` with `column.rs` and `frame.rs`). It
//!   opens, creates and copies traces. `salvage.rs` opens a trace that was cut off.
//! - `sequence.rs` turns rows into calls and validates them. `statistics.rs` counts what a trace
//!   holds, `generate.rs` makes traces of a given distribution.
//! - `raw.rs` (with `raw_items.rs`) turns the recorder's log into rows; `process_survey.rs` collects
//!   what the log says of the process, `symbols.rs` names its native functions.
//! - `foreign.rs` is the contract for logs of other recorders: `rep.rs`, `mtrace.rs`, `logalloc.rs`,
//!   `android.rs`, `memray.rs`. `foreign_log.rs` lists and converts them. `unpack.rs` opens their
//!   files.
//! - `tracemalloc.rs` (with `pickle.rs`) makes a trace of a series of snapshots.
//! - `blocks.rs` follows the blocks of a log by their addresses.

mod android;
mod binary;
mod blocks;
mod column;
mod csv;
mod event;
mod explained;
mod foreign;
mod foreign_log;
mod formats;
mod frame;
mod generate;
mod logalloc;
mod memray;
mod mtrace;
mod pickle;
mod process;
mod process_survey;
mod raw;
mod raw_items;
mod rep;
mod salvage;
mod sequence;
mod statistics;
mod symbols;
mod tracemalloc;
mod unpack;

pub use column::all_bits;
pub use event::{
    ALIGNMENT_LIMIT_BYTES, ArenaEvent, CALLED_FROM, Columns, Domain, Header, Kind, Op, RequestCode,
    Row, RowBatch, SITE_LIMIT_BYTES, SIZE_LIMIT_BYTES, SiteId, Sites, TYPE_LIMIT_BYTES, TraceError,
    TraceReader, TraceWriter, TypeId, advice, frames, innermost,
};
pub use explained::Explained;
pub use foreign::Foreign;
pub use foreign_log::{FOREIGN, ForeignLog, Imported};
#[cfg(feature = "internals")]
pub use formats::create;
pub use formats::{Creation, FORMATS, Format, copy, open};
pub use generate::{Distribution, GeneratedType, Generator};
pub use process::{
    AllocatorEvent, AllocatorRequest, MemoryParts, MemorySample, PresentBytes, ProcessRecord,
    ThreadNumbers, ThreadRecord,
};
pub use raw::{RawLog, RecordingEnding, Survey};
pub use salvage::open_salvaging;
pub use sequence::{Call, Sequence, SequenceError};
pub use statistics::{
    AGE_SIZES, Age, DomainCount, LivePoint, OpCount, RemoteFrees, SiteCount, SizeCount,
    StatisticsError, ThreadCount, TraceStatistics, TypeCount, age_bin, age_of_bin, statistics,
};
pub use tracemalloc::{Live, Series, SeriesReader, Snapshot, is_snapshot};
