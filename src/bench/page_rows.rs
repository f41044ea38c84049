//! The heap seen page by page, as rows of a run folder, and what follows from a footprint's
//! samples.

use std::cmp::Reverse;

use crate::backends::ReturnKind;
use crate::program::AllocationSites;
use crate::replay::{
    ClassRounding, EMPTY, Footprint, HeapContents, HeapMap, HeapSample, Level, NOWHERE, PageView,
    SiteUnits,
};
use crate::results::{
    Attribution, CellKey, Fullness, HeapRow, HeapRowContents, LineContents, Metric, Moment,
    OTHER_SITES, Residency, ReturnedUnit, Rounding, Run, SizeClass, UnitRetention,
};

/// The metrics of pages in use in pieces larger than 4 KiB, in the order of
/// [`crate::replay::GRAINS`]: at the live peak, and at the end.
pub const PAGES_IN_USE_BY_GRAIN: [[Metric; 2]; 5] = [
    [Metric::PagesInUse16kAtLivePeakBytes, Metric::PagesInUse16kEndBytes],
    [Metric::PagesInUse64kAtLivePeakBytes, Metric::PagesInUse64kEndBytes],
    [Metric::PagesInUse256kAtLivePeakBytes, Metric::PagesInUse256kEndBytes],
    [Metric::PagesInUse1mAtLivePeakBytes, Metric::PagesInUse1mEndBytes],
    [Metric::PagesInUse2mAtLivePeakBytes, Metric::PagesInUse2mEndBytes],
];

/// Lines that get a row of their own: the first so many by the free space charged to them, and by
/// their live bytes.
const LINES: usize = 200;
/// The same at a mark of the program, of which there may be many.
const LINES_AT_MARK: usize = 50;

/// Adds the rows of the live peak and the end, and the attribution at each mark.
pub fn add(run: &mut Run, cell: &CellKey, sites: &AllocationSites, found: &Footprint) {
    for (moment, view) in Moment::ALL.into_iter().zip([&found.views.at_live_peak, &found.views.end])
    {
        let (trace, backend, repetition) = (&cell.trace, &cell.backend, cell.repetition);
        run.fullness.extend(view.fullness.iter().enumerate().map(|(bin, &pages)| Fullness {
            trace: trace.clone(),
            backend: backend.clone(),
            repetition,
            moment,
            bin: bin as u32,
            pages,
        }));
        run.rounding.extend(view.classes.iter().map(|class| rounding(cell, moment, class)));
        if !sites.is_empty() {
            run.attributions.extend(attributions(cell, sites, moment, view));
        }
    }
    run.rounding
        .extend(found.sizes.rounding.iter().map(|class| rounding(cell, Moment::Whole, class)));
    run.size_classes.extend(size_classes(cell, &found.sizes.usable_by_size));
    let views = &found.views;
    for (moment, units) in
        Moment::ALL.into_iter().zip([&views.units_at_live_peak, &views.units_at_end])
    {
        run.unit_retention.extend(unit_retention(cell, sites, moment, units));
    }
    for (number, view) in (1..).zip(&found.views.at_marks) {
        run.attributions.extend(attributions(cell, sites, Moment::Mark(number), view));
    }
}

fn rounding(cell: &CellKey, moment: Moment, class: &ClassRounding) -> Rounding {
    Rounding {
        trace: cell.trace.clone(),
        backend: cell.backend.clone(),
        repetition: cell.repetition,
        moment,
        up_to_bytes: class.up_to,
        live_blocks: class.live_blocks,
        live_bytes: class.live_bytes,
        usable_bytes: class.usable_bytes,
    }
}

/// Runs of adjacent sizes with the same usable bytes; sizes that were never requested (0) belong to
/// the run around them.
fn size_classes(cell: &CellKey, usable: &[u32]) -> Vec<SizeClass> {
    let mut classes: Vec<SizeClass> = Vec::new();
    for (size, &usable_bytes) in (0..).zip(usable).filter(|(_, usable)| **usable > 0) {
        match classes.last_mut() {
            Some(last) if last.usable_bytes == usable_bytes => last.to_bytes = size,
            _ => classes.push(SizeClass {
                trace: cell.trace.clone(),
                backend: cell.backend.clone(),
                repetition: cell.repetition,
                from_bytes: size,
                to_bytes: size,
                usable_bytes,
            }),
        }
    }
    classes
}

