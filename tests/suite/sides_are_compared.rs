//! `heaplay diff`: two recordings, or two runs, side by side.
//!
//! The oracle for recordings replays the rows of both traces call by call, with its own list of live
//! blocks, its own peak and its own size classes. The oracle for runs reads the tables on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::browser::{chromium, drive};
use crate::support::made_up_runs::{self, Dice, Wish};
use crate::support::made_up_sides::with_peak_figures;
use crate::support::process::{expect, heaplay, scratch};

const STEPS: &str = include_str!("sides_are_compared/steps.js");

/// A request of a made-up trace: size, calls to its end (0: live at the end), domain and site.
#[derive(Clone)]
struct Request {
    size: u64,
    lifetime: u64,
    domain: &'static str,
    site: String,
}

/// A made-up trace: each request or free is a call, in this order.
struct Trace {
    requests: Vec<(u64, Request)>,
    calls: u64,
}

const LINES: [&str; 7] = [
    "/app/a.py:10",
    "/app/a.py:20",
    "/app/a.py:21",
    "/app/b.py:5",
    "/app/b.py:6 via lib.so!grow",
    "lib.so!start",
    "",
];

impl Trace {
    /// Requests of random sizes on random lines. Ends come at free places of the sequence of calls.
    fn random(seed: u64, count: usize) -> Trace {
        let mut dice = Dice::new(seed);
        let mut taken = std::collections::BTreeSet::new();
        let mut requests = Vec::new();
        let mut event = 0;
        let mut pick = |most: f64| (dice.next() * most) as u64;
        for _ in 0..count {
            while taken.contains(&event) {
                event += 1;
            }
            taken.insert(event);
            let size = if pick(5.0) == 0 { pick(90_000.0) } else { pick(700.0) };
            let mut lifetime = 0;
            if pick(4.0) > 0 {
                let end = (event + 1 + pick(60.0)..).find(|at| !taken.contains(at)).unwrap();
                taken.insert(end);
                lifetime = end - event;
            }
            let site = LINES[pick(LINES.len() as f64) as usize];
            let caller = ["", " < /app/main.py:3", " < /app/main.py:8"][pick(3.0) as usize];
            let site = if site.is_empty() { String::new() } else { format!("{site}{caller}") };
            let domain = ["obj", "mem", "raw"][pick(3.0) as usize];
            requests.push((event, Request { size, lifetime, domain, site }));
        }
        // A call must follow the one before: cut ends that lie beyond the first gap.
        let gap = (0..).find(|at| !taken.contains(at)).unwrap();
        for (event, request) in &mut requests {
            if *event + request.lifetime >= gap {
                request.lifetime = 0;
            }
        }
        requests.retain(|(event, _)| *event < gap);
        Trace { requests, calls: gap }
    }

    fn of(rows: &[(u64, u64, u64, &str)]) -> Trace {
        let request = |(event, size, lifetime, site): &(u64, u64, u64, &str)| {
            let site = (*site).to_owned();
            (*event, Request { size: *size, lifetime: *lifetime, domain: "obj", site })
        };
        let last = |(event, _, lifetime, _): &(u64, u64, u64, &str)| event + lifetime + 1;
        Trace {
            requests: rows.iter().map(request).collect(),
            calls: rows.iter().map(last).max().unwrap_or(0),
        }
    }

    fn write(&self, path: &Path, has_sites: bool) -> PathBuf {
        let mut text = "event,op,size,lifetime,domain".to_owned();
        text += if has_sites { ",site\n" } else { "\n" };
        for (event, Request { size, lifetime, domain, site }) in &self.requests {
            let lifetime = if *lifetime == 0 { String::new() } else { lifetime.to_string() };
            text += &format!("{event},malloc,{size},{lifetime},{domain}");
            text += &if has_sites { format!(",{site}\n") } else { "\n".to_owned() };
        }
        fs::write(path, text).unwrap();
        path.to_owned()
    }

