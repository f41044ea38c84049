//! The allocation requests of a program, read from files and written to files.
//!
//! - `event.rs` is the contract: rows, readers, writers, errors. `process.rs` is what a trace knows
//!   besides its rows: threads, memory over time, requests to the allocator. `explained.rs` says how
//!   much of a process's memory its recording explains.
//! - `file_kind.rs` tells what a file is, for all verbs. `stable_file.rs` reads a file several times,
//!   and `packing.rs` (with `zip_member.rs`, `peek_reader.rs`) unpacks it. `quote.rs` escapes what
//!   messages show of it.
//! - `formats.rs` is the list of formats (`csv.rs`; `binary.rs` with `column.rs` and `frame.rs`). It
//!   creates and copies traces. `opening.rs` opens them, `salvage.rs` those that were cut off.
//! - `sequence.rs` turns rows into calls and validates them. `statistics.rs` counts what a trace
//!   holds, `block_counts.rs` what is live at chosen moments, and `live_at.rs` at the end.
//!   `live_series.rs` has the live bytes over time, and their plateau.
//!   `generate.rs` makes traces of a given distribution.
//! - `own_code.rs` tells frames of the program from those of libraries.
//! - `raw.rs` (with `raw_items.rs` and `raw_words.rs`) turns the recorder's log into rows;
//!   `raw_fold.rs` drops the oldest part of a log. `process_survey.rs` collects what the log says of
//!   the process, `symbols.rs` names its native functions.
//! - `foreign.rs` is the contract for logs of other recorders: `rep.rs`, `mtrace.rs`, `logalloc.rs`,
//!   `android.rs`, `memray.rs`, `heaptrack.rs`, `valgrind.rs`, `glibc_records.rs`, `glibc_workload.rs`,
//!   `bytehound.rs` (with `byte_input.rs`) and `rmm.rs`. `foreign_list.rs` lists them, and
//!   `foreign_log.rs` converts them.
//! - `tracemalloc.rs` (with `pickle.rs`, `pickle_summary.rs`) makes a trace of a series of snapshots.
//! - `anonymous.rs` reads a trace without its names.
//! - `blocks.rs` follows the blocks of a log by their addresses.

mod android;
mod anonymous;
mod binary;
mod block_counts;
mod blocks;
mod byte_input;
mod bytehound;
mod column;
mod csv;
mod event;
mod explained;
mod file_kind;
mod foreign;
mod foreign_list;
mod foreign_log;
mod formats;
mod frame;
mod generate;
mod glibc_records;
mod glibc_workload;
mod heaptrack;
mod live_at;
mod live_series;
mod logalloc;
mod memray;
mod mtrace;
mod opening;
mod own_code;
mod packing;
mod peek_reader;
mod pickle;
mod pickle_summary;
mod process;
mod process_survey;
mod quote;
mod raw;
mod raw_fold;
mod raw_items;
mod raw_words;
mod rep;
mod rmm;
mod salvage;
mod sequence;
mod stable_file;
mod statistics;
mod symbols;
mod tracemalloc;
mod valgrind;
mod zip_member;

pub use crate::units::{CALLED_FROM, VIA, frames, innermost};
pub use anonymous::Anonymous;
pub use block_counts::{BlockCount, BlockCounts, CountedBlocks, count_blocks};
pub use column::all_bits;
pub use event::{
    ALIGNMENT_LIMIT_BYTES, ArenaEvent, Columns, Domain, Header, Kind, Op, RequestCode, Row,
    RowBatch, SITE_LIMIT_BYTES, SIZE_LIMIT_BYTES, SiteId, Sites, TYPE_LIMIT_BYTES, TraceError,
    TraceReader, TraceWriter, TypeId, advice,
};
pub use explained::Explained;
pub use file_kind::{FileKind, IdentifiedFile, identify};
pub use foreign::{Foreign, LogTally};
pub use foreign_list::FOREIGN;
pub use foreign_log::{ForeignLog, Imported};
#[cfg(feature = "internals")]
pub use formats::create;
pub use formats::{Creation, FORMATS, Format, copy};
pub use generate::{Distribution, GeneratedType, Generator};
pub use live_at::LiveAt;
pub use live_series::{LivePoint, LiveSeries, Plateau};
pub use opening::open;
pub use own_code::is_library_code;
pub use packing::{Packing, UNPACKED_LIMIT_BYTES};
pub use process::{
    AllocatorEvent, AllocatorRequest, EndCause, EndMoment, MemoryParts, MemorySample, PresentBytes,
    ProcessRecord, ThreadNumbers, ThreadRecord,
};
pub use raw::{RawLog, RecordingEnding, Survey};
pub use raw_fold::fold_oldest;
pub use raw_words::Fold;
pub use salvage::open_salvaging;
pub use sequence::{Call, Sequence, SequenceError};
pub use stable_file::FileStamp;
pub use statistics::{
    AGE_SIZES, Age, DomainCount, EndStatistics, OpCount, REQUESTED_LIMIT_BYTES, RemoteFrees,
    SiteCount, SizeCount, StatisticsError, ThreadCount, TraceStatistics, TypeCount, age_bin,
    age_of_bin, statistics,
};
pub use tracemalloc::{Live, Series, SeriesReader, Snapshot};
