//! The page of a report in a real Chromium: zoom, readings, cells, tables, CSV, links and themes. What
//! the page shows is compared with the tables of the run on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::browser::{chromium, drive};
use crate::support::made_up_runs::{self, PHASES, Wish};
use crate::support::process::{expect, heaplay, scratch};
use heaplay::report::{page, without_private};
use heaplay::results::{
    BackendEntry, LineContents, ProcessEntry, ProcessMemory, ProgramMark, Run, Sample,
};
use heaplay::units::{bytes, count};

const CALLS: u64 = 1_000_000;
const BACKENDS: [&str; 5] = ["malloc", "pymalloc", "bump", "null", "jemalloc"];
/// Those with memory, in the order of the page.
const ALLOCATORS: [&str; 4] = ["malloc", "pymalloc", "bump", "jemalloc"];
/// The curve of the recorded process of the first trace: calls and bytes.
const PROCESS: [(u64, u64); 4] =
    [(10_000, 400_000), (300_000, 2_500_000), (480_000, 2_000_000), (990_000, 1_500_000)];
const PROCESS_NAME: &str = "(recorded process)";
const STEPS: &str = include_str!("page_can_be_explored/steps.js");

/// Rows of a table, by the name of the column.
type Rows = Vec<BTreeMap<String, String>>;

fn rows(text: &[u8]) -> Rows {
    csv::Reader::from_reader(text).deserialize().collect::<Result<_, _>>().expect("a table")
}

/// A visit of the page, and the run folder that it shows.
struct Visit {
    found: Value,
    folder: PathBuf,
    html: String,
}

impl Visit {
    /// A table of the run on disk: the rows of one trace.
    fn table(&self, name: &str, trace: &str) -> Rows {
        let text = std::fs::read(self.folder.join(name)).expect("a table of the run");
        rows(&text).into_iter().filter(|row| row["trace"] == trace).collect()
    }

    /// A CSV that the page saved.
    fn saved(&self, path: &str) -> Rows {
        rows(self.text(path).as_bytes())
    }

    /// The samples of backends in a CSV that the page saved.
    fn saved_samples(&self, path: &str) -> Rows {
        let rows = self.saved(path).into_iter();
        rows.filter(|row| row["backend"] != PROCESS_NAME).collect()
    }

    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_else(|| panic!("{path}: {}", self.at(path)))
    }

    fn at(&self, path: &str) -> &Value {
        self.found.pointer(path).unwrap_or_else(|| panic!("{path} was not returned"))
    }

    /// The rows of a table of the page, as text by cell. Gaps are plain spaces.
    fn cells(&self, path: &str) -> Vec<Vec<String>> {
        let rows: Vec<Vec<String>> = serde_json::from_value(self.at(path).clone()).expect("rows");
        rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect()
    }

    fn names(&self, path: &str) -> Vec<String> {
        serde_json::from_value(self.at(path).clone()).expect("names")
    }

    /// The segment in calls at a step.
    fn segment(&self, path: &str) -> (u64, u64) {
        let ends = self.names(path);
        (ends[0].parse().expect("a call"), ends[1].parse().expect("a call"))
    }
}

/// The text with plain spaces.
fn plain(text: &str) -> String {
    text.replace(['\u{a0}', '\u{202f}'], " ")
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column}: {row:?}"))
}

/// One visit that all tests read; `None` without a browser, which is a skip of the test that asks.
#[track_caller]
fn visit() -> Option<&'static Visit> {
    static VISIT: OnceLock<Visit> = OnceLock::new();
    let chromium = chromium()?;
    Some(VISIT.get_or_init(|| {
        let mut run = made_up_runs::run(&Wish {
            traces: &["service", "json"],
            backends: &BACKENDS,
            samples: 1500,
            calls: CALLS,
            repetitions: 3,
            ..Wish::default()
        });
        let point = |(event, heap_bytes)| ProcessMemory { event, heap_bytes, besides_bytes: 0 };
        let memory = PROCESS.map(point).to_vec();
        let own_backend = "malloc".to_owned();
        run.manifest.traces[0].process =
            Some(ProcessEntry { own_backend, memory, collector: None });
        let folder = scratch("explored");
        let _ = std::fs::remove_dir_all(&folder);
        run.save(&folder).expect("saved");
        let html = page(&run);
        std::fs::write(folder.join("index.html"), &html).expect("written");
        let found = drive(&chromium, &html, "", STEPS);
        Visit { found, folder, html }
    }))
}

#[test]
fn the_page_opens_with_answers_and_one_trace() {
    let Some(visit) = visit() else { return };
    assert_eq!(visit.at("/sections"), &serde_json::json!([true, false]));
    assert_eq!(visit.names("/panels"), ALLOCATORS);
    let answers = visit.text("/answers");
    for question in ["Which allocator?", "When is", "trim return?", "Which line", "Is it sure?"] {
        assert!(answers.contains(question), "{question}: {answers}");
    }
    assert_eq!(visit.at("/pictures"), &serde_json::json!([false, false]), "folded");
}

#[test]
fn keyboard_and_screen_reader_reach_everything() {
    let Some(visit) = visit() else { return };
    assert_eq!(visit.at("/unnamed"), &serde_json::json!([]), "controls without a name");
    for canvas in visit.at("/canvases").as_array().expect("canvases") {
        assert_eq!(canvas[0], 0, "it takes the focus");
        assert!(canvas[1].as_str().is_some_and(|label| label.contains("Arrow keys")), "{canvas}");
        assert!(["slider", "application"].contains(&canvas[2].as_str().unwrap_or("")), "{canvas}");
    }
}

