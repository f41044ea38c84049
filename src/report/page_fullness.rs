//! Room `report`, chart: how full the pinned pages are, and how much would stay pinned if memory
//! came in larger pieces.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Colour, Stroke, shorten, text_width};
use super::chart::{
    Chart, EndLabel, HEADING, INK, LEFT, LIVE, NOTE, Picture, RIGHT, SMALL, STRONG, TINY,
    backend_stroke, end_labels, frame,
};
use super::figures::{Backend, TraceReport};
use super::series::shown_peak;
use super::words::{self, ByteUnit, byte_unit, figure3};
use crate::results::{Metric, Moment, Scope};

/// Would smaller arenas, or huge pages, help?
pub const CHART: Chart = Chart {
    name: "page-fullness",
    question: "How full are the pages that are pinned, and would smaller arenas, or huge pages, change that?",
    reading: "Left: the pinned pages of each allocator at the live peak and at exit, from orange (hardly a byte of them is \
              live) to dark blue (full). Right: how much would be pinned if memory were given back in pieces of that size. \
              A curve that rises steeply says that huge pages cost memory here; one that is flat, that they are free.",
    draw,
};

/// Bytes of a piece and the metrics at the live peak and at the end.
const GRAINS: [(f64, Metric, Metric); 6] = [
    (4096.0, Metric::PagesInUseAtLivePeakBytes, Metric::PagesInUseEndBytes),
    (16384.0, Metric::PagesInUse16kAtLivePeakBytes, Metric::PagesInUse16kEndBytes),
    (65536.0, Metric::PagesInUse64kAtLivePeakBytes, Metric::PagesInUse64kEndBytes),
    (262_144.0, Metric::PagesInUse256kAtLivePeakBytes, Metric::PagesInUse256kEndBytes),
    (1_048_576.0, Metric::PagesInUse1mAtLivePeakBytes, Metric::PagesInUse1mEndBytes),
    (2_097_152.0, Metric::PagesInUse2mAtLivePeakBytes, Metric::PagesInUse2mEndBytes),
];

/// The colour of memory of which a share (0 to 1) is live: orange, pale, blue.
pub fn fullness_colour(share: f64) -> Colour {
    const STOPS: [(f64, Colour); 5] = [
        (0.0, Colour(0xE6, 0x9F, 0x00)),
        (0.22, Colour(0xE9, 0xAE, 0x2C)),
        (0.5, Colour(0xEC, 0xE2, 0xC4)),
        (0.72, Colour(0x7F, 0xB2, 0xD6)),
        (1.0, Colour(0x00, 0x4B, 0x87)),
    ];
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    for pair in STOPS.windows(2) {
        let ((from, low), (to, high)) = (pair[0], pair[1]);
        if share <= to {
            return low.mix(high, (share - from) / (to - from));
        }
    }
    STOPS[4].1
}

/// A scale of those colours with words; its left end is at `x`.
pub fn fullness_legend(canvas: &mut Canvas, x: f64, y: f64, empty: bool) {
    let mut x = x;
    if empty {
        canvas.rectangle(x, y - 13.0, x + 34.0, y, super::chart::KEPT);
        canvas.text(x + 17.0, y + 15.0, "empty", TINY, Anchor::Middle);
        x += 46.0;
    }
    for at in 0..210 {
        let colour = fullness_colour(((at / 13) as f64 + 0.5) / 16.0);
        canvas.rectangle(x + f64::from(at), y - 13.0, x + f64::from(at) + 1.0, y, colour);
    }
    for (share, text) in [(0.25, "25"), (0.5, "50"), (0.75, "75")] {
        canvas.text(x + share * 208.0, y + 15.0, text, TINY, Anchor::Middle);
    }
    canvas.text(x + 230.0, y + 15.0, "100 % live", TINY, Anchor::Right);
}

/// Pages by bin.
type Bins = [f64; 16];

struct Row<'a> {
    backend: &'a Backend<'a>,
    peak: Bins,
    end: Bins,
    curve: Vec<(f64, f64)>,
}

fn rows<'a>(trace_report: &'a TraceReport) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for backend in trace_report.allocators() {
        let mut bins = [[0.0; 16]; 2];
        let mut seen = false;
        for row in trace_report
            .run
            .fullness
            .iter()
            .filter(|r| r.trace == trace_report.trace.name && r.backend == backend.name)
        {
            let moment = usize::from(row.moment == Moment::End);
            bins[moment][(row.bin as usize).min(15)] += row.pages as f64 * 4096.0;
            seen = true;
        }
        let curve = GRAINS.iter().filter_map(|&(grain, _, metric)| {
            let values =
                trace_report.run.values(&trace_report.trace.name, backend.name, Scope::All, metric);
            Some((grain, values.into_iter().find(|value| value.is_finite() && *value >= 0.0)?))
        });
        let curve: Vec<(f64, f64)> = curve.collect();
        if seen {
            rows.push(Row { backend, peak: bins[0], end: bins[1], curve });
        }
    }
    rows
}

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let rows = rows(trace_report);
    if rows.is_empty() {
        return None;
    }
    let mut canvas = Canvas::new();
    let title = verdict(&rows);
    let plotted = format!(
        "`{}`.  Left: 4 KiB pages that hold a byte of a live block, by how much of them is live.  Right: what stays pinned \
         when memory can be given back only in pieces of 4 KiB to 2 MiB.",
        trace_report.trace.name
    );
    let hint = "Orange pages are pinned by a few bytes: no trim returns them, only other places for the blocks that live \
                long.  The blue dashes on the right are the live bytes themselves; the distance of a curve's left end to them is \
                what is stranded or rounded, its rise to the right what larger pieces would cost on top.";
    let (top, bottom) = frame(&mut canvas, &title, &plotted, hint);
    let split = 880.0;
    bars(&mut canvas, &rows, (top, bottom), split);
    curves(&mut canvas, trace_report, &rows, (split + 92.0, top + 62.0, bottom - 52.0));
    Some(Picture { title, canvas })
}

