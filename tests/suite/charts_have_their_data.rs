//! A chart is a description that can be serialised: it has its sentences, its axes with units, and the
//! values of the record themselves, so that other renderers than that of PNG can draw it.

use heaplay::report::{CHARTS, Chart, TRACE_CHARTS, TraceReport, draw, scorecard};
use heaplay::results::{
    Metric, Moment, OTHER_SITES, Pass, ReturnedUnit, Run, Sample, UnitRetention,
};
use serde_json::Value;

use crate::support::made_up_runs::{self, Wish};
use crate::support::made_up_traces;

fn run() -> Run {
    made_up_runs::run(&Wish { samples: 300, calls: 1_000_000, ..Wish::default() })
}

/// A chart of a made-up run, serialised.
fn serialised(run: &Run, name: &str) -> Value {
    let trace_reports = TraceReport::all(run);
    let kind = CHARTS.iter().find(|kind| kind.about.name == name).expect("a chart of that name");
    let chart = kind.describe(&trace_reports[0]).expect("something to describe");
    serde_json::to_value(&chart).expect("serialised")
}

/// The objects of a value that have a scale: its axes.
fn axes(value: &Value) -> Vec<&Value> {
    let inside: Vec<&Value> = match value {
        Value::Array(values) => values.iter().flat_map(axes).collect(),
        Value::Object(fields) => fields.values().flat_map(axes).collect(),
        _ => vec![],
    };
    inside.into_iter().chain(value.get("scale").map(|_| value)).collect()
}

