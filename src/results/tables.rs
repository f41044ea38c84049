//! The rows of the run record's tables, as CSV with a header each.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::heap_contents::LineContents;
use super::key::{CellKey, Operation, Pass, Scope};
use super::metric::Metric;

/// A row of `measurements.csv`: one figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::pass`].
    pub pass: Pass,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// Which calls.
    pub op: Scope,
    /// Which figure.
    pub metric: Metric,
    /// The figure; counts and bytes are whole numbers.
    pub value: f64,
}

impl CellKey {
    /// A figure of this cell.
    pub fn measurement(&self, op: Scope, metric: Metric, value: f64) -> Measurement {
        Measurement {
            trace: self.trace.clone(),
            backend: self.backend.clone(),
            pass: self.pass,
            repetition: self.repetition,
            op,
            metric,
            value,
        }
    }
}

/// A row of `samples.csv`: the heap at one moment of a footprint pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// Calls done when the sample was taken.
    pub event: u64,
    /// The allocation clock: bytes requested so far.
    pub clock_bytes: u64,
    /// L: requested bytes live.
    pub live_bytes: u64,
    /// U: usable bytes of the live blocks.
    pub usable_bytes: u64,
    /// P: 4 KiB pages that hold a byte of a live block.
    #[serde(alias = "pinned_bytes")]
    pub pages_in_use_bytes: u64,
    /// R: resident private memory less the baseline.
    pub resident_bytes: u64,
    /// The lines with most live bytes, as [`LineContents::encode`] has them; empty where the trace has no
    /// lines, and in an older record.
    #[serde(default)]
    pub lines: String,
}

/// A row of `chunks.csv`: how long a segment of calls took in a time pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// From 0.
    pub chunk: u32,
    /// Calls in it.
    pub calls: u64,
    /// Processor time of it.
    pub nanoseconds: u64,
}

/// How a cell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Measured and verified.
    Ok,
    /// It failed; the reason stands beside.
    Error,
}

/// A row of `cells.csv`: that a cell was tried, and how it ended. A planned cell without a row is
/// missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::pass`].
    pub pass: Pass,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// How it ended.
    pub status: Status,
    /// Wall seconds of the child, start to end.
    pub seconds: f64,
    /// Empty when it went well.
    pub reason: String,
}

impl Outcome {
    /// An outcome of `cell`: well after so many seconds, or why not.
    pub fn of(cell: &CellKey, seconds: f64, result: Result<(), String>) -> Outcome {
        let CellKey { trace, backend, pass, repetition } = cell.clone();
        let status = if result.is_ok() { Status::Ok } else { Status::Error };
        let reason = result.err().unwrap_or_default();
        Outcome { trace, backend, pass, repetition, status, seconds, reason }
    }

    /// Whether the cell was measured and verified.
    pub fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// The cell that this is about.
    pub fn cell(&self) -> CellKey {
        CellKey {
            trace: self.trace.clone(),
            backend: self.backend.clone(),
            pass: self.pass,
            repetition: self.repetition,
        }
    }
}

/// One histogram of service times, in nanoseconds: an interval of `latencies.hlog`.
#[derive(Clone, Debug)]
pub struct Latency {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// `Some(r)`: one raw repetition. `None`: confirmed, the median over all repetitions of each
    /// call by itself.
    pub repetition: Option<u32>,
    /// Which calls.
    pub op: Operation,
    /// Service times in nanoseconds, clock pair included, 3 significant digits.
    pub histogram: hdrhistogram::Histogram<u64>,
}

/// When the heap was looked at page by page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Moment {
    /// Just after the call at which the live bytes are largest: `peak`.
    Peak,
    /// After the last call: `end`.
    End,
    /// No moment but the whole replay, every block that was requested: `whole`. Only in
    /// `rounding.csv`.
    Whole,
    /// Where the program set the mark of that number, from 1, in the order of the trace's fact
    /// `marks`: `mark-1`.
    Mark(u16),
}

