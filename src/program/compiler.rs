//! The compiler's state, and how it compiles one row at a time.
//!
//! `plain_rows.rs` compiles most rows in groups; this file compiles any row, and finds the message
//! for a faulty one.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::compiled::{Program, WideRequest};
use super::error::ProgramError;
use super::instruction::{Action, Instruction, SLOT_LIMIT, WIDE};
use super::kinds::KindsCompiler;
use super::late_ends::{LateEnd, LateEnds, SEGMENT_CALLS};
use super::outline::{Outline, Profile};
use super::prefetch::prefetch;
use super::threads::{ThreadsCompiler, only_thread};
use crate::trace::{Op, ProcessRecord, RowBatch, SIZE_LIMIT_BYTES, Sites};

/// Segments of a trace that are made at once, if its header names no more.
const FEW_SEGMENTS: u64 = 4;

/// Rows ahead whose ends' places are fetched into the cache: the places are far apart and
/// unordered.
pub(super) const AHEAD: usize = 16;

/// Sizes of resized blocks that are stored until their calls are walked: a power of two, and no
/// less than the rows of a group.
pub(super) const RESIZED: usize = 64;

/// The state of a compilation: what is compiled so far.
pub(super) struct Compiler {
    /// Known when all is compiled.
    pub(super) outline: Outline,
    /// Calls that were taken away in parts: the index of the first that is here. A multiple of
    /// [`SEGMENT_CALLS`].
    pub(super) first: u64,
    /// Whole segments, but for the end of the last. Places beyond `next` hold known ends, which
    /// carry their blocks' sizes until they are done.
    pub(super) instructions: Vec<Instruction>,
    pub(super) late: LateEnds,
    /// Calls that the trace's header names; 0 where it names none, or more than fit memory.
    hinted: u64,
    /// Requests that do not fit an instruction, by the index of the call.
    wide: BTreeMap<u64, WideRequest>,
    /// Sizes in bytes of those of live blocks, by slot.
    pub(super) wide_live: BTreeMap<usize, u64>,
    /// For a trace with types.
    pub(super) kinds: Option<KindsCompiler>,
    /// The thread of all rows so far; `None` before the first row that names one.
    first_thread: Option<u32>,
    /// From the first batch of rows on that names another.
    pub(super) threads: Option<ThreadsCompiler>,
    /// From index `live` on: the free slots, the next to be taken first. A slot that no block ever
    /// had is one more than its own index: no block has slot 0. Entries before `live` mean nothing.
    pub(super) free_slots: Vec<u32>,
    /// Blocks live.
    pub(super) live: usize,
    /// Slots that were ever taken.
    pub(super) slots: usize,
    /// The first call that is not done.
    pub(super) next: u64,
    pub(super) live_bytes: u64,
    /// The old sizes, in bytes, of the blocks that the current group of rows resizes
    /// (program/plain_rows.rs).
    pub(super) resized: [u64; RESIZED],
    pub(super) profile: Profile,
}

impl Compiler {
    pub(super) fn new(hint: Option<u64>, with_types: bool) -> Compiler {
        let mut instructions = Vec::new();
        // The hint comes from a file: reserve for it only what any address space has.
        let hinted = hint.unwrap_or(0).min(1 << 32);
        let _ = instructions.try_reserve_exact(hinted as usize);
        Compiler {
            outline: Outline::default(),
            first: 0,
            instructions,
            late: LateEnds::default(),
            hinted,
            wide: BTreeMap::new(),
            wide_live: BTreeMap::new(),
            kinds: with_types.then(KindsCompiler::default),
            first_thread: None,
            threads: None,
            free_slots: Vec::new(),
            live: 0,
            slots: 0,
            next: 0,
            live_bytes: 0,
            resized: [0; RESIZED],
            profile: Profile::default(),
        }
    }

    /// Has a free slot for each of so many rows, if there may be so many.
    pub(super) fn have_slots(&mut self, rows: usize) {
        let wanted = (self.live + rows).min(SLOT_LIMIT - 1);
        self.free_slots.extend(self.free_slots.len() as u32 + 1..wanted as u32 + 1);
    }

