//! The kind (type and size) of each call's block, where the trace names types.
//!
//! The kinds are a list beside the instructions, which stay 8 bytes. A program without types has no
//! such list, and its loop does not look for one.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::reading::{read_u64, unsound};
use crate::trace::{Domain, Kind, RequestCode, Sites, TYPE_LIMIT_BYTES, TypeId};

/// Whether a block of that size (bytes) and domain may be of that kind (0 is none, others count
/// from 1). A block of raw or libc has none: it bypasses all that treats types differently.
pub(super) fn fits(table: &[Kind], kind: u32, size: u64, domain: Domain) -> bool {
    let known = |kind: &Kind| kind.bytes == size && may_have_kind(domain);
    kind == 0 || table.get(kind as usize - 1).is_some_and(known)
}

/// Whether blocks of a domain may be objects.
fn may_have_kind(domain: Domain) -> bool {
    matches!(domain, Domain::Mem | Domain::Obj)
}

/// Writes a table of kinds for a worker: their number, then each with its size and name.
pub(super) fn write(table: &[Kind], out: &mut impl Write) -> io::Result<()> {
    out.write_all(&(table.len() as u64).to_le_bytes())?;
    for kind in table {
        out.write_all(&kind.bytes.to_le_bytes())?;
        out.write_all(&(kind.type_name.len() as u64).to_le_bytes())?;
        out.write_all(kind.type_name.as_bytes())?;
    }
    Ok(())
}

/// Reads what [`write`] wrote.
pub(super) fn read(input: &mut impl Read) -> io::Result<Vec<Kind>> {
    let mut table = Vec::new();
    for _ in 0..read_u64(input)? {
        let bytes = read_u64(input)?;
        let length = read_u64(input)? as usize;
        if length > TYPE_LIMIT_BYTES {
            return Err(unsound("a kind's name over the limit"));
        }
        let mut name = vec![0; length];
        input.read_exact(&mut name)?;
        let type_name =
            String::from_utf8(name).map_err(|_| unsound("a kind's name that is no text"))?;
        table.push(Kind { type_name, bytes });
    }
    Ok(table)
}

/// Kinds that are looked up without the map: a power of two. A program has few kinds at a time.
const RECENT: usize = 1 << 11;

/// Numbers the kinds while a trace is compiled.
pub(super) struct KindsCompiler {
    ids: HashMap<(TypeId, u64), u32>,
    /// Kinds by a hash of their key: the last of each place. The key 0 is that of no kind.
    recent: Box<[(u64, u32); RECENT]>,
    of_call: Vec<u32>,
}

impl Default for KindsCompiler {
    fn default() -> KindsCompiler {
        let recent = Box::new([(0, 0); RECENT]);
        KindsCompiler { ids: HashMap::new(), recent, of_call: Vec::new() }
    }
}

impl KindsCompiler {
    /// The kind of a block of that type, size and domain.
    pub fn of(&mut self, type_id: TypeId, size: u64, domain: Domain) -> u32 {
        if type_id == TypeId(0) || !may_have_kind(domain) {
            return 0;
        }
        let next = self.ids.len() as u32 + 1;
        *self.ids.entry((type_id, size)).or_insert(next)
    }

    /// The kind of a block of that type, requested so, of less than 2^32 bytes. It takes no branch
    /// on whether the block has a kind, which is close to random.
    #[inline(always)]
    pub fn of_plain(&mut self, type_id: TypeId, size: u64, request: RequestCode) -> u32 {
        // As an instruction: the next number for each domain. So mem and obj are those with the bit.
        let is_of_objects = u64::from((request.code() >> 2) + 1) >> 1 & 1;
        let has_kind = is_of_objects & u64::from(type_id.0 != 0);
        let key = (u64::from(type_id.0) << 32 | size) & has_kind.wrapping_neg();
        let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - RECENT.ilog2());
        let (known, kind) = self.recent[hash as usize];
        if known == key { kind } else { self.learn(key, hash as usize) }
    }

    /// Looks up the kind of a key in the map.
    #[cold]
    fn learn(&mut self, key: u64, place: usize) -> u32 {
        let kind = match key {
            0 => 0,
            key => self.of(TypeId((key >> 32) as u32), key & u64::from(u32::MAX), Domain::Obj),
        };
        self.recent[place] = (key, kind);
        kind
    }

    /// Where the kind of the call at that place is, or would be.
    pub fn place(&self, at: usize) -> *const u32 {
        self.of_call.as_ptr().wrapping_add(at)
    }

    /// The kinds of the calls, for who sets many.
    pub fn of_calls(&mut self) -> &mut [u32] {
        &mut self.of_call
    }

    /// Has a place for each of so many calls.
    pub fn reach(&mut self, calls: usize) {
        self.of_call.resize(calls, 0);
    }

    /// Sets the kind of the block of the call at that place.
    pub fn put(&mut self, at: usize, kind: u32) {
        self.of_call[at] = kind;
    }

    /// Drops the places of calls that do not come.
    pub fn truncate(&mut self, calls: usize) {
        self.of_call.truncate(calls);
    }

    /// Removes and returns the kinds of the first calls.
    pub fn take(&mut self, calls: usize) -> Vec<u32> {
        let rest = self.of_call.split_off(calls);
        std::mem::replace(&mut self.of_call, rest)
    }

    /// The kinds, by number.
    pub fn table(&self, sites: &Sites) -> Vec<Kind> {
        let mut table = vec![Kind::default(); self.ids.len()];
        for (&(type_id, bytes), &id) in &self.ids {
            table[id as usize - 1] = Kind { type_name: sites.type_name(type_id).to_owned(), bytes };
        }
        table
    }
}
