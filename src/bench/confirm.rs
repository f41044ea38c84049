//! The median of each call's time over the repetitions of a latency pass, and all rows that are
//! made of these medians.
//!
//! Replay is deterministic: the same call does the same work in each repetition. So its median is
//! its own cost, and what only one repetition saw came from the machine (the scheduler, an
//! interrupt, another process). The repetitions are read side by side as streams, beside the
//! program, which may come in parts. Each call's median goes to a file, so that memory does not
//! grow with the trace.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use hdrhistogram::Histogram;

use super::latency_map::LatencyMap;
use super::slow_calls::{CallFacts, RetainedCall, SlowCalls};
use super::windows;
use super::workload::Workload;
use crate::program::{Action, Feed, Program, SiteCursor};
use crate::replay::empty_histogram;
use crate::results::{
    CellKey, Latency, LatencyRow, Manifest, Metric, Pass, Run, Scope, ServiceTimes, SlowCall,
    service_class,
};
use crate::units::bucket_nanoseconds;

/// Fewer repetitions than this confirm nothing.
pub const LEAST_REPETITIONS: usize = 3;

/// Calls that are read at once of each repetition.
const CALLS_AT_ONCE: usize = 1 << 16;

/// Whose latencies.
pub struct Confirmed<'a> {
    /// The trace, with its sites and times.
    pub workload: &'a Workload,
    /// The backend's spec.
    pub backend: &'a str,
    /// What an empty clock pair costs, in ns.
    pub pair_ns: f64,
}

/// A block while it lives.
#[derive(Clone, Copy, Default)]
struct RequestedBlock {
    size: u64,
    site: u32,
}

/// Counts by bucket, by action and size class.
type CountsByClass = BTreeMap<(usize, u64), Box<[u64; 256]>>;

/// What the repetitions of one trace and backend show together, from their numbers and their files
/// with a byte for each call: rows for the tables of a run. With fewer than [`LEAST_REPETITIONS`]
/// nothing is confirmed, and there is no confirmed row; slow calls and the latency map are made of
/// what there is. `None` when there is nothing, or a file is not of this program. `medians` is the
/// path of a file to use meanwhile.
///
/// # Errors
/// When a file cannot be read or written, or the trace can no longer be decoded.
pub fn confirm(
    of: &Confirmed,
    files: &[(u32, impl AsRef<Path>)],
    medians: &Path,
) -> io::Result<Option<Run>> {
    let calls = of.workload.calls();
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
    let mut fold = ConfirmFold::new(of, readers.len());
    let (feed, decoder) = of.workload.feed()?;
    let out = BufWriter::with_capacity(CALLS_AT_ONCE, File::create(medians)?);
    let folded = feed.and_then(|feed| fold.all(feed, readers, out));
    // Of a trace that can no longer be decoded the decoder knows why.
    match decoder.end(folded.is_ok()) {
        Some(reason) => return Err(io::Error::other(reason)),
        None => folded?,
    }
    Ok(Some(fold.rows(first, medians)?))
}

/// What is gathered call by call.
struct ConfirmFold<'a> {
    of: &'a Confirmed<'a>,
    repetitions: usize,
    blocks: Vec<RequestedBlock>,
    sites: SiteCursor<'a>,
    raw: CountsByClass,
    confirmed: CountsByClass,
    slow: SlowCalls,
    map: LatencyMap,
}