    /// Looks for a second thread in a batch of rows. From then on each call has a thread.
    pub(super) fn see_threads(&mut self, batch: &RowBatch) {
        if self.threads.is_some() {
            return;
        }
        match only_thread(batch, self.first_thread) {
            Ok(thread) => self.first_thread = thread,
            Err(()) => {
                let thread = self.first_thread.or(batch.threads.first().copied()).unwrap_or(0);
                let calls = self.instructions.len();
                self.threads = Some(ThreadsCompiler::after(thread, self.first, calls));
            }
        }
    }

    /// Compiles any row, and the ends before it.
    pub(super) fn row(&mut self, batch: &RowBatch, at: usize) -> Result<(), ProgramError> {
        let (event, size) = (batch.events[at], batch.sizes[at]);
        let (op, domain) = (batch.requests[at].op(), batch.requests[at].domain());
        let type_id = batch.types.get(at).copied().unwrap_or_default();
        let alignment = batch.alignments.get(at).copied().unwrap_or_default();
        self.ends_before(event)?;
        if event < self.next {
            return Err(ProgramError::Unsound { event, found: "rows are not in order".into() });
        }
        self.reach(event)?;
        let place = (event - self.first) as usize;
        let ended = self.instructions[place];
        let slot = match (op, ended) {
            (Op::Realloc, Instruction::NONE) => {
                return Err(ProgramError::Unsound { event, found: "a realloc of nothing".into() });
            }
            (Op::Realloc, ended) if !ended.domain().shares_blocks_with(domain) => {
                return Err(ProgramError::Unsound {
                    event,
                    found: "a realloc in another domain than its block's".into(),
                });
            }
            (Op::Realloc, ended) => {
                self.live_bytes = self.live_bytes.wrapping_sub(self.size_of_ended(ended));
                ended.slot() as u32
            }
            (_, Instruction::NONE) => self.take_slot(event)?,
            _ => {
                return Err(ProgramError::Unsound {
                    event,
                    found: "a block ends where another begins".into(),
                });
            }
        };
        let action = match op {
            Op::Malloc => Action::Malloc,
            Op::Calloc => Action::Calloc,
            Op::Realloc => Action::Realloc,
        };
        // A request with an alignment is looked up, like a wide one.
        let short_size = if alignment > 0 { WIDE } else { size };
        self.instructions[place] = Instruction::new(action, domain, slot, short_size);
        self.profile.calls[action as usize] += 1;
        let requested = &mut self.profile.requested_bytes[action as usize];
        *requested = requested.saturating_add(size);
        let kind = self.kinds.as_mut().map_or(0, |kinds| {
            let kind = kinds.of(type_id, size, domain);
            kinds.put(place, kind);
            kind
        });
        if short_size >= WIDE {
            self.wide.insert(event, WideRequest { size, alignment });
            self.wide_live.insert(slot as usize, size);
        }
        let end_thread = self.threads.as_mut().map_or(0, |threads| {
            let number = batch.threads.get(at).copied().unwrap_or_default();
            let thread = threads.index(number);
            threads.put(place, thread);
            let ending = batch.end_threads.get(at).copied().flatten();
            ending.map_or(thread, |number| threads.index(number))
        });
        self.live_bytes = self.live_bytes.wrapping_add(size); // 2^17 blocks of 2^47 bytes wrap
        self.next = event + 1;
        if self.live_bytes > self.profile.live_peak_bytes {
            self.profile.live_peak_bytes = self.live_bytes;
            self.profile.live_peak_event = event;
        }
        if let Some(lifetime) = NonZeroU64::new(batch.lifetimes[at]) {
            let end = event.saturating_add(lifetime.get());
            let size = short_size;
            let thread = end_thread;
            self.place_end(LateEnd { end, birth: event, slot, domain, size, kind, thread })?;
        }
        Ok(())
    }

    /// The size of a block whose end is done.
    #[inline(always)]
    fn size_of_ended(&mut self, end: Instruction) -> u64 {
        if end.is_wide() {
            return self.wide_live.remove(&end.slot()).unwrap_or(WIDE);
        }
        end.short_size() as u64
    }

    fn take_slot(&mut self, event: u64) -> Result<u32, ProgramError> {
        let slot = *self.free_slots.get(self.live).ok_or(ProgramError::Slots { event })?;
        self.live += 1;
        self.slots = self.slots.max(self.live);
        self.profile.live_peak_blocks = self.profile.live_peak_blocks.max(self.live as u64);
        Ok(slot)
    }