    /// The requests of each measure, by a walk over all calls.
    fn measured(&self) -> [(&'static str, Vec<&Request>); 3] {
        let by_event: BTreeMap<u64, &Request> =
            self.requests.iter().map(|(event, request)| (*event, request)).collect();
        let mut live: BTreeMap<u64, &Request> = BTreeMap::new();
        let (mut peak, mut at_peak) = (0, Vec::new());
        for call in 0..self.calls {
            match by_event.get(&call) {
                Some(request) => {
                    live.insert(call, request);
                }
                None => {
                    let ended = live
                        .iter()
                        .find(|(event, one)| one.lifetime > 0 && **event + one.lifetime == call);
                    let ended = *ended.expect("a call is a request or an end").0;
                    live.remove(&ended);
                }
            }
            let bytes: u64 = live.values().map(|one| one.size).sum();
            if bytes > peak {
                (peak, at_peak) = (bytes, live.values().copied().collect());
            }
        }
        [
            ("live at the peak", at_peak),
            ("live at the end", live.values().copied().collect()),
            ("allocated", self.requests.iter().map(|(_, request)| request).collect()),
        ]
    }
}

/// The class of a size by its largest request: steps of 16 up to 512 bytes, then octaves.
fn class_of(size: u64) -> String {
    let limit = match size {
        0..=512 => size.div_ceil(16).max(1) * 16,
        _ => size.next_power_of_two(),
    };
    match limit {
        0..=1023 => format!("up to {limit} B"),
        _ => format!("up to {} KiB", limit / 1024),
    }
}

fn label_of(by: &str, request: &Request) -> String {
    let no_line = |text: &str| if text.is_empty() { "(no line)" } else { text }.to_owned();
    match by {
        // A line has all native functions that it reached.
        "line" => no_line(request.site.split(" < ").next().unwrap().split(" via ").next().unwrap()),
        "call chain" => no_line(&request.site),
        "size class" => class_of(request.size),
        "domain" => request.domain.to_owned(),
        "file" => match request.site.split(" < ").next().unwrap() {
            "" => "(no line)".to_owned(),
            "lib.so!start" => "lib.so".to_owned(),
            line => line.split(':').next().unwrap().to_owned(),
        },
        other => panic!("{other}"),
    }
}

fn sums(by: &str, requests: &[&Request], weight: fn(&Request) -> i64) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for request in requests {
        *sums.entry(label_of(by, request)).or_default() += weight(request);
    }
    sums
}

/// A row of `diff.csv`.
#[derive(Clone, Debug, serde::Deserialize)]
struct DiffRow {
    part: String,
    measure: String,
    by: String,
    row: String,
    was: String,
    before: Option<i64>,
    after: Option<i64>,
    difference: i64,
}

fn diff_rows(folder: &Path) -> Vec<DiffRow> {
    let text = fs::read_to_string(folder.join("diff.csv")).unwrap().replace('\u{a0}', " ");
    csv::Reader::from_reader(text.as_bytes()).deserialize().collect::<Result<_, _>>().unwrap()
}

fn diff(before: &Path, after: &Path) -> Command {
    let mut command = heaplay();
    command.arg("diff").args([before, after]);
    command
}

/// Runs `diff` with a folder; gives its rows and what it prints.
fn compared(before: &Path, after: &Path, out: &Path, more: &[&str]) -> (Vec<DiffRow>, String) {
    let printed = expect(0, diff(before, after).arg("-o").arg(out).args(more));
    (diff_rows(out), printed.replace('\u{a0}', " "))
}

fn select<'a>(rows: &'a [DiffRow], measure: &str, by: &str) -> Vec<&'a DiffRow> {
    rows.iter().filter(|row| row.measure == measure && row.by == by).collect()
}

/// The differences of each breakdown add up to the difference of the measure, and so do both sides.
fn assert_sums(rows: &[DiffRow]) {
    let mut checked = 0;
    for total in rows.iter().filter(|row| row.by.is_empty()) {
        assert_eq!(total.difference, total.after.unwrap() - total.before.unwrap(), "{total:?}");
        let own = rows.iter().filter(|row| {
            (&row.part, &row.measure) == (&total.part, &total.measure) && !row.by.is_empty()
        });
        let mut sums: BTreeMap<&str, [i64; 3]> = BTreeMap::new();
        for row in own {
            let sum = sums.entry(&row.by).or_default();
            sum[0] += row.before.unwrap_or(0);
            sum[1] += row.after.unwrap_or(0);
            sum[2] += row.difference;
        }
        for (by, sum) in sums {
            let wanted = [total.before.unwrap(), total.after.unwrap(), total.difference];
            assert_eq!(sum, wanted, "{total:?} by {by}");
            checked += 1;
        }
    }
    assert!(checked > 0, "no breakdown");
}

