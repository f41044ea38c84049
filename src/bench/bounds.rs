//! What an allocator that gives memory back by the clock would hold at any pace.
//!
//! A replay makes in a second what the program made in ten, so an allocator that waits ten seconds
//! before it gives a page back gives back too little, and its resident memory is a matter of pace.
//! Two more footprint passes bound it: one that gives back at once, one that never does. A run at
//! the program's own pace needs no bounds.

use std::collections::HashMap;

use rayon::prelude::*;

use super::error::BenchError;
use super::exact::footprint;
use super::pairs::Side;
use super::settings::Settings;
use super::what_if::figure;
use super::workload::Loaded;
use crate::backends;
use crate::results::{Measurement, Metric, Run, Scope, Variation};

/// The metrics of the two ends, each with the one that the pass itself measures.
const METRICS: [[(Metric, Metric); 4]; 2] = [
    [
        (Metric::ResidentPeakBytes, Metric::ResidentPeakAtOnceBytes),
        (Metric::ResidentMeanBytes, Metric::ResidentMeanAtOnceBytes),
        (Metric::ResidentEndBytes, Metric::ResidentEndAtOnceBytes),
        (Metric::ResidentTrimmedBytes, Metric::ResidentTrimmedAtOnceBytes),
    ],
    [
        (Metric::ResidentPeakBytes, Metric::ResidentPeakNeverBytes),
        (Metric::ResidentMeanBytes, Metric::ResidentMeanNeverBytes),
        (Metric::ResidentEndBytes, Metric::ResidentEndNeverBytes),
        (Metric::ResidentTrimmedBytes, Metric::ResidentTrimmedNeverBytes),
    ],
];

/// The bounds of every footprint in `run` that varies by the clock, as rows beside it; none where
/// they are known already. A bound that cannot be measured has no row, and the pictures then say
/// that the figure stands for one pace only.
///
/// # Errors
/// When a file cannot be written.
pub fn check(
    run: &Run,
    programs: &HashMap<String, Loaded>,
    settings: &Settings,
) -> Result<Vec<Measurement>, BenchError> {
    let by_the_clock = |row: &&Measurement| {
        row.metric == Metric::VariesBetweenRuns
            && Variation::of(row.value) == Some(Variation::ByClock)
    };
    let wanted: Vec<(&Measurement, &Loaded, String, usize)> = run
        .measurements
        .iter()
        .filter(by_the_clock)
        .filter(|row| run.values(&row.trace, &row.backend, Scope::All, METRICS[0][0].1).is_empty())
        .filter_map(|row| {
            Some((row, programs.get(&row.trace)?, backends::bounds(&row.backend.parse().ok()?)?))
        })
        .flat_map(|(row, loaded, specs)| {
            specs
                .into_iter()
                .enumerate()
                .map(move |(which, spec)| (row, loaded, spec.to_string(), which))
        })
        .collect();
    let rows: Vec<Result<Vec<Measurement>, BenchError>> = wanted
        .par_iter()
        .map(|(row, loaded, word, which)| {
            let found = footprint(&Side::of(word), &row.trace, loaded, settings)?;
            let Ok(found) = found else { return Ok(vec![]) };
            let bound = |&(from, to): &(Metric, Metric)| {
                let value = figure(&found, from)? as f64;
                Some(Measurement { metric: to, value, ..(*row).clone() })
            };
            Ok(METRICS[*which].iter().filter_map(bound).collect())
        })
        .collect();
    Ok(rows.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}
