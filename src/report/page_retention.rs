//! Room `report`, chart: which lines of the program pin pages: what they hold, and the free space
//! that they keep from being given back.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Stroke, Type, fitted, shorten, text_width};
use super::chart::{
    Chart, EXTERNAL_FRAGMENTATION, GRID, HEADING, INK, LEFT, LIVE, Picture, RIGHT, SMALL, STRONG,
    TINY, frame, hint_of,
};
use super::figures::{Backend, TraceReport};
use super::series::shown_peak;
use super::words::{self, ByteUnit, byte_unit, figure};
use crate::results::{Attribution, Moment};

/// Which line of my code do I change?
pub const CHART: Chart = Chart {
    name: "page-retention",
    question: "Which line of the program keeps memory from being given back?",
    reading: "Each row is a line of the program. Blue is what its blocks hold, which is what a heap profiler shows; orange \
              is the free space on the pages that they attribution, under each allocator. A line with little blue and much orange is \
              worth changing: copy what it keeps once the burst is over, or keep it elsewhere.",
    draw,
};

/// Lines shown.
const ROWS: usize = 10;
/// Orange dark enough for small letters.
const BURNT: super::canvas::Colour = super::canvas::Colour(0xA8, 0x62, 0x00);

/// The rows of one moment.
struct PageRetentionLayout<'a> {
    moment: Moment,
    lines: Vec<&'a str>,
    backends: Vec<&'a Backend<'a>>,
    attributions: Vec<&'a Attribution>,
    /// Of the column of live bytes.
    live_scale: Reach,
    /// Of all the columns of stranded bytes: the same, unless one would make the bars of the other
    /// invisible.
    external_fragmentation_scale: Reach,
}

/// How far a scale reaches, in bytes, and the unit that it is told in.
#[derive(Clone, Copy, PartialEq)]
struct Reach {
    most: f64,
    unit: ByteUnit,
}

impl Reach {
    fn to(most: f64) -> Reach {
        Reach { most: most.max(1.0), unit: byte_unit(most.max(1.0)) }
    }
}

/// Beyond this ratio of live to stranded bytes, or of these to those, each has a scale of its own.
const APART: f64 = 5.0;

impl<'a> PageRetentionLayout<'a> {
    fn of(trace_report: &'a TraceReport) -> Option<PageRetentionLayout<'a>> {
        // A program that frees everything has nothing at the end worth a picture: then its peak is
        // told.
        let late = trace_report.live_end * 20.0 >= trace_report.live_peak;
        let moments = if late { [Moment::End, Moment::Peak] } else { [Moment::Peak, Moment::End] };
        moments.into_iter().find_map(|moment| PageRetentionLayout::at(trace_report, moment))
    }

    fn at(trace_report: &'a TraceReport, moment: Moment) -> Option<PageRetentionLayout<'a>> {
        let trace = trace_report.trace.name.as_str();
        let attributions: Vec<&Attribution> = trace_report
            .run
            .attributions
            .iter()
            .filter(|attribution| attribution.trace == trace && attribution.moment == moment)
            .collect();
        let backends: Vec<&Backend> = trace_report
            .allocators()
            .filter(|backend| {
                attributions.iter().any(|attribution| attribution.backend == backend.name)
            })
            .collect();
        let mut lines: Vec<&str> =
            trace_report.run.retaining_lines(trace, moment).iter().map(|line| line.0).collect();
        lines.truncate(ROWS);
        if lines.is_empty() || backends.is_empty() {
            return None;
        }
        let none = Reach::to(0.0);
        let mut layout = PageRetentionLayout {
            moment,
            lines,
            backends,
            attributions,
            live_scale: none,
            external_fragmentation_scale: none,
        };
        let peaks: Vec<f64> = layout
            .backends
            .iter()
            .map(|backend| {
                layout
                    .lines
                    .iter()
                    .map(|line| layout.stranded(backend.name, line))
                    .fold(0.0, f64::max)
            })
            .collect();
        let live = layout.lines.iter().map(|line| layout.live(line).0).fold(0.0, f64::max);
        let stranded = shown_peak(&peaks);
        let reaches = if live > stranded * APART || stranded > live * APART {
            (live, stranded)
        } else {
            (live.max(stranded), live.max(stranded))
        };
        (layout.live_scale, layout.external_fragmentation_scale) =
            (Reach::to(reaches.0), Reach::to(reaches.1));
        Some(layout)
    }

    fn attribution(&self, backend: &str, line: &str) -> Option<&'a Attribution> {
        self.attributions
            .iter()
            .copied()
            .find(|attribution| attribution.backend == backend && attribution.site == line)
    }

    fn stranded(&self, backend: &str, line: &str) -> f64 {
        self.attribution(backend, line)
            .map_or(0.0, |attribution| attribution.external_fragmentation_bytes as f64)
    }

    fn total(&self, backend: &str) -> f64 {
        self.attributions
            .iter()
            .filter(|attribution| attribution.backend == backend)
            .map(|attribution| attribution.external_fragmentation_bytes as f64)
            .sum()
    }

    /// Live bytes and blocks of a line: the same for every backend.
    fn live(&self, line: &str) -> (f64, u64) {
        let found = self.backends.iter().find_map(|backend| self.attribution(backend.name, line));
        found.map_or((0.0, 0), |attribution| {
            (attribution.live_bytes as f64, attribution.live_blocks)
        })
    }

    /// All lines of the first backend by live bytes, the largest first.
    fn by_live(&self) -> Vec<&'a Attribution> {
        let first = self.backends[0].name;
        let mut attributions: Vec<&Attribution> = self
            .attributions
            .iter()
            .copied()
            .filter(|attribution| {
                attribution.backend == first && attribution.site != crate::results::OTHER_SITES
            })
            .collect();
        attributions
            .sort_by(|a, b| b.live_bytes.cmp(&a.live_bytes).then_with(|| a.site.cmp(&b.site)));
        attributions
    }

