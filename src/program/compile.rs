//! The entry of compilation: rows in, program out, in one pass.

use std::cell::Cell;
use std::sync::Arc;

use super::allocation_sites::{AllocationSites, MARKS_LOOKED_AT};
use super::compiled::Program;
use super::compiler::Compiler;
use super::error::ProgramError;
use super::times::Times;
use crate::trace::{Columns, REQUESTED_LIMIT_BYTES, RowBatch, SiteId, TraceReader};

/// Compiles a trace in one pass.
///
/// # Errors
/// What the reader finds, and a trace with no call or with too many live blocks.
#[cfg(feature = "internals")]
pub fn compile(reader: &mut dyn TraceReader) -> Result<Program, ProgramError> {
    let compiler = walk(reader, Columns::default(), u64::MAX, |_| {}, |_| Ok(()))?;
    Ok(compiler.into_program())
}

/// Compiles a trace as [`compile`] does, with the site of each request and the times of some; none
/// where the trace has none.
///
/// # Errors
/// As [`compile`].
#[cfg(feature = "internals")]
pub fn compile_with_sites(
    reader: &mut dyn TraceReader,
) -> Result<(Program, AllocationSites, Times), ProgramError> {
    compile_within(reader, u64::MAX)
}

/// As [`compile_with_sites`]; of a trace of more than `most` calls it returns only the outline, the
/// names of the sites, and the times.
///
/// # Errors
/// As [`compile`].
pub fn compile_within(
    reader: &mut dyn TraceReader,
    most: u64,
) -> Result<(Program, AllocationSites, Times), ProgramError> {
    let with_sites = reader.header().columns.site;
    let mut sites = AllocationSites::default();
    let mut times = Times::default();
    // Where the format names the number of calls, nothing is stored from the start.
    let is_over = Cell::new(reader.events_hint().is_some_and(|calls| calls > most));
    let none = Arc::default();
    let seen = |batch: &RowBatch| {
        for (&event, &time_ns) in batch.events.iter().zip(&batch.times_ns) {
            times.see(event, time_ns);
        }
        if with_sites && !is_over.get() {
            sites.sites.extend(batch.sites.iter().map(|site| site.0));
        }
    };
    let looks_at = Columns { time_ns: true, site: true, ..Columns::default() };
    let compiler = walk(reader, looks_at, most, seen, |compiler| {
        is_over.set(is_over.get() || compiler.calls() > most);
        while is_over.get() && compiler.take_segment(&none).is_some() {}
        Ok(())
    })?;
    let (names, marks) = match with_sites {
        true => (site_names(reader), marks_looked_at(reader)),
        false => Default::default(),
    };
    if is_over.get() || compiler.calls() > most {
        let outline = Arc::new(compiler.outline().clone());
        return Ok((Program::outlined(outline), AllocationSites::in_parts(names, marks), times));
    }
    (sites.names, sites.marks) = (names, marks);
    Ok((compiler.into_program(), sites, times))
}

/// The names of the sites in the order of their numbers.
fn site_names(reader: &dyn TraceReader) -> Vec<String> {
    let names = reader.sites();
    (1..=names.len() as u32).map(|id| names.name(SiteId(id)).to_owned()).collect()
}

/// The calls before each of the first marks, rising.
fn marks_looked_at(reader: &dyn TraceReader) -> Vec<u64> {
    let marks = reader.header().marks().into_iter();
    let mut marks: Vec<u64> = marks.map(|(event, _)| event).take(MARKS_LOOKED_AT).collect();
    marks.sort_unstable();
    marks
}