/// The samples of the record in a segment, of some backends, as the page's CSV has them.
fn samples(visit: &Visit, trace: &str, backends: &[&str], (from, to): (u64, u64)) -> Rows {
    let mut rows = visit.table("samples.csv", trace);
    for row in &mut rows {
        row.remove("repetition");
        row.remove("lines");
    }
    let is_in = |row: &BTreeMap<String, String>| {
        backends.contains(&row["backend"].as_str())
            && (from as f64..=to as f64).contains(&number(row, "event"))
    };
    rows.into_iter().filter(is_in).collect()
}

#[test]
fn a_dragged_segment_has_the_samples_of_the_record() {
    let Some(visit) = visit() else { return };
    let (from, to) = visit.segment("/dragged/state/calls");
    let near = |call: u64, share: f64| (call as f64 / CALLS as f64 - share).abs() < 0.005;
    assert!(near(from, 0.25) && near(to, 0.5), "{from} to {to}");
    assert_eq!(
        visit.saved_samples("/dragged/memory"),
        samples(visit, "service", &ALLOCATORS, (from, to))
    );
    // Plus shows half of it about the reading, which the pointer left at the end. 0 shows the whole.
    let (closer_from, closer_to) = visit.segment("/closer");
    assert!((closer_to - closer_from).abs_diff((to - from) / 2) <= 2 && closer_to == to);
    assert_eq!(visit.segment("/whole/calls"), (0, CALLS));
    assert_eq!(visit.text("/whole/address"), "");
}

#[test]
fn the_process_has_its_own_curve() {
    let Some(visit) = visit() else { return };
    assert!(visit.text("/legend").contains("the recorded process itself"));
    let (from, to) = visit.segment("/dragged/state/calls");
    let rows = visit.saved("/dragged/memory").into_iter();
    let own: Vec<(u64, u64)> = rows
        .filter(|row| row["backend"] == PROCESS_NAME)
        .map(|row| (number(&row, "event") as u64, number(&row, "resident_bytes") as u64))
        .collect();
    let is_in = |point: &(u64, u64)| (from..=to).contains(&point.0);
    assert_eq!(own, PROCESS.into_iter().filter(is_in).collect::<Vec<_>>());
}

#[test]
fn the_highest_point_of_a_segment_is_that_of_the_record() {
    let Some(visit) = visit() else { return };
    let segment = visit.segment("/dragged/state/calls");
    let mut by_backend: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let rows = samples(visit, "service", &ALLOCATORS, segment);
    for row in &rows {
        let levels = ["live_bytes", "usable_bytes", "pages_in_use_bytes", "resident_bytes"];
        let highest = levels.map(|level| number(row, level)).into_iter().fold(0.0, f64::max);
        let known = by_backend.entry(row["backend"].as_str()).or_insert((0.0, 0.0));
        if highest > known.0 {
            *known = (highest, number(row, "event"));
        }
    }
    for shown in visit.cells("/dragged/highest") {
        let (highest, event) = by_backend[shown[0].as_str()];
        assert_eq!(shown[1], plain(&bytes(highest)), "{shown:?}");
        assert_eq!(shown[2], plain(&count(event as u64)), "{shown:?}");
    }
    // `bump` never frees: it is a giant, and the sentence is about the highest of the others.
    by_backend.remove("bump");
    let top = by_backend.iter().max_by(|a, b| a.1.0.total_cmp(&b.1.0)).expect("backends");
    let sentence = plain(visit.text("/dragged/sentence"));
    let expected = format!(
        "under {}: {} resident at call {}",
        top.0,
        plain(&bytes(top.1.0)),
        plain(&count(top.1.1 as u64))
    );
    assert!(sentence.contains(&expected), "{sentence}\n{expected}");
    let phase = PHASES.iter().rfind(|(share, _)| share * CALLS as f64 <= top.1.1).expect("a phase");
    assert!(sentence.contains(phase.1), "{sentence}");
    // The lines are those of that sample.
    let is_top = |row: &&BTreeMap<String, String>| {
        row["backend"] == **top.0 && number(row, "event") == top.1.1
    };
    let rows = visit.table("samples.csv", "service");
    let row = rows.iter().find(is_top).expect("the sample");
    let [largest, rest] = &LineContents::decode(&row["lines"])[..] else { panic!("{row:?}") };
    let name = largest.0.rsplit('/').next().expect("a name");
    let largest = format!("{name} ({} in {} blocks)", bytes(largest.2 as f64), count(largest.1));
    let expected =
        format!("{} and (no line) ({} in 1 block).", plain(&largest), bytes(rest.2 as f64));
    let lines = plain(visit.text("/dragged/lines"));
    assert!(
        lines.starts_with("Then the lines that hold most are ")
            && lines.ends_with(&plain(&expected)),
        "{lines}\n{expected}"
    );
}

#[test]
fn a_reading_is_the_nearest_sample() {
    let Some(visit) = visit() else { return };
    // The first press begins in the middle; each moves by a tenth.
    let event = 0.8 * CALLS as f64;
    let rows = visit.cells("/reading/rows");
    assert_eq!(rows.len(), ALLOCATORS.len() + 1);
    // The process itself is read at its nearest point.
    let own = rows.last().expect("the process");
    assert_eq!(own[..3], [PROCESS_NAME, "990 000", &plain(&bytes(1_500_000.0))]);
    for shown in &rows[..ALLOCATORS.len()] {
        let own = samples(visit, "service", &[shown[0].as_str()], (0, CALLS));
        let distance = |row: &&BTreeMap<String, String>| (number(row, "event") - event).abs();
        let nearest =
            own.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("a sample");
        assert_eq!(shown[1], plain(&count(number(nearest, "event") as u64)));
        assert_eq!(shown[3], plain(&bytes(number(nearest, "live_bytes"))));
    }
    assert!(visit.text("/reading/text").contains("call"), "screen readers have it, too");
}

