//! A program as bytes, on its way to a worker.
//!
//! ```text
//! magic      8 bytes  HPROGRM6
//! outline    u64s: calls, slots, calls by action (4), bytes requested by action (4), live peak
//!            bytes, its call, live bytes and blocks at the end, live peak blocks;
//!            arenas (their number, then addresses); kinds (program/kinds.rs);
//!            threads (their number, then six numbers each: program/threads.rs);
//!            requests to the allocator (bytes of JSON, then those bytes);
//!            partly touched blocks (their number, then call and touched bytes of each)
//! part       u64s: calls (not 0), wide requests, runs of threads, sites (none, or one for each
//!            request); the instructions; each wide request (index in the part, size, alignment);
//!            each run (one past its last call, thread); where there are kinds, a u32 for each call;
//!            the sites as u32s
//! end        u64 0
//! ```
//!
//! All numbers are little-endian. `parts.rs` proves what is read here.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::compiled::{Program, ThreadRun, WideRequest};
use super::instruction::{Action, Instruction, SLOT_LIMIT};
use super::kinds;
use super::outline::{Outline, Profile, ProgramThread};
use super::reading::{read_u64, unsound};
use super::threads;
use crate::trace::{AllocatorEvent, PresentBytes};

const MAGIC: &[u8; 8] = b"HPROGRM6";

/// Bytes of requests to the allocator, at most.
const REQUESTS_LIMIT_BYTES: u64 = 1 << 28;

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
    kinds::write(&outline.kinds, out)?;
    let threads = threads::to_numbers(&outline.threads);
    out.write_all(&(outline.threads.len() as u64).to_le_bytes())?;
    out.write_all(&threads.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())?;
    let requests = serde_json::to_vec(&outline.requests)?;
    out.write_all(&(requests.len() as u64).to_le_bytes())?;
    out.write_all(&requests)?;
    let present = outline.present.iter().flat_map(|present| [present.event, present.bytes]);
    out.write_all(&(outline.present.len() as u64).to_le_bytes())?;
    out.write_all(&present.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
}

pub(super) fn read_outline(input: &mut impl Read) -> io::Result<Outline> {
    let mut magic = [0; 8];
    input.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(unsound("another beginning"));
    }
    let calls = read_u64(input)?;
    let slots = read_u64(input)? as usize;
    if slots > SLOT_LIMIT || slots as u64 > calls + 1 {
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
    let kinds = kinds::read(input)?;
    let (threads, requests) = (read_threads(input)?, read_requests(input)?);
    let count = read_u64(input)?;
    let one = |_| Ok(PresentBytes { event: read_u64(input)?, bytes: read_u64(input)? });
    let present = (0..count).map(one).collect::<io::Result<Vec<PresentBytes>>>()?;
    Ok(Outline { calls, slots, kinds, arena_bases, profile, threads, requests, present })
}

fn read_threads(input: &mut impl Read) -> io::Result<Vec<ProgramThread>> {
    let mut table = Vec::new();
    for _ in 0..read_u64(input)? {
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = read_u64(input)?;
        }
        table.push(threads::from_numbers(numbers));
    }
    Ok(table)
}

fn read_requests(input: &mut impl Read) -> io::Result<Vec<AllocatorEvent>> {
    let length = read_u64(input)?;
    if length > REQUESTS_LIMIT_BYTES {
        return Err(unsound("requests to the allocator over the limit"));
    }
    let mut json = Vec::new();
    input.take(length).read_to_end(&mut json)?;
    serde_json::from_slice(&json).map_err(|_| unsound("requests to the allocator"))
}

pub(super) fn write_part(part: &Program, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&(part.instructions.len() as u64).to_le_bytes())?;
    out.write_all(&(part.wide.len() as u64).to_le_bytes())?;
    out.write_all(&(part.thread_runs.len() as u64).to_le_bytes())?;
    out.write_all(&(part.request_sites.len() as u64).to_le_bytes())?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    for some in part.instructions.chunks(BUFFER_BYTES / 8) {
        buffer.clear();
        buffer.extend(some.iter().flat_map(|instruction| instruction.0.to_le_bytes()));
        out.write_all(&buffer)?;
    }
    for (&at, request) in &part.wide {
        for number in [at as u64, request.size, request.alignment] {
            out.write_all(&number.to_le_bytes())?;
        }
    }
    buffer.clear();
    for run in &part.thread_runs {
        buffer.extend((run.until as u64).to_le_bytes());
        buffer.extend(u64::from(run.thread).to_le_bytes());
    }
    out.write_all(&buffer)?;
    if !part.outline.kinds.is_empty() {
        write_numbers(&part.kind_of, out)?;
    }
    write_numbers(&part.request_sites, out)
}

/// Writes numbers of 32 bits.
fn write_numbers(numbers: &[u32], out: &mut impl Write) -> io::Result<()> {
    let mut buffer = Vec::new();
    for some in numbers.chunks(BUFFER_BYTES / 4) {
        buffer.clear();
        buffer.extend(some.iter().flat_map(|number| number.to_le_bytes()));
        out.write_all(&buffer)?;
    }
    Ok(())
}

/// Reads so many numbers of 32 bits.
fn read_numbers(input: &mut impl Read, count: usize) -> io::Result<Vec<u32>> {
    let mut read = Vec::new();
    read.try_reserve_exact(count).map_err(|_| unsound("more calls than memory"))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    while read.len() < count {
        let bytes = (4 * (count - read.len())).min(buffer.len());
        input.read_exact(&mut buffer[..bytes])?;
        let numbers = buffer[..bytes].as_chunks().0.iter();
        read.extend(numbers.map(|bytes| u32::from_le_bytes(*bytes)));
    }
    Ok(read)
}

/// How many of these calls request memory.
pub(super) fn requests(instructions: &[Instruction]) -> usize {
    instructions.iter().filter(|instruction| instruction.action() != Action::Free).count()
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
    let run_count = read_u64(input)? as usize;
    if run_count > calls {
        return Err(unsound("more runs of threads than calls"));
    }
    let site_count = read_u64(input)? as usize;
    if site_count > calls {
        return Err(unsound("more sites than calls"));
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
        let (size, alignment) = (read_u64(input)?, read_u64(input)?);
        wide.insert(at, WideRequest { size, alignment });
    }
    let mut thread_runs = Vec::new();
    for _ in 0..run_count {
        let until = read_u64(input)? as usize;
        thread_runs.push(ThreadRun { until, thread: read_u64(input)? as u32 });
    }
    let kinds_here = if outline.kinds.is_empty() { 0 } else { calls };
    let kind_of = read_numbers(input, kinds_here)?;
    let request_sites = read_numbers(input, site_count)?;
    if site_count > 0 && site_count != requests(&instructions) {
        return Err(unsound("other sites than requests"));
    }
    let outline = Arc::clone(outline);
    Ok(Program { outline, first, instructions, wide, kind_of, thread_runs, request_sites })
}
