//! Chart: which lines cause page retention at each mark of the program, at the live peak and at
//! exit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::heap_series::shown_peak;
use crate::report::figures::{
    BackendFigures, BackendLabel, TraceReport, rows_without_bounds, without_bounds,
};
use crate::report::palette::Colour;
use crate::report::text::{short_line, some};
use crate::results::{Attribution, Moment, OTHER_SITES};
use crate::units::{byte_unit, bytes, count};

/// When do which lines retain memory?
pub const ABOUT: About = About {
    name: "page-retention-at-marks",
    question: "Which line prevents pages from being returned, in which phase of the program?",
    reading: "Each bar is a moment, in the order of time: the marks that the program set, its \
              live peak and its exit. Its height is the free space on pages in use. Its colours \
              are the lines that allocated the blocks on these pages. A colour that stays when \
              its phase is over is a line to change.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct PageRetentionAtMarksChart {
    /// Its sentences.
    pub caption: Caption,
    /// Upwards, the same in all panels: free space on pages in use.
    pub free_space_axis: Axis,
    /// The bars of each panel, in order of time.
    pub moments: Vec<RetentionMoment>,
    /// The parts of a bar, from the bottom: lines of their own, then all others.
    pub parts: Vec<RetentionPart>,
    /// By allocator.
    pub panels: Vec<RetentionPanel>,
}

/// A moment of the program.
#[derive(Clone, Debug, Serialize)]
pub struct RetentionMoment {
    /// Its name.
    pub name: String,
    /// Whether it is a mark of the program.
    pub is_mark: bool,
    #[serde(skip)]
    moment: Moment,
}

/// A line of the program, or all others.
#[derive(Clone, Debug, Serialize)]
pub struct RetentionPart {
    /// `file:line`; `None` for all other lines.
    pub site: Option<String>,
    /// Its name in the legend.
    pub name: String,
    /// Its colour.
    pub colour: Colour,
}

/// The bars of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct RetentionPanel {
    /// The backend.
    pub backend: BackendLabel,
    /// By moment: free space in bytes by part.
    pub free_space_bytes: Vec<Vec<f64>>,
}

impl RetentionPanel {
    /// The highest bar, in bytes.
    pub fn highest(&self) -> f64 {
        self.free_space_bytes.iter().map(|stack| stack.iter().sum()).fold(0.0, f64::max)
    }
}

/// Lines that have a colour; they name lines here, no backends.
const COLOURS: [Colour; 5] = [
    Colour(0xD5, 0x5E, 0x00),
    Colour(0xE6, 0x9F, 0x00),
    Colour(0xF0, 0xC9, 0x75),
    Colour(0x8C, 0x6D, 0x1F),
    Colour(0xCC, 0x79, 0xA7),
];
/// All lines without a colour of their own.
const OTHERS: Colour = Colour(0xC4, 0xBD, 0xB2);
/// Moments shown at most: the last marks, the peak and the end.
const MOMENTS_MAX: usize = 14;
/// Panels shown at most: more would have bars of a pixel.
const PANELS_MAX: usize = 6;

/// The panels of title and scale: a bound makes neither.
fn leading(panels: &[RetentionPanel]) -> Vec<&RetentionPanel> {
    rows_without_bounds(panels, |panel| panel.backend.is_bound)
}

/// Describes the chart; `None` without an attribution at a mark.
pub fn describe(trace_report: &TraceReport) -> Option<PageRetentionAtMarksChart> {
    let moments = moments(trace_report)?;
    let sites = leading_lines(trace_report, &moments);
    let mut panels: Vec<RetentionPanel> = attributed(trace_report)
        .into_iter()
        .map(|backend| panel(backend, &moments, &sites))
        .collect();
    let mut of_title = leading(&panels);
    if let Some(own) = trace_report.own_backend()
        && of_title.iter().any(|panel| panel.backend == own.label)
    {
        // Where today's allocator is known, the bars of others are no answer.
        of_title.retain(|panel| panel.backend == own.label);
    }
    let title = verdict(&moments, &sites, &of_title, &trace_report.end_name());
    let mut plotted = format!(
        "`{}`: free space on 4 KiB pages in use, at each mark of the program, by the line that \
         allocated their blocks.",
        trace_report.trace.name
    );
    if panels.len() > PANELS_MAX {
        let rest = panels.drain(PANELS_MAX..);
        let rest: Vec<String> = rest.map(|panel| panel.backend.name).collect();
        plotted += &format!("  Not shown: {}.", some(&rest));
    }
    let highest: Vec<f64> = leading(&panels).iter().map(|panel| panel.highest()).collect();
    let most = shown_peak(&highest).max(1.0) * 1.1;
    let unit = byte_unit(most);
    Some(PageRetentionAtMarksChart {
        caption: Caption::new(title, plotted, &READING),
        free_space_axis: Axis::bytes(
            format!("free space on pages in use, {}", unit.name),
            unit,
            most,
        ),
        moments,
        parts: parts(&sites, others_name(trace_report, &sites)),
        panels,
    })
}

