//! The footprint pass on the committed traces: its parts add up, two passes agree to the bit, pages
//! in use predict what a trim leaves, and the attribution to lines predicts what a changed line
//! saves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use heaplay::results::{
    Exactness, LineContents, Metric, Moment, OTHER_SITES, Run, Sample, Scope, WhatIf,
};

use crate::support::libraries::has_backend;
use crate::support::process::{errors, expect, finish, heaplay, printed, repository};
use crate::support::skip::skip;
use crate::support::traces;

const KIB: f64 = 1024.0;
/// The kernel's figure may be off by as much, in bytes. It includes a page for the one thread.
const TOLERANCE_BYTES: f64 = 20.0 * KIB;

/// Every backend of this build that needs no more than its name. `linked_list` would take minutes
/// for these traces.
fn backends() -> Vec<&'static str> {
    let apart = ["null", "linked_list", "python", "so", "preload", "injected"];
    let all = heaplay::backends::BACKENDS.iter().map(|member| member.name);
    all.filter(|name| !apart.contains(name)).collect()
}

/// The footprint passes of `what` in a folder.
fn footprint(what: &Path, backends: &str, out: &Path) -> Run {
    let mut command = heaplay();
    command.arg("run").arg(what).args(["--passes", "footprint", "-b", backends, "--out"]).arg(out);
    expect(0, command.env_remove("GLIBC_TUNABLES"));
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
    let run = footprint(&repository("traces"), &backends().join(","), &folder.path().join("run"));
    assert!(run.missing().is_empty() && run.failed().is_empty());
    assert!(run.measurements.iter().all(|row| row.value.is_finite() && row.value >= 0.0));
    for sample in run.samples.iter().filter(|sample| sample.backend != "null") {
        assert!(sample.live_bytes <= sample.usable_bytes, "{sample:?}");
        assert!(sample.usable_bytes <= sample.pages_in_use_bytes, "{sample:?}");
        assert!(
            sample.pages_in_use_bytes as f64 <= sample.resident_bytes as f64 + TOLERANCE_BYTES,
            "{sample:?}"
        );
    }
    for backend in backends() {
        let over = run
            .manifest
            .traces
            .iter()
            .map(|t| one(&run, &t.name, backend, Metric::PagesInUseOverResidentBytes));
        println!(
            "{backend}: at most {} bytes of pages in use above the resident bytes",
            over.fold(0.0, f64::max)
        );
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
                let fragmented: u64 = attributions
                    .iter()
                    .map(|attribution| attribution.external_fragmentation_bytes)
                    .sum();
                assert!(
                    attributions.is_empty() || fragmented as f64 == curve[0] - usable as f64,
                    "every byte is charged"
                );
                assert_eq!(
                    attributions.is_empty(),
                    trace.name == "hello",
                    "the one recorded without lines"
                );
                // The rows of the heap map hold all of it. At the live peak, which is between two
                // columns, a range may be in use that is in no column.
                let contents = run.heap_contents.iter().filter(|row| {
                    row.trace == trace.name && row.backend == backend && row.moment == moment
                });
                let found = contents.fold([0; 3], |[blocks, live, pages], row| {
                    [
                        blocks + row.live_blocks,
                        live + row.live_bytes,
                        pages + row.pages_in_use_bytes,
                    ]
                });
                let rounding = run.rounding.iter().filter(|row| {
                    row.trace == trace.name && row.backend == backend && row.moment == moment
                });
                let (blocks, live) = rounding.fold((0, 0), |(blocks, live), row| {
                    (blocks + row.live_blocks, live + row.live_bytes)
                });
                let all = [blocks, live, curve[0] as u64];
                if moment == Moment::End {
                    assert_eq!(found, all, "{} {backend}", trace.name);
                } else {
                    let is_most = |(found, all): (u64, u64)| found <= all && found * 10 >= all * 9;
                    assert!(found.into_iter().zip(all).all(is_most), "{found:?} of {all:?}");
                }
            }
        }
        // The rounding by size covers all requests up to the end: of large blocks the touched part.
        let csv = folder.path().join(format!("{}.csv", trace.name));
        let recording = traces::committed(&format!("{}.trace", trace.name));
        expect(0, heaplay().arg("convert").arg(&recording).arg(&csv));
        let mut reader = heaplay::trace::open(&recording).unwrap();
        while reader.next_row().unwrap().is_some() {}
        let present = reader.process().present.clone();
        let end = trace.end.as_ref().map_or(u64::MAX, |end| end.event);
        let rows = traces::requests(&csv).into_iter().filter(|row| row.event < end);
        let touched = |row: traces::Request| {
            let known = present.iter().find(|known| known.event == row.event);
            known.map_or(row.size_bytes, |known| known.bytes.min(row.size_bytes))
        };
        let all_touched: u64 = rows.map(touched).sum();
        for backend in backends().into_iter().filter(|backend| *backend != "null") {
            let mine = |row: &&heaplay::results::Rounding| {
                row.trace == trace.name && row.backend == backend && row.moment == Moment::Whole
            };
            let rows = || run.rounding.iter().filter(mine);
            let requested: u64 = rows().map(|row| row.live_bytes).sum();
            assert_eq!(requested, all_touched, "{} {backend}", trace.name);
            assert!(
                rows().all(|row| row.usable_bytes >= row.live_bytes),
                "{} {backend}",
                trace.name
            );
        }
        // The cost of sampling is reported. The number of samples is bounded: one each 1/320 of the
        // trace, and one at each rise of live bytes by 1/128 of their peak, or of resident memory by 1/256
        // of it.
        let cost = |metric| one(&run, &trace.name, "pymalloc", metric);
        let share = cost(Metric::SamplingNanoseconds) / cost(Metric::PassNanoseconds);
        println!("{}: sampling took {:.2} % of the pass", trace.name, share * 100.0);
        let mine = |sample: &&Sample| sample.trace == trace.name && sample.backend == "pymalloc";
        let rises = 256.0 * cost(Metric::ResidentPeakBytes) / cost(Metric::LivePeakBytes);
        let bound = 320 + 128 + rises as usize + 4;
        let samples = run.samples.iter().filter(mine).count();
        assert!(samples <= bound, "{}: {samples} of {bound}", trace.name);
    }
}