#[test]
fn phases_and_the_allocation_clock_choose_segments() {
    let Some(visit) = visit() else { return };
    let ends = [PHASES[2].0, PHASES[3].0].map(|share| (share * CALLS as f64) as u64);
    assert_eq!(visit.segment("/phase/calls"), (ends[0], ends[1]));
    // The second quarter of the bytes that the phase allocates, by its samples.
    let own = samples(visit, "service", &["malloc"], (0, CALLS));
    let clock_at = |event: f64| {
        let above = own.iter().position(|row| number(row, "event") >= event).expect("a sample");
        let (low, high) = (&own[above.saturating_sub(1)], &own[above]);
        let span = (number(high, "event") - number(low, "event")).max(1.0);
        let share = (event - number(low, "event")) / span;
        number(low, "clock_bytes")
            + share * (number(high, "clock_bytes") - number(low, "clock_bytes"))
    };
    let [begin, end] = ends.map(|event| clock_at(event as f64));
    let (from, to) = visit.segment("/clock/state/calls");
    for (event, share) in [(from, 0.5), (to, 0.75)] {
        let found = (clock_at(event as f64) - begin) / (end - begin);
        assert!((found - share).abs() < 0.01, "{event}: {found}");
    }
    assert_eq!(
        visit.saved_samples("/clock/memory"),
        samples(visit, "service", &ALLOCATORS, (from, to))
    );
}

#[test]
fn a_backend_is_switched_off_everywhere_and_on_again() {
    let Some(visit) = visit() else { return };
    let others = ["malloc", "pymalloc", "jemalloc"];
    assert_eq!(visit.names("/off/panels"), others);
    assert_eq!(visit.names("/off/maps"), others);
    assert_eq!(visit.names("/off/rows"), others);
    assert_eq!(visit.names("/off/state/off"), ["bump"]);
    assert_eq!(visit.saved_samples("/off/memory"), samples(visit, "service", &others, (0, CALLS)));
    assert_eq!(visit.names("/on"), ALLOCATORS);
    assert_eq!(visit.at("/resident"), 1, "one plot for all");
}

#[test]
fn percentiles_are_those_of_the_histograms() {
    let Some(visit) = visit() else { return };
    let run = Run::load(&visit.folder).expect("the run");
    let shown = visit.saved("/percentiles");
    for backend in ALLOCATORS {
        let own = run.latencies.iter().find(|latency| {
            let is_free = latency.op.name() == "free" && latency.repetition.is_none();
            latency.trace == "service" && latency.backend == backend && is_free
        });
        let own = &own.expect("a histogram").histogram;
        for one_in in [2.0, 10.0, 100.0, 1000.0, 10_000.0] {
            let step = shown.iter().find(|row| {
                row["operation"] == "free"
                    && row["backend"] == backend
                    && row["kind"] == "confirmed"
                    && number(row, "one_call_in") >= one_in
            });
            let found = number(step.expect("a step"), "nanoseconds");
            // Steps too narrow to be seen are folded into the next one.
            let [low, high] =
                [0.98, 1.02].map(|by| own.value_at_quantile(1.0 - 1.0 / (one_in * by)) as f64);
            assert!(
                (low * 0.99..=high * 1.01).contains(&found),
                "{backend}, 1 in {one_in}: {found}, by the histogram {low} to {high}"
            );
        }
    }
    let range = visit.text("/rare/state/address").split("decades=").nth(1).expect("a range");
    let ends: Vec<f64> = range.split(['-', '&']).take(2).map(|end| end.parse().unwrap()).collect();
    for row in visit.saved("/rare/rows") {
        let decade = number(&row, "one_call_in").log10();
        assert!((ends[0] - 0.01..=ends[1] + 0.01).contains(&decade), "{row:?} in {ends:?}");
    }
}

#[test]
fn the_latency_map_has_the_calls_of_the_record() {
    let Some(visit) = visit() else { return };
    let sums = |rows: &Rows, of: &dyn Fn(&BTreeMap<String, String>) -> u64| {
        let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
        for row in rows {
            let from: f64 = number(row, "from_nanoseconds");
            *sums.entry((row["backend"].clone(), format!("{from:.2}"))).or_default() += of(row);
        }
        sums
    };
    let calls_of_cells = |row: &BTreeMap<String, String>| {
        let counted = row["cells"].split(' ').filter(|part| !part.starts_with('_'));
        counted.filter(|part| !part.is_empty()).map(|part| part.parse::<u64>().unwrap()).sum()
    };
    let mut record = visit.table("latency_map.csv", "service");
    record.retain(|row| row["backend"] != "null");
    let shown = visit.saved("/latency");
    assert_eq!(sums(&shown, &|row| number(row, "calls") as u64), sums(&record, &calls_of_cells));
    // A segment has the columns that it touches, and no other.
    let (from, to) = visit.segment("/dragged/state/calls");
    let width = CALLS as f64 / number(&record[0], "columns");
    let dragged = visit.saved("/dragged/latency");
    assert!(!dragged.is_empty());
    for row in dragged {
        let first = number(&row, "first_call");
        assert!(first + width >= from as f64 && first <= to as f64, "{row:?}");
    }
    assert!(
        visit.text("/slow/latency").contains("of the calls"),
        "{}",
        visit.text("/slow/latency")
    );
}

/// The letter of a cell of the heap map, by counting letters one at a time.
fn cell(cells: &str, column: usize) -> char {
    let mut letters = Vec::new();
    let mut length = String::new();
    for letter in cells.chars() {
        if letter.is_ascii_digit() {
            length.push(letter);
        } else {
            let times = length.parse().unwrap_or(1);
            letters.extend(std::iter::repeat_n(letter, times));
            length.clear();
        }
    }
    letters[column]
}

