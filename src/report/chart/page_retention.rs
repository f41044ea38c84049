//! Chart: which lines of the program cause page retention: the bytes that they hold, and the free
//! space on the pages of their blocks.

use serde::Serialize;

use super::contract::{About, Caption, ReadingSentence};
use super::heap_series::shown_peak;
use crate::report::figures::{
    BackendFigures, BackendLabel, TraceReport, line_changes, replayed_bytes, without_bounds,
};
use crate::report::free_list_note::free_list_note;
use crate::report::text::{all_or_ends, short_line, some};
use crate::results::{Attribution, Moment, OTHER_SITES, RETURNABLE_LEAST_BYTES};
use crate::units::{byte_unit, bytes, percent, times};

/// Which line of my code do I change?
pub const ABOUT: About = About {
    name: "page-retention",
    question: "Which line of the program prevents pages from being returned?",
    reading: "Each row is a line of the program. Blue is what its blocks hold, as a heap \
              profiler shows it. Orange is the free space on the pages in use by these blocks, \
              under each allocator. A line with little blue and much orange is worth a change: \
              copy its objects once the burst is over, or place them elsewhere.",
};

/// A prediction beyond this factor of what a replay shows is not confirmed.
const FAR_OFF: f64 = 1.5;

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct PageRetentionChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across, of the column of live bytes.
    pub live_reach: Reach,
    /// Across, of the columns of free space: the same, unless one would make the bars of the other
    /// invisible.
    pub free_space_reach: Reach,
    /// Live bytes of all lines.
    pub live_total_bytes: f64,
    /// The backends of the columns.
    pub backends: Vec<RetentionColumn>,
    /// By line, the most retention first.
    pub lines: Vec<RetentionLine>,
}

/// One backend.
#[derive(Clone, Debug, Serialize)]
pub struct RetentionColumn {
    /// The backend.
    pub backend: BackendLabel,
    /// Free space on pages in use, of all lines.
    pub free_space_total_bytes: f64,
}

/// One line of the program.
#[derive(Clone, Debug, Serialize)]
pub struct RetentionLine {
    /// `file:line`; empty for blocks without a site.
    pub site: String,
    /// Bytes that its blocks hold.
    pub live_bytes: f64,
    /// Blocks that it holds.
    pub live_blocks: u64,
    /// Its rank by live bytes, from 1.
    pub rank_by_live: Option<usize>,
    /// Free space on pages in use that is charged to it, by backend.
    pub free_space_bytes: Vec<f64>,
}

/// The range of an axis in bytes from 0, where the width of its numbers decides the scale.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reach {
    /// The last value.
    pub most_bytes: f64,
    /// The unit of its numbers.
    pub unit: &'static str,
    /// Bytes of the unit.
    pub unit_bytes: f64,
}

impl Reach {
    fn to(most: f64) -> Reach {
        let most_bytes = most.max(1.0);
        let unit = byte_unit(most_bytes);
        Reach { most_bytes, unit: unit.name, unit_bytes: unit.bytes }
    }
}

/// Allocators at most: the numbers of more would be cut off.
const BACKENDS_MAX: usize = 8;
/// Lines at most.
pub const LINES_MAX: usize = 10;
/// Beyond this ratio of live bytes to free space, or of the free space to live bytes, each has an
/// axis of its own.
const APART: f64 = 5.0;

/// The rows of the record at one moment.
struct RetentionRows<'a> {
    moment: Moment,
    /// The moment that counts as the end, in a heading.
    end_name: String,
    sites: Vec<&'a str>,
    backends: Vec<&'a BackendFigures<'a>>,
    /// The spec of the allocator that the program has today, where that is known.
    own: Option<&'a str>,
    /// Names of the allocators for which there is no space.
    left_out: Vec<String>,
}

