//! A program as bytes, on its way to a worker.
//!
//! ```text
//! magic      8 bytes  HPROGRM3
//! outline    u64s: calls, slots, calls by action (4), bytes requested by action (4), live peak
//!            bytes, its call, live bytes and blocks at the end, live peak blocks;
//!            arenas (their number, then addresses); kinds (program/kinds.rs)
//! part       u64s: calls (not 0), wide sizes; the instructions; each wide size (index in the part,
//!            size); where there are kinds, a u32 for each call
//! end        u64 0
//! ```
//!
//! All numbers are little-endian. `parts.rs` proves what is read here.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::compiled::Program;
use super::instruction::{Instruction, SLOT_LIMIT};
use super::kinds;
use super::outline::{Outline, Profile};
use super::reading::{read_u64, unsound};

const MAGIC: &[u8; 8] = b"HPROGRM3";

/// Bytes that are put together before they are written.
const BUFFER_BYTES: usize = 1 << 16;

pub(super) fn write_outline(outline: &Outline, out: &mut impl Write) -> io::Result<()> {
    let profile = &outline.profile;
    let mut numbers = vec![outline.calls, outline.slots as u64];
    numbers.extend(profile.calls);
    numbers.extend(profile.requested_bytes);
    numbers.extend([profile.live_peak_bytes, profile.live_peak_event]);
    numbers.extend([profile.live_end_bytes, profile.live_end_blocks, profile.live_peak_blocks]);
    numbers.push(outline.arena_bases.len() as u64);
    numbers.extend(&outline.arena_bases);
    out.write_all(MAGIC)?;
    out.write_all(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())?;
    kinds::write(&outline.kinds, out)
}

pub(super) fn read_outline(input: &mut impl Read) -> io::Result<Outline> {
    let mut magic = [0; 8];
    input.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(unsound("another beginning"));
    }
    let calls = read_u64(input)?;
    let slots = read_u64(input)? as usize;
    if slots > SLOT_LIMIT || slots as u64 > calls {
        return Err(unsound("more slots than calls"));
    }
    let mut four = || {
        Ok::<_, io::Error>([read_u64(input)?, read_u64(input)?, read_u64(input)?, read_u64(input)?])
    };
    let profile = Profile {
        calls: four()?,
        requested_bytes: four()?,
        live_peak_bytes: read_u64(input)?,
        live_peak_event: read_u64(input)?,
        live_end_bytes: read_u64(input)?,
        live_end_blocks: read_u64(input)?,
        live_peak_blocks: read_u64(input)?,
    };
    let arenas = read_u64(input)?;
    let arena_bases = (0..arenas).map(|_| read_u64(input)).collect::<io::Result<Vec<u64>>>()?;
    Ok(Outline { calls, slots, kinds: kinds::read(input)?, arena_bases, profile })
}

pub(super) fn write_part(part: &Program, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&(part.instructions.len() as u64).to_le_bytes())?;
    out.write_all(&(part.wide.len() as u64).to_le_bytes())?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    for some in part.instructions.chunks(BUFFER_BYTES / 8) {
        buffer.clear();
        buffer.extend(some.iter().flat_map(|instruction| instruction.0.to_le_bytes()));
        out.write_all(&buffer)?;
    }
    for (&at, &size) in &part.wide {
        out.write_all(&(at as u64).to_le_bytes())?;
        out.write_all(&size.to_le_bytes())?;
    }
    if !part.outline.kinds.is_empty() {
        for some in part.kind_of.chunks(BUFFER_BYTES / 4) {
            buffer.clear();
            buffer.extend(some.iter().flat_map(|kind| kind.to_le_bytes()));
            out.write_all(&buffer)?;
        }
    }
    Ok(())
}

pub(super) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 8])
}

/// Reads a part of so many calls, whose number was read already. `first` calls were in the parts
/// before.
pub(super) fn read_part(
    input: &mut impl Read,
    outline: &Arc<Outline>,
    first: u64,
    calls: usize,
) -> io::Result<Program> {
    let wide_count = read_u64(input)? as usize;
    if wide_count > calls {
        return Err(unsound("more sizes than calls"));
    }
    let mut instructions = Vec::new();
    instructions.try_reserve_exact(calls).map_err(|_| unsound("more calls than memory"))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    while instructions.len() < calls {
        let bytes = (8 * (calls - instructions.len())).min(buffer.len());
        input.read_exact(&mut buffer[..bytes])?;
        let numbers = buffer[..bytes].as_chunks().0.iter();
        instructions.extend(numbers.map(|bytes| Instruction(u64::from_le_bytes(*bytes))));
    }
    let mut wide = BTreeMap::new();
    for _ in 0..wide_count {
        let at = read_u64(input)? as usize;
        wide.insert(at, read_u64(input)?);
    }
    let mut kind_of = Vec::new();
    if !outline.kinds.is_empty() {
        kind_of.try_reserve_exact(calls).map_err(|_| unsound("more calls than memory"))?;
        while kind_of.len() < calls {
            let bytes = (4 * (calls - kind_of.len())).min(buffer.len());
            input.read_exact(&mut buffer[..bytes])?;
            let numbers = buffer[..bytes].as_chunks().0.iter();
            kind_of.extend(numbers.map(|bytes| u32::from_le_bytes(*bytes)));
        }
    }
    Ok(Program { outline: Arc::clone(outline), first, instructions, wide, kind_of })
}