#[test]
fn a_cell_of_the_heap_map_opens_its_pages_lines_and_blocks() {
    let Some(visit) = visit() else { return };
    // By the pointer: the last column, in the middle of the 280 rows of the first backend.
    let tapped = visit.text("/tapped/address");
    assert!(tapped.contains("heap=0.140.238") || tapped.contains("heap=0.139.238"), "{tapped}");
    // By the keyboard: seven rows up in the last column of the second backend.
    let opened = plain(visit.text("/opened/heap"));
    let is_own =
        |row: &&BTreeMap<String, String>| row["backend"] == "pymalloc" && row["row"] == "7";
    let map = visit.table("heap_map.csv", "service");
    let letter = cell(&map.iter().find(is_own).expect("a row")["cells"], 239);
    let level = letter as u32 - u32::from(b'a') + 1;
    let percent = |level: u32| (f64::from(level) * 6.25).round();
    let state = format!("resident, {} to {} % live", percent(level - 1), percent(level));
    assert!(opened.contains(&state), "{state}: {opened}");
    assert!(plain(visit.text("/described")).contains(&state));
    assert!(opened.contains("64 pages of 4 KiB"), "{opened}");
    let contents = visit.table("heap_contents.csv", "service");
    for (moment, name) in [("end", "end"), ("peak", "live peak")] {
        let own = contents.iter().filter(is_own).find(|row| row["moment"] == moment);
        let own = own.expect("contents");
        let text = format!(
            "{} pages resident, {} of them in use, {} live blocks with {}.",
            number(own, "resident_bytes") / 4096.0,
            number(own, "pages_in_use_bytes") / 4096.0,
            own["live_blocks"],
            plain(&bytes(number(own, "live_bytes")))
        );
        let (_, after) = opened.split_once(&format!("At the {name}")).expect("the moment");
        assert!(after.contains(&text), "{text}: {after}");
        let lines: Vec<LineContents> = serde_json::from_str(&own["lines"]).expect("lines");
        for LineContents(site, blocks, size) in lines {
            let site = if site.is_empty() { "(no line)".to_owned() } else { site };
            let row = format!("{site}{blocks}{}", plain(&bytes(size as f64)));
            assert!(after.contains(&row), "{row}: {after}");
        }
    }
    // The CSV of a segment has all that is resident in it.
    let (from, to) = visit.segment("/dragged/state/calls");
    let mut expected = 0;
    for row in map.iter().filter(|row| row["backend"] != "null") {
        for column in 0..240_u64 {
            let (first, end) = (column * CALLS, (column + 1) * CALLS);
            let is_in = end > from * 240 && first < to * 240;
            expected += usize::from(is_in && cell(&row["cells"], column as usize) != '.');
        }
    }
    assert_eq!(visit.saved("/dragged/heap").len(), expected);
}

#[test]
fn tables_sort_filter_and_save_what_they_show() {
    let Some(visit) = visit() else { return };
    let record = visit.table("attribution.csv", "service");
    let own =
        |row: &&BTreeMap<String, String>| row["moment"] == "end" && row["backend"] == "malloc";
    let mut live: Vec<(u64, &str)> = record
        .iter()
        .filter(own)
        .map(|row| (number(row, "live_bytes") as u64, row["site"].as_str()))
        .map(|(live, site)| (live, if site.is_empty() { "(no line)" } else { site }))
        .collect();
    live.sort_unstable();
    let lines = |rows: Vec<Vec<String>>| -> Vec<String> {
        rows.into_iter().map(|row| row[0].clone()).collect()
    };
    let rising: Vec<&str> = live.iter().map(|line| line.1).collect();
    assert_eq!(lines(visit.cells("/rising")), rising);
    let falling: Vec<&str> = rising.iter().rev().copied().collect();
    assert_eq!(lines(visit.cells("/falling/rows")), falling);
    assert_eq!(visit.text("/falling/sort"), "live");
    // The CSV has exact figures, in the order of the page, of each backend.
    let saved = visit.saved("/falling/csv");
    assert_eq!(saved.iter().map(|row| row["line"].as_str()).collect::<Vec<_>>(), falling);
    for row in &saved {
        for backend in ALLOCATORS {
            let is_own = |other: &&BTreeMap<String, String>| {
                let site = if row["line"] == "(no line)" { "" } else { &row["line"] };
                other["moment"] == "end" && other["backend"] == backend && other["site"] == site
            };
            let charged =
                &record.iter().find(is_own).expect("a row")["external_fragmentation_bytes"];
            assert_eq!(&row[&format!("{backend} (bytes)")], charged, "{row:?}");
        }
    }
    let filtered: Vec<&str> = falling.into_iter().filter(|line| line.contains("json/")).collect();
    assert!(!filtered.is_empty());
    assert_eq!(lines(visit.cells("/filtered")), filtered);
    // A table that the page has without its script: by units, not by letters.
    let peak = |backend: &str| {
        let rows = visit.table("measurements.csv", "service");
        let is_own = |row: &&BTreeMap<String, String>| {
            row["backend"] == backend && row["metric"] == "resident_peak_bytes"
        };
        rows.iter().find(is_own).map_or(0.0, |row| number(row, "value"))
    };
    let mut by_peak = ALLOCATORS.map(|backend| (peak(backend), backend));
    by_peak.sort_by(|a, b| a.0.total_cmp(&b.0));
    let shown = visit.cells("/peaks");
    for (shown, (peak, _)) in shown.iter().zip(by_peak) {
        let text = plain(&bytes(peak));
        assert!(shown[1].trim_start_matches('≈').starts_with(&text), "{text}: {shown:?}");
    }
    let saved = visit.saved("/peaksCsv");
    let names: Vec<String> = saved.iter().map(|row| row["backend"].clone()).collect();
    assert_eq!(names, lines(shown));
    // Plain numbers, as exact as the record has them.
    let saved: Vec<f64> = saved.iter().map(|row| number(row, "peak (bytes)")).collect();
    assert_eq!(saved, by_peak.map(|(peak, _)| peak));
}

