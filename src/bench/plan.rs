//! The order in which the cells of a run are measured, and which of them are measured together.

use std::collections::HashSet;

use crate::results::{CellKey, Manifest, Pass};

/// Cells that are measured together: all backends of one trace and repetition for a timed pass,
/// else one cell.
pub type Batch = Vec<CellKey>;

/// Calls up to which latency passes are measured together: each holds 3 bytes a call.
const LATENCY_TOGETHER: usize = 1 << 25;
/// Live bytes up to which touch passes are measured together: each holds them all.
const TOUCH_TOGETHER_BYTES: u64 = 1 << 28;

/// What a child that measures a trace must hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceDemand {
    /// Calls whose instructions are in memory; 0 for a trace in parts.
    pub stored_calls: usize,
    /// Most requested bytes live at once.
    pub live_peak_bytes: u64,
}

/// Puts cells that follow each other into batches. `demand` is what a child of a trace must hold.
pub fn batches(cells: &[CellKey], demand: impl Fn(&str) -> TraceDemand) -> Vec<Batch> {
    let together = |a: &CellKey, b: &CellKey| {
        let timed = match a.pass {
            Pass::Time => true,
            Pass::Latency => demand(&a.trace).stored_calls <= LATENCY_TOGETHER,
            Pass::Touch | Pass::Cold | Pass::Traversal => {
                demand(&a.trace).live_peak_bytes <= TOUCH_TOGETHER_BYTES
            }
            Pass::Footprint | Pass::Free => false,
        };
        timed && a.pass == b.pass && a.trace == b.trace && a.repetition == b.repetition
    };
    cells.chunk_by(together).map(<[CellKey]>::to_vec).collect()
}

/// The cells of `manifest` that are not `done`, in the order in which they are to run.
///
/// Exact cells come first: they run in parallel and disturb nobody. Timed cells follow in rounds,
/// so that each backend and each pass meets the same drift of the machine. Within a round the
/// traces, and for each trace its backends, come in an order drawn from the manifest's seed.
pub fn order(manifest: &Manifest, done: &HashSet<CellKey>) -> Vec<CellKey> {
    let mut cells: Vec<CellKey> =
        manifest.planned().into_iter().filter(|cell| !done.contains(cell)).collect();
    cells.sort_by_key(|cell| {
        let timed = cell.pass.is_timed();
        let draw = |names: &[&str]| draw(manifest.seed, cell, names);
        (
            timed,
            cell.repetition,
            cell.pass,
            if timed { draw(&[&cell.trace]) } else { 0 },
            cell.trace.clone(),
            if timed { draw(&[&cell.trace, &cell.backend]) } else { 0 },
            cell.backend.clone(),
        )
    });
    cells
}

/// A number that depends on the seed, the round and the names: FNV-1a, finished by a multiply.
fn draw(seed: u64, cell: &CellKey, names: &[&str]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325 ^ seed;
    let round = [cell.repetition as u8, cell.pass as u8];
    for byte in names.iter().flat_map(|name| name.bytes()).chain(round) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    (hash ^ hash >> 29).wrapping_mul(0x94D0_49BB_1331_11EB) >> 32
}