#[test]
fn every_row_is_that_of_a_plain_count() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..=4 {
        let traces = [Trace::random(seed, 300), Trace::random(seed + 50, 340)];
        let paths = ["old.csv", "new.csv"].map(|name| folder.path().join(name));
        for (trace, path) in traces.iter().zip(&paths) {
            trace.write(path, true);
        }
        let (rows, _) = compared(&paths[0], &paths[1], &folder.path().join("out"), &[]);
        assert_sums(&rows);
        let [old, new] = traces.each_ref().map(Trace::measured);
        let bytes: fn(&Request) -> i64 = |request| request.size as i64;
        let all = |(name, before), (_, after)| (name, before, after, bytes);
        let mut measures: Vec<_> =
            old.iter().cloned().zip(new.clone()).map(|(a, b)| all(a, b)).collect();
        let (_, before, after, _) = measures[2].clone();
        measures.push(("requests", before, after, |_| 1));
        for (measure, before, after, weight) in measures {
            let totals =
                [&before, &after].map(|side| side.iter().map(|own| weight(own)).sum::<i64>());
            let total = select(&rows, measure, "")[0];
            assert_eq!([total.before.unwrap(), total.after.unwrap()], totals, "{measure}");
            for by in ["line", "file", "call chain", "size class", "domain"] {
                let (before, after) = (sums(by, &before, weight), sums(by, &after, weight));
                let own = select(&rows, measure, by);
                // A line that moved has its label before beside it.
                let old: BTreeMap<String, i64> = own
                    .iter()
                    .filter_map(|row| {
                        let label = if row.was.is_empty() { &row.row } else { &row.was };
                        Some((label.clone(), row.before?))
                    })
                    .collect();
                let new: BTreeMap<String, i64> =
                    own.iter().filter_map(|row| Some((row.row.clone(), row.after?))).collect();
                assert_eq!(old, before, "{measure} by {by}, before");
                assert_eq!(new, after, "{measure} by {by}, after");
            }
        }
    }
}

/// Five lines of a file move by two, one of them grows, and the file lies in another folder.
fn moved_program(folder: &Path) -> [PathBuf; 2] {
    let old = Trace::of(&[
        (0, 1000, 0, "/v1/a.py:10"),
        (1, 2000, 0, "/v1/a.py:11"),
        (2, 5000, 0, "/v1/a.py:20"),
        (3, 700, 0, "/v1/a.py:22"),
        (4, 40, 1, "/v1/b.py:7"),
    ]);
    let new = Trace::of(&[
        (0, 1000, 0, "/v2/a.py:12"),
        (1, 2000, 0, "/v2/a.py:13"),
        (2, 9000, 0, "/v2/a.py:22"),
        (3, 700, 0, "/v2/a.py:24"),
        (4, 40, 1, "/v2/b.py:7"),
        (6, 300, 0, "/v2/b.py:9"),
    ]);
    [old.write(&folder.join("old.csv"), true), new.write(&folder.join("new.csv"), true)]
}

#[test]
fn a_line_that_moved_is_the_same_line() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = moved_program(folder.path());
    let (rows, printed) = compared(&old, &new, &folder.path().join("out"), &[]);
    assert_sums(&rows);
    let lines: Vec<(String, String, i64)> = select(&rows, "live at the end", "line")
        .iter()
        .map(|row| (row.row.clone(), row.was.clone(), row.difference))
        .collect();
    let row =
        |after: &str, before: &str, difference| (after.to_owned(), before.to_owned(), difference);
    assert_eq!(
        lines,
        [
            row("/v2/a.py:22", "/v1/a.py:20", 4000),
            row("/v2/b.py:9", "", 300),
            row("/v2/a.py:13", "/v1/a.py:11", 0),
            row("/v2/a.py:12", "/v1/a.py:10", 0),
            row("/v2/a.py:24", "/v1/a.py:22", 0),
        ]
    );
    assert!(printed.contains("Live at the peak: 8.5 KiB → 13 KiB"), "{printed}");
    assert!(printed.contains("+3.9 KiB of the +4.2 KiB are a.py:22 (was a.py:20)"), "{printed}");
    assert!(printed.contains("/v1/a.py of the first side is taken for /v2/a.py"), "{printed}");
}

