//! The same trace with one line of the program changed, to see what the change
//! would really save.

use std::collections::BTreeMap;

use super::{Action, AllocationSites, Instruction, Outline, Program, ProgramError};

/// What is done to the blocks of a line that live to the end of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are allocated after the last call, as a program does that copies what it keeps once the
    /// bursts are over.
    Move,
    /// They are never allocated: the leak is mended, or the cache emptied.
    Drop,
}

/// A changed trace.
#[derive(Clone, Debug)]
pub struct WhatIf {
    /// The calls.
    pub program: Program,
    /// The site of each request.
    pub births: AllocationSites,
    /// Blocks that were moved or dropped.
    pub blocks: u64,
    /// Their requested bytes.
    pub bytes: u64,
}

/// Changes what the survivors of `site` are. Its blocks that end before the trace does stay as they
/// are. A survivor that a realloc gave leaves behind a free of the block that was resized.
///
/// # Errors
/// When nothing is left of the trace.
pub fn what_if(
    program: &Program,
    births: &AllocationSites,
    site: u32,
    change: Change,
) -> Result<WhatIf, ProgramError> {
    let survivors = survivors(program, births, site);
    let mut changed = Rewriter::default();
    let (mut request, mut next) = (0, 0);
    let mut kind_in = vec![0; program.slots()];
    for (index, instruction) in program.instructions.iter().enumerate() {
        let (slot, domain) = (instruction.slot(), instruction.domain());
        let action = instruction.action();
        let survives = survivors.get(next) == Some(&index);
        next += usize::from(survives);
        let kind = program.kind(index) as u32;
        let before = std::mem::replace(&mut kind_in[slot], kind);
        match (action, survives) {
            (Action::Realloc, true) => changed.push(Action::Free, domain, slot, 0, before, None),
            (_, true) => {}
            (Action::Free, false) => changed.push(action, domain, slot, 0, kind, None),
            (_, false) => {
                let size = program.size(index) as u64;
                changed.push(action, domain, slot, size, kind, Some(births.site(request)))
            }
        }
        request += usize::from(action != Action::Free);
    }
    if change == Change::Move {
        for &index in &survivors {
            let instruction = program.instructions[index];
            let action = if instruction.action() == Action::Calloc {
                Action::Calloc
            } else {
                Action::Malloc
            };
            let size = program.size(index) as u64;
            let kind = program.kind(index) as u32;
            changed.push(action, instruction.domain(), instruction.slot(), size, kind, Some(site));
        }
    }
    if changed.instructions.is_empty() {
        return Err(ProgramError::Empty);
    }
    let bytes = survivors.iter().map(|&index| program.size(index) as u64).sum();
    let event = changed.instructions.len() as u64;
    let outline =
        Outline { slots: changed.slots.len(), calls: event, ..(**program.outline()).clone() };
    let kind_of = if program.kinds().is_empty() { vec![] } else { changed.kinds };
    let whole = Program::whole(changed.instructions, changed.wide, kind_of, outline)
        .map_err(|found| ProgramError::Unsound { event, found: found.into() })?;
    let births =
        AllocationSites { sites: changed.sites, names: births.names.clone(), marks: vec![] };
    Ok(WhatIf { program: whole, births, blocks: survivors.len() as u64, bytes })
}

/// The calls that gave the blocks of `site` that are live at the end, in order.
fn survivors(program: &Program, births: &AllocationSites, site: u32) -> Vec<usize> {
    let mut last: Vec<Option<usize>> = vec![None; program.slots()];
    let mut request = 0;
    for (index, instruction) in program.instructions.iter().enumerate() {
        last[instruction.slot()] = None;
        if instruction.action() != Action::Free {
            last[instruction.slot()] = (births.site(request) == site).then_some(index);
            request += 1;
        }
    }
    let mut survivors: Vec<usize> = last.into_iter().flatten().collect();
    survivors.sort_unstable();
    survivors
}

/// Collects instructions; slots are numbered anew, as some may no longer be used.
#[derive(Default)]
struct Rewriter {
    instructions: Vec<Instruction>,
    wide: BTreeMap<usize, u64>,
    slots: BTreeMap<usize, u32>,
    kinds: Vec<u32>,
    sites: Vec<u32>,
}

