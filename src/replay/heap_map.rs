//! Where the heap is resident and how full it is, over the whole replay: at 240
//! moments the kernel is asked which pages of the process's private anonymous memory are there
//! (`mincore`), and each 256 KiB of address space is noted by how much of its resident pages is
//! live.
//!
//! Of a mapping over 256 MiB, which is reserved address space for the most part, only the stretch
//! that ever held a block is looked at, and 4 MiB on either side. The harness's own memory is
//! shared and so not looked at.

use std::collections::{BTreeMap, HashSet};

use super::footprint::{PAGE_BYTES, Pages};

/// Columns of a map; a trace of fewer calls has one a call.
pub const MAP_COLUMNS: u64 = 240;
/// Bytes of address space in a piece.
const PIECE_BYTES: usize = 1 << PIECE_SHIFT;
pub(super) const PIECE_SHIFT: u32 = 18;
/// A map has at most so many rows; larger heaps are mapped in pieces twice, four times … as large.
const ROW_LIMIT: usize = 1000;

/// How full the resident pages of a row were: [`NOWHERE`], [`EMPTY`], or 1 to 16 sixteenths,
/// rounded up.
pub type Level = u8;
/// No page was resident.
pub const NOWHERE: Level = 255;
/// Pages were resident, without a live byte.
pub const EMPTY: Level = 0;

/// One stretch of address space over the replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRow {
    /// Rows of the same number are neighbours in memory.
    pub region: u32,
    /// A level for each column.
    pub levels: Vec<Level>,
}

/// The heap over the replay; the oldest region first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapMap {
    /// Bytes of address space in a row.
    pub row_bytes: u64,
    /// From the bottom.
    pub rows: Vec<MapRow>,
}

/// Resident pages and live bytes.
type Seen = (u32, u64);

/// Collects the columns.
#[derive(Default)]
pub(super) struct Mapper {
    /// Resident pages by piece before the first call.
    before: BTreeMap<usize, u32>,
    /// By piece, the columns in which it was resident.
    pieces: BTreeMap<usize, Vec<(usize, Seen)>>,
    columns: usize,
}

impl Mapper {
    /// Looks at what is there before the replay: a loader's and libc's own pages are not the
    /// backend's heap.
    pub(super) fn begin() -> Mapper {
        Mapper { before: resident(&Pages::default()), ..Mapper::default() }
    }

    /// Takes a column.
    pub(super) fn column(&mut self, pages: &Pages) {
        for (piece, resident) in resident(pages) {
            let live = pages.live_bytes_in(piece);
            if live > 0 || resident > self.before.get(&piece).copied().unwrap_or(0) {
                self.pieces.entry(piece).or_default().push((self.columns, (resident, live)));
            }
        }
        self.columns += 1;
    }

    pub(super) fn finish(self) -> HeapMap {
        let mut shift = 0;
        let rows_at = |shift: u32| {
            let mut keys: Vec<usize> = self.pieces.keys().map(|piece| piece >> shift).collect();
            keys.dedup();
            keys.len()
        };
        while rows_at(shift) > ROW_LIMIT {
            shift += 1;
        }
        let mut merged: BTreeMap<usize, Vec<Seen>> = BTreeMap::new();
        for (piece, seen) in &self.pieces {
            let row = merged.entry(piece >> shift).or_insert_with(|| vec![(0, 0); self.columns]);
            for (column, (resident, live)) in seen {
                row[*column].0 += resident;
                row[*column].1 += live;
            }
        }
        HeapMap { row_bytes: (PIECE_BYTES as u64) << shift, rows: in_order(&merged) }
    }
}

/// Rows by region, the oldest region first; inside a region from its older end to its younger.
fn in_order(merged: &BTreeMap<usize, Vec<Seen>>) -> Vec<MapRow> {
    let born = |seen: &[Seen]| seen.iter().position(|seen| seen.0 > 0).unwrap_or(seen.len());
    let mut regions: Vec<Vec<(usize, &[Seen])>> = Vec::new();
    for (&key, seen) in merged {
        match regions.last_mut() {
            Some(region) if region.last().is_some_and(|last| last.0 + 1 == key) => {
                region.push((key, seen))
            }
            _ => regions.push(vec![(key, seen)]),
        }
    }
    for region in &mut regions {
        // Mappings are laid out from the top down on Linux: then the older end is the upper one.
        let half = region.len() / 2;
        let age = |rows: &[(usize, &[Seen])]| rows.iter().map(|row| born(row.1)).sum::<usize>();
        if age(&region[..half]) > age(&region[region.len() - half..]) {
            region.reverse();
        }
    }
    regions.sort_by_key(|region| {
        (region.iter().map(|row| born(row.1)).min(), region.iter().map(|row| row.0).min())
    });
    let level = |&(resident, live): &Seen| match (resident, live) {
        (0, _) => NOWHERE,
        (_, 0) => EMPTY,
        (resident, live) => {
            let bytes = u64::from(resident) * page_bytes() as u64;
            (live * 16).div_ceil(bytes).clamp(1, 16) as Level
        }
    };
    let rows = regions.iter().enumerate().flat_map(|(number, region)| {
        region.iter().map(move |row| MapRow {
            region: number as u32,
            levels: row.1.iter().map(level).collect(),
        })
    });
    rows.collect()
}

fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// Resident pages by piece of address space, of all private anonymous mappings but stacks.
fn resident(pages: &Pages) -> BTreeMap<usize, u32> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut found = BTreeMap::new();
    for (start, end) in maps.lines().filter_map(anonymous) {
        let (mut start, mut end) = (start, end);
        if end - start > 256 << 20 {
            let Some((first, last)) = pages.extent(start, end) else { continue };
            start = start.max(first.saturating_sub(4 << 20));
            end = end.min(last + (4 << 20));
        }
        while start < end {
            let stop = end.min(start + (64 << 20));
            count(start, stop, &mut found);
            start = stop;
        }
    }
    found
}

/// The range of a line of `/proc/self/maps` when it is private, readable and of no file.
fn anonymous(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights) = (fields.next()?, fields.next()?);
    let inode = fields.nth(2)?;
    let name = fields.next().unwrap_or_default();
    let (start, end) = range.split_once('-')?;
    let private = rights.starts_with('r') && rights.ends_with('p') && inode == "0";
    let heap = !name.starts_with("[stack") && !name.starts_with("[v");
    (private && heap).then_some(())?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

/// Mappings beyond this are address space that is reserved, not used.
const LOOKED_AT_BYTES: usize = 128 << 30;

/// Every page of 4 KiB that is resident now in a private anonymous mapping, by its number.
pub(super) fn resident_pages() -> HashSet<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let parts = page_bytes() / PAGE_BYTES;
    let mut found = HashSet::new();
    for (mut start, end) in maps.lines().filter_map(anonymous) {
        while start < end && end - start <= LOOKED_AT_BYTES {
            let stop = end.min(start + (64 << 20));
            for address in resident_in(start, stop) {
                found.extend((0..parts).map(|part| address / PAGE_BYTES + part));
            }
            start = stop;
        }
    }
    found
}

fn count(start: usize, end: usize, found: &mut BTreeMap<usize, u32>) {
    for address in resident_in(start, end) {
        *found.entry(address >> PIECE_SHIFT).or_insert(0) += 1;
    }
}

/// The addresses of the resident pages of a stretch of memory.
fn resident_in(start: usize, end: usize) -> impl Iterator<Item = usize> {
    let page = page_bytes();
    let mut there = vec![0_u8; (end - start).div_ceil(page)];
    #[expect(unsafe_code, reason = "mincore has no safe wrapper")]
    // SAFETY: the kernel writes one byte for each page of the range into `there`, which has that
    // many; it reads no memory.
    let result =
        unsafe { libc::mincore(start as *mut libc::c_void, end - start, there.as_mut_ptr()) };
    if result != 0 {
        there.clear(); // the mapping is gone: nothing is resident there
    }
    let pages = there.into_iter().enumerate().filter(|(_, byte)| byte & 1 != 0);
    pages.map(move |(at, _)| start + at * page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_told_apart() {
        let range = Some((0x7f0000000000, 0x7f0000021000));
        assert_eq!(anonymous("7f0000000000-7f0000021000 rw-p 00000000 00:00 0 "), range);
        assert_eq!(
            anonymous("7f0000000000-7f0000021000 rw-p 00000000 00:00 0          [heap]"),
            range
        );
        assert_eq!(
            anonymous("7f0000000000-7f0000021000 rw-p 00000000 00:00 0          [stack]"),
            None
        );
        assert_eq!(
            anonymous("7f0000000000-7f0000021000 rw-s 00000000 00:01 77         /dev/zero"),
            None
        );
        assert_eq!(
            anonymous("7f0000000000-7f0000021000 r--p 00000000 08:01 77         /lib/libc.so"),
            None
        );
        assert_eq!(anonymous("7f0000000000-7f0000021000 ---p 00000000 00:00 0 "), None);
        assert_eq!(anonymous(""), None);
    }

    #[test]
    fn rows_go_from_the_oldest_to_the_youngest_and_large_heaps_are_merged() {
        let mut mapper = Mapper { columns: 3, ..Mapper::default() };
        // A region that grows downwards, and an older one above it.
        mapper.pieces.insert(10, vec![(2, (64, 16384))]);
        mapper.pieces.insert(11, vec![(1, (64, 0)), (2, (64, 262_144))]);
        mapper.pieces.insert(90, vec![(0, (1, 1)), (1, (2, 4096)), (2, (2, 4097))]);
        let map = mapper.finish();
        let levels: Vec<(u32, Vec<Level>)> =
            map.rows.into_iter().map(|row| (row.region, row.levels)).collect();
        assert_eq!(
            levels,
            [(0, vec![1, 8, 9]), (1, vec![NOWHERE, EMPTY, 16]), (1, vec![NOWHERE, NOWHERE, 1])]
        );
        let mut mapper = Mapper { columns: 1, ..Mapper::default() };
        mapper.pieces.extend((0..3000).map(|piece| (piece, vec![(0, (64, 131_072))])));
        let map = mapper.finish();
        assert_eq!((map.rows.len(), map.row_bytes), (750, 1 << 20));
        assert!(map.rows.iter().all(|row| row.levels == [8]));
    }
}
