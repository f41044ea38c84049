//! Room `program`: compiles rows into instructions, in one pass, and takes off what is done where memory is short.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kinds::KindsCompiler;
use super::{Action, Instruction, Outline, Profile, Program, ProgramError, SLOT_LIMIT, WIDE, prefetch};
use crate::trace::{Batch, Columns, Domain, Op, Request, Sites, TraceReader, TypeId};

/// Compiles a trace in one pass.
///
/// # Errors
/// What the reader finds, and a trace with no call or with too many live blocks.
pub fn compile(reader: &mut dyn TraceReader) -> Result<Program, ProgramError> {
    let compiler = walk(reader, Columns::default(), u64::MAX, |_| {}, |_| Ok(()))?;
    Ok(compiler.into_program())
}

/// Compiles; shows the rows to `seen`, with the columns that it looks at, and the compiler to `whole_stretch` whenever
/// stretches of calls are done. There is room for `calls` from the start, if the trace has so many.
pub(super) fn walk(
    reader: &mut dyn TraceReader,
    looks_at: Columns,
    calls: u64,
    mut seen: impl FnMut(&Batch),
    mut whole_stretch: impl FnMut(&mut Compiler) -> Result<(), ProgramError>,
) -> Result<Compiler, ProgramError> {
    let hint = reader.events_hint().filter(|hint| *hint <= calls);
    let mut compiler = Compiler::new(hint, reader.header().columns.type_name);
    reader.look_at(Columns { domain: true, type_name: true, ..looks_at });
    let mut batch = Batch::default();
    while reader.next_batch(&mut batch)? {
        compiler.batch(&batch)?;
        seen(&batch);
        if compiler.has_whole_stretch() {
            whole_stretch(&mut compiler)?;
        }
    }
    compiler.ends_that_are_left(whole_stretch)?;
    let births = reader.header().arenas().into_iter().filter(|arena| arena.is_birth);
    compiler.outline.arena_bases = births.map(|arena| arena.base).collect();
    compiler.finish(reader.sites());
    Ok(compiler)
}

/// Calls in a stretch: 8 MiB of instructions.
const STRETCH: u64 = 1 << 20;

/// Rows ahead whose ends' places are fetched into the cache: they are far from each other, and in no order.
const AHEAD: usize = 16;

/// Stretches whose late ends are kept side by side: 2^32 calls. Ends beyond wait in a map.
const NEAR_STRETCHES: u64 = 1 << 12;

/// A block's end, with what its instruction and its messages need.
#[derive(Clone, Copy)]
struct Late {
    end: u64,
    birth: u64,
    slot: u32,
    domain: Domain,
    size: u64,
    kind: u32,
}

/// What is compiled so far.
pub(super) struct Compiler {
    /// Known when all is compiled.
    outline: Outline,
    /// Calls that were taken off: the index of the first that is here. A multiple of [`STRETCH`].
    first: u64,
    /// Whole stretches; places beyond `next` hold ends already known, which carry their blocks' sizes until they are done.
    instructions: Vec<Instruction>,
    /// Ends whose places are in a stretch that is not there yet, by stretch: the near ones, and the others.
    late: Vec<Vec<Late>>,
    later: BTreeMap<u64, Vec<Late>>,
    late_ends: u64,
    /// By the index of the call.
    wide: BTreeMap<u64, u64>,
    /// Those of blocks that live, by slot.
    wide_live: BTreeMap<usize, u64>,
    /// The call that began the block in each slot, for messages.
    births: Vec<u64>,
    /// For a trace with types.
    kinds: Option<KindsCompiler>,
    free_slots: Vec<u32>,
    next: u64,
    live_bytes: u64,
    live_blocks: u64,
    profile: Profile,
}

impl Compiler {
    fn new(hint: Option<u64>, with_types: bool) -> Compiler {
        let mut instructions = Vec::new();
        // A hint comes from a file: reserve for it only what address space surely has.
        let expected = hint.unwrap_or(0).min(1 << 32);
        let _ = instructions.try_reserve_exact(expected.next_multiple_of(STRETCH) as usize);
        Compiler {
            outline: Outline::default(),
            first: 0,
            instructions,
            late: Vec::new(),
            later: BTreeMap::new(),
            late_ends: 0,
            wide: BTreeMap::new(),
            wide_live: BTreeMap::new(),
            births: Vec::new(),
            kinds: with_types.then(KindsCompiler::default),
            free_slots: Vec::new(),
            next: 0,
            live_bytes: 0,
            live_blocks: 0,
            profile: Profile::default(),
        }
    }

    fn batch(&mut self, batch: &Batch) -> Result<(), ProgramError> {
        for (at, request) in batch.requests.iter().enumerate() {
            if let Some(ahead) = batch.requests.get(at + AHEAD) {
                self.fetch_end(ahead);
            }
            self.request(request, batch.types.get(at).copied().unwrap_or_default())?;
        }
        Ok(())
    }

