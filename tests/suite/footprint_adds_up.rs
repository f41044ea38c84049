//! What the footprint pass promises, on the committed traces: its invariants, that two passes agree
//! to the bit, that pinned pages predict what a trim leaves, and that the pins predict what a
//! change of a line saves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use heaplay::results::{Exactness, Metric, Moment, Run, Sample, Scope};

const KIB: f64 = 1024.0;
/// What the kernel's figure may be off by, and a page for the one thread.
const TOLERANCE: f64 = 20.0 * KIB;

/// Every backend of this build that needs no word more than its name; `linked_list` takes minutes
/// for these traces.
fn backends() -> Vec<&'static str> {
    let apart = ["null", "linked_list", "python", "so", "preload", "injected"];
    let all = heaplay::backends::BACKENDS.iter().map(|member| member.name);
    all.filter(|name| !apart.contains(name)).collect()
}

fn traces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces")
}

/// The footprint passes of `what` in a folder.
fn footprint(what: &Path, backends: &str, out: &Path, tunables: Option<&str>) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaplay"));
    command.arg("run").arg(what).args(["--passes", "footprint", "-b", backends, "--out"]).arg(out);
    command.env_remove("GLIBC_TUNABLES").stdin(Stdio::null());
    if let Some(tunables) = tunables {
        command.env("GLIBC_TUNABLES", tunables);
    }
    let output = command.output().expect("heaplay starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Run::load(out).expect("a run")
}

/// The metric of a name that is put together.
fn named(name: &str) -> Metric {
    Metric::find(name).unwrap_or_else(|| panic!("{name} is no metric"))
}

fn one(run: &Run, trace: &str, backend: &str, metric: Metric) -> f64 {
    let values = run.values(trace, backend, Scope::All, metric);
    assert_eq!(values.len(), 1, "{metric} of {backend} on {trace}");
    values[0]
}

#[test]
fn the_parts_of_resident_memory_add_up_on_every_trace() {
    let folder = tempfile::tempdir().unwrap();
    let run = footprint(&traces(), &backends().join(","), &folder.path().join("run"), None);
    assert!(run.missing().is_empty() && run.failed().is_empty());
    assert!(run.measurements.iter().all(|row| row.value.is_finite() && row.value >= 0.0));
    for sample in run.samples.iter().filter(|sample| sample.backend != "null") {
        assert!(sample.live_bytes <= sample.usable_bytes, "{sample:?}");
        assert!(sample.usable_bytes <= sample.pages_in_use_bytes, "{sample:?}");
        assert!(
            sample.pages_in_use_bytes as f64 <= sample.resident_bytes as f64 + TOLERANCE,
            "{sample:?}"
        );
    }
    for backend in backends() {
        let over = run
            .manifest
            .traces
            .iter()
            .map(|t| one(&run, &t.name, backend, Metric::PagesInUseOverResidentBytes));
        println!("{backend}: pinned over resident by at most {} bytes", over.fold(0.0, f64::max));
    }
    for trace in &run.manifest.traces {
        for backend in backends() {
            let figure = |metric: Metric| one(&run, &trace.name, backend, metric);
            let grains = ["", "16k_", "64k_", "256k_", "1m_", "2m_"];
            for (moment, when) in [(Moment::Peak, "at_live_peak"), (Moment::End, "end")] {
                let curve =
                    grains.map(|grain| figure(named(&format!("pages_in_use_{grain}{when}_bytes"))));
                assert!(curve.is_sorted(), "{} {backend}: {curve:?}", trace.name);
                let pages: u64 = run
                    .fullness
                    .iter()
                    .filter(|row| {
                        row.trace == trace.name && row.backend == backend && row.moment == moment
                    })
                    .map(|row| row.pages)
                    .sum();
                assert_eq!(pages as f64 * 4096.0, curve[0]);
                let usable: u64 = run
                    .rounding
                    .iter()
                    .filter(|row| {
                        row.trace == trace.name && row.backend == backend && row.moment == moment
                    })
                    .map(|row| row.usable_bytes)
                    .sum();
                assert_eq!(usable as f64, figure(named(&format!("usable_{when}_bytes"))));
                let attributions: Vec<_> = run
                    .attributions
                    .iter()
                    .filter(|row| {
                        row.trace == trace.name && row.backend == backend && row.moment == moment
                    })
                    .collect();
                let stranded: u64 = attributions
                    .iter()
                    .map(|attribution| attribution.external_fragmentation_bytes)
                    .sum();
                assert!(
                    attributions.is_empty() || stranded as f64 == curve[0] - usable as f64,
                    "every byte is charged"
                );
                assert_eq!(
                    attributions.is_empty(),
                    trace.name == "hello",
                    "the one recorded without lines"
                );
            }
        }
        // All that was ever allocated is told by size, and comes to what the trace asked for.
        let profile = heaplay::program::compile(
            heaplay::trace::open(&traces().join(format!("{}.trace", trace.name))).unwrap().as_mut(),
        )
        .unwrap();
        for backend in backends().into_iter().filter(|backend| *backend != "null") {
            let mine = |row: &&heaplay::results::Rounding| {
                row.trace == trace.name && row.backend == backend && row.moment == Moment::Whole
            };
            let rows = || run.rounding.iter().filter(mine);
            let requested: u64 = rows().map(|row| row.live_bytes).sum();
            assert_eq!(
                requested,
                profile.profile().total_requested_bytes(),
                "{} {backend}",
                trace.name
            );
            assert!(
                rows().all(|row| row.usable_bytes >= row.live_bytes),
                "{} {backend}",
                trace.name
            );
        }
        // Looking is told, and bounded by its number: every 1/320 of the trace and at each rise by
        // 1/128 of the peak.
        let cost = |metric| one(&run, &trace.name, "pymalloc", metric);
        let share = cost(Metric::SamplingNanoseconds) / cost(Metric::PassNanoseconds);
        println!("{}: sampling took {:.2} % of the pass", trace.name, share * 100.0);
        let mine = |sample: &&Sample| sample.trace == trace.name && sample.backend == "pymalloc";
        assert!(run.samples.iter().filter(mine).count() <= 320 + 128 + 4, "{}", trace.name);
    }
}

