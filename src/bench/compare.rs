//! Two pool allocators on one program, each in a child, held against each other call
//! by call.
//!
//! Each child writes where its blocks lie into a memory file (`replay/places.rs`); the two are read
//! here in step. Where they part, both are replayed once more up to just before that call, for
//! their states.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use super::plan::{Job, Task};
use super::settings::Settings;
use super::worker::{self, Limits};
use super::workload::Loaded;
use crate::backends::arenas::{ArenaChange as Change, ArenaState, BlockPlace as Place, Geometry};
use crate::program::Action;
use crate::replay::{AddressEntry, FinalState};
use crate::trace::ArenaEvent;

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Calls compared.
    pub calls: usize,
    /// Blocks that lay in pools, among them.
    pub in_pools: u64,
    /// Arenas born.
    pub births: u64,
    /// Arenas that died.
    pub deaths: u64,
    /// The first difference, told.
    pub difference: Option<String>,
    /// The sizes of both, when both told them.
    pub geometries: Option<[Geometry; 2]>,
}

/// Replays `loaded` on both and compares every address relative to its arena, every birth and death
/// of an arena, and the statistics at the end.
///
/// # Errors
/// Why it could not be done.
pub fn compare(
    words: [&str; 2],
    loaded: &Loaded,
    settings: &Settings,
) -> Result<Comparison, String> {
    let calls = loaded.program.instructions().len();
    let sides = both(words, loaded, settings, calls)?;
    let geometries = sides[0].ending.geometry.zip(sides[1].ending.geometry);
    let mut found = Comparison {
        geometries: geometries.map(|(ours, theirs)| [ours, theirs]),
        ..Comparison::default()
    };
    let [mut left, mut right] = sides.each_ref().map(|side| Words::of(&side.file));
    for event in 0..calls {
        let (ours, theirs) = (left.call()?, right.call()?);
        if ours != theirs {
            found.difference = Some(difference(words, loaded, settings, event, [&ours, &theirs])?);
            return Ok(found);
        }
        found.calls += 1;
        let requests = loaded.program.instructions()[event].action() != Action::Free;
        found.in_pools += u64::from(requests && matches!(ours.1, AddressEntry::At(_)));
        for change in ours.0 {
            match change {
                Change::Born(_) => found.births += 1,
                Change::Died(_) => found.deaths += 1,
            }
        }
    }
    let [left, right] = sides.map(|side| side.ending);
    if left.statistics != right.statistics {
        let (ours, theirs) = (&left.statistics, &right.statistics);
        let class = ours.classes.iter().zip(&theirs.classes).find(|(ours, theirs)| ours != theirs);
        found.difference = Some(match class {
            Some((ours, theirs)) => format!(
                "every address is the same, but at the end the statistics differ, first in a class\n  {}: {ours:?}\n  {}: {theirs:?}",
                words[0], words[1]
            ),
            None => format!(
                "every address is the same, but at the end the statistics differ\n  {}: {ours:?}\n  {}: {theirs:?}",
                words[0], words[1]
            ),
        });
    }
    Ok(found)
}

/// Replays `loaded` on `word`, whose arenas lie where the recorded process had them, and holds
/// every birth and death of an arena against the recorded ones, call by call.
///
/// # Errors
/// Why it could not be done.
pub fn compare_recording(
    word: &str,
    recorded: &[ArenaEvent],
    loaded: &Loaded,
    settings: &Settings,
) -> Result<Comparison, String> {
    let calls = loaded.program.instructions().len();
    let side = address_trace_of(word, loaded, settings, calls)?;
    let mut words = Words::of(&side.file);
    let mut found = Comparison::default();
    let mut theirs = Recorded::new(recorded);
    for event in 0..calls {
        let (changes, place) = words.call()?;
        found.calls += 1;
        found.in_pools += u64::from(matches!(place, AddressEntry::At(_)));
        for change in changes {
            match change {
                Change::Born(_) => found.births += 1,
                Change::Died(_) => found.deaths += 1,
            }
            if let Err(instead) = theirs.take(event as u64, change) {
                let ours = tell_change(&change);
                found.difference = Some(format!("event {event}: {ours}, but {instead}"));
                return Ok(found);
            }
        }
    }
    if let Some(left) = theirs.rest.iter().find(|left| left.event <= calls as u64) {
        let Comparison { births, deaths, .. } = found;
        found.difference = Some(format!(
            "{births} arenas were born and {deaths} died, but in the recorded process there was also the {} of the arena at \
             {:#x} at event {}",
            left.name(),
            left.base,
            left.event
        ));
    }
    Ok(found)
}

