//! The same trace with one line of the program changed, to measure what the change would save.

use std::collections::BTreeMap;

use super::allocation_sites::AllocationSites;
use super::compiled::{Program, WideRequest};
use super::error::ProgramError;
use super::instruction::{Action, Instruction, WIDE};
use super::outline::Outline;
use super::threads;
use super::times::Times;
use crate::trace::{Domain, PresentBytes};

/// What is done to the blocks of a line that live to the end of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are allocated after the last call, as in a program that copies its long-lived data
    /// after the bursts.
    Move,
    /// They are never allocated: the leak is fixed, or the cache is empty.
    Drop,
}

/// A trace with one line of the program changed.
#[cfg_attr(
    not(feature = "internals"),
    expect(dead_code, reason = "tests compare the counts with the changed program")
)]
#[derive(Clone, Debug)]
pub struct ChangedTrace {
    /// The calls.
    pub program: Program,
    /// The site of each request.
    pub sites: AllocationSites,
    /// Blocks that were moved or dropped.
    pub blocks: u64,
    /// Their requested bytes.
    pub bytes: u64,
    /// Calls of the trace that are no longer made where they were, rising.
    removed: Vec<usize>,
}

impl ChangedTrace {
    /// When the calls are made: the others as before, moved ones at the end.
    pub fn times(&self, of_trace: &Times) -> Times {
        of_trace.moved(|event| place_without(&self.removed, event))
    }
}

/// The place of the call at `event` without the calls of `removed`.
fn place_without(removed: &[usize], event: u64) -> u64 {
    event - removed.partition_point(|call| (*call as u64) < event) as u64
}