/// Compiles. Gives the rows to `seen`, with the columns that it looks at, and the compiler to
/// `whole_segment` whenever segments of calls are done. Memory for `calls` is reserved from the
/// start, if the trace has so many.
pub(super) fn walk(
    reader: &mut dyn TraceReader,
    looks_at: Columns,
    calls: u64,
    mut seen: impl FnMut(&RowBatch),
    mut whole_segment: impl FnMut(&mut Compiler) -> Result<(), ProgramError>,
) -> Result<Compiler, ProgramError> {
    let hint = reader.events_hint().filter(|hint| *hint <= calls);
    let mut compiler = Compiler::new(hint, reader.header().columns.type_name);
    reader.select_columns(Columns {
        domain: true,
        type_name: true,
        alignment: true,
        thread: true,
        end_thread: true,
        ..looks_at
    });
    let mut batch = RowBatch::default();
    let mut requested_bytes = 0u64;
    while reader.next_batch(&mut batch)? {
        // A batch has at most 2^16 rows of 2^47 bytes, so its sum cannot overflow.
        requested_bytes += batch.sizes.iter().sum::<u64>();
        if requested_bytes > REQUESTED_LIMIT_BYTES {
            let event = batch.events.first().copied().unwrap_or_default();
            return Err(ProgramError::TooManyBytes { event });
        }
        compiler.batch(&batch)?;
        seen(&batch);
        if compiler.has_whole_segment() {
            whole_segment(&mut compiler)?;
        }
    }
    compiler.ends_that_are_left(whole_segment)?;
    let births = reader.header().arenas().into_iter().filter(|arena| arena.is_birth);
    compiler.outline.arena_bases = births.map(|arena| arena.base).collect();
    compiler.finish(reader.sites(), reader.process());
    Ok(compiler)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Draw, FixedRows};
    use super::super::instruction::{Action, WIDE};
    use super::super::parts::{Parts, write_parts};
    use std::num::NonZeroU64;

    use super::*;
    use crate::trace::{
        Call, Distribution, Domain, Generator, Header, Op, Row, Sequence, Sites, TraceError,
    };

    fn generated(seed: u64, calls: u64) -> Generator {
        Generator::new(seed, calls, Distribution::python_sizes(), Distribution::python_lifetimes())
    }

    /// The reference: rows through the heap of `Sequence`, which names blocks by their birth. The
    /// instructions' slots must hold the same blocks.
    #[test]
    fn instructions_are_the_calls_of_the_sequence() {
        for (seed, calls) in
            [(1, 1), (2, 2), (3, 1000), (4, 300_000), (5, (1 << 20) + 17), (6, 2 << 20)]
        {
            let program = compile(&mut generated(seed, calls)).unwrap();
            let mut held: Vec<Option<u64>> = vec![None; program.slots()];
            let mut index = 0;
            let mut sequence = Sequence::new();
            let mut check = |call: Call<'_>| {
                let instruction = program.instructions()[index];
                let slot = &mut held[instruction.slot()];
                match call {
                    Call::Free { event, block } => {
                        assert_eq!((event, instruction.action()), (index as u64, Action::Free));
                        assert_eq!(slot.take(), Some(block.event));
                    }
                    Call::Request { row, resized } => {
                        assert_eq!(instruction.action().name(), row.op.name());
                        assert_eq!(instruction.domain(), row.domain);
                        assert_eq!(program.size(index) as u64, row.size);
                        assert_eq!(slot.replace(row.event), resized.map(|block| block.event));
                    }
                }
                index += 1;
            };
            let mut reader = generated(seed, calls);
            while let Some(row) = reader.next_row().unwrap() {
                sequence.accept(&row, &mut check).unwrap();
            }
            sequence.finish(&mut check).unwrap();
            assert_eq!(index, program.instructions().len());
            let mut bytes = Vec::new();
            program.write(&mut bytes).unwrap();
            let back = Program::read(&mut bytes.as_slice()).unwrap();
            assert_eq!(back.instructions(), program.instructions());
            assert_eq!(back.profile(), program.profile(), "derived a second way");
            // Another slot in the last instruction. Behind it are the ends of the part and of the
            // program.
            let last = bytes.len() - 16;
            bytes[last - 7] ^= 0xF0;
            assert!(calls == 1 || Program::read(&mut bytes.as_slice()).is_err());
            assert_eq!(program.profile().total_calls(), calls);
        }
    }

    #[test]
    fn sizes_too_wide_for_an_instruction_are_in_a_table() {
        struct One(Option<Row>, Header, Sites);
        impl TraceReader for One {
            fn header(&self) -> &Header {
                &self.1
            }
            fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
                Ok(self.0.take())
            }
            fn sites(&self) -> &Sites {
                &self.2
            }
        }
        for size in [WIDE - 1, WIDE, WIDE + 1, 1 << 47] {
            let row = Row::new(0, Op::Malloc, size, None);
            let program =
                compile(&mut One(Some(row), Default::default(), Default::default())).unwrap();
            assert_eq!(program.size(0) as u64, size);
            assert_eq!(program.has_wide_requests(), size >= WIDE);
        }
        assert!(matches!(
            compile(&mut One(None, Default::default(), Default::default())),
            Err(ProgramError::Empty)
        ));
    }

    /// A reader may leave the proof to compiling: compiling refuses exactly what `Sequence`
    /// refuses.
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
                    3 => rows[at].domain = Domain::ALL[below(4) as usize],
                    4 => drop(rows.remove(at)),
                    _ => rows[at].lifetime = std::num::NonZeroU64::new(few + (1 << 20)),
                }
            }
            let mut sequence = Sequence::new();
            let checked = rows.iter().try_for_each(|row| sequence.accept(row, |_| {}));
            let is_sound = checked.is_ok() && sequence.finish(|_| {}).is_ok();
            let compiled = compile(&mut FixedRows::new(&rows, false));
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

    /// Alignments and threads, also where the second thread appears late and a block ends on another
    /// thread, in the next segment.
    #[test]
    fn alignments_and_threads_are_beside_the_instructions() {
        use super::super::compiled::{ThreadRun, WideRequest};
        let mut rows = Vec::new();
        for event in 0..1_100_000u64 {
            let mut row = Row::new(event, Op::Malloc, event % 999 + 1, None);
            (row.thread, row.domain) = (if event >= 1_000_000 { 9 } else { 5 }, Domain::Libc);
            rows.push(row);
        }
        // Freed by thread 7 after the last row, in the next segment; and by its own thread.
        (rows[1_000_001].lifetime, rows[1_000_001].end_thread) =
            (NonZeroU64::new(100_000), Some(7));
        rows[3].lifetime = NonZeroU64::new(1_099_997);
        rows[999_990].alignment = 64;
        rows.truncate(1_100_000);
        let mut reader = FixedRows::with_threads(&rows);
        let program = compile(&mut reader).unwrap();
        assert_eq!(program.calls(), 1_100_002);
        let runs = [(1_000_000, 0), (1_100_000, 1), (1_100_001, 0), (1_100_002, 2)];
        // The two ends come in the order of their events.
        let found: Vec<(usize, u32)> =
            program.thread_runs().iter().map(|run| (run.until, run.thread)).collect();
        assert_eq!(found, runs);
        let threads: Vec<_> = program
            .outline()
            .threads
            .iter()
            .map(|thread| (thread.number, thread.calls, thread.first_call, thread.last_call))
            .collect();
        assert_eq!(
            threads,
            [
                (5, 1_000_001, 0, 1_100_000),
                (9, 100_000, 1_000_000, 1_099_999),
                (7, 1, 1_100_001, 1_100_001)
            ]
        );
        let wide = WideRequest { size: 999_990 % 999 + 1, alignment: 64 };
        assert_eq!((program.wide_request(999_990), program.alignment(5)), (wide, 0));
        assert_eq!(program.instructions()[0].domain(), Domain::Libc);
        // The same in parts.
        let mut bytes = Vec::new();
        let mut reader = FixedRows::with_threads(&rows);
        write_parts(&mut reader, program.outline(), None, &mut bytes).unwrap();
        let mut parts = Parts::begin(bytes.as_slice()).unwrap();
        assert_eq!(parts.outline(), program.outline());
        let first = parts.next_part().unwrap().unwrap();
        assert_eq!(first.thread_runs()[0], ThreadRun { until: 1_000_000, thread: 0 });
        assert_eq!(first.wide_request(999_990), wide);
        let second = parts.next_part().unwrap().unwrap();
        assert_eq!(second.thread_of(second.instructions().len() - 1), 2);
        assert!(parts.next_part().unwrap().is_none());
    }
}
