//! Room `report`, below the scorecard's picture and tables: its figures, backend by backend on each
//! trace, and their geometric means over the traces.

use super::canvas::Colour;
use super::figures::{Backend, Cost, OPS, TraceReport};
use crate::stats;

/// Columns of memory: peak, average, end.
pub const MEMORY: [&str; 3] = ["peak resident", "average resident", "resident at exit"];

/// One backend on one trace.
#[derive(Clone)]
pub struct Row {
    /// As the pictures call it.
    pub name: String,
    /// Its version.
    pub note: String,
    /// Its colour.
    pub colour: Colour,
    /// How many of the same colour stand before it.
    pub variant: usize,
    /// Time a call.
    pub cost: Option<Cost>,
    /// The 99.9th percentile over all ops, where there are calls enough.
    pub rare: Option<f64>,
    /// The slowest call, and whether it is confirmed.
    pub worst: Option<(f64, bool)>,
    /// By [`MEMORY`], in the unit of the column.
    pub memory: [Option<f64>; 3],
    /// The same, had memory gone back at once and never, where it goes back by the clock.
    pub bands: [Option<(f64, f64)>; 3],
}

/// Rows that belong together: a trace.
pub struct Group {
    /// The trace.
    pub name: String,
    /// By backend, in the run's order.
    pub rows: Vec<Row>,
    /// What the program had live, by [`MEMORY`], in the unit of the column.
    pub live: [f64; 3],
}

/// Whether anything was measured of it.
pub fn has_figures(backend: &Backend) -> bool {
    backend.cost.is_some() || backend.worst_call().is_some() || backend.has_memory()
}

/// The figures of one trace; `scale_of` gives the bytes of a unit of memory where the program had
/// so many live.
pub fn group(trace_report: &TraceReport, scale_of: &dyn Fn(f64) -> f64) -> Group {
    let live = [trace_report.live_peak, trace_report.live_mean, trace_report.live_end];
    // Of many traces the end counts in peaks too: most programs have next to nothing live at their
    // end.
    let base = [trace_report.live_peak, trace_report.live_mean, trace_report.live_peak];
    let scaled = |bytes: Option<f64>, live: f64| {
        let scale = scale_of(live);
        bytes.filter(|_| scale > 0.0).map(|bytes| bytes / scale)
    };
    let rows = trace_report.backends.iter().filter(|b| has_figures(b)).map(|backend| {
        let memory = [backend.memory.peak, backend.memory.mean, backend.memory.end];
        Row {
            name: backend.name.to_owned(),
            note: if backend.is_floor() {
                "the harness alone".into()
            } else {
                backend.version.to_owned()
            },
            colour: backend.colour,
            variant: backend.variant,
            cost: backend.cost,
            rare: if backend.is_floor() { None } else { rare(backend) },
            worst: if backend.is_floor() { None } else { backend.worst_call() },
            memory: std::array::from_fn(|k| scaled(memory[k], base[k])),
            bands: std::array::from_fn(|k| {
                let (low, high) = backend.memory.bands[k]?;
                Some((scaled(Some(low), base[k])?, scaled(Some(high), base[k])?))
            }),
        }
    });
    let name = trace_report.trace.name.clone();
    let live = std::array::from_fn(|k| live[k] / scale_of(base[k]).max(1e-9));
    Group { name, rows: rows.collect(), live }
}

/// The 99.9th percentile of all calls of all ops together.
fn rare(backend: &Backend) -> Option<f64> {
    let all: u64 = (0..OPS.len()).map(|op| backend.latency(op).0.calls).sum();
    let limit = all / 1000;
    if limit < 10 {
        return None;
    }
    let mut values: Vec<f64> = (0..OPS.len())
        .flat_map(|op| backend.latency(op).0.steps.iter().map(|step| step.0))
        .collect();
    values.sort_by(f64::total_cmp);
    // The smallest value that no more than one call in a thousand exceeds.
    let slower =
        |value: f64| (0..OPS.len()).map(|op| backend.latency(op).0.slower(value)).sum::<u64>();
    let at = values.partition_point(|value| slower(*value) > limit);
    values.get(at).copied()
}

/// The foot: geometric means over the traces, backend by backend.
pub fn geometric(groups: &[Group]) -> Group {
    let mut names: Vec<&str> = Vec::new();
    for row in groups.iter().flat_map(|group| &group.rows) {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let rows = names.iter().filter_map(|name| {
        let mine: Vec<&Row> =
            groups.iter().filter_map(|g| g.rows.iter().find(|r| r.name == *name)).collect();
        let first = *mine.first()?;
        // A mean over fewer traces than the others' would not compare.
        let mean = |of: &dyn Fn(&Row) -> Option<f64>| {
            let values: Vec<f64> = mine.iter().filter_map(|row| of(row)).collect();
            if values.len() == groups.len() { stats::geometric_mean(&values) } else { None }
        };
        let middle = mean(&|row| row.cost.map(|c| c.middle));
        Some(Row {
            name: first.name.clone(),
            note: String::new(),
            colour: first.colour,
            variant: first.variant,
            cost: middle.and_then(|middle| {
                let low = mean(&|row| row.cost.map(|c| c.low)).unwrap_or(middle);
                let high = mean(&|row| row.cost.map(|c| c.high)).unwrap_or(middle);
                let rounds = std::array::from_fn(|at| {
                    mean(&|row| row.cost.map(|c| c.rounds[at]).filter(|time| time.is_finite()))
                        .unwrap_or(f64::NAN)
                });
                Some(Cost { middle, low, high, repetitions: first.cost?.repetitions, rounds })
            }),
            rare: mean(&|row| row.rare),
            worst: mean(&|row| row.worst.map(|w| w.0)).map(|value| (value, true)),
            memory: std::array::from_fn(|k| mean(&|row| row.memory[k])),
            bands: std::array::from_fn(|k| {
                let end = |of: &dyn Fn((f64, f64)) -> f64| mean(&|row| row.bands[k].map(of));
                Some((end(&|band| band.0)?, end(&|band| band.1)?))
            }),
        })
    });
    let ends: Vec<f64> = groups.iter().map(|group| group.live[2]).collect();
    let end = stats::geometric_mean(&ends).unwrap_or(0.0);
    Group { name: "geometric mean".to_owned(), rows: rows.collect(), live: [1.0, 1.0, end] }
}
