//! A program in parts: written while a trace is decoded, read and proved while it is replayed.
//!
//! A reader proves each part before it gives it out, and at the end that all calls were there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::compile::walk;
use super::compiled::Program;
use super::encoding::{read_outline, read_part, requests, write_end, write_outline, write_part};
use super::error::ProgramError;
use super::outline::Outline;
use super::prove::Prover;
use super::reading::{read_u64, unsound};
use crate::trace::{Columns, RowBatch, SiteId, TraceReader};

/// Decodes a trace whose outline is known from an earlier compilation, and writes it in parts of a
/// mebi of calls, for [`Parts`]. It needs memory for two parts and the live blocks. With `site_of`,
/// the site of each number that the trace has, a part has the site of each of its requests.
///
/// # Errors
/// What the reader finds, and when `out` cannot be written.
pub fn write_parts(
    reader: &mut dyn TraceReader,
    outline: &Arc<Outline>,
    site_of: Option<&[u32]>,
    out: &mut impl Write,
) -> Result<(), ProgramError> {
    write_outline(outline, out).map_err(ProgramError::Handing)?;
    // Sites of requests whose part is not done, in order.
    let waiting: RefCell<VecDeque<u32>> = RefCell::default();
    let mut write = |mut part: Program| {
        if site_of.is_some() {
            let mut waiting = waiting.borrow_mut();
            let here = requests(&part.instructions).min(waiting.len());
            part.request_sites.extend(waiting.drain(..here));
        }
        write_part(&part, out).map_err(ProgramError::Handing)
    };
    let seen = |batch: &RowBatch| {
        if let Some(site_of) = site_of {
            let site = |site: &SiteId| site_of.get(site.0 as usize).copied().unwrap_or(0);
            waiting.borrow_mut().extend(batch.sites.iter().map(site));
        }
    };
    let looks_at = Columns { site: site_of.is_some(), ..Columns::default() };
    let mut compiler = walk(reader, looks_at, 0, seen, |compiler| {
        while let Some(part) = compiler.take_segment(outline) {
            write(part)?;
        }
        Ok(())
    })?;
    let rest = compiler.take_rest(outline);
    if !rest.instructions.is_empty() {
        write(rest)?;
    }
    write_end(out).and_then(|()| out.flush()).map_err(ProgramError::Handing)
}

/// Reads a program part by part, and proves each.
pub struct Parts<R> {
    input: R,
    outline: Arc<Outline>,
    prover: Prover,
    /// A part was not sound: nothing more is given out.
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

    /// What is known of the program before its first call. Its profile is proved only once all
    /// parts were read.
    pub fn outline(&self) -> &Arc<Outline> {
        &self.outline
    }

    /// The next part; `None` when all were read, and were what the outline says.
    ///
    /// # Errors
    /// When `input` ends early or the program is not sound. Afterwards no part is given out.
    pub fn next_part(&mut self) -> io::Result<Option<Program>> {
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(unsound("it was found broken before"));
        }
        let part = self.read_and_prove()?;
        self.is_broken = false;
        Ok(part)
    }

    fn read_and_prove(&mut self) -> io::Result<Option<Program>> {
        let calls = read_u64(&mut self.input)?;
        let left = self.outline.calls - self.prover.calls();
        if calls == 0 && left == 0 && self.prover.finish() == self.outline.profile {
            return Ok(None);
        }
        if calls == 0 || calls > left {
            return Err(unsound("other calls than it says"));
        }
        let first = self.prover.calls();
        let part = read_part(&mut self.input, &self.outline, first, calls as usize)?;
        self.prover.part(&part).map_err(unsound)?;
        Ok(Some(part))
    }
}

impl Program {
    /// Writes the program for a worker: magic, outline, and all calls as one part
    /// (`program/encoding.rs`).
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write_outline(&self.outline, out)?;
        write_part(self, out)?;
        write_end(out)
    }

    /// Reads what [`Program::write`] wrote, and proves the invariants again: the file may come from
    /// anywhere.
    ///
    /// # Errors
    /// When `input` ends early or holds no sound program.
    pub fn read(input: &mut impl Read) -> io::Result<Program> {
        let mut parts = Parts::begin(input)?;
        let calls = parts.outline().calls;
        let whole = parts.next_part()?.filter(|part| part.instructions.len() as u64 == calls);
        let whole = whole.ok_or_else(|| unsound("it is in several parts"))?;
        match parts.next_part()? {
            None => Ok(whole),
            Some(_) => Err(unsound("more calls than it says")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::compile;
    use super::*;
    use crate::trace::{Distribution, Generator};

    fn generated(calls: u64) -> Generator {
        Generator::new(3, calls, Distribution::python_sizes(), Distribution::python_lifetimes())
    }

    /// Several segments, and a rest.
    const CALLS: u64 = (3 << 20) + 12_345;

    #[test]
    fn parts_are_the_program_in_order() {
        let whole = compile(&mut generated(CALLS)).unwrap();
        let mut bytes = Vec::new();
        write_parts(&mut generated(CALLS), whole.outline(), None, &mut bytes).unwrap();
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
        write_parts(&mut generated(CALLS), whole.outline(), None, &mut bytes).unwrap();
        let second = bytes.len() - 8 - 8 * (CALLS as usize - (1 << 20)) - 3 * 32;
        let mut doubled = bytes.clone();
        // The second part again in place of the third: each block would begin twice.
        let part = 32 + (8 << 20);
        doubled.copy_within(second..second + part, second + part);
        let mut parts = Parts::begin(doubled.as_slice()).unwrap();
        assert!(parts.next_part().unwrap().is_some() && parts.next_part().unwrap().is_some());
        assert!(parts.next_part().is_err() && parts.next_part().is_err());
        // Cut off, or with an outline of other calls.
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
