//! Compiles the plain rows, which are nearly all, in groups.
//!
//! Whether the next call is a row or a block's end is close to random. A mispredicted branch costs
//! more than the rest of the work for a call, so these loops do not branch on it. One loop goes
//! over the rows and writes each block's birth and end at their places. Further loops go over the
//! places, all of which must be known by then, and take back the slots of the blocks that ended.
//!
//! A slot is therefore reused by a later group only: a program may use up to [`GROUP_ROWS`] slots
//! more than blocks ever live at once.

use std::ops::Range;

use super::compiler::{AHEAD, Compiler, RESIZED};
use super::error::ProgramError;
use super::instruction::{Action, Instruction, SLOT, WIDE};
use super::late_ends::{LateEnd, SEGMENT_CALLS};
use super::prefetch::prefetch;
use crate::trace::{Op, RowBatch, all_bits};

/// Rows that are begun at once: enough to make the cost of the loops' ends small, few enough to
/// hold their places in the nearest cache. Meanwhile the places of the next group's ends are
/// fetched: they are far apart and unordered.
const GROUP_ROWS: usize = 48;

const _: () = assert!(RESIZED.is_power_of_two() && RESIZED >= GROUP_ROWS);

/// Rows whose births and ends are written, but whose calls are not walked yet.
struct BegunRows {
    /// Their indices in the batch.
    rows: Range<usize>,
    /// One past the place of the last.
    until: usize,
    /// How many of them are no resizes.
    births: usize,
    /// Their number, by [`Op`].
    calls: [u64; 3],
    /// Bytes that they request, by [`Op`].
    bytes: [u64; 3],
    /// Old sizes of the resized blocks, in bytes.
    resized_bytes: u64,
}

