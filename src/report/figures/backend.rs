//! All figures of one backend on one trace.

use serde::Serialize;

use crate::results::{Outcome, Pass, Sample, Scope, Status};

use super::cost::{CallCost, ChunkCost, chunk_profile};
use super::distribution::{LatencyDistribution, OPS};
use super::memory::MemoryFigures;
use super::rows::BackendRows;
use crate::report::palette::Colour;

/// How charts and tables name and draw a backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackendLabel {
    /// The label: the spec, with the paths of libraries shortened.
    pub name: String,
    /// The version, as the library reports it.
    pub version: String,
    /// The same in all pictures.
    pub colour: Colour,
    /// How many backends of the same family are before it: 0 is drawn filled and solid, others open
    /// and dashed.
    pub variant: usize,
    /// Whether it does nothing, so that it shows what the harness costs. It is no allocator and
    /// takes no place in rankings.
    pub is_floor: bool,
    /// Whether it takes nothing back, so that no program could have it for long.
    pub is_bound: bool,
}

/// One backend on one trace.
#[derive(Clone, Debug)]
pub struct BackendFigures<'a> {
    /// Its spec, as in the run.
    pub spec: &'a str,
    /// Its name in pictures and tables.
    pub label: BackendLabel,
    /// Time a call.
    pub cost: Option<CallCost>,
    /// Time a call with the first write to each new block.
    pub first_touch: Option<CallCost>,
    /// The time pass, chunk by chunk.
    pub chunks: Vec<ChunkCost>,
    /// By [`OPS`]: the median over repetitions, call by call.
    pub confirmed: [LatencyDistribution; 3],
    /// By [`OPS`]: one raw repetition.
    pub raw: [LatencyDistribution; 3],
    /// The heap over the trace, by event.
    pub samples: Vec<&'a Sample>,
    /// Memory; empty for a backend without memory.
    pub memory: MemoryFigures,
    /// All its rows of the run.
    pub(crate) rows: BackendRows<'a>,
}

impl<'a> BackendFigures<'a> {
    /// The figures from the rows of a backend; `trace_calls` are the calls of the trace, and
    /// `is_paced` says that the footprint pass had the pace of the program.
    pub(super) fn of(
        spec: &'a str,
        label: BackendLabel,
        rows: BackendRows<'a>,
        trace_calls: Option<f64>,
        is_paced: bool,
    ) -> BackendFigures<'a> {
        let chunks = chunk_profile(&rows.chunks);
        let samples = first_repetition(&rows.samples);
        let first = rows.latencies.iter().filter_map(|latency| latency.repetition).min();
        let by_op = |repetition: Option<u32>| {
            OPS.map(|(_, ops)| {
                let own = rows.latencies.iter().copied();
                LatencyDistribution::of(own.filter(|latency| {
                    latency.repetition == repetition && ops.contains(&latency.op)
                }))
            })
        };
        let mut confirmed = by_op(None);
        for (distribution, (_, ops)) in confirmed.iter_mut().zip(OPS) {
            let own = rows.slow_calls.iter().filter(|call| call.is_own() && ops.contains(&call.op));
            if let Some(slowest_ns) = own.map(|call| call.nanoseconds).max() {
                distribution.set_slowest(slowest_ns as f64);
            }
        }
        BackendFigures {
            spec,
            label,
            cost: CallCost::of(&rows, &chunks, trace_calls),
            first_touch: CallCost::with_first_touch(&rows, trace_calls),
            chunks,
            confirmed,
            raw: if first.is_some() { by_op(first) } else { Default::default() },
            memory: MemoryFigures::of(&rows, &samples, is_paced),
            samples,
            rows,
        }
    }

    /// The name in pictures and tables.
    pub fn name(&self) -> &str {
        &self.label.name
    }

    /// Nanoseconds of all `calls` of the trace by the time pass.
    pub fn total_ns(&self, calls: u64) -> Option<f64> {
        Some(self.cost?.middle_ns * calls as f64)
    }

    /// See [`BackendLabel::is_floor`].
    pub fn is_floor(&self) -> bool {
        self.label.is_floor
    }

    /// See [`BackendLabel::is_bound`].
    pub fn is_bound(&self) -> bool {
        self.label.is_bound
    }

    /// Whether resident memory was seen at all.
    pub fn has_memory(&self) -> bool {
        !self.is_floor() && self.samples.iter().any(|sample| sample.resident_bytes > 0)
    }

    /// Whether anything was measured.
    pub fn has_figures(&self) -> bool {
        self.cost.is_some() || self.worst_call().is_some() || self.has_memory()
    }

    /// The values of a figure, over the repetitions, in their order.
    pub fn values(&self, scope: Scope, metric: crate::results::Metric) -> &[f64] {
        self.rows.values(scope, metric)
    }

    /// The confirmed distribution of an operation of [`OPS`], else the raw one; and whether it is
    /// confirmed.
    pub fn latency(&self, op: usize) -> (&LatencyDistribution, bool) {
        let confirmed = &self.confirmed[op];
        if confirmed.calls > 0 { (confirmed, true) } else { (&self.raw[op], false) }
    }

    /// Nanoseconds of the slowest call of any operation; and whether it is confirmed.
    pub fn worst_call(&self) -> Option<(f64, bool)> {
        (0..OPS.len())
            .filter_map(|op| {
                let (distribution, confirmed) = self.latency(op);
                distribution.max().map(|max| (max, confirmed))
            })
            .max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Calls of all operations, by the best distributions.
    pub fn latency_calls(&self) -> u64 {
        (0..OPS.len()).map(|op| self.latency(op).0.calls).sum()
    }

    /// Calls of all operations that are slower than `nanoseconds`, by the best distributions.
    pub fn slower_calls(&self, nanoseconds: f64) -> u64 {
        (0..OPS.len()).map(|op| self.latency(op).0.slower(nanoseconds)).sum()
    }

    /// Why a pass has no result, for tables; `None` when at least one of its cells succeeded.
    pub fn why_absent(&self, pass: Pass) -> Option<String> {
        let own: Vec<&&Outcome> =
            self.rows.outcomes.iter().filter(|outcome| outcome.pass == pass).collect();
        if own.iter().any(|outcome| outcome.status == Status::Ok) {
            return None;
        }
        Some(own.last().map_or("not measured".to_owned(), |outcome| outcome.reason.clone()))
    }
}

/// Those that a program could have, for sentences: a bound is only in tables and pictures. All of them
/// where there is no other.
pub fn without_bounds<'b, 'a>(
    backends: impl IntoIterator<Item = &'b BackendFigures<'a>>,
) -> Vec<&'b BackendFigures<'a>> {
    rows_without_bounds(backends, |backend| backend.is_bound())
}

/// The same of rows, each of a backend, which may be a bound.
pub fn rows_without_bounds<R>(
    rows: impl IntoIterator<Item = R>,
    is_bound: impl Fn(&R) -> bool,
) -> Vec<R> {
    let (bounds, own): (Vec<R>, Vec<R>) = rows.into_iter().partition(is_bound);
    if own.is_empty() { bounds } else { own }
}

/// The samples of the first repetition that has some, by event.
fn first_repetition<'a>(samples: &[&'a Sample]) -> Vec<&'a Sample> {
    let repetition = samples.iter().map(|sample| sample.repetition).min();
    let mut own: Vec<&Sample> =
        samples.iter().copied().filter(|sample| Some(sample.repetition) == repetition).collect();
    own.sort_by_key(|sample| sample.event);
    own
}
