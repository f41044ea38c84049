//! The two passes of a latency repetition made one. Each timed alone the calls of
//! every second stretch and the other stretches as a whole ([`crate::replay::Alone`]); together
//! they have timed each call alone once, and among others once.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::measure::BUCKETS;
use super::operations::scope_of;
use crate::program::Action;
use crate::results::{CellKey, Latency, Manifest, Metric, RecordError, Run, Scope};

/// Why two halves are no whole.
#[derive(Debug, thiserror::Error)]
pub enum HalvesError {
    /// A table cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file with a byte for each call cannot.
    #[error("{}: {source}{}", path.display(), crate::trace::advice(source))]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// They are not of one program.
    #[error("a call was timed alone in both halves or in none: the measurement is void")]
    Unlike,
}

/// Joins what two children left in `halves`; the first of these folders has the whole then, the
/// second is gone.
///
/// # Errors
/// When a file cannot be read or written, or the halves do not fit.
pub fn join(cell: &CellKey, halves: [&Path; 2]) -> Result<(), HalvesError> {
    let [first, second] = halves;
    let at = |name: &Path| {
        let path = name.to_owned();
        move |source| HalvesError::Io { path, source }
    };
    let files = halves.map(|folder| folder.join(BUCKETS));
    let joined = first.join("joined");
    let open = |path: &Path| File::open(path).map(|file| BufReader::with_capacity(1 << 16, file));
    let out = File::create(&joined).map_err(at(&joined))?;
    let fits = interleave(
        open(&files[0]).map_err(at(&files[0]))?,
        open(&files[1]).map_err(at(&files[1]))?,
        &mut BufWriter::with_capacity(1 << 16, out),
    );
    if !fits.map_err(at(&joined))? {
        return Err(HalvesError::Unlike);
    }
    fs::rename(&joined, &files[0]).map_err(at(&files[0]))?;
    whole(cell, &[Run::load_tables(first)?, Run::load_tables(second)?]).save_tables(first)?;
    fs::remove_dir_all(second).map_err(at(second))
}