/// Adds the rows of the heap map, and what lies in them at the live peak and at the end.
pub fn add_map(run: &mut Run, cell: &CellKey, sites: &AllocationSites, found: &Footprint) {
    let map = &found.heap_map;
    let residency = |level: &Level| match *level {
        NOWHERE => Residency::Nowhere,
        EMPTY => Residency::Empty,
        level => Residency::Live(level),
    };
    run.heap_map.extend(map.rows.iter().enumerate().map(|(at, row)| HeapRow {
        trace: cell.trace.clone(),
        backend: cell.backend.clone(),
        repetition: cell.repetition,
        row: at as u32,
        region: row.region,
        row_bytes: map.row_bytes,
        cells: HeapRow::encode(&row.levels.iter().map(residency).collect::<Vec<_>>()),
    }));
    let views = &found.views;
    let contents = [&views.contents_at_live_peak, &views.contents_at_end];
    for (moment, contents) in Moment::ALL.into_iter().zip(contents) {
        run.heap_contents.extend(row_contents(cell, sites, moment, (map, contents)));
    }
}

/// What lies in each row of a map at a moment.
fn row_contents(
    cell: &CellKey,
    sites: &AllocationSites,
    moment: Moment,
    (map, contents): (&HeapMap, &HeapContents),
) -> Vec<HeapRowContents> {
    let rows = map.rows.iter().enumerate().filter_map(|(at, row)| {
        let found = contents.of_row(row.first_piece, map.row_bytes);
        if found.resident_bytes == 0 && found.sites.is_empty() {
            return None;
        }
        let mut lines: Vec<LineContents> = found
            .sites
            .iter()
            .filter(|_| !sites.is_empty())
            .map(|(site, contents)| {
                let name = sites.name(*site).to_owned();
                LineContents(name, contents.live_blocks, contents.live_bytes)
            })
            .collect();
        lines.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        lines.truncate(HeapRowContents::LINES_MAX);
        Some(HeapRowContents {
            trace: cell.trace.clone(),
            backend: cell.backend.clone(),
            repetition: cell.repetition,
            moment,
            row: at as u32,
            resident_bytes: found.resident_bytes,
            pages_in_use_bytes: found.pages_in_use_bytes,
            live_blocks: found.sites.values().map(|site| site.live_blocks).sum(),
            live_bytes: found.sites.values().map(|site| site.live_bytes).sum(),
            lines: LineContents::encode(&lines),
        })
    });
    rows.collect()
}

/// The lines, those with most free space charged to them first. Lines that are small in every
/// respect are one row, so that the sums stay whole.
fn attributions(
    cell: &CellKey,
    sites: &AllocationSites,
    moment: Moment,
    view: &PageView,
) -> Vec<Attribution> {
    let lines = if matches!(moment, Moment::Mark(_)) { LINES_AT_MARK } else { LINES };
    let mut by_live = view.sites.clone();
    by_live.sort_by_key(|attribution| {
        (std::cmp::Reverse(attribution.live_bytes), sites.name(attribution.site).to_owned())
    });
    let mut by_external_fragmentation = view.sites.clone();
    by_external_fragmentation.sort_by_key(|attribution| {
        (
            std::cmp::Reverse(attribution.external_fragmentation_bytes),
            sites.name(attribution.site).to_owned(),
        )
    });
    let row = |site: &str| Attribution {
        trace: cell.trace.clone(),
        backend: cell.backend.clone(),
        repetition: cell.repetition,
        moment,
        site: site.to_owned(),
        live_bytes: 0,
        live_blocks: 0,
        external_fragmentation_bytes: 0,
    };
    let mut rows = Vec::new();
    let mut rest = row(OTHER_SITES);
    for (rank, attribution) in by_external_fragmentation.iter().enumerate() {
        let large = rank < lines
            || by_live[..by_live.len().min(lines)]
                .iter()
                .any(|other| other.site == attribution.site);
        let mut own = row(sites.name(attribution.site));
        let into = if large { &mut own } else { &mut rest };
        into.live_bytes += attribution.live_bytes;
        into.live_blocks += attribution.live_blocks;
        into.external_fragmentation_bytes += attribution.external_fragmentation_bytes;
        if large {
            rows.push(own);
        }
    }
    if rest.live_blocks > 0 {
        rows.push(rest);
    }
    rows
}

