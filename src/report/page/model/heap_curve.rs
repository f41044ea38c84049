//! The heap of one backend over the trace, with no more samples than a zoomed screen shows.

use serde::Serialize;

use super::site_table::{NumberedLine, SiteTable};
use crate::report::figures::MemoryFigures;
use crate::results::Sample;

/// Samples of a page with few curves, at most for each.
const SAMPLES_MAX: usize = 2000;
/// The same of a page with many.
const SAMPLES_LEAST: usize = 400;
/// Samples of all curves of a page, roughly.
const PAGE_SAMPLES: usize = 120_000;
/// Samples of all curves of a page that have their lines, roughly.
const LINED_SAMPLES: usize = 12_000;
/// Larger numbers are not exact in a script.
const EXACT_MAX: u64 = 1 << 53;

/// The samples of one backend as differences: the first of each list counts from 0.
#[derive(Debug, PartialEq, Serialize)]
pub struct HeapCurve {
    /// The backend's number.
    backend: usize,
    /// Calls done.
    events: Vec<i64>,
    /// Bytes requested so far.
    clock_bytes: Vec<i64>,
    live_bytes: Vec<i64>,
    usable_bytes: Vec<i64>,
    pages_in_use_bytes: Vec<i64>,
    resident_bytes: Vec<i64>,
    /// The lines with most live bytes at some of the samples, by the number of the sample.
    lines: Vec<(usize, Vec<NumberedLine>)>,
    /// At the end, after a trim, and after everything is freed.
    memory: MemoryFigures,
}

impl HeapCurve {
    /// The curve of a backend on a page with so many curves.
    pub fn of(
        backend: usize,
        samples: &[&Sample],
        memory: MemoryFigures,
        curves: usize,
        sites: &mut SiteTable,
    ) -> HeapCurve {
        let most = (PAGE_SAMPLES / curves).clamp(SAMPLES_LEAST, SAMPLES_MAX);
        let shown = thinned(samples, most);
        let column = |of: fn(&Sample) -> u64| differences(shown.iter().map(|sample| of(sample)));
        HeapCurve {
            backend,
            events: column(|sample| sample.event),
            clock_bytes: column(|sample| sample.clock_bytes),
            live_bytes: column(|sample| sample.live_bytes),
            usable_bytes: column(|sample| sample.usable_bytes),
            pages_in_use_bytes: column(|sample| sample.pages_in_use_bytes),
            resident_bytes: column(|sample| sample.resident_bytes),
            lines: with_lines(&shown, LINED_SAMPLES / curves.max(1), sites),
            memory,
        }
    }
}

/// The lines of at most about `most` samples. Of each group of adjacent ones that has most resident bytes:
/// the highest point of a segment is mostly such a one.
fn with_lines(
    samples: &[&Sample],
    most: usize,
    sites: &mut SiteTable,
) -> Vec<(usize, Vec<NumberedLine>)> {
    let group = samples.len().div_ceil(most.max(1)).max(1);
    let starts = (0..samples.len()).step_by(group);
    let highest = starts.filter_map(|from| {
        let places = from..(from + group).min(samples.len());
        // Of equal ones the first.
        places.rev().max_by_key(|at| samples[*at].resident_bytes)
    });
    let lined = highest.map(|at| (at, sites.numbered(&samples[at].lines)));
    lined.filter(|(_, lines)| !lines.is_empty()).collect()
}

fn differences(values: impl Iterator<Item = u64>) -> Vec<i64> {
    let mut before = 0;
    let difference = |value: u64| {
        let value = value.min(EXACT_MAX) as i64;
        let step = value - before;
        before = value;
        step
    };
    values.map(difference).collect()
}