#[test]
fn private_files_name_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = moved_program(folder.path());
    let out = folder.path().join("out");
    let (rows, printed) = compared(&old, &new, &out, &["--private"]);
    assert_sums(&rows);
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    let table = fs::read_to_string(out.join("diff.csv")).unwrap();
    // Standard error names the page that was written.
    let printed = printed.split("heaplay: open").next().unwrap();
    for (what, text) in [("page", page.as_str()), ("table", &table), ("terminal", printed)] {
        for private in ["a.py", "/v1", "/v2", "old.csv", "new.csv", folder.path().to_str().unwrap()]
        {
            assert!(!text.contains(private), "{what}: {private}");
        }
    }
    let most = select(&rows, "live at the end", "line")[0];
    assert_eq!((most.row.starts_with("line "), most.difference), (true, 4000));
}

#[test]
fn equal_inputs_move_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::random(9, 200).write(&folder.path().join("a.csv"), true);
    let out = folder.path().join("out");
    let (rows, printed) = compared(&trace, &trace, &out, &[]);
    assert!(rows.iter().all(|row| row.difference == 0 && row.was.is_empty()));
    assert!(printed.contains("Nothing moved: both recordings request the same"), "{printed}");
    let pictures = fs::read_dir(&out).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "png")
    });
    assert_eq!(pictures.count(), 0, "nothing to draw");
    assert!(fs::read_to_string(out.join("index.html")).unwrap().contains("Nothing moved"));
}

#[test]
fn empty_traces_and_traces_without_lines_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let empty = Trace::of(&[]).write(&path("empty.csv"), true);
    let with = Trace::random(3, 120).write(&path("with.csv"), true);
    let without = Trace::random(3, 120).write(&path("without.csv"), false);
    let out = path("out");
    let (rows, _) = compared(&empty, &with, &out, &[]);
    assert_sums(&rows);
    assert!(select(&rows, "allocated", "line").iter().all(|row| row.before.is_none()));
    assert!(!select(&rows, "allocated", "line").is_empty());
    let (rows, printed) = compared(&empty, &empty, &out, &[]);
    assert!(rows.iter().all(|row| row.difference == 0), "{printed}");
    for (old, new, which) in
        [(&with, &without, "The second"), (&without, &with, "The first"), (&without, &without, "")]
    {
        let (rows, printed) = compared(old, new, &out, &[]);
        assert!(select(&rows, "allocated", "line").is_empty(), "no line is made up");
        assert!(!select(&rows, "allocated", "size class").is_empty());
        let note = match which {
            "" => "Neither recording has lines".to_owned(),
            which => format!("{which} recording has no lines"),
        };
        assert!(printed.contains(&note) && printed.contains("--sites"), "{printed}");
    }
}

#[test]
fn json_has_what_the_table_has() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = moved_program(folder.path());
    let (rows, printed) = compared(&old, &new, &folder.path().join("out"), &["--json"]);
    let json = printed.split("heaplay: open").next().unwrap();
    let found: Value = serde_json::from_str(json).unwrap();
    let measure = &found["parts"][0]["measures"][0];
    assert_eq!(measure["name"], "live at the peak");
    let lines = measure["breakdowns"].as_array().unwrap();
    let lines = lines.iter().find(|own| own["by"] == "line").unwrap()["rows"].as_array().unwrap();
    let own = select(&rows, "live at the peak", "line");
    assert_eq!(lines.len(), own.len());
    for (json, row) in lines.iter().zip(own) {
        assert_eq!(
            (&json["label"], &json["difference"]),
            (&row.row.as_str().into(), &row.difference.into())
        );
    }
}

#[test]
fn inputs_that_do_not_go_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::random(3, 20).write(&folder.path().join("a.csv"), true);
    let empty_folder = folder.path().join("none");
    fs::create_dir(&empty_folder).unwrap();
    let missing = folder.path().join("missing.trace");
    let log = folder.path().join("mtrace.log");
    fs::write(&log, "= Start\n@ ./a:[0x1] + 0x1000 0x10\n= End\n").unwrap();
    let broken = folder.path().join("broken.csv");
    fs::write(&broken, "event,op,size,lifetime\n0,malloc,ten,\n").unwrap();
    for (old, new, why) in [
        (&empty_folder, &trace, "compares two of a kind"),
        (&trace, &empty_folder, "heaplay run"),
        (&empty_folder, &empty_folder, "two folders are compared as run folders"),
        (&missing, &trace, "missing.trace"),
        (&trace, &log, "heaplay import"),
        (&trace, &broken, "broken.csv:2"),
    ] {
        let printed = expect(2, &mut diff(old, new));
        assert!(printed.contains(why), "{why}: {printed}");
        assert!(!printed.contains("panicked"), "{printed}");
    }
    let taken = folder.path().join("file");
    fs::write(&taken, "").unwrap();
    let printed = expect(2, diff(&trace, &trace).arg("-o").arg(taken.join("out")));
    assert!(printed.contains("choose a folder"), "{printed}");
}

