//! The first difference between two pool allocators, in words.

use super::address_traces::{CompareError, Replayer, TracedCall};
use crate::backends::arenas::{ArenaChange, ArenaState, BlockPlace};
use crate::program::Action;
use crate::replay::{AddressEntry, FinalState};

/// Arenas whose free pools are listed.
const MOST_ARENAS: usize = 12;

/// The first difference: the call, what each side did, and the pool and arena that it concerns,
/// before the call.
///
/// # Errors
/// Why the states before the call are not to be had.
pub(super) fn difference(
    replayer: &Replayer<'_>,
    specs: [&str; 2],
    event: usize,
    calls: [&TracedCall; 2],
) -> Result<String, CompareError> {
    let program = &replayer.workload.program;
    let instruction = program.instructions()[event];
    let action = instruction.action();
    let size = match action {
        Action::Free => String::new(),
        _ => format!(" of {} bytes", program.size(event)),
    };
    let mut text =
        format!("event {event}: {} in {}{size}\n", action.name(), instruction.domain().name());
    let mut places = vec![calls[0].1, calls[1].1];
    places.dedup();
    let before = replayer.both(specs, event)?;
    for ((spec, call), side) in specs.into_iter().zip(calls).zip(&before) {
        text.push_str(&format!("  {spec}: {}\n", call_text(call)));
        text.push_str(&state_before(&side.ending, &places));
    }
    Ok(text)
}

/// How the statistics at the end differ, if they do.
pub(super) fn statistics_text(specs: [&str; 2], endings: [&FinalState; 2]) -> Option<String> {
    let [ours, theirs] = endings.map(|ending| &ending.statistics);
    if ours == theirs {
        return None;
    }
    let head = "every address is the same, but at the end the statistics differ";
    let class = ours.classes.iter().zip(&theirs.classes).find(|(ours, theirs)| ours != theirs);
    Some(match class {
        Some((ours, theirs)) => format!(
            "{head}, first in a class\n  {}: {ours:?}\n  {}: {theirs:?}",
            specs[0], specs[1]
        ),
        None => format!("{head}\n  {}: {ours:?}\n  {}: {theirs:?}", specs[0], specs[1]),
    })
}

/// The pools and arenas around `places`, and the first arenas.
fn state_before(ending: &FinalState, places: &[AddressEntry]) -> String {
    let mut text = String::new();
    for place in places {
        if let AddressEntry::At(place) = place {
            text.push_str(&format!("    before: {}\n", state(&ending.arenas, *place)));
        }
    }
    let counts: Vec<String> = ending
        .arenas
        .iter()
        .take(MOST_ARENAS)
        .map(|arena| format!("#{}: {}/{}", arena.birth, free_pools(arena), arena.pools.len()))
        .collect();
    text.push_str(&format!(
        "    before: {} arenas mapped; free pools of the first: {}\n",
        ending.arenas.len(),
        counts.join(", ")
    ));
    text
}

fn free_pools(arena: &ArenaState) -> usize {
    arena.pools.iter().filter(|pool| pool.live == 0).count()
}

fn call_text((changes, word): &TracedCall) -> String {
    let mut parts: Vec<String> = changes.iter().map(change_text).collect();
    parts.push(match word {
        AddressEntry::At(BlockPlace { birth, offset }) => {
            format!("the block is at arena #{birth} + {offset:#x}")
        }
        _ => "the block is outside the pools".to_owned(),
    });
    parts.join(", ")
}

/// What happened to an arena.
pub(super) fn change_text(change: &ArenaChange) -> String {
    match change {
        ArenaChange::Born(birth) => format!("arena #{birth} is born"),
        ArenaChange::Died(birth) => format!("arena #{birth} dies"),
    }
}

/// The pool and the arena around a place.
fn state(arenas: &[ArenaState], place: BlockPlace) -> String {
    let Some(arena) = arenas.iter().find(|arena| arena.birth == place.birth) else {
        return format!("arena #{} is not there", place.birth);
    };
    let pool = arena.pools.iter().rev().find(|pool| pool.offset <= place.offset);
    let text = pool.map_or("no pool".to_owned(), |pool| match pool.live {
        0 => format!("the pool at {:#x} is free", pool.offset),
        live => format!(
            "the pool at {:#x} has blocks of {} bytes, {live} of {} live, next out at {:#x}, never \
             used from {:#x}",
            pool.offset, pool.block, pool.capacity, pool.next, pool.virgin
        ),
    });
    let (birth, pools) = (arena.birth, arena.pools.len());
    format!("arena #{birth}, {} of {pools} pools free; {text}", free_pools(arena))
}
