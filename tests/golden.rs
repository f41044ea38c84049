//! Golden pictures: a made-up run and a made-up trace draw, to the byte, what a person has looked
//! at (`tests/golden/`). There is no tolerance: what draws is our own code, without fonts or
//! libraries of the system.
//!
//! After a change that is meant: `HEAPLAY_BLESS=1 cargo test --test golden`, then look at each file
//! that `git status` names.

mod shapes;
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};

use heaplay::report::{CHARTS, Picture, TRACE_CHARTS, TraceReport, TraceShape, draw};
use synthetic::Wish;

/// The charts of memory. Those of time have their own tests; the fewer pictures, the more surely
/// each is looked at.
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

/// Holds a picture against the one that was looked at. Gives what differs.
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
        Ok(looked_at) if looked_at == bytes => return None,
        Ok(_) => "is not the picture that was looked at",
        Err(_) => "has never been looked at",
    };
    fs::create_dir_all(album()).expect("a folder");
    let now = album().join(format!("{name}.png"));
    fs::write(&now, &bytes).expect("written");
    Some(format!("{} {what}, {}", now.display(), known.display()))
}

fn hold(pictures: Vec<(String, Picture)>) {
    let faults: Vec<String> =
        pictures.iter().filter_map(|(name, picture)| fault(name, picture)).collect();
    assert!(
        faults.is_empty(),
        "{}\nlook at them; where the change is meant: HEAPLAY_BLESS=1 cargo test --test golden",
        faults.join("\n")
    );
}

#[test]
fn pictures_of_memory_are_those_that_were_looked_at() {
    let backends = ["malloc", "pymalloc", "jemalloc", "null"];
    let run = synthetic::run(&Wish { backends: &backends, samples: 600, ..Wish::default() });
    let trace_reports = TraceReport::all(&run);
    let drawn = MEMORY.map(|name| {
        let kind =
            CHARTS.iter().find(|kind| kind.about.name == name).expect("a chart of that name");
        let chart = kind.describe(&trace_reports[0]).expect("something to draw");
        (name.to_owned(), draw(&chart))
    });
    hold(drawn.into());
}

#[test]
fn pictures_of_a_trace_are_those_that_were_looked_at() {
    let shape = TraceShape { synthesised: None, ..shapes::shape(1) };
    let drawn = TRACE_CHARTS.iter().map(|(name, describe)| {
        let chart = describe(&shape).expect("something to draw");
        (format!("trace-{name}"), draw(&chart))
    });
    hold(drawn.collect());
}
