//! Golden pictures: a made-up run and a made-up trace draw, to the byte, what a person has examined
//! (`tests/golden/`). There is no tolerance: only our own code draws, without fonts or libraries of
//! the system.
//!
//! After an intended change run `HEAPLAY_BLESS=1 cargo test pictures_are_as_examined`, then examine
//! each file that `git status` names.

use std::fs;
use std::path::{Path, PathBuf};

use heaplay::report::{CHARTS, Picture, TRACE_CHARTS, TraceReport, TraceShape, draw};

use crate::support::machine;
use crate::support::made_up_run::{self, Wish};
use crate::support::made_up_trace;

/// The charts of memory. Those of time have their own tests: with fewer pictures each is examined
/// more carefully.
const MEMORY: [&str; 7] = [
    "where-memory-went",
    "footprint-overlay",
    "heap-map",
    "page-fullness",
    "sizes-and-rounding",
    "page-retention",
    "page-retention-at-marks",
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("golden")
}

/// Where a picture that differs is left.
fn album() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("golden")
}

/// Compares a picture with the one that was examined. Gives what differs.
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
        Ok(examined) if examined == bytes => return None,
        Ok(_) => "is not the picture that was examined",
        Err(_) => "has never been examined",
    };
    fs::create_dir_all(album()).expect("a folder");
    let now = album().join(format!("{name}.png"));
    fs::write(&now, &bytes).expect("written");
    Some(format!("{} {what}, {}", now.display(), known.display()))
}

fn compare(pictures: Vec<(String, Picture)>) {
    let faults: Vec<String> =
        pictures.iter().filter_map(|(name, picture)| fault(name, picture)).collect();
    assert!(
        faults.is_empty(),
        "{}\nexamine them; after an intended change: HEAPLAY_BLESS=1 cargo test \
         pictures_are_as_examined",
        faults.join("\n")
    );
}

#[test]
fn pictures_of_memory_are_as_examined() {
    let _shared = machine::shared();
    let backends = ["malloc", "pymalloc", "jemalloc", "null"];
    let run = made_up_run::run(&Wish { backends: &backends, samples: 600, ..Wish::default() });
    let trace_reports = TraceReport::all(&run);
    let drawn = MEMORY.map(|name| {
        let kind =
            CHARTS.iter().find(|kind| kind.about.name == name).expect("a chart of that name");
        let chart = kind.describe(&trace_reports[0]).expect("something to draw");
        (name.to_owned(), draw(&chart))
    });
    compare(drawn.into());
}

#[test]
fn pictures_of_a_trace_are_as_examined() {
    let _shared = machine::shared();
    let shape = TraceShape { synthesised: None, ..made_up_trace::shape(1) };
    let drawn = TRACE_CHARTS.iter().map(|(name, describe)| {
        let chart = describe(&shape).expect("something to draw");
        (format!("trace-{name}"), draw(&chart))
    });
    compare(drawn.collect());
}