impl Moment {
    /// The two that every trace has, in order of time.
    pub const ALL: [Moment; 2] = [Moment::Peak, Moment::End];
}

impl From<Moment> for String {
    fn from(moment: Moment) -> String {
        match moment {
            Moment::Peak => "peak".to_owned(),
            Moment::End => "end".to_owned(),
            Moment::Whole => "whole".to_owned(),
            Moment::Mark(number) => format!("mark-{number}"),
        }
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Moment, String> {
        match text.as_str() {
            "peak" => Ok(Moment::Peak),
            "end" => Ok(Moment::End),
            "whole" => Ok(Moment::Whole),
            _ => text
                .strip_prefix("mark-")
                .and_then(|number| number.parse().ok())
                .map(Moment::Mark)
                .ok_or_else(|| format!("`{text}` is no moment: expected peak, end or mark-N")),
        }
    }
}

/// A row of `fullness.csv`: 4 KiB pages in use by how much of them is live, in 16 bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fullness {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// When.
    pub moment: Moment,
    /// From 0: more than bin/16 and at most (bin + 1)/16 of the page's bytes are requested and
    /// live.
    pub bin: u32,
    /// 4 KiB pages in it.
    pub pages: u64,
}

/// A row of `rounding.csv`: what the live blocks of one size class hold, or all that were ever
/// requested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rounding {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// When.
    pub moment: Moment,
    /// The largest request of the class: steps of 16 up to 512, then powers of two.
    pub up_to_bytes: u64,
    /// Live blocks; of the whole replay, all blocks.
    pub live_blocks: u64,
    /// Their requested bytes.
    pub live_bytes: u64,
    /// Their usable bytes.
    pub usable_bytes: u64,
}

/// A row of `size_classes.csv`: requests of adjacent sizes that got the same usable bytes, up
/// to 512 bytes and as far as the program requested them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeClass {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// The smallest request of them.
    pub from_bytes: u32,
    /// The largest.
    pub to_bytes: u32,
    /// What most blocks of such a size could hold.
    pub usable_bytes: u32,
}

/// A row of `attribution.csv`: what one line of the program holds, and its share of the free space
/// on the pages that its blocks hold. The shares of all lines add up to the bytes of the pages in
/// use less the usable bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// When.
    pub moment: Moment,
    /// `file:line`; empty for blocks without a site, [`OTHER_SITES`] for all lines that have no row
    /// of their own.
    pub site: String,
    /// Requested bytes live.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// Free space charged to them.
    #[serde(alias = "stranded_bytes")]
    pub external_fragmentation_bytes: u64,
}

/// A unit in which an allocator can return memory, other than a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReturnedUnit {
    /// An arena, when no block lives in it.
    Arena,
    /// A span or slab of blocks of one size, when none of them lives.
    Span,
    /// A heap from its top downwards, to its topmost live block.
    Top,
}

/// A row of `unit_retention.csv`: what one line of the program retains by arenas, by spans, or by the
/// top of heaps. Backends that return memory only by page have none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitRetention {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// When: the live peak or the end.
    pub moment: Moment,
    /// The unit.
    pub unit: ReturnedUnit,
    /// See [`Attribution::site`].
    pub site: String,
    /// Units that hold a block of the line; heaps on which it has the topmost block.
    pub units: u64,
    /// Resident bytes without a live byte, by the line's share of the blocks; of a heap all below its
    /// topmost block.
    pub retained_bytes: u64,
    /// Bytes that could be returned if only this line's blocks were elsewhere.
    pub returnable_bytes: u64,
}

/// The site of the row that holds the lines too small for one of their own.
pub const OTHER_SITES: &str = "(all other lines)";

/// A row of `heap_map.csv`: a range of address space over the replay.
///
/// `cells` has a letter for each column of time, a run of equal ones with its length before it: `.`
/// no page is resident, `-` resident pages without a live byte, `a` to `p` their live bytes in
/// sixteenths, rounded up. `3.-2a` is `...-aa`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeapRow {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// See [`CellKey::repetition`].
    pub repetition: u32,
    /// From the bottom: the oldest region first.
    pub row: u32,
    /// Rows of the same region are adjacent in memory.
    pub region: u32,
    /// Bytes of address space.
    pub row_bytes: u64,
    /// The columns.
    pub cells: String,
}