/// Writes each call's byte from the half that has it; `false` when one is in both or in none.
fn interleave(
    mut first: impl Read,
    mut second: impl Read,
    out: &mut impl Write,
) -> io::Result<bool> {
    let mut stretches = [vec![0; 1 << 16], vec![0; 1 << 16]];
    loop {
        let length = first.read(&mut stretches[0])?;
        if length == 0 {
            out.flush()?;
            return Ok(second.read(&mut stretches[1])? == 0);
        }
        match second.read_exact(&mut stretches[1][..length]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        let [own, other] = &mut stretches;
        for (own, other) in own[..length].iter_mut().zip(&other[..length]) {
            if (*own == 0) == (*other == 0) {
                return Ok(false);
            }
            *own |= other;
        }
        out.write_all(&own[..length])?;
    }
}

/// A mean of means.
#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, mean: f64, weight: f64) {
        if weight > 0.0 && mean.is_finite() {
            self.sum += mean * weight;
            self.weight += weight;
        }
    }

    fn value(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// The rows of the repetition, from those of its halves.
fn whole(cell: &CellKey, halves: &[Run; 2]) -> Run {
    let mut run = Run::new(Manifest::default());
    let figure = |half: &Run, op: Scope, metric: Metric| {
        half.values(&cell.trace, &cell.backend, op, metric).first().copied()
    };
    let mut rows: Vec<(Scope, Metric, f64)> = Vec::new();
    let (mut alone, mut among) = (Mean::default(), Mean::default());
    let mut isolated_by_op = [Mean::default(); 4];
    let mut calls_timed_alone = [0.0; 2];
    for action in Action::ALL {
        let op = scope_of(action);
        rows.extend(figure(&halves[0], op, Metric::Calls).map(|calls| (op, Metric::Calls, calls)));
        for (half, calls) in halves.iter().zip(&mut calls_timed_alone) {
            for latency in half.latencies.iter().filter(|latency| Scope::Op(latency.op) == op) {
                let weight = latency.histogram.len() as f64;
                let mean = figure(half, op, Metric::LatencyIsolatedNanoseconds).unwrap_or(f64::NAN);
                alone.add(mean, weight);
                isolated_by_op[action as usize].add(mean, weight);
                *calls += weight;
                put(&mut run.latencies, latency);
            }
        }
    }
    let all_calls: f64 = rows.iter().map(|row| row.2).sum();
    for (half, calls) in halves.iter().zip(calls_timed_alone) {
        among.add(
            figure(half, Scope::All, Metric::LatencyBackToBackNanoseconds).unwrap_or(f64::NAN),
            all_calls - calls,
        );
    }
    for metric in [
        Metric::Preemptions,
        Metric::ClockStepNanoseconds,
        Metric::ClockPairNanoseconds,
        Metric::ClockCostNanoseconds,
    ] {
        let found: Vec<f64> =
            halves.iter().filter_map(|half| figure(half, Scope::All, metric)).collect();
        let sum: f64 = found.iter().sum();
        let value =
            if metric == Metric::Preemptions { sum } else { sum / found.len().max(1) as f64 };
        rows.push((Scope::All, metric, value));
    }
    rows.extend(alone.value().map(|ns| (Scope::All, Metric::LatencyIsolatedNanoseconds, ns)));
    rows.extend(among.value().map(|ns| (Scope::All, Metric::LatencyBackToBackNanoseconds, ns)));
    for (action, mean) in Action::ALL.into_iter().zip(isolated_by_op) {
        let (op, Some(mean)) = (scope_of(action), mean.value()) else { continue };
        rows.push((op, Metric::LatencyIsolatedNanoseconds, mean));
        if let (Some(alone), Some(among)) = (alone.value().filter(|ns| *ns > 0.0), among.value()) {
            rows.push((op, Metric::LatencyBackToBackNanoseconds, mean * among / alone));
        }
    }
    run.measurements =
        rows.into_iter().map(|(op, metric, value)| cell.measurement(op, metric, value)).collect();
    run
}

/// Adds a histogram to the one of the same action.
fn put(all: &mut Vec<Latency>, latency: &Latency) {
    match all.iter_mut().find(|known| known.op == latency.op) {
        // All have the same bounds, so that none is refused.
        Some(known) => drop(known.histogram.add(&latency.histogram)),
        None => all.push(latency.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::empty_histogram;
    use crate::results::{Operation, Pass};

    #[test]
    fn each_call_is_in_one_half() {
        let join = |a: &[u8], b: &[u8]| {
            let mut out = Vec::new();
            interleave(a, b, &mut out).unwrap().then_some(out)
        };
        assert_eq!(join(&[5, 0, 0, 7], &[0, 9, 8, 0]), Some(vec![5, 9, 8, 7]));
        assert_eq!(join(&[], &[]), Some(vec![]));
        for (a, b) in
            [(&[5, 0][..], &[0, 0][..]), (&[5, 1], &[0, 1]), (&[5], &[0, 1]), (&[5, 0], &[0])]
        {
            assert_eq!(join(a, b), None);
        }
    }

    /// Means are weighted by the calls that they are of.
    #[test]
    fn means_are_of_all_calls() {
        let cell =
            CellKey { trace: "t".into(), backend: "b".into(), pass: Pass::Latency, repetition: 2 };
        let half = |malloc: (u64, f64), free: (u64, f64), among: f64, preemptions: f64| {
            let mut run = Run::new(Manifest::default());
            let mut put = |op: Scope, metric: Metric, value: f64| {
                run.measurements.push(cell.measurement(op, metric, value));
            };
            for (op, calls) in Operation::ALL.into_iter().zip([600.0, 0.0, 0.0, 400.0]) {
                put(Scope::Op(op), Metric::Calls, calls);
            }
            put(Scope::All, Metric::Preemptions, preemptions);
            put(Scope::All, Metric::ClockPairNanoseconds, 20.0 + preemptions);
            put(Scope::All, Metric::LatencyBackToBackNanoseconds, among);
            put(Scope::Op(Operation::Malloc), Metric::LatencyIsolatedNanoseconds, malloc.1);
            put(Scope::Op(Operation::Free), Metric::LatencyIsolatedNanoseconds, free.1);
            for (op, (calls, _)) in [(Operation::Malloc, malloc), (Operation::Free, free)] {
                let mut histogram = empty_histogram();
                histogram.record_n(40, calls).unwrap();
                let (trace, backend) = ("t".into(), "b".into());
                run.latencies.push(Latency { trace, backend, repetition: Some(2), op, histogram });
            }
            run
        };
        let run = whole(
            &cell,
            &[half((500, 10.0), (100, 4.0), 6.0, 1.0), half((100, 40.0), (300, 8.0), 11.0, 3.0)],
        );
        let value = |op: Scope, metric: Metric| run.values("t", "b", op, metric)[0];
        assert_eq!(value(Scope::All, Metric::Preemptions), 4.0);
        assert_eq!(value(Scope::All, Metric::ClockPairNanoseconds), 22.0);
        assert_eq!(value(Scope::Op(Operation::Malloc), Metric::Calls), 600.0);
        // 400 calls among others in the first half, 600 in the second.
        assert!((value(Scope::All, Metric::LatencyBackToBackNanoseconds) - 9.0).abs() < 1e-9);
        assert!(
            (value(Scope::Op(Operation::Malloc), Metric::LatencyIsolatedNanoseconds) - 15.0).abs()
                < 1e-9
        );
        assert!(
            (value(Scope::Op(Operation::Free), Metric::LatencyIsolatedNanoseconds) - 7.0).abs()
                < 1e-9
        );
        let alone = (600.0 * 15.0 + 400.0 * 7.0) / 1000.0;
        assert!((value(Scope::All, Metric::LatencyIsolatedNanoseconds) - alone).abs() < 1e-9);
        assert!(
            (value(Scope::Op(Operation::Malloc), Metric::LatencyBackToBackNanoseconds)
                - 15.0 * 9.0 / alone)
                .abs()
                < 1e-9
        );
        let counts: Vec<u64> =
            run.latencies.iter().map(|latency| latency.histogram.len()).collect();
        assert_eq!(counts, [600, 400]);
    }
}