#[test]
fn two_passes_agree_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let trace = traces::committed("json_round.trace");
    let folders = ["a", "b"].map(|name| folder.path().join(name));
    let runs = folders.each_ref().map(|out| footprint(&trace, "malloc,pymalloc,bump", out));
    let exact = |run: &Run| -> BTreeMap<(String, Scope, Metric), u64> {
        let rows = run.measurements.iter().filter(|row| {
            let exactness = row.metric.exactness();
            !matches!(exactness, Exactness::Reported | Exactness::Timed)
        });
        rows.map(|row| ((row.backend.clone(), row.op, row.metric), row.value.to_bits())).collect()
    };
    assert_eq!(exact(&runs[0]), exact(&runs[1]));
    for table in [
        "samples",
        "fullness",
        "rounding",
        "size_classes",
        "attribution",
        "heap_map",
        "heap_contents",
        "what_ifs",
    ] {
        let [a, b] =
            folders.each_ref().map(|f| fs::read_to_string(f.join(format!("{table}.csv"))).unwrap());
        assert!(a == b, "{table}.csv differs");
    }
}

/// Pointers predict the memory that glibc's trim leaves after the thread cache is flushed, within 2
/// % or one page. This holds for any size of that cache. Without a cache, flushing changes nothing.
#[test]
#[cfg(target_env = "gnu")]
fn pointers_predict_what_a_trim_leaves() {
    const PAGE: f64 = 4096.0;
    let folder = tempfile::tempdir().unwrap();
    let cacheless = "malloc:glibc.malloc.tcache_count=0";
    let specs = ["malloc", "malloc:glibc.malloc.tcache_count=40", cacheless];
    let run = footprint(&repository("traces"), &specs.join(","), &folder.path().join("run"));
    for trace in &run.manifest.traces {
        for backend in specs {
            let figure = |metric: Metric| one(&run, &trace.name, backend, metric);
            let (in_use, predicted) =
                (figure(Metric::PagesInUseEndBytes), figure(Metric::TrimPredictedBytes));
            let (trimmed, flushed) =
                (figure(Metric::ResidentTrimmedBytes), figure(Metric::ResidentFlushedBytes));
            println!(
                "{} {backend}: in use {in_use}, predicted {predicted}, after a trim {trimmed}, \
                 flushed {flushed}",
                trace.name
            );
            let spare = (predicted * 0.02).max(PAGE);
            assert!(
                (flushed - predicted).abs() <= spare,
                "{} {backend}: {flushed} {predicted}",
                trace.name
            );
            // Few headers lie on pages without a live block.
            let beside = predicted - in_use;
            assert!(
                (0.0..=(in_use * 0.02).max(4.0 * PAGE)).contains(&beside),
                "{}: {beside}",
                trace.name
            );
            assert!(flushed <= trimmed, "{} {backend}: {flushed} > {trimmed}", trace.name);
            if backend == cacheless {
                assert!((trimmed - flushed).abs() <= PAGE, "{}: {trimmed} {flushed}", trace.name);
            }
        }
    }
    // The cache retains most of the pages that are left of a small heap: after the teardown.
    let out = folder.path().join("torn-down");
    let mut command = heaplay();
    command.args(["run", "--passes", "footprint", "--at", "last-call", "-b", "malloc", "-o"]);
    finish(command.arg(&out).arg(traces::committed("churn.trace")));
    let run = Run::load(&out).unwrap();
    let figure = |metric: Metric| one(&run, "churn", "malloc", metric);
    assert!(figure(Metric::ResidentTrimmedBytes) > 2.0 * figure(Metric::ResidentFlushedBytes));
}

