//! The run record: what the measuring side writes and the reading side draws and judges.
//!
//! A run is a folder of plain tables. A worker's cell, a shard, a baseline and a candidate are all
//! run folders, and any two that share a plan can be merged ([`Run::merge`]).
//!
//! | file | rows |
//! |---|---|
//! | `manifest.json` | [`Manifest`]: plan, machine, clock, versions |
//! | `cells.csv` | [`Outcome`]: which cells were tried, and how they ended |
//! | `measurements.csv` | [`Measurement`]: tidy, one figure a row |
//! | `samples.csv` | [`Sample`]: the heap over a footprint pass |
//! | `fullness.csv` | [`Fullness`]: 4 KiB pages in use by how much of them is live |
//! | `rounding.csv` | [`Rounding`]: live and usable bytes by size class |
//! | `size_classes.csv` | [`SizeClass`]: usable bytes by size of the request |
//! | `attribution.csv` | [`Attribution`]: which line retains how much |
//! | `unit_retention.csv` | [`UnitRetention`]: which line retains how much by arena, span or top |
//! | `heap_map.csv` | [`HeapRow`]: where the heap is resident, and how full, over the replay |
//! | `heap_contents.csv` | [`HeapRowContents`]: what lies in each row of the heap map at two moments |
//! | `threads.csv` | [`ThreadRow`]: the threads of the trace, and what each left at the end |
//! | `thread_activity.csv` | [`ThreadActivity`]: calls and live bytes of threads over the trace |
//! | `thread_frees.csv` | [`ThreadFrees`]: blocks by allocating and by ending thread |
//! | `arenas.csv` | [`ArenaRow`]: memory by arena or cache, as the allocator reports it |
//! | `what_ifs.csv` | [`WhatIf`]: what moving the first lines of the attribution really saved |
//! | `chunks.csv` | [`Chunk`]: segments of a time pass |
//! | `service_times.csv` | [`ServiceTimes`]: service times by op and size class |
//! | `slow_calls.csv` | [`SlowCall`]: single calls that were slow, and in how many repetitions |
//! | `latency_map.csv` | [`LatencyRow`]: service times over the replay |
//! | `latencies.hlog` | [`Latency`]: a standard HdrHistogram interval log, one tag a histogram |
//! | `cells/` | during a run, a folder of tables for each finished cell; folded at the end |

mod date;
mod error;
mod file;
mod heap_contents;
mod judge;
mod key;
mod latency_log;
mod manifest;
mod merge;
mod metric;
mod returnable;
mod run;
mod run_dir;
mod seal;
mod shard;
mod tables;
mod tail;
mod thread_tables;
mod time_evidence;

pub use date::civil_date;
pub use error::RecordError;
pub use heap_contents::{HeapRowContents, LineContents};
pub use judge::{
    CellLabel, Judge, PairJudge, PairRatio, PairRecord, RepeatedRuns, Step, TimedMeasure, TrialRun,
};
pub use key::{CellKey, Operation, Pass, Scope};
pub use manifest::{
    BackendEntry, EndKind, EndPoint, FORMAT, FreeListEntry, FurtherRepetitions, LibraryLineEntry,
    LiveCallersEntry, Machine, Manifest, MergedRun, NamedThread, OLDEST_FORMAT, PeakSurvivalEntry,
    ProcessEntry, ProcessMemory, ProgramMark, TimeBudget, TraceEntry,
};
pub use metric::{Exactness, Metric, Variation};
pub use returnable::{RETURNABLE_LEAST_BYTES, RetentionAtEnd, ReturnableLine};
pub use run::Run;
pub use run_dir::{CellDir, NewRunDir, RunDir};
pub use shard::Shard;
pub use tables::{
    Attribution, Chunk, Fullness, HeapRow, Latency, Measurement, Moment, OTHER_SITES, Outcome,
    Residency, ReturnedUnit, Rounding, Sample, SizeClass, Status, UnitRetention, WhatIf,
};
pub use tail::{LatencyRow, ServiceTimes, SlowCall, service_class};
pub use thread_tables::{
    ArenaRow, ThreadActivity, ThreadFrees, ThreadRow, decode_numbers, encode_numbers,
};
pub use time_evidence::{
    BackendTimes, ComparedBackends, ComparedPair, TimeBatch, TimeEvidence, compare_over_traces,
    reference,
};
