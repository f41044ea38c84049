//! The median of each call's time over the repetitions of a latency pass, and all
//! that is made of it.
//!
//! Replay is deterministic: the same call does the same work in each repetition, so its median is
//! its own cost, and what one repetition alone saw was the machine's (the scheduler, an interrupt,
//! a neighbour). The repetitions are read side by side as streams, beside the program, which may
//! come in parts; a call's median goes to a file, so that memory does not grow with the trace.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use hdrhistogram::Histogram;

use super::latency_map::LatencyMap;
use super::slow_calls::{Seen, SlowCalls};
use super::windows;
use super::workload::Loaded;
use crate::program::{Action, Program};
use crate::replay::{bucket_nanoseconds, empty_histogram};
use crate::results::{
    CellKey, Latency, LatencyRow, Manifest, Metric, Pass, Run, Scope, ServiceTimes, SlowCall,
    service_class,
};

/// Fewer repetitions than this confirm nothing.
pub const LEAST_REPETITIONS: usize = 3;

/// Calls that are read at once of each repetition.
const STRETCH: usize = 1 << 16;

/// Whose latencies.
pub struct Of<'a> {
    /// The trace's name.
    pub trace: &'a str,
    /// The backend's.
    pub backend: &'a str,
    /// The trace, with its sites and times.
    pub loaded: &'a Loaded,
    /// What an empty clock pair costs, in ns.
    pub pair_ns: f64,
}

/// A block while it lives.
#[derive(Clone, Copy, Default)]
struct Block {
    size: u64,
    site: u32,
}

/// Counts by bucket, by action and class.
type Classes = BTreeMap<(usize, u64), Box<[u64; 256]>>;

/// What the repetitions of one trace and backend say together, from their numbers and their files
/// with a byte for each call: rows for the tables of a run. With fewer than [`LEAST_REPETITIONS`]
/// nothing is confirmed, and no row says so; slow calls and the course over time are told of what
/// there is. `None` when there is nothing, or a file is not of this program. `medians` is the path
/// of a file to use meanwhile.
///
/// # Errors
/// When a file cannot be read or written, or the trace no longer be decoded.
pub fn confirm(
    of: &Of,
    files: &[(u32, impl AsRef<Path>)],
    medians: &Path,
) -> io::Result<Option<Run>> {
    let calls = of.loaded.program.calls();
    let mut readers = Vec::new();
    for (_, path) in files {
        let file = File::open(path)?;
        if file.metadata()?.len() != calls as u64 {
            return Ok(None);
        }
        readers.push(BufReader::new(file));
    }
    let Some(first) = files.first().map(|(repetition, _)| *repetition).filter(|_| calls > 0) else {
        return Ok(None);
    };
    let mut fold = Fold::new(of, readers.len());
    let mut out = BufWriter::with_capacity(STRETCH, File::create(medians)?);
    let mut stretches = vec![vec![0; STRETCH]; readers.len()];
    let mut times = vec![0; readers.len()];
    let handover = of.loaded.hand(None)?;
    let folded = (|| {
        let mut feed = of.loaded.feed(&handover)?;
        while let Some(part) = feed.next_part()? {
            let length = part.instructions().len();
            for start in (0..length).step_by(STRETCH) {
                let length = STRETCH.min(length - start);
                for (reader, stretch) in readers.iter_mut().zip(&mut stretches) {
                    reader.read_exact(&mut stretch[..length])?;
                }
                for at in 0..length {
                    for (time, stretch) in times.iter_mut().zip(&stretches) {
                        *time = stretch[at];
                    }
                    stretches[0][at] = fold.call(part, start + at, &mut times);
                }
                out.write_all(&stretches[0][..length])?;
            }
        }
        out.flush()
    })();
    // Of a trace that can no longer be decoded its reader knows why.
    match handover.end(folded.is_ok()) {
        Some(reason) => return Err(io::Error::other(reason)),
        None => folded?,
    }
    Ok(Some(fold.rows(first, medians)?))
}

/// What is gathered call by call.
struct Fold<'a> {
    of: &'a Of<'a>,
    repetitions: usize,
    blocks: Vec<Block>,
    requests: usize,
    raw: Classes,
    confirmed: Classes,
    slow: SlowCalls,
    map: LatencyMap,
}