impl<'a> RetentionRows<'a> {
    fn of(trace_report: &'a TraceReport) -> Option<RetentionRows<'a>> {
        // A program that frees everything has nothing at the end worth a picture: then the chart
        // shows its peak.
        let is_late = trace_report.live_end_bytes * 20.0 >= trace_report.live_peak_bytes;
        let moments =
            if is_late { [Moment::End, Moment::Peak] } else { [Moment::Peak, Moment::End] };
        moments.into_iter().find_map(|moment| RetentionRows::at(trace_report, moment))
    }

    fn at(trace_report: &'a TraceReport, moment: Moment) -> Option<RetentionRows<'a>> {
        let lines = trace_report.retaining_lines(moment);
        let sites: Vec<&str> = lines.iter().map(|line| line.0).take(LINES_MAX).collect();
        let mut backends: Vec<&BackendFigures> = trace_report
            .allocators()
            .filter(|backend| attributions(backend, moment).next().is_some())
            .collect();
        // Of many, the first form of each allocator says most.
        let mut left_out: Vec<String> = Vec::new();
        if backends.len() > BACKENDS_MAX {
            backends.sort_by_key(|backend| backend.label.variant > 0);
            let rest = backends.split_off(BACKENDS_MAX);
            left_out.extend(rest.iter().map(|backend| backend.name().to_owned()));
        }
        (!sites.is_empty() && !backends.is_empty()).then_some(RetentionRows {
            moment,
            end_name: trace_report.end_name(),
            sites,
            backends,
            own: trace_report.own_backend().map(|own| own.spec),
            left_out,
        })
    }

    fn attribution(&self, backend: &BackendFigures<'a>, site: &str) -> Option<&'a Attribution> {
        attributions(backend, self.moment).find(|row| row.site == site)
    }

    fn free_space(&self, backend: &BackendFigures<'a>, site: &str) -> f64 {
        let row = self.attribution(backend, site);
        row.map_or(0.0, |row| row.external_fragmentation_bytes as f64)
    }

    fn total(&self, backend: &BackendFigures<'a>) -> f64 {
        attributions(backend, self.moment).map(|row| row.external_fragmentation_bytes as f64).sum()
    }

    /// Live bytes and blocks of a line: the same for every backend.
    fn live(&self, site: &str) -> (f64, u64) {
        let found = self.backends.iter().find_map(|backend| self.attribution(backend, site));
        found.map_or((0.0, 0), |row| (row.live_bytes as f64, row.live_blocks))
    }

    /// All lines of the first backend by live bytes, the largest first.
    fn by_live(&self) -> Vec<&'a Attribution> {
        let mut rows: Vec<&Attribution> = attributions(self.backends[0], self.moment)
            .filter(|row| row.site != OTHER_SITES)
            .collect();
        rows.sort_by(|a, b| b.live_bytes.cmp(&a.live_bytes).then_with(|| a.site.cmp(&b.site)));
        rows
    }

    fn when(&self) -> &str {
        if self.moment == Moment::Peak { "at the live peak" } else { &self.end_name }
    }

    /// The backends of sentences: see [`without_bounds`].
    fn choosable(&self) -> Vec<&'a BackendFigures<'a>> {
        without_bounds(self.backends.iter().copied())
    }

    /// The reach of live bytes and of free space.
    fn reaches(&self) -> (Reach, Reach) {
        let most_of = |backend: &&BackendFigures<'a>| {
            self.sites.iter().map(|site| self.free_space(backend, site)).fold(0.0, f64::max)
        };
        let peaks: Vec<f64> = self.backends.iter().map(most_of).collect();
        let live = self.sites.iter().map(|site| self.live(site).0).fold(0.0, f64::max);
        let free = shown_peak(&peaks);
        if live > free * APART || free > live * APART {
            (Reach::to(live), Reach::to(free))
        } else {
            (Reach::to(live.max(free)), Reach::to(live.max(free)))
        }
    }
}

/// The rows of a backend at a moment.
fn attributions<'a>(
    backend: &BackendFigures<'a>,
    moment: Moment,
) -> impl Iterator<Item = &'a Attribution> {
    backend.rows.attributions.iter().copied().filter(move |row| row.moment == moment)
}