/// The name of the sum of all lines but `sites`: with their number, where each has its row.
fn others_name(trace_report: &TraceReport, sites: &[&str]) -> String {
    let rows = trace_report.backends.iter().flat_map(|backend| &backend.rows.attributions);
    let all: BTreeSet<&str> = rows.map(|row| row.site.as_str()).collect();
    match all.contains(OTHER_SITES) {
        true => "all other lines together".to_owned(),
        false => format!("{} other lines together", count((all.len() - sites.len()) as u64)),
    }
}

/// The lines with a colour, and the sum of the others.
fn parts(sites: &[&str], others_name: String) -> Vec<RetentionPart> {
    let own = |(colour, site): (&Colour, &&str)| RetentionPart {
        site: Some((*site).to_owned()),
        name: short_line(site),
        colour: *colour,
    };
    let others = RetentionPart { site: None, name: others_name, colour: OTHERS };
    COLOURS.iter().zip(sites).map(own).chain([others]).collect()
}

/// The allocators with an attribution.
fn attributed<'a>(trace_report: &'a TraceReport) -> Vec<&'a BackendFigures<'a>> {
    let all = trace_report.allocators();
    all.filter(|backend| !backend.rows.attributions.is_empty()).collect()
}

/// The moments of the attribution; `None` where none of them is a mark.
fn moments(trace_report: &TraceReport) -> Option<Vec<RetentionMoment>> {
    let marks = &trace_report.trace.marks;
    let backends = trace_report.backends.iter();
    let mut moments: Vec<Moment> = backends
        .flat_map(|backend| backend.rows.attributions.iter().map(|row| row.moment))
        .collect();
    let event = |moment: Moment| match moment {
        Moment::Mark(number) => (number as usize)
            .checked_sub(1)
            .and_then(|at| marks.get(at))
            .map_or(u64::MAX, |mark| mark.event),
        Moment::Peak => trace_report.live_peak_event().unwrap_or(u64::MAX),
        Moment::End | Moment::Whole => u64::MAX,
    };
    // Of one call: marks as they were set, then the peak, then the end.
    moments.sort_unstable_by_key(|moment| {
        let rank = match moment {
            Moment::Mark(number) => u32::from(*number),
            Moment::Peak => u32::MAX - 1,
            Moment::End | Moment::Whole => u32::MAX,
        };
        (event(*moment), rank)
    });
    moments.dedup();
    // A mark that was chosen as the end is one moment, not two.
    let is_end = |moment: &Moment| match (&trace_report.trace.end, moment) {
        (Some(end), Moment::Mark(number)) => {
            let at = (*number as usize).checked_sub(1).and_then(|at| marks.get(at));
            at.is_some_and(|mark| mark.event == end.event)
        }
        _ => false,
    };
    if moments.last() == Some(&Moment::End) && moments.iter().any(is_end) {
        moments.pop();
    }
    let named = |moment: Moment| {
        let name = match moment {
            Moment::Peak => "live peak".to_owned(),
            Moment::End | Moment::Whole => trace_report.end_noun(),
            Moment::Mark(number) => (number as usize)
                .checked_sub(1)
                .and_then(|at| marks.get(at))
                .map_or(format!("mark {number}"), |mark| mark.name.clone()),
        };
        RetentionMoment { name, is_mark: matches!(moment, Moment::Mark(_)), moment }
    };
    let mut moments: Vec<RetentionMoment> = moments.into_iter().map(named).collect();
    if !moments.iter().any(|moment| moment.is_mark) {
        return None;
    }
    // The last ones, and the peak wherever it is.
    while moments.len() > MOMENTS_MAX {
        let first = moments.iter().position(|moment| moment.is_mark)?;
        moments.remove(first);
    }
    Some(moments)
}

/// The lines with the largest part of a bar, of any moment and any allocator but a bound: one that matters
/// in a single phase is not averaged away, and one that is large in a small bar is no matter.
fn leading_lines<'a>(trace_report: &'a TraceReport, moments: &[RetentionMoment]) -> Vec<&'a str> {
    let mut most_bytes: BTreeMap<&str, u64> = BTreeMap::new();
    let is_shown = |row: &&&Attribution| moments.iter().any(|own| own.moment == row.moment);
    for backend in without_bounds(attributed(trace_report)) {
        let rows = backend.rows.attributions.iter().filter(is_shown);
        for row in rows.filter(|row| row.site != OTHER_SITES) {
            let most = most_bytes.entry(&row.site).or_default();
            *most = (*most).max(row.external_fragmentation_bytes);
        }
    }
    let mut lines: Vec<(&str, u64)> = most_bytes.into_iter().filter(|line| line.1 > 0).collect();
    lines.sort_by_key(|line| Reverse(line.1));
    lines.into_iter().take(COLOURS.len()).map(|line| line.0).collect()
}

