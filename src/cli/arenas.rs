//! `inspect --arenas`: replays a trace on a pool allocator and shows its arenas, what
//! keeps each from going back, and where their bytes are.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;

use super::load::{ChildArgs, backend_words, load_traces};
use super::{note, print};
use crate::backends;
use crate::backends::arenas::Bases;
use crate::bench;
use crate::replay::Ending;
use crate::report::{self, ArenaMap, ArenaStrip, PoolCell};

/// Arenas that are told one by one.
const TOLD: usize = 40;

/// Replays up to the live peak and to the end, each in a child, and prints; with a folder it draws
/// too.
///
/// # Errors
/// A trace or a backend that cannot be had, or one without arenas.
pub fn show(
    trace: &Path,
    backend: &str,
    folder: Option<&Path>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    backend_words(&[backend.to_owned()])?;
    let mut spec = backends::parse(backend)?;
    if spec.setting("bases").is_none() {
        spec = spec.with_setting("bases", &Bases::Aligned.name())?;
    }
    backends::describe(&spec)?; // refuses one that has no arenas
    let word = spec.to_string();
    let (entries, programs) = load_traces(&[trace.to_owned()])?;
    let settings = ChildArgs::default().settings();
    let name = entries[0].name.clone();
    let loaded = &programs[&name];
    let peak = loaded.program.profile().live_peak_event as usize + 1;
    let calls = loaded.program.instructions().len();
    let at = |event: usize| {
        bench::arenas_at(&word, loaded, &settings, event.min(calls))
            .map_err(|reason| anyhow!("{reason}"))
    };
    let (peak, end) = (at(peak)?, at(calls)?);
    let geometry =
        end.geometry.ok_or_else(|| anyhow!("backend `{word}` tells no sizes of its arenas"))?;
    end.statistics
        .check_identity(geometry.arena as u64)
        .map_err(|fault| anyhow!("{word}: {fault}"))?;
    let map = ArenaMap {
        name,
        synthesised: report::synthesised(&entries[0].facts),
        backend: backend.to_owned(),
        arena: geometry.arena as u64,
        pool: geometry.pool as u64,
        peak: strips(&peak),
        end: strips(&end),
    };
    if json {
        let both = serde_json::json!({ "backend": word, "at_live_peak": peak, "end": end });
        print(&(serde_json::to_string_pretty(&both)? + "\n"))?;
    } else {
        print(&words(&map, &end))?;
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

fn strips(ending: &Ending) -> Vec<ArenaStrip> {
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

fn words(map: &ArenaMap, end: &Ending) -> String {
    let told = &end.statistics;
    let mut text = format!(
        "{} on {}: {} arenas of {} at the live peak, {} at the end; {} at most, {} ever\n\n",
        map.name,
        map.backend,
        map.peak.len(),
        report::bytes(map.arena as f64),
        map.end.len(),
        told.arenas_peak,
        told.arenas_total
    );
    // Writing to a string cannot fail.
    let mut thinnest: Vec<&ArenaStrip> = map.end.iter().collect();
    thinnest.sort_by_key(|arena| (arena.live_bytes(), arena.birth));
    if !thinnest.is_empty() {
        text.push_str(
            "arenas that cannot be given back at the end, and why; the least held first\n",
        );
    }
    for arena in thinnest.iter().take(TOLD) {
        let free = arena.pools.len() as u64 - arena.used_pools();
        let _ = writeln!(
            text,
            "  #{:<5} {:>3} of {} pools free, {:>10} live: {}{}",
            arena.birth,
            free,
            arena.pools.len(),
            report::bytes(arena.live_bytes() as f64),
            arena.reason(),
            holders(arena)
        );
    }
    if thinnest.len() > TOLD {
        let _ = writeln!(text, "  … and {} more, all held by more", thinnest.len() - TOLD);
    }
    let _ = writeln!(text, "\nwhere the bytes are at the end, as sys._debugmallocstats has it");
    for (part, bytes) in told.parts() {
        let _ = writeln!(text, "  {bytes:>14}  {part}");
    }
    let _ = writeln!(
        text,
        "= {:>14}  {} arenas of {} bytes, exactly\n",
        told.arenas_end * map.arena,
        told.arenas_end,
        map.arena
    );
    text
}

/// Which blocks hold an arena, when they are few enough to be named.
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