/// A cell of a heap map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// No page is resident.
    Nowhere,
    /// Resident pages without a live byte.
    Empty,
    /// Sixteenths of the resident pages that are live, 1 to 16.
    Live(u8),
}

impl HeapRow {
    /// Writes columns as `cells`.
    pub fn encode(columns: &[Residency]) -> String {
        let mut text = String::new();
        for run in columns.chunk_by(|a, b| a == b) {
            if run.len() > 1 {
                text += &run.len().to_string();
            }
            text.push(match run[0] {
                Residency::Nowhere => '.',
                Residency::Empty => '-',
                Residency::Live(level) => char::from(b'a' + level.clamp(1, 16) - 1),
            });
        }
        text
    }

    /// The runs of `cells` with their lengths; what cannot be read is left out.
    pub fn runs(&self) -> Vec<(usize, Residency)> {
        let mut runs = Vec::new();
        let mut length: Option<usize> = None;
        for letter in self.cells.chars() {
            if let Some(digit) = letter.to_digit(10) {
                let so_far = length.unwrap_or(0).saturating_mul(10).saturating_add(digit as usize);
                length = Some(so_far.min(1 << 20));
                continue;
            }
            let residency = match letter {
                '.' => Residency::Nowhere,
                '-' => Residency::Empty,
                'a'..='p' => Residency::Live(letter as u8 - b'a' + 1),
                _ => continue,
            };
            runs.push((length.take().unwrap_or(1), residency));
        }
        runs
    }
}

/// A row of `what_ifs.csv`: what moving one line's survivors behind the last call really saved. Lines
/// are the first by free space on its pages, and the first by returnable memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// See [`CellKey::trace`].
    pub trace: String,
    /// See [`CellKey::backend`].
    pub backend: String,
    /// `file:line`.
    pub site: String,
    /// What [`Attribution`] charges the line with at the end.
    pub predicted_bytes: u64,
    /// Pages in use at the end of the trace as it is.
    #[serde(alias = "pinned_before_bytes")]
    pub pages_in_use_before_bytes: u64,
    /// Pages in use at the end of the changed trace.
    #[serde(alias = "pinned_after_bytes")]
    pub pages_in_use_after_bytes: u64,
    /// What [`UnitRetention`] says could be returned at the end; `None` for a line without such
    /// memory, and in runs of older builds.
    #[serde(default)]
    pub returnable_bytes: Option<u64>,
    /// Resident memory at the end of the trace as it is.
    #[serde(default)]
    pub resident_before_bytes: Option<u64>,
    /// Resident memory at the end of the changed trace.
    #[serde(default)]
    pub resident_after_bytes: Option<u64>,
}

impl WhatIf {
    /// Resident memory at the end of the trace as it is, and of the changed one, in bytes.
    pub fn resident_bytes(&self) -> Option<[f64; 2]> {
        Some([self.resident_before_bytes? as f64, self.resident_after_bytes? as f64])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_runs_of_letters() {
        use Residency::{Empty, Live, Nowhere};
        let columns = [Nowhere, Nowhere, Nowhere, Empty, Live(1), Live(1), Live(16)];
        let cells = HeapRow::encode(&columns);
        assert_eq!(cells, "3.-2ap");
        let row = |cells: &str| HeapRow {
            trace: String::new(),
            backend: String::new(),
            repetition: 0,
            row: 0,
            region: 0,
            row_bytes: 1,
            cells: cells.into(),
        };
        assert_eq!(row(&cells).runs(), [(3, Nowhere), (1, Empty), (2, Live(1)), (1, Live(16))]);
        assert_eq!(
            row("99999999999999999999999a\u{fffd}0.").runs(),
            [(1 << 20, Live(1)), (0, Nowhere)]
        );
    }
}
