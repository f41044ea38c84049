//! Room `report`, chart: which lines pin pages at each mark of the program, at the live peak and at
//! exit.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Colour, Stroke, Type, shorten, text_width};
use super::chart::{
    Chart, HEADING, INK, LEFT, Picture, RIGHT, SMALL, STRONG, TINY, fits, frame, legend,
};
use super::figures::{Backend, TraceReport};
use super::page_retention::short;
use super::series::shown_peak;
use super::words::{self, ByteUnit, byte_unit, figure};
use crate::results::{Attribution, Moment};

/// When do which lines keep memory?
pub const CHART: Chart = Chart {
    name: "page-retention-at-marks",
    question: "Which line keeps memory from being given back in which phase of the program?",
    reading: "Each bar is a moment: the marks that the program set, in their order, then its live peak and its exit. Its height \
              is the free space on pages that live blocks hold; its colours are the lines that allocated those blocks. A colour \
              that stays when its phase is over is a line to change.",
    draw,
};

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
/// Moments shown at most: the last ones.
const MOMENTS: usize = 14;
/// Panels shown at most: more would have bars of a pixel.
const PANELS: usize = 6;

/// A bar: its moment, and what stands below it.
struct Bar {
    moment: Moment,
    name: String,
}

/// What one backend's bar is made of: the coloured lines, then all others.
type Stack = [f64; COLOURS.len() + 1];

struct PageRetentionAtMarksLayout<'a> {
    bars: Vec<Bar>,
    lines: Vec<&'a str>,
    backends: Vec<(&'a Backend<'a>, Vec<Stack>)>,
}

fn layout<'a>(trace_report: &'a TraceReport) -> Option<PageRetentionAtMarksLayout<'a>> {
    let trace = trace_report.trace.name.as_str();
    let attributions: Vec<&Attribution> = trace_report
        .run
        .attributions
        .iter()
        .filter(|attribution| attribution.trace == trace)
        .collect();
    let names = super::phases::marks(trace_report.trace);
    let mut bars: Vec<Bar> = Vec::new();
    let mut moments: Vec<Moment> =
        attributions.iter().map(|attribution| attribution.moment).collect();
    moments.sort_unstable_by_key(|moment| match moment {
        Moment::Mark(number) => u32::from(*number),
        Moment::Peak => u32::MAX - 1,
        Moment::End | Moment::Whole => u32::MAX,
    });
    moments.dedup();
    for moment in moments {
        let name = match moment {
            Moment::Peak => "live peak".to_owned(),
            Moment::End | Moment::Whole => "exit".to_owned(),
            Moment::Mark(number) => (number as usize)
                .checked_sub(1)
                .and_then(|at| names.get(at))
                .map_or(format!("mark {number}"), |mark| mark.1.clone()),
        };
        bars.push(Bar { moment, name });
    }
    if !bars.iter().any(|bar| matches!(bar.moment, Moment::Mark(_))) {
        return None;
    }
    bars.drain(..bars.len().saturating_sub(MOMENTS));
    let lines = lines(trace_report, &bars);
    let mut backends: Vec<(&Backend, Vec<Stack>)> = Vec::new();
    for backend in trace_report.allocators().filter(|backend| {
        attributions.iter().any(|attribution| attribution.backend == backend.name)
    }) {
        let stack = |bar: &Bar| {
            let mut stack = Stack::default();
            for attribution in attributions.iter().filter(|attribution| {
                attribution.backend == backend.name && attribution.moment == bar.moment
            }) {
                let place = lines
                    .iter()
                    .position(|line| *line == attribution.site)
                    .unwrap_or(COLOURS.len());
                stack[place] += attribution.external_fragmentation_bytes as f64;
            }
            stack
        };
        backends.push((backend, bars.iter().map(stack).collect()));
    }
    (!backends.is_empty()).then_some(PageRetentionAtMarksLayout { bars, lines, backends })
}

/// The lines that pin most, by their best place over the moments: one that matters in a single
/// phase is not averaged away.
fn lines<'a>(trace_report: &'a TraceReport, bars: &[Bar]) -> Vec<&'a str> {
    let mut best: Vec<(&str, f64)> = Vec::new();
    for bar in bars {
        for (line, share) in trace_report.run.retaining_lines(&trace_report.trace.name, bar.moment)
        {
            match best.iter_mut().find(|known| known.0 == line) {
                Some(known) => known.1 = known.1.max(share),
                None => best.push((line, share)),
            }
        }
    }
    best.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    best.into_iter().take(COLOURS.len()).map(|line| line.0).collect()
}

