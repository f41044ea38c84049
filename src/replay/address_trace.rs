//! The address trace: where every block lies.
//!
//! It replays a program on a pool allocator. For each call it writes which arena (by birth) and
//! which offset in it the block got, and the births and deaths of arenas. So `heaplay verify
//! --against` compares two allocators call by call.
//!
//! The trace is a sequence of entries of 8 bytes, little-endian ([`AddressEntry`]). Each call has
//! the changes to arenas that it caused, then one entry for its block. For a free this is where the
//! block lay.

use std::ffi::c_void;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::calls::{Slots, Tables, replay};
use super::error::ReplayError;
use super::probe::{Done, Probe};
use crate::backends::Backend;
use crate::backends::arenas::{
    ArenaChange as Change, ArenaState, ArenaStatistics as Statistics, Arenas, BlockPlace as Place,
    Geometry,
};
use crate::program::{Action, Program};

/// One entry of the address trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressEntry {
    /// The call's block lies outside the pools.
    Below,
    /// The call's block lies in an arena.
    At(Place),
    /// An arena was born or died during the call.
    Change(Change),
}

/// The kind of entry is in the top two bits, the birth in the next 31, the offset in the last 31.
const KIND_SHIFT: u32 = 62;
const BIRTH_SHIFT: u32 = 31;
const MASK: u64 = (1 << 31) - 1;

impl AddressEntry {
    /// The entry as bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        let pack = |kind: u64, birth: usize, low: usize| {
            kind << KIND_SHIFT | (birth as u64 & MASK) << BIRTH_SHIFT | low as u64 & MASK
        };
        let bits = match self {
            AddressEntry::Below => 0,
            AddressEntry::At(Place { birth, offset }) => pack(1, birth, offset),
            AddressEntry::Change(Change::Born(birth)) => pack(2, birth, 0),
            AddressEntry::Change(Change::Died(birth)) => pack(3, birth, 0),
        };
        bits.to_le_bytes()
    }

    /// The entry of these bytes.
    pub fn from_bytes(bytes: [u8; 8]) -> AddressEntry {
        let bits = u64::from_le_bytes(bytes);
        let (birth, offset) = ((bits >> BIRTH_SHIFT & MASK) as usize, (bits & MASK) as usize);
        match bits >> KIND_SHIFT {
            0 => AddressEntry::Below,
            1 => AddressEntry::At(Place { birth, offset }),
            2 => AddressEntry::Change(Change::Born(birth)),
            _ => AddressEntry::Change(Change::Died(birth)),
        }
    }
}

/// The state of a pool allocator after a replay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FinalState {
    /// The allocator's own statistics.
    pub statistics: Statistics,
    /// Every mapped arena, read from the headers of its pools.
    pub arenas: Vec<ArenaState>,
    /// The sizes of its size classes, pools and arenas.
    pub geometry: Option<Geometry>,
}

/// Writes the address trace.
struct AddressRecorder<'a, W> {
    arenas: &'a Arenas,
    out: W,
    failure: Option<io::Error>,
    /// The place of the block that the present call ends. After the call its arena may be gone.
    old: Option<Place>,
}

impl<W: Write> AddressRecorder<'_, W> {
    fn put(&mut self, entry: AddressEntry) {
        if let Err(error) = self.out.write_all(&entry.to_bytes()) {
            self.failure.get_or_insert(error);
        }
    }
}

impl<W: Write> Probe for AddressRecorder<'_, W> {
    type Mark = ();
    const LOOKS_INTO_BLOCKS: bool = true;

    fn before(&mut self) {}

    fn ending(&mut self, _index: usize, _slot: usize, block: *mut c_void) {
        self.old = self.arenas.place(block);
    }

    fn after(&mut self, (): (), done: Done) {
        for change in self.arenas.take_changes() {
            self.put(AddressEntry::Change(change));
        }
        let place =
            if done.action == Action::Free { self.old } else { self.arenas.place(done.new) };
        self.put(place.map_or(AddressEntry::Below, AddressEntry::At));
    }
}

/// Replays the first `calls` calls of `program` and writes the address trace to `out`.
///
/// # Errors
/// The backend gives no memory, it has no pools whose arenas are hooked, or `out` cannot be
/// written.
pub fn address_trace_of(
    program: &Program,
    backend: &dyn Backend,
    calls: usize,
    out: impl Write,
) -> Result<FinalState, ReplayError> {
    let instrument = |reason: &str| ReplayError::Instrument(reason.to_owned());
    let pools =
        backend.pools().ok_or_else(|| instrument("this backend has no arenas and pools"))?;
    let arenas = pools
        .arenas()
        .ok_or_else(|| instrument("its arenas are not hooked; `bases=…` hooks them"))?;
    let mut recorder = AddressRecorder { arenas, out, failure: None, old: None };
    let mut slots = Slots::new(program);
    replay(program, &Tables::new(program, backend), &mut slots, 0..calls, &mut recorder)?;
    if let Err(error) = recorder.failure.map_or_else(|| recorder.out.flush(), Err) {
        return Err(instrument(&format!("the address trace cannot be written: {error}")));
    }
    backend
        .check()
        .map_err(|fault| ReplayError::Instrument(format!("after the replay: {fault}")))?;
    Ok(FinalState {
        statistics: pools.statistics().map_err(ReplayError::Instrument)?,
        arenas: arenas.states(),
        geometry: Some(pools.geometry()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_a_round_trip() {
        let at = |birth, offset| AddressEntry::At(Place { birth, offset });
        for entry in [
            AddressEntry::Below,
            at(0, 48),
            at((1 << 31) - 1, (1 << 31) - 1),
            AddressEntry::Change(Change::Born(7)),
            AddressEntry::Change(Change::Died(1 << 30)),
        ] {
            assert_eq!(AddressEntry::from_bytes(entry.to_bytes()), entry);
        }
    }
}