/// At each mark every byte of external fragmentation is attributed to a line, and the live bytes of
/// the lines are those of the trace.
#[test]
fn bytes_are_attributed_to_lines_at_every_mark() {
    let folder = tempfile::tempdir().unwrap();
    let marked = folder.path().join("marked.trace");
    // The recorded service, with marks at calls where the recording has none.
    let original = traces::committed("service.trace");
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
    let run = footprint(&marked, "malloc,pymalloc,null", &folder.path().join("run"));
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
        let fragmented = sample.pages_in_use_bytes - sample.usable_bytes;
        assert_eq!(at(Moment::Mark(2)), (sample.live_bytes, fragmented), "{backend}");
        assert!(sample.live_bytes > 0 && fragmented > 0);
        // The lines of a sample are the largest of those at the mark, which are counted block by block.
        let mut at_mark: Vec<(&str, u64, u64)> = run
            .attributions
            .iter()
            .filter(|row| row.backend == backend && row.moment == Moment::Mark(2))
            .filter(|row| row.site != OTHER_SITES)
            .map(|row| (row.site.as_str(), row.live_blocks, row.live_bytes))
            .collect();
        at_mark.sort_by_key(|row| std::cmp::Reverse(row.2));
        let lines = LineContents::decode(&sample.lines);
        let lines: Vec<(&str, u64, u64)> =
            lines.iter().map(|line| (line.0.as_str(), line.1, line.2)).collect();
        assert_eq!(lines, at_mark[..3], "{backend}");
    }
    assert!(run.attributions.iter().all(|attribution| attribution.backend != "null"));
}

#[test]
fn the_first_line_saves_what_is_attributed_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let trace = traces::committed("service.trace");
    let run = footprint(&trace, "pymalloc", &folder.path().join("run"));
    // The line that retains most, and the program's own lines that hold most.
    let (check, holders) = run.what_ifs.split_first().expect("a line is checked");
    let is_own = |check: &WhatIf| check.site.starts_with("traces/programs/service.py:");
    assert!(!holders.is_empty() && holders.iter().all(is_own), "{holders:?}");
    let retention = run.retention_at_end("service", "pymalloc").unwrap();
    assert_eq!(retention.most(), None, "no line keeps 256 KiB");
    assert_eq!(check.site, run.retaining_lines("service", Moment::End)[0].0);
    let saved = check.pages_in_use_before_bytes as f64 - check.pages_in_use_after_bytes as f64;
    let off = (check.predicted_bytes as f64 - saved).abs() / saved;
    assert!(off < 0.15, "{check:?}");
    // The verb gives the same figure, and finds the line by the end of its name.
    let line = check.site.rsplit('/').next().unwrap();
    let whatif = |arguments: &[&str]| {
        let ended = finish(heaplay().arg("whatif").arg(&trace).args(arguments));
        (ended.status.code(), printed(&ended), errors(&ended))
    };
    let (code, text, _) = whatif(&["--move-site", line, "--backends", "pymalloc"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains(&check.site) && text.contains(&format!("{:.0}\u{a0}KiB", saved / KIB)),
        "{text}"
    );
    let (code, text, _) = whatif(&["--drop-site", line, "--backends", "pymalloc,null"]);
    assert!(
        code == Some(4) && text.contains("never allocated") && text.contains("backs no memory"),
        "{text}"
    );
    let (code, _, errors) = whatif(&["--drop-site", "nowhere.py:1"]);
    assert!(code == Some(2) && errors.contains("heaplay inspect"), "{errors}");
}

