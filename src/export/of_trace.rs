//! A profile of a trace: bytes by stack at the live peak, at the end and in all, and live bytes over
//! time with the process's own memory.

use std::path::Path;

use super::error::ExportError;
use super::profile::{ExportedProfile, Moment, Series, TimeAxis, Weight, WeightUnit, stack_of};
use crate::trace::{self, CountedBlocks, LiveAt, LivePoint, TraceStatistics};

/// Reads a trace again once it is known which calls are the live peak and the end.
///
/// # Errors
/// The trace cannot be read, or its rows contradict each other.
pub fn profile_of_trace(path: &Path) -> Result<ExportedProfile, ExportError> {
    let mut reader = trace::open(path)?;
    let mut counts = trace::statistics(reader.as_mut(), path, |_| ())?;
    // The end is the moment before the process takes itself apart.
    if let Some(end) = reader.process().end {
        let live = LiveAt::read(trace::open(path)?.as_mut(), end.event)?;
        counts.end_at(&live, Some(end.cause));
    }
    let weight = |name: &str, unit| Weight { name: name.to_owned(), unit };
    let mut profile = ExportedProfile {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        weights: vec![
            weight("live at the peak", WeightUnit::Bytes),
            weight("live at the end", WeightUnit::Bytes),
            weight("allocated", WeightUnit::Bytes),
            weight("allocations", WeightUnit::Count),
        ],
        stacks: std::collections::BTreeMap::new(),
        functions: reader.process().functions.clone(),
        axis: TimeAxis::Calls,
        series: vec![],
        marks: vec![],
        slow_calls: vec![],
    };
    for site in &counts.sites {
        for (weight, value) in [(1, site.live_bytes), (2, site.bytes), (3, site.requests)] {
            profile.add(stack_of(&site.site), weight, value);
        }
    }
    second_pass(path, &counts, &mut profile)?;
    Ok(profile)
}

/// What needs the live peak, and the times.
fn second_pass(
    path: &Path,
    counts: &TraceStatistics,
    profile: &mut ExportedProfile,
) -> Result<(), ExportError> {
    let mut reader = trace::open(path)?;
    let has_times = reader.header().columns.time_ns;
    let marks = reader.header().marks();
    let at_peak = CountedBlocks::LiveAfter(counts.live_peak_event);
    let mut clock = EventClock::default();
    let live = trace::count_blocks(reader.as_mut(), &[at_peak], |row| {
        if has_times {
            clock.see(row.event, row.time_ns);
        }
    })?;
    if !counts.sites.is_empty() {
        for (site, count) in live.iter().flat_map(|live| live.named_sites(reader.sites())) {
            if count.bytes > 0 {
                profile.add(stack_of(site), 0, count.bytes);
            }
        }
    }
    let at = |event: u64| if has_times { clock.microseconds(event) } else { event as f64 };
    profile.axis = if has_times { TimeAxis::Time } else { TimeAxis::Calls };
    profile.series.push(Series {
        name: "live bytes".to_owned(),
        points: counts.live.iter().flat_map(|point| ends_of(point, at(point.event))).collect(),
    });
    let memory = &reader.process().memory;
    if !memory.is_empty() {
        let time = |sample: &trace::MemorySample| match has_times {
            true => sample.time_ns as f64 / 1e3,
            false => sample.event as f64,
        };
        profile.series.push(Series {
            name: "resident anonymous memory of the process".to_owned(),
            points: memory.iter().map(|one| (time(one), one.anonymous_bytes as f64)).collect(),
        });
    }
    let marks = marks.into_iter().map(|(event, name)| Moment { at: at(event), name });
    profile.marks = marks.collect();
    Ok(())
}

/// A segment of the live series: its least and its most.
fn ends_of(point: &LivePoint, at: f64) -> impl Iterator<Item = (f64, f64)> {
    let is_level = point.least_bytes == point.most_bytes;
    let values = [point.most_bytes, point.least_bytes];
    values.into_iter().skip(usize::from(is_level)).map(move |bytes| (at, bytes as f64))
}

/// The times of calls, every few of them.
#[derive(Default)]
struct EventClock {
    known: Vec<(u64, u64)>,
}

impl EventClock {
    /// Calls between two times that are retained.
    const STEP: u64 = 64;

    fn see(&mut self, event: u64, time_ns: u64) {
        let is_due = self.known.last().is_none_or(|(last, _)| event >= last + EventClock::STEP);
        if is_due {
            // Threads may be a little out of order: time does not go back.
            let before = self.known.last().map_or(0, |(_, before)| *before);
            self.known.push((event, time_ns.max(before)));
        }
    }

    /// The time of the last known call up to `event`.
    fn microseconds(&self, event: u64) -> f64 {
        let after = self.known.partition_point(|(known, _)| *known <= event);
        let time_ns = after.checked_sub(1).and_then(|at| self.known.get(at)).map_or(0, |one| one.1);
        time_ns as f64 / 1e3
    }
}
