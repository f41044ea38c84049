//! A program on its way to a worker, whole or in parts that are decoded while it
//! replays.
//!
//! ```text
//! magic      8 bytes  HPROGRM3
//! outline    u64 words: calls, slots, calls by action (4), bytes requested by action (4), live peak bytes, its call, live bytes
//!            and blocks at the end, live peak blocks; arenas (their number, then bases); kinds (program/kinds.rs)
//! part       u64 words: calls (not 0), wide sizes; the instructions; each wide size (place in the part, size); where there
//!            are kinds, a u32 for each call
//! end        u64 0
//! ```
//!
//! All little-endian. A reader proves each part before it gives it out, and at the end that all
//! calls were there.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::compile::walk;
use super::{
    Instruction, Outline, Profile, Program, ProgramError, Prover, SLOT_LIMIT, kinds, unsound, word,
};
use crate::trace::{Columns, TraceReader};

const MAGIC: &[u8; 8] = b"HPROGRM3";

pub(super) fn write_outline(outline: &Outline, out: &mut impl Write) -> io::Result<()> {
    let profile = &outline.profile;
    let mut words = vec![outline.calls, outline.slots as u64];
    words.extend(profile.calls);
    words.extend(profile.requested_bytes);
    words.extend([profile.live_peak_bytes, profile.live_peak_event]);
    words.extend([profile.live_end_bytes, profile.live_end_blocks, profile.live_peak_blocks]);
    words.push(outline.arena_bases.len() as u64);
    words.extend(&outline.arena_bases);
    out.write_all(MAGIC)?;
    out.write_all(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())?;
    kinds::write(&outline.kinds, out)
}

fn read_outline(input: &mut impl Read) -> io::Result<Outline> {
    let mut magic = [0; 8];
    input.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(unsound("another beginning"));
    }
    let calls = word(input)?;
    let slots = word(input)? as usize;
    if slots > SLOT_LIMIT || slots as u64 > calls {
        return Err(unsound("more slots than calls"));
    }
    let mut four = || Ok::<_, io::Error>([word(input)?, word(input)?, word(input)?, word(input)?]);
    let profile = Profile {
        calls: four()?,
        requested_bytes: four()?,
        live_peak_bytes: word(input)?,
        live_peak_event: word(input)?,
        live_end_bytes: word(input)?,
        live_end_blocks: word(input)?,
        live_peak_blocks: word(input)?,
    };
    let arena_bases = (0..word(input)?).map(|_| word(input)).collect::<io::Result<Vec<u64>>>()?;
    Ok(Outline { calls, slots, kinds: kinds::read(input)?, arena_bases, profile })
}

/// Bytes that are put together before they are written.
const BUFFER_BYTES: usize = 1 << 16;

pub(super) fn write_part(part: &Program, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&(part.instructions.len() as u64).to_le_bytes())?;
    out.write_all(&(part.wide.len() as u64).to_le_bytes())?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    for stretch in part.instructions.chunks(BUFFER_BYTES / 8) {
        buffer.clear();
        buffer.extend(stretch.iter().flat_map(|instruction| instruction.0.to_le_bytes()));
        out.write_all(&buffer)?;
    }
    for (&at, &size) in &part.wide {
        out.write_all(&(at as u64).to_le_bytes())?;
        out.write_all(&size.to_le_bytes())?;
    }
    if !part.outline.kinds.is_empty() {
        for stretch in part.kind_of.chunks(BUFFER_BYTES / 4) {
            buffer.clear();
            buffer.extend(stretch.iter().flat_map(|kind| kind.to_le_bytes()));
            out.write_all(&buffer)?;
        }
    }
    Ok(())
}

pub(super) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 8])
}

