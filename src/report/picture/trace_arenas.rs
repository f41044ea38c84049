//! Picture of the arenas of a pool allocator: a strip for each, its pools coloured by size class
//! and by how full they are.

use super::canvas::{Anchor, Canvas, shorten};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, frame};
use crate::report::chart::TraceArenasChart;
use crate::report::figures::{ArenaMap, ArenaStrip, PoolCell};
use crate::report::palette::{
    Colour, EXTERNAL_FRAGMENTATION, INK, LIVE, RETAINED, ROUNDING, WHITE,
};

/// Left edges of the four panels in pixels.
const PANELS: [f64; 4] = [LEFT + 48.0, LEFT + 376.0, LEFT + 704.0, LEFT + 1032.0];
/// Width of a panel.
const WIDE: f64 = 304.0;
/// Left edge of the reasons.
const REASONS: f64 = PANELS[3] + WIDE + 12.0;
/// Colours from the smallest class to the largest.
const CLASSES: [Colour; 4] = [
    Colour(0xFD, 0xE7, 0x25),
    Colour(0x35, 0xB7, 0x79),
    Colour(0x31, 0x68, 0x8E),
    Colour(0x44, 0x01, 0x54),
];
/// Colours from empty to full.
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

fn pool_colour(pool: &PoolCell, by_class: bool) -> Colour {
    match (pool.live, by_class) {
        (0, _) => RETAINED,
        (_, true) => class_colour(pool),
        (live, false) => ramp(&FULLNESS, live as f64 / pool.capacity.max(1) as f64),
    }
}

/// Draws the chart.
pub fn draw(chart: &TraceArenasChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let map = &chart.map;
    let (top, bottom) = (top + 64.0, bottom - 44.0);
    let row = ((bottom - top) / chart.births.len() as f64).min(40.0);
    for (at, panel) in PANELS.into_iter().enumerate() {
        let (arenas, moment) = if at < 2 { (&map.peak, "live peak") } else { (&map.end, "end") };
        let by_class = at % 2 == 0;
        if by_class {
            let text = format!("At the {moment}: {} arenas", arenas.len());
            canvas.text(panel, top - 34.0, &text, HEADING, Anchor::Left);
        }
        let text = if by_class { "by size class" } else { "by how full" };
        canvas.text(panel, top - 13.0, text, SMALL, Anchor::Left);
        for arena in arenas {
            let place = chart.births.binary_search(&arena.birth).unwrap_or(0) as f64;
            let y = top + place * row;
            let lower = y + if row > 4.0 { row - row.min(20.0) * 0.08 } else { row.max(0.34) };
            strip(&mut canvas, arena, map, (panel, y, lower), by_class);
        }
    }
    names(&mut canvas, chart, top, row);
    legends(&mut canvas, bottom + 22.0);
    canvas
}

fn strip(
    canvas: &mut Canvas,
    arena: &ArenaStrip,
    map: &ArenaMap,
    (left, upper, lower): (f64, f64, f64),
    by_class: bool,
) {
    let pools = (map.arena / map.pool.max(1)).max(arena.pools.len() as u64).max(1);
    let step = WIDE / pools as f64;
    for (at, pool) in arena.pools.iter().enumerate() {
        let x = left + at as f64 * step;
        canvas.rectangle(x, upper, x + step.max(0.34), lower, pool_colour(pool, by_class));
    }
}

/// The births at the left and the reasons at the right, as many as there is space for.
fn names(canvas: &mut Canvas, chart: &TraceArenasChart, top: f64, row: f64) {
    let each = (17.0 / row).ceil().max(1.0) as usize;
    let rows = chart.births.iter().zip(&chart.reasons).enumerate();
    for (place, (birth, reason)) in rows.step_by(each) {
        let y = top + place as f64 * row + row / 2.0 + 4.0 + (8.0 - row / 2.0).max(0.0) * 0.6;
        canvas.text(PANELS[0] - 8.0, y, &format!("#{birth}"), TINY, Anchor::Right);
        canvas.text(REASONS, y, &shorten(reason, TINY, RIGHT - REASONS), TINY, Anchor::Left);
    }
    canvas.text(REASONS, top - 13.0, "held at the end by", SMALL, Anchor::Left);
    canvas.text(PANELS[0] - 8.0, top - 13.0, "arena", SMALL, Anchor::Right);
}

fn legends(canvas: &mut Canvas, y: f64) {
    let kind = SMALL.in_colour(INK);
    let scale = |canvas: &mut Canvas, left: f64, colours: &[Colour; 4], from: &str, to: &str| {
        let start = left + canvas.text(left, y, from, kind, Anchor::Left) + 8.0;
        for at in 0..120 {
            let x = start + f64::from(at);
            canvas.rectangle(x, y - 13.0, x + 1.34, y + 2.0, ramp(colours, f64::from(at) / 119.0));
        }
        canvas.text(start + 129.0, y, to, kind, Anchor::Left);
    };
    scale(canvas, PANELS[0], &CLASSES, "16 B", "512 B blocks");
    scale(canvas, PANELS[1], &FULLNESS, "one block live", "all live");
    canvas.rectangle(PANELS[2], y - 13.0, PANELS[2] + 18.0, y + 3.0, RETAINED);
    canvas.text(PANELS[2] + 26.0, y, "free pool", kind, Anchor::Left);
    canvas.rectangle(PANELS[2] + 130.0, y - 13.0, PANELS[2] + 148.0, y + 3.0, STRONG.colour);
    canvas.rectangle(PANELS[2] + 131.0, y - 12.0, PANELS[2] + 147.0, y + 2.0, WHITE);
    canvas.text(PANELS[2] + 156.0, y, "no pool", kind, Anchor::Left);
}