fn panel(backend: &BackendFigures, moments: &[RetentionMoment], sites: &[&str]) -> RetentionPanel {
    let stack = |moment: &RetentionMoment| {
        let mut stack = vec![0.0; sites.len() + 1];
        for row in backend.rows.attributions.iter().filter(|row| row.moment == moment.moment) {
            let place = sites.iter().position(|site| *site == row.site).unwrap_or(sites.len());
            stack[place] += row.external_fragmentation_bytes as f64;
        }
        stack
    };
    RetentionPanel {
        backend: backend.label.clone(),
        free_space_bytes: moments.iter().map(stack).collect(),
    }
}

const READING: [&str; 3] = [
    "A mark is where the program begins a phase: the bar is the state before it.",
    "No trim can return this space while those blocks live.",
    "The figures of every line are in attribution.csv.",
];

/// A line at a moment, with one backend.
struct WorstLine<'a> {
    bytes: f64,
    site: &'a str,
    moment: &'a str,
    backend: &'a str,
    last_bytes: f64,
}

/// The line and the mark with the most free space.
fn worst_line<'a>(
    moments: &'a [RetentionMoment],
    sites: &[&'a str],
    panels: &[&'a RetentionPanel],
) -> Option<WorstLine<'a>> {
    let mut worst: Option<WorstLine> = None;
    for panel in panels {
        let last = panel.free_space_bytes.last();
        for (moment, stack) in moments.iter().zip(&panel.free_space_bytes) {
            for (line, bytes) in stack[..sites.len()].iter().enumerate() {
                let is_worse = worst.as_ref().is_none_or(|worst| *bytes > worst.bytes);
                if moment.is_mark && is_worse {
                    worst = Some(WorstLine {
                        bytes: *bytes,
                        site: sites[line],
                        moment: &moment.name,
                        backend: &panel.backend.name,
                        last_bytes: last.map_or(0.0, |last| last[line]),
                    });
                }
            }
        }
    }
    worst.filter(|worst| worst.bytes > 0.0)
}

/// The line and the mark with the most free space, and what is left of it at the end.
fn verdict(
    moments: &[RetentionMoment],
    sites: &[&str],
    panels: &[&RetentionPanel],
    end_name: &str,
) -> String {
    let Some(worst) = worst_line(moments, sites, panels) else {
        return "No line retains any free space at a mark of the program.".to_owned();
    };
    let end = moments.last().filter(|last| last.moment == Moment::End);
    let at_end = end.map_or_else(String::new, |_| {
        let left = if worst.last_bytes > 0.0 { bytes(worst.last_bytes) } else { "none".to_owned() };
        format!(", and {left} {end_name}")
    });
    format!(
        "{} retains most: {} of free space at the mark `{}`{at_end} ({}).",
        short_line(worst.site),
        bytes(worst.bytes),
        worst.moment,
        worst.backend
    )
}

/// The first lines at each moment, as a table: its header, and rows of moment, line, live bytes and
/// the free space of each backend.
pub fn table(trace_report: &TraceReport) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    const LINES: usize = 3;
    let moments = moments(trace_report)?;
    let backends = attributed(trace_report);
    let mut header = vec!["moment".to_owned(), "line".to_owned(), "live".to_owned()];
    header.extend(backends.iter().map(|backend| backend.name().to_owned()));
    let mut rows = Vec::new();
    for moment in &moments {
        for (line, _) in trace_report.retaining_lines(moment.moment).into_iter().take(LINES) {
            let of = |backend: &&BackendFigures| -> Option<Attribution> {
                let mut all = backend.rows.attributions.iter();
                all.find(|row| row.moment == moment.moment && row.site == line)
                    .map(|row| (*row).clone())
            };
            let dash = || "–".to_owned();
            let live = backends.iter().find_map(of);
            let mut row = vec![moment.name.clone(), short_line(line)];
            row.push(live.map_or_else(dash, |row| bytes(row.live_bytes as f64)));
            row.extend(backends.iter().map(|backend| {
                let free = of(backend).map(|row| row.external_fragmentation_bytes as f64);
                free.map_or_else(dash, bytes)
            }));
            rows.push(row);
        }
    }
    Some((header, rows))
}