    fn when(&self) -> &'static str {
        if self.moment == Moment::Peak { "at the live peak" } else { "at exit" }
    }
}

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let layout = PageRetentionLayout::of(trace_report)?;
    let mut canvas = Canvas::new();
    let title = verdict(&layout);
    let plotted = format!(
        "Which lines of `{}` keep memory from being given back {}.  Left: live bytes, what a heap profiler reports.  Right: \
         stranded bytes, free space on pages that these blocks hold, by allocator.",
        trace_report.trace.name,
        layout.when()
    );
    let (top, bottom) = frame(&mut canvas, &title, &plotted, &hint(trace_report, &layout));
    let columns = layout.backends.len() + 1;
    let names = 300.0;
    let gap = if columns > 6 { 18.0 } else { 30.0 };
    let first = LEFT + names;
    let width = (RIGHT - 16.0 - first - gap * (columns as f64 - 1.0)) / columns as f64;
    let width = width.min(300.0);
    let (plot_top, plot_bottom) = (top + 76.0, bottom - 40.0);
    let step = (plot_bottom - plot_top) / ROWS as f64;
    let middle = |row: usize| plot_top + step * (row as f64 + 0.5);
    for (row, line) in layout.lines.iter().enumerate() {
        name_line(&mut canvas, &layout, line, (first - 14.0, middle(row), names - 24.0));
    }
    // Beside a bar there must be room for its number.
    let room = if columns > 6 { 44.0 } else { 96.0 };
    for column in 0..columns {
        let reach =
            if column == 0 { layout.live_scale } else { layout.external_fragmentation_scale };
        let left = first + (width + gap) * column as f64;
        let panel = Panel {
            left,
            top: plot_top,
            right: left + width,
            bottom: plot_bottom,
            across: Scale::Linear {
                from: 0.0,
                to: reach.most / reach.unit.bytes * width / (width - room).max(20.0),
            },
            up: Scale::Linear { from: 0.0, to: 1.0 },
        };
        grid(&mut canvas, &panel);
        match column.checked_sub(1).map(|at| layout.backends[at]) {
            None => live_column(&mut canvas, &layout, &panel, &middle),
            Some(backend) => {
                external_fragmentation_column(&mut canvas, &layout, &panel, backend, &middle)
            }
        }
    }
    let (live, stranded) = (layout.live_scale, layout.external_fragmentation_scale);
    let words = if live == stranded {
        format!("x: {}, the same scale in every column", live.unit.name)
    } else {
        format!(
            "x: live in {}; stranded in {}, the same scale for every allocator",
            live.unit.name, stranded.unit.name
        )
    };
    let right = first + (width + gap) * (columns as f64 - 1.0) + width;
    canvas.text(right, plot_bottom + 42.0, &words, SMALL, Anchor::Right);
    Some(Picture { title, canvas })
}