impl<'a> ConfirmFold<'a> {
    fn new(of: &'a Confirmed<'a>, repetitions: usize) -> ConfirmFold<'a> {
        let program = &of.workload.program;
        ConfirmFold {
            of,
            repetitions,
            blocks: vec![RequestedBlock::default(); program.slots()],
            sites: SiteCursor::new(&of.workload.sites),
            raw: CountsByClass::new(),
            confirmed: CountsByClass::new(),
            slow: SlowCalls::default(),
            map: LatencyMap::new(program.calls()),
        }
    }

    /// All calls; their medians go to `out`.
    fn all(
        &mut self,
        mut feed: Feed<'_>,
        mut readers: Vec<impl Read>,
        mut out: impl Write,
    ) -> io::Result<()> {
        let mut buckets = vec![vec![0; CALLS_AT_ONCE]; readers.len()];
        let mut times = vec![0; readers.len()];
        while let Some(part) = feed.next_part()? {
            let all = part.instructions().len();
            self.sites.begin_part(part);
            for start in (0..all).step_by(CALLS_AT_ONCE) {
                let length = CALLS_AT_ONCE.min(all - start);
                for (reader, buckets) in readers.iter_mut().zip(&mut buckets) {
                    reader.read_exact(&mut buckets[..length])?;
                }
                for at in 0..length {
                    for (time, buckets) in times.iter_mut().zip(&buckets) {
                        *time = buckets[at];
                    }
                    buckets[0][at] = self.call(part, start + at, &mut times);
                }
                out.write_all(&buckets[0][..length])?;
            }
        }
        out.flush()
    }

    /// The call at `at` of a part, with its times in the repetitions, the first repetition's first;
    /// its median.
    fn call(&mut self, part: &Program, at: usize, times: &mut [u8]) -> u8 {
        let instruction = part.instructions()[at];
        let event = part.first() + at as u64;
        let action = instruction.action();
        let block = &mut self.blocks[instruction.slot()];
        if action != Action::Free {
            *block = RequestedBlock { size: part.size(at) as u64, site: self.sites.next_site() };
        }
        let raw = times[0];
        times.sort_unstable();
        let median = times[(times.len() - 1) / 2];
        let class = (action as usize, service_class(block.size));
        self.raw.entry(class).or_insert_with(|| Box::new([0; 256]))[usize::from(raw)] += 1;
        self.confirmed.entry(class).or_insert_with(|| Box::new([0; 256]))[usize::from(median)] += 1;
        self.map.call(event as usize, median);
        let (size_bytes, site) = (block.size, block.site);
        self.slow.call(median, times, || CallFacts { event, action, size_bytes, site });
        median
    }

    /// The rows. `first` is the number of the repetition whose raw times are stored, `medians` the
    /// file that has each call's.
    fn rows(mut self, first: u32, medians: &Path) -> io::Result<Run> {
        let mut run = Run::new(Manifest::default());
        run.service_times = self.service_times(Some(first), &self.raw);
        if self.repetitions >= LEAST_REPETITIONS {
            run.latencies = histograms(self.of.workload.name(), self.of.backend, &self.confirmed);
            run.service_times.extend(self.service_times(None, &self.confirmed));
        }
        let (slow, left_out) = std::mem::take(&mut self.slow).retained();
        run.slow_calls = slow.into_iter().map(|call| self.slow_call(&call)).collect();
        run.latency_map = self.latency_rows();
        let mut figures = vec![(Metric::SlowCallsLeftOut, left_out as f64)];
        figures.extend(self.windows(medians)?);
        let (trace, backend) = (self.of.workload.name().to_owned(), self.of.backend.to_owned());
        let cell = CellKey { trace, backend, pass: Pass::Latency, repetition: 0 };
        run.measurements = figures
            .into_iter()
            .map(|(metric, value)| cell.measurement(Scope::All, metric, value))
            .collect();
        Ok(run)
    }

    fn service_times(&self, repetition: Option<u32>, classes: &CountsByClass) -> Vec<ServiceTimes> {
        let mut rows = Vec::with_capacity(classes.len());
        for (&(action, up_to_bytes), counts) in classes {
            rows.push(ServiceTimes {
                trace: self.of.workload.name().to_owned(),
                backend: self.of.backend.to_owned(),
                repetition,
                op: Action::ALL[action].into(),
                up_to_bytes,
                counts: ServiceTimes::encode(counts),
            });
        }
        rows
    }

    fn slow_call(&self, slow: &RetainedCall) -> SlowCall {
        SlowCall {
            trace: self.of.workload.name().to_owned(),
            backend: self.of.backend.to_owned(),
            event: slow.call.event,
            op: slow.call.action.into(),
            size_bytes: slow.call.size_bytes,
            site: self.of.workload.sites.name(slow.call.site).to_owned(),
            nanoseconds: bucket_nanoseconds(slow.median).round() as u64,
            longest_nanoseconds: bucket_nanoseconds(slow.longest).round() as u64,
            seen: slow.repetitions,
            repetitions: self.repetitions as u32,
        }
    }

    fn latency_rows(&self) -> Vec<LatencyRow> {
        let row = |(from_nanoseconds, to_nanoseconds, calls): (f64, f64, &[u64])| LatencyRow {
            trace: self.of.workload.name().to_owned(),
            backend: self.of.backend.to_owned(),
            from_nanoseconds,
            to_nanoseconds,
            columns: self.map.columns() as u32,
            cells: LatencyRow::encode(calls),
        };
        self.map.rows().map(row).collect()
    }

    /// The windows with most time in the allocator.
    fn windows(&self, medians: &Path) -> io::Result<Vec<(Metric, f64)>> {
        let open = || File::open(medians).map(|file| BufReader::with_capacity(CALLS_AT_ONCE, file));
        let mut figures = Vec::new();
        for (metrics, length_ns) in windows::METRICS {
            let medians = [open()?, open()?];
            let times = &self.of.workload.times;
            if let Some(worst) = windows::worst(times, medians, self.of.pair_ns, length_ns)? {
                figures.push((metrics[0], worst.nanoseconds.round()));
                figures.push((metrics[1], worst.event as f64));
            }
        }
        Ok(figures)
    }
}

/// The confirmed histograms by action, of the classes together.
fn histograms(trace: &str, backend: &str, classes: &CountsByClass) -> Vec<Latency> {
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