fn height(stack: &Stack) -> f64 {
    stack.iter().sum()
}

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let layout = layout(trace_report)?;
    let mut canvas = Canvas::new();
    let title = verdict(&layout);
    let mut plotted = format!(
        "`{}`: free space on 4 KiB pages that live blocks hold, at each mark of the program, by the line that allocated the \
         blocks.",
        trace_report.trace.name
    );
    if layout.backends.len() > PANELS {
        let rest: Vec<String> =
            layout.backends[PANELS..].iter().map(|b| b.0.name.to_owned()).collect();
        plotted += &format!("  Not shown: {}.", words::some(&rest));
    }
    let hint = "A mark is where the program said that a phase begins: the bar is what stood before it.  Stranded space is what no \
                trim can return while those blocks live.  The figures of every line are in attribution.csv.";
    let (top, bottom) = frame(&mut canvas, &title, &plotted, hint);
    let mut entries: Vec<(Colour, String)> =
        COLOURS.iter().zip(&layout.lines).map(|(colour, line)| (*colour, short(line))).collect();
    entries.push((OTHERS, "all other lines".to_owned()));
    // Names keep their whole length as long as all have room.
    let kind = SMALL.sized(14.5);
    let whole: f64 = entries.iter().map(|entry| text_width(&entry.1, kind) + 66.0).sum();
    let room =
        if whole < RIGHT - LEFT { f64::MAX } else { (RIGHT - LEFT) / entries.len() as f64 - 70.0 };
    let entries: Vec<(Colour, String)> =
        entries.into_iter().map(|(colour, text)| (colour, shorten(&text, kind, room))).collect();
    let entries: Vec<(Colour, &str)> =
        entries.iter().map(|entry| (entry.0, entry.1.as_str())).collect();
    let below = legend(&mut canvas, LEFT, top + 14.0, &entries);
    let shown = &layout.backends[..layout.backends.len().min(PANELS)];
    let tallest: Vec<f64> =
        shown.iter().map(|(_, stacks)| stacks.iter().map(height).fold(0.0, f64::max)).collect();
    let most = shown_peak(&tallest).max(1.0) * 1.1;
    let unit = byte_unit(most);
    let (gap, first) = (26.0, LEFT + 50.0);
    let width = (RIGHT - first - gap * (shown.len() as f64 - 1.0)) / shown.len() as f64;
    for (at, (backend, stacks)) in shown.iter().enumerate() {
        let left = first + (width + gap) * at as f64;
        let panel = Panel {
            left,
            top: below + 40.0,
            right: left + width,
            bottom: bottom - 96.0,
            across: Scale::Linear { from: 0.0, to: layout.bars.len() as f64 },
            up: Scale::Linear { from: 0.0, to: most / unit.bytes },
        };
        let name = shorten(backend.name, HEADING, width);
        canvas.text(left, panel.top - 14.0, &name, HEADING, Anchor::Left);
        bars(&mut canvas, &panel, &layout.bars, stacks, unit, at == 0);
    }
    let middle = (below + 40.0 + bottom - 96.0) / 2.0;
    canvas.text_upwards(LEFT - 12.0, middle, &format!("{} stranded", unit.name), SMALL.sized(15.0));
    Some(Picture { title, canvas })
}

fn bars(
    canvas: &mut Canvas,
    panel: &Panel,
    bars: &[Bar],
    stacks: &[Stack],
    unit: ByteUnit,
    numbered: bool,
) {
    let ticks = panel.up.ticks(6);
    let words = |tick: f64| tick_words(tick, &ticks);
    panel.rows(canvas, &ticks, if numbered { Some(&words) } else { None });
    let step = panel.x(1.0) - panel.x(0.0);
    for (at, stack) in stacks.iter().enumerate() {
        let (from, to) = (panel.x(at as f64) + step * 0.14, panel.x(at as f64 + 1.0) - step * 0.14);
        let mut below = 0.0;
        for (part, bytes) in stack.iter().enumerate() {
            let colour = COLOURS.get(part).copied().unwrap_or(OTHERS);
            let (low, high) = (panel.y(below / unit.bytes), panel.y((below + bytes) / unit.bytes));
            canvas.rectangle(from, high, to, low, colour);
            below += bytes;
        }
        let off = below / unit.bytes > panel.up.end();
        let text =
            if off { format!("▲ {}", words::bytes(below)) } else { figure(below / unit.bytes) };
        let kind = if step > 60.0 { STRONG } else { TINY.in_colour(INK) };
        if fits(&text, kind, step) {
            let y = if off { panel.top + 14.0 } else { panel.y(below / unit.bytes) - 5.0 };
            canvas.text((from + to) / 2.0, y, &text, kind, Anchor::Middle);
        }
    }
    // From the last on, so that a line to a lower row never crosses a name that is drawn already.
    for (at, bar) in bars.iter().enumerate().rev() {
        name_bar(canvas, panel, bar, panel.x(at as f64 + 0.5), step, at);
    }
    panel.axes(canvas);
}