    /// Has the place of a block's end brought into the cache.
    #[inline(always)]
    fn fetch_end(&self, request: &Request) {
        let end = request.event.wrapping_add(request.lifetime.map_or(0, |lifetime| lifetime.get()));
        let place = end.wrapping_sub(self.first).min(self.instructions.len() as u64);
        prefetch(self.instructions.as_ptr().wrapping_add(place as usize));
    }

    #[inline(always)]
    fn request(&mut self, request: &Request, type_id: TypeId) -> Result<(), ProgramError> {
        let Request { event, size, op, domain, .. } = *request;
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
                self.live_blocks -= 1;
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
        self.instructions[place] = Instruction::new(action, domain, slot, size);
        let kind = self.kinds.as_mut().map_or(0, |kinds| {
            let kind = kinds.of(type_id, size, domain);
            kinds.put(place, kind);
            kind
        });
        if size >= WIDE {
            self.wide.insert(event, size);
            self.wide_live.insert(slot as usize, size);
        }
        self.profile.calls[action as usize] += 1;
        let requested = &mut self.profile.requested_bytes[action as usize];
        *requested = requested.saturating_add(size);
        self.births[slot as usize] = event;
        self.live_bytes = self.live_bytes.wrapping_add(size); // 2^17 blocks of 2^47 bytes wrap
        self.live_blocks += 1;
        self.next = event + 1;
        if self.live_bytes > self.profile.live_peak_bytes {
            self.profile.live_peak_bytes = self.live_bytes;
            self.profile.live_peak_event = event;
        }
        self.profile.live_peak_blocks = self.profile.live_peak_blocks.max(self.live_blocks);
        if let Some(lifetime) = request.lifetime {
            let end = event.saturating_add(lifetime.get());
            self.place_end(Late { end, birth: event, slot, domain, size, kind })?;
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

    #[inline(always)]
    fn take_slot(&mut self, event: u64) -> Result<u32, ProgramError> {
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        if self.births.len() == SLOT_LIMIT {
            return Err(ProgramError::Slots { event });
        }
        self.births.push(0);
        Ok(self.births.len() as u32 - 1)
    }

    /// The first call whose stretch is not there yet.
    fn reached(&self) -> u64 {
        self.first + self.instructions.len() as u64
    }

    /// Makes the stretch that holds `event` real.
    #[inline(always)]
    fn reach(&mut self, event: u64) -> Result<(), ProgramError> {
        while self.reached() <= event {
            self.next_stretch()?;
        }
        Ok(())
    }

    #[cold]
    fn next_stretch(&mut self) -> Result<(), ProgramError> {
        let stretch = self.reached() / STRETCH;
        self.instructions.resize(self.instructions.len() + STRETCH as usize, Instruction::NONE);
        if let Some(kinds) = &mut self.kinds {
            kinds.reach(self.instructions.len());
        }
        let near = usize::try_from(stretch).ok().and_then(|stretch| self.late.get_mut(stretch));
        let late = near.map(std::mem::take).or_else(|| self.later.remove(&stretch)).unwrap_or_default();
        self.late_ends -= late.len() as u64;
        for (at, &end) in late.iter().enumerate() {
            if let Some(ahead) = late.get(at + AHEAD) {
                prefetch(self.instructions.as_ptr().wrapping_add((ahead.end - self.first) as usize));
            }
            self.place_end(end)?;
        }
        Ok(())
    }

    /// Keeps an end for the stretch that will have it.
    fn keep(&mut self, late: Late) {
        let stretch = late.end / STRETCH;
        self.late_ends += 1;
        if stretch >= NEAR_STRETCHES {
            self.later.entry(stretch).or_default().push(late);
            return;
        }
        let stretch = stretch as usize;
        if self.late.len() <= stretch {
            self.late.resize_with(stretch + 1, Vec::new);
        }
        self.late[stretch].push(late);
    }

    /// Writes a block's end at its place, or keeps it for the stretch that will have it.
    #[inline(always)]
    fn place_end(&mut self, late: Late) -> Result<(), ProgramError> {
        if late.end >= self.reached() {
            self.keep(late);
            return Ok(());
        }
        let at = (late.end - self.first) as usize;
        let place = &mut self.instructions[at];
        if *place != Instruction::NONE {
            return Err(self.doubled(&late));
        }
        debug_assert!(late.end > late.birth && late.size <= crate::trace::SIZE_LIMIT_BYTES);
        *place = Instruction::new(Action::Free, late.domain, late.slot, late.size);
        if let Some(kinds) = &mut self.kinds {
            kinds.put(at, late.kind);
        }
        Ok(())
    }

    /// Another call stands where a block ends.
    #[cold]
    fn doubled(&self, late: &Late) -> ProgramError {
        let place = self.instructions[(late.end - self.first) as usize];
        let found = match place.action() {
            Action::Free => {
                let other = self.births[place.slot()];
                format!("the blocks born at events {other} and {} both end there", late.birth)
            }
            _ => format!("the block born at event {} ends there, where another call stands", late.birth),
        };
        ProgramError::Unsound { event: late.end, found }
    }

    /// Does the calls before `event`, which must all be ends.
    #[inline(always)]
    fn ends_before(&mut self, event: u64) -> Result<(), ProgramError> {
        while self.next < event {
            self.end_here()?;
        }
        Ok(())
    }

    /// Does the call at `next`, which must be an end.
    #[inline(always)]
    fn end_here(&mut self) -> Result<(), ProgramError> {
        let event = self.next;
        self.reach(event)?;
        let place = (event - self.first) as usize;
        let end = self.instructions[place];
        if end == Instruction::NONE {
            return Err(ProgramError::Unsound {
                event,
                found: "no row has it and no block ends there".into(),
            });
        }
        let slot = end.slot() as u32;
        self.instructions[place] = Instruction::new(Action::Free, end.domain(), slot, 0);
        self.live_bytes = self.live_bytes.wrapping_sub(self.size_of_ended(end));
        self.live_blocks -= 1;
        self.free_slots.push(slot);
        self.profile.calls[Action::Free as usize] += 1;
        self.next += 1;
        Ok(())
    }

    /// Makes the ends behind the last row, also in stretches that only ends reach.
    fn ends_that_are_left(
        &mut self,
        mut whole_stretch: impl FnMut(&mut Compiler) -> Result<(), ProgramError>,
    ) -> Result<(), ProgramError> {
        while self.live_blocks > 0 && (self.late_ends > 0 || self.end_is_known()) {
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
            if self.has_whole_stretch() {
                whole_stretch(self)?;
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

    /// Nothing comes any more.
    fn finish(&mut self, sites: &Sites) {
        let left = (self.next - self.first) as usize;
        self.instructions.truncate(left);
        self.profile.live_end_bytes = self.live_bytes;
        self.profile.live_end_blocks = self.live_blocks;
        if let Some(kinds) = &mut self.kinds {
            kinds.truncate(left);
            self.outline.kinds = kinds.table(sites);
        }
        self.outline.calls = self.next;
        self.outline.slots = self.births.len();
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

    fn has_whole_stretch(&self) -> bool {
        self.next - self.first >= STRETCH
    }

    /// Takes off the first stretch, if it is done: a part of the program whose outline is (or will turn out to be) `outline`.
    pub(super) fn take_stretch(&mut self, outline: &Arc<Outline>) -> Option<Program> {
        self.has_whole_stretch().then(|| self.take(STRETCH as usize, outline))
    }

    /// Takes off what is left, once all is compiled.
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
        let wide = wide.into_iter().map(|(event, size)| ((event - first) as usize, size)).collect();
        let kind_of = self.kinds.as_mut().map(|kinds| kinds.take(calls)).unwrap_or_default();
        Program { outline: Arc::clone(outline), first, instructions, wide, kind_of }
    }

    /// The whole program, if nothing was taken off.
    pub(super) fn into_program(mut self) -> Program {
        let outline = Arc::new(std::mem::take(&mut self.outline));
        let mut program = self.take_rest(&outline);
        if outline.kinds.is_empty() {
            program.kind_of = Vec::new();
        }
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Distribution, Generator, Header, Row, Sequence, TraceError};

    /// Rows as they are, whatever they are.
    struct Rows(std::vec::IntoIter<Row>, Header, Sites);

    impl TraceReader for Rows {
        fn header(&self) -> &Header {
            &self.1
        }
        fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
            Ok(self.0.next())
        }
        fn sites(&self) -> &Sites {
            &self.2
        }
    }

    /// A reader that leaves the proof to compiling loses nothing by it: compiling refuses just what `Sequence` refuses.
    #[test]
    fn compiling_refuses_what_is_no_trace() {
        let mut generator = Generator::new(
            5,
            60,
            Distribution::python_sizes(),
            Distribution::parse("1-9:3,20-40:1", 50).unwrap(),
        );
        let mut rows = Vec::new();
        while let Some(row) = generator.next_row().unwrap() {
            rows.push(row);
        }
        let mut state = 7_u64; // Knuth's generator
        let mut below = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        let (mut sound, mut broken) = (0, 0);
        for _ in 0..800 {
            let mut rows = rows.clone();
            for _ in 0..1 + below(2) {
                let at = below(rows.len() as u64) as usize;
                let few = below(4);
                match below(6) {
                    0 => rows[at].lifetime = std::num::NonZeroU64::new(few),
                    1 => rows[at].event = (rows[at].event + few).saturating_sub(2),
                    2 => rows[at].op = Op::ALL[below(3) as usize],
                    3 => rows[at].domain = Domain::ALL[below(3) as usize],
                    4 => drop(rows.remove(at)),
                    _ => rows[at].lifetime = std::num::NonZeroU64::new(few + (1 << 20)),
                }
            }
            let mut sequence = Sequence::new();
            let checked = rows.iter().try_for_each(|row| sequence.accept(row, |_| {}));
            let is_sound = checked.is_ok() && sequence.finish(|_| {}).is_ok();
            let compiled = compile(&mut Rows(rows.into_iter(), Header::default(), Sites::default()));
            assert_eq!(compiled.is_ok(), is_sound, "{:?}", compiled.err().map(|error| error.to_string()));
            *if is_sound { &mut sound } else { &mut broken } += 1;
        }
        assert!(sound > 40 && broken > 200, "{sound} sound, {broken} broken");
    }
}