/// Applies a change to the survivors of `site`: its blocks that live at the end. Its other blocks
/// stay as they are. Where a realloc allocated a survivor, a free of the resized block remains.
///
/// # Errors
/// When no call of the trace is left.
pub fn what_if(
    program: &Program,
    sites: &AllocationSites,
    site: u32,
    change: Change,
) -> Result<ChangedTrace, ProgramError> {
    let survivors = survivors(program, sites, site);
    let mut changed = Rewriter::default();
    let (mut request, mut next) = (0, 0);
    let mut kind_in = vec![0; program.slots()];
    let mut runs = program.thread_runs().iter().peekable();
    for (index, instruction) in program.instructions.iter().enumerate() {
        let (slot, domain) = (instruction.slot(), instruction.domain());
        let action = instruction.action();
        let survives = survivors.get(next) == Some(&index);
        next += usize::from(survives);
        let kind = program.kind(index) as u32;
        let before = std::mem::replace(&mut kind_in[slot], kind);
        while runs.next_if(|run| run.until <= index).is_some() {}
        changed.thread = runs.peek().map_or(0, |run| run.thread);
        match (action, survives) {
            (Action::Realloc, true) => changed.end(domain, slot, before),
            (_, true) => {}
            (Action::Free, false) => changed.end(domain, slot, kind),
            (_, false) => {
                let wide = WideRequest {
                    size: program.size(index) as u64,
                    alignment: program.alignment(index) as u64,
                };
                changed.begin(action, domain, slot, wide, kind, sites.site(request));
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
            let wide = WideRequest {
                size: program.size(index) as u64,
                alignment: program.alignment(index) as u64,
            };
            let kind = program.kind(index) as u32;
            changed.thread = lasting_thread(program, program.thread_of(index));
            changed.begin(action, instruction.domain(), instruction.slot(), wide, kind, site);
        }
    }
    if changed.instructions.is_empty() {
        return Err(ProgramError::Empty);
    }
    let bytes = survivors.iter().map(|&index| program.size(index) as u64).sum();
    let event = changed.instructions.len() as u64;
    let new_end = event;
    let mut outline = (**program.outline()).clone();
    (outline.slots, outline.calls) = (changed.slots.len() + 1, event);
    let moved = (change == Change::Move).then(|| event - survivors.len() as u64);
    // A survivor that a realloc made leaves a free in its place.
    let is_removed = |at: &usize| program.instructions[*at].action() != Action::Realloc;
    let removed: Vec<usize> = survivors.iter().copied().filter(is_removed).collect();
    let calls = program.instructions.len() as u64;
    let place = |event| if event < calls { place_without(&removed, event) } else { new_end };
    move_moments(&mut outline, place, &changed.threads, &survivors, moved);
    let kind_of = if program.kinds().is_empty() { vec![] } else { changed.kinds };
    let thread_runs =
        if outline.threads.is_empty() { vec![] } else { threads::runs(&changed.threads) };
    let whole = Program::proved(changed.instructions, changed.wide, kind_of, thread_runs, outline)
        .map_err(|found| ProgramError::Unsound { event, found: found.into() })?;
    let (names, none) = (sites.names.clone(), AllocationSites::default());
    let sites = AllocationSites { sites: changed.sites, names, ..none };
    Ok(ChangedTrace { program: whole, sites, blocks: survivors.len() as u64, bytes, removed })
}

/// The thread that copies what another one allocated: that one itself where it outlives the trace, else the
/// first that does. An ended thread that lived on for the copy would hold its arena, which the program gives
/// to later threads.
fn lasting_thread(program: &Program, thread: u32) -> u32 {
    let threads = &program.outline().threads;
    let lasts = |index: u32| threads.get(index as usize).is_none_or(|own| own.death.is_none());
    if lasts(thread) {
        return thread;
    }
    let last_call = program.instructions.len().saturating_sub(1);
    (0..threads.len() as u32)
        .find(|index| lasts(*index))
        .unwrap_or_else(|| program.thread_of(last_call))
}

/// Gives births, deaths, requests and partly touched blocks their places in the changed trace.
/// `survivors` are the calls that were taken away; where they moved, `moved` is the first new one.
fn move_moments(
    outline: &mut Outline,
    place: impl Fn(u64) -> u64,
    threads: &[u32],
    survivors: &[usize],
    moved: Option<u64>,
) {
    let of_block = |event: u64| match survivors.binary_search(&(event as usize)) {
        Ok(at) => moved.map(|first| first + at as u64),
        Err(_) => Some(place(event)),
    };
    let present = outline.present.iter();
    let present =
        present.filter_map(|known| Some(PresentBytes { event: of_block(known.event)?, ..*known }));
    outline.present = present.collect();
    outline.present.sort_by_key(|known| known.event);
    for request in &mut outline.requests {
        request.event = place(request.event);
    }
    for (thread, index) in outline.threads.iter_mut().zip(0..) {
        thread.birth = thread.birth.map(&place);
        let mut calls = threads.iter().enumerate().filter(|(_, of_call)| **of_call == index);
        thread.calls = calls.clone().count() as u64;
        thread.first_call = calls.next().map_or(0, |(event, _)| event as u64);
        thread.last_call = calls.next_back().map_or(thread.first_call, |(event, _)| event as u64);
        // Where no thread outlives the trace, a survivor that was moved to the end keeps one alive.
        thread.death = thread.death.map(|event| place(event).max(thread.last_call + 1));
    }
}

/// The calls that allocated the blocks of `site` that live at the end, in order.
fn survivors(program: &Program, sites: &AllocationSites, site: u32) -> Vec<usize> {
    let mut last: Vec<Option<usize>> = vec![None; program.slots()];
    let mut request = 0;
    for (index, instruction) in program.instructions.iter().enumerate() {
        last[instruction.slot()] = None;
        if instruction.action() != Action::Free {
            last[instruction.slot()] = (sites.site(request) == site).then_some(index);
            request += 1;
        }
    }
    let mut survivors: Vec<usize> = last.into_iter().flatten().collect();
    survivors.sort_unstable();
    survivors
}

/// Collects instructions, and numbers the slots anew, because some may no longer be used.
#[derive(Default)]
struct Rewriter {
    instructions: Vec<Instruction>,
    wide: BTreeMap<usize, WideRequest>,
    slots: BTreeMap<usize, u32>,
    kinds: Vec<u32>,
    /// The thread of each call.
    threads: Vec<u32>,
    sites: Vec<u32>,
    /// The thread of the next call.
    thread: u32,
}

impl Rewriter {
    /// Adds a call that begins a block.
    fn begin(
        &mut self,
        action: Action,
        domain: Domain,
        slot: usize,
        request: WideRequest,
        kind: u32,
        site: u32,
    ) {
        let short_size = if request.alignment > 0 { WIDE } else { request.size };
        if short_size >= WIDE {
            self.wide.insert(self.instructions.len(), request);
        }
        self.push(action, domain, slot, short_size, kind);
        self.sites.push(site);
    }

    /// Adds a free.
    fn end(&mut self, domain: Domain, slot: usize, kind: u32) {
        self.push(Action::Free, domain, slot, 0, kind);
    }

    fn push(&mut self, action: Action, domain: Domain, slot: usize, size: u64, kind: u32) {
        let fresh = self.slots.len() as u32 + 1; // no block has slot 0
        let slot = *self.slots.entry(slot).or_insert(fresh);
        self.instructions.push(Instruction::new(action, domain, slot, size));
        self.kinds.push(kind);
        self.threads.push(self.thread);
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::compile_with_sites;
    use super::super::fixtures::FixedRows;
    use super::*;
    use crate::trace::{
        Columns, Distribution, Generator, Header, Op, Row, SiteId, Sites, TraceError, TraceReader,
    };
    use std::sync::Arc;

    /// A generated trace whose rows have a site by their size.
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
        let (program, sites, _) = compile_with_sites(&mut Sited(generator, header, sites)).unwrap();
        (program, sites)
    }

    /// A thread ends before its survivors are copied: another one that lives copies them.
    #[test]
    fn a_thread_that_ended_makes_no_copy() {
        let row = |event, size, thread| Row { thread, ..Row::new(event, Op::Malloc, size, None) };
        let rows = [row(0, 64, 1), row(1, 48, 2), row(2, 80, 1)];
        let mut program = FixedRows::compiled(&rows);
        let mut outline = (**program.outline()).clone();
        assert_eq!(outline.threads.len(), 2);
        outline.threads[1].death = Some(2);
        program.outline = Arc::new(outline);
        let names = vec!["a.py:1".to_owned(), "a.py:2".to_owned()];
        let sites = AllocationSites { sites: vec![1, 2, 1], names, ..AllocationSites::default() };
        let moved = what_if(&program, &sites, 2, Change::Move).unwrap().program;
        let threads: Vec<u32> = (0..3).map(|call| moved.thread_of(call)).collect();
        assert_eq!(threads, [0, 0, 0], "the copy is the last call");
        assert_eq!(moved.outline().threads[1].calls, 0);
        assert_eq!(moved.outline().threads[1].death, Some(1));
    }

    #[test]
    fn moved_survivors_are_the_last_calls_and_nothing_else_changes() {
        let (program, sites) = trace(50_000);
        let before = program.profile();
        for site in 1..=3 {
            let moved = what_if(&program, &sites, site, Change::Move).unwrap();
            let dropped = what_if(&program, &sites, site, Change::Drop).unwrap();
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
            let last: Vec<u32> =
                moved.sites.sites[moved.sites.sites.len() - moved.blocks as usize..].to_vec();
            assert!(last.iter().all(|s| *s == site));
            // The survivors of every other site are the same.
            let other = 1 + site % 3;
            let again = what_if(&moved.program, &moved.sites, other, Change::Drop).unwrap();
            let single = what_if(&program, &sites, other, Change::Drop).unwrap();
            assert_eq!((again.blocks, again.bytes), (single.blocks, single.bytes));
        }
    }

    #[test]
    fn sites_read_back_as_they_were_written() {
        let (program, sites) = trace(1000);
        let mut bytes = Vec::new();
        sites.write(&mut bytes).unwrap();
        assert_eq!(AllocationSites::read(&mut bytes.as_slice()).unwrap(), sites);
        let requests =
            program.profile().total_calls() - program.profile().calls[Action::Free as usize];
        assert_eq!(sites.requests().values().sum::<u64>(), requests);
        assert!(AllocationSites::read(&mut &bytes[..bytes.len() - 1]).is_err());
        assert_eq!(sites.find("a/x.py:2"), Ok(2));
        assert_eq!(sites.find("x.py:1"), Ok(1));
        assert_eq!(sites.find("x.py:2"), Err(vec!["a/x.py:2", "b/x.py:2"]));
        assert_eq!(sites.find("y.py:2"), Err(vec![]));
    }
}