/// Describes the chart; `None` without an attribution.
pub fn describe(trace_report: &TraceReport) -> Option<PageRetentionChart> {
    let rows = RetentionRows::of(trace_report)?;
    let (live_reach, free_space_reach) = rows.reaches();
    let by_live = rows.by_live();
    let first = attributions(rows.backends[0], rows.moment);
    let live_total_bytes = first.map(|row| row.live_bytes as f64).sum();
    let line = |site: &&str| {
        let (live_bytes, live_blocks) = rows.live(site);
        RetentionLine {
            site: (*site).to_owned(),
            live_bytes,
            live_blocks,
            rank_by_live: by_live.iter().position(|row| row.site == **site).map(|at| at + 1),
            free_space_bytes: rows
                .backends
                .iter()
                .map(|backend| rows.free_space(backend, site))
                .collect(),
        }
    };
    let column = |backend: &&BackendFigures| RetentionColumn {
        backend: backend.label.clone(),
        free_space_total_bytes: rows.total(backend),
    };
    Some(PageRetentionChart {
        caption: caption(trace_report, &rows, &by_live),
        live_reach,
        free_space_reach,
        live_total_bytes,
        backends: rows.backends.iter().map(column).collect(),
        lines: rows.sites.iter().map(line).collect(),
    })
}

fn caption(trace_report: &TraceReport, rows: &RetentionRows, by_live: &[&Attribution]) -> Caption {
    let plotted = format!(
        "Which lines of `{}` prevent pages from being returned {}.  Left: live bytes, what a heap \
         profiler reports.  Right: free space on the pages in use by these blocks, by allocator.",
        trace_report.trace.name,
        rows.when()
    );
    let plotted = match rows.left_out.as_slice() {
        [] => plotted,
        names => format!("{plotted}  Not shown: {}.", some(names)),
    };
    let opening = "The free space of each 4 KiB page is charged in equal shares to the live blocks \
                   on it, and summed by the line that allocated them.";
    let title = verdict_of_change(trace_report, rows).unwrap_or_else(|| verdict(rows, by_live));
    let caption = Caption::new(title, plotted, &[opening]);
    let caption = match checks(rows, "the first line") {
        Some(sentence) => caption.with_reading(sentence),
        None => caption,
    };
    let is_end = rows.moment == Moment::End;
    let caption = match free_list_note(trace_report, rows.sites[0]).filter(|_| is_end) {
        Some(sentence) => caption.with_reading(sentence),
        None => caption,
    };
    caption.with_reading("×n: free bytes for each live byte.  #n: rank by live bytes.")
}

