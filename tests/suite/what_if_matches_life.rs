//! `whatif` predicts the resident memory that a changed line saves. The oracle is the program itself,
//! run with and without the change: it reads its own memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use heaplay::results::{Metric, Moment, ReturnedUnit, Run, Scope};
use tempfile::TempDir;

use crate::support::process::{expect, heaplay, python_module};
use crate::support::{interpreters, libraries, traces};

const MIB: f64 = 1024.0 * 1024.0;

/// Line 6 allocates a block above 46 MiB of freed ones on the heap.
const HOLDS_THE_TOP: &str = r#"
import sys, heaplay
def anonymous():
    return next(int(l.split()[1]) << 10 for l in open('/proc/self/status') if l.startswith('RssAnon'))
blocks = [bytearray(80_000) for _ in range(600)]
last = bytes(90_000)
if sys.argv[1:] == ['moved']: last = None
del blocks
if sys.argv[1:] == ['moved']: last = bytes(90_000)
bytes_now = anonymous(); heaplay.mark('end')
print(bytes_now)
"#;

/// Line 6 allocates a block above 33 MiB of freed ones. The first freed ones are those below it: they go
/// to glibc's thread cache, and hold the top without that block, too.
const CACHE_HOLDS_THE_TOP: &str = r#"
import sys, heaplay
def anonymous():
    return next(int(l.split()[1]) << 10 for l in open('/proc/self/status') if l.startswith('RssAnon'))
blocks = [bytes(800) for _ in range(40_000)]
last = bytes(800)
if sys.argv[1:] == ['moved']: last = None
while blocks: blocks.pop()
if sys.argv[1:] == ['moved']: last = bytes(800)
bytes_now = anonymous(); heaplay.mark('end')
print(bytes_now)
"#;

/// Line 5 allocates 300,000 small blocks, of which 60 survive: some in every arena.
const HOLDS_ARENAS: &str = r#"
import sys, heaplay
def anonymous():
    return next(int(l.split()[1]) << 10 for l in open('/proc/self/status') if l.startswith('RssAnon'))
blocks = [b'%037d' % n for n in range(300_000)]
some = blocks[::5000]
if sys.argv[1:] == ['moved']: some = None
del blocks
if sys.argv[1:] == ['moved']: some = [b'%037d' % n for n in range(0, 300_000, 5000)]
bytes_now = anonymous(); heaplay.mark('end')
print(bytes_now)
"#;

/// Line 6 allocates small blocks in bursts, between which time passes. Some of each burst survive. The
/// change is that of `whatif`: the survivors are in no burst, and are allocated at the end.
const HOLDS_SOME_OF_EACH_BURST: &str = r#"
import sys, time, heaplay
def anonymous():
    return next(int(l.split()[1]) << 10 for l in open('/proc/self/status') if l.startswith('RssAnon'))
def burst():
    return [bytes(200 + n * 37 % 6000) for n in range(4000) if not moved or n % 40]
moved, survivors, sizes = sys.argv[1:] == ['moved'], [], []
for wave in range(4):
    blocks = burst()
    sizes += [200 + n * 37 % 6000 for n in range(0, 4000, 40)]
    if not moved: survivors += blocks[::40]
    blocks = None
    time.sleep(0.3)
if moved: survivors = [bytes(size) for size in sizes]
bytes_now = anonymous(); heaplay.mark('end')
print(bytes_now)
"#;