fn grid(canvas: &mut Canvas, panel: &Panel) {
    let ticks = panel.across.ticks(if panel.right - panel.left > 150.0 { 4 } else { 2 });
    for &tick in &ticks {
        let x = panel.x(tick);
        canvas.line(&[(x, panel.top), (x, panel.bottom)], Stroke::solid(1.0, GRID));
    }
    panel.axes(canvas);
    panel.numbers(canvas, &ticks, &|tick| tick_words(tick, &ticks));
}

/// A line's name as a person knows it: the file, without its folders, and the number.
pub(super) fn short(line: &str) -> String {
    if line.is_empty() {
        return "(no line)".to_owned();
    }
    if let Some(frozen) = line.strip_prefix("<frozen ") {
        return frozen.replacen('>', "", 1);
    }
    line.rsplit('/').next().unwrap_or(line).to_owned()
}

/// The folder that tells files of the same name apart.
fn folder(line: &str) -> &str {
    let path = line.rsplit_once('/').map_or("", |(path, _)| path);
    path.rsplit('/').next().unwrap_or_default()
}

fn name_line(
    canvas: &mut Canvas,
    layout: &PageRetentionLayout,
    line: &str,
    (right, middle, room): (f64, f64, f64),
) {
    let kind = Type { size: 15.5, bold: true, colour: INK };
    canvas.text(right, middle - 3.0, &shorten(&short(line), kind, room), kind, Anchor::Right);
    let blocks = layout.live(line).1;
    let place = folder(line);
    let place = if place.is_empty() { String::new() } else { format!("{place}   ") };
    let text =
        format!("{place}{} block{}", words::count(blocks), if blocks == 1 { "" } else { "s" });
    canvas.text(right, middle + 15.0, &shorten(&text, TINY, room), TINY, Anchor::Right);
}

fn live_column(
    canvas: &mut Canvas,
    layout: &PageRetentionLayout,
    panel: &Panel,
    middle: &dyn Fn(usize) -> f64,
) {
    let (head, kind) =
        fitted("live bytes", HEADING.in_colour(LIVE), 11.0, panel.right - panel.left + 8.0);
    canvas.text(panel.left, panel.top - 42.0, &head, kind, Anchor::Left);
    let by_live = layout.by_live();
    let total: u64 = layout
        .attributions
        .iter()
        .filter(|p| p.backend == layout.backends[0].name)
        .map(|p| p.live_bytes)
        .sum();
    let wide = panel.right - panel.left > 150.0;
    let words = format!("{}{}", words::bytes(total as f64), if wide { " in total" } else { "" });
    canvas.text(
        panel.left,
        panel.top - 18.0,
        &shorten(&words, SMALL, panel.right - panel.left),
        SMALL,
        Anchor::Left,
    );
    for (row, line) in layout.lines.iter().enumerate() {
        let live = layout.live(line).0;
        let y = middle(row);
        let end = bar(canvas, panel, live / layout.live_scale.unit.bytes, y, LIVE);
        let kind = if live * 10.0 > total as f64 { STRONG } else { SMALL };
        let used = canvas.text(
            end + 5.0,
            y + 5.0,
            &figure(live / layout.live_scale.unit.bytes),
            kind,
            Anchor::Left,
        );
        let rank = by_live.iter().position(|attribution| attribution.site == **line);
        let text = rank.map_or(String::new(), |rank| format!("#{}", rank + 1));
        if end + 5.0 + used + 8.0 + text_width(&text, SMALL) < panel.right {
            canvas.text(panel.right, y + 5.0, &text, SMALL, Anchor::Right);
        }
    }
}