/// Two made-up runs: the second one of another seed, with a backend more.
fn saved_runs(folder: &Path) -> [PathBuf; 2] {
    let wish = |seed, backends| Wish {
        seed,
        backends,
        samples: 200,
        calls: 100_000,
        repetitions: 3,
        ..Wish::default()
    };
    let backends: [&[&str]; 2] =
        [&["malloc", "pymalloc", "null"], &["malloc", "pymalloc", "null", "jemalloc"]];
    let runs = [(1, backends[0], "run1"), (2, backends[1], "run2")];
    runs.map(|(seed, backends, name)| {
        let path = folder.join(name);
        let mut run = with_peak_figures(made_up_runs::run(&wish(seed, backends)));
        if seed == 2 {
            run.manifest.traces[0].sha256 = "1".repeat(64);
        }
        run.save(&path).unwrap();
        path
    })
}

type Table = Vec<BTreeMap<String, String>>;

fn table(folder: &Path, name: &str, backend: &str) -> Table {
    let text = fs::read(folder.join(name)).unwrap();
    let rows: Table =
        csv::Reader::from_reader(text.as_slice()).deserialize().collect::<Result<_, _>>().unwrap();
    rows.into_iter().filter(|row| row["backend"] == backend).collect()
}

fn figure(folder: &Path, backend: &str, metric: &str) -> i64 {
    let rows = table(folder, "measurements.csv", backend);
    let row = rows.iter().find(|row| row["metric"] == metric && row["op"] == "all");
    row.unwrap_or_else(|| panic!("{metric} of {backend}"))["value"].parse::<f64>().unwrap() as i64
}

#[test]
fn rows_of_runs_are_those_of_their_tables() {
    let folder = tempfile::tempdir().unwrap();
    let runs = saved_runs(folder.path());
    let (rows, printed) = compared(&runs[0], &runs[1], &folder.path().join("out"), &[]);
    assert_sums(&rows);
    for backend in ["malloc", "pymalloc"] {
        let part = format!("service on {backend}");
        let own: Vec<DiffRow> = rows.iter().filter(|row| row.part == part).cloned().collect();
        for (name, moment, live, above) in [
            ("the end", "end", "live_end_bytes", "end"),
            ("the live peak", "peak", "live_peak_bytes", "at_live_peak"),
        ] {
            let of = |run: &Path| {
                let levels = ["usable", "pages_in_use", "resident"]
                    .map(|level| figure(run, backend, &format!("{level}_{above}_bytes")));
                let live = figure(run, backend, live);
                [live, levels[0] - live, levels[1] - levels[0], levels[2] - levels[1]]
            };
            let (before, after) = (of(&runs[0]), of(&runs[1]));
            let causes = ["live", "rounding", "free space on pages in use", "retained"];
            for (at, cause) in causes.iter().enumerate() {
                let found = select(&own, &format!("resident at {name}"), "cause");
                let row = found.iter().find(|row| row.row == *cause).unwrap();
                assert_eq!([row.before.unwrap(), row.after.unwrap()], [before[at], after[at]]);
            }
            let lines = |run: &Path, column: &str| -> BTreeMap<String, i64> {
                let rows = table(run, "attribution.csv", backend).into_iter();
                let at = rows.filter(|row| row["moment"] == moment);
                at.map(|row| {
                    let site = if row["site"].is_empty() { "(no line)" } else { &row["site"] };
                    (site.to_owned(), row[column].parse().unwrap())
                })
                .collect()
            };
            let column = "external_fragmentation_bytes";
            for (side, run) in runs.iter().enumerate() {
                let found = select(&own, &format!("free space on pages in use at {name}"), "line");
                let found: BTreeMap<String, i64> = found
                    .iter()
                    .filter(|row| row.row != "(not attributed)")
                    .filter_map(|row| {
                        let value = if side == 0 { row.before } else { row.after };
                        Some((row.row.clone(), value?))
                    })
                    .collect();
                assert_eq!(found, lines(run, column), "{backend} at {name}, side {side}");
            }
        }
    }
    for wanted in [
        "The recordings of service differ",
        "Only the second run has service on jemalloc.",
        "Times of two runs were measured at two moments",
        "Time: ",
    ] {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
}

#[test]
fn runs_without_a_common_backend_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, backends: &[&str]| {
        let wish = Wish { backends, samples: 20, calls: 1000, ..Wish::default() };
        let path = folder.path().join(name);
        made_up_runs::run(&wish).save(&path).unwrap();
        path
    };
    let (one, two) = (save("one", &["malloc", "bump"]), save("two", &["pymalloc", "jemalloc"]));
    let printed = expect(2, &mut diff(&one, &two));
    assert!(printed.contains("no trace and allocator in common"), "{printed}");
    // One allocator each: these two are compared.
    let (one, two) = (save("three", &["malloc"]), save("four", &["pymalloc"]));
    let printed = expect(0, &mut diff(&one, &two));
    assert!(printed.contains("service on malloc → pymalloc"), "{printed}");
}