/// AllocationSites and deaths of the recorded process that are still to come.
struct Recorded<'a> {
    rest: &'a [ArenaEvent],
    /// Base → birth of those that live.
    live: HashMap<u64, usize>,
    births: usize,
}

impl Recorded<'_> {
    fn new(all: &[ArenaEvent]) -> Recorded<'_> {
        Recorded { rest: all, live: HashMap::new(), births: 0 }
    }

    /// Whether the next one is this change in this call; else what it is instead.
    fn take(&mut self, event: u64, change: Change) -> Result<(), String> {
        let Some((next, rest)) = self.rest.split_first() else {
            return Err("the recorded process had no more births and deaths".to_owned());
        };
        let same = match change {
            // A birth is noted while its call runs, a death behind it; a realloc does both in one.
            Change::Born(birth) => next.is_birth && birth == self.births && next.event == event,
            Change::Died(birth) => {
                let is_it = self.live.get(&next.base) == Some(&birth);
                !next.is_birth && is_it && (next.event == event || next.event == event + 1)
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
            self.live.insert(next.base, self.births);
            self.births += 1;
        } else {
            self.live.remove(&next.base);
        }
        self.rest = rest;
        Ok(())
    }
}

/// What one side left.
struct Side {
    file: File,
    ending: FinalState,
}

/// Runs both children, at once, up to a call.
fn both(
    words: [&str; 2],
    loaded: &Loaded,
    settings: &Settings,
    calls: usize,
) -> Result<[Side; 2], String> {
    let [left, right] = std::thread::scope(|scope| {
        words.map(|word| scope.spawn(move || address_trace_of(word, loaded, settings, calls))).map(
            |side| side.join().unwrap_or_else(|_| Err("a thread of the comparison died".into())),
        )
    });
    Ok([left?, right?])
}

/// Replays in a child and reads what it ended with; where its blocks lie is in the file.
fn address_trace_of(
    word: &str,
    loaded: &Loaded,
    settings: &Settings,
    calls: usize,
) -> Result<Side, String> {
    let told = |error: std::io::Error| format!("backend `{word}`: {error}");
    let file = rustix::fs::memfd_create("heaplay-places", rustix::fs::MemfdFlags::CLOEXEC);
    let file = File::from(file.map_err(|error| told(error.into()))?);
    let out = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    let task = Task::AddressTrace { backend: word.to_owned(), program: loaded.path(), calls, out };
    let limits =
        Limits { time: settings.time_limit(calls) * 4, memory_bytes: settings.memory_bytes };
    let ended = worker::run(&Job { task, processor: None, time_slices: false }, limits);
    let text = ended.map_err(told)?.well()?;
    let ending = serde_json::from_str(&text).map_err(|error| {
        format!("backend `{word}`: the child's words are not its result: {error}")
    })?;
    Ok(Side { file, ending })
}

/// Replays `loaded` up to a call, and tells what was there then.
///
/// # Errors
/// Why it could not be done.
pub fn arenas_at(
    word: &str,
    loaded: &Loaded,
    settings: &Settings,
    calls: usize,
) -> Result<FinalState, String> {
    Ok(address_trace_of(word, loaded, settings, calls)?.ending)
}