fn external_fragmentation_column(
    canvas: &mut Canvas,
    layout: &PageRetentionLayout,
    panel: &Panel,
    backend: &Backend,
    middle: &dyn Fn(usize) -> f64,
) {
    let room = panel.right - panel.left;
    let total = layout.total(backend.name);
    let words = if room > 150.0 {
        canvas.text(
            panel.left,
            panel.top - 42.0,
            &shorten(backend.name, HEADING, room),
            HEADING,
            Anchor::Left,
        );
        format!("{} stranded", words::bytes(total))
    } else {
        // In a narrow column the settings stand below the name, so that two of a family can be told
        // apart.
        let at = backend.name.find([':', '@', '+']).unwrap_or(backend.name.len());
        let (name, settings) = backend.name.split_at(at);
        let kind = HEADING.sized(15.5);
        let (name, kind) = fitted(name, kind, 11.0, room + 8.0);
        canvas.text(panel.left, panel.top - 52.0, &name, kind, Anchor::Left);
        // Of a shared library the name is what tells it from others.
        let settings = settings.strip_prefix(":lib").unwrap_or(settings);
        let (settings, kind) = fitted(settings, TINY, 10.0, room + 8.0);
        canvas.text(panel.left, panel.top - 35.0, &settings, kind, Anchor::Left);
        words::bytes(total)
    };
    canvas.text(panel.left, panel.top - 18.0, &shorten(&words, SMALL, room), SMALL, Anchor::Left);
    for (row, line) in layout.lines.iter().enumerate() {
        let stranded = layout.stranded(backend.name, line);
        let y = middle(row);
        let end = bar(
            canvas,
            panel,
            stranded / layout.external_fragmentation_scale.unit.bytes,
            y,
            EXTERNAL_FRAGMENTATION,
        );
        let large = stranded * 10.0 > total;
        let number = if stranded > layout.external_fragmentation_scale.most * 1.001 {
            words::bytes(stranded)
        } else {
            figure(stranded / layout.external_fragmentation_scale.unit.bytes)
        };
        let kind = if large { STRONG } else { SMALL };
        let number = shorten(&number, kind, (panel.right - end - 4.0).max(36.0));
        let used = canvas.text(end + 5.0, y + 5.0, &number, kind, Anchor::Left);
        let live = layout.live(line).0;
        if large && live > 0.0 && stranded >= 2.0 * live {
            let text = format!("×{}", words::times(stranded / live));
            let at = end + 5.0 + used + 4.0;
            if at + text_width(&text, SMALL) < panel.right + 12.0 {
                canvas.text(at, y + 5.0, &text, SMALL.in_colour(BURNT), Anchor::Left);
            }
        }
    }
}

/// Draws a bar from the axis; gives its end. One that is too long ends in two slanted gaps.
fn bar(
    canvas: &mut Canvas,
    panel: &Panel,
    value: f64,
    middle: f64,
    colour: super::canvas::Colour,
) -> f64 {
    let room = panel.right - panel.left;
    let most = panel.left + (room - if room < 150.0 { 44.0 } else { 96.0 }).max(20.0);
    let end = panel.x(value).min(most);
    let half = 17.0;
    canvas.rectangle(panel.left, middle - half, end.max(panel.left + 1.0), middle + half, colour);
    if panel.x(value) > most + 1.0 {
        for k in [0.0, 8.0] {
            let at = end - 16.0 + k;
            let stroke = Stroke::solid(3.0, super::chart::WHITE);
            canvas
                .line(&[(at - 4.0, middle + half + 2.0), (at + 4.0, middle - half - 2.0)], stroke);
        }
    }
    end
}

/// The backend on which the first line strands the largest share.
fn clearest<'a>(layout: &PageRetentionLayout<'a>) -> (&'a Backend<'a>, f64) {
    let share = |backend: &Backend| {
        let total = layout.total(backend.name);
        if total > 0.0 { layout.stranded(backend.name, layout.lines[0]) / total } else { 0.0 }
    };
    let best = layout.backends.iter().copied().max_by(|a, b| share(a).total_cmp(&share(b)));
    let best = best.unwrap_or(layout.backends[0]);
    (best, share(best))
}

fn verdict(layout: &PageRetentionLayout) -> String {
    let line = layout.lines[0];
    let (backend, share) = clearest(layout);
    let stranded = layout.stranded(backend.name, line);
    let live = layout.live(line).0;
    let name = short(line);
    if stranded <= 0.0 {
        return format!("No line strands any memory {}", layout.when());
    }
    if share < 0.2 || stranded < live {
        return format!(
            "No line stands out {}: the first, {name}, has {} of what is stranded in {}.",
            layout.when(),
            words::percent(share),
            backend.name
        );
    }
    let opening = format!(
        "One line keeps {} of free space pinned with {} of objects {}: {name} ({}).",
        words::bytes(stranded),
        words::bytes(live),
        layout.when(),
        backend.name
    );
    let by_live = layout.by_live();
    let Some(rank) =
        by_live.iter().position(|attribution| attribution.site == line).filter(|rank| *rank > 0)
    else {
        return format!("{opening}  A heap profiler ranks it first, too.");
    };
    let first = by_live[0].site.as_str();
    let shares = layout.stranded(backend.name, first) / layout.total(backend.name);
    let first = if first.is_empty() { "what has no line".to_owned() } else { short(first) };
    format!(
        "{opening}  A heap profiler ranks it {}; its number one, {first}, pins {} of what is stranded.",
        ordinal(rank + 1),
        words::percent(shares)
    )
}