/// At most about `most` samples. Each group of adjacent ones keeps its extremes of live and resident
/// bytes, so that no peak is lost; first and last stay.
fn thinned<'a>(samples: &[&'a Sample], most: usize) -> Vec<&'a Sample> {
    const EXTREMES: usize = 4;
    if samples.len() <= most {
        return samples.to_vec();
    }
    let group = (samples.len() * EXTREMES).div_ceil(most);
    let mut chosen = vec![0, samples.len() - 1];
    for from in (0..samples.len()).step_by(group) {
        let places = from..(from + group).min(samples.len());
        let resident = |at: &usize| samples[*at].resident_bytes;
        let live = |at: &usize| samples[*at].live_bytes;
        // Of equal ones the first: `max_by_key` takes the last.
        chosen.extend(places.clone().rev().max_by_key(resident));
        chosen.extend(places.clone().min_by_key(resident));
        chosen.extend(places.clone().rev().max_by_key(live));
        chosen.extend(places.min_by_key(live));
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen.into_iter().map(|at| samples[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::LineContents;

    fn sample(at: u64, resident_bytes: u64) -> Sample {
        Sample {
            trace: String::new(),
            backend: String::new(),
            repetition: 0,
            event: at,
            clock_bytes: at * 10,
            live_bytes: resident_bytes / 2,
            usable_bytes: resident_bytes / 2,
            pages_in_use_bytes: resident_bytes,
            resident_bytes,
            lines: String::new(),
        }
    }

    #[test]
    fn few_samples_stay_as_they_are() {
        let samples = [sample(3, 4096), sample(7, 12_288), sample(9, 8192)];
        let samples: Vec<&Sample> = samples.iter().collect();
        let mut sites = SiteTable::default();
        let mut of = |samples: &[&Sample]| {
            HeapCurve::of(1, samples, MemoryFigures::default(), 1, &mut sites)
        };
        let curve = of(&samples);
        assert_eq!(curve.events, [3, 4, 2]);
        assert_eq!(curve.resident_bytes, [4096, 8192, -4096]);
        assert_eq!(of(&[]).events, [0; 0]);
    }

    /// On a page with many curves few samples of each have their lines: the highest of each part.
    #[test]
    fn the_highest_samples_have_their_lines() {
        let mut samples: Vec<Sample> = (0..100).map(|at| sample(at, 1000 + at % 10)).collect();
        let line = |name: &str| LineContents::encode(&[LineContents(name.into(), 2, 64)]);
        samples.iter_mut().for_each(|sample| sample.lines = line("app.py:1"));
        samples[37].resident_bytes = 9000;
        samples[37].lines = line("app.py:8");
        let samples: Vec<&Sample> = samples.iter().collect();
        let mut sites = SiteTable::default();
        let found = with_lines(&samples, 4, &mut sites);
        let places: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
        assert_eq!(places, [9, 37, 59, 79]);
        assert_eq!(found[1].1, [(sites.number("app.py:8"), 2, 64)]);
        assert_eq!(with_lines(&samples, 1000, &mut sites).len(), 100);
        assert_eq!(with_lines(&samples, 0, &mut sites).len(), 1);
        assert!(with_lines(&[&sample(1, 1)], 4, &mut sites).is_empty());
    }

    #[test]
    fn thinning_keeps_ends_and_extremes() {
        let value = |at: u64| 1_000_000 + at * 2_654_435_761 % 99_991;
        let mut samples: Vec<Sample> = (0..50_000).map(|at| sample(at, value(at))).collect();
        samples[31_337].resident_bytes = 5_000_000;
        samples[31_340].resident_bytes = 7;
        let samples: Vec<&Sample> = samples.iter().collect();
        let shown = thinned(&samples, 800);
        assert!((400..=802).contains(&shown.len()), "{}", shown.len());
        let events: Vec<u64> = shown.iter().map(|sample| sample.event).collect();
        assert!(events.is_sorted() && events[0] == 0 && events.last() == Some(&49_999));
        assert!(events.contains(&31_337) && events.contains(&31_340));
    }

    #[test]
    fn absurd_values_do_not_overflow() {
        let differences = differences([u64::MAX, 0, u64::MAX].into_iter());
        let most = EXACT_MAX as i64;
        assert_eq!(differences, [most, -most, most]);
    }
}