/// Decodes a trace, whose outline is known from having compiled it before, and writes it in parts
/// of a mebi of calls, for [`Parts`]. Memory is needed for two parts and the blocks that are live.
///
/// # Errors
/// What the reader finds, and when `out` cannot be written.
pub fn write_parts(
    reader: &mut dyn TraceReader,
    outline: &Arc<Outline>,
    out: &mut impl Write,
) -> Result<(), ProgramError> {
    write_outline(outline, out).map_err(ProgramError::Handing)?;
    let mut compiler = walk(
        reader,
        Columns::default(),
        0,
        |_| {},
        |compiler| {
            while let Some(part) = compiler.take_stretch(outline) {
                write_part(&part, out).map_err(ProgramError::Handing)?;
            }
            Ok(())
        },
    )?;
    let rest = compiler.take_rest(outline);
    if !rest.instructions.is_empty() {
        write_part(&rest, out).map_err(ProgramError::Handing)?;
    }
    write_end(out).and_then(|()| out.flush()).map_err(ProgramError::Handing)
}

/// Reads a program part by part, and proves each.
pub struct Parts<R> {
    input: R,
    outline: Arc<Outline>,
    prover: Prover,
    /// What came was not sound: nothing more is given out.
    is_broken: bool,
}

impl<R: Read> Parts<R> {
    /// Reads the outline.
    ///
    /// # Errors
    /// When `input` ends early or holds something else.
    pub fn begin(mut input: R) -> io::Result<Parts<R>> {
        let outline = Arc::new(read_outline(&mut input)?);
        let prover = Prover::new(&outline);
        Ok(Parts { input, outline, prover, is_broken: false })
    }

    /// What is known of the program before its first call. Its profile is believed only once all
    /// parts were read.
    pub fn outline(&self) -> &Arc<Outline> {
        &self.outline
    }

    /// The next part; `None` when all were read, and were what the outline says.
    ///
    /// # Errors
    /// When `input` ends early or the program is not sound. Afterwards nothing more comes.
    pub fn next_part(&mut self) -> io::Result<Option<Program>> {
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(unsound("it was found broken before"));
        }
        let part = self.read_and_prove()?;
        self.is_broken = false;
        Ok(part)
    }

    fn read_and_prove(&mut self) -> io::Result<Option<Program>> {
        let calls = word(&mut self.input)?;
        let left = self.outline.calls - self.prover.calls();
        if calls == 0 && left == 0 && self.prover.finish() == self.outline.profile {
            return Ok(None);
        }
        if calls == 0 || calls > left {
            return Err(unsound("other calls than it says"));
        }
        let part = self.read_part(calls as usize)?;
        self.prover.part(&part).map_err(unsound)?;
        Ok(Some(part))
    }

    fn read_part(&mut self, calls: usize) -> io::Result<Program> {
        let wide_count = word(&mut self.input)? as usize;
        if wide_count > calls {
            return Err(unsound("more sizes than calls"));
        }
        let mut instructions = Vec::new();
        instructions.try_reserve_exact(calls).map_err(|_| unsound("more calls than memory"))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        while instructions.len() < calls {
            let bytes = (8 * (calls - instructions.len())).min(buffer.len());
            self.input.read_exact(&mut buffer[..bytes])?;
            let words = buffer[..bytes].as_chunks().0.iter();
            instructions.extend(words.map(|bytes| Instruction(u64::from_le_bytes(*bytes))));
        }
        let mut wide = std::collections::BTreeMap::new();
        for _ in 0..wide_count {
            let at = word(&mut self.input)? as usize;
            wide.insert(at, word(&mut self.input)?);
        }
        let mut kind_of = Vec::new();
        if !self.outline.kinds.is_empty() {
            kind_of.try_reserve_exact(calls).map_err(|_| unsound("more calls than memory"))?;
            while kind_of.len() < calls {
                let bytes = (4 * (calls - kind_of.len())).min(buffer.len());
                self.input.read_exact(&mut buffer[..bytes])?;
                let words = buffer[..bytes].as_chunks().0.iter();
                kind_of.extend(words.map(|bytes| u32::from_le_bytes(*bytes)));
            }
        }
        let outline = Arc::clone(&self.outline);
        Ok(Program { outline, first: self.prover.calls(), instructions, wide, kind_of })
    }
}

