//! The report of made-up runs: no picture is blank or cut off, no label lies on another, and a
//! second drawing gives the same bytes. The pictures stay in the target folder for a person to look
//! at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::made_up_runs::{self, Wish};
use crate::support::made_up_sides;
use crate::support::made_up_threads;
use crate::support::made_up_traces::shape;
use heaplay::report::{
    AgeBar, AgeCurve, ArenaMap, ArenaStrip, CHARTS, Canvas, HEIGHT, LiveSegment, Picture, PoolCell,
    ScalingFigures, SizeBar, TRACE_CHARTS, TraceReport, TraceShape, WIDTH, arenas, draw, page,
    render, scaling, scorecard, side_by_side, summary,
};
use heaplay::results::{
    Attribution, LibraryLineEntry, Metric, Moment, ProcessEntry, ReturnedUnit, Run, Scope, Status,
    UnitRetention, WhatIf,
};
use heaplay::spec::BackendSpec;

/// Where pictures are left for a person to look at.
fn album(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("album").join(name)
}

/// Every picture of a run with its name.
fn pictures(run: &Run) -> Vec<(String, Picture)> {
    let trace_reports = TraceReport::all(run);
    let mut all: Vec<(String, Picture)> = scorecard(&trace_reports)
        .map(|chart| ("summary".to_owned(), draw(&chart)))
        .into_iter()
        .collect();
    for trace_report in &trace_reports {
        for kind in CHARTS {
            let name = kind.about.name;
            let begun = std::time::Instant::now();
            let chart = kind.describe(trace_report);
            assert!(chart.iter().all(|chart| !chart.caption().title.is_empty()), "{name}");
            let picture = chart.map(|chart| draw(&chart));
            let encoded =
                picture.as_ref().map(|picture| picture.canvas.png().expect("encoded").len());
            let spent = begun.elapsed();
            // Only the optimised build is held to it: the other is slower by much, and not what
            // people run.
            let limit = if cfg!(debug_assertions) { 20.0 } else { 2.0 };
            assert!(spent.as_secs_f64() < limit, "{name} took {spent:?} for {encoded:?} bytes");
            let trace = &trace_report.trace.name;
            all.extend(picture.map(|picture| (format!("{trace}--{name}"), picture)));
        }
    }
    all
}

/// Where labels may begin: a few pixels left of the title's edge.
const MARGIN: f64 = 50.0;

/// Labels that overlap, and labels that are not wholly inside the picture.
fn faults(canvas: &Canvas) -> Vec<String> {
    let labels = canvas.labels();
    let mut faults = Vec::new();
    for (at, a) in labels.iter().enumerate() {
        let inside = a.left >= 8.0
            && a.top >= 8.0
            && a.right <= f64::from(WIDTH) - 8.0
            && a.bottom <= f64::from(HEIGHT) - 8.0;
        if !inside {
            faults.push(format!("`{}` leaves the picture: {a:?}", a.text));
        }
        // Names of rows; the label of an axis is upwards, its numbers are short.
        let is_name = a.right - a.left > MARGIN.max(a.bottom - a.top);
        if is_name && a.left < MARGIN {
            faults.push(format!("`{}` sticks out of the margin: {a:?}", a.text));
        }
        // Title, sub-title and footnotes are sentences.
        let sentence = a.left < 60.0 && (a.top < 90.0 || a.bottom > f64::from(HEIGHT) - 75.0);
        if sentence && a.text.ends_with('…') {
            faults.push(format!("`{}` breaks off", a.text));
        }
        for b in labels[at + 1..].iter().filter(|b| a.overlaps(b)) {
            faults.push(format!("`{}` overlaps `{}`", a.text, b.text));
        }
    }
    faults
}

/// Ink in the outermost pixels means that something was cut off; little ink below the title, that
/// nothing was drawn.
fn ink_faults(canvas: &Canvas) -> Vec<String> {
    let pixels = canvas.pixels();
    let (wide, high) = (WIDTH as usize, HEIGHT as usize);
    let inked = |x: usize, y: usize| pixels[(y * wide + x) * 3..][..3] != [255, 255, 255];
    let mut faults = Vec::new();
    let at_border = (0..wide).flat_map(|x| (0..6).flat_map(move |k| [(x, k), (x, high - 1 - k)]));
    let at_sides = (0..high).flat_map(|y| (0..6).flat_map(move |k| [(k, y), (wide - 1 - k, y)]));
    if let Some(place) = at_border.chain(at_sides).find(|&(x, y)| inked(x, y)) {
        faults.push(format!("ink at the border, {place:?}"));
    }
    let plot = (150..high - 90).flat_map(|y| (80..wide - 80).map(move |x| (x, y)));
    let ink = plot.filter(|&(x, y)| inked(x, y)).count();
    if ink < 4000 {
        faults.push(format!("only {ink} inked pixels in the plot"));
    }
    faults
}

