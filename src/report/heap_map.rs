//! Room `report`, chart: the heap map: which stretches of address space stay resident over the
//! replay, and how full they are.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Colour, shorten, wrap};
use super::chart::{Chart, HEADING, KEPT, LEFT, NOTE, Picture, RIGHT, SMALL, STRONG, WHITE, frame};
use super::figures::{Backend, TraceReport};
use super::page_fullness::{fullness_colour, fullness_legend};
use super::phases::{self, Phase};
use super::series::shown_peak;
use super::words::{self, ByteUnit, byte_unit};
use crate::results::{HeapRow, Residency};

/// Which parts of the heap stay resident?
pub const CHART: Chart = Chart {
    name: "heap-map",
    question: "Which parts of the heap stay resident, and how full are they?",
    reading: "Each panel is one allocator's address space, its oldest region at the bottom, and left to right the replay. Blue \
              is resident and in use, orange is resident for the sake of a few blocks, grey is resident for nothing, white is \
              not there. A horizontal orange streak is a stretch that a few blocks keep alive, as long as it is.",
    draw,
};

/// One backend's map.
struct Map<'a> {
    backend: &'a Backend<'a>,
    rows: Vec<Vec<(usize, Residency)>>,
    row_bytes: f64,
    columns: usize,
}

/// What is resident in the last column.
#[derive(Clone, Copy, Default)]
struct Last {
    resident: usize,
    sparse: usize,
    empty: usize,
}

impl Map<'_> {
    fn bytes(&self) -> f64 {
        self.rows.len() as f64 * self.row_bytes
    }

    fn last(&self) -> Last {
        let mut last = Last::default();
        for residency in self.rows.iter().filter_map(|runs| runs.last().map(|run| run.1)) {
            last.resident += usize::from(residency != Residency::Nowhere);
            last.sparse += usize::from(matches!(residency, Residency::Live(level) if level <= 4));
            last.empty += usize::from(residency == Residency::Empty);
        }
        last
    }
}

fn maps<'a>(trace_report: &'a TraceReport) -> Vec<Map<'a>> {
    let of = |backend: &'a Backend<'a>| {
        let mut rows: Vec<&HeapRow> = trace_report
            .run
            .heap_map
            .iter()
            .filter(|row| row.trace == trace_report.trace.name && row.backend == backend.name)
            .collect();
        let first = rows.iter().map(|row| row.repetition).min()?;
        rows.retain(|row| row.repetition == first);
        rows.sort_by_key(|row| row.row);
        let row_bytes = rows[0].row_bytes as f64;
        let rows: Vec<Vec<(usize, Residency)>> = rows.iter().map(|row| row.runs()).collect();
        let columns = rows.iter().map(|runs| runs.iter().map(|run| run.0).sum()).max().unwrap_or(0);
        (columns > 0 && row_bytes > 0.0).then_some(Map { backend, rows, row_bytes, columns })
    };
    trace_report.allocators().filter_map(of).collect()
}

/// What all panels share.
struct HeapMapLayout<'a> {
    calls: f64,
    calls_unit: (f64, &'static str),
    up: Scale,
    unit: ByteUnit,
    phases: &'a [Phase],
}