    /// The first call whose segment is not there yet.
    fn reached(&self) -> u64 {
        self.first + self.instructions.len() as u64
    }

    /// Makes all segments up to the one with `event`.
    #[inline(always)]
    fn reach(&mut self, event: u64) -> Result<(), ProgramError> {
        while self.reached() <= event {
            self.next_segment()?;
        }
        Ok(())
    }

    #[cold]
    fn next_segment(&mut self) -> Result<(), ProgramError> {
        let (reached, segment) = (self.reached(), self.reached() / SEGMENT_CALLS);
        let whole = (segment + 1) * SEGMENT_CALLS;
        // The last segment has only the calls that the header names. A few segments are made at
        // once: then no end waits.
        let few = whole.max(FEW_SEGMENTS * SEGMENT_CALLS);
        let end = if (reached + 1..few).contains(&self.hinted) { self.hinted } else { whole };
        self.instructions.resize((end - self.first) as usize, Instruction::NONE);
        if let Some(kinds) = &mut self.kinds {
            kinds.reach(self.instructions.len());
        }
        if let Some(threads) = &mut self.threads {
            threads.reach(self.instructions.len());
        }
        let late = self.late.take(segment);
        for (at, &end) in late.iter().enumerate() {
            if let Some(ahead) = late.get(at + AHEAD) {
                prefetch(
                    self.instructions.as_ptr().wrapping_add((ahead.end - self.first) as usize),
                );
            }
            self.place_end(end)?;
        }
        Ok(())
    }

    /// Writes a block's end at its place, or stores it for the segment that will have it.
    #[inline(always)]
    fn place_end(&mut self, late: LateEnd) -> Result<(), ProgramError> {
        if late.end >= self.reached() {
            self.late.store(late);
            return Ok(());
        }
        let at = (late.end - self.first) as usize;
        let place = &mut self.instructions[at];
        if *place != Instruction::NONE {
            return Err(self.doubled(&late));
        }
        debug_assert!(late.end > late.birth && late.size <= SIZE_LIMIT_BYTES);
        *place = Instruction::new(Action::Free, late.domain, late.slot, late.size);
        if let Some(threads) = &mut self.threads {
            threads.put(at, late.thread);
        }
        if let Some(kinds) = &mut self.kinds {
            kinds.put(at, late.kind);
        }
        Ok(())
    }

    /// Another call stands where a block ends.
    #[cold]
    fn doubled(&self, late: &LateEnd) -> ProgramError {
        let place = self.instructions[(late.end - self.first) as usize];
        let found = match place.action() {
            Action::Free => {
                let other = self.birth(place.slot());
                format!("the blocks born at {other} and {} both end there", late.birth)
            }
            _ => format!(
                "the block born at event {} ends there, where another call stands",
                late.birth
            ),
        };
        ProgramError::Unsound { event: late.end, found }
    }

    /// The call that began the block in that slot, for a message: it may be in a segment that was
    /// taken away.
    fn birth(&self, slot: usize) -> String {
        let done = &self.instructions[..(self.next - self.first) as usize];
        let begins = |call: &Instruction| call.slot() == slot && call.action() != Action::Free;
        match done.iter().rposition(begins) {
            Some(at) => format!("events {}", self.first + at as u64),
            None => format!("an event before {}", self.first),
        }
    }

    /// Completes the calls before `event`, which must all be ends.
    #[inline(always)]
    fn ends_before(&mut self, event: u64) -> Result<(), ProgramError> {
        while self.next < event {
            self.end_here()?;
        }
        Ok(())
    }

    /// Completes the call at `next`, which must be an end.
    #[inline(always)]
    fn end_here(&mut self) -> Result<(), ProgramError> {
        let event = self.next;
        self.reach(event)?;
        let place = (event - self.first) as usize;
        let end = self.instructions[place];
        if end == Instruction::NONE {
            return Err(ProgramError::gap(event));
        }
        let slot = end.slot() as u32;
        self.instructions[place] = Instruction::new(Action::Free, end.domain(), slot, 0);
        self.live_bytes = self.live_bytes.wrapping_sub(self.size_of_ended(end));
        self.live -= 1;
        self.free_slots[self.live] = slot;
        self.next += 1;
        Ok(())
    }

