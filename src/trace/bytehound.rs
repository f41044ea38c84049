//! What bytehound exports for its replay (`bytehound extract`, `/export/replay`): native-endian
//! numbers of 8 bytes.
//!
//! ```text
//! SLOTS                          the number of slots
//! KIND A B C                     an operation, 32 bytes:
//!   1 SLOT MICROSECONDS SIZE     a block begins in the slot
//!   2 SLOT MICROSECONDS 0        the block of the slot ends
//!   3 SLOT MICROSECONDS SIZE     the block of the slot is resized, and stays in it
//!   4 FRAME 0 0                  the program enters a frame
//!   5 0 0 0                      the program leaves a frame
//! 0                              the end
//! ```
//!
//! Times count from the first operation. Frames are numbers without names, so there are no sites.
//! There are no threads. A file without the end was cut off.
//!
//! bytehound's export for heaptrack is read by `heaptrack.rs`.

use super::byte_input::ByteInput;
use super::event::Op;
use super::foreign::{ByteFault, ByteParser, Foreign, Log, LogParser, LogStart};

pub(super) const MEMBER: Foreign = Foreign {
    name: "bytehound",
    description: "a replay export of bytehound",
    sniff,
    parser: || LogParser::Bytes(Box::new(Bytehound::default())),
};

const END: u64 = 0;
const ALLOC: u64 = 1;
const FREE: u64 = 2;
const REALLOC: u64 = 3;
const GO_DOWN: u64 = 4;
const GO_UP: u64 = 5;
/// Bytes before and behind the operations, and of one.
const HEADER_BYTES: u64 = 8;
const END_BYTES: u64 = 8;
const OPERATION_BYTES: u64 = 32;

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at * 8..)?.first_chunk()?))
}

fn sniff(start: &LogStart<'_>) -> bool {
    let Some(slots) = word(start.bytes, 0).filter(|slots| *slots > 0) else { return false };
    let is_of_length = start.length_bytes.is_none_or(|bytes| {
        bytes % OPERATION_BYTES == (HEADER_BYTES + END_BYTES) % OPERATION_BYTES
    });
    let operations = (start.bytes.len() - HEADER_BYTES as usize) / OPERATION_BYTES as usize;
    let is_sound = |at: usize| {
        let fields = |field: usize| word(start.bytes, 1 + at * 4 + field).unwrap_or(u64::MAX);
        match fields(0) {
            ALLOC | REALLOC => fields(1) < slots,
            FREE => fields(1) < slots && fields(3) == 0,
            GO_DOWN => fields(2) == 0 && fields(3) == 0,
            GO_UP => fields(1) == 0 && fields(2) == 0 && fields(3) == 0,
            _ => false,
        }
    };
    is_of_length && operations > 0 && (0..operations.min(100)).all(is_sound)
}

#[derive(Default)]
struct Bytehound {
    slots: Option<u64>,
    is_over: bool,
    first_us: Option<u64>,
    live: std::collections::HashSet<u64>,
}

impl ByteParser for Bytehound {
    fn record(&mut self, input: &mut ByteInput, log: &mut Log) -> Result<bool, ByteFault> {
        let wrong = |found: String, expected| Err(ByteFault::Wrong(found, expected));
        let mut next = || input.bytes().map(u64::from_ne_bytes);
        if self.slots.is_none() {
            self.slots = Some(next()?);
        }
        let kind = next()?;
        if kind == END {
            if !input.is_at_end()? {
                return wrong("bytes behind the end".into(), "one export a file");
            }
            self.is_over = true;
            return Ok(false);
        }
        let (slot, time_us, size) = (next()?, next()?, next()?);
        if matches!(kind, ALLOC | FREE | REALLOC) {
            if Some(slot) >= self.slots {
                return wrong(
                    format!("the slot {slot} of {}", self.slots.unwrap_or(0)),
                    "a slot below the number of slots",
                );
            }
            if (kind == ALLOC) == self.live.contains(&slot) {
                return wrong(
                    format!("an operation of kind {kind} on slot {slot}"),
                    "a begin in an empty slot, or an end of a block",
                );
            }
            let first_us = *self.first_us.get_or_insert(time_us);
            log.set_time(time_us.saturating_mul(1000), first_us.saturating_mul(1000));
        }
        // An address is never 0, so 1 is added.
        let address = slot.wrapping_add(1);
        match kind {
            ALLOC => {
                self.live.insert(slot);
                log.birth(Op::Malloc, size, address);
            }
            FREE => {
                self.live.remove(&slot);
                log.free(address);
            }
            REALLOC => log.realloc(address, size, address),
            GO_DOWN | GO_UP => {}
            _ => return wrong(format!("an operation of kind {kind}"), "a kind from 0 to 5"),
        }
        Ok(true)
    }
}