fn draw(trace_report: &TraceReport) -> Option<Picture> {
    let mut maps = maps(trace_report);
    if maps.is_empty() {
        return None;
    }
    if maps.len() > 5 {
        maps.sort_by_key(|map| std::cmp::Reverse(map.last().resident));
    }
    let heights: Vec<f64> = maps.iter().map(Map::bytes).collect();
    let most = shown_peak(&heights).max(1.0) * 1.03;
    let unit = byte_unit(most);
    let calls = trace_report.trace.calls as f64;
    let calls_unit = match calls {
        calls if calls >= 1e9 => (1e9, "billions of calls replayed"),
        calls if calls >= 2e6 => (1e6, "millions of calls replayed"),
        calls if calls >= 2e3 => (1e3, "thousands of calls replayed"),
        _ => (1.0, "calls replayed"),
    };
    let layout = HeapMapLayout {
        calls,
        calls_unit,
        up: Scale::Linear { from: 0.0, to: most / unit.bytes },
        unit,
        phases: &trace_report.phases,
    };
    let mut canvas = Canvas::new();
    let title = verdict(&maps);
    let row = words::bytes(maps[0].row_bytes);
    let plotted = format!(
        "Heap map of `{}`: every {row} of address space over the replay, coloured by how full its resident pages are.  White: \
         not resident.{}",
        trace_report.trace.name,
        trace_report.pace_note()
    );
    let hint = "Blue is good: resident and in use.  A horizontal orange streak is a stretch kept alive by a few blocks; its \
                length says for how long.  A grey streak holds no live byte and is kept by the allocator.  White to the right of \
                a colour is memory really given back.  A band that is grey from its first column on never held a block: the \
                allocator's own tables.";
    let (top, bottom) = frame(&mut canvas, &title, &plotted, hint);
    fullness_legend(&mut canvas, RIGHT - 300.0, top + 1.0, true);
    let top = top + 26.0;
    let lines = if maps.len() > 5 { 2 } else { 1 };
    let across = maps.len().div_ceil(lines);
    let height = (bottom - top) / lines as f64;
    for (line, maps) in maps.chunks(across).enumerate() {
        let y = top + height * line as f64;
        draw_line(&mut canvas, &layout, maps, across, (y, y + height), line + 1 == lines);
    }
    Some(Picture { title, canvas })
}

fn draw_line(
    canvas: &mut Canvas,
    layout: &HeapMapLayout,
    maps: &[Map],
    across: usize,
    (top, bottom): (f64, f64),
    last: bool,
) {
    let single = bottom - top > 400.0;
    let gap = 34.0;
    let first = LEFT + 26.0;
    let width = (RIGHT - 12.0 - first - gap * (across as f64 - 1.0)) / across as f64;
    let head = if single { 84.0 } else { 74.0 };
    let mut lowest = bottom;
    for (at, map) in maps.iter().enumerate() {
        let left = first + (width + gap) * at as f64;
        let panel = Panel {
            left,
            top: top + head,
            right: left + width,
            bottom: bottom - 50.0,
            across: Scale::Linear { from: 0.0, to: layout.calls.max(1.0) / layout.calls_unit.0 },
            up: layout.up,
        };
        heading(canvas, &panel, map);
        paint(canvas, &panel, map, layout);
        let ticks = layout.up.ticks(if single { 8 } else { 4 });
        if at == 0 {
            let words = |tick: f64| tick_words(tick, &ticks);
            for &tick in &ticks {
                canvas.text(
                    panel.left - 9.0,
                    panel.y(tick) + 5.0,
                    &words(tick),
                    SMALL,
                    Anchor::Right,
                );
            }
        }
        let place = |phase: &Phase| phase.event / layout.calls_unit.0;
        phases::draw(canvas, &panel, layout.phases, place, width > 180.0);
        panel.axes(canvas);
        let ticks = panel.across.ticks(5);
        panel.numbers(canvas, &ticks, &|tick| tick_words(tick, &ticks));
        lowest = panel.bottom;
        if at + 1 == maps.len() && (single || last) {
            let words = format!("x: {}", layout.calls_unit.1);
            canvas.text(panel.right, panel.bottom + 40.0, &words, SMALL, Anchor::Right);
        }
    }
    let words = if single {
        format!("heap, oldest region first ({})", layout.unit.name)
    } else {
        format!("heap, {}", layout.unit.name)
    };
    canvas.text_upwards(LEFT - 12.0, (top + head + lowest) / 2.0, &words, SMALL.sized(15.0));
}

