//! The heap map: where the heap is resident and how full it is, over the whole replay.
//!
//! At 240 moments the kernel reports which pages of private anonymous memory are resident. For each
//! piece of 256 KiB of address space, the map has the share of its resident pages that is live.
//!
//! A mapping over 256 MiB is mostly reserved address space. So of such a mapping only the range
//! that ever held a block is examined, and 4 MiB on either side.

use std::collections::BTreeMap;

use super::page::{PIECE_BYTES, PIECE_SHIFT, kernel_page_bytes};
use super::pages::PagesInUse;
use super::resident_pages::{private_ranges, resident_in};
use crate::replay::usage::processor_ns;

/// Columns of a map; a trace of fewer calls has one for each call.
const MAP_COLUMNS: u64 = 240;
/// The most rows of a map. Larger heaps are mapped in pieces of twice, four times … the size.
const ROW_LIMIT: usize = 1000;
/// A larger mapping, in bytes, is mostly reserved address space.
const LARGE_MAPPING_BYTES: usize = 256 << 20;
/// Bytes that are examined on either side of the blocks in a large mapping.
const MARGIN_BYTES: usize = 4 << 20;

/// How full the resident pages of a row are: [`NOWHERE`], [`EMPTY`], or 1 to 16 sixteenths, rounded
/// up.
pub type Level = u8;
/// No page is resident.
pub const NOWHERE: Level = 255;
/// Pages are resident, without a live byte.
pub const EMPTY: Level = 0;

/// A range of address space over the replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRow {
    /// Rows with the same number are adjacent in memory.
    pub region: u32,
    /// The number of its first piece of 256 KiB of address space.
    pub first_piece: usize,
    /// A level for each column.
    pub levels: Vec<Level>,
}

/// The heap over the replay, the oldest region first; empty for a backend that backs no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapMap {
    /// Bytes of address space in a row.
    pub row_bytes: u64,
    /// The rows, from the bottom.
    pub rows: Vec<MapRow>,
}

/// The resident pages and the live bytes of a row in one column.
#[derive(Clone, Copy, Default)]
struct Occupancy {
    pages: u32,
    live_bytes: u64,
}

impl Occupancy {
    fn level(&self) -> Level {
        match (self.pages, self.live_bytes) {
            (0, _) => NOWHERE,
            (_, 0) => EMPTY,
            (pages, live_bytes) => {
                let bytes = u64::from(pages) * kernel_page_bytes() as u64;
                (live_bytes * 16).div_ceil(bytes).clamp(1, 16) as Level
            }
        }
    }
}

/// Takes the columns of the map: the k-th of n when k/n of the calls are done.
pub(super) struct HeapMapObserver {
    mapper: Mapper,
    calls: u64,
    next_event: u64,
    mapping_ns: u64,
}

impl HeapMapObserver {
    /// An observer of a program of so many calls.
    pub(super) fn new(calls: u64) -> HeapMapObserver {
        let next_event = calls.div_ceil(MAP_COLUMNS.min(calls).max(1));
        HeapMapObserver { mapper: Mapper::begin(), calls, next_event, mapping_ns: 0 }
    }

    /// Takes a column if one is due after so many calls.
    pub(super) fn observe(&mut self, event: u64, pages: &PagesInUse) {
        if event != self.next_event {
            return;
        }
        let began = processor_ns();
        self.mapper.column(pages);
        let columns = self.mapper.columns as u64;
        self.next_event = ((columns + 1) * self.calls).div_ceil(MAP_COLUMNS.min(self.calls));
        self.mapping_ns += processor_ns() - began;
    }

    /// The map, and the processor time of taking it, in ns.
    pub(super) fn finish(self) -> (HeapMap, u64) {
        (self.mapper.finish(), self.mapping_ns)
    }
}

/// Collects the columns.
#[derive(Default)]
struct Mapper {
    /// Resident pages by piece before the first call.
    before: BTreeMap<usize, u32>,
    /// By piece, its occupancy in the columns in which it was resident.
    pieces: BTreeMap<usize, Vec<(usize, Occupancy)>>,
    columns: usize,
}

impl Mapper {
    /// Notes what is resident before the replay: the pages of the loader and of libc do not belong
    /// to the backend's heap.
    fn begin() -> Mapper {
        Mapper { before: resident_by_piece(&PagesInUse::default()), ..Mapper::default() }
    }

    /// Takes a column.
    fn column(&mut self, in_use: &PagesInUse) {
        for (piece, pages) in resident_by_piece(in_use) {
            let live_bytes = in_use.live_bytes_in(piece);
            if live_bytes > 0 || pages > self.before.get(&piece).copied().unwrap_or(0) {
                let occupancy = Occupancy { pages, live_bytes };
                self.pieces.entry(piece).or_default().push((self.columns, occupancy));
            }
        }
        self.columns += 1;
    }