/// What each line retains by units, those with most returnable memory first. Beyond the first lines of
/// each unit, all lines are one row.
fn unit_retention(
    cell: &CellKey,
    sites: &AllocationSites,
    moment: Moment,
    found: &[SiteUnits],
) -> Vec<UnitRetention> {
    let mut found = found.to_vec();
    found.sort_by_key(|site| {
        (
            site.kind,
            Reverse((site.returnable_bytes, site.retained_bytes)),
            sites.name(site.site).to_owned(),
        )
    });
    let mut rows: Vec<UnitRetention> = Vec::new();
    for of_kind in found.chunk_by(|one, other| one.kind == other.kind) {
        let mut rest: Option<UnitRetention> = None;
        for (rank, site) in of_kind.iter().enumerate() {
            let Some(unit) = returned_unit(site.kind) else { continue };
            let row = UnitRetention {
                trace: cell.trace.clone(),
                backend: cell.backend.clone(),
                repetition: cell.repetition,
                moment,
                unit,
                site: sites.name(site.site).to_owned(),
                units: site.units,
                retained_bytes: site.retained_bytes,
                returnable_bytes: site.returnable_bytes,
            };
            match &mut rest {
                _ if rank < LINES => rows.push(row),
                None => rest = Some(UnitRetention { site: OTHER_SITES.to_owned(), ..row }),
                Some(rest) => {
                    rest.units += row.units;
                    rest.retained_bytes += row.retained_bytes;
                    rest.returnable_bytes += row.returnable_bytes;
                }
            }
        }
        rows.extend(rest);
    }
    rows
}

/// The unit as the record names it; pages are in `attribution.csv`.
fn returned_unit(kind: ReturnKind) -> Option<ReturnedUnit> {
    match kind {
        ReturnKind::Page => None,
        ReturnKind::Arena => Some(ReturnedUnit::Arena),
        ReturnKind::Span => Some(ReturnedUnit::Span),
        ReturnKind::Top => Some(ReturnedUnit::Top),
    }
}

/// Usefully returnable memory: the most that R − P never fell below during a whole tenth of the
/// allocation clock. It was idle so long that returning it would have helped.
pub fn returnable(samples: &[HeapSample]) -> u64 {
    let window = samples.last().map_or(0, |last| last.clock_bytes / 10);
    let retained =
        |sample: &HeapSample| sample.resident_bytes.saturating_sub(sample.pages_in_use_bytes);
    let mut most = 0;
    // Places of samples whose values rise: the first is the least of the window.
    let mut least: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    let mut first = 0;
    for (at, sample) in samples.iter().enumerate() {
        while least.back().is_some_and(|&back| retained(&samples[back]) >= retained(sample)) {
            least.pop_back();
        }
        least.push_back(at);
        // The shortest segment that ends here and is as long as the window.
        while first + 1 < at && sample.clock_bytes - samples[first + 1].clock_bytes >= window {
            first += 1;
        }
        while least.front().is_some_and(|&front| front < first) {
            least.pop_front();
        }
        if sample.clock_bytes - samples[first].clock_bytes >= window
            && let Some(&front) = least.front()
        {
            most = most.max(retained(&samples[front]));
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(clock_bytes: u64, retained: u64) -> HeapSample {
        HeapSample {
            clock_bytes,
            resident_bytes: 1000 + retained,
            pages_in_use_bytes: 1000,
            ..HeapSample::default()
        }
    }

    #[test]
    fn adjacent_sizes_of_one_class_are_a_row() {
        let cell = CellKey {
            trace: "t".into(),
            backend: "b".into(),
            pass: crate::results::Pass::Footprint,
            repetition: 0,
        };
        let rows = size_classes(&cell, &[16, 0, 16, 16, 24, 0, 0, 24, 32]);
        let found: Vec<[u32; 3]> =
            rows.iter().map(|row| [row.from_bytes, row.to_bytes, row.usable_bytes]).collect();
        assert_eq!(found, [[0, 3, 16], [4, 7, 24], [8, 8, 32]]);
    }

    #[test]
    fn what_is_returnable_was_idle_for_a_tenth_of_the_clock() {
        // Long and low, then high for too short a time.
        let samples: Vec<HeapSample> =
            [(0, 0), (100, 0), (200, 70), (350, 80), (400, 60), (900, 0), (950, 500), (1000, 400)]
                .map(|(clock, retained)| sample(clock, retained))
                .to_vec();
        assert_eq!(returnable(&samples), 70, "between 200 and 350");
        assert_eq!(returnable(&[]), 0);
        assert_eq!(returnable(&[sample(0, 9)]), 9, "a trace that requests nothing");
        // Every pair of samples, the plain way.
        let mut state = 1_u64;
        let mut clock = 0;
        let samples: Vec<HeapSample> = (0..300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                clock += state >> 58;
                sample(clock, state >> 40 & 0xFFF)
            })
            .collect();
        let mut plain = 0;
        for from in 0..300 {
            for to in from..300 {
                if samples[to].clock_bytes - samples[from].clock_bytes >= clock / 10 {
                    let least = samples[from..=to].iter().map(|s| s.resident_bytes - 1000).min();
                    plain = plain.max(least.unwrap_or(0));
                }
            }
        }
        assert_eq!(returnable(&samples), plain);
    }
}