/// A program as a pass walks it: all of it at once, or its parts as they come.
pub struct Feed<'a> {
    outline: Arc<Outline>,
    source: Source<'a>,
}

enum Source<'a> {
    Whole(Option<&'a Program>),
    Parts(Box<Parts<Box<dyn Read>>>, Option<Program>),
}

impl<'a> From<&'a Program> for Feed<'a> {
    fn from(program: &'a Program) -> Feed<'a> {
        Feed { outline: Arc::clone(program.outline()), source: Source::Whole(Some(program)) }
    }
}

impl From<Parts<Box<dyn Read>>> for Feed<'_> {
    fn from(parts: Parts<Box<dyn Read>>) -> Self {
        Feed { outline: Arc::clone(parts.outline()), source: Source::Parts(Box::new(parts), None) }
    }
}

impl Feed<'_> {
    /// What is known of the program before its first call.
    pub fn outline(&self) -> &Arc<Outline> {
        &self.outline
    }

    /// How many calls the whole program has.
    pub fn calls(&self) -> usize {
        self.outline.calls as usize
    }

    /// The next part, in place of the one before; `None` after the last.
    ///
    /// # Errors
    /// As [`Parts::next_part`].
    pub fn next_part(&mut self) -> io::Result<Option<&Program>> {
        match &mut self.source {
            Source::Whole(program) => Ok(program.take()),
            Source::Parts(parts, held) => {
                *held = None; // its memory first
                *held = parts.next_part()?;
                Ok(held.as_ref())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::*;
    use crate::trace::{Distribution, Generator};

    fn generated(calls: u64) -> Generator {
        Generator::new(3, calls, Distribution::python_sizes(), Distribution::python_lifetimes())
    }

    /// Several stretches, and a rest.
    const CALLS: u64 = (3 << 20) + 12_345;

    #[test]
    fn parts_are_the_program_in_order() {
        let whole = compile(&mut generated(CALLS)).unwrap();
        let mut bytes = Vec::new();
        write_parts(&mut generated(CALLS), whole.outline(), &mut bytes).unwrap();
        let mut parts = Parts::begin(bytes.as_slice()).unwrap();
        assert_eq!(parts.outline(), whole.outline());
        let mut at = 0;
        let mut count = 0;
        while let Some(part) = parts.next_part().unwrap() {
            assert_eq!(part.first(), at as u64);
            assert_eq!(
                part.instructions(),
                &whole.instructions()[at..at + part.instructions().len()]
            );
            at += part.instructions().len();
            count += 1;
        }
        assert_eq!((at as u64, count), (CALLS, 4));
        // A part by itself is no program.
        assert!(Program::read(&mut bytes.as_slice()).is_err());
    }

    #[test]
    fn a_part_that_breaks_a_rule_is_refused_and_nothing_comes_after_it() {
        let whole = compile(&mut generated(CALLS)).unwrap();
        let mut bytes = Vec::new();
        write_parts(&mut generated(CALLS), whole.outline(), &mut bytes).unwrap();
        let second = bytes.len() - 8 - 8 * (CALLS as usize - (1 << 20)) - 3 * 16;
        let mut doubled = bytes.clone();
        // The second part again in place of the third: each block would begin twice.
        let part = 16 + (8 << 20);
        doubled.copy_within(second..second + part, second + part);
        let mut parts = Parts::begin(doubled.as_slice()).unwrap();
        assert!(parts.next_part().unwrap().is_some() && parts.next_part().unwrap().is_some());
        assert!(parts.next_part().is_err() && parts.next_part().is_err());
        // Cut off, or told otherwise than it is.
        let mut parts = Parts::begin(&bytes[..bytes.len() - 8]).unwrap();
        for _ in 0..4 {
            parts.next_part().unwrap();
        }
        assert!(parts.next_part().is_err());
        bytes[8 + 2 * 8] ^= 1; // a malloc more
        let mut parts = Parts::begin(bytes.as_slice()).unwrap();
        for _ in 0..4 {
            parts.next_part().unwrap();
        }
        assert!(parts.next_part().is_err());
    }
}