fn ordinal(number: usize) -> String {
    const WORDS: [&str; 9] =
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"];
    WORDS.get(number.wrapping_sub(1)).map_or(format!("number {number}"), |word| (*word).to_owned())
}

fn hint(trace_report: &TraceReport, layout: &PageRetentionLayout) -> String {
    let opening = "The free space of each 4 KiB page is charged in equal shares to the live blocks on it, and summed by the line \
                   that allocated them.";
    let checks: Vec<(f64, String)> = layout
        .backends
        .iter()
        .filter_map(|backend| {
            let row = trace_report.run.what_ifs.iter().find(|row| {
                row.trace == trace_report.trace.name
                    && row.backend == backend.name
                    && row.site == layout.lines[0]
            })?;
            let saved = row.pages_in_use_before_bytes as f64 - row.pages_in_use_after_bytes as f64;
            let (far, text) = checked(row.predicted_bytes as f64, saved);
            Some((far, format!("{} {text}", backend.name)))
        })
        .collect();
    let marks = "×n: stranded bytes for each live byte.  #n: rank by live bytes.".to_owned();
    if layout.moment != Moment::End || checks.is_empty() {
        return hint_of(opening, &[marks]);
    }
    let many = checks.len();
    let checks = words::all_or_ends(checks, "; ");
    let checks = if checks.contains(" … ") {
        format!("of {many} allocators the best and the worst predicted: {checks}")
    } else {
        checks
    };
    // The check before all else; its long form where there is room.
    let long = format!(
        "Checked by a replay in which the first line's survivors are allocated last; pinned pages fall by: {checks}."
    );
    let short = format!(
        "Checked by a replay with the first line's survivors allocated last; saved: {checks}."
    );
    let text = hint_of(opening, std::slice::from_ref(&long));
    let text = if text.len() > opening.len() { text } else { hint_of(opening, &[short]) };
    hint_of(&text, &[marks])
}

/// What a change saved beside what was predicted, and how far apart the two are. A difference in
/// per cent of next to nothing says nothing: then it is how many times too much, or that nothing
/// was saved.
fn checked(predicted: f64, saved: f64) -> (f64, String) {
    const PAGE: f64 = 4096.0;
    let charged = words::bytes(predicted);
    let far = (predicted.max(PAGE) / saved.max(PAGE)).ln().abs();
    let text = if saved.abs() < PAGE {
        format!("nothing (charged {charged})")
    } else if saved < 0.0 {
        format!("{} (charged {charged})", words::bytes(saved))
    } else if predicted > 3.0 * saved {
        format!("{} (charged {charged}, ×{})", words::bytes(saved), words::times(predicted / saved))
    } else {
        let off = figure_signed((predicted - saved) / saved * 100.0);
        format!("{} (charged {charged}, {off}%)", words::bytes(saved))
    };
    (far, text)
}

/// `+4 ` or `−2 `: a difference in per cent.
fn figure_signed(value: f64) -> String {
    let text = if value.abs() < 0.5 {
        "±0".to_owned()
    } else {
        format!("{value:+.0}").replace('-', "−")
    };
    format!("{text}\u{a0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_short_names() {
        assert_eq!(short("/usr/lib/python3.11/json/decoder.py:353"), "decoder.py:353");
        assert_eq!(folder("/usr/lib/python3.11/json/decoder.py:353"), "json");
        assert_eq!(short("<frozen importlib._bootstrap>:241"), "importlib._bootstrap:241");
        assert_eq!((short(""), short("a.py:1")), ("(no line)".into(), "a.py:1".into()));
        assert_eq!(folder("a.py:1"), "");
        let words = |predicted, saved| checked(predicted, saved).1.replace('\u{a0}', " ");
        assert_eq!(words(104_000.0, 100_000.0), "98 KiB (charged 102 KiB, +4 %)");
        assert_eq!(words(1_000_000.0, 8192.0), "8.0 KiB (charged 977 KiB, ×120)");
        assert_eq!(words(1_000_000.0, 0.0), "nothing (charged 977 KiB)");
        assert_eq!((ordinal(4), ordinal(12)), ("fourth".into(), "number 12".into()));
    }
}