impl Rewriter {
    fn push(
        &mut self,
        action: Action,
        domain: crate::trace::Domain,
        slot: usize,
        size: u64,
        kind: u32,
        site: Option<u32>,
    ) {
        let fresh = self.slots.len() as u32;
        let slot = *self.slots.entry(slot).or_insert(fresh);
        let instruction = Instruction::new(action, domain, slot, size);
        if instruction.is_wide() {
            self.wide.insert(self.instructions.len(), size);
        }
        self.instructions.push(instruction);
        self.kinds.push(kind);
        self.sites.extend(site);
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile_with_sites;
    use super::*;
    use crate::trace::{
        Columns, Distribution, Generator, Header, Row, SiteId, Sites, TraceError, TraceReader,
    };

    /// A generated trace whose rows have sites by their size.
    struct Sited(Generator, Header, Sites);

    impl TraceReader for Sited {
        fn header(&self) -> &Header {
            &self.1
        }
        fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
            Ok(self.0.next_row()?.map(|row| Row { site: SiteId(1 + (row.size % 3) as u32), ..row }))
        }
        fn sites(&self) -> &Sites {
            &self.2
        }
    }

    fn trace(calls: u64) -> (Program, AllocationSites) {
        let generator = Generator::new(
            7,
            calls,
            Distribution::python_sizes(),
            Distribution::python_lifetimes(),
        );
        let header =
            Header { columns: Columns { site: true, ..Columns::default() }, ..Header::default() };
        let mut sites = Sites::default();
        for name in ["a/x.py:1", "a/x.py:2", "b/x.py:2"] {
            sites.intern(name);
        }
        let (program, births, _) =
            compile_with_sites(&mut Sited(generator, header, sites)).unwrap();
        (program, births)
    }

    #[test]
    fn moved_survivors_are_the_last_calls_and_nothing_else_changes() {
        let (program, births) = trace(50_000);
        let before = program.profile();
        for site in 1..=3 {
            let moved = what_if(&program, &births, site, Change::Move).unwrap();
            let dropped = what_if(&program, &births, site, Change::Drop).unwrap();
            assert!(moved.blocks > 0 && moved.bytes > 0);
            assert_eq!(moved.program.profile().live_end_bytes, before.live_end_bytes);
            assert_eq!(moved.program.profile().live_end_blocks, before.live_end_blocks);
            assert_eq!(
                dropped.program.profile().live_end_bytes,
                before.live_end_bytes - moved.bytes
            );
            assert_eq!(
                dropped.program.profile().live_end_blocks,
                before.live_end_blocks - moved.blocks
            );
            let end = moved.program.instructions().len() - moved.blocks as usize;
            assert!(moved.program.instructions()[end..].iter().all(|i| i.action() != Action::Free));
            let sites: Vec<u32> =
                moved.births.sites[moved.births.sites.len() - moved.blocks as usize..].to_vec();
            assert!(sites.iter().all(|s| *s == site));
            // Who survives is now the same for every other site.
            let other = 1 + site % 3;
            let again = what_if(&moved.program, &moved.births, other, Change::Drop).unwrap();
            let alone = what_if(&program, &births, other, Change::Drop).unwrap();
            assert_eq!((again.blocks, again.bytes), (alone.blocks, alone.bytes));
        }
    }

    #[test]
    fn births_come_back_as_they_were_written() {
        let (program, births) = trace(1000);
        let mut bytes = Vec::new();
        births.write(&mut bytes).unwrap();
        assert_eq!(AllocationSites::read(&mut bytes.as_slice()).unwrap(), births);
        let requests =
            program.profile().total_calls() - program.profile().calls[Action::Free as usize];
        assert_eq!(births.requests().values().sum::<u64>(), requests);
        assert!(AllocationSites::read(&mut &bytes[..bytes.len() - 1]).is_err());
        assert_eq!(births.find("a/x.py:2"), Ok(2));
        assert_eq!(births.find("x.py:1"), Ok(1));
        assert_eq!(births.find("x.py:2"), Err(vec!["a/x.py:2", "b/x.py:2"]));
        assert_eq!(births.find("y.py:2"), Err(vec![]));
    }
}