/// A bar's name; where bars are narrow, neighbours stand one below the other, each with a line to
/// its bar.
fn name_bar(canvas: &mut Canvas, panel: &Panel, bar: &Bar, x: f64, step: f64, at: usize) {
    const ROWS: usize = 4;
    let kind = Type { bold: !matches!(bar.moment, Moment::Mark(_)), ..TINY.in_colour(INK) };
    let staggered = step < 84.0;
    let row = if staggered { at % ROWS } else { 0 };
    let room = if staggered { step * ROWS as f64 - 8.0 } else { step - 6.0 };
    let text = shorten(&bar.name, kind, room.max(10.0));
    let width = text_width(&text, kind);
    let y = panel.bottom + 19.0 + 17.0 * row as f64;
    let left = (x - width / 2.0).min(panel.right - width).max(panel.left - 4.0);
    canvas.line(&[(x, panel.bottom), (x, y - 11.0)], Stroke::solid(1.0, super::chart::AXIS));
    // The lines to the names further down end behind this one.
    canvas.rectangle(left - 2.0, y - 11.0, left + width + 2.0, y + 3.0, super::chart::WHITE);
    canvas.text(left, y, &text, kind, Anchor::Left);
}

/// The line and the moment at which it strands most, and what is left of that at exit.
fn verdict(layout: &PageRetentionAtMarksLayout) -> String {
    let mut worst: Option<(f64, usize, usize, &str, f64)> = None;
    for (backend, stacks) in &layout.backends {
        for (at, stack) in stacks.iter().enumerate() {
            for (line, bytes) in stack[..layout.lines.len()].iter().enumerate() {
                let marked = matches!(layout.bars[at].moment, Moment::Mark(_));
                if marked && worst.is_none_or(|worst| *bytes > worst.0) {
                    let last = stacks.last().map_or(0.0, |last| last[line]);
                    worst = Some((*bytes, line, at, backend.name, last));
                }
            }
        }
    }
    match worst {
        Some((bytes, line, at, backend, last)) if bytes > 0.0 => {
            let exit = if layout.bars.last().is_some_and(|bar| bar.moment == Moment::End) {
                format!(
                    ", and {} at exit",
                    if last > 0.0 { words::bytes(last) } else { "none".to_owned() }
                )
            } else {
                String::new()
            };
            format!(
                "{} strands most: {} at the mark `{}`{exit} ({backend}).",
                short(layout.lines[line]),
                words::bytes(bytes),
                layout.bars[at].name
            )
        }
        _ => "No line strands any memory at a mark of the program".to_owned(),
    }
}

/// The first lines at each moment, for the page: moment, line, live bytes, and the stranded bytes
/// of each backend.
pub fn rows(trace_report: &TraceReport) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    const LINES: usize = 3;
    let layout = layout(trace_report)?;
    let mut header = vec!["moment".to_owned(), "line".to_owned(), "live".to_owned()];
    header.extend(layout.backends.iter().map(|(backend, _)| backend.name.to_owned()));
    let mut rows = Vec::new();
    for bar in &layout.bars {
        for (line, _) in trace_report
            .run
            .retaining_lines(&trace_report.trace.name, bar.moment)
            .into_iter()
            .take(LINES)
        {
            let attribution = |backend: &str| {
                trace_report.run.attributions.iter().find(|attribution| {
                    attribution.trace == trace_report.trace.name
                        && attribution.backend == backend
                        && attribution.moment == bar.moment
                        && attribution.site == line
                })
            };
            let live = layout.backends.iter().find_map(|(backend, _)| attribution(backend.name));
            let mut row = vec![bar.name.clone(), short(line)];
            row.push(live.map_or("–".to_owned(), |attribution| {
                words::bytes(attribution.live_bytes as f64)
            }));
            row.extend(layout.backends.iter().map(|(backend, _)| {
                attribution(backend.name).map_or("–".to_owned(), |attribution| {
                    words::bytes(attribution.external_fragmentation_bytes as f64)
                })
            }));
            rows.push(row);
        }
    }
    Some((header, rows))
}