fn sum(bins: &Bins) -> f64 {
    bins.iter().sum()
}

fn bars(canvas: &mut Canvas, rows: &[Row], (top, bottom): (f64, f64), split: f64) {
    canvas.text(LEFT, top + 26.0, "pinned pages by fullness", HEADING, Anchor::Left);
    fullness_legend(canvas, split - 300.0, top + 26.0, false);
    let names = rows
        .iter()
        .map(|row| text_width(row.backend.name, HEADING))
        .fold(60.0, f64::max)
        .min(210.0)
        + 66.0;
    let totals: Vec<f64> = rows.iter().map(|row| sum(&row.peak).max(sum(&row.end))).collect();
    let most = shown_peak(&totals).max(1.0) * 1.02;
    let unit = byte_unit(most);
    let panel = Panel {
        left: LEFT + names,
        top: top + 62.0,
        right: split - 150.0,
        bottom: bottom - 52.0,
        across: Scale::Linear { from: 0.0, to: most / unit.bytes },
        up: Scale::Linear { from: 0.0, to: 1.0 },
    };
    let ticks = panel.across.ticks(6);
    panel.columns(canvas, &ticks);
    let step = (panel.bottom - panel.top) / rows.len() as f64;
    let half = (step * 0.17).min(24.0);
    for (at, row) in rows.iter().enumerate() {
        let middle = panel.top + step * (at as f64 + 0.5);
        let name = shorten(row.backend.name, HEADING, names - 62.0);
        canvas.text(LEFT, middle + 6.0, &name, HEADING, Anchor::Left);
        for (bins, side, word) in [(&row.peak, -1.0, "peak"), (&row.end, 1.0, "exit")] {
            let y = middle + side * (half + 2.0);
            canvas.text(panel.left - 8.0, y + 5.0, word, SMALL, Anchor::Right);
            stack(canvas, &panel, bins, y, half, unit);
        }
    }
    panel.axes(canvas);
    panel.numbers(canvas, &ticks, &|tick| tick_words(tick, &ticks));
    canvas.text(
        panel.right,
        panel.bottom + 42.0,
        &format!("x: {} pinned", unit.name),
        SMALL,
        Anchor::Right,
    );
}

fn stack(canvas: &mut Canvas, panel: &Panel, bins: &Bins, y: f64, half: f64, unit: ByteUnit) {
    let mut below = 0.0;
    for (bin, bytes) in bins.iter().enumerate() {
        let (from, to) = (panel.x(below / unit.bytes), panel.x((below + bytes) / unit.bytes));
        canvas.rectangle(from, y - half, to, y + half, fullness_colour((bin as f64 + 0.5) / 16.0));
        below += bytes;
    }
    let sparse: f64 = bins[..4].iter().sum();
    let end = panel.x(below / unit.bytes);
    let off = below / unit.bytes > panel.across.end();
    let total =
        if off { format!("▶ {}", words::bytes(below)) } else { figure3(below / unit.bytes) };
    let kind = if half > 9.0 { STRONG } else { TINY.in_colour(INK) };
    let used = canvas.text(end + 6.0, y + 5.0, &total, kind, Anchor::Left);
    if below > 0.0 {
        let text = format!("{} under ¼", words::percent(sparse / below));
        canvas.text(
            end + 14.0 + used,
            y + 5.0,
            &text,
            if half > 9.0 { SMALL } else { TINY },
            Anchor::Left,
        );
    }
}