/// No two buttons save files of one name, a figure is a plain number, and marks of one name have numbers.
#[test]
fn saved_files_and_repeated_marks_have_names_of_their_own() {
    let Some(chromium) = chromium() else { return };
    let wish = Wish { traces: &["service"], backends: &BACKENDS, ..Wish::default() };
    let mut run = made_up_runs::run(&wish);
    let calls = run.manifest.traces[0].calls;
    let mark = |(at, name): (u64, &str)| ProgramMark { event: calls / 8 * at, name: name.into() };
    run.manifest.traces[0].marks =
        [(1, "loaded"), (2, "burst"), (3, "burst"), (4, "burst"), (7, "done")].map(mark).to_vec();
    let steps = r#"
        const files = all("button.csv").map((button) => {
          const text = csvOf(button);
          return { name: savedName, text };
        });
        // As narrow as a phone.
        document.body.style.width = "390px";
        const slow = visibleTable("slow-calls");
        const width = (row) => row.cells[5].getBoundingClientRect().width;
        return {
          files,
          phases: all('#phase option').map((option) => option.textContent),
          widths: [...slow.tBodies[0].rows].map(width),
        };"#;
    let found = drive(&chromium, &page(&run), "", steps);
    let phases = ["all", "loaded", "burst (1 of 3)", "burst (2 of 3)", "burst (3 of 3)", "done"];
    assert_eq!(found["phases"], serde_json::json!(phases));
    let widths: Vec<f64> = serde_json::from_value(found["widths"].clone()).expect("widths");
    assert!(!widths.is_empty() && widths.iter().all(|width| *width > 150.0), "{widths:?}");
    let files = found["files"].as_array().expect("files");
    let names: BTreeSet<&str> = files.iter().filter_map(|file| file["name"].as_str()).collect();
    assert!(names.len() == files.len() && files.len() > 10, "{names:?}");
    for name in ["service-memory.csv", "service-memory-samples.csv", "run-manifest.csv"] {
        assert!(names.contains(name), "{name} of {names:?}");
    }
    for file in files {
        let name = file["name"].as_str().expect("a name");
        for row in rows(file["text"].as_str().expect("a text").as_bytes()) {
            for (column, cell) in row.iter().filter(|(column, _)| column.ends_with(')')) {
                assert!(cell.is_empty() || cell.parse::<f64>().is_ok(), "{name}, {column}: {cell}");
            }
        }
    }
    // A table shows ratios with two digits, and saves all.
    let is_comparisons = |file: &&serde_json::Value| file["name"] == "service-comparisons.csv";
    let comparisons = files.iter().find(is_comparisons).expect("comparisons");
    for row in rows(comparisons["text"].as_str().expect("a text").as_bytes()) {
        let ratio: f64 = row["ratio"].parse().expect("a plain number");
        assert!(ratio > 0.0 && row["ratio"].len() > "0.123".len(), "{row:?}");
    }
}

#[test]
fn the_theme_changes_and_a_trace_is_chosen() {
    let Some(visit) = visit() else { return };
    assert_eq!(visit.text("/dark"), "rgb(22, 24, 27)");
    assert_eq!(visit.text("/light"), "rgb(255, 255, 255)");
    assert_eq!(visit.at("/other/sections"), &serde_json::json!([false, true]));
    assert_eq!(visit.segment("/other/state/calls"), (0, CALLS), "a trace has its own segment");
    let others = ["malloc", "bump", "jemalloc"];
    assert_eq!(visit.saved_samples("/otherMemory"), samples(visit, "json", &others, (0, CALLS)));
}

#[test]
fn a_link_restores_the_view() {
    let (Some(visit), Some(chromium)) = (visit(), chromium()) else { return };
    let before = visit.at("/last");
    let address = before["address"].as_str().expect("an address").trim_start_matches('#');
    for part in
        ["off=1", "calls=", "heap=1.7.239", "latency=", "moment=peak", "theme=dark", "sort.lines"]
    {
        assert!(address.contains(part), "{part}: {address}");
    }
    let state = STEPS.split("// As it opens.").next().expect("the state");
    let again = drive(&chromium, &visit.html, address, &format!("{state}\nreturn state();"));
    assert_eq!(&again, before);
}

#[test]
fn a_link_to_nothing_opens_the_page_as_at_first() {
    let (Some(visit), Some(chromium)) = (visit(), chromium()) else { return };
    let address = "trace=99&off=77.x&calls=9-3&heap=4.99999.7&latency=1.2&moment=never&axis=up\
                   &decades=5-1&sort.lines=99-&sort.time=x&theme=pink&find.nothing=%22%3Cb%3E";
    let steps = "return [all('section.trace').map((section) => !section.hidden),
        all('#memory figcaption .backend').length, textOf('#heap-detail')];";
    let found = drive(&chromium, &visit.html, address, steps);
    assert_eq!(found, serde_json::json!([[true, false], ALLOCATORS.len(), ""]));
}

/// A name that would act if it were taken for markup.
const HOSTILE: &str = "</script><img src=x onerror=\"window.hurt=1\"><script>hurt=1</script>\"'&{";