#[test]
fn two_passes_agree_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let trace = traces().join("json_round.trace");
    let folders = ["a", "b"].map(|name| folder.path().join(name));
    let runs = folders.each_ref().map(|out| footprint(&trace, "malloc,pymalloc,bump", out, None));
    let exact = |run: &Run| -> BTreeMap<(String, Scope, Metric), u64> {
        let rows = run.measurements.iter().filter(|row| {
            let exactness = row.metric.exactness();
            !matches!(exactness, Exactness::Reported | Exactness::Timed)
        });
        rows.map(|row| ((row.backend.clone(), row.op, row.metric), row.value.to_bits())).collect()
    };
    assert_eq!(exact(&runs[0]), exact(&runs[1]));
    for table in ["samples", "fullness", "rounding", "size_classes", "pins", "heap_map", "what_ifs"]
    {
        let [a, b] =
            folders.each_ref().map(|f| fs::read_to_string(f.join(format!("{table}.csv"))).unwrap());
        assert!(a == b, "{table}.csv differs");
    }
}

/// Pointers alone predict what glibc's trim leaves, to 2 % or one page, once its thread's cache is
/// empty, whatever size that cache has; and without a cache there is nothing to empty.
#[test]
#[cfg(target_env = "gnu")]
fn pointers_alone_predict_what_a_trim_leaves() {
    const PAGE: f64 = 4096.0;
    let folder = tempfile::tempdir().unwrap();
    let cacheless = "malloc:glibc.malloc.tcache_count=0";
    let words = ["malloc", "malloc:glibc.malloc.tcache_count=40", cacheless];
    let run = footprint(&traces(), &words.join(","), &folder.path().join("run"), None);
    for trace in &run.manifest.traces {
        for backend in words {
            let figure = |metric: Metric| one(&run, &trace.name, backend, metric);
            let (pinned, predicted) =
                (figure(Metric::PagesInUseEndBytes), figure(Metric::TrimPredictedBytes));
            let (trimmed, flushed) =
                (figure(Metric::ResidentTrimmedBytes), figure(Metric::ResidentFlushedBytes));
            println!(
                "{} {backend}: pinned {pinned}, predicted {predicted}, after trim {trimmed}, cache emptied {flushed}",
                trace.name
            );
            let spare = (predicted * 0.02).max(PAGE);
            assert!(
                (flushed - predicted).abs() <= spare,
                "{} {backend}: {flushed} {predicted}",
                trace.name
            );
            // The heads beside live blocks are few: most lie on pages that the blocks pin anyway.
            let beside = predicted - pinned;
            assert!(
                (0.0..=(pinned * 0.02).max(4.0 * PAGE)).contains(&beside),
                "{}: {beside}",
                trace.name
            );
            assert!(flushed <= trimmed, "{} {backend}: {flushed} > {trimmed}", trace.name);
            if backend == cacheless {
                assert!((trimmed - flushed).abs() <= PAGE, "{}: {trimmed} {flushed}", trace.name);
            }
        }
        // What the cache pins is seen at all: by far the larger part of what is left of a small
        // heap.
        if trace.name == "churn" {
            let figure = |metric: Metric| one(&run, &trace.name, "malloc", metric);
            assert!(
                figure(Metric::ResidentTrimmedBytes) > 2.0 * figure(Metric::ResidentFlushedBytes)
            );
        }
    }
}