/// A leak is a line that holds more and more: 40,000 blocks of 100 bytes, one for each ten that end at once.
#[test]
fn a_line_that_grows_has_what_it_held_before() {
    let mut text = "event,op,size,lifetime,site\n".to_owned();
    for block in 0..40_000_u64 {
        text += &format!("{},malloc,100,,app.py:8\n", block * 21);
        for short in 0..10 {
            text += &format!("{},malloc,100,1,app.py:3\n", block * 21 + 1 + 2 * short);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("leak.csv");
    fs::write(&trace, text).unwrap();
    let mut command = heaplay();
    command.arg("run").arg(&trace).args(["--passes", "footprint", "-b", "malloc", "--out"]);
    let text = expect(0, command.arg(folder.path().join("run"))).replace('\u{a0}', " ");
    let line = "under malloc, app.py:8 holds most, 3.8 MiB in 40 000 blocks (it grows: 1.9 MiB at half of \
                the calls).";
    assert!(text.replace('\u{202f}', " ").contains(line), "{text}");
}

/// Where an allocator returns memory after a delay, its figure has two bounds, or the pace of the
/// program.
#[test]
fn figures_that_depend_on_the_clock_have_bounds_or_a_pace() {
    if !has_backend("jemalloc") || !has_backend("mimalloc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let specs = "malloc,jemalloc,mimalloc,mimalloc:purge_delay=-1";
    let service = traces::committed("service.trace");
    let run = footprint(&service, specs, &folder.path().join("bounded"));
    for backend in ["jemalloc", "mimalloc"] {
        let figure = |metric: Metric| one(&run, "service", backend, metric);
        for what in ["peak", "mean", "end", "trimmed"] {
            let [least, most] = ["at_once", "never"]
                .map(|bound| figure(named(&format!("resident_{what}_{bound}_bytes"))));
            assert!(least > 0.0 && most > 0.0, "{backend} {what}: {least} {most}");
            // A trim returns memory at once, whatever the delay is.
            assert!(least <= most || what == "trimmed", "{backend} {what}: {least} {most}");
        }
        // The program frees two thirds of its heap at the end, so the delay matters there.
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
    let hello = traces::committed("hello.trace");
    let out = folder.path().join("paced");
    let mut command = heaplay();
    command.arg("run").arg(&hello).args(["--passes", "footprint", "-b", "malloc,mimalloc"]);
    expect(0, command.args(["--pace", "4", "--out"]).arg(&out));
    let run = Run::load(&out).unwrap();
    assert_eq!(run.manifest.settings.get("pace").map(String::as_str), Some("4"));
    assert!(run.values("hello", "mimalloc", Scope::All, Metric::ResidentEndNeverBytes).is_empty());
    // The last time in the recording.
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

/// Allocators that return memory after a delay read the times of the recording: where the program waited
/// for ten minutes, the memory is gone, and the replay does not wait.
#[test]
fn a_pause_of_the_program_is_one_for_the_allocator() {
    if !has_backend("jemalloc") || !has_backend("mimalloc") {
        return;
    }
    const BLOCKS: u64 = 2000;
    let folder = tempfile::tempdir().unwrap();
    let end_bytes = |pause_ns: u64| -> [f64; 2] {
        let mut text = "event,op,size,lifetime,time_ns\n".to_owned();
        // All blocks live at once and end together. Then groups of small ones come and go with pauses
        // between, more of them than a thread's cache holds: only then jemalloc looks at its clock.
        for block in 0..BLOCKS {
            text += &format!("{block},malloc,16384,{BLOCKS},{}\n", block * 30_000);
        }
        for group in 0..40 {
            for small in 0..BLOCKS {
                let event = 2 * BLOCKS * (1 + group) + small;
                text +=
                    &format!("{event},malloc,64,{BLOCKS},{}\n", pause_ns * group + event * 30_000);
            }
        }
        let trace = folder.path().join(format!("pause{pause_ns}.csv"));
        fs::write(&trace, text).unwrap();
        let began = std::time::Instant::now();
        let run = footprint(&trace, "jemalloc,mimalloc", &trace.with_extension("run"));
        assert!(began.elapsed().as_secs() < 500, "the replay waits");
        let name = trace.file_stem().unwrap().to_str().unwrap();
        let end = |backend| one(&run, name, backend, Metric::ResidentEndBytes);
        ["jemalloc", "mimalloc"].map(end)
    };
    let ([jemalloc, _], paused) = (end_bytes(0), end_bytes(15_000_000_000));
    assert!(
        jemalloc > 12e6,
        "jemalloc returns 32 MB over 10 s, and the program took 5: {jemalloc}"
    );
    assert!(
        paused.iter().all(|bytes| *bytes < 8e6),
        "32 MB are returned in ten minutes: {paused:?}"
    );
}

/// The peak of resident memory is not that of the live bytes: a block of 8 MiB that lives for one call
/// comes after half of 30,000 blocks of 1,000 bytes, two of the four on each page, have ended.
#[test]
fn a_peak_between_two_samples_is_seen() {
    const SMALL_BLOCKS: u64 = 30_000;
    const LARGE_BYTES: u64 = 8 << 20;
    let mut text = "event,op,size,lifetime\n".to_owned();
    for block in 0..SMALL_BLOCKS {
        let lifetime = SMALL_BLOCKS - block / 2;
        let lifetime = if block % 2 == 0 { lifetime.to_string() } else { String::new() };
        text += &format!("{block},malloc,1000,{lifetime}\n");
    }
    let large = SMALL_BLOCKS + SMALL_BLOCKS / 2;
    text += &format!("{large},malloc,{LARGE_BYTES},1\n");
    for pair in 0..20_000 {
        text += &format!("{},malloc,64,1\n", large + 2 + 2 * pair);
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("short.csv");
    fs::write(&trace, text).unwrap();
    let run = footprint(&trace, "malloc", &folder.path().join("run"));
    let [peak, at_live_peak] = [Metric::ResidentPeakBytes, Metric::ResidentAtLivePeakBytes]
        .map(|metric| one(&run, "short", "malloc", metric));
    // A chunk of glibc for 1,000 bytes has 1,008.
    let small_bytes = (SMALL_BLOCKS * 1008) as f64;
    assert!((at_live_peak / small_bytes - 1.0).abs() < 0.01, "{at_live_peak} for {small_bytes}");
    let all_bytes = small_bytes + LARGE_BYTES as f64;
    assert!((peak / all_bytes - 1.0).abs() < 0.01, "{peak} for {all_bytes}");
}

/// Memory on huge pages is the kernel's figure: an allocator that requests them has some, and none
/// where they are left out.
#[test]
fn huge_pages_are_measured_and_can_be_left_out() {
    let enabled = "/sys/kernel/mm/transparent_hugepage/enabled";
    let mode = fs::read_to_string(enabled).unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("many.csv");
    let mut text = String::from("event,op,size,lifetime\n");
    for event in 0..60_000 {
        text += &format!("{event},malloc,400,\n");
    }
    fs::write(&trace, text).unwrap();
    let run = |which: Option<&str>, name: &str| {
        let out = folder.path().join(name);
        let mut command = heaplay();
        command.arg("run").arg(&trace).args([
            "--passes",
            "footprint",
            "-b",
            "pymalloc@3.15,pymalloc",
        ]);
        command.args(which.map(|which| ["--huge-pages", which]).into_iter().flatten());
        let output = finish(command.arg("--out").arg(&out).env_remove("GLIBC_TUNABLES"));
        (output.status.code(), printed(&output), errors(&output), out)
    };
    let huge = |out: &Path, backend| {
        one(&Run::load(out).expect("a run"), "many", backend, Metric::HugePagesEndBytes)
    };
    let (code, text, why, out) = run(Some("never"), "never");
    assert_eq!(code, Some(0), "{why}");
    assert_eq!((huge(&out, "pymalloc@3.15"), huge(&out, "pymalloc")), (0.0, 0.0), "{text}");
    assert!(!text.contains("On huge pages"), "{text}");
    let other = if mode.contains("[always]") { "madvise" } else { "always" };
    let (code, _, why, _) = run(Some(other), "other");
    assert!(code == Some(2) && why.contains("the kernel's mode of huge pages is"), "{why}");
    if !mode.contains("[madvise]") {
        skip("huge-pages", "the kernel's mode is not `madvise`");
        return;
    }
    let (code, text, why, out) = run(Some("madvise"), "madvise");
    assert_eq!(code, Some(0), "{why}");
    // 24 MB of blocks in arenas of 1 MiB that request huge pages; plain pymalloc requests none.
    let own = huge(&out, "pymalloc@3.15");
    if own == 0.0 {
        skip("huge-pages", "the kernel had no huge page to give");
        return;
    }
    assert!((4e6..40e6).contains(&own) && own % f64::from(2 << 20) == 0.0, "{own}");
    assert_eq!(huge(&out, "pymalloc"), 0.0);
    assert!(text.contains("On huge pages at the end: pymalloc@3.15 "), "{text}");
    assert!(text.contains(" of what is resident)"), "{text}");
    let run = Run::load(&out).expect("a run");
    let resident = one(&run, "many", "pymalloc@3.15", Metric::ResidentEndBytes);
    assert!(own <= resident, "{own} of {resident} bytes on huge pages");
}
