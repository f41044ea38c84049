//! Golden pictures: a made-up run and a made-up trace draw, to the byte, the pictures that a person
//! has reviewed (`tests/golden/`). There is no tolerance: our own code draws, without fonts or
//! libraries of the system.
//!
//! After an intended change, run `HEAPLAY_BLESS=1 cargo test --test suite pictures_match`, and
//! review each file that `git status` names.

use std::fs;
use std::path::PathBuf;

use crate::support::made_up_runs::{self, Wish};
use crate::support::process::{repository, scratch};
use crate::support::{made_up_sides, made_up_threads, made_up_traces};
use heaplay::report::{
    CHARTS, Picture, TRACE_CHARTS, TraceReport, TraceShape, draw, scaling, side_by_side,
};

/// The charts of memory, and of where it lies. Charts of time have other tests: each golden picture
/// has to be reviewed.
const MEMORY: [&str; 9] = [
    "where-memory-went",
    "footprint-overlay",
    "heap-map",
    "page-fullness",
    "sizes-and-rounding",
    "page-retention",
    "page-retention-at-marks",
    "placement",
    "threads",
];

fn golden() -> PathBuf {
    repository("tests/golden")
}

/// The folder for pictures that differ.
fn album() -> PathBuf {
    scratch("golden")
}

/// Compares a picture with the reviewed one. Returns a fault.
fn fault(name: &str, picture: &Picture) -> Option<String> {
    let bytes = picture.canvas.png().expect("encoded");
    let known = golden().join(format!("{name}.png"));
    if std::env::var_os("HEAPLAY_BLESS").is_some() {
        fs::create_dir_all(golden()).expect("a folder");
        if fs::read(&known).ok().as_deref() != Some(&bytes) {
            fs::write(&known, &bytes).expect("written");
        }
        return None;
    }
    let what = match fs::read(&known) {
        Ok(reviewed) if reviewed == bytes => return None,
        Ok(_) => "differs from the reviewed picture",
        Err(_) => "was never reviewed",
    };
    fs::create_dir_all(album()).expect("a folder");
    let now = album().join(format!("{name}.png"));
    fs::write(&now, &bytes).expect("written");
    Some(format!("{} {what}, {}", now.display(), known.display()))
}

fn assert_reviewed(pictures: Vec<(String, Picture)>) {
    let faults: Vec<String> =
        pictures.iter().filter_map(|(name, picture)| fault(name, picture)).collect();
    assert!(
        faults.is_empty(),
        "{}\nreview them; if the change is intended: HEAPLAY_BLESS=1 cargo test --test suite pictures_match",
        faults.join("\n")
    );
}

#[test]
fn pictures_of_memory_are_the_reviewed_ones() {
    let backends = ["malloc", "pymalloc", "jemalloc", "null"];
    let run = made_up_runs::run(&Wish { backends: &backends, samples: 600, ..Wish::default() });
    let trace_reports = TraceReport::all(&run);
    let drawn = MEMORY.map(|name| {
        let kind =
            CHARTS.iter().find(|kind| kind.about.name == name).expect("a chart of that name");
        let chart = kind.describe(&trace_reports[0]).expect("something to draw");
        (name.to_owned(), draw(&chart))
    });
    assert_reviewed(drawn.into());
}

#[test]
fn pictures_of_scaling_are_the_reviewed_ones() {
    let backends = ["jemalloc", "mimalloc", "malloc", "malloc:MALLOC_ARENA_MAX=1"];
    let one = made_up_threads::scaling("service", &backends, false);
    let copies = made_up_threads::scaling("json", &backends[..2], true);
    let mut drawn = Vec::new();
    for (name, traces) in [("scaling", vec![one.clone()]), ("scaling-of-traces", vec![one, copies])]
    {
        let charts = scaling(&traces);
        assert_eq!(charts.len(), 1);
        drawn.push((name.to_owned(), draw(&charts[0])));
    }
    assert_reviewed(drawn);
}

#[test]
fn pictures_of_a_trace_are_the_reviewed_ones() {
    let shape = TraceShape { synthesised: None, ..made_up_traces::shape(1) };
    let drawn = TRACE_CHARTS.iter().map(|(name, describe)| {
        let chart = describe(&shape).expect("something to draw");
        (format!("trace-{name}"), draw(&chart))
    });
    assert_reviewed(drawn.collect());
}

#[test]
fn pictures_of_two_sides_are_the_reviewed_ones() {
    let [recordings, runs] = [made_up_sides::recordings(1024), made_up_sides::runs()];
    let of = |sides, part, name: &str| {
        let charts = side_by_side(sides, part);
        let found = charts.iter().find(|(own, _)| own == name);
        draw(&found.expect("a chart of that measure").1)
    };
    let drawn = [
        ("sides-of-recordings", of(&recordings, &recordings.parts[0], "live-at-the-peak")),
        ("sides-of-runs", of(&runs, &runs.parts[0], "resident-at-the-end")),
    ];
    assert_reviewed(drawn.map(|(name, picture)| (name.to_owned(), picture)).into());
}
