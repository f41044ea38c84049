//! The two passes of a latency repetition made one. Each pass timed the calls of every second
//! segment isolated, and the other segments as a whole ([`crate::replay::Isolated`]). Together they
//! have timed each call isolated once, and back to back with others once.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::operations::scope_of;
use crate::program::Action;
use crate::results::{CellDir, CellKey, Latency, Manifest, Metric, RecordError, Run, Scope};

/// Why two halves cannot be joined.
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
    #[error("a call was timed isolated in both halves or in none")]
    Unlike,
}

/// Joins what two children left in `halves`; the first of these folders has the whole then.
///
/// # Errors
/// When a file cannot be read or written, or the halves are not of one program.
pub fn join(cell: &CellKey, halves: [&CellDir; 2]) -> Result<(), HalvesError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| HalvesError::Io { path, source }
    };
    let [first, second] = halves.map(CellDir::call_times);
    let joined = halves[0].scratch("joined");
    let open = |path: &Path| File::open(path).map(|file| BufReader::with_capacity(1 << 16, file));
    let out = File::create(&joined).map_err(at(&joined))?;
    let fits = interleave(
        open(&first).map_err(at(&first))?,
        open(&second).map_err(at(&second))?,
        &mut BufWriter::with_capacity(1 << 16, out),
    );
    if !fits.map_err(at(&joined))? {
        return Err(HalvesError::Unlike);
    }
    fs::rename(&joined, &first).map_err(at(&first))?;
    halves[0].save(&whole(cell, &[halves[0].load()?, halves[1].load()?]))?;
    Ok(())
}

/// Writes each call's byte from the half that has it; `false` when one is in both or in none.
fn interleave(
    mut first: impl Read,
    mut second: impl Read,
    out: &mut impl Write,
) -> io::Result<bool> {
    let mut buckets = [vec![0; 1 << 16], vec![0; 1 << 16]];
    loop {
        let length = first.read(&mut buckets[0])?;
        if length == 0 {
            out.flush()?;
            return Ok(second.read(&mut buckets[1])? == 0);
        }
        match second.read_exact(&mut buckets[1][..length]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        let [own, other] = &mut buckets;
        for (own, other) in own[..length].iter_mut().zip(&other[..length]) {
            if (*own == 0) == (*other == 0) {
                return Ok(false);
            }
            *own |= other;
        }
        out.write_all(&own[..length])?;
    }
}

/// A mean of means, weighted by calls.
#[derive(Clone, Copy, Default)]
struct WeightedMean {
    sum: f64,
    weight: f64,
}

impl WeightedMean {
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
    let mut joined = JoinedHalves {
        cell,
        halves,
        rows: Vec::new(),
        latencies: Vec::new(),
        isolated: WeightedMean::default(),
        isolated_by_op: [WeightedMean::default(); 4],
        timed_isolated: [0.0; 2],
    };
    for action in Action::ALL {
        joined.add_operation(action);
    }
    let back_to_back = joined.back_to_back();
    joined.add_machine_figures();
    joined.add_means(back_to_back);
    let figure = |(op, metric, value)| cell.measurement(op, metric, value);
    let mut run = Run::new(Manifest::default());
    run.measurements = joined.rows.into_iter().map(figure).collect();
    run.latencies = joined.latencies;
    run
}

/// The rows of a repetition as they are put together.
struct JoinedHalves<'a> {
    cell: &'a CellKey,
    halves: &'a [Run; 2],
    rows: Vec<(Scope, Metric, f64)>,
    latencies: Vec<Latency>,
    /// The mean time of isolated calls, of all and by operation.
    isolated: WeightedMean,
    isolated_by_op: [WeightedMean; 4],
    /// How many calls each half timed isolated.
    timed_isolated: [f64; 2],
}