#[test]
fn every_chart_has_sentences_axes_and_units() {
    let run = run();
    let trace_reports = TraceReport::all(&run);
    let shape = made_up_traces::shape(1);
    let mut charts: Vec<Chart> = scorecard(&trace_reports).into_iter().collect();
    charts.extend(CHARTS.iter().filter_map(|kind| kind.describe(&trace_reports[0])));
    charts.extend(TRACE_CHARTS.iter().filter_map(|(_, describe)| describe(&shape)));
    assert_eq!(charts.len(), 1 + CHARTS.len() + TRACE_CHARTS.len());
    let mut names = Vec::new();
    for chart in &charts {
        let value = serde_json::to_value(chart).expect("serialised");
        let name = value["chart"].as_str().expect("its name").to_owned();
        for sentence in ["title", "plotted"] {
            assert!(
                value["caption"][sentence].as_str().is_some_and(|text| text.len() > 10),
                "{name}"
            );
        }
        assert!(
            value["caption"]["reading"].as_array().is_some_and(|all| !all.is_empty()),
            "{name}"
        );
        // The axes of page retention depend on the width of their numbers.
        let axes = axes(&value);
        assert!(!axes.is_empty() || name == "page-retention", "{name}");
        for axis in axes {
            assert!(axis["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "{name}: {axis}");
            assert!(axis["unit_size"].as_f64().is_some_and(|size| size > 0.0), "{name}: {axis}");
        }
        names.push(name);
    }
    for kind in CHARTS {
        assert!(names.iter().any(|name| name == kind.about.name), "{}", kind.about.name);
    }
}

#[test]
fn a_column_that_was_not_measured_has_no_numbers() {
    let mut run = run();
    run.measurements.retain(|row| row.pass == Pass::Footprint);
    run.chunks.clear();
    let chart = scorecard(&TraceReport::all(&run)).expect("a scorecard");
    let columns = &serde_json::to_value(&chart).expect("serialised")["columns"];
    assert!(columns[0]["is_measured"] == false && columns[2]["is_measured"] == true, "{columns}");
    let canvas = draw(&chart).canvas;
    let texts: Vec<&str> = canvas.labels().iter().map(|label| label.text.as_str()).collect();
    assert!(texts.contains(&"not measured") && texts.contains(&"time per call"), "{texts:?}");
    assert!(!texts.iter().any(|text| text.starts_with("0.0000")), "{texts:?}");
}

#[test]
fn the_heap_is_the_record_itself() {
    let run = run();
    let value = serialised(&run, "where-memory-went");
    for panel in value["panels"].as_array().expect("panels") {
        let name = panel["backend"]["name"].as_str().expect("a name");
        let own: Vec<&Sample> = run.samples.iter().filter(|row| row.backend == name).collect();
        for (field, of) in [
            ("clock_bytes", (|row| row.clock_bytes) as fn(&Sample) -> u64),
            ("live_bytes", |row| row.live_bytes),
            ("usable_bytes", |row| row.usable_bytes),
            ("pages_in_use_bytes", |row| row.pages_in_use_bytes),
            ("resident_bytes", |row| row.resident_bytes),
        ] {
            let expected: Vec<u64> = own.iter().map(|row| of(row)).collect();
            assert_eq!(panel["heap"][field], serde_json::json!(expected), "{name} {field}");
        }
    }
}

#[test]
fn the_bars_of_page_retention_are_the_record_itself() {
    let run = run();
    let value = serialised(&run, "page-retention");
    let backends = value["backends"].as_array().expect("backends");
    for line in value["lines"].as_array().expect("lines") {
        let site = line["site"].as_str().expect("a site");
        for (backend, free) in
            backends.iter().zip(line["free_space_bytes"].as_array().expect("bars"))
        {
            let name = backend["backend"]["name"].as_str().expect("a name");
            let row = run
                .attributions
                .iter()
                .find(|row| row.backend == name && row.site == site && row.moment == Moment::End);
            let expected = row.expect("a row").external_fragmentation_bytes as f64;
            assert_eq!(free.as_f64(), Some(expected), "{site} {name}");
        }
    }
}

#[test]
fn moments_of_page_retention_are_in_the_order_of_time() {
    let mut run = run();
    let resident = run.measurements.iter().find(|row| row.metric == Metric::ResidentEndBytes);
    let mut peak = resident.expect("a row").clone();
    // Between the marks of the fourth and the fifth phase.
    (peak.metric, peak.value) = (Metric::LivePeakEvent, 600_000.0);
    run.measurements.push(peak);
    let value = serialised(&run, "page-retention-at-marks");
    let moments = value["moments"].as_array().expect("moments");
    let names: Vec<&str> = moments.iter().filter_map(|moment| moment["name"].as_str()).collect();
    let place = names.iter().position(|name| *name == "live peak").expect("the peak");
    assert_eq!((names[place - 1], names[place + 1]), ("parse", "serve"), "{names:?}");
}

#[test]
fn the_heat_map_has_the_time_of_the_time_pass() {
    let run = run();
    let trace_reports = TraceReport::all(&run);
    let value = serialised(&run, "latency-heat-map");
    let rows = value["rows"].as_array().expect("rows");
    assert!(!rows.is_empty());
    for (row, backend) in rows.iter().zip(trace_reports[0].allocators()) {
        let expected = backend.cost.expect("a time pass").middle_ns * 1e6;
        assert_eq!(row["total_ns"].as_f64(), Some(expected), "{}", backend.name());
    }
}

/// The title and the texts of a picture of the first trace.
fn drawn(run: &Run, name: &str) -> (String, Vec<String>) {
    let kind = CHARTS.iter().find(|kind| kind.about.name == name).expect("a chart of that name");
    let chart = kind.describe(&TraceReport::all(run)[0]).expect("something to draw");
    let labels = draw(&chart).canvas.labels().iter().map(|label| label.text.clone()).collect();
    (chart.caption().title.clone(), labels)
}

/// Any line may lead: the picture begins with the line whose change is known to return memory.
#[test]
fn page_retention_begins_with_the_line_of_the_answer() {
    let mut run = run();
    run.what_ifs.clear();
    run.unit_retention.clear();
    let charged = serialised(&run, "page-retention");
    let title = charged["caption"]["title"].as_str().expect("a title").to_owned();
    let sites: Vec<String> = charged["lines"].as_array().expect("lines").iter().map(site).collect();
    // No change of the program reaches what the import system allocated.
    let own = |site: &&String| !site.is_empty() && !site.starts_with('<') && *site != OTHER_SITES;
    for line in sites.iter().filter(own) {
        run.unit_retention = vec![UnitRetention {
            trace: "service".into(),
            backend: "malloc".into(),
            repetition: 0,
            moment: Moment::End,
            unit: ReturnedUnit::Arena,
            site: line.clone(),
            units: 9,
            retained_bytes: 5 << 20,
            returnable_bytes: 4 << 20,
        }];
        let chart = serialised(&run, "page-retention");
        let found = chart["caption"]["title"].as_str().expect("a title").replace('\u{a0}', " ");
        if *line == sites[0] {
            assert_eq!(found, title.replace('\u{a0}', " "), "the charged line is the answer, too");
            continue;
        }
        let number = line.rsplit(':').next().expect("a number");
        let part = format!(":{number} would return most at the end: 4.0 MiB in malloc.");
        assert!(found.starts_with("Allocated last, ") && found.contains(&part), "{found}");
    }
}

fn site(line: &Value) -> String {
    line["site"].as_str().expect("a site").to_owned()
}

/// A bound has figures that no candidate has: no title is made of them where there are others.
#[test]
fn a_bound_makes_no_title() {
    let mut run = run();
    for row in run.samples.iter_mut().filter(|row| row.backend == "bump") {
        row.resident_bytes *= 50;
    }
    for row in run.measurements.iter_mut().filter(|row| row.backend == "bump") {
        row.value *= 50.0;
    }
    for row in run.fullness.iter_mut().filter(|row| row.backend == "bump" && row.bin < 4) {
        row.pages *= 50;
    }
    for name in [
        "throughput",
        "latency-by-size",
        "page-fullness",
        "footprint-overlay",
        "page-retention-at-marks",
    ] {
        let with = drawn(&run, name).0;
        let mut without = run.clone();
        without.manifest.backends.retain(|entry| entry.name != "bump");
        assert!(!with.contains("bump"), "{name}: {with}");
        assert_eq!(with, drawn(&without, name).0, "{name}");
    }
}

/// What leaves a plot has its figure.
#[test]
fn a_curve_of_time_that_leaves_its_plot_is_named() {
    let mut run = run();
    for row in &mut run.chunks {
        row.nanoseconds = row.calls * 10;
    }
    let (_, before) = drawn(&run, "throughput");
    let is_note = |text: &&String| text.starts_with("▲ runs off: ");
    assert!(!before.iter().any(|text| is_note(&text)), "{before:?}");
    let of = |chunk: u32| {
        move |row: &&mut heaplay::results::Chunk| row.backend == "malloc" && row.chunk == chunk
    };
    for row in run.chunks.iter_mut().filter(of(7)) {
        row.nanoseconds = row.calls * 9000;
    }
    let (_, after) = drawn(&run, "throughput");
    let note = after.iter().find(is_note).expect("a note");
    assert!(note.contains("malloc to 9") && note.ends_with(" ns"), "{note}");
}

/// A line that is a large part of one allocator's bars has a colour, whatever it is elsewhere.
#[test]
fn large_parts_of_bars_have_a_colour() {
    let mut run = run();
    let parts = |run: &Run| {
        let chart = serialised(run, "page-retention-at-marks");
        let parts = chart["parts"].as_array().expect("parts").clone();
        parts.iter().filter_map(|part| Some(part["site"].as_str()?.to_owned())).collect::<Vec<_>>()
    };
    let before = parts(&run);
    let other = run.attributions.iter().map(|row| row.site.clone());
    let mut others = other.filter(|site| !before.contains(site) && site != OTHER_SITES);
    let site = others.find(|site| !site.is_empty()).expect("a line without a colour");
    let own = |row: &&mut heaplay::results::Attribution| {
        row.site == site && row.backend == "malloc" && row.moment == Moment::End
    };
    for row in run.attributions.iter_mut().filter(own) {
        row.external_fragmentation_bytes = 900 << 20;
    }
    assert!(parts(&run).contains(&site), "{site}");
}
