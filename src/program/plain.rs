//! Compiles the rows that have nothing to them, which is nearly all, a handful at a
//! time.
//!
//! Whether the next call is a row or a block's end is as good as random, and a branch that a
//! processor does not foresee costs more than all else that is done for a call. So nothing asks.
//! One loop goes over the rows and writes each block's birth and end at their places; then others
//! go over the places, all of which must be known by now, and take back the slots of the blocks
//! that ended. A slot is thus taken again by a later handful only: a program may use up to
//! [`HANDFUL`] slots more than blocks ever live at once.

use std::ops::Range;

use super::compile::{Compiler, Late, STRETCH};
use super::{Action, Instruction, ProgramError, SLOT, WIDE, prefetch};
use crate::trace::{Op, RowBatch, all_bits};

/// Rows that are begun at once: so many that the ends of the loops do not count, so few that their
/// places stay in the nearest cache. While they are begun, the places of the next handful's ends
/// come there too: they are far from each other, and in no order.
const HANDFUL: usize = 48;
/// Sizes of resized blocks that are kept until their calls are walked; a power of two.
pub(super) const RESIZED: usize = HANDFUL.next_power_of_two();

/// Rows that were begun, up to the call of the last of which nothing is walked yet.
struct Begun {
    /// Where they are in their batch.
    rows: Range<usize>,
    /// One past the place of the last.
    until: usize,
    /// How many of them are no resizes.
    births: usize,
    /// Their number, by [`Op`].
    calls: [u64; 3],
    /// What they asked for, by [`Op`].
    bytes: [u64; 3],
    /// What the resized blocks had, in bytes.
    resized_bytes: u64,
}

impl Compiler {
    /// Whether a batch may have plain rows: of no kind, and so small that no size is kept beside
    /// the instructions and no sum overflows.
    pub(super) fn is_plain(&self, batch: &RowBatch) -> bool {
        self.kinds.is_none()
            && all_bits(&batch.sizes) < WIDE / 2
            && all_bits(&batch.lifetimes) < u64::MAX / 4
    }

