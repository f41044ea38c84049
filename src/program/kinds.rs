//! Room `program`: of which kind each call's block is, where the trace names types. Beside the instructions, which stay 8
//! bytes: a program without types has no list, and its loop does not look for one.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::word;
use crate::trace::{Domain, Kind, Row, Sites, TYPE_LIMIT_BYTES, TypeId};

/// The kinds of a program and which one each call is about; 0 is none, others count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    pub table: Vec<Kind>,
    /// By call; empty when there is no kind at all.
    pub of_call: Vec<u32>,
}

impl Kinds {
    /// The kind of a call.
    #[inline(always)]
    pub fn of(&self, call: usize) -> u32 {
        self.of_call.get(call).copied().unwrap_or(0)
    }

    /// Whether a block of that size and domain may be of that kind: raw blocks go past everything that knows types.
    pub fn fits(&self, kind: u32, size: u64, domain: Domain) -> bool {
        let known = |kind: &Kind| kind.bytes == size && domain != Domain::Raw;
        kind == 0 || self.table.get(kind as usize - 1).is_some_and(known)
    }

    /// Writes them for a worker: their number, each with its size and name, then a `u32` for each call, if there is any.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&(self.table.len() as u64).to_le_bytes())?;
        for kind in &self.table {
            out.write_all(&kind.bytes.to_le_bytes())?;
            out.write_all(&(kind.type_name.len() as u64).to_le_bytes())?;
            out.write_all(kind.type_name.as_bytes())?;
        }
        for stretch in self.of_call.chunks(8192) {
            let bytes: Vec<u8> = stretch.iter().flat_map(|kind| kind.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Reads what [`Kinds::write`] wrote for a program of so many calls.
    pub fn read(input: &mut impl Read, calls: usize) -> io::Result<Kinds> {
        let unsound =
            |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not a list of kinds: {what}"));
        let mut kinds = Kinds::default();
        for _ in 0..word(input)? {
            let bytes = word(input)?;
            let length = word(input)? as usize;
            if length > TYPE_LIMIT_BYTES {
                return Err(unsound("a name over the limit"));
            }
            let mut name = vec![0; length];
            input.read_exact(&mut name)?;
            let type_name = String::from_utf8(name).map_err(|_| unsound("a name that is no text"))?;
            kinds.table.push(Kind { type_name, bytes });
        }
        if !kinds.table.is_empty() {
            kinds.of_call.try_reserve_exact(calls).map_err(|_| unsound("more calls than memory"))?;
            let mut buffer = vec![0; 1 << 15];
            while kinds.of_call.len() < calls {
                let bytes = (4 * (calls - kinds.of_call.len())).min(buffer.len());
                input.read_exact(&mut buffer[..bytes])?;
                let words = buffer[..bytes].as_chunks().0.iter();
                kinds.of_call.extend(words.map(|bytes| u32::from_le_bytes(*bytes)));
            }
        }
        Ok(kinds)
    }
}

/// Numbers the kinds while a trace is compiled.
#[derive(Default)]
pub(super) struct KindsCompiler {
    ids: HashMap<(TypeId, u64), u32>,
    of_call: Vec<u32>,
}

impl KindsCompiler {
    /// The kind of a row's block.
    pub fn of(&mut self, row: &Row) -> u32 {
        if row.type_id == TypeId(0) || row.domain == Domain::Raw {
            return 0;
        }
        let next = self.ids.len() as u32 + 1;
        *self.ids.entry((row.type_id, row.size)).or_insert(next)
    }

    /// Makes room for so many calls.
    pub fn reach(&mut self, calls: usize) {
        self.of_call.resize(calls, 0);
    }

    /// Says of which kind the block of a call is.
    pub fn put(&mut self, call: u64, kind: u32) {
        self.of_call[call as usize] = kind;
    }

    /// What was found in a program of so many calls.
    pub fn finish(mut self, calls: usize, sites: &Sites) -> Kinds {
        if self.ids.is_empty() {
            return Kinds::default();
        }
        self.of_call.truncate(calls);
        let mut table = vec![Kind::default(); self.ids.len()];
        for ((type_id, bytes), id) in self.ids {
            table[id as usize - 1] = Kind { type_name: sites.type_name(type_id).to_owned(), bytes };
        }
        Kinds { table, of_call: self.of_call }
    }
}
