//! Room `report`, chart: service times by size class, a panel an op.

use super::axis::{Panel, Scale};
use super::canvas::{Anchor, Canvas, Colour, Stroke, shorten, text_width};
use super::chart::{
    AXIS, Chart, EndLabel, GRID, HEADING, KEPT, LEFT, NOTE, Picture, RIGHT, SMALL, STRONG, TINY,
    WHITE, backend_stroke, end_labels, frame,
};
use super::figures::{Backend, Distribution, OPS, TraceReport};
use super::latency_percentiles::{emphasised, label_room};
use super::tail::by_class;
use super::words::{self, nanosecond_tick, nanoseconds};

/// Which sizes are slow?
pub const CHART: Chart = Chart {
    name: "latency-by-size",
    question: "Which sizes of blocks are slow?",
    reading: "Left to right the size class of the block, upwards the service time. The line is the slowest call in a hundred \
              of that size (in ten where most sizes have too few calls for that), the small triangles the slowest of all. A step is where an allocator changes its way: from pools to \
              the layer below, from bins to mapped memory. The grey bars at the foot tell how many calls there are.",
    draw,
};

/// One backend's classes of one op.
type Classes = Vec<(u64, Distribution)>;

/// The line: a percentile, and what its call is.
type Line = (f64, &'static str);

/// From the rarest to the commonest.
const LINES: [Line; 3] =
    [(0.99, "slowest call in a hundred"), (0.9, "slowest call in ten"), (0.5, "median call")];

/// The rarest that is a fact in most classes.
fn line(shown: &[Shown]) -> Line {
    let classes: Vec<&Distribution> = shown
        .iter()
        .flat_map(|s| s.lines.iter().flat_map(|(_, classes)| classes.iter().map(|c| &c.1)))
        .collect();
    let most = |line: &&Line| {
        let facts = classes.iter().filter(|times| times.fact(line.0).is_some()).count();
        facts * 5 >= classes.len() * 3
    };
    *LINES.iter().find(most).unwrap_or(&LINES[2])
}

/// What is shown of one op.
struct Shown<'a> {
    op: usize,
    lines: Vec<(&'a Backend<'a>, Classes)>,
}

fn shown<'a>(trace_report: &'a TraceReport) -> Vec<Shown<'a>> {
    let classes = |backend: &Backend, op: usize| {
        let of = |confirmed| {
            by_class(trace_report.run, &trace_report.trace.name, backend.name, OPS[op].1, confirmed)
        };
        let confirmed = of(true);
        if confirmed.is_empty() { of(false) } else { confirmed }
    };
    let of = |op: usize| {
        let all = trace_report.allocators().map(|backend| (backend, classes(backend, op)));
        let lines: Vec<(&Backend, Classes)> =
            all.filter(|(_, classes)| !classes.is_empty()).collect();
        (!lines.is_empty()).then_some(Shown { op, lines })
    };
    (0..OPS.len()).filter_map(of).collect()
}

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let shown = shown(trace_report);
    if shown.is_empty() {
        return None;
    }
    let mut canvas = Canvas::new();
    let line = line(&shown);
    let title = verdict(&shown, line);
    let hint = format!(
        "Line: the {} of that size; a class with too few calls for that ({}) has none.  Triangle: the slowest of all.  A \
         step is where an allocator changes its way, from pools to the layer below or to mapped memory.  Grey band: the clock \
         itself.",
        line.1,
        words::count((10.0 / (1.0 - line.0)).round() as u64)
    );
    let (top, bottom) = frame(&mut canvas, &title, &plotted(trace_report), &hint);
    let (first, labels) = (LEFT + 42.0, label_room(trace_report) - 40.0);
    let count = shown.len() as f64;
    let gap = 26.0;
    let width = ((RIGHT - first) - (gap + labels) * count + gap) / count;
    let up = vertical(trace_report, &shown);
    for (at, shown) in shown.iter().enumerate() {
        let left = first + (width + gap + labels) * at as f64;
        let sizes =
            || shown.lines.iter().flat_map(|(_, classes)| classes.iter().map(|class| class.0));
        let place = |class: u64| (class.max(1) as f64).log2();
        let (low, high) = (sizes().min().unwrap_or(16), sizes().max().unwrap_or(16));
        let panel = Panel {
            left,
            top: top + 50.0,
            right: left + width,
            bottom: bottom - 116.0,
            across: Scale::Linear { from: place(low) - 0.5, to: place(high) + 0.5 },
            up,
        };
        draw_panel(
            &mut canvas,
            trace_report,
            &panel,
            (shown, line),
            (at == 0).then_some(&nanosecond_tick as &dyn Fn(f64) -> String),
        );
        let classes: Vec<u64> =
            (4..64).map(|power| 1 << power).filter(|c| (low..=high).contains(c)).collect();
        bars(&mut canvas, &panel, shown, &classes);
    }
    let words = "x: size of the block, up to   y: service time of a call, clock pair included";
    canvas.text(RIGHT, bottom - 6.0, words, SMALL, Anchor::Right);
    Some(Picture { title, canvas })
}

