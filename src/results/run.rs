//! A run in memory: its manifest and its tables, which are declared once, at [`tables!`]. Reading,
//! writing, joining and removing follow from that declaration.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use super::error::RecordError;
use super::file::{read_table, write_table};
use super::heap_contents::HeapRowContents;
use super::key::{CellKey, Pass, Scope};
use super::latency_log;
use super::manifest::Manifest;
use super::metric::Metric;
use super::returnable::RetentionAtEnd;
use super::tables::{
    Attribution, Chunk, Fullness, HeapRow, Latency, Measurement, Moment, OTHER_SITES, Outcome,
    Rounding, Sample, SizeClass, Status, UnitRetention, WhatIf,
};
use super::tail::{LatencyRow, ServiceTimes, SlowCall};
use super::thread_tables::{ArenaRow, ThreadActivity, ThreadFrees, ThreadRow};

/// A row of one table, with the cell that it belongs to.
trait RowKey {
    /// The trace's name.
    fn trace(&self) -> &str;
    /// The backend's spec.
    fn backend(&self) -> &str;
    /// Which measurement.
    fn pass(&self) -> Pass;
    /// The repetition; `None` for a row that is made of all repetitions of a latency pass together.
    fn repetition(&self) -> Option<u32>;

    /// Whether the row belongs to one of `cells`, or is made of repetitions that include one of
    /// them.
    fn is_of(&self, cells: &HashSet<CellKey>) -> bool {
        let is_mine = |cell: &CellKey| {
            (cell.trace.as_str(), cell.backend.as_str(), cell.pass)
                == (self.trace(), self.backend(), self.pass())
        };
        match self.repetition() {
            Some(repetition) => cells.contains(&CellKey {
                trace: self.trace().to_owned(),
                backend: self.backend().to_owned(),
                pass: self.pass(),
                repetition,
            }),
            None => cells.iter().any(is_mine),
        }
    }
}