    /// Does the rows from the one at `at` on, of such a batch, with the ends before each; gives the
    /// first row that is left to [`Compiler::row`]: it is in the next stretch, or something is
    /// wrong with it.
    pub(super) fn plain_rows(
        &mut self,
        batch: &RowBatch,
        mut at: usize,
    ) -> Result<usize, ProgramError> {
        let rows = batch.rows();
        // Blocks of wide sizes may live from an earlier batch.
        while at < rows && self.wide_live.is_empty() {
            let end = (at + HANDFUL).min(rows);
            self.fetch_ends(batch, end..(end + HANDFUL).min(rows));
            let begun = self.begin(batch, at..end);
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

    /// Has the places of blocks' ends brought into the cache.
    pub(super) fn fetch_ends(&self, batch: &RowBatch, rows: Range<usize>) {
        let start = self.instructions.as_ptr().wrapping_sub(self.first as usize);
        for (event, lifetime) in batch.events[rows.clone()].iter().zip(&batch.lifetimes[rows]) {
            prefetch(start.wrapping_add(event.wrapping_add(*lifetime) as usize));
        }
    }

    /// Writes the births and ends of these rows, up to one that is not plain.
    fn begin(&mut self, batch: &RowBatch, rows: Range<usize>) -> Begun {
        let from = (self.next - self.first) as usize;
        let instructions = self.instructions.as_mut_slice();
        // A handful ends with a stretch, whether or not the next is there: a program has the slots
        // that its parts have.
        let bound = instructions.len().min((from / STRETCH as usize + 1) * STRETCH as usize);
        let free_slots = &self.free_slots[self.live..];
        let columns = batch.requests[rows.clone()].iter().zip(&batch.sizes[rows.clone()]);
        let (mut done, mut until, mut taken) = (rows.start, from, 0);
        let (mut resizes, mut resize_bytes, mut resized_bytes) = (0, 0, 0);
        let blocks = batch.events[rows.clone()].iter().zip(&batch.lifetimes[rows.clone()]);
        for ((&event, &lifetime), (&asked, &size)) in blocks.zip(columns.clone()) {
            let birth = (u64::from(asked.code()) + (1 << 2)) | size << 32;
            let place = event.wrapping_sub(self.first) as usize;
            let end = place.wrapping_add(lifetime as usize);
            if place < until || place >= bound {
                break;
            }
            let here = instructions[place].0;
            let there = instructions.get(end).map_or(0, |there| there.0);
            let slot;
            if birth & 3 == Op::Realloc as u64 {
                // Of the domains, `raw` alone is without this bit.
                let is_other = (here ^ birth) & 1 << 3 != 0;
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
                // Of a block without an end, both are the same place.
                if here | there != 0 {
                    break;
                }
                slot = u64::from(free) << 4;
                taken += 1;
            }
            if let Some(there) = instructions.get_mut(end) {
                *there = Instruction(birth | slot | Action::Free as u64);
            } else {
                let (domain, slot, size) = (asked.domain(), (slot >> 4) as u32, birth >> 32);
                self.late.keep(Late {
                    end: event + lifetime,
                    birth: event,
                    slot,
                    domain,
                    size,
                    kind: 0,
                });
            }
            instructions[place] = Instruction(birth | slot);
            until = place + 1;
            done += 1;
        }
        let (mut bytes, mut callocs, mut calloc_bytes) = (0, 0, 0);
        for (asked, size) in columns.take(done - rows.start) {
            let is_calloc = u64::from(asked.code() & 1);
            bytes += size;
            callocs += is_calloc;
            calloc_bytes += size & is_calloc.wrapping_neg();
        }
        Begun {
            rows: rows.start..done,
            until,
            births: taken,
            calls: [taken as u64 - callocs, callocs, resizes as u64],
            bytes: [bytes - calloc_bytes - resize_bytes, calloc_bytes, resize_bytes],
            resized_bytes,
        }
    }

    /// Does the calls up to the last row that was begun: takes note of what was asked for, and
    /// takes back slots.
    fn walk(&mut self, batch: &RowBatch, begun: &Begun) -> Result<(), ProgramError> {
        for op in Op::ALL.map(|op| op as usize) {
            self.profile.calls[op] += begun.calls[op];
            let requested = &mut self.profile.requested_bytes[op];
            *requested = requested.saturating_add(begun.bytes[op]);
        }
        let asked: u64 = begun.bytes.iter().sum();
        let mut live = self.live + begun.births;
        self.slots = self.slots.max(live);
        if self.live_bytes + asked > self.profile.live_peak_bytes {
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
            // What a birth puts here means nothing.
            free_slots[live - 1] = place.slot() as u32;
            live -= usize::from(place.ends_a_block() & place.is_second());
        }
        // Every place is a row or an end.
        if self.live + begun.births - live != places.len() - begun.rows.len() {
            let gap =
                places.iter().position(|place| *place == Instruction::NONE).unwrap_or_default();
            return Err(ProgramError::gap(self.next + gap as u64));
        }
        // The sum is of what was asked for and of what was freed.
        self.live_bytes = self.live_bytes + 2 * asked - bytes - begun.resized_bytes;
        self.live = live;
        self.next = self.first + begun.until as u64;
        Ok(())
    }

    /// Where the most bytes live, if that is more than ever before.
    fn find_peak_bytes(&mut self, begun: &Begun) {
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

    /// How many blocks live at most, if that is more than ever before.
    fn find_peak_blocks(&mut self, batch: &RowBatch, begun: &Begun) {
        let rows = batch.events[begun.rows.clone()].iter().zip(&batch.requests[begun.rows.clone()]);
        let (mut births, mut most) = (0, 0);
        for (before, (event, asked)) in (0..).zip(rows) {
            births += i64::from(asked.op() != Op::Realloc);
            // What is not a row is an end.
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

    use super::super::compile::tests::{Draw, Rows};
    use super::super::{Profile, Program, compile, write_parts};
    use crate::program::Parts;
    use crate::trace::{self, Domain, Op, Row};

    type Told = (&'static str, Domain, u64, Option<usize>, Option<usize>);

    /// What a person would write down beside a program that runs.
    #[derive(Default)]
    struct Diary {
        rows: Vec<Row>,
        /// Each call's action, domain and size, and by the row of its birth the block that it ends
        /// and the one that it begins.
        calls: Vec<Told>,
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

        /// A program that makes up its mind at each call. Of `wide` sizes one in so many; blocks up
        /// to `most`.
        fn kept(seed: u64, calls: usize, wide: u64, most: usize) -> Diary {
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
                let domain = Domain::ALL[draw.below(3) as usize];
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

        /// Holds a program against what was written down.
        fn check(&self, program: &Program) {
            assert_eq!(program.profile(), &self.profile);
            assert_eq!(program.instructions().len(), self.calls.len());
            let mut held = HashMap::new();
            for (index, (call, told)) in program.instructions().iter().zip(&self.calls).enumerate()
            {
                let &(name, domain, size, ends, begins) = told;
                assert_eq!((call.action().name(), call.domain()), (name, domain), "call {index}");
                assert_eq!(program.size(index) as u64, size, "call {index}");
                assert!(call.slot() < program.slots());
                assert_eq!(held.remove(&call.slot()), ends, "call {index}");
                begins.map(|block| held.insert(call.slot(), block));
            }
            let blocks = self.profile.live_peak_blocks;
            assert!((blocks..=blocks + super::HANDFUL as u64).contains(&(program.slots() as u64)));
        }
    }

    #[test]
    fn programs_are_what_was_written_down() {
        for seed in 0..300 {
            let wide = [1 << 40, 1_000, 30][seed as usize % 3];
            let calls = 1 + seed as usize * seed as usize / 9;
            let diary = Diary::kept(seed, calls, wide, [3, 40, 2_000][seed as usize / 3 % 3]);
            diary.check(&compile(&mut Rows::new(&diary.rows, false)).unwrap());
            diary.check(&compile(&mut Rows::new(&diary.rows, true)).unwrap());
        }
    }

    /// Blocks that end stretches later; from the binary form too, which tells the calls beforehand,
    /// and in parts.
    #[test]
    fn so_are_those_of_several_stretches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.trace");
        for (seed, wide) in [(1, 1 << 40), (2, 200_000)] {
            let diary = Diary::kept(seed, (2 << 20) + 4_321, wide, 300_000);
            let mut rows = Rows::new(&diary.rows, false);
            let program = compile(&mut rows).unwrap();
            diary.check(&program);
            trace::copy(&mut Rows::new(&diary.rows, false), &path).unwrap();
            let open = || {
                let mut reader = trace::open(&path).unwrap();
                reader.skip_validation();
                reader
            };
            let program = compile(open().as_mut()).unwrap();
            diary.check(&program);
            let mut bytes = Vec::new();
            write_parts(open().as_mut(), program.outline(), &mut bytes).unwrap();
            let mut parts = Parts::begin(bytes.as_slice()).unwrap();
            let mut whole = Vec::new();
            while let Some(part) = parts.next_part().unwrap() {
                whole.extend_from_slice(part.instructions());
            }
            assert!(whole == program.instructions());
        }
    }

    /// What is no trace is refused with the words that it has where no row is plain.
    #[test]
    fn the_first_fault_is_told_whoever_finds_it() {
        let mut draw = Draw(9);
        let mut told = BTreeSet::new();
        for round in 0..1_500 {
            let mut rows = Diary::kept(round, 40 + draw.below(400) as usize, 500, 30).rows;
            for _ in 0..1 + draw.below(2) {
                let at = draw.below(rows.len() as u64) as usize;
                let row = &mut rows[at];
                let few = draw.below(4);
                match draw.below(7) {
                    0 => row.lifetime = std::num::NonZeroU64::new(few),
                    1 => row.event = (row.event + few).saturating_sub(2),
                    2 => row.op = Op::ALL[draw.below(3) as usize],
                    3 => row.domain = Domain::ALL[draw.below(3) as usize],
                    4 => drop(rows.remove(at)),
                    5 => row.lifetime = std::num::NonZeroU64::new(u64::MAX - few),
                    _ => rows.swap(at, draw.below(2) as usize),
                }
            }
            let [plain, slow] = [false, true].map(|types| compile(&mut Rows::new(&rows, types)));
            match (plain, slow) {
                (Ok(plain), Ok(slow)) => assert_eq!(plain.profile(), slow.profile()),
                (plain, slow) => {
                    let words = plain.map(drop).unwrap_err().to_string();
                    assert_eq!(words, slow.map(drop).unwrap_err().to_string());
                    let kind: String = words.chars().filter(|c| !c.is_ascii_digit()).collect();
                    told.insert(kind);
                }
            }
        }
        assert!(told.len() >= 7, "{told:#?}");
    }
}