/// [`checks`] of a trace, as sentences that name the line; `None` where no such replay was made.
pub fn checked_by_replay(trace_report: &TraceReport) -> Option<String> {
    let rows = RetentionRows::of(trace_report)?;
    let check = checks(&rows, &short_line(rows.sites[0]))?.text;
    Some([Some(check), resident_note(&rows)].into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// By how much resident memory falls in the same replays, where that is clearly more or less than what pages
/// in use fall by.
fn resident_note(rows: &RetentionRows) -> Option<String> {
    let (mut more, mut less) = (Vec::new(), Vec::new());
    for backend in rows.choosable() {
        let Some((_, saved)) = check_of_first(rows, backend) else { continue };
        let replayed = backend.rows.what_if(rows.sites[0]).and_then(|row| row.resident_bytes());
        let Some([before, after]) = replayed else { continue };
        let fall = before - after;
        let least = RETURNABLE_LEAST_BYTES as f64;
        let text = if fall < least { "nothing".to_owned() } else { bytes(fall) };
        let entry = (fall, format!("{} {text}", backend.name()));
        if fall >= least && fall > FAR_OFF * saved {
            more.push(entry);
        } else if saved >= least && saved > FAR_OFF * fall {
            less.push(entry);
        }
    }
    let note = |falls: Vec<(f64, String)>, what: &str| {
        (!falls.is_empty())
            .then(|| format!("Resident memory falls by {what}: {}.", all_or_ends(falls, "; ")))
    };
    let notes = [
        note(more, "more, since free pages beside these blocks are returned, too"),
        note(less, "less, since the allocator retains these pages"),
    ];
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    (!notes.is_empty()).then(|| notes.join(" "))
}

/// The first line at the end; `None` for a chart of another moment.
pub fn first_line(trace_report: &TraceReport) -> Option<String> {
    let rows = RetentionRows::of(trace_report)?;
    (rows.moment == Moment::End).then(|| rows.sites[0].to_owned())
}

/// What a replay with the first line's survivors allocated last saved, beside what was charged to
/// the line. `line` is its name in the sentence.
fn checks(rows: &RetentionRows, line: &str) -> Option<ReadingSentence> {
    if rows.moment != Moment::End {
        return None;
    }
    let checks: Vec<(f64, String)> = rows
        .choosable()
        .into_iter()
        .filter_map(|backend| {
            let (predicted, saved) = check_of_first(rows, backend)?;
            let (far, text) = checked(predicted, saved);
            Some((far, format!("{} {text}", backend.name())))
        })
        .collect();
    if checks.is_empty() {
        return None;
    }
    let many = checks.len();
    let checks = all_or_ends(checks, "; ");
    let checks = if checks.contains(" … ") {
        format!("of {many} allocators the best and the worst predicted: {checks}")
    } else {
        checks
    };
    Some(ReadingSentence {
        text: format!(
            "Checked by a replay in which {line}'s survivors are allocated last; pages in use fall by: \
             {checks}."
        ),
        shorter: Some(format!(
            "Checked by a replay with {line}'s survivors allocated last; saved: {checks}."
        )),
    })
}

/// The check by replay of the first line at the end: what was predicted and what it saved, in bytes.
fn check_of_first(rows: &RetentionRows, backend: &BackendFigures) -> Option<(f64, f64)> {
    if rows.moment != Moment::End {
        return None;
    }
    let row = backend.rows.what_if(rows.sites[0])?;
    let saved = row.pages_in_use_before_bytes as f64 - row.pages_in_use_after_bytes as f64;
    Some((row.predicted_bytes as f64, saved))
}

/// What a change saved beside what was predicted, in bytes, as text; and how far apart the two are. The
/// factor is named where the prediction is far off.
fn checked(predicted: f64, saved: f64) -> (f64, String) {
    const PAGE: f64 = 4096.0;
    let charged = bytes(predicted);
    let far = (predicted.max(PAGE) / saved.max(PAGE)).ln().abs();
    let text = if saved.abs() < PAGE {
        format!("nothing (charged {charged})")
    } else if saved > 0.0 && far > FAR_OFF.ln() {
        format!("{} (charged {charged}, ×{})", bytes(saved), times(predicted / saved))
    } else {
        format!("{} (charged {charged})", bytes(saved))
    };
    (far, text)
}

/// The backend that the program has today, or else the one on which the first line has the largest share
/// of the free space, and that share. A charge that the check by replay does not confirm to [`FAR_OFF`]
/// comes after all others.
fn clearest<'a>(rows: &RetentionRows<'a>) -> (&'a BackendFigures<'a>, f64) {
    let share = |backend: &BackendFigures<'a>| {
        let total = rows.total(backend);
        if total > 0.0 { rows.free_space(backend, rows.sites[0]) / total } else { 0.0 }
    };
    let is_confirmed = |backend: &BackendFigures| {
        let check = check_of_first(rows, backend);
        check.is_none_or(|(predicted, saved)| checked(predicted, saved).0 <= FAR_OFF.ln())
    };
    let order = |backend: &BackendFigures<'a>| (is_confirmed(backend), share(backend));
    let best = rows.choosable().into_iter().max_by(|a, b| {
        let (a, b) = (order(a), order(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    let own = rows.backends.iter().copied().find(|backend| Some(backend.spec) == rows.own);
    let best = own.or(best).unwrap_or(rows.backends[0]);
    (best, share(best))
}

/// The largest bar of the chart, where it is larger than `free_bytes` and another line's: a sentence, so
/// that a reader knows why the verdict names the smaller one.
fn larger_bar(rows: &RetentionRows, free_bytes: f64) -> Option<String> {
    let bars = rows.choosable().into_iter().flat_map(|backend| {
        let others = rows.sites[1..].iter();
        others.map(move |site| (backend.name(), *site, rows.free_space(backend, site)))
    });
    let (name, site, bytes_of_bar) = bars.max_by(|a, b| a.2.total_cmp(&b.2))?;
    let line = line_name(site);
    (bytes_of_bar > free_bytes)
        .then(|| format!("  Under {name} {line} retains more: {}.", bytes(bytes_of_bar)))
}

/// The verdict where the line whose change returns most is another than the one that is charged most: that
/// line is the answer, and the bars of the other have to be explained. `None` where both are one.
fn verdict_of_change(trace_report: &TraceReport, rows: &RetentionRows) -> Option<String> {
    if rows.moment != Moment::End {
        return None;
    }
    let backend = trace_report.answered_backend()?;
    let changes = line_changes(trace_report, backend);
    let first = changes.first().filter(|change| change.line != rows.sites[0])?;
    let charged = rows.sites[0];
    let returned_bytes = replayed_bytes(backend, charged).map(|[before, after]| before - after);
    let returned = match returned_bytes {
        Some(fall) if fall <= 0.0 => "; allocated last, these return nothing".to_owned(),
        Some(fall) => format!("; allocated last, these return {}", bytes(fall)),
        None => String::new(),
    };
    // A line of a library may return more, and nobody can change it.
    let opening = match returned_bytes.is_some_and(|fall| fall > first.returned_bytes()) {
        true => "Of lines that can be changed, ",
        false => "Allocated last, ",
    };
    let line = line_name(charged);
    Some(format!(
        "{opening}the blocks of {} would return most {}: {} in {}.  More free space on pages in use \
         lies beside those of {line}: {}{returned}.",
        short_line(first.line),
        rows.when(),
        bytes(first.returned_bytes()),
        backend.name(),
        bytes(rows.free_space(backend, charged))
    ))
}

fn verdict(rows: &RetentionRows, by_live: &[&Attribution]) -> String {
    // Where today's allocator is known, the bars of others are no answer.
    let larger = match rows.own {
        Some(_) => None,
        None => larger_bar(rows, rows.free_space(clearest(rows).0, rows.sites[0])),
    };
    verdict_of_first(rows, by_live) + &larger.unwrap_or_default()
}

/// The verdict on the first line, by its share of the free space on pages in use.
fn verdict_of_first(rows: &RetentionRows, by_live: &[&Attribution]) -> String {
    let site = rows.sites[0];
    let (backend, share) = clearest(rows);
    let free = rows.free_space(backend, site);
    let live = rows.live(site).0;
    let name = short_line(site);
    if free <= 0.0 {
        return format!("No line retains any free space {}.", rows.when());
    }
    if share >= 0.2 && free < live {
        return format!(
            "{name} retains {} of the free space {} in {}: {}, less than the {} of its live objects.",
            percent(share),
            rows.when(),
            backend.name(),
            bytes(free),
            bytes(live)
        );
    }
    if share < 0.2 {
        return format!(
            "No line stands out {}: the first, {name}, retains {} of the free space in {}.",
            rows.when(),
            percent(share),
            backend.name()
        );
    }
    let opening = format!(
        "One line retains {} of free space on pages in use, with {} of objects, {}: {name} ({}).",
        bytes(free),
        bytes(live),
        rows.when(),
        backend.name()
    );
    let rank = by_live.iter().position(|row| row.site == site).filter(|rank| *rank > 0);
    let Some(rank) = rank else {
        return format!("{opening}  A heap profiler ranks it first, too.");
    };
    let first = by_live[0].site.as_str();
    let share = rows.free_space(backend, first) / rows.total(backend);
    let first = line_name(first);
    format!(
        "{opening}  A heap profiler ranks it {}; its number one, {first}, retains {} of the free \
         space.",
        ordinal(rank + 1),
        percent(share)
    )
}

/// A line as a sentence names it.
fn line_name(site: &str) -> String {
    if site.is_empty() { "what has no line".to_owned() } else { short_line(site) }
}

fn ordinal(number: usize) -> String {
    const ORDINALS: [&str; 9] =
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"];
    let ordinal = ORDINALS.get(number.wrapping_sub(1));
    ordinal.map_or(format!("number {number}"), |ordinal| (*ordinal).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_how_far_the_prediction_is_off() {
        let text = |predicted, saved| checked(predicted, saved).1.replace('\u{a0}', " ");
        assert_eq!(text(104_000.0, 100_000.0), "98 KiB (charged 102 KiB)");
        assert_eq!(text(200_000.0, 100_000.0), "98 KiB (charged 195 KiB, ×2.0)");
        assert_eq!(text(50_000.0, 100_000.0), "98 KiB (charged 49 KiB, ×0.50)");
        assert_eq!(text(1_000_000.0, 8192.0), "8.0 KiB (charged 977 KiB, ×120)");
        assert_eq!(text(1_000_000.0, 0.0), "nothing (charged 977 KiB)");
        assert_eq!((ordinal(4), ordinal(12)), ("fourth".into(), "number 12".into()));
    }
}