    fn finish(self) -> HeapMap {
        let mut shift = 0;
        let rows_at = |shift: u32| {
            let mut keys: Vec<usize> = self.pieces.keys().map(|piece| piece >> shift).collect();
            keys.dedup();
            keys.len()
        };
        while rows_at(shift) > ROW_LIMIT {
            shift += 1;
        }
        let mut merged: BTreeMap<usize, Vec<Occupancy>> = BTreeMap::new();
        for (piece, columns) in &self.pieces {
            let row = merged
                .entry(piece >> shift)
                .or_insert_with(|| vec![Occupancy::default(); self.columns]);
            for (column, occupancy) in columns {
                row[*column].pages += occupancy.pages;
                row[*column].live_bytes += occupancy.live_bytes;
            }
        }
        HeapMap { row_bytes: (PIECE_BYTES as u64) << shift, rows: in_order(&merged, shift) }
    }
}

/// Rows by region, the oldest region first. Inside a region they go from its older end to its
/// younger. `shift` is the binary logarithm of the pieces in a row.
fn in_order(merged: &BTreeMap<usize, Vec<Occupancy>>, shift: u32) -> Vec<MapRow> {
    let born = |row: &[Occupancy]| row.iter().position(|at| at.pages > 0).unwrap_or(row.len());
    let mut regions: Vec<Vec<(usize, &[Occupancy])>> = Vec::new();
    for (&key, row) in merged {
        match regions.last_mut() {
            Some(region) if region.last().is_some_and(|last| last.0 + 1 == key) => {
                region.push((key, row))
            }
            _ => regions.push(vec![(key, row)]),
        }
    }
    for region in &mut regions {
        // Linux places mappings from the top down: then the older end is the upper one.
        let half = region.len() / 2;
        let age =
            |rows: &[(usize, &[Occupancy])]| rows.iter().map(|row| born(row.1)).sum::<usize>();
        if age(&region[..half]) > age(&region[region.len() - half..]) {
            region.reverse();
        }
    }
    regions.sort_by_key(|region| {
        (region.iter().map(|row| born(row.1)).min(), region.iter().map(|row| row.0).min())
    });
    let rows = regions.iter().enumerate().flat_map(|(number, region)| {
        region.iter().map(move |row| MapRow {
            region: number as u32,
            first_piece: row.0 << shift,
            levels: row.1.iter().map(Occupancy::level).collect(),
        })
    });
    rows.collect()
}

/// The address ranges of private anonymous memory, of large mappings only what ever held a block.
pub(super) fn used_ranges(in_use: &PagesInUse) -> Vec<(usize, usize)> {
    let used = |(start, end): (usize, usize)| {
        if end - start <= LARGE_MAPPING_BYTES {
            return Some((start, end));
        }
        let (first, last) = in_use.extent(start, end)?;
        Some((start.max(first.saturating_sub(MARGIN_BYTES)), end.min(last + MARGIN_BYTES)))
    };
    private_ranges().into_iter().filter_map(used).collect()
}

/// Resident pages of private anonymous memory by piece of address space.
pub(super) fn resident_by_piece(in_use: &PagesInUse) -> BTreeMap<usize, u32> {
    let mut found = BTreeMap::new();
    for (start, end) in used_ranges(in_use) {
        for address in resident_in(start, end) {
            *found.entry(address >> PIECE_SHIFT).or_insert(0) += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_from_the_oldest_to_the_youngest_and_large_heaps_are_merged() {
        let occupancy = |pages, live_bytes| Occupancy { pages, live_bytes };
        let mut mapper = Mapper { columns: 3, ..Mapper::default() };
        // A region that grows downwards, and an older one above it.
        mapper.pieces.insert(10, vec![(2, occupancy(64, 16384))]);
        mapper.pieces.insert(11, vec![(1, occupancy(64, 0)), (2, occupancy(64, 262_144))]);
        let columns = [occupancy(1, 1), occupancy(2, 4096), occupancy(2, 4097)];
        mapper.pieces.insert(90, columns.into_iter().enumerate().collect());
        let map = mapper.finish();
        let levels: Vec<(u32, Vec<Level>)> =
            map.rows.into_iter().map(|row| (row.region, row.levels)).collect();
        assert_eq!(
            levels,
            [(0, vec![1, 8, 9]), (1, vec![NOWHERE, EMPTY, 16]), (1, vec![NOWHERE, NOWHERE, 1])]
        );
        let mut mapper = Mapper { columns: 1, ..Mapper::default() };
        let half_full = vec![(0, occupancy(64, 131_072))];
        mapper.pieces.extend((0..3000).map(|piece| (piece, half_full.clone())));
        let map = mapper.finish();
        assert_eq!((map.rows.len(), map.row_bytes), (750, 1 << 20));
        assert!(map.rows.iter().all(|row| row.levels == [8]));
    }
}