fn inspect(name: &str, run: &Run) {
    let folder = album(name);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let mut all = Vec::new();
    for (file, picture) in pictures(run) {
        fs::write(folder.join(format!("{file}.png")), picture.canvas.png().expect("encoded"))
            .expect("written");
        for fault in faults(&picture.canvas).into_iter().chain(ink_faults(&picture.canvas)) {
            all.push(format!("{name}/{file}: {fault}"));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn the_scorecard_has_its_rows() {
    for (traces, mean) in [(&["service"][..], false), (&["service", "json"][..], true)] {
        let backends = ["malloc", "pymalloc", "bump"];
        let run = made_up_runs::run(&Wish { traces, backends: &backends, ..Wish::default() });
        let picture = draw(&scorecard(&TraceReport::all(&run)).expect("a scorecard"));
        let count = |text: &str| picture.canvas.labels().iter().filter(|l| l.text == text).count();
        for backend in backends {
            assert_eq!(count(backend), traces.len() + usize::from(mean), "{backend} of {traces:?}");
        }
        assert_eq!(count("geometric mean"), usize::from(mean));
    }
}

#[test]
fn one_backend() {
    inspect("one", &made_up_runs::run(&Wish { backends: &["pymalloc"], ..Wish::default() }));
}

#[test]
fn two_backends_stand_beside_their_difference() {
    let wish = Wish { backends: &["malloc", "pymalloc"], samples: 10_000, ..Wish::default() };
    inspect("two", &made_up_runs::run(&wish));
}

#[test]
fn the_usual_run() {
    let traces = ["service", "json", "churn", "parse", "text"];
    inspect("standard", &made_up_runs::run(&Wish { traces: &traces, ..Wish::default() }));
}

#[test]
fn five_backends() {
    let long = "so:libtcmalloc_minimal.so.4";
    let backends = [long, "malloc", "pymalloc", "mimalloc", "jemalloc"];
    inspect("five", &made_up_runs::run(&Wish { backends: &backends, ..Wish::default() }));
}

#[test]
fn ten_backends_and_the_floor() {
    let backends = made_up_runs::backends(11);
    inspect("ten", &made_up_runs::run(&Wish { backends: &backends, ..Wish::default() }));
}

#[test]
fn many_traces_and_backends() {
    let traces: Vec<String> = (0..18).map(|k| format!("a-rather-long-trace-name-{k}")).collect();
    let traces: Vec<&str> = traces.iter().map(String::as_str).collect();
    let backends = made_up_runs::backends(5);
    let run = made_up_runs::run(&Wish {
        traces: &traces,
        backends: &backends,
        samples: 50,
        calls: 200_000,
        ..Wish::default()
    });
    let picture = draw(&scorecard(&TraceReport::all(&run)).expect("a scorecard"));
    let folder = album("many");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    fs::write(folder.join("summary.png"), picture.canvas.png().expect("encoded")).expect("written");
    let faults = faults(&picture.canvas);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn ten_thousand_calls_with_few_samples() {
    let wish = Wish {
        backends: &["malloc", "pymalloc", "bump"],
        samples: 12,
        calls: 10_000,
        repetitions: 1,
        ..Wish::default()
    };
    inspect("small", &made_up_runs::run(&wish));
}

#[test]
fn a_million_samples() {
    let wish = Wish {
        backends: &["malloc", "pymalloc"],
        samples: 1_000_000,
        calls: 1_000_000_000,
        ..Wish::default()
    };
    inspect("large", &made_up_runs::run(&wish));
}

/// A peak of a single sample is as high in the picture as one that lasts.
#[test]
fn a_short_peak_is_as_high_as_a_long_one() {
    const SAMPLES: usize = 200_000;
    let high = |from: usize, length: usize| -> usize {
        let wish =
            Wish { backends: &["malloc"], samples: SAMPLES, repetitions: 0, ..Wish::default() };
        let mut run = made_up_runs::run(&wish);
        for (at, sample) in run.samples.iter_mut().enumerate() {
            sample.resident_bytes =
                if (from..from + length).contains(&at) { 200 << 20 } else { 90 << 20 };
        }
        // Figures of the made-up heap would set another scale.
        run.measurements.clear();
        let trace_reports = TraceReport::all(&run);
        let overlay = CHARTS.iter().find(|kind| kind.about.name == "footprint-overlay");
        let chart = overlay.expect("the chart").describe(&trace_reports[0]).expect("described");
        let pixels = draw(&chart).canvas.pixels();
        let wide = WIDTH as usize;
        // The line of malloc is vermilion; its labels stand beside the plot.
        let line = |x: usize, y: usize| {
            let pixel = &pixels[(y * wide + x) * 3..][..3];
            i32::from(pixel[0]) - i32::from(pixel[2]) > 90
        };
        let plot = 150..wide / 2;
        (150..HEIGHT as usize)
            .find(|&y| plot.clone().any(|x| line(x, y)))
            .expect("the line is drawn")
    };
    let long = high(SAMPLES / 10, SAMPLES / 5);
    for at in [SAMPLES / 7, SAMPLES / 5 + 1, SAMPLES / 4 + 17] {
        assert!(high(at, 1).abs_diff(long) <= 1, "at {at}");
    }
}

#[test]
fn a_run_that_was_stopped_half_way() {
    let mut run = made_up_runs::run(&Wish { traces: &["service", "json"], ..Wish::default() });
    run.chunks
        .retain(|chunk| chunk.backend != "pymalloc" || chunk.repetition < 2 && chunk.chunk < 100);
    run.samples.retain(|sample| sample.backend == "malloc" && sample.trace == "service");
    run.latencies.retain(|latency| latency.backend == "malloc" && latency.repetition.is_some());
    run.measurements.clear();
    run.outcomes.truncate(7);
    run.outcomes[3].status = Status::Error;
    run.outcomes[3].reason = "killed by signal 9 <out of memory>".into();
    let folder = album("half");
    let files = render(&run, &folder).expect("written");
    assert!(files.iter().all(|file| file.exists()));
    let page = fs::read_to_string(folder.join("index.html")).expect("a page");
    assert!(
        page.contains("killed by signal 9 &lt;out of memory&gt;"),
        "the reason stands in the page, as text"
    );
    assert!(page.contains("not measured"));
    assert!(summary(&run).contains("failed: "));
    inspect("half", &run);
}

#[test]
fn an_allocator_that_failed_is_no_choice_and_is_named() {
    let backends = ["malloc", "pymalloc", "jemalloc"];
    let mut run = made_up_runs::run(&Wish { backends: &backends, samples: 200, ..Wish::default() });
    run.chunks.retain(|chunk| chunk.backend != "jemalloc");
    run.measurements.retain(|row| row.backend != "jemalloc");
    for outcome in run.outcomes.iter_mut().filter(|outcome| outcome.backend == "jemalloc") {
        outcome.status = Status::Error;
        outcome.reason = "stopped after 9 s, its time limit".into();
    }
    let text = summary(&run);
    let line = text.lines().find(|line| line.starts_with("failed: ")).expect("a line");
    assert!(line.starts_with("failed: jemalloc on service, passes "), "{line}");
    assert!(line.ends_with(" cells: stopped after 9 s, its time limit"), "{line}");
    assert_eq!(text.matches("failed: ").count(), 1, "{text}");
    assert!(text.contains("jemalloc is left out: not measured."), "{text}");
    assert!(text.contains("Choose ") || text.contains("It is a trade"), "{text}");
}

/// A run says what the program has today, of several traces once, and never where that is not recorded.
#[test]
fn a_choice_stands_beside_what_the_program_has_today() {
    let backends = ["malloc", "pymalloc", "jemalloc"];
    let wish = Wish { backends: &backends, samples: 200, ..Wish::default() };
    let own = |spec: &str| ProcessEntry { own_backend: spec.into(), ..ProcessEntry::default() };
    let mut run = made_up_runs::run(&wish);
    assert!(!summary(&run).contains("as recorded"), "not known, so not reported");
    run.manifest.traces[0].process = Some(own("pymalloc@3.12"));
    let text = summary(&run);
    let today = ["Today the program has pymalloc, as recorded", "Keep what you have, pymalloc"];
    assert!(today.iter().any(|sentence| text.contains(sentence)), "{text}");
    run.manifest.traces[0].process = Some(own("malloc:MALLOC_ARENA_MAX=1"));
    let text = summary(&run);
    let today = "This run has not measured malloc:MALLOC_ARENA_MAX=1, which the program has today";
    let warning = text.find(today).expect("a warning");
    let choice =
        ["Choose ", "It is a trade", "Any will do"].iter().find_map(|verb| text.find(verb));
    assert!(warning < choice.expect("a choice"), "the warning comes first: {text}");

    let mut run = made_up_runs::run(&Wish { traces: &["service", "batch"], ..wish });
    for trace in &mut run.manifest.traces {
        trace.process = Some(own("malloc"));
    }
    let text = summary(&run);
    let chosen = text.lines().filter(|line| line.starts_with("For ")).collect::<Vec<_>>();
    assert!(!chosen.is_empty(), "{text}");
    assert!(chosen.iter().all(|line| line.contains("choose ") || line.contains("trade")), "{text}");
    assert!(text.contains("As recorded, all 2 traces have malloc today.\n"), "{text}");
}

/// The answers on a line say what it holds and what a change returns, who calls it, when the peak is, and
/// where another line has a larger bar.
#[test]
fn answers_on_a_line_have_what_is_decided_by() {
    const DECODER: &str = "/usr/lib/python3.12/json/decoder.py:353";
    let wish = Wish { samples: 200, calls: 1_000_000, ..Wish::default() };
    let mut run = made_up_runs::run(&wish);
    let plain = |run: &Run| page(run).replace(['\u{a0}', '\u{202f}'], " ");
    let before = plain(&run);
    let highest = |text: &str| -> String {
        let answer = text.split("Resident memory is highest for: ").nth(1).expect("an answer");
        answer.split("</dd>").next().unwrap_or_default().to_owned()
    };
    assert!(highest(&before).contains(" at call "), "without times it is the call");
    assert!(!before.contains("library code"), "without lines of libraries there is no note");
    assert!(!before.contains("retains more: "), "the first line has the largest bar");

    let trace = &mut run.manifest.traces[0];
    trace.call_times = vec![(0, 0), (1_000_000, trace.recorded_ns)];
    let entry = LibraryLineEntry {
        caller: "/srv/load.py:3".into(),
        callers: 1,
        is_with_callers: true,
        ..LibraryLineEntry::default()
    };
    trace.library_lines.insert(DECODER.to_owned(), entry);
    let own = |row: &&mut Attribution| row.moment == Moment::End && row.backend == "bump";
    let mut rows = run.attributions.iter_mut().filter(own);
    let row = rows.find(|row| row.site.ends_with("service.py:38")).expect("a row");
    row.external_fragmentation_bytes = 40 << 20;
    run.unit_retention.push(UnitRetention {
        trace: "service".into(),
        backend: "pymalloc".into(),
        repetition: 0,
        moment: Moment::End,
        unit: ReturnedUnit::Arena,
        site: DECODER.into(),
        units: 9,
        retained_bytes: 5 << 20,
        returnable_bytes: 4 << 20,
    });
    let checked = |row: &&mut WhatIf| row.site == DECODER && row.backend == "pymalloc";
    if let Some(row) = run.what_ifs.iter_mut().find(checked) {
        (row.resident_before_bytes, row.resident_after_bytes) = (None, None);
    }
    let text = plain(&run);
    for sentence in [
        "decoder.py:353 is library code, called from your line load.py:3.",
        "; if it allocated them last, 4.0 MiB would be returned (predicted).",
    ] {
        assert!(text.contains(sentence), "`{sentence}` is not in {text}");
    }
    assert!(text.contains("decoder.py:353 holds "), "{text}");
    let highest = highest(&text);
    assert!(highest.contains(" after ") && !highest.contains("at call"), "{highest}");
    assert!(summary(&run).contains("called from your line load.py:3."), "the terminal has it, too");
    trace_without_callers(&mut run, DECODER);
    assert!(
        plain(&run)
            .contains("decoder.py:353 is library code: <code>heaplay record --sites=8</code>")
    );
}

fn trace_without_callers(run: &mut Run, line: &str) {
    let lines = &mut run.manifest.traces[0].library_lines;
    lines.insert(line.to_owned(), LibraryLineEntry::default());
}

#[test]
fn the_same_record_draws_the_same_bytes() {
    let run = made_up_runs::run(&Wish { samples: 500, ..Wish::default() });
    let folders = ["first", "second"].map(|name| album("twice").join(name));
    let files = folders.each_ref().map(|folder| render(&run, folder).expect("written"));
    assert_eq!(files[0].len(), 2 + CHARTS.len());
    for (a, b) in files[0].iter().zip(&files[1]) {
        assert!(
            fs::read(a).expect("a file") == fs::read(b).expect("a file"),
            "{} differs",
            a.display()
        );
    }
}

#[test]
fn the_page_needs_no_network() {
    let run = made_up_runs::run(&Wish { samples: 100, calls: 100_000, ..Wish::default() });
    let folder = album("page");
    render(&run, &folder).expect("written");
    let page = fs::read_to_string(folder.join("index.html")).expect("a page");
    for word in ["http:", "https:", "src=\"/", "@import", "<script src", "<link"] {
        assert!(!page.contains(word), "`{word}` in the page");
    }
    for kind in CHARTS {
        let name = kind.about.name;
        assert!(page.contains(&format!("service--{name}.png")), "{name} is not on the page");
    }
}

/// More backends than there are colours. Some are libraries whose paths begin alike.
const MANY: [&str; 17] = [
    "malloc",
    "pymalloc@3.11",
    "pymalloc+mimalloc",
    "mimalloc",
    "jemalloc",
    "rpmalloc",
    "dlmalloc",
    "tlsf",
    "talc",
    "buddy",
    "freelist",
    "snmalloc",
    "scudo",
    "bump",
    "so:/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
    "so:/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0:mi_",
    "null",
];

#[test]
fn many_backends_on_many_traces() {
    let traces = &["service", "json", "churn"];
    let wish = Wish {
        traces,
        backends: &MANY,
        samples: 300,
        calls: 1_000_000,
        repetitions: 2,
        ..Wish::default()
    };
    let mut run = made_up_runs::run(&wish);
    // Fifty times as slow as the others.
    for chunk in run.chunks.iter_mut().filter(|chunk| chunk.backend == "buddy") {
        chunk.nanoseconds *= 50;
    }
    // Every allocator has its row in the picture, by a name of its own.
    let picture = draw(&scorecard(&TraceReport::all(&run)).expect("a scorecard"));
    for name in MANY {
        let label = name.parse::<BackendSpec>().expect("a spec").label();
        let start: String = label.chars().take(12).collect();
        assert!(
            picture.canvas.labels().iter().any(|label| label.text.starts_with(&start)),
            "{name}"
        );
    }
    let text = summary(&run);
    assert!(text.contains("| so:libjemalloc ") && text.contains("| so:libmimalloc "), "{text}");
    inspect("many", &run);
}

/// A forked child lacks what its parent held, and would weigh as much as the parent.
#[test]
fn parts_of_a_life_are_left_out_of_means() {
    let traces = ["service", "json", "child"];
    let mut run = made_up_runs::run(&Wish { traces: &traces, samples: 300, ..Wish::default() });
    let mean = |run: &Run| {
        let folder = album("parts");
        render(run, &folder).expect("written");
        let text = fs::read_to_string(folder.join("summary.csv")).expect("a table");
        let mean = text.lines().find(|line| line.starts_with("geometric mean,malloc"));
        mean.expect("a mean").to_owned()
    };
    let of_three = mean(&run);
    run.manifest.traces[2].facts.insert("forked".into(), "yes".into());
    let text = summary(&run);
    assert!(text.contains("over 2 traces, without child (a forked process)"), "{text}");
    let of_two = made_up_runs::run(&Wish { traces: &traces[..2], samples: 300, ..Wish::default() });
    let (left_out, two) = (mean(&run), mean(&of_two));
    assert_ne!(left_out, of_three);
    assert_eq!(left_out, two);
}

/// The ratios of `comparisons.csv` to malloc, by trace and backend.
fn ratios_to_malloc(folder: &Path) -> BTreeMap<(String, String), f64> {
    let mut reader = csv::Reader::from_path(folder.join("comparisons.csv")).expect("a table");
    let rows = reader.deserialize().map(|row| row.expect("a row"));
    let rows: Vec<BTreeMap<String, String>> = rows.collect();
    let of_malloc = rows.into_iter().filter(|row| row["base"] == "malloc");
    of_malloc
        .map(|row| {
            let ratio = row["time_ratio"].parse().expect("a ratio");
            ((row["trace"].clone(), row["candidate"].clone()), ratio)
        })
        .collect()
}

#[test]
fn the_scorecard_as_a_table_holds_the_figures_and_their_means() {
    let traces = ["service", "json", "churn"];
    let run = made_up_runs::run(&Wish { traces: &traces, samples: 300, ..Wish::default() });
    let folder = album("tables");
    render(&run, &folder).expect("written");
    assert_eq!(fs::read_to_string(folder.join("summary.md")).expect("Markdown"), summary(&run));
    let mut reader = csv::Reader::from_path(folder.join("summary.csv")).expect("a table");
    let header: Vec<String> =
        reader.headers().expect("a header").iter().map(str::to_owned).collect();
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let value = |trace: &str, backend: &str, column: &str| -> Option<f64> {
        let at = header.iter().position(|name| name == column).expect("the column");
        rows.iter().find(|row| &row[0] == trace && &row[1] == backend)?[at].parse().ok()
    };
    assert_eq!(rows.len(), (traces.len() + 1) * run.manifest.backends.len());
    let compared = ratios_to_malloc(&folder);
    for backend in ["malloc", "pymalloc", "bump"] {
        for trace in traces {
            // The record itself is the reference.
            let resident = run.values(trace, backend, Scope::All, Metric::ResidentPeakBytes)[0];
            let live = run.values(trace, "malloc", Scope::All, Metric::LivePeakBytes)[0];
            assert_eq!(
                value(trace, backend, Metric::ResidentPeakBytes.name()),
                Some(resident),
                "{trace} {backend}"
            );
            let ratio = value(trace, backend, "resident_peak_by_live_peak").expect("a ratio");
            assert!((ratio - resident / live).abs() < 1e-3, "{trace} {backend}: {ratio}");
            // The ratio within the repetitions, as the run compared the two.
            let found = value(trace, backend, "time_ratio").expect("a ratio");
            let expected = match compared.get(&(trace.to_owned(), backend.to_owned())) {
                Some(ratio) => *ratio,
                None => {
                    assert_eq!(backend, "malloc", "{trace}");
                    1.0
                }
            };
            assert!((found - expected).abs() < 1e-3, "{trace} {backend}: {found}, {expected}");
        }
        for column in ["time_nanoseconds_a_call", "time_ratio", "resident_peak_by_live_peak"] {
            let logs = traces.map(|trace| value(trace, backend, column).expect("a figure").ln());
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
            let found = value("geometric mean", backend, column).expect("a mean");
            assert!((found / mean - 1.0).abs() < 2e-3, "{backend} {column}: {found} and {mean}");
        }
    }
}

/// The fastest loop may leave the program with the most page faults: then the answer says who leads
/// with the program's writes, and the choice is by these.
#[test]
fn the_answer_has_the_first_writes_where_they_change_the_order() {
    let wish = Wish { samples: 300, backends: &["malloc", "pymalloc", "null"], ..Wish::default() };
    let mut run = made_up_runs::run(&wish);
    let sentence = "With first writes";
    let text = summary(&run);
    assert!(text.contains("On time pymalloc leads") && !text.contains(sentence), "{text}");
    assert!(
        text.contains("Choose pymalloc: ") || text.contains("trade: pymalloc for time"),
        "{text}"
    );
    let is_touch = |metric| metric == Metric::FirstTouchNanoseconds;
    for row in run.measurements.iter_mut().filter(|row| is_touch(row.metric)) {
        row.value *= if row.backend == "pymalloc" { 20.0 } else { 1.0 };
    }
    let text = summary(&run);
    let end = text.split("On time pymalloc leads").nth(1).expect("the answer").to_owned();
    assert!(end.contains(&format!("{sentence} malloc leads at ")), "{text}");
    assert!(end.contains(", and pymalloc takes "), "{text}");
    assert!(end.contains("Choose malloc: ") || end.contains("trade: malloc for time"), "{text}");
}

#[test]
fn the_terminal_table() {
    let wish =
        Wish { traces: &["service", "json"], samples: 400, calls: 1_000_000, ..Wish::default() };
    let text = summary(&made_up_runs::run(&wish));
    // One term for the end, in headings and in sentences.
    assert!(!text.to_lowercase().contains("at exit"), "{text}");
    insta::assert_snapshot!(text);
}

/// A run of two traces with three fixed repetitions. pymalloc takes 0.3 of malloc's time on `service`. On
/// `json` it takes malloc's time multiplied by one of `factors`, by repetition.
fn run_with_json_factors(factors: [f64; 3]) -> Run {
    let wish = Wish {
        traces: &["service", "json"],
        backends: &["malloc", "pymalloc", "null"],
        samples: 300,
        calls: 1_000_000,
        repetitions: 3,
        ..Wish::default()
    };
    let mut run = made_up_runs::run(&wish);
    let of_malloc: BTreeMap<(String, u32, u32), u64> = run
        .chunks
        .iter()
        .filter(|chunk| chunk.backend == "malloc")
        .map(|one| ((one.trace.clone(), one.repetition, one.chunk), one.nanoseconds))
        .collect();
    for chunk in run.chunks.iter_mut().filter(|chunk| chunk.backend == "pymalloc") {
        let at = chunk.repetition as usize;
        let steady = [0.300, 0.301, 0.302];
        let factor = if chunk.trace == "json" { factors[at] } else { steady[at] };
        let base_ns = of_malloc[&(chunk.trace.clone(), chunk.repetition, chunk.chunk)];
        chunk.nanoseconds = (base_ns as f64 * factor) as u64;
    }
    run
}

/// A mean over the traces says on which of them its comparison is open.
#[test]
fn a_mean_ratio_names_the_traces_on_which_it_is_open() {
    let answer = |factors| {
        let text = summary(&run_with_json_factors(factors));
        text.lines().find(|line| line.starts_with("Against malloc")).expect("an answer").to_owned()
    };
    let open = answer([0.7, 1.2, 1.1]);
    assert!(open.contains(" time (not separable on json)"), "{open}");
    let apart = answer([0.500, 0.501, 0.502]);
    assert!(!apart.contains("separable"), "{apart}");
}

/// Ranges that do not overlap, and that three repetitions cannot separate.
#[test]
fn too_few_repetitions_are_named_with_the_number_that_is_needed() {
    let run = run_with_json_factors([0.55, 0.70, 0.60]);
    let text = summary(&run);
    let row = text.lines().find(|line| line.contains("pymalloc : malloc") && line.contains("json"));
    let row = row.expect("the comparison");
    assert!(row.contains("too few repetitions (about "), "{row}");
    let advice = "3 repetitions are too few to separate pymalloc from malloc: about ";
    assert!(text.contains(advice) && text.contains("Without -r a run repeats until"), "{text}");
    let folder = album("too-few-repetitions");
    render(&run, &folder).unwrap();
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    assert!(page.contains(advice) && page.contains(" (too few repetitions)"), "no advice");
    let level = summary(&run_with_json_factors([0.7, 1.2, 1.1]));
    assert!(level.contains("| not separable |") && !level.contains("too few"), "{level}");
}

/// The backends of CPython's allocators serve CPython's domains only.
#[test]
fn a_pymalloc_that_serves_no_call_is_named_as_what_serves_them() {
    let backends = ["malloc", "pymalloc@3.9", "freelist+malloc", "python@3.11", "null"];
    let wish = Wish { samples: 300, calls: 1_000_000, backends: &backends, ..Wish::default() };
    let mut run = made_up_runs::run(&wish);
    let sentence = "pymalloc@3.9, freelist+malloc and python@3.11 serve only calls of CPython's domains \
                    mem and obj, and this trace has none: here they are malloc, and their figures are \
                    those of malloc.\n";
    for (known, is_named) in [(None, false), (Some(true), false), (Some(false), true)] {
        run.manifest.traces[0].has_pymalloc_calls = known;
        let text = summary(&run);
        assert_eq!(text.contains(&format!("\n{sentence}")), is_named, "{text}");
    }
    let folder = album("no-python-calls");
    render(&run, &folder).unwrap();
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    assert!(page.contains("here they are malloc, and their figures are those of malloc."));
}

/// An older record has the huge pages of the whole process: no more than what is resident is shown.
#[test]
fn memory_on_huge_pages_is_a_part_of_what_is_resident() {
    let wish = Wish { samples: 300, calls: 1_000_000, ..Wish::default() };
    let mut run = made_up_runs::run(&wish);
    let of_malloc = |row: &&mut heaplay::results::Measurement, metric| {
        row.backend == "malloc" && row.metric == metric
    };
    let resident =
        run.measurements.iter_mut().find(|row| of_malloc(row, Metric::ResidentEndBytes)).unwrap();
    let mut huge = resident.clone();
    resident.value = 9.2 * 1_048_576.0;
    (huge.metric, huge.value) = (Metric::HugePagesEndBytes, 12.0 * 1_048_576.0);
    run.measurements.push(huge);
    let text = summary(&run).replace('\u{a0}', " ");
    let expected = "On huge pages at the end: malloc 9.2 MiB (100 % of what is resident).";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn the_pictures_of_a_trace() {
    let folder = album("trace");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let mut all = Vec::new();
    for scale in [1, 1000] {
        let shape = shape(scale);
        for (name, describe) in TRACE_CHARTS {
            let chart = describe(&shape).expect("something to draw");
            let picture = draw(&chart);
            assert!(
                picture
                    .canvas
                    .labels()
                    .iter()
                    .any(|label| label.text.starts_with("synthesised from"))
            );
            let png = picture.canvas.png().expect("encoded");
            assert!(png == draw(&chart).canvas.png().expect("encoded"), "{name}: other bytes");
            fs::write(folder.join(format!("{name}-{scale}.png")), png).expect("written");
            let found = faults(&picture.canvas).into_iter().chain(ink_faults(&picture.canvas));
            all.extend(found.map(|fault| format!("{name} × {scale}: {fault}")));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_trace_of_nothing_or_of_one_call_does_not_break_its_pictures() {
    let one = TraceShape {
        calls: 1,
        sizes: vec![SizeBar { up_to: 16, requests: 1, bytes: 0 }],
        ages: vec![AgeCurve {
            label: "all".into(),
            bars: vec![AgeBar { from: u64::MAX, ended: 0, survived: 1 }],
        }],
        weights: vec![vec![0.0]],
        live: vec![LiveSegment {
            event: u64::MAX,
            clock: u64::MAX,
            bytes: (0, 0),
            blocks: (0, u64::MAX),
        }],
        ..TraceShape::default()
    };
    for shape in [TraceShape::default(), one] {
        for (_, describe) in TRACE_CHARTS {
            let _ = describe(&shape).map(|chart| draw(&chart));
        }
    }
}

#[test]
fn the_pictures_of_threads_and_of_scaling() {
    let folder = album("threads");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let mut all = Vec::new();
    let mut see = |name: String, picture: &Picture| {
        let png = picture.canvas.png().expect("encoded");
        fs::write(folder.join(format!("{name}.png")), png).expect("written");
        let found = faults(&picture.canvas).into_iter().chain(ink_faults(&picture.canvas));
        all.extend(found.map(|fault| format!("{name}: {fault}")));
    };
    let (_, describe) = TRACE_CHARTS.iter().find(|(name, _)| *name == "threads").expect("a chart");
    for count in [2, 3, 9, 16, 17, 393] {
        let threads = Some(made_up_threads::threads(count, 30_804_506));
        let chart = describe(&TraceShape { threads, ..shape(1) }).expect("something to draw");
        see(format!("threads-{count}"), &draw(&chart));
    }
    let many = made_up_runs::backends(9);
    let long: Vec<String> = (0..8).map(|at| format!("a-rather-long-trace-name-{at}")).collect();
    for backends in [&many[..1], &many[..4], &many] {
        for copies in [false, true] {
            let of = |trace: &str| made_up_threads::scaling(trace, backends, copies);
            let count = backends.len();
            let groups = [vec![of("service")], long.iter().map(|name| of(name)).collect()];
            for (group, traces) in groups.iter().enumerate() {
                for (at, chart) in scaling(traces).iter().enumerate() {
                    see(format!("scaling-{count}-{copies}-{group}-{at}"), &draw(chart));
                }
            }
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    assert!(scaling(&[]).is_empty());
    let none = ScalingFigures {
        steps: vec![],
        lines: vec![],
        ..made_up_threads::scaling("t", &many, true)
    };
    assert!(scaling(&[none]).is_empty());
}

/// A map of so many arenas, made up.
fn arena_map(count: u64) -> ArenaMap {
    let mut dice = made_up_runs::Dice::new(5);
    let mut strip = |birth: u64, share: f64| ArenaStrip {
        birth: birth * 3,
        pools: (0..63 + birth % 2)
            .map(|_| {
                let block = 16 * (1 + (dice.next() * 32.0) as u64);
                let capacity = (16384 - 48) / block;
                let live = if dice.next() < share {
                    (dice.next() * (capacity + 1) as f64) as u64
                } else {
                    0
                };
                PoolCell { block, live, capacity }
            })
            .collect(),
    };
    ArenaMap {
        name: "made-up".into(),
        synthesised: Some("synthesised from snapshots: vouches for 43 % of its bytes".into()),
        backend: "pymalloc@3.11".into(),
        arena: 1 << 20,
        pool: 16 << 10,
        peak: (0..count).map(|birth| strip(birth, 0.9)).collect(),
        end: (0..count).step_by(2).map(|birth| strip(birth, 0.2)).collect(),
    }
}

#[test]
fn the_picture_of_arenas() {
    let folder = album("trace");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let mut all = Vec::new();
    for count in [1, 8, 40, 3000] {
        let picture = draw(&arenas(&arena_map(count)).expect("something to draw"));
        let png = picture.canvas.png().expect("encoded");
        fs::write(folder.join(format!("arenas-{count}.png")), png).expect("written");
        let found = faults(&picture.canvas).into_iter().chain(ink_faults(&picture.canvas));
        all.extend(found.map(|fault| format!("{count} arenas: {fault}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    assert!(arenas(&ArenaMap::default()).is_none());
    let gone = ArenaMap { end: vec![], ..arena_map(2) };
    assert!(arenas(&gone).expect("a peak").caption().title.contains("were returned"));
}

#[test]
fn two_sides() {
    let folder = album("sides");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let mut all = Vec::new();
    let of_recordings = [1, 1024, 1 << 40]
        .map(|factor| (format!("recordings-{factor}"), made_up_sides::recordings(factor)));
    let compared = of_recordings.into_iter().chain([("runs".to_owned(), made_up_sides::runs())]);
    for (name, sides) in compared {
        for (at, part) in sides.parts.iter().enumerate() {
            for (measure, chart) in side_by_side(&sides, part) {
                let canvas = draw(&chart).canvas;
                let file = format!("{name}-{at}-{measure}.png");
                fs::write(folder.join(&file), canvas.png().expect("encoded")).expect("written");
                let found = faults(&canvas).into_iter().chain(ink_faults(&canvas));
                all.extend(found.map(|fault| format!("{file}: {fault}")));
            }
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}