    /// Compiles the ends after the last row, also in segments that only ends reach.
    pub(super) fn ends_that_are_left(
        &mut self,
        mut whole_segment: impl FnMut(&mut Compiler) -> Result<(), ProgramError>,
    ) -> Result<(), ProgramError> {
        if self.late.count > 0 && !self.reached().is_multiple_of(SEGMENT_CALLS) {
            self.next_segment()?; // more calls than the header names
        }
        while self.live > 0 && (self.late.count > 0 || self.end_is_known()) {
            if !self.end_is_known() {
                self.reach(self.next)?;
                if !self.end_is_known() {
                    return Err(ProgramError::Unsound {
                        event: self.next,
                        found: "the trace has a gap before its end".into(),
                    });
                }
            }
            self.end_here()?;
            if self.has_whole_segment() {
                whole_segment(self)?;
            }
        }
        let done = (self.next - self.first) as usize;
        let written = self.instructions.iter().skip(done).any(|i| *i != Instruction::NONE);
        if written {
            return Err(ProgramError::Unsound {
                event: self.next,
                found: "a block ends past the last event".into(),
            });
        }
        if self.next == 0 {
            return Err(ProgramError::Empty);
        }
        Ok(())
    }

    fn end_is_known(&self) -> bool {
        let at = (self.next - self.first) as usize;
        self.instructions.get(at).is_some_and(|i| *i != Instruction::NONE)
    }

    /// Completes the outline after the last call.
    pub(super) fn finish(&mut self, sites: &Sites, process: &ProcessRecord) {
        let left = (self.next - self.first) as usize;
        self.instructions.truncate(left);
        self.profile.live_end_bytes = self.live_bytes;
        self.profile.live_end_blocks = self.live as u64;
        let requests: u64 = self.profile.calls.iter().sum();
        self.profile.calls[Action::Free as usize] = self.next - requests;
        if let Some(kinds) = &mut self.kinds {
            kinds.truncate(left);
            self.outline.kinds = kinds.table(sites);
        }
        if let Some(threads) = &mut self.threads {
            threads.truncate(left);
            self.outline.threads = threads.table(self.first, process);
        }
        self.outline.requests = process.requests.clone();
        self.outline.present = process.present.clone();
        self.outline.present.sort_by_key(|present| present.event);
        self.outline.calls = self.next;
        self.outline.slots = self.slots + 1; // no block has slot 0
        self.outline.profile = self.profile.clone();
    }

    /// What is the same for all parts, once all is compiled.
    pub(super) fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> u64 {
        self.next
    }

    pub(super) fn has_whole_segment(&self) -> bool {
        self.next - self.first >= SEGMENT_CALLS
    }

    /// Removes and returns the first segment, if it is done: a part of the program with that
    /// outline.
    pub(super) fn take_segment(&mut self, outline: &Arc<Outline>) -> Option<Program> {
        self.has_whole_segment().then(|| self.take(SEGMENT_CALLS as usize, outline))
    }

    /// Removes and returns the rest, once all is compiled.
    pub(super) fn take_rest(&mut self, outline: &Arc<Outline>) -> Program {
        self.take(self.instructions.len(), outline)
    }

    fn take(&mut self, calls: usize, outline: &Arc<Outline>) -> Program {
        let rest = self.instructions.split_off(calls);
        let instructions = std::mem::replace(&mut self.instructions, rest);
        let first = self.first;
        self.first += calls as u64;
        let later = self.wide.split_off(&self.first);
        let wide = std::mem::replace(&mut self.wide, later);
        let wide = wide.into_iter();
        let wide = wide.map(|(event, request)| ((event - first) as usize, request)).collect();
        let kind_of = self.kinds.as_mut().map(|kinds| kinds.take(calls)).unwrap_or_default();
        let runs = self.threads.as_mut().map(|threads| threads.take(first, calls));
        let thread_runs = runs.unwrap_or_default();
        let (outline, request_sites) = (Arc::clone(outline), vec![]);
        Program { outline, first, instructions, wide, kind_of, thread_runs, request_sites }
    }

    /// The whole program, if no segment was taken away.
    pub(super) fn into_program(mut self) -> Program {
        let outline = Arc::new(std::mem::take(&mut self.outline));
        let mut program = self.take_rest(&outline);
        if outline.kinds.is_empty() {
            program.kind_of = Vec::new();
        }
        program
    }
}