fn curves(
    canvas: &mut Canvas,
    trace_report: &TraceReport,
    rows: &[Row],
    (left, top, bottom): (f64, f64, f64),
) {
    let drawn: Vec<&Row> = rows.iter().filter(|row| row.curve.len() > 1).collect();
    canvas.text(
        left - 36.0,
        top - 36.0,
        "pinned at exit, by size of a piece",
        HEADING,
        Anchor::Left,
    );
    let ends: Vec<f64> =
        drawn.iter().filter_map(|row| row.curve.last()).map(|point| point.1).collect();
    let most = shown_peak(&ends).max(trace_report.live_end).max(1.0) * 1.06;
    let unit = byte_unit(most);
    let label = |row: &Row| {
        let (low, high) = (row.curve[0].1, row.curve[row.curve.len() - 1].1);
        let times =
            if low > 0.0 { format!("  {}", words::ratio(high / low)) } else { String::new() };
        format!("{}{times}", row.backend.name)
    };
    let room =
        drawn.iter().map(|row| text_width(&label(row), STRONG)).fold(60.0, f64::max).min(200.0)
            + 20.0;
    let panel = Panel {
        left,
        top,
        right: RIGHT - room - 10.0,
        bottom,
        across: Scale::Log { from: 4096.0, to: 2_097_152.0 },
        up: Scale::Linear { from: 0.0, to: most / unit.bytes },
    };
    let ticks = panel.up.ticks(8);
    panel.rows(canvas, &ticks, Some(&|tick| tick_words(tick, &ticks)));
    let grains: Vec<f64> = GRAINS.iter().map(|grain| grain.0).collect();
    panel.axes(canvas);
    panel.numbers(canvas, &grains, &|grain| {
        let unit = byte_unit(grain);
        format!("{:.0}\u{a0}{}", grain / unit.bytes, unit.name)
    });
    let live = panel.y(trace_report.live_end / unit.bytes);
    canvas.line(&[(panel.left, live), (panel.right, live)], Stroke::dashed(1.6, LIVE, 6.0, 3.5));
    let mut labels = vec![EndLabel {
        y: live,
        text: format!("live {}", figure3(trace_report.live_end / unit.bytes)),
        kind: STRONG.in_colour(LIVE),
    }];
    for row in &drawn {
        let inside: Vec<(f64, f64)> = row
            .curve
            .iter()
            .copied()
            .filter(|point| point.1 / unit.bytes <= panel.up.end())
            .collect();
        let points: Vec<(f64, f64)> = inside
            .iter()
            .map(|&(grain, bytes)| (panel.x(grain), panel.y(bytes / unit.bytes)))
            .collect();
        canvas.line(&points, backend_stroke(row.backend.colour, row.backend.variant, 2.4));
        for &(x, y) in &points {
            canvas.disc(x, y, 4.0, row.backend.colour);
        }
        let y = points
            .last()
            .filter(|_| inside.len() == row.curve.len())
            .map_or(panel.top, |point| point.1);
        labels.push(EndLabel { y, text: label(row), kind: STRONG.in_colour(row.backend.colour) });
    }
    end_labels(
        canvas,
        (panel.right + 5.0, panel.right + 20.0),
        (panel.top, panel.bottom),
        labels,
        room,
    );
    canvas.text(
        panel.right,
        panel.bottom + 42.0,
        "x: size of a piece that can be given back",
        SMALL,
        Anchor::Right,
    );
    let middle = (panel.top + panel.bottom) / 2.0;
    canvas.text_upwards(left - 46.0, middle, &format!("{} pinned at exit", unit.name), NOTE);
}

fn verdict(rows: &[Row]) -> String {
    let share = |row: &Row| row.end[..4].iter().sum::<f64>() / sum(&row.end);
    let shares: Vec<f64> = rows.iter().filter(|row| sum(&row.end) > 0.0).map(share).collect();
    let opening = match crate::stats::range(&shares) {
        Some((low, high)) if high - low < 0.02 => {
            format!(
                "At exit {} of the pinned pages are less than a quarter full.",
                words::percent(high)
            )
        }
        Some((low, high)) => {
            let [from, to] = [low, high].map(|share| format!("{:.0}", share * 100.0));
            format!("At exit {from}–{to}\u{a0}% of the pinned pages are less than a quarter full.")
        }
        None => "At exit no page is pinned.".to_owned(),
    };
    let mut grown: Vec<(f64, &str)> = Vec::new();
    for row in rows {
        if let (Some(first), Some(last)) = (row.curve.first(), row.curve.last())
            && first.1 > 0.0
        {
            grown.push((last.1 / first.1, row.backend.name));
        }
    }
    grown.sort_by(|a, b| a.0.total_cmp(&b.0));
    let second = match (grown.first(), grown.last()) {
        (Some(least), Some(most)) if grown.len() > 1 && most.0 - least.0 > 0.1 => format!(
            "  In pieces of 2 MiB, {} would pin {} as much as in pages, {} {}.",
            most.1,
            words::ratio(most.0),
            least.1,
            words::ratio(least.0)
        ),
        (Some(least), _) => {
            format!("  In pieces of 2 MiB {} as much would be pinned.", words::ratio(least.0))
        }
        _ => String::new(),
    };
    opening + &second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_from_orange_to_blue_and_take_any_number() {
        assert_eq!(fullness_colour(0.0), Colour(0xE6, 0x9F, 0x00));
        assert_eq!(fullness_colour(1.0), Colour(0x00, 0x4B, 0x87));
        for share in [f64::NAN, -1.0, 2.0, f64::INFINITY] {
            let _ = fullness_colour(share);
        }
    }
}
