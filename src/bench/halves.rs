//! The two passes of a latency repetition made one. Each timed alone the calls of
//! every second stretch and the other stretches as a whole ([`crate::replay::Alone`]); together
//! they have timed each call alone once, and among others once.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::measure::BUCKETS;
use crate::program::Action;
use crate::results::{Cell, Latency, Manifest, RecordError, Run};

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
pub fn join(cell: &Cell, halves: [&Path; 2]) -> Result<(), HalvesError> {
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
fn whole(cell: &Cell, halves: &[Run; 2]) -> Run {
    let mut run = Run::new(Manifest::default());
    let figure = |half: &Run, op: &str, metric: &str| {
        half.values(&cell.trace, &cell.backend, op, metric).first().copied()
    };
    let mut rows: Vec<(&str, &str, f64)> = Vec::new();
    let (mut alone, mut among) = (Mean::default(), Mean::default());
    let mut isolated_by_op = [Mean::default(); 4];
    let mut calls_timed_alone = [0.0; 2];
    for action in Action::ALL {
        let op = action.name();
        rows.extend(figure(&halves[0], op, "calls").map(|calls| (op, "calls", calls)));
        for (half, calls) in halves.iter().zip(&mut calls_timed_alone) {
            for latency in half.latencies.iter().filter(|latency| latency.op == op) {
                let weight = latency.histogram.len() as f64;
                let mean = figure(half, op, "latency_isolated_nanoseconds").unwrap_or(f64::NAN);
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
            figure(half, "all", "latency_back_to_back_nanoseconds").unwrap_or(f64::NAN),
            all_calls - calls,
        );
    }
    for metric in [
        "preemptions",
        "clock_step_nanoseconds",
        "clock_pair_nanoseconds",
        "clock_cost_nanoseconds",
    ] {
        let found: Vec<f64> =
            halves.iter().filter_map(|half| figure(half, "all", metric)).collect();
        let sum: f64 = found.iter().sum();
        let value = if metric == "preemptions" { sum } else { sum / found.len().max(1) as f64 };
        rows.push(("all", metric, value));
    }
    rows.extend(alone.value().map(|ns| ("all", "latency_isolated_nanoseconds", ns)));
    rows.extend(among.value().map(|ns| ("all", "latency_back_to_back_nanoseconds", ns)));
    for (action, mean) in Action::ALL.into_iter().zip(isolated_by_op) {
        let (op, Some(mean)) = (action.name(), mean.value()) else { continue };
        rows.push((op, "latency_isolated_nanoseconds", mean));
        if let (Some(alone), Some(among)) = (alone.value().filter(|ns| *ns > 0.0), among.value()) {
            rows.push((op, "latency_back_to_back_nanoseconds", mean * among / alone));
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
    use crate::results::Pass;

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
            Cell { trace: "t".into(), backend: "b".into(), pass: Pass::Latency, repetition: 2 };
        let half = |malloc: (u64, f64), free: (u64, f64), among: f64, preemptions: f64| {
            let mut run = Run::new(Manifest::default());
            let mut put = |op: &str, metric: &str, value: f64| {
                run.measurements.push(cell.measurement(op, metric, value));
            };
            for (op, calls) in
                [("malloc", 600.0), ("calloc", 0.0), ("realloc", 0.0), ("free", 400.0)]
            {
                put(op, "calls", calls);
            }
            put("all", "preemptions", preemptions);
            put("all", "clock_pair_nanoseconds", 20.0 + preemptions);
            put("all", "latency_back_to_back_nanoseconds", among);
            put("malloc", "latency_isolated_nanoseconds", malloc.1);
            put("free", "latency_isolated_nanoseconds", free.1);
            for (op, (calls, _)) in [("malloc", malloc), ("free", free)] {
                let mut histogram = empty_histogram();
                histogram.record_n(40, calls).unwrap();
                let (trace, backend, op) = ("t".into(), "b".into(), op.into());
                run.latencies.push(Latency { trace, backend, repetition: Some(2), op, histogram });
            }
            run
        };
        let run = whole(
            &cell,
            &[half((500, 10.0), (100, 4.0), 6.0, 1.0), half((100, 40.0), (300, 8.0), 11.0, 3.0)],
        );
        let value = |op: &str, metric: &str| run.values("t", "b", op, metric)[0];
        assert_eq!(value("all", "preemptions"), 4.0);
        assert_eq!(value("all", "clock_pair_nanoseconds"), 22.0);
        assert_eq!(value("malloc", "calls"), 600.0);
        // 400 calls among others in the first half, 600 in the second.
        assert!((value("all", "latency_back_to_back_nanoseconds") - 9.0).abs() < 1e-9);
        assert!((value("malloc", "latency_isolated_nanoseconds") - 15.0).abs() < 1e-9);
        assert!((value("free", "latency_isolated_nanoseconds") - 7.0).abs() < 1e-9);
        let alone = (600.0 * 15.0 + 400.0 * 7.0) / 1000.0;
        assert!((value("all", "latency_isolated_nanoseconds") - alone).abs() < 1e-9);
        assert!(
            (value("malloc", "latency_back_to_back_nanoseconds") - 15.0 * 9.0 / alone).abs() < 1e-9
        );
        let counts: Vec<u64> =
            run.latencies.iter().map(|latency| latency.histogram.len()).collect();
        assert_eq!(counts, [600, 400]);
    }
}