#[test]
fn names_of_a_record_never_act() {
    let Some(chromium) = chromium() else { return };
    let wish = Wish {
        traces: &[HOSTILE],
        backends: &["malloc", HOSTILE],
        calls: 100_000,
        ..Wish::default()
    };
    let mut run = made_up_runs::run(&Wish { samples: 200, ..wish });
    run.manifest
        .backends
        .iter_mut()
        .for_each(|BackendEntry { version, .. }| *version = HOSTILE.into());
    for trace in &mut run.manifest.traces {
        trace.marks = vec![ProgramMark { event: 500, name: HOSTILE.into() }];
        trace.facts.insert("program".into(), HOSTILE.into());
        trace.facts.insert(HOSTILE.into(), HOSTILE.into());
    }
    run.attributions.iter_mut().for_each(|row| row.site = HOSTILE.into());
    run.slow_calls.iter_mut().for_each(|row| row.site = HOSTILE.into());
    run.heap_contents.iter_mut().for_each(|row| {
        row.lines = LineContents::encode(&[LineContents(HOSTILE.into(), 1, 9)]);
    });
    // Without the policy, nothing but escaping protects the page.
    let html = page(&run).replacen("http-equiv=\"Content-Security-Policy\"", "name=\"none\"", 1);
    let steps = "
        await press(all('#memory canvas')[0], 'ArrowRight');
        await press(all('#heap-map canvas')[0], 'ArrowUp');
        await press(all('#heap-map canvas')[0], 'Enter');
        await press(all('#latency-map canvas')[0], 'ArrowUp');
        await press(all('#latency-map canvas')[0], 'Enter');
        all('details').forEach((part) => (part.open = true));
        await frame();
        await new Promise((done) => setTimeout(done, 200));
        return { hurt: typeof window.hurt, images: all('img[src=x]').length,
            scripts: document.scripts.length, seen: document.body.innerText };";
    let found = drive(&chromium, &html, "", steps);
    assert_eq!(found["hurt"], "undefined");
    assert_eq!(found["images"], 0);
    assert_eq!(found["scripts"], 2, "the model and the script of the page");
    let seen = found["seen"].as_str().expect("text");
    assert!(seen.matches("onerror=\"window.hurt=1\"").count() >= 8, "it is shown as text");
}

#[test]
fn the_page_allows_no_network_and_reads_without_a_script() {
    let Some(visit) = visit() else { return };
    // All tests here run the page under this policy.
    assert!(visit.html.contains("content=\"default-src 'none'; script-src 'sha256-"));
    // Without its script the page has answers, all traces and all tables.
    let plain = visit.html.split("<script").next().expect("the page");
    for part in ["Which allocator?", "<h2>service</h2>", "<h2>json</h2>", "data-name=\"memory\""] {
        assert!(plain.contains(part), "{part}");
    }
}

#[test]
fn absurd_figures_and_empty_runs_open() {
    let Some(chromium) = chromium() else { return };
    let mut run = made_up_runs::run(&Wish { samples: 50, calls: 1000, ..Wish::default() });
    let most = |at: usize, value: &mut u64| *value = [u64::MAX, 0, 1][at % 3];
    for (at, row) in run.samples.iter_mut().enumerate() {
        most(at, &mut row.resident_bytes);
        most(at + 1, &mut row.live_bytes);
        most(at / 2, &mut row.clock_bytes);
    }
    run.attributions.iter_mut().enumerate().for_each(|(at, row)| most(at, &mut row.live_bytes));
    run.slow_calls.iter_mut().enumerate().for_each(|(at, row)| most(at, &mut row.event));
    run.slow_calls.iter_mut().enumerate().for_each(|(at, row)| most(at, &mut row.nanoseconds));
    run.heap_map.iter_mut().step_by(3).for_each(|row| row.cells = "99999999p\u{fffd}0.".into());
    run.heap_contents.iter_mut().for_each(|row| row.row = u32::MAX);
    run.latency_map.iter_mut().step_by(2).for_each(|row| row.columns = u32::MAX);
    run.latency_map.iter_mut().step_by(5).for_each(|row| row.cells = "x _99999999999999 1".into());
    run.manifest.traces[0].marks = vec![ProgramMark { event: u64::MAX, name: String::new() }];
    let steps = "
        for (const canvas of all('canvas')) {
            await press(canvas, 'ArrowRight');
            await press(canvas, '+');
            await press(canvas, 'Enter');
            await press(canvas, '0');
        }
        await choose('#axis', 'clock');
        await choose('#memory-mode', 'resident');
        return all('canvas').length;";
    assert!(drive(&chromium, &page(&run), "", steps).as_u64().is_some_and(|plots| plots > 3));
    // Traces without a single row, and no trace at all.
    run.samples.clear();
    let mut nothing = Run::new(run.manifest.clone());
    let steps = "return [all('canvas').length, all('section.trace').length];";
    assert_eq!(drive(&chromium, &page(&nothing), "", steps), serde_json::json!([0, 1]));
    nothing.manifest.traces.clear();
    nothing.manifest.backends.clear();
    assert_eq!(drive(&chromium, &page(&nothing), "", steps), serde_json::json!([0, 0]));
}

/// Twenty names of backends.
const TWENTY: [&str; 20] = [
    "malloc",
    "pymalloc",
    "bump",
    "null",
    "mimalloc",
    "tcmalloc",
    "jemalloc",
    "pymalloc@3.9",
    "jemalloc:dirty_decay_ms=0",
    "python@3.11",
    "snmalloc",
    "freelist+malloc",
    "rpmalloc",
    "dlmalloc",
    "tlsf",
    "talc",
    "buddy",
    "scudo",
    "so:/usr/lib/libhoard.so",
    "so:/opt/lib/libhoard.so",
];