impl<'a> Fold<'a> {
    fn new(of: &'a Of<'a>, repetitions: usize) -> Fold<'a> {
        let program = &of.loaded.program;
        Fold {
            of,
            repetitions,
            blocks: vec![Block::default(); program.slots()],
            requests: 0,
            raw: Classes::new(),
            confirmed: Classes::new(),
            slow: SlowCalls::default(),
            map: LatencyMap::new(program.calls()),
        }
    }

    /// The call at `at` of a part, with its times in the repetitions, the first repetition's first;
    /// gives its median.
    fn call(&mut self, part: &Program, at: usize, times: &mut [u8]) -> u8 {
        let instruction = part.instructions()[at];
        let index = part.first() as usize + at;
        let action = instruction.action();
        let block = &mut self.blocks[instruction.slot()];
        if action != Action::Free {
            let site = self.of.loaded.births.site(self.requests);
            *block = Block { size: part.size(at) as u64, site };
            self.requests += 1;
        }
        let raw = times[0];
        times.sort_unstable();
        let median = times[(times.len() - 1) / 2];
        let class = (action as usize, service_class(block.size));
        self.raw.entry(class).or_insert_with(|| Box::new([0; 256]))[usize::from(raw)] += 1;
        self.confirmed.entry(class).or_insert_with(|| Box::new([0; 256]))[usize::from(median)] += 1;
        self.map.call(index, median);
        let (size_bytes, site) = (block.size, block.site);
        self.slow.call(median, times, || Seen { event: index as u64, action, size_bytes, site });
        median
    }

    /// The rows; `first` is the number of the repetition that is told raw, `medians` the file that
    /// has each call's.
    fn rows(self, first: u32, medians: &Path) -> io::Result<Run> {
        let mut run = Run::new(Manifest::default());
        let (trace, backend) = (self.of.trace.to_owned(), self.of.backend.to_owned());
        let is_confirmed = self.repetitions >= LEAST_REPETITIONS;
        let kinds = [(Some(first), self.raw, true), (None, self.confirmed, is_confirmed)];
        for (repetition, classes, _) in kinds.into_iter().filter(|kind| kind.2) {
            if repetition.is_none() {
                run.latencies = histograms(&trace, &backend, &classes);
            }
            run.service_times.extend(classes.into_iter().map(|((action, up_to_bytes), counts)| {
                ServiceTimes {
                    trace: trace.clone(),
                    backend: backend.clone(),
                    repetition,
                    op: Action::ALL[action].into(),
                    up_to_bytes,
                    counts: ServiceTimes::encode(&counts),
                }
            }));
        }
        let (slow, left_out) = self.slow.kept();
        run.slow_calls = slow
            .into_iter()
            .map(|call| SlowCall {
                trace: trace.clone(),
                backend: backend.clone(),
                event: call.seen.event,
                op: call.seen.action.into(),
                size_bytes: call.seen.size_bytes,
                site: self.of.loaded.births.name(call.seen.site).to_owned(),
                nanoseconds: bucket_nanoseconds(call.median).round() as u64,
                longest_nanoseconds: bucket_nanoseconds(call.longest).round() as u64,
                seen: call.repetitions,
                repetitions: self.repetitions as u32,
            })
            .collect();
        let columns = self.map.columns() as u32;
        run.latency_map = self
            .map
            .rows()
            .map(|(from_nanoseconds, to_nanoseconds, calls)| LatencyRow {
                trace: trace.clone(),
                backend: backend.clone(),
                from_nanoseconds,
                to_nanoseconds,
                columns,
                cells: LatencyRow::encode(calls),
            })
            .collect();
        let mut figures = vec![(Metric::SlowCallsLeftOut, left_out as f64)];
        for (names, window_ns) in windows::METRICS {
            let open =
                || Ok::<_, io::Error>(BufReader::with_capacity(STRETCH, File::open(medians)?));
            let found = windows::worst(
                &self.of.loaded.times,
                [open()?, open()?],
                self.of.pair_ns,
                window_ns,
            )?;
            if let Some(worst) = found {
                figures.extend([
                    (names[0], worst.nanoseconds.round()),
                    (names[1], worst.event as f64),
                ]);
            }
        }
        let cell = CellKey { trace, backend, pass: Pass::Latency, repetition: 0 };
        run.measurements = figures
            .into_iter()
            .map(|(metric, value)| cell.measurement(Scope::All, metric, value))
            .collect();
        Ok(run)
    }
}

/// The confirmed histograms by action, of the classes together.
fn histograms(trace: &str, backend: &str, classes: &Classes) -> Vec<Latency> {
    let mut histograms: [Histogram<u64>; 4] = std::array::from_fn(|_| empty_histogram());
    for ((action, _), counts) in classes {
        for (bucket, calls) in (0..=u8::MAX).zip(counts.iter()).filter(|(_, calls)| **calls > 0) {
            let nanoseconds = bucket_nanoseconds(bucket).round().max(1.0) as u64;
            histograms[*action].saturating_record_n(nanoseconds, *calls);
        }
    }
    let latencies =
        Action::ALL.into_iter().zip(histograms).filter(|(_, histogram)| !histogram.is_empty());
    latencies
        .map(|(action, histogram)| Latency {
            trace: trace.to_owned(),
            backend: backend.to_owned(),
            repetition: None,
            op: action.into(),
            histogram,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::BUCKETS_AN_OCTAVE;

    #[test]
    fn the_record_reads_buckets_as_they_were_written() {
        for bucket in 0..=u8::MAX {
            assert_eq!(bucket_nanoseconds(bucket), (f64::from(bucket) / BUCKETS_AN_OCTAVE).exp2());
        }
    }
}
