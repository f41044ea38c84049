//! Chart of a pool allocator: its arenas at the live peak and at the end, pool by pool, and what
//! prevents each arena from being returned.

use serde::Serialize;

use super::contract::Caption;
use crate::report::figures::{ArenaMap, ArenaStrip};
use crate::units::{bytes, percent};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct TraceArenasChart {
    /// Its sentences.
    pub caption: Caption,
    /// The births of all arenas, rising: a row for each.
    pub births: Vec<u64>,
    /// The arenas at both moments.
    pub map: ArenaMap,
    /// By row: what prevents the arena from being returned at the end.
    pub reasons: Vec<String>,
}

/// Describes the chart; `None` when there never was an arena.
pub fn describe(map: &ArenaMap) -> Option<TraceArenasChart> {
    let mut births: Vec<u64> = map.peak.iter().chain(&map.end).map(|arena| arena.birth).collect();
    births.sort_unstable();
    births.dedup();
    if births.is_empty() {
        return None;
    }
    let plotted = format!(
        "Arenas of {} on `{}`: a row for each, oldest first, its pools of {} from left to right.  \
         White: not mapped, or lost to alignment.",
        map.backend,
        map.name,
        bytes(map.pool as f64)
    );
    let reason = |birth: &u64| match map.end.iter().find(|arena| arena.birth == *birth) {
        Some(arena) => arena.reason(),
        None => "returned".to_owned(),
    };
    Some(TraceArenasChart {
        caption: Caption {
            synthesised: map.synthesised.clone(),
            ..Caption::new(verdict(map), plotted, &READING)
        },
        reasons: births.iter().map(reason).collect(),
        births,
        map: map.clone(),
    })
}

const READING: [&str; 2] = [
    "An arena is returned to the system only when all its pools are grey.",
    "A row that is orange or grey at the end, and not white, is held by the few blocks named at its \
     right: look at the lines that allocated them.",
];

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
        (true, _) => format!("All {} arenas of the live peak were returned.", map.peak.len()),
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