/// A page of so many made-up traces and backends.
fn page_of(traces: &[&str], backends: &[&str]) -> String {
    let wish = Wish { traces, backends, samples: 60, calls: 20_000, ..Wish::default() };
    page(&made_up_runs::run(&Wish { repetitions: 1, threads: 2, ..wish }))
}

#[test]
fn twenty_backends_stay_usable() {
    let Some(chromium) = chromium() else { return };
    let steps = "
        const plots = () => all('#memory canvas').length;
        const counts = [plots(), document.documentElement.scrollWidth - innerWidth];
        await click(all('button').find((button) => button.textContent === 'none'));
        counts.push(plots());
        await click(chipOf('talc'));
        counts.push(plots());
        return [counts, location.hash];";
    let found = drive(&chromium, &page_of(&["service"], &TWENTY), "", steps);
    let counts: Vec<i64> = serde_json::from_value(found[0].clone()).expect("counts");
    assert_eq!(counts[0], 19, "a plot for each backend but the floor");
    assert!(counts[1] <= 0, "the page is no wider than the window: {counts:?}");
    assert_eq!(counts[2..], [0, 1]);
    assert!(found[1].as_str().is_some_and(|hash| hash.starts_with("#off=0.1.2.3.4")), "{found}");
}

#[test]
fn twenty_traces_stay_usable() {
    let Some(chromium) = chromium() else { return };
    let names: Vec<String> = (1..=20).map(|number| format!("trace {number}")).collect();
    let traces: Vec<&str> = names.iter().map(String::as_str).collect();
    let steps = "
        const visible = 'section.trace:not([hidden])';
        const found = [all(visible).length];
        await choose('#trace', '19');
        return [...found, all(visible).length, location.hash, textOf(`${visible} h2`)];";
    let found = drive(&chromium, &page_of(&traces, &["malloc", "null"]), "", steps);
    assert_eq!(found, serde_json::json!([1, 1, "#trace=20", "trace 20"]));
}

/// Everything of the report but the tables of the record.
fn report_texts(folder: &Path) -> String {
    let mut text = String::new();
    for file in ["index.html", "summary.md", "summary.csv", "percentiles.csv"] {
        text += &std::fs::read_to_string(folder.join(file)).expect("a file of the report");
    }
    text
}

#[test]
fn a_private_report_has_no_lines_and_no_command() {
    let secrets = ["decoder.py", "handlers_and_views", "service.py", "importlib", "secret-command"];
    let mut run = made_up_runs::run(&Wish { samples: 100, calls: 100_000, ..Wish::default() });
    for trace in &mut run.manifest.traces {
        trace.facts.insert("program".into(), "/usr/bin/secret-command --token 7".into());
        trace.path = "/home/secret-command/service.trace".into();
    }
    let folder = scratch("private");
    let _ = std::fs::remove_dir_all(&folder);
    run.save(&folder).expect("saved");
    let open = page(&run);
    for secret in secrets {
        assert!(open.contains(secret), "{secret} is there to be left out");
    }
    let out = folder.join("closed");
    let mut report = heaplay();
    let printed =
        expect(0, report.arg("report").arg(&folder).arg("--out").arg(&out).arg("--private"));
    let closed = report_texts(&out) + &printed;
    for secret in secrets {
        assert!(!closed.contains(secret), "{secret}");
    }
    assert!(closed.contains("line 1"), "lines have numbers");
    // No field of the run has them, so no picture can.
    let bare = without_private(run.clone());
    let described = format!("{bare:?}");
    for secret in secrets {
        assert!(!described.contains(secret), "{secret}");
    }
    // The same line has the same number in all tables, and figures stay.
    let pairs: BTreeSet<(&str, &str)> = (run.attributions.iter().zip(&bare.attributions))
        .map(|(old, new)| (old.site.as_str(), new.site.as_str()))
        .chain(
            (run.unit_retention.iter().zip(&bare.unit_retention))
                .map(|(old, new)| (old.site.as_str(), new.site.as_str())),
        )
        .chain(
            (run.slow_calls.iter().zip(&bare.slow_calls))
                .map(|(old, new)| (old.site.as_str(), new.site.as_str())),
        )
        .collect();
    let names: BTreeSet<&str> = pairs.iter().map(|pair| pair.0).collect();
    assert_eq!(names.len(), pairs.len(), "{pairs:?}");
    // Figures stay, and the lines of samples are numbers as everywhere.
    for (old, new) in run.samples.iter().zip(&bare.samples) {
        assert_eq!(&Sample { lines: new.lines.clone(), ..old.clone() }, new);
        let lines =
            LineContents::decode(&old.lines).into_iter().zip(LineContents::decode(&new.lines));
        for (old, new) in lines {
            let is_known = pairs.contains(&(old.0.as_str(), new.0.as_str()));
            assert!((old.1, old.2) == (new.1, new.2) && (old.0 == new.0 || is_known), "{old:?}");
        }
    }
}

#[test]
fn ratios_of_time_are_those_of_the_comparisons() {
    let Some(chromium) = chromium() else { return };
    let wish = Wish { backends: &BACKENDS, repetitions: 6, samples: 60, ..Wish::default() };
    // Each repetition has its own drift: the ratio of the medians is another than that within them.
    let run = made_up_runs::run(&wish);
    let steps = "
        const table = visibleTable('time');
        const heads = [...table.tHead.rows[0].cells].map((head) => head.dataset.name);
        return [heads, rowsOf(table), rowsOf(visibleTable('comparisons')),
            table.caption.textContent];";
    let found = drive(&chromium, &page(&run), "", steps);
    let table = |at: usize| -> Vec<Vec<String>> {
        serde_json::from_value(found[at].clone()).expect("rows")
    };
    let heads: Vec<String> = serde_json::from_value(found[0].clone()).expect("names");
    let column = heads.iter().position(|head| head == "ratio to malloc").expect("the ratio");
    let mut compared = 0;
    for row in table(1) {
        let pair = format!("{} : malloc", row[0]);
        let Some(other) = table(2).into_iter().find(|other| other[0] == pair) else { continue };
        assert_eq!(row[column].split(' ').next(), Some(other[1].as_str()), "{pair}");
        compared += 1;
    }
    assert!(compared >= 2, "{found}");
    assert!(found[3].as_str().is_some_and(|text| text.contains("in the same repetition")));
}