fn vertical(trace_report: &TraceReport, shown: &[Shown]) -> Scale {
    let all = || shown.iter().flat_map(|s| s.lines.iter().flat_map(|(_, classes)| classes.iter()));
    let high = all().filter_map(|(_, times)| times.max()).fold(0.0, f64::max);
    let first = all().filter_map(|(_, times)| times.steps.first()).map(|step| step.0.max(1.0));
    let low = first.fold(trace_report.clock_step.unwrap_or(f64::INFINITY), f64::min).max(1.0);
    Scale::log(low / 1.5, high * 2.0)
}

fn draw_panel(
    canvas: &mut Canvas,
    trace_report: &TraceReport,
    panel: &Panel,
    (shown, line): (&Shown, Line),
    ticks_words: Option<&dyn Fn(f64) -> String>,
) {
    let room = label_room(trace_report) - 56.0;
    canvas.text(panel.left, panel.top - 18.0, OPS[shown.op].0, HEADING, Anchor::Left);
    let calls = shown
        .lines
        .iter()
        .map(|(_, classes)| {
            classes.iter().fold(0_u64, |sum, class| sum.saturating_add(class.1.calls))
        })
        .max();
    let count = format!("{} calls", words::count(calls.unwrap_or(0)));
    canvas.text(panel.right, panel.top - 18.0, &count, NOTE, Anchor::Right);
    if let Some(step) = trace_report.clock_step {
        let floor = trace_report.clock_pair.unwrap_or(step).max(step);
        canvas.rectangle(panel.left, panel.y(floor), panel.right, panel.bottom, GRID.pale(0.45));
    }
    let ticks = panel.up.ticks(12);
    panel.rows(canvas, &ticks, ticks_words);
    panel.axes(canvas);
    let loud = emphasised(trace_report);
    let mut order: Vec<&(&Backend, Classes)> = shown.lines.iter().rev().collect();
    order.sort_by_key(|(backend, _)| loud.contains(&backend.name));
    let mut labels = Vec::new();
    for (backend, classes) in order {
        let is_loud = loud.contains(&backend.name);
        let colour = if is_loud { backend.colour } else { AXIS };
        let x = |class: u64| panel.x((class.max(1) as f64).log2());
        if is_loud {
            for (class, times) in classes {
                let Some(max) = times.max() else { continue };
                let (x, y) = (x(*class), panel.y(max));
                let corners = [(x, y - 3.6), (x - 3.6, y + 2.8), (x + 3.6, y + 2.8)];
                canvas.polygon(&corners, colour.pale(0.4));
            }
        }
        let facts: Vec<(u64, f64)> = classes
            .iter()
            .filter_map(|(class, times)| Some((*class, times.fact(line.0)?)))
            .collect();
        let points: Vec<(f64, f64)> =
            facts.iter().map(|(class, ns)| (x(*class), panel.y(*ns))).collect();
        canvas.line(
            &points,
            backend_stroke(colour, backend.variant, if is_loud { 2.4 } else { 1.2 }),
        );
        for &(x, y) in &points {
            if is_loud {
                canvas.disc(x, y, 4.2, WHITE);
                canvas.disc(x, y, 3.2, colour);
            }
        }
        let end = points.last().copied().or_else(|| {
            let (class, times) = classes.last()?;
            Some((x(*class), panel.y(times.max()?)))
        });
        if let Some((_, y)) = end {
            let kind = if is_loud { STRONG.in_colour(colour) } else { SMALL.sized(13.0) };
            labels.push(EndLabel { y, text: shorten(backend.name, kind, room), kind });
        }
    }
    labels.reverse();
    end_labels(
        canvas,
        (panel.right + 2.0, panel.right + 14.0),
        (panel.top, panel.bottom),
        labels,
        room,
    );
}

