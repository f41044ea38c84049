//! The verbs `report` and `inspect` as their user meets them.

use std::fs;

use crate::support::made_up_runs::{self, Wish};
use crate::support::process::{errors, expect, finish, heaplay, printed};

#[test]
fn report_draws_a_saved_run_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    made_up_runs::run(&Wish { samples: 200, calls: 100_000, ..Wish::default() })
        .save(&run)
        .expect("saved");
    let output = finish(heaplay().arg("report").arg(&run));
    assert!(output.status.success(), "{}", errors(&output));
    let text = printed(&output);
    assert!(text.contains("| pymalloc"), "{text}");
    for file in ["index.html", "summary.png", "service--where-memory-went.png"] {
        assert!(run.join(file).exists(), "{file}");
    }
    assert!(errors(&output).contains("index.html"), "the page is named");
    let elsewhere = folder.path().join("pictures");
    expect(0, heaplay().arg("report").arg(&run).arg("--out").arg(&elsewhere));
    assert_eq!(
        fs::read(run.join("summary.png")).expect("a picture"),
        fs::read(elsewhere.join("summary.png")).expect("a picture")
    );
}

#[test]
fn report_names_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = finish(heaplay().arg("report").arg(folder.path()));
    assert_eq!(output.status.code(), Some(2));
    let text = errors(&output);
    assert!(text.contains("manifest.json") && text.contains("heaplay run"), "{text}");
}

#[test]
fn inspect_prints_tables_json_and_pictures() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("made.csv");
    expect(0, heaplay().arg("generate").arg(&trace).args(["--calls", "5000"]));
    let pictures = folder.path().join("pictures");
    let output = finish(heaplay().arg("inspect").arg(&trace).arg("--png").arg(&pictures));
    assert!(output.status.success(), "{}", errors(&output));
    let text = printed(&output);
    for part in ["| malloc", "| obj", "up to 64\u{a0}B", "not before the trace ends", "5000 calls"]
    {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    for name in ["sizes", "lifetimes", "live"] {
        let bytes = fs::read(pictures.join(format!("made--{name}.png"))).expect("a picture");
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
    }
    let output = finish(heaplay().arg("inspect").arg(&trace).arg("--json"));
    let counted: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(counted["calls"], 5000);
}

#[test]
fn inspect_names_the_place_of_a_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("bad.csv");
    fs::write(&trace, "op,size,lifetime\nmalloc,8,0\n").expect("written");
    let output = finish(heaplay().arg("inspect").arg(&trace));
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("bad.csv:2"), "the line is named");
}
