//! Where every block lies. Replays a program on a pool allocator and writes down,
//! call by call, which arena (by birth) and which offset in it each block got, and each arena's
//! birth and death, so that two allocators can be held against each other (`heaplay verify
//! --against`).
//!
//! What is written is a sequence of 8-byte words, little-endian ([`Word`]): for each call the
//! changes to arenas that it caused, then where its block lies (for a free: where it lay).

use std::ffi::c_void;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::{Done, Probe, ReplayError, Slots, Tables, replay};
use crate::backends::Backend;
use crate::backends::arenas::{
    ArenaChange as Change, ArenaState, ArenaStatistics as Statistics, Arenas, BlockPlace as Place,
    Geometry,
};
use crate::program::{Action, Program};

/// One word of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The call's block lies outside the pools.
    Below,
    /// The call's block lies in an arena.
    At(Place),
    /// An arena came or went during the call.
    Change(Change),
}

/// The kind is in the top two bits, the birth in the next 31, the offset in the last 31.
const KIND_SHIFT: u32 = 62;
const BIRTH_SHIFT: u32 = 31;
const MASK: u64 = (1 << 31) - 1;

impl Word {
    /// The word's bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        let pack = |kind: u64, birth: usize, low: usize| {
            kind << KIND_SHIFT | (birth as u64 & MASK) << BIRTH_SHIFT | low as u64 & MASK
        };
        let bits = match self {
            Word::Below => 0,
            Word::At(Place { birth, offset }) => pack(1, birth, offset),
            Word::Change(Change::Born(birth)) => pack(2, birth, 0),
            Word::Change(Change::Died(birth)) => pack(3, birth, 0),
        };
        bits.to_le_bytes()
    }

    /// The word of these bytes.
    pub fn from_bytes(bytes: [u8; 8]) -> Word {
        let bits = u64::from_le_bytes(bytes);
        let (birth, offset) = ((bits >> BIRTH_SHIFT & MASK) as usize, (bits & MASK) as usize);
        match bits >> KIND_SHIFT {
            0 => Word::Below,
            1 => Word::At(Place { birth, offset }),
            2 => Word::Change(Change::Born(birth)),
            _ => Word::Change(Change::Died(birth)),
        }
    }
}

/// What a replay ended with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// By the allocator's own account.
    pub statistics: Statistics,
    /// Every mapped arena, read from the headers of its pools.
    pub arenas: Vec<ArenaState>,
    /// Its sizes.
    pub geometry: Option<Geometry>,
}

struct Recorder<'a, W> {
    arenas: &'a Arenas,
    out: W,
    failure: Option<io::Error>,
    /// Where the block lay that a free ends; afterwards its arena may be gone.
    old: Option<Place>,
}

impl<W: Write> Recorder<'_, W> {
    fn put(&mut self, word: Word) {
        if let Err(error) = self.out.write_all(&word.to_bytes()) {
            self.failure.get_or_insert(error);
        }
    }
}

impl<W: Write> Probe for Recorder<'_, W> {
    type Mark = ();
    const LOOKS_INTO_BLOCKS: bool = true;

    fn before(&mut self) {}

    fn ending(&mut self, _index: usize, _slot: usize, block: *mut c_void) {
        self.old = self.arenas.place(block);
    }

    fn after(&mut self, (): (), done: Done) {
        for change in self.arenas.take_changes() {
            self.put(Word::Change(change));
        }
        let place =
            if done.action == Action::Free { self.old } else { self.arenas.place(done.new) };
        self.put(place.map_or(Word::Below, Word::At));
    }
}

/// Replays the first `calls` calls of `program` and writes where every block lies.
///
/// # Errors
/// When the backend gives no memory, has no pools whose arenas are hooked, or `out` cannot be
/// written.
pub fn address_trace_of(
    program: &Program,
    backend: &dyn Backend,
    calls: usize,
    out: impl Write,
) -> Result<Ending, ReplayError> {
    let instrument = |reason: &str| ReplayError::Instrument(reason.to_owned());
    let pools =
        backend.pools().ok_or_else(|| instrument("this backend has no arenas and pools"))?;
    let arenas = pools
        .arenas()
        .ok_or_else(|| instrument("its arenas are not hooked; `bases=…` hooks them"))?;
    let mut recorder = Recorder { arenas, out, failure: None, old: None };
    let mut slots = Slots::new(program);
    replay(program, &Tables::new(program, backend), &mut slots, 0..calls, &mut recorder)?;
    if let Err(error) = recorder.failure.map_or_else(|| recorder.out.flush(), Err) {
        return Err(instrument(&format!("where blocks lie cannot be written down: {error}")));
    }
    backend
        .check()
        .map_err(|fault| ReplayError::Instrument(format!("after the replay: {fault}")))?;
    Ok(Ending {
        statistics: pools.statistics().map_err(ReplayError::Instrument)?,
        arenas: arenas.states(),
        geometry: Some(pools.geometry()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        let at = |birth, offset| Word::At(Place { birth, offset });
        for word in [
            Word::Below,
            at(0, 48),
            at((1 << 31) - 1, (1 << 31) - 1),
            Word::Change(Change::Born(7)),
            Word::Change(Change::Died(1 << 30)),
        ] {
            assert_eq!(Word::from_bytes(word.to_bytes()), word);
        }
    }
}