fn heading(canvas: &mut Canvas, panel: &Panel, map: &Map) {
    let room = panel.right - panel.left;
    let y = panel.top - 56.0;
    let (name, kind) = super::canvas::fitted(map.backend.name, HEADING, 12.0, room);
    let used = canvas.text(panel.left, y, &name, kind, Anchor::Left);
    if map.backend.version != map.backend.name
        && super::chart::fits(map.backend.version, SMALL, room - used - 10.0)
    {
        canvas.text(panel.left + used + 10.0, y, map.backend.version, SMALL, Anchor::Left);
    }
    let last = map.last();
    let [resident, sparse, empty] =
        [last.resident, last.sparse, last.empty].map(|rows| words::count(rows as u64));
    let text = if room > 200.0 {
        format!("end: {resident} rows resident, {sparse} of them under ¼ full, {empty} empty")
    } else {
        format!("end: {resident} rows, {empty} empty, {sparse} under ¼ full")
    };
    let kind = if room > 300.0 { NOTE } else { SMALL };
    for (at, line) in wrap(&text, kind, room).iter().take(2).enumerate() {
        canvas.text(
            panel.left,
            y + 22.0 + 19.0 * at as f64,
            &shorten(line, kind, room),
            kind,
            Anchor::Left,
        );
    }
}

fn paint(canvas: &mut Canvas, panel: &Panel, map: &Map, layout: &HeapMapLayout) {
    let column = (panel.right - panel.left) / map.columns as f64;
    let shown = (layout.up.end() * layout.unit.bytes / map.row_bytes).floor() as usize;
    for (row, runs) in map.rows.iter().take(shown).enumerate() {
        let y = |row: usize| panel.y(row as f64 * map.row_bytes / layout.unit.bytes);
        let mut at = 0;
        for &(length, residency) in runs {
            let from = panel.left + column * at as f64;
            at = (at + length).min(map.columns);
            let Some(colour) = colour(residency) else { continue };
            canvas.rectangle(from, y(row + 1), panel.left + column * at as f64, y(row), colour);
        }
    }
    if map.rows.len() > shown {
        let text = format!("▲ runs off to {}", words::bytes(map.bytes()));
        let width = super::canvas::text_width(&text, STRONG);
        let left = panel.right - width - 10.0;
        // Below the names of phases.
        canvas.rectangle(left - 4.0, panel.top + 22.0, panel.right - 4.0, panel.top + 44.0, WHITE);
        canvas.text(left, panel.top + 38.0, &text, STRONG, Anchor::Left);
    }
}

fn colour(residency: Residency) -> Option<Colour> {
    match residency {
        Residency::Nowhere => None,
        Residency::Empty => Some(KEPT),
        Residency::Live(level) => Some(fullness_colour((f64::from(level) - 0.5) / 16.0)),
    }
}

fn verdict(maps: &[Map]) -> String {
    let lasts: Vec<(&str, Last)> = maps.iter().map(|map| (map.backend.name, map.last())).collect();
    let shares: Vec<f64> = lasts
        .iter()
        .filter(|(_, last)| last.resident > 0)
        .map(|(_, last)| (last.sparse + last.empty) as f64 / last.resident as f64)
        .collect();
    let Some((low, high)) = crate::stats::range(&shares) else {
        return "At exit no part of the heap is resident".to_owned();
    };
    let [from, to] = [low, high].map(|share| format!("{:.0}", share * 100.0));
    let span = if from == to { to } else { format!("{from}–{to}") };
    let piece = words::bytes(maps[0].row_bytes);
    let opening = format!(
        "At exit {span}\u{a0}% of the resident {piece} stretches are empty or less than a quarter full."
    );
    let mut empty: Vec<(&str, usize)> =
        lasts.iter().map(|(name, last)| (*name, last.empty)).collect();
    empty.sort_by_key(|(_, empty)| *empty);
    let (least, most) = (empty[0], empty[empty.len() - 1]);
    if most.1 == 0 {
        return format!("{opening}  None keeps an empty one.");
    }
    if empty.len() == 1 || least.1 == most.1 {
        return format!(
            "{opening}  {} are kept though they are empty.",
            words::count(most.1 as u64)
        );
    }
    format!("{opening}  {} keeps {} that are empty, {} {}.", most.0, most.1, least.0, least.1)
}