impl JoinedHalves<'_> {
    fn figure(&self, half: usize, op: Scope, metric: Metric) -> Option<f64> {
        let (trace, backend) = (&self.cell.trace, &self.cell.backend);
        self.halves[half].values(trace, backend, op, metric).first().copied()
    }

    /// Adds the calls of an operation, and their isolated times.
    fn add_operation(&mut self, action: Action) {
        let op = scope_of(action);
        let calls = self.figure(0, op, Metric::Calls);
        self.rows.extend(calls.map(|calls| (op, Metric::Calls, calls)));
        for half in [0, 1] {
            let mean = self.figure(half, op, Metric::LatencyIsolatedNanoseconds);
            let of_op = |latency: &&Latency| Scope::Op(latency.op) == op;
            for latency in self.halves[half].latencies.iter().filter(of_op) {
                let weight = latency.histogram.len() as f64;
                self.isolated.add(mean.unwrap_or(f64::NAN), weight);
                self.isolated_by_op[action as usize].add(mean.unwrap_or(f64::NAN), weight);
                self.timed_isolated[half] += weight;
                put(&mut self.latencies, latency);
            }
        }
    }

    /// The mean time of a call back to back with others. Each half timed so the calls that the other
    /// half timed isolated. Only calls have rows so far.
    fn back_to_back(&self) -> WeightedMean {
        let all_calls: f64 = self.rows.iter().map(|row| row.2).sum();
        let mut mean = WeightedMean::default();
        for half in [0, 1] {
            let own = self.figure(half, Scope::All, Metric::LatencyBackToBackNanoseconds);
            mean.add(own.unwrap_or(f64::NAN), all_calls - self.timed_isolated[half]);
        }
        mean
    }

    /// Adds the preemptions of both halves, and the means of what they say of the clock.
    fn add_machine_figures(&mut self) {
        for metric in [
            Metric::Preemptions,
            Metric::ClockStepNanoseconds,
            Metric::ClockPairNanoseconds,
            Metric::ClockCostNanoseconds,
        ] {
            let found: Vec<f64> = [0, 1]
                .into_iter()
                .filter_map(|half| self.figure(half, Scope::All, metric))
                .collect();
            let sum: f64 = found.iter().sum();
            let mean = sum / found.len().max(1) as f64;
            let value = if metric == Metric::Preemptions { sum } else { mean };
            self.rows.push((Scope::All, metric, value));
        }
    }

    /// Adds the means of all calls and of each operation. Calls back to back have no mean by
    /// operation; they are divided as the isolated ones are.
    fn add_means(&mut self, back_to_back: WeightedMean) {
        let (isolated, back_to_back) = (self.isolated.value(), back_to_back.value());
        let all = |metric| move |ns: f64| (Scope::All, metric, ns);
        self.rows.extend(isolated.map(all(Metric::LatencyIsolatedNanoseconds)));
        self.rows.extend(back_to_back.map(all(Metric::LatencyBackToBackNanoseconds)));
        for (action, mean) in Action::ALL.into_iter().zip(self.isolated_by_op) {
            let (op, Some(mean)) = (scope_of(action), mean.value()) else { continue };
            self.rows.push((op, Metric::LatencyIsolatedNanoseconds, mean));
            let isolated = isolated.filter(|ns| *ns > 0.0);
            if let (Some(isolated), Some(back_to_back)) = (isolated, back_to_back) {
                let share = mean * back_to_back / isolated;
                self.rows.push((op, Metric::LatencyBackToBackNanoseconds, share));
            }
        }
    }
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
        let half = |malloc: (u64, f64), free: (u64, f64), back_to_back: f64, preemptions: f64| {
            let mut run = Run::new(Manifest::default());
            let mut put = |op: Scope, metric: Metric, value: f64| {
                run.measurements.push(cell.measurement(op, metric, value));
            };
            for (op, calls) in Operation::ALL.into_iter().zip([600.0, 0.0, 0.0, 400.0]) {
                put(Scope::Op(op), Metric::Calls, calls);
            }
            put(Scope::All, Metric::Preemptions, preemptions);
            put(Scope::All, Metric::ClockPairNanoseconds, 20.0 + preemptions);
            put(Scope::All, Metric::LatencyBackToBackNanoseconds, back_to_back);
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
        // 400 calls back to back in the first half, 600 in the second.
        assert!((value(Scope::All, Metric::LatencyBackToBackNanoseconds) - 9.0).abs() < 1e-9);
        assert!(
            (value(Scope::Op(Operation::Malloc), Metric::LatencyIsolatedNanoseconds) - 15.0).abs()
                < 1e-9
        );
        assert!(
            (value(Scope::Op(Operation::Free), Metric::LatencyIsolatedNanoseconds) - 7.0).abs()
                < 1e-9
        );
        let isolated = (600.0 * 15.0 + 400.0 * 7.0) / 1000.0;
        assert!((value(Scope::All, Metric::LatencyIsolatedNanoseconds) - isolated).abs() < 1e-9);
        assert!(
            (value(Scope::Op(Operation::Malloc), Metric::LatencyBackToBackNanoseconds)
                - 15.0 * 9.0 / isolated)
                .abs()
                < 1e-9
        );
        let counts: Vec<u64> =
            run.latencies.iter().map(|latency| latency.histogram.len()).collect();
        assert_eq!(counts, [600, 400]);
    }
}
