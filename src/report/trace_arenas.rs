//! Room `report`, picture of a pool allocator: a strip for each arena, its pools coloured by size
//! class and by how full they are, at the live peak and at the end, and what keeps each arena from
//! being given back.

use super::canvas::{Anchor, Canvas, Colour, shorten};
use super::chart::{
    EXTERNAL_FRAGMENTATION, HEADING, INK, KEPT, LEFT, LIVE, Picture, RIGHT, ROUNDING, SMALL,
    STRONG, TINY, WHITE, frame,
};
use super::words::{bytes, group, percent};

/// A pool of an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PoolCell {
    /// Bytes of its blocks.
    pub block: u64,
    /// Live blocks; 0 for a free pool.
    pub live: u64,
    /// Blocks in all.
    pub capacity: u64,
}

/// An arena.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArenaStrip {
    /// Arenas born before it.
    pub birth: u64,
    /// In order of address.
    pub pools: Vec<PoolCell>,
}

impl ArenaStrip {
    /// Live blocks.
    pub fn live_blocks(&self) -> u64 {
        self.pools.iter().map(|pool| pool.live).sum()
    }

    /// Live blocks by their class size, in bytes.
    pub fn live_bytes(&self) -> u64 {
        self.pools.iter().map(|pool| pool.live * pool.block).sum()
    }

    /// Pools that hold a live block.
    pub fn used_pools(&self) -> u64 {
        self.pools.iter().filter(|pool| pool.live > 0).count() as u64
    }

    /// Why it cannot be given back now.
    pub fn reason(&self) -> String {
        let (blocks, pools) = (self.live_blocks(), self.used_pools());
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        match blocks {
            0 => "free, kept as the last".to_owned(),
            _ => format!(
                "{} block{} in {pools} pool{}",
                group(&blocks.to_string()),
                plural(blocks),
                plural(pools)
            ),
        }
    }
}

/// All arenas at two moments. The pools of `end` stand where they stood at `peak`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArenaMap {
    /// The trace.
    pub name: String,
    /// That it was made up, where it was: [`super::words::synthesised`].
    pub synthesised: Option<String>,
    /// The backend.
    pub backend: String,
    /// Bytes of an arena.
    pub arena: u64,
    /// Bytes of a pool.
    pub pool: u64,
    /// At the live peak, by birth.
    pub peak: Vec<ArenaStrip>,
    /// After the last call, by birth.
    pub end: Vec<ArenaStrip>,
}

/// Left edges of the four panels, their width, and where the reasons stand.
const PANELS: [f64; 4] = [LEFT + 48.0, LEFT + 376.0, LEFT + 704.0, LEFT + 1032.0];
const WIDE: f64 = 304.0;
const REASONS: f64 = PANELS[3] + WIDE + 12.0;
/// Colours from the smallest class to the largest, and from empty to full.
const CLASSES: [Colour; 4] = [
    Colour(0xFD, 0xE7, 0x25),
    Colour(0x35, 0xB7, 0x79),
    Colour(0x31, 0x68, 0x8E),
    Colour(0x44, 0x01, 0x54),
];
const FULLNESS: [Colour; 4] = [EXTERNAL_FRAGMENTATION, Colour(0xFF, 0xE0, 0x8A), ROUNDING, LIVE];

fn ramp(colours: &[Colour; 4], share: f64) -> Colour {
    let place = share.clamp(0.0, 1.0) * 3.0;
    let first = (place as usize).min(2);
    colours[first].mix(colours[first + 1], place - first as f64)
}

/// Of 16 bytes the first colour, of 512 the last; between them by the logarithm.
fn class_colour(pool: &PoolCell) -> Colour {
    ramp(&CLASSES, ((pool.block.max(16) as f64 / 16.0).log2() / 5.0).min(1.0))
}

fn fullness_colour(pool: &PoolCell) -> Colour {
    ramp(&FULLNESS, pool.live as f64 / pool.capacity.max(1) as f64)
}

/// Draws it; `None` when there never was an arena.
pub fn draw(map: &ArenaMap) -> Option<Picture> {
    let mut births: Vec<u64> = map.peak.iter().chain(&map.end).map(|arena| arena.birth).collect();
    births.sort_unstable();
    births.dedup();
    if births.is_empty() {
        return None;
    }
    let mut canvas = Canvas::new();
    let title = verdict(map);
    let plotted = format!(
        "Arenas of {} on `{}`: a row for each, oldest first, its pools of {} from left to right.  White: not mapped, or lost to \
         alignment.",
        map.backend,
        map.name,
        bytes(map.pool as f64)
    );
    let hint = "An arena goes back to the system only when all its pools are grey.  A row that is orange or grey at the end, \
                and not white, is held by the few blocks named at its right: whoever made them is the line to look at.";
    let (top, bottom) = frame(&mut canvas, &title, &plotted, hint);
    let (top, bottom) = (top + 64.0, bottom - 44.0);
    let row = ((bottom - top) / births.len() as f64).min(40.0);
    for (at, panel) in PANELS.into_iter().enumerate() {
        let (arenas, moment) = if at < 2 { (&map.peak, "live peak") } else { (&map.end, "end") };
        let by_class = at % 2 == 0;
        if by_class {
            let words = format!("At the {moment}: {} arenas", arenas.len());
            canvas.text(panel, top - 34.0, &words, HEADING, Anchor::Left);
        }
        let words = if by_class { "by size class" } else { "by how full" };
        canvas.text(panel, top - 13.0, words, SMALL, Anchor::Left);
        for arena in arenas {
            let place = births.binary_search(&arena.birth).unwrap_or(0) as f64;
            let y = top + place * row;
            let lower = y + if row > 4.0 { row - row.min(20.0) * 0.08 } else { row.max(0.34) };
            strip(&mut canvas, arena, map, (panel, y, lower), by_class);
        }
    }
    names(&mut canvas, map, &births, top, row);
    legends(&mut canvas, bottom + 22.0);
    Some(Picture { title, canvas })
}