/// Declares the tables of a run: field, row type, file, and for a row `row` its pass and
/// repetition. `via` names the module that reads and writes a file that is no CSV table.
macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident: $row:ty, $file:expr, |$it:ident| $pass:expr, $repetition:expr
        $(, via $codec:ident)?;)*) => {
        /// A run in memory.
        #[derive(Clone, Debug)]
        pub struct Run {
            /// What was planned, on what.
            pub manifest: Manifest,
            $($(#[$doc])* pub $field: Vec<$row>,)*
        }

        $(impl RowKey for $row {
            fn trace(&self) -> &str {
                &self.trace
            }
            fn backend(&self) -> &str {
                &self.backend
            }
            fn pass(&self) -> Pass {
                let $it = self;
                let _ = $it;
                $pass
            }
            fn repetition(&self) -> Option<u32> {
                let $it = self;
                let _ = $it;
                $repetition
            }
        })*

        /// The files of the tables.
        pub(super) const TABLES: &[&str] = &[$($file,)*];

        impl Run {
            /// A run in which nothing was measured yet.
            pub fn new(manifest: Manifest) -> Run {
                Run { manifest, $($field: Vec::new(),)* }
            }

            /// Adds all rows of `other`.
            pub fn absorb(&mut self, other: Run) {
                $(self.$field.extend(other.$field);)*
            }

            /// Drops every row for which `is_gone` holds.
            fn drop_rows(&mut self, is_gone: impl Fn(&dyn RowKey) -> bool) {
                $(self.$field.retain(|row| !is_gone(row));)*
            }

            /// Reads every table from where `place` says that it lies.
            pub(super) fn read_tables(
                &mut self,
                place: &dyn Fn(&str) -> PathBuf,
            ) -> Result<(), RecordError> {
                $(self.$field = tables!(@read place($file) $(, $codec)?)?;)*
                Ok(())
            }

            /// Writes every table to where `place` says that it lies.
            pub(super) fn write_tables(
                &self,
                place: &dyn Fn(&str) -> PathBuf,
            ) -> Result<(), RecordError> {
                $(tables!(@write place($file), &self.$field $(, $codec)?)?;)*
                Ok(())
            }
        }
    };
    (@read $path:expr) => { read_table(&$path) };
    (@read $path:expr, $codec:ident) => { $codec::read(&$path) };
    (@write $path:expr, $rows:expr) => { write_table(&$path, $rows) };
    (@write $path:expr, $rows:expr, $codec:ident) => { $codec::write(&$path, $rows) };
}

// The outcomes come last: their file marks a cell's folder as whole.
tables! {
    /// Figures.
    measurements: Measurement, "measurements.csv",
        |row| row.pass, (!row.metric.is_confirmed()).then_some(row.repetition);
    /// Heap samples.
    samples: Sample, "samples.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Page fullness at two moments.
    fullness: Fullness, "fullness.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Rounding by size class at the same moments.
    rounding: Rounding, "rounding.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Usable bytes by size of the request.
    size_classes: SizeClass, "size_classes.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Which line retains how much, at the same moments and at marks of the program.
    attributions: Attribution, "attribution.csv", |row| Pass::Footprint, Some(row.repetition);
    /// What each line retains by larger units, at two moments.
    unit_retention: UnitRetention, "unit_retention.csv",
        |row| Pass::Footprint, Some(row.repetition);
    /// Residency over the replay.
    heap_map: HeapRow, "heap_map.csv", |row| Pass::Footprint, Some(row.repetition);
    /// What lies in each row of the heap map at two moments.
    heap_contents: HeapRowContents, "heap_contents.csv",
        |row| Pass::Footprint, Some(row.repetition);
    /// The threads of the trace, and what each left at the end.
    threads: ThreadRow, "threads.csv", |row| Pass::Footprint, Some(row.repetition);
    /// The threads over the calls of the trace.
    thread_activity: ThreadActivity, "thread_activity.csv",
        |row| Pass::Footprint, Some(row.repetition);
    /// Blocks by the thread that allocated them and the one that ended them.
    thread_frees: ThreadFrees, "thread_frees.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Memory by arena, as allocators report it.
    arenas: ArenaRow, "arenas.csv", |row| Pass::Footprint, Some(row.repetition);
    /// What moving the first line of the attribution really saves.
    what_ifs: WhatIf, "what_ifs.csv", |row| Pass::Footprint, Some(0);
    /// Segments of time passes.
    chunks: Chunk, CHUNKS, |row| Pass::Time, Some(row.repetition);
    /// Service times by operation and size class.
    service_times: ServiceTimes, "service_times.csv", |row| Pass::Latency, None;
    /// Calls that were slow.
    slow_calls: SlowCall, "slow_calls.csv", |row| Pass::Latency, None;
    /// Service times over the replay.
    latency_map: LatencyRow, "latency_map.csv", |row| Pass::Latency, None;
    /// Histograms of service times.
    latencies: Latency, "latencies.hlog", |row| Pass::Latency, row.repetition, via latency_log;
    /// Which cells were tried.
    outcomes: Outcome, OUTCOMES, |row| row.pass, Some(row.repetition);
}

/// The file of the segments of time passes.
pub(super) const CHUNKS: &str = "chunks.csv";
/// The file that says which cells were tried.
pub(super) const OUTCOMES: &str = "cells.csv";

impl Run {
    /// Drops every row of the cells in `gone`, and rows that are made of several repetitions when
    /// one of theirs is gone.
    pub fn remove(&mut self, gone: &HashSet<CellKey>) {
        self.drop_rows(|row| row.is_of(gone));
    }

    /// Drops every row that belongs to none of `cells`.
    pub(super) fn retain(&mut self, cells: &HashSet<CellKey>) {
        self.drop_rows(|row| !row.is_of(cells));
    }

    /// Drops the rows that are made of all repetitions of a latency pass together.
    pub fn remove_confirmed(&mut self, trace: &str, backend: &str) {
        self.drop_rows(|row| {
            row.repetition().is_none() && row.trace() == trace && row.backend() == backend
        });
    }

    /// Planned cells that nobody tried.
    pub fn missing(&self) -> Vec<CellKey> {
        let done: HashSet<CellKey> = self.outcomes.iter().map(Outcome::cell).collect();
        self.manifest.planned().into_iter().filter(|cell| !done.contains(cell)).collect()
    }

    /// Cells that ended with an error.
    pub fn failed(&self) -> Vec<&Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.status == Status::Error).collect()
    }

    /// The values of one metric, over the repetitions, in their order.
    pub fn values(&self, trace: &str, backend: &str, op: Scope, metric: Metric) -> Vec<f64> {
        let mut rows: Vec<(u32, f64)> = self
            .measurements
            .iter()
            .filter(|m| {
                m.trace == trace && m.backend == backend && m.op == op && m.metric == metric
            })
            .map(|m| (m.repetition, m.value))
            .collect();
        rows.sort_by_key(|(repetition, _)| *repetition);
        rows.into_iter().map(|(_, value)| value).collect()
    }

    /// What the lines of a trace retain at the end under a backend; `None` where the backend has no
    /// arenas, spans or heaps.
    pub fn retention_at_end(&self, trace: &str, backend: &str) -> Option<RetentionAtEnd<'_>> {
        let mine = |row: &&UnitRetention| row.trace == trace && row.backend == backend;
        RetentionAtEnd::of(self.unit_retention.iter().filter(mine))
    }

    /// The lines that retain pages of a trace at a moment, largest first: by their share of the external
    /// fragmentation of the allocator that the program ran on. Where that was not measured, the figure of
    /// a line is the sum of its shares over all backends, so that no single one decides. Lines without a
    /// row of their own are left out.
    pub fn retaining_lines(&self, trace: &str, moment: Moment) -> Vec<(&str, f64)> {
        let entry = self.manifest.traces.iter().find(|entry| entry.name == trace);
        let is_own = |spec: &str| entry.is_some_and(|entry| entry.is_own_backend(spec));
        let has_own =
            self.attributions.iter().any(|row| row.trace == trace && is_own(&row.backend));
        let mine = || {
            self.attributions
                .iter()
                .filter(|attribution| attribution.trace == trace && attribution.moment == moment)
                .filter(|attribution| !has_own || is_own(&attribution.backend))
        };
        let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
        for attribution in mine() {
            *totals.entry(&attribution.backend).or_default() +=
                attribution.external_fragmentation_bytes as f64;
        }
        let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
        for attribution in mine().filter(|attribution| attribution.site != OTHER_SITES) {
            let total = totals.get(attribution.backend.as_str()).copied().unwrap_or(0.0);
            *shares.entry(&attribution.site).or_default() += if total > 0.0 {
                attribution.external_fragmentation_bytes as f64 / total
            } else {
                0.0
            };
        }
        let mut lines: Vec<(&str, f64)> = shares.into_iter().collect();
        lines.sort_by(|a, b| b.1.total_cmp(&a.1));
        lines
    }
}