/// How many calls each class has, below the panel, and the names of the classes.
fn bars(canvas: &mut Canvas, panel: &Panel, shown: &Shown, classes: &[u64]) {
    let calls = |class: u64| {
        let of = |lines: &(&Backend, Classes)| {
            lines.1.iter().find(|c| c.0 == class).map_or(0, |c| c.1.calls)
        };
        shown.lines.iter().map(of).max().unwrap_or(0)
    };
    let most = classes.iter().map(|class| calls(*class)).max().unwrap_or(0).max(1) as f64;
    let (foot, high) = (panel.bottom + 48.0, 36.0);
    let half = (panel.x(5.0) - panel.x(4.0)).abs() / 2.0 - 1.5;
    let mut free_from = f64::NEG_INFINITY;
    for &class in classes {
        let x = panel.x((class as f64).log2());
        let count = calls(class);
        if count > 0 {
            let share = ((count as f64).ln_1p() / most.ln_1p()).max(0.04);
            canvas.rectangle(x - half, foot - high * share, x + half, foot, KEPT);
        }
        let name = class_words(class);
        let kind = TINY.in_colour(Colour(0x5F, 0x63, 0x68));
        let width = text_width(&name, kind);
        if x - width / 2.0 > free_from {
            canvas.text(x, foot + 16.0, &name, kind, Anchor::Middle);
            free_from = x + width / 2.0 + 5.0;
        }
    }
    canvas.line(&[(panel.left, foot), (panel.right, foot)], Stroke::solid(1.0, AXIS));
}

/// `16`, `4K`, `1M`: short enough for an axis.
fn class_words(class: u64) -> String {
    match class {
        0..1024 => class.to_string(),
        1024..1_048_576 => format!("{}K", class >> 10),
        1_048_576..1_073_741_824 => format!("{}M", class >> 20),
        _ => format!("{}G", class >> 30),
    }
}

fn plotted(trace_report: &TraceReport) -> String {
    let repetitions = trace_report.run.manifest.repetitions;
    let how = if trace_report.run.service_times.iter().any(|row| row.repetition.is_none()) {
        format!("Each call by its median over {repetitions} replays.")
    } else {
        "One raw replay: what is slow here may be the machine and not the allocator.".to_owned()
    };
    format!(
        "Service time by size of the block, calls of `{}`; for realloc the new size.  {how}  Bars: calls of the class, \
         log scale.",
        trace_report.trace.name
    )
}

/// Where one size is much slower than the next smaller one.
fn verdict(shown: &[Shown], line: Line) -> String {
    let mut best: Option<(f64, String)> = None;
    for shown in shown {
        for (backend, classes) in &shown.lines {
            let facts: Vec<(u64, f64)> = classes
                .iter()
                .filter_map(|(class, times)| Some((*class, times.fact(line.0)?)))
                .collect();
            for pair in facts.windows(2) {
                let ratio = pair[1].1 / pair[0].1.max(1.0);
                if ratio.is_finite() && best.as_ref().is_none_or(|(most, _)| ratio > *most) {
                    let text = format!(
                        "{}'s {} changes above {}: the {} goes from {} to {}.",
                        backend.name,
                        OPS[shown.op].0,
                        words::bytes(pair[0].0 as f64),
                        line.1,
                        nanoseconds(pair[0].1),
                        nanoseconds(pair[1].1)
                    );
                    best = Some((ratio, text));
                }
            }
        }
    }
    match best {
        Some((ratio, text)) if ratio >= 2.0 => text,
        Some(_) => {
            format!(
                "No size is much slower than the next smaller one: within a factor of 2, by the {}.",
                line.1
            )
        }
        None => "Service times by size of the block".to_owned(),
    }
}