fn strip(
    canvas: &mut Canvas,
    arena: &ArenaStrip,
    map: &ArenaMap,
    (left, upper, lower): (f64, f64, f64),
    by_class: bool,
) {
    let room = (map.arena / map.pool.max(1)).max(arena.pools.len() as u64).max(1);
    let step = WIDE / room as f64;
    for (at, pool) in arena.pools.iter().enumerate() {
        let colour = match (pool.live, by_class) {
            (0, _) => KEPT,
            (_, true) => class_colour(pool),
            (_, false) => fullness_colour(pool),
        };
        let x = left + at as f64 * step;
        canvas.rectangle(x, upper, x + step.max(0.34), lower, colour);
    }
}

/// AllocationSites at the left, reasons at the right, as many as there is room for.
fn names(canvas: &mut Canvas, map: &ArenaMap, births: &[u64], top: f64, row: f64) {
    let each = (17.0 / row).ceil().max(1.0) as usize;
    for (place, birth) in births.iter().enumerate().step_by(each) {
        let y = top + place as f64 * row + row / 2.0 + 4.0 + (8.0 - row / 2.0).max(0.0) * 0.6;
        canvas.text(PANELS[0] - 8.0, y, &format!("#{birth}"), TINY, Anchor::Right);
        let words = match map.end.iter().find(|arena| arena.birth == *birth) {
            Some(arena) => arena.reason(),
            None => "given back".to_owned(),
        };
        canvas.text(REASONS, y, &shorten(&words, TINY, RIGHT - REASONS), TINY, Anchor::Left);
    }
    canvas.text(REASONS, top - 13.0, "held at the end by", SMALL, Anchor::Left);
    canvas.text(PANELS[0] - 8.0, top - 13.0, "arena", SMALL, Anchor::Right);
}

fn legends(canvas: &mut Canvas, y: f64) {
    let scale = |canvas: &mut Canvas, left: f64, colours: &[Colour; 4], from: &str, to: &str| {
        let start = left + canvas.text(left, y, from, SMALL.in_colour(INK), Anchor::Left) + 8.0;
        for at in 0..120 {
            let x = start + f64::from(at);
            canvas.rectangle(x, y - 13.0, x + 1.34, y + 2.0, ramp(colours, f64::from(at) / 119.0));
        }
        canvas.text(start + 129.0, y, to, SMALL.in_colour(INK), Anchor::Left);
    };
    scale(canvas, PANELS[0], &CLASSES, "16 B", "512 B blocks");
    scale(canvas, PANELS[1], &FULLNESS, "one block live", "all live");
    canvas.rectangle(PANELS[2], y - 13.0, PANELS[2] + 18.0, y + 3.0, KEPT);
    canvas.text(PANELS[2] + 26.0, y, "free pool", SMALL.in_colour(INK), Anchor::Left);
    canvas.rectangle(PANELS[2] + 130.0, y - 13.0, PANELS[2] + 148.0, y + 3.0, STRONG.colour);
    canvas.rectangle(PANELS[2] + 131.0, y - 12.0, PANELS[2] + 147.0, y + 2.0, WHITE);
    canvas.text(PANELS[2] + 156.0, y, "no pool", SMALL.in_colour(INK), Anchor::Left);
}

fn verdict(map: &ArenaMap) -> String {
    let mapped = map.end.len() as u64 * map.arena;
    let live: u64 = map.end.iter().map(ArenaStrip::live_bytes).sum();
    let plural = |count: usize| if count == 1 { "arena is" } else { "arenas are" };
    let held = map.end.iter().filter(|arena| arena.live_blocks() > 0);
    let thin = held.filter(|arena| arena.live_bytes() * 4 < map.arena).count();
    let start = format!(
        "At the end {} {} mapped ({}) for {} of live blocks, {}.",
        map.end.len(),
        plural(map.end.len()),
        bytes(mapped as f64),
        bytes(live as f64),
        percent(live as f64 / mapped.max(1) as f64)
    );
    match (map.end.is_empty(), thin) {
        (true, _) => format!("All {} arenas of the live peak were given back.", map.peak.len()),
        (_, 0) => format!("{start}  None is held by less than a quarter of its bytes."),
        (_, thin) if thin == map.end.len() => {
            format!("{start}  All are held by blocks that fill less than a quarter.")
        }
        (_, thin) => {
            format!(
                "{start}  {thin} of them {} held by blocks that fill less than a quarter.",
                if thin == 1 { "is" } else { "are" }
            )
        }
    }
}
