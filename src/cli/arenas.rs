//! `inspect --arenas`: replays a trace on a pool allocator and shows its arenas, what prevents the
//! return of each, and the use of their bytes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;

use super::children::ChildArgs;
use super::end_choice::EndChoice;
use super::load::load_within;
use super::specs;
use super::terminal::{note, print};
use crate::backends;
use crate::backends::arenas::Bases;
use crate::bench;
use crate::bench::pool_specs::with_bases;
use crate::replay::FinalState;
use crate::report::{self, ArenaMap, ArenaStrip, PoolCell};
use crate::units;

/// Arenas that are listed one by one.
const LISTED_ARENAS: usize = 40;

/// Replays to the live peak and to the end, each in a child, and prints. Draws a picture into
/// `folder`, if there is one.
///
/// # Errors
/// A trace or a backend that is not available, or a backend without arenas.
pub fn show(
    trace: &Path,
    backend: &str,
    end: &EndChoice,
    folder: Option<&Path>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut spec = specs::read(backend)?;
    if spec.setting("bases").is_none() {
        spec = specs::read(&with_bases(spec.as_str(), Bases::Aligned)?)?;
    }
    let workloads = load_within(&[trace.to_owned()], end, u64::MAX)?;
    let settings = ChildArgs::default().settings();
    let loaded = workloads.first().ok_or_else(|| anyhow!("{}: no trace", trace.display()))?;
    let name = loaded.name().to_owned();
    let peak = loaded.program.profile().live_peak_event as usize + 1;
    let calls = loaded.observed_calls();
    let at = |event: usize| {
        bench::arenas_at(spec.as_ref(), loaded, &settings, event.min(calls))
            .map_err(|reason| anyhow!("{reason}"))
    };
    let (peak, end) = (at(peak)?, at(calls)?);
    let geometry = end
        .geometry
        .ok_or_else(|| anyhow!("backend `{spec}` does not report the sizes of its arenas"))?;
    end.statistics
        .check_identity(geometry.arena as u64)
        .map_err(|fault| anyhow!("{spec}: {fault}"))?;
    let map = ArenaMap {
        name,
        synthesised: report::synthesised(&loaded.trace.facts),
        backend: backend.to_owned(),
        arena: geometry.arena as u64,
        pool: geometry.pool as u64,
        peak: strips(&peak),
        end: strips(&end),
    };
    if json {
        let both = serde_json::json!({ "backend": spec, "at_live_peak": peak, "end": end });
        print(&(serde_json::to_string_pretty(&both)? + "\n"))?;
    } else {
        print(&table_text(&map, &end))?;
    }
    if let Some(folder) = folder
        && let Some(file) = report::render_arenas(&map, folder)?
    {
        if json {
            note(file.display().to_string())
        } else {
            print(&format!("{}\n", file.display()))?
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn strips(ending: &FinalState) -> Vec<ArenaStrip> {
    let cell = |pool: &backends::arenas::PoolState| PoolCell {
        block: pool.block as u64,
        live: pool.live as u64,
        capacity: pool.capacity as u64,
    };
    let strip = |arena: &backends::arenas::ArenaState| ArenaStrip {
        birth: arena.birth as u64,
        pools: arena.pools.iter().map(cell).collect(),
    };
    ending.arenas.iter().map(strip).collect()
}

fn table_text(map: &ArenaMap, end: &FinalState) -> String {
    let statistics = &end.statistics;
    let mut text = format!(
        "{} on {}: {} arenas of {} at the live peak, {} at the end; {} at most, {} ever\n\n",
        map.name,
        map.backend,
        map.peak.len(),
        units::bytes(map.arena as f64),
        map.end.len(),
        statistics.arenas_peak,
        statistics.arenas_total
    );
    // Writing to a string cannot fail.
    let mut thinnest: Vec<&ArenaStrip> = map.end.iter().collect();
    thinnest.sort_by_key(|arena| (arena.live_bytes(), arena.birth));
    if !thinnest.is_empty() {
        text.push_str(
            "arenas that cannot be returned at the end, and why; fewest live bytes first\n",
        );
    }
    for arena in thinnest.iter().take(LISTED_ARENAS) {
        let free = arena.pools.len() as u64 - arena.used_pools();
        let _ = writeln!(
            text,
            "  #{:<5} {:>3} of {} pools free, {:>10} live: {}{}",
            arena.birth,
            free,
            arena.pools.len(),
            units::bytes(arena.live_bytes() as f64),
            arena.reason(),
            holders(arena)
        );
    }
    if thinnest.len() > LISTED_ARENAS {
        let _ = writeln!(
            text,
            "  … and {} more, with more live bytes each",
            thinnest.len() - LISTED_ARENAS
        );
    }
    let _ = writeln!(text, "\nthe use of the bytes at the end, as in sys._debugmallocstats");
    for (part, bytes) in statistics.parts() {
        let _ = writeln!(text, "  {bytes:>14}  {part}");
    }
    let _ = writeln!(
        text,
        "= {:>14}  {} arenas of {} bytes, exactly\n",
        statistics.arenas_end * map.arena,
        statistics.arenas_end,
        map.arena
    );
    text
}

/// The live blocks of an arena, where they have at most 6 size classes.
fn holders(arena: &ArenaStrip) -> String {
    let mut classes: Vec<(u64, u64)> = Vec::new();
    for pool in arena.pools.iter().filter(|pool| pool.live > 0) {
        match classes.iter_mut().find(|(block, _)| *block == pool.block) {
            Some((_, live)) => *live += pool.live,
            None => classes.push((pool.block, pool.live)),
        }
    }
    classes.sort_unstable();
    if classes.is_empty() || classes.len() > 6 {
        return String::new();
    }
    let named: Vec<String> =
        classes.iter().map(|(block, live)| format!("{live} × {block} B")).collect();
    format!(" ({})", named.join(", "))
}
