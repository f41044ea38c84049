//! The heap map: residency by address and time, and what lies in a row at two moments.

use serde::Serialize;

use super::site_table::{NumberedLine, SiteTable};
use crate::report::figures::{BackendFigures, TraceReport};
use crate::results::{HeapRow, HeapRowContents, Moment};

/// Columns at most: a record with more is absurd.
const COLUMNS_MAX: usize = 4096;

/// The heap map of one backend.
#[derive(Debug, Serialize)]
pub struct HeapMapModel {
    backend: usize,
    /// Bytes of address space in a row.
    row_bytes: u64,
    /// Columns of equal numbers of calls.
    columns: usize,
    /// From the bottom, as [`HeapRow::cells`] has them.
    rows: Vec<String>,
    /// The region of each row: rows of one region are adjacent in memory.
    regions: Vec<u32>,
    /// What lies in the rows at the live peak and at the end; empty in a record of older versions.
    moments: Vec<ContentsModel>,
}

/// What lies in the rows at one moment.
#[derive(Debug, Serialize)]
struct ContentsModel {
    /// As [`Moment`] is written: `peak` or `end`.
    moment: String,
    rows: Vec<RowModel>,
}

/// What lies in one row.
#[derive(Debug, Serialize)]
struct RowModel {
    row: u32,
    resident_bytes: u64,
    pages_in_use_bytes: u64,
    live_blocks: u64,
    live_bytes: u64,
    /// Its lines, the largest first.
    lines: Vec<NumberedLine>,
}

/// The maps of a trace, one for each allocator that has one.
pub fn heap_maps(trace_report: &TraceReport, sites: &mut SiteTable) -> Vec<HeapMapModel> {
    let backends = trace_report.backends.iter().enumerate();
    let allocators = backends.filter(|(_, backend)| !backend.is_floor());
    allocators.filter_map(|(number, backend)| map(number, backend, sites)).collect()
}

fn map(number: usize, backend: &BackendFigures, sites: &mut SiteTable) -> Option<HeapMapModel> {
    let first = backend.rows.heap_map.iter().map(|row| row.repetition).min()?;
    let own = backend.rows.heap_map.iter().filter(|row| row.repetition == first);
    let mut rows: Vec<&&HeapRow> = own.collect();
    rows.sort_by_key(|row| row.row);
    let width = |row: &&&HeapRow| row.runs().iter().map(|run| run.0).sum::<usize>();
    let columns = rows.iter().map(width).max().filter(|columns| *columns > 0)?.min(COLUMNS_MAX);
    let row_bytes = rows[0].row_bytes;
    let moments = Moment::ALL.map(|moment| contents(backend, first, moment, sites));
    (row_bytes > 0).then(|| HeapMapModel {
        backend: number,
        row_bytes,
        columns,
        rows: rows.iter().map(|row| row.cells.clone()).collect(),
        regions: rows.iter().map(|row| row.region).collect(),
        moments: moments.into_iter().flatten().collect(),
    })
}

fn contents(
    backend: &BackendFigures,
    repetition: u32,
    moment: Moment,
    sites: &mut SiteTable,
) -> Option<ContentsModel> {
    let mut row = |row: &HeapRowContents| RowModel {
        row: row.row,
        resident_bytes: row.resident_bytes,
        pages_in_use_bytes: row.pages_in_use_bytes,
        live_blocks: row.live_blocks,
        live_bytes: row.live_bytes,
        lines: sites.numbered(&row.lines),
    };
    let rows = backend.rows.heap_contents.iter();
    let own = rows.filter(|row| row.repetition == repetition && row.moment == moment);
    let rows: Vec<RowModel> = own.map(|found| row(found)).collect();
    (!rows.is_empty()).then(|| ContentsModel { moment: String::from(moment), rows })
}
