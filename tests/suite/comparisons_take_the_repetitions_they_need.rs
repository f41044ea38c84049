//! A run goes on with its time pass until what it compares is decided, and says what decided it.
//!
//! The oracle is the table of segments, read here by itself: totals of a repetition, and their ratios.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use heaplay::results::{Pass, Run};

use crate::support::process::{both, expect, finish, heaplay};
use crate::support::traces::generated;

/// Level with malloc: its setting changes nothing in a program of one thread.
const LEVEL: &str = "malloc:MALLOC_ARENA_MAX=8";
/// The backends of these runs.
const BACKENDS: &str = "malloc,bump,malloc:MALLOC_ARENA_MAX=8";

fn run(csv: &Path, out: &Path, more: &[&str]) -> Run {
    let mut command = heaplay();
    command
        .arg("run")
        .arg(csv)
        .args(["-b", BACKENDS, "--passes", "time", "--jobs", "1"])
        .args(more);
    expect(0, command.arg("--out").arg(out));
    Run::load(out).unwrap()
}

/// Nanoseconds of each repetition of a backend.
fn totals(run: &Run, backend: &str) -> BTreeMap<u32, u64> {
    let mut totals = BTreeMap::new();
    for chunk in run.chunks.iter().filter(|chunk| chunk.backend == backend) {
        *totals.entry(chunk.repetition).or_default() += chunk.nanoseconds;
    }
    totals
}

/// The rows of `comparisons.csv`, by candidate and base.
fn comparisons(out: &Path) -> BTreeMap<(String, String), BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(out.join("comparisons.csv")).unwrap();
    let rows = reader.deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
    rows.map(|row| ((row["candidate"].clone(), row["base"].clone()), row)).collect()
}

#[test]
fn clear_backends_stop_and_open_ones_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let csv = generated(folder.path(), "calls.csv", 100_000);
    let out = folder.path().join("run");
    let run = run(&csv, &out, &["--budget", "4s"]);
    assert!(run.missing().is_empty() && run.failed().is_empty());
    assert_eq!(run.outcomes.len(), run.manifest.planned().len());
    // The harness itself is compared with nothing.
    assert_eq!(totals(&run, "null").len(), 5);
    for backend in ["malloc", "bump", LEVEL] {
        assert!(totals(&run, backend).len() > 5, "{backend}");
    }
    for row in comparisons(&out).values() {
        let repetitions: usize = row["repetitions"].parse().unwrap();
        let both = |base: &str, own: &str| {
            let (base, own) = (totals(&run, base), totals(&run, own));
            let ratios = own.iter().filter_map(|(at, ns)| Some(*ns as f64 / *base.get(at)? as f64));
            ratios.collect::<Vec<f64>>()
        };
        let mut ratios = both(&row["base"], &row["candidate"]);
        assert_eq!(ratios.len(), repetitions, "{row:?}");
        ratios.sort_by(f64::total_cmp);
        // Totals contain what the segments' trimmed mean leaves out, so this is a rough oracle.
        let ratio: f64 = row["time_ratio"].parse().unwrap();
        assert!((ratios[repetitions / 2] / ratio).ln().abs() < 0.15, "{row:?} {ratios:?}");
        let decided = ["slower", "faster", "equal"].contains(&row["decision"].as_str());
        assert_eq!(decided, row["half_width_after_a_minute"].is_empty(), "{row:?}");
    }
    let further = &run.manifest.further_time;
    assert_eq!((further[0].from, further[0].to), (5, 6));
    assert!(further.windows(2).all(|two| two[0].to == two[1].from), "{further:?}");
    // On the clock of a busy machine the level one may be open or equal, but never different.
    let level = &comparisons(&out)[&(LEVEL.to_owned(), "malloc".to_owned())];
    assert!(["open", "equal"].contains(&level["decision"].as_str()), "{level:?}");
}

#[test]
fn without_a_budget_there_is_nothing_further() {
    let folder = tempfile::tempdir().unwrap();
    let csv = generated(folder.path(), "calls.csv", 20_000);
    let out = folder.path().join("none");
    let none = run(&csv, &out, &["--budget", "0"]);
    assert_eq!((none.manifest.further_time.len(), totals(&none, "malloc").len()), (0, 5));
    let report = expect(0, heaplay().arg("report").arg(&out));
    // Two or three, as malloc is the fastest or not.
    assert!(report.contains("comparisons of time is decided"), "{report}");
    assert!(report.contains("too few repetitions"), "{report}");
    // A fixed number is decided by that number.
    let out = folder.path().join("fixed");
    let fixed = run(&csv, &out, &["-r", "3"]);
    assert_eq!((fixed.manifest.time_budget, totals(&fixed, "malloc").len()), (None, 3));
    for (arguments, reason) in [
        (["-r", "3", "--budget", "9"].as_slice(), "cannot be used with"),
        (["--budget", "soon"].as_slice(), "expected seconds up to 604800, such as 60 or 60s"),
        (["--budget=-1"].as_slice(), "expected seconds up to 604800, such as 60 or 60s"),
    ] {
        let output = expect(2, heaplay().arg("run").arg(&csv).args(arguments));
        assert!(output.contains(reason), "{output}");
    }
}

/// Cells of further repetitions that are gone are measured again, as any other.
#[test]
fn further_repetitions_are_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let csv = generated(folder.path(), "calls.csv", 100_000);
    let out = folder.path().join("run");
    let mut whole = run(&csv, &out, &["--budget", "6"]);
    let last = whole.manifest.further_time.last().unwrap().clone();
    // As after a crash: the plan has a repetition whose cells nobody measured.
    whole.outcomes.retain(|cell| cell.repetition + 1 != last.to || cell.pass != Pass::Time);
    whole.chunks.retain(|chunk| chunk.repetition + 1 != last.to);
    whole.measurements.retain(|row| row.repetition + 1 != last.to);
    whole.save(&out).unwrap();
    let missing = Run::load(&out).unwrap().missing().len();
    assert_eq!(missing, last.backends.len());
    let output = finish(heaplay().args(["run", "--resume"]).arg(&out));
    assert!(output.status.success(), "{}", both(&output));
    let resumed = Run::load(&out).unwrap();
    assert!(
        resumed.missing().is_empty() && resumed.outcomes.len() >= whole.outcomes.len() + missing
    );
    assert!(fs::exists(out.join("comparisons.csv")).unwrap());
}