#[test]
fn an_opened_cell_takes_the_focus_and_escape_closes_it() {
    let Some(visit) = visit() else { return };
    for kind in ["pointer", "keyboard"] {
        assert_eq!(visit.text(&format!("/focus/{kind}/id")), "heap-detail", "{kind}");
        assert_eq!(visit.at(&format!("/focus/{kind}/isInWindow")), true, "{kind}");
        assert_eq!(visit.at(&format!("/focus/{kind}/afterEscape")), "", "{kind}");
        assert_eq!(visit.at(&format!("/focus/{kind}/focusAfter")), "CANVAS", "{kind}");
    }
    assert!(visit.text("/focus/pointer/text").contains("none at these calls"));
}

#[test]
fn what_a_click_or_an_entry_does_has_a_message() {
    let Some(visit) = visit() else { return };
    for (text, range) in [("refused", "/badRange"), ("refused", "/emptyRange")] {
        let message = visit.text(&format!("{range}/message"));
        assert!(message.contains(&format!("from 0 to {CALLS}")), "{text}: {message}");
        assert_eq!(visit.segment(&format!("{range}/calls")), (0, CALLS), "{range}");
    }
    assert!(visit.text("/linkMessage").contains("this view"));
    assert!(visit.text("/percentilesMessage").contains("All percentiles"));
    assert_eq!(visit.at("/moved"), 0, "the first reading moves nothing");
}

#[test]
fn sentences_fit_the_zoom_the_theme_and_the_backends() {
    let Some(visit) = visit() else { return };
    let cell = format!("One cell covers {} calls", count((CALLS + 120) / 240));
    let cell = plain(&cell);
    for at in 0..2 {
        let whole = plain(visit.text(&format!("/widths/whole/{at}")));
        assert!(whole.contains(&cell) && !whole.contains("segment"), "{whole}");
        let zoomed = plain(visit.text(&format!("/widths/zoomed/{at}")));
        assert!(zoomed.contains("The segment of 10 calls touches 1 cell"), "{zoomed}");
    }
    assert_eq!(visit.at("/widths/ofWhole"), &serde_json::json!([false, true]));
    assert!(visit.text("/shades/dark").starts_with("The lighter"));
    assert!(visit.text("/shades/light").starts_with("The darker"));
    assert_eq!(visit.at("/none/note"), true);
    for table in ["time", "comparisons", "memory", "percentiles", "lines", "slow-calls"] {
        let rows = visit.at(&format!("/none/rows/{table}"));
        assert!(rows.as_u64().is_none_or(|rows| rows == 0), "{table}: {rows}");
    }
}

#[test]
fn numbers_sort_falling_first_and_operations_by_size() {
    let Some(visit) = visit() else { return };
    assert_eq!(visit.text("/firstClick/live"), "descending");
    assert_eq!(visit.text("/firstClick/line"), "ascending");
    let shown = visit.cells("/bySize");
    let sizes: Vec<f64> = shown
        .iter()
        .map(|row| {
            let size = row[3].split(" of ").nth(1).expect("a size");
            let (number, unit) = size.split_once(' ').expect("a unit");
            let units = ["B", "KiB", "MiB", "GiB"];
            let power = units.iter().position(|known| *known == unit).expect("a known unit");
            number.parse::<f64>().expect("a number") * 1024_f64.powi(power as i32)
        })
        .collect();
    assert!(sizes.len() > 2 && sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
}

/// A picture of the whole page has all plots, a wide table scrolls in its box and shows it, and a column
/// of windows has its meaning.
#[test]
fn plots_outside_the_window_and_wide_tables_are_shown() {
    let Some(chromium) = chromium() else { return };
    let html = page_of(&["service"], &BACKENDS);
    let steps = r#"
        const isPainted = (canvas) =>
          canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((one) => one);
        const canvases = all("canvas");
        for (let frames = 0; frames < 900 && !canvases.every(isPainted); frames += 1) await frame();
        const boxes = all(".scroll").map((box) => getComputedStyle(box));
        return {
          plots: canvases.length,
          blank: canvases.filter((canvas) => !isPainted(canvas)).length,
          boxes: boxes.length,
          plain: boxes.filter((box) => box.overflowX !== "auto" || !box.backgroundImage.includes("gradient"))
            .length,
          excess: document.documentElement.scrollWidth - innerWidth,
          titles: all("[data-name=machine-noise] th button[title]").map((button) => button.title),
        };"#;
    let found = drive(&chromium, &html, "", steps);
    assert!(found["plots"].as_u64() > Some(8) && found["boxes"].as_u64() > Some(4), "{found}");
    assert_eq!(found["blank"], 0, "{found}");
    assert_eq!(found["plain"], 0, "{found}");
    assert!(found["excess"].as_i64() <= Some(0), "{found}");
    assert_eq!(found["titles"].as_array().map(Vec::len), Some(3), "{found}");
}

#[test]
fn a_picture_that_is_not_beside_the_page_is_a_sentence() {
    let Some(visit) = visit() else { return };
    assert_eq!(visit.at("/missing/images"), 0);
    assert!(visit.text("/missing/text").contains("is a file of the run folder"));
}
