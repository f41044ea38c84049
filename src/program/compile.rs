//! Compiles rows into instructions, in one pass, and takes off what is done where
//! memory is short.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::kinds::KindsCompiler;
use super::plain::RESIZED;
use super::{
    Action, Instruction, Outline, Profile, Program, ProgramError, SLOT_LIMIT, WIDE, prefetch,
};
use crate::trace::{Columns, Domain, Op, RowBatch, Sites, TraceReader};

/// Compiles a trace in one pass.
///
/// # Errors
/// What the reader finds, and a trace with no call or with too many live blocks.
pub fn compile(reader: &mut dyn TraceReader) -> Result<Program, ProgramError> {
    let compiler = walk(reader, Columns::default(), u64::MAX, |_| {}, |_| Ok(()))?;
    Ok(compiler.into_program())
}

/// Compiles; shows the rows to `seen`, with the columns that it looks at, and the compiler to
/// `whole_stretch` whenever stretches of calls are done. There is room for `calls` from the start,
/// if the trace has so many.
pub(super) fn walk(
    reader: &mut dyn TraceReader,
    looks_at: Columns,
    calls: u64,
    mut seen: impl FnMut(&RowBatch),
    mut whole_stretch: impl FnMut(&mut Compiler) -> Result<(), ProgramError>,
) -> Result<Compiler, ProgramError> {
    let hint = reader.events_hint().filter(|hint| *hint <= calls);
    let mut compiler = Compiler::new(hint, reader.header().columns.type_name);
    reader.select_columns(Columns { domain: true, type_name: true, ..looks_at });
    let mut batch = RowBatch::default();
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
pub(super) const STRETCH: u64 = 1 << 20;

/// Stretches of a trace that are made at once, if it says that it has no more.
const FEW_STRETCHES: u64 = 4;

/// Rows ahead whose ends' places are fetched into the cache: they are far from each other, and in
/// no order.
const AHEAD: usize = 16;

/// Stretches whose late ends are kept side by side: 2^32 calls. Ends beyond wait in a map.
const NEAR_STRETCHES: u64 = 1 << 12;

/// A block's end, with what its instruction and its messages need.
#[derive(Clone, Copy)]
pub(super) struct Late {
    pub(super) end: u64,
    pub(super) birth: u64,
    pub(super) slot: u32,
    pub(super) domain: Domain,
    pub(super) size: u64,
    pub(super) kind: u32,
}

/// Ends whose places are in a stretch that is not there yet.
#[derive(Default)]
pub(super) struct LateEnds {
    /// By stretch: the near ones, and the others.
    near: Vec<Vec<Late>>,
    far: BTreeMap<u64, Vec<Late>>,
    count: u64,
}

impl LateEnds {
    /// Keeps an end for the stretch that will have it.
    #[cold]
    pub(super) fn keep(&mut self, late: Late) {
        let stretch = late.end / STRETCH;
        self.count += 1;
        if stretch >= NEAR_STRETCHES {
            self.far.entry(stretch).or_default().push(late);
            return;
        }
        let stretch = stretch as usize;
        if self.near.len() <= stretch {
            self.near.resize_with(stretch + 1, Vec::new);
        }
        self.near[stretch].push(late);
    }

    /// Those of a stretch.
    fn take(&mut self, stretch: u64) -> Vec<Late> {
        let near = usize::try_from(stretch).ok().and_then(|stretch| self.near.get_mut(stretch));
        let late =
            near.map(std::mem::take).or_else(|| self.far.remove(&stretch)).unwrap_or_default();
        self.count -= late.len() as u64;
        late
    }
}

/// What is compiled so far.
pub(super) struct Compiler {
    /// Known when all is compiled.
    outline: Outline,
    /// Calls that were taken off: the index of the first that is here. A multiple of [`STRETCH`].
    pub(super) first: u64,
    /// Whole stretches, but for the end of the last; places beyond `next` hold ends already known,
    /// which carry their blocks' sizes until they are done.
    pub(super) instructions: Vec<Instruction>,
    pub(super) late: LateEnds,
    /// Calls that the trace says it has; 0 where it does not, or has more than there is memory for.
    told: u64,
    /// By the index of the call.
    wide: BTreeMap<u64, u64>,
    /// Those of blocks that live, by slot.
    pub(super) wide_live: BTreeMap<usize, u64>,
    /// For a trace with types.
    pub(super) kinds: Option<KindsCompiler>,
    /// From the place `live` on stand the free slots, the next to be taken first; those that no
    /// block ever had stand at their own places. What stands before is of no meaning.
    pub(super) free_slots: Vec<u32>,
    /// Blocks live.
    pub(super) live: usize,
    /// Slots that were ever taken.
    pub(super) slots: usize,
    pub(super) next: u64,
    pub(super) live_bytes: u64,
    /// What the blocks had that the rows at hand resize, in bytes (program/plain.rs).
    pub(super) resized: [u64; RESIZED],
    pub(super) profile: Profile,
}

impl Compiler {
    fn new(hint: Option<u64>, with_types: bool) -> Compiler {
        let mut instructions = Vec::new();
        // A hint comes from a file: reserve for it only what address space surely has.
        let told = hint.unwrap_or(0).min(1 << 32);
        let _ = instructions.try_reserve_exact(told as usize);
        Compiler {
            outline: Outline::default(),
            first: 0,
            instructions,
            late: LateEnds::default(),
            told,
            wide: BTreeMap::new(),
            wide_live: BTreeMap::new(),
            kinds: with_types.then(KindsCompiler::default),
            free_slots: Vec::new(),
            live: 0,
            slots: 0,
            next: 0,
            live_bytes: 0,
            resized: [0; RESIZED],
            profile: Profile::default(),
        }
    }

    fn batch(&mut self, batch: &RowBatch) -> Result<(), ProgramError> {
        self.have_slots(batch.rows());
        let is_plain = self.is_plain(batch);
        let mut at = 0;
        while at < batch.rows() {
            if is_plain {
                at = self.plain_rows(batch, at)?;
            }
            if at < batch.rows() {
                let ahead = (at + AHEAD).min(batch.rows());
                self.fetch_ends(batch, ahead..(ahead + 1).min(batch.rows()));
                self.row(batch, at)?;
                at += 1;
            }
        }
        Ok(())
    }

    /// Has a free slot for each of so many rows, if there may be so many.
    fn have_slots(&mut self, rows: usize) {
        let wanted = (self.live + rows).min(SLOT_LIMIT);
        self.free_slots.extend(self.free_slots.len() as u32..wanted as u32);
    }

    /// Does a row, whatever it is, and the ends before it.
    fn row(&mut self, batch: &RowBatch, at: usize) -> Result<(), ProgramError> {
        let (event, size) = (batch.events[at], batch.sizes[at]);
        let (op, domain) = (batch.requests[at].op(), batch.requests[at].domain());
        let type_id = batch.types.get(at).copied().unwrap_or_default();
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
        self.instructions[place] = Instruction::new(action, domain, slot, size);
        self.profile.calls[action as usize] += 1;
        let requested = &mut self.profile.requested_bytes[action as usize];
        *requested = requested.saturating_add(size);
        let kind = self.kinds.as_mut().map_or(0, |kinds| {
            let kind = kinds.of(type_id, size, domain);
            kinds.put(place, kind);
            kind
        });
        if size >= WIDE {
            self.wide.insert(event, size);
            self.wide_live.insert(slot as usize, size);
        }
        self.live_bytes = self.live_bytes.wrapping_add(size); // 2^17 blocks of 2^47 bytes wrap
        self.next = event + 1;
        if self.live_bytes > self.profile.live_peak_bytes {
            self.profile.live_peak_bytes = self.live_bytes;
            self.profile.live_peak_event = event;
        }
        if let Some(lifetime) = NonZeroU64::new(batch.lifetimes[at]) {
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

    fn take_slot(&mut self, event: u64) -> Result<u32, ProgramError> {
        let slot = *self.free_slots.get(self.live).ok_or(ProgramError::Slots { event })?;
        self.live += 1;
        self.slots = self.slots.max(self.live);
        self.profile.live_peak_blocks = self.profile.live_peak_blocks.max(self.live as u64);
        Ok(slot)
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
        let (reached, stretch) = (self.reached(), self.reached() / STRETCH);
        let whole = (stretch + 1) * STRETCH;
        // Of the last one only what the trace says that it needs, and few stretches at once: then
        // no end waits.
        let few = whole.max(FEW_STRETCHES * STRETCH);
        let end = if (reached + 1..few).contains(&self.told) { self.told } else { whole };
        self.instructions.resize((end - self.first) as usize, Instruction::NONE);
        if let Some(kinds) = &mut self.kinds {
            kinds.reach(self.instructions.len());
        }
        let late = self.late.take(stretch);
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

    /// Writes a block's end at its place, or keeps it for the stretch that will have it.
    #[inline(always)]
    fn place_end(&mut self, late: Late) -> Result<(), ProgramError> {
        if late.end >= self.reached() {
            self.late.keep(late);
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

    /// Which call began the block in that slot, in words: it may be in a stretch that was taken
    /// off.
    fn birth(&self, slot: usize) -> String {
        let done = &self.instructions[..(self.next - self.first) as usize];
        let begins = |call: &Instruction| call.slot() == slot && call.action() != Action::Free;
        match done.iter().rposition(begins) {
            Some(at) => format!("events {}", self.first + at as u64),
            None => format!("an event before {}", self.first),
        }
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

    /// Makes the ends behind the last row, also in stretches that only ends reach.
    fn ends_that_are_left(
        &mut self,
        mut whole_stretch: impl FnMut(&mut Compiler) -> Result<(), ProgramError>,
    ) -> Result<(), ProgramError> {
        if self.late.count > 0 && !self.reached().is_multiple_of(STRETCH) {
            self.next_stretch()?; // more calls than the trace says
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
        self.profile.live_end_blocks = self.live as u64;
        let requests: u64 = self.profile.calls.iter().sum();
        self.profile.calls[Action::Free as usize] = self.next - requests;
        if let Some(kinds) = &mut self.kinds {
            kinds.truncate(left);
            self.outline.kinds = kinds.table(sites);
        }
        self.outline.calls = self.next;
        self.outline.slots = self.slots;
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

    /// Takes off the first stretch, if it is done: a part of the program whose outline is (or will
    /// turn out to be) `outline`.
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
pub(super) mod tests {
    use super::*;
    use crate::trace::{Distribution, Generator, Header, Row, Sequence, TraceError};

    /// Rows as they are, whatever they are.
    pub(crate) struct Rows(Vec<Row>, usize, Header, Sites);

    impl Rows {
        /// With types, of which no row has one, no row is plain.
        pub(crate) fn new(rows: &[Row], type_name: bool) -> Rows {
            let columns = Columns { domain: true, type_name, ..Columns::default() };
            Rows(rows.to_vec(), 0, Header { columns, ..Header::default() }, Sites::default())
        }
    }

    impl TraceReader for Rows {
        fn header(&self) -> &Header {
            &self.2
        }
        fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
            self.1 += 1;
            Ok(self.0.get(self.1 - 1).copied())
        }
        fn sites(&self) -> &Sites {
            &self.3
        }
    }

    /// Knuth's generator.
    pub(crate) struct Draw(pub u64);

    impl Draw {
        pub(crate) fn below(&mut self, limit: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }
    }

    /// A reader that leaves the proof to compiling loses nothing by it: compiling refuses just what
    /// `Sequence` refuses.
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
        let mut draw = Draw(7);
        let mut below = |limit: u64| draw.below(limit);
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
            let compiled = compile(&mut Rows::new(&rows, false));
            assert_eq!(
                compiled.is_ok(),
                is_sound,
                "{:?}",
                compiled.err().map(|error| error.to_string())
            );
            *if is_sound { &mut sound } else { &mut broken } += 1;
        }
        assert!(sound > 40 && broken > 200, "{sound} sound, {broken} broken");
    }
}