impl Compiler {
    /// Compiles a batch of rows: the plain ones in groups, the others one by one.
    pub(super) fn batch(&mut self, batch: &RowBatch) -> Result<(), ProgramError> {
        self.have_slots(batch.rows());
        self.see_threads(batch);
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

    /// Whether a batch may have plain rows: without alignments and a second thread, and of sizes
    /// that fit their instructions and whose sum cannot overflow.
    fn is_plain(&self, batch: &RowBatch) -> bool {
        self.threads.is_none()
            && all_bits(&batch.alignments) == 0
            && all_bits(&batch.sizes) < WIDE / 2
            && all_bits(&batch.lifetimes) < u64::MAX / 4
    }

    /// Compiles the rows of such a batch from `at` on, with the ends before each. Returns the first
    /// row that is left to [`Compiler::row`]: it is in the next segment, or it is faulty.
    fn plain_rows(&mut self, batch: &RowBatch, mut at: usize) -> Result<usize, ProgramError> {
        let rows = batch.rows();
        // Blocks of wide sizes may live from an earlier batch.
        while at < rows && self.wide_live.is_empty() {
            let end = (at + GROUP_ROWS).min(rows);
            self.fetch_ends(batch, end..(end + GROUP_ROWS).min(rows));
            let begun = match self.kinds {
                Some(_) => self.begin::<true>(batch, at..end),
                None => self.begin::<false>(batch, at..end),
            };
            at = begun.rows.end;
            if !begun.rows.is_empty() {
                self.walk(batch, &begun)?;
            }
            if at < end {
                break;
            }
        }
        Ok(at)
    }

    /// Fetches the places of blocks' ends into the cache.
    fn fetch_ends(&self, batch: &RowBatch, rows: Range<usize>) {
        let start = self.instructions.as_ptr().wrapping_sub(self.first as usize);
        if let Some(kinds) = &self.kinds {
            let blocks = batch.events[rows.clone()].iter().zip(&batch.lifetimes[rows.clone()]);
            for (event, lifetime) in blocks {
                let end = event.wrapping_add(*lifetime).wrapping_sub(self.first);
                prefetch(kinds.place(end as usize));
            }
        }
        for (event, lifetime) in batch.events[rows.clone()].iter().zip(&batch.lifetimes[rows]) {
            prefetch(start.wrapping_add(event.wrapping_add(*lifetime) as usize));
        }
    }

    /// The kinds of the blocks of these rows.
    fn kinds_of(&mut self, batch: &RowBatch, rows: Range<usize>) -> [u32; GROUP_ROWS] {
        let mut found = [0; GROUP_ROWS];
        let Some(kinds) = &mut self.kinds else { return found };
        let Some(types) = batch.types.get(rows.clone()) else { return found };
        let requests = batch.sizes[rows.clone()].iter().zip(&batch.requests[rows]);
        for ((kind, &type_id), (&size, &request)) in found.iter_mut().zip(types).zip(requests) {
            *kind = kinds.of_plain(type_id, size, request);
        }
        found
    }

    /// Writes the births and ends of these rows, up to one that is not plain. `TYPED`: of a trace
    /// with types.
    fn begin<const TYPED: bool>(&mut self, batch: &RowBatch, rows: Range<usize>) -> BegunRows {
        let kinds = if TYPED { self.kinds_of(batch, rows.clone()) } else { [0; GROUP_ROWS] };
        let kind_of = match &mut self.kinds {
            Some(kinds) if TYPED => kinds.of_calls(),
            _ => &mut [],
        };
        let from = (self.next - self.first) as usize;
        let instructions = self.instructions.as_mut_slice();
        // A group ends with its segment, whether or not the next is there: so a program has the
        // same slots as its parts.
        let bound =
            instructions.len().min((from / SEGMENT_CALLS as usize + 1) * SEGMENT_CALLS as usize);
        let free_slots = &self.free_slots[self.live..];
        let columns = batch.requests[rows.clone()].iter().zip(&batch.sizes[rows.clone()]);
        let (mut done, mut until, mut taken) = (rows.start, from, 0);
        let (mut resizes, mut resize_bytes, mut resized_bytes) = (0, 0, 0);
        let blocks = batch.events[rows.clone()].iter().zip(&batch.lifetimes[rows.clone()]);
        for ((&event, &lifetime), (&request, &size)) in blocks.zip(columns.clone()) {
            // An instruction has the next number for each domain, and 0 for the last.
            let birth = ((u64::from(request.code()) + (1 << 2)) & 0xF) | size << 32;
            let place = event.wrapping_sub(self.first) as usize;
            let end = place.wrapping_add(lifetime as usize);
            if place < until || place >= bound {
                break;
            }
            let here = instructions[place].0;
            let there = instructions.get(end).map_or(0, |there| there.0);
            let slot;
            if birth & 3 == Op::Realloc as u64 {
                // The upper bit is set for mem and obj, which share blocks. Of raw and libc, which do
                // not, the lower bit differs.
                let other = here ^ birth;
                let is_other = (other | other << 1 & !here) & 1 << 3 != 0;
                if here == 0 || is_other || (there != 0 && end != place) {
                    break;
                }
                slot = here & SLOT;
                self.resized[resizes % RESIZED] = here >> 32;
                resizes += 1;
                resize_bytes += birth >> 32;
                resized_bytes += here >> 32;
            } else {
                let Some(&free) = free_slots.get(taken) else { break };
                // For a block without an end, both are the same place.
                if here | there != 0 {
                    break;
                }
                slot = u64::from(free) << 4;
                taken += 1;
            }
            let kind = if TYPED { kinds[done - rows.start] } else { 0 };
            if let Some(there) = instructions.get_mut(end) {
                *there = Instruction(birth | slot | Action::Free as u64);
                if TYPED {
                    kind_of[end] = kind;
                }
            } else {
                let (domain, slot, size) = (request.domain(), (slot >> 4) as u32, birth >> 32);
                self.late.store(LateEnd {
                    end: event + lifetime,
                    birth: event,
                    slot,
                    domain,
                    size,
                    kind,
                    thread: 0,
                });
            }
            instructions[place] = Instruction(birth | slot);
            if TYPED {
                kind_of[place] = kind;
            }
            until = place + 1;
            done += 1;
        }
        let (mut bytes, mut callocs, mut calloc_bytes) = (0, 0, 0);
        for (request, size) in columns.take(done - rows.start) {
            let is_calloc = u64::from(request.code() & 1);
            bytes += size;
            callocs += is_calloc;
            calloc_bytes += size & is_calloc.wrapping_neg();
        }
        BegunRows {
            rows: rows.start..done,
            until,
            births: taken,
            calls: [taken as u64 - callocs, callocs, resizes as u64],
            bytes: [bytes - calloc_bytes - resize_bytes, calloc_bytes, resize_bytes],
            resized_bytes,
        }
    }

    /// Completes the calls up to the last row of the group: counts what they request, and takes
    /// back slots.
    fn walk(&mut self, batch: &RowBatch, begun: &BegunRows) -> Result<(), ProgramError> {
        for op in Op::ALL.map(|op| op as usize) {
            self.profile.calls[op] += begun.calls[op];
            let requested = &mut self.profile.requested_bytes[op];
            *requested = requested.saturating_add(begun.bytes[op]);
        }
        let requested_bytes: u64 = begun.bytes.iter().sum();
        let mut live = self.live + begun.births;
        self.slots = self.slots.max(live);
        if self.live_bytes + requested_bytes > self.profile.live_peak_bytes {
            self.find_peak_bytes(begun);
        }
        if live as u64 > self.profile.live_peak_blocks {
            self.find_peak_blocks(batch, begun);
        }
        let from = (self.next - self.first) as usize;
        let places = &mut self.instructions[from..begun.until];
        let mut bytes = 0;
        for place in &mut *places {
            let call = place.0;
            bytes += call >> 32;
            let is_free = call & call >> 1 & 1;
            // An end that is done has no size.
            place.0 = call & !(is_free.wrapping_neg() << 32);
        }
        let free_slots = &mut self.free_slots[..live];
        for place in &*places {
            // The entry that a birth writes here means nothing.
            free_slots[live - 1] = place.slot() as u32;
            live -= usize::from(place.ends_a_block() & place.is_second());
        }
        // Every place is a row or an end.
        if self.live + begun.births - live != places.len() - begun.rows.len() {
            let gap =
                places.iter().position(|place| *place == Instruction::NONE).unwrap_or_default();
            return Err(ProgramError::gap(self.next + gap as u64));
        }
        // The sum is of the requested and of the freed bytes.
        self.live_bytes = self.live_bytes + 2 * requested_bytes - bytes - begun.resized_bytes;
        self.live = live;
        self.next = self.first + begun.until as u64;
        Ok(())
    }

    /// Finds the call after which the most bytes live, if that is more than ever before.
    fn find_peak_bytes(&mut self, begun: &BegunRows) {
        let from = (self.next - self.first) as usize;
        let mut resized = self.resized.iter();
        let mut bytes = self.live_bytes;
        for (event, call) in (self.next..).zip(&self.instructions[from..begun.until]) {
            let size = call.short_size() as u64;
            match call.action() {
                Action::Malloc | Action::Calloc => bytes += size,
                Action::Realloc => bytes = bytes + size - resized.next().unwrap_or(&0),
                Action::Free => bytes -= size,
            }
            if bytes > self.profile.live_peak_bytes {
                self.profile.live_peak_bytes = bytes;
                self.profile.live_peak_event = event;
            }
        }
    }

    /// Counts the most blocks that live at once, if that is more than ever before.
    fn find_peak_blocks(&mut self, batch: &RowBatch, begun: &BegunRows) {
        let rows = batch.events[begun.rows.clone()].iter().zip(&batch.requests[begun.rows.clone()]);
        let (mut births, mut most) = (0, 0);
        for (before, (event, request)) in (0..).zip(rows) {
            births += i64::from(request.op() != Op::Realloc);
            // A call that is no row is an end.
            let ends = (event - self.next) as i64 - before;
            most = most.max(births - ends);
        }
        let most = (self.live as u64).saturating_add_signed(most);
        self.profile.live_peak_blocks = self.profile.live_peak_blocks.max(most);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    use super::super::compile::compile;
    use super::super::compiled::Program;
    use super::super::fixtures::{Draw, FixedRows};
    use super::super::outline::Profile;
    use super::super::parts::{Parts, write_parts};
    use crate::trace::{self, Domain, Op, Row, TypeId};

    /// A call's action, domain, size in bytes, the block that it ends and the one that it begins.
    type Written = (&'static str, Domain, u64, Option<usize>, Option<usize>);

    /// A reference model: what a person would write down beside a running program.
    #[derive(Default)]
    struct Diary {
        rows: Vec<Row>,
        /// Each call; a block is named by the row of its birth.
        calls: Vec<Written>,
        profile: Profile,
        /// By the row of its birth: each live block's domain and size.
        live: BTreeMap<usize, (Domain, u64)>,
    }

    impl Diary {
        fn end(&mut self, row: usize) -> (Domain, u64) {
            let event = self.calls.len() as u64;
            self.rows[row].lifetime = std::num::NonZeroU64::new(event - self.rows[row].event);
            self.live.remove(&row).unwrap()
        }

        fn request(&mut self, op: Op, domain: Domain, size: u64, resized: Option<usize>) {
            let mut row = Row::new(self.calls.len() as u64, op, size, None);
            row.domain = domain;
            self.calls.push((op.name(), domain, size, resized, Some(self.rows.len())));
            self.live.insert(self.rows.len(), (domain, size));
            self.rows.push(row);
            self.profile.calls[op as usize] += 1;
            self.profile.requested_bytes[op as usize] += size;
        }

        fn note_peak(&mut self, bytes: u64) {
            if bytes > self.profile.live_peak_bytes {
                self.profile.live_peak_bytes = bytes;
                self.profile.live_peak_event = self.calls.len() as u64 - 1;
            }
            self.profile.live_peak_blocks =
                self.profile.live_peak_blocks.max(self.live.len() as u64);
            (self.profile.live_end_bytes, self.profile.live_end_blocks) =
                (bytes, self.live.len() as u64);
        }

        /// A program that decides at random at each call. One size in `wide` is wide; at most
        /// `most` blocks live.
        fn drawn(seed: u64, calls: usize, wide: u64, most: usize) -> Diary {
            let (mut draw, mut diary, mut bytes) = (Draw(seed), Diary::default(), 0);
            // The youngest die first, mostly; phases make bursts of births and of ends.
            let mut stack: Vec<usize> = Vec::new();
            let mut wanted = 1;
            while diary.calls.len() < calls {
                if draw.below(60) == 0 {
                    wanted = 1 + draw.below(9);
                }
                let bits = draw.below(12);
                let size = match draw.below(wide) {
                    0 => (1 << 32) - 3 + draw.below(5),
                    _ => draw.below(1 << bits),
                };
                let domain = Domain::ALL[draw.below(4) as usize];
                if stack.is_empty() || stack.len() < most && draw.below(10) < wanted {
                    let op = [Op::Malloc, Op::Malloc, Op::Calloc][draw.below(3) as usize];
                    bytes += size;
                    stack.push(diary.rows.len());
                    diary.request(op, domain, size, None);
                } else {
                    let at = if draw.below(4) == 0 {
                        draw.below(stack.len() as u64) as usize
                    } else {
                        stack.len() - 1
                    };
                    let row = stack.swap_remove(at);
                    let (old_domain, old) = diary.end(row);
                    bytes -= old;
                    if draw.below(8) == 0 {
                        let domain =
                            if old_domain.shares_blocks_with(domain) { domain } else { old_domain };
                        bytes += size;
                        stack.push(diary.rows.len());
                        diary.request(Op::Realloc, domain, size, Some(row));
                    } else {
                        diary.calls.push(("free", old_domain, 0, Some(row), None));
                        diary.profile.calls[3] += 1;
                    }
                }
                diary.note_peak(bytes);
            }
            diary
        }

        /// Compares a program with what was written down.
        fn check(&self, program: &Program) {
            assert_eq!(program.profile(), &self.profile);
            assert_eq!(program.instructions().len(), self.calls.len());
            let mut held = HashMap::new();
            for (index, (call, written)) in
                program.instructions().iter().zip(&self.calls).enumerate()
            {
                let &(name, domain, size, ends, begins) = written;
                assert_eq!((call.action().name(), call.domain()), (name, domain), "call {index}");
                assert_eq!(program.size(index) as u64, size, "call {index}");
                assert!(call.slot() < program.slots());
                assert_eq!(held.remove(&call.slot()), ends, "call {index}");
                begins.map(|block| held.insert(call.slot(), block));
            }
            let blocks = self.profile.live_peak_blocks;
            assert!(
                (blocks + 1..=blocks + 1 + super::GROUP_ROWS as u64)
                    .contains(&(program.slots() as u64))
            );
        }
    }

    #[test]
    fn programs_are_what_was_written_down() {
        for seed in 0..300 {
            let wide = [1 << 40, 1_000, 30][seed as usize % 3];
            let calls = 1 + seed as usize * seed as usize / 9;
            let diary = Diary::drawn(seed, calls, wide, [3, 40, 2_000][seed as usize / 3 % 3]);
            diary.check(&compile(&mut FixedRows::new(&diary.rows, false)).unwrap());
            diary.check(&compile(&mut FixedRows::none_plain(&diary.rows)).unwrap());
        }
    }

    /// The kind of each call, compiled in groups and row by row, is that of its row's type and size.
    #[test]
    fn kinds_are_those_of_the_rows() {
        for (seed, calls, wide) in
            [(1, 3_000, 1 << 40), (2, 40_000, 300), (3, (1 << 20) + 999, 1 << 40)]
        {
            let mut diary = Diary::drawn(seed, calls, wide, 2_000);
            let mut draw = Draw(seed);
            let mut expected: Vec<Option<(u32, u64)>> = vec![None; calls];
            for row in &mut diary.rows {
                row.type_id = TypeId(draw.below(9) as u32 / 2); // 0 is none
                let may_have = matches!(row.domain, Domain::Mem | Domain::Obj);
                let kind = (may_have && row.type_id.0 > 0).then_some((row.type_id.0, row.size));
                // A realloc at the end writes its own.
                if let Some(lifetime) = row.lifetime {
                    expected[(row.event + lifetime.get()) as usize] = kind;
                }
                expected[row.event as usize] = kind;
            }
            for reader in [FixedRows::new(&diary.rows, true), FixedRows::none_plain(&diary.rows)] {
                let mut reader = reader;
                let program = compile(&mut reader).unwrap();
                diary.check(&program);
                for (at, expected) in expected.iter().enumerate() {
                    let known = program.kind(at).checked_sub(1).map(|kind| &program.kinds()[kind]);
                    let found = known.map(|kind| (kind.type_name.clone(), kind.bytes));
                    let expected = expected.map(|(number, size)| (format!("type{number}"), size));
                    assert_eq!(found, expected, "seed {seed}, call {at}");
                }
            }
        }
    }

    /// Blocks that end segments later; also from the binary form, whose header names the number of
    /// calls, and in parts.
    #[test]
    fn so_are_those_of_several_segments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.trace");
        for (seed, wide) in [(1, 1 << 40), (2, 200_000)] {
            let diary = Diary::drawn(seed, (2 << 20) + 4_321, wide, 300_000);
            let mut rows = FixedRows::new(&diary.rows, false);
            let program = compile(&mut rows).unwrap();
            diary.check(&program);
            trace::copy(&mut FixedRows::new(&diary.rows, false), &path).unwrap();
            let open = || {
                let mut reader = trace::open(&path).unwrap();
                reader.skip_validation();
                reader
            };
            let program = compile(open().as_mut()).unwrap();
            diary.check(&program);
            let mut bytes = Vec::new();
            write_parts(open().as_mut(), program.outline(), None, &mut bytes).unwrap();
            let mut parts = Parts::begin(bytes.as_slice()).unwrap();
            let mut whole = Vec::new();
            while let Some(part) = parts.next_part().unwrap() {
                whole.extend_from_slice(part.instructions());
            }
            assert!(whole == program.instructions());
        }
    }

    /// A faulty trace is refused with the message that it has where no row is plain.
    #[test]
    fn the_first_fault_has_the_same_message_either_way() {
        let mut draw = Draw(9);
        let mut kinds = BTreeSet::new();
        for round in 0..1_500 {
            let mut rows = Diary::drawn(round, 40 + draw.below(400) as usize, 500, 30).rows;
            for _ in 0..1 + draw.below(2) {
                let at = draw.below(rows.len() as u64) as usize;
                let row = &mut rows[at];
                let few = draw.below(4);
                match draw.below(7) {
                    0 => row.lifetime = std::num::NonZeroU64::new(few),
                    1 => row.event = (row.event + few).saturating_sub(2),
                    2 => row.op = Op::ALL[draw.below(3) as usize],
                    3 => row.domain = Domain::ALL[draw.below(4) as usize],
                    4 => drop(rows.remove(at)),
                    5 => row.lifetime = std::num::NonZeroU64::new(u64::MAX - few),
                    _ => rows.swap(at, draw.below(2) as usize),
                }
            }
            let plain = compile(&mut FixedRows::new(&rows, false));
            let slow = compile(&mut FixedRows::none_plain(&rows));
            match (plain, slow) {
                (Ok(plain), Ok(slow)) => assert_eq!(plain.profile(), slow.profile()),
                (plain, slow) => {
                    let message = plain.map(drop).unwrap_err().to_string();
                    assert_eq!(message, slow.map(drop).unwrap_err().to_string());
                    let kind: String = message.chars().filter(|c| !c.is_ascii_digit()).collect();
                    kinds.insert(kind);
                }
            }
        }
        assert!(kinds.len() >= 7, "{kinds:#?}");
    }
}
