//! The verbs `report` and `inspect`, as a person calls them.

mod synthetic;

use std::fs;

use assert_cmd::Command;
use synthetic::Wish;

fn heaplay() -> Command {
    Command::cargo_bin("heaplay").expect("the program is built")
}

#[test]
fn report_draws_a_saved_run_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    synthetic::run(&Wish { samples: 200, calls: 100_000, ..Wish::default() })
        .save(&run)
        .expect("saved");
    let output = heaplay().arg("report").arg(&run).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("| pymalloc"), "{text}");
    for file in ["index.html", "summary.png", "service--where-memory-went.png"] {
        assert!(run.join(file).exists(), "{file}");
    }
    assert!(String::from_utf8_lossy(&output.stderr).contains("index.html"), "the page is named");
    let elsewhere = folder.path().join("pictures");
    heaplay().arg("report").arg(&run).arg("--out").arg(&elsewhere).assert().success();
    assert_eq!(
        fs::read(run.join("summary.png")).expect("a picture"),
        fs::read(elsewhere.join("summary.png")).expect("a picture")
    );
}

#[test]
fn report_says_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = heaplay().arg("report").arg(folder.path()).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("manifest.json") && text.contains("heaplay run"), "{text}");
}

#[test]
fn inspect_prints_tables_json_and_pictures() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("made.csv");
    heaplay().arg("generate").arg(&trace).args(["--calls", "5000"]).assert().success();
    let pictures = folder.path().join("pictures");
    let output =
        heaplay().arg("inspect").arg(&trace).arg("--png").arg(&pictures).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    for word in ["| malloc", "| obj", "up to 64\u{a0}B", "not before the trace ends", "5000 calls"]
    {
        assert!(text.contains(word), "`{word}` is not in\n{text}");
    }
    for name in ["sizes", "lifetimes", "live"] {
        let bytes = fs::read(pictures.join(format!("made--{name}.png"))).expect("a picture");
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
    }
    let output = heaplay().arg("inspect").arg(&trace).arg("--json").output().expect("runs");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["calls"], 5000);
}

#[test]
fn inspect_names_the_place_of_a_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("bad.csv");
    fs::write(&trace, "op,size,lifetime\nmalloc,8,0\n").expect("written");
    let output = heaplay().arg("inspect").arg(&trace).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bad.csv:2"), "the line is named");
}