/// Reads a record call by call.
struct Words<'a>(BufReader<&'a File>);

/// What happened to arenas during a call, and where its block lies.
type Call = (Vec<Change>, AddressEntry);

impl Words<'_> {
    fn of(mut file: &File) -> Words<'_> {
        let _ = file.rewind(); // a memory file can always be
        Words(BufReader::with_capacity(1 << 16, file))
    }

    fn call(&mut self) -> Result<Call, String> {
        let mut changes = Vec::new();
        loop {
            let mut bytes = [0; 8];
            self.0
                .read_exact(&mut bytes)
                .map_err(|error| format!("a child's record is cut off: {error}"))?;
            match AddressEntry::from_bytes(bytes) {
                AddressEntry::Change(change) => changes.push(change),
                word => return Ok((changes, word)),
            }
        }
    }
}

/// Tells the first difference: the call, what each did, and the pool and arena that it concerns,
/// before the call.
fn difference(
    words: [&str; 2],
    loaded: &Loaded,
    settings: &Settings,
    event: usize,
    calls: [&Call; 2],
) -> Result<String, String> {
    let instruction = loaded.program.instructions()[event];
    let action = instruction.action();
    let size = if action == Action::Free {
        String::new()
    } else {
        format!(" of {} bytes", loaded.program.size(event))
    };
    let mut text =
        format!("event {event}: {} in {}{size}\n", action.name(), instruction.domain().name());
    let before = both(words, loaded, settings, event)?;
    for ((word, call), side) in words.into_iter().zip(calls).zip(&before) {
        text.push_str(&format!("  {word}: {}\n", tell(call)));
        let mut wanted = vec![calls[0].1, calls[1].1];
        wanted.dedup();
        for place in wanted
            .into_iter()
            .filter_map(|word| if let AddressEntry::At(place) = word { Some(place) } else { None })
        {
            text.push_str(&format!("    before: {}\n", state(&side.ending.arenas, place)));
        }
        let counts: Vec<String> = side
            .ending
            .arenas
            .iter()
            .map(|arena| format!("#{}: {}/{}", arena.birth, free(arena), arena.pools.len()))
            .take(12)
            .collect();
        text.push_str(&format!(
            "    before: {} arenas mapped; free pools of the first: {}\n",
            side.ending.arenas.len(),
            counts.join(", ")
        ));
    }
    Ok(text)
}

fn free(arena: &ArenaState) -> usize {
    arena.pools.iter().filter(|pool| pool.live == 0).count()
}

fn tell((changes, word): &Call) -> String {
    let mut parts: Vec<String> = changes.iter().map(tell_change).collect();
    parts.push(match word {
        AddressEntry::At(Place { birth, offset }) => {
            format!("the block is at arena #{birth} + {offset:#x}")
        }
        _ => "the block is outside the pools".to_owned(),
    });
    parts.join(", ")
}

fn tell_change(change: &Change) -> String {
    match change {
        Change::Born(birth) => format!("arena #{birth} is born"),
        Change::Died(birth) => format!("arena #{birth} dies"),
    }
}

/// The pool and the arena around a place.
fn state(arenas: &[ArenaState], place: Place) -> String {
    let Some(arena) = arenas.iter().find(|arena| arena.birth == place.birth) else {
        return format!("arena #{} is not there", place.birth);
    };
    let pool = arena.pools.iter().rev().find(|pool| pool.offset <= place.offset);
    let told = pool.map_or("no pool".to_owned(), |pool| match pool.live {
        0 => format!("the pool at {:#x} is free", pool.offset),
        live => format!(
            "the pool at {:#x} has blocks of {} bytes, {live} of {} live, next out at {:#x}, never used from {:#x}",
            pool.offset, pool.block, pool.capacity, pool.next, pool.virgin
        ),
    });
    format!("arena #{}, {} of {} pools free; {told}", arena.birth, free(arena), arena.pools.len())
}