/// An allocator: its backend, and the variables with which the program has it.
struct Allocator {
    backend: String,
    variables: Vec<(&'static str, String)>,
}

struct Workplace {
    folder: TempDir,
    python: PathBuf,
}

impl Workplace {
    fn new(python: &Path, text: &str) -> Workplace {
        let folder = TempDir::new().unwrap();
        python_module(folder.path());
        fs::write(folder.path().join("app.py"), text).unwrap();
        Workplace { folder, python: python.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Resident memory that the program reads: as it is, less that with the change.
    fn saved_in_life(&self, allocator: &Allocator) -> f64 {
        let resident = |arguments: &[&str]| -> f64 {
            let mut command = Command::new(&self.python);
            command.arg(self.path("app.py")).args(arguments);
            command.env_remove("PYTHONMALLOC").envs(allocator.variables.iter().cloned());
            expect(0, &mut command).trim().parse().unwrap()
        };
        resident(&[]) - resident(&["moved"])
    }

    /// Records the program up to its mark.
    fn record(&self) -> PathBuf {
        let trace = self.path("app.trace");
        let mut command = heaplay();
        command.args(["record", "--sites", "--stop-at-mark", "end", "-o"]).arg(&trace).arg("--");
        expect(0, command.arg(&self.python).arg(self.path("app.py")));
        trace
    }

    /// The columns of `whatif` for each backend, with their names.
    fn what_if(&self, line: &str, backends: &[String]) -> Vec<Vec<(String, String)>> {
        let trace = self.record();
        let mut command = heaplay();
        command.arg("whatif").arg(&trace).args(["--move-site", line, "-b", &backends.join(",")]);
        let text = expect(0, &mut command);
        let cells = |line: &str| -> Vec<String> {
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let mut lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
        let header = lines.next().expect("a header");
        let rows = lines.filter(|cells| backends.contains(&cells[0]));
        let rows: Vec<_> = rows.map(|row| header.iter().cloned().zip(row).collect()).collect();
        assert_eq!(rows.len(), backends.len(), "{text}");
        rows
    }
}

fn cell<'a>(row: &'a [(String, String)], column: &str) -> &'a str {
    &row.iter().find(|(name, _)| name == column).expect("a column").1
}

/// A figure in bytes, with its range where it has one: `1.5 MiB`, `−20 KiB (−90 to 30)`.
fn with_range(text: &str) -> (f64, [f64; 2]) {
    let Some((median, range)) = text.split_once(" (") else {
        return (in_bytes(text), [in_bytes(text); 2]);
    };
    let unit = median.split_once('\u{a0}').expect("a unit").1;
    let range = range.trim_end_matches(')').replace(" to ", "–");
    let (low, high) = range.split_once('–').unwrap_or_else(|| panic!("{text}"));
    (in_bytes(median), [low, high].map(|end| in_bytes(&format!("{end}\u{a0}{unit}"))))
}

/// `1.5 MiB` and `−20 KiB` in bytes.
fn in_bytes(text: &str) -> f64 {
    let (number, unit) = text.split_once('\u{a0}').unwrap_or_else(|| panic!("{text}"));
    let unit = ["B", "KiB", "MiB", "GiB"].iter().position(|known| *known == unit);
    let number: f64 = number.replace('−', "-").parse().unwrap_or_else(|_| panic!("{text}"));
    number * 1024_f64.powi(unit.unwrap_or_else(|| panic!("{text}")) as i32)
}

/// The allocators that a CPython 3.`minor` can have here.
fn allocators(minor: u32) -> Vec<Allocator> {
    let malloc = || ("PYTHONMALLOC", "malloc".to_owned());
    let mut all = vec![
        Allocator { backend: format!("pymalloc@3.{minor}"), variables: vec![] },
        Allocator { backend: "malloc".to_owned(), variables: vec![malloc()] },
    ];
    if let Some(library) = libraries::installed("libjemalloc.so.2") {
        let backend = format!("preload:{library}");
        all.push(Allocator { backend, variables: vec![malloc(), ("LD_PRELOAD", library)] });
    }
    all
}

/// 15 %, or 1 MiB where next to nothing is saved.
fn assert_near(predicted: f64, life: f64, what: &str) {
    let off = (predicted - life).abs();
    assert!(off <= MIB.max(0.15 * life.abs()), "{what}: {predicted} predicted, {life} in life");
}

#[test]
fn a_moved_line_saves_what_the_changed_program_saves() {
    let Some((minor, python)) = interpreters::find_of(9..=13).into_iter().next_back() else {
        return;
    };
    let allocators = allocators(minor);
    let backends: Vec<String> = allocators.iter().map(|one| one.backend.clone()).collect();
    for (line, text) in [("app.py:6", HOLDS_THE_TOP), ("app.py:5", HOLDS_ARENAS)] {
        let place = Workplace::new(&python, text);
        let rows = place.what_if(line, &backends);
        for (allocator, row) in allocators.iter().zip(&rows) {
            let life = place.saved_in_life(allocator);
            let what = format!("{line} under {}", allocator.backend);
            assert_near(with_range(cell(row, "resident saved")).0, life, &what);
            // An arena is returned as soon as it is empty, so pointers predict it, too. What glibc
            // caches holds its top as live blocks do: there the prediction is the most.
            let returnable = in_bytes(cell(row, "returnable"));
            match &*allocator.backend {
                "malloc" => assert!(returnable >= life - MIB, "{what}: {returnable}, {life}"),
                backend if backend.starts_with("pymalloc") => assert_near(returnable, life, &what),
                _ => {}
            }
        }
    }
}

/// jemalloc returns memory after a delay, and looks at its clock after a random number of calls. So
/// runs of the program differ, and the replays have a range, which the runs are in.
#[test]
fn runs_of_a_program_are_in_the_range_of_its_replays() {
    let Some((minor, python)) = interpreters::find_of(9..=13).into_iter().next_back() else {
        return;
    };
    let mut allocators = allocators(minor);
    let allocator = allocators.swap_remove(allocators.len() - 1);
    if !allocator.backend.starts_with("preload:") {
        return;
    }
    let place = Workplace::new(&python, HOLDS_SOME_OF_EACH_BURST);
    let rows = place.what_if("app.py:6", std::slice::from_ref(&allocator.backend));
    let (median, [low, high]) = with_range(cell(&rows[0], "resident saved"));
    assert!(low <= median && median <= high, "{low} {median} {high}");
    let mut saved: Vec<f64> = (0..5).map(|_| place.saved_in_life(&allocator)).collect();
    saved.sort_by(f64::total_cmp);
    // The median of five pairs of runs, with the tolerance of single figures.
    let off = (low - saved[2]).max(saved[2] - high);
    assert!(off <= MIB.max(0.15 * saved[2].abs()), "{saved:?} in life, {low} to {high} predicted");
    // The range says something: it is narrower than the memory that the program holds.
    let (before, after) = cell(&rows[0], "resident").split_once(" → ").expect("before and after");
    let most = with_range(before).1[1].max(with_range(after).1[1]);
    assert!(high - low < most, "{low} to {high} of {most}");
}

/// A run checks the line that could return most by a replay of its change. Its summary names the line as
/// one to change only where the changed program returns about as much.
#[test]
fn a_run_names_a_line_to_change_where_the_program_returns_memory() {
    let Some((minor, python)) = interpreters::find_of(9..=13).into_iter().next_back() else {
        return;
    };
    let allocators = &allocators(minor)[..2];
    for (text, is_named) in [(HOLDS_THE_TOP, true), (CACHE_HOLDS_THE_TOP, false)] {
        let place = Workplace::new(&python, text);
        let backends = [&*allocators[0].backend, &*allocators[1].backend];
        let out = place.path("run");
        let mut command = heaplay();
        command.arg("run").arg(place.record()).args(["--passes", "footprint"]);
        let text = expect(0, command.arg("--out").arg(&out).args(["-b", &backends.join(",")]));
        let run = Run::load(&out).expect("a run");
        for allocator in allocators {
            let backend = &allocator.backend;
            let mut rows = run.what_ifs.iter().filter(|row| row.backend == *backend);
            let row = rows.find(|row| row.site.ends_with("app.py:6"));
            let row = row.unwrap_or_else(|| panic!("no check of line 6: {:?}", run.what_ifs));
            let resident = [row.resident_before_bytes, row.resident_after_bytes];
            let [before, after] = resident.map(|bytes| bytes.expect("measured") as f64);
            let life = place.saved_in_life(allocator);
            assert_near(before - after, life, backend);
            let predicted = row.returnable_bytes.expect("a top") as f64;
            assert!(predicted > 20.0 * MIB, "{backend}: {predicted}");
            assert_eq!(life * 1.5 >= predicted, is_named, "{backend}: {life} in life");
            if is_named && backend == backends[0] {
                let amount = heaplay::units::bytes(before - after);
                let named = format!("returns {amount} of {}", heaplay::units::bytes(before));
                let is_answer = |line: &str| {
                    line.contains(&format!(" under {backend}, which the program has today"))
                        && line.contains("app.py:6 holds")
                        && line.contains(&named)
                };
                assert!(text.lines().any(is_answer), "{named} under {backend}: {text}");
            }
        }
        // Of a change that returns nothing in a replay no sentence speaks.
        let is_named_somewhere = text.contains("a replay in which it allocates them last returns");
        assert_eq!(is_named_somewhere, is_named, "{text}");
    }
}

/// The kernel's figure is the oracle: no more can be retained than is resident without a live byte.
#[test]
fn lines_retain_no_more_than_is_resident_without_a_live_byte() {
    let folder = tempfile::tempdir().unwrap();
    let backends = ["malloc", "pymalloc", "jemalloc", "mimalloc"];
    let backends: Vec<&str> =
        backends.into_iter().filter(|name| libraries::has_backend(name)).collect();
    let mut command = heaplay();
    command.arg("run").arg(traces::committed("service.trace")).args(["--passes", "footprint"]);
    let out = folder.path().join("run");
    expect(0, command.arg("--out").arg(&out).args(["-b", &backends.join(",")]));
    let run = Run::load(&out).expect("a run");
    let figure = |backend: &str, metric| run.values("service", backend, Scope::All, metric)[0];
    for backend in backends {
        let rows = || {
            run.unit_retention
                .iter()
                .filter(|row| row.backend == backend && row.moment == Moment::End)
        };
        let units: Vec<ReturnedUnit> = rows().map(|row| row.unit).collect();
        let has = |unit| units.contains(&unit);
        let expected = match backend {
            "malloc" => has(ReturnedUnit::Top) && !has(ReturnedUnit::Arena),
            "pymalloc" => has(ReturnedUnit::Top) && has(ReturnedUnit::Arena),
            "jemalloc" => has(ReturnedUnit::Span) && !has(ReturnedUnit::Top),
            _ => units.is_empty(),
        };
        assert!(expected, "{backend}: {units:?}");
        let retained: u64 = rows().map(|row| row.retained_bytes).sum();
        let free =
            figure(backend, Metric::ResidentEndBytes) - figure(backend, Metric::PagesInUseEndBytes);
        // Pages that were resident before the first call are in none of the kernel's figures.
        assert!(retained as f64 <= free + MIB, "{backend}: {retained} of {free}");
    }
}