/// At each mark every byte that is stranded is charged to a line, and the lines hold what the trace
/// says that is live there.
#[test]
fn lines_are_charged_at_every_mark() {
    let folder = tempfile::tempdir().unwrap();
    let marked = folder.path().join("marked.trace");
    // The recorded service with marks of our own, at calls where the trace has none.
    let original = traces().join("service.trace");
    let program =
        heaplay::program::compile(heaplay::trace::open(&original).unwrap().as_mut()).unwrap();
    let calls = program.profile().total_calls();
    let mut reader = heaplay::trace::open(&original).unwrap();
    let mut header = reader.header().clone();
    let marks = [(0, "start"), (calls / 3, "a third"), (calls / 3, "again"), (calls, "over")];
    header.facts.insert("marks".into(), serde_json::to_string(&marks).unwrap());
    let mut writer = heaplay::trace::create(&marked, &header).unwrap();
    while let Some(row) = reader.next_row().unwrap() {
        writer.write_row(&row, reader.sites()).unwrap();
    }
    writer.finish().unwrap();
    let run = footprint(&marked, "malloc,pymalloc,null", &folder.path().join("run"), None);
    for backend in ["malloc", "pymalloc"] {
        let at = |moment: Moment| -> (u64, u64) {
            let mine = run.attributions.iter().filter(|attribution| {
                attribution.backend == backend && attribution.moment == moment
            });
            mine.fold((0, 0), |sum, attribution| {
                (sum.0 + attribution.live_bytes, sum.1 + attribution.external_fragmentation_bytes)
            })
        };
        assert_eq!(at(Moment::Mark(1)), (0, 0), "nothing lives before the first call");
        assert_eq!(at(Moment::Mark(2)), at(Moment::Mark(3)));
        assert_eq!(at(Moment::Mark(4)), at(Moment::End));
        let sample =
            run.samples.iter().find(|s| s.backend == backend && s.event == calls / 3).unwrap();
        let stranded = sample.pages_in_use_bytes - sample.usable_bytes;
        assert_eq!(at(Moment::Mark(2)), (sample.live_bytes, stranded), "{backend}");
        assert!(sample.live_bytes > 0 && stranded > 0);
    }
    assert!(run.attributions.iter().all(|attribution| attribution.backend != "null"));
}