#[test]
fn the_page_shows_the_rows_of_the_table() {
    let Some(chromium) = chromium() else { return };
    let folder = scratch("sides");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let traces = [Trace::random(21, 400), Trace::random(22, 500)];
    let paths = ["old.csv", "new.csv"].map(|name| folder.join(name));
    for (trace, path) in traces.iter().zip(&paths) {
        trace.write(path, true);
    }
    let (rows, printed) = compared(&paths[0], &paths[1], &folder.join("out"), &[]);
    let html = fs::read_to_string(folder.join("out/index.html")).unwrap();
    let found = drive(&chromium, &html, "", STEPS);
    let plain = |text: &Value| text.as_str().unwrap().replace(['\u{a0}', '\u{202f}'], " ");
    assert_eq!(found["unnamed"], serde_json::json!([]), "controls without a name");
    assert_eq!(found["measures"], serde_json::json!(["live at the peak"]));
    assert!(printed.replace('\u{202f}', " ").contains(&plain(&found["verdict"])));
    assert_eq!(found["summary"].as_array().unwrap().len(), 4);
    // The CSV of a table has exact values, and the row for another label before.
    let saved = |csv: &Value| -> Vec<(String, i64)> {
        let text = plain(csv);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let records = reader.records().map(Result::unwrap);
        records.map(|row| (row[0].to_owned(), row[3].parse().unwrap())).collect()
    };
    let wanted = |measure: &str, by: &str| -> Vec<(String, i64)> {
        let label = |row: &DiffRow| match row.was.as_str() {
            "" => row.row.clone(),
            was => format!("{} was {was}", row.row),
        };
        select(&rows, measure, by).iter().map(|row| (label(row), row.difference)).collect()
    };
    assert_eq!(saved(&found["lines"]), wanted("live at the peak", "line"));
    let total = select(&rows, "live at the peak", "")[0];
    assert_eq!(found["total"][3], total.difference.to_string());
    assert_eq!(found["other"]["measures"], serde_json::json!(["allocated"]));
    assert_eq!(saved(&found["other"]["classes"]), wanted("allocated", "size class"));
    let mut lines = wanted("allocated", "line");
    lines.sort_by_key(|(_, difference)| std::cmp::Reverse(*difference));
    let names = |rows: &Value| -> Vec<String> {
        rows.as_array().unwrap().iter().map(|row| plain(&row[0])).collect()
    };
    let sorted: Vec<String> = lines.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names(&found["falling"]), sorted);
    let filtered: Vec<String> =
        sorted.iter().filter(|name| name.contains("b.py")).cloned().collect();
    assert!(!filtered.is_empty() && filtered.len() < sorted.len());
    assert_eq!(names(&found["filtered"]), filtered);
    assert_eq!(found["dark"], "dark");
    assert_eq!(found["restored"]["measures"], serde_json::json!(["allocated"]));
    assert_eq!(found["restored"]["lines"], found["filtered"], "{}", found["address"]);
}

#[test]
fn check_points_to_what_moved() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = moved_program(folder.path());
    let output = crate::support::process::finish(
        heaplay().arg("check").args([&old, &new]).args(["--backend", "malloc"]),
    );
    let printed = crate::support::process::both(&output);
    assert!(printed.contains("heaplay diff "), "{printed}");
}
