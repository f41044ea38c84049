//! Two pool allocators on one program, each in a child, compared call by call.
//!
//! Each child writes where its blocks lie into a file in memory
//! ([`crate::replay::address_trace_of`]). The two files are read in step. At the first difference
//! both are replayed once more up to just before that call, for their states.

use std::collections::HashMap;

use super::address_traces::{AddressTraceReader, CompareError, Replayer};
use super::compare_text::{change_text, difference, statistics_text};
use super::settings::Settings;
use super::workload::Workload;
use crate::backends::arenas::{ArenaChange, Geometry};
use crate::program::Action;
use crate::replay::AddressEntry;
use crate::trace::ArenaEvent;

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Calls compared.
    pub calls: usize,
    /// Blocks of these calls that lay in pools.
    pub in_pools: u64,
    /// Arenas born.
    pub arenas_born: u64,
    /// Arenas that died.
    pub arenas_died: u64,
    /// The first difference, in words.
    pub difference: Option<String>,
    /// The sizes of both, when both reported them.
    pub geometries: Option<[Geometry; 2]>,
}

impl Comparison {
    fn count(&mut self, change: ArenaChange) {
        match change {
            ArenaChange::Born(_) => self.arenas_born += 1,
            ArenaChange::Died(_) => self.arenas_died += 1,
        }
    }
}

/// Replays `workload` on both and compares every address relative to its arena, every birth and
/// death of an arena, and the statistics at the end.
///
/// # Errors
/// Why it could not be done.
pub fn compare(
    specs: [&str; 2],
    workload: &Workload,
    settings: &Settings,
) -> Result<Comparison, CompareError> {
    let replayer = Replayer { workload, settings };
    let calls = workload.program.instructions().len();
    let traces = replayer.both(specs, calls)?;
    let geometries = traces[0].ending.geometry.zip(traces[1].ending.geometry);
    let mut found = Comparison {
        geometries: geometries.map(|(ours, theirs)| [ours, theirs]),
        ..Comparison::default()
    };
    let [left, right] = traces;
    let mut readers = [left.file, right.file].map(AddressTraceReader::of);
    for event in 0..calls {
        let [ours, theirs] = [readers[0].next()?, readers[1].next()?];
        if ours != theirs {
            found.difference = Some(difference(&replayer, specs, event, [&ours, &theirs])?);
            return Ok(found);
        }
        found.calls += 1;
        let is_request = workload.program.instructions()[event].action() != Action::Free;
        found.in_pools += u64::from(is_request && matches!(ours.1, AddressEntry::At(_)));
        ours.0.into_iter().for_each(|change| found.count(change));
    }
    found.difference = statistics_text(specs, [&left.ending, &right.ending]);
    Ok(found)
}

/// Replays `workload` on a backend whose arenas lie where the recorded process had them, and
/// compares every birth and death of an arena with the recorded ones, call by call.
///
/// # Errors
/// Why it could not be done.
pub fn compare_recording(
    spec: &str,
    workload: &Workload,
    settings: &Settings,
) -> Result<Comparison, CompareError> {
    let calls = workload.program.instructions().len();
    let traced = Replayer { workload, settings }.address_trace(spec, calls)?;
    let mut ours = AddressTraceReader::of(traced.file);
    let mut found = Comparison::default();
    let mut recorded = RecordedArenas::new(&workload.arenas);
    for event in 0..calls {
        let (changes, place) = ours.next()?;
        found.calls += 1;
        found.in_pools += u64::from(matches!(place, AddressEntry::At(_)));
        for change in changes {
            found.count(change);
            if let Err(instead) = recorded.take(event as u64, change) {
                let ours = change_text(&change);
                found.difference = Some(format!("event {event}: {ours}, but {instead}"));
                return Ok(found);
            }
        }
    }
    if let Some(left) = recorded.rest.iter().find(|left| left.event <= calls as u64) {
        let Comparison { arenas_born, arenas_died, .. } = found;
        found.difference = Some(format!(
            "{arenas_born} arenas were born and {arenas_died} died, but in the recorded process \
             there was also the {} of the arena at {:#x} at event {}",
            left.name(),
            left.base,
            left.event
        ));
    }
    Ok(found)
}

/// Births and deaths of the recorded process that are still to come.
struct RecordedArenas<'a> {
    rest: &'a [ArenaEvent],
    /// Base → birth of those that live.
    live: HashMap<u64, usize>,
    born: usize,
}

impl RecordedArenas<'_> {
    fn new(all: &[ArenaEvent]) -> RecordedArenas<'_> {
        RecordedArenas { rest: all, live: HashMap::new(), born: 0 }
    }

    /// Whether the next one is this change in this call; else what it is instead.
    fn take(&mut self, event: u64, change: ArenaChange) -> Result<(), String> {
        let Some((next, rest)) = self.rest.split_first() else {
            return Err("the recorded process had no more births and deaths".to_owned());
        };
        let same = match change {
            // A birth is noted while its call runs, a death behind it; a realloc does both in one.
            ArenaChange::Born(birth) => next.is_birth && birth == self.born && next.event == event,
            ArenaChange::Died(birth) => {
                let is_same = self.live.get(&next.base) == Some(&birth);
                !next.is_birth && is_same && (next.event == event || next.event == event + 1)
            }
        };
        if !same {
            return Err(format!(
                "next in the recorded process was the {} of the arena at {:#x} at event {}",
                next.name(),
                next.base,
                next.event
            ));
        }
        if next.is_birth {
            self.live.insert(next.base, self.born);
            self.born += 1;
        } else {
            self.live.remove(&next.base);
        }
        self.rest = rest;
        Ok(())
    }
}