#[test]
fn the_first_line_of_the_pins_saves_what_it_is_charged_with() {
    let folder = tempfile::tempdir().unwrap();
    let trace = traces().join("service.trace");
    let run = footprint(&trace, "pymalloc", &folder.path().join("run"), None);
    let [check] = &run.what_ifs[..] else { panic!("one line is checked: {:?}", run.what_ifs) };
    assert_eq!(check.site, run.retaining_lines("service", Moment::End)[0].0);
    let saved = check.pages_in_use_before_bytes as f64 - check.pages_in_use_after_bytes as f64;
    let off = (check.predicted_bytes as f64 - saved).abs() / saved;
    assert!(off < 0.15, "{check:?}");
    // The verb says the same, and knows the line by the end of its name.
    let line = check.site.rsplit('/').next().unwrap();
    let whatif = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heaplay"));
        let output = command.arg("whatif").arg(&trace).args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, told, _) = whatif(&["--move-site", line, "--backends", "pymalloc"]);
    assert_eq!(code, Some(0));
    assert!(
        told.contains(&check.site) && told.contains(&format!("{:.0}\u{a0}KiB", saved / KIB)),
        "{told}"
    );
    let (code, told, _) = whatif(&["--drop-site", line, "--backends", "pymalloc,null"]);
    assert!(
        code == Some(2) && told.contains("never allocated") && told.contains("backs no memory"),
        "{told}"
    );
    let (code, _, errors) = whatif(&["--drop-site", "nowhere.py:1"]);
    assert!(code == Some(2) && errors.contains("heaplay inspect"), "{errors}");
}

/// What gives memory back by the clock is never a bare number: it has two bounds, or the program's
/// own pace.
#[test]
fn what_goes_by_the_clock_has_a_band_or_a_pace() {
    let built = |name: &str| heaplay::backends::BACKENDS.iter().any(|member| member.name == name);
    if !built("jemalloc") || !built("mimalloc") {
        println!("skipped: this build has no jemalloc or no mimalloc");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let words = "malloc,jemalloc,mimalloc,mimalloc:purge_delay=-1";
    let service = traces().join("service.trace");
    let run = footprint(&service, words, &folder.path().join("bounded"), None);
    for backend in ["jemalloc", "mimalloc"] {
        let figure = |metric: Metric| one(&run, "service", backend, metric);
        for what in ["peak", "mean", "end", "trimmed"] {
            let [least, most] = ["at_once", "never"]
                .map(|bound| figure(named(&format!("resident_{what}_{bound}_bytes"))));
            assert!(least > 0.0 && most > 0.0, "{backend} {what}: {least} {most}");
            // A trim that is told to takes what no clock would have taken.
            assert!(least <= most || what == "trimmed", "{backend} {what}: {least} {most}");
        }
        // At the end of a program that frees two thirds of its heap the clock has a say.
        assert!(
            figure(Metric::ResidentEndAtOnceBytes) < 0.9 * figure(Metric::ResidentEndNeverBytes),
            "{backend}"
        );
    }
    for backend in ["malloc", "mimalloc:purge_delay=-1"] {
        assert!(
            run.values("service", backend, Scope::All, Metric::ResidentEndNeverBytes).is_empty(),
            "{backend}"
        );
    }
    let hello = traces().join("hello.trace");
    let out = folder.path().join("paced");
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaplay"));
    command.arg("run").arg(&hello).args([
        "--passes",
        "footprint",
        "-b",
        "malloc,mimalloc",
        "--pace",
        "4",
        "--out",
    ]);
    let output = command.arg(&out).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = Run::load(&out).unwrap();
    assert_eq!(run.manifest.settings.get("pace").map(String::as_str), Some("4"));
    assert!(run.values("hello", "mimalloc", Scope::All, Metric::ResidentEndNeverBytes).is_empty());
    // The recording's own last time, read here from the trace.
    let mut reader = heaplay::trace::open(&hello).unwrap();
    let mut last_ns = 0;
    while let Some(row) = reader.next_row().unwrap() {
        last_ns = last_ns.max(row.time_ns);
    }
    let seconds =
        |backend: &str| run.outcomes.iter().find(|row| row.backend == backend).unwrap().seconds;
    assert!(
        seconds("mimalloc") >= (last_ns as f64 / 1e9 - 0.01) * 4.0,
        "{} s for {last_ns} ns",
        seconds("mimalloc")
    );
}
